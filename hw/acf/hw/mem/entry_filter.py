"""Checks entries and passes on those that belong to the stream."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.mem.csr_cursors import raw_entry_layout
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import ErrorCode

__all__ = ["EntryFilter", "entry_layout"]

entry_layout = data.StructLayout({"value": 16, "row": 16, "accumulator": 16})
"""An entry as tiles take it, see ``acf.hw.noc.flit.entry_head``."""


class EntryFilter(wiring.Component):
    """Drops entries outside the inner range and, if told so, zero values; stops at an index out of range.

    What an index and a row mean to the tiles is decided here: in GATHER the index is the operand row, in SCATTER the
    accumulator row, and in SAMPLED the row takes the place of the value. Latency one cycle; one entry a cycle, dropped
    ones included.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``raw_entry_layout``
    o : Out(stream), ``entry_layout``
    dense : In(1)
        The index is the operand row; nothing is out of range.
    skip : In(1)
        Drop zero values; not in SAMPLED mode.
    scatter, sampled : In(1)
        The mode, GATHER if neither.
    accumulator_first : In(16)
        Accumulator row of the begin of the inner range (SCATTER).
    inner_begin, inner_size : In(32)
    inner_count : In(16)
    filtered, zero_dropped : Out(1)
        An entry is dropped in this cycle, because of its index or its value.
    fault : Out(fault_signature)
        INDEX_RANGE; the entry stays at ``i``.
    """

    def __init__(self, *, config: FabricConfig):
        self._format = config.lane.format
        super().__init__(
            {
                "i": In(stream.Signature(raw_entry_layout(config=config))),
                "o": Out(stream.Signature(entry_layout)),
                "dense": In(1),
                "skip": In(1),
                "scatter": In(1),
                "sampled": In(1),
                "accumulator_first": In(16),
                "inner_begin": In(32),
                "inner_size": In(32),
                "inner_count": In(16),
                "filtered": Out(1),
                "zero_dropped": Out(1),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        entry = self.i.p
        magnitude = entry.value[:-1] if self._format == "bf16" else entry.value  # bf16 has a zero of each sign
        is_zero = magnitude == 0
        relative = Signal(33)
        inside = Signal()
        m.d.comb += [
            relative.eq(Mux(self.dense, entry.index, entry.index - self.inner_begin)),  # negative: above any count
            inside.eq(self.dense | (relative < self.inner_count)),
        ]

        can_load = ~self.o.valid | self.o.ready
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid):
            with m.If(~self.dense & (entry.index >= self.inner_size)):
                m.d.comb += raise_fault(self.fault, ErrorCode.INDEX_RANGE, row=entry.row, index=entry.index)
            with m.Elif(~inside):
                m.d.comb += [self.i.ready.eq(1), self.filtered.eq(1)]
            with m.Elif(self.skip & is_zero & ~self.sampled):
                m.d.comb += [self.i.ready.eq(1), self.zero_dropped.eq(1)]
            with m.Elif(can_load):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.p.value.eq(Mux(self.sampled, entry.local, entry.value)),
                    self.o.p.row.eq(Mux(self.scatter, entry.local, relative)),
                    self.o.p.accumulator.eq(entry.local),
                ]
                with m.If(self.scatter):
                    m.d.sync += self.o.p.accumulator.eq(self.accumulator_first + relative)
                with m.If(self.sampled):
                    m.d.sync += self.o.p.accumulator.eq(entry.number)

        return m
