"""Pruning: a layer loses its smallest weights wherever they are, rows become shorter, and all entries move together."""

from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

__all__ = ["Pruned", "prune"]


class Pruned(NamedTuple):
    """What pruning leaves behind: a layer in CSR with less entries, and how many it has lost."""

    pointers: np.ndarray
    indices: np.ndarray
    master: np.ndarray
    momentum: np.ndarray
    values: np.ndarray
    changed: int


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
    order. Magnitudes are compared as bits without a sign, so a NaN is larger than all numbers.

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
