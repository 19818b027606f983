"""The proof that packets for groups neither wait in a circle nor get lost, whatever their tables say.

A channel is an output of a router in one virtual channel, with the queue behind it. It is given to a packet only
while half of that queue is free, and no packet is longer. The head goes nowhere before the packet has all outputs of
its fork: where there is a copy of it, all routers behind it have room for the whole packet in all directions, and
what is left of it comes, whatever becomes of other copies. So a channel that is given for good becomes free again.
Two kinds of waiting are left, and each makes an edge of the channel-dependency graph: a packet in the queue of one
channel waits for the outputs of its next fork, and one that has claimed some of these waits for the next one in the
order of the fork. Without a circle there is no deadlock, as packets can go on in the last channels of the graph, then
in those before them (Dally and Seitz, 1987; room for whole packets: Kermani and Kleinrock, 1979). Virtual channels
have a graph each: packets keep theirs, and packets with one receiver have others.
"""

import itertools
from collections.abc import Mapping, Sequence

import networkx

from acf.config import NetworkConfig
from acf.hw.noc.group_port import group_departures
from acf.hw.noc.group_table import fork_order
from acf.hw.noc.routing import FACING, STEP, Port

__all__ = ["check_group_tables"]

Node = tuple[int, int]
_COLUMNS_FIRST = 1 << len(Port)


def check_group_tables(
    network: NetworkConfig, tables: Sequence[Sequence[Sequence[int]]], sources: Mapping[int, Node]
) -> dict[int, list[Node]]:
    """Prove that packets for groups come to all that the tables say, once, and cannot wait for each other for ever.

    Parameters
    ----------
    network : NetworkConfig
    tables : sequences of int, (height, width, groups)
        By router (row, column) and group the fork: a bit for each ``Port`` and one more for columns first, see
        ``acf.hw.noc.group_table.FORK``.
    sources : mapping of int to tuple of int
        The node that sends to each group; groups without one are not used.

    Returns
    -------
    dict
        By group the nodes that take its packets.

    Raises
    ------
    ValueError
        If the network has no groups, the tables have other sizes, a packet leaves the mesh, goes back where it came
        from, comes to a router twice or ends without a receiver, or channels can wait for each other in a circle, which
        the message prints.
    """
    if not network.groups:
        raise ValueError(f"a network without groups has no tables of them: {network.name}")
    sizes = {(len(tables), len(rows), len(entries)) for rows in tables for entries in rows}
    if sizes != {(network.height, network.width, network.groups)}:
        raise ValueError(f"tables of groups must be {network.height} x {network.width} of {network.groups} forks each")
    graphs = [networkx.DiGraph() for _ in range(network.group_channels)]
    found = {}
    for group, source in sources.items():
        if not 0 <= group < network.groups:
            raise ValueError(f"groups must be from 0 to {network.groups - 1}, not {group}")
        if not (0 <= source[0] < network.height and 0 <= source[1] < network.width):
            raise ValueError(f"the source of group {group} must be in the mesh, not {source}")
        found[group] = _walk(network, tables, group, source, graphs[group % network.group_channels])
    for channel, graph in enumerate(graphs):
        if not networkx.is_directed_acyclic_graph(graph):
            edges = networkx.find_cycle(graph)
            circle = [edges[0][0], *(after for _, after in edges)]
            way = " -> ".join(f"({y}, {x}).{port.name}" for y, x, port in circle)
            raise ValueError(f"groups in virtual channel {network.virtual_channels + channel} are cyclic: {way}")
    return found


def _walk(
    network: NetworkConfig, tables: Sequence[Sequence[Sequence[int]]], group: int, source: Node, graph: networkx.DiGraph
) -> list[Node]:
    """Follow the packets of a group, add what they wait for to the graph, and return who takes them."""
    receivers = []
    ways: list[tuple[Node, Port, tuple[int, int, Port] | None]] = [(source, Port.LOCAL, None)]
    passed = {source}
    for node, arrival, held in ways:  # grows while it is walked
        entry = tables[node[0]][node[1]][group]
        taken = [port for port in fork_order(bool(entry & _COLUMNS_FIRST)) if entry >> port & 1]
        if not taken:
            raise ValueError(f"a packet for group {group} is lost at {node}")
        channels = [(*node, port) for port in taken]
        graph.add_nodes_from(channels)
        graph.add_edges_from(itertools.pairwise(channels))
        if held is not None:
            graph.add_edges_from((held, channel) for channel in channels)
        for port in taken:
            if port is Port.LOCAL:
                receivers.append(node)
                continue
            if port not in group_departures(arrival):
                raise ValueError(f"a packet for group {group} goes back at {node}, {port.name}")
            following = node[0] + STEP[port][0], node[1] + STEP[port][1]
            if not (0 <= following[0] < network.height and 0 <= following[1] < network.width):
                raise ValueError(f"a packet for group {group} leaves the mesh at {node}, {port.name}")
            if following in passed:
                raise ValueError(f"a packet for group {group} comes to {following} twice")
            passed.add(following)
            ways.append((following, FACING[port], (*node, port)))
    return receivers
