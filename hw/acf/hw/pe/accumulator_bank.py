"""Accumulators of one lane."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig

__all__ = ["AccumulatorBank", "accumulator_sweep"]


def accumulator_sweep(*, lane: LaneConfig) -> wiring.Signature:
    """Reading accumulators out, which sets them to +0, seen from who asks a lane for it.

    Members
    -------
    read : Out(1)
        Read ``slot`` of ``row``. No entry that was taken, and none that comes before it is read, adds to this
        accumulator.
    row, slot : Out
    urgent : Out(1)
        Now; otherwise in a cycle in which the lane has no product.
    taken : In(1)
        It is read in this cycle: the lane shows it in the next, and it is +0 for all entries from now on.
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
    """Accumulators: one read a cycle with a latency of one cycle, beside one write a cycle.

    Reading and writing the same accumulator in one cycle gives an undefined value; the lane's interlock prevents it.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    read : In(1)
        Read; ``data`` follows in the next cycle and then stays.
    read_address : In
        Slot in the low bits, row above.
    data : Out(32)
    write : In(1)
    write_address : In
    write_data : In(32)
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
                "write": In(1),
                "write_address": In(address),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._lane

        # The interlock keeps reads and writes of one address apart, so synthesis need not order them.
        m.submodules.accumulators = accumulators = Memory(
            shape=lane.number_format.accumulator_width,
            depth=lane.accumulator_rows * lane.slots,
            init=[],
            attrs={"no_rw_check": 1},
        )
        writer, reader = accumulators.write_port(), accumulators.read_port(transparent_for=())
        m.d.comb += [
            reader.en.eq(self.read),
            reader.addr.eq(self.read_address),
            self.data.eq(reader.data),
            writer.en.eq(self.write),
            writer.addr.eq(self.write_address),
            writer.data.eq(self.write_data),
        ]
        return m
