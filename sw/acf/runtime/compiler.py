"""Turns ``O = W A`` into a program for a fabric.

The columns of the result are done in *column passes* as wide as the fabric, its rows in *row tiles* as large as the
accumulator banks, the inner dimension in *inner tiles* as large as an operand bank. For each pass and row tile the
inner tiles are streamed one after another into the same accumulators, then these are drained while the next ones go on
in others. The last of all is drained in parts. Operands of the next inner tile are loaded into another bank while the
present one is streamed, unless they still lie in one.
"""

from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import Mode, Opcode
from acf.runtime.drains import Accumulators, drain_cycles, drain_parts, place_accumulators
from acf.runtime.first_load import inner_tiles
from acf.runtime.layout import (
    Operand,
    PlacedOperand,
    Weights,
    column_passes,
    column_tiling,
    cut,
    piece_length,
)
from acf.runtime.memory import round_up
from acf.runtime.program import Program
from acf.runtime.ranges import remember_ranges
from acf.runtime.schedule import Step, add_steps

__all__ = ["GatherTiling", "add_clear", "compile_gather", "gather_steps", "inner_blocks", "tile_gather"]


@dataclass(frozen=True, kw_only=True)
class GatherTiling:
    """How a gather is cut.

    Parameters
    ----------
    tile_columns : int
        Columns of one tile of the mesh in one pass.
    pass_columns : int
        Columns of one column pass.
    row_tile : int
        Rows of one row tile, over all row feeders.
    inner_tile : int
        Inner indices of one inner tile, but for the first tile of the first pass, which may be cut: see
        ``inner_blocks``.
    passes, row_tiles, inner_tiles : int
        How many there are.
    """

    tile_columns: int
    pass_columns: int
    row_tile: int
    inner_tile: int
    passes: int
    row_tiles: int
    inner_tiles: int


def tile_gather(config: FabricConfig, *, rows: int, inner: int, columns: int) -> GatherTiling:
    """The tiling for a product of these sizes: as few tiles as fit, of sizes as equal as possible.

    Few columns are spread over the mesh columns, as far as whole memory beats allow.

    Raises
    ------
    ValueError
        If a size is negative or too large for the fields of a command.
    """
    for what, size in (("rows", rows), ("inner", inner), ("columns", columns)):
        if not 0 <= size < 1 << 31:
            raise ValueError(f"{what} of a product must be from 0 to 2^31 - 1, not {size!r}")
    passes, tile_columns = column_tiling(config, columns)
    row_tiles = ceil(rows / (config.rows * config.lane.accumulator_rows))
    inner_tiles = ceil(inner / config.lane.operand_rows)
    return GatherTiling(
        tile_columns=tile_columns,
        pass_columns=tile_columns * config.cols,
        row_tile=round_up(ceil(rows / max(1, row_tiles)), config.rows),
        inner_tile=piece_length(inner, config.lane.operand_rows, granule=config.feeder.chunk_rows),
        passes=passes,
        row_tiles=row_tiles,
        inner_tiles=inner_tiles,
    )


def compile_gather(
    config: FabricConfig,
    weights: Weights,
    *,
    columns: int,
    operand: PlacedOperand,
    result: Operand,
    relu: bool = False,
    narrow: bool = False,
    skip: bool = True,
) -> Program:
    """The program that computes ``O = W A``.

    Parameters
    ----------
    config, weights, columns, operand, result, relu, narrow, skip
        As in ``gather_steps``.

    Raises
    ------
    ValueError
        If a size does not fit the fields of a command.
    """
    program = Program()
    steps = gather_steps(
        config, weights, columns=columns, operand=operand, result=result, relu=relu, narrow=narrow, skip=skip
    )
    if steps:
        add_clear(program, config, rows=place_accumulators(config, [step.accumulators for step in steps]))
        add_steps(program, config, steps)
    program.add(Opcode.END)
    return program


def inner_blocks(
    config: FabricConfig, weights: Weights, *, columns: int, operand: PlacedOperand
) -> list[tuple[slice, list[int]]]:
    """In which blocks the sums of a gather are taken: columns, and where in the inner indices their blocks begin.

    The ``split`` of ``acf.golden.products.gather`` for these columns. Parameters are as in ``gather_steps``.
    """
    first_pass = tile_gather(config, rows=weights.rows, inner=weights.inner, columns=columns).pass_columns
    first_tiles = inner_tiles(config, weights, columns=columns, operand=operand)
    tiles = cut(weights.inner, config.lane.operand_rows, granule=config.feeder.chunk_rows)
    return [
        (slice(0, first_pass), [begin for begin, _ in first_tiles]),
        (slice(first_pass, columns), [begin for begin, _ in tiles]),
    ]


