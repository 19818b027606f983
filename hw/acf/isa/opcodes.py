"""Commands, and what some of their fields choose from."""

import enum

__all__ = ["Decoder", "IndexSize", "Mode", "Opcode", "Ranges"]


class Opcode(enum.IntEnum):
    """What a command does. Zero is illegal, so that blank memory is not a program."""

    END = 0x01
    """The program is done: stop the cycle counter, raise the interrupt."""
    WAIT = 0x02
    """Wait until a semaphore has reached ``count``, then take ``count`` from it."""
    LOAD = 0x10
    """Column feeders read operand rows and write them to the operand banks of their tiles; every tile signals."""
    CLEAR = 0x20
    """Row feeders have their tiles set accumulator rows to +0; every tile signals."""
    STREAM = 0x21
    """Row feeders read rows of ``W`` and send their entries to their tiles; every tile signals when all are done."""
    DRAIN = 0x22
    """Row feeders write accumulator rows of their tiles to memory, tiles set them to +0; every row feeder signals."""
    UPDATE = 0x30
    """The structure engine takes one step of SGD with momentum over an array of entries, and signals once."""
    REWIRE = 0x31
    """The structure engine drops small entries of every row and grows others in their places; signals once."""
    PRUNE = 0x32
    """The structure engine drops the smallest entries of a whole layer and moves the others together; signals once."""
    SURVEY = 0x33
    """The structure engine counts how large gradients of candidates are, for a MERGE of these rows; signals once."""
    MERGE = 0x34
    """The structure engine writes rows with the largest candidates in them to another place, and signals once."""


class Mode(enum.IntEnum):
    """Dataflow of the lanes in a STREAM. ``i`` is the row of an entry, ``j`` its column index, ``e`` its place."""

    GATHER = 0
    """``acc[i] += W[i, j] * operand[j]``, for each column; entries of a row in order."""
    SCATTER = 1
    """``acc[j] += W[i, j] * operand[i]``, for each column; entries of a feeder in order."""
    SAMPLED = 2
    """``acc[e] += row_operand[i] * operand[j]``, summed over the slots of a lane in ascending order; values of ``W``
    are not read."""


class Decoder(enum.IntEnum):
    """How ``W`` lies in memory."""

    CSR = 0
    """``indptr`` int32, ``indices``, ``data``, as SciPy lays them out."""
    DENSE = 1
    """Row-major values of all ``inner_size`` columns; no pointers, no indices."""
    BITMAP = 2
    """``indptr`` int32, a bit for each column of each row, ``data`` in ascending order of columns. Only in a GATHER."""
    N_OF_M = 3
    """In each group of M successive columns N values, and the place of each in its group; no pointers."""
    BLOCKS = 4
    """``indptr`` int32 and ``indices`` uint16 of blocks of ``BLOCK`` x ``BLOCK`` elements; all their values, those of
    the first rows of all blocks before those of the second rows, and so on. Not in a SAMPLED."""


class IndexSize(enum.IntEnum):
    """Width of the CSR column indices."""

    INT32 = 0
    UINT16 = 1


class Ranges(enum.IntEnum):
    """What a STREAM has to do with the table of a row feeder, which says where in each row the inner range lies."""

    ALL = 0
    """Nothing: all entries of the rows are read."""
    RECORD = 1
    """All are read, and the first and the last one of each row that is inside are remembered."""
    USE = 2
    """Of each row only those from the first to the last one that were remembered are read."""
