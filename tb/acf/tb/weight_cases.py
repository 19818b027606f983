"""Weights of a structure, to try formats with that only such weights can have."""

import numpy as np

from acf.runtime.matrices import CsrMatrix, random_weights

__all__ = ["random_pattern"]


def random_pattern(*, rows: int, inner: int, n: int, m: int, seed: int, format: str, density: float = 0.7) -> CsrMatrix:
    """Random weights of which each ``m`` successive columns of a row keep the first ``n`` at most."""
    weights = random_weights(rows=rows, inner=inner, density=density, seed=seed, format=format)
    groups = weights.row_of_entry * max(1, -(-inner // m)) + weights.indices // m
    kept = np.arange(weights.entries) - np.searchsorted(groups, groups) < n
    pointers = np.concatenate([[0], np.cumsum(np.bincount(weights.row_of_entry[kept], minlength=rows))])
    return CsrMatrix(weights.shape, pointers, weights.indices[kept], weights.values[kept], format)
