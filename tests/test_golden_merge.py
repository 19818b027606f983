"""Golden growth in a layer against a few lines of plain Python, and by hand."""

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from acf.golden.merge import BINS, LayerGrowth, Rows
from acf.golden.optimizer import xorshift32


def bits(number):
    return int(np.array(number, dtype=np.float32).view(np.uint32)) & 0x7FFFFFFF


def plain(pointers, indices, keys, *, grow, limit):
    """Columns of every row afterwards, and which places of them are new; ``keys`` gives the key of a place."""
    rows = range(len(pointers) - 1)
    had = [indices[pointers[row] : pointers[row + 1]] for row in rows]
    candidates = [(row, column) for row in rows for column in range(limit) if column not in had[row]]
    taken = sorted(candidates, key=lambda place: -(keys(*place) // (1 << 20)))[:grow]
    return [had[row] + sorted(column for r, column in taken if r == row) for row in rows], had


def run(pointers, arrays, keys, *, cuts, grow, limit):
    """Growth of a layer in parts; ``keys`` gives candidates and seed of rows from one to another."""
    indices, master, momentum, values = arrays
    growth, parts = LayerGrowth(), []
    for merge in (False, True):
        for begin, end in pairwise(cuts):
            span = slice(pointers[begin], pointers[end])
            part = np.array(pointers[begin : end + 1]) - pointers[begin]
            rows = Rows(part, indices[span], limit, **keys(begin, end))
            if merge:
                parts.append(growth.merge(rows, master[span], momentum[span], values[span]))
            else:
                growth.survey(rows, first=begin == 0, grow=grow)
    assert growth.rows == growth.merged == 0
    return parts


@pytest.mark.parametrize("random_keys", [False, True])
def test_growth_equals_plain_python(random_keys):
    rng = np.random.default_rng(random_keys)
    for _ in range(60):
        rows, columns = (int(n) for n in rng.integers(1, 12, 2))
        lengths = rng.integers(0, columns + 1, rows) * (rng.random(rows) < 0.8)
        pointers = [0, *np.cumsum(lengths).tolist()]
        indices = [column for length in lengths for column in rng.permutation(columns)[:length].tolist()]
        numbers = rng.normal(size=(3, len(indices)))
        arrays = (np.array(indices, dtype=np.uint16), *numbers[:2].astype(np.float32), numbers[2].astype("bfloat16"))
        limit = int(rng.choice([columns, columns // 2]))
        gradients = rng.choice([0.0, -1.0, 1.0, 1.06, 1.2, 2.0, np.nan], (rows, columns)).astype(np.float32)
        cuts = sorted({0, rows, *rng.integers(0, rows + 1, 2).tolist()})
        grow = int(rng.choice([0, 1, int(rng.integers(0, rows * columns + 1)), 1 << 31]))
        drawn = {}
        for begin, end in pairwise(cuts):
            state = begin + 5
            for place in range((end - begin) * limit):
                state = xorshift32(state)
                drawn[begin + place // limit, place % limit] = state >> 1

        def key(row, column, drawn=drawn, gradients=gradients):
            return drawn[row, column] if random_keys else bits(gradients[row, column])

        def settings(begin, end, gradients=gradients):
            return {"seed": begin + 5} if random_keys else {"candidates": gradients[begin:end]}

        parts = run(pointers, arrays, settings, cuts=cuts, grow=grow, limit=limit)
        expected, had = plain(pointers, indices, key, grow=grow, limit=limit)
        columns_after = [column for row in expected for column in row]
        assert np.concatenate([part.indices for part in parts]).tolist() == columns_after
        bounds = np.cumsum([0, *map(len, expected)]).tolist()
        for part, (begin, end) in zip(parts, pairwise(cuts), strict=True):
            assert part.pointers.tolist() == bounds[begin : end + 1]
        for number, name in ((1, "master"), (2, "momentum"), (3, "values")):
            old, new = iter(arrays[number].tolist()), []
            for row, before in zip(expected, had, strict=True):
                new += [next(old) for _ in before] + [0.0] * (len(row) - len(before))
            assert np.concatenate([getattr(part, name) for part in parts]).tolist() == new
        assert sum(part.grown for part in parts) == bounds[-1] - len(indices)


def test_growth_by_hand():
    nan = float("nan")
    parts = run(
        [0, 2, 2],
        (np.array([3, 0]), np.ones(2), np.ones(2), np.ones(2, dtype=ml_dtypes.bfloat16)),
        lambda begin, end: {"candidates": np.array([[9, -1.01, 0.5, 9, nan], [1, 0.9, -1.02, 0, 9]])[begin:end]},
        cuts=[0, 1, 2], grow=3, limit=5,
    )  # fmt: skip
    # The NaN and 9 are above all; of 1.01, 1 and 1.02, which share a bin, the first one comes in. 9 at (0, 0) is there.
    assert [part.indices.tolist() for part in parts] == [[3, 0, 1, 4], [4]]
    assert [part.master.tolist() for part in parts] == [[1, 1, 0, 0], [0]]
    assert parts[1].pointers.tolist() == [4, 5]


def test_bins_are_an_eighth_wide():
    assert BINS == 2048
    assert bits(1.0) >> 20 == bits(1.124) >> 20 == (bits(1.125) >> 20) - 1
