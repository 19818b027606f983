"""Routing functions for packets with one destination: where a packet may go on, and in which layer of virtual channels.

A packet takes one of the outputs that its routing function offers; which of them may be chosen anew in every cycle, by
the room behind it. Virtual channels are divided into *layers*, which the function tells apart; within a layer they are
alike. As in ``routing``, a function is written once, with comparisons and bit operators only, and called twice: with
numbers by the proof, with Amaranth values by the router.

Here are those of a mesh, which ``unicast_proof`` proves; ``torus_routing`` has others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from acf.config import ROUTINGS, TABLE, channel_shares
from acf.hw.noc.routing import Port, xy

__all__ = ["UNICAST_ROUTINGS", "Offers", "UnicastRouting", "table_routing", "unicast_departures"]

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
    escapes : tuple of int
        Layers of escape channels, the last ones, if it has any.
    is_adaptive : bool
        Whether a packet may be offered several outputs.
    is_shortest : bool
        Whether all of its ways are shortest ones.
    """

    name: str
    function: UnicastFunction
    layers: int = 1
    escapes: tuple[int, ...] = ()
    is_adaptive: bool = False
    is_shortest: bool = True

    def shares(self, virtual_channels: int) -> tuple[tuple[int, ...], ...]:
        """The virtual channels of each layer: one for each of escape, the others divided evenly."""
        return channel_shares(range(virtual_channels), layers=self.layers, escapes=len(self.escapes))


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
        UnicastRouting("adaptive", _adaptive, layers=2, escapes=(1,), is_adaptive=True),
    )
}
"""Routing functions of a mesh by name, those of ``acf.config.ROUTINGS``."""

assert tuple(UNICAST_ROUTINGS) == ROUTINGS


@lru_cache
def table_routing() -> UnicastRouting:
    """Packets go where an entry of a table says, which the function is given besides: the number of a port.

    None goes back where it came from.
    """

    def function(arrival: Port, layer: int, *, entry: Any = 0, **place: Any) -> Offers:
        return _one_layer({port: entry == port for port in Port if port is not arrival or port is Port.LOCAL})

    return UnicastRouting(TABLE, function, is_shortest=False)


def unicast_departures(routing: UnicastRouting, arrival: Port) -> tuple[Port, ...]:
    """The ports by which packets from ``arrival`` may go on, in the order of ``Port``."""
    layers = [routing.function(arrival, layer, y=0, x=0, to_y=0, to_x=0) for layer in range(routing.layers)]
    return tuple(sorted(set().union(*layers)))
