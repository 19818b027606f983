"""Turns one sparse product into a program for a fabric.

The columns of the result are done in *column passes* as wide as the fabric, its rows in *row tiles* as large as the
accumulator banks, the inner dimension in *inner tiles* as large as an operand bank. For each pass and row tile the
inner tiles are streamed one after another into the same accumulators, then these are drained. Operands of the next
inner tile are loaded into another bank while the present one is streamed, unless they still lie in one.

Each bank has a semaphore of its own. At any time at most one thing is under way that signals it: the load that fills
the bank, or the last stream that reads it. So a WAIT can never be satisfied by signals that were meant for another.
"""

from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import NO_SEMAPHORE, Decoder, IndexSize, Mode, Opcode
from acf.runtime.memory import round_up
from acf.runtime.program import Program

__all__ = ["GatherLayout", "GatherTiling", "compile_gather", "tile_gather"]

_DRAIN_SEMAPHORE = 7


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
    number_format = config.lane.number_format
    smaller = min(number_format.operand_bytes, number_format.accumulator_bytes)
    granule = max(1, config.memory.beat_bytes // smaller)

    passes = ceil(columns / config.columns)
    tile_columns = round_up(ceil(columns / max(1, passes) / config.cols), granule) or granule
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


@dataclass
class _Step:
    """One inner tile streamed into one row tile of one column pass."""

    column_pass: int
    row_tile: int
    inner_tile: int
    bank: int = 0
    loads: bool = False
    """The operands are not in the bank yet."""
    releases: bool = False
    """The bank is filled anew after this step."""


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
    return _GatherCompiler(config, layout, skip=skip).compile()


class _GatherCompiler:
    def __init__(self, config: FabricConfig, layout: GatherLayout, *, skip: bool):
        self._config = config
        self._layout = layout
        self._skip = skip
        self._tiling = tile_gather(config, rows=layout.rows, inner=layout.inner, columns=layout.columns)
        self._all_rows = (1 << config.rows) - 1
        self._all_columns = (1 << config.cols) - 1
        self._program = Program()
        self._draining = False

    def compile(self) -> Program:
        if self._tiling.passes and self._tiling.row_tiles:
            self._clear()
            if self._tiling.inner_tiles:
                self._stream_all()
            else:
                for column_pass in range(self._tiling.passes):
                    for row_tile in range(self._tiling.row_tiles):
                        self._drain(column_pass, row_tile)
            self._wait_for_drain()
        self._program.add(Opcode.END)
        return self._program

    def _steps(self) -> list[_Step]:
        tiling = self._tiling
        steps = [
            _Step(column_pass, row_tile, inner_tile)
            for column_pass in range(tiling.passes)
            for row_tile in range(tiling.row_tiles)
            for inner_tile in range(tiling.inner_tiles)
        ]
        # Keep what is wanted again soonest, but never evict the bank that is being streamed while its successor loads.
        next_use = _next_uses(steps)
        contents: list[tuple[int, int] | None] = [None] * self._config.lane.operand_banks
        wanted = [len(steps)] * len(contents)
        last_step: list[_Step | None] = [None] * len(contents)
        previous = -1
        for number, step in enumerate(steps):
            operands = (step.column_pass, step.inner_tile)
            if operands in contents:
                step.bank = contents.index(operands)
            else:
                candidates = [bank for bank in range(len(contents)) if bank != previous] or [previous]
                step.bank = max(candidates, key=lambda bank: (contents[bank] is None, wanted[bank]))
                step.loads = True
                reader = last_step[step.bank]
                if reader is not None:
                    reader.releases = True
            contents[step.bank] = operands
            wanted[step.bank] = next_use[number]
            last_step[step.bank] = step
            previous = step.bank
        return steps

    def _stream_all(self) -> None:
        steps = self._steps()
        filled: set[int] = set()
        issued: set[int] = set()

        def load(number: int) -> None:
            step = steps[number]
            if step.bank in filled:
                self._wait_for_bank(step.bank)
            self._load(step)
            filled.add(step.bank)
            issued.add(number)

        for number, step in enumerate(steps):
            following = number + 1 if number + 1 < len(steps) and steps[number + 1].loads else None
            if step.loads and number not in issued:
                load(number)
            if following is not None and steps[following].bank not in filled:
                load(following)
            if step.loads:
                self._wait_for_bank(step.bank)
            self._stream(step)
            # Behind the stream, so that the row feeders need not wait while the bank before it is emptied.
            if following is not None and following not in issued:
                load(following)
            if step.inner_tile == self._tiling.inner_tiles - 1:
                self._drain(step.column_pass, step.row_tile)

    # One command each

    def _clear(self) -> None:
        # Nobody waits for it: a tile takes it in order before the first entries.
        self._program.add(
            Opcode.CLEAR,
            targets=self._all_rows,
            row_limit=self._tiling.row_tile // self._config.rows,
            accumulator_first=0,
        )

    def _wait_for_bank(self, bank: int) -> None:
        self._program.add(Opcode.WAIT, semaphore=bank, count=self._config.rows * self._config.cols)

    def _load(self, step: _Step) -> None:
        layout = self._layout
        first, count = self._inner_range(step)
        self._program.add(
            Opcode.LOAD,
            semaphore=step.bank,
            targets=self._all_columns,
            address=layout.operand
            + first * layout.operand_stride
            + step.column_pass * self._tiling.pass_columns * self._config.lane.number_format.operand_bytes,
            row_stride=layout.operand_stride,
            rows=count,
            operand_first=0,
            bank=step.bank,
            **self._columns(step.column_pass),
        )

    def _stream(self, step: _Step) -> None:
        layout = self._layout
        first, count = self._inner_range(step)
        self._program.add(
            Opcode.STREAM,
            semaphore=step.bank if step.releases else NO_SEMAPHORE,
            targets=self._all_rows,
            pointers=layout.pointers,
            indices=layout.indices,
            values=layout.values,
            inner_begin=first,
            inner_count=count,
            bank=step.bank,
            mode=Mode.GATHER,
            skip=int(self._skip),
            index_size=layout.index_size,
            decoder=layout.decoder,
            inner_size=layout.inner,
            entries=layout.entries,
            **self._rows(step.row_tile),
            **self._columns(step.column_pass),
        )

    def _drain(self, column_pass: int, row_tile: int) -> None:
        layout = self._layout
        if self._draining:
            self._wait_for_drain()
        self._draining = True
        self._program.add(
            Opcode.DRAIN,
            semaphore=_DRAIN_SEMAPHORE,
            targets=self._all_rows,
            address=layout.result
            + column_pass * self._tiling.pass_columns * self._config.lane.number_format.accumulator_bytes,
            row_stride=layout.result_stride,
            **self._rows(row_tile),
            **self._columns(column_pass),
        )

    def _wait_for_drain(self) -> None:
        self._program.add(Opcode.WAIT, semaphore=_DRAIN_SEMAPHORE, count=self._config.rows)

    # Fields that several commands share

    def _inner_range(self, step: _Step) -> tuple[int, int]:
        first = step.inner_tile * self._tiling.inner_tile
        return first, min(self._tiling.inner_tile, self._layout.inner - first)

    def _rows(self, row_tile: int) -> dict[str, int]:
        begin = row_tile * self._tiling.row_tile
        return {
            "row_begin": begin,
            "row_end": min(begin + self._tiling.row_tile, self._layout.rows),
            "row_offset": 1,
            "row_step": self._config.rows,
            "row_limit": self._config.lane.accumulator_rows,
            "accumulator_first": 0,
        }

    def _columns(self, column_pass: int) -> dict[str, int]:
        left = self._layout.columns - column_pass * self._tiling.pass_columns
        return {"columns": min(left, self._tiling.pass_columns), "tile_columns": self._tiling.tile_columns}


def _next_uses(steps: list[_Step]) -> list[int]:
    """For each step, the number of the next step that needs the same operands."""
    upcoming: dict[tuple[int, int], int] = {}
    uses = []
    for number, step in reversed(list(enumerate(steps))):
        operands = (step.column_pass, step.inner_tile)
        uses.append(upcoming.get(operands, len(steps)))
        upcoming[operands] = number
    return uses[::-1]
