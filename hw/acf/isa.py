"""What crosses the borders of the blocks: commands, packets, registers, counters and error codes, bit by bit.

Hardware, golden model, compiler and simulators all read these tables; none of them states a bit position again.
``docs/program.md`` and ``docs/registers.md`` explain them to people.
"""

import enum
from dataclasses import dataclass

__all__ = [
    "CANDIDATE_PART",
    "CANDIDATE_WORD",
    "COMMAND_BYTES",
    "COMMAND_FIELDS",
    "COMMAND_WORDS",
    "COUNTERS_PER_LANE",
    "IDENTIFIER",
    "NO_SEMAPHORE",
    "SEMAPHORES",
    "VERSION",
    "Cast",
    "ControlKind",
    "CommandProcessorCounter",
    "Decoder",
    "EntryKind",
    "ErrorCode",
    "FeederCounter",
    "Field",
    "GATE_STEPS",
    "IndexSize",
    "LARGEST_BLOCK",
    "LaneCause",
    "LaneCounter",
    "Mode",
    "Opcode",
    "OperandKind",
    "Register",
    "ResultKind",
    "StructureCounter",
    "TileCounter",
    "TrafficClass",
    "candidate_row_bits",
    "decode_command",
    "encode_command",
]

VERSION = 4
"""Version of the program format; commands of another version are refused."""

IDENTIFIER = 0x41434630
"""Value of ``Register.IDENTIFIER``: "ACF0"."""

COMMAND_WORDS = 16
"""32-bit words of one command."""

COMMAND_BYTES = 4 * COMMAND_WORDS

SEMAPHORES = 8
"""Counting semaphores of the command processor."""

NO_SEMAPHORE = 15
"""Value of a semaphore field that signals none."""

CANDIDATE_WORD = 64
"""The bits that say which candidates of a row are to grow fill whole words of so many bits, or less than one."""

CANDIDATE_PART = 16
"""The least of a word that a row has: one of these, two, or whole words."""

LARGEST_BLOCK = 6
"""``block`` of a DRAIN with ``select`` is at most it: sums of a block are in one word of ``CANDIDATE_WORD`` bits."""

GATE_STEPS = 128
"""``row_step`` of a DRAIN with ``gate`` must be below it."""


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


class IndexSize(enum.IntEnum):
    """Width of the CSR column indices."""

    INT32 = 0
    UINT16 = 1


@dataclass(frozen=True)
class Field:
    """Bits ``low`` to ``low + width - 1`` of 32-bit word ``word`` of a command."""

    word: int
    low: int
    width: int


_COMMON = {
    "opcode": Field(0, 0, 8),
    "semaphore": Field(0, 8, 4),
    "version": Field(0, 28, 4),
}
# Which rows of W (and of the result) a row feeder r takes: row_begin + r * row_offset + n * row_step for
# n = 0, 1, ... while n < row_limit and the row is below row_end. The n-th of them uses accumulator row
# accumulator_first + n in a GATHER and a DRAIN, operand row n in a SCATTER and a SAMPLED.
_ROWS = {
    "row_begin": Field(5, 0, 32),
    "row_end": Field(6, 0, 32),
    "row_offset": Field(7, 0, 16),
    "row_step": Field(7, 16, 16),
    "row_limit": Field(8, 0, 16),
    "accumulator_first": Field(8, 16, 16),
}
# Which columns a tile of mesh column c holds: c * tile_columns to (c + 1) * tile_columns - 1, as far as they are below
# columns. tile_columns is at most FabricConfig.tile_columns and a multiple of the operands in a memory beat.
_COLUMNS = {
    "columns": Field(11, 0, 16),
    "tile_columns": Field(11, 16, 16),
}
# Which entries of W a row feeder r takes by their place in memory (SAMPLED, and a DRAIN of its sums): entry_begin +
# r * entry_count and entry_count - 1 more, as far as they are below entries. The first of them uses accumulator
# accumulator_first * slots of every lane, the next one the next.
_ENTRIES = {
    "entries": Field(13, 0, 32),  # entries of W; a row pointer above it is an error
    "entry_count": Field(14, 16, 16),
    "entry_begin": Field(15, 0, 32),
}

