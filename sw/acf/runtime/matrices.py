"""Sparse matrices of the fabric, and operands made at random.

A ``CsrMatrix`` is checked once, when it is made; every later step may rely on it. ``acf.runtime.matrix_files`` reads
them.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from acf.golden.formats import golden_format

__all__ = ["CsrMatrix", "check_density", "check_operand", "random_operand", "random_weights", "validate_csr"]

MAX_SIZE = 1 << 24
"""Rows or columns of the largest matrix taken."""


def validate_csr(shape: tuple[int, int], pointers: np.ndarray, indices: np.ndarray) -> None:
    """Check row pointers and column indices. Empty rows, unsorted and duplicate indices are legal.

    Raises
    ------
    ValueError
        One sentence that names the first value that is wrong.
    """
    rows, columns = shape
    for what, size in (("rows", rows), ("columns", columns)):
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"a matrix must have 0 to {MAX_SIZE} {what}, not {size}")
    for what, array in (("row pointers", pointers), ("column indices", indices)):
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{what} must be a flat array of integers, not {array.ndim}-dimensional of {array.dtype}")
    if pointers.size != rows + 1:
        raise ValueError(f"a matrix of {rows} rows must have {rows + 1} row pointers, not {pointers.size}")
    if pointers[0] != 0:
        raise ValueError(f"the first row pointer must be 0, not {int(pointers[0])}")
    decreasing = np.flatnonzero(pointers[1:] < pointers[:-1])
    if decreasing.size:
        row = int(decreasing[0])
        raise ValueError(
            f"row pointers must not decrease, but pointer {row + 1} is {int(pointers[row + 1])} "
            f"after {int(pointers[row])}"
        )
    if pointers[-1] != indices.size:
        raise ValueError(
            f"the last row pointer must be the number of column indices, {indices.size}, not {int(pointers[-1])}"
        )
    outside = np.flatnonzero((indices < 0) | (indices >= columns))
    if outside.size:
        entry = int(outside[0])
        raise ValueError(f"column indices must be from 0 to {columns - 1}, but entry {entry} has {int(indices[entry])}")


@dataclass(frozen=True, eq=False)
class CsrMatrix:
    """A sparse matrix as SciPy lays it out, its values in a number format of the fabric.

    Parameters
    ----------
    shape : tuple of int
    pointers, indices : numpy.ndarray
        Integers; kept as int32.
    values : numpy.ndarray
        Of the storage type of ``format``.
    format : str
        Number format.

    Raises
    ------
    ValueError
        If the arrays do not describe a matrix.
    """

    shape: tuple[int, int]
    pointers: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    format: str

    def __post_init__(self) -> None:
        dtype = golden_format(self.format).dtype
        pointers, indices = np.asarray(self.pointers), np.asarray(self.indices)
        validate_csr(self.shape, pointers, indices)
        if self.values.dtype != dtype or self.values.shape != indices.shape:
            raise ValueError(
                f"values must be {indices.size} numbers of type {dtype}, "
                f"not of shape {self.values.shape} and type {self.values.dtype}"
            )
        object.__setattr__(self, "pointers", pointers.astype(np.int32))
        object.__setattr__(self, "indices", indices.astype(np.int32))

    @classmethod
    def from_scipy(cls, matrix: Any, *, format: str) -> "CsrMatrix":
        """A SciPy sparse matrix, its values rounded to ``format``. Entries stay as they stand, explicit zeros too."""
        if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
            raise ValueError(f"weights must be a two-dimensional SciPy sparse matrix, not {type(matrix).__name__}")
        matrix = scipy.sparse.csr_array(matrix)
        values = quantize(matrix.data, format=format, what="weights")
        return cls(matrix.shape, matrix.indptr, matrix.indices, values, format)

    @classmethod
    def from_dense(cls, array: np.ndarray, *, format: str) -> "CsrMatrix":
        """The non-zeros of a two-dimensional array, rounded to ``format``."""
        if array.ndim != 2:
            raise ValueError(f"weights must be two-dimensional, not {array.ndim}-dimensional")
        return cls.from_scipy(scipy.sparse.csr_array(array), format=format)

    @property
    def entries(self) -> int:
        """Entries, explicit zeros and duplicates included."""
        return self.indices.size

    @property
    def nonzeros(self) -> int:
        """Entries whose value is not zero."""
        return int(np.count_nonzero(~golden_format(self.format).is_zero(self.values)))

    @property
    def density(self) -> float | None:
        """Non-zero entries / elements; None where there are no elements."""
        elements = self.shape[0] * self.shape[1]
        return self.nonzeros / elements if elements else None

    @property
    def row_of_entry(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.pointers))

    def canonical(self) -> "CsrMatrix":
        """Only the first entry of every element, each row sorted by column."""
        rows = self.row_of_entry
        _, first = np.unique(rows * max(1, self.shape[1]) + self.indices, return_index=True)
        pointers = np.concatenate([[0], np.cumsum(np.bincount(rows[first], minlength=self.shape[0]))])
        return CsrMatrix(self.shape, pointers, self.indices[first], self.values[first], self.format)

    def take_rows(self, order: np.ndarray) -> "CsrMatrix":
        """The rows ``order``, one behind the other; the entries of each stay as they stand."""
        counts = np.diff(self.pointers)[order]
        pointers = np.concatenate([[0], np.cumsum(counts)])
        entries = np.repeat(self.pointers[order] - pointers[:-1], counts) + np.arange(pointers[-1])
        return CsrMatrix(
            (len(order), self.shape[1]), pointers, self.indices[entries], self.values[entries], self.format
        )

    def take_columns(self, order: np.ndarray) -> "CsrMatrix":
        """The columns ``order``, each once; rows sorted by their new columns, entries for one element as they stood."""
        indices = np.argsort(order)[self.indices]
        entries = np.lexsort((indices, self.row_of_entry))
        return CsrMatrix(self.shape, self.pointers, indices[entries], self.values[entries], self.format)

    def transposed(self) -> "CsrMatrix":
        """The transpose in CSR, which is this matrix in CSC; entries of a column as they stood."""
        order = np.argsort(self.indices, kind="stable")
        counts = np.bincount(self.indices, minlength=self.shape[1])
        pointers = np.concatenate([[0], np.cumsum(counts)])
        rows, columns = self.shape
        return CsrMatrix((columns, rows), pointers, self.row_of_entry[order], self.values[order], self.format)

    def to_dense(self) -> np.ndarray:
        """All elements in the storage type.

        Raises
        ------
        ValueError
            If two entries stand for the same element, since their sum need not be a number of the format.
        """
        dense = np.zeros(self.shape, dtype=self.values.dtype)
        places = self.row_of_entry * max(1, self.shape[1]) + self.indices
        if np.unique(places).size != places.size:
            order = np.sort(places)
            row, column = divmod(int(order[:-1][order[1:] == order[:-1]][0]), self.shape[1])
            raise ValueError(f"element ({row}, {column}) has more than one entry, so the matrix has no dense form")
        dense[self.row_of_entry, self.indices] = self.values
        return dense


def quantize(values: np.ndarray, *, format: str, what: str) -> np.ndarray:
    """Real, finite numbers rounded to ``format``; ``what`` names them in errors."""
    values = np.asarray(values)
    if values.dtype == golden_format(format).dtype:
        return values
    if values.dtype == np.bool_:
        values = values.astype(np.float64)
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise ValueError(f"{what} must be real numbers, not {values.dtype}")
    finite = np.isfinite(values)
    if not finite.all():
        place = int(np.argmin(finite))
        raise ValueError(f"{what} must be finite, but number {place} is {values.ravel()[place]}")
    return golden_format(format).quantize(values)


def check_operand(operand: np.ndarray, *, weights: CsrMatrix) -> None:
    """Check that ``weights @ operand`` can be computed.

    Raises
    ------
    ValueError
        One sentence that names what does not fit.
    """
    dtype = golden_format(weights.format).dtype
    if not isinstance(operand, np.ndarray) or operand.ndim != 2:
        raise ValueError(f"the operand must be a two-dimensional array, not of shape {np.shape(operand)}")
    if operand.dtype != dtype:
        raise ValueError(f"the operand must be of type {dtype}, as the weights are, not {operand.dtype}")
    if operand.shape[0] != weights.shape[1]:
        raise ValueError(
            f"the operand must have {weights.shape[1]} rows, one for each column of the weights, not {operand.shape[0]}"
        )


def check_density(density: float, *, what: str) -> None:
    """Raise ``ValueError`` unless ``density`` is from 0 to 1."""
    if not 0 <= density <= 1:
        raise ValueError(f"{what} must be from 0 to 1, not {density!r}")


def random_weights(*, rows: int, inner: int, density: float, seed: int, format: str) -> CsrMatrix:
    """``rows x inner`` weights, ``density`` of them normally distributed non-zeros, at places drawn uniformly."""
    elements = _random_elements(rows, inner, density=density, seed=seed, stream=0, format=format, what="weight density")
    pattern = ~golden_format(format).is_zero(elements)
    row, column = np.nonzero(pattern)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    return CsrMatrix((rows, inner), pointers, column, elements[row, column], format)


def random_operand(
    *, inner: int, columns: int, density: float, seed: int, format: str, concentration: float | None = None
) -> np.ndarray:
    """An ``inner x columns`` operand, ``density`` of it normally distributed non-zeros.

    Their places are drawn uniformly. With ``concentration``, each column has a density of its own instead, drawn from
    the beta distribution whose mean is ``density`` and whose parameters add up to ``concentration``: with 2 around a
    half, all densities are equally likely.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    what = "operand density"
    if concentration is None:
        return _random_elements(inner, columns, density=density, seed=seed, stream=1, format=format, what=what)
    if not 0 < concentration < math.inf:
        raise ValueError(f"concentration of columns must be a positive number, not {concentration!r}")
    operand = _random_elements(inner, columns, density=1.0, seed=seed, stream=1, format=format, what=what)
    check_density(density, what=what)
    generator = np.random.default_rng([seed, 3])
    densities = np.full(columns, density)
    if 0 < density < 1:
        densities = generator.beta(concentration * density, concentration * (1 - density), columns)
    operand[generator.random((inner, columns)) >= densities] = 0
    return operand


