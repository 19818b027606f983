"""Operand loader and accumulator sweep for every ratio of lanes to what a flit holds, in Amaranth's simulator."""

import random

import pytest
from amaranth.sim import Simulator

from acf.config import FabricConfig, LaneConfig, MemoryConfig
from acf.hw.noc.flit import operand_head, result_head
from acf.hw.pe.operand_loader import OperandLoader
from acf.hw.pe.sweep import AccumulatorSweep
from acf.isa import NO_SEMAPHORE
from acf.tb.stream import pack, unpack


def shape(lanes, format, slots):
    return FabricConfig(
        name="shape",
        rows=1,
        cols=1,
        lanes=lanes,
        lane=LaneConfig(format=format, slots=slots, operand_rows=8, accumulator_rows=8),
        memory=MemoryConfig(data_width=64),
    )


SHAPES = [
    (1, "bf16", 4),
    (1, "int8", 8),
    (2, "bf16", 2),
    (4, "int8", 4),
    (8, "bf16", 2),
    (8, "int8", 2),
    (16, "int8", 4),
]


@pytest.mark.parametrize(("lanes", "format", "slots"), SHAPES)
def test_operands_reach_their_slots(lanes, format, slots):
    rng = random.Random(lanes)
    config = shape(lanes, format, slots)
    width = config.lane.number_format.operand_width
    per_flit = config.noc.flit_width // width
    dut = OperandLoader(config=config)
    written = {}
    signalled = []

    async def send(ctx, flits):
        for word, head, tail in flits:
            while rng.random() < 0.3:
                ctx.set(dut.i.valid, 0)
                await watched_tick(ctx)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, {"payload": word, "head": head, "tail": tail})
            while not await watched_tick(ctx):
                pass
        ctx.set(dut.i.valid, 0)

    async def watched_tick(ctx):
        """One cycle; returns whether the flit was taken."""
        ctx.set(dut.done.ready, rng.random() < 0.5)
        for lane, write in enumerate(dut.writes):
            if ctx.get(write.enable):
                key = (lane, ctx.get(write.row), ctx.get(write.slot))
                before = [slot for n, row, slot in written if (n, row) == key[:2]]
                assert key[2] == len(before), "slots in ascending order"
                written[key] = ctx.get(write.value)
        if ctx.get(dut.done.valid & dut.done.ready):
            signalled.append(ctx.get(dut.done.payload))
        taken = ctx.get(dut.i.ready)
        await ctx.tick()
        return taken

    async def bench(ctx):
        expected = {}
        first, bank = 5, 1
        for rows, last, semaphore in ((2, 0, 3), (1, 1, 4), (2, 1, NO_SEMAPHORE), (1, 1, 6)):
            packet = []
            for row in range(first, first + rows):
                values = [rng.getrandbits(width) for _ in range(config.tile_columns)]
                for column, value in enumerate(values):
                    expected[column % lanes, bank * 8 + row, column // lanes] = value
                for begin in range(0, len(values), per_flit):
                    packet.append(sum(v << n * width for n, v in enumerate(values[begin : begin + per_flit])))
            head = pack(operand_head, row=first, bank=bank, last=last, semaphore=semaphore)
            await send(ctx, [(head, 1, 0)] + [(word, 0, int(n == len(packet) - 1)) for n, word in enumerate(packet)])
            assert ctx.get(dut.under_way) == 1 - last
            first, bank = first + rows if not bank else 0, 0
        for _ in range(20):
            await watched_tick(ctx)
        assert written == expected
        assert signalled == [4, 6]

    run(dut, bench)


@pytest.mark.parametrize("gate", [0, 1])
@pytest.mark.parametrize(("lanes", "format", "slots"), SHAPES)
def test_accumulators_are_sent_in_column_order(lanes, format, slots, gate):
    rng = random.Random(lanes)
    config = shape(lanes, format, slots)
    dut = AccumulatorSweep(config=config)
    banks = [[[rng.getrandbits(32) for _ in range(slots)] for _ in range(8)] for _ in range(lanes)]
    masks = [[rng.getrandbits(slots) for _ in range(16)] for _ in range(lanes)]
    first, count = 3, 4
    gate_bank, gate_row, gate_step = 1, 1, 2
    expected = []
    for n, row in enumerate(range(first, first + count)):
        columns = []
        for column in range(config.tile_columns):
            lane, slot = column % lanes, column // lanes
            kept = not gate or masks[lane][8 * gate_bank + gate_row + n * gate_step] >> slot & 1
            columns.append(banks[lane][row][slot] if kept else 0)
        expected.append((row, columns))
    received = []
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        ctx.set(dut.x, 4)
        ctx.set(dut.y, 2)
        gating = {"gate": gate, "gate_bank": gate_bank, "gate_row": gate_row, "gate_step": gate_step}
        ctx.set(dut.request.payload, {"first": first, "count": count, "send": 1, **gating})
        ctx.set(dut.request.valid, 1)
        stalls, finished = 0, False
        while not finished:
            ready = rng.random() < 0.6
            ctx.set(dut.results.ready, ready)
            if ctx.get(dut.results.valid):
                stalls += not ready
                if ready:
                    flit = ctx.get(dut.results.payload)
                    received.append((flit.payload, flit.head, flit.tail))
            finished = ctx.get(dut.request.ready)
            row = ctx.get(dut.lanes.read_row)
            assert row == ctx.get(dut.lanes.clear_row)
            read = ctx.get(dut.lanes.read_slot) if ctx.get(dut.lanes.read) else None
            shown = [bank[row][read] for bank in banks] if read is not None else None
            if ctx.get(dut.lanes.clear):
                slot = ctx.get(dut.lanes.clear_slot)
                assert slot != read, "read and cleared in one cycle"
                for bank in banks:
                    bank[row][slot] = 0
            looked_up = ctx.get(dut.gate_row) if ctx.get(dut.look_up) else None
            await ctx.tick()
            if looked_up is not None:
                for n, mask in enumerate(masks):
                    ctx.set(dut.masks[n], mask[looked_up])
            if shown is not None:
                for n, value in enumerate(shown):
                    ctx.set(dut.accumulators[n], value)
            cycles += 1
            assert cycles < 5000
        flits = count * config.tile_columns // 2
        assert cycles - stalls == 1 + count + flits * (2 if lanes == 1 else 1)

    run(dut, bench)
    per_packet = 1 + config.tile_columns // 2
    packets = [received[n : n + per_packet] for n in range(0, len(received), per_packet)]
    got = []
    for (head, is_head, is_tail), *body in packets:
        assert (is_head, is_tail) == (1, 0)
        assert [flags for _, *flags in body] == [[0, 0]] * (per_packet - 2) + [[0, 1]]
        fields = unpack(result_head, head)
        assert (fields["x"], fields["y"], fields["column"]) == (0, 2, 3)
        got.append((fields["row"], [word >> shift & 0xFFFFFFFF for word, *_ in body for shift in (0, 32)]))
    assert got == expected
    for bank in banks:
        assert all(value == 0 for row in bank[first : first + count] for value in row)
        assert all(value != 0 for row in (bank[first - 1], bank[first + count]) for value in row)


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
