"""Finds columns for the entries that a row may drop."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.candidate_load import CandidateGeometry
from acf.hw.structure.entry_scan import marked_row_layout
from acf.hw.structure.exchange_writer import exchange_layout
from acf.hw.structure.random import xorshift32

__all__ = ["ExchangeMatch"]

_DRAWS = 16
_BYTE = 8
"""Bits that are kept of the word of a draw."""


class ExchangeMatch(wiring.Component):
    """Gives the positions of each row the columns that it gets.

    While a row gives its columns, the first word of the next row is looked at. So a row takes a cycle for each
    exchange, and one for each further word of candidates that it needs, beside the exchanges of the word before; the
    first of these waits for that of the next row. It ends with the last of its exchanges. Where growth is random, it
    takes a cycle for each draw, and two for one on which it depends whether the row is done.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    count : In(range(columns + 1))
        Candidates of a row, or the columns that may be drawn.
    lacks_last : In(1)
        The last one is none.
    first, shift : In
        Candidate ``n`` is column ``first + n * 2 ** shift``.
    random : In(1)
        These five do not change while there are rows.
    seed : In(32)
    seed_valid : In(1)
        Begins: draws begin with the state that follows ``seed``.
    marked : In(stream), ``marked_row_layout``
    dropped : In(stream), 16 bits
        Positions of all rows.
    look, look_next, row_begins, takes, take, taken : Out
    found : In
        See ``CandidateStore``.
    row_done : Out(1)
        The row will not be looked at any more.
    o : Out(stream), ``exchange_layout``
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._structure = structure
        self._look_bits = CandidateGeometry(memory=memory, structure=structure).look_bits
        columns = structure.columns
        super().__init__(
            {
                "count": In(range(columns + 1)),
                "lacks_last": In(1),
                "first": In(4),
                "shift": In(2),
                "random": In(1),
                "seed": In(32),
                "seed_valid": In(1),
                "marked": In(stream.Signature(marked_row_layout)),
                "dropped": In(stream.Signature(16)),
                "look": Out(range(columns // self._look_bits)),
                "found": In(self._look_bits),
                "look_next": Out(1),
                "row_begins": Out(1),
                "row_done": Out(1),
                "takes": Out(1),
                "take": Out(1),
                "taken": Out(range(columns)),
                "o": Out(stream.Signature(exchange_layout(structure=structure))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        look_bits = self._look_bits
        word_bits = exact_log2(look_bits)
        column_bits = exact_log2(self._structure.columns)
        # What follows from the number of candidates alone.
        words = Signal(range(self._structure.columns // look_bits + 1))
        last_word = Signal.like(self.look)
        rest = Signal(range(look_bits + 1))
        below_last, draw_mask = Signal(len(self.count)), Signal(column_bits)
        m.d.comb += below_last.eq(Mux(self.count == 0, 0, self.count - 1))
        with m.If((self.count == 0) | (self.count[:word_bits] != 0)):
            m.d.sync += rest.eq(self.count[:word_bits] - (self.lacks_last & (self.count != 0)))
        with m.Else():
            m.d.sync += rest.eq(look_bits - self.lacks_last)
        m.d.sync += [
            words.eq((self.count + (look_bits - 1)) >> word_bits),
            last_word.eq(below_last >> word_bits),
            draw_mask.eq(Cat(below_last[n:].any() for n in range(column_bits))),
        ]

        # Draws: the low bits of a state, as many as the limit needs.
        state = Signal(32)
        drawn = Signal(column_bits)
        draws = Signal()
        m.d.comb += drawn.eq(state[:column_bits] & draw_mask)
        with m.If(draws):
            m.d.sync += state.eq(xorshift32(state))
        with m.If(self.seed_valid):
            m.d.sync += state.eq(xorshift32(self.seed))

        def below_count(column):
            less = Signal(signed(column_bits + 2), name="less")
            m.d.comb += less.eq(column - self.count)
            return Mux(less < 0, column, less)[:column_bits]

        # Where the walk over candidates begins: in this row, in the next one, and from row to row.
        start, next_start, step = Signal(column_bits), Signal(column_bits), Signal(column_bits)
        step_back = Signal(column_bits + 1)  # from the step less the count up to 0
        stepped_back = Signal(signed(column_bits + 2))
        before = Signal(look_bits)  # bits of the first word that come last
        in_last = Signal(look_bits)  # bits of the last word that are candidates
        edge = Signal(range(look_bits + 1))
        up_to_edge = Signal(look_bits)
        begins, ends = Signal(), Signal()
        m.d.comb += stepped_back.eq(next_start - step_back)
        m.d.comb += [edge.eq(next_start[:word_bits]), up_to_edge.eq(Cat(n < edge for n in range(look_bits)))]

        place = Signal(32)  # of the first entry of the row
        left = Signal(16)  # positions of the row that have no column yet
        number, next_number = Signal.like(self.look), Signal.like(self.look)  # of the word to look at
        visits = Signal(range(self._structure.columns // look_bits + 1))
        incoming, found = Signal(look_bits), Signal(look_bits)
        ahead = Signal(look_bits)  # the first word of the next row
        is_ahead = Signal()
        base = Signal.like(self.look)
        lowest, others = Signal(look_bits), Signal(look_bits)
        exhausted, gives, again = Signal(), Signal(), Signal()
        column = Signal(column_bits)

        # A draw, of whose word a byte is ``found``; which of the two before it were given, whose bits may still show;
        # and whether it is the same column as theirs.
        pending, inside, free, judged = (Signal(name=name) for name in ("pending", "inside", "free", "judged"))
        taken, before_taken = Signal(column_bits), Signal(column_bits)
        is_given, is_same = Signal(2), Signal(2)
        tries = Signal(range(_DRAWS))
        m.d.comb += free.eq(
            inside & found[:_BYTE].bit_select(taken[: exact_log2(_BYTE)], 1) & ~(is_given & is_same).any()
        )

        column_in_word = Cat(Cat(lowest[n] for n in range(look_bits) if n >> bit & 1).any() for bit in range(word_bits))
        m.d.comb += [
            lowest.eq(found & -found),
            others.eq(Mux(gives, found & ~lowest, found)),
            exhausted.eq(left == 0),
            gives.eq(self.o.valid & self.o.ready),
            self.o.p.place.eq(place + self.dropped.payload),
            column.eq(Mux(self.random, taken, Cat(column_in_word, base))),
            self.taken.eq(taken),
            self.o.p.column.eq((column << self.shift) | self.first),
            self.look_next.eq(self.marked.valid & ~is_ahead & ~self.random),
            next_number.eq(next_start >> word_bits),
            self.look.eq(Mux(self.random, drawn >> word_bits, Mux(self.look_next, next_number, number))),
            incoming.eq(
                self.found
                & (in_last | (self.look != last_word).replicate(look_bits))
                & ~(up_to_edge & self.look_next.replicate(look_bits))
                & (before | (self.look_next | ~again).replicate(look_bits))
            ),
            self.marked.ready.eq(begins),
            self.row_begins.eq(begins),
            self.row_done.eq(ends),
        ]
        with m.If(self.look_next):
            m.d.sync += [ahead.eq(incoming), is_ahead.eq(1)]

        def word_after(word):
            return Mux(word == last_word, 0, word + 1)

        def begin_row():
            """Go on with the next row, if it is there."""
            m.d.comb += begins.eq(self.marked.valid)
            m.next = "IDLE"
            with m.If(self.marked.valid):
                m.next = "WALK"
                with m.If(self.random):
                    m.next = "DRAW"

        with m.If(gives):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("IDLE"):
                begin_row()
                with m.If(self.seed_valid & ~self.random):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [draws.eq(1), edge.eq(rest)]
                m.d.sync += [next_start.eq(below_count(drawn)), in_last.eq(up_to_edge)]
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += draws.eq(1)
                m.d.sync += step.eq(below_count(drawn | 1))
                m.next = "BACK"
            with m.State("BACK"):
                m.d.sync += step_back.eq(self.count - step)
                m.next = "IDLE"
            with m.State("WALK"):
                m.d.comb += [
                    self.o.valid.eq(found.any() & ~exhausted & self.dropped.valid),
                    self.dropped.ready.eq(gives),
                    again.eq((start[:word_bits] != 0) & (visits == 1)),
                ]
                m.d.sync += found.eq(others)
                with m.If(exhausted | (gives & (left == 1))):
                    m.d.comb += ends.eq(1)
                    begin_row()
                with m.Elif(~others.any()):
                    with m.If(visits == 0):
                        m.next = "REST"
                    with m.Elif(~self.look_next):
                        m.d.sync += [
                            found.eq(incoming),
                            base.eq(number),
                            number.eq(word_after(number)),
                            visits.eq(visits - 1),
                        ]
            with m.State("REST"):
                # No column is left for these.
                m.d.comb += self.dropped.ready.eq(left != 0)
                with m.If(exhausted):
                    m.d.comb += ends.eq(1)
                    begin_row()
                with m.Elif(self.dropped.valid):
                    m.d.sync += left.eq(left - 1)
            with m.State("DRAW"):
                m.d.comb += [
                    self.takes.eq(1),
                    self.take.eq(gives),
                    self.o.valid.eq(pending & free & self.dropped.valid),
                    judged.eq(pending & self.dropped.valid & (self.o.ready | ~free)),
                    draws.eq(~exhausted & (~pending | (judged & (left != 1)))),
                ]
                m.d.sync += pending.eq(draws | (pending & ~judged))
                with m.If(judged):
                    m.d.sync += [before_taken.eq(taken), is_given.eq(Cat(gives, is_given[0]))]
                with m.If(draws):
                    m.d.sync += [
                        taken.eq(drawn),
                        inside.eq(drawn < self.count),
                        found.eq(self.found.word_select(drawn[exact_log2(_BYTE) : word_bits], _BYTE)),
                        is_same.eq(Cat(drawn == taken, drawn == before_taken)),
                    ]
                with m.If(gives):
                    m.d.comb += self.dropped.ready.eq(1)
                    m.d.sync += tries.eq(0)
                with m.Elif(judged):
                    m.d.sync += tries.eq(tries + 1)
                    with m.If(tries == _DRAWS - 1):
                        m.d.comb += self.dropped.ready.eq(1)
                        m.d.sync += left.eq(left - 1)
                with m.If(exhausted | (gives & (left == 1))):
                    m.d.comb += ends.eq(1)
                    begin_row()

        with m.If(begins):
            m.d.sync += [
                is_ahead.eq(0),
                place.eq(self.marked.p.place),
                left.eq(self.marked.p.dropped),
                tries.eq(0),
                is_given.eq(0),
                start.eq(next_start),
                next_start.eq(Mux(stepped_back < 0, next_start + step, stepped_back)),
                before.eq(up_to_edge),
                found.eq(Mux(is_ahead, ahead, incoming)),
                base.eq(next_number),
                number.eq(word_after(next_number)),
                visits.eq(Mux(words == 0, 0, words - (next_start[:word_bits] == 0))),
            ]

        return m
