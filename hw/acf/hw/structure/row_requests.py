"""Asks for the entries and gradients of row after row."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import ErrorCode

__all__ = ["ROW_ENTRIES_MAX", "RowRequests", "row_layout"]

ROW_ENTRIES_MAX = (1 << 16) - 1
"""Entries of a row, at most."""

row_layout = data.StructLayout({"row": 32, "place": 32, "count": 16})
"""A row: its number, the place of its first entry, and how many it has."""


class RowRequests(wiring.Component):
    """Turns pointers into rows, one every other cycle.

    Members
    -------
    start : In(1)
        Begins with ``row_begin``; only while not ``busy``.
    row_begin, row_end : In(32)
        The first is less than the second; they stay while ``busy``.
    candidate_stride : In(32)
    pointers : In(stream), 32 bits
        Those of all rows, and the one after them.
    o : Out(row_layout)
        A row.
    candidates : Out(32)
        What to add to the address of the gradients for it.
    ready : In(1)
        The row can be taken, by all who need it.
    valid : Out(1)
        The row is there.
    busy : Out(1)
    fault : Out(fault_signature)
        POINTER_ORDER, and POINTER_RANGE for a row of more than ``ROW_ENTRIES_MAX`` entries. Nothing follows.
    """

    start: In(1)
    row_begin: In(32)
    row_end: In(32)
    candidate_stride: In(32)
    pointers: In(stream.Signature(32))
    o: Out(row_layout)
    candidates: Out(32)
    ready: In(1)
    valid: Out(1)
    busy: Out(1)
    fault: Out(fault_signature)

    def elaborate(self, platform):
        m = Module()

        row = Signal(32)
        place = Signal(32)
        count = Signal(32)
        offset = Signal(32)
        pointer = self.pointers.payload
        m.d.comb += [
            self.o.row.eq(row),
            self.o.place.eq(place),
            self.o.count.eq(count),
            self.candidates.eq(offset),
            self.busy.eq(1),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                m.d.sync += [row.eq(self.row_begin), offset.eq(0)]
                with m.If(self.start):
                    m.next = "FIRST"
            with m.State("FIRST"):
                m.d.comb += self.pointers.ready.eq(1)
                m.d.sync += place.eq(pointer)
                with m.If(self.pointers.valid):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.comb += self.pointers.ready.eq(1)
                m.d.sync += count.eq(pointer - place)
                with m.If(self.pointers.valid):
                    m.next = "GIVE"
                    with m.If(pointer < place):
                        m.d.comb += raise_fault(self.fault, ErrorCode.POINTER_ORDER, row=row, index=pointer)
                        m.next = "STOPPED"
            with m.State("GIVE"):
                with m.If(count > ROW_ENTRIES_MAX):
                    m.d.comb += raise_fault(self.fault, ErrorCode.POINTER_RANGE, row=row, index=place + count)
                    m.next = "STOPPED"
                with m.Else():
                    m.d.comb += self.valid.eq(1)
                    with m.If(self.ready):
                        m.d.sync += [
                            row.eq(row + 1),
                            place.eq(place + count),
                            offset.eq(offset + self.candidate_stride),
                        ]
                        m.next = "NEXT"
                        with m.If(row + 1 == self.row_end):
                            m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        return m
