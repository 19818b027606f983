"""The proof that packets with one destination can neither wait in a circle nor get lost, whatever way they choose.

The channel-dependency graph takes the channels of all layers. A packet that holds one channel may wait for each of
those that the function offers it next. Where this graph has no circle there is no deadlock, whatever is chosen. Where
it has one, layers of *escape* channels must break it (Duato, 1993): wherever a packet waits it is offered an escape
channel, and no circle is left among escape channels alone when a packet may take any others in between. That holds for
queues whose first flit is always that of a packet which may choose, so a packet of several flits must enter empty
queues only.
"""

from functools import lru_cache

import networkx

from acf.config import NetworkConfig
from acf.hw.noc.routing import FACING, STEP, Port
from acf.hw.noc.torus_routing import torus_routing
from acf.hw.noc.unicast_routing import UNICAST_ROUTINGS, UnicastRouting

__all__ = ["check_unicast", "proved_routing"]

Node = tuple[int, int]
Channel = tuple[int, int, Port, int]
"""An output of the router ``(y, x)``, in a layer."""

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
            if self.distance(self.behind(link)[0]) >= self.distance((y, x)):
                raise ValueError(f"{packet} leaves the shortest way at {(y, x)}, {link[2].name}")
        return links


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
    every, escapes = networkx.DiGraph(), networkx.DiGraph()
    lacking: str | None = None
    for to in ((y, x) for y in range(height) for x in range(width)):
        ways = _Ways(routing, height=height, width=width, wraps=wraps, to=to)
        for offers in ways.offers.values():
            for held in offers:
                every.add_edges_from((held, channel) for channel in ways.offers[ways.behind(held)])
        if not routing.escapes:
            continue
        nearest_first = sorted(ways.offers, key=lambda state: ways.distance(state[0]))
        ahead: dict[State, set[Channel]] = {}  # escape channels that a packet may come to wait for
        for state in nearest_first:
            offers = ways.offers[state]
            own = {channel for channel in offers if channel[3] in routing.escapes}
            if offers and not own:
                lacking = f"a packet to {to} has no escape at {state[0]}"
            ahead[state] = own.union(*(ahead[ways.behind(channel)] for channel in offers))
            escapes.add_edges_from((channel, other) for channel in own for other in ahead[ways.behind(channel)])
    circle = _circle(every)
    if circle and routing.escapes:
        if lacking:
            raise ValueError(f"routing function {routing.name} is cyclic, and {lacking}")
        circle = _circle(escapes)
    if circle:
        way = " -> ".join(f"({y}, {x}).{port.name}[{layer}]" for y, x, port, layer in circle)
        raise ValueError(f"routing function {routing.name} is cyclic: {way}")


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
    wraps = network.topology == "torus"
    size = {"height": network.height, "width": network.width}
    if wraps:
        routing = torus_routing(network.routing, datelines=network.datelines, **size)
    else:
        routing = UNICAST_ROUTINGS[network.routing]
    check_unicast(routing, wraps=wraps, **size)
    return routing
