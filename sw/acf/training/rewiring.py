"""What the commands are told, so that each row exchanges as many entries as it is to."""

from typing import NamedTuple

import numpy as np

from acf.golden.rewiring import SPAN_UNIT
from acf.isa import LARGEST_BLOCK
from acf.sparsity.updates import StructureUpdate

__all__ = ["RewireFields", "candidate_step", "rewire_fields"]

_SURPLUS = 1.5

_CHOICE = 4
"""Candidates that compete for each place that is given away, at least, where some columns are left out."""

_FEWEST = 5
"""Entries of a row from which on columns are left out: with fewer, each of them matters more."""


class RewireFields(NamedTuple):
    """``span``, ``seed`` and ``candidate_first`` of a REWIRE, ``block`` of the DRAINs before it."""

    span: int
    seed: int
    block: int
    candidate_first: int


def candidate_step(*, columns: int, entries: int, drop: int, most: int) -> int:
    """Of how many columns one is a candidate: a power of two up to ``most``, smaller where rows exchange many of their
    entries or have few.

    Parameters
    ----------
    columns : int
        Of the layer, the bias not counted.
    entries, drop : int
        Of a row, and how many of them it exchanges at most.
    most : int
    """
    step = 1
    while entries >= _FEWEST and 2 * step <= most and _SURPLUS * _CHOICE * drop * 2 * step <= columns - entries:
        step *= 2
    return step


def rewire_fields(
    update: StructureUpdate, *, columns: int, number: int, seed: int, step: int = 1, period: int = 1
) -> RewireFields:
    """The fields for rows of ``update.entries`` weights and a bias that exchange ``update.drop`` of them.

    A row is cut into as many spans as it drops entries. The block is so small that there are half as many candidates
    again as needed, at least, even though those that the row has are of no use: some more of its columns may be among
    the largest, and which blocks they are in is left to chance. Candidates are taken from a column on that is drawn, so
    the surplus prefers none.

    Where only one of ``step`` columns is a candidate, all have their turn, one change after the other.

    Parameters
    ----------
    update : StructureUpdate
    columns : int
        Of the layer, the bias not counted.
    number : int
        Of the layer in its network.
    seed : int
        Of the training.
    step : int
        See ``candidate_step``.
    period : int
        Training steps from one change to the next.
    """
    own = update.seed
    if own is None:
        own = int(np.random.SeedSequence([seed, number, update.step]).generate_state(1)[0]) or 1
    free = (columns - update.entries) / step
    block = 0
    while block < LARGEST_BLOCK and _SURPLUS * update.drop * (2 << block) <= free:
        block += 1
    return RewireFields(
        span=-(-(update.entries + 1) * SPAN_UNIT // update.drop),
        seed=own,
        block=block,
        candidate_first=update.step // period % step,
    )
