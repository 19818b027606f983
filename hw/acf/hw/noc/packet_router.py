"""A mesh router whose packets choose their way and their virtual channels at every hop."""

import functools
import operator

from amaranth.hdl import Array, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NetworkConfig
from acf.hw.noc.channel_choice import channel_groups
from acf.hw.noc.channel_sender import ChannelSender
from acf.hw.noc.choosing_port import ChoosingPort
from acf.hw.noc.class_policy import control_members, hand_on
from acf.hw.noc.flit import link_signature
from acf.hw.noc.group_port import GroupPort, group_departures
from acf.hw.noc.port_statistics import counter_members
from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_proof import departures_of

__all__ = ["PacketRouter"]


class PacketRouter(wiring.Component):
    """A wormhole router for packets with one destination, with virtual channels that are given out at every hop.

    In a network that has groups, packets for them have virtual channels and queues of their own, see ``GroupPort``.
    They share nothing with others but the links, where each of their queues is one more source.

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
    classes, table, groups : In
        See ``control_members``.
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
            inward = ChoosingPort(network=network.without_groups, arrival=port)
            m.submodules[name] = inward
            inputs.append([inward])
            for branch, output in zip(inward.branches, departures_of(network, port), strict=True):
                crossings[output].append(branch)
            if network.groups:
                many = GroupPort(network=network, arrival=port)
                m.submodules[f"{name}_groups"] = many
                inputs[-1].append(many)
                self._divide(m, getattr(self, name), inward.link, many)
                for branches in many.branches:
                    for branch, output in zip(branches, group_departures(port), strict=True):
                        crossings[output].append(branch)
            else:
                connect(m, flipped(getattr(self, name)), inward.link)
            for part in inputs[-1]:
                m.d.comb += [part.y.eq(self.y), part.x.eq(self.x)]
                hand_on(m, self, part)

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
                half_free=range(network.virtual_channels, network.noc.virtual_channels),
            )
            m.submodules[name] = sender
            connect(m, sender.link, flipped(getattr(self, name)))
            for branch, source in zip(branches, sender.sources, strict=True):
                if len(branch.may_start) == len(source.may_start):
                    connect(m, branch, source)
                else:
                    _connect_narrow(m, branch, source)

        if network.statistics:
            is_meant = (self.counters.y == self.y) & (self.counters.x == self.x)
            for parts in inputs:
                for part in parts:
                    m.d.comb += part.counters.traffic_class.eq(self.counters.traffic_class)
            for name in "flits", "stalls", "occupancy":
                of_inputs = [[getattr(part.counters, name) for part in parts] for parts in inputs]
                found = Array(functools.reduce(operator.add, counts) for counts in of_inputs)[self.counters.port]
                m.d.sync += getattr(self.counters, name).eq(Mux(is_meant, found, 0))
        return m

    def _divide(self, m, link, one, many):
        """Give packets for one receiver to ``one`` and those for groups to ``many``."""
        first = self._network.virtual_channels
        m.d.comb += [
            one.valid.eq(link.valid & (link.channel < first)),
            one.flit.eq(link.flit),
            one.channel.eq(link.channel),
            many.valid.eq(Cat(link.valid & (link.channel == first + n) for n in range(len(many.valid)))),
            many.flit.eq(link.flit),
            link.credit.eq(Cat(one.credit, many.freed)),
        ]


def _connect_narrow(m, branch, source):
    """Connect a branch that knows of the first virtual channels alone, and claims nothing."""
    for name, member in branch.signature.members.items():
        ours, others = getattr(branch, name), getattr(source, name)
        for one, other in zip(ours, others, strict=True) if member.dimensions else [(ours, others)]:
            m.d.comb += one.eq(other) if member.flow is In else other.eq(one)
