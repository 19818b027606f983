"""The structure of a network through its training: what changes when, whoever does it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from acf.sparsity.distributions import Shapes, check_shapes, explicit, global_density, matrix_shape
from acf.sparsity.patterns import ConstantFanIn, Pattern, Unstructured
from acf.sparsity.schedules import CubicSparsity, DropSchedule, UpdateSchedule
from acf.sparsity.structure import Structure
from acf.sparsity.updates import StructureUpdate, UpdateKind

__all__ = ["METHODS", "Pruner"]

METHODS = ("dense", "static", "set", "rigl", "gradual")
"""How the structure of a network comes about."""

_NEEDS = {
    "dense": set(),
    "static": {"densities"},
    "set": {"densities", "updates", "drop"},
    "rigl": {"densities", "updates", "drop"},
    "gradual": {"densities", "gradual"},
}
_STATE_VERSION = 1


class Pruner:
    """Says when the structure of each layer changes and by how much; others do it.

    ``structures()`` gives the first masks. ``step()`` is called after each training step and gives what must happen
    now; ``peek()`` says so before, for who must gather gradients off the mask in that step. An update depends on the
    step and on what the pruner was made with, on nothing else.

    - *dense*: no mask.
    - *static*: the first mask stays.
    - *set*: the smallest weights of a row are dropped and others grown at random; those of a layer where masks are
      unstructured.
    - *rigl*: the same, grown where the gradient is largest.
    - *gradual*: layers lose their smallest weights, in whatever rows they are, until the densities given are reached.
      In between, the sparsity of a layer is its last one times how far the schedule has come, so that the network as a
      whole follows the schedule.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Layers in the order of the network: ``(out, in)`` or ``(out, in, height, width)``, without a bias column.
    method : str
        One of ``METHODS``.
    densities : mapping of str to float
        Of each layer, as ``distributions`` gives them; for *gradual* those at the end. Not for *dense*.
    updates : UpdateSchedule
        For *set* and *rigl* only.
    drop : DropSchedule
        For *set* and *rigl* only. A row, or a layer, drops the whole part of this fraction of its entries.
    gradual : CubicSparsity
        For *gradual* only; its last sparsity is that of ``densities``.
    pattern : Pattern
        *set* and *rigl* take all but ``Blocks``, *gradual* takes ``Unstructured``. By default
        ``Unstructured`` for *gradual*, ``ConstantFanIn`` for the others.
    seed : int
        For the first masks and growth at random.

    Raises
    ------
    ValueError
        If a parameter is out of range, missing, or of no use to the method.

    Sources
    -------
    *set*: Mocanu et al., 2018. *rigl*: Evci et al., 2020. *gradual*: Zhu and Gupta, 2017. Constant fan-in: Lasby et
    al., 2023 (SRigL). Their titles stand in ``reference`` and ``schedules``.
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        method: str,
        densities: Mapping[str, float] | None = None,
        updates: UpdateSchedule | None = None,
        drop: DropSchedule | None = None,
        gradual: CubicSparsity | None = None,
        pattern: Pattern | None = None,
        seed: int = 0,
    ):
        if pattern is None:
            pattern = Unstructured() if method == "gradual" else ConstantFanIn()
        _check_method(method, pattern, densities=densities, updates=updates, drop=drop, gradual=gradual)
        if seed < 0:
            raise ValueError(f"seed must not be negative, not {seed!r}")
        check_shapes(shapes)
        self.shapes = {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}
        self.densities = explicit(shapes, dict.fromkeys(shapes, 1.0) if densities is None else densities)
        if gradual is not None:
            sparsity = 1 - global_density(self.shapes, self.densities)
            if abs(sparsity - gradual.final) > 1e-6:
                raise ValueError(
                    f"gradual pruning must end at the sparsity of the densities, {sparsity:.6g}, not {gradual.final!r}"
                )
        self.method = method
        self.updates = updates
        self.drop = drop
        self.gradual = gradual
        self.pattern = pattern
        self.seed = seed
        self.step_number = 0
        self._changed: dict[str, int | None] = dict.fromkeys(self.shapes)
        self._entries = {name: self._entries_at(name, 0) for name in self.shapes}

    def structures(self) -> dict[str, Structure]:
        """The masks before the first step, drawn from the seed, by layer."""
        made = {}
        for number, (name, shape) in enumerate(self.shapes.items()):
            generator = np.random.default_rng([self.seed, number])
            made[name] = self.pattern.make(matrix_shape(shape), self._density_at(name, 0), generator)
        return made

    def peek(self) -> list[StructureUpdate]:
        """What the next ``step()`` will return."""
        step = self.step_number + 1
        if self.updates is not None and self.updates.due(step):
            found = [self._rewire(name, step) for name in self.shapes]
        elif self.gradual is not None and self.gradual.due(step):
            found = [self._prune(name, step) for name in self.shapes]
        else:
            found = []
        return [update for update in found if update is not None]

    def step(self) -> list[StructureUpdate]:
        """Count one training step, and say which layers change after it: at most one update for each.

        Layers in which nothing changes, such as dense ones, have none.
        """
        found = self.peek()
        self.step_number += 1
        for update in found:
            self._changed[update.layer] = update.step
            self._entries[update.layer] = self._entries_at(update.layer, self.step_number)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Plain data from which an equal pruner goes on where this one is."""
        return {
            "version": _STATE_VERSION,
            "settings": self._settings(),
            "step": self.step_number,
            "entries": dict(self._entries),
            "changed": dict(self._changed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()`` of a pruner that was made alike.

        Raises
        ------
        ValueError
            If ``state`` lacks a part, is of another version or from a pruner that was made otherwise, or if its parts
            do not agree.
        """
        if state.get("version") != _STATE_VERSION:
            raise ValueError(f"the state of a pruner must be of version {_STATE_VERSION}, not {state.get('version')!r}")
        missing = sorted(self.state_dict().keys() - state.keys())
        if missing:
            raise ValueError(
                f"the state of a pruner must have {', '.join(self.state_dict())}, but {missing[0]} is missing"
            )
        for key, value in self._settings().items():
            if state["settings"].get(key) != value:
                raise ValueError(
                    f"the state is of a pruner whose {key} is {state['settings'].get(key)!r}, not {value!r}"
                )
        step = state["step"]
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"the step of a state must be a number that is not negative, not {step!r}")
        entries = {name: self._entries_at(name, step) for name in self.shapes}
        if state["entries"] != entries:
            raise ValueError(f"layers have {entries} entries at step {step}, not {state['entries']}")
        if set(state["changed"]) != set(self.shapes):
            raise ValueError(f"changes must be given for {', '.join(self.shapes)}, not {', '.join(state['changed'])}")
        self.step_number, self._entries, self._changed = step, entries, dict(state["changed"])

    def rows(self) -> list[dict[str, Any]]:
        """One record for each layer: what ``table()`` shows, as plain data."""
        return [
            {
                "layer": name,
                "shape": shape,
                "target_density": self.densities[name],
                "density": self._entries[name] / np.prod(matrix_shape(shape)).item(),
                "entries": self._entries[name],
                "changed": self._changed[name],
            }
            for name, shape in self.shapes.items()
        ]

    def table(self) -> Any:
        """A ``rich.table.Table`` of the layers: entries / elements wished for and present, and the last change."""
        from rich.table import Table

        table = Table("Layer", "Shape", title=str(self).partition("\n")[0])
        for heading in ("Target density", "Density", "Entries", "Last change"):
            table.add_column(heading, justify="right")
        for row in self.rows():
            table.add_row(
                row["layer"],
                " x ".join(map(str, row["shape"])),
                f"{row['target_density']:.4f}",
                f"{row['density']:.4f}",
                f"{row['entries']:,}",
                "-" if row["changed"] is None else f"step {row['changed']:,}",
            )
        return table

    def __str__(self) -> str:
        rows = self.rows()
        total = sum(np.prod(row["shape"]).item() for row in rows)
        entries = sum(row["entries"] for row in rows)
        lines = [f"{self.method}, {self.pattern}, step {self.step_number}: {entries} of {total} weights"]
        lines += [f"  {row['layer']}: {row['entries']} entries, density {row['density']:.4f}" for row in rows]
        return "\n".join(lines)

    def _density_at(self, name: str, step: int) -> float:
        if self.gradual is None or step >= self.gradual.end:
            return self.densities[name]
        return 1 - (1 - self.densities[name]) * (self.gradual.at(step) / self.gradual.final)

    def _entries_at(self, name: str, step: int) -> int:
        try:
            return self.pattern.entries(matrix_shape(self.shapes[name]), self._density_at(name, step))
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None

    def _rewire(self, name: str, step: int) -> StructureUpdate | None:
        assert self.drop is not None
        shape = matrix_shape(self.shapes[name])
        anywhere = isinstance(self.pattern, Unstructured)
        entries = self._entries[name] if anywhere else self._entries[name] // shape[0]
        drop = min(int(self.drop.at(step) * entries), self.pattern.movable(shape, self._entries[name]))
        if not drop:
            return None
        if self.method == "rigl":
            kind, seed = UpdateKind.REGROW_BY_GRADIENT if anywhere else UpdateKind.REWIRE_BY_GRADIENT, None
        else:
            kind = UpdateKind.REGROW_AT_RANDOM if anywhere else UpdateKind.REWIRE_AT_RANDOM
            seed = self._growth_seed(name, step)
        return StructureUpdate(
            layer=name, step=step, kind=kind, drop=drop, entries=entries, seed=seed, group=self.pattern.group
        )

    def _prune(self, name: str, step: int) -> StructureUpdate | None:
        before, after = self._entries[name], self._entries_at(name, step)
        if after >= before:
            return None
        return StructureUpdate(layer=name, step=step, kind=UpdateKind.PRUNE, drop=before - after, entries=after)

    def _growth_seed(self, name: str, step: int) -> int:
        sequence = np.random.SeedSequence([self.seed, list(self.shapes).index(name), step])
        # A shift register never leaves 0.
        return int(sequence.generate_state(1)[0]) or 1

    def _settings(self) -> dict[str, Any]:
        schedules = {"updates": self.updates, "drop": self.drop, "gradual": self.gradual}
        return {
            "method": self.method,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "densities": dict(self.densities),
            "pattern": str(self.pattern),
            "seed": self.seed,
            **{name: None if schedule is None else asdict(schedule) for name, schedule in schedules.items()},
        }


def _check_method(method: str, pattern: Pattern, **given: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    for name, value in given.items():
        if (value is not None) != (name in _NEEDS[method]):
            raise ValueError(f"method {method!r} {'has no use for' if value is not None else 'needs'} {name}")
    if method in ("set", "rigl") and not (pattern.in_place or isinstance(pattern, Unstructured)):
        raise ValueError(f"method {method!r} moves single entries of a layer or of its rows, not {pattern}")
    if method == "gradual" and not isinstance(pattern, Unstructured):
        raise ValueError(f"gradual pruning takes weights wherever they are, so masks are unstructured, not {pattern}")
