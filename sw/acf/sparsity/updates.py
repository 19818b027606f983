"""Requests to change the structure of a layer."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["StructureUpdate", "UpdateKind"]


class UpdateKind(StrEnum):
    """What happens to a layer."""

    REWIRE_BY_GRADIENT = "rewire by gradient"
    REWIRE_AT_RANDOM = "rewire at random"
    REGROW_BY_GRADIENT = "regrow by gradient"
    REGROW_AT_RANDOM = "regrow at random"
    PRUNE = "prune"


@dataclass(frozen=True, kw_only=True)
class StructureUpdate:
    """A request to change the structure of one layer.

    A rewire does the same in each row; what it counts are entries of a row. A regrowth and a pruning take the smallest
    weights of the whole layer; what they count are entries of the layer. Biases are not counted.

    Parameters
    ----------
    layer : str
    step : int
        The training step after which it happens.
    kind : UpdateKind
    drop : int
        Entries to drop; a rewire and a regrowth grow as many.
    entries : int
        Entries that there are afterwards.
    seed : int or None
        32 bits, not 0, for growth at random; another for every layer and step.
    group : int or None
        Successive columns within which an entry may move; None where it may move within its whole row.
    """

    layer: str
    step: int
    kind: UpdateKind
    drop: int
    entries: int
    seed: int | None = None
    group: int | None = None
