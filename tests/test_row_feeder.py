# amaranth: UnusedElaboratable=no
"""The row feeder and what it is made of."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from acf.config import FeederConfig, MemoryConfig, preset
from acf.hw.mem.csr_fetch import CsrFetch
from acf.hw.mem.multiply import PairMultiplier
from acf.hw.mem.row_feeder import RowFeeder
from acf.hw.mem.row_share import RowShare
from acf.tb.mutation import BENCHES
from acf.tb.runner import has_icarus, run_bench

needs_icarus = pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")


def run(**settings):
    run_bench("row_feeder", module=BENCHES["row_feeder"].module, **settings)


def test_row_feeder_verilator():
    run(divisor=3)


@pytest.mark.regress
@pytest.mark.parametrize("format", ["bf16", "int8"])
@pytest.mark.parametrize("seed", [1, 2])
def test_row_feeder_with_many_commands(format, seed):
    run(config=preset("tiny").with_format(format), seed=seed)


@pytest.mark.regress
@needs_icarus
def test_row_feeder_icarus():
    run(simulator="icarus", testcase=["random_commands", "a_stream_passes_a_drain", "errors", "independent_memory"])


@pytest.mark.regress
def test_row_feeder_base():
    run(config=preset("base"), testcase=["throughput", "empty_rows", "drain_throughput", "random_commands"])


def simulate(component, bench):
    """Run a bench of Amaranth's simulator, at most 10,000 cycles of it."""
    ended = False

    async def whole(ctx):
        nonlocal ended
        await bench(ctx)
        ended = True

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(whole)
    simulator.run_until(10_000e-6)
    assert ended, "the bench did not end"


def test_pair_multiplier():
    rng = random.Random(1)
    multiplier = PairMultiplier(width=32)

    async def bench(ctx):
        for _ in range(60):
            multiplicand, a, b = (rng.choice([0, 1, rng.getrandbits(32), rng.getrandbits(8)]) for _ in range(3))
            for port, value in ((multiplier.multiplicand, multiplicand), (multiplier.a, a), (multiplier.b, b)):
                ctx.set(port, value)
            ctx.set(multiplier.start, 1)
            await ctx.tick()
            ctx.set(multiplier.start, 0)
            cycles = 0
            while ctx.get(multiplier.busy):
                await ctx.tick()
                cycles += 1
            assert ctx.get(multiplier.a_product) == multiplicand * a % (1 << 32)
            assert ctx.get(multiplier.b_product) == multiplicand * b % (1 << 32)
            assert cycles == max(a, b).bit_length()

    simulate(multiplier, bench)


def golden_share(fields, *, feeder):
    """Row by row, as the program format says it."""
    rows = [fields["begin"] + feeder * fields["offset"] + n * fields["step"] for n in range(fields["limit"])]
    return [row for row in rows if row < fields["end"]]


def test_row_share():
    rng = random.Random(2)
    share = RowShare(most=16)

    async def bench(ctx):
        for _ in range(200):
            top = rng.choice([10, 100, (1 << 32) - 1])
            fields = {
                "begin": rng.randint(0, top),
                "end": rng.choice([0, rng.randint(0, top), top]),
                "offset": rng.choice([0, 1, 0xFFFF]),
                "step": rng.choice([0, 1, 4, 0xFFFF]),
                "limit": rng.choice([0, 1, 15, 16, 17, 1000]),
            }
            feeder = rng.randrange(15)
            for name, value in fields.items():
                ctx.set(share.i[name], value)
            ctx.set(share.feeder, feeder)
            await ctx.tick()
            ctx.set(share.start, 1)
            await ctx.tick()
            ctx.set(share.start, 0)
            cycles = 0
            while not ctx.get(share.done):
                await ctx.tick()
                cycles += 1
            assert cycles <= 8
            rows = golden_share(fields, feeder=feeder)
            if len(rows) <= 16:
                assert ctx.get(share.count) == len(rows), f"{fields} {feeder}"
            else:
                assert ctx.get(share.count) > 16
            if rows:
                assert ctx.get(share.first) == rows[0]

    simulate(share, bench)


@pytest.mark.parametrize("component", [CsrFetch, RowFeeder])
def test_cursors_need_memory_ids(component):
    config = dataclasses.replace(
        preset("base"), feeder=FeederConfig(cursors=8), memory=MemoryConfig(data_width=256, id_width=4)
    )
    with pytest.raises(ValueError, match="8 row cursors need 17 memory IDs, but the ID width is 4"):
        component(config=config)


def test_multiplier_has_a_width():
    with pytest.raises(ValueError, match="multiplier width must be positive, not 0"):
        PairMultiplier(width=0)


def test_row_share_needs_a_power_of_two():
    with pytest.raises(ValueError, match="greatest number of rows must be a power of two, not 12"):
        RowShare(most=12)
