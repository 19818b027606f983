"""What the programs of a phase of training took, in sum."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from acf.runtime.device import RunResult

__all__ = ["PhaseTotals"]


@dataclass
class PhaseTotals:
    """Sums over the runs of a phase.

    Parameters
    ----------
    runs : int
    effectual_macs : int
        Products with two non-zero operands.
    cycles, bytes_read, bytes_written : int or None
        None from a device without time.
    engine : dict or None
        Counters of the structure engine by name: entries updated, rewired, pruned and merged, and the cycles spent on
        each. None from a device without time.
    """

    runs: int = 0
    effectual_macs: int = 0
    cycles: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    engine: dict[str, int] | None = None

    def add(self, run: RunResult) -> None:
        """Count one run."""
        self.runs += 1
        self.effectual_macs += run.effectual_macs
        for what in ("cycles", "bytes_read", "bytes_written"):
            value = getattr(run, what)
            if value is not None:
                setattr(self, what, (getattr(self, what) or 0) + int(value))
        if run.structure is not None:
            before = self.engine or {}
            counts = {counter.name.lower(): int(value) for counter, value in run.structure.items()}
            self.engine = {name: before.get(name, 0) + value for name, value in counts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "PhaseTotals":
        """The inverse of ``state_dict``."""
        return cls(**state)
