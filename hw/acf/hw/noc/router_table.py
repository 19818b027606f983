"""Tables in the routers that are written from outside while the network is empty."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RouterTable"]


class RouterTable(wiring.Component):
    """A table of one input of a router. Writes are told to all routers, and taken by the one that is meant.

    An entry holds for packets that come to the router from the cycle behind the write on. The answer to ``at`` comes in
    the same cycle.

    Parameters
    ----------
    shape : ShapeLike
        Of an entry; all are zeros after reset.
    depth : int
        Entries.

    Members
    -------
    y, x : In(4)
        The router.
    write : In(1)
    write_y, write_x : In(4)
        The router that is meant.
    write_at : In(range(depth))
    written : In(shape)
    at : In(range(depth))
    entry : Out(shape)
    """

    def __init__(self, *, shape: Any, depth: int):
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                "write": In(1),
                "write_y": In(4),
                "write_x": In(4),
                "write_at": In(range(depth)),
                "written": In(shape),
                "at": In(range(depth)),
                "entry": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.entries = entries = memory.Memory(shape=self._shape, depth=self._depth, init=[])
        write, read = entries.write_port(), entries.read_port(domain="comb", transparent_for=())
        m.d.comb += [
            write.en.eq(self.write & (self.write_y == self.y) & (self.write_x == self.x)),
            write.addr.eq(self.write_at),
            write.data.eq(self.written),
            read.addr.eq(self.at),
            self.entry.eq(read.data),
        ]
        return m
