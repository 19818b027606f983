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
from acf.golden.command_checks import CommandChecks
from acf.golden.drains import Drains
from acf.golden.entries import EntryReader, Stream
from acf.golden.formats import golden_format
from acf.golden.guarded_memory import CommandFault, GuardedMemory, WindowRights
from acf.golden.merge import LayerGrowth
from acf.golden.packed import unpack_chunk
from acf.golden.structure_commands import StructureCommands
from acf.golden.tiles import TileArray
from acf.isa import (
    COMMAND_BYTES,
    DEFAULT_UNIT,
    NO_SEMAPHORE,
    SEMAPHORES,
    ErrorCode,
    FeederCounter,
    Mode,
    Opcode,
    decode_command,
    unit_exponent,
)

__all__ = ["CommandFault", "CommandInterpreter", "Outcome", "WindowRights"]


@dataclass
class Outcome:
    """What a program did beside its results in memory.

    Parameters
    ----------
    effectual : numpy.ndarray
        Products with two non-zero operands, ``[row, column, lane]``.
    flags : numpy.ndarray of uint8
        What sums raised (``acf.isa.Flag``), ``[row, column, lane]``.
    row_feeders, column_feeders : dict
        Counters of the feeders, an array each.
    commands : int
        Commands begun.
    rewired : int
        Entries that were dropped and grown elsewhere.
    """

    effectual: np.ndarray
    flags: np.ndarray
    row_feeders: dict[FeederCounter, np.ndarray] = field(default_factory=dict)
    column_feeders: dict[FeederCounter, np.ndarray] = field(default_factory=dict)
    commands: int = 0
    rewired: int = 0


