"""The rewire engine against golden drop and grow: memory after each job, errors, halt, cycles of each exchange."""

import random

import cocotb
import ml_dtypes
import numpy as np
from cocotb.triggers import ClockCycles

from acf.golden.rewiring import SPAN_UNIT, rewire
from acf.hw.structure.rewire_engine import rewire_job_layout
from acf.isa import CANDIDATE_WORD, ErrorCode, IndexSize, candidate_row_bits
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.runner import bench_config, rounds
from acf.tb.stream import start_clock
from acf.tb.structure_bench import EngineBench

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
STRUCTURE = bench_config().structure
CHANGED = ("indices", "master", "momentum", "values")


class Layer:
    """A random layer in CSR, candidates of all its columns, and a job that rewires some of its rows."""

    def __init__(self, *, rows, columns, fixed, row_entries=None, density=None):
        rng = np.random.default_rng(random.getrandbits(64))
        most = random.choice([columns, min(columns, 5), columns // 2])
        lengths = np.where(rng.random(rows) < 0.9, rng.integers(0, most + 1, rows), 0)
        if row_entries is not None:
            lengths = np.full(rows, row_entries)
        count = int(lengths.sum())
        self.half = random.getrandbits(1)
        begin, end = sorted(random.randrange(rows + 1) for _ in range(2))
        if random.random() < 0.5:
            begin, end = 0, rows
        # Few magnitudes, so that many are equal; some are NaN or infinite.
        small = np.array([0, 0x80000000, 1, 0x3F000000, 0xBF000000, 0x3F800000, 0x7F800000, 0xFFC00001], np.uint32)
        any_bits = rng.integers(0, 1 << 32, count, dtype=np.uint32)
        if random.random() < 0.5:
            any_bits = rng.choice(small, len(any_bits))
        indices = [rng.permutation(columns)[:length] for length in lengths]
        if random.random() < 0.2:
            indices = [rng.integers(0, columns, length) for length in lengths]  # some more than once
        self.job = {
            "row_begin": begin,
            "row_end": end,
            "span": random.choice([SPAN_UNIT, 2 * SPAN_UNIT, random.randint(SPAN_UNIT, 9 * SPAN_UNIT), (1 << 32) - 1]),
            "random": random.getrandbits(1),
            "index_size": IndexSize.UINT16 if self.half else IndexSize.INT32,
            "inner_size": columns,
            "protected_from": random.choice([0xFFFFFFFF, columns, random.randint(0, columns)]),
            "seed": random.randrange(1, 1 << 32),
            "candidate_shift": random.choice([0, 0, 1, 2, 3]),
            "semaphore": random.randrange(16),
        }
        self.job |= {name: value for name, value in fixed.items() if name in self.job}
        job = self.job
        job.setdefault("candidate_first", random.randrange(1 << job["candidate_shift"]))
        self.half = job["index_size"] == IndexSize.UINT16
        self.arrays = {
            "pointers": np.r_[0, np.cumsum(lengths)].astype(np.int32),
            "indices": np.concatenate([*indices, []]).astype(np.uint16 if self.half else np.int32),
            "values": rng.integers(0, 1 << 16, count, dtype=np.uint16),
            "master": any_bits,
            "momentum": rng.integers(0, 1 << 32, count, dtype=np.uint32),
        }
        bits = candidate_row_bits(-(-min(columns, job["protected_from"]) >> job["candidate_shift"]))
        density = rng.choice([0.0, 0.03, 0.3, 1.0]) if density is None else density
        shape = max(0, job["row_end"] - job["row_begin"]), bits
        self.candidates = rng.random(shape) < density
        job |= {name: 0x10_0000 * (n + 1) + BEAT * random.randrange(200) for n, name in enumerate(self.arrays)}
        job["candidates"] = 0x100_0000 + BEAT * random.randrange(200)
        if job["random"]:
            job["candidates"] += 4 * random.randrange(2)  # without meaning
        job |= fixed

    def golden(self):
        """The layer after the job."""
        job = self.job
        return rewire(
            self.arrays["pointers"],
            self.arrays["indices"],
            self.arrays["master"].view(np.float32),
            self.arrays["momentum"].view(np.float32),
            self.arrays["values"].view(ml_dtypes.bfloat16),
            row_begin=job["row_begin"],
            row_end=job["row_end"],
            span=job["span"],
            most=STRUCTURE.exchanged,
            inner_size=job["inner_size"],
            protected_from=job["protected_from"],
            candidates=None if job["random"] else self.candidates,
            candidate_first=job["candidate_first"],
            candidate_step=1 << job["candidate_shift"],
            seed=job["seed"],
        )

    def beats(self, exchanged):
        """Beats that change when the entries at these places do."""
        sizes = {"indices": 2 if self.half else 4, "master": 4, "momentum": 4, "values": 2}
        return sum(len(np.unique(exchanged * size // BEAT)) for size in sizes.values())


class Bench(EngineBench):
    """The engine, and layers in its memory."""

    def __init__(self, dut):
        super().__init__(dut, job_layout=rewire_job_layout, faults=5)

    def begin(self, *, rows, columns, row_entries=None, density=None, **fixed):
        """Put a layer into memory and send its job."""
        layer = Layer(rows=rows, columns=columns, fixed=fixed, row_entries=row_entries, density=density)
        for name, array in layer.arrays.items():
            self.memory.poke(layer.job[name], array.tobytes())
        self.memory.poke(layer.job["candidates"], np.packbits(layer.candidates, bitorder="little").tobytes())
        self.send(**layer.job)
        return layer

    def written(self, layer):
        """The arrays as memory has them, and what lies beside them."""
        spans = {name: (layer.job[name], array.nbytes) for name, array in layer.arrays.items()}
        around = [
            self.memory.peek(begin - 64, 64) + self.memory.peek(begin + size, 64) for begin, size in spans.values()
        ]
        return {name: self.memory.peek(begin, size) for name, (begin, size) in spans.items()}, around

    async def run(self, *, rows, columns, **settings):
        """Run one job and check it; the layer, and the cycles that it took."""
        layer = self.begin(rows=rows, columns=columns, **settings)
        _, around = self.written(layer)
        await self.finish(1, cycles=40 * (200 + rows * (columns + 100)))
        assert self.done.received == [layer.job["semaphore"]]
        self.done.received.clear()
        expected = layer.golden()
        got, around_after = self.written(layer)
        assert around_after == around, "bytes beside an array have changed"
        assert got["pointers"] == layer.arrays["pointers"].tobytes()
        for name in CHANGED:
            wanted = getattr(expected, name)
            found = np.frombuffer(got[name], dtype=f"u{wanted.itemsize}")
            wrong = np.flatnonzero(found != wanted.view(found.dtype))
            assert not len(wrong), f"{name}[{wrong[0]}] is {found[wrong[0]]:X}, one of {len(wrong)} wrong: {layer.job}"
        assert int(self.dut.changed.value) == expected.changed
        begin, end = (layer.arrays["pointers"][layer.job[name]] for name in ("row_begin", "row_end"))
        different = layer.arrays["indices"] != expected.indices
        assert not different[:begin].any()
        assert not different[end:].any()
        assert np.count_nonzero(different) <= expected.changed
        if np.count_nonzero(different) == expected.changed:
            # A column is never exchanged for itself, as the row has it.
            assert len(self.writes.writes) == layer.beats(np.flatnonzero(different))
        self.writes.writes.clear()
        return layer, int(self.dut.cycles.value)


@cocotb.test()
async def random_jobs(dut):
    """Layers of any shape, with stalls on every handshake and answers in any order."""
    bench = Bench(dut)
    await start_clock(dut)
    for latency, chance in ((1, 1.0), (30, 0.5), (3, 0.2), (40, 1.0)):
        bench.memory.read.latency, bench.chance = latency, chance
        for _ in range(rounds(10)):
            await bench.run(rows=random.randint(1, 10), columns=random.choice([1, 2, 7, 30, 64, 65, 200]))


@cocotb.test()
async def corners(dut):
    """Nothing to do, everything protected, no candidates, the largest layer."""
    bench = Bench(dut)
    await start_clock(dut)
    most = STRUCTURE.columns
    for mode in (0, 1):
        await bench.run(rows=3, columns=20, random=mode, row_begin=2, row_end=2)
        await bench.run(rows=3, columns=20, random=mode, row_begin=2, row_end=1)
        await bench.run(rows=3, columns=20, random=mode, row_begin=0, row_end=3, row_entries=0)
        await bench.run(rows=3, columns=20, random=mode, protected_from=0)
        await bench.run(rows=3, columns=20, random=mode, span=SPAN_UNIT, density=1.0, row_entries=9)
        await bench.run(rows=3, columns=1, random=mode)
        await bench.run(rows=40, columns=64, random=mode, row_entries=6, span=3 * SPAN_UNIT, density=0.1, seed=7)
        # The walk over candidates begins at each column, several times where rounds are not cut; in half of the rows
        # it comes back to that one.
        settings = {"random": mode, "row_begin": 0, "candidate_shift": 0, "protected_from": 0xFFFFFFFF, "density": 1.0}
        few, many = rounds(128), rounds(256)
        await bench.run(rows=few, columns=64, row_end=few, row_entries=6, span=3 * SPAN_UNIT, **settings)
        await bench.run(rows=many, columns=64, row_end=many, row_entries=44, span=SPAN_UNIT, **settings)
        await bench.run(rows=2, columns=most, random=mode, row_entries=most // 2, span=SPAN_UNIT, density=0.9)
        await bench.run(rows=2, columns=most, random=mode, row_entries=most - 3, span=SPAN_UNIT, density=1.0)
    await bench.run(rows=9, columns=130, random=0, seed=0)


@cocotb.test()
async def writes_follow_each_other(dut):
    """Where all entries of the rows change, a beat is written in almost every cycle."""
    if BEAT > 8:
        return  # more exchanges than beats
    bench = Bench(dut)
    await start_clock(dut)
    rows, entries, columns = 24, 80, 576
    layer, cycles = await bench.run(
        rows=rows,
        columns=columns,
        row_entries=entries,
        random=0,
        index_size=IndexSize.UINT16,
        span=SPAN_UNIT,
        density=1.0,
        row_begin=0,
        row_end=rows,
        protected_from=columns,
        candidate_shift=0,
    )
    golden = layer.golden()
    written = layer.beats(np.flatnonzero(layer.arrays["indices"] != golden.indices))
    dut._log.info(f"{golden.changed} exchanges, {written} beats written in {cycles} cycles")
    assert cycles <= 100 + 1.05 * written


SHAPES = {
    (13, 128): (0.3, 0.15, 0.08),
    (26, 256): (0.3, 0.15, 0.08),
    (58, 576): (0.3, 0.15, 0.05),
    (115, 1152): (0.3, 0.15, 0.05),
}
"""Entries and columns of a row, and parts that are dropped."""


@cocotb.test()
async def throughput(dut):
    """Cycles of each exchange, with 40 cycles from memory."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 40
    rows = 48
    for mode in (0, 1):
        for (entries, columns), parts in SHAPES.items():
            for part in parts[: 3 - 2 * mode]:
                drop = max(1, int(entries * part))
                block = 1
                while 1.5 * drop * 2 * block <= columns - entries and block < CANDIDATE_WORD:
                    block *= 2
                layer, cycles = await bench.run(
                    rows=rows,
                    columns=columns,
                    row_entries=entries,
                    random=mode,
                    index_size=IndexSize.UINT16,
                    span=-(-entries * SPAN_UNIT // drop),
                    density=1 / block,
                    row_begin=0,
                    row_end=rows,
                    protected_from=columns,
                    candidate_shift=0,
                    candidate_first=0,
                )
                changed = layer.golden().changed
                dut._log.info(
                    f"{'random' if mode else 'gradient'}: rows of {entries} in {columns}, {drop} to drop: {changed} "
                    f"exchanges in {cycles} cycles, {cycles / changed:.2f} each, {BEAT} bytes a cycle"
                )
                # What a row needs: pieces of two cycles each, beats read, candidates and exchanges, beats written.
                lanes = BEAT // 4
                needed = max(
                    2 * (entries / lanes + 1),
                    6 * entries / BEAT + columns / 8 / BEAT + 1,
                    columns / CANDIDATE_WORD + (1 + mode) * drop + 4,
                    4 * min(drop, entries / lanes) * (0.7 + 0.3 * mode),
                )
                assert cycles <= 220 + 1.35 * rows * needed


@cocotb.test()
async def bad_layers(dut):
    """Pointers that go back, rows too long, columns out of range, and jobs that are refused."""
    bench = Bench(dut)
    await start_clock(dut)

    async def expect(code, address="", **fixed):
        layer = bench.begin(rows=6, columns=20, **{"row_begin": 0, "row_end": 6, "random": 0, **fixed})
        return layer, (code, layer.job[address] if address else 0)

    for name in ("pointers", "indices", "values", "master", "momentum", "candidates"):
        layer, wanted = await expect(ErrorCode.MISALIGNED, name, **{name: 0x300_0000 + BEAT // 2})
        assert await bench.fault() == wanted
        assert not bench.memory.read.reads
        await bench.reset()
    for fixed in (
        {"span": SPAN_UNIT - 1},
        {"span": 0},
        {"inner_size": STRUCTURE.columns + 1},
        {"candidate_shift": 0, "candidate_first": 1},
        {"candidate_shift": 3, "candidate_first": 8},
    ):
        layer, wanted = await expect(ErrorCode.COMMAND_RANGE, "values", **fixed)
        assert await bench.fault() == wanted
        assert not bench.memory.read.reads
        await bench.reset()
    for pointers, code in (
        ([0, 3, 2, 3, 4, 5, 6], ErrorCode.POINTER_ORDER),
        ([0, 3, 3 + 0x10000, 0x20000, 0x30000, 0x40000, 0x50000], ErrorCode.POINTER_RANGE),
    ):
        layer, wanted = await expect(code)
        bench.memory.poke(layer.job["pointers"], np.array(pointers, np.int32).tobytes())
        assert await bench.fault() == wanted
        await bench.reset()
    for _ in range(rounds(5)):
        layer, wanted = await expect(ErrorCode.INDEX_RANGE)
        count = len(layer.arrays["indices"])
        if count:
            wrong = random.randrange(count)
            size = layer.arrays["indices"].itemsize
            bench.memory.poke(layer.job["indices"] + wrong * size, b"\xff" * size)
            assert await bench.fault() == wanted
            row = int(np.searchsorted(layer.arrays["pointers"], wrong, side="right")) - 1
            after, _ = bench.written(layer)
            begin = int(layer.arrays["pointers"][row])
            # Rows from the faulty one on are as they were.
            assert after["master"][4 * begin :] == layer.arrays["master"].tobytes()[4 * begin :]
        await bench.reset()
        await bench.run(rows=4, columns=20)


@cocotb.test()
async def bad_responses(dut):
    """A bad response is a fault with the address of its burst, and is forgotten after a reset."""
    bench = Bench(dut)
    await start_clock(dut)
    for number in range(rounds(12)):
        side = ("read", "write")[number % 2]
        port = bench.memory.read if side == "read" else bench.writes
        bench.chance = random.choice([1.0, 0.5])
        bench.memory.read.latency = random.choice([1, 20])
        everything = {"row_entries": 20, "density": 1.0, "row_begin": 0, "row_end": 8, "protected_from": 40}
        layer = bench.begin(rows=8, columns=40, span=2 * SPAN_UNIT, random=0, **everything)
        array = random.choice(CHANGED if side == "write" else ("pointers", "indices", "master", "candidates"))
        size = layer.arrays[array].nbytes if array != "candidates" else layer.candidates.size // 8
        hit = range(layer.job[array] // BEAT * BEAT, layer.job[array] + size)
        answer = random.choice([SLVERR, DECERR])
        port.respond = lambda address, hit=hit, answer=answer: answer if address in hit else OKAY
        code, address = await bench.fault()
        assert code == (ErrorCode.READ_RESPONSE if side == "read" else ErrorCode.WRITE_RESPONSE)
        assert address in hit
        assert address in {burst["addr"] for burst in (port.reads if side == "read" else port.writes)}
        port.respond = lambda address: OKAY
        await bench.reset()
        await bench.run(rows=3, columns=20)


@cocotb.test()
async def halted(dut):
    """After halt nothing is begun, and what was begun is finished; after a reset the engine works again."""
    bench = Bench(dut)
    await start_clock(dut)
    for _ in range(rounds(12)):
        bench.chance = random.choice([1.0, 0.6])
        bench.memory.read.latency = random.choice([1, 30])
        bench.begin(rows=8, columns=60, row_begin=0, row_end=8, span=2 * SPAN_UNIT)
        await ClockCycles(dut.clk, random.randrange(5, 1500))
        dut.halt.value = 1
        bench.chance = 1.0
        await bench.quiet()
        await bench.reset()
        await bench.run(rows=3, columns=20)


@cocotb.test()
async def reset_at_any_time(dut):
    """A reset in the middle leaves nothing behind."""
    bench = Bench(dut)
    await start_clock(dut)
    for _ in range(rounds(12)):
        bench.memory.read.latency, bench.chance = random.randint(1, 30), random.choice([1.0, 0.5])
        bench.begin(rows=8, columns=60)
        await ClockCycles(dut.clk, random.randrange(2, 1500))
        await bench.reset()
        await bench.run(rows=3, columns=20)
