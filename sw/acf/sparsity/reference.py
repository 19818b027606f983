"""Structure updates in NumPy, of what is smallest and largest exactly.

``prune`` and ``grow`` are bit for bit what the structure engine does. Where it rewires, entries compete with their
neighbours only (``acf.golden.rewiring``): ``rewire`` is what that comes near to.

Magnitudes are compared as integers: the bits of a float32 without its sign. So -0 equals 0, infinity is above every
number and NaN above infinity, and no comparison rounds.

``rewire`` changes columns and values in place and leaves every row its count; ``prune`` takes entries from a layer,
wherever they stand, ``grow`` gives it entries, and both leave the others as they were, in new arrays.
Columns from ``protected_from`` on, the bias column, are never dropped and never grown.
"""

from collections.abc import Callable

import numpy as np

from acf.sparsity.updates import StructureUpdate, UpdateKind
from acf.sparsity.weights import SparseWeights

__all__ = ["RowKeys", "apply", "gradient_keys", "grow", "magnitude_bits", "prune", "random_keys", "rewire"]

RowKeys = Callable[[int], np.ndarray]
"""The keys of a row, ``(columns,)`` of an unsigned type: the column of the largest grows first. Columns that cannot
grow have keys too, which are not looked at."""


def magnitude_bits(numbers: np.ndarray) -> np.ndarray:
    """The bits of float32 numbers without their sign, as uint32 of the same shape."""
    return np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32) & np.uint32(0x7FFF_FFFF)


def gradient_keys(gradient: np.ndarray) -> RowKeys:
    """Keys that grow where the gradient is largest, from ``(rows, columns)`` of float32.

    Sources
    -------
    Evci et al., *Rigging the Lottery: Making All Tickets Winners*, 2020 (RigL).
    """
    return lambda row: magnitude_bits(gradient[row])


def random_keys(seed: int, columns: int) -> RowKeys:
    """Keys that grow at random: 32 bits mixed from seed, row and column, the same in whatever order rows come.

    Sources
    -------
    Mocanu et al., *Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
    network science*, 2018 (SET), for growth at random; Appleby, *MurmurHash3*, 2011, for the mixing.
    """
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"a seed for growth must have 32 bits, not {seed!r}")
    numbers = np.arange(columns, dtype=np.uint32)

    def keys(row: int) -> np.ndarray:
        start = _mix(_mix(np.array([seed], dtype=np.uint32)) ^ np.uint32(row))
        return _mix(start ^ numbers)

    return keys


def rewire(
    weights: SparseWeights,
    *,
    drop: int,
    keys: RowKeys,
    protected_from: int | None = None,
    group: int | None = None,
) -> np.ndarray:
    """Drop the smallest weights of every row and grow as many new ones in their places.

    In each row the ``drop`` entries of smallest master magnitude are chosen, the lower position first where they tie,
    and as many columns that were not in the row before, those of the largest key, the lower column first where they
    tie. Where there are fewer such columns than chosen entries, only that many are dropped, the smallest; where there
    are fewer entries than ``drop``, all are chosen. The dropped places, in ascending order, take the grown columns in
    ascending order. Master, momentum and value of a grown entry are 0.

    Parameters
    ----------
    weights : SparseWeights
        Changed in place.
    drop : int
        Entries of a row to replace.
    keys : RowKeys
        ``gradient_keys``, ``random_keys``, or a generator of one's own.
    protected_from : int, optional
        The first column that is left alone; all columns take part without it.
    group : int, optional
        Grow in the group of this many successive columns from which an entry was dropped, as N:M masks need. Each
        group is then a row of its own but for the choice of entries to drop.

    Returns
    -------
    numpy.ndarray
        How many entries of each row were replaced, ``(rows,)`` of int32.

    Raises
    ------
    ValueError
        If ``drop`` is negative, ``protected_from`` or ``group`` is out of range, or keys are of another shape or type.

    Sources
    -------
    Evci et al., 2020 (RigL); Mocanu et al., 2018 (SET); Lasby et al., *Dynamic Sparse Training with Structured
    Sparsity*, 2023 (SRigL), for the constant count of a row.
    """
    rows, columns = weights.shape
    limit = _limit(columns, protected_from)
    if drop < 0:
        raise ValueError(f"the entries to drop must not be negative, not {drop!r}")
    if group is not None and group < 1:
        raise ValueError(f"a group must have at least one column, not {group!r}")
    magnitudes = magnitude_bits(weights.master)
    replaced = np.zeros(rows, dtype=np.int32)
    for row in range(rows if drop else 0):
        start, end = int(weights.pointers[row]), int(weights.pointers[row + 1])
        row_keys = keys(row)
        if row_keys.shape not in ((columns,), (limit,)) or not np.issubdtype(row_keys.dtype, np.unsignedinteger):
            raise ValueError(
                f"keys must be {columns} unsigned integers, not of shape {row_keys.shape} and type {row_keys.dtype}"
            )
        places, grown = _rewire_row(
            weights.indices[start:end], magnitudes[start:end], row_keys[:limit], drop, group or max(1, limit)
        )
        places += start
        weights.indices[places] = grown
        weights.master[places] = 0
        weights.momentum[places] = 0
        weights.values[places] = 0
        replaced[row] = places.size
    return replaced


