"""Parts of floating-point operators: fields, pipeline sections, the shift to the left, and rounding."""

from types import SimpleNamespace

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value

__all__ = ["Normaliser", "Sections", "normalise_and_round", "unpack"]


class Sections:
    """Divides an operator into sections, of which some end with registers.

    A register changes only after a cycle in which valid inputs reached it.

    Parameters
    ----------
    m : Module
    enable : Value
        Inputs are valid in this cycle.
    cuts : tuple of int
        Sections that end with registers, in ascending order.

    Attributes
    ----------
    valid : Value
        What the section at hand holds is valid.
    """

    def __init__(self, m: Module, *, enable: Value, cuts: tuple[int, ...]):
        self._m = m
        self._cuts = cuts
        self.valid = enable

    def named(self, name: str, value: Value) -> Signal:
        """A signal called ``name`` that is ``value``."""
        signal = Signal(value.shape(), name=name)
        self._m.d.comb += signal.eq(value)
        return signal

    def cut(self, section: int, **values: Value) -> SimpleNamespace:
        """End a section: its results, behind registers where a stage ends."""
        m = self._m
        results = {
            name: Signal(value.shape(), name=f"{name}_{section}", reset_less=True) for name, value in values.items()
        }
        if section not in self._cuts:
            m.d.comb += [results[name].eq(value) for name, value in values.items()]
            return SimpleNamespace(**results)
        with m.If(self.valid):
            m.d.sync += [results[name].eq(value) for name, value in values.items()]
        if section != self._cuts[-1]:
            valid = Signal(name=f"valid_{section}")
            m.d.sync += valid.eq(self.valid)
            self.valid = valid
        return SimpleNamespace(**results)


class Normaliser:
    """Shifts a value left, step by step, until its highest bit is set or ``room`` is used up.

    Taking the steps from the largest to the smallest gives the smaller of the two distances: each is taken if the value
    keeps its highest bit and the room that remains allows it, and once a possible step was not taken, the rest of the
    steps together are less than the room (``free``).

    Parameters
    ----------
    m : Module
    value : Value
        As wide as what comes out.
    room : Value
    free : Value or None
        What an earlier normaliser of the same value left; room for more than all steps when None.
    steps : int
        Bits of the distance, when ``free`` is None.
    """

    def __init__(self, m: Module, value: Value, room: Value, *, free: Value | None = None, steps: int = 5):
        self._m = m
        self._room = room
        self.value = value
        self.free = room[steps:].any() if free is None else free
        self.taken: dict[int, Signal] = {}

    def step(self, distance: int) -> None:
        """Shift by ``distance``, a power of two, if that is possible."""
        width = len(self.value)
        allowed = self._room[distance.bit_length() - 1]
        taken = Signal(name=f"taken_{distance}")
        free = Signal(name=f"free_{distance}")
        value = Signal(width, name=f"value_{distance}")
        self._m.d.comb += [
            taken.eq(~self.value[width - distance :].any() & (self.free | allowed)),
            free.eq(self.free | (allowed & ~taken)),
            value.eq(Mux(taken, self.value << distance, self.value)),
        ]
        self.taken[distance], self.free, self.value = taken, free, value


def unpack(bits: Value, *, exponent: int = 8, fraction: int) -> SimpleNamespace:
    """The fields of an IEEE number, and which kind of number it is."""
    low, high = bits[:fraction], bits[fraction : fraction + exponent]
    normal = high.any()
    return SimpleNamespace(
        sign=bits[-1],
        exponent=high,
        normal=normal,
        # The weight of the first bit of the significand: a subnormal number has that of the smallest normal ones.
        weight=Cat(high[0] | ~normal, high[1:]),
        significand=Cat(low, normal),
        zero=~bits[:-1].any(),
        infinite=high.all() & ~low.any(),
        nan=high.all() & low.any(),
    )


def _round_float32(
    sections: Sections, value: Value, *, exponent: Value, sign: Value, nan: Value, infinite: Value
) -> Value:
    """Bits of a float32 number: ``value`` normalised, rounded to nearest even.

    Parameters
    ----------
    sections : Sections
    value : Value
        Its highest bit is the integer part, then come 23 bits of fraction and at least two more. The highest bit is 0
        in a subnormal number, and the exponent does not count then.
    exponent : Value
        One less than the biased exponent, 9 bits.
    sign, nan, infinite : Value
        A NaN has sign 0.
    """
    top = len(value) - 1
    leading = sections.named("leading", value[top])
    below = top - 24
    fraction = value[below + 1 : top]
    round_up = sections.named("round_up", value[below] & (value[:below].any() | value[below + 1]))
    # The leading bit adds the one that ``exponent`` lacks; a carry out of the fraction adds another.
    packed = sections.named(
        "packed",
        (Cat(C(1, 1), fraction, exponent[:8] & leading.replicate(8)) + Cat(round_up, C(0, 23), leading))[1:],
    )
    special = sections.named("special", nan | infinite | (leading & (exponent >= 254)))
    return Cat(Mux(special, Cat(C(0, 22), nan, C(255, 8)), packed[:31]), sign)


def normalise_and_round(
    m: Module, sections: Sections, value: Value, *, room: Value, taken: Value, free: Value, **special: Value
) -> Value:
    """Bits of a float32 number from a ``value`` that lacks at most the last three of its shifts to the left.

    Parameters
    ----------
    m : Module
    sections : Sections
    value, room, free : Value
        As of a ``Normaliser``.
    taken : Value
        Which of the longer shifts were taken, that by 8 lowest.
    **special : Value
        ``sign``, ``nan`` and ``infinite``, see ``_round_float32``.
    """
    n = Normaliser(m, value, room, free=free)
    n.step(4)
    n.step(2)
    n.step(1)
    shift = Cat(n.taken[1], n.taken[2], n.taken[4], taken)
    exponent = sections.named("exponent", (room - shift)[:9])
    return _round_float32(sections, n.value, exponent=exponent, **special)
