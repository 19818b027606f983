"""Ready/valid drivers and monitors for cocotb, with random stalls.

Payloads are plain integers (a struct as one packed word); ``pack`` and ``unpack`` go by an Amaranth ``StructLayout``.
Inputs change after a rising edge; outputs are read before the next one, in the read-only phase.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge, SimTimeoutError, with_timeout

__all__ = ["StreamSink", "StreamSource", "always", "at_random", "pack", "start_clock", "unpack", "wait_until"]


def always() -> bool:
    """A stall policy that never stalls: every cycle is used."""
    return True


def at_random(probability: float, rng: random.Random) -> Callable[[], bool]:
    """A stall policy that uses a cycle with the given probability."""
    return lambda: rng.random() < probability


def pack(layout: data.StructLayout, **fields: int) -> int:
    """The packed word of a struct; fields left out are 0."""
    word = 0
    for name, value in fields.items():
        place = layout[name]
        if not 0 <= value < 1 << place.width:
            raise ValueError(f"field {name} of {place.width} bits cannot hold {value!r}")
        word |= value << place.offset
    return word


def unpack(layout: data.StructLayout, word: int) -> dict[str, int]:
    """The fields of a packed word, by name."""
    return {name: (word >> place.offset) & ((1 << place.width) - 1) for name, place in layout}


async def start_clock(dut: Any, *, reset_cycles: int = 3) -> None:
    """Start a 10 ns clock on ``clk`` and hold ``rst`` for some cycles. Drive every other input before."""
    dut.rst.value = 1
    dut.clk.value = 0
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for _ in range(reset_cycles):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def wait_until(dut: Any, condition: Callable[[], bool], *, cycles: int, pending: Callable[[], str]) -> None:
    """Wait until ``condition`` holds after a rising edge; fail after ``cycles``, saying what was ``pending``."""
    for _ in range(cycles):
        if condition():
            return
        await RisingEdge(dut.clk)
    assert condition(), f"nothing more after {cycles} cycles; pending: {pending()}"


class StreamSource:
    """Sends payloads on the stream ``{name}_payload/valid/ready``.

    Once ``valid`` is high, it stays with its payload until taken.

    Parameters
    ----------
    dut
        Handle of the design; its clock is ``clk``.
    name : str
        Prefix of the ports.
    use : callable
        Called once for each cycle in which a new payload could be offered; False leaves the cycle idle.
    """

    def __init__(self, dut: Any, name: str, *, use: Callable[[], bool] = always):
        self._clock = dut.clk
        self._payload = getattr(dut, f"{name}_payload")
        self._valid = getattr(dut, f"{name}_valid")
        self._ready = getattr(dut, f"{name}_ready")
        self.use = use
        self.queue: deque[int] = deque()
        self._valid.value = 0
        self._payload.value = 0
        self.sent = 0
        self._task = cocotb.start_soon(self._drive())

    def send(self, payloads: Iterable[int]) -> None:
        """Queue payloads to be sent in order."""
        self.queue.extend(payloads)

    @property
    def idle(self) -> bool:
        """Whether everything queued has been taken."""
        return not self.queue

    async def _drive(self) -> None:
        offering = False
        while True:
            if not offering and self.queue and self.use():
                self._payload.value = self.queue[0]
                self._valid.value = 1
                offering = True
            elif not offering:
                self._valid.value = 0
            await ReadOnly()
            taken = offering and bool(int(self._ready.value))
            await RisingEdge(self._clock)
            if taken:
                self.queue.popleft()
                self.sent += 1
                offering = False

    def stop(self) -> None:
        """End the driver."""
        self._task.cancel()


class StreamSink:
    """Takes payloads from the stream ``{name}_payload/valid/ready``.

    Asserts that a payload once offered stays until it is taken.

    Parameters
    ----------
    dut
        Handle of the design; its clock is ``clk``.
    name : str
        Prefix of the ports.
    use : callable
        Called once a cycle; ``ready`` is its answer.
    on_payload : callable or None
        Called with each payload taken.
    """

    def __init__(
        self, dut: Any, name: str, *, use: Callable[[], bool] = always, on_payload: Callable[[int], None] | None = None
    ):
        self._clock = dut.clk
        self._reset = dut.rst
        self._payload = getattr(dut, f"{name}_payload")
        self._valid = getattr(dut, f"{name}_valid")
        self._ready = getattr(dut, f"{name}_ready")
        self._name = name
        self._on_payload = on_payload
        self.use = use
        self.received: list[int] = []
        self.cycles: list[int] = []
        self.cycle = 0
        self._ready.value = 0
        self._task = cocotb.start_soon(self._take())

    async def _take(self) -> None:
        waiting: int | None = None
        while True:
            ready = bool(self.use())
            self._ready.value = int(ready)
            await ReadOnly()
            valid = self._valid.value.is_resolvable and bool(int(self._valid.value))
            payload = int(self._payload.value) if valid else None
            if waiting is not None and not int(self._reset.value):
                assert valid, f"{self._name} took back valid before the transfer"
                assert payload == waiting, f"{self._name} changed its payload before the transfer"
            waiting = payload if valid and not ready and not int(self._reset.value) else None
            await RisingEdge(self._clock)
            if valid and ready and payload is not None:
                self.received.append(payload)
                self.cycles.append(self.cycle)
                if self._on_payload is not None:
                    self._on_payload(payload)
            self.cycle += 1

    async def wait_for(self, count: int, *, timeout_cycles: int = 10000) -> list[int]:
        """Wait until ``count`` payloads have come in all; return all so far."""

        async def enough() -> None:
            while len(self.received) < count:
                await RisingEdge(self._clock)

        try:
            await with_timeout(enough(), timeout_cycles * 10, "ns")
        except SimTimeoutError:
            raise AssertionError(
                f"{self._name}: {len(self.received)} of {count} payloads after {timeout_cycles} cycles"
            ) from None
        return self.received

    def stop(self) -> None:
        """End the monitor."""
        self._task.cancel()
