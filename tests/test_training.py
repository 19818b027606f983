"""A perceptron trained on the golden device: what the host does, the structure, checkpoints."""

import dataclasses
import json
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from acf.config import preset
from acf.golden.optimizer import sgd_step, xorshift32_states
from acf.golden.products import gather, sampled, scatter
from acf.golden.rewiring import rewire, select_largest
from acf.isa import Decoder, Opcode, candidate_row_bits
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.sampled import sampled_chains
from acf.sparsity import reference
from acf.sparsity.pruner import METHODS
from acf.sparsity.updates import StructureUpdate, UpdateKind
from acf.training.data import Dataset, Part
from acf.training.experiment import Experiment, Stopped, digest_of_weights
from acf.training.rewiring import rewire_fields
from acf.training.settings import STRUCTURES, Settings, bfloat16_bits
from acf.training.trainer import Blueprint, Trainer

TINY = preset("tiny")
BF16 = ml_dtypes.bfloat16


def dataset(*, features=9, classes=4, images=80):
    """Images that show one of a few patterns, with noise."""
    rng = np.random.default_rng(11)
    patterns = rng.integers(0, 2, (classes, features))
    labels = rng.integers(0, classes, images)
    shown = np.clip(patterns[labels] + 0.2 * rng.normal(size=(images, features)), 0, 1).astype(np.float32)
    half = images * 3 // 4
    return Dataset("patterns", Part(shown[:half], labels[:half]), Part(shown[half:], labels[half:]), classes)


def settings(**changes):
    defaults = Settings(
        method="rigl",
        sparsity=0.5,
        hidden=(12, 10),
        epochs=3,
        batch=12,
        learning_rate=0.1,
        period=2,
        drop=0.5,
        last_change=0.9,
        seed=3,
    )
    return dataclasses.replace(defaults, **changes)


def opened(config=TINY, *, device: type[GoldenDevice] = GoldenDevice, data=None, **changes):
    experiment = Experiment(config, settings(**changes), data or dataset())
    experiment.open(device(config, memory_bytes=experiment.memory_bytes))
    return experiment


def trained(config=TINY, **changes):
    experiment = opened(config, **changes)
    experiment.run()
    return experiment


# What a step computes


