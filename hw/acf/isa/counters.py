"""Counters of every block, and the causes that the cycles of a lane are put down to."""

import enum

__all__ = [
    "COUNTERS_PER_LANE",
    "CommandProcessorCounter",
    "FeederCounter",
    "Flag",
    "LaneCause",
    "LaneCounter",
    "StructureCounter",
    "TileCounter",
]


class LaneCause(enum.IntEnum):
    """Where a lane's cycle went; every cycle of a program has exactly one cause.

    The first that holds, in the order MAC, HAZARD, DRAIN where something waits for it, ENTRY_WAIT, OPERAND_WAIT, DRAIN,
    IDLE.
    """

    MAC = 0
    """A product was issued."""
    OPERAND_WAIT = 1
    """No stream is open, and an operand load is under way or no stream has been opened yet in this program."""
    ENTRY_WAIT = 2
    """A stream is open and no entry is there."""
    HAZARD = 3
    """An entry is there, but its accumulator is still in flight."""
    DRAIN = 4
    """A product, an entry or another drain waits for accumulators that are being sent or set to +0, or nothing but that
    goes on: no stream is open, and no operands are awaited."""
    IDLE = 5
    """Nothing to do."""


COUNTERS_PER_LANE = 8


class LaneCounter(enum.IntEnum):
    """Counter index ``lane * COUNTERS_PER_LANE + n`` of a tile: n below 6 is a ``LaneCause``, then:"""

    EFFECTUAL_MACS = 6
    """Products whose operands are both non-zero."""
    FLAGS = 7
    """Sticky: the ``Flag`` that sums of this lane have raised in this program."""


class Flag(enum.IntFlag):
    """What sums tell beside their bits."""

    OVERFLOW = 1
    """A sum left the range of its accumulator and wrapped (int8, bf16x), or a product is outside of it (bf16x)."""
    UNDERFLOW = 2
    """A product lost bits below the last bit of its accumulator (bf16x)."""
    INVALID = 4
    """A product with an infinity or a NaN made a sum a NaN (bf16x)."""


class TileCounter(enum.IntEnum):
    """Further counters of a tile."""

    ENTRIES = 0xF0
    """Entries received."""
    OPERAND_FLITS = 0xF1
    """Operand flits received, heads excepted."""


class FeederCounter(enum.IntEnum):
    """Counters of a feeder."""

    ENTRIES = 0
    """Entries sent (row feeders)."""
    ZEROS_DROPPED = 1
    """Entries of value zero that were not sent (row feeders)."""
    FILTERED = 2
    """Entries passed over because they lie outside the inner range (row feeders)."""
    OPERAND_ROWS = 3
    """Operand rows sent (column feeders)."""
    RESULT_ROWS = 4
    """Accumulator rows received for writing, one per tile and row (row feeders)."""


class CommandProcessorCounter(enum.IntEnum):
    """Counters of node (0, 0): the memory port and the commands."""

    BYTES_READ = 0
    """Bytes of the read beats of the memory port, programs included."""
    BYTES_WRITTEN = 1
    """Bytes written through the memory port (strobes set)."""
    COMMANDS = 2
    """Commands begun."""
    READ_BURSTS = 3
    WRITE_BURSTS = 4


class StructureCounter(enum.IntEnum):
    """Counters of the structure engine, at node (0, 0) too."""

    UPDATED = 16
    """Entries that have taken a step of the optimizer."""
    UPDATE_CYCLES = 17
    """Cycles spent on that."""
    REWIRED = 18
    """Entries that were dropped and grown elsewhere."""
    REWIRE_CYCLES = 19
    """Cycles spent on that."""
    PRUNED = 20
    """Entries that were dropped and not replaced."""
    PRUNE_CYCLES = 21
    """Cycles spent on that."""
    MERGED = 22
    """Entries that were grown by a merge."""
    MERGE_CYCLES = 23
    """Cycles spent on surveys and merges."""