class CommandInterpreter:
    """The banks and accumulators of all tiles, and what commands do to them.

    Parameters
    ----------
    config : FabricConfig
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        self._growth = LayerGrowth()
        self._checks = CommandChecks(config)
        self._arithmetic = golden_format(config.lane.format)
        self._tiles = TileArray(config=config, arithmetic=self._arithmetic)
        self._remembered = np.zeros((config.rows, config.feeder.ranges, 2), dtype=np.int64)
        self._handlers = {
            Opcode.WAIT: self._wait,
            Opcode.LOAD: self._load,
            Opcode.CLEAR: self._clear,
            Opcode.STREAM: self._stream,
            Opcode.DRAIN: self._drain,
            Opcode.UPDATE: self._update,
            Opcode.REWIRE: self._rewire,
            Opcode.PRUNE: self._prune,
            Opcode.SURVEY: self._survey,
            Opcode.MERGE: self._merge,
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
        # An error resets the structure engine.
        growth, self._growth = self._growth, LayerGrowth()
        self._structure = StructureCommands(self._memory, config=config, checks=self._checks, growth=growth)
        self._tiles.start_counting()
        self._outcome = Outcome(
            effectual=self._tiles.effectual,
            flags=self._tiles.flags,
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
        try:
            self._carry_out(program_address, commands)
        except CommandFault:
            self._tiles.units[:] = DEFAULT_UNIT  # an error resets the tiles too
            raise
        self._growth = growth
        self._outcome.rewired = self._structure.rewired
        return self._outcome

    def _carry_out(self, program_address: int, commands: int) -> None:
        for number in range(commands):
            self._checks.address = program_address + number * COMMAND_BYTES
            opcode, values = self._fetch()
            self._outcome.commands += 1
            if opcode is Opcode.END:
                return
            self._handlers[opcode](values)
        raise CommandFault(
            ErrorCode.ILLEGAL_COMMAND,
            address=program_address + commands * COMMAND_BYTES,
            detail=f"no END among {commands} commands",
        )

    def _fetch(self) -> tuple[Opcode, dict[str, int]]:
        words = self._memory.read(self._checks.address, COMMAND_BYTES, source=(0, 0)).view("<u4").tolist()
        try:
            return decode_command(words)
        except ValueError as error:
            raise CommandFault(ErrorCode.ILLEGAL_COMMAND, address=self._checks.address, detail=str(error)) from error

    def _signal(self, values: dict[str, int], times: int) -> None:
        if values["semaphore"] != NO_SEMAPHORE:
            self._semaphores[self._checks.semaphore(values)] += times

    # Commands

    def _wait(self, values: dict[str, int]) -> None:
        semaphore, count = self._checks.semaphore(values), values["count"]
        if self._semaphores[semaphore] < count:
            # All that could signal has been done: no hardware would ever come past this command.
            raise CommandFault(
                ErrorCode.WATCHDOG,
                address=self._checks.address,
                detail=f"WAIT needs {count} signals of semaphore {semaphore}, and "
                f"{self._semaphores[semaphore]} is all it will ever get",
            )
        self._semaphores[semaphore] -= count

    def _load(self, values: dict[str, int]) -> None:
        config = self._config
        feeders = self._checks.targets(values, config.cols)
        self._checks.require_tile_columns(values)
        self._checks.require_bank(values)
        self._checks.require(
            values["operand_first"] + values["rows"] <= config.lane.operand_rows,
            f"operand rows {values['operand_first']} and {values['rows']} more, "
            f"but a bank has {config.lane.operand_rows}",
        )
        packed, skipping = values["packed"], config.lane.skipping
        self._checks.require(skipping or not packed, "operands are packed, but the lanes do not skip zeros")
        shares = self._checks.column_shares(values)
        read = self._read_packed if packed else self._read_dense
        for feeder in feeders:
            loaded = read(feeder, int(shares[feeder]), values)
            rows = slice(values["operand_first"], values["operand_first"] + values["rows"])
            self._tiles.banks[values["bank"], rows, feeder] = loaded
            self._outcome.column_feeders[FeederCounter.OPERAND_ROWS][feeder] += values["rows"]
        self._signal(values, len(feeders) * config.rows)

    def _require_beats(self, feeder: int, values: dict[str, int], *, row_bytes: int) -> None:
        beat = self._config.memory.beat_bytes
        for what, value in (
            ("address", values["address"]),
            ("row_stride", values["row_stride"]),
            ("tile_columns in bytes", row_bytes),
        ):
            self._checks.require_aligned(what, value, beat, address=values["address"], source=(0, feeder + 1))

    def _read_dense(self, feeder: int, share: int, values: dict[str, int]) -> np.ndarray:
        """Operand rows of a column feeder, of which ``share`` columns are valid."""
        dtype, width = self._arithmetic.dtype, values["tile_columns"] * self._arithmetic.dtype.itemsize
        self._require_beats(feeder, values, row_bytes=width)
        loaded = np.zeros((values["rows"], self._config.tile_columns), dtype=dtype)
        if share and values["rows"]:
            address = values["address"] + feeder * width
            size = share * dtype.itemsize
            data = self._read_rows(address, values["row_stride"], values["rows"], size, source=(0, feeder + 1))
            loaded[:, :share] = data.view(dtype)
        return loaded

    def _read_packed(self, feeder: int, share: int, values: dict[str, int]) -> np.ndarray:
        """The same of packed operands; where no column is valid nothing is read."""
        config = self._config
        self._require_beats(feeder, values, row_bytes=0)
        source = (0, feeder + 1)
        chunk_rows, flit_bytes = config.feeder.chunk_rows, config.noc.flit_width // 8
        chunks = [np.zeros((0, config.tile_columns), dtype=self._arithmetic.dtype)]
        for chunk in range(-(-values["rows"] // chunk_rows)):
            if not share:
                chunks.append(np.zeros((chunk_rows, config.tile_columns), dtype=self._arithmetic.dtype))
                continue
            place = values["lengths"] + feeder * values["length_stride"] + 2 * chunk
            length = int(self._memory.read(place & ~1, 2, source=source).view("<u2")[0])
            address = values["address"] + feeder * config.chunk_bytes + chunk * values["row_stride"]
            if length > config.chunk_value_flits:
                raise CommandFault(
                    ErrorCode.COMMAND_RANGE,
                    address=address,
                    source=source,
                    detail=f"a chunk has at most {config.chunk_value_flits} flits of values, not {length}",
                )
            flits = self._memory.read(address, (config.chunk_mask_flits + length) * flit_bytes, source=source)
            chunks.append(unpack_chunk(flits, config=config))
        return np.concatenate(chunks)[: values["rows"]]

    def _read_rows(self, address: int, stride: int, rows: int, size: int, *, source: tuple[int, int]) -> np.ndarray:
        found = self._memory.rows(address, stride, rows=rows, size=size, write=False)
        if found is not None:
            return found.copy()
        return np.stack([self._memory.read(address + row * stride, size, source=source) for row in range(rows)])

    def _clear(self, values: dict[str, int]) -> None:
        feeders = self._checks.targets(values, self._config.rows)
        end = values["accumulator_first"] + values["row_limit"]
        self._checks.require(end <= self._config.lane.accumulator_rows, f"accumulator rows up to {end}")
        self._tiles.accumulators[feeders, values["accumulator_first"] : end] = 0
        self._signal(values, len(feeders) * self._config.cols)

    def _stream(self, values: dict[str, int]) -> None:
        config = self._config
        feeders = self._checks.targets(values, config.rows)
        self._checks.require_tile_columns(values)
        mode, first = values["mode"], values["accumulator_first"]
        self._checks.require(mode in set(Mode), f"mode {mode}")
        self._checks.require_bank(values)
        if mode == Mode.SAMPLED:
            self._checks.require(
                values["row_bank"] < config.lane.operand_banks and (values["row_bank"] ^ values["bank"]) & 1 == 1,
                f"row_bank {values['row_bank']} beside bank {values['bank']}, but one is even and the other odd",
            )
            self._checks.require_sums(values)
        if mode == Mode.SCATTER:
            self._checks.require_accumulator_rows(first, values["inner_count"])
        else:
            self._checks.require_operand_rows("inner_count", values["inner_count"])
        streams = []
        for feeder in feeders:
            rows = self._checks.feeder_rows(feeder, values)
            self._checks.require_ranges(values, rows.size)
            if mode == Mode.GATHER:
                self._checks.require_accumulator_rows(first, rows.size)
            else:
                self._checks.require_operand_rows("rows of a feeder", values["row_operand_first"] + rows.size)
            reader = EntryReader(
                self._memory,
                command=values,
                arithmetic=self._arithmetic,
                feeder=feeder,
                remembered=self._remembered[feeder],
                formats=config.feeder.formats,
                command_address=self._checks.address,
            )
            streams.append(reader.read(rows))
        for feeder, stream in zip(feeders, streams, strict=True):
            counters = self._outcome.row_feeders
            counters[FeederCounter.ENTRIES][feeder] += stream.values.size
            counters[FeederCounter.ZEROS_DROPPED][feeder] += stream.zeros_dropped
            counters[FeederCounter.FILTERED][feeder] += stream.filtered
        self._tiles.units[feeders] = unit_exponent(values["unit"])
        if streams:
            self._compute(feeders, values, streams)
        self._signal(values, len(feeders) * config.cols)

    def _compute(self, feeders: list[int], values: dict[str, int], streams: list[Stream]) -> None:
        valid = np.arange(self._config.tile_columns) < self._checks.column_shares(values)[:, None]
        bank, first = values["bank"], values["accumulator_first"]
        mesh_rows = np.repeat(feeders, [stream.rows.size for stream in streams])
        rows, inner = (np.concatenate([getattr(stream, what) for stream in streams]) for what in ("rows", "inner"))
        if values["mode"] == Mode.SAMPLED:
            self._tiles.sample(
                mesh_rows,
                row_bank=values["row_bank"],
                bank=bank,
                valid=valid,
                numbers=first * self._config.lane.slots + np.concatenate([stream.numbers for stream in streams]),
                row_sources=values["row_operand_first"] + rows,
                sources=inner,
                unit=unit_exponent(values["unit"]),
            )
            return
        targets, sources = rows, inner
        if values["mode"] == Mode.SCATTER:
            targets, sources = inner, values["row_operand_first"] + rows
        weights = np.concatenate([stream.values for stream in streams])
        self._tiles.accumulate(
            mesh_rows,
            bank=bank,
            valid=valid,
            targets=first + targets,
            sources=sources,
            weights=weights,
            unit=unit_exponent(values["unit"]),
        )

    def _drain(self, values: dict[str, int]) -> None:
        feeders = self._checks.targets(values, self._config.rows)
        drains = Drains(
            self._memory, self._tiles, config=self._config, checks=self._checks, arithmetic=self._arithmetic
        )
        drains.check(values)
        for feeder in feeders:
            drained = drains.sums(feeder, values) if values["reduce"] else drains.rows(feeder, values)
            self._outcome.row_feeders[FeederCounter.RESULT_ROWS][feeder] += drained
        self._signal(values, len(feeders))

    def _update(self, values: dict[str, int]) -> None:
        self._structure.update(values)
        self._signal(values, 1)

    def _rewire(self, values: dict[str, int]) -> None:
        self._structure.rewire(values)
        self._signal(values, 1)

    def _prune(self, values: dict[str, int]) -> None:
        self._structure.prune(values)
        self._signal(values, 1)

    def _survey(self, values: dict[str, int]) -> None:
        self._structure.survey(values)
        self._signal(values, 1)

    def _merge(self, values: dict[str, int]) -> None:
        self._structure.merge(values)
        self._signal(values, 1)
