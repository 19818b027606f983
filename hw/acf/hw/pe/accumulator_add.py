"""Adds two accumulators of any number format."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import LaneConfig
from acf.hw.formats.float32_add import Float32Add

__all__ = ["AccumulatorAdd"]


class AccumulatorAdd(wiring.Component):
    """``o = a + b``: float32 rounded to nearest even, or int32 modulo 2^32.

    Throughput is one sum per cycle; it never stalls.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    a, b : In(32)
    enable : In(1)
        The inputs count in this cycle.
    o : Out(32)
        Kept until the next sum.
    overflow : Out(1)
        ``o`` wrapped (integer formats).

    Attributes
    ----------
    latency : int
        Cycles from inputs to ``o``.
    """

    def __init__(self, *, lane: LaneConfig):
        self._float = Float32Add() if lane.format == "bf16" else None
        self.latency = self._float.latency if self._float else 1
        width = lane.number_format.accumulator_width
        super().__init__({"a": In(width), "b": In(width), "enable": In(1), "o": Out(width), "overflow": Out(1)})

    def elaborate(self, platform):
        m = Module()
        if self._float:
            m.submodules.adder = adder = self._float
            m.d.comb += [adder.a.eq(self.a), adder.b.eq(self.b), adder.enable.eq(self.enable), self.o.eq(adder.o)]
            return m

        total = Signal(len(self.o) + 1, reset_less=True)
        with m.If(self.enable):
            m.d.sync += total.eq(self.a.as_signed() + self.b.as_signed())
        m.d.comb += [
            self.o.eq(total[:-1]),
            # The exact sum fits when its sign is that of the bits that are kept.
            self.overflow.eq(total[-1] ^ total[-2]),
        ]
        return m
