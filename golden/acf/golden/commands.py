"""What commands mean: an interpreter of programs over a flat memory, without time.

Commands are carried out one after another, each at once and whole; a semaphore has its signals as soon as the command
that gives them is done. Where a program joins its commands properly by semaphores, any device that overlaps them must
leave the same bits in memory. Accumulators and operand banks belong to the tiles and keep their contents from command
to command and from program to program; before anything has been written to them they hold ones in all bits, so that a
program which forgets to clear or to load does not go unnoticed.
"""

from dataclasses import dataclass, field

import numpy as np

from acf.config import FabricConfig
from acf.golden.entries import EntryReader, Stream
from acf.golden.formats import golden_format
from acf.golden.guarded_memory import CommandFault, GuardedMemory, WindowRights
from acf.isa import (
    COMMAND_BYTES,
    NO_SEMAPHORE,
    SEMAPHORES,
    ErrorCode,
    FeederCounter,
    Mode,
    Opcode,
    decode_command,
)

__all__ = ["CommandFault", "CommandInterpreter", "Outcome", "WindowRights"]


@dataclass
class Outcome:
    """What a program did beside its results in memory.

    Parameters
    ----------
    effectual : numpy.ndarray
        Products with two non-zero operands, ``[row, column, lane]``.
    overflow : numpy.ndarray of bool
        Accumulators that wrapped, ``[row, column, lane]``.
    row_feeders, column_feeders : dict
        Counters of the feeders, an array each.
    commands : int
        Commands begun.
    """

    effectual: np.ndarray
    overflow: np.ndarray
    row_feeders: dict[FeederCounter, np.ndarray] = field(default_factory=dict)
    column_feeders: dict[FeederCounter, np.ndarray] = field(default_factory=dict)
    commands: int = 0


