"""The reference of structure updates against a slow one that follows the words of the contract."""

import struct
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from acf.sparsity import masks
from acf.sparsity.reference import SparseWeights, apply, gradient_keys, grow, magnitude_bits, prune, random_keys, rewire
from acf.sparsity.structure import Structure
from acf.sparsity.updates import StructureUpdate, UpdateKind

TIES = np.array([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, np.inf, -np.inf, np.nan, 2.5, -2.5, 0.5], dtype=np.float32)


def bits(number):
    return struct.unpack("<I", struct.pack("<f", number))[0] & 0x7FFF_FFFF


def make_weights(rng, *, rows, columns, bias=False, fan_in=None, ties=False):
    """Weights whose entries stand in any order within their rows."""
    indices, pointers = [], [0]
    for _ in range(rows):
        count = int(rng.integers(0, columns + 1)) if fan_in is None else fan_in
        row = rng.permutation(rng.choice(columns, count, replace=False)).tolist()
        if bias:
            row.insert(int(rng.integers(0, len(row) + 1)), columns)
        indices += row
        pointers.append(len(indices))
    size = len(indices)
    master = rng.choice(TIES, size) if ties else rng.normal(size=size).astype(np.float32)
    return SparseWeights(
        (rows, columns + bias),
        np.array(pointers, dtype=np.int32),
        np.array(indices, dtype=np.int32),
        master,
        rng.normal(size=size).astype(np.float32),
        master.astype(ml_dtypes.bfloat16),
    )


def copy(weights):
    arrays = (weights.pointers, weights.indices, weights.master, weights.momentum, weights.values)
    return SparseWeights(weights.shape, *(array.copy() for array in arrays))


def slow_rewire(weights, drop, key, limit):
    """One row after the other in plain Python; gives columns and which positions are new."""
    indices, new, replaced = weights.indices.tolist(), set(), []
    for row in range(weights.shape[0]):
        positions = range(weights.pointers[row], weights.pointers[row + 1])
        present = {indices[position] for position in positions}
        candidates = [column for column in range(limit) if column not in present]
        droppable = [position for position in positions if indices[position] < limit]
        count = min(drop, len(candidates), len(droppable))
        dropped = sorted(droppable, key=lambda position: (bits(weights.master[position]), position))[:count]
        grown = sorted(candidates, key=lambda column, row=row: (-key(row, column), column))[:count]
        for position, column in zip(sorted(dropped), sorted(grown), strict=True):
            indices[position] = column
            new.add(position)
        replaced.append(count)
    return indices, new, replaced


