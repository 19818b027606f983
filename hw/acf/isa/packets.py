"""What the network carries: traffic classes, and the kinds of packets of each."""

import enum

__all__ = [
    "Cast",
    "ControlKind",
    "EntryKind",
    "OperandKind",
    "ResultKind",
    "TrafficClass",
]


class TrafficClass(enum.IntEnum):
    """Traffic classes of the network; each is mapped to a virtual channel."""

    CONTROL = 0
    ENTRIES = 1
    OPERANDS = 2
    RESULTS = 3


class Cast(enum.IntEnum):
    """Who takes a packet."""

    UNICAST = 0
    """The destination node."""
    ROW = 1
    """Every node east of the source in its row, up to the destination."""
    COLUMN = 2
    """Every node on the way that is entered going south, up to the destination."""


class ControlKind(enum.IntEnum):
    """Kinds of CONTROL packets; ``acf.hw.noc.flit`` holds the layouts of all heads."""

    COMMAND = 0
    """Command processor to feeder: head, then the 16 words of the command in 8 flits, low word first."""
    DONE = 1
    """Feeder or tile to command processor, one flit: adds 1 to a semaphore."""
    ERROR = 2
    """Feeder to command processor, 3 flits: head with the code; {row, address}; {0, index} (high half, low half)."""


class EntryKind(enum.IntEnum):
    """Kinds of ENTRIES packets, row feeder to the tiles of its row, all of one flit, acted on in order."""

    ENTRY = 0
    """One entry of ``W``."""
    SETUP = 1
    """Mode, bank, skipping and columns of the entries that follow; opens a stream."""
    DRAIN = 2
    """Send accumulator rows to the row feeder (or their sums to the tile west of it), set them to +0."""
    CLEAR = 3
    """Set accumulator rows to +0."""
    SIGNAL = 4
    """When all before it is done, send DONE (unless the semaphore is ``NO_SEMAPHORE``); closes a stream."""


class OperandKind(enum.IntEnum):
    """Kinds of OPERANDS packets, column feeder to the tiles of its column."""

    ROWS = 0
    """Head, then whole operand rows of ``tile_columns`` operands (of the configuration), column after column."""


class ResultKind(enum.IntEnum):
    """Kinds of RESULTS packets, tile to its west neighbour (SUMS) or the feeder of its row."""

    ROW = 0
    """Head, then one accumulator row of ``tile_columns`` accumulators (of the configuration), column after column."""
    SUMS = 1
    """Head, then ``tile_columns`` sums over the lanes of this tile and all tiles east of it, for as many entries."""
