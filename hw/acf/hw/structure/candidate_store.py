"""The candidates of several rows, without the columns that rows have already."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.candidate_load import CandidateGeometry, advance_row, row_place_layout
from acf.isa import CANDIDATE_PART, CANDIDATE_WORD

__all__ = ["CandidateStore"]


class CandidateStore(wiring.Component):
    """A bit for each candidate of the rows that are under way: it may grow.

    Three work at the same time, each on a row of its own: beats of a row that comes are written, bits of columns that a
    row has are cleared, several in a cycle, and what is left of a row is looked at. Candidate ``c`` is in bank ``c
    modulo`` the banks; of several in one bank the lowest lane goes first. A bit is cleared in the cycle after it was
    granted.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    step, split, load_place, word, granules, store, payload, busy
        As ``CandidateLoad`` gives them.
    flush : In(1)
        No row is under way.
    turn : In(1)
        What is cleared from the next cycle on is of the next row.
    columns : In(range(columns)).array(lanes)
    wanted : In(lanes)
        Clears the bits of these candidates.
    granted : Out(lanes)
        Those that will be, in the same cycle.
    row_done : In(1)
        What is looked at from the next cycle on is the next row.
    look : In(range(columns // look_bits))
        Bits of the row that is looked at.
    found : Out(look_bits)
        These bits, in the same cycle, unless ``blocked``. Where a row has fewer, others follow them.
    blocked : Out(1)
        They cannot be looked at in this cycle.
    take : In(1)
        Clears the bit of ``taken`` in the row that is looked at; nothing is granted meanwhile.
    taken : In(range(columns))
    was : Out(1)
        The bit taken in the cycle before was one until then.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._geometry = geometry = CandidateGeometry(memory=memory, structure=structure)
        self._lanes = lanes = memory.beat_bytes // 4
        self._width = memory.data_width
        columns = structure.columns
        super().__init__(
            {
                "step": In(range(geometry.parts)),
                "split": In(1),
                "load_place": In(row_place_layout(geometry)),
                "word": In(range(geometry.depth)),
                "granules": In(geometry.granules),
                "store": In(1),
                "payload": In(memory.data_width),
                "busy": Out(1),
                "flush": In(1),
                "turn": In(1),
                "columns": In(range(columns)).array(lanes),
                "wanted": In(lanes),
                "granted": Out(lanes),
                "row_done": In(1),
                "look": In(range(columns // geometry.look_bits)),
                "found": Out(geometry.look_bits),
                "blocked": Out(1),
                "take": In(1),
                "taken": In(range(columns)),
                "was": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        geometry, width = self._geometry, self._width
        place_layout = row_place_layout(geometry)
        in_beat = geometry.granules
        # Few lanes seldom meet in a bank.
        banks = min(16, 4 * self._lanes)
        bank_bits, beat_bits = exact_log2(banks), exact_log2(width)
        granule_bits, part_bits = exact_log2(CANDIDATE_WORD), exact_log2(CANDIDATE_PART)
        word_bits = exact_log2(geometry.depth)

        cleared_row, next_cleared = Signal(place_layout), Signal(place_layout)
        looked_row = Signal(place_layout)
        with m.If(self.turn):
            m.d.sync += [
                cleared_row.eq(next_cleared),
                next_cleared.eq(advance_row(next_cleared, step=self.step, split=self.split)),
            ]
        with m.If(self.row_done):
            m.d.sync += looked_row.eq(advance_row(looked_row, step=self.step, split=self.split))
        with m.If(self.flush):
            m.d.sync += [next_cleared.eq(0), looked_row.eq(0)]

        def begin(place):
            """Granule of its memory in which a row begins."""
            return Cat(C(0, word_bits - 1 + exact_log2(in_beat)), self.split & place.half) | (
                place.part >> (granule_bits - part_bits)
            )

        # What is cleared in each bank in the next cycle.
        place = Signal(place_layout)
        m.d.comb += place.eq(Mux(self.take, looked_row, cleared_row))
        asks = [Signal(exact_log2(geometry.depth * width), name=f"bit_{n}") for n in range(self._lanes)]
        uses = Signal(self._lanes)
        for n, ask in enumerate(asks):
            column = Mux(self.take, self.taken, self.columns[0]) if n == 0 else self.columns[n]
            before = [self.wanted[k] & (asks[k][:bank_bits] == ask[:bank_bits]) for k in range(n)]
            m.d.comb += [
                ask.eq(
                    Cat(
                        column[:part_bits],
                        column[part_bits:granule_bits] | place.part[: granule_bits - part_bits],
                        ((column >> granule_bits) + begin(place))[: len(ask) - granule_bits],
                    )
                ),
                self.granted[n].eq(self.wanted[n] & ~Cat(before).any() & ~self.take),
                uses[n].eq(self.granted[n] | (self.take if n == 0 else 0)),
            ]
        clears = Signal()
        clear_memory = Signal(range(geometry.memories))
        m.d.sync += [clears.eq(uses.any()), clear_memory.eq(place.memory)]
        kills, clear_words, hits = [], [], []
        for bank in range(banks):
            here = Signal(self._lanes, name=f"here_{bank}")
            bit = Signal(beat_bits - bank_bits, name=f"kill_{bank}")
            word = Signal(word_bits, name=f"word_{bank}")
            hit = Signal(name=f"hit_{bank}")
            m.d.comb += here.eq(Cat(use & (ask[:bank_bits] == bank) for use, ask in zip(uses, asks, strict=True)))
            m.d.sync += [
                hit.eq(here.any()),
                bit.eq(_chosen(here, [ask[bank_bits:beat_bits] for ask in asks])),
                word.eq(_chosen(here, [ask[beat_bits:] for ask in asks])),
            ]
            kills.append((1 << bit)[: width // banks])
            clear_words.append(word)
            hits.append(hit)

        # What is looked at.
        look_bits = geometry.look_bits
        looks_bits = exact_log2(width // look_bits)
        position = Signal(word_bits + looks_bits)
        m.d.comb += [
            position.eq(
                Cat(C(0, len(position) - 1), self.split & looked_row.half)
                + (looked_row.part >> exact_log2(look_bits // CANDIDATE_PART))
                + self.look
            ),
            self.blocked.eq(clears & (clear_memory == looked_row.memory)),
            self.busy.eq(clears & (clear_memory == self.load_place.memory)),
        ]

        beats, were = [], []
        for number in range(geometry.memories):
            clearing, loading = Signal(name=f"clearing_{number}"), Signal(name=f"loading_{number}")
            m.d.comb += [
                clearing.eq(clears & (clear_memory == number)),
                loading.eq(self.store & (self.load_place.memory == number)),
            ]
            beat = Signal(width, name=f"beat_{number}")
            for bank in range(banks):
                memory = Memory(shape=width // banks, depth=geometry.depth, init=[])
                m.submodules[f"memory_{number}_bank_{bank}"] = memory
                change = memory.write_port(granularity=CANDIDATE_WORD // banks)
                seen = memory.read_port(domain="comb")
                m.d.comb += [
                    seen.addr.eq(Mux(clearing, clear_words[bank], position >> looks_bits)),
                    change.addr.eq(Mux(clearing, clear_words[bank], self.word)),
                    change.data.eq(Mux(clearing, seen.data & ~kills[bank], self.payload[bank::banks])),
                    change.en.eq(
                        Mux(clearing, hits[bank].replicate(in_beat), self.granules & loading.replicate(in_beat))
                    ),
                    beat[bank::banks].eq(seen.data),
                ]
                were.append(clearing & hits[bank] & (seen.data & kills[bank]).any())
            beats.append(beat)
        m.d.comb += self.was.eq(Cat(were).any())
        chosen = Signal(width)
        for number, beat in enumerate(beats):
            with m.If(looked_row.memory == number):
                m.d.comb += chosen.eq(beat)
        looked = Signal(look_bits)
        m.d.comb += looked.eq(chosen.word_select(position[:looks_bits], look_bits))
        # Rows of less than a granule begin anywhere in it.
        part = looked_row.part[: exact_log2(look_bits // CANDIDATE_PART)]
        m.d.comb += self.found.eq(
            Cat(
                looked.word_select(part, CANDIDATE_PART),
                looked.word_select(part >> 1, 2 * CANDIDATE_PART)[CANDIDATE_PART:],
                looked[2 * CANDIDATE_PART :],
            )
        )

        return m


def _chosen(select, values):
    """OR of the values whose bit in ``select`` is set."""
    total = 0
    for chosen, value in zip(select, values, strict=True):
        total = total | (chosen.replicate(len(value)) & value)
    return total
