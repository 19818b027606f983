"""Finds columns for the entries that a row may drop."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import StructureConfig
from acf.hw.structure.entry_scan import marked_row_layout
from acf.hw.structure.exchange_writer import exchange_layout
from acf.hw.structure.random import xorshift32
from acf.isa import CANDIDATE_WORD

__all__ = ["ExchangeMatch"]

_DRAWS = 16


class ExchangeMatch(wiring.Component):
    """Gives the positions of each row the columns that it gets, and clears the marks of the row behind it.

    A row takes a cycle, and one for each word of its candidates (for the first of them two) and for each exchange but
    the first ones of words. Where growth is random, it takes one for each draw, and one for each word.

    Parameters
    ----------
    structure : StructureConfig

    Members
    -------
    count : In(range(columns + 1))
        Candidates of a row, or the columns that may be drawn.
    first, shift : In
        Candidate ``n`` is column ``first + n * 2 ** shift``.
    random : In(1)
        These four do not change while there are rows.
    seed : In(32)
    seed_valid : In(1)
        Draws begin with the state that follows ``seed``.
    marked : In(stream), ``marked_row_layout``
    dropped : In(stream), 16 bits
        Positions of all rows.
    words_ready : In(1)
    look : Out
    word : In(CANDIDATE_WORD)
    marks : In(CANDIDATE_WORD)
        Of the candidates and of the marks of this row.
    side, use, erase, set, place : Out
        See ``BankedMarks``.
    o : Out(stream), ``exchange_layout``
    row_done : Out(1)
        The row will not be looked at any more.
    idle : Out(1)
    """

    def __init__(self, *, structure: StructureConfig):
        self._structure = structure
        columns = structure.columns
        super().__init__(
            {
                "count": In(range(columns + 1)),
                "first": In(4),
                "shift": In(2),
                "random": In(1),
                "seed": In(32),
                "seed_valid": In(1),
                "marked": In(stream.Signature(marked_row_layout)),
                "dropped": In(stream.Signature(16)),
                "words_ready": In(1),
                "look": Out(range(columns // CANDIDATE_WORD)),
                "word": In(CANDIDATE_WORD),
                "marks": In(CANDIDATE_WORD),
                "side": Out(1, init=1),
                "use": Out(1),
                "erase": Out(1),
                "set": Out(1),
                "place": Out(range(CANDIDATE_WORD)),
                "o": Out(stream.Signature(exchange_layout(structure=structure))),
                "row_done": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        word_bits = exact_log2(CANDIDATE_WORD)
        column_bits = exact_log2(self._structure.columns)
        words = Signal(range(self._structure.columns // CANDIDATE_WORD + 1))
        last_word = Signal.like(self.look)
        m.d.comb += [
            words.eq((self.count + (CANDIDATE_WORD - 1)) >> word_bits),
            last_word.eq(words - 1),
        ]

        # Draws: the low bits of a state, as many as the limit needs.
        state = Signal(32)
        drawn = Signal(column_bits)
        draws = Signal()
        below = Signal(len(self.count))
        m.d.comb += [
            below.eq(Mux(self.count == 0, 0, self.count - 1)),
            drawn.eq(state[:column_bits] & Cat(below[n:].any() for n in range(column_bits))),
        ]
        with m.If(draws):
            m.d.sync += state.eq(xorshift32(state))
        with m.If(self.seed_valid):
            m.d.sync += state.eq(xorshift32(self.seed))

        left = Signal(16)  # positions of the row that have no column yet
        begin = Signal(column_bits)
        first, partly = Signal(), Signal()  # the next word is the first one, and is looked at twice
        visits = Signal(range(self._structure.columns // CANDIDATE_WORD + 2))
        number = Signal.like(self.look)
        found = Signal(CANDIDATE_WORD)
        base = Signal.like(self.look)
        lowest = Signal(CANDIDATE_WORD)
        rest = Signal(CANDIDATE_WORD)
        exhausted = Signal()
        gives = Signal()
        chosen = Signal(column_bits)
        ended = Signal()
        tries = Signal(range(_DRAWS))
        start, step = Signal(column_bits), Signal(column_bits)  # of the next row, and from row to row
        from_begin = Cat(n >= begin[:word_bits] for n in range(CANDIDATE_WORD))
        m.d.comb += [
            lowest.eq(found & -found),
            exhausted.eq(left == 0),
            gives.eq(self.o.valid & self.o.ready),
            rest.eq(Mux(gives, found & ~lowest, found)),
            self.o.p.place.eq(self.marked.p.place + self.dropped.payload),
            self.marked.ready.eq(self.row_done),
            self.o.p.column.eq((chosen << self.shift) | self.first),
        ]
        m.d.sync += self.side.eq(self.side ^ self.row_done)
        with m.If(gives):
            m.d.sync += left.eq(left - 1)
        column_in_word = Cat(
            Cat(lowest[n] for n in range(CANDIDATE_WORD) if n >> bit & 1).any() for bit in range(word_bits)
        )

        def below_count(column):
            return Mux(column >= self.count, column - self.count, column)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [
                    left.eq(self.marked.p.dropped),
                    tries.eq(0),
                    begin.eq(start),
                    number.eq(Mux(self.random, 0, start >> word_bits)),
                    first.eq(1),
                    partly.eq(start[:word_bits] != 0),
                    visits.eq(Mux(words == 0, 0, words + (start[:word_bits] != 0))),
                    found.eq(0),
                ]
                with m.If(self.marked.valid):
                    with m.If(self.random):
                        m.next = "DRAW"
                    with m.Elif((words == 0) | self.words_ready):
                        m.d.sync += start.eq(below_count(start + step))
                        m.next = "WALK"
                with m.If(self.seed_valid & ~self.random):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += draws.eq(1)
                m.d.sync += start.eq(below_count(drawn))
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += draws.eq(1)
                m.d.sync += step.eq(below_count(drawn | 1))
                m.next = "IDLE"
            with m.State("WALK"):
                m.d.comb += [
                    self.o.valid.eq(found.any() & ~exhausted & self.dropped.valid),
                    chosen.eq(Cat(column_in_word, base)),
                    self.dropped.ready.eq(gives),
                    self.look.eq(number),
                    self.use.eq(1),
                ]
                m.d.sync += found.eq(rest)
                with m.If(exhausted | ~rest.any()):
                    with m.If(visits != 0):
                        m.d.comb += self.erase.eq(~(first & partly))
                        m.d.sync += [
                            found.eq(
                                self.word
                                & ~self.marks
                                & Mux(first, from_begin, Const(-1, CANDIDATE_WORD))
                                & Mux(~first & partly & (visits == 1), ~from_begin, Const(-1, CANDIDATE_WORD))
                            ),
                            base.eq(number),
                            number.eq(Mux(number == last_word, 0, number + 1)),
                            visits.eq(visits - 1),
                            first.eq(0),
                        ]
                    with m.Elif(exhausted | (gives & (left == 1))):
                        m.d.comb += ended.eq(1)
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "REST"
            with m.State("REST"):
                # No column is left for these.
                m.d.comb += self.dropped.ready.eq(left != 0)
                with m.If(left == 0):
                    m.d.comb += ended.eq(1)
                    m.next = "IDLE"
                with m.Elif(self.dropped.valid):
                    m.d.sync += left.eq(left - 1)
            with m.State("DRAW"):
                fits = Signal()
                tried = Signal()
                m.d.comb += [
                    self.look.eq(drawn >> word_bits),
                    self.use.eq(1),
                    self.place.eq(drawn[:word_bits]),
                    fits.eq((drawn < self.count) & ~self.marks.bit_select(drawn[:word_bits], 1)),
                    self.o.valid.eq(~exhausted & self.dropped.valid & fits),
                    chosen.eq(drawn),
                    self.set.eq(gives),
                    tried.eq(~exhausted & self.dropped.valid & ~fits),
                    draws.eq(gives | tried),
                    self.dropped.ready.eq(gives | (tried & (tries == _DRAWS - 1))),
                ]
                with m.If(tried):
                    m.d.sync += tries.eq(tries + 1)
                    with m.If(tries == _DRAWS - 1):
                        m.d.sync += left.eq(left - 1)
                with m.If(gives):
                    m.d.sync += tries.eq(0)
                with m.If(exhausted):
                    m.next = "ERASE"
            with m.State("ERASE"):
                m.d.comb += [self.look.eq(number), self.use.eq(1), self.erase.eq(words != 0)]
                m.d.sync += number.eq(number + 1)
                with m.If((words == 0) | (number == last_word)):
                    m.d.comb += ended.eq(1)
                    m.next = "IDLE"
        m.d.comb += [self.row_done.eq(ended), self.idle.eq(fsm.ongoing("IDLE") & ~self.marked.valid)]

        return m
