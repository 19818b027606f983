"""A compute tile alone: how long everything takes, and what its counters say of that."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from acf.hw.counters import counter_select
from acf.hw.formats import mac_loop
from acf.hw.pe.accumulator_add import AccumulatorAdd
from acf.isa import NO_SEMAPHORE, LaneCause
from acf.tb.lane_model import Entry
from acf.tb.stream import always, pack
from acf.tb.tile_cases import SKIPPING, seeded, start
from acf.tb.tile_driver import TILE_X, TILE_Y


@cocotb.test()
async def sums_take_a_cycle_for_each_accumulator(dut):
    """Of one lane of each adder after the other, as far as slots hide its latency; these cycles count as DRAIN."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    latency = AccumulatorAdd(lane=lane).latency
    rows = lane.accumulator_rows // 2 // lanes * lanes
    for x in (1, bench.config.cols):
        bench.move_to(x)
        await bench.start_counting()
        bench.set_up(bank=0, skip=True, columns=bench.columns)
        bench.signal(NO_SEMAPHORE)
        bench.reduce(rng, 0, rows // lanes)
        await bench.finish()
        await bench.stop_counting()
        bench.move_to(TILE_X)
        adders = min(lanes, bench.config.reducing_adders)
        share = lanes // adders
        expected = rows * share * max(lane.slots, latency + 2)
        if lane.number_format.scaled and x != 1:  # as many flits, and heads
            expected = max(expected, rows // lanes * (1 + bench.columns))
        # Each adder begins with the first sum of the one before it.
        most = 20 + rows // lanes + (adders - 1) * ((share - 1) * max(lane.slots, latency + 2) + latency + 2)
        for n in range(lanes):
            draining = (await bench.causes(n))[LaneCause.DRAIN]
            dut._log.info(
                f"tile {x}: {draining} cycles for {rows} rows, {draining / (rows * share * lane.slots):.3f} each"
            )
            assert 0 <= draining - expected < most, f"{draining} cycles, not {expected}"


@cocotb.test()
async def drained_rows_take_as_long_as_promised(dut):
    """One cycle to start; for a row one, and for each slot two and one for each flit; packets have no gaps."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    bench.load(0, bench.random_rows(rng, range(4)), semaphore=0)
    await bench.finish()
    await bench.start_counting()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, n % 4, n % 8) for n in range(16)])
    bench.signal(NO_SEMAPHORE)
    bench.drain(0, 8)
    bench.results.cycles.clear()
    await bench.finish()
    cycles = bench.results.cycles
    per_row = 1 + lane.slots * (2 + lanes // 2)
    flits = 1 + bench.columns // 2
    starts = cycles[::flits]
    assert [start - starts[0] for start in starts] == [n * max(per_row, flits) for n in range(8)]
    assert cycles == [start + n for start in starts for n in range(flits)]
    rounding = 4 if lane.number_format.scaled else 0
    draining = 1 + 8 * per_row + flits + 1 + rounding
    for n in range(lanes):
        causes = await bench.causes(n)
        # The last accumulators may not be +0 yet.
        assert 0 <= causes[LaneCause.DRAIN] - draining < bench_distance(lane)


@cocotb.test()
async def fewer_flits_take_less_time(dut):
    """Of narrow results, and of those of the lower slots alone."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    bench.load(0, bench.random_rows(rng, range(4)), semaphore=0)
    await bench.finish()
    for narrow in (False, True) if lane.number_format.narrows else (False,):
        for lower in (False, True):
            bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
            bench.stream([Entry(bench.one, n % 4, n % 8) for n in range(16)])
            bench.signal(NO_SEMAPHORE)
            bench.drain(0, 8, narrow=narrow, lower=lower)
            bench.results.cycles.clear()
            await bench.finish()
            sent = lane.slots // 2 if lower else lane.slots
            # Fixed-point accumulators are narrowed behind the sweep.
            packs = narrow and not lane.number_format.scaled
            per_slot = 2 + max(1, lanes * (16 if packs else 32) // 64)
            per_row = 1 + sent * per_slot + (lane.slots - sent)
            flits = 1 + bench.columns // 2 // 2 ** (narrow + lower)
            starts = bench.results.cycles[::flits]
            assert [start - starts[0] for start in starts] == [n * max(per_row, flits) for n in range(8)]


@cocotb.test()
async def lanes_go_on_while_results_wait(dut):
    """Nobody takes results: entries for other rows are done and signalled, those for swept rows and CLEAR wait."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    bench.load(0, bench.random_rows(rng, range(4), density=1.0, corners=0), semaphore=0)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, n % 4, n % 8) for n in range(16)])
    bench.signal(NO_SEMAPHORE)
    bench.results.use = lambda: False
    bench.drain(2, 4)
    for _ in range(16 * lane.slots + 100):
        await RisingEdge(dut.clk)
    await bench.start_counting()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    others = [0, 1, 6, 7]
    bench.stream([Entry(bench.one, n % 4, others[n % 4]) for n in range(40)])
    bench.signal(3)
    await bench.control.wait_for(1)
    assert bench.received_done() == [3]
    assert await bench.counter(LaneCause.MAC) == bench.model.issued[::lanes].sum()
    # Now the last of the rows that are swept, and behind it what could go on.
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, 0, 5)])
    bench.stream([Entry(bench.one, 0, 7)])
    bench.signal(4)
    for _ in range(50):
        await RisingEdge(dut.clk)
    draining = (await bench.causes(0))[LaneCause.DRAIN]
    for _ in range(50):
        await RisingEdge(dut.clk)
    assert 50 <= (await bench.causes(0))[LaneCause.DRAIN] - draining < 50 + 60, "the entry waits for the sweep"
    assert len(bench.control.received) == 1
    bench.results.use = always
    await bench.finish()
    # CLEAR waits for the drain before it, and is signalled when it has been done.
    bench.results.use = lambda: False
    bench.drain(0, 2)
    bench.clear(4, 4)
    bench.signal(5)
    for _ in range(100):
        await RisingEdge(dut.clk)
    assert not bench.control.received
    bench.results.use = always
    await bench.finish()
    bench.drain(0, lane.accumulator_rows)
    await bench.finish()


@cocotb.test()
async def sweeping_takes_few_cycles_from_the_lanes(dut):
    """Lanes that always have a product lose no cycle to a sweep while the products' accumulators are odd and even in
    turn, and one for each accumulator of the same parity that is swept when they are all even."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    rows = 4
    spent = []
    kinds = ("all", "even") if SKIPPING else ("all",)
    for slots, sweeps in ((slots, sweeps) for slots in kinds for sweeps in (False, True)):
        operands = bench.random_rows(rng, range(8), density=1.0, corners=0)
        if slots == "even":
            for row in operands.values():
                row[:] = [0 if k // bench.config.lanes % 2 else value for k, value in enumerate(row)]
        bench.load(0, operands, semaphore=0)
        await bench.finish()
        if sweeps:
            bench.drain(0, rows)
        await bench.start_counting()
        bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
        # As long as it takes that every slot waits for its patience to end.
        busy = [Entry(bench.one, rng.randrange(8), rows + n % (lane.accumulator_rows - rows)) for n in range(16 * rows)]
        bench.stream(busy)
        bench.signal(1)
        await bench.control.wait_for(1)
        spent.append(await bench.stop_counting())
        await bench.finish()
        await bench.check_counters(spent[-1])
        drained = (await bench.causes(0))[LaneCause.DRAIN]
        # The first of them are taken before the entries are there.
        same_parity = rows * lane.slots // 2
        if sweeps and slots == "even":
            assert same_parity // 2 <= drained <= same_parity
        else:
            assert drained == 0
    assert abs(spent[1] - spent[0]) <= 2, spent
    assert not SKIPPING or drained - 2 <= spent[3] - spent[2] <= same_parity, spent


@cocotb.test()
async def operands_are_taken_as_fast_as_lanes_allow(dut):
    """A head in one cycle, then as many operands a cycle as there are lanes, but at most one flit."""
    rng = seeded()
    bench = await start(dut)
    per_flit = bench.config.noc.flit_width // bench.lane.number_format.operand_width
    begin = get_sim_time("ns")
    rows = 16
    bench.load(0, bench.random_rows(rng, range(rows)), semaphore=5, packet_rows=4)
    await bench.control.wait_for(1)
    cycles = round((get_sim_time("ns") - begin) / 10)
    writing = rows * bench.columns // min(per_flit, bench.config.lanes)
    assert 0 <= cycles - (writing + rows // 4) <= 4, f"{cycles} cycles"
    await bench.finish()


@cocotb.test(skip=not SKIPPING)
async def packed_operands_are_taken_as_fast_as_promised(dut):
    """A cycle for a flit of masks, for an operand of each lane, for a row without any, and three for a packet."""
    rng = seeded()
    bench = await start(dut)
    chunk_rows, lanes = bench.config.feeder.chunk_rows, bench.config.lanes
    per_flit = bench.config.noc.flit_width // bench.lane.number_format.operand_width
    for density in (0.0, 0.5, 1.0):
        bits = list(bench.random_rows(rng, range(4 * chunk_rows), density=density, corners=0).values())
        begin = get_sim_time("ns")
        bench.load_packed(0, 0, bits, semaphore=5)
        await bench.control.wait_for(1)
        cycles = round((get_sim_time("ns") - begin) / 10)
        values = np.array(bits).reshape(4, chunk_rows, -1, lanes) != 0
        most = 0
        for chunk in values:
            # In the worst case no two lanes come to an empty row at the same time.
            empty = np.count_nonzero(~chunk.any(axis=1))
            operands = -(-chunk.sum(axis=(0, 1)).max() * lanes // per_flit) * max(1, per_flit // lanes)
            most += 1 + bench.config.chunk_mask_flits + 1 + operands + empty + 1
        assert cycles <= most + 4, f"{cycles} cycles, {most} promised"
        await bench.finish()


@cocotb.test(skip=not SKIPPING)
async def streams_follow_each_other_without_a_gap(dut):
    """Entries of a stream are in the lanes beside those of the one before, whose signal and drain come when it is done:
    many short streams take little longer than a long one."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    entries, streams = 16, 12
    for bank in range(2):
        bench.load(bank, bench.random_rows(rng, range(16), density=1.0, corners=0), semaphore=0)
    await bench.finish()
    spans = {}
    for count in (1, streams):
        await bench.start_counting()
        for number in range(count):
            bench.set_up(bank=number % 2, skip=True, columns=2 * bench.columns)
            first = number % 2 * 4
            for _ in range(streams // count):
                bench.stream([Entry(bench.one, rng.randrange(16), first + n % 4) for n in range(entries)])
            bench.signal(number % 8)
            if count > 1:
                bench.drain(first, 1)
        await bench.control.wait_for(count)
        cycles = await bench.stop_counting()
        await bench.finish()
        await bench.check_counters(cycles)
        spans[count] = cycles
    dut._log.info(f"{spans} cycles for {entries * streams} entries of {lane.slots} products, by streams")
    assert spans[1] >= entries * streams * lane.slots
    assert spans[streams] - spans[1] < streams * lane.slots, f"{spans}"


@cocotb.test(skip=not SKIPPING)
async def lanes_stay_busy(dut):
    """Half of the operands zero, columns in lanes alike, accumulators in turn: 95 % of lane cycles issue a product."""
    rng = seeded()
    bench = await start(dut)
    lanes, slots = bench.config.lanes, bench.lane.slots
    rows = bench.random_rows(rng, range(16), density=0.5, corners=0)
    for bits in rows.values():
        # The columns of all lanes are the same: this measures the lanes, not how well columns were dealt to them.
        for slot in range(slots):
            bits[slot * lanes : (slot + 1) * lanes] = [bits[slot * lanes]] * lanes
    bench.load(0, rows, semaphore=0)
    await bench.finish()
    await bench.start_counting()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, rng.randrange(16), n % 8) for n in range(500)])
    bench.signal(1)
    await bench.control.wait_for(1)
    cycles = await bench.stop_counting()
    utilization = bench.model.effectual.sum() / (cycles * lanes)
    dut._log.info(f"utilization {utilization:.3f} in {cycles} cycles")
    assert utilization >= 0.95, f"{utilization:.3f}"
    await bench.finish()
    await bench.check_counters(cycles)


@cocotb.test()
async def every_cycle_has_its_cause(dut):
    """One phase after the other, with a known number of cycles of each cause."""
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes

    async def elapse(cycles):
        for _ in range(cycles):
            await RisingEdge(dut.clk)

    async def gained(before):
        after = [await bench.causes(n) for n in range(lanes)]
        dut.counters_enable.value = 1
        return after, [{cause: a[cause] - b[cause] for cause in LaneCause} for a, b in zip(after, before, strict=True)]

    async def phase(before, cycles, expected):
        await elapse(cycles)
        dut.counters_enable.value = 0
        await RisingEdge(dut.clk)
        after, gain = await gained(before)
        for lane_gain in gain:
            nonzero = {cause: count for cause, count in lane_gain.items() if count}
            assert nonzero == expected, f"{nonzero}, not {expected}"
        return after

    await bench.start_counting()
    counts = [dict.fromkeys(LaneCause, 0)] * lanes
    # No stream has been opened in this program.
    counts = await phase(counts, 30, {LaneCause.OPERAND_WAIT: 30})
    # A stream without entries.
    dut.counters_enable.value = 0
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    await elapse(10)
    dut.counters_enable.value = 1
    counts = await phase(counts, 25, {LaneCause.ENTRY_WAIT: 25})
    # Closed again.
    dut.counters_enable.value = 0
    bench.signal(NO_SEMAPHORE)
    await elapse(10)
    dut.counters_enable.value = 1
    counts = await phase(counts, 20, {LaneCause.IDLE: 20})
    # A load that does not end.
    dut.counters_enable.value = 0
    bench.load(0, {0: [bench.one] * bench.columns, 5: [bench.one] * bench.columns}, semaphore=4)
    rest = [bench.operands.queue.pop() for _ in range(2)]
    await elapse(60)
    dut.counters_enable.value = 1
    counts = await phase(counts, 15, {LaneCause.OPERAND_WAIT: 15})
    dut.counters_enable.value = 0
    bench.operands.send(reversed(rest))
    await bench.finish()
    dut.counters_enable.value = 1
    # Clearing: two cycles to start, one for each slot, and until the last is +0.
    bench.clear(2, 3)
    clearing = 2 + 3 * lane.slots + bench_distance(lane) - 1
    counts = await phase(counts, 40, {LaneCause.DRAIN: clearing, LaneCause.IDLE: 40 - clearing})
    # Results that nobody takes.
    dut.counters_enable.value = 0
    bench.results.use = lambda: False
    bench.drain(0, 1)
    await elapse(10)
    dut.counters_enable.value = 1
    counts = await phase(counts, 50, {LaneCause.DRAIN: 50})
    dut.counters_enable.value = 0
    bench.results.use = always
    await bench.finish()
    # Entries that meet in one accumulator: of each lane's cycles, slots are products, the others wait.
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    await elapse(10)
    dut.counters_enable.value = 1
    bench.stream([Entry(bench.one, 0, 1)] * 3)
    await elapse(60)
    dut.counters_enable.value = 0
    await RisingEdge(dut.clk)
    _, gain = await gained(counts)
    for lane_gain in gain:
        assert lane_gain[LaneCause.MAC] == 3 * lane.slots
        waits = max(0, bench_distance(lane) - lane.slots)
        assert lane_gain[LaneCause.HAZARD] == 2 * waits
    bench.signal(6)
    bench.drain(0, 2)
    await bench.finish()


def bench_distance(lane):
    """Cycles that two products of one accumulator are apart at least."""
    return mac_loop(format=lane.format) + 3


@cocotb.test()
async def counters_are_exact_while_they_count(dut):
    """Reading in the middle of a program shows what happened up to a few cycles before."""
    bench = await start(dut)
    await bench.start_counting()
    for _ in range(300):
        await RisingEdge(dut.clk)
    dut.counters_select.value = pack(counter_select, index=int(LaneCause.OPERAND_WAIT), y=TILE_Y, x=TILE_X)
    for _ in range(10):
        for _ in range(7):
            await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        now = round((get_sim_time("ns") - bench.enabled_at) // 10)
        assert 0 <= now - int(dut.counters_value.value) <= 4
