"""Trainings on the Verilated fabric come to the bits of the golden device."""

import dataclasses

import numpy as np
import pytest

from acf.config import preset
from acf.runtime.devices import open_device
from acf.runtime.golden_device import GoldenDevice
from acf.sim.memory_timing import MemoryTiming
from acf.training.data import Dataset, Part
from acf.training.experiment import Experiment, digest_of_weights
from acf.training.settings import Settings, make_pruner

TINY = preset("tiny")
MEMORY_BYTES = 1 << 20
SETTINGS = Settings(
    sparsity=0.5, hidden=(12, 10), epochs=1, batch=12, learning_rate=0.1, period=2, drop=0.5, last_change=0.9, seed=3
)
SOME_CANDIDATES = {"hidden": (40, 12), "sparsity": 0.75, "drop": 0.2, "distribution": "uniform"}
TIMINGS = {
    "plain": MemoryTiming(),
    "rough": MemoryTiming(latency=60, jitter=30, stall=0.3, bandwidth=4.0, reorder=True, interleave=True),
}


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 4, 80)
    images = np.clip(rng.integers(0, 2, (4, 9))[labels] + 0.2 * rng.normal(size=(80, 9)), 0, 1).astype(np.float32)
    return Dataset("patterns", Part(images[:60], labels[:60]), Part(images[60:], labels[60:]), 4)


@pytest.fixture(scope="module", params=[pytest.param("plain", marks=pytest.mark.regress), "rough"])
def rtl(request):
    return open_device("rtl", TINY, memory_bytes=MEMORY_BYTES, timing=TIMINGS[request.param], quiet=True)


def trained(device, dataset, **changes):
    experiment = Experiment(device.config, dataclasses.replace(SETTINGS, **changes), dataset)
    assert experiment.memory_bytes <= device.memory.size
    experiment.open(device)
    experiment.run()
    return experiment


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "dense"},
        pytest.param({"method": "static", "rounding": "stochastic"}, marks=pytest.mark.regress),
        pytest.param({"method": "set"}, marks=pytest.mark.regress),
        {"method": "rigl"},
        pytest.param({"method": "gradual"}, marks=pytest.mark.regress),
        {"method": "set", "structure": "unstructured", "overlap": True},
        pytest.param({"method": "rigl", "structure": "unstructured"}, marks=pytest.mark.regress),
        {"method": "gradual", "rounding": "stochastic", "overlap": True},
        {"method": "rigl", "rounding": "stochastic", "overlap": True, **SOME_CANDIDATES},
    ],
    ids=lambda changes: "-".join(str(value) for value in list(changes.values())[:3]),
)
def test_trainings_come_to_the_same_bits(rtl, dataset, changes):
    found = trained(rtl, dataset, **changes)
    expected = trained(GoldenDevice(TINY, memory_bytes=MEMORY_BYTES), dataset, **changes)
    assert found.losses == expected.losses
    assert found.epochs == expected.epochs
    assert digest_of_weights(found.weights()) == digest_of_weights(expected.weights())
    for name, totals in found.trainer.phases.items():
        assert totals.effectual_macs == expected.trainer.phases[name].effectual_macs
        assert (totals.cycles is not None) == (totals.runs > 0)
    biases = sum(layer.weights.rows for layer in found.blueprint.plan.layers)
    shapes = {layer.name: layer.shape for layer in found.blueprint.plan.layers}
    pruner = make_pruner(found.settings, shapes, steps=found.steps)
    updated = 0
    for _ in range(found.trainer.step_number):
        updated += biases + sum(row["entries"] for row in pruner.rows())
        pruner.step()
    updating = found.trainer.phases["backward" if "overlap" in changes else "update"].engine
    assert updating is not None
    assert updating["updated"] == updated
    assert any(layer.candidate_step > 1 for layer in found.blueprint.plan.layers) == ("hidden" in changes)
    part = found.report()["change_cycles_of_100_steps"]
    assert (part is not None) == (changes["method"] in ("set", "rigl", "gradual"))
    structure = found.trainer.phases["structure"].engine
    if "structure" in changes:
        assert structure is not None
        assert structure["merged"] == structure["pruned"] > 0
        assert structure["merge_cycles"] > structure["merged"]
    if changes["method"] == "gradual":
        weights = sum(layer.weights.entries for layer in found.blueprint.plan.layers) - biases
        assert structure is not None
        assert structure["pruned"] == weights - sum(row["entries"] for row in pruner.rows()) > 0
        assert structure["prune_cycles"] > structure["pruned"]


@pytest.mark.regress
@pytest.mark.parametrize("method", ["rigl", "gradual"])
def test_fixed_point_sums_train_to_the_same_bits(dataset, method):
    config = TINY.with_format("bf16x")
    rtl = open_device("rtl", config, memory_bytes=MEMORY_BYTES, timing=TIMINGS["rough"], quiet=True)
    found, expected = (
        trained(device, dataset, method=method) for device in (rtl, GoldenDevice(config, memory_bytes=MEMORY_BYTES))
    )
    assert found.losses == expected.losses
    assert found.epochs == expected.epochs
    assert digest_of_weights(found.weights()) == digest_of_weights(expected.weights())


def test_updates_beside_products_save_time(rtl, dataset):
    def cycles(overlap):
        phases = trained(rtl, dataset, method="static", overlap=overlap).trainer.phases
        return sum(phases[name].cycles or 0 for name in phases if name in ("backward", "update"))

    assert cycles(overlap=True) < cycles(overlap=False)
