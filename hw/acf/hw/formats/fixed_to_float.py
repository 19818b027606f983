"""Fixed-point accumulators rounded to float32."""

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.hw.formats.float_parts import Normaliser, Sections, normalise_and_round
from acf.isa import DEFAULT_UNIT, UNIT_BITS

__all__ = ["FixedToFloat32"]


class FixedToFloat32(wiring.Component):
    """Rounds an accumulator of ``Bf16xMac`` to float32: once, to nearest even.

    Subnormal results are kept, too large ones are infinite, invalid accumulators give 7FC00000. Zero is +0; what is
    rounded to zero keeps its sign.

    Latency is three cycles; throughput is one number per cycle. It never stalls. A stage's registers change only after
    a cycle in which a valid input reached it.

    Members
    -------
    i : In(64)
        Accumulator.
    enable : In(1)
        ``i`` counts in this cycle.
    unit : In(6)
        What its last bit weighs: see ``acf.isa.unit_exponent``. Changes only while nothing is under way.
    o : Out(32)
        The float32 number; kept until the next one.

    Attributes
    ----------
    latency : int
        Cycles from ``i`` to ``o``: 3.
    """

    latency = 3

    def __init__(self):
        super().__init__({"i": In(64), "enable": In(1), "unit": In(UNIT_BITS), "o": Out(32)})

    def elaborate(self, platform):
        m = Module()
        sections = Sections(m, enable=self.enable, cuts=(1, 2, 3))
        named, cut = sections.named, sections.cut

        # --- 1: the magnitude. Its highest bit weighs 2 ** (62 + the weight of the last one).
        sign = named("sign", self.i[62])
        room = (62 + DEFAULT_UNIT + 127 - 1 + (self.unit.as_signed() << 2))[:9]
        s = cut(
            1,
            magnitude=((self.i[:63] ^ sign.replicate(63)) + sign)[:63],
            room=named("room", room),
            sign=sign & ~self.i[63],
            invalid=self.i[63],
        )

        # --- 2: find the leading bit. What is lost below the significand counts for rounding only.
        n = Normaliser(m, s.magnitude, s.room, steps=6)
        n.step(32)
        n.step(16)
        n.step(8)
        s = cut(
            2,
            partial=_with_sticky(n.value, 34),
            room=s.room,
            taken=Cat(n.taken[8], n.taken[16], n.taken[32]),
            free=n.free,
            sign=s.sign,
            invalid=s.invalid,
        )

        # --- 3: shift left as far as that goes, round.
        bits = normalise_and_round(
            m,
            sections,
            s.partial,
            room=s.room,
            taken=s.taken,
            free=s.free,
            sign=s.sign,
            nan=s.invalid,
            infinite=s.invalid,
        )
        s = cut(3, o=bits)
        m.d.comb += self.o.eq(s.o)
        return m


def _with_sticky(value: Value, width: int) -> Value:
    """The highest bits of a value, the last of which stands for all that are left out."""
    below = len(value) - width + 1
    return Cat(value[:below].any(), value[below:])
