"""A network alone: for measurements of the network, and for those who want nothing but it."""

import functools
import operator

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NetworkConfig
from acf.hw.hierarchy import ModuleLibrary, place
from acf.hw.noc.class_policy import control_members, hand_on
from acf.hw.noc.flit import flit_stream, link_signature
from acf.hw.noc.mesh import join_links
from acf.hw.noc.packet_ports import PacketEjector, PacketInjector
from acf.hw.noc.packet_router import PacketRouter
from acf.hw.noc.port_statistics import counter_members
from acf.hw.noc.router import Router
from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_proof import departures_of

__all__ = ["PacketNetwork", "PacketNode", "packet_router"]


def packet_router(network: NetworkConfig) -> wiring.Component:
    """The router of a network: that of the fabric where packets keep their virtual channels."""
    return Router(noc=network.noc) if network.channels == "kept" else PacketRouter(network=network)


class PacketNode(wiring.Component):
    """Router, injector and ejector of one place.

    Parameters
    ----------
    network : NetworkConfig

    Members
    -------
    y, x : In(4)
        Where the node is; constant.
    north_i, east_i, south_i, west_i : In(link_signature)
    north_o, east_o, south_o, west_o : Out(link_signature)
    i : In(flit_stream)
        Packets, see ``PacketInjector``.
    o : Out(flit_stream)
        Packets, see ``PacketEjector``.
    classes, table, groups : In
        See ``control_members``.
    counters : In(counter_signature)
        Of a network that counts; as that of the router.
    """

    def __init__(self, *, network: NetworkConfig):
        self._network = network
        link = link_signature(noc=network.noc)
        sides = [port.name.lower() for port in Port if port is not Port.LOCAL]
        self._sides = [f"{side}_i" for side in sides] + [f"{side}_o" for side in sides]
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                **{f"{side}_i": In(link) for side in sides},
                **{f"{side}_o": Out(link) for side in sides},
                "i": In(flit_stream(noc=network.noc)),
                "o": Out(flit_stream(noc=network.noc)),
                **control_members(network),
                **counter_members(network),
            }
        )

    def elaborate(self, platform):
        m = Module()
        noc = self._network.noc
        m.submodules.router = router = packet_router(self._network)
        m.submodules.injector = injector = PacketInjector(network=self._network)
        m.submodules.ejector = ejector = PacketEjector(noc=noc)

        for part in router, injector:
            m.d.comb += [part.y.eq(self.y), part.x.eq(self.x)]
        for side in self._sides:
            connect(m, flipped(getattr(self, side)), getattr(router, side))
        for part in router, injector:
            hand_on(m, self, part)
        if self._network.statistics:
            connect(m, flipped(self.counters), router.counters)
        connect(m, flipped(self.i), injector.i)
        connect(m, injector.link, router.local_i)
        connect(m, router.local_o, ejector.link)
        connect(m, ejector.o, flipped(self.o))
        return m


class PacketNetwork(wiring.Component):
    """``height x width`` nodes, each with one stream of packets in and one out; y grows to the south, x to the east.

    A packet alone takes ``2 * routers + 2`` cycles from the transfer of a flit on an input stream to ``valid`` of that
    flit on an output stream; each further flit follows one cycle later. A packet is for one node of the mesh (``cast``
    of its header is UNICAST) or, in a network that has groups, for one of them (GROUP_CAST); its class may be any.

    Parameters
    ----------
    network : NetworkConfig
    library : ModuleLibrary or None
        Takes the module of the nodes.

    Members
    -------
    i : In(flit_stream).array(height, width)
    o : Out(flit_stream).array(height, width)
    classes, table, groups : In
        See ``control_members``. They may change while the network is empty.
    counters : In(counter_signature)
        Of a network that counts.

    Raises
    ------
    ValueError
        If the routing function can deadlock in this network.
    """

    def __init__(self, *, network: NetworkConfig, library: ModuleLibrary | None = None):
        departures_of(network, Port.LOCAL)  # or it raises
        self._network = network
        self._library = library
        packets = flit_stream(noc=network.noc)
        shape = network.height, network.width
        super().__init__(
            {
                "i": In(packets).array(*shape),
                "o": Out(packets).array(*shape),
                **control_members(network),
                **counter_members(network),
            }
        )

    def elaborate(self, platform):
        m = Module()

        nodes = {}
        for y in range(self._network.height):
            for x in range(self._network.width):
                node = PacketNode(network=self._network)
                place(m, f"node_{y}_{x}", node, library=self._library, key=(self._network,))
                m.d.comb += [node.y.eq(y), node.x.eq(x)]
                hand_on(m, self, node)
                connect(m, flipped(self.i[y][x]), node.i)
                connect(m, node.o, flipped(self.o[y][x]))
                nodes[y, x] = node
        if self._network.statistics:
            for node in nodes.values():
                m.d.comb += [
                    getattr(node.counters, name).eq(getattr(self.counters, name))
                    for name in ("y", "x", "port", "traffic_class")
                ]
            for name in "flits", "stalls", "occupancy":
                answers = (getattr(node.counters, name) for node in nodes.values())
                m.d.sync += getattr(self.counters, name).eq(functools.reduce(operator.or_, answers))
        join_links(m, nodes, around=self._network.topology == "torus")
        return m
