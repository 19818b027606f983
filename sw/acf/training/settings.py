"""What a training run is: everything that its bits depend on, beside the device's configuration and the data."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np

from acf.sparsity.distributions import erk, global_density, uniform
from acf.sparsity.patterns import ConstantFanIn, Unstructured
from acf.sparsity.pruner import METHODS, Pruner
from acf.sparsity.schedules import CubicSparsity, DropSchedule, UpdateSchedule

__all__ = ["DISTRIBUTIONS", "ROUNDINGS", "STRUCTURES", "Settings", "bfloat16_bits", "make_pruner"]

DISTRIBUTIONS = {"erk": erk, "uniform": uniform}
"""How layers share the sparsity of the network."""

ROUNDINGS = ("nearest", "stochastic")

STRUCTURES = {"fan-in": ConstantFanIn, "unstructured": Unstructured}
"""Where entries may stand: as many in each row, or anywhere in a layer."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A training run.

    Parameters
    ----------
    method : str
        One of ``METHODS``.
    sparsity : float
        Of all weights of the network, biases not counted; without meaning to *dense*. With *gradual*, which
        begins dense, that at the end.
    hidden : tuple of int
        Neurons of the hidden layers.
    epochs, batch : int
        Passes over the training images, and images of a step; what is left of an epoch is left out.
    learning_rate, momentum : float
        The learning rate falls along a cosine to 0. Both are rounded to bfloat16 for the device.
    bias : float
        Where the biases of hidden layers start. Above 0, for neurons that see only a few inputs, none of them negative:
        with a bias of 0, those whose few weights are all negative would never learn.
    seed : int
        Of first weights and masks, the order of the images, growth at random, and stochastic rounding.
    distribution : str
        One of ``DISTRIBUTIONS``.
    structure : str
        One of ``STRUCTURES``. Without meaning to *dense*, and to *gradual*, which takes weights wherever they are.
    period : int
        Steps from one change of the structure to the next.
    drop : float
        Part of the entries that the first change drops; falls along a cosine to 0. Without meaning to *gradual*.
    candidate_step : int
        Only with *rigl* and *fan-in*: gradients off the mask are computed in one of so many columns at each change, and
        in the next ones at the next; 1, 2, 4 or 8. Less in layers whose rows exchange many of their entries, 1 in those
        whose rows have few and in the last one.
    last_change : float
        Part of all steps after which the structure stays; with *gradual*, the last pruning comes at the last whole
        number of periods in it.
    rounding : str
        Of weights from their master values: one of ``ROUNDINGS``.
    overlap : bool
        Run the optimizer of one layer beside the products of the next, in one program. The bits are the same; its
        cycles cannot be told from those of the products then.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    method: str = "rigl"
    sparsity: float = 0.9
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 0.3
    momentum: float = 0.9
    bias: float = 0.1
    seed: int = 1
    distribution: str = "erk"
    structure: str = "fan-in"
    period: int = 50
    drop: float = 0.3
    candidate_step: int = 4
    last_change: float = 0.75
    rounding: str = "nearest"
    overlap: bool = False

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("method", self.method, METHODS),
            ("distribution", self.distribution, DISTRIBUTIONS),
            ("rounding", self.rounding, ROUNDINGS),
            ("structure", self.structure, STRUCTURES),
        ):
            if value not in allowed:
                raise ValueError(f"{what} must be one of {', '.join(allowed)}, not {value!r}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden layers must have at least one neuron each, not {self.hidden!r}")
        for what, value in (("epochs", self.epochs), ("batch", self.batch), ("period", self.period)):
            if value < 1:
                raise ValueError(f"{what} must be positive, not {value!r}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed!r}")
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must be from 0 to below 1, not {self.sparsity!r}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning rate must be positive, not {self.learning_rate!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, not {self.momentum!r}")
        if not math.isfinite(self.bias):
            raise ValueError(f"biases must start at a number, not {self.bias!r}")
        if not 0 < self.drop <= 1:
            raise ValueError(f"the part that is dropped must be above 0 and at most 1, not {self.drop!r}")
        if self.candidate_step not in (1, 2, 4, 8):
            raise ValueError(f"of 1, 2, 4 or 8 columns one may be a candidate, not of {self.candidate_step!r}")
        if not 0 < self.last_change <= 1:
            raise ValueError(f"the part of steps with changes must be above 0 and at most 1, not {self.last_change!r}")

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "hidden": list(self.hidden)}

    def rate_at(self, step: int, steps: int) -> int:
        """Bits of the learning rate of step ``step``, counted from 0, of ``steps``."""
        return bfloat16_bits(self.learning_rate / 2 * (1 + math.cos(math.pi * step / steps)))


def make_pruner(settings: Settings, shapes: dict[str, tuple[int, int]], *, steps: int) -> Pruner:
    """Who says what the first masks are and when they change.

    Parameters
    ----------
    settings : Settings
    shapes : dict
        ``(out, in)`` of each layer, without its bias.
    steps : int
        Steps of the whole training.

    Raises
    ------
    ValueError
        If gradual pruning would not come to its end.
    """
    if settings.method == "dense":
        return Pruner(shapes, method="dense", seed=settings.seed)
    densities = DISTRIBUTIONS[settings.distribution](shapes, settings.sparsity)
    pattern = STRUCTURES[settings.structure]()
    if settings.method == "static":
        return Pruner(shapes, method="static", densities=densities, pattern=pattern, seed=settings.seed)
    end = max(1, round(settings.last_change * steps))
    if settings.method == "gradual":
        prunings = end // settings.period
        if not prunings:
            raise ValueError(
                f"gradual pruning needs a period of at most the {end} steps with changes, not {settings.period!r}"
            )
        gradual = CubicSparsity(
            final=1 - global_density(shapes, densities), end=prunings * settings.period, period=settings.period
        )
        return Pruner(shapes, method="gradual", densities=densities, gradual=gradual, seed=settings.seed)
    return Pruner(
        shapes,
        method=settings.method,
        densities=densities,
        updates=UpdateSchedule(period=settings.period, end=end),
        drop=DropSchedule(initial=settings.drop, end=end),
        pattern=pattern,
        seed=settings.seed,
    )


def bfloat16_bits(number: float) -> int:
    """The bits of ``number`` rounded to bfloat16."""
    return int(np.asarray(number, dtype=ml_dtypes.bfloat16).view(np.uint16))
