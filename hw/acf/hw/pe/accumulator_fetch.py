"""Reads accumulator rows of one lane ahead of who takes them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.pe.accumulator_bank import accumulator_sweep

__all__ = ["AccumulatorFetch"]

_PATIENCE = 2
"""Cycles for which an accumulator is asked for, before its lane makes a product wait."""


class AccumulatorFetch(wiring.Component):
    """Asks a lane for the accumulators of some rows, slot after slot, and keeps two rows of them until they are taken.

    A lane gives an accumulator when no product is in its way, which is not for others to know. Lanes that are read each
    for itself wait for their own products only.

    Latency is two cycles from asking to ``o``; throughput one accumulator a cycle while the lane gives it, at least one
    in two.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    start : In(1)
        Begins a walk over ``rows`` accumulator rows from ``row`` on; only when all of the walk before are taken.
    row, rows : In
    lane : Out(accumulator_sweep)
    accumulator : In(32)
        What it has read in the cycle before.
    o : Out(stream)
        Accumulators in order.
    """

    o: stream.Interface

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        width, rows = lane.number_format.accumulator_width, ceil_log2(lane.accumulator_rows)
        super().__init__(
            {
                "start": In(1),
                "row": In(rows),
                "rows": In(rows + 1),
                "lane": Out(accumulator_sweep(lane=lane)),
                "accumulator": In(width),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        slots, lane = self._lane.slots, self.lane
        depth = 2 * slots

        row, rows_left, slot = Signal.like(self.row), Signal.like(self.rows), Signal(range(slots))
        room = Signal(range(depth + 1), init=depth)  # places that are not taken, and that nothing on its way will take
        waited = Signal(range(_PATIENCE))
        m.d.comb += [
            lane.read.eq((rows_left != 0) & room.any()),
            lane.row.eq(row),
            lane.slot.eq(slot),
            lane.urgent.eq(waited == _PATIENCE - 1),
        ]
        m.d.sync += room.eq(room - lane.taken + (self.o.valid & self.o.ready))
        with m.If(lane.taken):
            m.d.sync += [waited.eq(0), slot.eq(slot + 1)]  # back to 0 after the last
            with m.If(slot == slots - 1):
                m.d.sync += [row.eq(row + 1), rows_left.eq(rows_left - 1)]
        with m.Elif(lane.read & ~lane.urgent):
            m.d.sync += waited.eq(waited + 1)
        with m.If(self.start):
            m.d.sync += [row.eq(self.row), rows_left.eq(self.rows)]

        m.submodules.fifo = fifo = SyncFIFO(width=len(self.accumulator), depth=depth)
        arrives = Signal()
        m.d.sync += arrives.eq(lane.taken)
        m.d.comb += [
            fifo.w_en.eq(arrives),
            fifo.w_data.eq(self.accumulator),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.o.ready),
        ]
        return m
