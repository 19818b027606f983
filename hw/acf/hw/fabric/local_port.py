"""Where the command processor meets the network and the structure engine."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.flit import HEADER, flit_stream

__all__ = ["LocalPort"]


class LocalPort(wiring.Component):
    """Sends packets for node (0, 0) to the structure engine, all others to the network; takes packets from both.

    Packets stay whole; of two that begin in one cycle that of the network comes first. No latency.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    i : In(flit_stream)
        From ``Dispatch``.
    network_o, structure_o : Out(flit_stream)
    network_i, structure_i : In(flit_stream)
    o : Out(flit_stream)
        To ``ControlReceiver``.
    """

    i: stream.Interface
    o: stream.Interface
    network_i: stream.Interface
    network_o: stream.Interface
    structure_i: stream.Interface
    structure_o: stream.Interface

    def __init__(self, *, noc: NocConfig):
        flits = flit_stream(noc=noc)
        super().__init__(
            {
                "i": In(flits),
                "o": Out(flits),
                "network_i": In(flits),
                "network_o": Out(flits),
                "structure_i": In(flits),
                "structure_o": Out(flits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._split(m)
        self._join(m)
        return m

    def _split(self, m):
        head = data.View(HEADER, self.i.p.payload[: HEADER.size])
        body_is_local = Signal()
        is_local = Signal()
        with m.If(self.i.p.head):
            m.d.comb += is_local.eq((head.x == 0) & (head.y == 0))
        with m.Else():
            m.d.comb += is_local.eq(body_is_local)
        with m.If(self.i.valid):
            m.d.sync += body_is_local.eq(is_local)
        m.d.comb += [
            self.network_o.payload.eq(self.i.payload),
            self.network_o.valid.eq(self.i.valid & ~is_local),
            self.structure_o.payload.eq(self.i.payload),
            self.structure_o.valid.eq(self.i.valid & is_local),
        ]
        with m.If(is_local):
            m.d.comb += self.i.ready.eq(self.structure_o.ready)
        with m.Else():
            m.d.comb += self.i.ready.eq(self.network_o.ready)

    def _join(self, m):
        held = Signal()  # a packet is under way
        held_local = Signal()
        is_local = Signal()
        with m.If(held):
            m.d.comb += is_local.eq(held_local)
        with m.Else():
            m.d.comb += is_local.eq(~self.network_i.valid)
        for source, chosen in ((self.network_i, ~is_local), (self.structure_i, is_local)):
            m.d.comb += source.ready.eq(chosen & self.o.ready)
            with m.If(chosen):
                m.d.comb += [self.o.payload.eq(source.payload), self.o.valid.eq(source.valid)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.eq(~self.o.p.tail), held_local.eq(is_local)]
