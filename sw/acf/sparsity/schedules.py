"""When the structure changes, and by how much. Training steps are counted from 1."""

import math
from dataclasses import dataclass

__all__ = ["DECAYS", "CubicSparsity", "DropSchedule", "UpdateSchedule"]

DECAYS = ("cosine", "linear", "constant")
"""How the drop fraction falls."""


@dataclass(frozen=True, kw_only=True)
class UpdateSchedule:
    """The steps at which entries are dropped and grown: every ``period`` steps, before ``end``.

    Parameters
    ----------
    period : int
        Steps from one update to the next; "delta T" of RigL.
    end : int
        The first step after which the structure stays; "T end" of RigL. Evci et al. stop after three quarters of the
        training.
    start : int
        Updates come ``period``, 2 ``period``, ... steps after this one.

    Raises
    ------
    ValueError
        If ``period`` is not positive, ``start`` is negative, or ``end`` not after ``start``.

    Sources
    -------
    Evci et al., *Rigging the Lottery: Making All Tickets Winners*, 2020, section 3 (2).
    """

    period: int
    end: int
    start: int = 0

    def __post_init__(self) -> None:
        _check_span(self.period, self.start, self.end)

    def due(self, step: int) -> bool:
        """Whether the structure changes at ``step``."""
        return self.start < step < self.end and (step - self.start) % self.period == 0


@dataclass(frozen=True, kw_only=True)
class DropSchedule:
    """The fraction of a layer's entries that an update drops.

    At step ``t`` it is ``initial / 2 * (1 + cos(pi * t / end))`` (cosine), ``initial * (1 - t / end)`` (linear), both
    0 from ``end`` on, or ``initial`` throughout (constant).

    Parameters
    ----------
    initial : float
        At step 0; above 0 and at most 1. RigL's "alpha".
    end : int
        The step at which cosine and linear reach 0.
    decay : str
        One of ``DECAYS``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Sources
    -------
    Evci et al., *Rigging the Lottery*, 2020, section 3 (2) for cosine; Mocanu et al., 2018, for constant ("zeta" of
    SET).
    """

    initial: float = 0.3
    end: int
    decay: str = "cosine"

    def __post_init__(self) -> None:
        if not 0 < self.initial <= 1:
            raise ValueError(f"the initial drop fraction must be above 0 and at most 1, not {self.initial!r}")
        if self.end < 1:
            raise ValueError(f"the drop fraction must end at a positive step, not {self.end!r}")
        if self.decay not in DECAYS:
            raise ValueError(f"the drop fraction must decay by {', '.join(DECAYS)}, not {self.decay!r}")

    def at(self, step: int) -> float:
        """The fraction at ``step``."""
        if self.decay == "constant":
            return self.initial
        if step >= self.end:
            return 0.0
        if self.decay == "linear":
            return self.initial * (1 - step / self.end)
        return self.initial / 2 * (1 + math.cos(math.pi * step / self.end))


@dataclass(frozen=True, kw_only=True)
class CubicSparsity:
    """Gradual pruning: the sparsity rises fast at first, while weights are plenty, then ever more slowly.

    At steps ``start``, ``start + period``, ..., ``end`` it is
    ``final + (initial - final) * (1 - (t - start) / (end - start)) ** 3``; in between it stays, before ``start`` it is
    ``initial`` and after ``end`` it is ``final``.

    Parameters
    ----------
    final, initial : float
        Sparsities; ``0 <= initial < final < 1``.
    start, end : int
        First and last step of pruning, a multiple of ``period`` apart.
    period : int
        Steps from one pruning to the next.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Sources
    -------
    Zhu and Gupta, *To prune, or not to prune: exploring the efficacy of pruning for model compression*, 2017,
    equation 1.
    """

    final: float
    initial: float = 0.0
    start: int = 0
    end: int
    period: int

    def __post_init__(self) -> None:
        if not 0 <= self.initial < 1:
            raise ValueError(f"the initial sparsity must be from 0 to below 1, not {self.initial!r}")
        if not self.initial < self.final < 1:
            raise ValueError(
                f"the final sparsity must be above the initial {self.initial!r} and below 1, not {self.final!r}"
            )
        _check_span(self.period, self.start, self.end)
        if (self.end - self.start) % self.period:
            raise ValueError(
                f"pruning must take a whole number of periods of {self.period} steps, not {self.end - self.start} steps"
            )

    def due(self, step: int) -> bool:
        """Whether weights are pruned at ``step``."""
        return max(1, self.start) <= step <= self.end and (step - self.start) % self.period == 0

    def at(self, step: int) -> float:
        """The sparsity at ``step``, that of the last pruning until the next."""
        if step >= self.end:
            return self.final
        passed = max(0, step - self.start) // self.period * self.period
        return self.final + (self.initial - self.final) * (1 - passed / (self.end - self.start)) ** 3


def _check_span(period: int, start: int, end: int) -> None:
    if period < 1:
        raise ValueError(f"the update period must be a positive number of steps, not {period!r}")
    if start < 0:
        raise ValueError(f"the first step must not be negative, not {start!r}")
    if end <= start:
        raise ValueError(f"the end step must be after step {start}, not {end!r}")
