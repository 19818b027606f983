"""A small serial multiplier for addresses, which are needed once per command."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PairMultiplier"]


class PairMultiplier(wiring.Component):
    """Multiplies one number by two others, modulo ``2 ** width``.

    Takes one cycle per bit of the larger of ``a`` and ``b``, leading zeros not counted, and one more.

    Parameters
    ----------
    width : int
        Bits of all numbers.

    Members
    -------
    start : In(1)
        Takes the operands; a multiplication under way is given up.
    multiplicand, a, b : In(width)
    busy : Out(1)
        High from the cycle after ``start`` until the products are there; they stay until the next ``start``.
    a_product, b_product : Out(width)

    Raises
    ------
    ValueError
        If ``width`` is not positive.
    """

    start: Signal
    multiplicand: Signal
    a: Signal
    b: Signal
    busy: Signal
    a_product: Signal
    b_product: Signal

    def __init__(self, *, width: int):
        if width <= 0:
            raise ValueError(f"multiplier width must be positive, not {width!r}")
        self._width = width
        super().__init__(
            {
                "start": In(1),
                "multiplicand": In(width),
                "a": In(width),
                "b": In(width),
                "busy": Out(1),
                "a_product": Out(width),
                "b_product": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()

        shifted = Signal(self._width)
        rest = {"a": Signal(self._width), "b": Signal(self._width)}
        products = {"a": self.a_product, "b": self.b_product}

        m.d.comb += self.busy.eq((rest["a"] | rest["b"]) != 0)
        m.d.sync += shifted.eq(shifted << 1)
        for name, product in products.items():
            m.d.sync += rest[name].eq(rest[name] >> 1)
            with m.If(rest[name][0]):
                m.d.sync += product.eq(product + shifted)
        with m.If(self.start):
            m.d.sync += [shifted.eq(self.multiplicand), rest["a"].eq(self.a), rest["b"].eq(self.b)]
            m.d.sync += [product.eq(0) for product in products.values()]

        return m
