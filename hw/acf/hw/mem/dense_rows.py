"""Rows of a dense matrix as spans of entries."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from acf.hw.mem.multiply import PairMultiplier
from acf.hw.mem.pointer_fetch import row_span_layout, row_walk_layout

__all__ = ["DenseRows"]


class DenseRows(wiring.Component):
    """Gives the part of each row of a row-major matrix that lies in the inner range.

    Row i begins at place ``i * inner_size``; of its positions those from ``inner_begin`` on are taken, ``inner_count``
    of them as far as they are below ``inner_size``. One row a cycle, after up to 34 cycles for the two products.

    Members
    -------
    start : In(1)
        Begins; the inputs are held until ``busy`` falls.
    rows : In(row_walk_layout)
    inner_begin, inner_size : In(32)
    inner_count : In(16)
    length : Out(16)
        Positions taken in each row, from the second cycle after ``start`` on.
    busy : Out(1)
        High from the cycle after ``start`` until the last row has been taken from ``o``.
    o : Out(stream), ``row_span_layout``
        Rows in order, none when ``length`` is 0.
    """

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "rows": In(row_walk_layout),
                "inner_begin": In(32),
                "inner_size": In(32),
                "inner_count": In(16),
                "length": Out(16),
                "busy": Out(1),
                "o": Out(stream.Signature(row_span_layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.products = products = PairMultiplier(width=32)
        m.d.comb += [
            products.start.eq(self.start),
            products.multiplicand.eq(self.inner_size),
            products.a.eq(self.rows.first),
            products.b.eq(self.rows.step),
        ]

        inside = Signal(33)
        m.d.comb += inside.eq(Mux(self.inner_begin < self.inner_size, self.inner_size - self.inner_begin, 0))
        left = Signal(16)
        span = self.o.p
        m.d.comb += span.count.eq(self.length)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += self.length.eq(Mux(self.inner_count < inside, self.inner_count, inside))
                with m.If(self.start):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    span.begin.eq(products.a_product + self.inner_begin),
                    span.row.eq(self.rows.first),
                    span.local.eq(self.rows.local),
                    left.eq(self.rows.count),
                ]
                with m.If((self.length == 0) | (self.rows.count == 0)):
                    m.next = "IDLE"
                with m.Elif(~products.busy):
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [
                        span.begin.eq(span.begin + products.b_product),
                        span.row.eq(span.row + self.rows.step),
                        span.local.eq(span.local + 1),
                        left.eq(left - 1),
                    ]
                    with m.If(left == 1):
                        m.next = "IDLE"
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))

        return m
