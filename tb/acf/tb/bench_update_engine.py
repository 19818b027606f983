"""The update engine against the golden step of SGD: memory after each job, errors, halt, rates."""

import random

import cocotb
import ml_dtypes
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from acf.golden.optimizer import sgd_step
from acf.hw.structure.update_engine import update_job_layout
from acf.isa import ErrorCode
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.float32_cases import fma_cases
from acf.tb.runner import bench_config
from acf.tb.stream import start_clock
from acf.tb.structure_bench import EngineBench

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
ARRAYS = {"gradient": 4, "master": 4, "momentum": 4, "weights": 2}


class Bench(EngineBench):
    """The engine, and the step that a job should take."""

    def __init__(self, dut):
        super().__init__(dut, job_layout=update_job_layout, faults=3)

    def job(self, count, **fields):
        """A job on random contents of the arrays, sent; it and the step that it should take."""
        offset = random.choice([0, 1, 5, 4096 // BEAT - 1, random.randrange(4096 // BEAT)]) * BEAT
        job = {array: 0x1_0000 * (1 + 2 * n) + offset * random.randrange(2) for n, array in enumerate(ARRAYS)}
        job |= {
            "count": count,
            "learning_rate": random.choice([0x3C24, 0x0000, 0xBF80, random.getrandbits(16)]),
            "momentum_factor": random.choice([0x3F66, 0x0000, random.getrandbits(16)]),
            "stochastic": random.getrandbits(1),
            "seed": random.randrange(1, 1 << 32),
            "semaphore": random.randrange(16),
            **fields,
        }
        rng = np.random.default_rng(random.getrandbits(64))
        gradient, momentum, _ = fma_cases(rng, max(count, 4))
        master = rng.permutation(gradient)
        contents = {"gradient": gradient[:count], "master": master[:count], "momentum": momentum[:count]}
        for array, numbers in contents.items():
            self.memory.poke(job[array], numbers.tobytes())
        expected = sgd_step(
            *(contents[array].view(np.float32) for array in ("master", "momentum", "gradient")),
            learning_rate=np.array(job["learning_rate"], np.uint16).view(ml_dtypes.bfloat16),
            momentum_factor=np.array(job["momentum_factor"], np.uint16).view(ml_dtypes.bfloat16),
            rounding="stochastic" if job["stochastic"] else "nearest",
            seed=job["seed"],
        )
        self.send(**job)
        return job, expected

    def around(self, job):
        """The bytes before and behind each array."""
        spans = [(job[array], job["count"] * size) for array, size in ARRAYS.items()]
        return [self.memory.peek(begin - 64, 64) + self.memory.peek(begin + size, 64) for begin, size in spans]

    def check(self, job, expected, around):
        """Memory is as it should be, and was not read or written elsewhere."""
        for array in ("master", "momentum", "weights"):
            wanted = getattr(expected, array)
            got = np.frombuffer(self.memory.peek(job[array], wanted.nbytes), dtype=f"u{wanted.itemsize}")
            wrong = np.flatnonzero(got != wanted.view(got.dtype))
            assert not len(wrong), f"{array}[{wrong[0]}] is {got[wrong[0]]:X}, one of {len(wrong)} wrong: {job}"
        assert self.around(job) == around, "bytes beside an array have changed"
        beats = sum(-(-job["count"] * 4 // BEAT) for _ in range(3))
        assert sum(burst["len"] + 1 for burst in self.memory.read.reads) == beats
        self.memory.read.reads.clear()

    async def run(self, count, **fields):
        """Run one job and check it."""
        job, expected = self.job(count, **fields)
        around = self.around(job)
        await self.finish(1, cycles=2000 + 100 * count)
        assert self.done.received == [job["semaphore"]]
        self.done.received.clear()
        self.check(job, expected, around)


@cocotb.test()
async def random_jobs(dut):
    """Jobs of every length, with stalls on every handshake and answers in any order."""
    bench = Bench(dut)
    await start_clock(dut)
    for latency, chance in ((1, 1.0), (30, 0.5), (3, 0.2), (40, 1.0)):
        bench.memory.read.latency, bench.chance = latency, chance
        for count in (0, 1, 2, BEAT // 4, BEAT // 2, BEAT // 2 + 1, *(random.randrange(300) for _ in range(6))):
            await bench.run(count)


@cocotb.test()
async def jobs_in_a_row(dut):
    """Jobs that wait are taken one after another."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.chance = 0.8
    jobs = [
        bench.job(
            20 + n,
            gradient=0x10_0000 * n,
            master=0x10_0000 * n + 0x4000,
            momentum=0x10_0000 * n + 0x8000,
            weights=0x10_0000 * n + 0xC000,
        )
        for n in range(4)
    ]
    around = [bench.around(job) for job, _ in jobs]
    await bench.finish(4, cycles=8000)
    assert bench.done.received == [job["semaphore"] for job, _ in jobs]
    bench.memory.read.reads.clear()
    for (job, expected), before in zip(jobs, around, strict=True):
        for array in ("master", "momentum", "weights"):
            wanted = getattr(expected, array)
            assert bench.memory.peek(job[array], wanted.nbytes) == wanted.tobytes()
        assert bench.around(job) == before


@cocotb.test()
async def throughput(dut):
    """Entries a cycle, with 40 cycles from memory."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.memory.read.latency = 40
    count = 2048
    job, expected = bench.job(count)
    around = bench.around(job)
    while not (int(dut.i_valid.value) and int(dut.i_ready.value)):
        await RisingEdge(dut.clk)
    first = bench.done.cycle
    await bench.finish(1, cycles=10 * count)
    cycles = bench.done.cycles[-1] - first
    bench.check(job, expected, around)
    dut._log.info(f"{count} entries in {cycles} cycles, {count / cycles:.3f} a cycle, {BEAT} bytes a cycle each way")
    # Twelve bytes of an entry are read, and buffers hold what comes while their answers are on the way.
    buffered = bench_config().structure.buffer_beats * BEAT // 4
    assert count / cycles >= 0.9 * min(1.0, BEAT / 12, buffered / 56)


@cocotb.test()
async def bad_responses(dut):
    """A bad response is a fault with the address of its burst, ends the job, and is forgotten after a reset."""
    bench = Bench(dut)
    await start_clock(dut)
    for number in range(12):
        side = ("read", "write")[number % 2]
        array = random.choice([array for array in ARRAYS if array != ("weights" if side == "read" else "gradient")])
        bench.chance = random.choice([1.0, 0.5])
        bench.memory.read.latency = random.choice([1, 20])
        count = 150
        job, _ = bench.job(count)
        bad = job[array] + random.randrange(count * ARRAYS[array]) // BEAT * BEAT
        answer = random.choice([SLVERR, DECERR])
        port = bench.memory.read if side == "read" else bench.writes
        # A write is answered by the address of its burst, a read beat by beat.
        hit = range(bad, bad + 1) if side == "read" else range(job[array], job[array] + count * ARRAYS[array])
        port.respond = lambda address, hit=hit, answer=answer: answer if address in hit else OKAY
        code, address = await bench.fault()
        assert code == (ErrorCode.READ_RESPONSE if side == "read" else ErrorCode.WRITE_RESPONSE)
        if side == "read":
            [burst] = {b["addr"] for b in bench.memory.read.reads if b["addr"] <= bad <= b["addr"] + b["len"] * BEAT}
            assert address == burst
        else:
            assert address == job[array]
        port.respond = lambda address: OKAY
        await bench.reset()
        await bench.run(37)


@cocotb.test()
async def misaligned(dut):
    """A job with an address that is not that of a beat is refused."""
    bench = Bench(dut)
    await start_clock(dut)
    for array in ARRAYS:
        job, _ = bench.job(10, **{array: 0x20_0000 + BEAT // 2})
        await ClockCycles(dut.clk, 40)
        assert bench.faults.seen == [(ErrorCode.MISALIGNED, job[array])]
        assert not bench.memory.read.reads
        await bench.reset()


@cocotb.test()
async def halted(dut):
    """After halt nothing is begun, and what was begun is finished; after a reset the engine works again."""
    bench = Bench(dut)
    await start_clock(dut)
    for _ in range(12):
        bench.chance = random.choice([1.0, 0.6])
        bench.memory.read.latency = random.choice([1, 30])
        bench.job(200)
        await ClockCycles(dut.clk, random.randrange(5, 300))
        dut.halt.value = 1
        await bench.quiet()
        await bench.reset()
        await bench.run(random.randrange(40))


@cocotb.test()
async def reset_at_any_time(dut):
    """A reset in the middle leaves nothing behind."""
    bench = Bench(dut)
    await start_clock(dut)
    for _ in range(12):
        bench.memory.read.latency, bench.chance = random.randint(1, 30), random.choice([1.0, 0.5])
        bench.job(150)
        await ClockCycles(dut.clk, random.randrange(2, 250))
        await bench.reset()
        await bench.run(random.randrange(60))
