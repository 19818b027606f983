"""First masks, made at random or by magnitude, and checks that a mask still keeps to its pattern.

Every mask is a ``Structure``. Shapes are rows and columns, of weights without a bias column; convolutions count as
``(out, in * height * width)``, see ``distributions.matrix_shape``. The same generator state gives the same mask.
"""

from collections.abc import Sequence

import numpy as np

from acf.sparsity.structure import Structure, row_numbers

__all__ = [
    "blocks",
    "check_blocks",
    "check_constant_fan_in",
    "check_n_of_m",
    "constant_fan_in",
    "n_of_m",
    "skewed",
    "unstructured",
]


def unstructured(shape: Sequence[int], entries: int, generator: np.random.Generator) -> Structure:
    """``entries`` elements drawn uniformly from the whole matrix, as SET and RigL start.

    Raises
    ------
    ValueError
        If the matrix has fewer elements.
    """
    rows, columns = shape
    _check_count(entries, rows * columns, what="entries")
    return Structure.from_places((rows, columns), generator.choice(rows * columns, entries, replace=False))


def skewed(shape: Sequence[int], entries: int, exponent: float, generator: np.random.Generator) -> Structure:
    """``entries`` elements of a few rows and columns more than of the others, as trained and pruned weights have them.

    Rows and columns are ranked at random. Elements are drawn one after the other, without putting back, with a
    probability that falls as the product of both ranks to the power of ``-exponent``; 0 is ``unstructured``.

    Raises
    ------
    ValueError
        If the matrix has fewer elements, or the exponent is negative.

    Sources
    -------
    Efraimidis and Spirakis, *Weighted random sampling with a reservoir*, 2006 (all draws at once).
    """
    rows, columns = shape
    _check_count(entries, rows * columns, what="entries")
    if exponent < 0:
        raise ValueError(f"the exponent of a skewed mask must be at least 0, not {exponent!r}")
    of_rows, of_columns = (-exponent * np.log(1 + generator.permutation(size)) for size in (rows, columns))
    keys = (of_rows[:, np.newaxis] + of_columns).ravel() + generator.gumbel(size=rows * columns)
    return Structure.from_places((rows, columns), np.argpartition(-keys, max(0, entries - 1))[:entries])


def constant_fan_in(shape: Sequence[int], fan_in: int, generator: np.random.Generator) -> Structure:
    """``fan_in`` columns of every row, drawn uniformly.

    Raises
    ------
    ValueError
        If there are fewer columns.

    Sources
    -------
    Lasby et al., *Dynamic Sparse Training with Structured Sparsity*, 2023 (SRigL).
    """
    rows, columns = shape
    _check_count(fan_in, columns, what="entries a row")
    indices = [np.sort(generator.choice(columns, fan_in, replace=False, shuffle=False)) for _ in range(rows)]
    return Structure((rows, columns), np.arange(rows + 1) * fan_in, np.array(indices, dtype=np.int64).ravel())


