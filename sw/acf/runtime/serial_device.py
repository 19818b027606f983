"""The ``serial`` device: a board behind a UART."""

from collections.abc import Sequence

import numpy as np

from acf.config import FabricConfig
from acf.isa import Register
from acf.runtime.device import RunResult, Window
from acf.runtime.host import RegisterHost
from acf.runtime.serial_line import Line, SerialLine
from acf.runtime.serial_link import Access, LinkError, SerialLink

__all__ = ["DEFAULT_BAUD", "SerialDevice"]

DEFAULT_BAUD = 3_000_000

_BUSY = 1 << 0
_ABORT = 1 << 1
_BLOCK = 256  # bytes that are compared, and sent, together
_ENDS = 1000  # times that an aborted program is asked for


class _LinkHost(RegisterHost):
    """The host registers through the link, several in one request where the order allows it."""

    def __init__(self, link: SerialLink, config: FabricConfig, *, watchdog: int):
        super().__init__(config, watchdog=watchdog)
        self._link = link

    def read(self, register: int) -> int:
        return self._link.access([Access(int(register))])[0]

    def write(self, register: int, value: int) -> None:
        self._link.access([Access(int(register), int(value))])

    def write_all(self, values: Sequence[tuple[int, int]]) -> None:
        self._link.access([Access(int(register), int(value)) for register, value in values])

    def read_counters(self, places: Sequence[tuple[int, int, int]]) -> list[int]:
        accesses = []
        for y, x, index in places:
            accesses += [Access(Register.COUNTER_SELECT, index | x << 8 | y << 12), Access(Register.COUNTER_VALUE)]
        return self._link.access(accesses)[1::2]


class SerialDevice:
    """A fabric on a board.

    ``memory`` is a copy on the host: a run sends those blocks of its windows that differ from what the board is known
    to hold, and fetches all that may have been written.

    Parameters
    ----------
    config : FabricConfig
        What the board is expected to be; checked by the digest in its registers.
    port : str or Line
        Path of a serial port, or an open line.
    memory_bytes : int
        Size of the memory; no more than the board has.
    baud : int
        Bits per second of a port.
    watchdog : int
        Cycles without progress before the fabric ends a program with the error WATCHDOG.
    patience : float
        As of ``SerialLink``.

    Raises
    ------
    ValueError
        If the board has another configuration, or less memory.
    OSError
        If the port cannot be opened.
    LinkError
        If no board answers.
    """

    name = "serial"

    def __init__(
        self,
        config: FabricConfig,
        *,
        port: str | Line,
        memory_bytes: int,
        baud: int = DEFAULT_BAUD,
        watchdog: int = 10_000_000,
        patience: float = 0.25,
    ):
        if memory_bytes <= 0:
            raise ValueError(f"memory must have at least 1 byte, not {memory_bytes!r}")
        line = SerialLine(port, baud=baud) if isinstance(port, str) else port
        self.config = config
        self._watchdog = watchdog
        try:
            self.link = SerialLink(line, patience=patience)
            self._host = _LinkHost(self.link, config, watchdog=watchdog)
            try:
                self._host.check_configuration()
            except ValueError as error:
                raise ValueError(f"the board at {line.name} was built for something else: {error}") from error
            has = self.link.greeting.memory_bytes
            if memory_bytes > has:
                raise ValueError(f"{memory_bytes} bytes of memory are needed, but the board at {line.name} has {has}")
            self._end_program()
        except BaseException:
            line.close()
            raise
        self.memory = np.zeros(memory_bytes, dtype=np.uint8)
        self._sent = np.zeros(memory_bytes, dtype=np.uint8)  # what the board holds,
        self._is_known = np.zeros(memory_bytes, dtype=bool)  # where that is known

    def close(self) -> None:
        """Let go of the port."""
        self.link.close()

    def run(self, program_address: int, commands: int, windows: list[Window]) -> RunResult:
        """Run a program; see ``acf.runtime.device.Device``.

        Raises
        ------
        FabricError
            If the program ended early.
        LinkError
            If the board does not answer any more.
        """
        for window in windows:
            self._send(window)
        host = self._host
        try:
            host.start(program_address, commands, windows)
            while host.read(Register.STATUS) & _BUSY:
                pass  # every question takes as long as the line takes for it
            try:
                return host.finish()
            finally:
                self._fetch(windows)
        except LinkError:
            self._is_known[:] = False
            raise

    def _end_program(self) -> None:
        """End a program that an earlier host has left running."""
        for _ in range(_ENDS):
            if not self._host.read(Register.STATUS) & _BUSY:
                return
            self._host.write(Register.CONTROL, _ABORT)
        raise LinkError(f"the board at {self.link.name} runs a program that cannot be aborted")

    def _send(self, window: Window) -> None:
        begin, end = window.base, min(window.limit + 1, self.memory.size)
        if begin >= end:
            return
        new = self.memory[begin:end]
        stale = ~self._is_known[begin:end] | (new != self._sent[begin:end])
        for first, last, value in _pieces(new, stale):
            if value is None:
                self.link.write(begin + first, new[first:last].tobytes())
            else:
                self.link.fill(begin + first, last - first, value)
        self._sent[begin:end] = new
        self._is_known[begin:end] = True

    def _fetch(self, windows: list[Window]) -> None:
        for window in windows:
            begin, end = window.base, min(window.limit + 1, self.memory.size)
            if not window.writable or begin >= end:
                continue
            found = np.frombuffer(self.link.read(begin, end - begin), dtype=np.uint8)
            self.memory[begin:end] = self._sent[begin:end] = found


def _pieces(data: np.ndarray, stale: np.ndarray) -> list[tuple[int, int, int | None]]:
    """Stretches ``(first, end, value)`` of blocks with stale bytes; a value where all bytes of one are equal."""
    pieces: list[tuple[int, int, int | None]] = []
    for first in range(0, data.size, _BLOCK):
        end = min(first + _BLOCK, data.size)
        if not stale[first:end].any():
            continue
        block = data[first:end]
        value = int(block[0]) if (block == block[0]).all() else None
        if pieces and pieces[-1][1] == first and pieces[-1][2] == value:
            pieces[-1] = (pieces[-1][0], end, value)
        else:
            pieces.append((first, end, value))
    return pieces
