"""Accumulators of one lane."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.formats import mac_latency

__all__ = ["AccumulatorBank", "accumulator_sweep", "clearing_cycles"]


def clearing_cycles(*, lane: LaneConfig) -> int:
    """Cycles from the sweep of an accumulator to the first entry that may be taken for it: it is set to +0 when a
    product's sum would be written, and an entry's first product is issued five cycles after the entry is taken."""
    return max(1, mac_latency(format=lane.format) - 2)


def accumulator_sweep(*, lane: LaneConfig) -> wiring.Signature:
    """Reading accumulators out, which sets them to +0, seen from who asks a lane for it.

    Members
    -------
    read : Out(1)
        Read ``slot`` of ``row``. No entry that was taken, and none that comes before it is read, adds to this
        accumulator.
    row, slot : Out
    urgent : Out(1)
        Now; otherwise in a cycle in which the lane has no product, or one whose accumulator is of the other parity.
    taken : In(1)
        It is read in this cycle: the lane shows it in the next, and it is +0 for all entries that are taken
        ``clearing_cycles`` later, or after that.
    """
    return wiring.Signature(
        {
            "read": Out(1),
            "row": Out(ceil_log2(lane.accumulator_rows)),
            "slot": Out(ceil_log2(lane.slots)),
            "urgent": Out(1),
            "taken": In(1),
        }
    )


class AccumulatorBank(wiring.Component):
    """Accumulators: a product's read and a sweep's read in a cycle, with a latency of one cycle, beside as many writes.

    There are two memories, of even and of odd accumulators, each with one read and one write a cycle. So what is read
    for a product and what is swept in a cycle must be of different parity, and so must what is written.

    Reading and writing the same accumulator in one cycle gives an undefined value; the lane prevents it.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    read : In(1)
        Read; ``data`` shows it in the next cycle.
    read_address : In
        Slot in the low bits, row above.
    data : Out(32)
    sweep : In(1)
        Read this one too; ``swept`` shows it in the next cycle. Known early in the cycle.
    sweep_address : In
    swept : Out(32)
    write : In(1)
    write_address : In
    write_data : In(32)
    clear : In(1)
        Write +0.
    clear_address : In
    """

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        address = ceil_log2(lane.accumulator_rows * lane.slots)
        width = lane.number_format.accumulator_width
        super().__init__(
            {
                "read": In(1),
                "read_address": In(address),
                "data": Out(width),
                "sweep": In(1),
                "sweep_address": In(address),
                "swept": Out(width),
                "write": In(1),
                "write_address": In(address),
                "write_data": In(width),
                "clear": In(1),
                "clear_address": In(address),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shown = []
        for parity, name in enumerate(("even", "odd")):
            # Reads and writes of one address are kept apart, so synthesis need not order them.
            m.submodules[name] = accumulators = Memory(
                shape=self._lane.number_format.accumulator_width,
                depth=self._lane.accumulator_rows * self._lane.slots // 2,
                init=[],
                attrs={"no_rw_check": 1},
            )
            writer, reader = accumulators.write_port(), accumulators.read_port(transparent_for=())
            sweeps = self.sweep & (self.sweep_address[0] == parity)
            clears = self.clear & (self.clear_address[0] == parity)
            m.d.comb += [
                reader.en.eq(sweeps | (self.read & (self.read_address[0] == parity))),
                reader.addr.eq(Mux(sweeps, self.sweep_address[1:], self.read_address[1:])),
                writer.en.eq(clears | (self.write & (self.write_address[0] == parity))),
                writer.addr.eq(Mux(clears, self.clear_address[1:], self.write_address[1:])),
                writer.data.eq(Mux(clears, 0, self.write_data)),
            ]
            shown.append(reader.data)

        even, odd = shown
        read_odd, swept_odd = Signal(), Signal()
        m.d.sync += [read_odd.eq(self.read_address[0]), swept_odd.eq(self.sweep_address[0])]
        m.d.comb += [self.data.eq(Mux(read_odd, odd, even)), self.swept.eq(Mux(swept_odd, odd, even))]
        return m
