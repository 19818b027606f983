"""Routing functions for packets with one destination: where a packet may go on, and in which layer of virtual channels.

A packet takes one of the outputs that its routing function offers; which of them may be chosen anew in every cycle, by
the room behind it. Virtual channels are divided into *layers*, which the function tells apart; within a layer they are
alike. As in ``routing``, a function is written once, with comparisons and bit operators only, and called twice: with
numbers by the proof, with Amaranth values by the router.

The proof takes the channels of all layers. A packet that holds one channel may wait for each of those that the function
offers it next. Where this graph has no circle there is no deadlock, whatever is chosen. Where it has one, a layer of
*escape* channels must break it (Duato, 1993): wherever a packet waits it is offered an escape channel, and no circle is
left among escape channels alone when a packet may take any others in between. That holds for queues whose first flit is
always that of a packet which may choose, so a packet of several flits must enter empty queues only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import networkx

from acf.config import ROUTINGS
from acf.hw.noc.routing import FACING, STEP, Port, xy

__all__ = ["UNICAST_ROUTINGS", "UnicastRouting", "check_unicast", "unicast_departures"]

Offers = dict[Port, tuple[Any, ...]]
"""By port, for each layer, a condition of one bit: whether the packet may go on there."""

UnicastFunction = Callable[..., Offers]
"""``f(arrival, layer, *, y, x, to_y, to_x)``: what is offered to a packet that arrived by ``arrival`` in ``layer``, for
all ports by which such packets may ever go on."""


@dataclass(frozen=True)
class UnicastRouting:
    """A routing function and how it uses virtual channels.

    Parameters
    ----------
    name : str
    function : UnicastFunction
    layers : int
    escape : int or None
        The layer of escape channels, if it has one.
    is_adaptive : bool
        Whether a packet may be offered several outputs.
    """

    name: str
    function: UnicastFunction
    layers: int = 1
    escape: int | None = None
    is_adaptive: bool = False

    def shares(self, virtual_channels: int) -> tuple[tuple[int, ...], ...]:
        """The virtual channels of each layer: one for escape, else as many for each."""
        channels = tuple(range(virtual_channels))
        if self.layers == 1:
            return (channels,)
        middle = virtual_channels - 1 if self.escape is not None else virtual_channels // 2
        return channels[:middle], channels[middle:]


def _one_layer(offers: dict[Port, Any]) -> Offers:
    return {port: (condition,) for port, condition in offers.items()}


def _xy(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """Along the row first."""
    return _one_layer(xy(arrival, y=y, x=x, to_y=to_y, to_x=to_x, row=0, column=0))


def _yx(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """Along the column first."""
    in_row, in_column = to_y == y, to_x == x
    offers = {Port.LOCAL: in_row & in_column}
    if arrival in (Port.LOCAL, Port.NORTH):
        offers[Port.SOUTH] = to_y > y
    if arrival in (Port.LOCAL, Port.SOUTH):
        offers[Port.NORTH] = to_y < y
    if arrival is not Port.EAST:
        offers[Port.EAST] = in_row & (to_x > x)
    if arrival is not Port.WEST:
        offers[Port.WEST] = in_row & (to_x < x)
    return _one_layer(offers)


def _productive(arrival: Port, *, y, x, to_y, to_x) -> dict[Port, Any]:
    """All outputs on shortest ways."""
    offers = {
        Port.NORTH: to_y < y,
        Port.EAST: to_x > x,
        Port.SOUTH: to_y > y,
        Port.WEST: to_x < x,
        Port.LOCAL: (to_y == y) & (to_x == x),
    }
    return {port: condition for port, condition in offers.items() if port is not arrival or port is Port.LOCAL}


def _west_first(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """Steps to the west before all others, which may be in any order (Glass and Ni, 1992)."""
    offers = _productive(arrival, y=y, x=x, to_y=to_y, to_x=to_x)
    if arrival in (Port.NORTH, Port.SOUTH):
        del offers[Port.WEST]
    for port in (Port.NORTH, Port.SOUTH):
        if port in offers:
            offers[port] &= to_x >= x
    return _one_layer(offers)


def _negative_first(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """Steps to the west and south, in any order, before those to the east and north (Glass and Ni, 1992)."""
    offers = _productive(arrival, y=y, x=x, to_y=to_y, to_x=to_x)
    if arrival in (Port.WEST, Port.SOUTH):
        for port in (Port.WEST, Port.SOUTH):
            offers.pop(port, None)
    for port in (Port.EAST, Port.NORTH):
        if port in offers:
            offers[port] &= (to_x >= x) & (to_y <= y)
    return _one_layer(offers)


def _odd_even(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """No turn from east to north or south in even columns, none from there to west in odd ones (Chiu, 2000)."""
    offers = _productive(arrival, y=y, x=x, to_y=to_y, to_x=to_x)
    is_odd, is_even = x & 1, (x & 1) ^ 1
    may_leave_row = is_odd if arrival is Port.WEST else 1
    for port in (Port.NORTH, Port.SOUTH):
        if port in offers:
            # Who goes west may go up and down in even columns only, to be able to turn west again.
            offers[port] &= (to_x == x) | ((to_x > x) & may_leave_row) | ((to_x < x) & is_even)
    if Port.EAST in offers:
        # Into an even column only if it is not to be left for another row there.
        offers[Port.EAST] &= (to_y == y) | (to_x & 1) | (to_x != x + 1)
    if arrival is Port.WEST:
        # Who came from the west into the column of its destination may turn there: it was not let in otherwise.
        for port in (Port.NORTH, Port.SOUTH):
            offers[port] &= is_odd | (to_x != x)
    return _one_layer(offers)


def _o1turn(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """Along the row first in one layer, along the column first in the other (Seo et al., 2005)."""
    function = (_xy, _yx)[layer]
    offers = function(arrival, layer, y=y, x=x, to_y=to_y, to_x=to_x)
    return {
        port: (condition, condition) if port is Port.LOCAL else ((condition, 0), (0, condition))[layer]
        for port, (condition,) in offers.items()
    }


def _adaptive(arrival: Port, layer: int, *, y, x, to_y, to_x) -> Offers:
    """Any shortest way; beside it the way along the row first, in the layer of escape channels."""
    offers = _productive(arrival, y=y, x=x, to_y=to_y, to_x=to_x)
    escape = xy(Port.LOCAL, y=y, x=x, to_y=to_y, to_x=to_x, row=0, column=0)
    return {port: (condition, escape[port]) for port, condition in offers.items()}


UNICAST_ROUTINGS = {
    routing.name: routing
    for routing in (
        UnicastRouting("xy", _xy),
        UnicastRouting("yx", _yx),
        UnicastRouting("west-first", _west_first, is_adaptive=True),
        UnicastRouting("negative-first", _negative_first, is_adaptive=True),
        UnicastRouting("odd-even", _odd_even, is_adaptive=True),
        UnicastRouting("o1turn", _o1turn, layers=2),
        UnicastRouting("adaptive", _adaptive, layers=2, escape=1, is_adaptive=True),
    )
}
"""Routing functions by name, those of ``acf.config.ROUTINGS``."""

assert tuple(UNICAST_ROUTINGS) == ROUTINGS


def unicast_departures(routing: UnicastRouting, arrival: Port) -> tuple[Port, ...]:
    """The ports by which packets from ``arrival`` may go on, in the order of ``Port``."""
    layers = [routing.function(arrival, layer, y=0, x=0, to_y=0, to_x=0) for layer in range(routing.layers)]
    return tuple(sorted(set().union(*layers)))


Node = tuple[int, int]
Channel = tuple[int, int, Port, int]
"""An output of the router ``(y, x)``, in a layer."""

State = tuple[Node, Port, int]
"""A router, where a packet came in, and in which layer."""


class _Ways:
    """All that packets for one destination can do."""

    def __init__(self, routing: UnicastRouting, *, height: int, width: int, to: Node):
        self._routing = routing
        self._size = height, width
        self._to = to
        self.offers: dict[State, list[Channel]] = {}
        states: list[State] = [
            ((y, x), Port.LOCAL, layer) for y in range(height) for x in range(width) for layer in range(routing.layers)
        ]
        for state in states:  # grows while it is walked
            if state not in self.offers:
                self.offers[state] = self._offered(state)
                states.extend(self.behind(channel) for channel in self.offers[state])

    @staticmethod
    def behind(channel: Channel) -> State:
        """Where a packet is that has taken a channel."""
        y, x, port, layer = channel
        return (y + STEP[port][0], x + STEP[port][1]), FACING[port], layer

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
            (next_y, next_x), _, _ = self.behind(link)
            if abs(next_y - self._to[0]) + abs(next_x - self._to[1]) >= abs(y - self._to[0]) + abs(x - self._to[1]):
                raise ValueError(f"{packet} leaves the shortest way at {(y, x)}, {link[2].name}")
        return links


@lru_cache
def check_unicast(routing: UnicastRouting, *, height: int, width: int) -> None:
    """Prove that a routing function is free of deadlock and delivers everything on shortest ways.

    Raises
    ------
    ValueError
        If channels can wait for each other in a circle, which the message prints, or a packet does not come to its
        destination.
    """
    every, escapes = networkx.DiGraph(), networkx.DiGraph()
    lacking: str | None = None
    for to in ((y, x) for y in range(height) for x in range(width)):
        ways = _Ways(routing, height=height, width=width, to=to)
        for offers in ways.offers.values():
            for held in offers:
                every.add_edges_from((held, channel) for channel in ways.offers[ways.behind(held)])
        if routing.escape is None:
            continue
        nearest_first = sorted(ways.offers, key=lambda state: abs(state[0][0] - to[0]) + abs(state[0][1] - to[1]))
        ahead: dict[State, set[Channel]] = {}  # escape channels that a packet may come to wait for
        for state in nearest_first:
            offers = ways.offers[state]
            own = {channel for channel in offers if channel[3] == routing.escape}
            if offers and not own:
                lacking = f"a packet to {to} has no escape at {state[0]}"
            ahead[state] = own.union(*(ahead[ways.behind(channel)] for channel in offers))
            escapes.add_edges_from((channel, other) for channel in own for other in ahead[ways.behind(channel)])
    circle = _circle(every)
    if circle and routing.escape is not None:
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
