"""A layer's weights as they stand in memory, in NumPy arrays."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from acf.sparsity.structure import Structure

__all__ = ["SparseWeights"]


@dataclass(eq=False)
class SparseWeights:
    """A layer's weights as they stand in memory, with the state of the optimizer.

    Columns of a row may stand in any order, but each at most once.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns, the bias column included.
    pointers, indices : numpy.ndarray
        ``(rows + 1,)`` and ``(entries,)`` of int32.
    master, momentum : numpy.ndarray
        ``(entries,)`` of float32.
    values : numpy.ndarray
        ``(entries,)`` of bfloat16: what the products use.

    Raises
    ------
    ValueError
        If the arrays do not describe a matrix, or a row has a column twice.
    """

    shape: tuple[int, int]
    pointers: np.ndarray
    indices: np.ndarray
    master: np.ndarray
    momentum: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        Structure.from_unsorted(self.shape, self.pointers, self.indices)
        for what, array, dtype in (
            ("pointers", self.pointers, np.int32),
            ("indices", self.indices, np.int32),
            ("master", self.master, np.float32),
            ("momentum", self.momentum, np.float32),
            ("values", self.values, ml_dtypes.bfloat16),
        ):
            if array.dtype != dtype:
                raise ValueError(f"{what} must be of type {np.dtype(dtype)}, not {array.dtype}")
            if what != "pointers" and array.shape != self.indices.shape:
                raise ValueError(f"{what} must be {self.indices.size} numbers, not of shape {array.shape}")

    @classmethod
    def from_dense(cls, structure: Structure, weights: np.ndarray) -> "SparseWeights":
        """The elements of ``weights``, ``(rows, columns)``, at the places of ``structure``; their momentum is 0."""
        if weights.shape != structure.shape:
            raise ValueError(f"weights must be of shape {structure.shape}, not {weights.shape}")
        master = weights[structure.to_bool()].astype(np.float32)
        return cls(
            structure.shape,
            structure.pointers.copy(),
            structure.indices.copy(),
            master,
            np.zeros_like(master),
            master.astype(ml_dtypes.bfloat16),
        )

    @property
    def structure(self) -> Structure:
        """Where entries stand, each row sorted."""
        return Structure.from_unsorted(self.shape, self.pointers, self.indices)
