"""Routing functions, and the proof that packets routed by them can neither wait in a circle nor get lost.

A routing function says into which outputs of a router a packet goes on. It is written once, with comparisons and bit
operators only, and called twice: with numbers by the proof, with Amaranth values by the router.

The proof builds the channel-dependency graph. Channels are the links between routers and the way out of every router
(``LOCAL``), because a wormhole packet holds both from its head to its tail. A packet that holds one channel and waits
for another makes an edge: from the link it came in by to every branch, and, where it forks, from each branch to the
others, since branches are taken independently. Without an edge that closes a circle there is no deadlock (Dally and
Seitz, 1987); forks need a closer look, see ``check_routing``. One graph stands for all virtual channels, because a
packet never changes its virtual channel.
"""

import enum
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import networkx

from acf.isa import Cast

__all__ = [
    "FACING",
    "STEP",
    "Port",
    "RoutingFunction",
    "check_routing",
    "dependency_graph",
    "departures",
    "receivers",
    "xy",
]


class Port(enum.IntEnum):
    """Ports of a router."""

    NORTH = 0
    EAST = 1
    SOUTH = 2
    WEST = 3
    LOCAL = 4


RoutingFunction = Callable[..., dict[Port, Any]]
"""``f(arrival, *, y, x, to_y, to_x, row, column)``: a condition of one bit for every port by which a packet that
arrived by ``arrival`` may ever go on. ``y, x`` is the router, ``to_y, to_x`` the destination, ``row`` and ``column``
say whether the packet is cast so. All but ``arrival`` are integers or Amaranth values."""

Node = tuple[int, int]
Channel = tuple[int, int, Port]
"""An output of the router ``(y, x)``."""

STEP = {Port.NORTH: (-1, 0), Port.EAST: (0, 1), Port.SOUTH: (1, 0), Port.WEST: (0, -1)}
"""Rows and columns from a router to its neighbour at a port."""

FACING = {Port.NORTH: Port.SOUTH, Port.EAST: Port.WEST, Port.SOUTH: Port.NORTH, Port.WEST: Port.EAST}
"""The port of the neighbour at the other end of a link."""


def xy(arrival: Port, *, y: Any, x: Any, to_y: Any, to_x: Any, row: Any, column: Any) -> dict[Port, Any]:
    """Dimension order: along the row to the destination's column, then along that column.

    A ROW packet leaves a copy at every node that it enters on its way east to a destination in the same row; a COLUMN
    packet at every node that it enters on its way south. All other packets are delivered at their destination alone:
    copies in both directions could wait for each other in a circle.
    """
    in_row, in_column = to_y == y, to_x == x
    branches = {Port.LOCAL: in_row & in_column}
    if arrival is Port.WEST:
        branches[Port.LOCAL] |= row & in_row
    if arrival is Port.NORTH:
        branches[Port.LOCAL] |= column
    if arrival in (Port.LOCAL, Port.WEST):
        branches[Port.EAST] = to_x > x
    if arrival in (Port.LOCAL, Port.EAST):
        branches[Port.WEST] = to_x < x
    if arrival is not Port.NORTH:
        branches[Port.NORTH] = in_column & (to_y < y)
    if arrival is not Port.SOUTH:
        branches[Port.SOUTH] = in_column & (to_y > y)
    return branches


def departures(routing: RoutingFunction, arrival: Port) -> tuple[Port, ...]:
    """The ports by which packets from ``arrival`` may go on, in the order of ``Port``."""
    return tuple(sorted(routing(arrival, y=0, x=0, to_y=0, to_x=0, row=0, column=0)))


def _branches(routing: RoutingFunction, node: Node, arrival: Port, to: Node, cast: Cast) -> list[Port]:
    y, x = node
    taken = routing(arrival, y=y, x=x, to_y=to[0], to_x=to[1], row=cast == Cast.ROW, column=cast == Cast.COLUMN)
    return sorted(port for port, condition in taken.items() if condition)


def _neighbour(node: Node, port: Port) -> Node:
    dy, dx = STEP[port]
    return node[0] + dy, node[1] + dx


