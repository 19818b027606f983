"""Adds up the sums of all lanes, from the east end of a mesh row to its west."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream
from acf.hw.pe.accumulator_add import AccumulatorAdd
from acf.hw.pe.accumulator_bank import accumulator_sweep
from acf.hw.pe.interlock import Interlock
from acf.hw.pe.result_sender import sender_depth
from acf.hw.pe.sweep_job import sweep_walk

__all__ = ["ReducingSweep"]


class ReducingSweep(wiring.Component):
    """Adds the accumulators of lane 0, 1, ... to the sums that come from the tile in the east, or to +0 at the east end
    of the mesh row, and sends the sums to the west. Lanes set to +0 what they have given.

    There is one adder. It works on an accumulator row at a time, lane after lane, so that the sums of the ``slots``
    accumulators hide its latency.

    One cycle to start, then ``lanes * slots`` cycles for each row, or ``lanes * (latency + 3)`` where slots are fewer
    than that, ``latency`` being the adder's; then ``latency`` and a few more until the last sums are sent. Sums of the
    east are taken when they are needed; without them, and while the network takes no results, it waits. It waits for no
    lane: products make room.

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
    sent : In(1)
        A pair is sent.
    lanes : Out(accumulator_sweep).array(lanes)
    accumulators : In(32).array(lanes)
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
                "pairs": Out(stream.Signature(config.noc.flit_width)),
                "sent": In(1),
                "lanes": Out(accumulator_sweep(lane=config.lane)).array(config.lanes),
                "accumulators": In(config.lane.number_format.accumulator_width).array(config.lanes),
                "overflow": Out(config.lanes),
                "x": In(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes, slots = config.lanes, config.lane.slots
        width = config.lane.number_format.accumulator_width

        m.submodules.adder = adder = AccumulatorAdd(lane=config.lane)
        # A sum is read in the cycle after the accumulator was asked for, enters the adder one cycle later, and is
        # written when it has left it.
        m.submodules.interlock = interlock = Interlock(address_width=ceil_log2(slots), depth=adder.latency + 2)
        m.submodules.sums = sums = Memory(shape=width, depth=slots, init=[])
        writer, reader = sums.write_port(), sums.read_port(domain="comb")

        walk = self.walk
        lane = Signal(range(lanes))
        slot = Signal(range(slots))
        first_lane, last_lane, slot_ends = lane == 0, lane == lanes - 1, slot == slots - 1
        depth = sender_depth(config=config)
        room = Signal(range(depth + 1), init=depth)  # for pairs of sums

        # Ask the lanes for the next accumulator, when the sum so far is there, or will be.
        walking = Signal()
        step = Signal()
        at_east_end = self.x == config.cols
        from_east = walking & first_lane & ~at_east_end
        sum_comes = ~from_east | (self.incoming.valid & ~self.incoming.p.head)
        m.d.comb += [
            step.eq(walking & ~interlock.hazard & sum_comes & (~last_lane | slot[0] | room.any())),
            self.incoming.ready.eq(from_east & (self.incoming.p.head | (step & slot[0]))),
            interlock.address.eq(slot),
            interlock.read_address.eq(slot),
            interlock.issue.eq(step),
            interlock.effectual.eq(1),
        ]
        for n, port in enumerate(self.lanes):
            m.d.comb += [port.read.eq(step & (lane == n)), port.row.eq(walk.row), port.slot.eq(slot), port.urgent.eq(1)]

        # The accumulator is there.
        asked = Signal()
        asked_lane, asked_slot = Signal.like(lane), Signal.like(slot)
        initial = Signal(width, reset_less=True)
        m.d.sync += asked.eq(step)
        with m.If(step):
            m.d.sync += [asked_lane.eq(lane), asked_slot.eq(slot)]
        with m.If(step & first_lane):
            m.d.sync += initial.eq(Mux(at_east_end, 0, self.incoming.p.payload.word_select(slot[0], width)))
        a, b = (Signal(width, name=name, reset_less=True) for name in ("a", "b"))
        enable = Signal()
        m.d.sync += enable.eq(asked)
        with m.If(asked):
            m.d.sync += [
                a.eq(Mux(asked_lane == 0, initial, reader.data)),
                b.eq(Array(self.accumulators)[asked_lane]),
            ]
        m.d.comb += [
            reader.addr.eq(asked_slot),
            adder.a.eq(a),
            adder.b.eq(b),
            adder.enable.eq(enable),
        ]

        # The sum is there. Sums leave the adder in the order of the walk.
        summed_lane, summed_slot = Signal(range(lanes)), interlock.write_address
        m.d.comb += [
            writer.en.eq(interlock.write),
            writer.addr.eq(summed_slot),
            writer.data.eq(adder.o),
            self.overflow.eq(Cat(interlock.write & adder.overflow & (summed_lane == n) for n in range(lanes))),
        ]
        with m.If(interlock.write & (summed_slot == slots - 1)):
            m.d.sync += summed_lane.eq(Mux(summed_lane == lanes - 1, 0, summed_lane + 1))
        complete = interlock.write & (summed_lane == lanes - 1)
        lower = Signal.like(adder.o, name="lower", reset_less=True)
        with m.If(complete & ~summed_slot[0]):
            m.d.sync += lower.eq(adder.o)
        m.d.comb += [self.pairs.valid.eq(complete & summed_slot[0]), self.pairs.payload.eq(Cat(lower, adder.o))]
        takes_room = step & last_lane & ~slot[0]
        m.d.sync += room.eq(room - takes_room + (self.sent & walk.active))

        with m.FSM():
            with m.State("START"), m.If(walk.active):
                with m.If(walk.rows_left == 0):
                    m.d.comb += walk.finished.eq(1)
                with m.Else():
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += walking.eq(1)
                with m.If(step):
                    m.d.sync += slot.eq(slot + 1)  # back to 0 after the last
                with m.If(step & slot_ends):
                    m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
                with m.If(step & slot_ends & last_lane):
                    m.d.comb += walk.row_done.eq(1)
                    with m.If(walk.rows_left == 1):
                        m.next = "FINISH"
            with m.State("FINISH"), m.If(room == depth):
                m.d.comb += walk.finished.eq(1)
                m.next = "START"
        return m
