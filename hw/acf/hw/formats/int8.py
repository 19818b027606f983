"""int8 multiply and accumulate."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Int8Mac"]


class Int8Mac(wiring.Component):
    """Adds a product of two int8 numbers to an int32 accumulator: ``o = a + x * y`` modulo 2^32.

    Latency is one cycle; throughput is one operation per cycle. It never stalls. ``o`` and ``flags`` keep their
    values in cycles that follow one without ``enable``.

    Members
    -------
    x, y : In(8)
        Operands, two's complement.
    a : In(32)
        Accumulator, two's complement.
    enable : In(1)
        The inputs count in this cycle.
    o : Out(32)
        The new accumulator.
    flags : Out(1)
        OVERFLOW: ``o`` wrapped.

    Attributes
    ----------
    latency : int
        Cycles from inputs to ``o``: 1.
    loop : int
        The same: the accumulator is needed with the operands.
    """

    latency = loop = 1

    def __init__(self):
        super().__init__(
            {
                "x": In(8),
                "y": In(8),
                "a": In(32),
                "enable": In(1),
                "o": Out(32),
                "flags": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        product = Signal(signed(16))
        exact = Signal(33)
        total = Signal(33, reset_less=True)
        m.d.comb += [
            product.eq(self.x.as_signed() * self.y.as_signed()),
            exact.eq(self.a.as_signed() + product),
            self.o.eq(total[:32]),
            # The exact sum fits when its sign is that of the 32 bits that are kept.
            self.flags.eq(total[32] ^ total[31]),
        ]
        with m.If(self.enable):
            m.d.sync += total.eq(exact)

        return m
