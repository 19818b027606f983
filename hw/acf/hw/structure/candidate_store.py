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
    row_begins : In(1)
        What is looked at from the next cycle on is the next row.
    look : In(range(columns // look_bits))
        Bits of the row that is looked at.
    look_next : In(1)
        No, of the one that follows.
    found : Out(look_bits)
        These bits, in the same cycle. Where a row has fewer, others follow them.
    takes : In(1)
        Bits of the row that is looked at may be taken: nothing is granted in the memory of that row.
    take : In(1)
        Clears the bit of ``taken`` in that row, which still shows in this cycle and the next; only while ``takes``.
    taken : In(range(columns))
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
                "row_begins": In(1),
                "look_next": In(1),
                "look": In(range(columns // geometry.look_bits)),
                "found": Out(geometry.look_bits),
                "takes": In(1),
                "take": In(1),
                "taken": In(range(columns)),
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
        begun_row, next_row = Signal(place_layout), Signal(place_layout)
        with m.If(self.turn):
            m.d.sync += [
                cleared_row.eq(next_cleared),
                next_cleared.eq(advance_row(next_cleared, step=self.step, split=self.split)),
            ]
        with m.If(self.row_begins):
            m.d.sync += [
                begun_row.eq(next_row),
                next_row.eq(advance_row(next_row, step=self.step, split=self.split)),
            ]
        with m.If(self.flush):
            m.d.sync += [next_cleared.eq(0), next_row.eq(0)]
        looked_row = Signal(place_layout)
        m.d.comb += looked_row.eq(Mux(self.look_next, next_row, begun_row))

        def bit_of(column, place):
            """Which bit of its memory a candidate of a row has."""
            granule = (column >> granule_bits) + Cat(
                (place.part >> (granule_bits - part_bits))[: exact_log2(in_beat)],
                C(0, word_bits - 1),
                self.split & place.half,
            )
            in_granule = column[part_bits:granule_bits] | place.part[: granule_bits - part_bits]
            return Cat(column[:part_bits], in_granule, granule[: word_bits + exact_log2(in_beat)])

        # What is cleared in each bank in the next cycle, and what is taken.
        asks = [Signal(beat_bits + word_bits, name=f"bit_{n}") for n in range(self._lanes)]
        free = Signal()
        m.d.comb += free.eq(~self.takes | (begun_row.memory != cleared_row.memory))
        for n, ask in enumerate(asks):
            before = [self.wanted[k] & (asks[k][:bank_bits] == ask[:bank_bits]) for k in range(n)]
            m.d.comb += [
                ask.eq(bit_of(self.columns[n], cleared_row)),
                self.granted[n].eq(self.wanted[n] & ~Cat(before).any() & free),
            ]
        clears, takes = Signal(), Signal()
        clear_memory, take_memory = Signal(range(geometry.memories)), Signal(range(geometry.memories))
        take_bit = Signal(beat_bits + word_bits)
        m.d.sync += [
            clears.eq(self.granted.any()),
            clear_memory.eq(cleared_row.memory),
            takes.eq(self.take),
            take_memory.eq(begun_row.memory),
            take_bit.eq(bit_of(self.taken, begun_row)),
        ]
        cleared = []
        for bank in range(banks):
            here = Signal(self._lanes, name=f"here_{bank}")
            bit, hit = Signal(beat_bits + word_bits - bank_bits, name=f"cleared_{bank}"), Signal(name=f"hit_{bank}")
            m.d.comb += here.eq(
                Cat(use & (ask[:bank_bits] == bank) for use, ask in zip(self.granted, asks, strict=True))
            )
            m.d.sync += [hit.eq(here.any()), bit.eq(_chosen(here, [ask[bank_bits:] for ask in asks]))]
            cleared.append((hit, bit))

        # What is looked at.
        look_bits = geometry.look_bits
        looks_bits = exact_log2(width // look_bits)
        position = Signal(word_bits + looks_bits)
        begin = Signal(looks_bits)
        m.d.comb += [
            begin.eq(looked_row.part >> exact_log2(look_bits // CANDIDATE_PART)),
            # In beats of one granule only rows of one word begin amid a beat.
            position.eq(
                (self.look + begin if in_beat > 1 else self.look | begin)
                | Cat(C(0, len(position) - 1), self.split & looked_row.half)
            ),
            self.busy.eq(
                (clears & (clear_memory == self.load_place.memory)) | (takes & (take_memory == self.load_place.memory))
            ),
        ]

        beats = []
        for number in range(geometry.memories):
            clearing, taking, loading = (Signal(name=f"{what}_{number}") for what in ("clearing", "taking", "loading"))
            m.d.comb += [
                taking.eq(takes & (take_memory == number)),
                clearing.eq(clears & (clear_memory == number)),
                loading.eq(self.store & (self.load_place.memory == number)),
            ]
            beat = Signal(width, name=f"beat_{number}")
            for bank, (hit, bit) in enumerate(cleared):
                memory = Memory(shape=width // banks, depth=geometry.depth, init=[])
                m.submodules[f"memory_{number}_bank_{bank}"] = memory
                change = memory.write_port(granularity=CANDIDATE_WORD // banks)
                old, seen = memory.read_port(domain="comb"), memory.read_port(domain="comb")
                here = Signal(len(bit), name=f"here_{number}_{bank}")
                kill = Signal(width // banks, name=f"kill_{number}_{bank}")
                one = Signal(name=f"one_{number}_{bank}")  # a bit is cleared, or taken
                m.d.comb += [
                    here.eq(Mux(taking, take_bit[bank_bits:], bit)),
                    kill.eq(1 << here[: beat_bits - bank_bits]),
                    one.eq(Mux(taking, take_bit[:bank_bits] == bank, clearing & hit)),
                    old.addr.eq(here[beat_bits - bank_bits :]),
                    seen.addr.eq(position >> looks_bits),
                    change.addr.eq(Mux(clearing | taking, old.addr, self.word)),
                    change.data.eq(Mux(clearing | taking, old.data & ~kill, self.payload[bank::banks])),
                    change.en.eq(
                        Mux(clearing | taking, one.replicate(in_beat), self.granules & loading.replicate(in_beat))
                    ),
                    beat[bank::banks].eq(seen.data),
                ]
            beats.append(beat)
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
