"""Two areas beside each other: of a block with skipping, and of the same block without."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acf.sim.area import AreaReport

__all__ = ["FORMULAS", "AreaComparison", "ComparedModule"]

_COUNTERPARTS = {"acf_lockstep_lane": "acf_lane"}
"""Modules without skipping whose name is not that of the module which they stand for."""

_FEEDERS = ("acf_row_feeder", "acf_column_feeder")

FORMULAS = {
    "ratio": "area with skipping / area without",
    "ratio_without_feeders": "area with skipping, feeders included / area without skipping, feeders left out",
    "cost_percent": "100 (ratio - 1)",
    "throughput_per_area": "(dense_cycles / cycles) / ratio",
    "break_even_sparsity": "1 - weight_density x throughput_per_area, 0 at least",
}
"""What the numbers of a comparison are."""


@dataclass(frozen=True)
class ComparedModule:
    """A module with skipping and what stands for it without.

    Parameters
    ----------
    name, dense_name : str or None
        None where there is none.
    instances, dense_instances : int
    counts, dense_counts : dict
        How much of each resource is in one instance.
    """

    name: str | None
    dense_name: str | None
    instances: int
    dense_instances: int
    counts: Mapping[str, float]
    dense_counts: Mapping[str, float]


@dataclass(frozen=True)
class AreaComparison:
    """A block with skipping beside the same block without.

    Parameters
    ----------
    skipping, dense : AreaReport
        Of the same technology.
    """

    skipping: AreaReport
    dense: AreaReport

    @property
    def modules(self) -> tuple[ComparedModule, ...]:
        """All modules, in the order of ``skipping``."""
        nothing = dict.fromkeys(self.skipping.titles, 0)
        others = {_COUNTERPARTS.get(module.name, module.name): module for module in self.dense.modules}
        pairs = []
        for module in self.skipping.modules:
            other = others.pop(module.name, None)
            pairs.append(
                ComparedModule(
                    name=module.name,
                    dense_name=other.name if other else None,
                    instances=module.instances,
                    dense_instances=other.instances if other else 0,
                    counts=module.counts,
                    dense_counts=other.counts if other else nothing,
                )
            )
        pairs += [
            ComparedModule(None, other.name, 0, other.instances, nothing, other.counts) for other in others.values()
        ]
        return tuple(pairs)

    @property
    def ratio(self) -> dict[str, float | None]:
        """Of the whole block, by resource; None where there is nothing without skipping."""
        return ratios(self.skipping.total, self.dense.total)

    @property
    def ratio_without_feeders(self) -> dict[str, float | None] | None:
        """The same, with the feeders left out on the side without skipping: it would need simpler ones, but not none.

        None where the block has no feeders.
        """
        feeders = [module for module in self.dense.modules if module.name in _FEEDERS]
        if not feeders:
            return None
        total = self.dense.total
        rest = {name: total[name] - sum(feeder.instances * feeder.counts[name] for feeder in feeders) for name in total}
        return ratios(self.skipping.total, rest)

    def throughput(self, bench: dict[str, Any], *, digest: str) -> dict[str, Any]:
        """What a measured product says of throughput and area.

        Parameters
        ----------
        bench : dict
            A report of ``acf bench``, with its run without skipping.
        digest : str
            Of the configuration with skipping.

        Raises
        ------
        ValueError
            If the report is none, is of another configuration, or has no cycles with and without skipping.
        """
        missing = [name for name in ("config_digest", "cycles", "dense_cycles", "weight_density") if name not in bench]
        if missing:
            raise ValueError(f"the report of acf bench has no {missing[0]!r}")
        if bench["config_digest"] != digest:
            raise ValueError(f"the report of acf bench is of configuration {bench['config_digest']}, not {digest}")
        if not bench["cycles"] or not bench["dense_cycles"]:
            name = "cycles" if not bench["cycles"] else "dense_cycles"
            raise ValueError(f"the report of acf bench must have {name}, not {bench[name]!r}")
        speedup = bench["dense_cycles"] / bench["cycles"]
        gains = {name: speedup / ratio if ratio else None for name, ratio in self.ratio.items()}
        density = bench["weight_density"]
        return {
            **{
                name: bench.get(name)
                for name in ("product", "rows", "inner", "columns", "weight_density", "operand_density", "seed")
            },
            "cycles": bench["cycles"],
            "dense_cycles": bench["dense_cycles"],
            "speedup": speedup,
            "throughput_per_area": gains,
            "break_even_sparsity": {
                name: None if gain is None else max(0.0, 1 - density * gain) for name, gain in gains.items()
            },
        }

    def as_dict(self) -> dict[str, Any]:
        """Totals, ratios and modules as plain data, for reports."""
        ratio = self.ratio
        return {
            "logic": self.skipping.logic,
            "dense_total": self.dense.total,
            "ratio": ratio,
            "cost_percent": {name: None if one is None else 100 * (one - 1) for name, one in ratio.items()},
            "ratio_without_feeders": self.ratio_without_feeders,
            "compared_modules": [
                {
                    "name": module.name,
                    "dense_name": module.dense_name,
                    "instances": module.instances,
                    "dense_instances": module.dense_instances,
                    "dense_counts": module.dense_counts,
                    "ratio": ratios(module.counts, module.dense_counts),
                }
                for module in self.modules
            ],
            "formulas": FORMULAS,
        }


def ratios(counts: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float | None]:
    """Of each resource, how many times as much; None where there is none without skipping."""
    return {name: counts[name] / dense[name] if dense[name] else None for name in counts}
