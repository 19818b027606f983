"""Entries that wait in front of a lane's barrel."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["EntryFifo"]

_IN_LOGIC = 16
"""Entries that lie in LUT RAM; more lie in block RAM, which takes less logic than these."""


class EntryFifo(wiring.Component):
    """A FIFO. Latency is one cycle, or two where it lies in block RAM; throughput one entry a cycle each way.

    Parameters
    ----------
    width : int
    depth : int
        A power of two.

    Members
    -------
    i : In(stream)
        Always ``ready``; who writes watches ``level``.
    o : Out(stream)
    level : Out
        Entries that are there.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, width: int, depth: int):
        self._width, self._depth = width, depth
        super().__init__(
            {
                "i": In(stream.Signature(width, always_ready=True)),
                "o": Out(stream.Signature(width)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        if self._depth <= _IN_LOGIC:
            m.submodules.fifo = fifo = SyncFIFO(width=self._width, depth=self._depth)
            m.d.comb += [
                fifo.w_en.eq(i.valid),
                fifo.w_data.eq(i.payload),
                fifo.r_en.eq(o.ready),
                o.valid.eq(fifo.r_rdy),
                o.payload.eq(fifo.r_data),
                self.level.eq(fifo.level),
            ]
            return m

        # What is read was written in an earlier cycle, so synthesis need not order reads and writes of one address.
        m.submodules.storage = storage = Memory(
            shape=self._width, depth=self._depth, init=[], attrs={"ram_style": "block", "no_rw_check": 1}
        )
        writer, reader = storage.write_port(), storage.read_port(transparent_for=())
        stored = Signal(range(self._depth + 1))  # besides that which the memory shows
        fetch = Signal()
        m.d.comb += [
            writer.en.eq(i.valid),
            writer.data.eq(i.payload),
            fetch.eq((stored != 0) & (~o.valid | o.ready)),
            reader.en.eq(fetch),
            o.payload.eq(reader.data),
            self.level.eq(stored + o.valid),
        ]
        m.d.sync += [
            stored.eq(stored + i.valid - fetch),
            writer.addr.eq(writer.addr + i.valid),
            reader.addr.eq(reader.addr + fetch),
        ]
        with m.If(fetch):
            m.d.sync += o.valid.eq(1)
        with m.Elif(o.ready):
            m.d.sync += o.valid.eq(0)
        return m
