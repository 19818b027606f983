"""Which columns two rows have: one that is being looked at, and one that is being looked up."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.isa import CANDIDATE_WORD

__all__ = ["BankedMarks"]

_BANKS = 16


class BankedMarks(wiring.Component):
    """Two sides with a bit for each column, in banks, so that several columns can be marked in a cycle.

    Unknown after a reset. Column ``c`` is in bank ``c % 16``; of columns in one bank the lowest lane goes first.
    Marking and looking up must not be on the same side.

    Parameters
    ----------
    columns : int
        A power of two, ``CANDIDATE_WORD`` at least.
    lanes : int
        Columns that may be marked in a cycle.

    Members
    -------
    columns : In(range(columns)).array(lanes)
    wanted : In(lanes)
        Marks these on side ``mark_side``.
    granted : Out(lanes)
        Those that are, in the same cycle.
    mark_side : In(1)
    look : In(range(columns // CANDIDATE_WORD))
        A word of side ``side``.
    side : In(1)
    marks : Out(CANDIDATE_WORD)
        Its bits, in the same cycle.
    use : In(1)
        The word is looked at; without it ``marks`` is unknown and nothing is done to the word.
    erase : In(1)
        Clears it.
    set : In(1)
        Sets bit ``place`` of it.
    place : In(range(CANDIDATE_WORD))
    erase_both : In(1)
        Clears the word on both sides; nothing is marked meanwhile.
    """

    def __init__(self, *, columns: int, lanes: int):
        self._columns = columns
        self._lanes = lanes
        super().__init__(
            {
                "columns": In(range(columns)).array(lanes),
                "wanted": In(lanes),
                "granted": Out(lanes),
                "mark_side": In(1),
                "look": In(range(columns // CANDIDATE_WORD)),
                "side": In(1),
                "marks": Out(CANDIDATE_WORD),
                "use": In(1),
                "erase": In(1),
                "set": In(1),
                "place": In(range(CANDIDATE_WORD)),
                "erase_both": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        bank_bits, word_bits = exact_log2(_BANKS), exact_log2(CANDIDATE_WORD)
        width = CANDIDATE_WORD // _BANKS
        lanes = [self.columns[n] for n in range(self._lanes)]
        banks = [column[:bank_bits] for column in lanes]
        for n in range(self._lanes):
            before = [self.wanted[k] & (banks[k] == banks[n]) for k in range(n)]
            m.d.comb += self.granted[n].eq(self.wanted[n] & ~Cat(before).any())

        found = [[], []]
        for bank in range(_BANKS):
            here = Signal(self._lanes, name=f"here_{bank}")
            word = Signal(len(self.look), name=f"word_{bank}")
            bit = Signal(width, name=f"bit_{bank}")
            m.d.comb += here.eq(Cat(self.granted[n] & (banks[n] == bank) for n in range(self._lanes)))
            m.d.comb += [
                word.eq(_chosen(here, [column[word_bits:] for column in lanes])),
                bit.eq(1 << _chosen(here, [column[bank_bits:word_bits] for column in lanes])),
            ]
            for side in range(2):
                memory = Memory(shape=width, depth=self._columns // CANDIDATE_WORD, init=[])
                m.submodules[f"side_{side}_bank_{bank}"] = memory
                change, look = memory.write_port(), memory.read_port(domain="comb")
                looked = Signal(name=f"looked_{side}_{bank}")
                m.d.comb += [
                    looked.eq(self.erase_both | (self.use & (self.side == side))),
                    look.addr.eq(Mux(looked, self.look, word)),
                    change.addr.eq(look.addr),
                ]
                with m.If(looked):
                    m.d.comb += [
                        change.en.eq(
                            self.erase_both | self.erase | (self.set & (self.place[:bank_bits] == bank)),
                        ),
                        change.data.eq(Mux(self.erase | self.erase_both, 0, look.data | (1 << self.place[bank_bits:]))),
                    ]
                with m.Else():
                    m.d.comb += [
                        change.en.eq(here.any() & (self.mark_side == side)),
                        change.data.eq(look.data | bit),
                    ]
                found[side].append(look.data)
        for n in range(CANDIDATE_WORD):
            bit, bank = divmod(n, _BANKS)
            m.d.comb += self.marks[n].eq(Mux(self.side, found[1][bank][bit], found[0][bank][bit]))

        return m


def _chosen(select, values):
    """OR of the values whose bit in ``select`` is set."""
    total = 0
    for chosen, value in zip(select, values, strict=True):
        total = total | (chosen.replicate(len(value)) & value)
    return total
