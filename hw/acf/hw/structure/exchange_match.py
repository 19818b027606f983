"""Finds columns for the entries that a row may drop."""

from amaranth.hdl import Cat, Module, Mux, Signal
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


class ExchangeMatch(wiring.Component):
    """Gives the positions of each row the columns that it gets.

    A row takes a cycle, one for each word of candidates that is looked at behind the first one, and one for each
    exchange but those beside which a word is looked at. It ends with the last of its exchanges. Where growth is random,
    a row takes two cycles, each draw one, and each that is below the limit another one.

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
    look, row_done, take, taken : Out
    found, blocked, was : In
        See ``CandidateStore``.
    o : Out(stream), ``exchange_layout``
        What takes it must stay ready, once it is, until it has taken one.
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
                "blocked": In(1),
                "row_done": Out(1),
                "take": Out(1),
                "taken": Out(range(columns)),
                "was": In(1),
                "o": Out(stream.Signature(exchange_layout(structure=structure))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        look_bits = self._look_bits
        word_bits = exact_log2(look_bits)
        column_bits = exact_log2(self._structure.columns)
        words = Signal(range(self._structure.columns // look_bits + 1))
        last_word = Signal.like(self.look)
        rest = Signal(range(look_bits + 1))
        m.d.comb += [
            words.eq((self.count + (look_bits - 1)) >> word_bits),
            last_word.eq(words - 1),
            rest.eq(Mux(self.count[:word_bits] == 0, look_bits, self.count[:word_bits])),
        ]

        # Draws: the low bits of a state, as many as the limit needs.
        state = Signal(32)
        drawn = Signal(column_bits)
        draws = Signal()
        below_last = Signal(len(self.count))
        m.d.comb += [
            below_last.eq(Mux(self.count == 0, 0, self.count - 1)),
            drawn.eq(state[:column_bits] & Cat(below_last[n:].any() for n in range(column_bits))),
        ]
        with m.If(draws):
            m.d.sync += state.eq(xorshift32(state))
        with m.If(self.seed_valid):
            m.d.sync += state.eq(xorshift32(self.seed))

        def below_count(column):
            return Mux(column >= self.count, column - self.count, column)

        # Where the walk over candidates begins: in this row, in the next one, and from row to row.
        start, next_start, step = Signal(column_bits), Signal(column_bits), Signal(column_bits)
        before = Signal(look_bits)  # bits of the first word that come last
        in_last = Signal(look_bits)  # bits of the last word that are candidates
        edge = Signal(range(look_bits + 1))
        up_to_edge = Cat(n < edge for n in range(look_bits))
        moves_on, moved = Signal(), Signal()
        m.d.sync += moved.eq(moves_on)
        with m.If(moved):
            m.d.sync += next_start.eq(below_count(start + step))
        with m.If(moves_on):
            m.d.sync += [start.eq(next_start), before.eq(up_to_edge), self.look.eq(next_start >> word_bits)]
        m.d.comb += edge.eq(next_start[:word_bits])

        left = Signal(16)  # positions of the row that have no column yet
        partly = Signal()  # the first word is looked at twice
        visits = Signal(range(self._structure.columns // look_bits + 1))
        found = Signal(look_bits)
        base = Signal.like(self.look)
        lowest, others = Signal(look_bits), Signal(look_bits)
        exhausted = Signal()
        gives = Signal()
        looks = Signal()
        initial, again = Signal(), Signal()
        column = Signal(column_bits)
        tries = Signal(range(_DRAWS))
        column_in_word = Cat(
            Cat(lowest[n] for n in range(look_bits) if n >> bit & 1).any() for bit in range(word_bits)
        )
        m.d.comb += [
            lowest.eq(found & -found),
            others.eq(Mux(gives, found & ~lowest, found)),
            exhausted.eq(left == 0),
            partly.eq(start[:word_bits] != 0),
            gives.eq(self.o.valid & self.o.ready),
            self.o.p.place.eq(self.marked.p.place + self.dropped.payload),
            self.o.p.column.eq((column << self.shift) | self.first),
            column.eq(Mux(self.random, drawn, Cat(column_in_word, base))),
            self.taken.eq(drawn),
            self.marked.ready.eq(self.row_done),
            moves_on.eq(self.row_done),
        ]
        with m.If(gives):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    left.eq(self.marked.p.dropped),
                    tries.eq(0),
                    found.eq(0),
                    visits.eq(Mux(words == 0, 0, words - ~partly)),
                ]
                with m.If(self.marked.valid):
                    with m.If(self.random):
                        m.next = "DRAW"
                    with m.Elif((words == 0) | ~self.blocked):
                        m.d.comb += [looks.eq(words != 0), initial.eq(1)]
                        m.next = "WALK"
                with m.If(self.seed_valid & ~self.random):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [draws.eq(1), edge.eq(rest - self.lacks_last)]
                m.d.sync += [next_start.eq(below_count(drawn)), in_last.eq(up_to_edge)]
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += [draws.eq(1), moves_on.eq(1)]
                m.d.sync += step.eq(below_count(drawn | 1))
                m.next = "IDLE"
            with m.State("WALK"):
                m.d.comb += [
                    self.o.valid.eq(found.any() & ~exhausted & self.dropped.valid),
                    self.dropped.ready.eq(gives),
                    again.eq(partly & (visits == 1)),
                ]
                m.d.sync += found.eq(others)
                with m.If(exhausted | (gives & (left == 1))):
                    m.d.comb += self.row_done.eq(1)
                    m.next = "IDLE"
                with m.Elif(~others.any()):
                    with m.If(visits == 0):
                        m.next = "REST"
                    with m.Elif(~self.blocked):
                        m.d.comb += looks.eq(1)
                        m.d.sync += visits.eq(visits - 1)
            with m.State("REST"):
                # No column is left for these.
                m.d.comb += self.dropped.ready.eq(left != 0)
                with m.If(exhausted):
                    m.d.comb += self.row_done.eq(1)
                    m.next = "IDLE"
                with m.Elif(self.dropped.valid):
                    m.d.sync += left.eq(left - 1)
            with m.State("DRAW"):
                inside = Signal()
                m.d.comb += inside.eq(drawn < self.count)
                with m.If(exhausted):
                    m.d.comb += self.row_done.eq(1)
                    m.next = "IDLE"
                with m.Elif(self.dropped.valid & self.o.ready):
                    with m.If(inside):
                        m.d.comb += self.take.eq(1)
                        m.next = "TAKEN"
                    with m.Else():
                        self._tried(m, tries, left, draws)
            with m.State("TAKEN"):
                m.d.comb += self.o.valid.eq(self.was)
                m.next = "DRAW"
                with m.If(self.was):
                    m.d.comb += [draws.eq(1), self.dropped.ready.eq(1)]
                    m.d.sync += tries.eq(0)
                with m.Else():
                    self._tried(m, tries, left, draws)
        with m.If(looks):
            m.d.sync += [
                found.eq(
                    self.found
                    & (in_last | (self.look != last_word).replicate(look_bits))
                    & ~(before & initial.replicate(look_bits))
                    & (before | ~again.replicate(look_bits))
                ),
                base.eq(self.look),
                self.look.eq(Mux(self.look == last_word, 0, self.look + 1)),
            ]

        return m

    def _tried(self, m, tries, left, draws):
        """A draw was for nothing."""
        m.d.comb += draws.eq(1)
        m.d.sync += tries.eq(tries + 1)
        with m.If(tries == _DRAWS - 1):
            m.d.comb += self.dropped.ready.eq(1)
            m.d.sync += left.eq(left - 1)
