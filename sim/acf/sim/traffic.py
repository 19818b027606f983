"""Where random packets go: destination patterns of a mesh, as probabilities.

Nodes are numbered row by row, ``n = y * width + x``. Patterns that permute the bits of the number need a number of
nodes that is a power of two. In all patterns but ``all-to-one`` a packet may be for the node that creates it; it then
passes the router of that node alone.
"""

from collections.abc import Callable

import numpy as np

from acf.config import NetworkConfig
from acf.runtime.multicast_groups import GroupTables, MulticastGroup

__all__ = [
    "GROUP_PATTERNS",
    "HOTSPOT_PART",
    "PATTERNS",
    "destinations",
    "group_traffic",
    "routers_passed",
    "with_groups",
]

HOTSPOT_PART = 0.2
"""Part of all packets that is for one node in ``hotspot``."""


def destinations(pattern: str, network: NetworkConfig) -> np.ndarray:
    """Probability of each destination, by source.

    Parameters
    ----------
    pattern : str
        A key of ``PATTERNS``.
    network : NetworkConfig

    Returns
    -------
    ndarray of float64, (nodes, nodes)
        Rows sum to 1, or to 0 for a node that sends nothing.

    Raises
    ------
    ValueError
        If there is no such pattern, or none on such a mesh.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"traffic must be one of {', '.join(PATTERNS)}, not {pattern!r}")
    return PATTERNS[pattern](network.height, network.width)


def group_traffic(pattern: str, network: NetworkConfig, *, flits: int = 1, seed: int = 1) -> GroupTables:
    """A group for each node to send to, of the number of the node.

    Parameters
    ----------
    pattern : str
        One of ``GROUP_PATTERNS``: all nodes in the ``row`` of the sender, in its ``column``, or ``all``, itself
        included; or so many drawn at ``random``, from one to all.
    network : NetworkConfig
        One that has as many groups as nodes.
    flits : int
        Of a packet.
    seed : int
        Of ``random``.

    Raises
    ------
    ValueError
        If there is no such pattern, the network has too few groups, or packets are too long for them.
    """
    if pattern not in GROUP_PATTERNS:
        raise ValueError(f"traffic to groups must be one of {', '.join(GROUP_PATTERNS)}, not {pattern!r}")
    if network.groups < network.nodes:
        raise ValueError(f"traffic to groups needs a group for each of {network.nodes} nodes, not {network.groups}")
    if flits > network.group_flits:
        raise ValueError(f"packets for groups have {network.group_flits} flits at most, not {flits}")
    random = np.random.default_rng(seed)
    nodes = [divmod(n, network.width) for n in range(network.nodes)]
    groups = {}
    for number, source in enumerate(nodes):
        drawn = random.choice(network.nodes, size=random.integers(1, network.nodes + 1), replace=False)
        members = {
            "row": [node for node in nodes if node[0] == source[0]],
            "column": [node for node in nodes if node[1] == source[1]],
            "all": nodes,
            "random": [nodes[n] for n in drawn],
        }
        groups[number] = MulticastGroup(source=source, members=tuple(members[pattern]))
    return GroupTables(network, groups)


def with_groups(table: np.ndarray, tables: GroupTables, *, part: float) -> np.ndarray:
    """Destinations of a kind of traffic in which sources send a part of their packets to their groups, to each as many.

    Parameters
    ----------
    table : ndarray of float64, (nodes, nodes)
        Who sends nothing there sends nothing.
    tables : GroupTables
    part : float

    Returns
    -------
    ndarray of float64, (nodes, nodes + groups)
    """
    network = tables.network
    to_groups = np.zeros((network.nodes, network.groups))
    for number, (y, x) in tables.sources.items():
        to_groups[y * network.width + x, number] = 1
    to_groups[~table.any(axis=1)] = 0
    sums = to_groups.sum(axis=1, keepdims=True)
    is_source = sums > 0
    to_groups = np.divide(part * to_groups, sums, out=to_groups, where=is_source)
    return np.hstack([np.where(is_source, (1 - part) * table, table), to_groups])


def routers_passed(network: NetworkConfig, groups: GroupTables | None = None) -> np.ndarray:
    """Routers on a shortest way from each node to each node, those of both ends included.

    Returns
    -------
    ndarray of int64, (nodes, nodes) or (nodes, nodes + groups)
        To a group it is the way to the member that is farthest; 0 where a node does not send to it.
    """
    places = [divmod(n, network.width) for n in range(network.nodes)]
    found = np.array([[1 + network.links(source, to) for to in places] for source in places])
    if groups is None:
        return found
    to_groups = np.zeros((network.nodes, network.groups), dtype=found.dtype)
    for number, group in groups.groups.items():
        source = places.index(group.source)
        to_groups[source, number] = max(found[source, places.index(member)] for member in group.members)
    return np.hstack([found, to_groups])


def _permutation(to: np.ndarray) -> np.ndarray:
    table = np.zeros((to.size, to.size))
    table[np.arange(to.size), to] = 1
    return table


def _uniform(height: int, width: int) -> np.ndarray:
    nodes = height * width
    return np.full((nodes, nodes), 1 / nodes)


def _transpose(height: int, width: int) -> np.ndarray:
    if height != width:
        raise ValueError(f"transpose traffic needs a square mesh, not {height}x{width}")
    return _permutation(np.arange(height * width).reshape(height, width).T.ravel())


def _neighbor(height: int, width: int) -> np.ndarray:
    y, x = np.divmod(np.arange(height * width), width)
    return _permutation((y + 1) % height * width + (x + 1) % width)


def _tornado(height: int, width: int) -> np.ndarray:
    y, x = np.divmod(np.arange(height * width), width)
    return _permutation(y * width + (x + (width - 1) // 2) % width)


def _bits(name: str, height: int, width: int) -> int:
    nodes = height * width
    if nodes & (nodes - 1):
        raise ValueError(f"{name} traffic needs a power of two of nodes, not {nodes}")
    return nodes.bit_length() - 1


def _bit_complement(height: int, width: int) -> np.ndarray:
    count = _bits("bit-complement", height, width)
    return _permutation(np.arange(1 << count)[::-1])


def _bit_reverse(height: int, width: int) -> np.ndarray:
    count = _bits("bit-reverse", height, width)
    numbers = np.arange(1 << count)
    return _permutation(sum(((numbers >> n & 1) << (count - 1 - n) for n in range(count)), np.zeros_like(numbers)))


def _shuffle(height: int, width: int) -> np.ndarray:
    count = _bits("shuffle", height, width)
    numbers = np.arange(1 << count)
    return _permutation((numbers << 1 | numbers >> (count - 1)) & ((1 << count) - 1) if count else numbers)


def _middle(height: int, width: int) -> int:
    return height // 2 * width + width // 2


def _hotspot(height: int, width: int) -> np.ndarray:
    table = (1 - HOTSPOT_PART) * _uniform(height, width)
    table[:, _middle(height, width)] += HOTSPOT_PART
    return table


def _all_to_one(height: int, width: int) -> np.ndarray:
    middle = _middle(height, width)
    table = np.zeros((height * width, height * width))
    table[:, middle] = 1
    table[middle] = 0
    if not table.any():
        raise ValueError(f"all-to-one traffic needs two nodes at least, not {height * width}")
    return table


GROUP_PATTERNS = ("row", "column", "all", "random")
"""Who is in the group of a node, see ``group_traffic``."""

PATTERNS: dict[str, Callable[[int, int], np.ndarray]] = {
    "uniform": _uniform,
    "transpose": _transpose,
    "bit-complement": _bit_complement,
    "bit-reverse": _bit_reverse,
    "shuffle": _shuffle,
    "neighbor": _neighbor,
    "tornado": _tornado,
    "hotspot": _hotspot,
    "all-to-one": _all_to_one,
}
"""Destination patterns: ``f(height, width)``.

``uniform``: any node. ``transpose``: (y, x) to (x, y). ``bit-complement``, ``bit-reverse``, ``shuffle``: the number
with all bits inverted, in reverse order, turned left by one. ``neighbor``: one row and one column further, around the
edge. ``tornado``: just less than half a row further, around the edge. ``hotspot``: ``HOTSPOT_PART`` of all packets to
the node in the middle, the others anywhere. ``all-to-one``: every other node to the one in the middle, which sends
nothing.
"""
