"""Adds up the sums of all lanes, from the east end of a mesh row to its west."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream
from acf.hw.pe.accumulator_bank import accumulator_sweep
from acf.hw.pe.lane_sums import LaneSums
from acf.hw.pe.result_sender import sender_depth
from acf.hw.pe.sweep_job import sweep_walk

__all__ = ["ReducingSweep"]


class ReducingSweep(wiring.Component):
    """Adds the accumulators of lane 0, 1, ... to the sums that come from the tile in the east, or to +0 at the east end
    of the mesh row, and sends the sums to the west. Lanes set to +0 what they have given.

    ``reducing_adders`` adders stand one behind the other, and each adds as many neighbouring lanes (``LaneSums``). So
    the order of additions does not depend on how many there are.

    A few cycles to start, then for each row as many as one of the adders takes for its lanes, and the latencies of all
    until the last sums are sent. Sums of the east are taken when they are needed; without them, and while the network
    takes no results, it waits. A lane that is busy may delay an accumulator by three cycles.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    walk : In(sweep_walk)
        A DRAIN with ``reduce``; its number of rows is a multiple of ``lanes``. Finished when the last sum is sent.
    incoming : In(flit_stream)
        SUMS packets of the tile in the east, as many as are sent.
    pairs : Out(stream)
        Two sums at a time; there is room for them.
    sent : In(2)
        So many sums are sent.
    lanes : Out(accumulator_sweep).array(lanes)
    accumulators : In(accumulator_width).array(lanes)
        What they have read in the cycle before.
    overflow : Out(lanes)
        A sum has wrapped when the accumulator of this lane was added.
    x : In(4)
        Column of the tile in the mesh.
    """

    incoming: stream.Interface
    pairs: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "walk": In(sweep_walk(lane=config.lane)),
                "incoming": In(flit_stream(noc=config.noc)),
                "pairs": Out(stream.Signature(2 * config.lane.number_format.accumulator_width)),
                "sent": In(2),
                "lanes": Out(accumulator_sweep(lane=config.lane)).array(config.lanes),
                "accumulators": In(config.lane.number_format.accumulator_width).array(config.lanes),
                "overflow": Out(config.lanes),
                "x": In(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, walk = self._config, self.walk
        adders = min(config.reducing_adders, config.lanes)
        share = config.lanes // adders
        width = config.lane.number_format.accumulator_width

        starts = Signal()
        # Sums between two adders: those of a row go on while those of the next one come.
        per_flit = config.noc.flit_width // width
        rooms = [2 * config.lane.slots] * (adders - 1) + [per_flit * sender_depth(config=config)]
        stages = [LaneSums(lane=config.lane, lanes=share, room=room) for room in rooms]
        for number, stage in enumerate(stages):
            m.submodules[f"sums_{number}"] = stage
            m.d.comb += [stage.start.eq(starts), stage.row.eq(walk.row), stage.rows.eq(walk.rows_left)]
            for n in range(share):
                lane = number * share + n
                m.d.comb += [
                    *(
                        getattr(self.lanes[lane], name).eq(getattr(stage.lanes[n], name))
                        for name in ("read", "row", "slot", "urgent")
                    ),
                    stage.lanes[n].taken.eq(self.lanes[lane].taken),
                    stage.accumulators[n].eq(self.accumulators[lane]),
                ]
        m.d.comb += self.overflow.eq(Cat(stage.overflow for stage in stages))

        # Into the first: as many sums as a flit has.
        upper = Signal(range(per_flit))
        flit_ends = upper == per_flit - 1
        at_east_end = self.x == config.cols
        first, flit = stages[0], self.incoming
        m.d.comb += [
            first.from_zero.eq(at_east_end),
            first.i.valid.eq(flit.valid & ~flit.p.head),
            first.i.payload.eq(flit.p.payload.word_select(upper, width)),
            flit.ready.eq(~at_east_end & walk.active & (flit.p.head | (first.i.ready & flit_ends))),
        ]
        with m.If(first.i.ready & first.i.valid):
            m.d.sync += upper.eq(upper + 1)

        # From one to the next.
        for number, (giving, taking) in enumerate(pairwise(stages)):
            m.submodules[f"between_{number}"] = between = SyncFIFO(width=width, depth=rooms[number])
            m.d.comb += [
                between.w_data.eq(giving.o),
                between.w_en.eq(giving.o_valid),
                taking.i.payload.eq(between.r_data),
                taking.i.valid.eq(between.r_rdy),
                between.r_en.eq(taking.i.ready),
                giving.freed.eq(between.r_rdy & taking.i.ready),
            ]

        # Out of the last: two sums in each pair.
        last = stages[-1]
        lower, is_upper = Signal(width, reset_less=True), Signal()
        with m.If(last.o_valid):
            m.d.sync += [lower.eq(last.o), is_upper.eq(~is_upper)]
        m.d.comb += [
            self.pairs.valid.eq(last.o_valid & is_upper),
            self.pairs.payload.eq(Cat(lower, last.o)),
            last.freed.eq(Mux(walk.active, self.sent, 0)),
            walk.row_done.eq(last.row_done),
        ]

        with m.FSM():
            with m.State("START"), m.If(walk.active):
                m.d.comb += starts.eq(1)
                m.next = "WALK"
            with m.State("WALK"), m.If(~Cat(stage.busy for stage in stages).any()):
                m.d.comb += walk.finished.eq(1)
                m.next = "START"
        return m
