"""Operands of one lane, with one mask per row that says which of them are not zero."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig

__all__ = ["OperandBank", "is_nonzero", "operand_row_width", "operand_write"]

_SIGN_MAGNITUDE = {"bf16": True, "int8": False}


def is_nonzero(value: Value, *, format: str) -> Value:
    """Whether an operand is not zero: +0 and -0 are both zero where the format has them."""
    return value[:-1].any() if _SIGN_MAGNITUDE[format] else value.any()


def operand_row_width(*, lane: LaneConfig) -> int:
    """Bits of a row number that counts through all banks, bank after bank."""
    return ceil_log2(lane.operand_banks * lane.operand_rows)


def operand_write(*, lane: LaneConfig) -> wiring.Signature:
    """Writing operands, one a cycle, seen from the writer; a row is written whole, its slots in ascending order.

    Members
    -------
    enable : Out(1)
    row : Out
        Row, counted through all banks.
    slot : Out
    value : Out
    """
    return wiring.Signature(
        {
            "enable": Out(1),
            "row": Out(operand_row_width(lane=lane)),
            "slot": Out(ceil_log2(lane.slots)),
            "value": Out(lane.number_format.operand_width),
        }
    )


class OperandBank(wiring.Component):
    """Operands and masks. Both are read with a latency of one cycle, one read a cycle each, beside one write a cycle.

    A row's mask is written with the operand of its last slot. A row that is written while it is read gives undefined
    values; programs keep loading and computing in different banks.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    write : In(operand_write)
    read : In(1)
        Read an operand; ``operand`` follows in the next cycle and then stays.
    row, slot : In
        Which one.
    operand : Out
    look_up : In(1)
        Read a mask; ``mask`` follows in the next cycle and then stays.
    mask_row : In
        Which one.
    mask : Out(slots)
        Bit ``s`` is set when the operand of slot ``s`` is not zero.
    """

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        row = operand_row_width(lane=lane)
        super().__init__(
            {
                "write": In(operand_write(lane=lane)),
                "read": In(1),
                "row": In(row),
                "slot": In(ceil_log2(lane.slots)),
                "operand": Out(lane.number_format.operand_width),
                "look_up": In(1),
                "mask_row": In(row),
                "mask": Out(lane.slots),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._lane
        rows = lane.operand_banks * lane.operand_rows

        # Nobody reads a row while it is written, so synthesis need not keep the order of the two.
        attributes = {"no_rw_check": 1}
        m.submodules.operands = operands = Memory(
            shape=lane.number_format.operand_width, depth=rows * lane.slots, init=[], attrs=attributes
        )
        m.submodules.masks = masks = Memory(shape=lane.slots, depth=rows, init=[], attrs=attributes)
        operand_writer, operand_reader = operands.write_port(), operands.read_port(transparent_for=())
        mask_writer, mask_reader = masks.write_port(), masks.read_port(transparent_for=())

        # Mask bits of the slots written so far, the latest on top; the last slot finds the others in place.
        collected = Signal(lane.slots - 1, reset_less=True)
        nonzero = is_nonzero(self.write.value, format=lane.format)
        with m.If(self.write.enable):
            m.d.sync += collected.eq(Cat(collected[1:], nonzero))

        m.d.comb += [
            operand_writer.en.eq(self.write.enable),
            operand_writer.addr.eq(Cat(self.write.slot, self.write.row)),
            operand_writer.data.eq(self.write.value),
            mask_writer.en.eq(self.write.enable & (self.write.slot == lane.slots - 1)),
            mask_writer.addr.eq(self.write.row),
            mask_writer.data.eq(Cat(collected, nonzero)),
            operand_reader.en.eq(self.read),
            operand_reader.addr.eq(Cat(self.slot, self.row)),
            self.operand.eq(operand_reader.data),
            mask_reader.en.eq(self.look_up),
            mask_reader.addr.eq(self.mask_row),
            self.mask.eq(mask_reader.data),
        ]
        return m
