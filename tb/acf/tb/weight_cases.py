"""Weights of a structure, to try formats with that only such weights can have."""

import numpy as np

from acf.runtime.matrices import CsrMatrix, random_weights

__all__ = ["random_blocks", "random_pattern"]


def random_pattern(*, rows: int, inner: int, n: int, m: int, seed: int, format: str, density: float = 0.7) -> CsrMatrix:
    """Random weights of which each ``m`` successive columns of a row keep the first ``n`` at most."""
    weights = random_weights(rows=rows, inner=inner, density=density, seed=seed, format=format)
    groups = weights.row_of_entry * max(1, -(-inner // m)) + weights.indices // m
    kept = np.arange(weights.entries) - np.searchsorted(groups, groups) < n
    pointers = np.concatenate([[0], np.cumsum(np.bincount(weights.row_of_entry[kept], minlength=rows))])
    return CsrMatrix(weights.shape, pointers, weights.indices[kept], weights.values[kept], format)


def random_blocks(*, rows: int, inner: int, size: int, seed: int, format: str, density: float = 0.3) -> CsrMatrix:
    """Random weights in blocks of ``size x size``, ``density`` of them there; some elements of a block are missing."""
    weights = random_weights(rows=rows, inner=inner, density=0.8, seed=seed, format=format)
    there = np.random.default_rng(seed).random((-(-rows // size), max(1, -(-inner // size)))) < density
    kept = there[weights.row_of_entry // size, weights.indices // size]
    pointers = np.concatenate([[0], np.cumsum(np.bincount(weights.row_of_entry[kept], minlength=rows))])
    return CsrMatrix(weights.shape, pointers, weights.indices[kept], weights.values[kept], format)
