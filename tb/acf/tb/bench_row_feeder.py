"""The row feeder against plain Python: entries of a STREAM, memory after a DRAIN, errors, rates."""

import itertools
import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamRead, AxiRamWrite, AxiReadBus, AxiWriteBus

from acf.hw.noc.flit import (
    drain_head,
)
from acf.isa import (
    BLOCK,
    DECODED_COLUMNS,
    GATE_STEPS,
    LARGEST_BLOCK,
    NO_SEMAPHORE,
    Decoder,
    EntryKind,
    ErrorCode,
    FeederCounter,
    IndexSize,
    Mode,
    Opcode,
    Ranges,
    place_bits,
)
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.feeder_link import count_events, flit, read_counter, reports
from acf.tb.row_feeder_driver import RowFeederBench
from acf.tb.row_feeder_model import (
    ACCUMULATORS,
    BEAT,
    CONFIG,
    OPERANDS,
    PATTERNS,
    RESULTS,
    SIZE,
    Matrix,
    T,
    drain_order,
    packets,
    random_drain,
    random_matrix,
    random_stream,
)
from acf.tb.runner import rounds
from acf.tb.stream import pack, start_clock, wait_until


@cocotb.test()
async def random_commands(dut):
    """CLEAR, STREAM and DRAIN in any order, queued, every handshake stalling, answers at any time."""
    bench = RowFeederBench(dut, feeder=random.randrange(CONFIG.rows))
    await start_clock(dut)
    await count_events(dut)
    totals = dict.fromkeys(
        (FeederCounter.ENTRIES, FeederCounter.ZEROS_DROPPED, FeederCounter.FILTERED, FeederCounter.RESULT_ROWS), 0
    )
    for latency, chance in ((1, 1.0), (30, 1.0), (5, 0.6), (25, 0.25)):
        bench.memory.read.latency, bench.chance = latency, chance
        for _ in range(rounds(10)):
            matrix = random_matrix()
            bench.place(matrix)
            commands, latest = [], None
            for _ in range(random.randint(1, 4)):
                opcode = random.choice([Opcode.CLEAR, Opcode.STREAM, Opcode.STREAM, Opcode.DRAIN])
                if opcode == Opcode.STREAM:
                    # Programs use what they recorded of the same rows; elsewhere rows are cut anywhere, which a bitmap
                    # does not take.
                    allowed = {decoder: list(Ranges) for decoder in (Decoder.CSR, Decoder.BLOCKS)}
                    allowed[Decoder.BITMAP] = [Ranges.ALL, Ranges.RECORD]
                    ranges = random.choice(allowed.get(matrix.decoder, [Ranges.ALL]))
                    command = random_stream(matrix, ranges=ranges)
                    if latest is not None and random.random() < 0.4:
                        command = {**latest, "ranges": Ranges.USE}
                    latest = command if ranges == Ranges.RECORD else latest
                elif opcode == Opcode.DRAIN:
                    command = random_drain(reduce=int(random.random() < 0.4))
                else:
                    limit = random.randint(0, ACCUMULATORS)
                    command = {
                        "row_limit": limit,
                        "accumulator_first": random.randint(0, ACCUMULATORS - limit),
                        "semaphore": random.choice([0, 3, NO_SEMAPHORE]),
                    }
                commands.append((opcode, command))
                bench.send(opcode, command)
            drains = [command for opcode, command in commands if opcode == Opcode.DRAIN]
            signals = len(commands) - sum(not packets(command, feeder=bench.feeder) for command in drains)
            memory = {}
            flits = await bench.finish(signals)
            bench.memory.write.written_beats, beats = [], bench.memory.write.written_beats
            for opcode, command in commands:
                if opcode == Opcode.STREAM:
                    sums = bench.check_stream(flits, command, matrix)
                    for counter, amount in zip(totals, sums, strict=False):
                        totals[counter] += amount
                elif opcode == Opcode.DRAIN:
                    totals[FeederCounter.RESULT_ROWS] += bench.check_drain(flits, command, memory)
                else:
                    if command["row_limit"]:
                        order = {"first": command["accumulator_first"], "more": command["row_limit"] - 1}
                        assert flits.pop(0) == (EntryKind.CLEAR, order)
                    assert flits.pop(0) == (EntryKind.SIGNAL, {"semaphore": command["semaphore"]})
            assert not flits
            assert not bench.drained
            # Exactly these bytes were written, and they hold the results.
            touched = {address + n for address, _, strobes in beats for n in range(BEAT) if strobes >> n & 1}
            assert touched == set(memory)
            assert all(bench.memory.peek(address, 1)[0] == byte for address, byte in memory.items())
            done = [("DONE", command["semaphore"]) for command in drains if command["semaphore"] != NO_SEMAPHORE]
            assert reports(bench.reports.received) == done
            bench.reports.received.clear()
    for counter, total in totals.items():
        assert await read_counter(dut, counter, y=bench.y, x=0) == total, f"{counter.name}"
        assert await read_counter(dut, counter, y=bench.y, x=1) == 0
    assert await read_counter(dut, FeederCounter.OPERAND_ROWS, y=bench.y, x=0) == 0


