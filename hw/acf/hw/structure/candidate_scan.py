"""Finds the columns of a row that may grow."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.random import xorshift32

__all__ = ["CandidateScan"]


class CandidateScan(wiring.Component):
    """Goes over the columns below ``limit``, and gives those that the row does not have, in ascending order.

    A beat of gradients is judged at once: it takes as many cycles as it has candidates that a selector may keep, and
    one if there are none. Random keys are drawn one a cycle, for every column.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    start : In(1)
        Begins; only while not ``busy``.
    limit : In(range(structure.columns + 1))
    random : In(1)
        Keys are drawn, not read. These two stay while ``busy``.
    seed : In(32)
    seed_valid : In(1)
        The next column draws the state that follows ``seed``.
    beats : In(stream), data_width
        Gradients of all columns, float32, from column 0 in a new beat.
    look : Out(range(columns // words of a beat))
        A group of columns.
    marks : In(words)
        Which of them the row has.
    erase : Out(1)
        They are not looked at again.
    full : In(1)
    worst_key : In(32)
        Of the selector: keys of this size or less are left out. They may come late, but not sink between starts.
    key : Out(32)
    column : Out(range(columns))
    valid : Out(1)
        A candidate; to be taken in this cycle, unless ``hold``.
    hold : In(1)
        Nothing moves on.
    busy : Out(1)
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._words = memory.beat_bytes // 4
        columns = structure.columns
        super().__init__(
            {
                "start": In(1),
                "limit": In(range(columns + 1)),
                "random": In(1),
                "seed": In(32),
                "seed_valid": In(1),
                "beats": In(stream.Signature(memory.data_width)),
                "look": Out(range(columns // self._words)),
                "marks": In(self._words),
                "erase": Out(1),
                "full": In(1),
                "worst_key": In(32),
                "key": Out(32),
                "column": Out(range(columns)),
                "valid": Out(1),
                "hold": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        words = self._words
        word_bits = exact_log2(words)

        # Groups to judge: their keys, and which of them count.
        keys = [Signal(32, name=f"key_{n}", reset_less=True) for n in range(words)]
        mask = Signal(words)
        group = Signal(len(self.look))
        passing = Signal(words)
        first = Signal(words)
        decided = Signal()
        number = Cat(Cat(first[n] for n in range(words) if n >> bit & 1).any() for bit in range(word_bits))
        m.d.comb += [
            passing.eq(mask & Cat(~self.full | (key > self.worst_key) for key in keys)),
            first.eq(passing & -passing),
            decided.eq(passing == first),
            self.valid.eq(passing.any()),
            self.column.eq(Cat(number, group)),
        ]
        for n, key in enumerate(keys):
            with m.If(first[n]):
                m.d.comb += self.key.eq(key)

        # The next group, or the next column when it draws.
        column = Signal(len(self.limit))
        word = column[:word_bits]
        state = Signal(32)
        drawn = xorshift32(state)
        active = Signal()
        load = Signal()
        last = Signal()
        step = Mux(self.random, 1, words)
        m.d.comb += [
            load.eq(active & decided & ~self.hold & (self.random | self.beats.valid)),
            last.eq(column + step >= self.limit),
            self.look.eq(column >> word_bits),
            self.erase.eq(load & (~self.random | last | word.all())),
            self.beats.ready.eq(load & ~self.random),
            self.busy.eq(active | mask.any()),
        ]
        m.d.sync += mask.eq(Mux(self.hold, passing, passing & ~first))
        with m.If(load):
            in_range = Cat(Cat(Const(n, word_bits), self.look) < self.limit for n in range(words))
            m.d.sync += [
                group.eq(self.look),
                mask.eq(~self.marks & Mux(self.random, 1 << word, in_range)),
                column.eq(column + step),
                active.eq(~last),
            ]
            for n, key in enumerate(keys):
                m.d.sync += key.eq(Mux(self.random, drawn, self.beats.payload.word_select(n, 32)[:31]))
            with m.If(self.random):
                m.d.sync += state.eq(drawn)
        with m.If(self.start):
            m.d.sync += [column.eq(0), active.eq(self.limit != 0)]
        with m.If(self.seed_valid):
            m.d.sync += state.eq(self.seed)

        return m
