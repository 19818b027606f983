"""float32 addition, rounded once.

How it works. The term of larger magnitude is the *anchor*, so that no difference is negative. Its significand has 24
bits, with three guard bits below them and one for a carry above; the last guard bit is *sticky*: it stands for
everything that was shifted out of the other term on its way to the grid of the anchor. Bits are lost only when that
shift is 4 or more, and then the sum loses at most one leading bit, so two guard bits and the sticky bit are enough.

A result never needs a shift to the right: with the carry as the leading bit, all others are shifts to the left, that of
a subnormal one stops early (*room*).
"""

from amaranth.hdl import C, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.hw.formats.float_parts import Normaliser, Sections, normalise_and_round, unpack

__all__ = ["Float32Add"]

# Sections of the operator after which a register stands, for each number of stages.
_CUTS = {1: (4,), 2: (2, 4), 3: (1, 3, 4), 4: (1, 2, 3, 4)}


class Float32Add(wiring.Component):
    """Adds two float32 numbers: ``o = round(a + b)``.

    One rounding, to nearest even. Subnormal numbers are kept, on operands and results. Infinities, NaN and the sign of
    zero follow IEEE 754; every NaN result is 7FC00000.

    Latency is ``stages`` cycles; throughput is one operation per cycle. It never stalls. A stage's registers change
    only after a cycle in which valid inputs reached it, so an idle operator does not toggle.

    Parameters
    ----------
    stages : int
        Pipeline stages, 1 to 4.

    Members
    -------
    a, b : In(32)
        Operands, float32.
    enable : In(1)
        The inputs count in this cycle.
    o : Out(32)
        The sum, float32; kept until the next one.

    Attributes
    ----------
    latency : int
        Cycles from inputs to ``o``.

    Raises
    ------
    ValueError
        If ``stages`` is not from 1 to 4.
    """

    def __init__(self, *, stages: int = 4):
        if stages not in _CUTS:
            raise ValueError(f"stages of the float32 adder must be from 1 to 4, not {stages!r}")
        self.latency = stages
        super().__init__({"a": In(32), "b": In(32), "enable": In(1), "o": Out(32)})

    def elaborate(self, platform):
        m = Module()

        sections = Sections(m, enable=self.enable, cuts=_CUTS[self.latency])
        named, cut = sections.named, sections.cut

        # --- 1: order by magnitude, compare exponents.
        swap = named("swap", self.a[:31] < self.b[:31])
        anchor = unpack(named("anchor", Mux(swap, self.b, self.a)), fraction=23)
        other = unpack(named("other", Mux(swap, self.a, self.b)), fraction=23)
        opposite = named("opposite", anchor.sign ^ other.sign)
        distance = named("distance", (anchor.weight - other.weight)[:8])
        # The anchor is a NaN if any operand is.
        nan = named("nan", anchor.nan | (other.infinite & opposite))
        s = cut(
            1,
            anchor=anchor.significand,
            other=other.significand,
            shift=distance[:5],
            far=distance[5:].any(),
            # The largest shift to the left that leaves an exponent of at least 1.
            room=anchor.weight,
            subtract=opposite,
            sign=anchor.sign & ~nan,
            nan=nan,
            infinite=anchor.infinite,
        )

        # --- 2: shift the other term right and, for a subtraction, complement it.
        places = Cat(C(0, 2), s.other)
        shifted = Cat(s.far & s.other.any(), Mux(s.far, 0, places))
        for level in reversed(range(5)):
            step = 1 << level
            moved = Cat(shifted[: step + 1].any(), shifted[step + 1 :])
            shifted = named(f"shifted_{step}", Mux(s.shift[level], moved, shifted))
        s = cut(
            2,
            anchor=s.anchor,
            other=shifted ^ s.subtract.replicate(27),
            room=s.room,
            subtract=s.subtract,
            sign=s.sign,
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 3: add or subtract; find the leading bit.
        total = named("total", (Cat(C(1, 1), C(0, 3), s.anchor) + Cat(s.subtract, s.other))[1:])
        magnitude = named("magnitude", Cat(total[:27], total[27] & ~s.subtract))
        n = Normaliser(m, magnitude, s.room)
        n.step(16)
        n.step(8)
        s = cut(
            3,
            partial=n.value,
            room=s.room,
            taken=Cat(n.taken[8], n.taken[16]),
            free=n.free,
            sign=s.sign & ~(s.subtract & ~magnitude.any()),
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 4: shift left as far as that goes, round.
        bits = normalise_and_round(
            m,
            sections,
            s.partial,
            room=s.room,
            taken=s.taken,
            free=s.free,
            sign=s.sign,
            nan=s.nan,
            infinite=s.infinite,
        )
        s = cut(4, o=bits)
        m.d.comb += self.o.eq(s.o)

        return m