class MathTrainer:
    """The same training by the products themselves, on NumPy arrays."""

    def __init__(self, config, trainer, blueprint):
        self.config, self.blueprint, self.settings = config, blueprint, blueprint.settings
        self.layers = list(trainer.read_weights(purpose="test").values())

    def step(self, images, labels, *, number, updates):
        ones = np.ones((1, len(labels)), dtype=BF16)
        inputs = [np.concatenate([images.T.astype(BF16), ones])]
        for layer in self.layers:
            sums = gather(layer.pointers, layer.indices, layer.values, inputs[-1], format="bf16").accumulators
            inputs.append(np.concatenate([np.maximum(sums, 0).astype(BF16), ones]))
        exponentials = np.exp(sums.astype(np.float64) - sums.max(axis=0))
        gradient = exponentials / exponentials.sum(axis=0)
        gradient[labels, np.arange(len(labels))] -= 1
        gradient = (gradient / len(labels)).astype(np.float32).astype(BF16)
        gradients = {}
        for place in reversed(range(len(self.layers))):
            layer, x = self.layers[place], inputs[place]
            gradients[place] = gradient
            chains = sampled_chains(self.config, len(labels))
            found = sampled(layer.pointers, layer.indices, gradient, x, chains=chains, format="bf16").accumulators
            back = scatter(
                layer.pointers, layer.indices, layer.values, gradient, inner=layer.shape[1], format="bf16"
            ).accumulators
            gradient = np.where(x == 0, 0, back.astype(BF16))[:-1].astype(BF16)
            rate = np.array(self.settings.rate_at(number, self.blueprint.steps), np.uint16).view(BF16)
            step = sgd_step(
                layer.master, layer.momentum, found, learning_rate=rate, momentum_factor=self.settings.momentum
            )
            layer.master, layer.momentum, layer.values = step.master, step.momentum, step.weights
        for update in updates:
            place = int(update.layer[-1]) - 1
            layer, (rows, columns) = self.layers[place], self.layers[place].shape
            if update.kind is UpdateKind.PRUNE:
                self.layers[place] = reference.prune(layer, drop=update.drop, protected_from=columns - 1)
                continue
            if update.kind in (UpdateKind.REGROW_AT_RANDOM, UpdateKind.REGROW_BY_GRADIENT):
                layer = reference.prune(layer, drop=update.drop, protected_from=columns - 1)
            if update.seed is None:
                full = np.arange(rows + 1) * columns
                everywhere = np.tile(np.arange(columns), rows)
                found = sampled(
                    full, everywhere, gradients[place], inputs[place], chains=chains, format="bf16"
                ).accumulators.reshape(rows, columns)
                keys = reference.gradient_keys(found)
            else:
                numbers = xorshift32_states(update.seed, rows * (columns - 1)).reshape(rows, columns - 1)
                keys = lambda row, numbers=numbers: numbers[row] >> np.uint32(1)  # noqa: E731
            if update.kind in (UpdateKind.REGROW_AT_RANDOM, UpdateKind.REGROW_BY_GRADIENT):
                self.layers[place] = reference.grow(layer, count=update.drop, keys=keys, protected_from=columns - 1)
                continue
            step = self.blueprint.plan.layers[place].candidate_step
            fields = rewire_fields(
                update,
                columns=columns - 1,
                number=place,
                seed=self.settings.seed,
                step=step,
                period=self.settings.period,
            )
            candidates = None
            if update.seed is None:
                padded = np.zeros((rows, candidate_row_bits(-(-(columns - 1) // step))), np.float32)
                chosen = found[:, fields.candidate_first :: step]  # perhaps with the bias, whose bit is not looked at
                width = min(padded.shape[1], chosen.shape[1])
                padded[:, :width] = chosen[:, :width]
                largest = [select_largest(row, first=0, block=1 << fields.block) for row in padded]
                candidates = np.array(largest)
            rewired = rewire(
                layer.pointers,
                layer.indices,
                layer.master,
                layer.momentum,
                layer.values,
                row_begin=0,
                row_end=rows,
                span=fields.span,
                most=self.config.structure.exchanged,
                inner_size=columns,
                protected_from=columns - 1,
                candidates=candidates,
                candidate_first=fields.candidate_first if candidates is not None else 0,
                candidate_step=step,
                seed=fields.seed,
            )
            layer.indices, layer.master, layer.momentum = rewired.indices, rewired.master, rewired.momentum
            layer.values = rewired.values


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("method", METHODS)
def test_steps_are_the_mathematics(method, structure):
    """Products, optimizer and structure of every step, bit for bit, by the formulas that define them."""
    changes = compared_with_mathematics(dataset(), method=method, structure=structure)
    assert (changes > 0) == (method in ("set", "rigl", "gradual"))


@pytest.mark.parametrize("candidate_step", [2, 4])
def test_one_of_some_columns_may_grow(candidate_step):
    """The same, where gradients off the mask are computed for other columns at each change."""
    changed = {"sparsity": 0.8, "drop": 0.2, "candidate_step": candidate_step, "distribution": "uniform"}
    assert compared_with_mathematics(dataset(features=40), candidate_steps=[candidate_step, 1, 1], **changed)


def compared_with_mathematics(data, *, candidate_steps=(1, 1, 1), **changed):
    """How many changes of the structure there were."""
    features = data.training.images.shape[1]
    blueprint = Blueprint(TINY, settings(**changed), features=features, classes=4, steps=10)
    assert [layer.candidate_step for layer in blueprint.plan.layers] == list(candidate_steps)
    trainer = Trainer(GoldenDevice(TINY, memory_bytes=blueprint.memory_bytes), blueprint)
    mathematics = MathTrainer(TINY, trainer, blueprint)
    changes = 0
    for number in range(6):
        images, labels = (array[number * 5 : number * 5 + 12] for array in (data.training.images, data.training.labels))
        updates = trainer.pruner.peek()
        result = trainer.step(images, labels)
        assert result.changed == tuple(update.layer for update in updates)
        mathematics.step(images, labels, number=number, updates=updates)
        for found, expected in zip(trainer.read_weights(purpose="test").values(), mathematics.layers, strict=True):
            assert found.pointers.tolist() == expected.pointers.tolist()
            assert found.indices.tolist() == expected.indices.tolist()
            for name in ("master", "momentum", "values"):
                assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), (number, name)
        changes += len(updates)
    return changes


def test_networks_learn():
    data = dataset(images=240)
    for method in ("dense", "rigl", "gradual"):
        experiment = trained(data=data, method=method, epochs=10, hidden=(16, 12), batch=16)
        assert experiment.losses[0] > 1
        assert experiment.epochs[-1].loss < 0.2, method
        assert experiment.epochs[-1].accuracy > 0.9, method


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_overlapped_updates_give_the_same_bits(rounding):
    apart, together = (trained(overlap=overlap, rounding=rounding) for overlap in (False, True))
    assert apart.losses == together.losses
    assert digest_of_weights(apart.weights()) == digest_of_weights(together.weights())
    assert "update" in apart.trainer.phases
    assert "update" not in together.trainer.phases


def test_stochastic_rounding_rounds_otherwise():
    assert digest_of_weights(trained().weights()) != digest_of_weights(trained(rounding="stochastic").weights())


def test_seeds_give_other_networks_and_the_same_seed_the_same():
    digests = [digest_of_weights(trained(seed=seed).weights()) for seed in (1, 2, 1)]
    assert digests[0] == digests[2] != digests[1]


# Structure


@pytest.mark.parametrize("method", ["static", "set", "rigl"])
def test_rows_keep_their_fan_in_and_biases_stay(method):
    experiment = opened(method=method)
    before = experiment.weights()
    experiment.run()
    moved = 0
    for name, layer in experiment.weights().items():
        structure = layer.structure  # refuses columns that occur twice
        assert (structure.fan_in == before[name].structure.fan_in).all()
        assert structure.to_bool()[:, -1].all()
        moved += int((structure.to_bool() != before[name].structure.to_bool()).sum())
    assert (moved > 0) == (method != "static")


@pytest.mark.parametrize("method", ["set", "rigl"])
def test_entries_move_from_row_to_row(method):
    experiment = opened(method=method, structure="unstructured")
    before = structures(experiment)
    experiment.run()
    for name, structure in structures(experiment).items():
        assert structure.entries == before[name].entries
        assert structure.to_bool()[:, -1].all(), "biases stay"
    first = structures(experiment)["layer1"]
    assert first.fan_in.tolist() != before["layer1"].fan_in.tolist()
    assert experiment.trainer.host.written_bytes["training", "weights"] == 0
    assert experiment.trainer.host.read_bytes["training", "second"] == 0
    report = experiment.report()
    assert 0 < report["second_buffer_bytes"] < report["weights_region_bytes"]


def test_the_second_buffer_is_as_large_as_one_layer():
    changes = {"hidden": (64, 40), "structure": "unstructured"}
    plan = Blueprint(TINY, settings(**changes), features=30, classes=4, steps=10).plan
    begin, end = plan.regions["second"]
    begins = [layer.weights.pointers for layer in plan.layers] + [plan.regions["weights"][1]]
    sizes = [last - first for first, last in pairwise(begins)]
    assert end - begin == max(sizes) < sum(sizes)
    for layer in plan.layers:
        assert (layer.weights.pointers + plan.shift(layer)) % (1 << 32) == begin
    for changes in ({}, {"method": "gradual"}, {"method": "static", "structure": "unstructured"}):
        assert "second" not in Blueprint(TINY, settings(**changes), features=30, classes=4, steps=10).plan.regions


def test_pruning_ends_at_the_sparsity_asked_for():
    experiment = opened(method="gradual", sparsity=0.8, hidden=(24, 18))
    plan, entries = experiment.blueprint.plan, []
    while len(entries) < 15:
        entries.append({name: layer.entries for name, layer in structures(experiment).items()})
        experiment.trainer.step(experiment.dataset.training.images[:12], experiment.dataset.training.labels[:12])
    for layer in plan.layers:
        counts = [each[layer.name] for each in entries]
        assert counts[0] == layer.weights.rows * layer.weights.inner
        assert counts == sorted(counts, reverse=True)
    report = experiment.report()
    assert report["network_sparsity"] == pytest.approx(0.8, abs=2e-3)
    for row, layer in zip(report["layers"], structures(experiment).values(), strict=True):
        assert layer.to_bool()[:, -1].all(), "biases stay"
        assert row["entries"] + row["biases"] == layer.entries
    first = structures(experiment)["layer1"]
    assert len(set(first.fan_in.tolist())) > 3, "weights go wherever they are, not the same number in each row"
    assert experiment.trainer.host.written_bytes["training", "weights"] == 0


def structures(experiment):
    return {name: layer.structure for name, layer in experiment.weights().items()}


def test_gradients_off_the_mask_never_lie_in_memory():
    """Of each there is a bit. They are computed for a few rows at a time, however large the layer is."""
    blueprint = Blueprint(TINY, settings(hidden=(64, 64)), features=30, classes=4, steps=10)
    plan = blueprint.plan
    layer = plan.layers[1]
    rows = plan.candidate_rows[layer.name]
    assert rows * layer.candidate_columns <= TINY.rows * TINY.lane.accumulator_rows * TINY.lane.slots
    assert rows < layer.weights.rows // 8
    commands = blueprint.programs["structure layer2"].program.commands
    streams = [fields for opcode, fields in commands if opcode is Opcode.STREAM]
    drains = [fields for opcode, fields in commands if opcode is Opcode.DRAIN]
    (rewire_command,) = [fields for opcode, fields in commands if opcode is Opcode.REWIRE]
    assert {fields["decoder"] for fields in streams} == {Decoder.DENSE}
    assert {(fields["reduce"], fields["select"]) for fields in drains} == {(1, 1)}
    row_bytes = layer.candidate_columns // 8
    first = rewire_command["candidates"]
    assert [fields["address"] for fields in drains] == list(range(first, first + 64 * row_bytes, rows * row_bytes))
    assert (first,) == plan.candidates


def test_candidates_of_a_chunk_of_rows_begin_at_whole_beats():
    base = preset("base")
    plan = Blueprint(base, settings(hidden=(129, 320)), features=700, classes=4, steps=10).plan
    for layer in plan.layers:
        row_bits, rows = layer.candidate_columns, plan.candidate_rows[layer.name]
        assert row_bits % 16 == 0
        assert 0 <= row_bits * layer.candidate_step - layer.shape[1] < 64 * layer.candidate_step
        assert rows * row_bits % (8 * base.memory.beat_bytes) == 0
    sizes = [layer.weights.rows * layer.candidate_columns // 8 for layer in plan.layers]
    begin, end = plan.regions["arrays"]
    assert begin <= plan.candidates[0] <= end - max(sizes)


@pytest.mark.parametrize(("method", "least"), [("set", 1.0), ("rigl", 0.9)])
def test_rows_exchange_what_they_are_asked_to(method, least):
    experiment = trained(method=method, hidden=(40, 30), sparsity=0.7, data=dataset(features=20))
    exchanges = experiment.trainer.exchanges
    assert least * exchanges["asked"] <= exchanges["made"] <= exchanges["asked"]
    assert exchanges["made"] > 100
    assert experiment.report()["exchanges"] == exchanges


@pytest.mark.parametrize(
    ("drop", "entries", "columns", "span", "block"),
    [(1, 7, 64, 8 << 16, 5), (3, 18, 256, 415062, 5), (24, 83, 128, 229376, 0), (1, 2, 4096, 3 << 16, 6)],
)
def test_spans_and_blocks(drop, entries, columns, span, block):
    update = StructureUpdate(layer="layer1", step=50, kind=UpdateKind.REWIRE_BY_GRADIENT, drop=drop, entries=entries)
    fields = rewire_fields(update, columns=columns, number=0, seed=1)
    assert fields[::2] == (span, block)
    assert drop * span >> 16 == entries + 1, "the last span ends with the row"
    assert 0 < fields.seed < 1 << 32
    assert rewire_fields(update, columns=columns, number=1, seed=1).seed != fields.seed


def test_weights_take_the_room_of_one_copy():
    blueprint = Blueprint(TINY, settings(hidden=(64, 64)), features=30, classes=4, steps=10)
    begin, end = blueprint.plan.regions["weights"]
    needed = sum(
        4 * (layer.weights.rows + 1) + layer.weights.entries * (2 + 2 + 4 + 4) for layer in blueprint.plan.layers
    )
    assert needed <= end - begin < needed + 64 * 5 * len(blueprint.plan.layers)


# What the host does


class WatchedMemory(np.ndarray):
    """An array that notes which bytes are asked for through it; what it gives out is plain."""

    touched: list[tuple[int, int]]

    def __getitem__(self, key):
        self.touched.append((key.start, key.stop))
        return self.view(np.ndarray)[key]

    def __setitem__(self, key, value):
        self.touched.append((key.start, key.stop))
        self.view(np.ndarray)[key] = value


class WatchedDevice(GoldenDevice):
    """The golden device, whose users see a memory that is watched; one at a time."""

    touched: list[tuple[int, int]]

    def __init__(self, config, *, memory_bytes):
        super().__init__(config, memory_bytes=memory_bytes)
        watched = self.memory.view(WatchedMemory)
        self._own, self.memory = self.memory, watched
        watched.touched = WatchedDevice.touched = []

    def run(self, program_address, commands, windows):
        watched, self.memory = self.memory, self._own
        try:
            return super().run(program_address, commands, windows)
        finally:
            self.memory = watched


@pytest.mark.parametrize(
    "changes", [{"method": "rigl"}, {"method": "rigl", "structure": "unstructured"}, {"method": "gradual"}]
)
def test_the_host_leaves_weights_alone_while_training(changes):
    data = dataset()
    experiment = opened(device=WatchedDevice, **changes)
    trainer, touched = experiment.trainer, WatchedDevice.touched
    begin, end = experiment.blueprint.plan.regions["weights"]
    touched.clear()
    changed = [trainer.step(data.training.images[:12], data.training.labels[:12]).changed for _ in range(6)]
    assert any(changed), "the structure has changed meanwhile"
    assert len(touched) >= 18
    assert [piece for piece in touched if piece[0] < end and piece[1] > begin] == []
    regions = {name for counts in (trainer.host.read_bytes, trainer.host.written_bytes)
               for (purpose, name), count in counts.items() if purpose == "training" and count}  # fmt: skip
    assert regions == {"arrays", "programs"}
    logits, batch = trainer.host.read_bytes["training", "arrays"], TINY.memory.beat_bytes * 6
    assert logits == 6 * 4 * batch, "nothing but four logits for each of twelve images is read"
    touched.clear()
    experiment.weights()
    assert any(piece[0] < end and piece[1] > begin for piece in touched), "the watch would see it"


# Checkpoints


@pytest.mark.parametrize(
    "changes",
    [{"method": "set"}, {"method": "rigl"}, {"method": "rigl", "structure": "unstructured"}, {"method": "gradual"}],
)
@pytest.mark.parametrize("stop", [1, 5, 8])
def test_an_interrupted_training_comes_to_the_same_bits(tmp_path, changes, stop):
    whole = trained(**changes, rounding="stochastic")
    parts = opened(**changes, rounding="stochastic")
    with pytest.raises(Stopped) as caught:
        parts.run(folder=tmp_path, stop=lambda: parts.trainer.step_number == stop)
    assert (caught.value.step, caught.value.steps) == (stop, 15)
    again = opened(**changes, rounding="stochastic")
    again.resume(tmp_path)
    assert again.trainer.step_number == stop
    again.run(folder=tmp_path)
    mine, theirs = whole.report(), again.report()
    for report in (mine, theirs):
        for name in ("host_bytes_read", "host_bytes_written"):
            del report[name]
    assert mine == theirs
    assert len(whole.snapshots) == len(again.snapshots) > 2
    assert all((a.mask == b.mask).all() for a, b in zip(whole.snapshots, again.snapshots, strict=True))


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    trained_one = opened()
    with pytest.raises(ValueError, match="no checkpoint"):
        trained_one.resume(tmp_path)
    trained_one.save(tmp_path)
    with pytest.raises(ValueError, match="settings"):
        opened(seed=4).resume(tmp_path)
    with pytest.raises(ValueError, match="data"):
        opened(data=dataset(images=100)).resume(tmp_path)
    (tmp_path / "checkpoint.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="is no checkpoint"):
        trained_one.resume(tmp_path)


# Reports and refusals


def test_reports_are_plain_data():
    report = json.loads(json.dumps(trained().report()))
    assert report["steps"] == 15
    assert len(report["losses"]) == len(report["accuracies"]) == len(report["densities"]) == 3
    assert report["config_digest"] == TINY.digest
    assert report["phases"]["forward"]["runs"] == report["phases"]["update"]["runs"] == 15
    assert report["phases"]["forward"]["cycles"] is None
    assert report["change_cycles_of_100_steps"] is None
    assert report["changes"] == 4  # behind steps 10 and 12 no row would drop a whole entry
    assert report["second_buffer_bytes"] == 0
    assert 0 < report["phases"]["backward"]["effectual_macs"] < report["phases"]["backward"]["dense_macs"]
    assert [layer["entries"] for layer in report["layers"]] == [
        row["entries"] for row in trained().trainer.pruner.rows()
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "magic"),
        ({"sparsity": 1.0}, r"1\.0"),
        ({"hidden": ()}, "hidden"),
        ({"epochs": 0}, "epochs"),
        ({"batch": -1}, "-1"),
        ({"learning_rate": float("nan")}, "nan"),
        ({"momentum": 1.0}, "momentum"),
        ({"bias": float("inf")}, "inf"),
        ({"rounding": "up"}, "up"),
        ({"distribution": "even"}, "even"),
        ({"structure": "blocks"}, "blocks"),
        ({"drop": 0.0}, r"0\.0"),
        ({"last_change": 2.0}, r"2\.0"),
        ({"seed": -5}, "-5"),
    ],
)
def test_settings_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_trainings_that_are_refused():
    with pytest.raises(ValueError, match="100 images"):
        Experiment(TINY, settings(batch=100), dataset())
    with pytest.raises(ValueError, match="period of at most the 14 steps with changes, not 15"):
        Experiment(TINY, settings(method="gradual", period=15), dataset())
    with pytest.raises(ValueError, match="int8"):
        Experiment(TINY.with_format("int8"), settings(), dataset())
    with pytest.raises(ValueError, match=f"{TINY.structure.columns} columns, the bias included, not 5001"):
        Experiment(TINY, settings(hidden=(5000,)), dataset())
    experiment = Experiment(TINY, settings(), dataset())
    with pytest.raises(ValueError, match="has 4096"):
        experiment.open(GoldenDevice(TINY, memory_bytes=4096))
    with pytest.raises(ValueError, match=TINY.digest):
        experiment.open(GoldenDevice(preset("base")))


def test_the_learning_rate_falls_to_zero():
    rates = [np.array(settings().rate_at(step, 10), np.uint16).view(BF16).item() for step in range(11)]
    assert rates[0] == float(BF16(0.1))
    assert sorted(rates, reverse=True) == rates
    assert rates[10] == 0
    assert bfloat16_bits(1.0) == 0x3F80
