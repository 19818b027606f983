"""What a row feeder must do, in plain Python, and commands and matrices to try it with."""

import itertools
import math
import random

import numpy as np
from amaranth.utils import exact_log2

from acf.golden.rewiring import select_largest
from acf.isa import (
    BLOCK,
    DECODED_COLUMNS,
    LARGEST_BLOCK,
    LARGEST_GROUP,
    NO_SEMAPHORE,
    Decoder,
    IndexSize,
    Mode,
    Ranges,
    bitmap_row_bytes,
    pattern_fields,
    pattern_row_entries,
    place_bits,
)
from acf.tb.runner import bench_config

__all__ = [
    "ACCUMULATORS",
    "BEAT",
    "CONFIG",
    "OPERANDS",
    "PATTERNS",
    "RESULTS",
    "SIZE",
    "Matrix",
    "T",
    "drain_order",
    "golden_drain",
    "golden_rows",
    "golden_stream",
    "packets",
    "random_drain",
    "random_matrix",
    "random_stream",
    "whole_stream",
]

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
SIZE = CONFIG.lane.number_format.operand_bytes
T = CONFIG.tile_columns
ACCUMULATORS = CONFIG.lane.accumulator_rows
OPERANDS = CONFIG.lane.operand_rows
RESULTS = 0x800000  # results lie above all matrices
ARRAYS = 0x400000
PATTERNS = [(1 << n, 1 << m) for m in range(1, exact_log2(LARGEST_GROUP) + 1) for n in range(m)]


def is_zero(value):
    """Whether an operand is zero, of either sign."""
    return value & 0x7FFF == 0 if CONFIG.lane.number_format.narrows else value == 0


def golden_rows(command, *, feeder):
    """Rows that a row feeder takes."""
    rows = (
        command["row_begin"] + feeder * command["row_offset"] + n * command["row_step"]
        for n in range(command["row_limit"])
    )
    return [row for row in rows if row < command["row_end"]]


def golden_stream(command, matrix, *, feeder, remembered):
    """Entries of each accumulator in order, as (value or row, operand row); how many were zeros and passed over.

    ``remembered`` is the table of the feeder, by place: modulo 2^16 where the entries inside begin, and how many there
    are up to the last one.
    """
    entries, zeros, filtered = {}, 0, 0
    mode, first = command["mode"], command["accumulator_first"]
    begin, count = command["inner_begin"] + feeder * command["inner_offset"], command["inner_count"]
    window = command["entry_begin"] + feeder * command["entry_count"]
    for n, row in enumerate(golden_rows(command, feeder=feeder)):
        looked_at, inside = False, []
        known_first, known_count = remembered.get(command["range_first"] + n, (0, 0))
        known_first = matrix.begin(row) + (known_first - matrix.begin(row)) % 0x10000
        for place, (index, value) in enumerate(matrix.row(row), matrix.begin(row)):
            inner = index - begin
            if command["ranges"] == Ranges.USE and not 0 <= place - known_first < known_count:
                continue
            if mode == Mode.SAMPLED and not 0 <= place - window < command["entry_count"]:
                continue
            if matrix.pattern is not None:  # of groups that do not meet the inner range nothing is read
                m = matrix.pattern[1]
                if not begin // m <= index // m < -(-(begin + count) // m):
                    continue
            looked_at = True
            if 0 <= inner < count:
                inside.append(place)
            if not 0 <= inner < count:
                filtered += command["decoder"] != Decoder.DENSE
            elif mode == Mode.SAMPLED:
                number = first * CONFIG.lane.slots + place - window
                entries.setdefault(number, []).append((command["row_operand_first"] + n, inner))
            elif command["skip"] and is_zero(value):
                zeros += 1
            elif mode == Mode.SCATTER:
                entries.setdefault(first + inner, []).append((value, command["row_operand_first"] + n))
            else:
                entries.setdefault(first + n, []).append((value, inner))
        if command["ranges"] == Ranges.RECORD and looked_at:
            known = (inside[0] % 0x10000, inside[-1] - inside[0] + 1) if inside else (0, 0)
            remembered[command["range_first"] + n] = known
    return entries, zeros, filtered