def assert_rewired(before, after, expected):
    indices, new, replaced = expected
    assert after.indices.tolist() == indices
    assert (after.pointers == before.pointers).all()
    kept = np.array([position not in new for position in range(len(indices))], dtype=bool)
    for name in ("master", "momentum", "values"):
        was, is_now = (np.ascontiguousarray(getattr(weights, name)) for weights in (before, after))
        assert was[kept].tobytes() == is_now[kept].tobytes()
        assert not is_now[~kept].view(np.uint8).any(), "a grown entry is +0"
    return replaced


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(12))
class TestAgainstSlow:
    def test_by_gradient(self, seed, bias, ties):
        rng = np.random.default_rng(seed)
        rows, columns, drop = int(rng.integers(1, 9)), int(rng.integers(1, 24)), int(rng.integers(0, 10))
        before = make_weights(rng, rows=rows, columns=columns, bias=bias, ties=ties)
        shape = (rows, columns + bias)
        gradient = rng.choice(TIES, shape) if ties else rng.normal(size=shape).astype(np.float32)
        after = copy(before)
        replaced = rewire(after, drop=drop, keys=gradient_keys(gradient), protected_from=columns if bias else None)
        expected = slow_rewire(before, drop, lambda row, column: bits(gradient[row, column]), columns)
        assert replaced.tolist() == assert_rewired(before, after, expected)
        assert replaced.dtype == np.int32

    def test_at_random(self, seed, bias, ties):
        rng = np.random.default_rng(seed)
        rows, columns = 6, 20
        before = make_weights(rng, rows=rows, columns=columns, bias=bias, ties=ties, fan_in=int(rng.integers(0, 21)))
        # Few values, so that many keys are equal.
        table = rng.integers(0, 5 if ties else 1 << 32, size=(rows, columns), dtype=np.uint32)
        after = copy(before)
        rewire(after, drop=4, keys=lambda row: table[row], protected_from=columns if bias else None)
        assert_rewired(before, after, slow_rewire(before, 4, lambda row, column: int(table[row, column]), columns))
        assert after.structure.fan_in.tolist() == before.structure.fan_in.tolist()
        if bias:
            assert ((after.indices == columns) == (before.indices == columns)).all(), "the bias stays in its place"

    def test_prune(self, seed, bias, ties):
        rng = np.random.default_rng(seed)
        columns, drop = 15, int(rng.integers(0, 80))
        before = make_weights(rng, rows=7, columns=columns, bias=bias, ties=ties)
        after = prune(before, drop=drop, protected_from=columns if bias else None)
        free = [position for position, column in enumerate(before.indices) if column < columns]
        gone = set(sorted(free, key=lambda position: (bits(before.master[position]), position))[:drop])
        kept = [position for position in range(before.indices.size) if position not in gone]
        for row in range(7):
            stay = [position for position in kept if before.pointers[row] <= position < before.pointers[row + 1]]
            assert after.pointers[row + 1] - after.pointers[row] == len(stay)
        for name in ("indices", "master", "momentum", "values"):
            assert getattr(after, name).tobytes() == getattr(before, name)[kept].tobytes()
            assert getattr(after, name).dtype == getattr(before, name).dtype


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_grow(seed, ties):
    rng = np.random.default_rng(seed)
    rows, columns = 6, 15
    before = make_weights(rng, rows=rows, columns=columns, bias=True)
    keys = rng.integers(0, 3 << 20 if ties else 1 << 31, size=(rows, columns), dtype=np.uint32)
    count = int(rng.integers(0, 100))
    after = grow(before, count=count, keys=lambda row: keys[row], protected_from=columns)
    had = [before.indices[a:b].tolist() for a, b in pairwise(before.pointers)]
    free = [(row, column) for row in range(rows) for column in range(columns) if column not in had[row]]
    taken = sorted(free, key=lambda place: -(int(keys[place]) >> 20))[:count]
    for row, (a, b) in enumerate(pairwise(after.pointers)):
        new = sorted(column for r, column in taken if r == row)
        assert after.indices[a:b].tolist() == had[row] + new
        old = slice(before.pointers[row], before.pointers[row + 1])
        for name in ("master", "momentum", "values"):
            expected = np.append(getattr(before, name)[old], np.zeros(len(new))).astype(getattr(before, name).dtype)
            assert getattr(after, name)[a:b].tobytes() == expected.tobytes()


def test_fewer_candidates_than_drops():
    structure = Structure.from_bool(np.array([[True, True, True, False, True]]))
    weights = SparseWeights.from_dense(structure, np.array([[3.0, -1.0, 2.0, 0.0, 0.5]]))
    replaced = rewire(weights, drop=3, keys=gradient_keys(np.ones((1, 5), np.float32)), protected_from=4)
    assert replaced.tolist() == [1]
    assert weights.indices.tolist() == [0, 3, 2, 4], "the smallest goes, and the bias stays though it is smaller"
    assert weights.master.tolist() == [3, 0, 2, 0.5]


