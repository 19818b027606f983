"""Turns the bits of rows into column indices, for several row cursors."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.bitmap_rows import BITMAP_WORD, bitmap_part_layout
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.mem.line_fetch import encode
from acf.isa import DECODED_COLUMNS, ErrorCode

__all__ = ["BitmapDecoder", "bitmap_job_layout"]

_AHEAD = 16
"""Indices of each cursor that may wait."""

_ROW = data.StructLayout({"number": 32, "count": 32})
"""A row, and how many ones its bits must have."""


def bitmap_job_layout(*, config: FabricConfig) -> data.StructLayout:
    """A row for a cursor: its number, and how many ones its bits must have."""
    cursor_bits = max(1, exact_log2(config.feeder.cursors))
    return data.StructLayout({"cursor": cursor_bits, "row": 32, "count": 32})


class BitmapDecoder(wiring.Component):
    """Takes words out of the beats of each cursor, and the places of their ones into a FIFO of that cursor.

    Beats of the cursors come in turn. One word a cycle is looked at, one index a cycle is found; words without ones
    cost nothing while those before them are worked on. An index is there four cycles after its beat.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    job : In(bitmap_job_layout)
        A row with at least one entry, whose beats the cursor reads next.
    job_valid : In(1)
        Takes ``job``; only while its cursor has ``room``.
    room : Out(cursors)
    part : In(bitmap_part_layout)
        What is read of each row; held while ``busy``.
    beat_available : In(cursors)
    select : Out
        The cursor whose beat is looked at.
    line : In(data_width)
        Its oldest beat, in the same cycle.
    beat_pop : Out(1)
        Drops that beat.
    available : Out(cursors)
        The cursor has an index.
    index_select : In
    index : Out(16)
        The oldest index of cursor ``index_select``, in the same cycle.
    index_pop : In(1)
        Drops that index.
    busy : Out(1)
        There are rows whose bits have not all been seen.
    fault : Out(fault_signature)
        POINTER_RANGE: a row has more or fewer ones than entries. Nothing of its cursor follows.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        cursors = config.feeder.cursors
        cursor_bits = max(1, exact_log2(cursors))
        super().__init__(
            {
                "job": In(bitmap_job_layout(config=config)),
                "job_valid": In(1),
                "room": Out(cursors),
                "part": In(bitmap_part_layout),
                "beat_available": In(cursors),
                "select": Out(cursor_bits),
                "line": In(config.memory.data_width),
                "beat_pop": Out(1),
                "available": Out(cursors),
                "index_select": In(cursor_bits),
                "index": Out(exact_log2(DECODED_COLUMNS)),
                "index_pop": In(1),
                "busy": Out(1),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        cursors, lines = config.feeder.cursors, config.feeder.line_buffers
        word_layout = data.StructLayout(
            {
                "bits": BITMAP_WORD,
                "number": exact_log2(DECODED_COLUMNS // BITMAP_WORD),
                "cursor": len(self.select),
                "ends": 1,  # the row has no further one
                "row": _ROW,
                # Where it stands in the part.
                "before_begin": 1,
                "at_begin": 1,
                "before_end": 1,
                "at_end": 1,
            }
        )
        word, word_valid = Signal(word_layout), Signal()
        word_moves = Signal()

        # Rows whose bits are still to come. They are of use as far as their beats are, and each has its own.
        m.submodules.rows = rows = Memory(shape=_ROW, depth=cursors * lines, init=[])
        put, get = rows.write_port(), rows.read_port(domain="comb")
        put_place, get_place, level = (
            Array(Signal(bits, name=f"{name}_{c}") for c in range(cursors))
            for name, bits in (
                ("put_place", exact_log2(lines)),
                ("get_place", exact_log2(lines)),
                ("level", range(lines + 1)),
            )
        )
        found = Array(Signal(exact_log2(DECODED_COLUMNS) + 1, name=f"found_{c}") for c in range(cursors))

        def place(places, cursor):
            return Cat(places[cursor], cursor)[: exact_log2(cursors * lines)]

        bits, ends = self._take_words(m, get.data, word, word_valid, word_moves)

        # One index of the present word a cycle.
        now, now_valid = Signal(word_layout), Signal()
        has_room = Signal()
        lowest, rest = Signal(BITMAP_WORD), Signal(BITMAP_WORD)
        any_left, is_full, would_fill, gives, ends_word, ends_row = (Signal() for _ in range(6))
        m.d.comb += [
            get.addr.eq(place(get_place, self.select)),
            lowest.eq(now.bits & -now.bits),
            rest.eq(now.bits & ~lowest),
            any_left.eq(now_valid & now.bits.any()),
            is_full.eq(found[now.cursor] == now.row.count),
            would_fill.eq(found[now.cursor] + 1 == now.row.count),
            gives.eq(any_left & has_room & ~is_full),
            ends_word.eq(now_valid & Mux(any_left, gives & ~rest.any(), 1)),
            ends_row.eq(ends_word & now.ends),
            word_moves.eq(~now_valid | ends_word),
        ]
        with m.If(gives):
            m.d.sync += [now.bits.eq(rest), found[now.cursor].eq(found[now.cursor] + 1)]
        with m.If(word_moves):
            m.d.sync += [now.eq(word), now.bits.eq(bits), now_valid.eq(word_valid & (bits.any() | word.ends))]
        with m.If(ends_row):
            m.d.sync += found[now.cursor].eq(0)
        with m.If((any_left & is_full) | (ends_row & ~Mux(gives, would_fill, is_full))):
            m.d.comb += raise_fault(self.fault, ErrorCode.POINTER_RANGE, row=now.row.number, index=now.row.count)

        m.d.comb += [
            put.addr.eq(place(put_place, self.job.cursor)),
            put.data.number.eq(self.job.row),
            put.data.count.eq(self.job.count),
            put.en.eq(self.job_valid),
            self.busy.eq(Cat(level).any()),
        ]
        for c in range(cursors):
            taken, left = self.job_valid & (self.job.cursor == c), ends_row & (now.cursor == c)
            m.d.comb += self.room[c].eq(level[c] != lines)
            m.d.sync += [
                level[c].eq(level[c] + taken - left),
                put_place[c].eq(put_place[c] + taken),
                get_place[c].eq(get_place[c] + (ends & (self.select == c))),
            ]

        index = Cat(encode(lowest, BITMAP_WORD), now.number)
        m.d.comb += has_room.eq(self._keep_indices(m, index, now.cursor, gives))
        return m

    def _take_words(self, m, row, word, word_valid, word_moves):
        """Words of the beats; those without ones in the part go, unless they end a row.

        ``row`` is that of the beat of cursor ``select``. Returns the bits of ``word`` that are in the part, and whether
        the last word of a row is taken.
        """
        config, part = self._config, self.part
        cursors = config.feeder.cursors
        words = config.memory.data_width // BITMAP_WORD
        number = Array(Signal(len(part.more), name=f"number_{c}") for c in range(cursors))
        m.submodules.turn = turn = RoundRobinArbiter(count=cursors)
        takes, is_last, goes = Signal(), Signal(), Signal()
        present = Signal(len(part.more))

        # Bits are cut off behind the register: whose beat it is takes much of the cycle in front of it.
        ones = Const((1 << BITMAP_WORD) - 1, BITMAP_WORD)
        word_bits = exact_log2(BITMAP_WORD)
        begin, end = ((ones << bound[:word_bits])[:BITMAP_WORD] for bound in (part.begin, part.end))
        # Words from the first that is read; the part does not change while there are rows.
        begin_at, end_at = (Signal(signed(len(part.begin))) for _ in range(2))
        m.d.sync += [
            begin_at.eq((part.begin >> word_bits) - part.first),
            end_at.eq((part.end >> word_bits) - part.first),
        ]
        from_begin, to_end, bits = (Signal(BITMAP_WORD) for _ in range(3))
        m.d.comb += [
            from_begin.eq(Mux(word.before_begin, 0, Mux(word.at_begin, begin, ones))),
            to_end.eq(Mux(word.before_end, ones, Mux(word.at_end, ~end, 0))),
            bits.eq(word.bits & from_begin & to_end),
            goes.eq(word_moves | ~(bits.any() | word.ends)),
            turn.requests.eq(self.beat_available),
            turn.advance.eq(takes),
            self.select.eq(encode(turn.grant, cursors)),
            takes.eq((~word_valid | goes) & turn.grant.any()),
            present.eq(number[self.select]),
            is_last.eq(present == part.more),
            self.beat_pop.eq(takes & (is_last | (present[: exact_log2(words)] == words - 1))),
        ]
        with m.If(goes):
            m.d.sync += word_valid.eq(0)
        with m.If(takes):
            m.d.sync += [
                word_valid.eq(1),
                word.bits.eq(self.line.word_select(present[: exact_log2(words)], BITMAP_WORD)),
                word.number.eq(part.first + present),
                word.cursor.eq(self.select),
                word.ends.eq(is_last),
                word.row.eq(row),
                word.before_begin.eq(present < begin_at),
                word.at_begin.eq(present == begin_at),
                word.before_end.eq(present < end_at),
                word.at_end.eq(present == end_at),
                number[self.select].eq(Mux(is_last, 0, present + 1)),
            ]
        return bits, takes & is_last

    def _keep_indices(self, m, index, cursor, enters):
        """The FIFOs of indices, in one memory. Returns whether that of ``cursor`` has room."""
        cursors = self._config.feeder.cursors
        depth_bits = exact_log2(_AHEAD)
        m.submodules.indices = indices = Memory(shape=len(self.index), depth=cursors * _AHEAD, init=[])
        write, read = indices.write_port(), indices.read_port(domain="comb")
        in_place = Array(Signal(depth_bits, name=f"in_place_{c}") for c in range(cursors))
        out_place = Array(Signal(depth_bits, name=f"out_place_{c}") for c in range(cursors))
        waiting = Array(Signal(range(_AHEAD + 1), name=f"waiting_{c}") for c in range(cursors))
        address_bits = exact_log2(cursors * _AHEAD)
        m.d.comb += [
            write.addr.eq(Cat(in_place[cursor], cursor)[:address_bits]),
            write.data.eq(index),
            write.en.eq(enters),
            read.addr.eq(Cat(out_place[self.index_select], self.index_select)[:address_bits]),
            self.index.eq(read.data),
        ]
        for c in range(cursors):
            entered, left = enters & (cursor == c), self.index_pop & (self.index_select == c)
            m.d.comb += self.available[c].eq(waiting[c] != 0)
            m.d.sync += [
                waiting[c].eq(waiting[c] + entered - left),
                in_place[c].eq(in_place[c] + entered),
                out_place[c].eq(out_place[c] + left),
            ]
        return waiting[cursor] != _AHEAD
