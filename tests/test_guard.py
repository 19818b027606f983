# amaranth: UnusedElaboratable=no
"""The guard of the memory port."""

import random

import pytest
from amaranth.sim import Simulator

from acf.config import MemoryConfig
from acf.hw.mem.guard import AxiGuard
from acf.hw.mem.window_check import MAY_READ, MAY_WRITE, WindowCheck
from acf.tb.runner import has_icarus, run_bench

needs_icarus = pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")


@pytest.mark.parametrize(
    ("simulator", "divisor"),
    [
        ("verilator", 3),
        pytest.param("verilator", 1, marks=pytest.mark.regress),
        pytest.param("icarus", 1, marks=[needs_icarus, pytest.mark.regress]),
    ],
)
def test_guard(simulator, divisor):
    run_bench("guard", module="acf.tb.bench_guard", simulator=simulator, divisor=divisor)


def test_guard_needs_ids():
    with pytest.raises(ValueError, match="ID width of the guard must be positive, not 0"):
        AxiGuard(memory=MemoryConfig(), id_width=0)


def test_guard_needs_windows():
    with pytest.raises(ValueError, match="windows of the guard must be positive, not -2"):
        AxiGuard(memory=MemoryConfig(), id_width=4, windows=-2)


def golden_allowed(address, length, windows, *, beat_bytes, right):
    """Every byte, from the address to the end of the last beat, lies in the same window with the right."""
    last = address // beat_bytes * beat_bytes + (length + 1) * beat_bytes - 1
    return any(base <= address and last <= limit and rights >> right & 1 for base, limit, rights in windows)


@pytest.mark.parametrize("right", [MAY_READ, MAY_WRITE])
@pytest.mark.parametrize(("data_width", "address_width"), [(64, 32), (512, 32), (128, 20)])
def test_window_check(right, data_width, address_width):
    memory = MemoryConfig(data_width=data_width, address_width=address_width)
    dut = WindowCheck(memory=memory, id_width=6, windows=2, right=right)
    rng = random.Random(data_width + right)
    top = 1 << address_width

    async def bench(ctx):
        seen = set()
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for n in range(600):
            length = rng.choice([0, 1, 7, 255])
            size = (length + 1) * memory.beat_bytes
            address = rng.choice([0, top - size, rng.randrange(top), rng.randrange(top) // 64 * 64])
            windows = []
            for _ in range(2):
                base = rng.choice([0, address, max(0, address + rng.choice([-1, 1])), rng.randrange(top)])
                limit = rng.choice([0xFFFF_FFFF, address + size - 1, address + size - 2, address // 64 * 64 + size - 1])
                windows.append((base, min(limit, 0xFFFF_FFFF), rng.randrange(4)))
            for signal, (base, limit, rights) in zip((dut.windows[0], dut.windows[1]), windows, strict=True):
                ctx.set(signal, {"base": base, "limit": limit, "rights": rights})
            ctx.set(dut.i.payload, {"id": n % 64, "address": address, "length": length})
            await ctx.tick()
            await ctx.tick()
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.p.burst.id) == n % 64
            expected = golden_allowed(address, length, windows, beat_bytes=memory.beat_bytes, right=right)
            assert ctx.get(dut.o.p.allowed) == expected, (hex(address), length, windows)
            seen.add(expected)
        assert seen == {False, True}

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
