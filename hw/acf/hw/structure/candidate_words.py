"""Which candidates of a row are to grow, ahead of need."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.isa import CANDIDATE_PART, CANDIDATE_WORD

__all__ = ["CandidateWords"]


class CandidateWords(wiring.Component):
    """Holds the words of two rows: one is being used, one comes in, a word a cycle.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    count : In(range(columns + 1))
        Candidates of a row, which has ``candidate_row_bits`` for them.
    lacks_last : In(1)
        The last one is none. These two do not change while there are rows.
    beats : In(stream), data_width
        The words of all rows, one behind the other.
    flush : In(1)
        Behind the last row: drops what is left of a beat, and what of it has been taken already.
    ready : Out(1)
        All words of a row are there.
    look : In(range(columns // CANDIDATE_WORD))
    word : Out(CANDIDATE_WORD)
        A word of this row, in the same cycle; what is behind the last candidate is not to grow.
    next : In(1)
        Goes on with the next row; only while ``ready``.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._columns = columns = structure.columns
        super().__init__(
            {
                "count": In(range(columns + 1)),
                "lacks_last": In(1),
                "beats": In(stream.Signature(memory.data_width)),
                "flush": In(1),
                "ready": Out(1),
                "look": In(range(columns // CANDIDATE_WORD)),
                "word": Out(CANDIDATE_WORD),
                "next": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        word_bits = exact_log2(CANDIDATE_WORD)
        words = self._columns // CANDIDATE_WORD
        parts = self._memory.data_width // CANDIDATE_PART
        per_word = CANDIDATE_WORD // CANDIDATE_PART
        m.submodules.words = memory = Memory(shape=CANDIDATE_WORD, depth=2 * words, init=[])
        store, recall = memory.write_port(), memory.read_port(domain="comb")

        full = Signal(2)
        incoming, used = Signal(), Signal()
        number = Signal(range(max(2, words)))
        part, next_part = Signal(range(parts)), Signal(range(parts + 1))
        takes, last, ends_beat = Signal(), Signal(), Signal()
        # Of a row of less than a word only the low bits count, and only these must be chosen part by part.
        payload = self.beats.payload
        word = Signal(CANDIDATE_WORD)
        rest, kept = Signal(range(CANDIDATE_WORD + 1)), Signal(range(CANDIDATE_WORD + 1))
        m.d.comb += [
            word.eq(
                Cat(
                    payload.word_select(part, CANDIDATE_PART),
                    payload.word_select(part >> 1, 2 * CANDIDATE_PART)[CANDIDATE_PART:],
                    payload.word_select(part >> 2, CANDIDATE_WORD)[2 * CANDIDATE_PART :],
                )
            ),
            next_part.eq(
                part
                + Mux(
                    self.count > 2 * CANDIDATE_PART,
                    per_word,
                    Mux(self.count > CANDIDATE_PART, 2, 1),
                )
            ),
            rest.eq(Mux(self.count[:word_bits] == 0, CANDIDATE_WORD, self.count[:word_bits])),
            kept.eq(Mux(last, rest - self.lacks_last, CANDIDATE_WORD)),
            takes.eq(self.beats.valid & ~full.bit_select(incoming, 1) & ~self.flush),
            last.eq(((number + 1) << word_bits) >= self.count),
            ends_beat.eq(next_part == parts),
            store.en.eq(takes),
            store.addr.eq(Mux(incoming, number + words, number)),
            store.data.eq(word & Cat(n < kept for n in range(CANDIDATE_WORD))),
            self.beats.ready.eq((takes & ends_beat) | (self.flush & (part != 0))),
            self.ready.eq(full.bit_select(used, 1)),
            recall.addr.eq(Mux(used, self.look + words, self.look)),
            self.word.eq(recall.data),
        ]
        with m.If(takes):
            m.d.sync += [number.eq(Mux(last, 0, number + 1)), part.eq(Mux(ends_beat, 0, next_part))]
            with m.If(last):
                m.d.sync += [full.bit_select(incoming, 1).eq(1), incoming.eq(~incoming)]
        with m.If(self.next):
            m.d.sync += [full.bit_select(used, 1).eq(0), used.eq(~used)]
        with m.If(self.flush):
            # Words behind those of the last row may have been taken for rows.
            m.d.sync += [part.eq(0), number.eq(0), full.eq(0), incoming.eq(used)]

        return m
