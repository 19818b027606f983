"""What the commands are told, so that each row exchanges as many entries as it is to."""

from typing import NamedTuple

import numpy as np

from acf.golden.rewiring import SPAN_UNIT
from acf.isa import LARGEST_BLOCK
from acf.sparsity.updates import StructureUpdate

__all__ = ["RewireFields", "rewire_fields"]

_SURPLUS = 1.5


class RewireFields(NamedTuple):
    """``span`` and ``seed`` of a REWIRE, ``block`` of the DRAINs before it."""

    span: int
    seed: int
    block: int


def rewire_fields(update: StructureUpdate, *, columns: int, number: int, seed: int) -> RewireFields:
    """The fields for rows of ``update.entries`` weights and a bias that exchange ``update.drop`` of them.

    A row is cut into as many spans as it drops entries. The block is so small that there are half as many candidates
    again as needed, at least, even though those that the row has are of no use: some more of its columns may be among
    the largest, and which blocks they are in is left to chance. Candidates are taken from a column on that is drawn, so
    the surplus prefers none.

    Parameters
    ----------
    update : StructureUpdate
    columns : int
        Of the layer, the bias not counted.
    number : int
        Of the layer in its network.
    seed : int
        Of the training.
    """
    own = update.seed
    if own is None:
        own = int(np.random.SeedSequence([seed, number, update.step]).generate_state(1)[0]) or 1
    free = columns - update.entries
    block = 0
    while block < LARGEST_BLOCK and _SURPLUS * update.drop * (2 << block) <= free:
        block += 1
    return RewireFields(span=-(-(update.entries + 1) * SPAN_UNIT // update.drop), seed=own, block=block)
