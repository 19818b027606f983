"""Latency of a network against its load, up to where it saturates.

Latency counts from the creation of a packet, in a queue at its source that has no end, to the arrival of its tail. A
network is saturated where the mean latency is more than three times that of a packet alone, or not all measured packets
come before the end of the drain phase.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acf.runtime.multicast_groups import GroupTables
from acf.sim.noc_harness import NetworkHarness, Phases, RunStatistics
from acf.sim.traffic import destinations, group_traffic, routers_passed, with_groups

__all__ = ["SATURATED", "UNITS", "Sweep", "sweep", "zero_load_latency"]

SATURATED = 3.0
"""Mean latency of a saturated network, as a multiple of that of a packet alone."""

_PAIRS = 4096

UNITS = {
    "offered_load": "flits created per sending node per cycle, asked for",
    "created_load": "flits created / (senders x measuring cycles)",
    "accepted_load": "flits taken from the network / (senders x measuring cycles)",
    "latency": "cycles from the creation of a packet to the arrival of its tail, of packets created in the measuring "
    "phase; percentiles are the smallest latency that so many percent do not exceed",
    "source_stall": "cycles in which a source offers a flit in vain / (senders x measuring cycles)",
    "zero_load_latency": "mean latency in cycles of packets that are alone in the network, by the probabilities of the "
    "traffic",
    "entered_load": "flits that went into the network / (senders x measuring cycles); only with traffic to groups, "
    "where one that went in is taken by each member",
    "member_latency": "latency at each member of the group of a packet; that of the packet is the one at its last "
    "member; only with traffic to groups",
    "copies": "flits that went into the network (entered) and were taken from it (taken) until it was empty again; "
    "only with traffic to groups, where it is not saturated",
    "classes": "by traffic class: its policy, measured packets that came, and their mean latency; only of a network by "
    "class",
    "counters": "of every input of a router, by traffic class, since the run at that load began: flits that came, "
    "cycles in which one was the first in a buffer and did not go on (stalls), flits in the buffers summed over all "
    "cycles (occupancy); only of a network with statistics, at the highest load that does not saturate it",
    "saturation": "highest offered load, by bisection, whose mean latency is at most 3 x zero_load_latency; null if "
    "none is, or all are",
}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is to be measured.

    Parameters
    ----------
    traffic : str
        A key of ``acf.sim.traffic.PATTERNS``.
    groups : str or None
        One of ``acf.sim.traffic.GROUP_PATTERNS``, for traffic to groups.
    group_part : float
        Part of the packets of each sender that is for its group, if there are groups.
    flits : int
        Of a packet.
    seed : int
    phases : Phases
    step : float
        Between loads, where the network is not saturated yet.
    resolution : float
        Saturation is found between loads that are at most so far apart.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    traffic: str = "uniform"
    groups: str | None = None
    group_part: float = 1.0
    flits: int = 1
    seed: int = 1
    phases: Phases = field(default_factory=Phases)
    step: float = 0.1
    resolution: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.group_part <= 1:
            raise ValueError(f"part of the packets for groups must be above 0 and at most 1, not {self.group_part}")
        if not 0.01 <= self.step <= 1:
            raise ValueError(f"step of the load must be from 0.01 to 1, not {self.step}")
        if not 0.0005 <= self.resolution <= 1:
            raise ValueError(f"resolution of the saturation must be from 0.0005 to 1, not {self.resolution}")


def zero_load_latency(
    harness: NetworkHarness, table: np.ndarray, *, flits: int, seed: int, groups: GroupTables | None = None
) -> dict[str, Any]:
    """Latency of packets that are alone; of those for groups, at the member that is farthest.

    Each way of the traffic is tried once, or so many drawn ones that there are more than ``4096``.

    Returns
    -------
    dict
        ``mean``: by the probabilities of the ways; ``by_routers``: the least and the most for each number of routers
        passed; ``packets``: how many were sent.
    """
    ways = np.argwhere(table > 0)
    weights = table[tuple(ways.T)]
    if len(ways) > _PAIRS:
        drawn = np.random.default_rng(seed).choice(len(ways), size=_PAIRS, p=weights / weights.sum())
        ways, weights = ways[drawn], np.ones(_PAIRS)
    latencies = np.array([harness.alone(int(source), int(to), flits=flits) for source, to in ways])
    routers = routers_passed(harness.network, groups)[tuple(ways.T)]
    by_routers = {
        int(count): [int(latencies[routers == count].min()), int(latencies[routers == count].max())]
        for count in np.unique(routers)
    }
    return {
        "mean": float((latencies * weights).sum() / weights.sum()),
        "packets": len(ways),
        "by_routers": by_routers,
    }


def sweep(
    harness: NetworkHarness, wanted: Sweep, *, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Measure a network at rising loads, then narrow down where it saturates.

    Below saturation the network is emptied behind each run, and every packet created must have come.

    Returns
    -------
    dict
        ``points``, in the order of loads; ``zero_load_latency``, ``saturation``, ``saturation_between`` and what the
        traffic is like. ``UNITS`` says what they count.

    Raises
    ------
    ValueError
        If a value is out of its range, or the network has no such groups.
    acf.sim.noc_harness.NetworkError
        If the network loses, doubles or changes a packet, or a member of a group lacks one.
    """
    network = harness.network
    table = destinations(wanted.traffic, network)
    senders = int(table.any(axis=1).sum())
    groups = None
    if wanted.groups is not None:
        groups = group_traffic(wanted.groups, network, flits=wanted.flits, seed=wanted.seed)
        harness.set_groups(groups)
        table = with_groups(table, groups, part=wanted.group_part)
    progress("packets alone")
    alone = zero_load_latency(harness, table, flits=wanted.flits, seed=wanted.seed, groups=groups)
    points: dict[float, dict[str, Any]] = {}
    counted: dict[float, dict[str, Any]] = {}

    def saturates(load: float) -> bool:
        load = round(load, 6)
        progress(f"load {load:g}")
        found = harness.run(
            table, load=load, flits=wanted.flits, seed=wanted.seed, phases=wanted.phases,
            progress=lambda cycles: progress(f"load {load:g}, cycle {cycles:,}"),
        )  # fmt: skip
        points[load] = point = _point(found, load=load, senders=senders, wanted=wanted)
        if network.by_class:
            point["classes"] = _by_class(found)
        point["saturated"] = not found.drained or point["latency_mean"] > SATURATED * alone["mean"]
        if not point["saturated"]:
            harness.flush()
            if groups is not None:
                point["copies"] = dict(zip(("entered", "taken"), harness.copies(), strict=True))
            if network.statistics:
                inputs = [dataclasses.asdict(one) for one in harness.counters()]
                counted[load] = {"offered_load": load, "cycles": found.cycles, "inputs": inputs}
        return point["saturated"]

    low, high = _bracket(saturates, step=wanted.step)
    if low > 0 and high <= 1:
        while high - low > wanted.resolution + 1e-9:
            middle = (low + high) / 2
            low, high = (low, middle) if saturates(middle) else (middle, high)
    found = 0 < low < 1 and high <= 1
    routers = routers_passed(network, groups)
    return {
        "senders": senders,
        **({} if groups is None else {"members": [len(group.members) for group in groups.groups.values()]}),
        "to_itself": float(np.trace(table[:, : network.nodes]) / senders),
        "mean_routers": float((table * routers).sum() / senders),
        "zero_load_latency": alone["mean"],
        "zero_load": alone,
        "saturation": round(low, 6) if found else None,
        "saturation_between": [round(low, 6), round(high, 6) if high <= 1 else None],
        "points": [points[load] for load in sorted(points)],
        **({"counters": counted[max(counted)] if counted else None} if network.statistics else {}),
    }


