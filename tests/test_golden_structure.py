"""Golden rewiring and pruning against a few lines of plain Python, and by hand."""

import ml_dtypes
import numpy as np
import pytest

from acf.golden.optimizer import xorshift32
from acf.golden.structure import prune, rewire


def plain(layer, keys, *, row_begin, row_end, count, limit):
    """Rewiring, entry by entry; ``keys`` gives the key of a row and a column."""
    pointers, indices, master, momentum, values = (array.tolist() for array in layer)
    for row in range(row_begin, row_end):
        places = range(pointers[row], pointers[row + 1])
        present = {indices[place] for place in places}
        drop = sorted((abs(master[place]), place) for place in places if indices[place] < limit)
        grow = sorted((-keys(row, column), column) for column in range(limit) if column not in present)
        number = min(count, len(drop), len(grow))
        dropped, grown = sorted(place for _, place in drop[:number]), sorted(column for _, column in grow[:number])
        for place, column in zip(dropped, grown, strict=True):
            indices[place], master[place], momentum[place], values[place] = column, 0.0, 0.0, 0.0
    return indices, master, momentum, values


def random_layer(rng, *, rows, columns):
    lengths = rng.integers(0, columns + 1, rows) * (rng.random(rows) < 0.8)
    pointers = np.r_[0, np.cumsum(lengths)].astype(np.int32)
    indices = np.concatenate([rng.permutation(columns)[:length] for length in lengths] + [[]]).astype(np.int32)
    master = rng.choice([0.0, -0.0, 0.5, -0.5, 1.0, -2.0], pointers[-1]).astype(np.float32)
    momentum = rng.standard_normal(pointers[-1]).astype(np.float32)
    return pointers, indices, master, momentum, master.astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("random_keys", [False, True])
def test_rewire_equals_plain_python(random_keys):
    rng = np.random.default_rng(random_keys)
    for _ in range(60):
        rows, columns = (int(n) for n in rng.integers(1, 12, 2))
        layer = random_layer(rng, rows=rows, columns=columns)
        begin, end = sorted(int(n) for n in rng.integers(0, rows + 1, 2))
        count, protected = (
            int(rng.integers(0, 5)),
            (0, columns, columns + 3, columns // 2)[rng.integers(4)],
        )
        limit = min(columns, protected)
        seed = int(rng.integers(1, 1 << 32))
        candidates = rng.choice([0.0, -1.0, 1.0, 2.0], (end - begin, columns)).astype(np.float32)
        states, state = [], seed
        while len(states) < (end - begin) * limit:
            states.append(state := xorshift32(state))

        def key(row, column, states=states, limit=limit, candidates=candidates, begin=begin):
            return states[(row - begin) * limit + column] if random_keys else abs(candidates[row - begin, column])

        got = rewire(
            *layer,
            row_begin=begin,
            row_end=end,
            count=count,
            inner_size=columns,
            protected_from=protected,
            candidates=None if random_keys else candidates,
            seed=seed,
        )
        expected = plain(layer, key, row_begin=begin, row_end=end, count=count, limit=limit)
        for array, wanted in zip(got[:4], expected, strict=True):
            assert array.tolist() == wanted
        # Counts of rows stay, and no column comes twice.
        for first, last in zip(layer[0], layer[0][1:], strict=False):
            assert len(set(got.indices[first:last])) == last - first


def test_rewire_by_hand():
    nan = float("nan")
    got = rewire(
        [0, 2, 6],
        [0, 1, 5, 0, 3, 9],
        [1, 1, 0.25, nan, -0.25, 0.0],
        [1, 1, 2, 3, 4, 5],
        [1, 1, 0.25, 2, -0.25, 8],
        row_begin=1, row_end=2, count=2, inner_size=10, protected_from=8,
        candidates=[[9, -3, 4, 9, -5, 9, nan, 4, 9, 9]],
    )  # fmt: skip
    # The NaN stays, the 0 is protected; columns 6 (a NaN) and 4 come in ascending order. Places 2 and 4 are free.
    assert got.indices.tolist() == [0, 1, 4, 0, 6, 9]
    assert got.master[[2, 4]].tolist() == got.momentum[[2, 4]].tolist() == got.values[[2, 4]].tolist() == [0, 0]
    assert got.momentum[[0, 1, 3, 5]].tolist() == [1, 1, 3, 5]
    assert got.changed == 2


def test_few_candidates_are_exchanged_for_the_smallest():
    got = rewire(
        [0, 3], [0, 1, 2], [3, 1, 2], [1, 1, 1], [3, 1, 2], row_begin=0, row_end=1, count=3, inner_size=4, seed=9
    )
    assert (got.indices.tolist(), got.master.tolist(), got.changed) == ([0, 3, 2], [3, 0, 2], 1)


def test_columns_out_of_range_are_refused():
    with pytest.raises(ValueError, match="columns of row 0 must be below 2, not 7"):
        rewire([0, 1], [7], [1], [1], [1], row_begin=0, row_end=1, count=1, inner_size=2)


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
