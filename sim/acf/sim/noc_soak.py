"""Many flits through a network, in traffic of all kinds, past sinks and sources that pause: its promises must hold.

Each flit is compared as it comes (see ``noc_harness.cpp``): every packet once, whole, in the order of its flow where
the network promises that. A watchdog calls it an error when nothing moves for long. At the end of each run the network
must become empty.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from acf.config import CHANNEL_RULES, ROUTINGS, TABLE, TOPOLOGIES, TRAFFIC_CLASSES, ClassPolicy, NetworkConfig
from acf.runtime.multicast_groups import GroupTables, MulticastGroup
from acf.sim.noc_harness import NetworkHarness, Phases
from acf.sim.traffic import PATTERNS, destinations, with_groups

__all__ = [
    "UNITS",
    "WATCHDOG",
    "dimension_tables",
    "random_groups",
    "random_policies",
    "soak",
    "soak_networks",
    "traffic_of",
]

WATCHDOG = 2000
"""Cycles in which something must move while packets are on their way."""

UNITS = {
    "flits": "flits that were sent and came, each compared",
    "packets": "packets that were sent and came",
    "cycles": "cycles simulated",
    "longest_silence": "most cycles in a row in which no flit went into or out of the network while packets were on "
    f"their way; more than {WATCHDOG} are taken for a deadlock",
    "out_of_order": "packets that came behind a later one of their flow; must be 0 where in_order is true",
}

_RUN_FLITS = 10_000
_LENGTHS = ((1, 1), (1, 4), (5, 5), (1, 32))  # flits of the shortest packet and of the longest
_LOADS = (0.2, 0.6, 1.0)
_PAUSES = (0.0, 0.3, 0.8)


def soak_networks() -> list[NetworkConfig]:
    """Each topology with each routing and each rule for virtual channels that go together, of 16 nodes each.

    Numbers of virtual channels, depths of buffers, rounds of allocation and stages of routers change from one to the
    next. A torus is there twice, with and without datelines. Behind them come three networks by class, the last one
    with groups.
    """
    networks = []
    sizes = {"mesh": [(4, 4)], "torus": [(4, 4), (2, 8)]}
    kinds = [
        {"topology": topology, "height": height, "width": width, "routing": routing, "channels": channels}
        for topology in TOPOLOGIES
        for height, width in sizes[topology]
        for routing in ROUTINGS
        for channels in CHANNEL_RULES
    ]
    for kind in kinds:
        n = len(networks)
        is_kept = kind["channels"] == "kept"
        rounds, stages = (1, 1) if is_kept else (1 + n // 2 % 3, 1 + n // 6 % 2)
        for virtual_channels in range(1 + n % 4, 5):
            with contextlib.suppress(ValueError):  # so many are too few, or routing and rule do not go together
                network = NetworkConfig(
                    **kind,
                    virtual_channels=virtual_channels,
                    buffer_depth=(2, 4, 8)[n % 3],
                    rounds=rounds,
                    stages=stages,
                )
                networks.append(network)
                break
    by_class = {"channels": "free", "by_class": True, "statistics": True, "virtual_channels": 4, "rounds": 2}
    return [
        *networks,
        NetworkConfig(height=4, width=4, routing="xy,west-first,adaptive/table", **by_class),
        NetworkConfig(height=2, width=8, routing="xy/yx", topology="torus", stages=2, **by_class),
        NetworkConfig(height=4, width=4, routing="xy/yx", groups=32, group_channels=2, **by_class),
    ]


def random_policies(network: NetworkConfig, random: np.random.Generator) -> list[ClassPolicy]:
    """Policies that a network by class may have, drawn at random."""
    while True:
        policies = []
        for _ in range(TRAFFIC_CLASSES):
            function = network.functions[random.integers(len(network.functions))]
            channels = tuple(channel for channel in network.channel_sets[function] if random.integers(2))
            policies.append(ClassPolicy(function=function, channels=channels, is_urgent=bool(random.integers(2))))
        with contextlib.suppress(ValueError):
            network.check_policies(policies)
            return policies


def random_groups(network: NetworkConfig, random: np.random.Generator) -> GroupTables:
    """Groups of random sources and members; all trees in one virtual channel go along rows first, or all do not."""
    nodes = [divmod(n, network.width) for n in range(network.nodes)]
    columns_first = random.integers(2, size=network.group_channels)
    groups = {}
    for number in range(network.groups):
        members = random.choice(network.nodes, size=random.integers(1, network.nodes + 1), replace=False)
        groups[number] = MulticastGroup(
            source=nodes[random.integers(network.nodes)],
            members=tuple(nodes[member] for member in members),
            columns_first=bool(columns_first[number % network.group_channels]),
        )
    return GroupTables(network, groups)


def dimension_tables(network: NetworkConfig, *, row_first: bool) -> np.ndarray:
    """Routing tables of a mesh that say what ``xy`` or ``yx`` does.

    Returns
    -------
    ndarray of int, (height, width, height, width)
        By router and destination the number of a port, see ``acf.sim.noc_counters.PORTS``.
    """
    y, x, to_y, to_x = np.indices((network.height, network.width) * 2)
    north_or_south = np.select([to_y < y, to_y > y], [0, 2], -1)
    east_or_west = np.select([to_x > x, to_x < x], [1, 3], -1)
    first, second = (east_or_west, north_or_south) if row_first else (north_or_south, east_or_west)
    return np.select([first >= 0, second >= 0], [first, second], 4)


def traffic_of(network: NetworkConfig) -> dict[str, np.ndarray]:
    """Destinations of all patterns that there are on a network, by their names."""
    tables = {}
    for pattern in PATTERNS:
        with contextlib.suppress(ValueError):  # some need a square, or a power of two
            tables[pattern] = destinations(pattern, network)
    return tables


def soak(
    harness: NetworkHarness,
    traffic: Mapping[str, np.ndarray],
    *,
    flits: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Send flits through a network.

    Parameters
    ----------
    harness : NetworkHarness
    traffic : mapping of str to ndarray of float64, (nodes, nodes)
        Destinations of each kind of traffic; flits are divided evenly among them.
    flits : int
        At least so many are sent.
    seed : int
        Of all random numbers. Lengths of packets, load, pauses of sinks and pauses of sources are drawn for each run
        of about 10,000 flits, or of as many as the kind has; so are groups, policies of a network by class and, where
        they share their virtual channels with no other function, whether its tables are those of ``xy`` or of ``yx``.
    progress : callable or None
        Called with the number of flits delivered so far.

    Returns
    -------
    dict
        ``flits`` and ``packets`` that came, ``cycles``, ``longest_silence`` in cycles, ``out_of_order`` (packets that
        came behind a later one of their flow), ``traffic`` (names).

    Raises
    ------
    ValueError
        If ``flits`` is not positive.
    acf.sim.noc_harness.NetworkError
        If a flit is lost, doubled, changed or misdelivered, comes out of order where the network promises order, is not
        counted as it should be, or nothing moves for more than ``WATCHDOG`` cycles.
    """
    if flits <= 0:
        raise ValueError(f"flits of a soak must be positive, not {flits}")
    random = np.random.default_rng(seed)
    total = {"flits": 0, "packets": 0, "cycles": 0, "longest_silence": 0, "out_of_order": 0}
    of_kind = -(-flits // len(traffic))
    for table in traffic.values():
        senders = int(table.any(axis=1).sum())
        end = total["flits"] + of_kind
        while total["flits"] < end:
            shortest, longest = _LENGTHS[random.integers(len(_LENGTHS))]
            load = _LOADS[random.integers(len(_LOADS))]
            stall, gap = (_PAUSES[k] for k in random.integers(len(_PAUSES), size=2))
            if harness.network.by_class:
                harness.set_policies(random_policies(harness.network, random))
            if TABLE in harness.network.functions:
                is_alone = TABLE in harness.network.routing.split("/")
                row_first = not is_alone or bool(random.integers(2))
                harness.set_tables(dimension_tables(harness.network, row_first=row_first))
            to = table
            if harness.network.groups:
                groups = random_groups(harness.network, random)
                harness.set_groups(groups)
                to = with_groups(table, groups, part=0.5)
            cycles = math.ceil(min(_RUN_FLITS, of_kind) / (load * senders))
            harness.run(
                to,
                load=load,
                flits=longest,
                shortest=shortest,
                seed=int(random.integers(1 << 62)),
                phases=Phases(warm_up=0, measure=cycles, drain=0),
                stall=stall,
                gap=gap,
                watchdog=WATCHDOG,
            )
            found = harness.flush(max_cycles=10_000_000)
            if harness.network.statistics:
                harness.counters()  # or it raises
            total["flits"] += found.flits_created
            total["packets"] += found.delivered
            total["cycles"] += found.cycles
            total["longest_silence"] = max(total["longest_silence"], found.longest_silence)
            total["out_of_order"] += found.out_of_order
            if progress is not None:
                progress(total["flits"])
    return {**total, "traffic": list(traffic)}
