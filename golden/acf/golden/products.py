"""The mathematics of the sparse products: what any device must answer, without a word about tiles or lanes.

``gather`` is ``O[i, k] = sum over the entries of row i of W[i, j] A[j, k]``, each sum in the order in which the entries
stand in memory, starting from +0, each term by one ``accumulate`` of the format, terms with a zero operand left out.
All rows and columns are done at once: step ``n`` adds the ``n``-th entry of every row that has one.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from acf.golden.formats import golden_format

__all__ = ["GatherProduct", "gather", "gather_reference"]


class GatherProduct(NamedTuple):
    """What ``gather`` returns.

    Attributes
    ----------
    accumulators : numpy.ndarray
        ``O``, in the accumulator type of the format.
    overflow : numpy.ndarray of bool
        Which elements of ``O`` wrapped on the way (integer formats).
    effectual_macs : int
        Terms whose operands are both non-zero.
    """

    accumulators: np.ndarray
    overflow: np.ndarray
    effectual_macs: int


def gather(
    pointers: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    operand: np.ndarray,
    *,
    format: str,
    split: int | None = None,
) -> GatherProduct:
    """``W A`` with ``W`` in CSR.

    Parameters
    ----------
    pointers, indices, values : numpy.ndarray
        ``W`` as SciPy's ``indptr``, ``indices`` and ``data``. Explicit zeros, unsorted and duplicate indices are legal.
    operand : numpy.ndarray
        ``A``, as many rows as ``W`` has columns.
    format : str
        Number format of ``values`` and ``operand``.
    split : int or None
        Where a reduction does not fit on chip, its terms are taken in blocks of ``split`` successive inner indices, the
        order in memory kept inside each block. None takes them in one block. For rows with sorted indices this makes no
        difference.
    """
    arithmetic = golden_format(format)
    pointers = np.asarray(pointers).astype(np.int64)
    indices = np.asarray(indices).astype(np.int64)
    counts = np.diff(pointers)
    if split is not None:
        rows_of_entries = np.repeat(np.arange(counts.size), counts)
        order = np.lexsort((indices // split, rows_of_entries))
        indices, values = indices[order], values[order]

    shape = (counts.size, operand.shape[1])
    accumulators = np.zeros(shape, dtype=arithmetic.accumulator_dtype)
    overflow = np.zeros(shape, dtype=np.bool_)
    effectual = 0
    nonzero_value = ~arithmetic.is_zero(values)
    nonzero_operand = ~arithmetic.is_zero(operand)

    longest_first = np.argsort(-counts, kind="stable")
    sorted_counts = -counts[longest_first]
    for step in range(int(counts.max(initial=0))):
        rows = longest_first[: np.searchsorted(sorted_counts, -step, side="left")]
        places = pointers[rows] + step
        inner = indices[places]
        counted = nonzero_value[places, None] & nonzero_operand[inner]
        sums, wrapped = arithmetic.accumulate(accumulators[rows], values[places, None], operand[inner])
        accumulators[rows] = np.where(counted, sums, accumulators[rows])
        overflow[rows] |= counted & wrapped
        effectual += int(np.count_nonzero(counted))
    return GatherProduct(accumulators, overflow, effectual)


def gather_reference(
    pointers: np.ndarray, indices: np.ndarray, values: np.ndarray, operand: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``W A`` in float64, and how far a float32 accumulation in any order may be from it; operands must be finite.

    The bound is Higham's for ``n`` rounded additions of exact products, ``n u / (1 - n u) sum |w a|`` with
    ``u = 2^-24``, and half of the smallest subnormal for each (*Accuracy and Stability of Numerical Algorithms*,
    section 3.1).
    """
    shape = (len(pointers) - 1, operand.shape[0])
    weights = scipy.sparse.csr_array((np.asarray(values).astype(np.float64), indices, pointers), shape=shape)
    operand = operand.astype(np.float64)
    terms = np.diff(np.asarray(pointers).astype(np.int64))[:, None]
    relative = terms * 2.0**-24 / (1 - terms * 2.0**-24)
    return weights @ operand, relative * (abs(weights) @ abs(operand)) + terms * 2.0**-150
