"""Entries of a scatter are mixed across rows, those of an accumulator never."""

import dataclasses
import random
from itertools import pairwise

import pytest
from amaranth.sim import Simulator

from acf.config import FeederConfig, preset
from acf.hw.mem.row_interleaver import RowInterleaver

QUEUES = 4


def run(entries, *, speed=1.0, taken=None, skewed=1, depth=8, seed=1, most_cycles=None):
    """Entries (row, accumulator) as they come out, with ``value`` to tell them apart."""
    most_cycles = most_cycles or 20 * len(entries) / speed + 100
    rng = random.Random(seed)
    taken = speed if taken is None else taken
    config = dataclasses.replace(preset("base"), feeder=FeederConfig(queues=QUEUES, interleaved=depth))
    dut = RowInterleaver(config=config)
    found = []

    async def bench(ctx):
        ctx.set(dut.skewed, skewed)
        sent, cycles = 0, 0
        while len(found) < len(entries):
            offers = sent < len(entries) and rng.random() < speed
            ctx.set(dut.i.valid, offers)
            if offers:
                row, accumulator = entries[sent]
                for name, value in (("row", row), ("accumulator", accumulator), ("value", sent & 0xFFFF)):
                    ctx.set(getattr(dut.i.p, name), value)
            ctx.set(dut.o.ready, rng.random() < taken)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                found.append(tuple(ctx.get(getattr(dut.o.p, name)) for name in ("row", "accumulator", "value")))
            sent += offers and ctx.get(dut.i.ready)
            await ctx.tick()
            cycles += 1
            assert cycles <= most_cycles, "entries do not move as they should"
        ctx.set(dut.i.valid, 0)
        await ctx.tick()
        assert not ctx.get(dut.busy)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def by_accumulator(entries):
    order = {}
    for row, accumulator, value in entries:
        order.setdefault(accumulator, []).append((row, value))
    return order


@pytest.mark.parametrize("skewed", [0, 1])
@pytest.mark.parametrize("speed", [1.0, 0.3])
@pytest.mark.parametrize("shape", ["dense", "sparse", "one accumulator", "one queue", "descending", "one row"])
def test_each_accumulator_keeps_its_order(shape, speed, skewed):
    rng = random.Random(2)
    rows = {
        "dense": [list(range(16))] * 12,
        "sparse": [rng.sample(range(64), rng.choice([0, 1, 3])) for _ in range(80)],
        "one accumulator": [[5]] * 40,
        "one queue": [list(range(3, 60, QUEUES))] * 8,
        "descending": [list(range(15, -1, -1))] * 12,
        "one row": [list(range(64))],
    }[shape]
    entries = [(number, accumulator) for number, row in enumerate(rows) for accumulator in row]
    found = run(entries, speed=speed, skewed=skewed)
    expected = [(*entry, number) for number, entry in enumerate(entries)]
    assert by_accumulator(found) == by_accumulator(expected)


def test_neighbours_are_of_different_rows():
    entries = [(row, accumulator) for row in range(30) for accumulator in range(16)]
    found = run(entries, depth=32, taken=0.3)  # lanes work on each of them for some cycles
    middle = [row for row, *_ in found[64:-64]]
    windows = [len(set(middle[n : n + QUEUES])) for n in range(len(middle) - QUEUES)]
    assert sum(windows) / len(windows) > QUEUES - 0.5


def test_neighbours_go_to_different_accumulators():
    entries = [(number, number // 8 % QUEUES) for number in range(300)]  # eight of each accumulator in a row
    found = run(entries, taken=0.3, skewed=0, depth=32)
    accumulators = [accumulator for _, accumulator, _ in found[32:-32]]
    same = sum(a == b for a, b in pairwise(accumulators))
    assert same < len(accumulators) / 4


def test_an_entry_moves_every_cycle():
    entries = [(row, accumulator) for row in range(20) for accumulator in range(16)]
    run(entries, depth=32, most_cycles=len(entries) + 3)
