"""Networks by class: inputs say how each traffic class is routed, in which virtual channels, and what goes first."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import TABLE, TRAFFIC_CLASSES, NetworkConfig
from acf.hw.noc.channel_choice import bit
from acf.hw.noc.flit import HEADER
from acf.hw.noc.group_table import group_members
from acf.hw.noc.router_table import RouterTable
from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_proof import departures_of, proved_functions

__all__ = ["admitted_by_class", "allowed_channels", "control_members", "hand_on", "policy_members", "route_table"]


def policy_signature(*, network: NetworkConfig) -> wiring.Signature:
    """How one traffic class is treated, seen from who says so.

    It must be one that ``NetworkConfig.check_policies`` lets pass, and may change while the network is empty only.

    Members
    -------
    function : Out(range(functions))
        Number of the routing function among those of the network; none where there is one alone.
    channels : Out(virtual_channels)
        Virtual channels that packets may have.
    is_urgent : Out(1)
        Whether packets go before all that are not urgent.
    """
    count = len(network.functions)
    return wiring.Signature(
        {
            **({"function": Out(range(count))} if count > 1 else {}),
            "channels": Out(network.virtual_channels),
            "is_urgent": Out(1),
        }
    )


def table_signature() -> wiring.Signature:
    """A write to the routing table of one router, seen from who writes.

    Members
    -------
    write : Out(1)
        In this cycle an entry is written; it holds for packets that come to the router from the next one on.
    y, x : Out(4)
        The router.
    to_y, to_x : Out(4)
        The destination.
    port : Out(3)
        By which port packets for it go on: north, east, south, west and the node itself, from 0 to 4.
    """
    return wiring.Signature({"write": Out(1), "y": Out(4), "x": Out(4), "to_y": Out(4), "to_x": Out(4), "port": Out(3)})


def policy_members(network: NetworkConfig) -> dict[str, Any]:
    """The input ``classes`` of all parts of a network by class."""
    return {"classes": In(policy_signature(network=network)).array(TRAFFIC_CLASSES)} if network.by_class else {}


def control_members(network: NetworkConfig) -> dict[str, Any]:
    """What all parts of a network are told: ``classes`` by class, ``table`` and ``groups`` where it has such tables."""
    return {
        **policy_members(network),
        **({"table": In(table_signature())} if TABLE in network.functions else {}),
        **group_members(network),
    }


def hand_on(m: Module, whole: wiring.Component, part: wiring.Component) -> None:
    """Give a part of a network what the whole is told; parts that have no tables do without."""
    for name in ("classes", "table", "groups"):
        if name not in whole.signature.members or name not in part.signature.members:
            continue
        given, taken = getattr(whole, name), getattr(part, name)
        if name == "classes":
            for each, other in zip(given, taken, strict=True):
                connect(m, flipped(each), other)
        else:
            connect(m, flipped(given), taken)


def route_table(m: Module, network: NetworkConfig, given: Any, *, y: Any, x: Any, to_y: Any, to_x: Any) -> Any:
    """Add the routing table of one input of the router ``(y, x)``; the answer is the port for a destination.

    Parameters
    ----------
    m : Module
    network : NetworkConfig
    given : ``table_signature``
        Who writes it; it has to be written before its use.
    y, x : Value
    to_y, to_x : Value
        The answer follows in the same cycle.
    """
    rows, columns = (max(1, (size - 1).bit_length()) for size in (network.height, network.width))
    m.submodules.table = table = RouterTable(shape=3, depth=1 << (rows + columns))
    m.d.comb += [
        table.y.eq(y),
        table.x.eq(x),
        table.write.eq(given.write),
        table.write_y.eq(given.y),
        table.write_x.eq(given.x),
        table.write_at.eq(Cat(given.to_x[:columns], given.to_y[:rows])),
        table.written.eq(given.port),
        table.at.eq(Cat(to_x[:columns], to_y[:rows])),
    ]
    return table.entry


def allowed_channels(m: Module, network: NetworkConfig, classes: Any, header: Any) -> list[tuple[Any, Any]]:
    """For each routing function, whether the packet of a header takes it, and the virtual channels that it may have.

    What a policy says of virtual channels that are not those of its function is passed over; those of escape are always
    allowed.
    """
    taken = header.traffic_class
    channels = Signal(network.virtual_channels, name="class_channels")
    m.d.comb += channels.eq(Array(policy.channels for policy in classes)[taken])
    number = Const(0)
    if len(network.functions) > 1:
        number = Signal(range(len(network.functions)), name="class_function")
        m.d.comb += number.eq(Array(policy.function for policy in classes)[taken])
    found = []
    for n, name in enumerate(network.functions):
        own = sum(1 << channel for channel in network.channel_sets[name])
        always = sum(1 << channel for channel in network.escapes_beside(name))
        found.append((number == n, (channels & own) | always))
    return found


def admitted_by_class(
    m: Module, network: NetworkConfig, arrival: Port, *, classes: Any, header: HEADER, entry: Any, **place: Any
) -> dict[Port, list[Any]]:
    """For each output a condition of one bit per virtual channel: whether the packet of a header may have it there.

    Parameters
    ----------
    m : Module
    network : NetworkConfig
    arrival : Port
    classes : array of ``policy_signature``
    header : View of ``HEADER``
    entry : Value
        What the table says of its destination.
    channel : Value
        Virtual channel by which the packet came.
    y, x : Value
        The router.
    """
    channel, y, x = place["channel"], place["y"], place["x"]
    admitted = {port: [Const(0)] * network.virtual_channels for port in departures_of(network, arrival)}
    policies = allowed_channels(m, network, classes, header)
    for routing, (is_taken, allowed) in zip(proved_functions(network), policies, strict=True):
        shares = network.shares_of(routing.name)
        more = {"entry": entry} if routing.name == TABLE else {}
        for layer, share in enumerate(shares):
            came_so = Cat(channel == n for n in share).any() if len(shares) > 1 else Const(1)
            offers = routing.function(arrival, layer, y=y, x=x, to_y=header.y, to_x=header.x, **more)
            for port, conditions in offers.items():
                for targets, condition in zip(shares, conditions, strict=True):
                    for target in targets:
                        admitted[port][target] |= bit(condition) & is_taken & came_so & allowed[target]
    return admitted