def n_of_m(
    shape: Sequence[int],
    n: int,
    m: int,
    generator: np.random.Generator | None = None,
    *,
    weights: np.ndarray | None = None,
) -> Structure:
    """``n`` of every ``m`` successive columns of a row.

    Parameters
    ----------
    shape : sequence of int
        Rows and columns; columns a multiple of ``m``.
    n, m : int
        ``1 <= n <= m``.
    generator : numpy.random.Generator, optional
        Draws the columns.
    weights : numpy.ndarray, optional
        ``(rows, columns)`` of real numbers: those of largest magnitude stay, the lower column first where they tie.

    Raises
    ------
    ValueError
        If the shape does not fit, or unless exactly one of ``generator`` and ``weights`` is given.
    """
    rows, columns = shape
    _check_groups(columns, n, m)
    if (generator is None) == (weights is None):
        raise ValueError("N:M masks are made either by a generator or from weights, not by both or neither")
    if weights is None:
        assert generator is not None
        scores = generator.random((rows, columns))
    else:
        if weights.shape != (rows, columns):
            raise ValueError(f"weights must be of shape {(rows, columns)}, not {weights.shape}")
        if np.isnan(weights).any():
            raise ValueError(f"weights must be numbers, but number {int(np.argmax(np.isnan(weights)))} is nan")
        scores = np.abs(weights)
    order = np.argsort(-scores.reshape(rows, columns // m, m), axis=2, kind="stable")
    mask = np.zeros(order.shape, dtype=np.bool_)
    np.put_along_axis(mask, order[:, :, :n], True, axis=2)
    return Structure.from_bool(mask.reshape(rows, columns))


def blocks(shape: Sequence[int], block: Sequence[int], count: int, generator: np.random.Generator) -> Structure:
    """``count`` dense blocks of ``block`` rows and columns, drawn uniformly from the grid of blocks.

    Raises
    ------
    ValueError
        If the shape is no whole number of blocks, or has fewer of them.
    """
    rows, columns = shape
    height, width = block
    _check_grid(shape, block)
    grid = unstructured((rows // height, columns // width), count, generator).to_bool()
    return Structure.from_bool(np.kron(grid, np.ones((height, width), dtype=np.bool_)))


def check_constant_fan_in(structure: Structure, fan_in: int) -> None:
    """Raise ``ValueError`` unless every row has ``fan_in`` entries."""
    wrong = np.flatnonzero(structure.fan_in != fan_in)
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(f"every row must have {fan_in} entries, but row {row} has {int(structure.fan_in[row])}")


def check_n_of_m(structure: Structure, n: int, m: int) -> None:
    """Raise ``ValueError`` unless every group of ``m`` successive columns has ``n`` entries in every row."""
    rows, columns = structure.shape
    _check_groups(columns, n, m)
    groups = row_numbers(structure.pointers) * (columns // m) + structure.indices // m
    counts = np.bincount(groups, minlength=rows * (columns // m))
    wrong = np.flatnonzero(counts != n)
    if wrong.size:
        row, group = divmod(int(wrong[0]), columns // m)
        raise ValueError(
            f"every {m} columns must have {n} entries, but columns {group * m} to {group * m + m - 1} of row {row} "
            f"have {int(counts[wrong[0]])}"
        )


def check_blocks(structure: Structure, block: Sequence[int]) -> None:
    """Raise ``ValueError`` unless every block of ``block`` rows and columns is full or empty."""
    height, width = block
    _check_grid(structure.shape, block)
    rows, columns = structure.shape
    counts = structure.to_bool().reshape(rows // height, height, columns // width, width).sum(axis=(1, 3))
    wrong = np.argwhere((counts != 0) & (counts != height * width))
    if wrong.size:
        row, column = (int(number) for number in wrong[0])
        raise ValueError(
            f"blocks of {height} x {width} must be full or empty, but the one at row {row * height}, column "
            f"{column * width} has {int(counts[row, column])} entries"
        )


def _check_count(count: int, most: int, *, what: str) -> None:
    if not 0 <= count <= most:
        raise ValueError(f"there must be 0 to {most} {what}, not {count!r}")


def _check_groups(columns: int, n: int, m: int) -> None:
    if not 1 <= n <= m:
        raise ValueError(f"N:M must keep at least 1 and at most all of M, not {n}:{m}")
    if columns % m:
        raise ValueError(f"columns must be a multiple of {m} for {n}:{m}, not {columns}")


def _check_grid(shape: Sequence[int], block: Sequence[int]) -> None:
    if min(block) < 1:
        raise ValueError(f"blocks must have positive sizes, not {block[0]} x {block[1]}")
    if shape[0] % block[0] or shape[1] % block[1]:
        raise ValueError(
            f"a matrix of blocks of {block[0]} x {block[1]} must be a whole number of them, not {shape[0]} x {shape[1]}"
        )
