"""A Verilated design in this process: its clock, its memory and its host, behind ctypes.

The cycle loop is in ``rtl_harness.cpp``; this module holds its memory and gives its functions Python's manners.
"""

import ctypes
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acf.sim.build import load_library
from acf.sim.memory_timing import MemoryTiming

__all__ = ["Harness", "HarnessError", "HarnessTimeout", "PortStatistics"]

_BANDWIDTH_UNIT = 65536
_STALL_UNIT = 65536
_SLICE_SECONDS = 0.25  # Ctrl-C is served between slices

_INTERRUPT, _CYCLE_LIMIT, _TIME_SLICE, _PROTOCOL, _QUIET = range(5)
_HOST_TIMEOUT, _HOST_PROTOCOL = -1, -2


class HarnessError(RuntimeError):
    """The design broke the AXI protocol; the message names the cycle and the channel."""


class HarnessTimeout(RuntimeError):
    """The design did not answer in the cycles it was given; the message says what was pending."""


class _Options(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "latency",
            "write_latency",
            "bandwidth",
            "outstanding",
            "jitter",
            "stall",
            "reorder",
            "interleave",
            "seed",
        )
    )


class PortStatistics(ctypes.Structure):
    """What the memory port has seen since the harness was made.

    Members
    -------
    cycles : int
        Cycles simulated, those of register accesses included.
    read_bursts, read_beats, write_bursts, write_beats : int
    bytes_written : int
        Strobes that were set.
    reads_outstanding, writes_outstanding : int
        Bursts taken and not finished.
    refused : int
        Bursts answered with an error.
    """

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "cycles", "read_bursts", "read_beats", "write_bursts", "write_beats", "bytes_written",
            "reads_outstanding", "writes_outstanding", "refused",
        )
    )  # fmt: skip


_HANDLE = ctypes.c_void_p
_FUNCTIONS = {
    "acf_open": (
        _HANDLE,
        [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.POINTER(_Options), ctypes.c_char_p],
    ),
    "acf_close": (None, [_HANDLE]),
    "acf_reset": (None, [_HANDLE, ctypes.c_uint64]),
    "acf_begin_run": (None, [_HANDLE]),
    "acf_run": (ctypes.c_int, [_HANDLE, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_double]),
    "acf_write_register": (ctypes.c_int, [_HANDLE, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64]),
    "acf_read_register": (ctypes.c_int, [_HANDLE, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32), ctypes.c_uint64]),
    "acf_add_fault": (None, [_HANDLE, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32]),
    "acf_clear_faults": (None, [_HANDLE]),
    "acf_message": (ctypes.c_char_p, [_HANDLE]),
    "acf_interrupt": (ctypes.c_int, [_HANDLE]),
    "acf_beat_bytes": (ctypes.c_uint64, [_HANDLE]),
    "acf_statistics": (None, [_HANDLE, ctypes.POINTER(PortStatistics)]),
}


