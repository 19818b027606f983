"""The pruner: what it asks for at which step, what is left after that, and going on where another stopped."""

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from acf.sparsity import masks
from acf.sparsity.distributions import erk, global_density, matrix_shape, uniform
from acf.sparsity.patterns import Blocks, ConstantFanIn, NOfM, Unstructured
from acf.sparsity.pruner import METHODS, Pruner
from acf.sparsity.reference import SparseWeights, apply
from acf.sparsity.schedules import CubicSparsity, DropSchedule, UpdateSchedule
from acf.sparsity.updates import UpdateKind

SHAPES = {"conv": (8, 4, 3, 3), "fc1": (32, 64), "fc2": (8, 32)}
UPDATES = UpdateSchedule(period=5, end=60)
DROP = DropSchedule(initial=0.5, end=60)


def make(method, *, sparsity=0.75, seed=3, **changes):
    settings: dict[str, Any] = {"seed": seed}
    if method != "dense":
        settings["densities"] = uniform(SHAPES, sparsity)
    if method in ("set", "rigl"):
        settings |= {"updates": UPDATES, "drop": DROP}
    if method == "gradual":
        settings["gradual"] = CubicSparsity(final=sparsity, start=10, end=50, period=10)
    return Pruner(SHAPES, method=method, **(settings | changes))


def fan_in(pruner, layer):
    return round(pruner.densities[layer] * matrix_shape(SHAPES[layer])[1])


class TestRequests:
    @pytest.mark.parametrize("method", ["dense", "static"])
    def test_nothing(self, method):
        pruner = make(method)
        assert [pruner.step() for _ in range(100)] == [[]] * 100
        assert all(row["changed"] is None for row in pruner.rows())

    @pytest.mark.parametrize("method", ["set", "rigl"])
    def test_rewires(self, method):
        pruner = make(method)
        requests = [pruner.step() for _ in range(100)]
        assert {step for step, found in enumerate(requests, start=1) if found} <= set(range(5, 60, 5))
        seeds = []
        for step in range(5, 60, 5):
            for update in requests[step - 1]:
                kept = fan_in(pruner, update.layer)
                assert update.step == step
                assert update.entries == kept
                assert update.drop == int(DROP.at(step) * kept) > 0
                assert update.group is None
                if method == "set":
                    assert update.kind is UpdateKind.REWIRE_AT_RANDOM
                    seeds.append(update.seed)
                else:
                    assert update.kind is UpdateKind.REWIRE_BY_GRADIENT
                    assert update.seed is None
        assert {update.layer for update in requests[4]} == set(SHAPES)
        assert len(seeds) == len(set(seeds))
        assert all(0 < seed < 1 << 32 for seed in seeds)

    @pytest.mark.parametrize("method", ["set", "rigl"])
    def test_regrowth(self, method):
        pruner = make(method, pattern=Unstructured(), densities={"conv": 1.0, "fc1": 0.9, "fc2": 0.25})
        found = [update for _ in range(5) for update in pruner.step()]
        entries = {"fc1": round(0.9 * 2048), "fc2": 64}
        assert {update.layer: update.entries for update in found} == entries
        assert {update.layer: update.drop for update in found} == {"fc1": 205, "fc2": int(DROP.at(5) * 64)}
        kind = UpdateKind.REGROW_AT_RANDOM if method == "set" else UpdateKind.REGROW_BY_GRADIENT
        assert {update.kind for update in found} == {kind}
        assert all((update.seed is None) == (method == "rigl") for update in found)
        assert {row["layer"]: row["entries"] for row in pruner.rows()} == {"conv": 288, **entries}

    def test_no_more_drops_than_candidates(self):
        pruner = make("rigl", densities={"conv": 1.0, "fc1": 60 / 64, "fc2": 0.5})
        for _ in range(4):
            pruner.step()
        assert {update.layer: update.drop for update in pruner.step()} == {"fc1": 4, "fc2": int(DROP.at(5) * 16)}

    def test_gradual(self):
        densities = erk(SHAPES, 0.8)
        pruner = make("gradual", sparsity=0.8, densities=densities)
        assert all(structure.density == 1 for structure in pruner.structures().values())
        for step in range(1, 100):
            before = {row["layer"]: row["entries"] for row in pruner.rows()}
            found = pruner.step()
            assert (step in (20, 30, 40, 50)) == bool(found), "at the first step of the schedule nothing is pruned yet"
            for update in found:
                assert update.kind is UpdateKind.PRUNE
                assert update.drop == before[update.layer] - update.entries > 0
            assert pruner.gradual is not None
            # Each layer rounds by half an entry.
            present = {row["layer"]: row["density"] for row in pruner.rows()}
            assert global_density(SHAPES, present) == pytest.approx(1 - pruner.gradual.at(step), abs=1e-3)
        for row in pruner.rows():
            height, width = matrix_shape(row["shape"])
            assert row["entries"] == round(densities[row["layer"]] * height * width)

    def test_gradual_from_sparse(self):
        gradual = CubicSparsity(initial=0.5, final=0.75, end=20, period=10)
        pruner = make("gradual", gradual=gradual)
        assert all(structure.density == 0.5 for structure in pruner.structures().values())

    def test_peek(self):
        pruner = make("set")
        for _ in range(30):
            seen = pruner.peek()
            assert seen == pruner.peek() == pruner.step()


