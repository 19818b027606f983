# amaranth: UnusedElaboratable=no
"""The rewire engine and what it is made of."""

import random

import pytest
from amaranth.sim import Simulator

from acf.config import preset
from acf.hw.structure.selector import Selector
from acf.tb.runner import has_icarus, run_bench


def run(**settings):
    run_bench("rewire_engine", module="acf.tb.bench_rewire_engine", **settings)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.regress)])
def test_rewire_engine_verilator(seed):
    run(seed=seed)


def test_rewire_engine_base():
    run(config=preset("base"))


@pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")
def test_rewire_engine_icarus():
    run(simulator="icarus", testcase=["bad_layers"])


def test_selector_keeps_the_best_in_order():
    rng = random.Random(1)
    selector = Selector(depth=6, key_width=8, tag_width=8)

    async def bench(ctx):
        for _ in range(60):
            limit = rng.randint(0, 6)
            items = [(rng.randrange(rng.choice([3, 256])), tag) for tag in range(rng.randint(0, 20))]
            ctx.set(selector.clear, 1)
            ctx.set(selector.limit, limit)
            await ctx.tick()
            ctx.set(selector.clear, 0)
            for key, tag in items:
                while rng.random() < 0.3:
                    await ctx.tick()
                ctx.set(selector.valid, 1)
                ctx.set(selector.key, key)
                ctx.set(selector.tag, tag)
                await ctx.tick()
                ctx.set(selector.valid, 0)
            while not ctx.get(selector.settled):
                await ctx.tick()
            best = sorted(items, key=lambda item: (-item[0], item[1]))[:limit]
            assert ctx.get(selector.kept) == len(best)
            assert ctx.get(selector.full) == (len(best) == limit != 0)
            got = []
            for _ in range(limit):
                if ctx.get(selector.worst_valid):
                    got.append((ctx.get(selector.worst_key), ctx.get(selector.worst_tag)))
                ctx.set(selector.pop, 1)
                await ctx.tick()
            ctx.set(selector.pop, 0)
            assert got[::-1] == best
            assert not ctx.get(selector.worst_valid)

    simulator = Simulator(selector)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_selector_of_no_places_is_refused():
    with pytest.raises(ValueError, match="places of a selector must be positive, not 0"):
        Selector(depth=0, key_width=1, tag_width=1)
