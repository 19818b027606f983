"""Address windows: which bytes of memory may be read or written."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import MemoryConfig
from acf.hw.mem.axi import beat_size
from acf.hw.mem.interconnect import address_layout

__all__ = ["MAY_READ", "MAY_WRITE", "WindowCheck", "checked_layout", "window_layout"]

MAY_READ = 0
"""Bit of ``rights`` that allows reads."""

MAY_WRITE = 1
"""Bit of ``rights`` that allows writes."""

window_layout = data.StructLayout({"base": 32, "limit": 32, "rights": 2})
"""A window: first byte, last byte, rights."""


def checked_layout(*, memory: MemoryConfig, id_width: int) -> data.StructLayout:
    """A burst and whether it may pass."""
    return data.StructLayout({"burst": address_layout(memory=memory, id_width=id_width), "allowed": 1})


class WindowCheck(wiring.Component):
    """Compares bursts with the windows.

    A burst is allowed when one window with the right holds all of its bytes, from its address to the end of its last
    beat; one that runs past the end of the address space is not. Latency is two cycles, throughput one burst per cycle.

    Parameters
    ----------
    memory : MemoryConfig
    id_width : int
        Bits of an ID.
    windows : int
        Windows.
    right : int
        Bit of ``rights`` that the bursts need: ``MAY_READ`` or ``MAY_WRITE``.

    Members
    -------
    i : In(stream), ``address_layout``
    o : Out(stream), ``checked_layout``
    windows : In(window_layout).array(windows)
    """

    def __init__(self, *, memory: MemoryConfig, id_width: int, windows: int, right: int):
        self._memory, self._count, self._right = memory, windows, right
        super().__init__(
            {
                "i": In(stream.Signature(address_layout(memory=memory, id_width=id_width))),
                "o": Out(stream.Signature(checked_layout(memory=memory, id_width=id_width))),
                "windows": In(window_layout).array(windows),
            }
        )

    def elaborate(self, platform):
        m = Module()

        size = beat_size(memory=self._memory)
        burst = Signal.like(self.i.payload)
        valid = Signal()
        last = Signal(self._memory.address_width + 1)  # address of the last byte; the top bit says: past the end

        can_check = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(can_check | ~valid)
        with m.If(self.i.ready):
            first_beat = self.i.p.address[size:]
            m.d.sync += [
                burst.eq(self.i.payload),
                valid.eq(self.i.valid),
                last.eq(Cat(Const(-1, size), first_beat + self.i.p.length)),
            ]

        def inside(window):
            return (burst.address >= window.base) & (last <= window.limit) & window.rights[self._right]

        with m.If(can_check):
            m.d.sync += [
                self.o.p.burst.eq(burst),
                self.o.p.allowed.eq(Cat(inside(self.windows[n]) for n in range(self._count)).any()),
                self.o.valid.eq(valid),
            ]

        return m
