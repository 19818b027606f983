"""A compute tile alone: packets in, sums and signals out."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from acf.isa import NO_SEMAPHORE
from acf.tb.lane_model import Entry, random_entries, random_sampled
from acf.tb.stream import at_random
from acf.tb.tile_cases import SKIPPING, seeded, some_form, some_unit, start
from acf.tb.tile_driver import TILE_X


@cocotb.test()
async def random_programs_give_golden_sums(dut):
    """Loads into one bank while the other computes, streams of all kinds, drains and clears, under random stalls."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    half = lane.operand_rows // 2
    await bench.start_counting()
    bench.load(0, bench.random_rows(rng, range(half)), semaphore=0)
    await bench.finish()
    for turn in range(10):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.3, 0.8, 1.0]), rng))
        bank = turn % 2
        # The next bank loads while this one computes.
        begin = rng.randrange(half)
        rows = bench.random_rows(rng, range(begin, begin + rng.randrange(1, half)))
        if rng.random() < 0.5 and SKIPPING:
            bench.load_packed(1 - bank, begin, list(rows.values()), semaphore=rng.randrange(8))
        else:
            bench.load(1 - bank, rows, semaphore=rng.randrange(8), packet_rows=rng.randrange(1, 4))

        columns = rng.choice([0, bench.columns + 3, 2 * bench.columns, 4 * bench.columns])
        tile_columns = rng.choice([bench.columns, bench.columns // 2])
        bench.set_up(bank=bank, skip=bool(turn % 3), columns=columns, tile_columns=tile_columns, unit=some_unit(rng))
        accumulators = rng.sample(range(lane.accumulator_rows), rng.choice([1, 2, 8]))
        entries = random_entries(
            rng, rng.randrange(80), lane=lane, rows=range(lane.operand_rows), accumulators=accumulators
        )
        middle = rng.randrange(len(entries) + 1)
        bench.stream(entries[:middle])
        if rng.random() < 0.3:
            bench.clear(rng.choice(accumulators), 1)
        bench.stream(entries[middle:])
        bench.signal(rng.choice([1, 2, NO_SEMAPHORE]))
        first = rng.randrange(lane.accumulator_rows)
        bench.drain(first, rng.randrange(lane.accumulator_rows - first + 1), **some_form(rng, lane))
        if rng.random() < 0.5:
            bench.clear(0, rng.randrange(lane.accumulator_rows))
            bench.signal(3)
        await bench.finish()
    bench.drain(0, lane.accumulator_rows)
    await bench.finish()
    await bench.check_counters(await bench.stop_counting())


@cocotb.test()
async def drained_rows_start_from_zero(dut):
    """A drain returns the sums once, then +0; rows beside it keep theirs."""
    rng = seeded()
    bench = await start(dut)
    bench.load(0, bench.random_rows(rng, range(4), density=1.0), semaphore=0)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, n % 4, n % 4) for n in range(8)])
    bench.signal(1)
    bench.drain(1, 2)
    bench.drain(0, 4)
    bench.drain(2, 0)
    await bench.finish()
    bench.drain(0, 4)
    await bench.finish()
    # Without a SIGNAL between them the order is kept too.
    for _ in range(3):
        bench.stream([Entry(bench.one, n % 4, 1) for n in range(5)])
        bench.drain(1, 1)
        bench.stream([Entry(bench.one, n % 4, 2) for n in range(5)])
        bench.clear(2, 1)
        bench.stream([Entry(bench.one, n % 4, 2) for n in range(3)])
    bench.drain(0, 4)
    await bench.finish()


