"""A mesh router whose packets choose their way and their virtual channels at every hop."""

from amaranth.hdl import Array, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NetworkConfig
from acf.hw.noc.channel_choice import channel_groups
from acf.hw.noc.channel_sender import ChannelSender
from acf.hw.noc.choosing_port import ChoosingPort
from acf.hw.noc.class_policy import control_members, hand_on
from acf.hw.noc.flit import link_signature
from acf.hw.noc.port_statistics import counter_members
from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_proof import departures_of

__all__ = ["PacketRouter"]


class PacketRouter(wiring.Component):
    """A wormhole router for packets with one destination, with virtual channels that are given out at every hop.

    In every cycle outputs are allotted to inputs in one or several rounds: in the first each input offers the flit of
    one of its virtual channels, and each output takes one of those that it is offered; in the next, inputs that got
    nothing offer one to an output that has taken nothing. All serve who has waited longest.

    Latency is ``1 + stages`` cycles from ``valid`` at an input to ``valid`` at an output. Throughput is one flit a
    cycle for every output, and for one packet alone when ``buffer_depth`` is at least ``3 + stages``. Neighbours must
    be reset together.

    Parameters
    ----------
    network : NetworkConfig

    Members
    -------
    y, x : In(4)
        Where the router is; constant.
    north_i, east_i, south_i, west_i, local_i : In(link_signature)
    north_o, east_o, south_o, west_o, local_o : Out(link_signature)
    classes, table : In
        Of a network by class, see ``control_members``.
    counters : In(counter_signature)
        Of a network that counts. The answer comes in the next cycle, 0 where another router is asked.
    """

    def __init__(self, *, network: NetworkConfig):
        self._network = network
        link = link_signature(noc=network.noc)
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                **{f"{port.name.lower()}_i": In(link) for port in Port},
                **{f"{port.name.lower()}_o": Out(link) for port in Port},
                **control_members(network),
                **counter_members(network),
            }
        )

    def elaborate(self, platform):
        m = Module()
        network = self._network
        inputs = []
        crossings = {port: [] for port in Port}  # by output
        for port in Port:
            name = f"{port.name.lower()}_i"
            inward = ChoosingPort(network=network, arrival=port)
            m.submodules[name] = inward
            inputs.append(inward)
            connect(m, flipped(getattr(self, name)), inward.link)
            m.d.comb += [inward.y.eq(self.y), inward.x.eq(self.x)]
            hand_on(m, self, inward)
            for branch, output in zip(inward.branches, departures_of(network, port), strict=True):
                crossings[output].append(branch)

        for port, branches in crossings.items():
            name = f"{port.name.lower()}_o"
            # Whoever leaves the network is soon gone: queues there need not be empty.
            sender = ChannelSender(
                noc=network.noc,
                sources=len(branches),
                groups=channel_groups(network),
                rounds=network.offers,
                at_once=network.allots_at_once,
                stages=network.stages,
                has_urgent=network.by_class,
                opens_empty_only=network.has_escapes and port is not Port.LOCAL,
            )
            m.submodules[name] = sender
            connect(m, sender.link, flipped(getattr(self, name)))
            for branch, source in zip(branches, sender.sources, strict=True):
                connect(m, branch, source)

        if network.statistics:
            is_meant = (self.counters.y == self.y) & (self.counters.x == self.x)
            for inward in inputs:
                m.d.comb += inward.counters.traffic_class.eq(self.counters.traffic_class)
            for name in "flits", "stalls", "occupancy":
                found = Array(getattr(inward.counters, name) for inward in inputs)[self.counters.port]
                m.d.sync += getattr(self.counters, name).eq(Mux(is_meant, found, 0))
        return m