def test_dropped_columns_do_not_grow_again():
    weights = SparseWeights.from_dense(Structure.from_bool(np.array([[True, False, False]])), np.array([[1e-9, 0, 0]]))
    gradient = np.array([[100, 0, 0]], dtype=np.float32)
    rewire(weights, drop=1, keys=gradient_keys(gradient))
    assert weights.indices.tolist() == [1]


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (3, 4), (1, 8), (5, 8)])
def test_n_of_m_is_kept(n, m):
    rng = np.random.default_rng(n * m)
    structure = masks.n_of_m((9, 4 * m), n, m, rng)
    weights = SparseWeights.from_dense(structure.with_bias(), rng.normal(size=(9, 4 * m + 1)))
    for step in range(10):
        weights.master[:] = rng.normal(size=weights.master.size)
        before = weights.indices.copy()
        keys = random_keys(step, 4 * m + 1)
        replaced = rewire(weights, drop=3, keys=keys, protected_from=4 * m, group=m)
        masks.check_n_of_m(weights.structure.without_bias(), n, m)
        assert (before // m == weights.indices // m).all(), "a place keeps to its group"
        assert (before != weights.indices).sum() == replaced.sum() > 0


def test_random_keys():
    keys = random_keys(7, 1000)
    assert keys(3).dtype == np.uint32
    assert (keys(3) == random_keys(7, 1000)(3)).all()
    assert not (keys(3) == keys(4)).any()
    assert not (keys(3) == random_keys(8, 1000)(3)).any()
    spread = np.histogram(np.concatenate([keys(row) for row in range(64)]), bins=16, range=(0, 1 << 32))[0]
    assert abs(spread / 4000 - 1).max() < 0.1
    assert random_keys(1, 4)(0).tolist() == [slow_key(1, 0, column) for column in range(4)]
    with pytest.raises(ValueError, match="must have 32 bits, not -1"):
        random_keys(-1, 4)


def slow_key(seed, row, column):
    def mix(number):
        number = (number ^ number >> 16) * 0x85EBCA6B & 0xFFFFFFFF
        number = (number ^ number >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
        return number ^ number >> 16

    return mix(mix(mix(seed) ^ row) ^ column)


def test_magnitude_bits():
    assert magnitude_bits(TIES).tolist() == [bits(number) for number in TIES]


class TestApply:
    def make(self):
        rng = np.random.default_rng(5)
        return make_weights(rng, rows=4, columns=10, fan_in=5, bias=True), rng.normal(size=(4, 11)).astype(np.float32)

    def test_kinds(self):
        weights, gradient = self.make()
        update = StructureUpdate(layer="fc", step=1, kind=UpdateKind.REWIRE_BY_GRADIENT, drop=2, entries=5)
        expected = copy(weights)
        rewire(expected, drop=2, keys=gradient_keys(gradient), protected_from=10)
        assert apply(update, weights, gradient=gradient, protected_from=10) is weights
        assert weights.indices.tolist() == expected.indices.tolist()

        update = StructureUpdate(layer="fc", step=1, kind=UpdateKind.REWIRE_AT_RANDOM, drop=2, entries=5, seed=9)
        rewire(expected, drop=2, keys=random_keys(9, 11), protected_from=10)
        assert apply(update, weights, protected_from=10) is weights
        assert weights.indices.tolist() == expected.indices.tolist()

        update = StructureUpdate(layer="fc", step=1, kind=UpdateKind.PRUNE, drop=8, entries=12)
        assert apply(update, weights, protected_from=10).structure.entries == 12 + 4, "with the biases"

    def test_gradient_is_needed(self):
        weights, gradient = self.make()
        update = StructureUpdate(layer="fc", step=1, kind=UpdateKind.REWIRE_BY_GRADIENT, drop=2, entries=5)
        with pytest.raises(ValueError, match=r"layer 'fc' needs a gradient of shape \(4, 11\), not none"):
            apply(update, weights)
        with pytest.raises(ValueError, match=r"not one of shape \(4, 10\)"):
            apply(update, weights, gradient=gradient[:, :10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, k: rewire(w, drop=-1, keys=k), "drop must not be negative, not -1"),
        (lambda w, k: rewire(w, drop=1, keys=k, protected_from=5), "from one of 0 to 4, not 5"),
        (lambda w, k: rewire(w, drop=1, keys=k, group=0), "at least one column, not 0"),
        (lambda w, k: rewire(w, drop=1, keys=lambda row: k(row)[:2]), r"4 unsigned integers, not of shape \(2,\)"),
        (lambda w, k: rewire(w, drop=1, keys=lambda row: k(row) * 1.0), "and type float64"),
        (lambda w, k: grow(w, count=-2, keys=k), "grow must not be negative, not -2"),
        (lambda w, k: prune(w, drop=-2), "drop must not be negative, not -2"),
        (lambda w, k: SparseWeights.from_dense(w.structure, np.zeros(3)), r"shape \(2, 4\), not \(3,\)"),
        (
            lambda w, k: SparseWeights(w.shape, w.pointers, w.indices, w.values, w.momentum, w.values),
            "master must be of type float32, not bfloat16",
        ),
        (
            lambda w, k: SparseWeights(w.shape, w.pointers, w.indices, w.master[:3], w.momentum, w.values),
            r"master must be 8 numbers, not of shape \(3,\)",
        ),
    ],
)
def test_refused(call, message):
    weights = SparseWeights.from_dense(Structure.dense((2, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=message):
        call(weights, random_keys(0, 4))
