"""Checks entries and passes on those that belong to the stream."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.mem.csr_cursors import raw_group_layout
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.mem.row_ranges import found_layout
from acf.isa import ErrorCode

__all__ = ["EntryFilter", "entry_layout", "filter_job_layout"]

filter_job_layout = data.StructLayout(
    {
        "skip": 1,
        "accumulator_first": 16,
        "inner_begin": 32,
        "inner_size": 32,
        "inner_count": 16,
        "range_first": 16,
        "place_first": 16,
    }
)
"""What the filter has to know of a job: whether zero values are dropped (not in SAMPLED mode); the accumulator row of
the begin of the inner range (SCATTER); the inner range; what is added to ``local`` for the place of a row in the table
of ranges, and to ``number`` for the place of an entry in memory, modulo 2^16."""

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
    i_turn : In(1)
        Which of the two jobs it belongs to.
    o : Out(stream), ``entry_layout``
    o_turn : Out(1)
    holds : Out(2)
        Entries of either job are inside.
    dense : In(1)
        The index is the operand row; nothing is out of range.
    scatter, sampled : In(1)
        The mode, GATHER if neither.
    jobs : In(filter_job_layout).array(2)
        One changes only while none of its entries are inside.
    found_valid : Out(1)
        A group is looked at in this cycle.
    found : Out(found_layout)
        What is in it.
    filtered, zero_dropped : Out
        Entries that are dropped in this cycle, because of their index and their value.
    fault : Out(fault_signature)
        INDEX_RANGE; no entry behind it is passed on.
    fault_turn : Out(1)
        The job that it belongs to.
    """

    def __init__(self, *, config: FabricConfig):
        self._format = config.lane.number_format
        self._group = config.feeder.group
        self._value_width = config.lane.number_format.operand_width
        super().__init__(
            {
                "i": In(stream.Signature(raw_group_layout(config=config))),
                "i_turn": In(1),
                "o": Out(stream.Signature(entry_layout)),
                "o_turn": Out(1),
                "holds": Out(2),
                "dense": In(1),
                "scatter": In(1),
                "sampled": In(1),
                "jobs": In(filter_job_layout).array(2),
                "found_valid": Out(1),
                "found": Out(found_layout),
                "filtered": Out(range(config.feeder.group + 1)),
                "zero_dropped": Out(range(config.feeder.group + 1)),
                "fault": Out(fault_signature),
                "fault_turn": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        group, offered = self._group, self.i.p
        job, turn = Signal(filter_job_layout), Signal()  # of the group that is offered; of that which is inside
        m.d.comb += job.eq(Mux(self.i_turn, self.jobs[1], self.jobs[0]))

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
                difference.eq(Mux(self.dense, index, index - job.inner_begin)),  # negative: above any count
                exists.eq((offered.first <= n) & (offered.count > n)),
                inside.eq(self.dense | (difference < job.inner_count)),
                dropped.eq(job.skip & (magnitude == 0) & ~self.sampled),
                too_large[n].eq(exists & ~self.dense & (index >= job.inner_size)),
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
        begin = offered.number + job.place_first
        m.d.comb += [
            self.found_valid.eq(self.i.valid & self.i.ready),
            self.found.row.eq(offered.local + job.range_first),
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
            self.holds.eq(
                Cat(
                    (pending.any() & ~turn) | (self.o.valid & ~self.o_turn),
                    (pending.any() & turn) | (self.o.valid & self.o_turn),
                )
            ),
            self.fault_turn.eq(turn),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                pending.eq(Mux(self.i.valid, pass_on, 0)),
                bad.eq(too_large),
                turn.eq(self.i_turn),
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
                self.o_turn.eq(turn),
                self.o.p.value.eq(Mux(self.sampled, local, value)),
                self.o.p.row.eq(Mux(self.scatter, local, difference)),
                self.o.p.accumulator.eq(local),
            ]
            with m.If(self.scatter):
                m.d.sync += self.o.p.accumulator.eq(
                    Mux(turn, self.jobs[1].accumulator_first, self.jobs[0].accumulator_first) + difference
                )
            with m.If(self.sampled):
                m.d.sync += self.o.p.accumulator.eq(number + place)

        return m
