# amaranth: UnusedElaboratable=no
"""The command processor and its parts."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from acf.config import MemoryConfig, preset
from acf.hw.fabric.control_receiver import ControlReceiver
from acf.hw.fabric.program_fetch import ProgramFetch
from acf.hw.fabric.semaphores import Semaphores
from acf.hw.noc.flit import done_head, error_head
from acf.isa import COMMAND_BYTES, SEMAPHORES, ControlKind, ErrorCode
from acf.tb.runner import has_icarus, run_bench
from acf.tb.stream import pack

needs_icarus = pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")


@pytest.mark.parametrize(
    ("simulator", "divisor"),
    [
        ("verilator", 3),
        pytest.param("verilator", 1, marks=pytest.mark.regress),
        pytest.param("icarus", 1, marks=[needs_icarus, pytest.mark.regress]),
    ],
)
def test_command_processor(simulator, divisor):
    module = "acf.tb.bench_command_processor"
    run_bench("command_processor", module=module, simulator=simulator, divisor=divisor)


@pytest.mark.regress
def test_command_processor_with_wide_memory():
    run_bench(
        "command_processor",
        module="acf.tb.bench_command_processor",
        config=preset("base"),
        seed=2,
        testcase=["random_programs", "fetch_hides_memory_latency", "violation_goes_before_what_it_causes"],
    )


@pytest.mark.parametrize("places", [0, 1, 6])
def test_program_fetch_needs_places(places):
    message = f"places of the program fetch must be a power of two of at least 2, not {places}"
    with pytest.raises(ValueError, match=message):
        ProgramFetch(memory=MemoryConfig(), places=places)


def simulate(dut, bench):
    m = Module()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("data_width", [64, 128, 256, 512])
def test_program_fetch_gives_commands_in_order(data_width):
    memory = MemoryConfig(data_width=data_width)
    dut = ProgramFetch(memory=memory, places=4)
    rng = random.Random(data_width)
    address, length = 0x1000, 21
    program = [rng.randbytes(COMMAND_BYTES) for _ in range(length)]
    bad = {3: {0}, 5: {COMMAND_BYTES // memory.beat_bytes - 1}, 6: set()}

    async def bench(ctx):
        ctx.set(dut.address, address)
        ctx.set(dut.length, length)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        open_beats, asked, taken, most = [], 0, 0, 0
        for _ in range(5000):
            if taken == length:
                break
            # Memory: one beat in flight list per beat, in order.
            ctx.set(dut.read.arready, rng.random() < 0.7)
            gives = bool(open_beats) and rng.random() < 0.7
            ctx.set(dut.read.rvalid, gives)
            if gives:
                command, beat = open_beats[0]
                size = memory.beat_bytes
                ctx.set(dut.read.rdata, int.from_bytes(program[command][beat * size : (beat + 1) * size], "little"))
                ctx.set(dut.read.rlast, (beat + 1) * size == COMMAND_BYTES)
                ctx.set(dut.read.rresp, 2 if beat in bad.get(command, ()) else 0)
                assert ctx.get(dut.read.rready)
            # Reader.
            takes = ctx.get(dut.valid) and rng.random() < 0.3
            if ctx.get(dut.valid):
                parts = []
                for part in range(8):
                    ctx.set(dut.part, part)
                    parts.append(ctx.get(dut.value).to_bytes(8, "little"))
                assert b"".join(parts) == program[taken]
                assert ctx.get(dut.head) == address + taken * COMMAND_BYTES
                assert ctx.get(dut.failed) == bool(bad.get(taken))
            assert not ctx.get(dut.exhausted)
            ctx.set(dut.take, takes)
            if ctx.get(dut.read.arvalid) and ctx.get(dut.read.arready):
                assert ctx.get(dut.read.araddr) == address + asked * COMMAND_BYTES
                assert ctx.get(dut.read.arlen) == COMMAND_BYTES // memory.beat_bytes - 1
                open_beats += [(asked, beat) for beat in range(COMMAND_BYTES // memory.beat_bytes)]
                asked += 1
            if gives:
                open_beats.pop(0)
            most = max(most, asked - taken)
            assert asked - taken <= 4
            taken += takes
            await ctx.tick()
        assert (taken, asked, most) == (length, length, 4)
        ctx.set(dut.take, 0)
        await ctx.tick()
        assert ctx.get(dut.exhausted)
        assert ctx.get(dut.idle)

    simulate(dut, bench)


def test_program_fetch_stops():
    """A burst that is asked for is not withdrawn by stop, and no other follows."""
    dut = ProgramFetch(memory=MemoryConfig(data_width=512))

    async def bench(ctx):
        ctx.set(dut.address, 0)
        ctx.set(dut.length, 100)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.stop, 1)
        for _ in range(5):
            assert ctx.get(dut.read.arvalid)
            assert not ctx.get(dut.idle)
            await ctx.tick()
        ctx.set(dut.read.arready, 1)
        await ctx.tick()
        for _ in range(5):
            assert not ctx.get(dut.read.arvalid)
            assert not ctx.get(dut.idle)
            await ctx.tick()
        ctx.set(dut.read.rvalid, 1)
        ctx.set(dut.read.rlast, 1)
        await ctx.tick()
        assert ctx.get(dut.idle)

    simulate(dut, bench)


def test_semaphores_count():
    dut = Semaphores()
    rng = random.Random(3)

    async def bench(ctx):
        values = [0] * SEMAPHORES
        taken = 0
        for _ in range(3000):
            signal, number = rng.random() < 0.8, rng.randrange(16)
            wait, waiting, count = rng.random() < 0.5, rng.randrange(SEMAPHORES), rng.randrange(8)
            for port, value in {
                "signal": signal,
                "number": number,
                "wait": wait,
                "waiting": waiting,
                "count": count,
            }.items():
                ctx.set(getattr(dut, port), value)
            reached = values[waiting] >= count
            assert ctx.get(dut.reached) == reached
            if wait and reached:
                values[waiting] -= count
                taken += 1
            if signal and number < SEMAPHORES:
                values[number] += 1
            await ctx.tick()
        assert taken > 100

    simulate(dut, bench)


def test_semaphores_stop_at_their_largest_value():
    dut = Semaphores()

    async def bench(ctx):
        ctx.set(dut.signal, 1)
        ctx.set(dut.number, 1)
        ctx.set(dut.waiting, 1)
        for _ in range((1 << 16) + 5):
            await ctx.tick()
        ctx.set(dut.signal, 0)
        ctx.set(dut.count, (1 << 16) - 1)
        assert ctx.get(dut.reached)

    simulate(dut, bench)


def test_control_receiver_tells_packets_apart():
    noc = preset("tiny").noc
    dut = ControlReceiver(noc=noc)
    rng = random.Random(4)
    packets = []
    for _ in range(200):
        kind = rng.choice(list(ControlKind))
        if kind == ControlKind.DONE:
            semaphore = rng.randrange(16)
            packets.append(
                ([pack(done_head, kind=kind, semaphore=semaphore, x=rng.randrange(16))], ("done", semaphore))
            )
        elif kind == ControlKind.ERROR:
            code, x, y = rng.choice(list(ErrorCode)), rng.randrange(16), rng.randrange(16)
            address, row, index = (rng.getrandbits(32) for _ in range(3))
            head = pack(error_head, kind=kind, code=code, source_x=x, source_y=y)
            packets.append(([head, address | row << 32, index], ("error", code, address, row, index, x, y)))
        else:
            packets.append(([pack(done_head, kind=kind), *(rng.getrandbits(64) for _ in range(8))], None))

    async def bench(ctx):
        reported = []
        expected = [report for _, report in packets if report is not None]
        for flits, _ in packets:
            for n, payload in enumerate(flits):
                while rng.random() < 0.3:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                    collect(ctx, reported)
                assert ctx.get(dut.i.ready)
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.payload, {"payload": payload, "head": n == 0, "tail": n == len(flits) - 1})
                await ctx.tick()
                collect(ctx, reported)
        assert reported == expected

    def collect(ctx, reported):
        if ctx.get(dut.done):
            reported.append(("done", ctx.get(dut.semaphore)))
        if ctx.get(dut.failed):
            error = dut.error
            reported.append(
                (
                    "error",
                    *(ctx.get(error[name]) for name in ("code", "address", "row", "index", "source_x", "source_y")),
                )
            )

    simulate(dut, bench)