@cocotb.test()
async def sampled_streams_give_golden_sums(dut):
    """Streams of SAMPLED between those of GATHER, with both roles of the banks, all drained as they are."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await bench.start_counting()
    for turn in range(8):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.3, 0.8, 1.0]), rng))
        for bank in (0, 1):
            bench.load(bank, bench.random_rows(rng, range(8)), semaphore=bank)
        await bench.finish()
        bank = turn % 2
        columns = rng.choice([bench.columns + 3, 2 * bench.columns, 4 * bench.columns])
        bench.set_up(bank=bank, skip=bool(turn % 3), columns=columns, row_bank=1 - bank, unit=some_unit(rng))
        bench.stream(random_sampled(rng, rng.randrange(40), lane=lane, rows=range(8), row_rows=range(8)))
        # The next one may use the same accumulators, while entries of this one are still in the lanes.
        bench.set_up(bank=1 - bank, skip=True, columns=columns, row_bank=bank)
        bench.stream(random_sampled(rng, rng.randrange(40), lane=lane, rows=range(8), row_rows=range(8)))
        bench.set_up(bank=bank, skip=True, columns=columns)
        bench.stream(random_entries(rng, 10, lane=lane, rows=range(8), accumulators=range(3)))
        bench.signal(4)
        bench.drain(0, rng.randrange(lane.accumulator_rows), **some_form(rng, lane))
        await bench.finish()
    await bench.check_counters(await bench.stop_counting())


@cocotb.test()
async def gated_drains_leave_out_zeros(dut):
    """Results of columns whose operand is zero are +0, for any rows of either bank, also in an open SAMPLED stream."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    for bank in range(lane.operand_banks):
        bench.load(bank, bench.random_rows(rng, range(lane.operand_rows), density=0.5), semaphore=0)
    await bench.finish()
    for turn in range(8):
        bench.results.use = at_random(rng.choice([0.3, 1.0]), rng)
        bench.set_up(bank=0, skip=True, columns=2 * bench.columns, row_bank=[None, 1][turn % 2])
        if turn % 2:
            bench.stream(random_sampled(rng, 60, lane=lane, rows=range(8), row_rows=range(8)))
        else:
            bench.stream(random_entries(rng, 40, lane=lane, rows=range(20), accumulators=range(8)))
        step = rng.randrange(lane.operand_rows // 8)
        gate_row = rng.randrange(lane.operand_rows - 7 * step)
        bench.drain(
            0, rng.randrange(1, 9), gate=(rng.randrange(lane.operand_banks), gate_row, step), **some_form(rng, lane)
        )
        if turn % 2:
            bench.stream(random_sampled(rng, 20, lane=lane, rows=range(8), row_rows=range(8)))
        bench.drain(0, 9, gate=(turn // 2 % 2, rng.randrange(lane.operand_rows), 0))
        bench.drain(0, lane.accumulator_rows)
        await bench.finish()


@cocotb.test()
async def lanes_are_summed_up(dut):
    """SUMS packets of one DRAIN or several, at the east end and inside, among rows sent as they are; random stalls."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    await bench.start_counting()
    for turn in range(12):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.2, 0.7, 1.0]), rng))
        bench.move_to([bench.config.cols, 1][turn % 2])
        for bank in (0, 1):
            bench.load(bank, bench.random_rows(rng, range(8), corners=rng.choice([0, 0.1])), semaphore=bank)
        await bench.finish()
        row_bank = rng.randrange(2)
        bench.set_up(bank=1 - row_bank, skip=bool(turn % 3), columns=rng.choice([3, 8]) * bench.columns // 2,
                     row_bank=row_bank, unit=some_unit(rng))  # fmt: skip
        accumulators = lane.accumulator_rows * lane.slots
        bench.stream(
            random_sampled(rng, min(300, accumulators), lane=lane, rows=range(8), row_rows=range(8)),
        )
        bench.signal(4)
        packets = rng.randrange(lane.accumulator_rows // lanes + 1)
        first = rng.randrange(lane.accumulator_rows - packets * lanes + 1)
        earlier = rng.randrange(packets + 1)
        bench.reduce(rng, first, earlier)
        if turn % 4 < 2:
            bench.drain(0, 2, gate=(0, 3, 1))
        bench.reduce(rng, first + earlier * lanes, packets - earlier)
        bench.drain(0, rng.randrange(lane.accumulator_rows), **some_form(rng, lane))
        # The sums of the next DRAIN may be there long before it.
        bench.signal(5)
        bench.set_up(bank=0, skip=True, columns=bench.columns * 2)
        bench.stream(random_entries(rng, 30, lane=lane, rows=range(8), accumulators=range(4)))
        bench.reduce(rng, 0, lane.accumulator_rows // lanes)
        bench.signal(6)
        await bench.finish()
        assert bench.sums.idle
    cycles = await bench.stop_counting()
    bench.move_to(TILE_X)
    await RisingEdge(dut.clk)
    await bench.check_counters(cycles)


@cocotb.test()
async def no_signal_is_lost(dut):
    """While the network takes no DONE, loads and streams wait for each other, and every semaphore comes out once."""
    rng = seeded()
    bench = await start(dut)
    for turn in range(4):
        bench.control.use = lambda: False
        for semaphore in (0, 1, 2):
            bench.load(0, bench.random_rows(rng, [semaphore]), semaphore=semaphore)
            bench.signal(semaphore + 3)
            bench.signal(NO_SEMAPHORE)
            for _ in range(turn):
                await RisingEdge(dut.clk)
        for _ in range(60):
            await RisingEdge(dut.clk)
        assert not bench.operands.idle, "the third load waits until the first is signalled"
        bench.control.use = at_random(0.5, rng)
        await bench.finish()


@cocotb.test()
async def a_load_without_rows_signals(dut):
    """Its one packet is head and tail at once; loads with rows come before and after it."""
    bench = await start(dut)
    rng = seeded()
    bench.load(0, bench.random_rows(rng, [1]), semaphore=1)
    bench.load(0, {}, semaphore=2)
    bench.load(0, {}, semaphore=NO_SEMAPHORE)
    bench.load(0, bench.random_rows(rng, [2, 3]), semaphore=4)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=4 * bench.columns)
    bench.stream(random_entries(rng, 20, lane=bench.lane, rows=[1, 2, 3], accumulators=[0, 1]))
    bench.signal(5)
    bench.drain(0, 2)
    await bench.finish()


@cocotb.test()
async def any_order_of_packets_looks_like_one_after_the_other(dut):
    """Streams go into rows that are being swept, were swept and will be; drains, sums and clears follow each other."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    for bank in (0, 1):
        bench.load(bank, bench.random_rows(rng, range(8)), semaphore=bank)
    await bench.finish()
    await bench.start_counting()

    def some_rows():
        first = rng.randrange(lane.accumulator_rows)
        return first, rng.randrange(min(12, lane.accumulator_rows - first) + 1)

    def stream():
        skip, bank, columns = rng.random() < 0.7, rng.randrange(2), rng.choice([3, 8]) * bench.columns // 2
        if rng.random() < 0.3:
            bench.set_up(bank=bank, skip=skip, columns=columns, row_bank=1 - bank, unit=some_unit(rng))
            bench.stream(random_sampled(rng, rng.randrange(30), lane=lane, rows=range(8), row_rows=range(8)))
        else:
            bench.set_up(bank=bank, skip=skip, columns=columns, unit=some_unit(rng))
            rows = rng.sample(range(lane.accumulator_rows), rng.choice([1, 3, 8]))
            bench.stream(random_entries(rng, rng.randrange(40), lane=lane, rows=range(8), accumulators=rows))
        if rng.random() < 0.7:
            bench.signal(rng.randrange(8))

    def drain():
        gate = (rng.randrange(2), rng.randrange(8), 0) if rng.random() < 0.3 else None
        bench.drain(*some_rows(), gate=gate, **some_form(rng, lane))

    def reduce():
        first, count = some_rows()
        bench.reduce(rng, first, count // lanes)

    def clear():
        bench.clear(*some_rows())
        if rng.random() < 0.5:
            bench.signal(rng.randrange(8))

    for turn in range(8):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.3, 0.8, 1.0]), rng))
        bench.results.use = at_random(rng.choice([0.1, 0.5, 1.0]), rng)
        bench.move_to([TILE_X, 1][turn % 2])
        for _ in range(20):
            rng.choices([stream, drain, reduce, clear], weights=[5, 3, 1, 1])[0]()
        bench.signal(3)  # comes when the lanes have done everything
        await bench.finish()
        assert bench.sums.idle
    cycles = await bench.stop_counting()
    bench.move_to(TILE_X)
    await RisingEdge(dut.clk)
    await bench.check_counters(cycles)


