"""The ways into and out of a network alone: one stream of packets each, whatever their class."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.ejector import EjectorQueue
from acf.hw.noc.flit import flit_stream, link_signature
from acf.hw.noc.link_sender import LinkSender

__all__ = ["PacketEjector", "PacketInjector"]


class PacketInjector(wiring.Component):
    """Sends packets one after the other, each on the virtual channel that has waited longest among those with room.

    Latency is one cycle from the transfer on the stream to ``valid`` on the link; throughput is one flit a cycle.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    i : In(flit_stream)
    link : Out(link_signature)
    """

    def __init__(self, *, noc: NocConfig):
        self._noc = noc
        super().__init__({"i": In(flit_stream(noc=noc)), "link": Out(link_signature(noc=noc))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = LinkSender(noc=self._noc, sources=1)
        m.submodules.chooser = chooser = LeastRecentArbiter(count=self._noc.virtual_channels)
        connect(m, sender.link, flipped(self.link))
        source = sender.sources[0]

        of_packet = Signal(self._noc.virtual_channels)
        channels = Signal.like(of_packet)
        head = self.i.p.head
        m.d.comb += [
            chooser.requests.eq(source.may_send),
            chooser.advance.eq(source.grant & head),
            channels.eq(Mux(head, chooser.grant, of_packet)),
            source.request.eq(self.i.valid & (channels & source.may_send).any()),
            source.channels.eq(channels),
            source.flit.eq(self.i.p),
            self.i.ready.eq(source.grant),
        ]
        with m.If(source.grant):
            m.d.sync += of_packet.eq(channels)
        return m


class PacketEjector(wiring.Component):
    """Takes the flits of every virtual channel from a link and hands them out packet by packet.

    Every virtual channel has a queue of its own; the one that has waited longest goes first. Latency is one cycle from
    ``valid`` on the link to ``valid`` on the stream; throughput is one flit a cycle.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    link : In(link_signature)
    o : Out(flit_stream)
        Packets are not interleaved.
    """

    def __init__(self, *, noc: NocConfig):
        self._noc = noc
        super().__init__({"link": In(link_signature(noc=noc)), "o": Out(flit_stream(noc=noc))})

    def elaborate(self, platform):
        m = Module()
        channels = range(self._noc.virtual_channels)

        queues = []
        for channel in channels:
            m.submodules[f"queue_{channel}"] = queue = EjectorQueue(noc=self._noc)
            m.d.comb += [
                queue.valid.eq(self.link.valid & (self.link.channel == channel)),
                queue.flit.eq(self.link.flit),
            ]
            m.d.sync += self.link.credit[channel].eq(queue.freed)
            queues.append(queue)

        # A packet that has been offered stays until its tail is taken.
        m.submodules.chooser = chooser = LeastRecentArbiter(count=len(queues))
        of_packet = Signal(len(queues))
        is_held = Signal()
        chosen = Signal(len(queues))
        m.d.comb += [
            chooser.requests.eq(Cat(queue.o.valid for queue in queues)),
            chooser.advance.eq(self.o.valid & ~is_held),
            chosen.eq(Mux(is_held, of_packet, chooser.grant)),
            self.o.valid.eq((chosen & chooser.requests).any()),
        ]
        for channel, queue in enumerate(queues):
            m.d.comb += queue.o.ready.eq(chosen[channel] & self.o.ready)
            with m.If(chosen[channel]):
                m.d.comb += self.o.payload.eq(queue.o.payload)
        with m.If(self.o.valid):
            m.d.sync += [of_packet.eq(chosen), is_held.eq(~(self.o.ready & self.o.p.tail))]
        return m
