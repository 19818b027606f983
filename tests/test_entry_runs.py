"""Runs of entries across rows, and the way back to rows."""

import random
from itertools import groupby

import pytest
from amaranth.sim import Simulator

from acf.config import preset
from acf.hw.mem.entry_runs import EntryRuns
from acf.hw.mem.row_tags import RowTags

LENGTH = 16


def simulate(component, bench):
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def random_rows(rng, *, count, gaps):
    """Rows of entries: where they begin in memory, and how many they are; some behind a gap."""
    rows, place = [], rng.randrange(100)
    for number in range(count):
        place += rng.randrange(1, 40) if gaps and rng.random() < 0.3 else 0
        entries = rng.choice([1, 1, 2, 5, LENGTH, rng.randint(1, 70)])
        rows.append({"begin": place, "count": entries, "row": 7 * number, "local": number, "position": number % 3})
        place += entries
    return rows


def golden_runs(rows, *, apart):
    """Entries in order, cut where memory is not continuous, at multiples of the length, and between rows if apart."""
    entries = [(row["begin"] + n, row["position"] + n, row["row"]) for row in rows for n in range(row["count"])]
    keys, key = [], 0
    for number, (place, _, row) in enumerate(entries):
        before = entries[number - 1] if number else (place - 1, 0, row)
        key += place != before[0] + 1 or place % LENGTH == 0 or (apart and row != before[2])
        keys.append(key)
    groups = groupby(zip(keys, entries, strict=True), key=lambda pair: pair[0])
    return [[entry for _, entry in group] for _, group in groups]


def put(ctx, stream, fields):
    """Offer a payload."""
    for name, value in fields.items():
        ctx.set(getattr(stream.p, name), value)
    ctx.set(stream.valid, 1)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_rows_become_runs(gaps, apart):
    rng = random.Random(3)
    runs = EntryRuns(length=LENGTH)

    async def bench(ctx):
        ctx.set(runs.enable, 1)
        ctx.set(runs.apart, apart)
        for speed in (1.0, 0.4):
            rows = random_rows(rng, count=60, gaps=gaps)
            waiting, found, tags = list(rows), [], []
            ctx.set(runs.finish, 0)
            while waiting or ctx.get(runs.busy):
                ctx.set(runs.i.valid, 0)
                if waiting and rng.random() < speed:
                    put(ctx, runs.i, {**waiting[0], "number": 1000 + waiting[0]["begin"]})
                ctx.set(runs.finish, not waiting)
                ctx.set(runs.o.ready, rng.random() < speed)
                ctx.set(runs.tags.ready, rng.random() < speed)
                if ctx.get(runs.o.valid) and ctx.get(runs.o.ready):
                    run = {name: ctx.get(getattr(runs.o.p, name)) for name in ("begin", "count", "position", "number")}
                    assert run["number"] == 1000 + run["begin"]
                    # All rows of a run are known before it is.
                    assert sum(count for count, *_ in tags) >= sum(each["count"] for each in found) + run["count"]
                    found.append(run)
                if ctx.get(runs.tags.valid) and ctx.get(runs.tags.ready):
                    tags.append(tuple(ctx.get(getattr(runs.tags.p, name)) for name in ("count", "row", "opens")))
                if ctx.get(runs.i.valid) and ctx.get(runs.i.ready):
                    waiting.pop(0)
                await ctx.tick()
            golden = golden_runs(rows, apart=apart)
            assert [(each["begin"], each["position"], each["count"]) for each in found] == [
                (*run[0][:2], len(run)) for run in golden
            ]
            assert [row for count, row, _ in tags for _ in range(count)] == [row for run in golden for *_, row in run]
            assert all(count <= LENGTH for count, *_ in tags)
            rows_of_tags = [row for _, row, _ in tags]
            assert [opens for *_, opens in tags] == [row not in rows_of_tags[:n] for n, row in enumerate(rows_of_tags)]

    simulate(runs, bench)


def test_rows_pass_as_they_are():
    rng = random.Random(4)
    runs = EntryRuns(length=LENGTH)
    rows = random_rows(rng, count=20, gaps=True)

    async def bench(ctx):
        waiting, found = list(rows), []
        ctx.set(runs.finish, 1)
        while waiting or ctx.get(runs.busy):
            ctx.set(runs.i.valid, 0)
            if waiting:
                put(ctx, runs.i, waiting[0])
            ctx.set(runs.o.ready, rng.random() < 0.5)
            assert not ctx.get(runs.tags.valid)
            if ctx.get(runs.o.valid) and ctx.get(runs.o.ready):
                found.append({name: ctx.get(getattr(runs.o.p, name)) for name in rows[0]})
            if ctx.get(runs.i.valid) and ctx.get(runs.i.ready):
                waiting.pop(0)
            await ctx.tick()
        assert found == rows

    simulate(runs, bench)


@pytest.mark.parametrize("enable", [False, True])
def test_groups_are_cut_where_rows_end(enable):
    rng = random.Random(5)
    config = preset("tiny")
    tags = RowTags(config=config, length=LENGTH)
    rows = [(rng.choice([1, 1, 2, 3, LENGTH]), rng.getrandbits(32), rng.getrandbits(16)) for _ in range(80)]
    golden = [tag for tag in rows for _ in range(tag[0])]
    groups, left = [], len(golden)
    while left:
        groups.append(rng.randint(1, min(left, config.feeder.group)))
        left -= groups[-1]

    async def bench(ctx):
        ctx.set(tags.enable, enable)
        offered, waiting, found, cycles = list(rows) if enable else [], list(groups), [], 0
        while waiting:
            ctx.set(tags.tags.valid, 0)
            if offered and rng.random() < 0.7:
                count, row, local = offered[0]
                put(ctx, tags.tags, {"count": count, "row": row, "local": local})
            ctx.set(tags.i.valid, 0)
            if rng.random() < 0.8:
                put(ctx, tags.i, {"count": waiting[0], "row": 11, "local": 12, "number": len(found) & 0xFFFF})
                for n in range(config.feeder.group):
                    ctx.set(tags.i.p.values[n], n)
            ctx.set(tags.o.ready, rng.random() < 0.8)
            if ctx.get(tags.o.valid) and ctx.get(tags.o.ready):
                first, end = ctx.get(tags.o.p.first), ctx.get(tags.o.p.count)
                assert all(ctx.get(tags.o.p.values[n]) == n for n in range(first, end))
                place = (ctx.get(tags.o.p.row), ctx.get(tags.o.p.local))
                found += [place] * (end - first)
            if ctx.get(tags.tags.valid) and ctx.get(tags.tags.ready):
                offered.pop(0)
            if ctx.get(tags.i.valid) and ctx.get(tags.i.ready):
                waiting.pop(0)
            await ctx.tick()
            cycles += 1
            assert cycles < 5000, "nothing moves"
        assert found == ([tag[1:] for tag in golden] if enable else [(11, 12)] * len(golden))

    simulate(tags, bench)