class TestExecution:
    """The reference does what the pruner asks for, and the masks keep to their pattern."""

    @pytest.mark.parametrize(
        ("method", "pattern"),
        [
            ("set", ConstantFanIn()),
            ("rigl", ConstantFanIn()),
            ("set", NOfM(1, 4)),
            ("rigl", NOfM(1, 4)),
            ("set", Unstructured()),
            ("rigl", Unstructured()),
            ("gradual", Unstructured()),
        ],
    )
    def test_masks_keep_to_the_pattern(self, method, pattern):
        pruner = make(method, pattern=pattern)
        rng = np.random.default_rng(0)
        layers = {
            name: SparseWeights.from_dense(structure.with_bias(), rng.normal(size=np.add(structure.shape, (0, 1))))
            for name, structure in pruner.structures().items()
        }
        for _ in range(60):
            for weights in layers.values():
                weights.master[:] = rng.normal(size=weights.master.size)
            for update in pruner.step():
                weights = layers[update.layer]
                gradient = rng.normal(size=weights.shape).astype(np.float32)
                before, mask = weights.indices.copy(), weights.structure.to_bool()
                bias = weights.shape[1] - 1
                weights = apply(update, weights, gradient=gradient, protected_from=bias)
                layers[update.layer] = weights
                structure = weights.structure.without_bias()
                pattern.check(structure)
                assert (weights.indices == bias).sum() == weights.shape[0]
                if isinstance(pattern, Unstructured):
                    assert structure.entries == update.entries
                    lost = int((mask & ~weights.structure.to_bool()).sum())
                    assert lost == update.drop if method == "gradual" else 0 < lost <= update.drop
                    continue
                masks.check_constant_fan_in(structure, update.entries)
                moved = (before != weights.indices).sum()
                assert 0 < moved <= update.drop * weights.shape[0]
                if update.group is None:
                    assert moved == update.drop * weights.shape[0]
            for row in pruner.rows():
                assert layers[row["layer"]].structure.without_bias().entries == row["entries"]


class TestResume:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("stop", [0, 7, 20, 59, 80])
    def test_equals_uninterrupted(self, method, stop):
        whole, first, second = make(method), make(method), make(method)
        expected = [whole.step() for _ in range(100)]
        found = [first.step() for _ in range(stop)]
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        found += [second.step() for _ in range(100 - stop)]
        assert found == expected
        assert second.state_dict() == whole.state_dict()
        assert str(second) == str(whole)
        assert second.structures() == whole.structures()

    def test_of_another_pruner(self):
        state = make("rigl").state_dict()
        with pytest.raises(ValueError, match="a pruner whose method is 'rigl', not 'set'"):
            make("set").load_state_dict(state)
        with pytest.raises(ValueError, match="a pruner whose seed is 3, not 4"):
            make("rigl", seed=4).load_state_dict(state)
        with pytest.raises(ValueError, match="whose densities is"):
            make("rigl", sparsity=0.5).load_state_dict(state)
        with pytest.raises(ValueError, match="version 1, not 2"):
            make("rigl").load_state_dict(state | {"version": 2})
        with pytest.raises(ValueError, match="not negative, not -1"):
            make("rigl").load_state_dict(state | {"step": -1})
        with pytest.raises(ValueError, match="changes must be given for conv, fc1, fc2, not conv"):
            make("rigl").load_state_dict(state | {"changed": {"conv": None}})
        with pytest.raises(ValueError, match="but changed is missing"):
            make("rigl").load_state_dict({key: value for key, value in state.items() if key != "changed"})
        gradual = make("gradual")
        with pytest.raises(ValueError, match="entries at step 50"):
            gradual.load_state_dict(gradual.state_dict() | {"step": 50})


def test_first_masks():
    pruner = make("set")
    for name, structure in pruner.structures().items():
        assert structure.shape == matrix_shape(SHAPES[name])
        masks.check_constant_fan_in(structure, fan_in(pruner, name))
    assert pruner.structures() == make("set").structures()
    assert pruner.structures() != make("set", seed=4).structures()
    assert all(structure.density == 1 for structure in make("dense").structures().values())
    for pattern in (Unstructured(), Blocks(2, 4), NOfM(1, 4)):
        for structure in make("static", pattern=pattern).structures().values():
            pattern.check(structure)
            assert structure.density == 0.25


def test_shown():
    pruner = make("rigl")
    for _ in range(12):
        pruner.step()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(pruner.table())
    text = console.export_text()
    for part in ("rigl, constant fan-in, step 12", "8 x 4 x 3 x 3", "0.2500", "step 10", "512"):
        assert part in text
    assert str(pruner).splitlines()[1] == "  conv: 72 entries, density 0.2500"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("magic"), "one of dense, static, set, rigl, gradual, not 'magic'"),
        (lambda: make("rigl", drop=None), "method 'rigl' needs drop"),
        (lambda: make("static", updates=UPDATES), "method 'static' has no use for updates"),
        (lambda: make("dense", densities={"conv": 0.5}), "method 'dense' has no use for densities"),
        (lambda: make("rigl", pattern=Blocks(2, 2)), "not blocks of 2 x 2"),
        (lambda: make("gradual", pattern=NOfM(1, 4)), "masks are unstructured, not 1:4"),
        (lambda: make("static", pattern=NOfM(2, 4)), r"layer 'conv': the density of a layer must be 0\.5 for 2:4"),
        (lambda: make("static", pattern=Blocks(3, 4)), "layer 'conv': a matrix of blocks of 3 x 4"),
        (lambda: make("static", seed=-1), "seed must not be negative, not -1"),
        (lambda: make("static", densities={"conv": 0.5}), "but 'fc1' has none"),
        (
            lambda: make("gradual", gradual=CubicSparsity(final=0.9, end=10, period=5)),
            r"sparsity of the densities, 0\.75, not 0\.9",
        ),
        (lambda: Pruner({}, method="dense"), "at least one layer, not 0"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
