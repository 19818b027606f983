"""Growth in a whole layer: its rows are written elsewhere, with newcomers behind the entries that they had.

A layer goes by twice, some rows at a time. The first time the keys of its candidates are counted, in bins by their
highest bits; this tells which bin the smallest newcomer will be in. The second time rows are written.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acf.golden.optimizer import xorshift32_states

__all__ = ["BINS", "LayerGrowth", "MergedRows", "Rows"]

BINS = 2048
"""Keys of 31 bits are told apart by their highest 11, when newcomers are chosen."""

_LOW_BITS = 20


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a layer, and the keys of their candidates.

    Parameters
    ----------
    pointers : array_like of int
        Where these rows begin and end, counted from the first of them.
    indices : array_like of int
    limit : int
        Columns from this one on are no candidates.
    candidates : array_like of float32 or None
        Gradients, a row for each row. The key of a column is the gradient's magnitude: its bits without the sign.
    seed : int
        Where there are no gradients: state of ``xorshift32`` before the first draw. Every column below ``limit`` draws
        one number, row by row, also those that are in the row; its key is the number without its lowest bit.
    """

    pointers: npt.ArrayLike
    indices: npt.ArrayLike
    limit: int
    candidates: npt.ArrayLike | None = None
    seed: int = 1

    def found(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each row the columns below the limit that it does not have, in ascending order, and their keys."""
        pointers, indices = np.asarray(self.pointers), np.asarray(self.indices).astype(np.int64)
        rows = pointers.size - 1
        if self.candidates is None:
            keys = xorshift32_states(self.seed, rows * self.limit).reshape(rows, self.limit) >> np.uint32(1)
        else:
            gradients = np.ascontiguousarray(np.asarray(self.candidates, dtype=np.float32)[:rows, : self.limit])
            keys = gradients.view(np.uint32) & np.uint32(0x7FFFFFFF)
        columns = [np.setdiff1d(np.arange(self.limit), indices[a:b]) for a, b in pairwise(pointers)]
        return [(each, keys[row, each]) for row, each in enumerate(columns)]


class MergedRows(NamedTuple):
    """Rows as they are written: where they begin in the new layer and where the last one ends, and their entries."""

    pointers: np.ndarray
    indices: np.ndarray
    master: np.ndarray
    momentum: np.ndarray
    values: np.ndarray
    grown: int


@dataclass
class LayerGrowth:
    """What is known of a layer between surveys and merges.

    Attributes
    ----------
    rows : int
        Rows surveyed; 0 when there is nothing to merge.
    merged : int
        Rows merged.
    """

    rows: int = 0
    merged: int = 0
    _grow: int = 0
    _counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    _place: int = 0
    _bin: int = 0
    _ties: int = 0

    def survey(self, rows: Rows, *, first: bool, grow: int) -> None:
        """Count the candidates of rows; with ``first``, of the first ones of a layer that gets ``grow`` entries."""
        if first:
            self.rows, self.merged, self._grow = 0, 0, grow
            self._counts = np.zeros(BINS, dtype=np.int64)
        for _, keys in rows.found():
            self._counts += np.bincount(keys >> np.uint32(_LOW_BITS), minlength=BINS)
            self.rows += 1

    def merge(
        self,
        rows: Rows,
        master: npt.ArrayLike,
        momentum: npt.ArrayLike,
        values: npt.ArrayLike,
    ) -> MergedRows:
        """The next rows, with their newcomers.

        These are the candidates in the bins above that of the threshold, and of those in it the first. A row is what it
        was, then its newcomers in ascending order, with master value, momentum and value +0.
        """
        if not self.merged:
            self._choose()
        pointers, indices = np.asarray(rows.pointers), np.asarray(rows.indices)
        columns, newcomers = [], []
        bounds = [self._place]
        for row, (candidates, keys) in enumerate(rows.found()):
            bins = keys >> np.uint32(_LOW_BITS)
            equal = np.flatnonzero(bins == self._bin)[: self._ties]
            self._ties -= equal.size
            chosen = np.sort(np.concatenate([np.flatnonzero(bins > self._bin), equal]))
            stays = indices[pointers[row] : pointers[row + 1]]
            columns.append(np.concatenate([stays, candidates[chosen].astype(indices.dtype)]))
            newcomers.append(np.arange(columns[-1].size) >= stays.size)
            bounds.append(bounds[-1] + columns[-1].size)
        new = np.concatenate([*newcomers, np.zeros(0, dtype=np.bool_)])

        def spread(array: np.ndarray) -> np.ndarray:
            whole = np.zeros(new.size, dtype=array.dtype)
            whole[~new] = array
            return whole

        self._place = bounds[-1]
        self.merged += len(columns)
        if self.merged == self.rows:
            self.rows = self.merged = 0
        return MergedRows(
            np.array(bounds, dtype=np.int64),
            np.concatenate([*columns, indices[:0]]),
            spread(np.asarray(master, dtype=np.float32)),
            spread(np.asarray(momentum, dtype=np.float32)),
            spread(np.asarray(values, dtype=ml_dtypes.bfloat16)),
            grown=int(new.sum()),
        )

    def _choose(self) -> None:
        """Find the bin of the threshold, and how many of its candidates there is room for."""
        self._place, self._ties = 0, self._grow
        for number in reversed(range(BINS)):
            self._bin = number
            if self._ties <= self._counts[number]:
                return
            self._ties -= int(self._counts[number])
        self._bin = -1
