"""Structures and masks: conversion, patterns kept and broken, and the same seed."""

import numpy as np
import pytest

from acf.sparsity import masks
from acf.sparsity.patterns import Blocks, ConstantFanIn, NOfM, Pattern, Unstructured
from acf.sparsity.structure import Structure


def generator(seed=0):
    return np.random.default_rng(seed)


class TestStructure:
    @pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 4), (0, 3), (3, 0)])
    def test_bool_and_back(self, shape):
        for density in (0, 0.3, 1):
            mask = generator().random(shape) < density
            structure = Structure.from_bool(mask)
            assert structure.pointers.dtype == structure.indices.dtype == np.int32
            assert (structure.to_bool() == mask).all()
            assert structure.entries == mask.sum()
            assert (structure.fan_in == mask.sum(axis=1)).all()
            assert structure.with_bias().without_bias() == structure
            assert (structure.with_bias().to_bool()[:, :-1] == mask).all()
            assert structure.with_bias().to_bool()[:, -1].all()

    def test_from_unsorted(self):
        structure = Structure.from_unsorted((2, 4), np.array([0, 3, 4]), np.array([3, 0, 2, 1]))
        assert structure == Structure((2, 4), np.array([0, 3, 4]), np.array([0, 2, 3, 1]))
        assert structure != Structure.dense((2, 4))
        assert structure.density == 0.5
        assert str(structure) == "2 x 4 with 4 entries"

    def test_refused(self):
        with pytest.raises(ValueError, match="in row 1 column 0 follows 2"):
            Structure((2, 3), np.array([0, 1, 3]), np.array([2, 2, 0]))
        with pytest.raises(ValueError, match="in row 0 column 1 follows 1"):
            Structure((1, 3), np.array([0, 2]), np.array([1, 1]))
        with pytest.raises(ValueError, match="row 0 has column 1 twice"):
            Structure.from_unsorted((2, 3), np.array([0, 3, 4]), np.array([1, 2, 1, 0]))
        with pytest.raises(ValueError, match="entry 0 has 3"):
            Structure((1, 3), np.array([0, 1]), np.array([3]))
        with pytest.raises(ValueError, match="not 2-dimensional float64"):
            Structure.from_bool(np.zeros((2, 2)))
        with pytest.raises(ValueError, match="without columns has no bias"):
            Structure.from_bool(np.zeros((2, 0), dtype=bool)).without_bias()


