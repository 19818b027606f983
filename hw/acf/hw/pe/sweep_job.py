"""Keeps the sweep under way, and the entries apart from it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.pe.accumulator_bank import clearing_cycles

__all__ = ["SweepJob", "sweep_request", "sweep_walk"]

sweep_request = data.StructLayout(
    {
        "first": 12,
        "count": 13,
        "send": 1,
        "reduce": 1,
        "narrow": 1,
        "lower": 1,
        "gate": 1,
        "gate_bank": 2,
        "gate_row": 12,
        "gate_step": 6,
    }
)
"""First accumulator row, number of rows, whether they are sent before they are set to +0, and as what: see
``acf.hw.noc.flit.drain_head``."""


def sweep_walk(*, lane: LaneConfig) -> wiring.Signature:
    """A sweep under way, seen from who keeps it.

    Members
    -------
    active : Out(1)
        There is one.
    send, reduce, narrow, lower, gate, gate_bank : Out
        As asked for.
    row : Out
        The accumulator row that is swept.
    rows_left : Out
        Rows that are not swept yet, this one included.
    gate_row : Out
        The operand row that gates this one.
    row_done : In(1)
        All accumulators of the row have been read.
    finished : In(1)
        All is done; in the last cycle of the sweep.
    """
    rows = ceil_log2(lane.accumulator_rows)
    return wiring.Signature(
        {
            "active": Out(1),
            "send": Out(1),
            "reduce": Out(1),
            "narrow": Out(1),
            "lower": Out(1),
            "gate": Out(1),
            "gate_bank": Out(2),
            "row": Out(rows),
            "rows_left": Out(rows + 1),
            "gate_row": Out(ceil_log2(lane.operand_rows)),
            "row_done": In(1),
            "finished": In(1),
        }
    )


class SweepJob(wiring.Component):
    """Takes a DRAIN or a CLEAR, so that what comes behind it may go on while the accumulators are swept.

    Rows are swept in ascending order, from when the sums of all earlier entries are there. An entry that comes later
    must find the accumulators as the sweep leaves them, so it waits as long as its row lies between the row that is
    swept and the last one, and then until it is +0.

    While one is under way another may be asked for, so that a tile that has done its part of a sum goes on while the
    others finish theirs.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    request : In(stream), ``sweep_request``
        Taken in one cycle, when no other waits.
    settled : In(1)
        Sums of the entries before ``request`` are there, and no accumulator that was swept is not yet +0. Not in the
        cycle in which it is taken, if not all are there yet.
    idle : Out(1)
        No sweep is asked for or under way.
    walk : Out(sweep_walk)
    packet : Out(16)
        Number of the packet of results: the accumulator row, or of sums 0, 1, ...
    packet_sent : In(1)
        It is sent; on to the next.
    entry_row : In
        Accumulator row of the next entry.
    must_wait : Out(1)
        It is not swept yet, or not yet +0.
    """

    request: stream.Interface

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        super().__init__(
            {
                "request": In(stream.Signature(sweep_request)),
                "settled": In(1),
                "idle": Out(1),
                "walk": Out(sweep_walk(lane=lane)),
                "packet": Out(16),
                "packet_sent": In(1),
                "entry_row": In(ceil_log2(lane.accumulator_rows)),
                "must_wait": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        walk = self.walk
        asked, begins = Signal(), Signal()
        wanted = Signal(sweep_request, reset_less=True)
        gate_step = Signal.like(self.request.p.gate_step)
        m.d.comb += [
            self.request.ready.eq(~asked),
            self.idle.eq(~asked & ~walk.active),
        ]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [asked.eq(1), wanted.eq(self.request.p)]
        with m.If(begins):
            m.d.sync += [
                asked.eq(0),
                walk.active.eq(1),
                walk.row.eq(wanted.first),
                walk.rows_left.eq(wanted.count),
                *(walk_field.eq(wanted[name]) for name, walk_field in self._kept(walk)),
                gate_step.eq(wanted.gate_step),
                self.packet.eq(Mux(wanted.reduce, 0, wanted.first)),
            ]
        with m.Elif(walk.finished):
            m.d.sync += walk.active.eq(0)
        with m.If(walk.row_done):
            m.d.sync += [
                walk.row.eq(walk.row + 1),
                walk.rows_left.eq(walk.rows_left - 1),
                walk.gate_row.eq(walk.gate_row + gate_step),
            ]

        with m.If(self.packet_sent):
            m.d.sync += self.packet.eq(self.packet + 1)

        self._compare(m, asked, wanted, begins)
        return m

    def _compare(self, m, asked, wanted, begins):
        """Whether the row of the next entry is not swept yet, or not yet +0."""
        walk = self.walk
        row, rows_left = Signal.like(walk.row), Signal.like(walk.rows_left)
        is_cleared = walk.row_done
        for n in range(clearing_cycles(lane=self._lane) - 1):
            is_cleared_next = Signal(name=f"is_cleared_{n}")
            m.d.sync += is_cleared_next.eq(is_cleared)
            is_cleared = is_cleared_next
        m.d.comb += begins.eq(asked & self.settled & ~walk.active & (rows_left == 0))
        with m.If(begins):
            m.d.sync += [row.eq(wanted.first), rows_left.eq(wanted.count)]
        with m.Elif(is_cleared):
            m.d.sync += [row.eq(row + 1), rows_left.eq(rows_left - 1)]

        distance, distance_wanted = Signal.like(row), Signal.like(row)
        m.d.comb += [
            distance.eq(self.entry_row - row),
            distance_wanted.eq(self.entry_row - wanted.first),
            self.must_wait.eq((distance < rows_left) | (asked & (distance_wanted < wanted.count))),
        ]

    def _kept(self, walk):
        return [
            (name, getattr(walk, name))
            for name in ("send", "reduce", "narrow", "lower", "gate", "gate_bank", "gate_row")
        ]
