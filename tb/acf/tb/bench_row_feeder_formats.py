"""The row feeder against plain Python: formats of weights, and ranges of rows that are remembered."""

import random

import cocotb

from acf.isa import (
    BLOCK,
    Decoder,
    Mode,
    Opcode,
    Ranges,
    place_bits,
)
from acf.tb.row_feeder_driver import RowFeederBench, one_stream
from acf.tb.row_feeder_model import (
    ACCUMULATORS,
    BEAT,
    CONFIG,
    OPERANDS,
    PATTERNS,
    SIZE,
    Matrix,
    T,
    random_matrix,
    random_stream,
    whole_stream,
)
from acf.tb.runner import rounds
from acf.tb.stream import start_clock


@cocotb.test()
async def remembered_ranges_are_read_alone(dut):
    """A STREAM that uses what another recorded sends the same entries, and reads only beats that hold some of them."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    for mode, latency in ((mode, latency) for mode in Mode for latency in (0, 30)):
        bench.memory.read.latency = latency
        # Eight beats of indices a row, of which one or two are inside.
        length = 8 * BEAT // 2
        matrix = random_matrix(lengths=[length] * 8, inner_size=8 * OPERANDS, decoder=Decoder.CSR, wide=False, zeros=0)
        matrix.indices = [index for _ in range(8) for index in sorted(random.choices(range(8 * OPERANDS), k=length))]
        bench.place(matrix)
        fields = {
            "mode": mode,
            "row_offset": 0,
            "inner_begin": random.randrange(7 * OPERANDS),
            "inner_count": min(OPERANDS, ACCUMULATORS),
            "entry_begin": 0,
            "entry_count": ACCUMULATORS // CONFIG.lanes * T,
            "range_first": random.randint(0, CONFIG.feeder.ranges - 8),
            "row_operand_first": 0,
        }
        beats = {}
        for ranges in (Ranges.RECORD, Ranges.USE, Ranges.ALL):
            before = bench.memory.read.beats_read
            command = whole_stream(matrix, **fields, ranges=ranges)
            bench.send(Opcode.STREAM, command)
            sent, _, filtered = bench.check_stream(await bench.finish(1), command, matrix)
            beats[ranges] = bench.memory.read.beats_read - before
            if ranges == Ranges.USE:
                assert filtered == 0
                needed = sent * (2 if mode == Mode.SAMPLED else 2 + SIZE) / BEAT
                assert beats[ranges] < needed + 8 * 4 + 8, f"{mode.name}: {beats[ranges]} beats for {needed} of entries"
        assert beats[Ranges.RECORD] == beats[Ranges.ALL] > beats[Ranges.USE], f"{mode.name}: {beats}"


@cocotb.test()
async def bitmaps(dut):
    """Rows without entries and full ones, of any width, in inner tiles; an index a cycle from as many ones as words."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    rows, word = 8, 32
    for width in (1, word - 1, word, word + 1, 8 * BEAT, 8 * BEAT + 1, 3 * OPERANDS, random.randint(2, 5000)):
        lengths = [random.choice([0, 1, width, random.randint(0, width)]) for _ in range(rows)]
        lengths = [min(length, 300) for length in lengths]
        matrix = Matrix(lengths=lengths, inner_size=width, decoder=Decoder.BITMAP)
        begin = random.choice([0, random.randrange(width), width + random.randint(0, 99)])
        bench.memory.read.latency, bench.chance = random.choice([(30, 1.0), (3, 0.5)])
        part = {"inner_begin": begin, "inner_count": random.randint(0, OPERANDS), "range_first": 3}
        for ranges in (Ranges.RECORD, Ranges.USE):
            await one_stream(bench, matrix, whole_stream(matrix, **part, ranges=ranges))
    bench.chance, bench.memory.read.latency = 1.0, 0
    for spread, cost in ((1, 1.1), (word, 1.1), (4 * word, 4.4)):
        matrix = Matrix(lengths=[0] * rows, inner_size=64 * spread, decoder=Decoder.BITMAP)
        matrix.pointers = [64 * row for row in range(rows + 1)]
        matrix.indices = [spread * place for _ in range(rows) for place in range(64)]
        matrix.ones = [[spread * place for place in range(64)]] * rows
        matrix.values = [1] * len(matrix.indices)
        command = whole_stream(matrix, inner_count=OPERANDS, skip=0)
        _, cycles = await one_stream(bench, matrix, command)
        beats = len(matrix.indices) * SIZE / BEAT + rows * -(-matrix.inner_size // (8 * BEAT))
        dut._log.info(f"a one in {spread} bits: {len(matrix.indices)} entries in {cycles} cycles, {beats:.0f} beats")
        assert cycles <= max(len(matrix.indices) * cost, beats * 2) + 60


@cocotb.test()
async def parts_of_bitmaps_are_read_alone(dut):
    """A STREAM that uses what another recorded reads only beats of the inner range, of bits and of values."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    width, rows = 16 * 8 * BEAT, 8
    matrix = Matrix(lengths=[width // 8] * rows, inner_size=width, decoder=Decoder.BITMAP, zeros=0)
    fields = {"inner_begin": random.randrange(width - OPERANDS), "inner_count": OPERANDS, "range_first": 5}
    beats = {}
    for ranges in (Ranges.RECORD, Ranges.USE):
        before = bench.memory.read.beats_read
        command = whole_stream(matrix, **fields, ranges=ranges)
        sent, _ = await one_stream(bench, matrix, command)
        beats[ranges] = bench.memory.read.beats_read - before
    values = sent * SIZE / BEAT + rows
    assert beats[Ranges.USE] <= values + rows * (OPERANDS / (8 * BEAT) + 1) + rows
    assert beats[Ranges.RECORD] >= 16 * rows + matrix.pointers[-1] * SIZE / BEAT


@cocotb.test()
async def blocks(dut):
    """Rows of a row of blocks in any order and number, blocks anywhere, cut by inner ranges, recorded and used."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    for number in range(rounds(24)):
        rows = random.choice([1, 3, 4, 5, 8, random.randint(1, 30)])
        lengths = [random.choice([0, 1, random.randint(0, 12)]) for _ in range(rows)]
        width = random.choice([1, OPERANDS, 3 * OPERANDS, 60000])
        matrix = Matrix(lengths=lengths, inner_size=width, decoder=Decoder.BLOCKS)
        bench.memory.read.latency, bench.chance = random.choice([(30, 1.0), (3, 0.5)])
        part = {"inner_begin": random.randrange(matrix.inner_size), "inner_count": random.randint(0, OPERANDS)}
        if number % 2:
            await one_stream(bench, matrix, random_stream(matrix, **part, mode=Mode.GATHER))
            part["inner_count"] = ACCUMULATORS // 2
            scatter = {"mode": Mode.SCATTER, "row_operand_first": 0, "accumulator_first": ACCUMULATORS // 2}
            await one_stream(bench, matrix, whole_stream(matrix, **part, **scatter))
        else:
            for ranges in (Ranges.RECORD, Ranges.USE):
                await one_stream(bench, matrix, whole_stream(matrix, **part, ranges=ranges, range_first=7))


@cocotb.test()
async def blocks_are_read_at_full_rate(dut):
    """An entry a cycle of rows in blocks, an index for four of them; a block a cycle where they are passed over."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 0
    rows = 8
    matrix = Matrix(lengths=[16] * rows, inner_size=8 * OPERANDS, decoder=Decoder.BLOCKS, zeros=0)
    matrix.indices = [block for _ in range(rows // BLOCK) for block in range(16)]
    count = 16 * BLOCK * rows
    for begin, inside in ((0, OPERANDS), (0, 64), (4 * OPERANDS, OPERANDS)):
        before = bench.memory.read.beats_read
        command = whole_stream(matrix, inner_begin=begin, inner_count=min(inside, OPERANDS), skip=0)
        entries, cycles = await one_stream(bench, matrix, command)
        beats = bench.memory.read.beats_read - before
        dut._log.info(f"{entries} of {count} entries in {cycles} cycles, {beats} beats")
        assert beats <= count * (SIZE + 2 / BLOCK) / BEAT + 5 * rows
        assert cycles <= max(entries + (count - entries), 2 * beats) * 1.1 + 70


@cocotb.test()
async def groups_of_columns(dut):
    """N of M: every pattern, rows of any width, groups cut by the inner range and by the end of a row, every mode."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    rows = 8
    for pattern in PATTERNS:
        m = pattern[1]
        for width in (1, m - 1, m, m + 1, random.randint(2, 4 * OPERANDS)):
            matrix = Matrix(lengths=[0] * rows, inner_size=width, decoder=Decoder.N_OF_M, pattern=pattern)
            begin = random.choice([0, random.randrange(width), width + random.randint(0, 99), 1 << 16])
            bench.memory.read.latency, bench.chance = random.choice([(30, 1.0), (3, 0.5)])
            part = {"inner_begin": begin, "inner_count": random.randint(0, OPERANDS)}
            await one_stream(bench, matrix, whole_stream(matrix, **part))
            command = random_stream(matrix, inner_begin=random.randrange(width))
            await one_stream(bench, matrix, command)


@cocotb.test()
async def groups_are_read_at_full_rate(dut):
    """N of M: an entry a cycle, and only beats of the inner range."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 0
    rows, width = 8, 8 * OPERANDS
    for pattern in PATTERNS:
        n, m = pattern
        matrix = Matrix(lengths=[0] * rows, inner_size=width, decoder=Decoder.N_OF_M, pattern=pattern, zeros=0)
        begin = random.randrange(width // OPERANDS) * OPERANDS
        before = bench.memory.read.beats_read
        command = whole_stream(matrix, inner_begin=begin, inner_count=OPERANDS, skip=0)
        entries, cycles = await one_stream(bench, matrix, command)
        assert entries == rows * OPERANDS * n // m
        beats = bench.memory.read.beats_read - before
        bits = entries * (8 * SIZE + place_bits(m))
        dut._log.info(f"{n}:{m}: {entries} entries in {cycles} cycles, {beats} beats for {bits / 8 / BEAT:.0f}")
        assert beats <= bits / 8 / BEAT + 4 * rows  # an end of each array in each row
        assert cycles <= max(entries * 1.1, 2.5 * beats) + 70
