"""Where the entries of a sparse matrix stand: CSR without values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acf.runtime.matrices import validate_csr

__all__ = ["Structure", "row_numbers"]


def row_numbers(pointers: np.ndarray) -> np.ndarray:
    """The row of every entry, ``(entries,)``, from ``(rows + 1,)`` row pointers."""
    return np.repeat(np.arange(pointers.size - 1), np.diff(pointers))


@dataclass(frozen=True, eq=False)
class Structure:
    """A mask as CSR: sorted column indices, each at most once in a row.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    pointers : numpy.ndarray
        ``(rows + 1,)`` integers; kept as int32.
    indices : numpy.ndarray
        ``(entries,)`` integers; kept as int32.

    Raises
    ------
    ValueError
        If the arrays do not describe a matrix, or if the columns of a row do not rise.
    """

    shape: tuple[int, int]
    pointers: np.ndarray
    indices: np.ndarray

    def __post_init__(self) -> None:
        pointers, indices = np.asarray(self.pointers), np.asarray(self.indices)
        validate_csr(self.shape, pointers, indices)
        rows = row_numbers(pointers)
        wrong = np.flatnonzero((rows[1:] == rows[:-1]) & (indices[1:] <= indices[:-1]))
        if wrong.size:
            entry = int(wrong[0])
            raise ValueError(
                f"columns must rise within a row, but in row {int(rows[entry])} column {int(indices[entry + 1])} "
                f"follows {int(indices[entry])}"
            )
        object.__setattr__(self, "pointers", pointers.astype(np.int32))
        object.__setattr__(self, "indices", indices.astype(np.int32))

    @classmethod
    def from_bool(cls, mask: np.ndarray) -> "Structure":
        """The True elements of a two-dimensional array.

        Raises
        ------
        ValueError
            If ``mask`` is not two-dimensional and of bool.
        """
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ValueError(
                f"a mask must be a two-dimensional array of bool, not {mask.ndim}-dimensional {mask.dtype}"
            )
        rows, columns = np.nonzero(mask)
        return cls(mask.shape, _pointers(rows, mask.shape[0]), columns)

    @classmethod
    def from_places(cls, shape: Sequence[int], places: np.ndarray) -> "Structure":
        """The elements with these numbers, counted along the rows, in any order."""
        height, width = shape
        rows, columns = np.divmod(np.sort(places), max(1, width))
        return cls((height, width), _pointers(rows, height), columns)

    @classmethod
    def from_unsorted(cls, shape: Sequence[int], pointers: np.ndarray, indices: np.ndarray) -> "Structure":
        """The structure of a matrix whose entries stand in any order within their rows, as after a rewire.

        Raises
        ------
        ValueError
            If the arrays do not describe a matrix, or if a row has a column twice.
        """
        height, width = shape
        pointers, indices = np.asarray(pointers), np.asarray(indices)
        validate_csr((height, width), pointers, indices)
        places = np.sort(row_numbers(pointers) * max(1, width) + indices)
        twice = np.flatnonzero(places[1:] == places[:-1])
        if twice.size:
            row, column = divmod(int(places[twice[0]]), width)
            raise ValueError(f"a row must have a column at most once, but row {row} has column {column} twice")
        return cls.from_places((height, width), places)

    @classmethod
    def dense(cls, shape: Sequence[int]) -> "Structure":
        """Every element."""
        return cls.from_places(shape, np.arange(shape[0] * shape[1]))

    def to_bool(self) -> np.ndarray:
        """``(rows, columns)`` of bool, True where an entry stands."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        mask[row_numbers(self.pointers), self.indices] = True
        return mask

    def with_bias(self) -> "Structure":
        """One column more, the bias, with an entry in every row."""
        rows, columns = self.shape
        indices = np.insert(self.indices, self.pointers[1:], columns)
        return Structure((rows, columns + 1), self.pointers + np.arange(rows + 1), indices)

    def without_bias(self) -> "Structure":
        """All columns but the last."""
        rows, columns = self.shape
        if not columns:
            raise ValueError("a matrix without columns has no bias column")
        keep = self.indices < columns - 1
        pointers = _pointers(row_numbers(self.pointers)[keep], rows)
        return Structure((rows, columns - 1), pointers, self.indices[keep])

    @property
    def entries(self) -> int:
        """Entries of all rows."""
        return self.indices.size

    @property
    def fan_in(self) -> np.ndarray:
        """Entries of each row, ``(rows,)``."""
        return np.diff(self.pointers)

    @property
    def density(self) -> float | None:
        """Entries / elements; None where there are no elements."""
        elements = self.shape[0] * self.shape[1]
        return self.entries / elements if elements else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.pointers, other.pointers)
            and np.array_equal(self.indices, other.indices)
        )

    def __str__(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]} with {self.entries} entries"


def _pointers(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int64)