def _by_class(found: RunStatistics) -> list[dict[str, Any]]:
    return [
        {"packets": packets, "latency_mean": latency / packets if packets else None}
        for packets, latency in zip(found.delivered_of, found.latency_of, strict=True)
    ]


def _bracket(saturates: Callable[[float], bool], *, step: float) -> tuple[float, float]:
    """A load below saturation and one above it; the latter is infinite when there is none."""
    low = 0.0
    for n in range(1, math.ceil(1 / step - 1e-9) + 1):
        load = min(1.0, n * step)
        if saturates(load):
            break
        low = load
    else:
        return low, math.inf
    high = load
    while low == 0 and high > step / 64:  # saturated from the first step on
        if saturates(high / 2):
            high /= 2
        else:
            low = high / 2
    return low, high


def _point(found: RunStatistics, *, load: float, senders: int, wanted: Sweep) -> dict[str, Any]:
    node_cycles = senders * wanted.phases.measure
    latencies = found.latencies
    measured = latencies.size > 0
    return {
        "offered_load": load,
        "created_load": found.measured * wanted.flits / node_cycles,
        "accepted_load": found.flits_ejected / node_cycles,
        "latency_mean": float(latencies.mean()) if measured else 0.0,
        "latency_p50": int(np.percentile(latencies, 50, method="inverted_cdf")) if measured else None,
        "latency_p99": int(np.percentile(latencies, 99, method="inverted_cdf")) if measured else None,
        "latency_most": int(latencies.max()) if measured else None,
        "packets": found.measured,
        "packets_not_delivered": found.measured - found.measured_delivered,
        "source_stall": found.source_stalls / node_cycles,
        "out_of_order": found.out_of_order,
        "cycles": found.cycles,
        **({} if wanted.groups is None else _of_members(found, node_cycles)),
    }


def _of_members(found: RunStatistics, node_cycles: int) -> dict[str, Any]:
    latencies = found.member_latencies
    measured = latencies.size > 0
    return {
        "entered_load": found.flits_injected / node_cycles,
        "member_deliveries": int(latencies.size),
        "member_latency_mean": float(latencies.mean()) if measured else None,
        **{
            f"member_latency_p{percent}": int(np.percentile(latencies, percent, method="inverted_cdf"))
            if measured
            else None
            for percent in (50, 99)
        },
    }