def add_clear(program: Program, config: FabricConfig, *, rows: int, first: int = 0) -> None:
    """Append a CLEAR. Nobody waits for it: a tile takes it in order before the first entries."""
    program.add(Opcode.CLEAR, targets=(1 << config.rows) - 1, row_limit=rows, accumulator_first=first)


def gather_steps(
    config: FabricConfig,
    weights: Weights,
    *,
    columns: int,
    operand: PlacedOperand,
    result: Operand,
    relu: bool = False,
    narrow: bool = False,
    skip: bool = True,
) -> list[Step]:
    """The steps of ``O = W A``, for ``acf.runtime.schedule.add_steps``; none if the result has no elements.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
    columns : int
        Columns of ``A`` and ``O``.
    operand : Operand or PackedOperand
        ``A``, as many rows as ``W`` has columns.
    result : Operand
        ``O``, as many rows as ``W``.
    relu, narrow : bool
        Whether negative results become +0, and results are rounded to operands.
    skip : bool
        Whether lanes skip zeros. Without, they spend a cycle on each; the result has the same bits.

    Raises
    ------
    ValueError
        If a size is out of range.
    """
    tiling = tile_gather(config, rows=weights.rows, inner=weights.inner, columns=columns)
    number_format = config.lane.number_format
    result_bytes = number_format.operand_bytes if narrow else number_format.result_bytes
    tiles = list(cut(weights.inner, config.lane.operand_rows, granule=config.feeder.chunk_rows))
    first_tiles = inner_tiles(config, weights, columns=columns, operand=operand)
    steps = []
    for number, column_pass in enumerate(column_passes(config, columns)):
        for row_tile in range(tiling.row_tiles):
            begin = row_tile * tiling.row_tile
            rows = {
                "row_begin": begin,
                "row_end": min(begin + tiling.row_tile, weights.rows),
                "row_offset": 1,
                "row_step": config.rows,
                "row_limit": config.lane.accumulator_rows,
            }
            accumulators = Accumulators(rows=tiling.row_tile // config.rows)
            if not tiling.inner_tiles:  # the sums are empty: nothing but a drain
                steps.append(Step(operands={}, stream=None, accumulators=accumulators))
            for first, count in tiles if number else first_tiles:
                stream = {
                    **weights.fields(),
                    "inner_begin": first,
                    "inner_count": count,
                    "mode": Mode.GATHER,
                    "skip": int(skip),
                    **rows,
                    **column_pass.fields,
                }
                tile = operand.tile(config, first=first, rows=count, columns=column_pass)
                steps.append(Step(operands={"bank": tile}, stream=stream, accumulators=accumulators))
            steps[-1].drain = {
                "address": result.address + column_pass.first * result_bytes,
                "row_stride": result.stride,
                "relu": int(relu),
                "narrow": int(narrow),
                **rows,
                **column_pass.fields,
            }
    if steps and tiling.inner_tiles:
        # Sums before these may still be drained while the first part is streamed.
        steps[-1:] = _drained_in_parts(config, steps[-1], halving=tiling.passes * tiling.row_tiles > 1)
    remember_ranges(config, weights, steps)
    return steps


def _drained_in_parts(config: FabricConfig, step: Step, *, halving: bool) -> list[Step]:
    """Steps that stream and drain the rows of ``step`` one after the other."""
    assert step.stream is not None
    assert step.drain is not None
    begin, end = step.stream["row_begin"], step.stream["row_end"]
    parts = []
    for first, count in drain_parts(
        cycles=drain_cycles(
            config,
            rows=step.accumulators.rows,
            tile_columns=step.drain["tile_columns"],
            narrow=bool(step.drain["narrow"]),
        ),
        rows=end - begin,
        granule=config.rows,
        halving=halving,
    ):
        rows = {"row_begin": begin + first, "row_end": begin + first + count}
        parts.append(
            Step(
                operands=step.operands,
                stream=step.stream | rows,
                accumulators=step.accumulators,
                drain=step.drain | rows,
                offset=first // config.rows,
            )
        )
    return parts
