"""A Verilated board in this process: its UART pins as bytes, or behind a pseudo-terminal.

The cycle loop is in ``board_harness.cpp``. The Verilog comes from the caller, as for the ``rtl`` device.
"""

import contextlib
import ctypes
import os
import threading
import tty
import weakref
from pathlib import Path

from acf.sim.build import build_library, load_library

__all__ = ["BOARD_HARNESS", "BoardLine", "BoardPort", "SimulatedBoard"]

BOARD_HARNESS = Path(__file__).with_name("board_harness.cpp")

_SLICE_SECONDS = 0.1  # a stop is noticed between slices
_SERVED, _HOST_GONE, _FAILED = range(3)
_HANDLE = ctypes.c_void_p
_FUNCTIONS = {
    "acf_board_open": (_HANDLE, [ctypes.c_uint64]),
    "acf_board_close": (None, [_HANDLE]),
    "acf_board_send": (None, [_HANDLE, ctypes.c_char_p, ctypes.c_uint64]),
    "acf_board_run": (None, [_HANDLE, ctypes.c_uint64, ctypes.c_int]),
    "acf_board_receive": (ctypes.c_uint64, [_HANDLE, ctypes.c_char_p, ctypes.c_uint64]),
    "acf_board_now": (ctypes.c_uint64, [_HANDLE]),
    "acf_board_serve": (ctypes.c_int, [_HANDLE, ctypes.c_int, ctypes.c_double]),
}


class SimulatedBoard:
    """One instance of a design with the pins ``rx`` and ``tx``, reset and ready.

    Parameters
    ----------
    verilog : str
        Text of the design; beside the pins it has ``clk`` and ``rst``.
    top : str
        Name of its top module.
    cycles_per_bit : int
        Of its UART.
    quiet : bool
        No progress on standard error while the simulator is built.

    Raises
    ------
    acf.sim.build.BuildError
        If the simulator does not build.
    """

    def __init__(self, verilog: str, *, top: str, cycles_per_bit: int, quiet: bool = False):
        library = build_library(verilog, top=top, harness=BOARD_HARNESS, quiet=quiet)
        self._library = load_library(library, _FUNCTIONS)
        self._handle = _HANDLE(self._library.acf_board_open(cycles_per_bit))
        self._finalizer = weakref.finalize(self, self._library.acf_board_close, self._handle)
        self._room = ctypes.create_string_buffer(1 << 16)

    def close(self) -> None:
        """End the simulation."""
        self._finalizer()

    @property
    def cycles(self) -> int:
        """Cycles simulated since the reset."""
        return self._library.acf_board_now(self._handle)

    def send(self, data: bytes) -> None:
        """Put bytes in the queue in front of the pin ``rx``; ``run`` moves them."""
        self._library.acf_board_send(self._handle, data, len(data))

    def run(self, cycles: int, *, until_byte: bool = False) -> None:
        """Simulate; with ``until_byte`` no further than to the next byte from the pin ``tx``."""
        self._library.acf_board_run(self._handle, cycles, until_byte)

    def receive(self) -> bytes:
        """All bytes that have come from the pin ``tx``."""
        count = self._library.acf_board_receive(self._handle, self._room, len(self._room))
        return self._room.raw[:count]

    def serve(self, file: int, *, stop: threading.Event | None = None) -> None:
        """Move bytes between a file descriptor and the pins, until ``stop`` is set.

        The clock stands still while the line is quiet. A program goes on as long as the host asks for it.

        Raises
        ------
        OSError
            If the file cannot be read or written.
        """
        while stop is None or not stop.is_set():
            result = self._library.acf_board_serve(self._handle, file, _SLICE_SECONDS)
            if result == _FAILED:
                raise OSError("the pseudo-terminal of the simulated board cannot be read or written")


class BoardLine:
    """The pins of a simulated board as an ``acf.runtime.serial_line.Line``, in simulated time.

    Parameters
    ----------
    board : SimulatedBoard
    cycles_per_bit : int
        Of its UART.
    baud : int
        Bits in a simulated second.
    """

    name = "the simulated board"

    def __init__(self, board: SimulatedBoard, *, cycles_per_bit: int, baud: int = 3_000_000):
        self.board = board
        self.baud = baud
        self._clock = baud * cycles_per_bit

    def now(self) -> float:
        """Simulated seconds since the reset."""
        return self.board.cycles / self._clock

    def write(self, data: bytes) -> None:
        """Send."""
        self.board.send(data)

    def read(self, seconds: float) -> bytes:
        """Whatever has come, as soon as there is any; nothing after ``seconds``."""
        found = self.board.receive()
        if not found:
            self.board.run(max(1, round(seconds * self._clock)), until_byte=True)
            found = self.board.receive()
        return found

    def close(self) -> None:
        """Nothing to let go of."""


class BoardPort:
    """A pseudo-terminal with a simulated board behind it, served by a thread of its own.

    Parameters
    ----------
    board : SimulatedBoard

    Members
    -------
    path : str
        What a host opens, as it would open the port of a USB adapter.
    """

    def __init__(self, board: SimulatedBoard):
        self._board = board
        self._master, self._slave = os.openpty()  # our hold on the host's end keeps it open between hosts
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._stop = threading.Event()
        # Once an interrupt has come into a join of a thread, Python 3.11 takes it for ended: an event is not mistaken.
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._board.serve(self._master, stop=self._stop)
        finally:
            self._ended.set()

    def join(self) -> None:
        """Wait until the simulation has ended by itself, which it only does when the terminal fails."""
        while not self._ended.wait(0.2):
            pass

    def close(self) -> None:
        """Stop serving; the simulation itself stays."""
        self._stop.set()
        self._ended.wait()
        self._thread.join()
        for file in (self._master, self._slave):
            os.close(file)

    def __enter__(self) -> "BoardPort":
        return self

    def __exit__(self, *exception) -> None:
        self.close()
