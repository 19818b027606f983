"""Golden rewiring against a few lines of plain Python, and by hand."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from acf.golden.optimizer import xorshift32
from acf.golden.rewiring import DRAWS, SPAN_UNIT, magnitude_keys, rewire, select_largest

NAN, INFINITY = float("nan"), float("inf")


def height(number):
    """What numbers are compared by, told by arithmetic: 256 steps for each octave."""
    number = abs(float(number))
    if np.isnan(number) or number == INFINITY:
        return INFINITY
    scaled = Fraction(number) / Fraction(2) ** -126
    exponent = 0
    while scaled >= 2:
        scaled, exponent = scaled / 2, exponent + 1
    return exponent * 256 + int(scaled * 256)


def test_keys_are_steps_of_an_octave():
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 0x7F800000, 300, dtype=np.uint32).view(np.float32)
    numbers = np.concatenate(
        [numbers, -numbers, np.array([0, -0.0, 1e-45, 1e-40, 1.0, 1.00390625, 1.0039], np.float32)]
    )
    keys = magnitude_keys(numbers)
    heights = [height(number) for number in numbers]
    for a, b in rng.integers(0, len(numbers), (2000, 2)).tolist():
        assert (keys[a] < keys[b]) == (heights[a] < heights[b]), (numbers[a], numbers[b])
    assert keys.min() == 0
    assert keys.max() < magnitude_keys([INFINITY])[0] < magnitude_keys([NAN])[0] < 1 << 16


def plain(layer, *, row_begin, row_end, span, most, limit, candidates, seed, candidate_first=0, candidate_step=1):
    """Rewiring, entry by entry."""
    count = sum(column % candidate_step == 0 for column in range(limit))
    pointers, indices, master, momentum, values = (array.tolist() for array in layer)
    keys = magnitude_keys(layer[2]).tolist()
    state, mask = seed, 0
    while mask < count - 1:
        mask = 2 * mask + 1
    drawn = xorshift32(seed)
    begins, step = drawn & mask, xorshift32(drawn) & mask | 1
    for row in range(row_begin, row_end):
        begin, end = pointers[row], pointers[row + 1]
        present = {indices[place] for place in range(begin, end)}
        drop, edge, number = [], begin, 1
        while begin + int(Fraction(number * span, SPAN_UNIT)) <= end:
            next_edge = begin + int(Fraction(number * span, SPAN_UNIT))
            droppable = [(keys[place], place) for place in range(edge, next_edge) if indices[place] < limit]
            drop += [min(droppable)[1]] if droppable else []
            edge, number = next_edge, number + 1
        drop = drop[:most]
        if candidates is None:
            pairs, grown = [], set()
            for place in drop:
                for _ in range(DRAWS):
                    state = xorshift32(state)
                    column = state & mask
                    if column < limit and column not in present | grown:
                        grown.add(column)
                        pairs.append((place, column))
                        break
        else:
            first = (begins + (row - row_begin) * step) % count if count else 0
            order = [(first + n) % count for n in range(count)]
            columns = {n: candidate_first + n * candidate_step for n in order if candidates[row - row_begin][n]}
            grow = [column for column in columns.values() if column < limit and column not in present]
            pairs = list(zip(drop, grow, strict=False))
        for place, column in pairs:
            indices[place], master[place], momentum[place], values[place] = column, 0.0, 0.0, 0.0
    return indices, master, momentum, values


def random_layer(rng, *, rows, columns):
    lengths = rng.integers(0, columns + 1, rows) * (rng.random(rows) < 0.8)
    pointers = np.r_[0, np.cumsum(lengths)].astype(np.int32)
    indices = np.concatenate([rng.permutation(columns)[:length] for length in lengths] + [[]]).astype(np.int32)
    master = rng.choice([0.0, -0.0, 0.5, -0.5, 1.0, -2.0], pointers[-1]).astype(np.float32)
    momentum = rng.standard_normal(pointers[-1]).astype(np.float32)
    return pointers, indices, master, momentum, master.astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("at_random", [False, True])
def test_rewire_equals_plain_python(at_random):
    rng = np.random.default_rng(at_random)
    changed = 0
    for _ in range(80):
        rows, columns = (int(n) for n in rng.integers(1, 14, 2))
        layer = random_layer(rng, rows=rows, columns=columns)
        begin, end = sorted(int(n) for n in rng.integers(0, rows + 1, 2))
        protected = (0, columns, columns + 3, columns // 2)[rng.integers(4)]
        settings = {
            "row_begin": begin,
            "row_end": end,
            "span": int(rng.choice([SPAN_UNIT, 2 * SPAN_UNIT, int(rng.integers(SPAN_UNIT, 5 * SPAN_UNIT))])),
            "most": int(rng.choice([1, 100])),
            "candidates": None if at_random else rng.random((end - begin, columns)) < rng.choice([0.2, 0.7]),
            "seed": int(rng.integers(1, 1 << 32)),
        }
        if not at_random:
            step = int(rng.choice([1, 1, 2, 4, 8]))
            settings |= {"candidate_step": step, "candidate_first": int(rng.integers(step))}
        got = rewire(*layer, inner_size=columns, protected_from=protected, **settings)
        expected = plain(layer, limit=min(columns, protected), **settings)
        for array, wanted in zip(got[:4], expected, strict=True):
            assert array.tolist() == wanted
        changed += got.changed
        # Counts of rows stay, and no column comes twice.
        for first, last in zip(layer[0], layer[0][1:], strict=False):
            assert len(set(got.indices[first:last])) == last - first
    assert changed > 25


def test_rewire_by_hand():
    got = rewire(
        [0, 2, 8],
        [0, 1, 5, 0, 3, 9, 7, 2],
        [1, 1, 0.25, NAN, -0.25, 0.0, INFINITY, 0.1],
        [1, 1, 2, 3, 4, 5, 6, 7],
        [1, 1, 0.25, 2, -0.25, 8, 9, 1],
        row_begin=1, row_end=2, span=5 * SPAN_UNIT // 2, most=9, inner_size=10, protected_from=8,
        candidates=[[1, 1, 1, 0, 1, 0, 1, 0, 1, 1]], seed=0,
    )  # fmt: skip
    # Spans of 2 and 3, and a part of one: 0.25 and -0.25 go, the 0 is protected. Columns 1 and 4 come in their places.
    assert got.indices.tolist() == [0, 1, 1, 0, 4, 9, 7, 2]
    assert got.master[[2, 4]].tolist() == got.momentum[[2, 4]].tolist() == got.values[[2, 4]].tolist() == [0, 0]
    assert got.momentum[[0, 1, 3, 5, 6, 7]].tolist() == [1, 1, 3, 5, 6, 7]
    assert got.changed == 2


def test_candidates_begin_where_a_draw_says():
    """With seed 1 the first states end in 0x2021 and 0x0601: from column 1 of 8 on, and by 1 further in each row."""
    settings = {"row_begin": 0, "row_end": 3, "span": SPAN_UNIT, "most": 9, "inner_size": 8}
    layer = [0, 2, 4, 6], [2, 6] * 3, [1] * 6, [1] * 6, [1] * 6
    candidates = [[1, 1, 0, 0, 0, 1, 0, 0]] * 3
    got = rewire(*layer, candidates=candidates, seed=1, **settings)
    assert got.indices.tolist() == [1, 5, 5, 0, 5, 0]
    got = rewire(*layer, candidates=candidates, seed=0, **settings)
    assert got.indices.tolist() == [0, 1, 1, 5, 5, 0]


def test_all_columns_are_grown_alike():
    """A surplus of candidates prefers no column."""
    rows, columns = 2000, 48
    rng = np.random.default_rng(2)
    pointers = np.arange(rows + 1) * 6
    indices = np.concatenate([rng.permutation(columns)[:6] for _ in range(rows)])
    numbers = rng.standard_normal(6 * rows)
    for candidates in (np.ones((rows, columns), dtype=bool), None):
        got = rewire(
            pointers, indices, numbers, numbers, numbers, row_begin=0, row_end=rows, span=3 * SPAN_UNIT, most=9,
            inner_size=columns, candidates=candidates, seed=77,
        )  # fmt: skip
        assert got.changed == 2 * rows
        grown = np.bincount(got.indices[got.indices != indices], minlength=columns)
        assert grown.min() > 0.7 * 2 * rows / columns
        assert grown.max() < 1.3 * 2 * rows / columns


def test_draws_come_to_an_end():
    got = rewire(
        [0, 2], [0, 1], [1, 1], [1, 1], [1, 1], row_begin=0, row_end=1, span=SPAN_UNIT, most=9, inner_size=2, seed=9
    )
    assert (got.indices.tolist(), got.changed) == ([0, 1], 0)


def test_what_is_refused():
    layer = [0, 1], [7], [1], [1], [1]
    with pytest.raises(ValueError, match="columns of row 0 must be below 2, not 7"):
        rewire(*layer, row_begin=0, row_end=1, span=SPAN_UNIT, most=1, inner_size=2)
    with pytest.raises(ValueError, match="a span must have at least one entry, 65536, not 65535"):
        rewire(*layer, row_begin=0, row_end=1, span=SPAN_UNIT - 1, most=1, inner_size=8)


@pytest.mark.parametrize(
    ("first", "block", "expected"),
    [
        (0, 1, [1, 1, 1, 1, 1, 1, 1]),
        (0, 4, [0, 1, 0, 0, 1, 0, 0]),
        (8, 8, [0, 1, 0, 0, 0, 0, 0]),
        (2, 4, [0, 1, 0, 1, 0, 0, 1]),
        (6, 8, [0, 1, 0, 1, 0, 0, 0]),
    ],
)
def test_the_largest_of_each_block(first, block, expected):
    numbers = [1, -3, 0.5, 3, -2, 0, 2]
    assert select_largest(numbers, first=first, block=block).tolist() == [bool(bit) for bit in expected]


def test_a_block_of_zeros_and_a_nan():
    assert select_largest([0, -0.0, NAN, INFINITY], first=0, block=2).tolist() == [True, False, True, False]
    assert select_largest([], first=5, block=4).tolist() == []