def entries_here(command, *, feeder):
    """First entry of a feeder, and how many it has."""
    begin = command["entry_begin"] + feeder * command["entry_count"]
    return begin, min(command["entry_count"], max(0, command["entries"] - begin))


def packets(command, *, feeder):
    """Packets that the tiles of a row send for a DRAIN."""
    if command["reduce"]:
        return math.ceil(entries_here(command, feeder=feeder)[1] / T)
    return len(golden_rows(command, feeder=feeder)) * CONFIG.cols


def drain_order(command, *, feeder):
    """What the tiles are told of a DRAIN."""
    rows = len(golden_rows(command, feeder=feeder))
    return {
        "first": command["accumulator_first"],
        "more": (packets(command, feeder=feeder) * CONFIG.lanes if command["reduce"] else rows) - 1,
        "reduce": command["reduce"],
        "narrow": command["narrow"],
        "lower": int(not command["reduce"] and command["tile_columns"] <= T // 2 and T // 2 * SIZE % BEAT == 0),
        "gate": command["gate"],
        "gate_bank": command["bank"],
        "gate_row": command["gate_first"] + feeder * command["row_offset"] & 0xFFF,
        "gate_step": command["row_step"] & 0x3F,
    }


def golden_drain(command, results, *, feeder):
    """Bytes that a DRAIN writes: address and content. ``results(column, number)`` gives a packet of a tile."""
    if command["reduce"]:
        begin, count = entries_here(command, feeder=feeder)
        if command["select"]:
            sums = [value for packet in range(packets(command, feeder=feeder)) for value in results(0, packet)][:count]
            numbers = np.array(sums, dtype=np.uint32).view(np.float32)
            bits = select_largest(numbers, first=begin, block=1 << command["block"])
            yield command["address"] + begin // 8, np.packbits(bits, bitorder="little").tobytes()
            return
        for packet in range(packets(command, feeder=feeder)):
            sums = results(0, packet)[: count - packet * T]
            content = b"".join(value.to_bytes(4, "little") for value in sums)
            yield command["address"] + 4 * (begin + packet * T), content
        return
    size = SIZE if command["narrow"] else 4
    for n, row in enumerate(golden_rows(command, feeder=feeder)):
        for column in range(CONFIG.cols):
            before = column * command["tile_columns"]
            valid = min(max(command["columns"] - before, 0), command["tile_columns"])
            values = results(column, command["accumulator_first"] + n)[:valid]
            content = b"".join(_finish(value, command) for value in values)
            yield command["address"] + row * command["row_stride"] + before * size, content


def _finish(value, command):
    """An accumulator behind the ReLU and the rounding."""
    if command["relu"] and value >> 31:
        value = 0
    if not command["narrow"]:
        return value.to_bytes(4, "little")
    return ((value + 0x7FFF + (value >> 16 & 1)) >> 16).to_bytes(2, "little")


class Matrix:
    """A matrix in memory: CSR, N:M or blocks with unsorted, doubled and zero entries; dense; a bitmap with zeros.

    Of blocks every fourth of the ``lengths`` counts, for as many blocks in four rows.
    """

    def __init__(self, *, lengths, inner_size, wide=True, decoder=Decoder.CSR, zeros=0.2, pattern=None):
        self.rows = len(lengths)
        if decoder == Decoder.BLOCKS:
            wide, inner_size, lengths = False, -(-inner_size // BLOCK) * BLOCK, lengths[::BLOCK]
        self.decoder, self.wide, self.inner_size = decoder, wide, inner_size
        if decoder == Decoder.N_OF_M and pattern is None:
            pattern = random.choice(PATTERNS)
        self.pattern = pattern
        most = inner_size if decoder == Decoder.BITMAP else max(lengths, default=0)
        if decoder == Decoder.DENSE:
            lengths = [inner_size] * len(lengths)
        elif pattern is not None:
            lengths = [pattern_row_entries(inner_size, *pattern)] * len(lengths)
        else:
            lengths = [min(length, most) for length in lengths]
        self.pointers = [0, *itertools.accumulate(lengths)]
        entries = self.pointers[-1]
        self.indices = [random.randrange(inner_size) for _ in range(entries)]
        if decoder == Decoder.BITMAP:
            self.indices = [index for length in lengths for index in sorted(random.sample(range(inner_size), length))]
        if pattern is not None:
            n, m = pattern
            begins = [place // n * m for length in lengths for place in range(length)]
            self.indices = [random.randrange(begin, min(begin + m, inner_size)) for begin in begins]
        elements = entries
        if decoder == Decoder.BLOCKS:
            elements = entries * BLOCK**2
            self.indices = [index // BLOCK for index in self.indices]
        self.values = [0 if random.random() < zeros else random.getrandbits(8 * SIZE) for _ in range(elements)]
        if CONFIG.lane.number_format.narrows:
            self.values = [random.choice([0, 0x8000]) if value == 0 else value for value in self.values]
        self.ones = []
        if decoder == Decoder.BITMAP:
            self.ones = [[index for index, _ in self.row(row)] for row in range(self.rows)]
        # Bases aligned to elements and no more, a little before a 4 KiB border.
        width = {Decoder.BITMAP: BEAT, Decoder.N_OF_M: 1}.get(decoder, 4 if wide else 2)
        self.bases = {
            "pointers": ARRAYS + 0x2000 - 4 * random.randrange(40),
            "indices": ARRAYS + 0x102000 - width * random.randrange(80),
            "values": ARRAYS + 0x202000 - SIZE * random.randrange(80),
        }

    @property
    def has_indices(self):
        """Whether there is an index for each entry, or for each block."""
        return self.decoder in (Decoder.CSR, Decoder.BLOCKS)

    def arrays(self):
        """Address and bytes of each array."""
        arrays = [("values", SIZE, self.values)]
        if self.has_indices or self.decoder == Decoder.BITMAP:
            arrays.append(("pointers", 4, self.pointers))
        if self.has_indices:
            arrays.append(("indices", 4 if self.wide else 2, self.indices))
        for name, width, numbers in arrays:
            yield self.bases[name], b"".join(number.to_bytes(width, "little") for number in numbers)
        if self.decoder == Decoder.BITMAP:
            yield self.bases["indices"], self.bits()
        if self.pattern is not None:
            yield self.bases["indices"], self.places(self.pattern[1])

    def places(self, m):
        """Places in groups of ``m``, lowest bits first; the highest bit of a place in a group of 8 means nothing."""
        width, bits = place_bits(m), 0
        for number, index in enumerate(self.indices):
            noise = random.getrandbits(width) // m * m
            bits |= (index % m | noise) << number * width
        return bits.to_bytes(-(-len(self.indices) * width // 8), "little")

    def bits(self):
        """The bitmap. Ones behind the last column mean nothing, nor do those of rows without entries."""
        pitch = bitmap_row_bytes(self.inner_size, beat_bytes=BEAT)
        content = b""
        for ones in self.ones:
            noise = random.getrandbits(8 * pitch)
            bits = sum(1 << one for one in ones) | noise >> self.inner_size << self.inner_size
            content += (bits if ones else noise).to_bytes(pitch, "little")
        return content

    def begin(self, row):
        """The place of the first entry of a row, in blocks as columns of blocks count."""
        return BLOCK * self.pointers[row // BLOCK] if self.decoder == Decoder.BLOCKS else self.pointers[row]

    def row(self, row):
        """Index and value of the entries of a row."""
        if self.decoder == Decoder.BLOCKS:
            plane = row % BLOCK * BLOCK * self.pointers[-1]
            places = range(self.begin(row), BLOCK * self.pointers[row // BLOCK + 1])
            return [(self.indices[p // BLOCK] * BLOCK + p % BLOCK, self.values[plane + p]) for p in places]
        places = range(self.pointers[row], self.pointers[row + 1])
        is_dense = self.decoder == Decoder.DENSE
        return [
            (place - self.pointers[row] if is_dense else self.indices[place], self.values[place]) for place in places
        ]

    def fields(self):
        """The fields of a STREAM that say where it lies."""
        bases = self.bases
        if self.decoder == Decoder.DENSE:
            bases = {"values": self.bases["values"], "pointers": 1, "indices": 1}
        if self.pattern is not None:
            bases = {**bases, "pointers": 1, **pattern_fields(*self.pattern)}
        return {
            **bases,
            "index_size": IndexSize.INT32 if self.wide else IndexSize.UINT16,
            "decoder": self.decoder,
            "inner_size": self.inner_size,
            "entries": len(self.values),
        }


def random_rows(rows):
    """The row fields of a command for a matrix of so many rows."""
    limit = random.choice([0, 1, ACCUMULATORS // 2, ACCUMULATORS, ACCUMULATORS, random.randint(0, ACCUMULATORS)])
    begin = random.choice([0, 0, 0, random.randint(0, rows)])
    return {
        "row_begin": begin,
        "row_end": random.choice([rows, rows, rows, random.randint(0, rows)]),
        "row_offset": random.randint(0, 3),
        "row_step": random.choice([1, 1, CONFIG.rows, random.randint(1, 9)]),
        "row_limit": limit,
        "accumulator_first": random.randint(0, ACCUMULATORS - limit),
    }


def random_columns():
    """The column fields of a command."""
    return {
        "columns": random.choice([0, 1, CONFIG.columns, random.randint(0, CONFIG.columns)]),
        "tile_columns": random.choice([T, BEAT // SIZE * random.randint(1, T * SIZE // BEAT)]),
    }


def random_matrix(**fixed):
    """A matrix of any shape that is worth a test."""
    rows = random.choice([0, 1, 2, *random.choices(range(3, 60), k=5)])
    longest = random.choice([0, 1, 4, 10, 40, 40, 200])
    lengths = [random.choice([0, random.randint(0, longest)]) for _ in range(rows)]
    decoder = fixed.get("decoder", random.choices(list(Decoder), weights=[6, 2, 3, 4, 4])[0])
    inner_sizes = {
        Decoder.CSR: [1, OPERANDS, OPERANDS, 4 * OPERANDS, 60000],
        Decoder.DENSE: [1, random.randint(1, 50)],
        Decoder.BLOCKS: [1, OPERANDS, OPERANDS, 4 * OPERANDS, 60000],
        Decoder.N_OF_M: [1, OPERANDS, 4 * OPERANDS, random.randint(1, 5 * OPERANDS)],
        Decoder.BITMAP: [1, OPERANDS, 4 * OPERANDS, random.randint(1, 5 * OPERANDS), DECODED_COLUMNS // 8],
    }
    inner_size = random.choice(inner_sizes[decoder])
    return Matrix(
        **{"lengths": lengths, "inner_size": inner_size, "wide": random.random() < 0.5, "decoder": decoder, **fixed}
    )


def _random_entry_range(entries, *, words=BEAT // 4):
    """Accumulators and entry range of a SAMPLED: whole rows of all lanes for each feeder, multiples of ``words``."""
    free = random.randrange(ACCUMULATORS // CONFIG.lanes + 1)
    return {
        "accumulator_first": ACCUMULATORS - free * CONFIG.lanes,
        "entry_count": random.choice([free * T, random.randint(0, free * T) // words * words]),
        "entry_begin": random.choice([0, 0, random.randint(0, entries) // words * words]),
    }


def random_stream(matrix, *, mode=None, **fixed):
    """A STREAM of a matrix, of any mode unless one is given."""
    rows = matrix.rows
    modes = {Decoder.BITMAP: [Mode.GATHER], Decoder.BLOCKS: [Mode.GATHER, Mode.SCATTER]}
    mode = random.choice(modes.get(matrix.decoder, [Mode.GATHER, *Mode])) if mode is None else mode
    count = random.choice([0, 1, OPERANDS, OPERANDS, OPERANDS, random.randint(0, OPERANDS)])
    bank = random.randrange(CONFIG.lane.operand_banks)
    command = {
        **matrix.fields(),
        **random_rows(rows),
        **random_columns(),
        "inner_begin": random.choice([0, 0, 0, random.randint(0, matrix.inner_size)]),
        "inner_count": count,
        "inner_offset": random.choice([0, random.randint(0, OPERANDS)]),
        "bank": bank,
        "row_bank": bank ^ 1,
        "entry_begin": random.randrange(100),
        "entry_count": random.randrange(100),
        "skip": random.randrange(2),
        "unit": random.choice([0, random.getrandbits(6)]),
        "mode": mode,
        "semaphore": random.choice([1, 6, NO_SEMAPHORE]),
        "ranges": Ranges.ALL,
        "range_first": random.choice([0, 0, random.randint(0, CONFIG.feeder.ranges - max(ACCUMULATORS, OPERANDS))]),
    }
    if mode == Mode.SCATTER:
        command["inner_count"] = random.randint(0, ACCUMULATORS - command["accumulator_first"])
    if mode == Mode.SAMPLED:
        command.update(_random_entry_range(command["entries"]), row_limit=random.randint(0, OPERANDS))
    room = OPERANDS - command["row_limit"] if mode != Mode.GATHER else OPERANDS
    command["row_operand_first"] = random.choice([0, random.randint(0, max(0, room))])
    return {**command, **fixed}


def random_drain(**fixed):
    """A DRAIN of rows, or of sums where ``reduce`` is given."""
    command = {
        **random_rows(random.randint(0, 40)),
        **random_columns(),
        # tile_columns * 4 is a whole number of beats whenever tile_columns operands are.
        "address": RESULTS + random.choice([BEAT * random.randrange(512), 4096 - BEAT]),
        "row_stride": random.choice([CONFIG.columns * 4, 4096, 4096 + BEAT, BEAT * random.randint(200, 600)]),
        "gate": random.randrange(2),
        "gate_first": random.randrange(OPERANDS),
        "bank": random.randrange(CONFIG.lane.operand_banks),
        "relu": random.randrange(2),
        "narrow": random.randrange(2) if CONFIG.lane.number_format.narrows else 0,
        "reduce": 0,
        "select": 0,
        "block": random.randrange(LARGEST_BLOCK + 1),
        "entries": 0,
        "entry_begin": 0,
        "entry_count": 0,
        "semaphore": random.choice([2, 7, NO_SEMAPHORE]),
    }
    if fixed.get("reduce"):
        select = random.randrange(2) if CONFIG.lane.number_format.narrows else 0
        ranges = _random_entry_range(500, words=8) if select else _random_entry_range(500)
        command.update(ranges, entries=random.randrange(500), gate=0, relu=0, narrow=0, select=select)
    return {**command, **fixed}


def whole_stream(matrix, **fields):
    """A gather of all rows of a matrix."""
    rows = {"row_begin": 0, "row_end": matrix.rows, "row_offset": 0, "row_step": 1, "row_limit": 8}
    inner = {"inner_begin": 0, "inner_offset": 0, "inner_count": OPERANDS, "accumulator_first": 0}
    return random_stream(matrix, **{"mode": Mode.GATHER, **rows, **inner, **fields})
