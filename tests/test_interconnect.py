# amaranth: UnusedElaboratable=no
"""The interconnects of the memory port, and what they are made of."""

import random
import re

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from acf.config import MemoryConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.interconnect import ReadInterconnect, WriteInterconnect, interconnect_id_width
from acf.hw.mem.skid_buffer import SkidBuffer
from acf.tb.runner import has_icarus, run_bench

needs_icarus = pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")
simulators = pytest.mark.parametrize(
    ("simulator", "divisor"),
    [
        ("verilator", 3),
        pytest.param("verilator", 1, marks=pytest.mark.regress),
        pytest.param("icarus", 1, marks=[needs_icarus, pytest.mark.regress]),
    ],
)


@simulators
def test_read_interconnect(simulator, divisor):
    run_bench(
        "read_interconnect",
        module="acf.tb.bench_interconnect",
        simulator=simulator,
        divisor=divisor,
        env={"ACF_BENCH_CHANNELS": "r"},
    )


@simulators
def test_write_interconnect(simulator, divisor):
    run_bench(
        "write_interconnect",
        module="acf.tb.bench_interconnect",
        simulator=simulator,
        divisor=divisor,
        env={"ACF_BENCH_CHANNELS": "w"},
    )


@pytest.mark.parametrize("component", [ReadInterconnect, WriteInterconnect])
def test_interconnect_needs_masters(component):
    with pytest.raises(ValueError, match="masters of an interconnect must be positive, not 0"):
        component(memory=MemoryConfig(), masters=0)


def test_paced_masters_are_masters():
    with pytest.raises(ValueError, match="paced masters must be some of 2, not number 2"):
        ReadInterconnect(memory=MemoryConfig(), masters=2, paced=range(1, 3))


def test_write_interconnect_needs_outstanding():
    with pytest.raises(ValueError, match="outstanding bursts of an interconnect must be positive, not -1"):
        WriteInterconnect(memory=MemoryConfig(), masters=2, outstanding=-1)


def test_id_width_grows_by_the_number_of_the_master():
    memory = MemoryConfig(id_width=3)
    assert [interconnect_id_width(memory=memory, masters=n) for n in (1, 2, 3, 4, 5)] == [3, 4, 5, 5, 6]


def test_arbiter_needs_requests():
    with pytest.raises(ValueError, match=re.escape("requests of an arbiter must be positive, not 0")):
        RoundRobinArbiter(count=0)


def golden_grant(requests, latest, count):
    """The first request after the latest granted."""
    order = [(latest + 1 + n) % count for n in range(count)]
    return next((n for n in order if requests >> n & 1), None)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_arbiter_follows_the_turn(count):
    m = Module()
    m.submodules.dut = dut = RoundRobinArbiter(count=count)
    rng = random.Random(count)

    async def bench(ctx):
        latest = count - 1
        for _ in range(500):
            requests, advance = rng.getrandbits(count), rng.random() < 0.7
            ctx.set(dut.requests, requests)
            ctx.set(dut.advance, advance)
            expected = golden_grant(requests, latest, count)
            assert ctx.get(dut.grant) == (0 if expected is None else 1 << expected)
            if advance and expected is not None:
                latest = expected
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("source", "sink"), [(1, 1), (0.5, 1), (1, 0.5), (0.5, 0.5), (0.1, 0.9)])
def test_skid_buffer_keeps_order_under_stalls(source, sink):
    m = Module()
    m.submodules.dut = dut = SkidBuffer(shape=16)
    rng = random.Random(1)
    sent, received = list(range(1, 301)), []
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        waiting, offering, held = list(sent), None, None
        while len(received) < len(sent):
            if offering is None and waiting and rng.random() < source:
                offering = waiting.pop(0)
            ctx.set(dut.i.valid, offering is not None)
            ctx.set(dut.i.payload, offering or 0)
            ready = rng.random() < sink
            ctx.set(dut.o.ready, ready)
            taken = ctx.get(dut.i.ready) and offering is not None
            value = ctx.get(dut.o.payload) if ctx.get(dut.o.valid) else None
            assert held is None or value == held
            held = value if not ready else None
            if value is not None and ready:
                received.append(value)
            if taken:
                offering = None
            await ctx.tick()
            cycles += 1
            assert cycles < 20 * len(sent), f"{len(received)} of {len(sent)} after {cycles} cycles"

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert received == sent
    if source == sink == 1:
        assert cycles == len(sent) + 1, "one cycle of latency, then one item a cycle"
