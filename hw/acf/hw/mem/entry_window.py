"""Cuts rows of entries to a range of places."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.hw.mem.pointer_fetch import row_span_layout

__all__ = ["EntryWindow", "cut_span_layout"]

cut_span_layout = data.StructLayout({"begin": 32, "count": 32, "row": 32, "local": 16, "position": 16, "number": 16})
"""A row, or the part of it inside the window: ``position`` is that of its first entry in the whole row, ``number`` that
of its first entry in the window, modulo 2^16."""


class EntryWindow(wiring.Component):
    """Passes of each row those entries whose place is in a window; rows without any are dropped.

    Latency one cycle; one row a cycle.

    Members
    -------
    i : In(stream), ``row_span_layout``
    o : Out(stream), ``cut_span_layout``
    enable : In(1)
        Cut to the window; else rows pass as they are.
    begin, end : In(32)
        The window, ``end`` outside.
    first : In(16)
        Number of the entry at ``begin``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(row_span_layout)),
                "o": Out(stream.Signature(cut_span_layout)),
                "enable": In(1),
                "begin": In(32),
                "end": In(32),
                "first": In(16),
            }
        )

    def elaborate(self, platform):
        m = Module()

        row, cut = self.i.p, self.o.p
        row_end = Signal(33)
        begin, end = Signal(33), Signal(33)
        left = Signal(signed(34))
        can_load = Signal()
        m.d.comb += [
            row_end.eq(row.begin + row.count),
            begin.eq(Mux(self.enable & (row.begin < self.begin), self.begin, row.begin)),
            end.eq(Mux(self.enable & (row_end > self.end), self.end, row_end)),
            left.eq(end - begin),
            can_load.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(can_load),
        ]
        with m.If(can_load):
            m.d.sync += [
                self.o.valid.eq(self.i.valid & (left > 0)),
                cut.begin.eq(begin),
                cut.count.eq(left),
                cut.row.eq(row.row),
                cut.local.eq(row.local),
                cut.position.eq(begin - row.begin),
                cut.number.eq(self.first + begin - self.begin),
            ]
        return m
