"""Multiply-add with a float32 sum, rounded once.

How it works. Both terms stand on one grid. In the *anchor*, the term with the larger exponent, two bits are the integer
part (a product of two normalised significands lies in [1, 4)) and weigh ``2^(exponent - 127)`` and twice that; below
them come ``F`` bits of fraction. One more bit below these is *sticky*: it stands for everything that was shifted out.
The other term is shifted right to meet the anchor.

How many bits of fraction. The product has ``P`` of them (the sum of those of its factors), the addend has 23.

- The anchor must stand on the grid exactly, so ``F >= P``, and two guard bits below the 23 of the result are needed
  once at most one leading bit cancels: ``F >= 25``.
- Where more leading bits may cancel, the other term must lose nothing. A product that is the other term, shifted by 1
  or 2, may be as large as the addend (it is less than 4, the addend at least 1), so ``F >= P + 2``. Shifted by 3 or
  more, it is less than half of the addend, and one leading bit is all that cancels. An addend that is the other term
  stays below the product by a half once it is shifted by 2 or more: ``F >= 24`` keeps it whole until then.
- A term shifted by 32 or more is less than ``2^(2-32)``, a unit in the last place of the anchor at most (``2^-P`` or
  ``2^-23``) and far from any tie that the anchor alone is not on: it is all sticky.

So ``F = max(25, P + 2)``: 25 for a product of two bfloat16 numbers, in which 11 of them are 0, and 32 for a float32
number times a bfloat16 number.

The exponent of the anchor is at least 1, that of the smallest float32, because the addend's exponent is. So a result
never needs a shift to the right: a subnormal one is a shift to the left that stops early (*room*). The product of a
subnormal operand is normalised, and compared as if it had been.
"""

from amaranth.hdl import C, Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.hw.formats.float_parts import Normaliser, Sections, normalise_and_round, unpack

__all__ = ["FusedMultiplyAdd"]

# Sections of the operator after which a register stands, for each number of stages.
_CUTS = {1: (5,), 2: (2, 5), 3: (2, 4, 5), 4: (1, 2, 4, 5), 5: (1, 2, 3, 4, 5)}

_Y_FRACTION = 7


