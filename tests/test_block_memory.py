# amaranth: UnusedElaboratable=no
"""Block memory: random bursts and single bytes at once, with random waits, against a copy."""

import random

import pytest
from amaranth.sim import Simulator

from acf.config import MemoryConfig
from acf.hw.boards.block_memory import BlockMemory

BEAT = 8
SIZE = 512
OKAY, DECERR = 0, 3


class Bench:
    """Masters of all channels; each waits at random.

    Reads and writes go on at the same time, each in its own half of the memory, so that there is one right answer.
    """

    def __init__(self, *, seed, wait, count):
        self.dut = BlockMemory(memory=MemoryConfig(data_width=8 * BEAT), id_width=3, size=SIZE)
        self.rng = random.Random(seed)
        self.wait = wait
        self.count = count
        self.written = bytearray(SIZE)
        self.reads: list[tuple[int, bytes]] = []

    def waits(self):
        return self.rng.random() < self.wait

    async def handshake(self, ctx, valid, ready, **payload):
        while self.waits():
            await ctx.tick()
        for name, value in payload.items():
            ctx.set(getattr(self.dut.axi, name), value)
        ctx.set(valid, 1)
        await ctx.tick().until(ready)
        ctx.set(valid, 0)

    async def write(self, ctx, address, beats, *, identifier=0):
        """One burst; strobes at random."""
        axi = self.dut.axi
        await self.handshake(ctx, axi.awvalid, axi.awready, awaddr=address, awlen=beats - 1, awid=identifier)
        for n in range(beats):
            data, strobes = self.rng.randbytes(BEAT), self.rng.choice((0xFF, self.rng.randrange(256)))
            await self.handshake(
                ctx, axi.wvalid, axi.wready, wdata=int.from_bytes(data, "little"), wstrb=strobes, wlast=n == beats - 1
            )
            for byte in range(BEAT):
                place = address + n * BEAT + byte
                if strobes >> byte & 1 and place < SIZE:
                    self.written[place] = data[byte]
        while self.waits():
            await ctx.tick()
        ctx.set(axi.bready, 1)
        response, got = await ctx.tick().sample(axi.bresp, axi.bid).until(axi.bvalid)
        ctx.set(axi.bready, 0)
        assert got == identifier
        return response

    async def ask(self, ctx, bursts):
        axi = self.dut.axi
        for address, beats, identifier in bursts:
            await self.handshake(ctx, axi.arvalid, axi.arready, araddr=address, arlen=beats - 1, arid=identifier)

    async def take(self, ctx, bursts):
        axi = self.dut.axi
        for address, beats, identifier in bursts:
            for n in range(beats):
                while self.waits():
                    await ctx.tick()
                ctx.set(axi.rready, 1)
                data, response, last, got = (
                    await ctx.tick().sample(axi.rdata, axi.rresp, axi.rlast, axi.rid).until(axi.rvalid)
                )
                ctx.set(axi.rready, 0)
                place = address + n * BEAT
                inside = place < SIZE
                assert (response, last, got) == (OKAY if inside else DECERR, n == beats - 1, identifier)
                if inside:
                    self.reads.append((place, data.to_bytes(BEAT, "little")))

    async def byte(self, ctx, address, value=None):
        """One byte read, or written; None if refused."""
        access = self.dut.access
        ctx.set(access.request.p.address, address)
        ctx.set(access.request.p.write, value is not None)
        ctx.set(access.request.p.value, value or 0)
        ctx.set(access.request.valid, 1)
        await ctx.tick().until(access.request.ready)
        ctx.set(access.request.valid, 0)
        found, refused = await ctx.tick().sample(access.value, access.refused).until(access.answered)
        assert bool(refused) == (address >= SIZE)
        if value is not None and not refused:
            self.written[address] = value
        return None if refused else found

    def run(self, *testbenches):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        simulator.run()


@pytest.mark.parametrize("wait", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(seed, wait):
    bench = Bench(seed=seed, wait=wait, count=30)
    rng = random.Random(seed)
    half = SIZE // 2
    bursts = [
        (rng.randrange(half // BEAT - 8) * BEAT, rng.randrange(1, 9), rng.randrange(8)) for _ in range(bench.count)
    ]
    known = [rng.randrange(256) for _ in range(half)]

    is_filled: list[bool] = []
    done: list[bool] = []

    async def bytes_one_by_one(ctx):
        for address, value in enumerate(known):
            await bench.byte(ctx, address, value)
        is_filled.append(True)
        for _ in range(bench.count):
            address = rng.randrange(half)
            assert await bench.byte(ctx, address) == known[address]
            while bench.waits():
                await ctx.tick()
        while len(done) < 3:
            await ctx.tick()
        for address in range(half, SIZE):
            assert await bench.byte(ctx, address) == bench.written[address]

    async def ask(ctx):
        await bench.ask(ctx, bursts)

    async def take(ctx):
        await bench.take(ctx, bursts)

    async def write(ctx):
        for _ in range(bench.count):
            beats = rng.randrange(1, 9)
            address = half + rng.randrange((half - 8 * BEAT) // BEAT) * BEAT
            assert await bench.write(ctx, address, beats, identifier=rng.randrange(8)) == OKAY

    def when_filled(testbench):
        async def later(ctx):
            while not is_filled:
                await ctx.tick()
            await testbench(ctx)
            done.append(True)

        return later

    bench.run(bytes_one_by_one, *(when_filled(testbench) for testbench in (ask, take, write)))
    assert len(bench.reads) == sum(beats for _, beats, _ in bursts)
    for address, data in bench.reads:
        assert list(data) == known[address : address + BEAT]


def test_beats_outside_are_refused():
    bench = Bench(seed=1, wait=0.0, count=0)

    async def run(ctx):
        assert await bench.write(ctx, SIZE - 2 * BEAT, 2) == OKAY
        assert await bench.write(ctx, SIZE - 2 * BEAT, 4) == DECERR
        assert await bench.write(ctx, 0x8000_0000, 1) == DECERR
        assert await bench.byte(ctx, SIZE) is None
        assert await bench.byte(ctx, 0xFFFF_FFFF, 1) is None
        for address in range(SIZE):
            assert await bench.byte(ctx, address) == bench.written[address]

    async def asks(ctx):
        await bench.ask(ctx, [(SIZE - 2 * BEAT, 4, 1), (0x8000_0000, 1, 2)])

    async def takes(ctx):
        await bench.take(ctx, [(SIZE - 2 * BEAT, 4, 1), (0x8000_0000, 1, 2)])

    bench.run(run, asks, takes)


def test_one_beat_a_cycle():
    bench = Bench(seed=1, wait=0.0, count=0)
    axi = bench.dut.axi
    beats = []

    async def asks(ctx):
        ctx.set(axi.rready, 1)
        await bench.ask(ctx, [(0, 16, 0), (128, 16, 1)])

    async def takes(ctx):
        for cycle in range(60):
            _, _, valid = await ctx.tick().sample(axi.rvalid)
            if valid:
                beats.append(cycle)

    bench.run(asks, takes)
    assert beats == list(range(beats[0], beats[0] + 32))
    assert beats[0] == 2


@pytest.mark.parametrize("size", [0, -8, 24, 16, 1000])
def test_sizes_that_cannot_be(size):
    with pytest.raises(ValueError, match=f"four beats at least, not {size}"):
        BlockMemory(memory=MemoryConfig(data_width=64), id_width=1, size=size)