COMMAND_FIELDS: dict[Opcode, dict[str, Field]] = {
    Opcode.END: {**_COMMON},
    Opcode.WAIT: {**_COMMON, "count": Field(2, 0, 16)},
    Opcode.LOAD: {
        **_COMMON,
        "targets": Field(1, 0, 16),  # column feeders, bit c is column c
        "address": Field(2, 0, 32),  # of operand row 0, column 0
        "row_stride": Field(3, 0, 32),  # bytes from one operand row to the next, of packed operands from chunk to chunk
        "rows": Field(4, 0, 16),
        "operand_first": Field(4, 16, 16),  # operand row of the bank that takes the first
        # Packed operands: address is that of the first chunk of mesh column 0, those of the other columns lie behind
        # it. Column feeder c finds the lengths of its chunks, 16 bits each, from lengths + c * length_stride on.
        "lengths": Field(5, 0, 32),
        "length_stride": Field(6, 0, 16),
        "bank": Field(10, 16, 4),
        "packed": Field(10, 20, 1),
        **_COLUMNS,
    },
    Opcode.CLEAR: {
        **_COMMON,
        "targets": Field(1, 0, 16),  # row feeders, bit r is row r
        "row_limit": Field(8, 0, 16),  # accumulator rows to clear
        "accumulator_first": Field(8, 16, 16),
    },
    Opcode.STREAM: {
        **_COMMON,
        "targets": Field(1, 0, 16),
        "scatter_first": Field(1, 16, 16),  # SCATTER: operand row of the bank that belongs to the first row
        "pointers": Field(2, 0, 32),  # address of indptr[0]
        "indices": Field(3, 0, 32),  # address of indices[0]
        "values": Field(4, 0, 32),  # address of data[0]
        **_ROWS,
        "inner_begin": Field(9, 0, 32),
        # Row feeder r passes over entries whose index is not in inner_begin + r * inner_offset and the inner_count - 1
        # after it. Relative to that begin, the index is an operand row (GATHER, SAMPLED) or an accumulator row.
        "inner_count": Field(10, 0, 16),
        "inner_offset": Field(14, 0, 16),
        "bank": Field(10, 16, 4),
        "row_bank": Field(10, 28, 4),  # SAMPLED: bank of the operand of the rows, of the other parity than bank
        "mode": Field(10, 20, 2),
        "skip": Field(10, 22, 1),
        "index_size": Field(10, 23, 1),
        "decoder": Field(10, 24, 4),
        **_COLUMNS,
        "inner_size": Field(12, 0, 32),  # an index at or above it is an error
        **_ENTRIES,
    },
    Opcode.DRAIN: {
        **_COMMON,
        "targets": Field(1, 0, 16),
        "address": Field(2, 0, 32),  # of result row 0, column 0
        "row_stride": Field(3, 0, 32),  # bytes from one result row to the next
        **_ROWS,
        # With gate, a result where the operand of the same column is zero becomes +0: for result row row_begin + n the
        # operand of row gate_first + n of bank counts, modulo the rows of a bank.
        "gate_first": Field(10, 0, 16),
        "bank": Field(10, 16, 4),
        "gate": Field(10, 20, 1),
        "relu": Field(10, 21, 1),  # negative results become +0
        "narrow": Field(10, 22, 1),  # results are rounded to operands
        "reduce": Field(10, 23, 1),  # sums of a SAMPLED, over all lanes of the mesh row; an array, no rows and columns
        # With reduce: a bit of each sum is written, at bit e of the array. It is set where the magnitude is the largest
        # of 2 ** block sums; blocks begin at multiples of that, and end where the feeder's entries do.
        "select": Field(10, 24, 1),
        "block": Field(10, 25, 3),
        **_COLUMNS,
        **_ENTRIES,
    },
    # Arrays of the structure engine lie at multiples of a memory beat; only for the format bf16.
    Opcode.UPDATE: {
        **_COMMON,
        "gradient": Field(2, 0, 32),  # address of float32, as those of master and momentum
        "values": Field(4, 0, 32),  # of operands
        "master": Field(7, 0, 32),
        "momentum": Field(8, 0, 32),
        "learning_rate": Field(9, 0, 16),  # bits of a bfloat16
        "momentum_factor": Field(9, 16, 16),
        "stochastic": Field(11, 18, 1),
        "entries": Field(13, 0, 32),
        "seed": Field(14, 0, 32),  # of stochastic rounding, then not 0
    },
    Opcode.REWIRE: {
        **_COMMON,
        "span": Field(1, 0, 32),  # of so many entries of a row the smallest is dropped; in 1 / 65536, at least 65536
        "pointers": Field(2, 0, 32),  # address of indptr[0]; the others are those of entry 0
        "indices": Field(3, 0, 32),
        "values": Field(4, 0, 32),
        "row_begin": Field(5, 0, 32),
        "row_end": Field(6, 0, 32),
        "master": Field(7, 0, 32),
        "momentum": Field(8, 0, 32),
        # Address of a bit for each candidate of each row from row_begin on, as a DRAIN with select writes them. The
        # columns candidate_first, candidate_first + 2 ** candidate_shift, ... are candidates. A row has 16, 32 or a
        # multiple of 64 bits, as few as hold one for each column 0, 2 ** candidate_shift, ... that may grow.
        "candidates": Field(9, 0, 32),
        "candidate_first": Field(10, 0, 4),  # below 2 ** candidate_shift
        "candidate_shift": Field(10, 4, 2),
        "index_size": Field(10, 23, 1),
        "random": Field(11, 16, 1),  # grow columns that are drawn, instead of candidates
        "inner_size": Field(12, 0, 32),  # an index at or above it is an error
        "protected_from": Field(13, 0, 32),  # columns from it on are never dropped nor grown
        "seed": Field(14, 0, 32),  # of the draws; with random not 0
    },
    Opcode.PRUNE: {
        **_COMMON,
        "shift": Field(1, 0, 32),  # bytes from where an array is read to where it is written, modulo 2 ** 32
        "pointers": Field(2, 0, 32),  # address of indptr[0], which is 0; the others are those of entry 0
        "indices": Field(3, 0, 32),
        "values": Field(4, 0, 32),
        "row_end": Field(6, 0, 32),  # rows of the layer
        "master": Field(7, 0, 32),
        "momentum": Field(8, 0, 32),
        "index_size": Field(10, 23, 1),
        "layer_drop": Field(11, 0, 32),  # entries that the layer loses
        "inner_size": Field(12, 0, 32),  # an index at or above it is an error
        "protected_from": Field(13, 0, 32),  # entries of columns from it on are never dropped
    },
    # A SURVEY and a MERGE of row 0 begin a layer; each other goes on behind the rows of the one before. A layer is
    # surveyed whole before it is merged.
    Opcode.SURVEY: {
        **_COMMON,
        "pointers": Field(2, 0, 32),
        "indices": Field(3, 0, 32),
        "grow": Field(4, 0, 32),  # entries that the layer gets; that of row 0 counts
        "row_begin": Field(5, 0, 32),
        "row_end": Field(6, 0, 32),
        "candidates": Field(9, 0, 32),
        "index_size": Field(10, 23, 1),
        "random": Field(11, 16, 1),
        "inner_size": Field(12, 0, 32),
        "protected_from": Field(13, 0, 32),
        "seed": Field(14, 0, 32),
        "candidate_stride": Field(15, 0, 32),
    },
    Opcode.MERGE: {
        **_COMMON,
        "shift": Field(1, 0, 32),
        "pointers": Field(2, 0, 32),
        "indices": Field(3, 0, 32),
        "values": Field(4, 0, 32),
        "row_begin": Field(5, 0, 32),
        "row_end": Field(6, 0, 32),
        "master": Field(7, 0, 32),
        "momentum": Field(8, 0, 32),
        "candidates": Field(9, 0, 32),
        "index_size": Field(10, 23, 1),
        "random": Field(11, 16, 1),
        "inner_size": Field(12, 0, 32),
        "protected_from": Field(13, 0, 32),
        "seed": Field(14, 0, 32),
        "candidate_stride": Field(15, 0, 32),
    },
}


