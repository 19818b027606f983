"""Counting semaphores."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.isa import SEMAPHORES

__all__ = ["Semaphores"]

_WIDTH = 16


class Semaphores(wiring.Component):
    """``SEMAPHORES`` counters of 16 bits, 0 after reset; they stop at their largest value.

    Members
    -------
    signal : In(1)
        Add 1 to semaphore ``number``; a number above the last is nobody's.
    number : In(4)
    wait : In(1)
        Take ``count`` from semaphore ``waiting`` as soon as it is that high.
    waiting : In(4)
    count : In(16)
    reached : Out(1)
        It is that high in this cycle; with ``wait`` it is taken.
    """

    signal: In(1)
    number: In(4)
    wait: In(1)
    waiting: In(4)
    count: In(_WIDTH)
    reached: Out(1)

    def elaborate(self, platform):
        m = Module()

        values = [Signal(_WIDTH, name=f"value_{n}") for n in range(SEMAPHORES)]
        left = Signal(_WIDTH + 1)  # of the one that is waited for; the top bit says that it is too low
        m.d.comb += [
            left.eq(Array(values)[self.waiting[:3]] - self.count),
            self.reached.eq(~left[-1]),
        ]
        for n, value in enumerate(values):
            added = self.signal & (self.number == n)
            taken = self.wait & self.reached & (self.waiting == n)
            rest = Mux(taken, left[:_WIDTH], value)
            m.d.sync += value.eq(rest + (added & ~rest.all()))

        return m
