"""Adds the accumulators of some lanes to sums, lane after lane."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.pe.accumulator_add import AccumulatorAdd
from acf.hw.pe.accumulator_bank import accumulator_sweep
from acf.hw.pe.accumulator_fetch import AccumulatorFetch
from acf.hw.pe.interlock import Interlock

__all__ = ["LaneSums"]


class LaneSums(wiring.Component):
    """Takes sums, adds to each the accumulators of ``lanes`` lanes in order, and gives them on.

    There is one adder. It works on an accumulator row at a time, lane after lane, so that the sums of the ``slots``
    accumulators hide its latency: ``lanes * slots`` cycles for each row, or ``lanes * (latency + 2)`` where slots are
    fewer than that, ``latency`` being the adder's. Accumulators are fetched from every lane ahead of that
    (``AccumulatorFetch``). A sum comes out ``latency + 1`` cycles after its last accumulator was taken.

    Parameters
    ----------
    lane : LaneConfig
    lanes : int
        Lanes that are added.
    room : int
        Sums that may be under way or given on and are not yet ``freed``.

    Members
    -------
    start : In(1)
        Begins a walk over ``rows`` accumulator rows from ``row`` on; only while not ``busy``.
    row, rows : In
    busy : Out(1)
        Sums are missing, or not yet ``freed``.
    from_zero : In(1)
        Add to +0; ``i`` is not taken.
    i : In(stream)
        Sums, slot after slot.
    o : Out(accumulator_width)
    o_valid : Out(1)
        A sum; slot after slot.
    freed : In(2)
        So many sums are no longer in the way.
    row_done : Out(1)
        All accumulators of a row have been taken.
    lanes : Out(accumulator_sweep).array(lanes)
    accumulators : In(accumulator_width).array(lanes)
        What they have read in the cycle before.
    overflow : Out(lanes)
        A sum has wrapped when the accumulator of this lane was added.
    """

    i: stream.Interface

    def __init__(self, *, lane: LaneConfig, lanes: int, room: int):
        self._lane, self._count, self._room = lane, lanes, room
        width, rows = lane.number_format.accumulator_width, ceil_log2(lane.accumulator_rows)
        super().__init__(
            {
                "start": In(1),
                "row": In(rows),
                "rows": In(rows + 1),
                "busy": Out(1),
                "from_zero": In(1),
                "i": In(stream.Signature(width)),
                "o": Out(width),
                "o_valid": Out(1),
                "freed": In(2),
                "row_done": Out(1),
                "lanes": Out(accumulator_sweep(lane=lane)).array(lanes),
                "accumulators": In(width).array(lanes),
                "overflow": Out(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, slots = self._count, self._lane.slots
        width = self._lane.number_format.accumulator_width

        m.submodules.adder = adder = AccumulatorAdd(lane=self._lane)
        # A sum is read when the accumulator is taken, enters the adder in the next cycle, and is written when it has
        # left it.
        m.submodules.interlock = interlock = Interlock(address_width=ceil_log2(slots), depth=adder.latency + 1)

        fetched = []
        for n, port in enumerate(self.lanes):
            m.submodules[f"fetch_{n}"] = fetch = AccumulatorFetch(lane=self._lane)
            connect(m, fetch.lane, flipped(port))
            m.d.comb += [
                fetch.start.eq(self.start),
                fetch.row.eq(self.row),
                fetch.rows.eq(self.rows),
                fetch.accumulator.eq(self.accumulators[n]),
            ]
            fetched.append(fetch.o)

        # Where the walk is.
        rows_left = Signal.like(self.rows)
        lane, slot = Signal(range(lanes)), Signal(range(slots))
        room = Signal(range(self._room + 1), init=self._room)
        walking, step = Signal(), Signal()
        first_lane, last_lane, slot_ends = lane == 0, lane == lanes - 1, slot == slots - 1
        takes_sum = walking & first_lane & ~self.from_zero
        m.d.comb += [
            walking.eq(rows_left != 0),
            step.eq(
                walking
                & Array(accumulator.valid for accumulator in fetched)[lane]
                & ~interlock.hazard
                & (~takes_sum | self.i.valid)
                & (~last_lane | room.any())
            ),
            *(accumulator.ready.eq(step & (lane == n)) for n, accumulator in enumerate(fetched)),
            self.i.ready.eq(takes_sum & step),
            self.row_done.eq(step & slot_ends & last_lane),
            self.busy.eq(walking | (room != self._room)),
            interlock.address.eq(slot),
            interlock.issue.eq(step),
            interlock.effectual.eq(1),
        ]
        m.d.sync += room.eq(room - (step & last_lane) + self.freed)
        with m.If(self.start):
            m.d.sync += rows_left.eq(self.rows)
        with m.If(step):
            m.d.sync += slot.eq(slot + 1)  # back to 0 after the last
        with m.If(step & slot_ends):
            m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
        with m.If(self.row_done):
            m.d.sync += rows_left.eq(rows_left - 1)

        # The accumulator and the sum so far are there.
        m.submodules.sums = sums = Memory(shape=width, depth=slots, init=[])
        writer, reader = sums.write_port(), sums.read_port(domain="comb")
        enable, a, b = Signal(), Signal(width, reset_less=True), Signal(width, reset_less=True)
        m.d.sync += enable.eq(step)
        with m.If(step):
            m.d.sync += [
                a.eq(Mux(first_lane, Mux(self.from_zero, 0, self.i.payload), reader.data)),
                b.eq(Array(accumulator.payload for accumulator in fetched)[lane]),
            ]
        m.d.comb += [reader.addr.eq(slot), adder.a.eq(a), adder.b.eq(b), adder.enable.eq(enable)]

        # The sum is there. Sums leave the adder in the order of the walk.
        summed_lane, summed_slot = Signal(range(lanes)), interlock.write_address
        m.d.comb += [
            writer.en.eq(interlock.write),
            writer.addr.eq(summed_slot),
            writer.data.eq(adder.o),
            self.o.eq(adder.o),
            self.o_valid.eq(interlock.write & (summed_lane == lanes - 1)),
            self.overflow.eq(Cat(interlock.write & adder.overflow & (summed_lane == n) for n in range(lanes))),
        ]
        with m.If(interlock.write & (summed_slot == slots - 1)):
            m.d.sync += summed_lane.eq(Mux(summed_lane == lanes - 1, 0, summed_lane + 1))
        return m