class TestMasks:
    def test_unstructured(self):
        assert masks.unstructured((7, 9), 20, generator()).entries == 20
        drawn = [masks.unstructured((3, 4), 6, generator(seed)).to_bool() for seed in range(400)]
        assert abs(np.mean(drawn, axis=0) - 0.5).max() < 0.12, "every element as often"

    def test_skewed(self):
        """The first of two elements falls on a row or column by its rank; without a skew all are as likely."""
        drawn = [masks.skewed((3, 4), 6, 0.0, generator(seed)).to_bool() for seed in range(400)]
        assert abs(np.mean(drawn, axis=0) - 0.5).max() < 0.12
        firsts = np.array([masks.skewed((3, 1), 1, 1.0, generator(seed)).to_bool()[:, 0] for seed in range(600)])
        ranks = np.array([generator(seed).permutation(3) for seed in range(600)])
        shares = [firsts[ranks == rank].mean() for rank in range(3)]
        assert shares == pytest.approx([6 / 11, 3 / 11, 2 / 11], abs=0.07)
        assert masks.skewed((4, 5), 20, 3.0, generator()) == Structure.dense((4, 5))
        assert masks.skewed((4, 5), 0, 1.0, generator()).entries == 0

    def test_constant_fan_in(self):
        structure = masks.constant_fan_in((50, 13), 5, generator())
        masks.check_constant_fan_in(structure, 5)
        assert masks.constant_fan_in((4, 3), 0, generator()).entries == 0
        assert masks.constant_fan_in((4, 3), 3, generator()) == Structure.dense((4, 3))
        with pytest.raises(ValueError, match="every row must have 4 entries, but row 0 has 5"):
            masks.check_constant_fan_in(structure, 4)

    @pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 4), (3, 8), (4, 4)])
    def test_n_of_m(self, n, m):
        structure = masks.n_of_m((6, 3 * m), n, m, generator())
        masks.check_n_of_m(structure, n, m)
        weights = generator(1).normal(size=(6, 3 * m))
        by_magnitude = masks.n_of_m((6, 3 * m), n, m, weights=weights)
        masks.check_n_of_m(by_magnitude, n, m)
        for kept, group in zip(by_magnitude.to_bool().reshape(-1, m), abs(weights).reshape(-1, m), strict=True):
            assert set(group[kept]) == set(np.sort(group)[m - n :])

    def test_n_of_m_ties(self):
        assert masks.n_of_m((1, 4), 2, 4, weights=np.array([[1, -2, 2, -2]])).indices.tolist() == [1, 2]

    def test_blocks(self):
        structure = masks.blocks((6, 8), (2, 4), 3, generator())
        masks.check_blocks(structure, (2, 4))
        assert structure.entries == 24
        mask = structure.to_bool()
        row, column = np.argwhere(mask)[0]
        mask[row, column] = False
        with pytest.raises(ValueError, match=f"at row {row}, column {column} has 7 entries"):
            masks.check_blocks(Structure.from_bool(mask), (2, 4))

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: masks.unstructured((2, 2), 5, generator()), "0 to 4 entries, not 5"),
            (lambda: masks.skewed((2, 2), 5, 1.0, generator()), "0 to 4 entries, not 5"),
            (lambda: masks.skewed((2, 2), 1, -1.0, generator()), "at least 0, not -1.0"),
            (lambda: masks.constant_fan_in((2, 3), 4, generator()), "0 to 3 entries a row, not 4"),
            (lambda: masks.n_of_m((2, 6), 2, 4, generator()), "multiple of 4 for 2:4, not 6"),
            (lambda: masks.n_of_m((2, 4), 0, 4, generator()), "not 0:4"),
            (lambda: masks.n_of_m((2, 4), 2, 4), "not by both or neither"),
            (lambda: masks.n_of_m((2, 4), 2, 4, weights=np.zeros((4, 2))), r"shape \(2, 4\), not \(4, 2\)"),
            (lambda: masks.n_of_m((1, 2), 1, 2, weights=np.array([[0, np.nan]])), "number 1 is nan"),
            (lambda: masks.blocks((5, 4), (2, 2), 1, generator()), "blocks of 2 x 2 .* not 5 x 4"),
            (lambda: masks.blocks((4, 4), (2, 0), 1, generator()), "positive sizes, not 2 x 0"),
            (lambda: masks.check_n_of_m(Structure.dense((1, 4)), 1, 2), "columns 0 to 1 of row 0 have 2"),
        ],
    )
    def test_refused(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


PATTERNS = [Unstructured(), ConstantFanIn(), NOfM(1, 4), Blocks(2, 4)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
class TestPatterns:
    def test_makes_what_it_says(self, pattern: Pattern):
        shape = (12, 16)
        for density in (0.25, 1.0):
            structure = pattern.make(shape, density, generator())
            pattern.check(structure)
            assert structure.entries == pattern.entries(shape, density) == density * 12 * 16

    def test_seeded(self, pattern: Pattern):
        first, again, other = (pattern.make((12, 16), 0.25, generator(seed)) for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_moves_no_more_than_can_grow(self, pattern: Pattern):
        assert pattern.movable((12, 16), 12 * 16) == 0
        # Of each row in place, of the layer where entries may stand anywhere; other patterns stay.
        most = 12 * 4 if pattern == Unstructured() else 4 if pattern.in_place else 0
        assert pattern.movable((12, 16), 12 * 4) == most


def test_patterns_refuse():
    with pytest.raises(ValueError, match="fewer than M, not 4:4"):
        NOfM(4, 4)
    with pytest.raises(ValueError, match=r"must be 0\.5 for 2:4, or 1, not 0\.4"):
        NOfM(2, 4).entries((4, 4), 0.4)
    with pytest.raises(ValueError, match="not 0 x 1"):
        Blocks(0, 1)
    with pytest.raises(ValueError, match="a matrix of blocks of 2 x 2 must be a whole number of them, not 3 x 4"):
        Blocks(2, 2).entries((3, 4), 0.5)
    with pytest.raises(ValueError, match="every row must have 2 entries, but row 1 has 1"):
        ConstantFanIn().check(Structure((2, 2), np.array([0, 2, 3]), np.array([0, 1, 1])))