class FusedMultiplyAdd(wiring.Component):
    """Adds the exact product of two numbers to a float32 number: ``o = round(a + x * y)``.

    One rounding, to nearest even. Subnormal numbers are kept, on operands and results. Infinities, NaN and the sign of
    zero follow IEEE 754; every NaN result is 7FC00000.

    Latency is ``stages`` cycles; throughput is one operation per cycle. It never stalls. A stage's registers change
    only after a cycle in which valid inputs reached it, so an idle operator does not toggle.

    Parameters
    ----------
    x_fraction : int
        Bits of the fraction of ``x``: 7 (bfloat16) or 23 (float32).
    stages : int
        Pipeline stages, 1 to 5.

    Members
    -------
    x : In(9 + x_fraction)
        First factor.
    y : In(16)
        Second factor, bfloat16.
    a : In(32)
        Addend, float32.
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
        If ``x_fraction`` is neither 7 nor 23, or ``stages`` is not from 1 to 5.
    """

    # Further ports of classes made from this one.
    _ports: dict[str, wiring.Member] = {}  # noqa: RUF012

    def __init__(self, *, x_fraction: int = 23, stages: int = 4):
        if x_fraction not in (7, 23):
            raise ValueError(f"fraction of the first factor must have 7 or 23 bits, not {x_fraction!r}")
        if stages not in _CUTS:
            raise ValueError(f"stages of a fused multiply-add must be from 1 to 5, not {stages!r}")
        self.latency = stages
        self._x_fraction = x_fraction
        super().__init__(
            {"x": In(9 + x_fraction), "y": In(16), "a": In(32), "enable": In(1), "o": Out(32), **self._ports}
        )

    def elaborate(self, platform):
        m = Module()

        sections = Sections(m, enable=self.enable, cuts=_CUTS[self.latency])
        named, cut = sections.named, sections.cut
        product_fraction = self._x_fraction + _Y_FRACTION
        fraction = max(25, product_fraction + 2)
        width = fraction + 3  # two bits of integer part, and the sticky bit

        # --- 1: multiply, compare exponents.
        x, y = unpack(self.x, fraction=self._x_fraction), unpack(self.y, fraction=_Y_FRACTION)
        a = unpack(self.a, fraction=23)
        x_lead = named(
            "x_lead", _leading_zeros(Cat(C(1, 8), x.significand) if self._x_fraction == 23 else x.significand)[0]
        )
        y_lead = named("y_lead", _leading_zeros(y.significand)[0])
        # Two subnormal operands need no care: their product is less than any accumulator's last bit, so all sticky.
        lead = named("lead", x_lead | y_lead)
        product = named("product", x.significand * y.significand)
        # Both exponents are biased by 254, as the sum of two is.
        product_exponent = named("product_exponent", x.weight + y.weight - lead)
        a_exponent = named("a_exponent", a.weight + 127)
        distance = named("distance", (product_exponent - a_exponent)[:10])
        behind = named("behind", distance[9])
        product_sign = named("product_sign", x.sign ^ y.sign)
        product_zero = named("product_zero", x.zero | y.zero)
        product_infinite = named("product_infinite", x.infinite | y.infinite)
        opposite = named("opposite", product_sign ^ a.sign)
        on_product = named("on_product", ~behind & ~product_zero)
        nan = named("nan", x.nan | y.nan | a.nan | (product_infinite & (product_zero | (a.infinite & opposite))))
        infinite = named("infinite", product_infinite | a.infinite)
        s = cut(
            1,
            product=product,
            lead=lead,
            addend=a.significand,
            # When the accumulator is the anchor, the shift is one more than this: -d - 1 needs no carry chain.
            shift=distance[:5] ^ behind.replicate(5),
            far=(distance[5:] ^ behind.replicate(5)).any(),
            on_product=on_product,
            product_exponent=product_exponent[:9],
            a_exponent=a_exponent[:9],
            # The sign of the anchor, or of the infinite term, which no subtraction may then turn round.
            sign=(product_sign ^ (opposite & ~Mux(infinite, product_infinite, on_product))) & ~nan,
            subtract=opposite & ~infinite & ~nan,
            nan=nan,
            infinite=infinite,
        )

        # --- 2: normalise a subnormal operand's product, choose the anchor, shift the other term right and, for a
        # subtraction, complement it.
        normal_product = named("normal_product", (s.product << s.lead)[: product_fraction + 2])
        product_places = Cat(C(0, fraction - product_fraction), normal_product)
        addend_places = Cat(C(0, fraction - 23), s.addend, C(0, 1))
        anchor = Mux(s.on_product, product_places, addend_places)
        other = named("other", Mux(s.on_product, addend_places, product_places >> 1))
        shifted = Cat(s.far & other.any(), Mux(s.far, 0, other))
        for level in reversed(range(5)):
            step = 1 << level
            moved = Cat(shifted[: step + 1].any(), shifted[step + 1 :])
            shifted = named(f"shifted_{step}", Mux(s.shift[level], moved, shifted))
        s = cut(
            2,
            anchor=Cat(C(0, 1), anchor),
            other=shifted ^ s.subtract.replicate(width),
            # The largest shift to the left that leaves an exponent of at least 1.
            room=(Mux(s.on_product, s.product_exponent, s.a_exponent) - 126)[:9],
            subtract=s.subtract,
            sign=s.sign,
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 3: add, or subtract both ways and keep the difference that is not negative.
        plain = named("plain", s.anchor + s.other)
        carried = named("carried", (Cat(C(1, 1), s.anchor) + Cat(s.subtract, s.other))[1:])
        negative = named("negative", s.subtract & ~carried[width])
        equal = named("equal", s.subtract & carried[width] & ~plain[width])
        magnitude = named(
            "magnitude", Cat(Mux(negative, ~plain[:width], carried[:width]), carried[width] & ~s.subtract)
        )
        s = cut(
            3,
            magnitude=magnitude,
            room=s.room,
            sign=(s.sign ^ negative) & ~equal,
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 4: find the leading bit.
        steps = width.bit_length()
        n = Normaliser(m, s.magnitude, s.room, steps=steps)
        for level in reversed(range(3, steps)):
            n.step(1 << level)
        s = cut(
            4,
            partial=n.value,
            room=s.room,
            taken=Cat(n.taken[1 << level] for level in range(3, steps)),
            free=n.free,
            sign=s.sign,
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 5: shift left as far as that goes, round.
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
        s = cut(5, o=bits)
        m.d.comb += self.o.eq(s.o)

        return m


def _leading_zeros(bits: Value) -> tuple[Value, Value]:
    """How many zeros stand above the first one of a power of two of bits, and whether there is a one."""
    if len(bits) == 1:
        return C(0, 0), bits
    half = len(bits) // 2
    low, low_any = _leading_zeros(bits[:half])
    high, high_any = _leading_zeros(bits[half:])
    return Cat(Mux(high_any, high, low), ~high_any), high_any | low_any
