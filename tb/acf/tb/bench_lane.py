"""A lane alone: products, skipping, order and timing."""

import random

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from cocotb.utils import get_sim_time

from acf.hw.pe.accumulator_bank import clearing_cycles, issue_delay
from acf.hw.pe.lane import settling_cycles
from acf.isa import Flag
from acf.tb.lane_driver import LaneBench
from acf.tb.lane_model import Entry, random_entries, random_operands, random_sampled
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSource, always, at_random, pack, start_clock, wait_until

SKIPPING = bench_config().lane.skipping


async def start(dut, *, use=always) -> LaneBench:
    bench = LaneBench(dut, use=use)
    await start_clock(dut)
    await RisingEdge(dut.clk)
    await bench.clear_all()
    return bench


def seeded() -> random.Random:
    return random.Random(cocotb.RANDOM_SEED)


@cocotb.test()
async def random_entries_give_golden_sums(dut):
    """Any mix of operands, densities, stalls, banks, skipping and columns; many entries meet in few accumulators."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    for turn in range(12):
        bench.entries.use = at_random(rng.choice([0.2, 0.7, 1.0]), rng)
        bench.start_watching()
        bank = turn % lane.operand_banks
        rows = rng.sample(range(lane.operand_rows), 6)
        for row in rows:
            density = rng.choice([0.0, 0.5, 0.9, 1.0])
            bits = random_operands(rng, lane.slots, format=lane.format, density=density)
            await bench.load(bank * lane.operand_rows + row, bits, use=at_random(0.7, rng))
        used = rng.choice([None, rng.getrandbits(lane.slots), 1])
        await bench.set_up(dense=bool(turn % 3 == 2), used=used)
        if lane.number_format.scaled:
            await bench.set_unit(rng.choice([0, 0, 1, 3, 62, rng.getrandbits(6)]))
        accumulators = rng.sample(range(lane.accumulator_rows), rng.choice([1, 2, 4]))
        bench.send(random_entries(rng, 60, lane=lane, rows=rows, accumulators=accumulators), bank=bank)
        await bench.finish()
        await bench.check()


@cocotb.test()
async def loading_another_bank_leaves_sums_alone(dut):
    """Operands are written to one bank while entries read the other."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    rows = range(8)

    async def load_bank(bank):
        for row in rows:
            bits = random_operands(rng, lane.slots, format=lane.format, density=0.6)
            await bench.load(bank * lane.operand_rows + row, bits)

    await load_bank(0)
    for turn in range(6):
        bank = turn % 2
        entries = random_entries(rng, 40, lane=lane, rows=rows, accumulators=range(4))
        bench.send(entries, bank=bank)
        loading = cocotb.start_soon(load_bank(1 - bank))
        await bench.finish()
        await loading
    await bench.check()


@cocotb.test(skip=not SKIPPING)
async def empty_entries_cost_nothing(dut):
    """A run of entries without products passes at one per cycle and delays those around it by nothing."""
    bench = await start(dut)
    lane = bench.lane
    one = bench.one
    await bench.load(0, [0] * lane.slots)
    await bench.load(1, [one] * lane.slots)
    bench.send([Entry(one, 0, n % 4) for n in range(40)] + [Entry(0, 1, n % 4) for n in range(40)])
    await bench.finish()
    assert bench.taken[-1] - bench.taken[0] == 79, "80 entries in 80 cycles"
    assert bench.issued == []
    assert bench.hazards == 0
    # With products around them: the lane issues without a gap, for its FIFO never runs dry.
    bench.start_watching()
    busy = [Entry(one, 1, n) for n in range(3)]
    bench.send([*busy, Entry(one, 0, 0), *busy, Entry(0, 1, 0), Entry(one, 0, 1), *busy])
    await bench.finish()
    assert len(bench.issued) == 9 * lane.slots
    assert bench.issued[-1] - bench.issued[0] == len(bench.issued) - 1 + bench.hazards
    await bench.check()


