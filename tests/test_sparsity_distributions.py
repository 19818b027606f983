"""Densities of layers: they add up, follow the published formulas, and refuse what cannot be."""

import math

import numpy as np
import pytest

from acf.sparsity.distributions import elements, erk, explicit, global_density, matrix_shape, uniform

LENET = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
CONVOLUTIONS = {
    "conv1": (16, 3, 3, 3),
    "conv2": (32, 16, 3, 3),
    "conv3": (64, 32, 1, 1),
    "conv4": (128, 64, 3, 3),
    "fc": (10, 128),
}


def published_erk(shapes, sparsity):
    """As in the code that came with RigL: one layer after another becomes dense, sums over zeros and ones."""
    dense: set[str] = set()
    while True:
        divisor, right = 0.0, 0.0
        raw = {}
        for name, shape in shapes.items():
            size = math.prod(shape)
            if name in dense:
                right -= size * sparsity
            else:
                right += size * (1 - sparsity)
                raw[name] = sum(shape) / size
                divisor += raw[name] * size
        epsilon = right / divisor
        largest = max(raw, key=lambda name: raw[name])
        if raw[largest] * epsilon <= 1:
            return {name: 1.0 if name in dense else epsilon * raw[name] for name in shapes}
        dense.add(largest)


@pytest.mark.parametrize("sparsity", [0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("shapes", [LENET, CONVOLUTIONS])
class TestSums:
    def test_uniform(self, shapes, sparsity):
        densities = uniform(shapes, sparsity)
        assert list(densities) == list(shapes)
        assert densities == pytest.approx(dict.fromkeys(shapes, 1 - sparsity))

    @pytest.mark.parametrize("kernel", [False, True])
    def test_erk(self, shapes, sparsity, kernel):
        densities = erk(shapes, sparsity, kernel=kernel)
        assert list(densities) == list(shapes)
        assert all(0 < density <= 1 for density in densities.values())
        assert global_density(shapes, densities) == pytest.approx(1 - sparsity)

    def test_erk_as_published(self, shapes, sparsity):
        assert erk(shapes, sparsity) == pytest.approx(published_erk(shapes, sparsity))

    @pytest.mark.parametrize("share", [uniform, erk])
    def test_fixed(self, shapes, sparsity, share):
        first, *_, last = shapes
        fixed = {last: 0.5} if sparsity < 0.95 else {last: 0.1}
        if sparsity == 0:
            fixed = {first: 1.0}
        densities = share(shapes, sparsity, fixed=fixed)
        assert {name: densities[name] for name in fixed} == fixed
        assert global_density(shapes, densities) == pytest.approx(1 - sparsity)


def test_erk_by_hand():
    # Raw densities 4/4 = 1, 8/16 = 0.5, 20/100 = 0.2 give 4, 8, 20 entries for each unit of epsilon. Of 120 elements
    # 30 stay, so epsilon is 30/32 and nothing is full.
    shapes = {"a": (2, 2), "b": (4, 4), "c": (10, 10)}
    assert erk(shapes, 0.75) == pytest.approx({"a": 30 / 32, "b": 15 / 32, "c": 6 / 32})
    # 60 stay: epsilon would be 60/32, so a is full; 56 left for 28 makes epsilon 2, so b is full as well, at just 1;
    # 40 left for 20.
    assert erk(shapes, 0.5) == pytest.approx({"a": 1, "b": 1, "c": 0.4})


def test_kernels_count():
    shapes = {"conv": (8, 8, 3, 3), "fc": (64, 64)}
    with_kernel, without = erk(shapes, 0.9), erk(shapes, 0.9, kernel=False)
    assert with_kernel["conv"] / with_kernel["fc"] == pytest.approx((22 / 576) / (128 / 4096))
    assert without["conv"] / without["fc"] == pytest.approx((16 / 64) / (128 / 4096))


def test_shapes():
    assert matrix_shape((16, 3, 5, 7)) == (16, 105)
    assert elements((16, 3, 5, 7)) == 16 * 105
    assert np.allclose(global_density(LENET, {"fc1": 0.1, "fc2": 0.2, "fc3": 1}), (23520 + 6000 + 1000) / 266200)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform(LENET, 1.0), r"sparsity must be from 0 to below 1, not 1\.0"),
        (lambda: erk(LENET, -0.1), r"not -0\.1"),
        (lambda: erk(LENET, math.nan), "not nan"),
        (lambda: erk({}, 0.5), "at least one layer, not 0"),
        (lambda: uniform({"a": (3,)}, 0.5), r"layer 'a': weights must be of 2 dimensions .* not of shape \(3,\)"),
        (lambda: uniform({"a": (3, 0)}, 0.5), r"layer 'a': sizes of weights must be positive, not \(3, 0\)"),
        (lambda: uniform(LENET, 0.9, fixed={"fc4": 1.0}), "given for 'fc4', but the layers are 'fc1', 'fc2', 'fc3'"),
        (lambda: uniform(LENET, 0.9, fixed={"fc1": 1.5}), r"'fc1' must be above 0 and at most 1, not 1\.5"),
        (
            lambda: uniform(LENET, 0.9, fixed={"fc1": 1.0}),
            "leaves 26620 entries, but layers of fixed density take 235200",
        ),
        (lambda: erk({"a": (2, 2)}, 0.5, fixed={"a": 0.2}), r"leaves 1\.2 entries .* which have 0 elements"),
        (
            lambda: uniform(LENET, 0.0, fixed={"fc3": 0.5}),
            "leaves 265700 entries to layers .* which have 265200 elements",
        ),
        (lambda: explicit(LENET, {"fc1": 0.5}), "every layer must have a density, but 'fc2' has none"),
        (lambda: explicit({"a": (2, 2)}, {"a": 0.0}), r"'a' must be above 0 and at most 1, not 0\.0"),
        (lambda: explicit({"a": (2, 2)}, {"a": 0.5, "b": 1}), "a density is given for 'b'"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_all_fixed():
    assert uniform({"a": (2, 2), "b": (2, 2)}, 0.5, fixed={"a": 0.75, "b": 0.25}) == {"a": 0.75, "b": 0.25}
