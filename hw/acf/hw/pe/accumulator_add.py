"""Adds two accumulators of any number format."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import LaneConfig
from acf.hw.formats.float32_add import Float32Add

__all__ = ["AccumulatorAdd"]


class AccumulatorAdd(wiring.Component):
    """``o = a + b``: float32 rounded to nearest even, int32 modulo 2^32, or fixed point as ``Bf16xMac`` has it.

    Throughput is one sum per cycle; it never stalls.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    a, b : In(accumulator_width)
    enable : In(1)
        The inputs count in this cycle.
    o : Out(accumulator_width)
        Kept until the next sum.
    overflow : Out(1)
        ``o`` wrapped (integers and fixed point).

    Attributes
    ----------
    latency : int
        Cycles from inputs to ``o``.
    """

    def __init__(self, *, lane: LaneConfig):
        self._float = Float32Add() if lane.format == "bf16" else None
        self.latency = self._float.latency if self._float else 1
        self._has_invalid = lane.number_format.scaled
        width = lane.number_format.accumulator_width
        super().__init__({"a": In(width), "b": In(width), "enable": In(1), "o": Out(width), "overflow": Out(1)})

    def elaborate(self, platform):
        m = Module()
        if self._float:
            m.submodules.adder = adder = self._float
            m.d.comb += [adder.a.eq(self.a), adder.b.eq(self.b), adder.enable.eq(self.enable), self.o.eq(adder.o)]
            return m

        # The highest bit of a fixed-point accumulator is no part of the sum.
        width = len(self.o) - self._has_invalid
        total, invalid = Signal(width + 1, reset_less=True), Signal(reset_less=True)
        with m.If(self.enable):
            m.d.sync += total.eq(self.a[:width].as_signed() + self.b[:width].as_signed())
            if self._has_invalid:
                m.d.sync += invalid.eq(self.a[-1] | self.b[-1])
        m.d.comb += [
            self.o.eq(Cat(total[:-1], invalid)),
            # The exact sum fits when its sign is that of the bits that are kept.
            self.overflow.eq(total[-1] ^ total[-2]),
        ]
        return m
