"""What the benches of a tile begin with, and random choices that they share."""

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from acf.config import LaneConfig
from acf.tb.runner import bench_config
from acf.tb.stream import always, start_clock
from acf.tb.tile_driver import TileBench

__all__ = ["SKIPPING", "seeded", "some_form", "some_unit", "start"]

SKIPPING = bench_config().lane.skipping
"""Whether lanes have hardware that skips zeros."""


async def start(dut, *, use=always) -> TileBench:
    """A tile after reset, whose accumulators are +0."""
    bench = TileBench(dut, use=use)
    await start_clock(dut)
    await RisingEdge(dut.clk)
    bench.clear(0, bench.lane.accumulator_rows)
    bench.signal(7)
    await bench.finish()
    return bench


def seeded() -> random.Random:
    """Random numbers by the seed of the run."""
    return random.Random(cocotb.RANDOM_SEED)


def some_form(rng: random.Random, lane: LaneConfig) -> dict[str, Any]:
    """What results are sent of a DRAIN, and how."""
    return {"narrow": lane.number_format.narrows and rng.random() < 0.4, "lower": rng.random() < 0.4}


def some_unit(rng: random.Random) -> int:
    """What the last bit of an accumulator weighs, where the number format asks."""
    return rng.choice([0, 0, 1, 62, rng.getrandbits(6)])
