"""The way into the network: one link for the packet streams of all traffic classes."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NocConfig
from acf.hw.noc.flit import flit_stream, link_signature
from acf.hw.noc.link_sender import LinkSender
from acf.isa import TrafficClass

__all__ = ["Injector"]


class Injector(wiring.Component):
    """Sends the packets of every traffic class on the virtual channel of that class.

    Classes that share a virtual channel take turns packet by packet, others flit by flit; the class that has waited
    longest goes first. Latency is one cycle from the transfer on a stream to ``valid`` on the link; throughput is one
    flit a cycle.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    control_i, entries_i, operands_i, results_i : In(flit_stream)
        Packets by class. Every packet begins with ``head`` and ends with ``tail``, its header names its class.
    link : Out(link_signature)
    """

    def __init__(self, *, noc: NocConfig):
        self._noc = noc
        super().__init__(
            {
                **{f"{each.name.lower()}_i": In(flit_stream(noc=noc)) for each in TrafficClass},
                "link": Out(link_signature(noc=noc)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.sender = sender = LinkSender(noc=self._noc, sources=len(TrafficClass))
        connect(m, sender.link, flipped(self.link))
        for traffic_class, source in zip(TrafficClass, sender.sources, strict=True):
            packets = getattr(self, f"{traffic_class.name.lower()}_i")
            channel = self._noc.class_channels[traffic_class]
            m.d.comb += [
                source.request.eq(packets.valid & source.may_send[channel]),
                source.channels.eq(1 << channel),
                source.flit.eq(packets.payload),
                packets.ready.eq(source.grant),
            ]

        return m
