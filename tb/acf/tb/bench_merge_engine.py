"""The merge engine against golden growth: memory after each layer, errors, halt, rates."""

import random
from itertools import pairwise

import cocotb
import ml_dtypes
import numpy as np
from cocotb.triggers import ClockCycles

from acf.golden.merge import LayerGrowth, Rows
from acf.hw.structure.merge_engine import merge_job_layout
from acf.isa import ErrorCode, IndexSize
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.runner import bench_config, rounds
from acf.tb.stream import start_clock
from acf.tb.structure_bench import EngineBench

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
STRUCTURE = CONFIG.structure
ARRAYS = ("pointers", "indices", "values", "master", "momentum")
BINS = 2048


class Layer:
    """A random layer in CSR, gradients of all its columns, and the jobs that survey and merge it."""

    def __init__(self, *, rows, columns, fixed, row_entries=None):
        rng = np.random.default_rng(random.getrandbits(64))
        most = random.choice([columns, min(columns, 5), columns // 2])
        lengths = np.where(rng.random(rows) < 0.9, rng.integers(0, most + 1, rows), 0)
        if row_entries is not None:
            lengths = np.full(rows, row_entries)
        count = int(lengths.sum())
        index_type = np.uint16 if random.getrandbits(1) else np.int32
        # Few magnitudes, so that many are equal; some are NaN or infinite.
        small = np.array([0, 0x80000000, 1, 0x3F000000, 0xBF0FFFFF, 0x3F100000, 0x7F800000, 0xFFFFFFFF], np.uint32)
        gradients = rng.integers(0, 1 << 32, rows * columns, dtype=np.uint32)
        if random.random() < 0.5:
            gradients = rng.choice(small, rows * columns)
        indices = [rng.permutation(columns)[:length] for length in lengths]
        if random.random() < 0.2:
            indices = [rng.integers(0, columns, length) for length in lengths]  # some more than once
        self.arrays = {
            "pointers": np.r_[0, np.cumsum(lengths)].astype(np.int32),
            "indices": np.concatenate([*indices, []]).astype(index_type),
            "values": rng.integers(0, 1 << 16, count, dtype=np.uint16),
            "master": rng.integers(0, 1 << 32, count, dtype=np.uint32),
            "momentum": rng.integers(0, 1 << 32, count, dtype=np.uint32),
        }
        self.gradients = gradients.reshape(rows, columns)
        shift = random.choice([0x80_0000 + BEAT * random.randrange(100), -0x8_0000])
        free = rows * columns - count
        self.job = {
            **{name: 0x10_0000 * (n + 1) + BEAT * random.randrange(200) for n, name in enumerate(ARRAYS)},
            "shift": shift & 0xFFFFFFFF,
            "grow": random.choice([0, 1, random.randint(0, max(0, free)), random.randint(0, 20), 0xFFFFFFFF]),
            "candidate_stride": -(-columns * 4 // BEAT) * BEAT + BEAT * random.randrange(3),
            "random": random.getrandbits(1),
            "index_size": IndexSize.UINT16 if index_type == np.uint16 else IndexSize.INT32,
            "inner_size": columns,
            "protected_from": random.choice([0xFFFFFFFF, columns, random.randint(0, columns)]),
            "semaphore": random.randrange(16),
            **fixed,
        }
        bounds = sorted({0, rows, *(random.randint(0, rows) for _ in range(random.choice([0, 1, 3])))})
        chunks = list(pairwise(bounds))
        self.chunks = [
            {
                "row_begin": begin,
                "row_end": end,
                "candidates": 0x100_0000 + number * 0x10_0000 + BEAT * random.randrange(200),
                "seed": random.randrange(1, 1 << 32),
            }
            for number, (begin, end) in enumerate(chunks)
        ]

    def jobs(self):
        """All jobs, in order."""
        return [{**self.job, **chunk, "merge": merge} for merge in (0, 1) for chunk in self.chunks]

    def golden(self):
        """The arrays after all jobs, and the newcomers of each merge."""
        job, arrays, growth = self.job, self.arrays, LayerGrowth()
        limit = min(job["inner_size"], job["protected_from"])

        def rows(chunk):
            begin, end = chunk["row_begin"], chunk["row_end"]
            pointers = arrays["pointers"][begin : end + 1]
            span = slice(pointers[0], pointers[-1])
            gradients = None if job["random"] else self.gradients[begin:end].view(np.float32)
            found = Rows(pointers - pointers[0], arrays["indices"][span], limit, gradients, seed=chunk["seed"])
            return found, span

        for chunk in self.chunks:
            growth.survey(rows(chunk)[0], first=chunk["row_begin"] == 0, grow=job["grow"])
        parts = []
        for chunk in self.chunks:
            found, span = rows(chunk)
            parts.append(
                growth.merge(
                    found,
                    arrays["master"][span].view(np.float32),
                    arrays["momentum"][span].view(np.float32),
                    arrays["values"][span].view(ml_dtypes.bfloat16),
                )
            )
        pointers = [parts[0].pointers[:1], *(part.pointers[1:] for part in parts)]
        whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS[1:]}
        return {"pointers": np.concatenate(pointers).astype(np.int32), **whole}, [part.grown for part in parts]


class Bench(EngineBench):
    """The engine, and layers in its memory."""

    def __init__(self, dut):
        super().__init__(dut, job_layout=merge_job_layout, faults=5)

    def put(self, layer):
        """Put a layer into memory."""
        for name, array in layer.arrays.items():
            self.memory.poke(layer.job[name], array.tobytes())
        for chunk in layer.chunks:
            for number, row in enumerate(layer.gradients[chunk["row_begin"] : chunk["row_end"]]):
                self.memory.poke(chunk["candidates"] + number * layer.job["candidate_stride"], row.tobytes())

    def room(self, layer, name, size):
        """That many bytes of an array where it is written, and 64 on either side."""
        return self.memory.peek((layer.job[name] + layer.job["shift"] & 0xFFFFFFFF) - 64, size + 128)

    async def job(self, layer, job):
        """Run one job."""
        self.send(**job)
        work = layer.gradients.size + len(layer.arrays["indices"]) + 50 * len(layer.gradients)
        await self.finish(1, cycles=40 * (300 + 3 * work) + STRUCTURE.columns + 5 * BINS)
        assert self.done.received == [job["semaphore"]]
        self.done.received.clear()

    async def run(self, *, rows, columns, row_entries=None, **fixed):
        """Run the jobs of a layer and check it; the layer, and the cycles that they took."""
        layer = Layer(rows=rows, columns=columns, fixed=fixed, row_entries=row_entries)
        self.put(layer)
        expected, grown = layer.golden()
        before = {name: self.room(layer, name, expected[name].nbytes) for name in ARRAYS}
        source = {name: self.memory.peek(layer.job[name], layer.arrays[name].nbytes) for name in ARRAYS}
        cycles = 0
        for number, job in enumerate(layer.jobs()):
            await self.job(layer, job)
            cycles += int(self.dut.cycles.value)
            assert int(self.dut.changed.value) == (grown[number - len(layer.chunks)] if job["merge"] else 0)
            assert not self.writes.busy
            if not job["merge"]:
                assert not self.writes.writes
        beats = 0
        for name, array in expected.items():
            wanted = array.tobytes()
            beats += -(-len(wanted) // BEAT)
            found = self.room(layer, name, len(wanted))
            wanted = before[name][:64] + wanted + before[name][-64:]
            wrong = [place for place in range(len(wanted)) if found[place] != wanted[place]]
            assert not wrong, f"byte {wrong[0] - 64} of {array.nbytes} of {name} is wrong: {layer.job}, {layer.chunks}"
            assert self.memory.peek(layer.job[name], len(source[name])) == source[name], f"{name} was changed"
        assert sum(burst["len"] + 1 for burst in self.writes.writes) == beats
        self.writes.writes.clear()
        return layer, cycles


@cocotb.test()
async def random_layers(dut):
    """Layers of any shape in any number of parts, with stalls on every handshake and answers in any order."""
    bench = Bench(dut)
    await start_clock(dut)
    for latency, chance in ((1, 1.0), (30, 0.5), (3, 0.2), (40, 1.0)):
        bench.memory.read.latency, bench.chance = latency, chance
        for _ in range(rounds(6)):
            await bench.run(rows=random.randint(1, 10), columns=random.choice([1, 2, 7, 8, 30, 65]))


@cocotb.test()
async def corners(dut):
    """Nothing to grow, no candidates, everything protected, empty rows, the widest layer."""
    bench = Bench(dut)
    await start_clock(dut)
    for mode in (0, 1):
        await bench.run(rows=3, columns=20, random=mode, grow=0)
        await bench.run(rows=3, columns=20, random=mode, protected_from=0, grow=9)
        await bench.run(rows=5, columns=20, random=mode, row_entries=0, grow=50)
        await bench.run(rows=2, columns=8, random=mode, row_entries=8, grow=50)
        await bench.run(rows=3, columns=20, random=mode, grow=0xFFFFFFFF, protected_from=19)
        await bench.run(rows=60, columns=2, random=mode, row_entries=1)
    await bench.run(rows=1, columns=STRUCTURE.columns, random=0, row_entries=3, grow=900)
    # A layer may be surveyed again before it is merged.
    layer = Layer(rows=4, columns=30, fixed={"grow": 7})
    bench.put(layer)
    for job in layer.jobs()[: len(layer.chunks)]:
        await bench.job(layer, job)
    await bench.run(rows=4, columns=30)


@cocotb.test()
async def throughput(dut):
    """Cycles of a layer, with 40 cycles from memory."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 40
    rows, columns, fan_in = 16, 256, 25
    for mode in (0, 1):
        layer, cycles = await bench.run(
            rows=rows, columns=columns, row_entries=fan_in, random=mode, grow=100, protected_from=columns
        )
        entries, jobs = rows * fan_in, 2 * len(layer.chunks)
        dut._log.info(
            f"{'random' if mode else 'gradient'}: {entries} entries and {rows} x {columns} columns in {cycles} cycles"
        )
        per_beat = 0 if mode else columns * 4 / BEAT  # a beat is loaded in the cycle of the last candidate before it
        passes = 2 * (rows * (columns + per_beat) + entries * max(1, 14 / BEAT))
        assert cycles <= 1.2 * (passes + rows * 2 * 100 + jobs * (columns * 4 / BEAT + 150) + 2 * BINS)


@cocotb.test()
async def bad_layers(dut):
    """Rows out of order, pointers that go back, rows too long, columns out of range, and jobs that are refused."""
    bench = Bench(dut)
    await start_clock(dut)

    async def refused(layer, *jobs, code=ErrorCode.COMMAND_RANGE, address=None, place=(0, 0)):
        bench.put(layer)
        for job in jobs[:-1]:
            await bench.job(layer, job)
        bench.writes.writes.clear()
        bench.send(**jobs[-1])
        address = jobs[-1]["indices"] if address is None else address
        assert await bench.fault() == (code, address)
        assert bench.faults.places[0] == place
        await bench.reset()

    def parts(**fixed):
        """A layer of ten rows in two parts: surveys of them and merges."""
        layer = Layer(rows=10, columns=20, row_entries=4, fixed={"grow": 5, "random": 0, "protected_from": 20, **fixed})
        chunk = layer.chunks[0]
        layer.chunks = [{**chunk, "row_begin": 0, "row_end": 6}, {**chunk, "row_begin": 6, "row_end": 10}]
        return layer, *layer.jobs()

    for name in ("pointers", "indices", "values", "master", "momentum", "shift", "candidates", "candidate_stride"):
        layer, one, two, three, four = parts()
        bad = 0x300_0000 + BEAT // 2
        await refused(layer, one, two, {**three, name: bad}, code=ErrorCode.MISALIGNED, address=bad)
        if name not in ("values", "master", "momentum", "shift"):
            await refused(layer, {**one, name: bad}, code=ErrorCode.MISALIGNED, address=bad)
    layer, one, two, three, four = parts()
    await refused(layer, {**one, "inner_size": STRUCTURE.columns + 1})
    await refused(layer, two)
    await refused(layer, one, {**two, "row_begin": 5})
    await refused(layer, three)
    await refused(layer, one, four)
    await refused(layer, one, two, {**three, "row_end": 11})
    await refused(layer, one, two, three, three)
    await refused(layer, one, two, three, one)
    await refused(layer, one, two, three, four, three)
    await refused(layer, one, two, three, {**four, "row_begin": 7})
    # The layer has changed since it was surveyed.
    await refused(layer, one, two, {**three, "protected_from": 0}, {**four, "protected_from": 0})
    layer, one, two, three, four = parts()
    layer.arrays["pointers"][4] = 7
    await refused(layer, one, code=ErrorCode.POINTER_ORDER, address=0, place=(3, 7))
    layer, one, two, three, four = parts()
    layer.arrays["pointers"][5:] += 0x10000
    await refused(layer, one, code=ErrorCode.POINTER_RANGE, address=0, place=(4, 20 + 0x10000))
    layer, one, two, three, four = parts()
    layer.arrays["indices"][26] = 20
    await refused(layer, one, two, code=ErrorCode.INDEX_RANGE, address=0, place=(6, 20))
    await bench.run(rows=4, columns=20)


@cocotb.test()
async def a_layer_that_grew(dut):
    """Entries that a layer did not have when it was surveyed are not written beyond its new end."""
    bench = Bench(dut)
    await start_clock(dut)
    for grow in (0, 3):
        layer = Layer(rows=6, columns=20, row_entries=4, fixed={"grow": grow, "random": 0})
        layer.chunks = [{**layer.chunks[0], "row_begin": 0, "row_end": 6}]
        bench.put(layer)
        survey, merge = layer.jobs()
        await bench.job(layer, survey)
        bench.memory.poke(layer.job["pointers"] + 24, np.array([60], np.int32).tobytes())
        bench.memory.poke(layer.job["indices"] + 24 * layer.arrays["indices"].itemsize, bytes(200))
        bench.send(**merge)
        assert await bench.fault() == (ErrorCode.COMMAND_RANGE, layer.job["indices"])
        await bench.reset()


@cocotb.test()
async def bad_responses(dut):
    """A bad response is a fault with the address of its burst, and is forgotten after a reset."""
    bench = Bench(dut)
    await start_clock(dut)
    arrays = (*ARRAYS, "candidates")
    for number in range(11):
        side = ("read", "write")[number % 2]
        array = arrays[number // 2]
        port = bench.memory.read if side == "read" else bench.writes
        bench.chance = random.choice([1.0, 0.5])
        bench.memory.read.latency = random.choice([1, 20])
        layer = Layer(rows=8, columns=40, row_entries=9, fixed={"grow": 7, "random": 0, "protected_from": 40})
        layer.chunks = [{**layer.chunks[0], "row_begin": 0, "row_end": 8}]
        bench.put(layer)
        survey, merge = layer.jobs()
        if side == "write":
            hit = bench.a_burst(merge[array] + merge["shift"] & 0xFFFFFFFF, layer.golden()[0][array].nbytes)
        else:
            # Arrays are read row by row, and rows share beats.
            hit = merge[array] + (random.randrange(8) * merge["candidate_stride"] if array == "candidates" else 0)
        answer = random.choice([SLVERR, DECERR])
        merging = array in ("values", "master", "momentum") or side == "write"
        if merging:
            await bench.job(layer, survey)
        port.respond = lambda address, hit=hit, answer=answer: answer if address == hit else OKAY
        bench.send(**(merge if merging else survey))
        code = ErrorCode.READ_RESPONSE if side == "read" else ErrorCode.WRITE_RESPONSE
        assert await bench.fault() == (code, hit)
        port.respond = lambda address: OKAY
        await bench.reset()
    await bench.run(rows=3, columns=20)


@cocotb.test()
async def halted_and_reset(dut):
    """After halt nothing is begun, and what was begun is finished; a reset in the middle leaves nothing behind."""
    bench = Bench(dut)
    await start_clock(dut)
    for number in range(rounds(12)):
        bench.chance = random.choice([1.0, 0.6])
        bench.memory.read.latency = random.choice([1, 30])
        layer = Layer(rows=8, columns=60, fixed={})
        bench.put(layer)
        for job in layer.jobs():
            bench.send(**job)
        await ClockCycles(dut.clk, random.randrange(5, 1000) + (0, 2 * BINS)[number % 2])
        if number % 3:
            dut.halt.value = 1
            bench.chance = 1.0
            await bench.quiet()
        await bench.reset()
        if number % 4 == 3:
            await bench.run(rows=3, columns=20)
