"""Entries of the tables of groups: at each router, the outputs into which packets for a group are forked."""

from typing import Any

from amaranth.hdl import Cat
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NetworkConfig
from acf.hw.noc.routing import Port

__all__ = ["FORK", "fork_order", "group_members", "group_of", "group_table_signature"]

FORK = data.StructLayout({"ports": len(Port), "columns_first": 1})
"""An entry: a bit for each ``Port`` into which packets go on, and the order of claims, see ``fork_order``."""

_ROWS, _COLUMNS = (Port.EAST, Port.WEST), (Port.NORTH, Port.SOUTH)


def fork_order(columns_first: bool) -> tuple[Port, ...]:
    """The order in which a packet of several flits claims the outputs of its fork; the node is the last."""
    return (*_COLUMNS, *_ROWS, Port.LOCAL) if columns_first else (*_ROWS, *_COLUMNS, Port.LOCAL)


def group_table_signature() -> wiring.Signature:
    """A write to the group table of one router, seen from who writes.

    Members
    -------
    write : Out(1)
        In this cycle an entry is written; it holds for packets that come to the router from the next one on.
    y, x : Out(4)
        The router.
    number : Out(8)
        The group.
    fork : Out(FORK)
    """
    return wiring.Signature({"write": Out(1), "y": Out(4), "x": Out(4), "number": Out(8), "fork": Out(FORK)})


def group_members(network: NetworkConfig) -> dict[str, Any]:
    """The input ``groups`` of all parts of a network that has groups."""
    return {"groups": In(group_table_signature())} if network.groups else {}


def group_of(header: Any) -> Any:
    """The number of the group in the header of a packet: what is the destination of others."""
    return Cat(header.x, header.y)
