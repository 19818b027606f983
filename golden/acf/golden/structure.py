"""Drop and grow in place: how the structure engine changes which weights a layer has.

Where it rewires, every row keeps its number of entries; a grown entry takes the place of a dropped one, so that nothing
moves and the pointers stay as they are. Where it prunes, rows become shorter, and all entries move together.
"""

from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acf.golden.optimizer import xorshift32_states

__all__ = ["Pruned", "Rewired", "prune", "rewire"]


class Rewired(NamedTuple):
    """What rewiring leaves behind: the entries of all rows, and how many of them are new."""

    indices: np.ndarray
    master: np.ndarray
    momentum: np.ndarray
    values: np.ndarray
    changed: int


class Pruned(NamedTuple):
    """What pruning leaves behind: a layer in CSR with less entries, and how many it has lost."""

    pointers: np.ndarray
    indices: np.ndarray
    master: np.ndarray
    momentum: np.ndarray
    values: np.ndarray
    changed: int


def rewire(
    pointers: npt.ArrayLike,
    indices: npt.ArrayLike,
    master: npt.ArrayLike,
    momentum: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    row_begin: int,
    row_end: int,
    count: int,
    inner_size: int,
    protected_from: int | None = None,
    candidates: npt.ArrayLike | None = None,
    seed: int = 1,
) -> Rewired:
    """Exchange up to ``count`` entries of each row from ``row_begin`` to ``row_end``, the end excluded.

    Of a row the entries with the smallest magnitude of ``master`` are dropped, of equal ones those that stand first.
    The columns with the largest keys that are not in the row are grown, of equal ones the lower ones. The key is the
    magnitude of ``candidates[row - row_begin, column]``, or, without candidates, random: the columns that could be
    candidates draw one number each, row by row, also those that are in the row. Magnitudes are compared as bits
    without a sign, so a NaN is larger than all numbers.

    As many entries are exchanged as can be dropped and grown both. The places of the dropped ones, in ascending order,
    take the columns of the grown ones, in ascending order, with master value, momentum and value +0.

    Parameters
    ----------
    pointers, indices : array_like of int
        The layer in CSR; rows may be unsorted, and name a column more than once.
    master, momentum : array_like of float32
    values : array_like of bfloat16
        The entries.
    row_begin, row_end : int
    count : int
        Entries to exchange in a row.
    inner_size : int
        Columns of the layer.
    protected_from : int or None
        Columns from this one on are neither dropped nor grown; none are when None.
    candidates : array_like of float32, or None
        A row for each row to rewire, a column for each of the layer that is not protected, at least. Random when None.
    seed : int
        State of ``xorshift32`` before the first draw, not 0; without meaning where there are candidates.

    Raises
    ------
    ValueError
        If a column of the rows is not below ``inner_size``, or as ``xorshift32_states`` does.
    """
    pointers = np.asarray(pointers, dtype=np.int64)
    indices, values = np.array(indices), np.array(values, dtype=ml_dtypes.bfloat16)
    master, momentum = np.array(master, dtype=np.float32), np.array(momentum, dtype=np.float32)
    limit = inner_size if protected_from is None else min(inner_size, protected_from)
    rows = max(0, row_end - row_begin)
    if candidates is None:
        keys = xorshift32_states(seed, rows * limit).reshape(rows, limit)
    else:
        keys = _magnitude(np.asarray(candidates, dtype=np.float32)[:rows, :limit])
    changed = 0
    for row in range(row_begin, row_end):
        places = np.arange(pointers[row], pointers[row + 1])
        columns = indices[places].astype(np.int64)
        if (columns >= inner_size).any():
            wrong = int(columns[columns >= inner_size][0])
            raise ValueError(f"columns of row {row} must be below {inner_size}, not {wrong!r}")
        # Stable sorts: what stands first comes first among equals.
        droppable = places[columns < limit]
        droppable = droppable[np.argsort(_magnitude(master[droppable]), kind="stable")]
        growable = np.setdiff1d(np.arange(limit), columns)
        growable = growable[np.argsort(~keys[row - row_begin, growable], kind="stable")]
        exchanged = min(count, len(droppable), len(growable))
        dropped = np.sort(droppable[:exchanged])
        indices[dropped] = np.sort(growable[:exchanged])
        master[dropped] = momentum[dropped] = values[dropped] = 0
        changed += exchanged
    return Rewired(indices, master, momentum, values, changed)


def prune(
    pointers: npt.ArrayLike,
    indices: npt.ArrayLike,
    master: npt.ArrayLike,
    momentum: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    count: int,
    inner_size: int,
    protected_from: int | None = None,
) -> Pruned:
    """Drop the ``count`` entries of a layer with the smallest magnitude of ``master``, wherever they are.

    Of equal ones those that stand first are dropped. Where fewer can be dropped, all of these are. What stays keeps its
    order. Magnitudes are compared as ``rewire`` does.

    Parameters
    ----------
    pointers, indices : array_like of int
        The layer in CSR; rows may be unsorted, and name a column more than once.
    master, momentum : array_like of float32
    values : array_like of bfloat16
        The entries.
    count : int
    inner_size : int
        Columns of the layer.
    protected_from : int or None
        Entries of columns from this one on are not dropped; none are protected when None.

    Raises
    ------
    ValueError
        If a column is not below ``inner_size``.
    """
    pointers = np.asarray(pointers)
    indices, values = np.asarray(indices), np.asarray(values, dtype=ml_dtypes.bfloat16)
    master, momentum = np.asarray(master, dtype=np.float32), np.asarray(momentum, dtype=np.float32)
    columns = indices.astype(np.int64)
    if (columns >= inner_size).any():
        raise ValueError(f"columns must be below {inner_size}, not {int(columns[columns >= inner_size][0])!r}")
    droppable = np.flatnonzero(columns < (inner_size if protected_from is None else protected_from))
    dropped = droppable[np.argsort(_magnitude(master[droppable]), kind="stable")[:count]]
    stays = np.ones(indices.size, dtype=np.bool_)
    stays[dropped] = False
    places = np.concatenate([[0], np.cumsum(stays)]).astype(pointers.dtype)
    return Pruned(places[pointers], indices[stays], master[stays], momentum[stays], values[stays], changed=dropped.size)


def _magnitude(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(np.uint32) & np.uint32(0x7FFFFFFF)
