"""Turns the two products of the backward pass into steps for a fabric, from the same CSR as the forward one.

*Scatter*, ``D = transpose(W) G``: every row feeder streams all rows of ``W`` in order, and keeps those entries whose
column index lies in its block of the result's rows. So each sum is taken in one tile, in the order of memory, and no
partial sums are added. How the rows are cut to blocks is decided in ``acf.runtime.scatter_blocks``.

*Sampled*, ``S[e] = sum over k of G[i, k] A[j, k]``: the entries are dealt to the row feeders by their place in memory,
as many to each, whatever their rows; they stay in the accumulators while all columns pass by, and are drained once. The
last columns are streamed in parts, one range of entries after another, each drained while the next one is streamed.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from acf.config import FabricConfig
from acf.isa import CANDIDATE_WORD, Mode
from acf.runtime.drains import Accumulators, drain_parts
from acf.runtime.first_load import inner_tiles
from acf.runtime.layout import (
    Operand,
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
from acf.runtime.scatter_blocks import block_counts, cut_blocks, first_pieces
from acf.runtime.schedule import MOST_PIECES, Piece, Step

__all__ = [
    "SampledTiling",
    "sampled_chains",
    "sampled_steps",
    "scatter_steps",
    "tile_sampled",
]


_EARLY_PASSES = 3
"""Column passes whose operands are awaited in pieces."""


def scatter_steps(
    config: FabricConfig,
    weights: Weights,
    *,
    columns: int,
    operand: PlacedOperand,
    result: Operand,
    results: int | None = None,
    gate: PlacedOperand | None = None,
    narrow: bool = False,
    skip: bool = True,
) -> list[Step]:
    """The steps of ``D = transpose(W) G``, for ``acf.runtime.schedule.add_steps``.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
    columns : int
        Columns of ``G`` and ``D``.
    operand : Operand or PackedOperand
        ``G``, as many rows as ``W``.
    result : Operand
        ``D``, as many rows as ``W`` has columns.
    results : int or None
        Rows of ``D`` that are wanted, from the first one on; all of them by default. Others may be left out.
    gate : Operand, PackedOperand or None
        Of the shape of ``D``, in the storage type of the operands: where it is zero, so is the result. The derivative
        of a ReLU, when it is its output.
    narrow : bool
        Whether results are rounded to operands.
    skip : bool
        Whether lanes skip zeros.
    """
    wanted = weights.inner if results is None else results
    counts = block_counts(config, weights, columns=columns, wanted=wanted, gated=gate is not None, narrow=narrow)
    number_format = config.lane.number_format
    result_bytes = number_format.operand_bytes if narrow else number_format.result_bytes
    row_tiles = list(cut(weights.rows, config.lane.operand_rows, granule=config.feeder.chunk_rows))
    steps = []
    for column_pass, blocks in counts.of(column_passes(config, columns)):
        for first, block in cut_blocks(config, wanted=wanted, count=blocks):
            end = min(first + block * config.rows, weights.inner)
            gates = {}
            if gate is not None:
                gates = {"gate": gate.tile(config, first=first, rows=end - first, columns=column_pass)}
            accumulators = Accumulators(rows=block)
            for row, count in row_tiles:
                tile = operand.tile(config, first=row, rows=count, columns=column_pass)
                stream = {
                    **weights.fields(),
                    "row_begin": row,
                    "row_end": row + count,
                    "row_offset": 0,
                    "row_step": 1,
                    "row_limit": count,
                    "inner_begin": first,
                    "inner_offset": block,
                    "inner_count": block,
                    "mode": Mode.SCATTER,
                    "skip": int(skip),
                    **column_pass.fields,
                }
                last = row + count == weights.rows
                needed = {"bank": tile, **(gates if last else {})}
                steps.append(Step(operands=needed, stream=stream, accumulators=accumulators))
            if not row_tiles:  # the sums are empty: nothing but a drain
                steps.append(Step(operands={}, stream=None, accumulators=accumulators))
            steps[-1].drain = {
                "address": result.address + column_pass.first * result_bytes,
                "row_stride": result.stride,
                "row_begin": first,
                "row_end": end,
                "row_offset": block,
                "row_step": 1,
                "row_limit": block,
                "narrow": int(narrow),
                **column_pass.fields,
            }
    if steps and row_tiles:
        block = steps[0].accumulators.rows
        column_pass = next(column_passes(config, columns))
        steps[0].pieces = [
            Piece(
                loads=[(first, operand.tile(config, first=first, rows=count, columns=column_pass))],
                rows=[(first, first + count)],
            )
            for first, count in first_pieces(
                config, weights, columns=columns, wanted=wanted, block=block, rows=row_tiles[0][1]
            )
        ]
    remember_ranges(config, weights, steps)
    return steps


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
        draining = ceil(entries / config.rows) * config.lanes / min(config.reducing_adders, config.lanes)
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
                    steps.append(
                        Step(operands=operands, stream=stream, accumulators=accumulators, feeder_rows=rows_here)
                    )
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
            steps[-1:] = _sampled_in_parts(config, steps[-1], row_pointers)
    if exposed and row_pointers is not None:
        # The operands of the next passes are not there either when lanes have done the first.
        early = steps[: _EARLY_PASSES if len(tiles) == 1 else 1]
        for number, (column_pass, step) in enumerate(zip(column_passes(config, columns), early, strict=False)):
            if step.stream is not None and step.feeders is None:
                step.pieces = row_pieces(
                    config,
                    row_pointers,
                    stream=step.stream,
                    operand=row_operand,
                    columns=column_pass,
                    most=MOST_PIECES if number == 0 else 2,
                )
    remember_ranges(config, weights, steps)
    return steps


def _accumulator_rows(config: FabricConfig, entries: int) -> int:
    """Accumulator rows of all lanes of a tile that hold the sums of so many entries, in whole packets."""
    return ceil(entries / config.tile_columns) * config.lanes


def _sampled_in_parts(config: FabricConfig, step: Step, row_pointers: np.ndarray | None) -> list[Step]:
    """Steps that stream and drain the entries of ``step`` in parts, one after the other.

    Each mesh row has a range of entries, and a part of it in each step; so these begin elsewhere for each row feeder.
    With row pointers a feeder looks at nothing but the rows of its part, so that there may be more parts.
    """
    assert step.stream is not None
    assert step.drain is not None
    begin, most = step.stream["entry_begin"], step.stream["entry_count"]
    parts = []
    for first, count in drain_parts(
        cycles=most * config.lanes,
        rows=most,
        granule=_entry_granule(config, select="select" in step.drain),
        halving=False,
        knows_rows=row_pointers is not None,
    ):
        entries = {"entry_count": count}
        # Row feeder r begins r * entry_count behind entry_begin.
        begins = [begin + first + feeder * (most - count) for feeder in range(config.rows)]
        rows = None
        if row_pointers is not None:
            row = step.stream["row_begin"]
            rows = feeder_rows(
                row_pointers,
                [place + feeder * count for feeder, place in enumerate(begins)],
                count=count,
                within=(row, step.stream["row_end"]),
            )
        parts.append(
            Step(
                operands=step.operands,
                stream=step.stream | entries,
                accumulators=step.accumulators,
                drain=step.drain | entries,
                offset=_accumulator_rows(config, first),
                feeders=None if count == most else [{"entry_begin": entry} for entry in begins],
                feeder_rows=rows,
            )
        )
    return parts


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
