"""The ``cocotb`` device: the fabric under any simulator, its memory and host port served by cocotbext-axi."""

import random

import numpy as np
from cocotb.task import resume
from cocotb.triggers import First, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from acf.config import FabricConfig
from acf.isa import Register
from acf.runtime.device import RunResult, Window
from acf.runtime.host import RegisterHost

__all__ = ["CocotbDevice", "random_pause"]


def random_pause(rng: random.Random, probability: float):
    """An endless pause pattern for the channels of cocotbext-axi."""
    while True:
        yield rng.random() < probability


class CocotbDevice(RegisterHost):
    """A fabric in a running cocotb simulation; implements ``acf.runtime.device.Device``.

    ``run`` blocks, so it is called from a bridge, with the clock running:
    ``await bridge(run_gather)(device, weights, operand)``.

    Parameters
    ----------
    dut
        Handle of the fabric.
    config : FabricConfig
    memory_bytes : int
        Size of the memory; a burst beyond it ends the simulation.
    stall : float
        Probability that a channel of the memory port pauses, each cycle and channel.
    seed : int
        Of the pauses.
    max_cycles : int
        Most cycles of one program; after them ``run`` raises ``TimeoutError``.
    """

    name = "cocotb"

    def __init__(self, dut, config: FabricConfig, *, memory_bytes: int, stall: float = 0.0, seed: int = 1,
                 max_cycles: int = 100_000):  # fmt: skip
        super().__init__(config, watchdog=0)
        self._dut = dut
        self._max_cycles = max_cycles
        store = bytearray(memory_bytes)
        self.config = config
        self.memory = np.frombuffer(store, dtype=np.uint8)
        ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=memory_bytes, mem=store)
        self._host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        assert ram.read_if is not None
        assert ram.write_if is not None
        if stall:
            rng = random.Random(seed)
            for channel in (
                ram.read_if.ar_channel,
                ram.read_if.r_channel,
                ram.write_if.aw_channel,
                ram.write_if.w_channel,
                ram.write_if.b_channel,
            ):
                channel.set_pause_generator(random_pause(rng, stall))

    def read(self, register: int) -> int:
        """The value of a host register."""

        @resume
        async def access() -> int:
            return await self._host.read_dword(int(register))

        return access()

    def write(self, register: int, value: int) -> None:
        """Write a host register."""

        @resume
        async def access() -> None:
            await self._host.write_dword(int(register), int(value))

        access()

    def run(self, program_address: int, commands: int, windows: list[Window]) -> RunResult:
        """Run a program; see ``acf.runtime.device.Device``."""
        self.start(program_address, commands, windows)
        self._wait_for_interrupt()
        return self.finish()

    def _wait_for_interrupt(self) -> None:
        @resume
        async def wait() -> bool:
            if int(self._dut.interrupt.value):
                return True
            rises = RisingEdge(self._dut.interrupt)
            return await First(rises, Timer(10 * self._max_cycles, "ns")) is rises

        if not wait():
            status, error = self.read(Register.STATUS), self.read(Register.ERROR_CODE)
            raise TimeoutError(f"no interrupt after {self._max_cycles} cycles; STATUS {status:#x}, ERROR_CODE {error}")
