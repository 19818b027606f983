"""Row cursors: entries of several rows of ``W`` in turn."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.group_rows import pattern_layout, place_width
from acf.hw.mem.line_fetch import encode
from acf.isa import BLOCK

__all__ = ["CsrCursors", "cursor_job_layout", "raw_group_layout"]


def _has_places(config: FabricConfig) -> bool:
    """Whether indices may be places in groups of columns."""
    return "nm" in config.feeder.formats


def cursor_job_layout(*, config: FabricConfig) -> data.StructLayout:
    """A row, or a run of several, for a cursor: number of entries, byte offsets of the first index and value in their
    beats, which row. An index of less than a byte is at ``index_bit`` of it.

    ``local`` is what the tiles know the row by; ``position`` and ``number`` count entries, see ``raw_group_layout``.
    """
    beat_bits = exact_log2(config.memory.beat_bytes)
    return data.StructLayout(
        {
            "cursor": max(1, exact_log2(config.feeder.cursors)),
            "count": 32,
            "index_offset": beat_bits,
            **({"index_bit": 3} if _has_places(config) else {}),
            "value_offset": beat_bits,
            "row": 32,
            "local": 16,
            "position": 16,
            "number": 16,
        }
    )


def raw_group_layout(*, config: FabricConfig) -> data.StructLayout:
    """Entries as they stand in memory, of which those from ``first`` to ``count - 1`` are meant: indices (in dense rows
    positions in the inner range) and values. ``number`` is that of entry 0; ``opens``: no group of the job came before.
    """
    group = config.feeder.group
    return data.StructLayout(
        {
            "first": range(group),
            "count": range(group + 1),
            "indices": data.ArrayLayout(32, group),
            "values": data.ArrayLayout(config.lane.number_format.operand_width, group),
            "row": 32,
            "local": 16,
            "number": 16,
            "opens": 1,
        }
    )


class CsrCursors(wiring.Component):
    """Takes entries out of the beats of the index and value arrays, from each cursor in turn.

    Every cursor works through the rows given to it, one after another; the cursor that comes next among those that have
    an entry gives it; with ``ordered`` the cursors give whole jobs instead, each in its turn. With ``grouped`` up to
    ``feeder.group`` entries are taken in a cycle, as far as they stand in the same beats. Between two jobs a cursor
    misses one turn.
    Entries are at ``o`` one cycle after their beats are available.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    job : In(cursor_job_layout)
        A row with at least one entry.
    job_valid : In(1)
        Takes ``job``; only while its cursor has ``room``.
    room : Out(cursors)
    idle : Out(1)
        No cursor has a row, and ``o`` is empty.
    dense : In(1)
        There are no indices.
    decoded : In(1)
        Indices come from ``index`` instead of beats, entries one by one.
    index : In(16)
        The index of cursor ``select`` then, dropped by ``index_pop``.
    places : In(1)
        Indices are places in groups of columns, see ``GroupRows``; entries come one by one. Only where the decoder is
        built.
    pattern : In(pattern_layout)
        Of these groups.
    blocks : In(1)
        Indices, of 16 bits, are those of blocks of ``BLOCK`` columns; positions count from the begin of a block. Only
        where the decoder is built.
    wide : In(1)
        Indices have 32 bits, else 16.
    valueless : In(1)
        There are no values.
    ordered : In(1)
        Job n must be given to cursor n modulo ``cursors``; entries come job after job.
    grouped : In(1)
        Entries come in groups, else one by one.
    start : In(1)
        Begins with cursor 0.
    index_available, value_available : In(cursors)
    index_line, value_line : In(data_width)
        The oldest beats of cursor ``select``.
    select : Out
    index_pop, value_pop : Out(1)
        The entry taken was the last one in its beat.
    o : Out(stream), ``raw_group_layout``
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        cursors, width = config.feeder.cursors, config.memory.data_width
        cursor_bits = max(1, exact_log2(cursors))
        super().__init__(
            {
                "job": In(cursor_job_layout(config=config)),
                "job_valid": In(1),
                "room": Out(cursors),
                "idle": Out(1),
                "dense": In(1),
                "decoded": In(1),
                "index": In(16),
                "places": In(1),
                "pattern": In(pattern_layout),
                "blocks": In(1),
                "wide": In(1),
                "valueless": In(1),
                "ordered": In(1),
                "grouped": In(1),
                "start": In(1),
                "index_available": In(cursors),
                "value_available": In(cursors),
                "index_line": In(width),
                "value_line": In(width),
                "select": Out(cursor_bits),
                "index_pop": Out(1),
                "value_pop": Out(1),
                "o": Out(stream.Signature(raw_group_layout(config=config))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        cursors, lines = config.feeder.cursors, config.feeder.line_buffers
        beat_bits = exact_log2(config.memory.beat_bytes)
        operand = config.lane.number_format
        operand_bits = exact_log2(operand.operand_bytes)
        job_layout = cursor_job_layout(config=config)

        # Rows that wait: at most one per line buffer is of use, since each row has a beat of its own.
        m.submodules.waiting = waiting = Memory(shape=job_layout, depth=cursors * lines, init=[])
        put, get = waiting.write_port(), waiting.read_port(domain="comb")
        put_place = [Signal(exact_log2(lines), name=f"put_place_{c}") for c in range(cursors)]
        get_place = [Signal(exact_log2(lines), name=f"get_place_{c}") for c in range(cursors)]
        level = [Signal(range(lines + 1), name=f"level_{c}") for c in range(cursors)]

        active = Signal(cursors)
        left = [Signal(32, name=f"left_{c}") for c in range(cursors)]  # entries after the present one
        # In units of 2 bytes, or of bits where indices may be places.
        fine = 4 if _has_places(config) else 0
        index_offset = [Signal(beat_bits - 1 + fine, name=f"index_offset_{c}") for c in range(cursors)]
        value_offset = [Signal(beat_bits - operand_bits, name=f"value_offset_{c}") for c in range(cursors)]
        row = [Signal(32, name=f"row_{c}") for c in range(cursors)]
        local = [Signal(16, name=f"local_{c}") for c in range(cursors)]
        position = [Signal(16, name=f"position_{c}") for c in range(cursors)]
        number = [Signal(16, name=f"number_{c}") for c in range(cursors)]
        opens = [Signal(name=f"opens_{c}") for c in range(cursors)]

        def of(registers, one_hot):
            value = Const(0)
            for number, register in enumerate(registers):
                value = value | (one_hot[number].replicate(len(register)) & register)
            return value

        # Begin a row: one cursor a cycle that has none and has one waiting.
        m.submodules.begin_turn = begin_turn = RoundRobinArbiter(count=cursors)
        begin = begin_turn.grant
        begun = encode(begin, cursors)

        def place(places, one_hot, number):
            return Cat(of(places, one_hot), number)[: exact_log2(cursors * lines)]

        put_one_hot = Signal(cursors)
        m.d.comb += [
            begin_turn.requests.eq(Cat(~active[c] & (level[c] != 0) for c in range(cursors))),
            begin_turn.advance.eq(1),
            put_one_hot.eq(Cat(self.job.cursor == c for c in range(cursors))),
            put.addr.eq(place(put_place, put_one_hot, self.job.cursor)),
            put.data.eq(self.job),
            put.en.eq(self.job_valid),
            get.addr.eq(place(get_place, begin, begun)),
        ]

        # Take an entry.
        m.submodules.turn = turn = RoundRobinArbiter(count=cursors)
        take = Signal()
        can_load = ~self.o.valid | self.o.ready
        grant = turn.grant
        in_turn = Signal(cursors, init=1)  # the cursor whose row comes next
        allowed = Mux(self.ordered, in_turn, ~0)
        m.d.comb += [
            turn.requests.eq(
                active
                & allowed
                & (self.value_available | self.valueless.replicate(cursors))
                & (self.index_available | self.dense.replicate(cursors))
            ),
            turn.advance.eq(take),
            take.eq(can_load & grant.any()),
            self.select.eq(encode(grant, cursors)),
        ]
        index_at, value_at, remaining = of(index_offset, grant), of(value_offset, grant), of(left, grant)
        group = config.feeder.group
        is_last = Signal()
        count = Signal(range(group + 1))  # entries of the group
        blocks = self.blocks if "blocks" in config.feeder.formats else Const(0)
        first_position = of(position, grant)
        in_block = first_position[: exact_log2(BLOCK)]
        leaves_block = (in_block + count) == BLOCK
        index_step = Mux(blocks, leaves_block, Mux(self.wide, count << 1, count))
        next_index, next_value = Signal(beat_bits + fine), Signal(beat_bits - operand_bits + 1)
        m.d.comb += [
            count.eq(1),
            is_last.eq(remaining == count - 1),
            next_index.eq(index_at + (index_step << fine)),
            next_value.eq(value_at + count),
            self.index_pop.eq(take & ~self.dense & (self.decoded | next_index[-1] | is_last)),
            self.value_pop.eq(take & ~self.valueless & (next_value[-1] | is_last)),
        ]
        index_unit = index_at[fine:]
        grouped = self.grouped & ~self.places if fine else self.grouped
        # The longest group whose end is in the row and in both beats.
        for more in range(1, group):
            in_index_beat = (index_unit + Mux(self.wide, 2 * more, more)) < 1 << (beat_bits - 1)
            in_index_beat = Mux(blocks, (in_block + more) < BLOCK, in_index_beat)
            in_value_beat = (value_at + more) < 1 << (beat_bits - operand_bits)
            with m.If(grouped & (remaining >= more) & (self.dense | in_index_beat) & in_value_beat):
                m.d.comb += count.eq(more + 1)
        with m.If(can_load):
            m.d.sync += [
                self.o.valid.eq(take),
                self.o.p.count.eq(count),
                self.o.p.row.eq(of(row, grant)),
                self.o.p.local.eq(of(local, grant)),
                self.o.p.number.eq(of(number, grant)),
                self.o.p.opens.eq(of(opens, grant)),
            ]
        for n in range(group):
            index_place = (index_unit + Mux(self.wide, 2 * n, n))[: beat_bits - 1]
            value_place = (value_at + n)[: beat_bits - operand_bits]
            narrow = self.index_line.word_select(index_place, 16)
            full = self.index_line.word_select(index_place[1:], 32)
            counted = (first_position + n)[:16]
            if n == 0 and fine:
                decoded = Mux(self.places, self._column(m, first_position, narrow, index_at[:fine]), self.index)
                is_decoded = self.decoded | self.places
                counted, without_beat = Mux(is_decoded, decoded, counted), self.dense | is_decoded
            elif n == 0:
                counted, without_beat = Mux(self.decoded, self.index, counted), self.dense | self.decoded
            else:
                without_beat = self.dense
            if n == 0:
                block = narrow
            column = Mux(blocks, Cat((in_block + n)[: len(in_block)], block), narrow)
            with m.If(can_load):
                m.d.sync += [
                    self.o.p.indices[n].eq(Mux(without_beat, counted, Mux(self.wide, full, column))),
                    self.o.p.values[n].eq(self.value_line.word_select(value_place, operand.operand_width)),
                ]
        if fine:
            with m.If(self.places):
                m.d.comb += next_index.eq(index_at + (1 << place_width(self.pattern.group)))
        with m.If(take & is_last):
            m.d.sync += in_turn.eq(in_turn.rotate_left(1))
        with m.If(self.start):
            m.d.sync += in_turn.eq(1)

        for c in range(cursors):
            put_here = self.job_valid & put_one_hot[c]
            m.d.comb += self.room[c].eq(level[c] != lines)
            m.d.sync += [
                level[c].eq(level[c] + put_here - begin[c]),
                put_place[c].eq(put_place[c] + put_here),
                get_place[c].eq(get_place[c] + begin[c]),
            ]
            with m.If(take & grant[c]):
                m.d.sync += [
                    active[c].eq(~is_last),
                    left[c].eq(left[c] - count),
                    position[c].eq(position[c] + count),
                    number[c].eq(number[c] + count),
                    opens[c].eq(0),
                    index_offset[c].eq(next_index),
                    value_offset[c].eq(next_value),
                ]
            with m.If(begin[c]):
                m.d.sync += [
                    active[c].eq(1),
                    left[c].eq(get.data.count - 1),
                    index_offset[c].eq(
                        Cat(get.data.index_bit, get.data.index_offset) if fine else get.data.index_offset >> 1
                    ),
                    value_offset[c].eq(get.data.value_offset >> operand_bits),
                    row[c].eq(get.data.row),
                    local[c].eq(get.data.local),
                    position[c].eq(get.data.position),
                    number[c].eq(get.data.number),
                    opens[c].eq(1),
                ]

        m.d.comb += self.idle.eq(~active.any() & ~Cat(level).any() & ~self.o.valid)

        return m

    def _column(self, m, position, places, bit):
        """The column of the entry at ``position`` of its row, whose place is at ``bit`` of 16 bits of them."""
        kept, group = self.pattern.kept, self.pattern.group
        inside = (2 << group) - 1
        # Bit n of a place stands where a multiple of its width, a power of two above n, begins, and n bits on.
        strides = (1, 2, 4, 4)
        place = Cat(places[n::stride].bit_select(bit[exact_log2(stride) :], 1) for n, stride in enumerate(strides))
        begin = Signal(16)  # of the group
        with m.Switch(group - kept):
            for fewer in range(len(strides)):
                with m.Case(fewer):
                    m.d.comb += begin.eq(position << (fewer + 1))
        return (begin & ~inside) | (place & inside)
