"""Drop and grow in place: every row keeps its number of entries, a grown entry takes the place of a dropped one.

Nothing moves and the pointers stay as they are. Nothing is sorted either: entries compete with their neighbours. Of so
many entries of a row that follow each other the smallest is dropped, and of so many columns the one with the largest
gradient may grow.
"""

from collections.abc import Iterator
from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acf.golden.optimizer import xorshift32

__all__ = ["DRAWS", "SPAN_UNIT", "Rewired", "magnitude_keys", "rewire", "select_largest"]

SPAN_UNIT = 1 << 16
"""A span of one entry."""

DRAWS = 16
"""Columns that a dropped entry draws at most, where growth is random."""

_KEY_BITS = 16


class Rewired(NamedTuple):
    """What rewiring leaves behind: the entries of all rows, and how many of them are new."""

    indices: np.ndarray
    master: np.ndarray
    momentum: np.ndarray
    values: np.ndarray
    changed: int


def magnitude_keys(numbers: npt.ArrayLike) -> np.ndarray:
    """What float32 numbers are compared by: exponent and the highest eight bits of the fraction, as int64.

    A NaN is larger than all numbers.
    """
    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
    return ((bits & np.uint32(0x7FFF_FFFF)) >> np.uint32(31 - _KEY_BITS)).astype(np.int64)


def select_largest(numbers: npt.ArrayLike, *, first: int, block: int) -> np.ndarray:
    """Which numbers are the largest of their block, as bool.

    Parameters
    ----------
    numbers : array_like of float32
        Compared by their keys; of equal ones the first is taken.
    first : int
        Place of the first of them. Blocks begin at multiples of ``block``; what is not there does not count.
    block : int
        Numbers in a block.
    """
    keys = magnitude_keys(numbers)
    selected = np.zeros(keys.size, dtype=np.bool_)
    for begin in range(-(first % block), keys.size, block) if keys.size else ():
        here = slice(max(0, begin), begin + block)
        selected[here.start + int(np.argmax(keys[here]))] = True
    return selected


def rewire(
    pointers: npt.ArrayLike,
    indices: npt.ArrayLike,
    master: npt.ArrayLike,
    momentum: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    row_begin: int,
    row_end: int,
    span: int,
    most: int,
    inner_size: int,
    protected_from: int | None = None,
    candidates: npt.ArrayLike | None = None,
    candidate_first: int = 0,
    candidate_step: int = 1,
    seed: int = 1,
) -> Rewired:
    """Exchange small entries of each row from ``row_begin`` to ``row_end``, the end excluded, for columns it lacks.

    The entries of a row are cut into spans, the n-th from ``(n * span) // SPAN_UNIT`` on; of each span, the entry whose
    master value has the smallest key is dropped, of equal ones the first. Protected entries are not, and a span that
    the row's end cuts loses none.

    The places of these, in ascending order, take candidates of the row that it does not have. They come in ascending
    order from some candidate on, and then from the first one to it; where that is moves on by as many candidates from
    row to row, both drawn, so that no column is preferred. What is left of either stays as it is. Without candidates,
    each place draws columns until one is below the limit and not in the row, ``DRAWS`` times at most.

    New entries have master value, momentum and value +0.

    Parameters
    ----------
    pointers, indices : array_like of int
        The layer in CSR; rows may be unsorted, and name a column more than once.
    master, momentum : array_like of float32
    values : array_like of bfloat16
        The entries.
    row_begin, row_end : int
    span : int
        Entries of which one is dropped, in units of ``1 / SPAN_UNIT``; not below one.
    most : int
        Entries that a row drops; spans behind them lose none.
    inner_size : int
        Columns of the layer.
    protected_from : int or None
        Columns from this one on are neither dropped nor grown; none are when None.
    candidates : array_like of bool, or None
        A row for each row to rewire; in it, element ``n`` stands for column ``candidate_first + n * candidate_step``,
        for as many ``n`` as there are columns 0, ``candidate_step``, ... that are not protected. Random when None.
    candidate_first, candidate_step : int
        The first is below the other. Other columns do not grow.
    seed : int
        State of ``xorshift32`` before the first draw. 0 draws nothing but 0.

    Raises
    ------
    ValueError
        If a column of the rows is not below ``inner_size``, or ``span`` is below one entry.
    """
    if span < SPAN_UNIT:
        raise ValueError(f"a span must have at least one entry, {SPAN_UNIT}, not {span!r}")
    pointers = np.asarray(pointers, dtype=np.int64)
    indices, values = np.array(indices), np.array(values, dtype=ml_dtypes.bfloat16)
    master, momentum = np.array(master, dtype=np.float32), np.array(momentum, dtype=np.float32)
    limit = inner_size if protected_from is None else min(inner_size, protected_from)
    growing = np.arange(limit) if candidates is None else np.arange(0, limit, candidate_step) + candidate_first
    wanted = None if candidates is None else np.asarray(candidates, dtype=np.bool_)[:, : growing.size]
    draws = _Draws(seed, growing.size)
    starts = draws.starts()
    changed = 0
    for row in range(row_begin, row_end):
        entries = slice(int(pointers[row]), int(pointers[row + 1]))
        columns = indices[entries].astype(np.int64)
        if (columns >= inner_size).any():
            wrong = int(columns[columns >= inner_size][0])
            raise ValueError(f"columns of row {row} must be below {inner_size}, not {wrong!r}")
        dropped = _smallest(magnitude_keys(master[entries]), columns < limit, span)[:most]
        free = np.arange(limit + candidate_first) < limit
        free[columns[columns < limit]] = False
        if wanted is None:
            exchanged = draws.exchange(dropped, free)
        else:
            grown = np.flatnonzero(wanted[row - row_begin] & free[growing])
            begins = int(np.searchsorted(grown, next(starts)))
            exchanged = list(zip(dropped, growing[np.roll(grown, -begins)].tolist(), strict=False))
        for position, column in exchanged:
            place = entries.start + position
            indices[place] = column
            master[place] = momentum[place] = values[place] = 0
        changed += len(exchanged)
    return Rewired(indices, master, momentum, values, changed)


def _smallest(keys: np.ndarray, droppable: np.ndarray, span: int) -> list[int]:
    """Positions in a row of the smallest of each span."""
    found, begin, number = [], 0, 1
    while (end := number * span // SPAN_UNIT) <= keys.size:
        allowed = begin + np.flatnonzero(droppable[begin:end])
        if allowed.size:
            found.append(int(allowed[np.argmin(keys[allowed])]))
        begin, number = end, number + 1
    return found


class _Draws:
    """Columns drawn below a limit: the low bits of a state, as many as the limit needs."""

    def __init__(self, seed: int, limit: int):
        self._state = seed
        self._limit = limit
        self._mask = (1 << max(0, limit - 1).bit_length()) - 1

    def _draw(self) -> int:
        self._state = xorshift32(self._state)
        return self._state & self._mask

    def starts(self) -> Iterator[int]:
        """From which one on the candidates of rows are taken."""
        start, step = self._below(self._draw()), self._below(self._draw() | 1)
        while True:
            yield start
            start = self._below(start + step)

    def _below(self, column: int) -> int:
        return column if column < self._limit else column - self._limit

    def exchange(self, dropped: list[int], free: np.ndarray) -> list[tuple[int, int]]:
        """Positions with a column each, which is not free any more."""
        found = []
        for position in dropped:
            for _ in range(DRAWS):
                column = self._draw()
                if column < self._limit and free[column]:
                    free[column] = False
                    found.append((position, column))
                    break
        return found
