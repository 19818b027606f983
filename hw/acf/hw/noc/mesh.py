"""The mesh: network nodes in a rectangle, joined by links."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NocConfig
from acf.hw.hierarchy import ModuleLibrary, place
from acf.hw.noc.flit import flit_stream
from acf.hw.noc.node import NetworkNode
from acf.hw.noc.routing import RoutingFunction, check_routing, xy
from acf.isa import TrafficClass

__all__ = ["Mesh", "join_links"]


def join_links(m: Module, nodes: dict[tuple[int, int], wiring.Component], *, around: bool = False) -> None:
    """Connect neighbours among ``nodes``, by ``(y, x)``, with links both ways.

    Links at the border stay unconnected: nothing comes in, and no packet is routed out. With ``around`` they lead to
    the other end of their row or column instead.
    """
    height, width = (1 + max(place) for place in zip(*nodes, strict=True))
    for (y, x), node in nodes.items():
        for outward, to, inward in ("east", (y, x + 1), "west"), ("south", (y + 1, x), "north"):
            if around:
                to = to[0] % height, to[1] % width
            if to in nodes and to != (y, x):
                connect(m, getattr(node, f"{outward}_o"), getattr(nodes[to], f"{inward}_i"))
                connect(m, getattr(nodes[to], f"{inward}_o"), getattr(node, f"{outward}_i"))


class Mesh(wiring.Component):
    """``height x width`` nodes; y grows to the south, x to the east.

    A packet alone takes ``2 * routers + 2`` cycles from the transfer of a flit on an input stream to ``valid`` of that
    flit on an output stream; each further flit follows one cycle later. Packets of one class from one node to another
    stay in order. Throughput is one flit a cycle on every link, given a ``buffer_depth`` of at least 4.

    The routing function is proved free of deadlock for this mesh when the component is made, under the condition that
    every node takes what comes out of the network. Classes in different virtual channels do not hold up each other.

    Parameters
    ----------
    height, width : int
    noc : NocConfig
    library : ModuleLibrary or None
        Takes the module of the nodes.
    routing : RoutingFunction

    Members
    -------
    control_i, entries_i, operands_i, results_i : In(flit_stream).array(height, width)
    control_o, entries_o, operands_o, results_o : Out(flit_stream).array(height, width)

    Raises
    ------
    ValueError
        If ``height`` or ``width`` is not from 1 to 16, or the routing function is cyclic or loses packets.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        noc: NocConfig,
        library: ModuleLibrary | None = None,
        routing: RoutingFunction = xy,
    ):
        for what, size in ("height", height), ("width", width):
            if not 1 <= size <= 16:
                raise ValueError(f"mesh {what} must be from 1 to 16, not {size!r}")
        check_routing(routing, height=height, width=width)
        self._height = height
        self._width = width
        self._noc = noc
        self._library = library
        self._routing = routing
        packets = flit_stream(noc=noc)
        super().__init__(
            {
                **{f"{each.name.lower()}_i": In(packets).array(height, width) for each in TrafficClass},
                **{f"{each.name.lower()}_o": Out(packets).array(height, width) for each in TrafficClass},
            }
        )

    def elaborate(self, platform):
        m = Module()

        nodes = {}
        for y in range(self._height):
            for x in range(self._width):
                node = NetworkNode(noc=self._noc, routing=self._routing)
                place(m, f"node_{y}_{x}", node, library=self._library, key=(self._noc, self._routing))
                m.d.comb += [node.y.eq(y), node.x.eq(x)]
                for traffic_class in TrafficClass:
                    name = traffic_class.name.lower()
                    connect(m, flipped(getattr(self, f"{name}_i")[y][x]), getattr(node, f"{name}_i"))
                    connect(m, getattr(node, f"{name}_o"), flipped(getattr(self, f"{name}_o")[y][x]))
                nodes[y, x] = node

        join_links(m, nodes)
        return m
