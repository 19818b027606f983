"""Turns ``O = W A`` into a program for a fabric.

The columns of the result are done in *column passes* as wide as the fabric, its rows in *row tiles* as large as the
accumulator banks, the inner dimension in *inner tiles* as large as an operand bank. For each pass and row tile the
inner tiles are streamed one after another into the same accumulators, then these are drained. Operands of the next
inner tile are loaded into another bank while the present one is streamed, unless they still lie in one.
"""

from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import Decoder, IndexSize, Mode, Opcode
from acf.runtime.memory import round_up
from acf.runtime.program import Program
from acf.runtime.schedule import OperandTile, Step, add_steps

__all__ = [
    "GatherLayout",
    "GatherTiling",
    "add_clear",
    "column_tiling",
    "compile_gather",
    "gather_steps",
    "tile_gather",
]


@dataclass(frozen=True, kw_only=True)
class GatherLayout:
    """Where the operands of a gather lie in memory.

    Parameters
    ----------
    rows, inner, columns : int
        ``W`` has ``rows x inner`` elements, the result ``rows x columns``.
    entries : int
        Entries of ``W``.
    pointers, indices, values : int
        Addresses of the CSR arrays of ``W``; with the DENSE decoder only ``values`` is used.
    operand, operand_stride : int
        Address of ``A`` and bytes from row to row.
    result, result_stride : int
        Address of ``O`` and bytes from row to row.
    decoder : Decoder
    index_size : IndexSize
    relu, narrow : bool
        Whether negative results become +0, and results are rounded to operands.
    """

    rows: int
    inner: int
    columns: int
    entries: int
    pointers: int
    indices: int
    values: int
    operand: int
    operand_stride: int
    result: int
    result_stride: int
    decoder: Decoder = Decoder.CSR
    index_size: IndexSize = IndexSize.INT32
    relu: bool = False
    narrow: bool = False


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
        Inner indices of one inner tile; the ``split`` of ``acf.golden.products.gather``.
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


def column_tiling(config: FabricConfig, columns: int) -> tuple[int, int]:
    """Number of column passes, and columns of one tile in one pass.

    Few columns are spread over the mesh columns, as far as whole memory beats allow.
    """
    number_format = config.lane.number_format
    smaller = min(number_format.operand_bytes, number_format.accumulator_bytes)
    granule = max(1, config.memory.beat_bytes // smaller)
    passes = ceil(columns / config.columns)
    return passes, round_up(ceil(columns / max(1, passes) / config.cols), granule) or granule


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
        inner_tile=ceil(inner / max(1, inner_tiles)) or 1,
        passes=passes,
        row_tiles=row_tiles,
        inner_tiles=inner_tiles,
    )


def compile_gather(config: FabricConfig, layout: GatherLayout, *, skip: bool = True) -> Program:
    """The program that computes ``O = W A``.

    Parameters
    ----------
    config : FabricConfig
    layout : GatherLayout
    skip : bool
        Whether lanes skip zeros. Without, they spend a cycle on each; the result has the same bits.

    Raises
    ------
    ValueError
        If a size does not fit the fields of a command.
    """
    program = Program()
    steps = gather_steps(config, layout, skip=skip)
    if steps:
        add_clear(
            program,
            config,
            rows=tile_gather(config, rows=layout.rows, inner=layout.inner, columns=layout.columns).row_tile
            // config.rows,
        )
        add_steps(program, config, steps)
    program.add(Opcode.END)
    return program


def add_clear(program: Program, config: FabricConfig, *, rows: int, first: int = 0) -> None:
    """Append a CLEAR. Nobody waits for it: a tile takes it in order before the first entries."""
    program.add(Opcode.CLEAR, targets=(1 << config.rows) - 1, row_limit=rows, accumulator_first=first)


def gather_steps(config: FabricConfig, layout: GatherLayout, *, skip: bool = True) -> list[Step]:
    """The steps of ``O = W A``, for ``add_steps``; none if the result has no elements."""
    tiling = tile_gather(config, rows=layout.rows, inner=layout.inner, columns=layout.columns)
    number_format = config.lane.number_format
    result_bytes = number_format.operand_bytes if layout.narrow else number_format.accumulator_bytes
    steps = []
    for column_pass in range(tiling.passes):
        first_column = column_pass * tiling.pass_columns
        columns = {
            "columns": min(layout.columns - first_column, tiling.pass_columns),
            "tile_columns": tiling.tile_columns,
        }
        for row_tile in range(tiling.row_tiles):
            begin = row_tile * tiling.row_tile
            rows = {
                "row_begin": begin,
                "row_end": min(begin + tiling.row_tile, layout.rows),
                "row_offset": 1,
                "row_step": config.rows,
                "row_limit": config.lane.accumulator_rows,
                "accumulator_first": 0,
            }
            if not tiling.inner_tiles:
                steps.append(Step(operands={}, stream=None))  # the sums are empty: nothing but a drain
            for inner_tile in range(tiling.inner_tiles):
                first = inner_tile * tiling.inner_tile
                count = min(tiling.inner_tile, layout.inner - first)
                tile = OperandTile(
                    address=layout.operand + first * layout.operand_stride + first_column * number_format.operand_bytes,
                    stride=layout.operand_stride,
                    rows=count,
                    **columns,
                )
                stream = {
                    "pointers": layout.pointers,
                    "indices": layout.indices,
                    "values": layout.values,
                    "inner_begin": first,
                    "inner_count": count,
                    "mode": Mode.GATHER,
                    "skip": int(skip),
                    "index_size": layout.index_size,
                    "decoder": layout.decoder,
                    "inner_size": layout.inner,
                    "entries": layout.entries,
                    **rows,
                    **columns,
                }
                steps.append(Step(operands={"bank": tile}, stream=stream))
            steps[-1].drain = {
                "address": layout.result + first_column * result_bytes,
                "row_stride": layout.result_stride,
                "relu": int(layout.relu),
                "narrow": int(layout.narrow),
                **rows,
                **columns,
            }
    return steps
