"""The prune engine and what it is made of."""

import random

import pytest
from amaranth.sim import Simulator

from acf.config import preset
from acf.hw.structure.radix_select import DIGITS, KEY_WIDTH, RadixSelect
from acf.tb.runner import has_icarus, run_bench


def run(**settings):
    run_bench("prune_engine", module="acf.tb.bench_prune_engine", **settings)


def test_prune_engine_verilator():
    run(divisor=3)


@pytest.mark.regress
@pytest.mark.parametrize("seed", [1, 2])
def test_prune_engine_with_many_layers(seed):
    run(seed=seed)


@pytest.mark.regress
def test_prune_engine_base():
    run(config=preset("base"))


@pytest.mark.regress
@pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")
def test_prune_engine_icarus():
    run(simulator="icarus", testcase=["bad_layers"])


def some_keys(rng):
    """Keys of which many are alike, in all of their bits or in the higher ones."""
    count, kind = rng.choice([0, 1, 5, 40]), rng.randrange(4)
    if kind == 0:
        return [rng.getrandbits(KEY_WIDTH) for _ in range(count)]
    if kind == 1:
        return [rng.choice([0, 1, (1 << KEY_WIDTH) - 1, 1 << 20]) for _ in range(count)]
    return [0x3F000000 | rng.getrandbits(4) << rng.choice([0, 10, 20]) for _ in range(count)]


def test_radix_select_finds_the_smallest():
    rng = random.Random(1)
    select = RadixSelect()

    async def idle(ctx):
        await ctx.tick()
        while ctx.get(select.busy):
            await ctx.tick()

    async def bench(ctx):
        for _ in range(12):
            keys = some_keys(rng)
            rank = rng.choice([0, 1, len(keys), len(keys) + 1, 0xFFFFFFFF, rng.randint(0, len(keys))])
            ctx.set(select.start, 1)
            ctx.set(select.rank, rank)
            await ctx.tick()
            ctx.set(select.start, 0)
            await idle(ctx)
            for number in range(len(DIGITS)):
                assert ctx.get(select.passes) == number
                for key in keys:
                    while rng.random() < 0.2:
                        await ctx.tick()
                    ctx.set(select.valid, 1)
                    ctx.set(select.key, key)
                    await ctx.tick()
                    ctx.set(select.valid, 0)
                ctx.set(select.ended, 1)
                await ctx.tick()
                ctx.set(select.ended, 0)
                await idle(ctx)
            assert ctx.get(select.passes) == len(DIGITS)
            ties, found = ctx.get(select.ties), []
            for place, key in enumerate(keys):
                ctx.set(select.key, key)
                if ctx.get(select.below):
                    found.append(place)
                elif ctx.get(select.equal) and ties:
                    found.append(place)
                    ties -= 1
            assert found == sorted(sorted(range(len(keys)), key=lambda place: keys[place])[:rank]), (rank, keys)

    simulator = Simulator(select)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
