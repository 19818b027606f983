"""Where in memory the bits of each row of a bitmap lie."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.line_fetch import minimum
from acf.hw.mem.multiply import PairMultiplier
from acf.hw.mem.pointer_fetch import row_walk_layout
from acf.isa import DECODED_COLUMNS

__all__ = ["BITMAP_WORD", "BitmapRows", "bitmap_part_layout"]

BITMAP_WORD = 32
"""Bits of a row that are looked at together."""

_COLUMN_BITS = exact_log2(DECODED_COLUMNS) + 1
_WORD_BITS = exact_log2(DECODED_COLUMNS // BITMAP_WORD)

bitmap_part_layout = data.StructLayout(
    {"begin": _COLUMN_BITS, "end": _COLUMN_BITS, "first": _WORD_BITS, "more": _WORD_BITS}
)
"""The part of each row that is read: columns from ``begin`` to ``end - 1``, ``more + 1`` words from ``first`` on, which
is the first word of a beat."""


class BitmapRows(wiring.Component):
    """Follows a walk over rows and gives the beat with which the bits of each begin.

    Row i begins ``i`` times the beats of a row behind row 0. Rows without entries are left out by whoever asks; a row
    costs a cycle, left out or not. Of each row all bits are read, or only those of the inner range.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    start : In(1)
        Prepares a walk; its inputs are held while ``busy`` and until ``load``.
    rows : In(row_walk_layout)
    inner_size, inner_begin : In(32)
    inner_count : In(16)
    partial : In(1)
        Only the bits of the inner range are read; at least one beat of each row.
    busy : Out(1)
        High from ``start`` on, for up to 33 cycles, and until a ``load`` of that time is done.
    load : In(1)
        Goes over to the walk that was prepared, to its first row, as soon as that is worked out.
    local : In(16)
        The row that is wanted, as tiles know it; of a walk in ascending order.
    wanted : In(1)
    here : Out(1)
        The walk has reached it.
    beat : Out
        The first beat to be read of the row that the walk has reached, counted from the begin of the bitmap.
    part : Out(bitmap_part_layout)
    """

    def __init__(self, *, config: FabricConfig):
        self._beat_bits = exact_log2(config.memory.beat_bytes)
        self._address_bits = config.memory.address_width - self._beat_bits
        super().__init__(
            {
                "start": In(1),
                "rows": In(row_walk_layout),
                "inner_size": In(32),
                "inner_begin": In(32),
                "inner_count": In(16),
                "partial": In(1),
                "busy": Out(1),
                "load": In(1),
                "local": In(16),
                "wanted": In(1),
                "here": Out(1),
                "beat": Out(self._address_bits),
                "part": Out(bitmap_part_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()

        column_bits = self._beat_bits + 3  # of a column within its beat
        words = exact_log2((1 << column_bits) // BITMAP_WORD)
        size = self.inner_size[:_COLUMN_BITS]

        # The walk that is prepared.
        waits, loads = Signal(), Signal()  # for the products
        pitch = Signal(_COLUMN_BITS - column_bits + 1)  # beats of a row
        begin, end = Signal(_COLUMN_BITS), Signal(_COLUMN_BITS)
        m.submodules.products = products = PairMultiplier(width=self._address_bits)
        m.d.comb += [
            pitch.eq(Mux(size == 0, 1, (size + (1 << column_bits) - 1) >> column_bits)),
            products.start.eq(self.start),
            products.multiplicand.eq(pitch),
            products.a.eq(self.rows.first),
            products.b.eq(self.rows.step),
            self.busy.eq(self.start | products.busy | waits),
        ]
        m.d.sync += [begin.eq(0), end.eq(size)]
        with m.If(self.partial):
            m.d.sync += [
                begin.eq(minimum(self.inner_begin, Mux(size == 0, 0, size - 1))),
                end.eq(minimum(self.inner_begin + self.inner_count, size)),
            ]

        # The walk that is gone.
        local = Signal(16)
        from_row = Signal(self._address_bits)  # beats in front of the row
        step = Signal(self._address_bits)
        first_beat = begin >> column_bits
        border = Signal(_COLUMN_BITS)
        m.d.comb += [
            border.eq(first_beat << column_bits),
            self.here.eq(~waits & (local == self.local)),
            loads.eq((self.load | waits) & ~self.start & ~products.busy),
            self.beat.eq(from_row + (self.part.first >> words)),
        ]
        with m.If(loads | self.load):
            m.d.sync += waits.eq(~loads)
        with m.If(loads):
            m.d.sync += [
                local.eq(self.rows.local),
                from_row.eq(products.a_product),
                step.eq(products.b_product),
                self.part.begin.eq(begin),
                self.part.end.eq(end),
                self.part.first.eq(first_beat << words),
                self.part.more.eq(Mux(end > border, (end - border - 1) >> exact_log2(BITMAP_WORD), Const(0))),
            ]
        with m.Elif(self.wanted & ~self.here):
            m.d.sync += [local.eq(local + 1), from_row.eq(from_row + step)]

        return m
