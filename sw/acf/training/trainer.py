"""Trains a perceptron on a device, step by step.

The host writes the images of a step and the gradient of the loss by the logits, and reads the logits. Weights, their
master values and their structure are the device's alone while it trains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.isa import COMMAND_BYTES, IndexSize, Opcode
from acf.runtime.device import Device, RunResult, Window
from acf.runtime.drains import MOST_PARTS
from acf.runtime.layout import column_tiling
from acf.runtime.memory import round_up
from acf.runtime.program import Program
from acf.runtime.sampled_tiling import tile_sampled
from acf.runtime.scatter_blocks import MORE_BLOCKS
from acf.runtime.schedule import MOST_PIECES
from acf.sparsity.pruner import Pruner
from acf.sparsity.structure import Structure
from acf.sparsity.updates import StructureUpdate, UpdateKind
from acf.sparsity.weights import SparseWeights
from acf.training.host_memory import HostMemory
from acf.training.measures import PhaseTotals
from acf.training.plan import LayerPlan, NetworkPlan, plan_network
from acf.training.programs import (
    PlacedProgram,
    backward_program,
    choose_candidates,
    forward_program,
    prune_program,
    regrow_program,
    rewire_program,
    update_program,
)
from acf.training.rewiring import candidate_step, rewire_fields
from acf.training.settings import Settings, bfloat16_bits, make_pruner

__all__ = ["Blueprint", "StepResult", "Trainer"]


@dataclass(frozen=True)
class StepResult:
    """Mean loss of a batch before the step, how many of its images were right, and the layers that changed."""

    loss: float
    correct: int
    changed: tuple[str, ...]


class Blueprint:
    """Everything about a training that needs no device: who prunes, where arrays lie, and the programs.

    Parameters
    ----------
    config : FabricConfig
    settings : Settings
    features, classes : int
    steps : int
        Of the whole training.

    Raises
    ------
    ValueError
        If the device's format cannot be trained in, it cannot change the structure so, or a size does not fit.
    """

    def __init__(self, config: FabricConfig, settings: Settings, *, features: int, classes: int, steps: int):
        if not config.lane.number_format.narrows:
            raise ValueError(f"networks are trained in bf16, not in {config.lane.format}")
        is_unstructured = settings.method == "gradual" or (
            settings.method in ("set", "rigl") and settings.structure == "unstructured"
        )
        if is_unstructured and not config.structure.unstructured:
            raise ValueError(
                f"{config.name} changes layers of constant fan-in only, not by the method {settings.method} with the "
                f"structure {settings.structure}"
            )
        if steps < 1:
            raise ValueError(f"training must have at least one step of a whole batch of {settings.batch} images, not 0")
        widest, most = max(features, *settings.hidden) + 1, config.structure.columns
        if settings.method in ("set", "rigl") and widest > most:
            raise ValueError(
                f"a layer whose structure changes has at most {most} columns, the bias included, not {widest}"
            )
        self.settings = settings
        self.steps = steps
        self.sizes = (features, *settings.hidden, classes)
        self._shapes = shapes = {
            f"layer{number + 1}": (self.sizes[number + 1], self.sizes[number]) for number in range(len(self.sizes) - 1)
        }
        self.pruner: Pruner = make_pruner(settings, shapes, steps=steps)
        self.structures = {name: structure.with_bias() for name, structure in self.pruner.structures().items()}
        rewires = settings.method in ("set", "rigl")
        regrows = rewires and is_unstructured
        self.plan: NetworkPlan = plan_network(
            config,
            self.sizes,
            [structure.entries for structure in self.structures.values()],
            batch=settings.batch,
            candidate_steps=self._candidate_steps(),
            second=regrows,
        )
        programs = self.step_programs(self.plan)
        for layer in self.plan.layers:
            name = f"structure {layer.name}"
            if rewires:
                make = regrow_program if regrows else rewire_program
                programs[name] = make(self.plan, layer, at_random=settings.method == "set")
            elif settings.method == "gradual":
                programs[name] = prune_program(layer)
        self.programs: dict[str, PlacedProgram] = {}
        address = round_up(self.plan.end, max(COMMAND_BYTES, config.memory.beat_bytes))
        self._programs_begin = address
        for name, program in programs.items():
            self.programs[name] = PlacedProgram(address, program)
            address += (len(program) + self._further_commands(name)) * COMMAND_BYTES
        self.memory_bytes = round_up(address, 4096)

    def _candidate_steps(self) -> list[int]:
        settings = self.settings
        if settings.method != "rigl" or settings.structure == "unstructured":
            return [1] * len(self.structures)
        steps = []
        for (outputs, inputs), structure in zip(self._shapes.values(), self.structures.values(), strict=True):
            entries = structure.entries // outputs - 1
            drop = int(settings.drop * entries)
            steps.append(candidate_step(columns=inputs, entries=entries, drop=drop, most=settings.candidate_step))
        # The last layer is small, and what it lacks is lacking in the logits.
        return [*steps[:-1], 1]

    def step_programs(self, plan: NetworkPlan) -> dict[str, Program]:
        """What every step runs, by name, with the entries of ``plan``."""
        update = {
            "momentum_factor": bfloat16_bits(self.settings.momentum),
            "stochastic": int(self.settings.rounding == "stochastic"),
            "seed": 1,
        }
        programs = {"forward": forward_program(plan)}
        if self.settings.overlap:
            programs["backward"] = backward_program(plan, update=update)
        else:
            programs["backward"] = backward_program(plan)
            programs["update"] = update_program(plan, update=update)
        return programs

    def most_commands(self, name: str) -> int:
        """Commands that a program has room for."""
        return len(self.programs[name].program) + self._further_commands(name)

    def _further_commands(self, name: str) -> int:
        """Commands that a program may have more than now, when layers have fewer entries.

        A sampled product has at most twice as many groups as it must have, and the last streams may be cut into more
        parts; a part has a STREAM and a DRAIN for every row feeder, and a WAIT or two for each. A scatter may have more
        blocks; a block has a LOAD, a STREAM and some WAITs for each tile of rows, and the same once more with its gate
        and DRAIN.
        """
        if name != "backward" or self.settings.method != "gradual":
            return 0
        config = self.plan.config
        layers = [layer.weights for layer in self.plan.layers]
        groups = 2 * sum(
            tile_sampled(config, rows=weights.rows, inner=weights.inner, entries=weights.entries).groups
            for weights in layers
        )
        passes = column_tiling(config, self.plan.batch)[0]
        row_tiles = sum(ceil(weights.rows / config.lane.operand_rows) + 1 for weights in layers)
        scatters = passes * MORE_BLOCKS * row_tiles * 5 + len(layers) * MOST_PIECES * 3
        return groups * MOST_PARTS * 4 * config.rows + scatters

    @property
    def regions(self) -> dict[str, tuple[int, int]]:
        """Of the memory; those of the plan, and the programs."""
        return {**self.plan.regions, "programs": (self._programs_begin, self.memory_bytes)}

    @property
    def windows(self) -> list[Window]:
        """What programs may touch: arrays, and their own commands, which they may not write."""
        return [
            Window(base=0, limit=self.plan.end - 1),
            Window(base=self._programs_begin, limit=self.memory_bytes - 1, writable=False),
        ]


class Trainer:
    """A perceptron on a device, at some step of its training.

    Parameters
    ----------
    device : Device
        With ``blueprint.memory_bytes`` of memory at least.
    blueprint : Blueprint

    Attributes
    ----------
    host : HostMemory
        Counts what the host reads and writes.
    phases : dict of PhaseTotals
        By phase: forward, backward, update, structure, evaluation.
    step_number : int
        Steps done.
    changes : int
        Steps behind which the structure of a layer, or of several, changed.
    exchanges : dict
        Entries that rewirings were to exchange (*asked*) and have exchanged (*made*).
    """

    def __init__(self, device: Device, blueprint: Blueprint):
        if device.config != blueprint.plan.config:
            raise ValueError(
                f"the training is laid out for configuration {blueprint.plan.config.digest}, not {device.config.digest}"
            )
        if device.memory.size < blueprint.memory_bytes:
            raise ValueError(
                f"the training needs {blueprint.memory_bytes} bytes of memory, but the device has {device.memory.size}"
            )
        self._device = device
        self._blueprint = blueprint
        self._plan = blueprint.plan
        self._programs = dict(blueprint.programs)
        self._format = golden_format(device.config.lane.format)
        self.pruner = blueprint.pruner
        self.host = HostMemory(device.memory, regions=blueprint.regions)
        self.phases = {name: PhaseTotals() for name in ("forward", "backward", "update", "structure", "evaluation")}
        if blueprint.settings.overlap:
            del self.phases["update"]
        self.step_number = 0
        self.changes = 0
        self.exchanges = {"asked": 0, "made": 0}
        self._set_up()

    def step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        """Train on one batch, and change the structure if it is time to."""
        with self.host.purpose("training"):
            logits = self._forward(images, phase="forward")
            losses, gradient = _softmax_cross_entropy(logits, labels)
            last = self._plan.layers[-1]
            self.host.write_rows(last.sum_gradients, self._format.quantize(gradient / len(labels)))
            self._prepare_update()
            self._run("backward", phase="backward")
            if "update" in self._programs:
                self._run("update", phase="update")
            self.step_number += 1
            updates = self.pruner.step()
            self.changes += bool(updates)
            for update in updates:
                self._change_structure(update)
            if any(update.kind is UpdateKind.PRUNE for update in updates):
                self._follow_entries()
        correct = int(np.count_nonzero(logits.argmax(axis=0) == labels))
        return StepResult(loss=float(losses.mean()), correct=correct, changed=tuple(update.layer for update in updates))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Part of the images that are classified rightly."""
        correct = 0
        with self.host.purpose("evaluation"):
            for first in range(0, len(labels), self._plan.batch):
                part = labels[first : first + self._plan.batch]
                logits = self._forward(images[first : first + self._plan.batch], phase="evaluation")
                correct += int(np.count_nonzero(logits.argmax(axis=0) == part))
        return correct / len(labels)

    def read_weights(self, *, purpose: str) -> dict[str, SparseWeights]:
        """Copies of the weights of all layers, biases included."""
        with self.host.purpose(purpose):
            return {layer.name: self._read_layer(layer) for layer in self._plan.layers}

    def read_structure(self, layer: str, *, purpose: str) -> Structure:
        """Where the entries of a layer stand, the bias included."""
        found = self._layer(layer)
        with self.host.purpose(purpose):
            shape = (found.weights.rows, found.weights.inner)
            return Structure.from_unsorted(shape, self._read_pointers(found), self._read_indices(found))

    def save_weights(self) -> np.ndarray:
        """The bytes of the region of the weights."""
        begin, end = self._plan.regions["weights"]
        with self.host.purpose("checkpoint"):
            return self.host.read(begin, end - begin)

    def load_weights(self, data: np.ndarray) -> None:
        """The inverse of ``save_weights``, on a device of the same blueprint.

        Raises
        ------
        ValueError
            If the bytes are not as many as there must be.
        """
        begin, end = self._plan.regions["weights"]
        if data.dtype != np.uint8 or data.shape != (end - begin,):
            raise ValueError(f"the weights must be {end - begin} bytes, not {data.size} numbers of {data.dtype}")
        with self.host.purpose("checkpoint"):
            self.host.write(begin, data)

    def state_dict(self) -> dict[str, Any]:
        """Plain data that, with the weights, say where the training is."""
        return {
            "step": self.step_number,
            "pruner": self.pruner.state_dict(),
            "phases": {name: totals.state_dict() for name, totals in self.phases.items()},
            "changes": self.changes,
            "exchanges": dict(self.exchanges),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.pruner.load_state_dict(state["pruner"])
        self.step_number = state["step"]
        self.changes = state["changes"]
        self.exchanges = dict(state["exchanges"])
        self.phases = {name: PhaseTotals.from_state(totals) for name, totals in state["phases"].items()}
        with self.host.purpose("checkpoint"):
            self._follow_entries()

    def _change_structure(self, update: StructureUpdate) -> None:
        name = f"structure {update.layer}"
        program = self._programs[name]
        seed = {} if update.seed is None else {"seed": update.seed}
        if update.kind in (UpdateKind.REWIRE_BY_GRADIENT, UpdateKind.REWIRE_AT_RANDOM):
            self._patch_rewiring(program, update)
        else:
            program.patch(self.host, Opcode.PRUNE, layer_drop=update.drop)
            program.patch(self.host, Opcode.SURVEY, grow=update.drop, **seed)
            program.patch(self.host, Opcode.MERGE, **seed)
        rewired = self._run(name, phase="structure").rewired
        if update.kind in (UpdateKind.REWIRE_BY_GRADIENT, UpdateKind.REWIRE_AT_RANDOM):
            self.exchanges["asked"] += update.drop * self._layer(update.layer).weights.rows
            self.exchanges["made"] += rewired

    def _patch_rewiring(self, program: PlacedProgram, update: StructureUpdate) -> None:
        layer = self._layer(update.layer)
        number = self._plan.layers.index(layer)
        settings = self._blueprint.settings
        fields = rewire_fields(
            update,
            columns=layer.shape[1],
            number=number,
            seed=settings.seed,
            step=layer.candidate_step,
            period=settings.period,
        )
        program.patch(self.host, Opcode.REWIRE, span=fields.span, seed=fields.seed)
        program.patch(self.host, Opcode.DRAIN, block=fields.block)
        if layer.candidate_step > 1:
            choose_candidates(program, self.host, layer, first=fields.candidate_first)

    def _layer(self, name: str) -> LayerPlan:
        return next(layer for layer in self._plan.layers if layer.name == name)

    def _follow_entries(self) -> None:
        """Write the programs of a step anew if the layers have other numbers of entries than those are made for."""
        biases = {layer.name: layer.weights.rows for layer in self._plan.layers}
        entries = {row["layer"]: row["entries"] + biases[row["layer"]] for row in self.pruner.rows()}
        if entries == {layer.name: layer.weights.entries for layer in self._plan.layers}:
            return
        self._plan = self._plan.with_entries(entries)
        for name, program in self._blueprint.step_programs(self._plan).items():
            assert len(program) <= self._blueprint.most_commands(name), "another program lies behind it"
            self._programs[name] = PlacedProgram(self._programs[name].address, program)
            self._programs[name].write(self.host)

    def _forward(self, images: np.ndarray, *, phase: str) -> np.ndarray:
        """The logits of up to a batch of images, a column each."""
        first = self._plan.layers[0]
        columns = np.zeros((images.shape[1], self._plan.batch))
        columns[:, : len(images)] = images.T
        self.host.write_rows(first.inputs, self._format.quantize(columns))
        self._run("forward", phase=phase)
        rows = self._plan.layers[-1].weights.rows
        dtype = self._format.result_dtype
        logits = self.host.read_rows(self._plan.logits, rows=rows, columns=self._plan.batch, dtype=dtype)
        return logits[:, : len(images)]

    def _prepare_update(self) -> None:
        settings = self._blueprint.settings
        program = self._programs["backward" if settings.overlap else "update"]
        rate = settings.rate_at(self.step_number, self._blueprint.steps)
        if settings.rounding == "nearest":
            program.patch(self.host, Opcode.UPDATE, learning_rate=rate)
            return
        for number in range(len(self._plan.layers)):
            sequence = np.random.SeedSequence([settings.seed, number, self.step_number])
            seed = int(sequence.generate_state(1)[0]) or 1
            program.patch(self.host, Opcode.UPDATE, which=number, learning_rate=rate, seed=seed)

    def _run(self, name: str, *, phase: str) -> RunResult:
        placed = self._programs[name]
        result = self._device.run(placed.address, len(placed.program), self._blueprint.windows)
        self.phases[phase].add(result)
        return result

    def _set_up(self) -> None:
        """First weights, the ones behind the biases, zeros elsewhere, and the programs."""
        settings = self._blueprint.settings
        begin, end = self._plan.regions["arrays"]
        self.host.write(begin, np.zeros(end - begin, dtype=np.uint8))
        for number, layer in enumerate(self._plan.layers):
            structure = self._blueprint.structures[layer.name]
            fan_in = structure.fan_in - 1
            generator = np.random.default_rng([settings.seed, 1000 + number])
            deviations = np.sqrt(2 / np.maximum(fan_in, 1))
            master = generator.normal(size=structure.entries) * np.repeat(deviations, structure.fan_in)
            hidden = layer is not self._plan.layers[-1]
            master[structure.indices == layer.weights.inner - 1] = settings.bias if hidden else 0
            master = master.astype(np.float32)
            index_type = np.uint16 if layer.weights.index_size is IndexSize.UINT16 else np.int32
            for address, array in (
                (layer.weights.pointers, structure.pointers),
                (layer.weights.indices, structure.indices.astype(index_type)),
                (layer.weights.values, self._format.narrow(master)),
                (layer.master, master),
                (layer.momentum, np.zeros_like(master)),
            ):
                self.host.write(address, array)
            ones = np.ones(self._plan.batch, dtype=self._format.dtype)
            self.host.write(layer.inputs.address + (layer.weights.inner - 1) * layer.inputs.stride, ones)
        for program in self._programs.values():
            program.write(self.host)

    def _read_layer(self, layer: LayerPlan) -> SparseWeights:
        weights = layer.weights
        return SparseWeights(
            (weights.rows, weights.inner),
            self._read_pointers(layer),
            self._read_indices(layer),
            self._read(layer.master, weights.entries, np.dtype(np.float32)),
            self._read(layer.momentum, weights.entries, np.dtype(np.float32)),
            self._read(weights.values, weights.entries, self._format.dtype),
        )

    def _read_pointers(self, layer: LayerPlan) -> np.ndarray:
        return self._read(layer.weights.pointers, layer.weights.rows + 1, np.dtype(np.int32))

    def _read_indices(self, layer: LayerPlan) -> np.ndarray:
        narrow = layer.weights.index_size is IndexSize.UINT16
        dtype = np.dtype(np.uint16 if narrow else np.int32)
        return self._read(layer.weights.indices, layer.weights.entries, dtype).astype(np.int32)

    def _read(self, address: int, count: int, dtype: np.dtype) -> np.ndarray:
        return self.host.read(address, count * dtype.itemsize).view(dtype)


def _softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of every column, and its gradient by the logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=0)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=0)
    columns = np.arange(len(labels))
    losses = np.log(sums) - shifted[labels, columns]
    gradient = exponentials / sums
    gradient[labels, columns] -= 1
    return losses, gradient
