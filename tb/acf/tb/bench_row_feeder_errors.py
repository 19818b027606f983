"""The row feeder against plain Python: what is wrong with commands and memory."""

import itertools
import random

import cocotb
from cocotb.triggers import ClockCycles

from acf.isa import (
    DECODED_COLUMNS,
    GATE_STEPS,
    LARGEST_BLOCK,
    Decoder,
    ErrorCode,
    IndexSize,
    Mode,
    Opcode,
    Ranges,
)
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.feeder_link import reports
from acf.tb.row_feeder_driver import RowFeederBench, one_stream
from acf.tb.row_feeder_model import (
    ACCUMULATORS,
    BEAT,
    CONFIG,
    OPERANDS,
    RESULTS,
    SIZE,
    Matrix,
    T,
    random_drain,
    random_matrix,
    random_stream,
    whole_stream,
)
from acf.tb.runner import rounds
from acf.tb.stream import start_clock


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
