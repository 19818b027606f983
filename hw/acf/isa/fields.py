"""Where the fields of each command stand."""

from dataclasses import dataclass

from acf.isa.opcodes import Opcode
from acf.isa.unit import UNIT_BITS

__all__ = ["COMMAND_FIELDS", "Field"]


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
    "tile_columns": Field(11, 16, 10),
}
# Which entries of W a row feeder r takes by their place in memory (SAMPLED, and a DRAIN of its sums): entry_begin +
# r * entry_count and entry_count - 1 more, as far as they are below entries. The first of them uses accumulator
# accumulator_first * slots of every lane, the next one the next.
_ENTRIES = {
    "entries": Field(
        13, 0, 32
    ),  # entries of W, of BLOCKS all their elements; a row pointer above it, in blocks, is an error
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
        # What a row feeder remembers of its n-th row, in place range_first + n of its table: which entries of the row
        # are inside its inner range.
        "ranges": Field(0, 12, 2),
        "range_first": Field(0, 14, 14),
        "targets": Field(1, 0, 16),
        # SCATTER, SAMPLED: operand row, of bank or of row_bank, that belongs to the first row.
        "row_operand_first": Field(1, 16, 12),
        # N_OF_M: 2 ** kept entries in each 2 ** (group + 1) columns.
        "kept": Field(1, 28, 2),
        "group": Field(1, 30, 2),
        "pointers": Field(2, 0, 32),  # address of indptr[0]
        "indices": Field(3, 0, 32),  # address of indices[0], of the bits of row 0, or of the places
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
        # The last bit of an accumulator weighs 2 ** unit_exponent(unit), also for the DRAINs behind it (format bf16x).
        "unit": Field(11, 26, UNIT_BITS),
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