def random_values(count: int, *, seed: int, format: str) -> np.ndarray:
    """Normally distributed numbers of ``format``, none of them zero."""
    return _nonzero_values(np.random.default_rng([seed, 2]), count, format)


def _random_elements(
    rows: int, columns: int, *, density: float, seed: int, stream: int, format: str, what: str
) -> np.ndarray:
    for name, size in (("rows", rows), ("columns", columns)):
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"a matrix must have 0 to {MAX_SIZE} {name}, not {size!r}")
    if rows * columns > 1 << 28:
        raise ValueError(f"a random matrix may have 2^28 elements, not {rows} x {columns}")
    check_density(density, what=what)
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed!r}")
    # Weights and operand of one seed must not be the same numbers.
    generator = np.random.default_rng([seed, stream])
    elements = np.zeros(rows * columns, dtype=golden_format(format).dtype)
    count = round(density * elements.size)
    places = generator.choice(elements.size, size=count, replace=False, shuffle=False) if count else []
    elements[places] = _nonzero_values(generator, count, format)
    return elements.reshape(rows, columns)


def _nonzero_values(generator: np.random.Generator, count: int, format: str) -> np.ndarray:
    arithmetic = golden_format(format)
    # Integers need a scale: a third of the range keeps most of a normal distribution inside.
    scale = np.iinfo(arithmetic.dtype).max / 3 if np.issubdtype(arithmetic.dtype, np.integer) else 1.0
    real = generator.normal(size=count) * scale
    values = arithmetic.quantize(real)
    zero = arithmetic.is_zero(values)
    values[zero] = arithmetic.quantize(np.where(real[zero] < 0, -1.0, 1.0))
    return values
