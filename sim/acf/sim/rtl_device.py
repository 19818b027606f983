"""The ``rtl`` device: the Verilated fabric in this process.

The Verilog comes from the caller: this package does not know how hardware is described. Memory is a NumPy array that
the simulation reads and writes by pointer; Python takes part only before and after a program.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acf.config import FabricConfig
from acf.isa import Register
from acf.runtime.device import RunResult, Window
from acf.runtime.host import RegisterHost
from acf.sim.build import build_library
from acf.sim.harness import Harness, HarnessTimeout, PortStatistics
from acf.sim.memory_timing import MemoryTiming

__all__ = ["RtlDevice"]


class _HarnessHost(RegisterHost):
    """The host registers through the harness."""

    def __init__(self, harness: Harness, config: FabricConfig, *, watchdog: int):
        super().__init__(config, watchdog=watchdog)
        self._harness = harness

    def read(self, register: int) -> int:
        return self._harness.read_register(int(register))

    def write(self, register: int, value: int) -> None:
        self._harness.write_register(int(register), int(value))


class RtlDevice:
    """A fabric in RTL, cycle by cycle.

    Parameters
    ----------
    config : FabricConfig
        The configuration that the Verilog was generated with; the device checks it by the digest in its registers.
    verilog : str
        Text of the fabric.
    top : str
        Name of its top module.
    memory_bytes : int
        Size of the memory, from address 0.
    timing : MemoryTiming or None
        Of the memory; the default one when None.
    watchdog : int
        Cycles without progress before the fabric ends a program with the error WATCHDOG. A fabric that stays silent for
        four times as long is taken for dead, and ``run`` raises ``HarnessTimeout``.
    max_cycles : int
        Most cycles of one program.
    trace : Path or None
        File for waveforms, ``*.vcd`` or ``*.fst``. The simulator is built anew for it, and is slower.
    progress : callable or None
        Called a few times per second with the cycles run so far.
    quiet : bool
        No progress on standard error while the simulator is built.

    Members
    -------
    verilog_digest : str
        First 12 hexadecimal digits of the SHA-256 of ``verilog``.

    Raises
    ------
    ValueError
        If a value is out of its range, or the Verilog is of another configuration.
    acf.sim.build.BuildError
        If the simulator does not build.
    """

    name = "rtl"

    def __init__(
        self,
        config: FabricConfig,
        *,
        verilog: str,
        top: str,
        memory_bytes: int = 1 << 26,
        timing: MemoryTiming | None = None,
        watchdog: int = 100_000,
        max_cycles: int = 1_000_000_000,
        trace: Path | None = None,
        progress: Callable[[int], None] | None = None,
        quiet: bool = False,
    ):
        if not 0 < memory_bytes <= 1 << config.memory.address_width:
            raise ValueError(f"memory must have 1 to 2^{config.memory.address_width} bytes, not {memory_bytes!r}")
        if not 0 < watchdog < 1 << 32:
            raise ValueError(f"watchdog must be from 1 to 2^32 - 1 cycles, not {watchdog!r}")
        if trace is not None and trace.suffix not in (".vcd", ".fst"):
            raise ValueError(f"a trace must be a .vcd or .fst file, not {str(trace)!r}")
        self.config = config
        self.memory = np.zeros(memory_bytes, dtype=np.uint8)
        self.verilog_digest = hashlib.sha256(verilog.encode()).hexdigest()[:12]
        self._watchdog = watchdog
        self._max_cycles = max_cycles
        self._progress = progress
        library = build_library(verilog, top=top, trace=trace.suffix[1:] if trace else None, quiet=quiet)
        self._harness = Harness(library, memory=self.memory, timing=timing, trace=trace)
        self._host = _HarnessHost(self._harness, config, watchdog=watchdog)
        self._host.check_configuration()

    def close(self) -> None:
        """End the simulation and flush its waveforms."""
        self._harness.close()

    @property
    def harness(self) -> Harness:
        """The simulation itself: registers, resets, faults of the memory."""
        return self._harness

    @property
    def port_statistics(self) -> PortStatistics:
        """What the memory model has counted since the device was made."""
        return self._harness.statistics

    def run(self, program_address: int, commands: int, windows: list[Window]) -> RunResult:
        """Run a program; see ``acf.runtime.device.Device``.

        Raises
        ------
        FabricError
            If the program ended early.
        acf.sim.harness.HarnessTimeout
            If it did not end at all.
        acf.sim.harness.HarnessError
            If the fabric broke the AXI protocol.
        """
        self._host.start(program_address, commands, windows)
        try:
            self._harness.run(self._max_cycles, quiet_cycles=4 * self._watchdog, progress=self._progress)
        except HarnessTimeout as error:
            raise HarnessTimeout(f"the program did not end: {error}; {self._state()}") from error
        return self._host.finish()

    def read_counter(self, y: int, x: int, index: int) -> int:
        """One counter of node ``(y, x)``."""
        return self._host.read_counter(y, x, index)

    def _state(self) -> str:
        try:
            return f"STATUS {self._host.read(Register.STATUS):#x}, ERROR_CODE {self._host.read(Register.ERROR_CODE)}"
        except HarnessTimeout:
            return "the host registers do not answer either"
