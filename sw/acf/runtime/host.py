"""What a host does over the registers, whatever carries it there: start programs, read errors and counters."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from acf.config import FabricConfig
from acf.isa import (
    COMMAND_BYTES,
    COUNTERS_PER_LANE,
    IDENTIFIER,
    VERSION,
    CommandProcessorCounter,
    ErrorCode,
    FeederCounter,
    LaneCause,
    LaneCounter,
    Register,
    StructureCounter,
)
from acf.runtime.device import FabricError, RunResult, Window

__all__ = ["WINDOWS", "RegisterHost"]

WINDOWS = 4
"""Windows of the memory guard."""

_WINDOW_STRIDE = 16
_STATUS_ERROR = 1 << 2
_ROW_FEEDER_COUNTERS = (
    FeederCounter.ENTRIES,
    FeederCounter.ZEROS_DROPPED,
    FeederCounter.FILTERED,
    FeederCounter.RESULT_ROWS,
)


class RegisterHost(ABC):
    """Drives a fabric through its host registers.

    Parameters
    ----------
    config : FabricConfig
        The fabric that is expected behind the registers.
    watchdog : int
        Cycles without progress before the fabric ends a program with the error WATCHDOG; 0 turns it off.

    Raises
    ------
    ValueError
        If ``watchdog`` does not fit its register.
    """

    def __init__(self, config: FabricConfig, *, watchdog: int):
        if not 0 <= watchdog < 1 << 32:
            raise ValueError(f"watchdog must be from 0 to 2^32 - 1 cycles, not {watchdog!r}")
        self._config = config
        self._watchdog = watchdog

    @abstractmethod
    def read(self, register: int) -> int:
        """The value of a register, by byte offset."""

    @abstractmethod
    def write(self, register: int, value: int) -> None:
        """Write a register, by byte offset."""

    def write_all(self, values: Sequence[tuple[int, int]]) -> None:
        """Write registers one after the other, each given as byte offset and value."""
        for register, value in values:
            self.write(register, value)

    def check_configuration(self) -> None:
        """Compare identifier, version and configuration digest.

        Raises
        ------
        ValueError
            If another fabric, or none, answers.
        """
        for register, expected in (
            (Register.IDENTIFIER, IDENTIFIER),
            (Register.VERSION, VERSION),
            (Register.CONFIG_DIGEST, int(self._config.digest[:8], 16)),
        ):
            value = self.read(register)
            if value != expected:
                raise ValueError(
                    f"the fabric is not of this configuration: {register.name} is {value:#010x}, not {expected:#010x}"
                )

    def start(self, program_address: int, commands: int, windows: list[Window]) -> None:
        """Open the windows and start a program; the interrupt rises when it has ended.

        Raises
        ------
        ValueError
            If the address, the length or the number of windows is out of range.
        """
        if not 0 <= program_address < 1 << 32 or program_address % COMMAND_BYTES:
            raise ValueError(
                f"program address must be a multiple of {COMMAND_BYTES} in 32 bits, not {program_address:#x}"
            )
        if not 0 < commands < 1 << 32:
            raise ValueError(f"a program must have 1 to 2^32 - 1 commands, not {commands!r}")
        if len(windows) > WINDOWS:
            raise ValueError(f"a program may have up to {WINDOWS} windows, not {len(windows)!r}")
        values: list[tuple[int, int]] = []
        for n in range(WINDOWS):
            offset = n * _WINDOW_STRIDE
            if n < len(windows):
                window = windows[n]
                values += [
                    (Register.WINDOW_BASE_0 + offset, window.base),
                    (Register.WINDOW_LIMIT_0 + offset, window.limit),
                    (Register.WINDOW_RIGHTS_0 + offset, window.readable | window.writable << 1),
                ]
            else:
                values.append((Register.WINDOW_RIGHTS_0 + offset, 0))
        self.write_all(
            [
                *values,
                (Register.PROGRAM_ADDRESS, program_address),
                (Register.PROGRAM_LENGTH, commands),
                (Register.WATCHDOG, self._watchdog),
                (Register.INTERRUPT_STATUS, 1),
                (Register.INTERRUPT_ENABLE, 1),
                (Register.CONTROL, 1),
            ]
        )

    def finish(self) -> RunResult:
        """Take the interrupt of an ended program and read what it has left.

        Raises
        ------
        FabricError
            If the program ended early.
        """
        status = self.read(Register.STATUS)
        self.write(Register.INTERRUPT_STATUS, 1)
        if status & _STATUS_ERROR:
            raise self._error()
        return self._result()

    def read_counter(self, y: int, x: int, index: int) -> int:
        """One counter of node ``(y, x)``."""
        self.write(Register.COUNTER_SELECT, index | x << 8 | y << 12)
        return self.read(Register.COUNTER_VALUE)

    def read_counters(self, places: Sequence[tuple[int, int, int]]) -> list[int]:
        """Counters one after the other, each given as ``y``, ``x`` and index."""
        return [self.read_counter(y, x, index) for y, x, index in places]

    def _error(self) -> FabricError:
        source = self.read(Register.ERROR_SOURCE)
        return FabricError(
            ErrorCode(self.read(Register.ERROR_CODE)),
            address=self.read(Register.ERROR_ADDRESS),
            row=self.read(Register.ERROR_ROW),
            index=self.read(Register.ERROR_INDEX),
            source=(source >> 4 & 0xF, source & 0xF),
        )

    def _result(self) -> RunResult:
        config = self._config
        shape = (config.rows, config.cols, config.lanes)
        of_lane = [*LaneCause, LaneCounter.EFFECTUAL_MACS, LaneCounter.FLAGS]
        lanes = self.read_counters(
            [
                (row + 1, column + 1, lane * COUNTERS_PER_LANE + counter)
                for row, column, lane in np.ndindex(shape)
                for counter in of_lane
            ]
        )
        counts = np.array(lanes, dtype=np.int64).reshape(*shape, len(of_lane))
        rows = self.read_counters(
            [(row + 1, 0, counter) for counter in _ROW_FEEDER_COUNTERS for row in range(config.rows)]
        )
        columns = self.read_counters([(0, column + 1, FeederCounter.OPERAND_ROWS) for column in range(config.cols)])
        of_corner = [*StructureCounter, *CommandProcessorCounter]
        corner = dict(zip(of_corner, self.read_counters([(0, 0, counter) for counter in of_corner]), strict=True))
        structure = {counter: corner[counter] for counter in StructureCounter}
        return RunResult(
            config=config,
            effectual=counts[..., len(LaneCause)],
            flags=counts[..., len(LaneCause) + 1].astype(np.uint8),
            row_feeders=dict(zip(_ROW_FEEDER_COUNTERS, np.array(rows).reshape(-1, config.rows), strict=True)),
            column_feeders={FeederCounter.OPERAND_ROWS: np.array(columns)},
            commands=corner[CommandProcessorCounter.COMMANDS],
            cycles=self.read(Register.CYCLES_LOW) | self.read(Register.CYCLES_HIGH) << 32,
            causes=counts[..., : len(LaneCause)],
            bytes_read=corner[CommandProcessorCounter.BYTES_READ],
            bytes_written=corner[CommandProcessorCounter.BYTES_WRITTEN],
            structure=structure,
            rewired=structure[StructureCounter.REWIRED],
        )
