"""Golden pruning against a few lines of plain Python, and by hand."""

import ml_dtypes
import numpy as np
import pytest

from acf.golden.structure import prune


def random_layer(rng, *, rows, columns):
    lengths = rng.integers(0, columns + 1, rows) * (rng.random(rows) < 0.8)
    pointers = np.r_[0, np.cumsum(lengths)].astype(np.int32)
    indices = np.concatenate([rng.permutation(columns)[:length] for length in lengths] + [[]]).astype(np.int32)
    master = rng.choice([0.0, -0.0, 0.5, -0.5, 1.0, -2.0], pointers[-1]).astype(np.float32)
    momentum = rng.standard_normal(pointers[-1]).astype(np.float32)
    return pointers, indices, master, momentum, master.astype(ml_dtypes.bfloat16)


def test_prune_equals_plain_python():
    rng = np.random.default_rng(4)
    for _ in range(80):
        rows, columns = (int(n) for n in rng.integers(1, 12, 2))
        pointers, *arrays = random_layer(rng, rows=rows, columns=columns)
        indices, master = arrays[0], arrays[1]
        protected = (None, 0, columns, columns // 2)[rng.integers(4)]
        limit = columns if protected is None else protected
        count = int(rng.integers(0, master.size + 3))
        got = prune(pointers, *arrays, count=count, inner_size=columns, protected_from=protected)
        droppable = [place for place in range(master.size) if indices[place] < limit]
        gone = set(sorted(droppable, key=lambda place: (abs(master[place]), place))[:count])
        stays = [place for place in range(master.size) if place not in gone]
        assert got.changed == len(gone) == min(count, len(droppable))
        assert got.pointers.tolist() == [sum(place < bound for place in stays) for bound in pointers]
        for array, left in zip(arrays, got[1:5], strict=True):
            assert left.tobytes() == array[stays].tobytes()


def test_prune_by_hand():
    nan, infinity = float("nan"), float("inf")
    got = prune(
        [0, 3, 3, 7],
        [1, 0, 9, 4, 5, 6, 7],
        [0.5, -0.25, 0.0, nan, 0.25, -infinity, -0.5],
        [1, 2, 3, 4, 5, 6, 7],
        [0.5, -0.25, 0, nan, 0.25, -infinity, -0.5],
        count=3, inner_size=10, protected_from=9,
    )  # fmt: skip
    # The 0 is protected; of -0.5 and 0.5 the one that stands first goes.
    assert got.pointers.tolist() == [0, 1, 1, 4]
    assert got.indices.tolist() == [9, 4, 6, 7]
    assert got.momentum.tolist() == [3, 4, 6, 7]
    assert got.changed == 3


def test_columns_out_of_range_are_not_pruned():
    with pytest.raises(ValueError, match="columns must be below 2, not 7"):
        prune([0, 1], [7], [1], [1], [1], count=1, inner_size=2)
