"""Weights with N entries in each group of M columns: which matrices can be so, and their arrays."""

import numpy as np

from acf.isa import LARGEST_GROUP, pattern_row_entries, place_bits
from acf.runtime.matrices import CsrMatrix

__all__ = ["pattern_arrays", "pattern_bytes", "smallest_pattern", "unfit_for_pattern"]


def _group_counts(weights: CsrMatrix, m: int) -> np.ndarray:
    """Entries of each group of ``m`` columns of each row."""
    rows, groups = weights.shape[0], -(-weights.shape[1] // m)
    places = weights.row_of_entry * groups + weights.indices // m
    return np.bincount(places, minlength=rows * groups).reshape(rows, groups)


def unfit_for_pattern(weights: CsrMatrix, n: int, m: int) -> str | None:
    """Why ``weights`` cannot have at most ``n`` entries in each ``m`` columns: the first group that has more."""
    counts = _group_counts(weights, m)
    over = np.argwhere(counts > n)
    if not over.size:
        return None
    row, group = over[0].tolist()
    last = min((group + 1) * m, weights.shape[1]) - 1
    return f"row {row} has {counts[row, group]} entries in group {group} (columns {group * m} to {last})"


def pattern_bytes(rows: int, inner: int, n: int, m: int, *, operand_bytes: int) -> dict[str, int]:
    """Bytes of the arrays of ``rows x inner`` weights in a pattern: values, and their places."""
    entries = rows * pattern_row_entries(inner, n, m)
    return {"values": entries * operand_bytes, "indices": -(-entries * place_bits(m) // 8)}


def smallest_pattern(weights: CsrMatrix, *, operand_bytes: int) -> tuple[int, int] | None:
    """The N:M of fewest bytes that ``weights`` can have, of equal ones that of the smallest M; None if there is none.

    An element has one entry at most; that is not checked.
    """
    found = {}
    m = 2
    while m <= LARGEST_GROUP:
        n = 1 << (int(_group_counts(weights, m).max(initial=1)) - 1).bit_length()
        if n < m:
            found[n, m] = sum(pattern_bytes(*weights.shape, n, m, operand_bytes=operand_bytes).values())
        m *= 2
    return min(found, key=lambda pattern: found[pattern], default=None)


def pattern_arrays(weights: CsrMatrix, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The values and the places of ``weights``, as the N_OF_M decoder reads them.

    Entries that are missing in a group are zeros behind the others, at its first column.

    Parameters
    ----------
    weights : CsrMatrix
        Its rows in ascending order of columns.
    n, m : int

    Raises
    ------
    ValueError
        If a group has more than ``n`` entries.
    """
    unfit = unfit_for_pattern(weights, n, m)
    if unfit is not None:
        raise ValueError(f"weights cannot be {n}:{m}: {unfit}")
    rows, inner = weights.shape
    row_entries = pattern_row_entries(inner, n, m)
    # Entries stand in the order of their groups, so each counts from the first one of its group.
    groups = weights.row_of_entry * (row_entries // n) + weights.indices // m
    behind_first = np.arange(groups.size) - np.searchsorted(groups, groups)
    places = groups * n + behind_first
    values = np.zeros(rows * row_entries, dtype=weights.values.dtype)
    values[places] = weights.values
    width = place_bits(m)
    codes = np.zeros(-(-values.size * width // 8) * 8 // width, dtype=np.uint8)
    codes[places] = weights.indices % m
    bits = codes.reshape(-1, 8 // width) << np.arange(0, 8, width, dtype=np.uint8)
    return values, np.bitwise_or.reduce(bits, axis=1).astype(np.uint8)