def receivers(
    routing: RoutingFunction, *, height: int, width: int, source: Node, to: Node, cast: Cast = Cast.UNICAST
) -> list[Node]:
    """The nodes that get a packet, in the order in which it passes them.

    Raises
    ------
    ValueError
        If the packet leaves the mesh, ends without a receiver or comes back to a router.
    """
    packet = f"routing function {routing.__name__}: a packet from {source} to {to} cast {cast.name}"
    found = []
    ways = [(source, Port.LOCAL)]
    for node, arrival in ways:  # grows while it is walked
        ports = _branches(routing, node, arrival, to, cast)
        if not ports:
            raise ValueError(f"{packet} is lost at {node}")
        for port in ports:
            if port is Port.LOCAL:
                found.append(node)
                continue
            following = _neighbour(node, port)
            if not (0 <= following[0] < height and 0 <= following[1] < width):
                raise ValueError(f"{packet} leaves the mesh at {node}, {port.name}")
            if any(following == passed for passed, _ in ways):
                raise ValueError(f"{packet} comes back to {following}")
            ways.append((following, FACING[port]))
    return found


def dependency_graph(routing: RoutingFunction, *, height: int, width: int) -> networkx.MultiDiGraph:
    """The channel-dependency graph of all packets between any two nodes, of any cast.

    Nodes are ``Channel``; an edge has the key ``("next", port)`` when a packet that holds the first channel waits for
    the second one router further, and ``("fork", port)`` when it waits for another branch at the same router, having
    arrived there by ``port``.
    """
    graph = networkx.MultiDiGraph()
    nodes = [(y, x) for y in range(height) for x in range(width)]
    for to in nodes:
        for cast in Cast:
            ways: list[tuple[Node, Port, Channel | None]] = [(node, Port.LOCAL, None) for node in nodes]
            seen = set(ways)
            for node, arrival, held in ways:  # grows while it is walked
                channels = [(*node, port) for port in _branches(routing, node, arrival, to, cast)]
                for channel in channels:
                    graph.add_node(channel)
                    if held is not None:
                        graph.add_edge(held, channel, key=("next", arrival))
                    for other in channels:
                        if other != channel:
                            graph.add_edge(channel, other, key=("fork", arrival))
                    if channel[2] is Port.LOCAL:
                        continue
                    following = _neighbour(node, channel[2])
                    way = (following, FACING[channel[2]], channel)
                    if way not in seen and 0 <= following[0] < height and 0 <= following[1] < width:
                        seen.add(way)
                        ways.append(way)
    return graph


def _circle(graph: networkx.MultiDiGraph) -> list[Channel] | None:
    """Channels that can wait for each other in a circle, or None."""
    for component in networkx.strongly_connected_components(graph):
        inside = graph.subgraph(component)
        if not inside.number_of_edges():
            continue
        onward = [edge for edge in inside.edges(keys=True) if edge[2][0] == "next"]
        if onward:
            before, after, _ = onward[0]
            return [before, *networkx.shortest_path(inside, after, before)]
        # Branches of forks in one router. The branches of one fork wait for each other both ways, but only one packet
        # can be at the head of the input that it arrived by, and it does not wait for itself: a circle needs several
        # inputs, each with two branches in it. None of them is there twice when branches and inputs make a forest.
        forks = networkx.Graph()
        for before, after, (_, arrival) in inside.edges(keys=True):
            forks.add_edges_from([(before, arrival), (after, arrival)])
        if not networkx.is_forest(forks):
            around = networkx.find_cycle(forks)
            circle = [node for node, *_ in around if isinstance(node, tuple)]
            return [*circle, circle[0]]
    return None


@lru_cache
def check_routing(routing: RoutingFunction, *, height: int, width: int) -> None:
    """Prove that a routing function is free of deadlock and delivers everything.

    Raises
    ------
    ValueError
        If channels can wait for each other in a circle, which the message prints, or a packet does not come to its
        destination.
    """
    circle = _circle(dependency_graph(routing, height=height, width=width))
    if circle is not None:
        way = " -> ".join(f"({y}, {x}).{port.name}" for y, x, port in circle)
        raise ValueError(f"routing function {routing.__name__} is cyclic: {way}")
    nodes = [(y, x) for y in range(height) for x in range(width)]
    for source in nodes:
        for to in nodes:
            for cast in Cast:
                found = receivers(routing, height=height, width=width, source=source, to=to, cast=cast)
                if to not in found:
                    raise ValueError(
                        f"routing function {routing.__name__}: a packet from {source} to {to} cast {cast.name} "
                        f"is delivered to {found}"
                    )
