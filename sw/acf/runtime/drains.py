"""Lays out sums so that drains and streams overlap.

Tiles go on with other accumulators while some are drained. So the accumulators of one sum after the other lie one
behind the other, in a ring, and the last drain of a product is cut into *parts*, so that only the last part has no
stream beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from math import isqrt

from acf.config import FabricConfig
from acf.runtime.memory import round_up

__all__ = ["MOST_PARTS", "Accumulators", "drain_cycles", "drain_parts", "place_accumulators"]

MOST_PARTS = 16
"""Parts that a drain is cut into, at most."""

_PART_CYCLES = 200
"""About what a further STREAM and DRAIN cost."""

_SHORT_PART_CYCLES = 50
"""The same where row feeders look at nothing but the rows of a part."""


@dataclass(eq=False, kw_only=True)
class Accumulators:
    """Accumulator rows of each tile that hold sums together, until they are drained.

    Parameters
    ----------
    rows : int
    """

    rows: int

    first: int = field(default=0, init=False)
    """The first of them, which ``place_accumulators`` decides."""

    def overlaps(self, other: "Accumulators") -> bool:
        """Whether both have a row in common."""
        return self.first < other.first + other.rows and other.first < self.first + self.rows


def place_accumulators(config: FabricConfig, uses: Iterable[Accumulators]) -> int:
    """Decide where accumulators lie, given in the order in which they are used.

    Returns how many rows are used of those of a tile.
    """
    following = used = 0
    placed = None
    for accumulators in uses:
        if accumulators is placed:
            continue
        placed = accumulators
        # Sums over lanes start at a multiple of the lanes.
        first = round_up(following, config.lanes)
        placed.first = first if first + placed.rows <= config.lane.accumulator_rows else 0
        following = placed.first + placed.rows
        used = max(used, following)
    return used


def drain_cycles(config: FabricConfig, *, rows: int, tile_columns: int, narrow: bool = False) -> int:
    """Cycles in which a row feeder takes ``rows`` accumulator rows from each of its tiles."""
    flits = config.tile_columns // 2
    for less in (tile_columns <= config.lower_columns, narrow):
        flits = flits // 2 if less else flits
    return rows * config.cols * (1 + flits)


def drain_parts(
    *, cycles: int, rows: int, granule: int, halving: bool, knows_rows: bool = False
) -> list[tuple[int, int]]:
    """Cut a drain of ``cycles`` cycles, and its stream, into parts: (first, count) of ``rows``.

    What is left of the drain behind the last stream gets shorter the more parts there are, and every part costs some
    cycles. Parts are multiples of ``granule``, but for the last one.

    Parameters
    ----------
    cycles, rows, granule : int
    halving : bool
        Each part is half of what is left: for drains that are shorter than their streams, so that a part waits neither
        for the drain of a part before it nor for that of earlier sums. Otherwise all are of about the same size.
    knows_rows : bool
        Whether row feeders look at nothing but the rows of a part.
    """
    granules = -(-rows // granule)
    wanted = cycles // (_SHORT_PART_CYCLES if knows_rows else _PART_CYCLES)
    parts = max(1, min((wanted // 2).bit_length() if halving else isqrt(wanted), granules, MOST_PARTS))
    if halving:
        done = [granules - (granules >> n) for n in range(parts) if granules >> n] + [granules]
    else:
        done = [n * granules // parts for n in range(parts + 1)]
    return [(first * granule, min(rows, end * granule) - first * granule) for first, end in pairwise(done)]
