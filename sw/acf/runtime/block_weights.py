"""Weights in blocks of 4 x 4: their arrays, as the BLOCKS decoder reads them."""

import numpy as np

from acf.isa import BLOCK
from acf.runtime.matrices import CsrMatrix

__all__ = ["BLOCK_COLUMNS", "block_arrays", "block_bytes", "block_count"]

BLOCK_COLUMNS = BLOCK << 16
"""Columns of weights in blocks, at most: indices of blocks have 16 bits."""


def _blocks_of_entries(weights: CsrMatrix) -> np.ndarray:
    """Which block, counted row by row through all that there could be, each entry lies in."""
    across = max(1, -(-weights.shape[1] // BLOCK))
    return weights.row_of_entry // BLOCK * across + weights.indices // BLOCK


def block_count(weights: CsrMatrix) -> int:
    """How many blocks have an entry."""
    return np.unique(_blocks_of_entries(weights)).size


def block_bytes(rows: int, count: int, *, operand_bytes: int) -> dict[str, int]:
    """Bytes of the arrays of ``count`` blocks in ``rows`` rows of elements."""
    return {
        "values": count * BLOCK**2 * operand_bytes,
        "indices": 2 * count,
        "pointers": 4 * (-(-rows // BLOCK) + 1),
    }


def block_arrays(weights: CsrMatrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pointers, indices and values of the blocks that have an entry.

    Values are those of the first rows of all blocks, then those of the second rows, and so on.

    Parameters
    ----------
    weights : CsrMatrix
        One entry at most for each element.
    """
    rows, inner = weights.shape
    blocks, number = np.unique(_blocks_of_entries(weights), return_inverse=True)
    row_of_block, indices = np.divmod(blocks, max(1, -(-inner // BLOCK)))
    counts = np.bincount(row_of_block, minlength=-(-rows // BLOCK))
    values = np.zeros((BLOCK, blocks.size, BLOCK), dtype=weights.values.dtype)
    values[weights.row_of_entry % BLOCK, number, weights.indices % BLOCK] = weights.values
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pointers, indices.astype(np.uint16), values
