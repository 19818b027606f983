"""Accumulators of one lane."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig

__all__ = ["AccumulatorBank", "accumulator_sweep"]


def accumulator_sweep(*, lane: LaneConfig) -> wiring.Signature:
    """Reading accumulators out and setting them to +0, seen from who asks; for lanes that are idle.

    Members
    -------
    read : Out(1)
        Read ``read_slot`` of ``read_row``; the accumulator follows in the next cycle and then stays.
    read_row, read_slot : Out
    clear : Out(1)
        Set ``clear_slot`` of ``clear_row`` to +0. Not the one that is read in the same cycle.
    clear_row, clear_slot : Out
    """
    row, slot = ceil_log2(lane.accumulator_rows), ceil_log2(lane.slots)
    return wiring.Signature(
        {
            "read": Out(1),
            "read_row": Out(row),
            "read_slot": Out(slot),
            "clear": Out(1),
            "clear_row": Out(row),
            "clear_slot": Out(slot),
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
    sweep : In(accumulator_sweep)
        Takes both ports when it asks for them; the lane must be idle then.
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
                "sweep": In(accumulator_sweep(lane=lane)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane, sweep = self._lane, self.sweep

        # The interlock keeps reads and writes of one address apart, so synthesis need not order them.
        m.submodules.accumulators = accumulators = Memory(
            shape=lane.number_format.accumulator_width,
            depth=lane.accumulator_rows * lane.slots,
            init=[],
            attrs={"no_rw_check": 1},
        )
        writer, reader = accumulators.write_port(), accumulators.read_port(transparent_for=())

        m.d.comb += [
            reader.en.eq(self.read | sweep.read),
            reader.addr.eq(Mux(sweep.read, Cat(sweep.read_slot, sweep.read_row), self.read_address)),
            self.data.eq(reader.data),
            writer.en.eq(self.write | sweep.clear),
            writer.addr.eq(Mux(sweep.clear, Cat(sweep.clear_slot, sweep.clear_row), self.write_address)),
            writer.data.eq(Mux(sweep.clear, 0, self.write_data)),
        ]
        return m
