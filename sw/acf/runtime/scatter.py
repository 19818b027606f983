"""Turns the input gradient, ``D = transpose(W) G``, into steps for a fabric, from the same CSR as the forward product.

Every row feeder streams all rows of ``W`` in order, and keeps those entries whose column index lies in its block of the
result's rows. So each sum is taken in one tile, in the order of memory, and no partial sums are added. How the rows are
cut to blocks is decided in ``acf.runtime.scatter_blocks``.
"""

from acf.config import FabricConfig
from acf.isa import Mode
from acf.runtime.drains import Accumulators
from acf.runtime.layout import Operand, PlacedOperand, Weights, column_passes, cut
from acf.runtime.ranges import remember_ranges
from acf.runtime.scatter_blocks import block_counts, cut_blocks, first_pieces
from acf.runtime.schedule import Piece, Step

__all__ = ["scatter_steps"]


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
