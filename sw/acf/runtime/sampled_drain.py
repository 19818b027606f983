"""The last column pass of a sampled product, in which ranges of entries are drained while others are streamed.

The sums of all entries are complete only when the last columns have passed by. So these are streamed in ranges, one
behind the other, and the last range in parts.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import ceil

import numpy as np

from acf.config import FabricConfig
from acf.runtime.drains import drain_parts
from acf.runtime.first_load import load_cycles, read_cycles
from acf.runtime.layout import OperandForm, PlacedOperand, Weights, column_tiling
from acf.runtime.memory import round_up
from acf.runtime.sampled_rows import feeder_rows
from acf.runtime.sampled_tiling import accumulator_rows_of, entry_granule, sum_cycles
from acf.runtime.schedule import Step

__all__ = ["MOST_RANGES", "last_pass", "last_ranges"]

MOST_RANGES = 4
"""Ranges of entries in the last column pass, at most."""


def last_pass(
    config: FabricConfig, steps: list[Step], row_pointers: np.ndarray | None, *, ranges: Sequence[float]
) -> list[Step]:
    """The steps of the last column pass, which stream all entries in ``ranges`` of such shares, one after the other,
    each of them drained while the next is streamed; the last one in parts, as far as the last inner tile goes.

    Each mesh row has a range of entries, and a part of it in each step; so these begin elsewhere for each row feeder.
    With row pointers a feeder looks at nothing but the rows of its part, so that there may be more parts.

    Parameters
    ----------
    config : FabricConfig
    steps : list of Step
        Those of the pass, one for each inner tile; the last one has the DRAIN.
    row_pointers : numpy.ndarray or None
        Those of ``W``, where they are known.
    ranges : sequence of float
        As ``last_ranges`` gives them.
    """
    drain = steps[-1].drain
    assert drain is not None
    granule = entry_granule(config, select="select" in drain)
    most = drain["entry_count"]
    windows = _cut_by_shares(most, ranges, granule=granule)
    parts = []
    for number, (first, count) in enumerate(windows):
        # There and back: the inner tiles that lie in banks are not loaded again.
        *before, last = steps if number % 2 == 0 else steps[::-1]
        parts += [_part(config, step, row_pointers, None, first=first, count=count) for step in before]
        if first + count < most:
            parts.append(_part(config, last, row_pointers, drain, first=first, count=count))
            continue
        for offset, length in drain_parts(
            cycles=2 * sum_cycles(config, count),
            rows=count,
            granule=granule,
            halving=False,
            knows_rows=row_pointers is not None,
        ):
            parts.append(_part(config, last, row_pointers, drain, first=first + offset, count=length))
    return parts


def _part(
    config: FabricConfig,
    step: Step,
    row_pointers: np.ndarray | None,
    drain: dict[str, int] | None,
    *,
    first: int,
    count: int,
) -> Step:
    """``step`` for the ``count`` entries of each row feeder from its ``first`` on, and the ``drain`` behind it."""
    assert step.stream is not None
    begin, most = step.stream["entry_begin"], step.stream["entry_count"]
    if count == most:
        step.drain = drain
        return step
    entries = {"entry_count": count}
    # Row feeder r begins r * entry_count behind entry_begin.
    begins = [begin + first + feeder * (most - count) for feeder in range(config.rows)]
    rows = None
    if row_pointers is not None:
        rows = feeder_rows(
            row_pointers,
            [place + feeder * count for feeder, place in enumerate(begins)],
            count=count,
            within=(step.stream["row_begin"], step.stream["row_end"]),
        )
    return Step(
        operands=step.operands,
        stream=step.stream | entries,
        accumulators=step.accumulators,
        drain=None if drain is None else drain | entries,
        offset=accumulator_rows_of(config, first),
        feeders=[{"entry_begin": entry} for entry in begins],
        feeder_rows=rows,
    )


def last_ranges(
    config: FabricConfig, weights: Weights, *, columns: int, operand: PlacedOperand, tiles: int
) -> list[float]:
    """Shares of the ranges of entries in the last column pass, which has ``tiles`` inner tiles.

    There are as many as the memory port has time to read ``operand`` again for, but for the tiles that lie in banks.
    Each is so much shorter than the one before it that this is drained meanwhile.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
    columns : int
        Columns of the operands.
    operand : Operand or PackedOperand
        ``A``, which has as many rows as ``W`` has columns.
    tiles : int
        Inner tiles of the pass; with one alone there is one range.
    """
    if tiles < 2:
        return [1.0]
    packed = operand.form is OperandForm.PACKED
    slots = ceil(column_tiling(config, columns)[1] / config.lanes)
    products = 9 / 8 * weights.entries * slots / config.rows / (4 if packed else 1)
    once = load_cycles(config, operand, rows=weights.inner, columns=columns)
    again = max(1.0, once * max(0, tiles - config.lane.operand_banks // 2) / tiles)
    once += load_cycles(config, operand, rows=weights.rows, columns=columns) + read_cycles(config, weights)
    count = 1 + max(0, min(MOST_RANGES - 1, int((products - once) / again)))
    # Lanes that are busy keep those who drain them waiting for every other accumulator.
    draining = 2 * sum_cycles(config, ceil(weights.entries / config.rows))
    shorter = min(1.0, max(1 / 4, draining / max(1.0, products)))
    return [shorter**number for number in range(count)]


def _cut_by_shares(total: int, shares: Sequence[float], *, granule: int) -> list[tuple[int, int]]:
    """Cut ``total`` to parts of about such shares, multiples of ``granule`` but for the last: first, how many."""
    ends = [round_up(ceil(total * end / sum(shares)), granule) for end in accumulate(shares)]
    cuts = [0, *(min(end, total) for end in ends)]
    return [(begin, end - begin) for begin, end in pairwise(cuts) if end > begin]