def candidate_row_bits(count: int) -> int:
    """Bits that a row of so many candidates has in memory."""
    if 0 < count <= 2 * CANDIDATE_PART:
        return CANDIDATE_PART if count <= CANDIDATE_PART else 2 * CANDIDATE_PART
    return -(-count // CANDIDATE_WORD) * CANDIDATE_WORD


def encode_command(opcode: Opcode, **values: int) -> list[int]:
    """The 16 words of a command.

    Parameters
    ----------
    opcode : Opcode
    **values : int
        Fields by name. Fields left out are 0, ``semaphore`` ``NO_SEMAPHORE``.

    Raises
    ------
    ValueError
        If a field does not belong to the command or does not fit.
    """
    fields = COMMAND_FIELDS[opcode]
    values = {"semaphore": NO_SEMAPHORE, **values, "opcode": int(opcode), "version": VERSION}
    words = [0] * COMMAND_WORDS
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"command {opcode.name} has no field {name!r}")
        place = fields[name]
        if not 0 <= value < 1 << place.width:
            raise ValueError(f"{name} of command {opcode.name} must fit {place.width} bits, not {value!r}")
        words[place.word] |= int(value) << place.low
    return words


def decode_command(words: list[int]) -> tuple[Opcode, dict[str, int]]:
    """The opcode and the fields of a command; the inverse of ``encode_command``.

    Raises
    ------
    ValueError
        If the opcode or the version is unknown, or a bit outside the fields is set.
    """
    if len(words) != COMMAND_WORDS:
        raise ValueError(f"a command has {COMMAND_WORDS} words, not {len(words)!r}")
    number = words[0] & 0xFF
    if number not in set(Opcode):
        raise ValueError(f"unknown opcode {number:#04x}")
    opcode = Opcode(number)
    values = {}
    rest = [int(word) for word in words]
    for name, place in COMMAND_FIELDS[opcode].items():
        values[name] = (int(words[place.word]) >> place.low) & ((1 << place.width) - 1)
        rest[place.word] &= ~(((1 << place.width) - 1) << place.low)
    if values["version"] != VERSION:
        raise ValueError(f"program format version must be {VERSION}, not {values['version']!r}")
    if any(rest):
        raise ValueError(f"command {opcode.name} has bits set outside its fields: {[f'{word:#x}' for word in rest]}")
    return opcode, values


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


