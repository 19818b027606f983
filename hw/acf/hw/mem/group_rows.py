"""The shape of rows that have N entries in each group of M columns."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.isa import DECODED_COLUMNS, LARGEST_GROUP

__all__ = ["GroupRows", "pattern_layout", "place_width"]

pattern_layout = data.StructLayout({"kept": 2, "group": 2})
"""As in a STREAM: ``2 ** kept`` entries in each ``2 ** (group + 1)`` columns."""

_COLUMN_BITS = exact_log2(DECODED_COLUMNS) + 1


def place_width(group):
    """Bits of a place in its group, as a power of two: the exponent is 0, 1 or 2."""
    return Mux(group[1], 2, group[0])


class GroupRows(wiring.Component):
    """Turns columns into positions, which count the entries of a row.

    All entries of the groups that the inner range meets are taken; ``first`` may lie behind the end of the row, and so
    may the last one. The outputs are right from the second cycle on in which the inputs are held.

    Members
    -------
    pattern : In(pattern_layout)
        N is less than M.
    inner_size, inner_begin : In(32)
        ``inner_size`` is at most ``DECODED_COLUMNS``.
    inner_count : In(16)
    entries : Out(16)
        Entries of a row.
    first, count : Out(16)
        Position of the first entry that is taken, and how many there are.
    """

    def __init__(self):
        super().__init__(
            {
                "pattern": In(pattern_layout),
                "inner_size": In(32),
                "inner_begin": In(32),
                "inner_count": In(16),
                "entries": Out(16),
                "first": Out(16),
                "count": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()

        kept = (1 << self.pattern.kept) - 1  # bits of a position inside its group
        columns = Signal(range(LARGEST_GROUP))
        m.d.comb += columns.eq((2 << self.pattern.group) - 1)

        def positions(column, name):
            """The first position of the group of ``column``: shifted by log2(M / N), bits inside the group cut off."""
            position = Signal(16, name=name)
            with m.Switch(self.pattern.group - self.pattern.kept):
                for fewer in range(exact_log2(LARGEST_GROUP)):
                    with m.Case(fewer):
                        m.d.comb += position.eq((column >> (fewer + 1)) & ~kept)
            return position

        begin, end = Signal(_COLUMN_BITS), Signal(_COLUMN_BITS + 1)
        is_behind = self.inner_begin[_COLUMN_BITS - 1 :].any()
        m.d.comb += [
            begin.eq(Mux(is_behind, DECODED_COLUMNS, self.inner_begin)),
            end.eq(begin + self.inner_count + columns),
        ]
        size = self.inner_size[:_COLUMN_BITS] + columns
        first, behind = positions(begin, "begin_position"), positions(end, "end_position")
        m.d.sync += [
            self.entries.eq(positions(size, "size_position")),
            self.first.eq(first),
            self.count.eq(behind - first),
        ]
        return m