@cocotb.test()
async def dense_spends_a_cycle_on_every_used_slot(dut):
    """With skipping off zeros cost a cycle and change nothing; columns that are not used cost nothing."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    one = bench.one
    for row, density in enumerate([0.0, 0.3, 1.0]):
        await bench.load(row, random_operands(rng, lane.slots, format=lane.format, density=density))
    used = (1 << lane.slots - 1) - 1
    await bench.set_up(dense=True, used=used)
    entries = [Entry(one, n % 3, n % lane.accumulator_rows) for n in range(60)]
    entries += [Entry(0, n % 3, n % lane.accumulator_rows) for n in range(20)]
    bench.send(entries)
    await bench.finish()
    assert len(bench.issued) == 80 * (lane.slots - 1)
    assert bench.hazards == 0
    assert bench.issued[-1] - bench.issued[0] == len(bench.issued) - 1, "one per cycle"
    await bench.check()


@cocotb.test()
async def interleaved_rows_keep_the_operator_busy(dut):
    """Half of the operands zero, enough accumulators in turn: at least 95 % of the cycles issue a product."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    for row in range(16):
        await bench.load(row, random_operands(rng, lane.slots, format=lane.format, density=0.5))
    values = random_operands(rng, 400, format=lane.format, density=1.0, corners=0)
    bench.send([Entry(value, rng.randrange(16), n % 8) for n, value in enumerate(values)])
    await bench.finish()
    span = bench.issued[-1] - bench.issued[0] + 1
    utilization = len(bench.issued) / span
    dut._log.info(f"utilization {utilization:.3f}, hazards {bench.hazards} of {span} cycles")
    assert utilization >= 0.95, f"{utilization:.3f}"
    await bench.check()


@cocotb.test()
async def accumulators_are_swept_while_others_are_summed(dut):
    """Rows are read and set to +0 beside entries for others, which find them at +0 afterwards; in all modes."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await load_density(bench, rng, [0, 1], range(8), 0.7)
    waits, quiet, together = 0, 0, 0
    for turn in range(12):
        bench.entries.use = at_random(rng.choice([0.3, 1.0]), rng)
        bench.start_watching()
        # Rows that are swept meanwhile have sums of the turn before.
        rows = list(range(lane.accumulator_rows))
        rng.shuffle(rows)
        swept, summed = rows[: len(rows) // 2][:6], rows[len(rows) // 2 :][:6]
        sampled = turn % 3 == 2
        await bench.set_up(dense=turn % 4 == 1, row_bank=1 if sampled else None)
        urgent = at_random([0.0, 0.3, 1.0][turn % 3], rng)
        # The others follow, as soon as their row is swept.
        later: list[Entry] = []
        if sampled:
            places = rng.sample([row * lane.slots + slot for row in summed for slot in range(lane.slots)], 20)
            bench.send([Entry(rng.randrange(8), rng.randrange(8), place) for place in places], bank=0)
        else:
            bench.send(random_entries(rng, 80, lane=lane, rows=range(8), accumulators=summed), bank=0)
            later = random_entries(rng, 30, lane=lane, rows=range(8), accumulators=swept)
        for row in swept:
            await bench.check_row(row, urgent=urgent)
            bench.send([entry for entry in later if entry.accumulator == row], bank=0)
        waits += bench.swept
        quiet += turn % 3 == 0 and bench.swept
        together += bench.together
        await bench.finish()
        assert len(bench.issued) == bench.model.issued.sum()
        assert bench.effectual == bench.model.effectual.sum()
        assert bench.flags == bench.model.raised
    assert waits, "products were made to wait"
    assert not quiet, "and only when it was urgent"
    assert together, "some were swept beside a product"
    bench.start_watching()
    await bench.check()


@cocotb.test()
async def a_swept_accumulator_is_free_soon(dut):
    """An entry for it may come ``clearing_cycles`` after it was read, and starts from +0."""
    bench = await start(dut)
    lane = bench.lane
    one = bench.one
    await bench.load(0, [one] + [0] * (lane.slots - 1))
    bench.entries.stop()
    once, twice = bench.model.one_bits(1), bench.model.one_bits(2)
    entry = pack(bench.layout, value=one, row=0, accumulator=2 * lane.slots)
    dut.entry_payload.value = entry
    dut.sweep_row.value = 2
    dut.sweep_slot.value = 0
    dut.sweep_urgent.value = 1

    async def during(port, cycles=1):
        port.value = 1
        for _ in range(cycles):
            await RisingEdge(dut.clk)
        port.value = 0

    async def elapse(cycles):
        for _ in range(cycles):
            await RisingEdge(dut.clk)

    for pause in range(clearing_cycles(lane=lane) - 1, 12):
        await during(dut.entry_valid, cycles=2)
        await elapse(30)
        await during(dut.sweep_read)
        if pause:
            await FallingEdge(dut.clk)
            assert int(dut.accumulator.value) == twice
        await elapse(pause)
        await during(dut.entry_valid)
        await elapse(30)
        await during(dut.sweep_read)
        await FallingEdge(dut.clk)
        assert int(dut.accumulator.value) == once, f"{pause} cycles behind the sweep"
        await bench.settle()


@cocotb.test()
async def banks_keep_their_own_operands(dut):
    """What is written to a bank is not written to the same row of another."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    banks, rows = list(range(lane.operand_banks)), range(8)
    for turn in range(2 * len(banks)):
        first = banks[turn % len(banks)]
        later = [bank for bank in banks if bank != first]
        await load_density(bench, rng, [first, *rng.sample(later, len(later))], rows, 0.8)
        entries = random_entries(rng, 40, lane=lane, rows=rows, accumulators=range(4))
        bench.send(entries, bank=first)
        await bench.finish()
    await bench.check()


