"""Writes the operands of one lane, row after row, each with its mask."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.pe.operand_bank import is_nonzero, operand_row_width, operand_write

__all__ = ["OperandWriter"]


class OperandWriter(wiring.Component):
    """Puts each value where the masks of a chunk have the next one of this lane, or dense ones slot after slot.

    A value takes a cycle, and so does a row without any. The mask of a row is written when the row ends; it has the
    operands that are not zero, whatever the mask of the chunk says.

    Parameters
    ----------
    config : FabricConfig
    lane : int
        Which lane of its tile.

    Members
    -------
    begin : In(1)
        A packet begins.
    row : In
        Operand row of its first row, counted through all banks.
    rows : In
        How many rows a chunk has; at most ``chunk_rows``.
    dense : In(1)
        From ``begin`` on: every row has an operand in each slot, and rows never end.
    masks : In(flit_width)
    masks_valid : In(1)
        ``masks`` is flit ``masks_number`` of the masks of a chunk.
    masks_number : In
    load : In(1)
        All masks are there; once, before the first value of a chunk.
    value : In(operand_width)
    valid : In(1)
        Takes ``value``; only while ``ready``. Values behind the last row are passed over.
    ready : Out(1)
    flush : In(1)
        No more values come: ends a row of a chunk in each cycle.
    ended : Out(1)
        All rows of the chunk are written.
    write : Out(operand_write)
    """

    def __init__(self, *, config: FabricConfig, lane: int):
        self._config = config
        self._lane = lane
        chunk_rows = config.feeder.chunk_rows
        super().__init__(
            {
                "begin": In(1),
                "row": In(operand_row_width(lane=config.lane)),
                "rows": In(range(chunk_rows + 1)),
                "dense": In(1),
                "masks": In(config.noc.flit_width),
                "masks_valid": In(1),
                "masks_number": In(range(config.chunk_mask_flits)),
                "load": In(1),
                "value": In(config.lane.number_format.operand_width),
                "valid": In(1),
                "ready": Out(1),
                "flush": In(1),
                "ended": Out(1),
                "write": Out(operand_write(lane=config.lane)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._config.lane

        row = Signal.like(self.row)
        rows_left = Signal.like(self.rows)
        remaining = Signal(lane.slots, init=-1)  # operands of the row that are still to come
        collected = Signal(lane.slots)  # those that came and are not zero
        number = Signal(range(self._config.feeder.chunk_rows))  # row of the chunk that comes next
        following = Signal(lane.slots)
        m.d.comb += following.eq(Mux(self.dense, ~0, self._masks(m, number)))

        slot = Signal(range(lane.slots))
        for n in reversed(range(lane.slots)):
            with m.If(remaining[n]):
                m.d.comb += slot.eq(n)
        others = Signal(lane.slots)
        taken, row_ends = Signal(), Signal()
        m.d.comb += [
            others.eq(remaining & (remaining - 1)),
            self.ended.eq(~self.dense & (rows_left == 0)),
            self.ready.eq(remaining.any() | self.ended),
            taken.eq(self.valid & remaining.any() & ~self.ended),
            row_ends.eq(~self.ended & ~self.begin & ~self.load & (Mux(taken, ~others.any(), ~self.ready) | self.flush)),
            self.write.enable.eq(taken),
            self.write.row.eq(row),
            self.write.slot.eq(slot),
            self.write.value.eq(self.value),
            self.write.mask_enable.eq(row_ends),
            self.write.mask.eq(collected | ((taken & is_nonzero(self.value, format=lane.format)) << slot)),
        ]
        with m.If(taken):
            m.d.sync += [remaining.eq(others), collected.eq(self.write.mask)]
        with m.If(row_ends):
            m.d.sync += [collected.eq(0), row.eq(row + 1), rows_left.eq(rows_left - 1)]
        with m.If(row_ends | self.load | self.begin):
            m.d.sync += [remaining.eq(following), number.eq(number + 1)]
        with m.If(self.begin):
            m.d.sync += [row.eq(self.row), rows_left.eq(self.rows), collected.eq(0), number.eq(0), remaining.eq(~0)]
        return m

    def _masks(self, m, number):
        """The masks of the chunk for this lane; returns that of row ``number``."""
        config = self._config
        lanes, slots, columns = config.lanes, config.lane.slots, config.tile_columns
        width, chunk_rows = config.noc.flit_width, config.feeder.chunk_rows
        if columns > width:  # a mask takes several flits, each with some of the slots
            parts = columns // width
            part_slots = slots // parts
            m.submodules.masks = masks = Memory(shape=slots, depth=chunk_rows, init=[])
            writer = masks.write_port(granularity=part_slots)
            bits = Cat(self.masks[slot * lanes + self._lane] for slot in range(part_slots))
            m.d.comb += [
                writer.addr.eq(self.masks_number >> ceil_log2(parts)),
                writer.data.eq(bits.replicate(parts)),
                writer.en.eq(self.masks_valid << self.masks_number[: ceil_log2(parts)]),
            ]
            reader = masks.read_port(domain="comb")
            m.d.comb += reader.addr.eq(number)
            return reader.data
        together = min(width // columns, chunk_rows)  # masks in a flit
        m.submodules.masks = masks = Memory(shape=together * slots, depth=config.chunk_mask_flits, init=[])
        writer, reader = masks.write_port(), masks.read_port(domain="comb")
        m.d.comb += [
            writer.addr.eq(self.masks_number),
            writer.data.eq(
                Cat(
                    self.masks[row * columns + slot * lanes + self._lane]
                    for row in range(together)
                    for slot in range(slots)
                )
            ),
            writer.en.eq(self.masks_valid),
            reader.addr.eq(number >> ceil_log2(together)),
        ]
        return reader.data.word_select(number[: ceil_log2(together)], slots)
