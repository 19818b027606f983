"""Which columns a row has."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["ColumnMarks"]


class ColumnMarks(wiring.Component):
    """A bit for each column, kept in groups.

    Unknown after a reset. One operation a cycle; marking goes before.

    Parameters
    ----------
    columns, group : int
        Columns, and how many are in a group; powers of two.

    Members
    -------
    mark : In(1)
        Sets the bit of ``column``.
    column : In(range(columns))
    look : In(range(columns // group))
        A group.
    marks : Out(group)
        Its bits, in the same cycle.
    erase : In(1)
        Clears them.
    """

    def __init__(self, *, columns: int, group: int):
        self._columns = columns
        self._group = group
        super().__init__(
            {
                "mark": In(1),
                "column": In(range(columns)),
                "look": In(range(columns // group)),
                "marks": Out(group),
                "erase": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        place_bits = exact_log2(self._group)
        m.submodules.bits = bits = Memory(shape=self._group, depth=self._columns // self._group, init=[])
        change, look = bits.write_port(), bits.read_port(domain="comb")
        group = Signal(len(self.look))
        m.d.comb += [
            group.eq(Mux(self.mark, self.column >> place_bits, self.look)),
            look.addr.eq(group),
            change.addr.eq(group),
            change.data.eq(Mux(self.mark, look.data | (1 << self.column[:place_bits]), 0)),
            change.en.eq(self.mark | self.erase),
            self.marks.eq(look.data),
        ]

        return m
