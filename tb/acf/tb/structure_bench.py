"""What the benches of the structure engines have in common."""

import random
from typing import Any

from amaranth.lib import data
from cocotb.triggers import ClockCycles

from acf.tb.axi_responder import AxiResponder
from acf.tb.fault_monitor import FaultMonitor
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSink, StreamSource, pack, wait_until

__all__ = ["EngineBench"]


class EngineBench:
    """An engine and its memory; ``chance`` is that of a cycle being used on any handshake.

    Parameters
    ----------
    dut
        Handle of the design.
    job_layout : StructLayout
        What it takes on ``i``; it has a field ``semaphore``.
    faults : int
        Fault outputs.
    """

    def __init__(self, dut: Any, *, job_layout: data.StructLayout, faults: int):
        self.dut, self.chance = dut, 1.0
        self._layout = job_layout
        dut.halt.value = 0
        rng = random.Random(random.getrandbits(32))
        self.memory = AxiResponder(dut, memory=bench_config().memory, rng=rng, use=self.use, writes=True)
        assert self.memory.write is not None
        self.writes = self.memory.write
        self.jobs = StreamSource(dut, "i", use=self.use)
        self.done = StreamSink(dut, "done", use=self.use)
        self.faults = FaultMonitor(dut, count=faults)

    def use(self) -> bool:
        """Whether a handshake uses this cycle."""
        return random.random() < self.chance

    def send(self, **fields: int) -> None:
        """Queue a job."""
        self.jobs.send([pack(self._layout, **fields)])

    async def finish(self, jobs: int, *, cycles: int) -> None:
        """Wait until so many jobs are done."""
        await wait_until(
            self.dut,
            lambda: len(self.done.received) >= jobs or bool(self.faults.seen),
            cycles=cycles,
            pending=lambda: f"{jobs - len(self.done.received)} jobs",
        )
        assert not self.faults.seen, self.faults.seen

    async def fault(self) -> tuple:
        """Wait for a fault, and until all that was begun is finished; the first one."""
        await wait_until(self.dut, lambda: bool(self.faults.seen), cycles=50_000, pending=lambda: "a fault")
        self.chance = 1.0
        await self.quiet()
        assert not self.done.received
        return self.faults.seen[0]

    def a_burst(self, address: int, size: int) -> int:
        """The address of one of the bursts in which an array is read or written whole."""
        burst = bench_config().memory.beat_bytes * bench_config().structure.burst_beats
        return random.choice([address, *range((address // burst + 1) * burst, address + size, burst)])

    async def quiet(self) -> None:
        """Nothing is begun any more, and all that was begun is finished."""
        await ClockCycles(self.dut.clk, 10)
        reads, writes = len(self.memory.read.reads), len(self.writes.writes)
        await ClockCycles(self.dut.clk, 600)
        # An address once offered stays.
        assert len(self.memory.read.reads) <= reads + 1
        assert len(self.writes.writes) <= writes + 1
        assert not self.memory.read.busy
        assert not self.writes.busy

    async def reset(self) -> None:
        """Reset everything but the contents of the memory."""
        self.chance = 1.0
        await ClockCycles(self.dut.clk, 2)
        self.jobs.stop()
        self.dut.halt.value = 0
        await self.memory.reset(self.dut)
        self.memory.read.reads.clear()
        self.writes.writes.clear()
        self.jobs = StreamSource(self.dut, "i", use=self.use)
        self.done.received.clear()
        self.faults.clear()
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0