@cocotb.test()
async def a_stream_passes_a_drain(dut):
    """While a drain waits for its results, the next STREAM is sent; DONE comes after the last answer of memory."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    bench.memory.write.held = True
    matrix = random_matrix(lengths=[9] * 8, inner_size=OPERANDS, decoder=Decoder.CSR)
    bench.place(matrix)
    rows = {"row_begin": 0, "row_end": 8, "row_offset": 0, "row_step": 1, "row_limit": 8, "accumulator_first": 0}
    drain = random_drain(semaphore=2, columns=CONFIG.columns, tile_columns=T, gate=0, narrow=0, **rows)
    stream = random_stream(matrix, semaphore=1, **rows)
    bench.answers = False
    bench.send(Opcode.DRAIN, drain)
    bench.send(Opcode.STREAM, stream)
    flits = await bench.finish(2)
    assert flits.pop(0) == (EntryKind.DRAIN, drain_order(drain, feeder=0))
    bench.check_stream(flits, stream, matrix)

    bench.answers = True
    bench._on_entry(flit(pack(drain_head, kind=EntryKind.DRAIN, first=0, more=7)))
    for _ in range(2000):
        await RisingEdge(dut.clk)
    assert len(bench.memory.write.writes) == CONFIG.feeder.outstanding, (
        "bursts wait for answers, but several may be open"
    )
    assert not bench.reports.received
    bench.memory.write.held = False
    await bench.reports.wait_for(1)
    assert reports(bench.reports.received) == [("DONE", 2)]
    assert not bench.memory.write.busy

    bench.memory.write.held = True
    bench.send(Opcode.DRAIN, {**drain, "row_limit": 1})
    await ClockCycles(dut.clk, 300)
    assert len(bench.reports.received) == 1, "DONE before memory has answered"
    bench.memory.write.held = False
    await bench.reports.wait_for(2)


@cocotb.test()
async def tiles_hear_of_sums_ahead(dut):
    """While the sums of one DRAIN come in, tiles hear of one more DRAIN of sums; of rows only when all are written."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    common = {"accumulator_first": 0, "columns": CONFIG.columns, "tile_columns": T, "gate": 0, "narrow": 0}
    rows = {"row_begin": 0, "row_end": 4, "row_offset": 0, "row_step": 1, "row_limit": 4}
    sums = {"select": 0, "entries": 4 * T, "entry_begin": 0, "entry_count": 2 * T}
    for kinds, heard in ((1, 1, 1), 2), ((1, 0, 1), 1), ((0, 1), 1), ((1, 1, 0), 2):
        drains = [
            random_drain(**common, **({"reduce": 1, **sums} if reduce else rows), semaphore=number)
            for number, reduce in enumerate(kinds)
        ]
        bench.answers = False
        for drain in drains:
            bench.send(Opcode.DRAIN, drain)
        await ClockCycles(dut.clk, 300)
        orders = [drain_order(drain, feeder=0) for drain in drains[:heard]]
        assert bench.take_entries() == [(EntryKind.DRAIN, order) for order in orders]
        bench.answers = True
        for order in orders:
            bench._on_entry(flit(pack(drain_head, kind=EntryKind.DRAIN, **order)))
        await bench.reports.wait_for(len(drains))
        assert reports(bench.reports.received) == [("DONE", number) for number in range(len(drains))]
        bench.reports.received.clear()
        bench.take_entries()
        bench.drained.clear()
        bench.signals = 0


def whole_stream(matrix, **fields):
    """A gather of all rows of a matrix."""
    rows = {"row_begin": 0, "row_end": matrix.rows, "row_offset": 0, "row_step": 1, "row_limit": 8}
    inner = {"inner_begin": 0, "inner_offset": 0, "inner_count": OPERANDS, "accumulator_first": 0}
    return random_stream(matrix, **{"mode": Mode.GATHER, **rows, **inner, **fields})


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


@cocotb.test()
async def rows_are_found_ahead(dut):
    """Behind a STREAM and a DRAIN the next STREAM waits for its entries only, not for row pointers."""
    latency = 60
    bench = RowFeederBench(dut)
    bench.memory.read.latency = latency
    await start_clock(dut)
    matrix = random_matrix(lengths=[16] * 8, inner_size=OPERANDS, decoder=Decoder.CSR, zeros=0)
    bench.place(matrix)
    rows = {"row_begin": 0, "row_end": 8, "row_offset": 0, "row_step": 1, "row_limit": 1, "accumulator_first": 0}
    drain = random_drain(columns=CONFIG.columns, tile_columns=T, gate=0, **rows)
    commands = [whole_stream(matrix, skip=1), drain, whole_stream(matrix, skip=0)]
    for opcode, command in zip((Opcode.STREAM, Opcode.DRAIN, Opcode.STREAM), commands, strict=True):
        bench.send(opcode, command)
    await wait_until(dut, lambda: bench.signals >= 3, cycles=5000, pending=lambda: f"{bench.signals} signals")
    cycles = list(bench.entries.cycles)
    flits = bench.take_entries()
    kinds = [kind for kind, _ in flits]
    setup = kinds.index(EntryKind.SETUP, 1)
    assert kinds[setup - 2 : setup + 2] == [EntryKind.SIGNAL, EntryKind.DRAIN, EntryKind.SETUP, EntryKind.ENTRY]
    gaps = [cycles[place + 1] - cycles[place] for place in (0, setup)]
    assert cycles[setup] - cycles[setup - 2] < 20, "SETUP waits for what could have been done before"
    assert latency < gaps[1] < latency + 25, f"{gaps} cycles from SETUP to the first entry, {latency} of memory"


