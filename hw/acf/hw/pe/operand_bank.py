"""Operands of one lane, with one mask per row that says which of them are not zero."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig

__all__ = ["OperandBank", "is_nonzero", "operand_row_width", "operand_write"]

_SIGN_MAGNITUDE = {"bf16": True, "bf16x": True, "int8": False}


def is_nonzero(value: Value, *, format: str) -> Value:
    """Whether an operand is not zero: +0 and -0 are both zero where the format has them."""
    return value[:-1].any() if _SIGN_MAGNITUDE[format] else value.any()


def operand_row_width(*, lane: LaneConfig) -> int:
    """Bits of a row number that counts through all banks, bank after bank."""
    return ceil_log2(lane.operand_banks * lane.operand_rows)


def operand_write(*, lane: LaneConfig) -> wiring.Signature:
    """Writing operands, one a cycle, and masks, seen from the writer.

    Members
    -------
    enable : Out(1)
    row : Out
        Row, counted through all banks.
    slot : Out
    value : Out
    mask_enable : Out(1)
        Write the mask of ``row``.
    mask : Out(slots)
        Bit ``s`` is set when the operand of slot ``s`` is not zero; others need not be written.

    Without ``lane.skipping`` there are no masks.
    """
    members = {
        "enable": Out(1),
        "row": Out(operand_row_width(lane=lane)),
        "slot": Out(ceil_log2(lane.slots)),
        "value": Out(lane.number_format.operand_width),
    }
    if lane.skipping:
        members |= {"mask_enable": Out(1), "mask": Out(lane.slots)}
    return wiring.Signature(members)


class OperandBank(wiring.Component):
    """Operands and masks. Both are read with a latency of one cycle, one read a cycle each, beside one write a cycle.

    Banks of even and of odd number lie in memories of their own, so that a read may take two operands (two masks) at
    once, one from an even and one from an odd bank. With a single bank that is not possible.

    A row that is written while it is read gives undefined values; programs keep loading and computing in different
    banks. Without ``lane.skipping`` there are no masks.

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
    paired : In(1)
        Read ``partner`` too; ``row`` must be in an even bank.
    partner_row : In
        Row of the partner, in an odd bank; its slot is ``slot``.
    operand, partner : Out
    look_up : In(1)
        Read a mask; ``mask`` follows in the next cycle and then stays.
    mask_row : In
        Which one.
    mask_paired : In(1)
        Give the common bits of this mask and that of ``mask_partner_row``; ``mask_row`` must be in an even bank.
    mask_partner_row : In
        A row in an odd bank.
    mask : Out(slots)
        Bit ``s`` is set when the operand of slot ``s`` is not zero.
    """

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        row = operand_row_width(lane=lane)
        width = lane.number_format.operand_width
        members = {
            "write": In(operand_write(lane=lane)),
            "read": In(1),
            "row": In(row),
            "slot": In(ceil_log2(lane.slots)),
            "paired": In(1),
            "partner_row": In(row),
            "operand": Out(width),
            "partner": Out(width),
        }
        if lane.skipping:
            members |= {
                "look_up": In(1),
                "mask_row": In(row),
                "mask_paired": In(1),
                "mask_partner_row": In(row),
                "mask": Out(lane.slots),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        lane = self._lane
        memories = min(2, lane.operand_banks)
        rows = lane.operand_banks // memories * lane.operand_rows

        def is_in(row, parity):
            return row[ceil_log2(lane.operand_rows)] == parity if memories > 1 else 1

        def within(row):
            """The row number in its memory: without the lowest bit of the bank."""
            place = ceil_log2(lane.operand_rows)
            return Cat(row[:place], row[place + 1 :])

        # Nobody reads a row while it is written, so synthesis need not keep the order of the two.
        attributes = {"no_rw_check": 1}
        operands, masks = [], []
        for parity in range(memories):
            m.submodules[f"operands_{parity}"] = operand_memory = Memory(
                shape=lane.number_format.operand_width, depth=rows * lane.slots, init=[], attrs=attributes
            )
            chosen = is_in(self.write.row, parity)
            # The second memory is that of the partners; whose row it is does not matter to the other one.
            row = Mux(self.paired, self.partner_row, self.row) if parity else self.row
            if lane.skipping:
                m.submodules[f"masks_{parity}"] = mask_memory = Memory(
                    shape=lane.slots, depth=rows, init=[], attrs=attributes
                )
            operand_writer, operand_reader = operand_memory.write_port(), operand_memory.read_port(transparent_for=())
            m.d.comb += [
                operand_writer.en.eq(self.write.enable & chosen),
                operand_writer.addr.eq(Cat(self.write.slot, within(self.write.row))),
                operand_writer.data.eq(self.write.value),
            ]
            if lane.skipping:
                mask_writer, mask_reader = mask_memory.write_port(), mask_memory.read_port(transparent_for=())
                m.d.comb += [
                    mask_writer.en.eq(self.write.mask_enable & chosen),
                    mask_writer.addr.eq(within(self.write.row)),
                    mask_writer.data.eq(self.write.mask),
                ]
            m.d.comb += [
                operand_reader.en.eq(self.read & (self.paired | is_in(self.row, parity))),
                operand_reader.addr.eq(Cat(self.slot, within(row))),
            ]
            operands.append(operand_reader.data)
            if lane.skipping:
                mask_row = Mux(self.mask_paired, self.mask_partner_row, self.mask_row) if parity else self.mask_row
                m.d.comb += [
                    mask_reader.en.eq(self.look_up & (self.mask_paired | is_in(self.mask_row, parity))),
                    mask_reader.addr.eq(within(mask_row)),
                ]
                masks.append(mask_reader.data)

        if memories == 1:
            m.d.comb += self.operand.eq(operands[0])
            if lane.skipping:
                m.d.comb += self.mask.eq(masks[0])
            return m
        odd = Signal()
        idle = Signal(2)  # memories that have no part in the mask
        with m.If(self.read):
            m.d.sync += odd.eq(~self.paired & is_in(self.row, 1))
        if lane.skipping:
            with m.If(self.look_up):
                m.d.sync += idle.eq(Mux(self.mask_paired, 0, Cat(is_in(self.mask_row, 1), is_in(self.mask_row, 0))))
        m.d.comb += [self.operand.eq(Mux(odd, operands[1], operands[0])), self.partner.eq(operands[1])]
        if lane.skipping:
            m.d.comb += self.mask.eq(
                (masks[0] | idle[0].replicate(lane.slots)) & (masks[1] | idle[1].replicate(lane.slots))
            )
        return m
