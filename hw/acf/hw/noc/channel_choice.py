"""Which virtual channels a packet may have at an output: by its layer, and by the rule of the network."""

from typing import Any

from amaranth.hdl import Const, Mux, Value

from acf.config import NetworkConfig
from acf.hw.noc.routing import FACING, STEP, Port
from acf.hw.noc.unicast_proof import proved_routing
from acf.hw.noc.unicast_routing import unicast_departures

__all__ = ["admitted_channels", "bit", "channel_groups", "entering_channels"]

_OPPOSITE = {Port.NORTH: Port.SOUTH, Port.SOUTH: Port.NORTH, Port.EAST: Port.WEST, Port.WEST: Port.EAST}
# Where most packets from a node go first.
_ORDER = (Port.EAST, Port.WEST, Port.NORTH, Port.SOUTH, Port.LOCAL)


def channel_groups(network: NetworkConfig) -> tuple[tuple[int, ...], ...]:
    """Groups of virtual channels, of which a link offers one at a time: layers, or each on its own.

    Those for packets to several receivers are each on its own, behind the others.
    """
    many = tuple((channel,) for channel in range(network.virtual_channels, network.noc.virtual_channels))
    if network.channels == "onward" or network.by_class:
        return (*((channel,) for channel in range(network.virtual_channels)), *many)
    return (*proved_routing(network).shares(network.virtual_channels), *many)


def admitted_channels(
    network: NetworkConfig, arrival: Port, *, channel: Any, y: Any, x: Any, to_y: Any, to_x: Any
) -> dict[Port, list[Any]]:
    """For each output a condition of one bit per virtual channel: whether the packet may have it there.

    Under the rule ``free`` it may have all of its layer; under ``onward`` the one of its layer that belongs to the
    output which it will take at the next router, so that packets for different outputs do not wait behind each other;
    on the way out of the network the one that belongs to ``arrival``, so that packets of a flow stay in order.

    Parameters
    ----------
    network : NetworkConfig
    arrival : Port
    channel : int or Value
        Virtual channel by which the packet came; ``LOCAL`` packets of all layers may come by any.
    y, x, to_y, to_x : int or Value
        The router and the destination.
    """
    routing = proved_routing(network)
    shares = routing.shares(network.virtual_channels)
    place = {"to_y": to_y, "to_x": to_x}
    admitted = {port: [Const(0)] * network.virtual_channels for port in unicast_departures(routing, arrival)}
    for layer, share in enumerate(shares):
        came_so = _any(channel == n for n in share) if routing.layers > 1 else 1
        offers = routing.function(arrival, layer, y=y, x=x, **place)
        for port, conditions in offers.items():
            for onward_layer, condition in enumerate(conditions):
                targets = shares[onward_layer]
                rules = _rules(network, routing, arrival, port, onward_layer, targets, y=y, x=x, **place)
                for target, rule in zip(targets, rules, strict=True):
                    admitted[port][target] |= bit(condition) & came_so & rule
    return admitted


def entering_channels(network: NetworkConfig, *, y: Any, x: Any, to_y: Any, to_x: Any) -> list[Any]:
    """For each virtual channel, whether a packet may have it on its way into the network."""
    routing = proved_routing(network)
    admitted = []
    for layer, share in enumerate(routing.shares(network.virtual_channels)):
        if network.channels != "onward":
            admitted += [Const(1)] * len(share)
            continue
        offers = routing.function(Port.LOCAL, layer, y=y, x=x, to_y=to_y, to_x=to_x)
        admitted += _by_output(Port.LOCAL, {port: offer[layer] for port, offer in offers.items()}, len(share))
    return admitted


def _rules(network, routing, arrival, port, layer, targets, *, y, x, to_y, to_x):
    """For each virtual channel of a layer, whether the rule of the network admits it."""
    if network.channels != "onward":
        return [Const(1)] * len(targets)
    if port is Port.LOCAL:
        own = list(Port).index(arrival) % len(targets)
        return [Const(int(n == own)) for n in range(len(targets))]
    y, x = _behind(network, port, y, x)
    offers = routing.function(FACING[port], layer, y=y, x=x, to_y=to_y, to_x=to_x)
    return _by_output(FACING[port], {port: _any(offer) for port, offer in offers.items()}, len(targets))


def _behind(network: NetworkConfig, port: Port, y, x):
    """The router behind an output."""
    found = []
    for at, step, size in zip((y, x), STEP[port], (network.height, network.width), strict=True):
        joint = {1: size - 1, -1: 0}.get(step)  # from where a torus goes on at its other end
        if network.topology == "torus" and joint is not None:
            found.append(Mux(at == joint, size - 1 - joint, at + step))
        else:
            found.append(at + step)
    return found


def _by_output(arrival: Port, offers: dict[Port, Any], count: int):
    """Divide ``count`` virtual channels among the outputs of the router that a packet comes to by ``arrival``.

    The way straight on has one of its own, the other outputs share the rest. ``offers`` holds one bit for each output:
    whether the packet takes it.
    """
    straight = _OPPOSITE.get(arrival)
    others = [port for port in _ORDER if port in offers and port is not straight]
    if straight is None or straight not in offers:
        numbers = {port: n * count // len(others) for n, port in enumerate(others)}
    else:
        rest = max(1, count - 1)
        numbers = {port: (count - rest) + n * rest // len(others) for n, port in enumerate(others)}
        numbers[straight] = 0
    return [_any(offers[port] for port, number in numbers.items() if number == n) for n in range(count)]


def _any(conditions):
    found = Const(0)
    for condition in conditions:
        found |= bit(condition)
    return found


def bit(condition: Any) -> Value:
    """A condition as one bit, be it a number or a value."""
    return Value.cast(condition)[:1] if not isinstance(condition, int) else Const(int(bool(condition)), 1)
