"""Operand loader and accumulator sweeps for every ratio of lanes to what a flit holds, in Amaranth's simulator."""

import copy
import dataclasses
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from acf.config import FabricConfig, FeederConfig, LaneConfig, MemoryConfig
from acf.golden.formats import golden_format
from acf.golden.packed import pack_rows, unpack_chunk
from acf.hw.noc.flit import operand_head, result_head
from acf.hw.pe.accumulator_add import AccumulatorAdd
from acf.hw.pe.accumulator_bank import clearing_cycles
from acf.hw.pe.operand_loader import OperandLoader
from acf.hw.pe.reduce import ReducingSweep
from acf.hw.pe.result_sender import ResultSender
from acf.hw.pe.sweep import AccumulatorSweep
from acf.hw.pe.sweep_job import SweepJob
from acf.isa import NO_SEMAPHORE, ResultKind
from acf.tb.stream import pack, unpack


def shape(lanes, format, slots, accumulator_rows=8):
    return FabricConfig(
        name="shape",
        rows=1,
        cols=3,
        lanes=lanes,
        lane=LaneConfig(format=format, slots=slots, operand_rows=8, accumulator_rows=accumulator_rows),
        feeder=FeederConfig(chunk_rows=4),
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


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize(("lanes", "format", "slots"), [*SHAPES, (16, "bf16", 8)])
def test_packed_operands_reach_their_slots(lanes, format, slots, damaged):
    rng = random.Random(lanes + damaged)
    config = shape(lanes, format, slots)
    arithmetic = golden_format(format)
    width, chunk_rows = config.lane.number_format.operand_width, config.feeder.chunk_rows
    dut = OperandLoader(config=config)
    operands, masks, signalled = {}, {}, []

    async def watched_tick(ctx):
        ctx.set(dut.done.ready, rng.random() < 0.5)
        for lane, write in enumerate(dut.writes):
            row = ctx.get(write.row)
            if ctx.get(write.enable):
                operands[lane, row, ctx.get(write.slot)] = ctx.get(write.value)
            if ctx.get(write.mask_enable):
                assert (lane, row) not in masks, "a mask is written twice"
                masks[lane, row] = ctx.get(write.mask)
        if ctx.get(dut.done.valid & dut.done.ready):
            signalled.append(ctx.get(dut.done.payload))
        taken = ctx.get(dut.i.ready)
        await ctx.tick()
        return taken

    async def bench(ctx):
        expected = {}
        for first, rows, density, last in (
            (0, 4, 0.5, 0),
            (4, 3, 1.0, 1),
            (8, 1, 0.0, 0),
            (9, 4, 0.05, 0),
            (13, 2, 0.8, 1),
        ):
            values = np.array([[rng.getrandbits(width) for _ in range(config.tile_columns)] for _ in range(chunk_rows)])
            there = np.array([[rng.random() < density for _ in row] for row in values])
            values = np.where(there, values, 0).astype(f"u{width // 8}").view(arithmetic.dtype)
            packed = pack_rows(values, config=config, tile_columns=config.tile_columns)
            mask_flits, length = config.chunk_mask_flits, int(packed.lengths[0, 0])
            content = packed.chunks[0, 0].copy()
            if damaged:  # values that are zero, masks that are wrong, ends that are too early or too late
                length = rng.randint(0, config.chunk_value_flits)
                for _ in range(rng.randint(0, 20)):
                    content[rng.randrange(8 * (mask_flits + length))] = rng.choice([0, rng.getrandbits(8)])
            content = content[: 8 * (mask_flits + length)]
            loaded = unpack_chunk(content, config=config)[:rows]
            for (row, column), value in np.ndenumerate(loaded):
                expected[column % lanes, first + row, column // lanes] = value
            head = pack(
                operand_head,
                row=first % 8,
                bank=first // 8,
                last=last,
                semaphore=first,
                packed=1,
                rows=rows,
            )
            words = content.view("<u8").tolist()
            for n, word in enumerate([head, *words]):
                while rng.random() < 0.3:
                    ctx.set(dut.i.valid, 0)
                    await watched_tick(ctx)
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.payload, {"payload": word, "head": int(n == 0), "tail": int(n == len(words))})
                while not await watched_tick(ctx):
                    pass
            ctx.set(dut.i.valid, 0)
        for _ in range(20):
            await watched_tick(ctx)
        assert {key[:2] for key in expected} == set(masks)
        for (lane, row, slot), value in expected.items():
            nonzero = not bool(arithmetic.is_zero(value))
            assert masks[lane, row] >> slot & 1 == nonzero, (lane, row, slot)
            if nonzero:
                bits = int(np.array(value).view(f"u{width // 8}"))
                assert operands[lane, row, slot] == bits, (lane, row, slot)
        assert signalled == [4, 13]

    run(dut, bench)


def between(config, sweep, *, sums):
    """A sweep between who keeps what it is to do and who sends what it reads."""
    m = Module()
    m.submodules.job = job = SweepJob(lane=config.lane)
    m.submodules.sweep = sweep
    m.submodules.sender = sender = ResultSender(config=config)
    connect(m, job.walk, sweep.walk)
    connect(m, sweep.pairs, sender.pairs)
    m.d.comb += [
        job.settled.eq(1),
        sender.sums.eq(sums),
        sender.packet.eq(job.packet),
        job.packet_sent.eq(sender.packet_sent),
        (sweep.sent.eq(sender.sent << 1) if sums else sweep.sender_idle.eq(sender.idle)),
    ]
    return m, job, sender


def give_accumulators(ctx, ports, banks, free):
    """What lanes do that have no product when ``free()``: what each of them gives, or None."""
    shown = []
    for port, bank in zip(ports, banks, strict=True):
        takes = ctx.get(port.read) and (ctx.get(port.urgent) or free())
        ctx.set(port.taken, int(takes))
        row, slot = ctx.get(port.row), ctx.get(port.slot)
        shown.append(bank[row][slot] if takes else None)
        if takes:
            bank[row][slot] = 0
    return shown


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("gate", [0, 1])
@pytest.mark.parametrize(("lanes", "format", "slots"), SHAPES)
def test_accumulators_are_sent_in_column_order(lanes, format, slots, gate, busy, stalls):
    rng = random.Random(lanes)
    config = shape(lanes, format, slots)
    dut = AccumulatorSweep(config=config)
    module, job, sender = between(config, dut, sums=False)
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
        ctx.set(sender.x, 4)
        ctx.set(sender.y, 2)
        gating = {"gate": gate, "gate_bank": gate_bank, "gate_row": gate_row, "gate_step": gate_step}
        ctx.set(job.request.payload, {"first": first, "count": count, "send": 1, **gating})
        ctx.set(job.request.valid, 1)
        await ctx.tick()
        ctx.set(job.request.valid, 0)
        ctx.set(job.request.payload, {"first": 7, "count": 7, "gate_bank": 3})  # what comes next changes nothing
        delays, waited, gap = 0, 0, False
        while not ctx.get(job.idle):
            ready = not stalls or rng.random() < 0.2
            ctx.set(sender.results.ready, ready)
            if ctx.get(sender.results.valid):
                if ready:
                    flit = ctx.get(sender.results.payload)
                    received.append((flit.payload, flit.head, flit.tail))
                    gap = not flit.tail
            else:
                assert not gap, "a packet under way has all its flits"
            asked = any(ctx.get(port.read) for port in dut.lanes)
            shown = give_accumulators(ctx, dut.lanes, banks, lambda: not busy or rng.random() < 0.1)
            delayed = asked and any(ctx.get(port.read) and not ctx.get(port.taken) for port in dut.lanes)
            delays += delayed
            waited = waited + 1 if delayed else 0
            assert waited < 4, "lanes that are never free are made to wait"
            looked_up = ctx.get(dut.gate_row) if ctx.get(dut.look_up) else None
            await ctx.tick()
            # Lanes show what was read or looked up for one cycle only.
            for n, mask in enumerate(masks):
                ctx.set(dut.masks[n], rng.getrandbits(slots) if looked_up is None else mask[looked_up])
            for n, value in enumerate(shown):
                ctx.set(dut.accumulators[n], rng.getrandbits(32) if value is None else value)
            cycles += 1
            assert cycles < 5000
        reading = 1 + count * (1 + slots * (2 + max(1, lanes // 2)))
        sending = 1 + config.tile_columns // 2
        if not stalls:
            assert cycles == delays + reading + sending + 2  # one to take it over, one to end

    run(module, bench)
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


ACCUMULATORS = {
    # Zeros, infinities, NaNs, subnormals, the largest and the smallest normal numbers, numbers that cancel.
    "bf16": bytes.fromhex("00000000 80000000 7F800000 FF800000 7FC00000 FFC12345 00000001 807FFFFF 7F7FFFFF 3F800001"),
    "int8": bytes.fromhex("00000000 7FFFFFFF 80000000 FFFFFFFF"),
}


def random_accumulator(rng, format):
    """Bits of a special number or, more often, of one of moderate size."""
    corners = ACCUMULATORS[format]
    if rng.random() < 0.1:
        begin = rng.randrange(0, len(corners), 4)
        return int.from_bytes(corners[begin : begin + 4])
    if format == "int8":
        return rng.getrandbits(32)
    return rng.getrandbits(1) << 31 | rng.randrange(120, 134) << 23 | rng.getrandbits(23)


def reduced(config, banks, first, count, incoming):
    """Sums of all accumulators of some rows, added to ``incoming`` lane by lane, and the lanes that overflowed."""
    golden = golden_format(config.lane.format)
    total = np.array(incoming, np.uint32).view(golden.accumulator_dtype)
    overflow = []
    for bank in banks:
        added = np.array(bank[first : first + count], np.uint32).ravel().view(golden.accumulator_dtype)
        total, wrapped = golden.add(total, added)
        overflow.append(bool(wrapped.any()))
    return [int(bits) for bits in total.view(np.uint32)], overflow


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("adders", [1, 2, 4])
@pytest.mark.parametrize(
    ("lanes", "format", "slots"), [*SHAPES[:-1], pytest.param(*SHAPES[-1], marks=pytest.mark.regress)]
)
def test_sums_over_lanes_go_west(lanes, format, slots, adders, at_end, stalls):
    rng = random.Random(lanes)
    rows = 4 * lanes
    config = dataclasses.replace(shape(lanes, format, slots, accumulator_rows=max(8, rows)), reducing_adders=adders)
    adders = min(adders, lanes)
    dut = ReducingSweep(config=config)
    module, job, sender = between(config, dut, sums=True)
    banks = [[[random_accumulator(rng, format) for _ in range(slots)] for _ in range(rows)] for _ in range(lanes)]
    untouched = [copy.deepcopy(bank[3 * lanes :]) for bank in banks]
    requests = [(0, 2 * lanes), (1, 0), (2 * lanes, lanes)]
    expected, arriving, wrapped = [], [], set()
    for first, count in requests:
        come = [0 if at_end else random_accumulator(rng, format) for _ in range(count * slots)]
        sums, overflow = reduced(config, banks, first, count, come)
        wrapped |= {lane for lane in range(lanes) if overflow[lane]}
        for n in range(count // lanes):
            packet = slice(n * config.tile_columns, (n + 1) * config.tile_columns)
            expected.append((n, sums[packet]))
            words = [low | high << 32 for low, high in zip(come[packet][::2], come[packet][1::2], strict=True)]
            arriving.append((rng.getrandbits(64), 1, 0))
            arriving += [(word, 0, int(k == len(words) - 1)) for k, word in enumerate(words)]
    if at_end:
        arriving = []
    received, flags = [], set()
    busy = 0

    async def bench(ctx):
        nonlocal busy
        ctx.set(sender.x, config.cols if at_end else config.cols - 1)
        ctx.set(dut.x, config.cols if at_end else config.cols - 1)
        ctx.set(sender.y, 2)
        pending = list(requests)
        cycles, offered = 0, False
        while pending or not ctx.get(job.idle) or cycles < 10:
            valid = bool(pending)
            ctx.set(job.request.valid, valid)
            if valid:
                ctx.set(job.request.payload, {"first": pending[0][0], "count": pending[0][1], "send": 1, "reduce": 1})
            ready = not stalls or rng.random() < 0.4
            ctx.set(sender.results.ready, ready)
            offered = bool(arriving) and (offered or not stalls or rng.random() < 0.4)
            ctx.set(dut.incoming.valid, offered)
            if offered:
                word, head, tail = arriving[0]
                ctx.set(dut.incoming.payload, {"payload": word, "head": head, "tail": tail})
            # Where nothing stalls, lanes are always free.
            shown = give_accumulators(ctx, dut.lanes, banks, lambda: not stalls or rng.random() < 0.2)
            if offered and ctx.get(dut.incoming.ready):
                arriving.pop(0)
                offered = False
            if ready and ctx.get(sender.results.valid):
                flit = ctx.get(sender.results.payload)
                received.append((flit.payload, flit.head, flit.tail))
            if valid and ctx.get(job.request.ready):
                pending.pop(0)
            flags.update(lane for lane in range(lanes) if ctx.get(dut.overflow) >> lane & 1)
            busy += ctx.get(job.walk.active)
            await ctx.tick()
            for n, value in enumerate(shown):
                ctx.set(dut.accumulators[n], rng.getrandbits(32) if value is None else value)
            cycles += 1
            assert cycles < 20000

    run(module, bench)
    assert not arriving
    assert flags == wrapped
    per_packet = 1 + config.tile_columns // 2
    got = []
    for begin in range(0, len(received), per_packet):
        (head, *flags_of_head), *body = received[begin : begin + per_packet]
        assert flags_of_head == [1, 0]
        assert [flags for _, *flags in body] == [[0, 0]] * (per_packet - 2) + [[0, 1]]
        fields = unpack(result_head, head)
        x = config.cols if at_end else config.cols - 1
        assert (fields["x"], fields["y"], fields["column"]) == (x - 1, 2, x - 1)
        assert fields["kind"] == ResultKind.SUMS
        got.append((fields["row"], [word >> shift & 0xFFFFFFFF for word, *_ in body for shift in (0, 32)]))
    assert got == expected
    assert all(value == 0 for bank in banks for row in bank[: 3 * lanes] for value in row)
    assert [bank[3 * lanes :] for bank in banks] == untouched
    if not stalls:
        latency = AccumulatorAdd(lane=config.lane).latency
        share = lanes // adders
        walk = 3 * lanes * share * max(slots, latency + 2)
        heads = 0 if at_end else 3
        # Three requests to start, two to finish: each adder begins when the first sum of the one before is there. A
        # single lane gives a sum a cycle: then room for flits is short.
        through = (adders - 1) * ((share - 1) * max(slots, latency + 2) + latency + 3)
        limit = walk + heads + 3 + 2 * (latency + 8 + through) + (share == 1) * walk // 2
        assert walk <= busy <= limit, f"{busy} cycles, {walk} of them to add"


def test_entries_wait_for_what_is_not_swept():
    """Every row, at every place of a sweep and until it is +0, for sweeps of any first row and length; also for a
    second one, which is asked for meanwhile."""
    rows = 8
    config = shape(2, "bf16", 4, accumulator_rows=rows)
    dut = SweepJob(lane=config.lane)
    cleared = clearing_cycles(lane=config.lane)

    async def bench(ctx):
        async def check(unswept):
            for row in range(rows):
                ctx.set(dut.entry_row, row)
                assert bool(ctx.get(dut.must_wait)) == (row in unswept), f"row {row}, not swept are {unswept}"

        async def ask(first, count):
            assert ctx.get(dut.request.ready)
            ctx.set(dut.request.payload, {"first": first, "count": count, "send": count % 2, "gate_row": 1})
            ctx.set(dut.request.valid, 1)
            await ctx.tick()
            ctx.set(dut.request.payload, {"first": 0, "count": rows})
            ctx.set(dut.request.valid, 0)
            assert not ctx.get(dut.request.ready)

        async def sweep(first, count, following):
            assert ctx.get(dut.walk.active)
            for row in range(first, first + count):
                assert (ctx.get(dut.walk.row), ctx.get(dut.walk.send)) == (row, count % 2)
                await check({*range(row, first + count), *following})
                ctx.set(dut.walk.row_done, 1)
                await ctx.tick()
                ctx.set(dut.walk.row_done, 0)
                for _ in range(cleared - 1):
                    await check({*range(row, first + count), *following})
                    await ctx.tick()
            # All rows are swept, but the results are not yet sent.
            await check(following)
            ctx.set(dut.walk.finished, 1)
            await ctx.tick()
            ctx.set(dut.walk.finished, 0)
            assert not ctx.get(dut.walk.active)

        ranges = [(first, count) for first in range(rows + 1) for count in range(rows - first + 1)]
        for number, (first, count) in enumerate(ranges):
            wanted = range(first, first + count)
            assert ctx.get(dut.idle)
            await check([])
            ctx.set(dut.settled, 0)
            await ask(first, count)
            for _ in range(number % 3):
                await check(wanted)
                await ctx.tick()
                assert not ctx.get(dut.walk.active)
            ctx.set(dut.settled, 1)
            await check(wanted)
            await ctx.tick()
            following = ranges[(7 * number + 3) % len(ranges)]
            ctx.set(dut.settled, number % 2)
            await ask(*following)
            await sweep(first, count, range(following[0], sum(following)))
            assert not ctx.get(dut.idle)
            await check(range(following[0], sum(following)))
            ctx.set(dut.settled, 1)
            await ctx.tick()
            await sweep(*following, [])

    run(dut, bench)


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
