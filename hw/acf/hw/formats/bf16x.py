"""bfloat16 products, added exactly in fixed point.

How it works. A product has 16 significant bits. It is shifted to its place in the accumulator, together with 16 more
places below the last bit, from which it is rounded. Of a negative product all bits are inverted; the one that makes
that its complement, and the one that rounding adds, are a carry into the sum. So nothing but one addition lies between
an accumulator and the next.
"""

from amaranth.hdl import C, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.hw.formats.float_parts import Sections, unpack
from acf.isa import UNIT_BITS

__all__ = ["Bf16xMac"]

_VALUE = 63
"""Bits of the sum in an accumulator; the highest bit says that it is invalid."""

_BELOW = 16
"""Places below the last bit: with all of them a product is less than half of that bit when it is shifted no more."""


class Bf16xMac(wiring.Component):
    """Adds the product of two bfloat16 numbers to a fixed-point accumulator: ``o = a + x * y`` modulo 2^63.

    The product is rounded to a whole number of units, to nearest even; subnormal operands are kept. The highest bit of
    an accumulator is set by a factor that is infinite or a NaN, and stays; such a product changes nothing else. What
    the other bits mean is said in ``acf.golden.fixed_point``.

    Latency is three cycles, of which ``a`` is needed in the last one only; throughput is one operation per cycle. It
    never stalls. A stage's registers change only after a cycle in which valid inputs reached it.

    Members
    -------
    x, y : In(16)
        Operands, bfloat16.
    a : In(64)
        Accumulator, ``latency - loop`` cycles after ``x`` and ``y``.
    enable : In(1)
        ``x`` and ``y`` count in this cycle.
    unit : In(6)
        What the last bit weighs: see ``acf.isa.unit_exponent``. Changes only while nothing is under way.
    o : Out(64)
        The new accumulator; kept until the next one.
    flags : Out(3)
        What this sum has raised, by bits of ``acf.isa.Flag``.

    Attributes
    ----------
    latency : int
        Cycles from ``x`` and ``y`` to ``o``: 3.
    loop : int
        Cycles from ``a`` to ``o``: 1.
    """

    latency = 3
    loop = 1

    def __init__(self):
        super().__init__(
            {
                "x": In(16),
                "y": In(16),
                "a": In(1 + _VALUE),
                "enable": In(1),
                "unit": In(UNIT_BITS),
                "o": Out(1 + _VALUE),
                "flags": Out(3),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sections = Sections(m, enable=self.enable, cuts=(1, 2, 3))
        named, cut = sections.named, sections.cut

        # --- 1: multiply, add exponents.
        x, y = (unpack(operand, fraction=7) for operand in (self.x, self.y))
        invalid = named("invalid", x.exponent.all() | y.exponent.all())
        nonzero = named("nonzero", ~(x.zero | y.zero | invalid))
        # The weight of the last bit of the product in places, from the lowest of those below the accumulator on.
        place = named("place", (x.weight + y.weight - 204 - (self.unit.as_signed() << 2))[:10].as_signed())
        below = place[-1]
        s = cut(
            1,
            # Where no bit of it would be left, the shift need not know how far away that is.
            product=Mux(invalid | below | place[7:].any(), 0, x.significand * y.significand),
            place=place[:7],
            negative=(x.sign ^ y.sign) & ~invalid,
            vanishes=below & nonzero,
            # From place 80 on, all of it is above the accumulator.
            outside=~below & nonzero & (place[7:].any() | (place[6] & place[4:6].any())),
            invalid=invalid,
        )

        # --- 2: shift, round.
        shifted = named("shifted", (s.product << s.place)[: _BELOW + _VALUE + 15])
        rest, units, above = shifted[:_BELOW], shifted[_BELOW : _BELOW + _VALUE], shifted[_BELOW + _VALUE - 1 :]
        round_up = named("round_up", rest[-1] & (rest[:-1].any() | units[0]))
        s = cut(
            2,
            term=units ^ s.negative.replicate(_VALUE),
            carry=round_up ^ s.negative,
            outside=s.outside | above.any(),
            inexact=s.vanishes | rest.any(),
            invalid=s.invalid,
        )

        # --- 3: add.
        exact = (Cat(C(1, 1), self.a[:_VALUE]).as_signed() + Cat(s.carry, s.term).as_signed())[1:]
        s = cut(
            3,
            total=exact,
            total_invalid=self.a[-1] | s.invalid,
            outside=s.outside,
            inexact=s.inexact,
            invalid=s.invalid,
        )
        m.d.comb += [
            self.o.eq(Cat(s.total[:_VALUE], s.total_invalid)),
            # The exact sum fits when its sign is that of the bits that are kept; an invalid product adds nothing.
            self.flags.eq(Cat(s.outside | (s.total[_VALUE] ^ s.total[_VALUE - 1]), s.inexact, s.invalid)),
        ]
        return m
