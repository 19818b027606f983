"""A whole training: epochs, evaluation, checkpoints, and what there is to report."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acf.config import FabricConfig
from acf.runtime.device import Device
from acf.sparsity.weights import SparseWeights
from acf.training.checkpoint import read_checkpoint, write_checkpoint
from acf.training.data import Dataset
from acf.training.settings import Settings
from acf.training.trainer import Blueprint, Trainer

__all__ = ["EpochRecord", "Experiment", "Snapshot", "Stopped", "digest_of_weights"]

_SNAPSHOTS = 6


class Stopped(Exception):
    """A training was stopped between two steps, and can be gone on with.

    Parameters
    ----------
    step, steps : int
        Steps done, and steps of the whole training.
    """

    def __init__(self, step: int, steps: int):
        super().__init__(f"stopped after step {step} of {steps}")
        self.step = step
        self.steps = steps


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to: mean loss and accuracy on its batches, as they were trained on; accuracy on the holdout;
    density of each layer."""

    loss: float
    training_accuracy: float
    accuracy: float
    densities: dict[str, float]


@dataclass(frozen=True)
class Snapshot:
    """The mask of the first layer, without the bias, behind a step."""

    step: int
    mask: np.ndarray


@dataclass
class _History:
    losses: list[float] = field(default_factory=list)
    correct: list[int] = field(default_factory=list)
    epochs: list[EpochRecord] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)