class CommandInterpreter:
    """The banks and accumulators of all tiles, and what commands do to them.

    Parameters
    ----------
    config : FabricConfig
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        self._arithmetic = golden_format(config.lane.format)
        width = (config.cols, config.tile_columns)
        # Tiles of one mesh column always hold the same operands.
        self._banks = _all_ones((config.lane.operand_banks, config.lane.operand_rows, *width), self._arithmetic.dtype)
        self._accumulators = _all_ones(
            (config.rows, config.lane.accumulator_rows, *width), self._arithmetic.accumulator_dtype
        )
        self._handlers = {
            Opcode.WAIT: self._wait,
            Opcode.LOAD: self._load,
            Opcode.CLEAR: self._clear,
            Opcode.STREAM: self._stream,
            Opcode.DRAIN: self._drain,
        }

    def run(self, memory: np.ndarray, *, program_address: int, commands: int, windows: list[WindowRights]) -> Outcome:
        """Carry out a program.

        Parameters
        ----------
        memory : numpy.ndarray of uint8
            Read and written in place.
        program_address : int
            Of the first command, a multiple of ``COMMAND_BYTES``.
        commands : int
            Commands that may be read.
        windows : list of WindowRights

        Raises
        ------
        CommandFault
            For the first error; memory and tiles keep what had been written.
        """
        config = self._config
        self._memory = GuardedMemory(memory, windows=windows, config=config.memory)
        self._semaphores = [0] * SEMAPHORES
        lanes = (config.rows, config.cols, config.lanes)
        self._outcome = Outcome(
            effectual=np.zeros(lanes, dtype=np.int64),
            overflow=np.zeros(lanes, dtype=np.bool_),
            row_feeders={
                counter: np.zeros(config.rows, dtype=np.int64)
                for counter in (
                    FeederCounter.ENTRIES,
                    FeederCounter.ZEROS_DROPPED,
                    FeederCounter.FILTERED,
                    FeederCounter.RESULT_ROWS,
                )
            },
            column_feeders={FeederCounter.OPERAND_ROWS: np.zeros(config.cols, dtype=np.int64)},
        )
        if program_address % COMMAND_BYTES:
            raise CommandFault(
                ErrorCode.MISALIGNED,
                address=program_address,
                detail=f"a program starts at a multiple of {COMMAND_BYTES}",
            )
        for number in range(commands):
            self._address = program_address + number * COMMAND_BYTES
            opcode, values = self._fetch()
            self._outcome.commands += 1
            if opcode is Opcode.END:
                return self._outcome
            self._handlers[opcode](values)
        raise CommandFault(
            ErrorCode.ILLEGAL_COMMAND,
            address=program_address + commands * COMMAND_BYTES,
            detail=f"no END among {commands} commands",
        )

    def _fetch(self) -> tuple[Opcode, dict[str, int]]:
        words = self._memory.read(self._address, COMMAND_BYTES, source=(0, 0)).view("<u4").tolist()
        try:
            return decode_command(words)
        except ValueError as error:
            raise CommandFault(ErrorCode.ILLEGAL_COMMAND, address=self._address, detail=str(error)) from error

    # Checks

    def _require(self, condition: bool, detail: str) -> None:
        if not condition:
            raise CommandFault(ErrorCode.COMMAND_RANGE, address=self._address, detail=detail)

    def _require_aligned(self, what: str, value: int, multiple: int, *, address: int, source: tuple[int, int]) -> None:
        if value % multiple:
            raise CommandFault(
                ErrorCode.MISALIGNED,
                address=address,
                source=source,
                detail=f"{what} must be a multiple of {multiple}, not {value}",
            )

    def _targets(self, values: dict[str, int], count: int) -> list[int]:
        self._require(values["targets"] < 1 << count, f"targets {values['targets']:#x}, but there are {count} feeders")
        return [n for n in range(count) if values["targets"] >> n & 1]

    def _signal(self, values: dict[str, int], times: int) -> None:
        semaphore = values["semaphore"]
        if semaphore != NO_SEMAPHORE:
            self._require(semaphore < SEMAPHORES, f"semaphore {semaphore} of {SEMAPHORES}")
            self._semaphores[semaphore] += times

    def _require_tile_columns(self, values: dict[str, int]) -> None:
        limit = self._config.tile_columns
        tile_columns = values["tile_columns"]
        self._require(0 < tile_columns <= limit, f"tile_columns {tile_columns}, but tiles hold {limit}")

    def _column_shares(self, values: dict[str, int]) -> np.ndarray:
        starts = np.arange(self._config.cols) * values["tile_columns"]
        return np.clip(values["columns"] - starts, 0, values["tile_columns"])

    def _feeder_rows(self, feeder: int, values: dict[str, int]) -> np.ndarray:
        """Rows of ``W`` and of the result that a row feeder takes, in order."""
        first = values["row_begin"] + feeder * values["row_offset"]
        rows = first + np.arange(values["row_limit"], dtype=np.int64) * values["row_step"]
        rows = rows[rows < values["row_end"]]
        self._require(
            values["accumulator_first"] + rows.size <= self._config.lane.accumulator_rows,
            f"accumulator rows {values['accumulator_first']} and {rows.size} more, "
            f"but a tile has {self._config.lane.accumulator_rows}",
        )
        return rows

    # Commands

    def _wait(self, values: dict[str, int]) -> None:
        semaphore, count = values["semaphore"], values["count"]
        self._require(semaphore < SEMAPHORES, f"semaphore {semaphore} of {SEMAPHORES}")
        if self._semaphores[semaphore] < count:
            # All that could signal has been done: no hardware would ever come past this command.
            raise CommandFault(
                ErrorCode.WATCHDOG,
                address=self._address,
                detail=f"WAIT needs {count} signals of semaphore {semaphore}, and "
                f"{self._semaphores[semaphore]} is all it will ever get",
            )
        self._semaphores[semaphore] -= count

    def _load(self, values: dict[str, int]) -> None:
        config = self._config
        feeders = self._targets(values, config.cols)
        self._require_tile_columns(values)
        self._require(values["bank"] < config.lane.operand_banks, f"bank {values['bank']}")
        self._require(
            values["operand_first"] + values["rows"] <= config.lane.operand_rows,
            f"operand rows {values['operand_first']} and {values['rows']} more, "
            f"but a bank has {config.lane.operand_rows}",
        )
        size = self._arithmetic.dtype.itemsize
        shares = self._column_shares(values)
        for feeder in feeders:
            source = (0, feeder + 1)
            for what, value in (
                ("address", values["address"]),
                ("row_stride", values["row_stride"]),
                ("tile_columns in bytes", values["tile_columns"] * size),
            ):
                self._require_aligned(what, value, config.memory.beat_bytes, address=values["address"], source=source)
            loaded = np.zeros((values["rows"], config.tile_columns), dtype=self._arithmetic.dtype)
            share = shares[feeder]
            for row in range(values["rows"] if share else 0):
                address = values["address"] + row * values["row_stride"] + feeder * values["tile_columns"] * size
                data = self._memory.read(address, int(share) * size, source=source)
                loaded[row, :share] = data.view(self._arithmetic.dtype)
            rows = slice(values["operand_first"], values["operand_first"] + values["rows"])
            self._banks[values["bank"], rows, feeder] = loaded
            self._outcome.column_feeders[FeederCounter.OPERAND_ROWS][feeder] += values["rows"]
        self._signal(values, len(feeders) * config.rows)

    def _clear(self, values: dict[str, int]) -> None:
        feeders = self._targets(values, self._config.rows)
        end = values["accumulator_first"] + values["row_limit"]
        self._require(end <= self._config.lane.accumulator_rows, f"accumulator rows up to {end}")
        self._accumulators[feeders, values["accumulator_first"] : end] = 0
        self._signal(values, len(feeders) * self._config.cols)

    def _stream(self, values: dict[str, int]) -> None:
        config = self._config
        feeders = self._targets(values, config.rows)
        self._require_tile_columns(values)
        self._require(values["mode"] == Mode.GATHER, f"mode {values['mode']} is not built")
        self._require(values["bank"] < config.lane.operand_banks, f"bank {values['bank']}")
        self._require(
            values["inner_count"] <= config.lane.operand_rows,
            f"inner_count {values['inner_count']}, but a bank has {config.lane.operand_rows} rows",
        )
        streams = []
        for feeder in feeders:
            rows = self._feeder_rows(feeder, values)
            reader = EntryReader(
                self._memory,
                command=values,
                arithmetic=self._arithmetic,
                source=(feeder + 1, 0),
                command_address=self._address,
            )
            streams.append(reader.read(rows))
        for feeder, stream in zip(feeders, streams, strict=True):
            counters = self._outcome.row_feeders
            counters[FeederCounter.ENTRIES][feeder] += stream.values.size
            counters[FeederCounter.ZEROS_DROPPED][feeder] += stream.zeros_dropped
            counters[FeederCounter.FILTERED][feeder] += stream.filtered
            self._compute(feeder, stream, values)
        self._signal(values, len(feeders) * config.cols)

    def _compute(self, feeder: int, stream: Stream, values: dict[str, int]) -> None:
        """Add the entries of one feeder in its tiles; step ``n`` takes the ``n``-th entry of every row."""
        config = self._config
        bank = self._banks[values["bank"]]
        valid = np.arange(config.tile_columns) < self._column_shares(values)[:, None]
        accumulators = self._accumulators[feeder]
        by_lane = (-1, config.cols, config.lane.slots, config.lanes)  # column k is lane k % lanes, slot k // lanes
        for step in range(int(stream.counts.max(initial=0))):
            rows = np.flatnonzero(stream.counts > step)
            places = stream.starts[rows] + step
            weights = stream.values[places, None, None]
            operands = bank[stream.inner[places]]
            counted = ~self._arithmetic.is_zero(weights) & ~self._arithmetic.is_zero(operands) & valid
            targets = values["accumulator_first"] + rows
            sums, wrapped = self._arithmetic.accumulate(accumulators[targets], weights, operands)
            accumulators[targets] = np.where(counted, sums, accumulators[targets])
            self._outcome.effectual[feeder] += counted.reshape(by_lane).sum(axis=(0, 2))
            self._outcome.overflow[feeder] |= (counted & wrapped).reshape(by_lane).any(axis=(0, 2))

    def _drain(self, values: dict[str, int]) -> None:
        config = self._config
        feeders = self._targets(values, config.rows)
        self._require_tile_columns(values)
        size = self._arithmetic.accumulator_dtype.itemsize
        shares = self._column_shares(values)
        for feeder in feeders:
            source = (feeder + 1, 0)
            for what, value in (
                ("address", values["address"]),
                ("row_stride", values["row_stride"]),
                ("tile_columns in bytes", values["tile_columns"] * size),
            ):
                self._require_aligned(what, value, config.memory.beat_bytes, address=values["address"], source=source)
            for n, row in enumerate(self._feeder_rows(feeder, values).tolist()):
                accumulators = self._accumulators[feeder, values["accumulator_first"] + n]
                for column in np.flatnonzero(shares).tolist():
                    address = values["address"] + row * values["row_stride"] + column * values["tile_columns"] * size
                    data = accumulators[column, : shares[column]].copy().view(np.uint8)
                    self._memory.write(address, data, source=source)
                accumulators[:] = 0
                self._outcome.row_feeders[FeederCounter.RESULT_ROWS][feeder] += config.cols
        self._signal(values, len(feeders))


def _all_ones(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.full((*shape, dtype.itemsize), 0xFF, dtype=np.uint8).view(dtype)[..., 0]
