"""Turns the weight gradient into steps for a fabric: ``S[e] = sum over k of G[i, k] A[j, k]`` for each entry of ``W``.

The entries are dealt to the row feeders by their place in memory, as many to each, whatever their rows; they stay in
the accumulators while all columns pass by, and are drained once. The last columns are streamed in parts, one range of
entries after another, each drained while the next one is streamed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil

import numpy as np

from acf.config import FabricConfig
from acf.isa import CANDIDATE_WORD, Mode
from acf.runtime.drains import Accumulators, drain_parts
from acf.runtime.first_load import inner_tiles, load_cycles, read_cycles
from acf.runtime.layout import (
    OperandForm,
    PlacedOperand,
    Weights,
    column_passes,
    column_tiling,
    cut,
    piece_length,
)
from acf.runtime.memory import round_up
from acf.runtime.ranges import remember_ranges
from acf.runtime.sampled_rows import feeder_rows, row_pieces, rows_of_entries
from acf.runtime.schedule import MOST_PIECES, Step

__all__ = ["MOST_RANGES", "SampledTiling", "sampled_chains", "sampled_steps", "tile_sampled"]

_EARLY_STEPS = 3
"""Steps whose operands are awaited in pieces."""

MOST_RANGES = 4
"""Ranges of entries in the last column pass, at most."""


@dataclass(frozen=True, kw_only=True)
class SampledTiling:
    """How a sampled product is cut.

    Parameters
    ----------
    entry_count : int
        Entries whose sums one mesh row holds at a time.
    groups : int
        How often the columns pass by.
    row_tile, inner_tile : int
        Rows of ``G`` and of ``A`` that lie in a bank together.
    """

    entry_count: int
    groups: int
    row_tile: int
    inner_tile: int


def tile_sampled(
    config: FabricConfig,
    *,
    rows: int,
    inner: int,
    entries: int,
    columns: int | None = None,
    form: OperandForm = OperandForm.PACKED,
    select: bool = False,
) -> SampledTiling:
    """The tiling of a sampled product.

    Parameters
    ----------
    config : FabricConfig
    rows, inner, entries : int
        Of ``W``.
    columns : int or None
        Of the operands; if not None there are up to twice as many groups as there must be, where that is estimated to
        save time.
    form : OperandForm
        How the operands lie in memory.
    select : bool
        A bit for each sum is kept.
    """
    lane = config.lane
    granule = _entry_granule(config, select=select)
    most = lane.accumulator_rows // config.lanes * config.tile_columns // granule * granule
    groups = ceil(entries / (config.rows * most))
    if columns and groups:
        more = ceil(entries / (config.rows * max(granule, most // 2 // granule * granule)))
        costs = [
            _group_cycles(config, rows=rows, inner=inner, entries=entries, columns=columns, form=form, groups=count)
            for count in (groups, more)
        ]
        # Two groups have room beside each other: all drains but the last one go on beside streams.
        draining = _sum_cycles(config, ceil(entries / config.rows))
        if costs[1] + draining / more < costs[0] + draining:
            groups = more
    return SampledTiling(
        entry_count=round_up(ceil(ceil(entries / max(1, groups)) / config.rows), granule),
        groups=groups,
        row_tile=piece_length(rows, lane.operand_rows, granule=config.feeder.chunk_rows),
        inner_tile=piece_length(inner, lane.operand_rows, granule=config.feeder.chunk_rows),
    )


def _group_cycles(
    config: FabricConfig, *, rows: int, inner: int, entries: int, columns: int, form: OperandForm, groups: int
) -> float:
    """About how long the streams of a sampled product in so many groups take: their products, or their reads."""
    passes, tile_columns = column_tiling(config, columns)
    slots = ceil(tile_columns / config.lanes)
    packed = form is OperandForm.PACKED
    products = passes * entries * slots / config.rows / (4 if packed else 1)
    operands = (groups * inner + rows) * columns * config.lane.number_format.operand_bytes * (3 / 4 if packed else 1)
    indices = 4 * passes * entries
    # Short bursts, and the turns of those who read, take a fifth of the port.
    return max(9 / 8 * products, 5 / 4 * (operands + indices) / config.memory.beat_bytes)


def _entry_granule(config: FabricConfig, *, select: bool) -> int:
    """Whole packets of sums, and whole beats of memory; of bits whole words, so that blocks of them are not cut."""
    granule = max(config.tile_columns, config.memory.beat_bytes // config.lane.number_format.result_bytes)
    if not select:
        return granule
    most = config.lane.accumulator_rows // config.lanes * config.tile_columns
    return max(granule, CANDIDATE_WORD if most >= CANDIDATE_WORD else 8)


def sampled_steps(
    config: FabricConfig,
    weights: Weights,
    *,
    columns: int,
    row_operand: PlacedOperand,
    operand: PlacedOperand,
    result: int,
    select: dict[str, int] | None = None,
    skip: bool = True,
    exposed: bool = False,
    row_pointers: np.ndarray | None = None,
) -> list[Step]:
    """The steps of ``S[e] = sum over k of G[i, k] A[j, k]``, for ``acf.runtime.schedule.add_steps``.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
        Of its entries only the places matter.
    columns : int
        Columns of ``G`` and ``A``.
    row_operand, operand : Operand or PackedOperand
        ``G``, as many rows as ``W``, and ``A``, as many rows as ``W`` has columns.
    result : int
        Address of ``S``, an accumulator for each entry.
    select : dict or None
        With it, a bit for each entry says whether its sum is the largest of its block; ``block`` of the DRAINs.
    skip : bool
        Whether lanes skip zeros.
    exposed : bool
        Whether nothing is streamed while the first operands are loaded.
    row_pointers : numpy.ndarray or None
        Those of ``W``, where they are known and the same whenever the steps are run: then of ``G`` only the rows are
        loaded that have entries of the group.
    """
    tiling = tile_sampled(
        config,
        rows=weights.rows,
        inner=weights.inner,
        entries=weights.entries,
        columns=None if select is not None else columns,
        form=operand.form,
        select=select is not None,
    )
    tiles = list(cut(weights.inner, tiling.inner_tile, granule=config.feeder.chunk_rows))
    first_tiles = tiles
    if exposed and len(tiles) == 1:
        first_tiles = inner_tiles(
            config,
            weights,
            columns=columns,
            operand=operand,
            row_operand=row_operand,
            row_pieces=1 if row_pointers is None else MOST_PIECES,
        )
    steps = []
    for group in range(tiling.groups):
        entries = {
            "entry_begin": group * tiling.entry_count * config.rows,
            "entry_count": tiling.entry_count,
        }
        accumulators = Accumulators(rows=_accumulator_rows(config, tiling.entry_count))
        row_tiles = list(cut(weights.rows, tiling.row_tile, granule=config.feeder.chunk_rows))
        if row_pointers is not None:
            row_tiles = rows_of_entries(config, row_pointers, **entries)
        for column_pass in column_passes(config, columns):
            for row, row_count in row_tiles:
                rows_here = None
                if row_pointers is not None:
                    begins = [entries["entry_begin"] + n * tiling.entry_count for n in range(config.rows)]
                    rows_here = feeder_rows(
                        row_pointers, begins, count=tiling.entry_count, within=(row, row + row_count)
                    )
                for inner, inner_count in tiles if steps else first_tiles:
                    stream = {
                        **weights.fields(),
                        **entries,
                        "row_begin": row,
                        "row_end": row + row_count,
                        "row_offset": 0,
                        "row_step": 1,
                        "row_limit": row_count,
                        "inner_begin": inner,
                        "inner_offset": 0,
                        "inner_count": inner_count,
                        "mode": Mode.SAMPLED,
                        "skip": int(skip),
                        **column_pass.fields,
                    }
                    operands = {
                        "row_bank": row_operand.tile(config, first=row, rows=row_count, columns=column_pass),
                        "bank": operand.tile(config, first=inner, rows=inner_count, columns=column_pass),
                    }
                    step = Step(operands=operands, stream=stream, accumulators=accumulators, feeder_rows=rows_here)
                    # The operands of the next steps are not there either when lanes have done the first.
                    if exposed and row_pointers is not None and len(steps) < (_EARLY_STEPS if len(tiles) == 1 else 1):
                        step.pieces = row_pieces(
                            config,
                            row_pointers,
                            stream=stream,
                            operand=row_operand,
                            columns=column_pass,
                            most=2 if steps else MOST_PIECES,
                        )
                    steps.append(step)
        if columns == 0:  # the sums are empty: nothing but a drain
            steps.append(Step(operands={}, stream=None, accumulators=accumulators))
        steps[-1].drain = {
            "address": result,
            "reduce": 1,
            "entries": weights.entries,
            **entries,
        }
        if select is not None:
            steps[-1].drain |= {"select": 1, **select}
        # Behind the last group only: a part holds up what is behind it until the part before it is drained.
        if columns and group == tiling.groups - 1:
            count = len(tiles) if len(row_tiles) == 1 and len(steps) > len(tiles) else 1
            ranges = _last_ranges(config, weights, columns=columns, operand=operand, tiles=count)
            steps[-count:] = _last_pass(config, steps[-count:], row_pointers, ranges=ranges)
    remember_ranges(config, weights, steps)
    return steps


def _accumulator_rows(config: FabricConfig, entries: int) -> int:
    """Accumulator rows of all lanes of a tile that hold the sums of so many entries, in whole packets."""
    return ceil(entries / config.tile_columns) * config.lanes


def _last_pass(
    config: FabricConfig, steps: list[Step], row_pointers: np.ndarray | None, *, ranges: Sequence[float]
) -> list[Step]:
    """The steps of the last column pass, which stream all entries in ``ranges`` of such shares, one after the other,
    each of them drained while the next is streamed; the last one in parts, as far as the last inner tile goes.

    Each mesh row has a range of entries, and a part of it in each step; so these begin elsewhere for each row feeder.
    With row pointers a feeder looks at nothing but the rows of its part, so that there may be more parts.
    """
    drain = steps[-1].drain
    assert drain is not None
    granule = _entry_granule(config, select="select" in drain)
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
            cycles=2 * _sum_cycles(config, count),
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
        offset=_accumulator_rows(config, first),
        feeders=[{"entry_begin": entry} for entry in begins],
        feeder_rows=rows,
    )


def _last_ranges(
    config: FabricConfig, weights: Weights, *, columns: int, operand: PlacedOperand, tiles: int
) -> list[float]:
    """Shares of the ranges of entries in the last column pass, which has ``tiles`` inner tiles.

    There are as many as the memory port has time to read ``operand`` again for, but for the tiles that lie in banks.
    Each is so much shorter than the one before it that this is drained meanwhile.
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
    draining = 2 * _sum_cycles(config, ceil(weights.entries / config.rows))
    shorter = min(1.0, max(1 / 4, draining / max(1.0, products)))
    return [shorter**number for number in range(count)]