def prune(weights: SparseWeights, *, drop: int, protected_from: int | None = None) -> SparseWeights:
    """Drop the ``drop`` weights of a layer whose master magnitude is smallest, into new arrays.

    Of equal weights the one at the lower position goes first. What stays keeps its order. A layer that has no more
    than ``drop`` loses them all; entries of protected columns stay and do not count.

    Raises
    ------
    ValueError
        If ``drop`` is negative or ``protected_from`` is out of range.

    Sources
    -------
    Zhu and Gupta, *To prune, or not to prune: exploring the efficacy of pruning for model compression*, 2017.
    """
    if drop < 0:
        raise ValueError(f"the entries to drop must not be negative, not {drop!r}")
    limit = _limit(weights.shape[1], protected_from)
    keep = np.ones(weights.indices.size, dtype=np.bool_)
    keep[_smallest(weights.indices, magnitude_bits(weights.master), limit)[:drop]] = False
    before = np.concatenate([[0], np.cumsum(keep)])
    return SparseWeights(
        weights.shape,
        before[weights.pointers].astype(np.int32),
        weights.indices[keep],
        weights.master[keep],
        weights.momentum[keep],
        weights.values[keep],
    )


def grow(weights: SparseWeights, *, count: int, keys: RowKeys, protected_from: int | None = None) -> SparseWeights:
    """Give a layer ``count`` more weights, where the keys of its free columns are largest, in new arrays.

    Keys have 31 bits, of which the highest 11 count: what is alike in these is taken in the order of rows and columns.
    New entries stand behind those of their row, in ascending order; master, momentum and value are 0. Where there are
    fewer free columns, all are taken.

    Raises
    ------
    ValueError
        If ``count`` is negative or ``protected_from`` is out of range.

    Sources
    -------
    Evci et al., 2020 (RigL); Mocanu et al., 2018 (SET).
    """
    if count < 0:
        raise ValueError(f"the entries to grow must not be negative, not {count!r}")
    rows, columns = weights.shape
    limit = _limit(columns, protected_from)
    free = ~weights.structure.to_bool()
    free[:, limit:] = False
    places = np.flatnonzero(free)
    heights = np.array([np.resize(keys(row), columns) for row in range(rows)]).reshape(-1)[places] >> np.uint32(20)
    taken = np.sort(places[np.argsort(-heights.astype(np.int64), kind="stable")][:count])
    row_of, column_of = np.divmod(taken, columns)
    ends = weights.pointers[1:][row_of]
    zeros = np.zeros(taken.size)
    return SparseWeights(
        weights.shape,
        weights.pointers + np.searchsorted(row_of, np.arange(rows + 1)).astype(np.int32),
        np.insert(weights.indices, ends, column_of),
        np.insert(weights.master, ends, zeros),
        np.insert(weights.momentum, ends, zeros),
        np.insert(weights.values, ends, zeros),
    )


