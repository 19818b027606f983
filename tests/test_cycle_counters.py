# amaranth: UnusedElaboratable=no
"""Counters of a tile against a dictionary, for one lane up to sixteen."""

import random

import pytest
from amaranth.sim import Simulator

from acf.hw.counters import COUNTER_LATENCY
from acf.hw.pe.cycle_counters import CycleCounters
from acf.isa import COUNTERS_PER_LANE, LaneCause, LaneCounter, TileCounter

Y, X = 2, 5


class GoldenCounters:
    """What ``CycleCounters`` counts."""

    def __init__(self, lanes):
        self.lanes = lanes
        self.clear()

    def clear(self):
        self.counts = {}
        self.overflow = set()
        self.opened = False

    def cycle(self, *, enable, held, sweeping, open, loading, entry, flit, lanes):
        opened = self.opened or open
        self.opened = opened
        for n, (issued, effectual, hazard, swept, overflow) in enumerate(lanes):
            if overflow:
                self.overflow.add(n)
            if not enable:
                continue
            if issued:
                cause = LaneCause.MAC
            elif hazard:
                cause = LaneCause.HAZARD
            elif swept or held:
                cause = LaneCause.DRAIN
            elif open:
                cause = LaneCause.ENTRY_WAIT
            elif loading or not opened:
                cause = LaneCause.OPERAND_WAIT
            elif sweeping:
                cause = LaneCause.DRAIN
            else:
                cause = LaneCause.IDLE
            self._add(n * COUNTERS_PER_LANE + cause, 1)
            self._add(n * COUNTERS_PER_LANE + LaneCounter.EFFECTUAL_MACS, effectual)
        if enable:
            self._add(TileCounter.ENTRIES, entry)
            self._add(TileCounter.OPERAND_FLITS, flit)

    def _add(self, index, amount):
        self.counts[index] = self.counts.get(index, 0) + amount

    def read(self, index, y, x):
        if (y, x) != (Y, X):
            return 0
        lane, n = divmod(index, COUNTERS_PER_LANE)
        if lane < self.lanes and n == LaneCounter.FLAGS:
            return int(lane in self.overflow)
        return self.counts.get(index, 0)


@pytest.mark.parametrize("lanes", [1, 2, 4, pytest.param(16, marks=pytest.mark.regress)])
def test_counts_are_exact(lanes):
    rng = random.Random(lanes)
    dut = CycleCounters(lanes=lanes)
    golden = GoldenCounters(lanes)
    indices = [*range((lanes + 1) * COUNTERS_PER_LANE), *TileCounter]

    async def cycle(ctx, *, enable, density):
        def draw():
            return int(rng.random() < density)

        events = {"held": draw() and draw(), "sweeping": draw(), "open": draw(), "loading": draw()}
        lane_events = []
        for lane in dut.events:
            issued = draw()
            hazard = not issued and draw()
            swept = not issued and not hazard and draw()
            happened = (issued, issued and draw(), hazard, swept, draw() and draw() and draw())
            for name, value in zip(("issued", "effectual", "hazard", "swept", "flags"), happened, strict=True):
                ctx.set(getattr(lane, name), int(value))
            lane_events.append(happened)
        entry, flit = draw(), draw()
        for name, value in events.items():
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.entry_received, entry)
        ctx.set(dut.flit_received, flit)
        ctx.set(dut.counters.enable, enable)
        golden.cycle(enable=enable, entry=entry, flit=flit, lanes=lane_events, **events)
        await ctx.tick()

    async def read(ctx, index, y=Y, x=X, *, enable=0):
        ctx.set(dut.counters.select, {"index": index, "y": y, "x": x})
        # Nothing happens while it is read, so that there is one right answer.
        for _ in range(COUNTER_LATENCY):
            await cycle(ctx, enable=enable, density=0)
        return ctx.get(dut.counters.value)

    async def bench(ctx):
        ctx.set(dut.y, Y)
        ctx.set(dut.x, X)
        for length in (0, 1, 3, 40, 700):
            ctx.set(dut.counters.clear, 1)
            await ctx.tick()
            golden.clear()
            ctx.set(dut.counters.clear, 0)
            # A long run of one cause fills a small counter as fast as can be.
            for density in (0.5, 0.0, 1.0):
                for _ in range(length):
                    await cycle(ctx, enable=1, density=density)
                if length == 40:
                    # In the middle of a program.
                    for index in rng.sample(indices, 5):
                        await read(ctx, index)
                        assert ctx.get(dut.counters.value) == golden.read(index, Y, X), index
            for _ in range(COUNTER_LATENCY):
                await cycle(ctx, enable=0, density=0.5)
            for index in indices:
                assert await read(ctx, index) == golden.read(index, Y, X), index
            assert await read(ctx, 0, y=Y + 1) == 0
            assert await read(ctx, 0, x=X - 1) == 0
            for n in range(lanes):
                causes = sum(golden.counts.get(n * COUNTERS_PER_LANE + cause, 0) for cause in LaneCause)
                assert causes == 3 * length

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("lanes", [0, 17])
def test_lanes_out_of_range(lanes):
    with pytest.raises(ValueError, match=f"lanes must be from 1 to 16, not {lanes}"):
        CycleCounters(lanes=lanes)
