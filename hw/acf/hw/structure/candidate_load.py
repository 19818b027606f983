"""Brings the candidates of rows into their memories, ahead of need."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.isa import CANDIDATE_PART, CANDIDATE_WORD

__all__ = ["CandidateGeometry", "CandidateLoad", "advance_row", "row_place_layout"]


class CandidateGeometry:
    """How the candidates of rows lie in their memories.

    A row keeps the place in a beat that it has in main memory, so that nothing is shifted on the way. Rows take the
    memories in turn. Of short rows each memory holds two, one in each half, of long ones only one.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Attributes
    ----------
    memories : int
    granules : int
        Words of ``CANDIDATE_WORD`` bits in a beat.
    depth : int
        Beats that a memory holds; a row that does not begin with a beat goes on behind the last one with the first.
    parts : int
        Units of ``CANDIDATE_PART`` bits in a beat.
    look_bits : int
        Bits that are looked at together.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self.granules = memory.data_width // CANDIDATE_WORD
        self.memories = 2 if self.granules == 1 else 4
        self.depth = max(2, structure.columns // memory.data_width)
        self.parts = memory.data_width // CANDIDATE_PART
        self.look_bits = min(CANDIDATE_WORD, memory.data_width // 2)


def row_place_layout(geometry: CandidateGeometry) -> data.StructLayout:
    """Where a row lies: memory, half of it, and where in a beat it begins."""
    return data.StructLayout({"memory": range(geometry.memories), "half": 1, "part": range(geometry.parts)})


def advance_row(place, *, step, split):
    """The place of the row after the one at ``place``, as one value."""
    side = (Cat(place.memory, place.half) + 1)[: len(place.memory) + 1]
    return Cat(side[:-1], side[-1] & split, (place.part + step)[: len(place.part)])


class CandidateLoad(wiring.Component):
    """Gives the beats of candidates row by row to ``CandidateStore``, or ones for all columns.

    A beat a cycle; one in which a row ends and another begins twice.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    count : In(range(columns + 1))
        Candidates of a row, which has ``candidate_row_bits`` for them.
    random : In(1)
        Nothing is read: all may grow. Both do not change while ``enable``.
    enable : In(1)
        Without it all rows are forgotten.
    beats : In(stream), data_width
        The candidates of all rows, one row behind the other.
    begun : In(1)
        A row has begun; only while ``ready``.
    row_done : In(1)
        The oldest row is not needed any more.
    ready : Out(1)
        A row is there that has not begun.
    step : Out(range(parts))
        From the place in a beat of a row to that of the next one.
    split : Out(1)
        Rows are short: memories hold two.
    place : Out(row_place_layout)
    word, granules, store : Out
        Writes the granules that have a one of beat ``word`` of this row in this cycle, unless ``busy``.
    payload : Out(data_width)
    busy : In(1)
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._geometry = geometry = CandidateGeometry(memory=memory, structure=structure)
        columns = structure.columns
        self._words = columns // CANDIDATE_WORD
        super().__init__(
            {
                "count": In(range(columns + 1)),
                "random": In(1),
                "enable": In(1),
                "beats": In(stream.Signature(memory.data_width)),
                "begun": In(1),
                "row_done": In(1),
                "ready": Out(1),
                "step": Out(range(geometry.parts)),
                "split": Out(1),
                "place": Out(row_place_layout(geometry)),
                "word": Out(range(geometry.depth)),
                "granules": Out(geometry.granules),
                "store": Out(1),
                "payload": Out(memory.data_width),
                "busy": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        geometry = self._geometry
        in_beat, per_granule = geometry.granules, CANDIDATE_WORD // CANDIDATE_PART
        row_granules = Signal(range(self._words + 1))
        # These are known long before there are rows. Rows of all columns begin with a beat each, others where the one
        # before them ends.
        m.d.sync += [
            row_granules.eq((self.count + (CANDIDATE_WORD - 1)) >> exact_log2(CANDIDATE_WORD)),
            self.split.eq(row_granules + (in_beat - 1) <= geometry.depth // 2 * in_beat),
        ]
        with m.If(self.random):
            m.d.sync += self.step.eq(0)
        with m.Elif(self.count > 2 * CANDIDATE_PART):
            m.d.sync += self.step.eq(row_granules * per_granule)
        with m.Else():
            m.d.sync += self.step.eq(Mux(self.count > CANDIDATE_PART, 2, 1))

        held = Signal(range(2 * geometry.memories + 1))  # rows in the memories
        waiting = Signal.like(held)
        here = Signal(range(geometry.depth))
        left = Signal(range(self._words + 1))
        first = Signal(range(in_beat))  # granule of the beat in which the row begins
        ends, stored, row_stored, there = Signal(), Signal(), Signal(), Signal()
        following = Signal(self.place.shape())
        room = in_beat - first
        m.d.comb += [
            following.eq(advance_row(self.place, step=self.step, split=self.split)),
            ends.eq(left <= room),
            there.eq(self.enable & (held != Mux(self.split, 2 * geometry.memories, geometry.memories))),
            self.store.eq(there & (self.random | self.beats.valid) & (row_granules != 0)),
            stored.eq(self.store & ~self.busy),
            row_stored.eq((stored & ends) | (there & (row_granules == 0))),
            self.beats.ready.eq(stored & ~self.random & (~ends | (following.part == 0))),
            self.word.eq(here + Mux(self.split & self.place.half, geometry.depth // 2, 0)),
            self.granules.eq(Cat((n >= first) & (n < first + left) for n in range(in_beat))),
            self.payload.eq(Mux(self.random, Const(-1, len(self.payload)), self.beats.payload)),
            self.ready.eq(waiting != 0),
        ]
        m.d.sync += [
            held.eq(held + row_stored - self.row_done),
            waiting.eq(waiting + row_stored - self.begun),
        ]
        with m.If(stored):
            m.d.sync += [here.eq(here + 1), left.eq(left - room), first.eq(0)]
        with m.If(row_stored):
            m.d.sync += [
                here.eq(0),
                left.eq(row_granules),
                first.eq(following.part >> exact_log2(per_granule)),
                self.place.eq(following),
            ]
        with m.If(~self.enable):
            m.d.sync += [held.eq(0), waiting.eq(0), here.eq(0), left.eq(row_granules), first.eq(0), self.place.eq(0)]

        return m
