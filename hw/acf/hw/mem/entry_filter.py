"""Checks entries and passes on those that belong to the stream."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.mem.csr_cursors import raw_group_layout
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.mem.row_ranges import found_layout
from acf.isa import ErrorCode

__all__ = ["EntryFilter", "entry_layout"]

entry_layout = data.StructLayout({"value": 16, "row": 16, "accumulator": 16})
"""An entry as tiles take it, see ``acf.hw.noc.flit.entry_head``."""


class EntryFilter(wiring.Component):
    """Drops entries outside the inner range and, if told so, zero values; stops at an index out of range.

    What an index and a row mean to the tiles is decided here: in GATHER the index is the operand row, in SCATTER the
    accumulator row, and in SAMPLED the row takes the place of the value. Latency two cycles; one group a cycle, or one
    entry that is passed on.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``raw_group_layout``
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
    range_first, place_first : In(16)
        What is added to ``local`` for the place of a row in the table of ranges, and to ``number`` for the place of an
        entry in memory, modulo 2^16.
    found_valid : Out(1)
        A group is looked at in this cycle.
    found : Out(found_layout)
        What is in it.
    filtered, zero_dropped : Out
        Entries that are dropped in this cycle, because of their index and their value.
    busy : Out(1)
        There are entries inside.
    fault : Out(fault_signature)
        INDEX_RANGE; no entry behind it is passed on.
    """

    def __init__(self, *, config: FabricConfig):
        self._format = config.lane.number_format
        self._group = config.feeder.group
        self._value_width = config.lane.number_format.operand_width
        super().__init__(
            {
                "i": In(stream.Signature(raw_group_layout(config=config))),
                "o": Out(stream.Signature(entry_layout)),
                "dense": In(1),
                "skip": In(1),
                "scatter": In(1),
                "sampled": In(1),
                "accumulator_first": In(16),
                "inner_begin": In(32),
                "inner_size": In(32),
                "inner_count": In(16),
                "range_first": In(16),
                "place_first": In(16),
                "found_valid": Out(1),
                "found": Out(found_layout),
                "filtered": Out(range(config.feeder.group + 1)),
                "zero_dropped": Out(range(config.feeder.group + 1)),
                "busy": Out(1),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        group, offered = self._group, self.i.p

        # What becomes of each entry of a group.
        relative = [Signal(17, name=f"relative_{n}", reset_less=True) for n in range(group)]
        values = [Signal(self._value_width, name=f"value_{n}", reset_less=True) for n in range(group)]
        indices = [Signal(32, name=f"index_{n}", reset_less=True) for n in range(group)]
        pending = Signal(group)  # to be passed on, or out of range
        bad = Signal(group)
        row = Signal(32, reset_less=True)
        local, number = Signal(16, reset_less=True), Signal(16, reset_less=True)
        pass_on, too_large, filtered, zeros, meant = (Signal(group) for _ in range(5))
        for n in range(group):
            index, value = offered.indices[n], offered.values[n]
            magnitude = value[:-1] if self._format.narrows else value  # bf16 has a zero of each sign
            difference = Signal(33, name=f"difference_{n}")
            exists, inside, dropped = (Signal(name=f"{what}_{n}") for what in ("exists", "inside", "dropped"))
            m.d.comb += [
                difference.eq(Mux(self.dense, index, index - self.inner_begin)),  # negative: above any count
                exists.eq((offered.first <= n) & (offered.count > n)),
                inside.eq(self.dense | (difference < self.inner_count)),
                dropped.eq(self.skip & (magnitude == 0) & ~self.sampled),
                too_large[n].eq(exists & ~self.dense & (index >= self.inner_size)),
                filtered[n].eq(exists & ~inside & ~too_large[n]),
                zeros[n].eq(exists & inside & dropped & ~too_large[n]),
                pass_on[n].eq(exists & (too_large[n] | (inside & ~dropped))),
                meant[n].eq(exists & inside),
            ]
            with m.If(self.i.ready):
                m.d.sync += [relative[n].eq(difference), values[n].eq(value), indices[n].eq(index)]

        first_meant, last_meant = Signal(range(max(2, group))), Signal(range(max(2, group)))
        for n in reversed(range(group)):
            with m.If(meant[n]):
                m.d.comb += first_meant.eq(n)
        for n in range(group):
            with m.If(meant[n]):
                m.d.comb += last_meant.eq(n)
        begin = offered.number + self.place_first
        m.d.comb += [
            self.found_valid.eq(self.i.valid & self.i.ready),
            self.found.row.eq(offered.local + self.range_first),
            self.found.opens.eq(offered.opens),
            self.found.any.eq(meant.any()),
            self.found.first.eq(begin + first_meant),
            self.found.last.eq(begin + last_meant),
        ]

        # One of them a cycle, in order.
        lowest = Signal(group)
        can_load = ~self.o.valid | self.o.ready
        m.d.comb += [
            lowest.eq(pending & -pending),
            self.i.ready.eq((pending == 0) | (((pending & ~lowest) == 0) & can_load & ~(bad & lowest).any())),
            self.busy.eq(pending.any() | self.o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                pending.eq(Mux(self.i.valid, pass_on, 0)),
                bad.eq(too_large),
                row.eq(offered.row),
                local.eq(offered.local),
                number.eq(offered.number),
            ]
            with m.If(self.i.valid):
                m.d.comb += [self.filtered.eq(sum(filtered)), self.zero_dropped.eq(sum(zeros))]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        place = Signal(range(max(2, group)))
        for n in reversed(range(group)):
            with m.If(pending[n]):
                m.d.comb += place.eq(n)
        with m.If((bad & lowest).any()):
            m.d.comb += raise_fault(self.fault, ErrorCode.INDEX_RANGE, row=row, index=Array(indices)[place])
        with m.Elif(pending.any() & can_load):
            difference, value = Array(relative)[place], Array(values)[place]
            with m.If(~self.i.ready):
                m.d.sync += pending.eq(pending & ~lowest)
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.p.value.eq(Mux(self.sampled, local, value)),
                self.o.p.row.eq(Mux(self.scatter, local, difference)),
                self.o.p.accumulator.eq(local),
            ]
            with m.If(self.scatter):
                m.d.sync += self.o.p.accumulator.eq(self.accumulator_first + difference)
            with m.If(self.sampled):
                m.d.sync += self.o.p.accumulator.eq(number + place)

        return m