async def load_density(bench, rng, banks, rows, density, *, corners=0.2):
    """Load rows of several banks, each operand not zero with the given probability (one of several when None)."""
    for bank in banks:
        for row in rows:
            drawn = rng.choice([0.0, 0.3, 0.7, 1.0]) if density is None else density
            bits = random_operands(rng, bench.lane.slots, format=bench.lane.format, density=drawn, corners=corners)
            await bench.load(bank * bench.lane.operand_rows + row, bits)


@cocotb.test()
async def sampled_entries_give_golden_sums(dut):
    """Two operands of each product, sums over the slots; banks of both parities, between streams of the other modes."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    for turn in range(16):
        bench.entries.use = at_random(rng.choice([0.2, 0.7, 1.0]), rng)
        bench.start_watching()
        bank, row_bank = rng.choice(pairs_of_banks(lane))
        rows, row_rows = (rng.sample(range(lane.operand_rows), 6) for _ in range(2))
        await load_density(bench, rng, [bank], rows, None)
        await load_density(bench, rng, [row_bank], row_rows, None)
        used = rng.choice([None, None, rng.getrandbits(lane.slots), 1])
        await bench.set_up(dense=turn % 4 == 3, used=used, row_bank=row_bank)
        entries = random_sampled(rng, rng.choice([1, 5, 40]), lane=lane, rows=rows, row_rows=row_rows)
        # Two streams into the same accumulators: the lane is idle between them.
        middle = rng.randrange(len(entries) + 1)
        bench.send(entries, bank=bank)
        await bench.finish()
        bench.send(entries[middle:], bank=bank)
        await bench.finish()
        if turn % 2:
            await bench.set_up(dense=turn % 4 == 1)
            bench.send(random_entries(rng, 20, lane=lane, rows=rows, accumulators=range(2)), bank=bank)
            await bench.finish()
        await bench.check()


@cocotb.test(skip=not SKIPPING)
async def waves_follow_each_other(dut):
    """Entries of the next wave come while those of the one before are there, also for the same accumulators; the lane
    tells when the products of the wave before have been issued, and settles soon."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await load_density(bench, rng, [0, 1], range(8), 0.7)
    for turn in range(20):
        bench.entries.use = at_random(rng.choice([0.2, 0.7, 1.0]), rng)
        bench.start_watching()
        sampled = turn % 2 == 1
        await bench.set_up(dense=turn % 5 == 4, row_bank=1 if sampled else None)
        for wave in (1, 0):
            counts = []
            for part in (1 - wave, wave):
                count = rng.choice([1, 3, 12])
                if sampled:
                    entries = random_sampled(rng, count, lane=lane, rows=range(8), row_rows=range(8))
                else:
                    entries = random_entries(rng, count, lane=lane, rows=range(8), accumulators=range(2))
                if part == wave:
                    await wait_until(dut, lambda: bench.entries.idle, cycles=2000, pending=lambda: "entries")
                    await RisingEdge(dut.clk)
                    dut.wave.value = wave
                bench.send(entries, wave=part)
                counts.append(bench.model.issued.sum())
            before = counts[0]
            await RisingEdge(dut.clk)
            for _ in range(2000):
                await FallingEdge(dut.clk)
                issued = len(bench.issued)
                if int(dut.passed.value):
                    break
                assert not int(dut.idle.value)
            assert issued >= before, f"{issued} products issued, {before} in the wave that has passed"
            for _ in range(settling_cycles(lane=lane)):
                await RisingEdge(dut.clk)
            await bench.finish()
        await bench.check()


def pairs_of_banks(lane):
    """Banks of a SAMPLED stream: of different parity."""
    banks = range(lane.operand_banks)
    return [(bank, row_bank) for bank in banks for row_bank in banks if bank % 2 != row_bank % 2]