class Harness:
    """One instance of a design from ``build_library``, reset and ready.

    The top module has ``clk``, ``rst`` (synchronous, active high), the memory port ``m_axi_*`` (AXI4 master), the host
    port ``s_axil_*`` (AXI4-Lite slave) and ``interrupt``.

    Parameters
    ----------
    library : Path
        The shared library.
    memory : ndarray of uint8
        What the memory port sees, shared by pointer: contiguous, writeable, not to be resized.
    base : int
        Address of ``memory[0]``. Bursts outside the array are answered DECERR.
    timing : MemoryTiming
    trace : Path or None
        File for waveforms; the library must have been built for its format.

    Raises
    ------
    ValueError
        If the memory is not a contiguous, writeable array of uint8.
    """

    def __init__(self, library: Path, *, memory: np.ndarray, base: int = 0, timing: MemoryTiming | None = None,
                 trace: Path | None = None):  # fmt: skip
        if memory.dtype != np.uint8 or memory.ndim != 1:
            raise ValueError(
                f"the memory must be a one-dimensional array of uint8, not {memory.ndim}-dimensional {memory.dtype}"
            )
        if not (memory.flags.c_contiguous and memory.flags.writeable):
            raise ValueError("the memory must be contiguous and writeable")
        timing = timing or MemoryTiming()
        self.memory = memory  # keeps it alive as long as C++ points at it
        self.timing = timing
        self._library = load_library(library, _FUNCTIONS)
        options = _Options(
            latency=timing.latency,
            write_latency=timing.write_latency,
            bandwidth=0 if timing.bandwidth is None else round(timing.bandwidth * _BANDWIDTH_UNIT),
            outstanding=timing.outstanding,
            jitter=timing.jitter,
            stall=round(timing.stall * _STALL_UNIT),
            reorder=timing.reorder,
            interleave=timing.interleave,
            seed=timing.seed,
        )
        self._handle = _HANDLE(self._library.acf_open(
            memory.ctypes.data, memory.size, base, ctypes.byref(options), str(trace).encode() if trace else None
        ))  # fmt: skip
        self._finalizer = weakref.finalize(self, self._library.acf_close, self._handle)
        self._check()

    def close(self) -> None:
        """End the simulation and flush its waveforms."""
        self._finalizer()

    def __enter__(self) -> "Harness":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def beat_bytes(self) -> int:
        """Bytes of one beat of the memory port."""
        return self._library.acf_beat_bytes(self._handle)

    @property
    def interrupt(self) -> bool:
        """Level of the interrupt in the latest cycle."""
        return bool(self._library.acf_interrupt(self._handle))

    @property
    def statistics(self) -> PortStatistics:
        """Counts of the memory port, up to now."""
        statistics = PortStatistics()
        self._library.acf_statistics(self._handle, ctypes.byref(statistics))
        return statistics

    def reset(self, cycles: int = 4) -> None:
        """Hold ``rst`` for some cycles and forget what the memory had under way."""
        self._library.acf_reset(self._handle, cycles)

    def fail_accesses(self, first: int, last: int, *, response: int = 2) -> None:
        """Answer every burst that touches the addresses ``first`` to ``last`` with ``response`` (2 is SLVERR)."""
        if not 2 <= response <= 3:
            raise ValueError(f"error response must be 2 (SLVERR) or 3 (DECERR), not {response!r}")
        self._library.acf_add_fault(self._handle, first, last, response)

    def heal_accesses(self) -> None:
        """Undo ``fail_accesses``."""
        self._library.acf_clear_faults(self._handle)

    def write_register(self, address: int, value: int, *, max_cycles: int = 10_000) -> None:
        """Write one host register."""
        result = self._library.acf_write_register(self._handle, address, value, max_cycles)
        self._check_host(result, f"write of {value:#x} to host register {address:#05x}", max_cycles)

    def read_register(self, address: int, *, max_cycles: int = 10_000) -> int:
        """Read one host register."""
        value = ctypes.c_uint32()
        result = self._library.acf_read_register(self._handle, address, ctypes.byref(value), max_cycles)
        self._check_host(result, f"read of host register {address:#05x}", max_cycles)
        return value.value

    def run(
        self, max_cycles: int, *, quiet_cycles: int | None = None, progress: Callable[[int], None] | None = None
    ) -> int:
        """Run until the interrupt rises.

        Parameters
        ----------
        max_cycles : int
        quiet_cycles : int or None
            Give up when no beat has moved on the memory port for this many cycles.
        progress : callable or None
            Called a few times per second with the cycles run so far.

        Returns
        -------
        int
            Cycles run, the one with the interrupt included.

        Raises
        ------
        HarnessTimeout
            If the interrupt has not risen in ``max_cycles`` cycles, or the memory port has been quiet for too long.
        HarnessError
            If the design breaks the AXI protocol.
        """
        begin = self.statistics.cycles
        self._library.acf_begin_run(self._handle)
        while True:
            done = self.statistics.cycles - begin
            result = self._library.acf_run(self._handle, max_cycles - done, quiet_cycles or 0, _SLICE_SECONDS)
            done = self.statistics.cycles - begin
            if result == _PROTOCOL:
                self._check()
            if result == _INTERRUPT:
                return done
            if result == _CYCLE_LIMIT:
                raise HarnessTimeout(f"no interrupt in {done} cycles; {self.pending()}")
            if result == _QUIET:
                raise HarnessTimeout(
                    f"no interrupt, and no beat on the memory port for {quiet_cycles} cycles; {self.pending()}"
                )
            if progress is not None:
                progress(done)

    def pending(self) -> str:
        """What the memory port has under way, in words."""
        s = self.statistics
        return (
            f"{s.reads_outstanding} reads and {s.writes_outstanding} writes outstanding, "
            f"{s.read_beats} beats read and {s.write_beats} written so far"
        )

    def _check(self) -> None:
        message = self._library.acf_message(self._handle).decode()
        if message:
            raise HarnessError(f"AXI protocol broken on the memory port in {message}")

    def _check_host(self, result: int, what: str, max_cycles: int) -> None:
        if result == _HOST_PROTOCOL:
            self._check()
        if result == _HOST_TIMEOUT:
            raise HarnessTimeout(f"{what} not answered in {max_cycles} cycles; {self.pending()}")
        if result:
            raise HarnessError(f"{what} answered with AXI response {result}")