def apply(
    update: StructureUpdate,
    weights: SparseWeights,
    *,
    gradient: np.ndarray | None = None,
    protected_from: int | None = None,
) -> SparseWeights:
    """Do what a ``Pruner`` asks for.

    Parameters
    ----------
    update : StructureUpdate
    weights : SparseWeights
        A rewire changes them in place.
    gradient : numpy.ndarray, optional
        ``(rows, columns)`` of float32, for growth by gradient.
    protected_from : int, optional
        The first column that is left alone.

    Returns
    -------
    SparseWeights
        The same object after a rewire, another after a regrowth or a pruning.

    Raises
    ------
    ValueError
        If growth by gradient gets none of the shape of the weights.
    """
    if update.kind is UpdateKind.PRUNE:
        return prune(weights, drop=update.drop, protected_from=protected_from)
    if update.kind in (UpdateKind.REWIRE_BY_GRADIENT, UpdateKind.REGROW_BY_GRADIENT):
        if gradient is None or gradient.shape != weights.shape:
            found = "none" if gradient is None else f"one of shape {gradient.shape}"
            raise ValueError(f"layer {update.layer!r} needs a gradient of shape {weights.shape}, not {found}")
        keys = gradient_keys(gradient)
    else:
        assert update.seed is not None
        keys = random_keys(update.seed, weights.shape[1])
    if update.kind in (UpdateKind.REGROW_BY_GRADIENT, UpdateKind.REGROW_AT_RANDOM):
        return grow(
            prune(weights, drop=update.drop, protected_from=protected_from),
            count=update.drop,
            keys=keys if update.seed is None else lambda row: keys(row) >> np.uint32(1),
            protected_from=protected_from,
        )
    rewire(weights, drop=update.drop, keys=keys, protected_from=protected_from, group=update.group)
    return weights


def _rewire_row(
    columns: np.ndarray, magnitudes: np.ndarray, keys: np.ndarray, drop: int, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places of a row that change, and the columns they take; there is one key for each column that takes part."""
    chosen = _smallest(columns, magnitudes, keys.size)[:drop]
    free = np.ones(keys.size, dtype=np.bool_)
    free[columns[columns < keys.size]] = False
    places, grown = [chosen[:0]], [columns[:0]]
    for number in np.unique(columns[chosen] // group):
        dropped = chosen[columns[chosen] // group == number]
        candidates = np.flatnonzero(free[number * group : (number + 1) * group]) + number * group
        # ~key falls as key rises: a stable sort then puts the lower of equal columns first.
        taken = candidates[np.argsort(~keys[candidates], kind="stable")][: dropped.size]
        places.append(np.sort(dropped[: taken.size]))
        grown.append(np.sort(taken))
    return np.concatenate(places), np.concatenate(grown)


def _smallest(columns: np.ndarray, magnitudes: np.ndarray, limit: int) -> np.ndarray:
    """Positions of columns below ``limit``, from the smallest magnitude, the lower position first where they tie."""
    allowed = np.flatnonzero(columns < limit)
    return allowed[np.argsort(magnitudes[allowed], kind="stable")]


def _limit(columns: int, protected_from: int | None) -> int:
    if protected_from is None:
        return columns
    if not 0 <= protected_from <= columns:
        raise ValueError(f"columns are protected from one of 0 to {columns}, not {protected_from!r}")
    return protected_from


def _mix(bits: np.ndarray) -> np.ndarray:
    """MurmurHash3's last step, on uint32."""
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EB_CA6B)
    bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(0xC2B2_AE35)
    return bits ^ (bits >> np.uint32(16))
