"""The row feeder against plain Python: streams that are read while the one before is not yet done."""

import itertools
import random

import cocotb
from cocotb.triggers import ClockCycles

from acf.isa import (
    Decoder,
    EntryKind,
    ErrorCode,
    Mode,
    Opcode,
    Ranges,
)
from acf.tb.axi_channels import OKAY, SLVERR
from acf.tb.row_feeder_driver import RowFeederBench
from acf.tb.row_feeder_model import (
    ACCUMULATORS,
    BEAT,
    CONFIG,
    OPERANDS,
    Matrix,
    T,
    random_drain,
    random_matrix,
    whole_stream,
)
from acf.tb.runner import rounds
from acf.tb.stream import start_clock, wait_until


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