class Experiment:
    """A training on a device.

    Parameters
    ----------
    config : FabricConfig
    settings : Settings
    dataset : Dataset
    holdout : str
        What ``dataset`` holds out, for the report.
    """

    def __init__(self, config: FabricConfig, settings: Settings, dataset: Dataset, *, holdout: str = "test"):
        self.config = config
        self.settings = settings
        self.dataset = dataset
        self.holdout = holdout
        self.steps_per_epoch = len(dataset.training.labels) // settings.batch
        if not self.steps_per_epoch:
            raise ValueError(
                f"a batch of {settings.batch} images is more than all {len(dataset.training.labels)} to train on"
            )
        self.steps = self.steps_per_epoch * settings.epochs
        self.blueprint = Blueprint(
            config, settings, features=dataset.features, classes=dataset.classes, steps=self.steps
        )
        self._history = _History()
        self._trainer: Trainer | None = None
        self._device_name = ""

    @property
    def memory_bytes(self) -> int:
        """Memory that the device needs."""
        return self.blueprint.memory_bytes

    def open(self, device: Device) -> None:
        """Fill the memory of ``device``, so that the training can begin."""
        self._trainer = Trainer(device, self.blueprint)
        self._device_name = device.name
        self._snapshot()

    @property
    def trainer(self) -> Trainer:
        """The trainer, behind ``open``."""
        if self._trainer is None:
            raise RuntimeError("the training has no device yet")
        return self._trainer

    @property
    def epochs(self) -> list[EpochRecord]:
        """Of the epochs done."""
        return self._history.epochs

    @property
    def snapshots(self) -> list[Snapshot]:
        """Masks of the first layer so far."""
        return self._history.snapshots

    @property
    def losses(self) -> list[float]:
        """Of the steps done."""
        return self._history.losses

    def run(
        self,
        *,
        folder: Path | None = None,
        extra: dict[str, Any] | None = None,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[["Experiment"], None] = lambda experiment: None,
    ) -> None:
        """Train from where it is to the end.

        Parameters
        ----------
        folder : Path or None
            Where a checkpoint is written behind every epoch, and when it stops.
        extra : dict
            Plain data that goes into the checkpoints.
        stop : callable
            Asked after every step.
        progress : callable
            Called after every step.

        Raises
        ------
        Stopped
            If it was stopped before the end.
        """
        trainer, training, history = self.trainer, self.dataset.training, self._history
        while trainer.step_number < self.steps:
            epoch, place = divmod(trainer.step_number, self.steps_per_epoch)
            order = np.random.default_rng([self.settings.seed, 2000, epoch]).permutation(len(training.labels))
            batch = order[place * self.settings.batch : (place + 1) * self.settings.batch]
            result = trainer.step(training.images[batch], training.labels[batch])
            history.losses.append(result.loss)
            history.correct.append(result.correct)
            ended = place + 1 == self.steps_per_epoch
            if ended:
                self._end_epoch()
            progress(self)
            stopped = stop() and trainer.step_number < self.steps
            if folder is not None and (ended or stopped):
                self.save(folder, extra=extra)
            if stopped:
                raise Stopped(trainer.step_number, self.steps)

    def save(self, folder: Path, *, extra: dict[str, Any] | None = None) -> None:
        """Write a checkpoint."""
        history = self._history
        state = {
            **(extra or {}),
            "settings": self.settings.describe(),
            "config_digest": self.config.digest,
            "data_sha256": self._data_digest(),
            "trainer": self.trainer.state_dict(),
            "losses": history.losses,
            "correct": history.correct,
            "epochs": [asdict(record) for record in history.epochs],
            "snapshots": [snapshot.step for snapshot in history.snapshots],
        }
        masks = {f"mask{number}": snapshot.mask for number, snapshot in enumerate(history.snapshots)}
        write_checkpoint(folder, state, {"weights": self.trainer.save_weights(), **masks})

    def resume(self, folder: Path) -> None:
        """Go on from the checkpoint in ``folder``, to the bits that there would be without an interruption.

        Raises
        ------
        ValueError
            If it is of another training.
        """
        state, arrays = read_checkpoint(folder)
        for what, mine in (
            ("settings", self.settings.describe()),
            ("config_digest", self.config.digest),
            ("data_sha256", self._data_digest()),
        ):
            if state.get(what) != mine:
                raise ValueError(f"the checkpoint is of a training with {what} {state.get(what)!r}, not {mine!r}")
        self.trainer.load_weights(arrays["weights"])
        self.trainer.load_state_dict(state["trainer"])
        self._history = _History(
            losses=state["losses"],
            correct=state["correct"],
            epochs=[EpochRecord(**record) for record in state["epochs"]],
            snapshots=[Snapshot(step, arrays[f"mask{number}"]) for number, step in enumerate(state["snapshots"])],
        )

    def weights(self) -> dict[str, SparseWeights]:
        """Copies of the weights as they are."""
        return self.trainer.read_weights(purpose="report")

    def report(self) -> dict[str, Any]:
        """What there is to say, as plain data."""
        trainer, plan, epochs = self.trainer, self.blueprint.plan, self._history.epochs
        elements = [rows * columns for rows, columns in (layer.shape for layer in plan.layers)]
        entries = {row["layer"]: row["entries"] for row in trainer.pruner.rows()}
        phases = {name: totals.state_dict() for name, totals in trainer.phases.items()}
        for name in ("forward", "evaluation"):
            phases[name]["dense_macs"] = sum(elements) * plan.batch * phases[name]["runs"]
        phases["backward"]["dense_macs"] = (2 * sum(elements) - elements[0]) * plan.batch * phases["backward"]["runs"]
        host = trainer.host
        weights_begin, weights_end = plan.regions["weights"]
        second_begin, second_end = plan.regions.get("second", (0, 0))
        return {
            "data": self.dataset.name,
            "training_images": len(self.dataset.training.labels),
            "holdout": self.holdout,
            "holdout_images": len(self.dataset.holdout.labels),
            **self.settings.describe(),
            "device": self._device_name,
            "preset": self.config.name,
            "config_digest": self.config.digest,
            "steps": trainer.step_number,
            "losses": [record.loss for record in epochs],
            "training_accuracies": [record.training_accuracy for record in epochs],
            "accuracies": [record.accuracy for record in epochs],
            "densities": [record.densities for record in epochs],
            "final_loss": epochs[-1].loss if epochs else None,
            "final_accuracy": epochs[-1].accuracy if epochs else None,
            "layers": [
                {
                    "layer": layer.name,
                    "shape": list(layer.shape),
                    "entries": entries[layer.name],
                    "biases": layer.weights.rows,
                    "sparsity": 1 - entries[layer.name] / (layer.shape[0] * layer.shape[1]),
                }
                for layer in plan.layers
            ],
            "network_sparsity": 1 - sum(entries.values()) / sum(elements),
            "phases": phases,
            "changes": trainer.changes,
            "exchanges": dict(trainer.exchanges),
            "change_cycles_of_100_steps": _part_of_100_steps(trainer),
            "weights_region_bytes": weights_end - weights_begin,
            "second_buffer_bytes": second_end - second_begin,
            "host_bytes_read": {f"{purpose}: {region}": n for (purpose, region), n in host.read_bytes.items()},
            "host_bytes_written": {f"{purpose}: {region}": n for (purpose, region), n in host.written_bytes.items()},
            "losses_sha256": hashlib.sha256(np.array(self._history.losses).tobytes()).hexdigest(),
            "weights_sha256": digest_of_weights(self.weights()),
        }

    def _end_epoch(self) -> None:
        trainer, history, count = self.trainer, self._history, self.steps_per_epoch
        holdout = self.dataset.holdout
        history.epochs.append(
            EpochRecord(
                loss=float(np.mean(history.losses[-count:])),
                training_accuracy=sum(history.correct[-count:]) / (count * self.settings.batch),
                accuracy=trainer.evaluate(holdout.images, holdout.labels),
                densities={row["layer"]: row["density"] for row in trainer.pruner.rows()},
            )
        )
        wanted = np.unique(np.linspace(0, self.settings.epochs, _SNAPSHOTS).round())
        if len(history.epochs) in wanted:
            self._snapshot()

    def _snapshot(self) -> None:
        layer = self.blueprint.plan.layers[0]
        mask = self.trainer.read_structure(layer.name, purpose="pictures").without_bias().to_bool()
        self._history.snapshots.append(Snapshot(self.trainer.step_number, mask))

    def _data_digest(self) -> str:
        digest = hashlib.sha256()
        for part in (self.dataset.training, self.dataset.holdout):
            digest.update(part.images.tobytes() + part.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def _part_of_100_steps(trainer: Trainer) -> float | None:
    """Cycles of a change of the structure, of all layers together, as a part of those of 100 steps without it."""
    cycles = {name: totals.cycles for name, totals in trainer.phases.items() if name != "evaluation"}
    structure = cycles.pop("structure")
    steps = [count for count in cycles.values() if count is not None]
    if structure is None or not trainer.changes or not any(steps):
        return None
    return structure / trainer.changes / (100 * sum(steps) / trainer.step_number)


def digest_of_weights(weights: dict[str, SparseWeights]) -> str:
    """SHA-256 of all weights, master values, momentum and structures, layer after layer."""
    digest = hashlib.sha256()
    for layer in weights.values():
        for array in (layer.pointers, layer.indices, layer.values, layer.master, layer.momentum):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
