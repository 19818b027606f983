"""Keeps the best of many items, in order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Selector"]


class Selector(wiring.Component):
    """A row of places, the best item first, of which the last ``limit`` are in use.

    One item a cycle, which is in its place two cycles later. Of equal keys the one that came first is the better one.
    What is worse than ``limit`` others is forgotten.

    Parameters
    ----------
    depth : int
        Items that can be kept.
    key_width, tag_width : int
        Bits of an item; the larger key is the better one.

    Members
    -------
    clear : In(1)
        Forgets all items; not while one is on its way.
    limit : In(range(depth + 1))
        Items to keep; not to change unless there are none.
    key, tag : In
    valid : In(1)
        Takes an item.
    settled : Out(1)
        No item is on its way.
    kept : Out(range(depth + 1))
        Items taken since ``clear`` that have not been forgotten; those popped count.
    full : Out(1)
        ``limit`` items are in their places.
    worst_key, worst_tag : Out
        What is in the last place. While ``full``, an item with this key or a smaller one need not be given.
    worst_valid : Out(1)
        There is an item in the last place.
    pop : In(1)
        All items move down one place, and the last one leaves. Only while ``settled``.

    Raises
    ------
    ValueError
        If ``depth`` is not positive.
    """

    def __init__(self, *, depth: int, key_width: int, tag_width: int):
        if depth <= 0:
            raise ValueError(f"places of a selector must be positive, not {depth!r}")
        self._depth = depth
        self._widths = key_width, tag_width
        super().__init__(
            {
                "clear": In(1),
                "limit": In(range(depth + 1)),
                "key": In(key_width),
                "tag": In(tag_width),
                "valid": In(1),
                "settled": Out(1),
                "kept": Out(range(depth + 1)),
                "full": Out(1),
                "worst_key": Out(key_width),
                "worst_tag": Out(tag_width),
                "worst_valid": Out(1),
                "pop": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        key_width, tag_width = self._widths
        item = Signal(key_width + tag_width, reset_less=True)
        item_valid = Signal()
        m.d.sync += item_valid.eq(self.valid)
        with m.If(self.valid):
            m.d.sync += item.eq(Cat(self.tag, self.key))

        # A place is behind the item when it is in use, and empty or worse; so are then all places after it.
        above, above_valid, above_behind = item, item_valid, Signal()
        for number in range(self._depth):
            kept = Signal(key_width + tag_width, name=f"kept_{number}", reset_less=True)
            kept_valid = Signal(name=f"kept_valid_{number}")
            behind = Signal(name=f"behind_{number}")
            m.d.comb += behind.eq(
                (self.limit >= self._depth - number) & (~kept_valid | (item[tag_width:] > kept[tag_width:]))
            )
            with m.If(item_valid & behind):
                m.d.sync += [kept.eq(Mux(above_behind, above, item)), kept_valid.eq(~above_behind | above_valid)]
            with m.If(self.pop):
                m.d.sync += [kept.eq(above), kept_valid.eq(above_valid if number else 0)]
            with m.If(self.clear):
                m.d.sync += kept_valid.eq(0)
            above, above_valid, above_behind = kept, kept_valid, behind

        m.d.comb += [
            self.settled.eq(~item_valid),
            self.full.eq(above_valid),
            self.worst_valid.eq(above_valid),
            self.worst_key.eq(above[tag_width:]),
            self.worst_tag.eq(above[:tag_width]),
        ]
        with m.If(item_valid & above_behind & ~above_valid):
            m.d.sync += self.kept.eq(self.kept + 1)
        with m.If(self.clear):
            m.d.sync += self.kept.eq(0)

        return m
