"""The proof that packets with one destination can neither wait in a circle nor get lost, whatever way they choose.

The channel-dependency graph takes the channels of all layers. A packet that holds one channel may wait for each of
those that the function offers it next. Where this graph has no circle there is no deadlock, whatever is chosen. Where
it has one, layers of *escape* channels must break it (Duato, 1993): wherever a packet waits it is offered an escape
channel, and no circle is left among escape channels alone when a packet may take any others in between. That holds for
queues whose first flit is always that of a packet which may choose, so a packet of several flits must enter empty
queues only.

Functions that share virtual channels are proved together: the graphs are those of packets of all of them. What one of
them tells apart as layers the other may not, so there are as many layers as virtual channels can be told apart by any.
A graph that stands for all virtual channels of a set holds that for each choice of some of them, as that only takes
edges away.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from functools import lru_cache

import networkx

from acf.config import TABLE, NetworkConfig
from acf.hw.noc.routing import FACING, STEP, Port
from acf.hw.noc.torus_routing import torus_routing
from acf.hw.noc.unicast_routing import UNICAST_ROUTINGS, Offers, UnicastRouting, table_routing, unicast_departures

__all__ = ["check_tables", "check_together", "check_unicast", "departures_of", "proved_functions", "proved_routing"]

Node = tuple[int, int]
Channel = tuple[int, int, Port, int]
"""An output of the router ``(y, x)``, in a layer."""

Tables = Sequence[Sequence[Sequence[Sequence[int]]]]

State = tuple[Node, Port, int]
"""A router, where a packet came in, and in which layer."""


class _Ways:
    """All that packets for one destination can do."""

    def __init__(self, routing: UnicastRouting, *, height: int, width: int, wraps: bool, to: Node):
        self._routing = routing
        self._size = height, width
        self._wraps = wraps
        self._to = to
        self.offers: dict[State, list[Channel]] = {}
        states: list[State] = [
            ((y, x), Port.LOCAL, layer) for y in range(height) for x in range(width) for layer in range(routing.layers)
        ]
        for state in states:  # grows while it is walked
            if state not in self.offers:
                self.offers[state] = self._offered(state)
                states.extend(self.behind(channel) for channel in self.offers[state])

    def behind(self, channel: Channel) -> State:
        """Where a packet is that has taken a channel."""
        y, x, port, layer = channel
        y, x = y + STEP[port][0], x + STEP[port][1]
        if self._wraps:
            y, x = y % self._size[0], x % self._size[1]
        return (y, x), FACING[port], layer

    def distance(self, node: Node) -> int:
        """Links from a node to the destination."""
        steps = [abs(end - begin) for begin, end in zip(node, self._to, strict=True)]
        if self._wraps:
            steps = [min(count, size - count) for count, size in zip(steps, self._size, strict=True)]
        return sum(steps)

    def _offered(self, state: State) -> list[Channel]:
        """The links offered; none at the destination."""
        (y, x), arrival, layer = state
        offers = self._routing.function(arrival, layer, y=y, x=x, to_y=self._to[0], to_x=self._to[1])
        taken = {port: [n for n, condition in enumerate(layers) if condition] for port, layers in offers.items()}
        packet = f"routing function {self._routing.name}: a packet to {self._to}"
        if bool(taken.pop(Port.LOCAL, [])) != ((y, x) == self._to):
            raise ValueError(f"{packet} ends its way, or does not, at {(y, x)}")
        links = [(y, x, port, n) for port, layers in taken.items() for n in layers]
        if not links and (y, x) != self._to:
            raise ValueError(f"{packet} that came by {arrival.name} is lost at {(y, x)}")
        for link in links:
            following, _, _ = self.behind(link)
            if not (0 <= following[0] < self._size[0] and 0 <= following[1] < self._size[1]):
                raise ValueError(f"{packet} leaves the mesh at {(y, x)}, {link[2].name}")
            if self._routing.is_shortest and self.distance(following) >= self.distance((y, x)):
                raise ValueError(f"{packet} leaves the shortest way at {(y, x)}, {link[2].name}")
        return links

    def nearest_first(self) -> list[State]:
        """All states, each behind those that may follow it."""
        if self._routing.is_shortest:
            return sorted(self.offers, key=lambda state: self.distance(state[0]))
        graph = networkx.DiGraph()
        graph.add_nodes_from(self.offers)
        for state, offers in self.offers.items():
            graph.add_edges_from((state, self.behind(channel)) for channel in offers)
        if not networkx.is_directed_acyclic_graph(graph):
            (node, _, _), *_ = networkx.find_cycle(graph)[0]
            raise ValueError(f"routing function {self._routing.name}: a packet to {self._to} comes back to {node}")
        return list(networkx.topological_sort(graph))[::-1]


@lru_cache
def check_unicast(routing: UnicastRouting, *, height: int, width: int, wraps: bool = False) -> None:
    """Prove that a routing function is free of deadlock and delivers everything on shortest ways.

    Parameters
    ----------
    routing : UnicastRouting
    height, width : int
    wraps : bool
        Whether it is a torus.

    Raises
    ------
    ValueError
        If channels can wait for each other in a circle, which the message prints, or a packet does not come to its
        destination.
    """
    check_together((routing,), height=height, width=width, wraps=wraps)


def check_together(
    routings: Sequence[UnicastRouting],
    *,
    height: int,
    width: int,
    wraps: bool = False,
    escapes: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
) -> None:
    """Prove that packets of several routing functions, which have the same layers, do not wait for each other for ever.

    Parameters
    ----------
    routings : sequence of UnicastRouting
    height, width : int
    wraps : bool
        Whether it is a torus.
    escapes : sequence of int or None
        Layers of escape for all packets; those of the first function if None.
    numbers : sequence of int or None
        What layers are called in messages, if not by their own number.

    Raises
    ------
    ValueError
        As ``check_unicast``.
    """
    escapes = routings[0].escapes if escapes is None else escapes
    names = ", ".join(routing.name for routing in routings)
    what = f"routing function {names} is" if len(routings) == 1 else f"routing functions {names} together are"
    every, of_escape = networkx.DiGraph(), networkx.DiGraph()
    lacking: str | None = None
    nodes = [(y, x) for y in range(height) for x in range(width)]
    for to, routing in itertools.product(nodes, routings):
        ways = _Ways(routing, height=height, width=width, wraps=wraps, to=to)
        for offers in ways.offers.values():
            for held in offers:
                every.add_edges_from((held, channel) for channel in ways.offers[ways.behind(held)])
        if not escapes and routing.is_shortest:
            continue
        ahead: dict[State, set[Channel]] = {}  # escape channels that a packet may come to wait for
        for state in ways.nearest_first():
            offers = ways.offers[state]
            own = {channel for channel in offers if channel[3] in escapes}
            if offers and not own:
                lacking = f"a packet to {to} has no escape at {state[0]}"
            ahead[state] = own.union(*(ahead[ways.behind(channel)] for channel in offers))
            of_escape.add_edges_from((channel, other) for channel in own for other in ahead[ways.behind(channel)])
    circle = _circle(every)
    if circle and escapes:
        if lacking:
            raise ValueError(f"{what} cyclic, and {lacking}")
        circle = _circle(of_escape)
    if circle:
        way = " -> ".join(
            f"({y}, {x}).{port.name}[{layer if numbers is None else numbers[layer]}]" for y, x, port, layer in circle
        )
        raise ValueError(f"{what} cyclic: {way}")


def _circle(graph: networkx.DiGraph) -> list[Channel] | None:
    if networkx.is_directed_acyclic_graph(graph):
        return None
    edges = networkx.find_cycle(graph)
    return [edges[0][0], *(after for _, after in edges)]


@lru_cache
def proved_routing(network: NetworkConfig) -> UnicastRouting:
    """The routing function of a network, free of deadlock there.

    Raises
    ------
    ValueError
        If its channels can wait for each other in a circle, which the message prints.
    """
    routing = _routing(network, network.routing)
    check_unicast(routing, height=network.height, width=network.width, wraps=network.topology == "torus")
    return routing


@lru_cache
def proved_functions(network: NetworkConfig) -> tuple[UnicastRouting, ...]:
    """The routing functions of a network by class, in their order, those that share virtual channels proved together.

    Nothing is proved of tables, see ``check_tables``.

    Raises
    ------
    ValueError
        If channels can wait for each other in a circle, which the message prints.
    """
    functions = tuple(table_routing() if name == TABLE else _routing(network, name) for name in network.functions)
    _check_sets(network, {function.name: function for function in functions if function.name != TABLE})
    return functions


def check_tables(network: NetworkConfig, tables: Tables) -> None:
    """Prove that a network may have these tables: they and the functions beside them cannot deadlock, nothing is lost.

    Parameters
    ----------
    network : NetworkConfig
    tables : sequences of int, (height, width, height, width)
        By router (row, column) and destination (row, column) the number of the output, a ``Port``.

    Raises
    ------
    ValueError
        If the network has no tables, they have other sizes or hold what is no port, a packet leaves the mesh, goes
        round, goes back where it came from or ends elsewhere, or channels can wait for each other in a circle, which
        the message prints.
    """
    if TABLE not in network.functions:
        raise ValueError(f"a network with routing {network.routing!r} has no tables")
    places = [(y, x) for y in range(network.height) for x in range(network.width)]
    if {(len(tables), len(rows), len(to), len(entries)) for rows in tables for to in rows for entries in to} != {
        (network.height, network.width) * 2
    }:
        raise ValueError(f"tables must be those of a network of {network.height}x{network.width}")
    for (y, x), (to_y, to_x) in itertools.product(places, places):
        if tables[y][x][to_y][to_x] not in list(Port):
            raise ValueError(f"tables must hold ports from 0 to {max(Port)}, not {tables[y][x][to_y][to_x]!r}")

    def with_entry(arrival: Port, layer: int, *, y: int, x: int, to_y: int, to_x: int) -> Offers:
        return table_routing().function(arrival, layer, entry=tables[y][x][to_y][to_x])

    routings = {function.name: function for function in proved_functions(network)}
    routings[TABLE] = dataclasses.replace(routings[TABLE], function=with_entry)
    _check_sets(network, routings)


def departures_of(network: NetworkConfig, arrival: Port) -> tuple[Port, ...]:
    """The ports by which packets of a network from ``arrival`` may go on, in the order of ``Port``."""
    functions = proved_functions(network) if network.by_class else (proved_routing(network),)
    found = [unicast_departures(function, arrival) for function in functions]
    return tuple(sorted({port for ports in found for port in ports}))


def _routing(network: NetworkConfig, name: str) -> UnicastRouting:
    if network.topology == "torus":
        size = {"height": network.height, "width": network.width}
        return torus_routing(name, datelines=network.datelines, **size)
    return UNICAST_ROUTINGS[name]


def _check_sets(network: NetworkConfig, routings: dict[str, UnicastRouting]) -> None:
    """Prove those of the functions together that share virtual channels."""
    for names in network.routing.split("/"):
        together = [name for name in names.split(",") if name in routings]
        if not together:
            continue
        kinds: dict[tuple[int, ...], int] = {}  # the layers that a virtual channel is in, and the first one that is
        for channel in network.channel_sets[together[0]]:
            of_functions = [network.shares_of(name) for name in together]
            kind = tuple(next(n for n, share in enumerate(shares) if channel in share) for shares in of_functions)
            kinds.setdefault(kind, channel)
        beside = network.escapes_beside(together[0])
        check_together(
            [_with_layers(routings[name], [kind[n] for kind in kinds]) for n, name in enumerate(together)],
            height=network.height,
            width=network.width,
            wraps=network.topology == "torus",
            escapes=[n for n, channel in enumerate(kinds.values()) if channel in beside],
            numbers=list(kinds.values()),
        )


def _with_layers(routing: UnicastRouting, layers: list[int]) -> UnicastRouting:
    """The same function with more layers, each of which is one of its own."""

    def function(arrival: Port, layer: int, **place: int) -> Offers:
        offers = routing.function(arrival, layers[layer], **place)
        return {port: tuple(conditions[own] for own in layers) for port, conditions in offers.items()}

    return dataclasses.replace(routing, function=function, layers=len(layers), escapes=())
