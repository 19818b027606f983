"""The prune engine against golden pruning: memory after each job, errors, halt, rates."""

import random

import cocotb
import ml_dtypes
import numpy as np
from cocotb.triggers import ClockCycles

from acf.golden.structure import prune
from acf.hw.structure.prune_engine import prune_job_layout
from acf.isa import ErrorCode, IndexSize
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.runner import bench_config, rounds
from acf.tb.stream import start_clock
from acf.tb.structure_bench import EngineBench

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
ARRAYS = ("pointers", "indices", "values", "master", "momentum")
BINS = 2048
PASSES = 3


class Layer:
    """A random layer in CSR, and a job that prunes it."""

    def __init__(self, *, rows, columns, fixed, row_entries=None):
        rng = np.random.default_rng(random.getrandbits(64))
        most = random.choice([columns, min(columns, 5), columns // 2])
        lengths = np.where(rng.random(rows) < 0.9, rng.integers(0, most + 1, rows), 0)
        if row_entries is not None:
            lengths = np.full(rows, row_entries)
        count = int(lengths.sum())
        index_type = np.uint16 if random.getrandbits(1) else np.int32
        # Few magnitudes, so that many are equal; some are NaN or infinite, one has all bits set.
        small = np.array([0, 0x80000000, 1, 0x3F000000, 0xBF000000, 0x3F800000, 0x7F800000, 0xFFFFFFFF], np.uint32)
        master = rng.integers(0, 1 << 32, count, dtype=np.uint32)
        kind = random.randrange(3)
        if kind == 1:
            master = rng.choice(small, count)
        elif kind == 2:  # they differ only in the digit that is looked at last, or in the one before
            master = rng.integers(0, 1 << 10, count, dtype=np.uint32) << random.choice([0, 10]) | 0x3F000000
        self.arrays = {
            "pointers": np.r_[0, np.cumsum(lengths)].astype(np.int32),
            "indices": rng.integers(0, columns, count).astype(index_type),
            "values": rng.integers(0, 1 << 16, count, dtype=np.uint16),
            "master": master,
            "momentum": rng.integers(0, 1 << 32, count, dtype=np.uint32),
        }
        shift = random.choice([0, 0x80_0000 + BEAT * random.randrange(100), -0x8_0000])
        self.job = {
            **{name: 0x10_0000 * (n + 1) + BEAT * random.randrange(200) for n, name in enumerate(ARRAYS)},
            "shift": shift & 0xFFFFFFFF,
            "row_end": rows,
            "layer_drop": random.choice([random.randint(0, count), random.randint(0, count), 1, count, 0xFFFFFFFF]),
            "index_size": IndexSize.UINT16 if index_type == np.uint16 else IndexSize.INT32,
            "inner_size": columns,
            "protected_from": random.choice([0xFFFFFFFF, columns, columns - 1, random.randint(0, columns)]),
            "semaphore": random.randrange(16),
            **fixed,
        }

    def golden(self):
        """The layer after the job."""
        return prune(
            self.arrays["pointers"],
            self.arrays["indices"],
            self.arrays["master"].view(np.float32),
            self.arrays["momentum"].view(np.float32),
            self.arrays["values"].view(ml_dtypes.bfloat16),
            count=self.job["layer_drop"],
            inner_size=self.job["inner_size"],
            protected_from=self.job["protected_from"],
        )


class Bench(EngineBench):
    """The engine, and layers in its memory."""

    def __init__(self, dut):
        super().__init__(dut, job_layout=prune_job_layout, faults=5)

    def begin(self, *, rows, columns, row_entries=None, **fixed):
        """Put a layer into memory and send its job."""
        layer = Layer(rows=rows, columns=columns, fixed=fixed, row_entries=row_entries)
        for name, array in layer.arrays.items():
            self.memory.poke(layer.job[name], array.tobytes())
        self.send(**layer.job)
        return layer

    def room(self, layer, name, *, shifted):
        """The bytes of an array as long as it was, and 64 on either side."""
        address = layer.job[name] + (layer.job["shift"] if shifted else 0) & 0xFFFFFFFF
        return self.memory.peek(address - 64, layer.arrays[name].nbytes + 128)

    async def run(self, *, rows, columns, **settings):
        """Run one job and check it; the layer, and the cycles that it took."""
        layer = self.begin(rows=rows, columns=columns, **settings)
        before = {(name, shifted): self.room(layer, name, shifted=shifted) for name in ARRAYS for shifted in (0, 1)}
        entries = len(layer.arrays["indices"])
        await self.finish(1, cycles=40 * (300 + 10 * (entries + rows)) + 5 * BINS)
        assert self.done.received == [layer.job["semaphore"]]
        self.done.received.clear()
        golden = layer.golden()
        beats = 0
        for name in ARRAYS:
            wanted = getattr(golden, name).tobytes()
            beats += -(-len(wanted) // BEAT)
            expected = before[name, 1][:64] + wanted + before[name, 1][64 + len(wanted) :]
            found = self.room(layer, name, shifted=1)
            wrong = [place for place in range(len(expected)) if found[place] != expected[place]]
            assert not wrong, f"byte {wrong[0] - 64} of {name}, one of {len(wanted)}, is wrong: {layer.job}"
            if layer.job["shift"]:
                assert self.room(layer, name, shifted=0) == before[name, 0], f"{name} has changed where it was read"
        assert int(self.dut.changed.value) == golden.changed
        assert sum(burst["len"] + 1 for burst in self.writes.writes) == beats
        self.writes.writes.clear()
        return layer, int(self.dut.cycles.value)


@cocotb.test()
async def random_jobs(dut):
    """Layers of any shape, with stalls on every handshake and answers in any order."""
    bench = Bench(dut)
    await start_clock(dut)
    for latency, chance in ((1, 1.0), (30, 0.5), (3, 0.2), (40, 1.0)):
        bench.memory.read.latency, bench.chance = latency, chance
        for _ in range(rounds(5)):
            await bench.run(rows=random.randint(1, 10), columns=random.choice([1, 2, 7, 8, 30, 65]))


@cocotb.test()
async def corners(dut):
    """No rows, no entries, nothing to drop, everything protected, all dropped, long layers."""
    bench = Bench(dut)
    await start_clock(dut)
    await bench.run(rows=0, columns=20)
    await bench.run(rows=5, columns=20, row_entries=0)
    await bench.run(rows=1, columns=1, row_entries=1, layer_drop=1, protected_from=1)
    for shift in (0x80_0000, 0)[: rounds(2)]:
        await bench.run(rows=9, columns=20, row_entries=12, layer_drop=0, shift=shift)
        await bench.run(rows=9, columns=20, row_entries=12, protected_from=0, shift=shift)
        await bench.run(rows=9, columns=20, row_entries=12, layer_drop=500, protected_from=20, shift=shift)
        await bench.run(rows=2, columns=700, row_entries=600, layer_drop=700, protected_from=699, shift=shift)
        await bench.run(rows=300, columns=4, row_entries=1, layer_drop=100, shift=shift)


@cocotb.test()
async def throughput(dut):
    """Cycles of a layer, with 40 cycles from memory."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 40
    rows, fan_in = 32, 64
    await bench.run(rows=1, columns=5)  # the first one after a reset takes longer
    layer, cycles = await bench.run(
        rows=rows, columns=fan_in, row_entries=fan_in, layer_drop=rows * fan_in // 8, protected_from=fan_in
    )
    entries = rows * fan_in
    dut._log.info(f"{entries} entries of {rows} rows in {cycles} cycles, {BEAT} bytes a cycle")
    index_bytes = layer.arrays["indices"].itemsize
    structure = CONFIG.structure
    buffered = structure.buffer_beats * BEAT / 4 / 56  # entries of an array in a cycle, by its buffer
    counting = 1 / min(1, buffered, BEAT / (4 + index_bytes))
    writing = 1 / min(1, buffered, BEAT / (10 + index_bytes))
    assert cycles <= PASSES * BINS + 1.1 * ((PASSES + 1) * rows + entries * (PASSES * counting + writing)) + 600


@cocotb.test()
async def bad_layers(dut):
    """Pointers that go back or too far, columns out of range, and jobs that are refused; nothing is written."""
    bench = Bench(dut)
    await start_clock(dut)

    async def expect(code, *, address=0, row=0, index=0, **pokes):
        layer = bench.begin(rows=6, columns=20, row_entries=4, shift=0)
        for name, (place, value) in pokes.items():
            array = layer.arrays[name]
            bench.memory.poke(layer.job[name] + place * array.itemsize, np.array(value).astype(array.dtype).tobytes())
        found = await bench.fault()
        assert found[:2] == (code, address), found
        assert bench.faults.places[0] == (row, index)
        assert not bench.writes.writes
        await bench.reset()

    for name in (*ARRAYS, "shift"):
        bench.begin(rows=6, columns=20, **{name: 0x300_0000 + BEAT // 2})
        assert await bench.fault() == (ErrorCode.MISALIGNED, 0x300_0000 + BEAT // 2)
        assert not bench.memory.read.reads
        await bench.reset()
    await expect(ErrorCode.POINTER_ORDER, row=2, index=7, pointers=(3, 7))
    # The last pointer says how many entries there are.
    await expect(ErrorCode.POINTER_RANGE, row=4, index=20, pointers=(6, 19))
    await expect(ErrorCode.POINTER_RANGE, row=2, index=25, pointers=(3, 25))
    await expect(ErrorCode.POINTER_RANGE, row=0, index=1, pointers=(0, 1))
    await expect(ErrorCode.INDEX_RANGE, row=3, index=20, indices=(14, 20))
    await expect(ErrorCode.INDEX_RANGE, row=0, index=65535, indices=(0, 65535))
    await expect(ErrorCode.INDEX_RANGE, row=5, index=21, indices=(23, 21))
    await bench.run(rows=4, columns=20)


@cocotb.test()
async def bad_responses(dut):
    """A bad response is a fault with the address of its burst, and is forgotten after a reset."""
    bench = Bench(dut)
    await start_clock(dut)
    for number in range(10):
        side = ("read", "write")[number % 2]
        array = ARRAYS[number // 2]
        port = bench.memory.read if side == "read" else bench.writes
        bench.chance = random.choice([1.0, 0.5])
        bench.memory.read.latency = random.choice([1, 20])
        layer = bench.begin(rows=8, columns=40, row_entries=9, layer_drop=7)
        address = layer.job[array] + (layer.job["shift"] if side == "write" else 0) & 0xFFFFFFFF
        # The last pointer is read twice, the first time alone.
        hit = address if array == "pointers" else bench.a_burst(address, getattr(layer.golden(), array).nbytes)
        answer = random.choice([SLVERR, DECERR])
        port.respond = lambda address, hit=hit, answer=answer: answer if address == hit else OKAY
        code = ErrorCode.READ_RESPONSE if side == "read" else ErrorCode.WRITE_RESPONSE
        assert await bench.fault() == (code, hit)
        port.respond = lambda address: OKAY
        await bench.reset()
    await bench.run(rows=3, columns=20)


@cocotb.test()
async def halted(dut):
    """After halt nothing is begun, and what was begun is finished; after a reset the engine works again."""
    bench = Bench(dut)
    await start_clock(dut)
    for number in range(rounds(10)):
        bench.chance = random.choice([1.0, 0.6])
        bench.memory.read.latency = random.choice([1, 30])
        bench.begin(rows=8, columns=60, row_entries=30)
        # Two times in three while it counts or writes.
        await ClockCycles(dut.clk, random.randrange(5, 400) + (0, BINS, (PASSES + 1) * BINS + 2500)[number % 3])
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
    for number in range(rounds(6)):
        bench.memory.read.latency, bench.chance = random.randint(1, 30), random.choice([1.0, 0.5])
        bench.begin(rows=8, columns=60, row_entries=30)
        await ClockCycles(dut.clk, random.randrange(2, 600) + (number % 3) * BINS)
        await bench.reset()
        await bench.run(rows=3, columns=20)
