"""What a network says that it has counted, and whether that can be."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from acf.config import TRAFFIC_CLASSES, NetworkConfig

__all__ = ["PORTS", "PortCounters", "counting_errors"]

PORTS = ("north", "east", "south", "west", "local")
"""Inputs of a router, as they are numbered."""

_STEP = {"north": (-1, 0), "east": (0, 1), "south": (1, 0), "west": (0, -1)}


@dataclass(frozen=True, kw_only=True)
class PortCounters:
    """What the counters of an input of a router say of one traffic class.

    Members
    -------
    node : tuple of int
        Row and column.
    port : str
        One of ``PORTS``: from where flits come.
    traffic_class : int
    flits : int
        That came since reset.
    stalls : int
        Cycles in which one was the first in a buffer and did not go on.
    occupancy : int
        Those in the buffers, summed over all cycles.
    """

    node: tuple[int, int]
    port: str
    traffic_class: int
    flits: int
    stalls: int
    occupancy: int


def counting_errors(
    network: NetworkConfig,
    counters: Sequence[PortCounters],
    flits_of: Callable[[int, int], tuple[int, int]],
    forked: np.ndarray | None = None,
) -> list[str]:
    """What is wrong with the counters of an empty network, in a sentence each; nothing where all is well.

    Every flit that came to a router left it, for the node or for one of the neighbours, each of which counted it once;
    from the node came what it sent. Flits for groups left as often as their forks have outputs. A flit is in a buffer
    in the cycle in which it goes on, and while it stalls.

    Parameters
    ----------
    network : NetworkConfig
    counters : sequence of PortCounters
        Inputs that are left out have counted nothing.
    flits_of : callable
        ``f(node, traffic_class)``: flits that a node has sent and taken, the node by its number.
    forked : ndarray of int, (height, width, classes), or None
        Flits that left a router more often than they came to it; none where it is left out.
    """
    found = []
    came: Counter[tuple[tuple[int, int], str, int]] = Counter()
    for one in counters:
        came[one.node, one.port, one.traffic_class] += one.flits
        if one.occupancy < one.flits + one.stalls:
            found.append(f"{one} counts less occupancy than flits and stalls")
    for n in range(network.nodes):
        y, x = node = divmod(n, network.width)
        for traffic_class in range(TRAFFIC_CLASSES):
            sent, taken = flits_of(n, traffic_class)
            local = came[node, "local", traffic_class]
            if local != sent:
                found.append(f"{node} has sent {sent} flits of class {traffic_class} and its router counts {local}")
            left = taken
            for port, (dy, dx) in _STEP.items():
                to = y - dy, x - dx
                if network.topology == "torus":
                    to = to[0] % network.height, to[1] % network.width
                if to != node:
                    left += came[to, port, traffic_class]
            inside = sum(came[node, port, traffic_class] for port in PORTS)
            if forked is not None:
                inside += int(forked[y, x, traffic_class])
            if inside != left:
                found.append(f"at {node} {inside} flits of class {traffic_class} came and {left} left")
    return found