@cocotb.test()
async def stalls_change_no_sampled_bits(dut):
    """The same stream, sent in bursts and in drops, interleaves differently and gives the same bits."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await load_density(bench, rng, [0, 1], range(8), 0.7)
    entries = random_sampled(rng, min(400, lane.accumulator_rows), lane=lane, rows=range(8), row_rows=range(8))
    spans = set()
    for probability in (1.0, 0.5, 0.2, 0.05):
        await bench.clear_all()
        bench.start_watching()
        bench.entries.use = at_random(probability, rng)
        await bench.set_up(dense=False, row_bank=1)
        bench.send(entries)
        await bench.finish()
        spans.add(bench.issued[-1] - bench.issued[0])
        await bench.check()
    assert len(spans) > 1, "stalls made no difference"


@cocotb.test()
async def sampled_entries_take_turns(dut):
    """Products of one entry are apart, those of many fill the gaps: how busy that keeps the operator."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await load_density(bench, rng, [0, 1], range(16), 0.5, corners=0)
    count = min(600, lane.accumulator_rows * lane.slots)
    await bench.set_up(dense=False, row_bank=1)
    bench.send(random_sampled(rng, count, lane=lane, rows=range(16), row_rows=range(16)))
    await bench.finish()
    span = bench.issued[-1] - bench.issued[0] + 1
    utilization = len(bench.issued) / span
    dut._log.info(
        f"utilization {utilization:.3f}, hazards {bench.hazards} of {span} cycles, "
        f"{len(bench.issued) / count:.2f} products an entry"
    )
    # A quarter of the products is effectual. With too few places the share of a full turn that they are bounds it.
    expected = 0.9 * min(1, 0.9 * lane.barrel / bench.distance)
    assert count < 100 or utilization >= expected, f"{utilization:.3f}, not {expected:.3f}"
    await bench.check()


