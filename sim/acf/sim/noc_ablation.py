"""What it is worth to adapt a network to its traffic: fixed choices against a controller, on the RTL of the network.

The layers of a network come one after the other, with the three products of training each, and all of it again as many
steps as are asked for. The fixed network has xy routing, one virtual channel for each kind of group, and tiles as they
lie. Against it runs a controller that may choose everything, and controllers that may choose one thing alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from acf.config import ClassPolicy, NetworkConfig
from acf.isa import TrafficClass
from acf.runtime.multicast_groups import (
    CHANNEL_MAPS,
    GroupTables,
    MulticastGroup,
    logical_groups,
    logical_shapes,
    number_groups,
)
from acf.runtime.network_control import NetworkChoice, NetworkController
from acf.sim.layer_traffic import PRODUCTS, layer_packets, least_cycles
from acf.sim.noc_harness import NetworkHarness, RunStatistics
from acf.sim.noc_soak import WATCHDOG
from acf.sparsity.structure import Structure

__all__ = ["EXPERIMENTS", "UNITS", "Ablation", "ablate", "ablation_network", "by_layer", "summary"]

_FIXED = "fixed"

EXPERIMENTS = {
    _FIXED: (),
    "routing": ("entries", "operands", "results"),
    "channels": ("channel_map",),
    "shape": ("shape",),
    "adaptive": ("entries", "operands", "results", "channel_map", "shape"),
}
"""By name, the fields of ``NetworkChoice`` that the controller may choose."""

UNITS = {
    "cycles": "from the first flit that enters the network to the last packet that has come; all packets of a product "
    "wait at their sources from the beginning",
    "latency": "cycles from when a packet is the first at its source to the arrival of its tail at its last receiver",
    "stalls": "by traffic class: cycles in which a flit was the first in a buffer of a router and did not go on, for "
    "each flit that came to an input",
    "ratio": "cycles of the fixed network / cycles of this one: of the last step, and of all steps together, in which "
    "the controller still tries what may be worse",
}


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is to be compared.

    Parameters
    ----------
    tiles : tuple of int
        Rows and columns of tiles.
    columns, tile_columns : int
        Columns of the operands, and how many of them a tile holds at a time.
    steps : int
        How often all layers are run.
    every : int
        Steps from one reading of the counters, and one choice, to the next.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    tiles: tuple[int, int] = (4, 4)
    columns: int = 32
    tile_columns: int = 8
    steps: int = 12
    every: int = 1

    def __post_init__(self) -> None:
        for what, size in zip(("rows of tiles", "columns of tiles"), self.tiles, strict=True):
            if not 1 <= size <= 4:
                raise ValueError(f"{what} must be from 1 to 4, not {size}")
        if not 1 <= self.columns <= 4096:
            raise ValueError(f"columns of the operands must be from 1 to 4096, not {self.columns}")
        if not 1 <= self.tile_columns <= 12:
            raise ValueError(f"columns of a tile must be from 1 to 12, not {self.tile_columns}")
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be from 1 to 1000, not {self.steps}")
        if not 1 <= self.every <= self.steps:
            raise ValueError(f"steps between choices must be from 1 to all {self.steps}, not {self.every}")

    @property
    def start(self) -> NetworkChoice:
        """The fixed choice."""
        return NetworkChoice(entries="xy", operands="xy", results="xy", channel_map="apart", shape=self.tiles)

    def options(self, experiment: str) -> dict[str, Sequence[Any]]:
        """What the controller may choose in one of ``EXPERIMENTS``."""
        every = {
            "entries": ("xy", "yx"),
            "operands": ("xy", "yx"),
            "results": ("xy", "west-first"),
            "channel_map": CHANNEL_MAPS,
            "shape": tuple(logical_shapes(*self.tiles)),
        }
        return {name: every[name] for name in EXPERIMENTS[experiment]}


def ablation_network(tiles: tuple[int, int]) -> NetworkConfig:
    """The network around so many tiles: feeders at its north and west, two virtual channels for groups, two others."""
    return NetworkConfig(
        height=tiles[0] + 1,
        width=tiles[1] + 1,
        routing="xy,west-first",
        channels="free",
        rounds=2,
        by_class=True,
        statistics=True,
        groups=64,
        group_channels=2,
    )


def ablate(
    harness: NetworkHarness,
    masks: Mapping[str, Structure],
    wanted: Ablation,
    *,
    check: Callable[[NetworkConfig, list, dict], Any],
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Run all layers under all ``EXPERIMENTS``.

    Parameters
    ----------
    harness : NetworkHarness
        Of ``ablation_network(wanted.tiles)``.
    masks : mapping of str to Structure
        By layer, in their order.
    wanted : Ablation
    check : callable
        ``acf.hw.blocks.check_groups``: tables that are chosen are proved before they are written.
    progress : callable

    Returns
    -------
    list of dict
        For each experiment, layer and product: the run of the last step (``choice``, ``cycles``, ``packets``,
        ``flits``, ``latency_mean``, ``latency_p99``, ``finished`` and ``stalls`` by class), ``ratio`` and
        ``ratio_of_all_steps`` to the fixed network, ``cycles_of_steps``, and ``choices_tried``, how many. See
        ``UNITS``.

    Raises
    ------
    acf.sim.noc_harness.NetworkError
        If a flit does not come as it was sent, or nothing moves for more than ``WATCHDOG`` cycles.
    """
    layers = {
        (layer, product): _Layer(harness.network, mask, wanted, product)
        for layer, mask in masks.items()
        for product in PRODUCTS
    }
    records: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for experiment in EXPERIMENTS:
        controller = NetworkController(wanted.start, wanted.options(experiment))
        choices: dict[tuple[str, str], NetworkChoice] = {}
        for step in range(wanted.steps):
            progress(f"{experiment}, step {step + 1} of {wanted.steps}")
            for key, layer in layers.items():
                if step % wanted.every == 0:
                    choices[key] = controller.choose(key, layer.least_cycles)
                choice = choices[key]
                found = layer.run(harness, choice, check)
                if (step + 1) % wanted.every == 0:
                    stalls = {TrafficClass[name.upper()]: value for name, value in found["stalls"].items()}
                    controller.observe(key, choice, cycles=found["cycles"], stalls=stalls)
                records.setdefault((experiment, *key), []).append(found)
    reports = []
    for (experiment, layer, product), runs in records.items():
        fixed = records[_FIXED, layer, product]
        reports.append(
            {
                "experiment": experiment,
                "layer": layer,
                "product": product,
                **runs[-1],
                "ratio": fixed[-1]["cycles"] / runs[-1]["cycles"],
                "ratio_of_all_steps": sum(one["cycles"] for one in fixed) / sum(one["cycles"] for one in runs),
                "cycles_of_steps": [one["cycles"] for one in runs],
                "choices_tried": len({NetworkChoice(**one["choice"]) for one in runs}),
            }
        )
    return reports


