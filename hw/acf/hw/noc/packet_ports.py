"""The ways into and out of a network alone: one stream of packets each, whatever their class."""

import functools
import operator

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import GROUP_CAST, NetworkConfig, NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.channel_choice import entering_channels
from acf.hw.noc.channel_sender import ChannelSender
from acf.hw.noc.class_policy import allowed_channels, control_members
from acf.hw.noc.ejector import EjectorQueue
from acf.hw.noc.flit import HEADER, flit_stream, link_signature
from acf.hw.noc.group_table import group_of

__all__ = ["PacketEjector", "PacketInjector"]


class PacketInjector(wiring.Component):
    """Sends packets one after the other, each on the virtual channel that has waited longest among those it may have.

    A packet for a group has the one of its group.

    Latency is one cycle from the transfer on the stream to ``valid`` on the link; throughput is one flit a cycle.

    Parameters
    ----------
    network : NetworkConfig

    Members
    -------
    y, x : In(4)
        The node.
    i : In(flit_stream)
    link : Out(link_signature)
    classes, table, groups : In
        See ``control_members``.
    """

    def __init__(self, *, network: NetworkConfig):
        self._network = network
        noc = network.noc
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                "i": In(flit_stream(noc=noc)),
                "link": Out(link_signature(noc=noc)),
                **control_members(network),
            }
        )

    def elaborate(self, platform):
        m = Module()
        network = self._network
        m.submodules.sender = sender = ChannelSender(
            noc=network.noc,
            sources=1,
            groups=tuple((channel,) for channel in range(network.noc.virtual_channels)),
            opens_empty_only=network.has_escapes,
        )
        connect(m, sender.link, flipped(self.link))
        source = sender.sources[0]

        header = data.View(HEADER, self.i.p.payload[: HEADER.size])
        if network.by_class:
            allowed = allowed_channels(m, network, self.classes, header)
            admitted = functools.reduce(operator.or_, (Mux(is_taken, channels, 0) for is_taken, channels in allowed))
        else:
            place = {"y": self.y, "x": self.x, "to_y": header.y, "to_x": header.x}
            admitted = Cat(entering_channels(network, **place))
        if network.groups:
            first = network.virtual_channels
            of_group = Cat(
                Const(0, first), (group_of(header) % network.group_channels == n for n in range(network.group_channels))
            )
            admitted = Mux(header.cast == GROUP_CAST, of_group, admitted)
        m.submodules.chooser = chooser = LeastRecentArbiter(count=network.noc.virtual_channels)
        of_packet = Signal(network.noc.virtual_channels)
        m.d.comb += [
            chooser.requests[0].eq(admitted & Mux(self.i.p.tail, source.may_start, source.may_open)),
            chooser.used.eq(Mux(self.i.valid & self.i.p.head, chooser.grants[0], 0)),
            source.channels[0].eq(Mux(self.i.p.head, chooser.grants[0], of_packet & source.may_go_on)),
            source.request[0].eq(self.i.valid & source.channels[0].any()),
            source.is_tail[0].eq(self.i.p.tail),
            source.flit.eq(self.i.p),
            self.i.ready.eq(source.grant[0]),
        ]
        with m.If(self.i.ready & self.i.p.head):
            m.d.sync += of_packet.eq(source.channels[0])
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
            chooser.requests[0].eq(Cat(queue.o.valid for queue in queues)),
            chooser.used.eq(Mux(self.o.valid & ~is_held, chooser.grants[0], 0)),
            chosen.eq(Mux(is_held, of_packet, chooser.grants[0])),
            self.o.valid.eq((chosen & chooser.requests[0]).any()),
        ]
        for channel, queue in enumerate(queues):
            m.d.comb += queue.o.ready.eq(chosen[channel] & self.o.ready)
            with m.If(chosen[channel]):
                m.d.comb += self.o.payload.eq(queue.o.payload)
        with m.If(self.o.valid):
            m.d.sync += [of_packet.eq(chosen), is_held.eq(~(self.o.ready & self.o.p.tail))]
        return m
