"""The rewire engine against golden drop and grow: memory after each job, errors, halt, rates."""

import random

import cocotb
import ml_dtypes
import numpy as np
from cocotb.triggers import ClockCycles

from acf.golden.structure import rewire
from acf.hw.structure.rewire_engine import rewire_job_layout
from acf.isa import ErrorCode, IndexSize
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.runner import bench_config
from acf.tb.stream import start_clock
from acf.tb.structure_bench import EngineBench

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
STRUCTURE = bench_config().structure
CHANGED = ("indices", "master", "momentum", "values")


class Layer:
    """A random layer in CSR, gradients of all its columns, and a job that rewires some of its rows."""

    def __init__(self, *, rows, columns, fixed, row_entries=None):
        rng = np.random.default_rng(random.getrandbits(64))
        most = random.choice([columns, min(columns, 5), columns // 2])
        lengths = np.where(rng.random(rows) < 0.9, rng.integers(0, most + 1, rows), 0)
        if row_entries is not None:
            lengths = np.full(rows, row_entries)
        count = int(lengths.sum())
        self.half = random.getrandbits(1)
        index_type = np.uint16 if self.half else np.int32
        begin, end = sorted(random.randrange(rows + 1) for _ in range(2))
        if random.random() < 0.5:
            begin, end = 0, rows
        # Few magnitudes, so that many are equal; some are NaN or infinite.
        small = np.array([0, 0x80000000, 1, 0x3F000000, 0xBF000000, 0x3F800000, 0x7F800000, 0xFFC00001], np.uint32)
        any_bits = rng.integers(0, 1 << 32, count + (end - begin) * columns, dtype=np.uint32)
        if random.random() < 0.5:
            any_bits = rng.choice(small, len(any_bits))
        indices = [rng.permutation(columns)[:length] for length in lengths]
        if random.random() < 0.2:
            indices = [rng.integers(0, columns, length) for length in lengths]  # some more than once
        self.arrays = {
            "pointers": np.r_[0, np.cumsum(lengths)].astype(np.int32),
            "indices": np.concatenate([*indices, []]).astype(index_type),
            "values": rng.integers(0, 1 << 16, count, dtype=np.uint16),
            "master": any_bits[:count],
            "momentum": rng.integers(0, 1 << 32, count, dtype=np.uint32),
        }
        self.candidates = any_bits[count:].reshape(end - begin, columns)
        stride = -(-columns * 4 // BEAT) * BEAT + BEAT * random.randrange(3)
        self.job = {
            **{name: 0x10_0000 * (n + 1) + BEAT * random.randrange(200) for n, name in enumerate(self.arrays)},
            "candidates": 0x100_0000 + BEAT * random.randrange(200),
            "candidate_stride": stride,
            "row_begin": begin,
            "row_end": end,
            "drop": random.choice([1, 2, STRUCTURE.exchanged, random.randint(0, STRUCTURE.exchanged)]),
            "random": random.getrandbits(1),
            "index_size": IndexSize.UINT16 if self.half else IndexSize.INT32,
            "inner_size": columns,
            "protected_from": random.choice([0xFFFFFFFF, columns, random.randint(0, columns)]),
            "seed": random.randrange(1, 1 << 32),
            "semaphore": random.randrange(16),
            **fixed,
        }
        job = self.job
        if job["random"]:
            job["candidates"] += 4 * random.randrange(2)  # without meaning

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
            count=job["drop"],
            inner_size=job["inner_size"],
            protected_from=job["protected_from"],
            candidates=None if job["random"] else self.candidates.view(np.float32),
            seed=job["seed"],
        )


class Bench(EngineBench):
    """The engine, and layers in its memory."""

    def __init__(self, dut):
        super().__init__(dut, job_layout=rewire_job_layout, faults=5)

    def begin(self, *, rows, columns, row_entries=None, **fixed):
        """Put a layer into memory and send its job."""
        layer = Layer(rows=rows, columns=columns, fixed=fixed, row_entries=row_entries)
        for name, array in layer.arrays.items():
            self.memory.poke(layer.job[name], array.tobytes())
        for number, row in enumerate(layer.candidates):
            address = layer.job["candidates"] + number * layer.job["candidate_stride"]
            self.memory.poke(address, row.tobytes())
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
        assert len(self.writes.writes) == 4 * expected.changed
        self.writes.writes.clear()
        return layer, int(self.dut.cycles.value)


@cocotb.test()
async def random_jobs(dut):
    """Layers of any shape, with stalls on every handshake and answers in any order."""
    bench = Bench(dut)
    await start_clock(dut)
    for latency, chance in ((1, 1.0), (30, 0.5), (3, 0.2), (40, 1.0)):
        bench.memory.read.latency, bench.chance = latency, chance
        for _ in range(10):
            await bench.run(rows=random.randint(1, 10), columns=random.choice([1, 2, 7, 8, 30, 65]))


@cocotb.test()
async def corners(dut):
    """Nothing to do, everything protected, no candidates, the largest layer."""
    bench = Bench(dut)
    await start_clock(dut)
    most = STRUCTURE.columns
    for mode in (0, 1):
        await bench.run(rows=3, columns=20, random=mode, drop=0)
        await bench.run(rows=3, columns=20, random=mode, row_begin=2, row_end=2)
        await bench.run(rows=3, columns=20, random=mode, row_begin=2, row_end=1)
        await bench.run(rows=3, columns=20, random=mode, protected_from=0)
        await bench.run(rows=3, columns=1, random=mode)
        await bench.run(rows=2, columns=most, random=mode, drop=STRUCTURE.exchanged)


@cocotb.test()
async def throughput(dut):
    """Cycles of a row, with 40 cycles from memory."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 40
    rows, columns = 16, 512
    for mode in (0, 1):
        layer, cycles = await bench.run(
            rows=rows,
            columns=columns,
            row_entries=columns // 10,
            random=mode,
            drop=8,
            row_begin=0,
            row_end=rows,
            protected_from=columns,
        )
        entries = len(layer.arrays["indices"])
        dut._log.info(
            f"{'random' if mode else 'gradient'}: {entries} entries and {rows} x {columns} columns in {cycles} cycles, "
            f"{BEAT} bytes a cycle"
        )
        # A cycle a column at most; entries and gradients come at the rate of the bus or the buffers.
        buffered = STRUCTURE.buffer_beats * BEAT / 4 / 56
        rate = 1 if mode else min(BEAT / 4, buffered)
        assert cycles <= 1.2 * (entries / min(1, buffered, BEAT / 12) + rows * columns / min(rate, 2) + rows * 120)


@cocotb.test()
async def bad_layers(dut):
    """Pointers that go back, rows too long, columns out of range, and jobs that are refused."""
    bench = Bench(dut)
    await start_clock(dut)

    async def expect(code, address="", **fixed):
        layer = bench.begin(rows=6, columns=20, **{"row_begin": 0, "row_end": 6, "drop": 4, "random": 0, **fixed})
        return layer, (code, layer.job[address] if address else 0)

    for name in ("pointers", "indices", "values", "master", "momentum", "candidates", "candidate_stride"):
        layer, wanted = await expect(ErrorCode.MISALIGNED, name, **{name: 0x300_0000 + BEAT // 2})
        assert await bench.fault() == wanted
        assert not bench.memory.read.reads
        await bench.reset()
    for fixed in ({"drop": STRUCTURE.exchanged + 1}, {"inner_size": STRUCTURE.columns + 1}):
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
    for _ in range(5):
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
    for number in range(12):
        side = ("read", "write")[number % 2]
        port = bench.memory.read if side == "read" else bench.writes
        bench.chance = random.choice([1.0, 0.5])
        bench.memory.read.latency = random.choice([1, 20])
        layer = bench.begin(rows=8, columns=40, row_begin=0, row_end=8, drop=8, random=0, protected_from=40)
        array = random.choice(CHANGED if side == "write" else ("pointers", "indices", "master", "candidates"))
        size = layer.arrays[array].nbytes if array != "candidates" else 8 * layer.job["candidate_stride"]
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
    for _ in range(12):
        bench.chance = random.choice([1.0, 0.6])
        bench.memory.read.latency = random.choice([1, 30])
        bench.begin(rows=8, columns=60, row_begin=0, row_end=8, drop=8)
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
    for _ in range(12):
        bench.memory.read.latency, bench.chance = random.randint(1, 30), random.choice([1.0, 0.5])
        bench.begin(rows=8, columns=60)
        await ClockCycles(dut.clk, random.randrange(2, 1500))
        await bench.reset()
        await bench.run(rows=3, columns=20)
