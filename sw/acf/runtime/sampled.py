"""Turns the weight gradient into steps for a fabric: ``S[e] = sum over k of G[i, k] A[j, k]`` for each entry of ``W``.

The entries are dealt to the row feeders by their place in memory, as many to each, whatever their rows; they stay in
the accumulators while all columns pass by, and are drained once. The last columns are streamed in parts, one range of
entries after another, each drained while the next one is streamed.
"""

import numpy as np

from acf.config import FabricConfig
from acf.isa import Mode
from acf.runtime.drains import Accumulators
from acf.runtime.first_load import inner_tiles
from acf.runtime.layout import PlacedOperand, Weights, column_passes, cut
from acf.runtime.ranges import remember_ranges
from acf.runtime.sampled_drain import last_pass, last_ranges
from acf.runtime.sampled_rows import feeder_rows, row_pieces, rows_of_entries
from acf.runtime.sampled_tiling import accumulator_rows_of, tile_sampled
from acf.runtime.schedule import MOST_PIECES, Step

__all__ = ["sampled_chains", "sampled_steps"]

_EARLY_STEPS = 3
"""Steps whose operands are awaited in pieces."""


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
        accumulators = Accumulators(rows=accumulator_rows_of(config, tiling.entry_count))
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
            ranges = last_ranges(config, weights, columns=columns, operand=operand, tiles=count)
            steps[-count:] = last_pass(config, steps[-count:], row_pointers, ranges=ranges)
    remember_ranges(config, weights, steps)
    return steps


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
