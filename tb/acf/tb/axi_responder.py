"""Memory for feeder benches: bytes to poke and peek, a latency, and answers that fail on purpose.

``AxiResponder`` answers reads of different IDs in any order, beats interleaved, none before its latency has passed;
``respond`` of each side gives SLVERR or DECERR where a bench wants it. See ``acf.tb.axi_channels.AxiMemory`` for what
is checked on the way.
"""

import random
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from acf.config import MemoryConfig
from acf.tb.axi_channels import AxiMemory
from acf.tb.stream import always

__all__ = ["AxiResponder"]


class _LateMemory(AxiMemory):
    """Answers a burst ``latency`` cycles after its address at the earliest."""

    def __init__(self, dut: Any, prefix: str, *, latency: int, in_order: bool, **settings: Any):
        self.latency, self.in_order, self.cycle = latency, in_order, 0
        self.in_flight_most = 0
        super().__init__(dut, prefix, **settings)
        cocotb.start_soon(self._count(dut))

    def forget(self) -> None:
        """Drop all that has been asked for, as a guard does when the port is reset."""
        self._read_bursts.clear()

    async def _count(self, dut: Any) -> None:
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1

    def _on_read(self, burst: dict) -> None:
        super()._on_read({**burst, "cycle": self.cycle})
        open_bursts = sum(len(bursts) for bursts in self._read_bursts.values())
        self.in_flight_most = max(self.in_flight_most, open_bursts)

    def _next_beat(self) -> dict | None:
        due = [
            number
            for number, bursts in self._read_bursts.items()
            if bursts and self.cycle >= bursts[0]["cycle"] + self.latency
        ]
        if not due or self.held:
            return None
        if self.in_order:
            number = min(due, key=lambda number: self._read_bursts[number][0]["cycle"])
        else:
            number = self._rng.choice(due)
        burst = self._read_bursts[number][0]
        address = burst["addr"] + burst["beat"] * self._bytes
        return {
            "id": burst["id"],
            "data": self.word(address),
            "resp": self.respond(address),
            "last": int(burst["beat"] == burst["len"]),
        }


class _WriteMemory(AxiMemory):
    """Takes writes, and can forget those that are open."""

    def forget(self) -> None:
        """Drop all that is under way."""
        self._write_bursts.clear()
        self._early_beats.clear()
        self._answers.clear()


class AxiResponder:
    """One memory behind a read port and, if there is one, a write port.

    Parameters
    ----------
    dut
        Handle of the design, with ports ``read_...`` and perhaps ``write_...``.
    memory : MemoryConfig
    rng : random.Random
        Chooses among IDs that may be answered.
    use : callable
        Stall policy of every channel.
    latency : int
        Cycles from the address of a read to its first beat, at least.
    in_order : bool
        Answer reads in the order in which they were asked.
    writes : bool
        There is a write port.

    Attributes
    ----------
    read, write : AxiMemory
        The two sides; ``respond``, ``held``, ``reads`` and ``writes`` are of use to benches.
    """

    def __init__(
        self,
        dut: Any,
        *,
        memory: MemoryConfig,
        rng: random.Random,
        use: Callable[[], bool] = always,
        latency: int = 1,
        in_order: bool = False,
        writes: bool = False,
    ):
        self._beat_bytes = memory.beat_bytes
        self.read = _LateMemory(
            dut, "read", latency=latency, in_order=in_order, memory=memory, rng=rng, use=use, channels="r"
        )
        self.write: _WriteMemory | None = None
        if writes:
            self.write = _WriteMemory(dut, "write", memory=memory, rng=rng, use=use, channels="w")
            self.write.words = self.read.words

    async def reset(self, dut: Any) -> None:
        """Reset the design while its bursts are open, and forget them. Nothing may stall meanwhile."""
        dut.rst.value = 1
        await ClockCycles(dut.clk, 4)
        self.read.forget()
        if self.write is not None:
            self.write.forget()

    def poke(self, address: int, content: bytes) -> None:
        """Write bytes."""
        words, size = self.read.words, self._beat_bytes
        for beat in range(address - address % size, address + len(content), size):
            old = self.read.word(beat).to_bytes(size, "little")
            low, high = max(beat, address), min(beat + size, address + len(content))
            new = old[: low - beat] + content[low - address : high - address] + old[high - beat :]
            words[beat] = int.from_bytes(new, "little")

    def peek(self, address: int, count: int) -> bytes:
        """Read bytes."""
        size = self._beat_bytes
        first = address - address % size
        content = b"".join(
            self.read.word(beat).to_bytes(size, "little") for beat in range(first, address + count, size)
        )
        return content[address - first :][:count]
