"""The mathematics of the sparse products: what any device must answer, without a word about tiles or lanes.

With the entries of ``W`` in the order in which they stand in memory,

- ``gather`` is ``O[i, k] = sum over the entries of row i of W[i, j] A[j, k]``,
- ``scatter`` is ``D[j, k] = sum over the entries of column j of W[i, j] G[i, k]``,
- ``sampled`` is ``S[e] = sum over k of G[i, k] A[j, k]`` for the entry ``e`` at ``(i, j)``.

Every sum starts from +0, each term is added by one ``accumulate`` of the format, terms with a zero operand are left
out. In ``gather`` and ``scatter`` a sum is taken in the order of the entries, all columns at once: step ``n`` adds the
``n``-th entry of every row (column) that has one. In ``sampled`` the sum over ``k`` is split into *chains*: disjoint
lists of columns, each summed in its own order from +0, and the sums of the chains added one after another, from +0 too.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from acf.golden.formats import GoldenFormat, golden_format
from acf.isa import DEFAULT_UNIT

__all__ = ["Product", "gather", "gather_reference", "sampled", "scatter", "steps_in_order"]


class Product(NamedTuple):
    """The result of one of the products.

    Attributes
    ----------
    accumulators : numpy.ndarray
        ``O``, ``D`` or ``S``, as they are drained.
    flags : numpy.ndarray of uint8
        What their elements raised on the way (``acf.isa.Flag``).
    effectual_macs : int
        Terms whose operands are both non-zero.
    """

    accumulators: np.ndarray
    flags: np.ndarray
    effectual_macs: int


def gather(
    pointers: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    operand: np.ndarray,
    *,
    format: str,
    unit: int = DEFAULT_UNIT,
    split: int | Sequence[int] | None = None,
) -> Product:
    """``W A`` with ``W`` in CSR.

    Parameters
    ----------
    pointers, indices, values : numpy.ndarray
        ``W`` as SciPy's ``indptr``, ``indices`` and ``data``. Explicit zeros, unsorted and duplicate indices are legal.
    operand : numpy.ndarray
        ``A``, as many rows as ``W`` has columns.
    format : str
        Number format of ``values`` and ``operand``.
    unit : int
        In bf16x the last bit of a sum weighs ``2 ** unit``.
    split : int, sequence of int or None
        Where a reduction is split, its terms are taken in blocks of successive inner indices, the order in memory kept
        inside each block: blocks of ``split``, or those that begin at each of its numbers, in ascending order from 0.
        None takes them in one block. For rows with sorted indices this makes no difference.
    """
    arithmetic = golden_format(format).with_unit(unit)
    pointers = np.asarray(pointers).astype(np.int64)
    indices = np.asarray(indices).astype(np.int64)
    counts = np.diff(pointers)
    if split is not None:
        rows_of_entries = np.repeat(np.arange(counts.size), counts)
        blocks = indices // split if isinstance(split, int) else np.searchsorted(split, indices, side="right")
        order = np.lexsort((blocks, rows_of_entries))
        indices, values = indices[order], values[order]

    rows = np.repeat(np.arange(counts.size), counts)
    return _accumulate_in_order(rows, indices, values, operand, results=counts.size, arithmetic=arithmetic)


def scatter(
    pointers: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    operand: np.ndarray,
    *,
    inner: int,
    format: str,
    unit: int = DEFAULT_UNIT,
) -> Product:
    """``transpose(W) G`` with ``W`` in CSR.

    Parameters
    ----------
    pointers, indices, values : numpy.ndarray
        As in ``gather``.
    operand : numpy.ndarray
        ``G``, as many rows as ``W``.
    inner : int
        Columns of ``W``, rows of the result.
    format : str
        Number format of ``values`` and ``operand``.
    unit : int
        In bf16x the last bit of a sum weighs ``2 ** unit``.
    """
    counts = np.diff(np.asarray(pointers).astype(np.int64))
    rows = np.repeat(np.arange(counts.size), counts)
    arithmetic = golden_format(format).with_unit(unit)
    columns = np.asarray(indices).astype(np.int64)
    return _accumulate_in_order(columns, rows, values, operand, results=inner, arithmetic=arithmetic)


def _accumulate_in_order(
    targets: np.ndarray,
    sources: np.ndarray,
    values: np.ndarray,
    operand: np.ndarray,
    *,
    results: int,
    arithmetic: GoldenFormat,
) -> Product:
    """Add ``values[n] * operand[sources[n]]`` to row ``targets[n]`` of the result, for every ``n`` in order."""
    shape = (results, operand.shape[1])
    accumulators = np.zeros(shape, dtype=arithmetic.accumulator_dtype)
    flags = np.zeros(shape, dtype=np.uint8)
    effectual = 0
    nonzero_value = ~arithmetic.is_zero(values)
    nonzero_operand = ~arithmetic.is_zero(operand)
    for places in steps_in_order(targets):
        rows, inner = targets[places], sources[places]
        counted = nonzero_value[places, None] & nonzero_operand[inner]
        sums, raised = arithmetic.accumulate(accumulators[rows], values[places, None], operand[inner])
        accumulators[rows] = np.where(counted, sums, accumulators[rows])
        flags[rows] |= np.where(counted, raised, 0).astype(np.uint8)
        effectual += int(np.count_nonzero(counted))
    return Product(arithmetic.result(accumulators), flags, effectual)


def steps_in_order(targets: np.ndarray) -> Iterator[np.ndarray]:
    """Places of ``targets`` in steps: step ``n`` has the ``n``-th place of every target that occurs that often.

    Within a step no target occurs twice, and the steps of one target follow its places in order.
    """
    by_target = np.argsort(targets, kind="stable")
    ordered = targets[by_target]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(np.append(first, ordered.size))
    longest_first = np.argsort(-counts, kind="stable")
    first, counts = first[longest_first], counts[longest_first]
    for step in range(int(counts.max(initial=0))):
        yield by_target[first[: np.searchsorted(-counts, -step, side="left")] + step]


def sampled(
    pointers: np.ndarray,
    indices: np.ndarray,
    row_operand: np.ndarray,
    operand: np.ndarray,
    *,
    chains: Sequence[np.ndarray],
    format: str,
    unit: int = DEFAULT_UNIT,
) -> Product:
    """``G transpose(A)`` where ``W`` has entries.

    Parameters
    ----------
    pointers, indices : numpy.ndarray
        Structure of ``W``.
    row_operand : numpy.ndarray
        ``G``, as many rows as ``W``.
    operand : numpy.ndarray
        ``A``, as many rows as ``W`` has columns, as many columns as ``G``.
    chains : sequence of numpy.ndarray
        Columns of each chain, in the order in which they are added; chains in the order in which their sums are added.
    format : str
        Number format of the operands.
    unit : int
        In bf16x the last bit of a sum weighs ``2 ** unit``.
    """
    arithmetic = golden_format(format).with_unit(unit)
    counts = np.diff(np.asarray(pointers).astype(np.int64))
    rows = np.repeat(np.arange(counts.size), counts)
    inner = np.asarray(indices).astype(np.int64)
    total = np.zeros(rows.size, dtype=arithmetic.accumulator_dtype)
    flags = np.zeros(rows.size, dtype=np.uint8)
    effectual = 0
    for chain in chains:
        partial = np.zeros(rows.size, dtype=arithmetic.accumulator_dtype)
        for column in chain:
            x, y = row_operand[rows, column], operand[inner, column]
            counted = ~arithmetic.is_zero(x) & ~arithmetic.is_zero(y)
            sums, raised = arithmetic.accumulate(partial, x, y)
            partial = np.where(counted, sums, partial)
            flags |= np.where(counted, raised, 0).astype(np.uint8)
            effectual += int(np.count_nonzero(counted))
        total, raised = arithmetic.add(total, partial)
        flags |= raised
    return Product(arithmetic.result(total), flags, effectual)


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