def by_layer(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """By experiment and layer what is left when seeds and products are added up.

    Members are ``cycles_of_steps``, by step; ``cycles`` of the last step, by product; and ``chosen``, how often a
    choice was that of the last step.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for report in reports:
        steps, product = report["cycles_of_steps"], report["product"]
        nothing: dict[str, Any] = {"cycles_of_steps": [0] * len(steps), "cycles": {}, "chosen": {}}
        sums = found.setdefault(report["experiment"], {}).setdefault(report["layer"], nothing)
        sums["cycles_of_steps"] = [sum(pair) for pair in zip(sums["cycles_of_steps"], steps, strict=True)]
        sums["cycles"][product] = sums["cycles"].get(product, 0) + report["cycles"]
        name = NetworkChoice(**report["choice"]).name
        sums["chosen"][name] = sums["chosen"].get(name, 0) + 1
    return found


def summary(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By experiment the ratios of all cycles to those of the fixed network, over all layers, products and seeds.

    Members are ``last_step`` and ``all_steps``, and ``least`` and ``most`` of any single ratio of the last step.
    """
    found = {}
    fixed = [report for report in reports if report["experiment"] == _FIXED]
    for experiment in EXPERIMENTS:
        own = [report for report in reports if report["experiment"] == experiment]
        found[experiment] = {
            "last_step": _sum(fixed, last=True) / _sum(own, last=True),
            "all_steps": _sum(fixed, last=False) / _sum(own, last=False),
            "least": min(report["ratio"] for report in own),
            "most": max(report["ratio"] for report in own),
        }
    return found


def _sum(reports: Sequence[Mapping[str, Any]], *, last: bool) -> int:
    return sum(cycles for report in reports for cycles in report["cycles_of_steps"][-1 if last else 0 :])


class _Layer:
    """The traffic of one product of one layer, under any choice."""

    def __init__(self, network: NetworkConfig, mask: Structure, wanted: Ablation, product: str):
        self._network = network
        self._mask = mask
        self._wanted = wanted
        self._product = product
        self._runs: dict[NetworkChoice, dict[str, Any]] = {}

    def traffic(self, choice: NetworkChoice) -> tuple[dict[int, MulticastGroup], np.ndarray]:
        """Groups by number, and packets."""
        kinds = logical_groups(
            *self._wanted.tiles,
            choice.shape,
            rows_columns_first=choice.entries == "yx",
            columns_columns_first=choice.operands == "yx",
        )
        entries, operands = number_groups(kinds, network=self._network, channel_map=choice.channel_map)
        packets = layer_packets(
            self._mask.pointers,
            self._mask.indices,
            self._mask.shape[1],
            product=self._product,
            columns=self._wanted.columns,
            tile_columns=self._wanted.tile_columns,
            network=self._network,
            entries=entries,
            operands=operands,
        )
        return entries | operands, packets

    def least_cycles(self, choice: NetworkChoice) -> int:
        """As of ``acf.sim.layer_traffic``."""
        groups, packets = self.traffic(choice)
        return least_cycles(packets, groups, self._network)

    def run(
        self, harness: NetworkHarness, choice: NetworkChoice, check: Callable[[NetworkConfig, list, dict], Any]
    ) -> dict[str, Any]:
        """Run it, or say what came of it before: the same choice always takes the same cycles."""
        if choice not in self._runs:
            groups, packets = self.traffic(choice)
            tables = GroupTables(self._network, groups)
            check(self._network, tables.forks.tolist(), tables.sources)
            harness.set_groups(tables)
            policies = list(self._network.default_policies)
            policies[TrafficClass.RESULTS] = ClassPolicy(
                function=choice.results, channels=self._network.channel_sets[choice.results]
            )
            harness.set_policies(policies)
            found = harness.deliver(packets, watchdog=WATCHDOG)
            self._runs[choice] = _measured(harness, choice, found)
        return self._runs[choice]


def _measured(harness: NetworkHarness, choice: NetworkChoice, found: RunStatistics) -> dict[str, Any]:
    """What one run came to."""
    flits, stalls = np.zeros(len(TrafficClass)), np.zeros(len(TrafficClass))
    for one in harness.counters():
        flits[one.traffic_class] += one.flits
        stalls[one.traffic_class] += one.stalls
    classes = TrafficClass.ENTRIES, TrafficClass.OPERANDS, TrafficClass.RESULTS
    has_any = found.latencies.size > 0
    return {
        "choice": asdict(choice),
        "cycles": found.finished,
        "packets": found.delivered,
        "flits": found.flits_created,
        "latency_mean": float(found.latencies.mean()) if has_any else 0.0,
        "latency_p99": int(np.percentile(found.latencies, 99, method="inverted_cdf")) if has_any else 0,
        "finished": {kind.name.lower(): found.finished_of[kind] for kind in classes},
        "stalls": {kind.name.lower(): float(stalls[kind] / max(1, flits[kind])) for kind in classes},
    }