def _sum_cycles(config: FabricConfig, sums: int) -> int:
    """About how long a mesh row adds up so many sums."""
    return sums * config.lanes // min(config.reducing_adders, config.lanes)


def _cut_by_shares(total: int, shares: Sequence[float], *, granule: int) -> list[tuple[int, int]]:
    """Cut ``total`` to parts of about such shares, multiples of ``granule`` but for the last: first, how many."""
    ends = [round_up(ceil(total * end / sum(shares)), granule) for end in accumulate(shares)]
    cuts = [0, *(min(end, total) for end in ends)]
    return [(begin, end - begin) for begin, end in pairwise(cuts) if end > begin]


def sampled_chains(config: FabricConfig, columns: int, *, order: np.ndarray | None = None) -> list[np.ndarray]:
    """The columns that each lane of a mesh row sums, lanes in the order in which their sums are added.

    The ``chains`` of ``acf.golden.products.sampled``.

    Parameters
    ----------
    config : FabricConfig
    columns : int
    order : numpy.ndarray or None
        The column in each place of the operands, see ``acf.runtime.column_dealing``; None: in order.
    """
    order = np.arange(columns) if order is None else order
    chains = [[] for _ in range(config.cols * config.lanes)]
    for column_pass in column_passes(config, columns):
        width, tile_columns = column_pass.fields["columns"], column_pass.fields["tile_columns"]
        for tile in reversed(range(config.cols)):
            for column in range(tile * tile_columns, min((tile + 1) * tile_columns, width)):
                place = (config.cols - 1 - tile) * config.lanes + (column - tile * tile_columns) % config.lanes
                chains[place].append(column_pass.first + column)
    return [order[np.array(chain, dtype=np.int64)] for chain in chains]
