"""The columns that a bitmap in memory has ones for."""

import numpy as np

from acf.golden.guarded_memory import CommandFault, GuardedMemory
from acf.isa import ErrorCode, Ranges, bitmap_row_bytes

__all__ = ["bitmap_columns"]


def bitmap_columns(
    memory: GuardedMemory,
    command: dict[str, int],
    *,
    inner_begin: int,
    rows: np.ndarray,
    counts: np.ndarray,
    source: tuple[int, int],
) -> np.ndarray:
    """The columns of all ones of ``rows`` in a bitmap, of which each row must have ``counts``.

    Where a part of each row is remembered, it is that inside the inner range, and only its beats are read.

    Parameters
    ----------
    memory : GuardedMemory
    command : dict
        Fields of the STREAM.
    inner_begin : int
        Of the feeder.
    rows, counts : numpy.ndarray
    source : tuple of int
        The node that reads.

    Raises
    ------
    CommandFault
        POINTER_RANGE for the first row with other ones than entries.
    """
    beat = memory.beat_bytes
    begin, end = 0, command["inner_size"]
    if command["ranges"] == Ranges.USE:
        begin = max(0, min(inner_begin, end - 1))
        end = min(inner_begin + command["inner_count"], end)
    first_beat = begin // (8 * beat)
    beats = max(1, -(-end // (8 * beat)) - first_beat)
    read = np.flatnonzero(counts)  # nothing is read of rows without entries
    words = np.arange(first_beat * beat, (first_beat + beats) * beat, 8)
    pitch = bitmap_row_bytes(command["inner_size"], beat_bytes=beat)
    addresses = command["indices"] + rows[read, None] * pitch + words
    bits = memory.gather(addresses.ravel(), np.dtype("<u8"), source=source).view(np.uint8)
    ones = np.unpackbits(bits.reshape(read.size, beats * beat), axis=1, bitorder="little").astype(np.bool_)
    columns = first_beat * beat * 8 + np.arange(ones.shape[1])
    ones &= (columns >= begin) & (columns < end)
    found = np.count_nonzero(ones, axis=1)
    wrong = np.flatnonzero(found != counts[read])
    if wrong.size:
        row = int(read[wrong[0]])
        raise CommandFault(
            ErrorCode.POINTER_RANGE,
            row=int(rows[row]),
            index=int(counts[row]),
            source=source,
            detail=f"so many are its entries, but its bitmap has {found[wrong[0]]} ones",
        )
    return columns[np.nonzero(ones)[1]]