@cocotb.test()
async def a_mask_is_looked_up_for_the_tile(dut):
    """Any row of any bank, whatever the mode; without skipping a single operand."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await load_density(bench, rng, range(lane.operand_banks), range(8), 0.5)
    for turn in range(20):
        await bench.set_up(dense=False, row_bank=1 if turn % 2 else None)
        row = rng.randrange(lane.operand_banks) * lane.operand_rows + rng.randrange(8)
        slot = rng.randrange(lane.slots)
        if SKIPPING:
            dut.entry_payload.value = pack(bench.layout, row=row, value=rng.randrange(8))
        else:
            dut.look_up_row.value = row
            dut.look_up_slot.value = slot
        dut.look_up.value = 1
        await RisingEdge(dut.clk)
        dut.look_up.value = 0
        await FallingEdge(dut.clk)
        nonzeros = ~bench.model.golden.is_zero(bench.model.operands[row])
        if SKIPPING:
            assert int(dut.mask.value) == sum(int(nonzero) << slot for slot, nonzero in enumerate(nonzeros))
        else:
            assert int(dut.nonzero.value) == nonzeros[slot]
        await RisingEdge(dut.clk)


@cocotb.test()
async def timing_is_as_promised(dut):
    """First issue as promised after the entry, those of one accumulator loop + 3 cycles apart, then idle."""
    bench = await start(dut)
    lane = bench.lane
    one = bench.one
    await bench.load(0, [one] + [0] * (lane.slots - 1))
    await bench.set_up(dense=False, used=1)
    bench.send([Entry(one, 0, 5)] * 10)
    await bench.finish()
    assert bench.issued[0] - bench.taken[0] == issue_delay(lane=lane)
    apart = bench.distance
    assert bench.issued == list(range(bench.issued[0], bench.issued[0] + 10 * apart, apart))
    assert bench.hazards == 9 * (apart - 1)
    assert bench.idle_since == bench.issued[-1] + bench.duration, "idle when the last accumulator is written"
    await bench.check()


@cocotb.test()
async def wrapping_is_reported(dut):
    """An int32 accumulator is summed up until it wraps; float32 has nothing to report."""
    bench = LaneBench(dut)
    bench.stop()  # hundreds of thousands of cycles: no Python in each
    lane = bench.lane
    if lane.format != "int8" or "Icarus" in cocotb.SIM_NAME:  # Icarus would take a minute
        return
    await start_clock(dut)
    await bench.clear_all()
    await bench.load(3, [0x80] + [0] * (lane.slots - 1))
    dut.used.value = 1
    dut.entry_payload.value = pack(bench.layout, value=0x80, row=3, accumulator=lane.slots)  # adds 2^14
    dut.entry_valid.value = 1
    begin = get_sim_time("ns")
    await with_timeout(RisingEdge(dut.flags), 10 * (1 << 20), "ns")
    cycles = (get_sim_time("ns") - begin) / 10
    dut.entry_valid.value = 0
    terms = 1 << 31 - 14
    assert 0 <= cycles - terms * bench.distance < 10, f"wrapped after {cycles} cycles"
    for _ in range(20 * (lane.fifo_depth + lane.barrel)):
        await RisingEdge(dut.clk)
    # Back again, a smaller step at a time, until the last product is one that wraps.
    dut.entry_payload.value = pack(bench.layout, value=0x7F, row=3, accumulator=lane.slots)
    steps, wrapped = 0, False
    while not wrapped:
        dut.entry_valid.value = 1
        await RisingEdge(dut.clk)
        dut.entry_valid.value = 0
        for _ in range(2 * bench.distance):
            await FallingEdge(dut.clk)
            wrapped |= bool(int(dut.flags.value))
        await RisingEdge(dut.clk)
        steps += 1
        assert steps <= lane.fifo_depth + lane.barrel + 5
    total, *others = await bench.sweep(1)
    assert not any(others)
    further, rest = divmod(total + steps * 127 * 128 - (1 << 31), 1 << 14)
    assert rest == 0
    assert 0 <= further <= lane.fifo_depth + lane.barrel + 2
    # What is set to +0 does not wrap.
    for row in (0, 2):
        await bench.sweep(row)
        for _ in range(bench.distance):
            await FallingEdge(dut.clk)
            assert not int(dut.flags.value)
        await RisingEdge(dut.clk)


@cocotb.test(skip=not bench_config().lane.number_format.scaled)
async def fixed_point_sums_raise_flags(dut):
    """Each flag when the sum is written that raises it, and no other; wrapped sums come back."""
    bench = await start(dut)
    lane = bench.lane
    large, one, tiny, infinite = 0x4600, 0x3F80, 0x2600, 0xFF80
    await bench.load(0, [one] + [0] * (lane.slots - 1))
    await bench.set_up(dense=False, used=1)
    steps = [(large, 0), (large, Flag.OVERFLOW), (large, 0), (0xC600, 0), (0xC600, Flag.OVERFLOW), (one, 0)]
    steps += [
        (tiny, Flag.UNDERFLOW),
        (infinite, Flag.INVALID),
        (one, 0),
        (0x4680, Flag.OVERFLOW),
        (0x7FC0, Flag.INVALID),
    ]
    for value, raised in steps:
        bench.start_watching()
        bench.send([Entry(value, 0, 2)])
        await bench.finish()
        assert bench.model.raised == raised, f"{value:04X}"
        assert bench.flags == raised, f"{value:04X}"
    assert bench.model.accumulators[2, 0] < 0, "invalid"
    bench.start_watching()
    await bench.check()


@cocotb.test()
async def reset_leaves_nothing_behind(dut):
    """A lane that is reset with entries in every stage forgets them and works again."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await load_density(bench, rng, [0, 1], range(4), 0.7)
    for pause in range(1, 27):
        bench.entries.stop()
        bench.entries = StreamSource(dut, "entry")
        if pause % 2:
            await bench.set_up(dense=False)
            bench.send(random_entries(rng, 40, lane=lane, rows=range(4), accumulators=range(3)))
        else:
            await bench.set_up(dense=False, row_bank=1)
            bench.send(random_sampled(rng, 40, lane=lane, rows=range(4), row_rows=range(4)))
        for _ in range(pause):
            await RisingEdge(dut.clk)
        bench.entries.stop()
        dut.entry_valid.value = 0
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        for _ in range(lane.barrel + 1):
            await FallingEdge(dut.clk)
            assert not int(dut.issued.value)
            assert not int(dut.hazard.value)
        assert int(dut.idle.value)
        await RisingEdge(dut.clk)
    bench.entries = StreamSource(dut, "entry")
    await bench.clear_all()
    bench.start_watching()
    await bench.set_up(dense=False)
    bench.send(random_entries(rng, 40, lane=lane, rows=range(4), accumulators=range(3)))
    await bench.finish()
    await bench.set_up(dense=False, row_bank=1)
    bench.send(random_sampled(rng, 40, lane=lane, rows=range(4), row_rows=range(4)))
    await bench.finish()
    await bench.check()
