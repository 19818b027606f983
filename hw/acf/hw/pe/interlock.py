"""Follows products through the operator and keeps two of one accumulator apart."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Interlock"]


class Interlock(wiring.Component):
    """Remembers which accumulators are in flight, from the cycle after their reading to that of their writing.

    A product reads its accumulator ``depth - flight`` cycles after it was issued. So it may be issued as many cycles
    before the accumulator of an earlier one is written.

    In a dense array no product is known to be zero, so products that are not effectual (they are issued only when
    skipping is off) hold their accumulator as well; they are not written.

    Parameters
    ----------
    address_width : int
        Bits of an accumulator's address.
    depth : int
        Cycles from issuing a product to writing its accumulator.
    flight : int or None
        Cycles from reading an accumulator to writing it, at most ``depth``, which it is when None.

    Members
    -------
    address : In(address_width)
        Accumulator of the product that would be issued.
    hazard : Out(1)
        It is in flight; do not issue.
    issue : In(1)
        The product is issued in this cycle.
    effectual : In(1)
        It changes its accumulator.
    read : Out(1)
        A product that changes its accumulator reads it now.
    read_address : Out(address_width)
        There.
    write : Out(1)
        Write the operator's result now, ``depth`` cycles after the issue.
    write_address : Out(address_width)
        There.
    busy : Out(1)
        An accumulator of a product is in flight.

    Raises
    ------
    ValueError
        If ``depth`` is below 1, or ``flight`` is not from 1 to ``depth``.
    """

    def __init__(self, *, address_width: int, depth: int, flight: int | None = None):
        if depth < 1:
            raise ValueError(f"depth of an interlock must be at least 1, not {depth!r}")
        if flight is not None and not 1 <= flight <= depth:
            raise ValueError(f"flight through an interlock must be from 1 to its depth of {depth!r}, not {flight!r}")
        self._depth = depth
        self._flight = depth if flight is None else flight
        super().__init__(
            {
                "address": In(address_width),
                "hazard": Out(1),
                "issue": In(1),
                "effectual": In(1),
                "read": Out(1),
                "read_address": Out(address_width),
                "write": Out(1),
                "write_address": Out(address_width),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        product, effectual, address = self.issue, self.effectual & self.issue, self.address
        products, conflicts = [], []
        for n in range(self._depth):
            if n == self._depth - self._flight:
                m.d.comb += [self.read.eq(effectual), self.read_address.eq(address)]
            product_next = Signal(name=f"product_{n}")
            effectual_next = Signal(name=f"effectual_{n}")
            address_next = Signal.like(self.address, name=f"address_{n}", reset_less=True)
            m.d.sync += [product_next.eq(product), effectual_next.eq(effectual)]
            with m.If(product):
                m.d.sync += address_next.eq(address)
            product, effectual, address = product_next, effectual_next, address_next
            products.append(product)
            if n < self._flight:
                conflicts.append(product & (address == self.address))

        m.d.comb += [
            self.hazard.eq(Cat(conflicts).any()),
            self.busy.eq(Cat(products).any()),
            self.write.eq(effectual),
            self.write_address.eq(address),
        ]
        return m
