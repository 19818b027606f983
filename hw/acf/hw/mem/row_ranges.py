"""Remembers of each row which of its entries lie in the inner range, and reads no others the next time."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from acf.hw.mem.pointer_fetch import row_span_layout

__all__ = ["RowRanges", "found_layout"]

found_layout = data.StructLayout({"row": 16, "opens": 1, "any": 1, "first": 16, "last": 16})
"""What was found in a group of entries of one row: the place of the row in the table, whether these are the first ones
that were looked at, whether any of them is inside, and the places of the first and the last that are, modulo 2^16."""

_range_layout = data.StructLayout({"first": 16, "count": 16})


class RowRanges(wiring.Component):
    """A table of ranges of rows, and the cutter that uses it.

    A row that was recorded has in the table the place of its first entry inside, modulo 2^16, and how many there are
    from there to the last one inside. Rows have fewer than 2^16 entries. Latency of the cutter three cycles; one row a
    cycle. What a group adds to the table is there for a row that is taken in the next cycle.

    Parameters
    ----------
    places : int
        Rows in the table, a power of two.

    Members
    -------
    i : In(stream), ``row_span_layout``
    o : Out(stream), ``row_span_layout``
        With ``use`` the part of each row that the table says, as far as it lies in the row, and no rows without any;
        else the rows as they are.
    use : In(1)
        Held while rows pass.
    first : In(16)
        Place in the table of the row that tiles know as 0, modulo 2^16.
    record : In(1)
        The table takes what is ``found``; no row is taken with ``use`` then.
    found_valid : In(1)
    found : In(found_layout)
    busy : Out(1)
        There are rows inside.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, places: int):
        self._places = places
        super().__init__(
            {
                "i": In(stream.Signature(row_span_layout)),
                "o": Out(stream.Signature(row_span_layout)),
                "use": In(1),
                "first": In(16),
                "record": In(1),
                "found_valid": In(1),
                "found": In(found_layout),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.table = table = Memory(shape=_range_layout, depth=self._places, init=[])
        write = table.write_port()
        read = table.read_port(transparent_for=(write,))

        # Rows: looked up in the table, placed against their range, cut to it. A word of the table comes so late in its
        # cycle that there is no time for more than one difference.
        row, row_valid = Signal(row_span_layout), Signal()
        placed, placed_valid = Signal(row_span_layout), Signal()
        before = Signal(16)  # entries of the row in front of its range
        most = Signal(16)  # entries of the range
        can_take, can_place, can_cut = Signal(), Signal(), Signal()
        m.d.comb += [
            can_cut.eq(~self.o.valid | self.o.ready),
            can_place.eq(~placed_valid | can_cut),
            can_take.eq(~row_valid | can_place),
            self.i.ready.eq(can_take & ~(self.use & self.record)),
            self.busy.eq(row_valid | placed_valid | self.o.valid),
        ]
        with m.If(can_take):
            m.d.sync += [row_valid.eq(self.i.valid & self.i.ready), row.eq(self.i.p)]
        with m.If(can_place):
            m.d.sync += [
                placed_valid.eq(row_valid),
                placed.eq(row),
                before.eq(Mux(self.use, read.data.first - row.begin, 0)),
                most.eq(read.data.count),
            ]
        left = Signal(signed(34))
        m.d.comb += left.eq(placed.count - before)
        with m.If(can_cut):
            m.d.sync += [
                self.o.valid.eq(placed_valid & (left > 0) & ~(self.use & (most == 0))),
                self.o.p.eq(placed),
                self.o.p.begin.eq(placed.begin + before),
                self.o.p.count.eq(Mux(self.use & (most < left), most, left)),
            ]

        # What is found: the range as it was, one cycle later as it is.
        found, found_valid = Signal(found_layout), Signal()
        first = Signal(16)
        m.d.comb += [
            read.addr.eq(Mux(self.record, self.found.row, self.i.p.local + self.first)),
            read.en.eq(Mux(self.record, self.found_valid, can_take)),
            first.eq(Mux(found.opens | (read.data.count == 0), found.first, read.data.first)),
            write.addr.eq(found.row),
            write.data.first.eq(first),
            write.data.count.eq(Mux(found.any, found.last - first + 1, 0)),
            write.en.eq(found_valid & (found.opens | found.any)),
        ]
        m.d.sync += [found_valid.eq(self.record & self.found_valid), found.eq(self.found)]

        return m
