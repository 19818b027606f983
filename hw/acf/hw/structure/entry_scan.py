"""Looks at the entries of rows: tells their columns, and finds the smallest of each span."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.candidate_load import CandidateGeometry
from acf.hw.structure.row_requests import row_layout
from acf.isa import ErrorCode

__all__ = ["EntryScan", "marked_row_layout"]

_KEY = 16
_POSITION = 16
_IN_FLIGHT = 8
"""Room that is left for positions that are on their way, at least as many as there are stages, beside those of a piece,
which may lose an entry in every lane."""

marked_row_layout = data.StructLayout({"place": 32, "dropped": 16})
"""A row whose columns have all been told: the place of its first entry, and how many entries it may drop."""


class EntryScan(wiring.Component):
    """Takes pieces of rows: entries of one row and of one beat of master values.

    A piece a cycle; more where columns of a piece are in the same bank of candidates, or where it has parts of several
    spans. A row without entries is a piece too.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    inner_size, span : In(32)
    half : In(1)
        Indices have two bytes.
    limit : In(range(columns + 1))
        Columns below it may be dropped.
    first, shift : In
        Of these, columns ``first``, ``first + 2 ** shift``, ... are candidates 0, 1, ... All these do not change while
        there are rows.
    rows : In(stream), ``row_layout``
    indices, master : In(stream), data_width
    flush : In(1)
        Behind the last row: drops the beats that are only partly used.
    room : In(1)
        Another row may be begun: less are than candidates of rows are held.
    begun : Out(1)
        One is.
    turn : Out(1)
    columns : Out(range(columns)).array(lanes)
    wanted : Out(lanes)
    granted : In(lanes)
        See ``CandidateStore``.
    dropped : Out(stream), 16 bits
        Positions in their row, of all rows.
    marked : Out(stream), ``marked_row_layout``
    fault : Out(fault_signature)
        INDEX_RANGE.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._lanes = lanes = memory.beat_bytes // 4
        self._structure = structure
        self._rows = 2 * CandidateGeometry(memory=memory, structure=structure).memories
        columns = structure.columns
        super().__init__(
            {
                "inner_size": In(32),
                "span": In(32),
                "half": In(1),
                "limit": In(range(columns + 1)),
                "first": In(4),
                "shift": In(2),
                "rows": In(stream.Signature(row_layout)),
                "indices": In(stream.Signature(memory.data_width)),
                "master": In(stream.Signature(memory.data_width)),
                "flush": In(1),
                "room": In(1),
                "begun": Out(1),
                "turn": Out(1),
                "columns": Out(range(columns)).array(lanes),
                "wanted": Out(lanes),
                "granted": In(lanes),
                "dropped": Out(stream.Signature(_POSITION)),
                "marked": Out(stream.Signature(marked_row_layout)),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        lanes = self._lanes
        lane_bits = exact_log2(lanes)
        others = Signal.like(self.first)  # low bits of a column by which candidates are told from others
        m.d.comb += others.eq(~(Const(-1, len(others)) << self.shift))

        # Pieces.
        active = Signal()
        row = Signal(32)
        row_place, place = Signal(32), Signal(32)
        left, position = Signal(_POSITION), Signal(_POSITION)
        starts = Signal()
        taken = Signal(range(lanes + 1))
        up_to = Signal(range(lanes + 1))
        fire, load, room, free = Signal(), Signal(), Signal(), Signal()
        first = place[:lane_bits]

        # Few bits where they are enough: the path from here leads on to what is read.
        in_beat = lanes - first  # entries from the next one to the end of its beat
        row_ends = Signal()
        m.d.comb += [
            row_ends.eq(~left[lane_bits + 1 :].any() & (left[: lane_bits + 1] <= in_beat)),
            taken.eq(Mux(row_ends, left, in_beat)),
            up_to.eq(first + taken),
            fire.eq(active & free & room & ((left == 0) | (self.indices.valid & self.master.valid))),
            load.eq(self.rows.valid & self.room & (~active | (fire & row_ends))),
            self.rows.ready.eq(load),
            self.begun.eq(load),
            self.turn.eq(fire & starts),
        ]
        whole = up_to == lanes
        pops_index = fire & whole & (~self.half | place[lane_bits])
        partly = first.any()
        m.d.comb += [
            self.master.ready.eq((fire & whole) | (self.flush & partly)),
            self.indices.ready.eq(pops_index | (self.flush & (partly | (self.half & place[lane_bits])))),
        ]
        with m.If(fire):
            m.d.sync += [
                place.eq(place + taken),
                position.eq(position + taken),
                left.eq(left - taken),
                starts.eq(0),
                active.eq(~row_ends),
            ]
        with m.If(load):
            m.d.sync += [
                active.eq(1),
                row.eq(self.rows.p.row),
                row_place.eq(self.rows.p.place),
                place.eq(self.rows.p.place),
                left.eq(self.rows.p.count),
                position.eq(0),
                starts.eq(1),
            ]

        # A piece whose columns are being told; the spans in it go on to the tournament, one a cycle.
        valid, walking = Signal(), Signal()
        todo, droppable, wrong = Signal(lanes), Signal(lanes), Signal(lanes)
        piece_ends_row = Signal()
        piece_place = Signal(32)  # of the row
        piece_position, piece_row = Signal(_POSITION), Signal(32)
        lane, rest, part, span_up_to = (
            Signal(range(lanes + 1), name=name) for name in ("lane", "rest", "part", "span_end")
        )
        span_left, fraction = Signal(18), Signal(16)
        near, far = span_left[: lane_bits + 1], span_left[lane_bits + 1 :].any()
        next_span = Signal(33)
        told_all, last_span, ends_span, emits, done = Signal(), Signal(), Signal(), Signal(), Signal()
        keys = [Signal(_KEY, name=f"key_{n}", reset_less=True) for n in range(lanes)]
        indices = [Signal(32, name=f"index_{n}", reset_less=True) for n in range(lanes)]
        m.d.comb += [
            told_all.eq(~(todo & ~self.granted).any()),
            last_span.eq(far | (near >= rest)),
            ends_span.eq(~far & (near <= rest)),
            part.eq(Mux(last_span, rest, near)),
            span_up_to.eq(lane + part),
            next_span.eq(self.span + fraction),
            # A row goes on when all of its columns have been told.
            emits.eq(walking & (told_all | ~(last_span & piece_ends_row))),
            done.eq(valid & told_all & (~walking | last_span)),
            free.eq(~valid | done),
            self.wanted.eq(todo & valid.replicate(lanes)),
        ]
        m.d.sync += todo.eq(todo & ~self.granted)
        with m.If(done):
            m.d.sync += valid.eq(0)
        with m.If(emits):
            m.d.sync += [
                lane.eq(span_up_to),
                rest.eq(rest - part),
                span_left.eq(Mux(ends_span, next_span >> 16, span_left - rest)),
                fraction.eq(Mux(ends_span, next_span[:16], fraction)),
                walking.eq(~last_span),
            ]
        with m.If(fire):
            m.d.sync += [
                valid.eq(1),
                walking.eq(1),
                piece_ends_row.eq(row_ends),
                piece_place.eq(row_place),
                piece_position.eq(position - first),
                piece_row.eq(row),
                lane.eq(first),
                rest.eq(taken),
            ]
            with m.If(starts):
                m.d.sync += [span_left.eq(self.span >> 16), fraction.eq(self.span[:16])]
        halves = self.indices.payload.word_select(place[lane_bits], 16 * lanes)
        for n in range(lanes):
            index = Signal(32, name=f"read_index_{n}")
            inside = Signal(name=f"inside_{n}")
            below = Signal(name=f"below_{n}")
            m.d.comb += [
                index.eq(Mux(self.half, halves.word_select(n, 16), self.indices.payload.word_select(n, 32))),
                inside.eq((n >= first) & (n < up_to)),
                below.eq(inside & (index < self.limit)),
            ]
            with m.If(fire):
                m.d.sync += [
                    indices[n].eq(index),
                    self.columns[n].eq(index >> self.shift),
                    keys[n].eq(self.master.payload.word_select(n, 32)[31 - _KEY : 31]),
                    todo[n].eq(below & ((index[: len(others)] & others) == self.first)),
                    droppable[n].eq(below),
                    wrong[n].eq(inside & (index >= self.inner_size)),
                ]
        with m.If(valid & wrong.any()):
            bad = Signal(32)
            for n in reversed(range(lanes)):
                with m.If(wrong[n]):
                    m.d.comb += bad.eq(indices[n])
            m.d.comb += raise_fault(self.fault, ErrorCode.INDEX_RANGE, row=piece_row, index=bad)

        # The smallest of a part of a piece, in two steps, then that of its span.
        ends_layout = data.StructLayout({"span": 1, "row": 1, "place": 32})
        item_layout = data.StructLayout({"valid": 1, "key": _KEY, "position": _POSITION})
        items = []
        for n in range(lanes):
            item = Signal(item_layout, name=f"item_{n}", reset_less=True)
            m.d.sync += [
                item.valid.eq(droppable[n] & (n >= lane) & (n < span_up_to)),
                item.key.eq(keys[n]),
                item.position.eq(piece_position + n),
            ]
            items.append(item)
        few = []
        for n, item in enumerate(_tournament(m, items, 2, "first", item_layout)):
            register = Signal(item_layout, name=f"few_{n}", reset_less=True)
            m.d.sync += register.eq(item)
            few.append(register)
        (one,) = _tournament(m, few, 1, "second", item_layout)
        smallest, best = Signal(item_layout), Signal(item_layout)
        m.d.sync += smallest.eq(one)
        (now,) = _tournament(m, [best, smallest], 1, "third", item_layout)
        ends = Signal(ends_layout)
        m.d.comb += [ends.span.eq(ends_span), ends.row.eq(last_span & piece_ends_row), ends.place.eq(piece_place)]
        there = emits
        for stage in range(3):
            next_there, next_ends = Signal(name=f"there_{stage}"), Signal(ends_layout, name=f"ends_{stage}")
            m.d.sync += [next_there.eq(there), next_ends.eq(ends)]
            there, ends = next_there, next_ends

        depth = self._structure.exchanged + _IN_FLIGHT + lanes
        m.submodules.positions = positions = fifo.SyncFIFOBuffered(width=_POSITION, depth=depth)
        m.submodules.marked_rows = marked = fifo.SyncFIFO(width=marked_row_layout.size, depth=self._rows)
        count = Signal(range(depth + 1))
        drops = Signal()
        token = Signal(marked_row_layout)
        m.d.comb += [
            room.eq(positions.level <= self._structure.exchanged),
            drops.eq(there & ends.span & now.valid & (count != self._structure.exchanged)),
            positions.w_en.eq(drops),
            positions.w_data.eq(now.position),
            token.place.eq(ends.place),
            token.dropped.eq(count + drops),
            marked.w_en.eq(there & ends.row),
            marked.w_data.eq(token),
            self.dropped.valid.eq(positions.r_rdy),
            self.dropped.payload.eq(positions.r_data),
            positions.r_en.eq(self.dropped.ready),
            self.marked.valid.eq(marked.r_rdy),
            self.marked.payload.eq(marked.r_data),
            marked.r_en.eq(self.marked.ready),
        ]
        with m.If(there):
            m.d.sync += [
                best.eq(now),
                count.eq(Mux(ends.row, 0, count + drops)),
            ]
            with m.If(ends.span | ends.row):
                m.d.sync += best.valid.eq(0)

        return m


def _tournament(m, items, most, name, layout):
    """Pairs neighbours until there are at most ``most`` left; of equal keys the first wins."""
    level = 0
    while len(items) > most:
        winners = []
        for n, (left, right) in enumerate(zip(items[::2], items[1::2], strict=True)):
            winner = Signal(layout, name=f"{name}_{level}_{n}")
            m.d.comb += winner.eq(Mux(right.valid & (~left.valid | (right.key < left.key)), right, left))
            winners.append(winner)
        items, level = winners, level + 1
    return items
