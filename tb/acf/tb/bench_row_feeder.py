"""The row feeder against plain Python: entries of a STREAM, memory after a DRAIN, rates."""

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
    NO_SEMAPHORE,
    Decoder,
    EntryKind,
    FeederCounter,
    Mode,
    Opcode,
    Ranges,
)
from acf.tb.feeder_link import count_events, flit, read_counter, reports
from acf.tb.row_feeder_driver import RowFeederBench, one_stream
from acf.tb.row_feeder_model import (
    ACCUMULATORS,
    BEAT,
    CONFIG,
    OPERANDS,
    SIZE,
    T,
    drain_order,
    packets,
    random_drain,
    random_matrix,
    random_stream,
)
from acf.tb.runner import rounds
from acf.tb.stream import pack, start_clock


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
