"""Which rows of a command belong to a row feeder."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["RowShare", "row_share_layout"]

row_share_layout = data.StructLayout({"begin": 32, "end": 32, "offset": 16, "step": 16, "limit": 16})
"""The fields ``row_begin``, ``row_end``, ``row_offset``, ``row_step`` and ``row_limit`` of a command."""


class RowShare(wiring.Component):
    """The first row and the number of rows of row feeder ``feeder``.

    The feeder takes rows ``begin + feeder * offset + n * step`` for n = 0, 1, ... while n is below ``limit`` and the
    row below ``end``. The number is found by bisection, without a divider: ``log2(most) + 4`` cycles.

    Parameters
    ----------
    most : int
        Greatest number of rows that matters, a power of two. Greater ones come out as some number above it.

    Members
    -------
    start : In(1)
        Begins; the inputs are held until ``done``.
    feeder : In(4)
    i : In(row_share_layout)
    done : Out(1)
        High for one cycle.
    first : Out(32)
        The first row, if there is one. Stays until the next start.
    count : Out(range(2 * most))
        Number of rows. Stays until the next start.

    Raises
    ------
    ValueError
        If ``most`` is not a power of two.
    """

    start: Signal
    feeder: Signal
    i: data.View
    done: Signal
    first: Signal
    count: Signal

    def __init__(self, *, most: int):
        if most <= 0 or most & (most - 1):
            raise ValueError(f"greatest number of rows must be a power of two, not {most!r}")
        self._bits = exact_log2(most) + 1
        super().__init__(
            {
                "start": In(1),
                "feeder": In(4),
                "i": In(row_share_layout),
                "done": Out(1),
                "first": Out(32),
                "count": Out(self._bits),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Wide enough that no row number wraps: begin + 15 * offset + 2 * most * step.
        width = 32 + self._bits
        offset = Signal(20)
        following = Signal(width)  # the row after the `count` rows found so far
        advance = Signal(16 + self._bits)  # 2 ** bit * step
        bit = Signal(self._bits)  # one-hot
        count = Signal(self._bits)
        last_tried = Signal(width)
        m.d.comb += last_tried.eq(following + advance - self.i.step)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += offset.eq(self.feeder * self.i.offset)
                with m.If(self.start):
                    m.next = "FIRST"
            with m.State("FIRST"):
                m.d.sync += [
                    following.eq(self.i.begin + offset),
                    self.first.eq(self.i.begin + offset),
                    advance.eq(self.i.step << (self._bits - 1)),
                    bit.eq(1 << (self._bits - 1)),
                    count.eq(0),
                ]
                m.next = "BISECT"
            with m.State("BISECT"):
                with m.If(last_tried < self.i.end):
                    m.d.sync += [count.eq(count | bit), following.eq(following + advance)]
                m.d.sync += [bit.eq(bit >> 1), advance.eq(advance >> 1)]
                with m.If(bit[0]):
                    m.next = "LIMIT"
            with m.State("LIMIT"):
                m.d.sync += self.count.eq(Mux(count < self.i.limit, count, self.i.limit))
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"

        return m