class ErrorCode(enum.IntEnum):
    """What ended a program early; the first is kept in ``Register.ERROR_CODE``."""

    NONE = 0
    ILLEGAL_COMMAND = 1
    """Unknown opcode or version; address of the command."""
    READ_RESPONSE = 2
    """A read was answered SLVERR or DECERR; address of the burst."""
    WRITE_RESPONSE = 3
    """A write was answered SLVERR or DECERR; address of the burst."""
    WINDOW = 4
    """An access outside the windows was refused; address of the burst."""
    POINTER_ORDER = 5
    """A row pointer is below the one before it; row, and the pointer as index."""
    POINTER_RANGE = 6
    """A row pointer is above the number of entries (in a PRUNE above the last one, or the first one is not 0); row, and
    the pointer as index."""
    INDEX_RANGE = 7
    """A column index is at or above the inner size; row and index."""
    MISALIGNED = 8
    """A base address or stride is not aligned as the command requires; the address."""
    WATCHDOG = 9
    """Nothing moved on the memory port, and no command ended, for the programmed number of cycles."""
    ABORTED = 10
    """The host asked for it."""
    COMMAND_RANGE = 11
    """A field of a command is too large for this configuration; address of the command or data."""


class Register(enum.IntEnum):
    """Byte offsets of the 32-bit host registers."""

    IDENTIFIER = 0x000
    VERSION = 0x004
    CONFIG_DIGEST = 0x008
    """First 8 hexadecimal digits of ``FabricConfig.digest``."""
    GEOMETRY = 0x00C
    """rows [0:8], cols [8:16], lanes of a tile [16:24], slots [24:32]."""
    CONTROL = 0x010
    """Write: bit 0 starts the program, bit 1 aborts it."""
    STATUS = 0x014
    """bit 0 busy, bit 1 done, bit 2 error."""
    INTERRUPT_ENABLE = 0x018
    """bit 0: interrupt when a program ends (done or error)."""
    INTERRUPT_STATUS = 0x01C
    """bit 0: a program ended; write 1 to clear."""
    PROGRAM_ADDRESS = 0x020
    """Byte address of the first command, aligned to 64."""
    PROGRAM_LENGTH = 0x024
    """Commands that may be read; running past them is ILLEGAL_COMMAND."""
    WATCHDOG = 0x028
    """Cycles without progress before the watchdog ends the program; 0 turns it off."""
    CYCLES_LOW = 0x030
    CYCLES_HIGH = 0x034
    """Cycles of the latest program, from its first fetch to its END."""
    COUNTER_SELECT = 0x038
    """index [0:8], x [8:12], y [12:16] of the counter to read."""
    COUNTER_VALUE = 0x03C
    """The selected counter."""
    ERROR_CODE = 0x040
    ERROR_ADDRESS = 0x044
    ERROR_ROW = 0x048
    ERROR_INDEX = 0x04C
    ERROR_SOURCE = 0x050
    """x [0:4], y [4:8] of the node that reported it."""
    WINDOW_BASE_0 = 0x060
    """Window n (0 to 3): base at 0x060 + 16 n, limit (last byte address inside) 4 above it, rights 8 above it:
    bit 0 may be read, bit 1 may be written. All windows are closed after reset."""
    WINDOW_LIMIT_0 = 0x064
    WINDOW_RIGHTS_0 = 0x068


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
    OVERFLOW = 7
    """Sticky: 1 when an accumulator of this lane has wrapped (integer formats) in this program."""


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
