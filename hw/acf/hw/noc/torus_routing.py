"""Routing functions of a torus: the shortest way around each ring, and datelines that keep rings from deadlock.

In each dimension a packet takes the shorter way around. Where both are equally long, which happens where it enters a
ring of an even size, it goes to the east or south from an even column or row, else to the west or north: so both ways
carry the same, and in a ring of four nodes no link waits for all others of its direction.

In larger rings they do. There the joint between the last node and the first one is the *dateline* (Dally and Seitz,
1987): packets that still have to cross it have one layer of virtual channels, all others another one. The former never
get past the dateline in their layer, the latter never to it, so neither layer goes around.
"""

from functools import lru_cache
from typing import Any

from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_routing import Offers, UnicastRouting

__all__ = ["torus_routing"]

_ROW, _COLUMN = (Port.EAST, Port.WEST), (Port.SOUTH, Port.NORTH)
_STRAIGHT = {port: opposite for pair in (_ROW, _COLUMN) for port, opposite in (pair, pair[::-1])}


def _around(size: int, at: Any, to: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """For the ways to higher and to lower numbers: whether the way is taken, and whether its dateline is ahead."""
    lead = to - at
    up = ((lead > 0) & (lead <= (size - 1) // 2)) | (lead < -(size // 2))
    down = ((lead < 0) & (lead >= -((size - 1) // 2))) | (lead > size // 2)
    if size % 2 == 0:
        is_tie = (lead == size // 2) | (lead == -(size // 2))
        is_odd = at & 1
        up |= is_tie & (is_odd ^ 1)
        down |= is_tie & is_odd
    return (up, lead < 0), (down, lead > 0)


@lru_cache
def torus_routing(name: str, *, height: int, width: int, datelines: bool) -> UnicastRouting:
    """A routing function for a torus of that size.

    Parameters
    ----------
    name : str
        One of ``acf.config.TORUS_ROUTINGS``. ``xy``, ``yx``: along the row, the column first. ``o1turn``: ``xy`` in one
        half of the layers, ``yx`` in the other. ``adaptive``: in either dimension, with ``xy`` as the way of escape.
    height, width : int
    datelines : bool
        Two layers for each order of dimensions instead of one. Rings of five nodes and more need them.
    """
    per_order = 2 if datelines else 1

    def layered(condition: Any, is_ahead: Any) -> tuple[Any, ...]:
        return (condition & is_ahead, condition & (is_ahead ^ 1)) if datelines else (condition,)

    def directions(y: Any, x: Any, to_y: Any, to_x: Any) -> dict[Port, tuple[Any, Any]]:
        found = zip((*_ROW, *_COLUMN), (*_around(width, x, to_x), *_around(height, y, to_y)), strict=True)
        return dict(found)

    def in_order(arrival: Port, row_first: bool, *, y: Any, x: Any, to_y: Any, to_x: Any) -> Offers:
        first, is_through = (_ROW, to_x == x) if row_first else (_COLUMN, to_y == y)
        offers = {Port.LOCAL: (*[0] * (per_order - 1), (to_y == y) & (to_x == x))}
        for port, (condition, is_ahead) in directions(y, x, to_y, to_x).items():
            if port in first and arrival in (Port.LOCAL, _STRAIGHT[port]):
                offers[port] = layered(condition, is_ahead)
            elif port not in first and arrival is not port:
                offers[port] = layered(condition & is_through, is_ahead)
        return offers

    def fixed(arrival: Port, layer: int, **place: Any) -> Offers:
        return in_order(arrival, name == "xy", **place)

    def either(arrival: Port, layer: int, **place: Any) -> Offers:
        order = layer // per_order
        none = [0] * per_order
        offers = in_order(arrival, order == 0, **place)
        return {port: (*offer, *none) if order == 0 else (*none, *offer) for port, offer in offers.items()}

    def adaptive(arrival: Port, layer: int, **place: Any) -> Offers:
        escape = in_order(Port.LOCAL, True, **place)
        offers = {Port.LOCAL: (escape[Port.LOCAL][-1], *escape[Port.LOCAL])}
        for port, (condition, _) in directions(**place).items():
            if port is not arrival:
                offers[port] = (condition, *escape[port])
        return offers

    if name == "o1turn":
        return UnicastRouting(name, either, layers=2 * per_order)
    if name == "adaptive":
        escapes = tuple(range(1, 1 + per_order))
        return UnicastRouting(name, adaptive, layers=1 + per_order, escapes=escapes, is_adaptive=True)
    return UnicastRouting(name, fixed, layers=per_order)
