"""bfloat16 multiply and float32 accumulate, rounded once.

How it works. Both terms stand on one grid of 27 bits. In the *anchor*, the term with the larger exponent, bit 25 weighs
``2^(exponent - 127)``: bits 26 and 25 are the integer part (a product of two normalised significands lies in [1, 4)),
then come 23 bits of fraction and two guard bits. A 28th bit below them is *sticky*: it stands for everything that was
shifted out. The other term is shifted right to meet the anchor. Two guard bits and the sticky bit are enough: bits are
lost only when the shift is 3 or more, and then the sum loses at most one leading bit.

The exponent of the anchor is at least 1, that of the smallest float32, because the accumulator's exponent is. So a
result never needs a shift to the right: a subnormal one is a shift to the left that stops early (*room*). The product
of a subnormal operand is normalised, and compared as if it had been.
"""

from types import SimpleNamespace

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Bf16Mac"]

# Sections of the operator after which a register stands, for each number of stages.
_CUTS = {1: (4,), 2: (2, 4), 3: (2, 3, 4), 4: (1, 2, 3, 4)}

_BIAS = 127


class Bf16Mac(wiring.Component):
    """Adds the exact product of two bfloat16 numbers to a float32 accumulator: ``o = round(a + x * y)``.

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
    x, y : In(16)
        Operands, bfloat16.
    a : In(32)
        Accumulator, float32.
    enable : In(1)
        The inputs count in this cycle.
    o : Out(32)
        The new accumulator, float32; kept until the next one.
    overflow : Out(1)
        Always 0: a sum too large becomes infinite.

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
            raise ValueError(f"stages of the bf16 operator must be from 1 to 4, not {stages!r}")
        self.latency = stages
        super().__init__(
            {
                "x": In(16),
                "y": In(16),
                "a": In(32),
                "enable": In(1),
                "o": Out(32),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        cuts = _CUTS[self.latency]
        last = cuts[-1]
        reached = self.enable

        def named(name: str, value: Value) -> Signal:
            signal = Signal(value.shape(), name=name)
            m.d.comb += signal.eq(value)
            return signal

        def cut(section: int, **values: Value) -> SimpleNamespace:
            """End a section: its results, behind registers where a stage ends."""
            nonlocal reached
            results = {
                name: Signal(value.shape(), name=f"{name}_{section}", reset_less=True) for name, value in values.items()
            }
            if section not in cuts:
                m.d.comb += [results[name].eq(value) for name, value in values.items()]
                return SimpleNamespace(**results)
            with m.If(reached):
                m.d.sync += [results[name].eq(value) for name, value in values.items()]
            if section != last:
                valid = Signal(name=f"valid_{section}")
                m.d.sync += valid.eq(reached)
                reached = valid
            return SimpleNamespace(**results)

        # --- 1: multiply, compare exponents.
        x, y = _unpack(self.x, exponent=8, fraction=7), _unpack(self.y, exponent=8, fraction=7)
        a = _unpack(self.a, exponent=8, fraction=23)
        x_lead, x_exponent = _normalised(x)
        y_lead, y_exponent = _normalised(y)
        # Two subnormal operands need no care: their product is less than any accumulator's last bit, so all sticky.
        lead = named("lead", x_lead | y_lead)
        product = named("product", x.significand * y.significand)
        # Both exponents are biased by 254, as the sum of two is.
        product_exponent = named("product_exponent", x_exponent + y_exponent)
        a_exponent = named("a_exponent", Cat(a.exponent[0] | ~a.normal, a.exponent[1:]) + 127)
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
        normal_product = named("normal_product", (s.product << s.lead)[:16])
        product_places, addend_places = Cat(C(0, 11), normal_product), Cat(C(0, 2), s.addend, C(0, 1))
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
            other=shifted ^ s.subtract.replicate(28),
            # The largest shift to the left that leaves an exponent of at least 1.
            room=(Mux(s.on_product, s.product_exponent, s.a_exponent) - 126)[:9],
            subtract=s.subtract,
            sign=s.sign,
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 3: add, or subtract both ways and keep the difference that is not negative; find the leading bit.
        plain = named("plain", s.anchor + s.other)
        carried = named("carried", (Cat(C(1, 1), s.anchor) + Cat(s.subtract, s.other))[1:])
        negative = named("negative", s.subtract & ~carried[28])
        equal = named("equal", s.subtract & carried[28] & ~plain[28])
        magnitude = named("magnitude", Cat(Mux(negative, ~plain[:28], carried[:28]), carried[28] & ~s.subtract))
        n = _Normaliser(m, magnitude, s.room)
        n.step(16)
        n.step(8)
        s = cut(
            3,
            partial=n.value,
            room=s.room,
            taken=Cat(n.taken[8], n.taken[16]),
            free=n.free,
            sign=(s.sign ^ negative) & ~equal,
            nan=s.nan,
            infinite=s.infinite,
        )

        # --- 4: shift left as far as that goes, round.
        n = _Normaliser(m, s.partial, s.room, free=s.free)
        n.step(4)
        n.step(2)
        n.step(1)
        leading = named("leading", n.value[28])
        shift = Cat(n.taken[1], n.taken[2], n.taken[4], s.taken)
        exponent = named("exponent", (s.room - shift)[:9])
        fraction = n.value[5:28]
        round_up = named("round_up", n.value[4] & (n.value[:4].any() | n.value[5]))
        # The leading bit adds the one that ``exponent`` lacks; a carry out of the fraction adds another.
        packed = named(
            "packed",
            (Cat(C(1, 1), fraction, exponent[:8] & leading.replicate(8)) + Cat(round_up, C(0, 23), leading))[1:],
        )
        special = named("special", s.nan | s.infinite | (leading & (exponent >= 254)))
        s = cut(
            4,
            o=Cat(
                Mux(special, Cat(C(0, 22), s.nan, C(255, 8)), packed[:31]),
                s.sign,
            ),
        )
        m.d.comb += self.o.eq(s.o)

        return m


class _Normaliser:
    """Shifts a value left, step by step, until its bit 28 is set or ``room`` is used up.

    Taking the steps from the largest to the smallest gives the smaller of the two distances: each is taken if the value
    stays below bit 29 and the room that remains allows it, and once a possible step was not taken, the rest of the
    steps together are less than the room (``free``).
    """

    def __init__(self, m: Module, value: Value, room: Value, *, free: Value | None = None):
        self._m = m
        self._room = room
        self.value = value
        self.free = room[5:].any() if free is None else free
        self.taken = {}

    def step(self, distance: int) -> None:
        allowed = self._room[distance.bit_length() - 1]
        taken = Signal(name=f"taken_{distance}")
        free = Signal(name=f"free_{distance}")
        value = Signal(29, name=f"value_{distance}")
        self._m.d.comb += [
            taken.eq(~self.value[29 - distance :].any() & (self.free | allowed)),
            free.eq(self.free | (allowed & ~taken)),
            value.eq(Mux(taken, self.value << distance, self.value)),
        ]
        self.taken[distance], self.free, self.value = taken, free, value


def _unpack(bits: Value, *, exponent: int, fraction: int) -> SimpleNamespace:
    low, high = bits[:fraction], bits[fraction : fraction + exponent]
    normal = high.any()
    return SimpleNamespace(
        sign=bits[-1],
        exponent=high,
        normal=normal,
        significand=Cat(low, normal),
        zero=~bits[:-1].any(),
        infinite=high.all() & ~low.any(),
        nan=high.all() & low.any(),
    )


def _normalised(operand: SimpleNamespace) -> tuple[Value, Value]:
    """Leading zeros of a bfloat16 significand, and the exponent that it has without them (signed)."""
    lead, exponent = C(0, 3), C(1, 9)
    for zeros, bit in zip(range(7, 0, -1), operand.significand[:7], strict=True):
        lead = Mux(bit, C(zeros, 3), lead)
        exponent = Mux(bit, C((1 - zeros) & 0x1FF, 9), exponent)
    lead = Mux(operand.normal, C(0, 3), lead)
    exponent = Mux(operand.normal, operand.exponent, exponent)
    return lead, exponent[:9].as_signed()