@cocotb.test()
async def reset_leaves_nothing_behind(dut):
    """A tile that is reset in the middle of anything works like a new one."""
    rng = seeded()
    bench = await start(dut)
    for pause in (3, 9, 17, 30, 45, 70, 100, 150, 220):
        rows = range(8)
        bench.load(0, bench.random_rows(rng, rows), semaphore=0)
        bench.set_up(bank=1, skip=bool(pause % 2), columns=2 * bench.columns)
        bench.stream(random_entries(rng, 20, lane=bench.lane, rows=rows, accumulators=range(3)))
        if pause % 3:
            bench.drain(0, 2)
        else:
            bench.reduce(rng, 0, 2)
        bench.signal(2)
        for _ in range(pause):
            await RisingEdge(dut.clk)
        bench.close_ports()
        dut.entries_valid.value = 0
        dut.operands_valid.value = 0
        dut.results_i_valid.value = 0
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        assert not int(dut.results_valid.value)
        assert not int(dut.control_valid.value)
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        bench.open_ports()
        bench.expected_rows.clear()
        bench.expected_forms.clear()
        bench.expected_done.clear()
    bench.clear(0, bench.lane.accumulator_rows)
    bench.load(0, bench.random_rows(rng, range(8)), semaphore=0)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream(random_entries(rng, 30, lane=bench.lane, rows=range(8), accumulators=range(3)))
    bench.signal(1)
    bench.drain(0, 4)
    await bench.finish()