@cocotb.test()
async def entries_are_read_ahead(dut):
    """While the entries of a STREAM wait to be taken, those of the next one are read."""
    latency = 60
    bench = RowFeederBench(dut)
    bench.memory.read.latency = latency
    await start_clock(dut)
    period = 8
    turns = itertools.count()
    bench.entries.use = lambda: next(turns) % period == 0
    matrix = random_matrix(lengths=[8] * 8, inner_size=OPERANDS, decoder=Decoder.CSR, zeros=0)
    bench.place(matrix)
    streams = 4
    for _ in range(streams):
        bench.send(Opcode.STREAM, whole_stream(matrix, skip=0))
    await wait_until(dut, lambda: bench.signals >= streams, cycles=9999, pending=lambda: f"{bench.signals} signals")
    cycles = list(bench.entries.cycles)
    kinds = [kind for kind, _ in bench.take_entries()]
    setups = [place for place, kind in enumerate(kinds) if kind == EntryKind.SETUP]
    gaps = [cycles[place + 1] - cycles[place] for place in setups if kinds[place + 1] == EntryKind.ENTRY]
    assert len(gaps) == streams
    assert max(gaps[1:]) < latency < gaps[0], f"{gaps} cycles from SETUP to the first entry"


def in_memory_order(matrix, mode, **fields):
    """A STREAM of all rows whose entries come in the order of memory, with sums for all of them."""
    first = {"row_operand_first": 0, "entry_begin": 0, "entry_count": ACCUMULATORS // CONFIG.lanes * T}
    return whole_stream(matrix, mode=mode, **{**first, "inner_count": min(OPERANDS, ACCUMULATORS), **fields})


@cocotb.test()
async def streams_in_memory_order_overlap(dut):
    """Entries of several STREAMs, one behind the other, some with none: each sends its own."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    for number in range(rounds(24)):
        bench.memory.read.latency, bench.chance = random.choice([(1, 1.0), (40, 1.0), (9, 0.4)])
        lengths = [random.choice([0, 0, 3, random.randint(0, 40)]) for _ in range(8)]
        matrix = random_matrix(lengths=lengths, inner_size=3 * OPERANDS, decoder=Decoder.CSR)
        bench.place(matrix)
        commands = []
        for _ in range(6):
            mode = Mode.GATHER if random.random() < 0.1 else (Mode.SCATTER, Mode.SAMPLED)[number % 2]
            begin = random.randrange(9)
            part = {
                "row_begin": begin,
                "row_end": random.randint(begin, 8),
                "inner_begin": random.choice([0, OPERANDS, 2 * OPERANDS + 5]),
                "inner_count": random.choice([0, 3, min(OPERANDS, ACCUMULATORS)]),
                "ranges": random.choice([Ranges.ALL, Ranges.ALL, Ranges.ALL, Ranges.RECORD]),
                "entry_begin": random.choice([0, 0, 17, 50]),
                "semaphore": random.choice([2, 5]),
            }
            commands.append(in_memory_order(matrix, mode, **part))
            bench.send(Opcode.STREAM, commands[-1])
        flits = await bench.finish(len(commands))
        for command in commands:
            bench.check_stream(flits, command, matrix)
        assert not flits


@cocotb.test()
async def streams_in_memory_order_are_asked_for_ahead(dut):
    """While cursors end one STREAM, memory answers for the next: its first entry takes less than a latency."""
    latency = 60
    bench = RowFeederBench(dut)
    bench.memory.read.latency = latency
    await start_clock(dut)
    matrix = random_matrix(lengths=[30] * 8, inner_size=OPERANDS, decoder=Decoder.CSR, wide=False, zeros=0)
    bench.place(matrix)
    streams = 5
    for mode in (Mode.SCATTER, Mode.SAMPLED):
        for _ in range(streams):
            count = min(OPERANDS, ACCUMULATORS)
            bench.send(Opcode.STREAM, in_memory_order(matrix, mode, skip=0, inner_count=count, accumulator_first=0))
        await wait_until(
            dut, lambda: bench.signals >= streams, cycles=60000, pending=lambda: f"{bench.signals} signals"
        )
        cycles = list(bench.entries.cycles)
        kinds = [kind for kind, _ in bench.take_entries()]
        setups = [place for place, kind in enumerate(kinds) if kind == EntryKind.SETUP]
        gaps = [cycles[place + 1] - cycles[place] for place in setups if kinds[place + 1] == EntryKind.ENTRY]
        assert len(gaps) == streams
        assert gaps[0] > latency / 2
        assert max(gaps[1:]) < latency, f"{gaps} cycles from SETUP to the first entry"
        bench.entries.cycles.clear()
        bench.signals = 0


@cocotb.test()
async def what_is_wrong_in_one_of_two_is_told_in_its_turn(dut):
    """Two STREAMs are read at a time: what is wrong with the first is told at once, with the second when it begins."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    for number in range(rounds(16)):
        mode = (Mode.SCATTER, Mode.SAMPLED)[number % 2]
        spoils_first = number % 4 >= 2
        matrices = []
        for place in range(2):
            matrix = random_matrix(lengths=[6] * 8, inner_size=OPERANDS, decoder=Decoder.CSR, wide=True, zeros=0)
            matrix.bases = {name: base + 0x40000 * place for name, base in matrix.bases.items()}
            matrices.append(matrix)
        bad = matrices[0 if spoils_first else 1]
        entry = random.randrange(len(bad.indices))
        out_of_range = number % 8 >= 4
        if out_of_range:
            bad.indices[entry] = OPERANDS
        commands = [in_memory_order(matrix, mode, skip=0) for matrix in matrices]
        if not out_of_range:
            beat = (commands[matrices.index(bad)]["indices"] + 4 * entry) // BEAT * BEAT
            bench.memory.read.respond = lambda address, beat=beat: SLVERR if address == beat else OKAY
        for matrix, command in zip(matrices, commands, strict=True):
            bench.place(matrix)
            bench.send(Opcode.STREAM, command)
        if not spoils_first:
            await bench.entries.wait_for(2)
            bench.entries.use = lambda: False
            await ClockCycles(dut.clk, 500)
            assert not bench.reports.received, "an error before its turn"
            bench.entries.use = bench.use
        code, *_ = await bench.error()
        assert code == (ErrorCode.INDEX_RANGE if out_of_range else ErrorCode.READ_RESPONSE)
        flits = bench.take_entries()
        setups = sum(kind == EntryKind.SETUP for kind, _ in flits)
        assert setups == (1 if spoils_first else 2)
        if not spoils_first:
            bench.check_stream(flits, commands[0], matrices[0])
        bench.memory.read.respond = lambda address: OKAY
        await bench.reset()


@cocotb.test()
async def what_is_wrong_ahead_waits(dut):
    """Errors of a command that is prepared early are told when those before it are done."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    good = random_matrix(lengths=[40] * 8, inner_size=OPERANDS, decoder=Decoder.CSR, zeros=0)
    for code, spoil in (
        (ErrorCode.POINTER_ORDER, None),
        (ErrorCode.COMMAND_RANGE, {"bank": CONFIG.lane.operand_banks}),
        (ErrorCode.ILLEGAL_COMMAND, Opcode.LOAD),
    ):
        first = whole_stream(good)
        bench.place(good)
        bad = Matrix(lengths=[5] * 8, inner_size=OPERANDS, wide=good.wide)
        bad.bases = {name: base + 0x40000 for name, base in good.bases.items()}
        if spoil is None:
            bad.pointers[1] = 6
            bad.pointers[2] = 4
        bench.place(bad)
        bench.send(Opcode.STREAM, first)
        second = whole_stream(bad)
        if isinstance(spoil, dict):
            second |= spoil
        bench.send(spoil if isinstance(spoil, Opcode) else Opcode.STREAM, second if spoil is not Opcode.LOAD else {})
        await bench.entries.wait_for(2)
        bench.entries.use = lambda: False
        await ClockCycles(dut.clk, 400)
        assert not bench.reports.received, "an error before its turn"
        bench.entries.use = bench.use
        found, *_ = await bench.error()
        assert found == code
        flits = bench.take_entries()
        bench.check_stream(flits, first, good)
        await bench.reset()


async def one_stream(bench, matrix, command):
    """Carry out one STREAM; return entries, and cycles from SETUP to SIGNAL."""
    bench.place(matrix)
    bench.send(Opcode.STREAM, command)
    flits = await bench.finish(1)
    entries, *_ = bench.check_stream(flits, command, matrix)
    assert not flits
    return entries, bench.span


@cocotb.test()
async def arrays_across_borders(dut):
    """Bursts that would cross a 4 KiB border are split, wherever the arrays lie before it."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    for before in range(1, CONFIG.feeder.line_buffers + 1):
        matrix = random_matrix(
            lengths=[CONFIG.feeder.line_buffers * BEAT] * 3, inner_size=OPERANDS, decoder=Decoder.CSR
        )
        for name in ("indices", "values"):
            matrix.bases[name] = matrix.bases[name] & ~0xFFF | 0x1000 - before * BEAT
        command = random_stream(
            matrix, mode=Mode.GATHER, row_begin=0, row_end=3, row_offset=0, row_step=1, row_limit=3, accumulator_first=0
        )
        await one_stream(bench, matrix, command)
        crossing = [burst for burst in bench.memory.read.reads if (burst["addr"] & 0xFFF) == 0x1000 - before * BEAT]
        assert crossing


@cocotb.test()
async def throughput(dut):
    """An entry a cycle from rows of 16 or more, 40 cycles from memory, as far as bursts in flight allow it."""
    latency = 40
    bench = RowFeederBench(dut)
    bench.memory.read.latency = latency
    await start_clock(dut)
    rows = ACCUMULATORS
    for wide, step in ((True, 1), (False, 1), (True, 4)):
        lengths = [random.randint(16, 32) for _ in range(rows * step)]
        matrix = random_matrix(lengths=lengths, inner_size=OPERANDS, wide=wide, decoder=Decoder.CSR, zeros=0)
        command = random_stream(
            matrix,
            mode=Mode.GATHER,
            row_begin=0,
            row_end=rows * step,
            row_offset=0,
            row_step=step,
            row_limit=rows,
            accumulator_first=0,
            inner_begin=0,
            inner_count=OPERANDS,
        )
        entries, cycles = await one_stream(bench, matrix, command)
        # Elements of one array that may be asked for at a time; one beat of each row is on average half used.
        ahead = CONFIG.feeder.cursors * CONFIG.feeder.line_buffers * BEAT / (4 if wide else 2) * 0.7
        rate = min(1.0, ahead / (latency + 10))
        dut._log.info(f"wide {wide}, step {step}: {entries} entries in {cycles} cycles, {entries / cycles:.3f} a cycle")
        assert cycles <= entries / rate * 1.01 + 3 * latency


@cocotb.test()
async def passing_over(dut):
    """A SCATTER passes over entries of other feeders as fast as memory brings them; long rows are fetched ahead."""
    bench = RowFeederBench(dut)
    bench.memory.read.latency = latency = 4
    await start_clock(dut)
    rows = 12
    for wide in (True, False):
        matrix = random_matrix(
            lengths=[96] * rows, inner_size=4 * ACCUMULATORS, wide=wide, decoder=Decoder.CSR, zeros=0
        )
        # Elsewhere a piece takes a beat more than a cursor of so few line buffers holds.
        for name in ("indices", "values"):
            matrix.bases[name] -= matrix.bases[name] % BEAT
        command = random_stream(
            matrix,
            mode=Mode.SCATTER,
            row_operand_first=0,
            row_begin=0,
            row_end=rows,
            row_offset=0,
            row_step=1,
            row_limit=rows,
            accumulator_first=0,
            inner_begin=0,
            inner_count=ACCUMULATORS,
        )
        entries, cycles = await one_stream(bench, matrix, command)
        looked_at = matrix.pointers[-1]
        # Index and value beats share the port. A cursor fetches its next piece while the others give theirs: a piece of
        # few entries takes as long as that.
        piece = CONFIG.feeder.line_buffers * BEAT // 4
        memory = looked_at * ((4 if wide else 2) + SIZE) / BEAT
        fetching = looked_at / piece * (latency + 9) / CONFIG.feeder.cursors
        dut._log.info(f"wide {wide}: {looked_at} entries in {cycles} cycles, {entries} of them passed on")
        assert cycles <= max(memory, fetching, looked_at / 2 + entries / 2) + 20 * latency


@cocotb.test()
async def empty_rows(dut):
    """Empty rows cost a cycle each where rows follow each other, two elsewhere, as far as memory keeps up."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    rows = ACCUMULATORS
    for step, cost in ((1, 1), (2, 2)):
        matrix = random_matrix(lengths=[0] * (rows * step - 1) + [1], inner_size=OPERANDS, decoder=Decoder.CSR, zeros=0)
        command = random_stream(
            matrix,
            mode=Mode.GATHER,
            row_begin=step - 1,
            row_end=rows * step,
            row_offset=0,
            row_step=step,
            row_limit=rows,
            accumulator_first=0,
            inner_begin=0,
            inner_count=OPERANDS,
        )
        _, cycles = await one_stream(bench, matrix, command)
        dut._log.info(f"step {step}: {rows} rows in {cycles} cycles")
        assert cycles <= rows * cost + 40


@cocotb.test()
async def neighbours_use_different_accumulators(dut):
    """Of two entries that follow each other, few are of the same row."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    matrix = random_matrix(lengths=[64] * 8, inner_size=OPERANDS, decoder=Decoder.CSR, zeros=0, wide=False)
    command = random_stream(
        matrix,
        mode=Mode.GATHER,
        row_begin=0,
        row_end=8,
        row_offset=0,
        row_step=1,
        row_limit=8,
        accumulator_first=0,
        skip=0,
        inner_begin=0,
        inner_count=OPERANDS,
    )
    bench.place(matrix)
    bench.send(Opcode.STREAM, command)
    rows = [fields["accumulator"] for kind, fields in await bench.finish(1) if kind == EntryKind.ENTRY]
    same = sum(first == second for first, second in itertools.pairwise(rows))
    assert len(rows) == 512
    assert same < 40


@cocotb.test()
async def drain_throughput(dut):
    """Results are taken at a flit a cycle and written in bursts without a gap."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    rows = ACCUMULATORS
    command = random_drain(
        row_begin=0,
        row_end=rows,
        row_offset=0,
        row_step=1,
        row_limit=rows,
        accumulator_first=0,
        columns=CONFIG.columns,
        tile_columns=T,
        semaphore=0,
        row_stride=CONFIG.columns * 4,
        narrow=0,
    )
    bench.send(Opcode.DRAIN, command)
    await bench.entries.wait_for(1)
    begin, flits = bench.entries.cycle, rows * CONFIG.cols * (T // 2 + 1)
    await bench.reports.wait_for(1, timeout_cycles=2 * flits)
    cycles = bench.entries.cycle - begin
    dut._log.info(f"{flits} flits in {cycles} cycles")
    assert cycles <= flits * 1.02 + 80


@cocotb.test()
async def errors(dut):
    """Every error is reported with its place, nothing follows it, and after a reset the feeder works again."""
    bench = RowFeederBench(dut, feeder=CONFIG.rows - 1)
    await start_clock(dut)

    def stream(change=None, **fields):
        is_bitmap = fields.get("decoder") == Decoder.BITMAP
        matrix = Matrix(
            lengths=[5, 0, 30, 7, 9, 11],
            inner_size=3 * OPERANDS if is_bitmap else OPERANDS,
            wide=fields.pop("wide", True),
            decoder=Decoder.BITMAP if is_bitmap else Decoder.CSR,
        )
        if change:
            change(matrix)
        rows = {
            "row_begin": 0,
            "row_end": 6,
            "row_offset": 0,
            "row_step": 1,
            "row_limit": 6,
            "accumulator_first": 1,
        }
        plain = {"inner_begin": 0, "inner_offset": 0, "inner_count": OPERANDS, "bank": 0, "row_bank": 1}
        command = {**random_stream(matrix, mode=Mode.GATHER), **rows, **plain, **fields}
        bench.place(matrix)
        bench.send(Opcode.STREAM, command)
        return command

    def drain(**fields):
        command = random_drain(
            **{
                "row_begin": 0,
                "row_end": 9,
                "row_offset": 0,
                "row_step": 2,
                "row_limit": 4,
                "accumulator_first": 0,
                "columns": CONFIG.columns,
                "tile_columns": T,
                "narrow": 0,
                **fields,
            }
        )
        bench.send(Opcode.DRAIN, command)
        return command

    async def expect(code, *, row=0, address=0, index=0):
        assert await bench.error() == (code, row, address, index)
        seen = len(bench.entries.received)
        bench.send(Opcode.CLEAR, {"row_limit": 1, "semaphore": 1})
        await ClockCycles(dut.clk, 100)
        assert len(bench.entries.received) == seen, "commands go on after an error"
        await bench.reset()
        matrix = random_matrix()
        bench.memory.read.respond = bench.memory.write.respond = lambda address: OKAY
        await one_stream(bench, matrix, random_stream(matrix))

    def at(place, value):
        return lambda matrix: matrix.pointers.__setitem__(place, value)

    # Pointers: 0 5 5 35 42 51 62.
    stream(at(3, 4))
    await expect(ErrorCode.POINTER_ORDER, row=2, index=4)
    stream(at(4, 1 << 31 | 5), entries=62)
    await expect(ErrorCode.POINTER_RANGE, row=3, index=1 << 31 | 5)
    stream(entries=50)
    await expect(ErrorCode.POINTER_RANGE, row=4, index=51)
    stream(at(3, 63), row_step=2, row_limit=2, row_begin=3)
    await expect(ErrorCode.POINTER_RANGE, row=3, index=63)
    for index, wide in ((OPERANDS, True), (0xFFFFFFFF, True), (0xFFFF, False)):
        stream(lambda matrix, index=index: matrix.indices.__setitem__(20, index), wide=wide)
        await expect(ErrorCode.INDEX_RANGE, row=2, index=index)

    # One more or less than the pointers say, or so many more that nothing takes them; in the last row, or before it.
    for row, change in itertools.product((2, 5), (-1, 1, 40)):

        def spoil(matrix, row=row, change=change):
            ones, free = matrix.ones[row], set(range(matrix.inner_size)) - set(matrix.ones[row])
            matrix.ones[row] = (
                random.sample(ones, len(ones) - 1) if change < 0 else ones + random.sample([*free], change)
            )

        stream(spoil, decoder=Decoder.BITMAP)
        await expect(ErrorCode.POINTER_RANGE, row=row, index={2: 30, 5: 11}[row])
    for fields in (
        {"mode": Mode.SCATTER},
        {"mode": Mode.SAMPLED, "entry_count": 0},
        {"inner_size": DECODED_COLUMNS + 1},
    ):
        command = stream(decoder=Decoder.BITMAP, **fields)
        await expect(ErrorCode.COMMAND_RANGE, address=command["values"])

    def groups(change=None, *, pattern=(2, 4), **fields):
        matrix = Matrix(lengths=[0] * 6, inner_size=OPERANDS - 3, decoder=Decoder.N_OF_M, pattern=pattern)
        if change:
            change(matrix)
        bench.place(matrix)
        command = whole_stream(matrix, mode=random.choice([Mode.GATHER, Mode.SCATTER]), **fields)
        if command["mode"] == Mode.SCATTER:
            inner = {"inner_begin": OPERANDS - 3 - ACCUMULATORS // 2, "inner_count": ACCUMULATORS}
            command.update(inner, row_operand_first=0)
        bench.send(Opcode.STREAM, command)
        return command

    # The last group has one column, so all places but one are behind the last column.
    for place, row in ((OPERANDS // 2 - 1, 0), (2 * (OPERANDS // 2) - 2, 1)):
        groups(lambda matrix, place=place: matrix.indices.__setitem__(place, OPERANDS - 2))
        await expect(ErrorCode.INDEX_RANGE, row=row, index=OPERANDS - 2)
    for fields in ({"kept": 2, "group": 1}, {"inner_size": DECODED_COLUMNS + 1}, {"ranges": Ranges.USE}):
        command = groups(**fields)
        await expect(ErrorCode.COMMAND_RANGE, address=command["values"])

    def in_blocks(change=None, **fields):
        matrix = Matrix(lengths=[5, 0, 0, 0, 30, 0, 0, 0, 7], inner_size=OPERANDS, decoder=Decoder.BLOCKS)
        if change:
            change(matrix)
        bench.place(matrix)
        command = whole_stream(matrix, **{"row_limit": 9, **fields})
        bench.send(Opcode.STREAM, command)
        return command

    # Pointers: 0 5 35 42.
    in_blocks(at(2, 4))
    await expect(ErrorCode.POINTER_ORDER, row=4, index=4)
    in_blocks(entries=16 * 42 - 1)
    await expect(ErrorCode.POINTER_RANGE, row=8, index=42)
    in_blocks(lambda matrix: matrix.indices.__setitem__(20, 0xFFFF))
    await expect(ErrorCode.INDEX_RANGE, row=4, index=0x3FFFC)
    for fields in ({"mode": Mode.SAMPLED, "entry_count": 0}, {"index_size": IndexSize.INT32}):
        command = in_blocks(**fields)
        await expect(ErrorCode.COMMAND_RANGE, address=command["values"])
    for name, amount in (("pointers", 2), ("indices", 1)):
        command = in_blocks()
        bench.control.queue.clear()
        command[name] += amount
        bench.send(Opcode.STREAM, command)
        await expect(ErrorCode.MISALIGNED, address=command[name])

    def bad_read(address, code):
        bad = address - address % BEAT
        bench.memory.read.respond = lambda address: code if address == bad else OKAY

    command = stream()
    bad_read(command["pointers"] + 12, SLVERR)
    await expect(ErrorCode.READ_RESPONSE, address=(command["pointers"] + 12) // BEAT * BEAT)
    for name, width, code in (("indices", 4, DECERR), ("values", SIZE, SLVERR)):
        command = stream()
        bad_read(command[name] + 62 * width - 1, code)
        await bench.reports.wait_for(3)
        [(_, _, _, _, _, address, _)] = reports(bench.reports.received)
        assert address in [burst["addr"] for burst in bench.memory.read.reads]
        assert 0 <= command[name] + 62 * width - 1 - address < CONFIG.feeder.line_buffers * BEAT
        await expect(ErrorCode.READ_RESPONSE, address=address)

    for name, amount in (("pointers", 2), ("pointers", 1), ("indices", 2), ("indices", 1)):
        command = stream()
        bench.control.queue.clear()
        command[name] += amount
        command[name] -= command[name] % 4 - amount
        bench.send(Opcode.STREAM, command)
        await expect(ErrorCode.MISALIGNED, address=command[name])
    command = stream(decoder=Decoder.BITMAP)
    bench.control.queue.clear()
    command["indices"] += BEAT // 2
    bench.send(Opcode.STREAM, command)
    await expect(ErrorCode.MISALIGNED, address=command["indices"])
    command = stream(wide=False)
    bench.control.queue.clear()
    command["indices"] |= 1
    bench.send(Opcode.STREAM, command)
    await expect(ErrorCode.MISALIGNED, address=command["indices"])
    if SIZE > 1:
        command = stream()
        bench.control.queue.clear()
        command["values"] |= 1
        bench.send(Opcode.STREAM, command)
        await expect(ErrorCode.MISALIGNED, address=command["values"])

    for fields in (
        {"mode": 3},
        {"mode": Mode.SCATTER, "inner_count": ACCUMULATORS},
        {"mode": Mode.SCATTER, "accumulator_first": 0, "inner_count": ACCUMULATORS + 1},
        {"mode": Mode.SCATTER, "row_operand_first": OPERANDS},
        {"mode": Mode.SAMPLED, "row_operand_first": OPERANDS, "entry_count": 0},
        {"mode": Mode.SAMPLED, "accumulator_first": 0, "entry_count": 0, "row_bank": 0},
        {"mode": Mode.SAMPLED, "accumulator_first": 0, "entry_count": 0, "row_bank": CONFIG.lane.operand_banks + 1},
        {"mode": Mode.SAMPLED, "accumulator_first": 0, "entry_count": ACCUMULATORS // CONFIG.lanes * T + 1},
        {"mode": Mode.SAMPLED, "accumulator_first": 1, "entry_count": 0},
        {"mode": Mode.SAMPLED, "accumulator_first": 0, "entry_count": 0, "inner_count": OPERANDS + 1},
        {"decoder": len(Decoder)},
        {"inner_count": OPERANDS + 1},
        {"bank": CONFIG.lane.operand_banks},
        {"tile_columns": T + BEAT // SIZE},
        {"tile_columns": 0},
        {"accumulator_first": ACCUMULATORS - 5},
    ):
        command = stream(**fields)
        await expect(ErrorCode.COMMAND_RANGE, address=command["values"])
    sums = {"reduce": 1, "gate": 0, "relu": 0, "narrow": 0, "entries": 99, "entry_begin": 0, "entry_count": T}
    sums |= {"accumulator_first": 0, "select": 0}
    selections = [
        {**sums, "select": 1, "block": 0, **fields}
        for fields in ({"address": RESULTS + BEAT // 2}, {"entry_begin": 4}, {"entry_count": 4})
    ]
    for fields in (
        {"tile_columns": T + BEAT // SIZE},
        {"accumulator_first": ACCUMULATORS - 3},
        {"gate": 1, "bank": CONFIG.lane.operand_banks},
        {"gate": 1, "row_step": GATE_STEPS},
        {**sums, "accumulator_first": ACCUMULATORS},
        {**sums, "accumulator_first": 1},
        {**sums, "entry_count": ACCUMULATORS // CONFIG.lanes * T + 1},
        *({**sums, name: 1} for name in ("gate", "relu", "narrow")),
        {"select": 1},
        {**sums, "select": 1, "block": LARGEST_BLOCK + 1 if CONFIG.lane.number_format.narrows else 0},
        *([] if CONFIG.lane.number_format.narrows else [{"narrow": 1}]),
    ):
        command = drain(**fields)
        await expect(ErrorCode.COMMAND_RANGE, address=command["address"])
    bench.send(Opcode.CLEAR, {"accumulator_first": 1, "row_limit": ACCUMULATORS, "semaphore": 0})
    await expect(ErrorCode.COMMAND_RANGE)
    for fields in (
        {"address": RESULTS + BEAT // 2},
        {"row_stride": 4},
        {"tile_columns": 1},
        {**sums, "address": RESULTS + 4},
        {**sums, "entry_begin": 1},
        {**sums, "entry_count": T - 1},
        *(selections if CONFIG.lane.number_format.narrows else []),
    ):
        command = drain(**fields)
        await expect(ErrorCode.MISALIGNED, address=command["address"])

    for code in (SLVERR, DECERR):
        command = drain(row_begin=1)
        bad = command["address"] + (command["row_begin"] + 2) * command["row_stride"]
        bench.memory.write.respond = lambda address, bad=bad, code=code: code if address == bad else OKAY
        await expect(ErrorCode.WRITE_RESPONSE, address=bad)
    if CONFIG.lane.number_format.narrows:
        command = drain(**selections[0] | {"address": RESULTS})
        bench.memory.write.respond = lambda address: SLVERR if address == RESULTS else OKAY
        await expect(ErrorCode.WRITE_RESPONSE, address=RESULTS)

    bench.send(Opcode.LOAD, {"rows": 1, "tile_columns": T})
    await expect(ErrorCode.ILLEGAL_COMMAND)


@cocotb.test()
async def read_errors_name_their_burst(dut):
    """Wherever in an array a beat is bad, the report has the address of the burst that it came with."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    rows = 12
    for _ in range(rounds(24)):
        matrix = random_matrix(
            lengths=[random.randint(0, 40) for _ in range(rows)] + [20], inner_size=OPERANDS, decoder=Decoder.CSR
        )
        everything = {
            "row_begin": 0,
            "row_end": rows + 1,
            "row_offset": 0,
            "row_step": 1,
            "row_limit": rows + 1,
            "accumulator_first": 0,
            "inner_begin": 0,
            "inner_offset": 0,
            "inner_count": OPERANDS,
        }
        bench.place(matrix)
        command = random_stream(matrix, mode=Mode.GATHER, **everything)
        bench.send(Opcode.STREAM, command)
        name = random.choice(["indices", "values"])
        width = SIZE if name == "values" else 4 if matrix.wide else 2
        bad = command[name] + random.randrange(len(matrix.indices)) * width
        bad -= bad % BEAT
        bench.memory.read.reads.clear()
        bench.memory.read.respond = lambda address, bad=bad: SLVERR if address == bad else OKAY
        code, _, address, _ = await bench.error()
        assert code == ErrorCode.READ_RESPONSE
        bursts = {burst["addr"]: (burst["len"] + 1) * BEAT for burst in bench.memory.read.reads}
        assert address in bursts
        assert address <= bad < address + bursts[address]
        bench.memory.read.respond = lambda address: OKAY
        await bench.reset()


@cocotb.test()
async def reset_at_any_time(dut):
    """A reset in the middle leaves nothing behind."""
    bench = RowFeederBench(dut)
    await start_clock(dut)
    for latency in range(1, 41, 3 * (14 // rounds(14))):
        bench.memory.read.latency, bench.chance = latency, random.choice([1.0, 0.5])
        matrix = random_matrix(lengths=[random.randint(0, 60) for _ in range(20)])
        bench.place(matrix)
        bench.send(Opcode.STREAM, random_stream(matrix))
        bench.send(Opcode.DRAIN, random_drain())
        bench.send(Opcode.STREAM, random_stream(matrix))
        await ClockCycles(dut.clk, random.randint(10, 400))
        await bench.reset()
        await one_stream(bench, matrix, random_stream(matrix))


@cocotb.test()
async def independent_memory(dut):
    """The same against the memories of cocotbext-axi."""
    bench = RowFeederBench(dut, memory=False)
    bench.chance = 0.8
    dut.rst.value = 1
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, "read"), dut.clk, dut.rst, size=1 << 24)
    results: Any = AxiRamWrite(AxiWriteBus.from_prefix(dut, "write"), dut.clk, dut.rst, size=1 << 24)
    for channel in (ram.ar_channel, ram.r_channel, results.aw_channel, results.w_channel, results.b_channel):
        channel.set_pause_generator(iter(lambda: random.random() < 0.3, None))
    await start_clock(dut)
    for _ in range(6):
        matrix = random_matrix()
        for address, content in matrix.arrays():
            ram.write(address, content)
        stream, drain = random_stream(matrix), random_drain(semaphore=3)
        bench.send(Opcode.STREAM, stream)
        bench.send(Opcode.DRAIN, drain)
        flits = await bench.finish(1 + bool(packets(drain, feeder=0)))
        await bench.reports.wait_for(1)
        bench.check_stream(flits, stream, matrix)
        memory = {}
        bench.check_drain(flits, drain, memory)
        assert not flits
        assert all(results.read(address, 1)[0] == byte for address, byte in memory.items())
        assert reports(bench.reports.received) == [("DONE", 3)]
        bench.reports.received.clear()
