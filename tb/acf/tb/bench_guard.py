"""The guard of the memory port: windows, order, draining at any moment, traffic."""

import random

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge

from acf.hw.fabric.command_processor import port_id_width
from acf.hw.mem.guard import traffic_layout, violation_layout
from acf.hw.mem.window_check import MAY_READ, MAY_WRITE, window_layout
from acf.tb.axi_channels import DECERR, OKAY, AxiMemory, Burst, ReadMaster, WriteMaster
from acf.tb.runner import bench_config, rounds
from acf.tb.stream import pack, start_clock, unpack, wait_until

WINDOWS = [
    {"base": 0x0000_2000, "limit": 0x0000_3FFF, "rights": 0b11},
    {"base": 0x0000_4000, "limit": 0x0000_47FF, "rights": 0b01},  # right behind: bursts across both are refused
    {"base": 0x0001_0100, "limit": 0x0001_01FF, "rights": 0b10},
    {"base": 0xFFFF_F000, "limit": 0xFFFF_FFFF, "rights": 0b11},
]


def golden_allowed(burst, right, memory):
    """Whether one window with the right holds all bytes of a burst."""
    last = burst.address + (burst.length + 1) * memory.beat_bytes - 1
    return any(
        window["base"] <= burst.address and last <= window["limit"] and window["rights"] >> right & 1
        for window in WINDOWS
    )


def random_burst(rng, memory, *, id_width, wild):
    """A burst near a border of a window, or (not ``wild``) anywhere in the first."""
    size = memory.beat_bytes
    length = rng.randrange(8)
    if wild:
        window = rng.choice(WINDOWS)
        address = rng.choice([window["base"], window["limit"] + 1 - (length + 1) * size])
        address = max(0, address + rng.choice([-size, 0, 0, 0, size]))
        address = min(address, (1 << memory.address_width) - size)
    else:
        address = 0x2000 + rng.randrange(512 - length) // (length + 1) * (length + 1) * size
        if address >> 12 != address + (length + 1) * size - 1 >> 12:
            address = 0x2000
    if golden_allowed(Burst(0, address, length), MAY_READ, memory):
        # A master keeps within 4 KiB; what is refused may be as wild as it likes.
        assert address >> 12 == address + (length + 1) * size - 1 >> 12
    beats = tuple((rng.getrandbits(memory.data_width), rng.getrandbits(size)) for _ in range(length + 1))
    return Burst(rng.getrandbits(2) if rng.random() < 0.5 else rng.getrandbits(id_width), address, length, beats)


class Bench:
    """The guard between two masters and a memory, all at their own random speeds."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        self.config = bench_config()
        self.memory = self.config.memory
        self.id_width = port_id_width(self.config)
        self.speeds = {"read": 1.0, "write": 1.0, "port": 1.0}
        self.reader = ReadMaster(dut, "inside", memory=self.memory, use=self._use("read"))
        self.writer = WriteMaster(dut, "inside", memory=self.memory, use=self._use("write"))
        self.port = AxiMemory(dut, "m_axi", memory=self.memory, rng=rng, use=self._use("port"))
        self.traffic = {"read_burst": 0, "write_burst": 0, "read_beat": 0, "write_bytes": 0}
        dut.quiesce.value = 0
        for n, window in enumerate(WINDOWS):
            getattr(dut, f"windows_{n}").value = pack(window_layout, **window)

    def _use(self, side):
        return lambda: self.rng.random() < self.speeds[side]

    def pick_speeds(self):
        self.speeds = {side: self.rng.choice([1.0, 0.5, 0.1]) for side in self.speeds}

    async def start(self):
        await start_clock(self.dut)
        cocotb.start_soon(self._watch_traffic())

    async def _watch_traffic(self):
        layout = traffic_layout(memory=self.memory)
        while True:
            await RisingEdge(self.dut.clk)
            for name, value in unpack(layout, int(self.dut.traffic.value)).items():
                if name in self.traffic:
                    self.traffic[name] += value

    @property
    def violation(self):
        layout = violation_layout(memory=self.memory, id_width=self.id_width)
        return unpack(layout, int(self.dut.violation.value))

    def bursts(self, count, *, wild):
        return [random_burst(self.rng, self.memory, id_width=self.id_width, wild=wild) for _ in range(count)]

    def golden_beats(self, reads):
        received = {}
        for burst in reads:
            allowed = golden_allowed(burst, MAY_READ, self.memory)
            for n in range(burst.length + 1):
                data = self.port.word(burst.address + n * self.memory.beat_bytes) if allowed else 0
                beat = (data, OKAY if allowed else DECERR, int(n == burst.length))
                received.setdefault(burst.id, []).append(beat)
        return received

    def golden_answers(self, writes):
        received, beats = {}, []
        for burst in writes:
            allowed = golden_allowed(burst, MAY_WRITE, self.memory)
            received.setdefault(burst.id, []).append(OKAY if allowed else DECERR)
            if allowed:
                beats += [
                    (burst.address + n * self.memory.beat_bytes, data, strobes)
                    for n, (data, strobes) in enumerate(burst.beats)
                ]
        return received, beats

    async def exchange(self, *, reads, writes):
        """Run bursts to their end and compare everything."""
        port, reader, writer = self.port, self.reader, self.writer
        reader.reset()
        writer.reset()
        port.reads.clear()
        port.writes.clear()
        port.written_beats.clear()
        if reads:
            reader.bursts.extend(reads)
        writer.send(writes)
        beats = sum(burst.length + 1 for burst in reads)
        await wait_until(
            self.dut,
            lambda: reader.beats == beats and writer.answers == len(writes),
            cycles=60000,
            pending=lambda: f"{reader.beats}/{beats} beats, {writer.answers}/{len(writes)} answers",
        )
        answers, written = self.golden_answers(writes)
        assert writer.received == answers
        assert port.written_beats == written
        passed = [
            (burst.id, burst.address, burst.length) for burst in reads if golden_allowed(burst, MAY_READ, self.memory)
        ]
        assert [(read["id"], read["addr"], read["len"]) for read in port.reads] == passed

    async def quiesce(self):
        """Turn the guard away from the masters, wait until it is quiet, then reset the masters."""
        dut = self.dut
        dut.quiesce.value = 1
        for sink in (self.reader.response, self.writer.response):
            sink.may_withdraw = True
        for _ in range(20000):
            await ReadOnly()
            for name in ("arready", "rvalid", "awready", "wready", "bvalid"):
                assert not int(getattr(dut, f"inside_{name}").value), f"{name} under quiesce"
            quiet = int(dut.quiet.value)
            await RisingEdge(dut.clk)
            if quiet:
                break
        else:
            raise AssertionError(f"not quiet; outside busy: {self.port.busy}")
        assert not self.port.busy
        self.reader.reset()
        self.writer.reset()
        for _ in range(4):
            await RisingEdge(dut.clk)
            assert int(dut.quiet.value)
        assert not self.violation["valid"]
        self.reader.reset()
        self.writer.reset()
        dut.quiesce.value = 0
        for sink in (self.reader.response, self.writer.response):
            sink.may_withdraw = False


async def make(dut):
    bench = Bench(dut, random.Random(random.getrandbits(32)))
    await bench.start()
    return bench


@cocotb.test()
async def bursts_at_the_borders(dut):
    """Refused bursts are answered DECERR in the order of their ID; the others pass; only memory in windows changes."""
    bench = await make(dut)
    for _ in range(rounds(12)):
        bench.pick_speeds()
        writes = bench.bursts(25, wild=True)
        reads = bench.bursts(25, wild=True)
        # The memory as it is before: reads must not see writes of the same round.
        await bench.exchange(reads=[], writes=writes)
        expected = bench.golden_beats(reads)
        await bench.exchange(reads=reads, writes=[])
        assert bench.reader.received == expected
        for address in bench.port.words:
            assert golden_allowed(Burst(0, address, 0), MAY_WRITE, bench.memory)


@cocotb.test()
async def both_directions_at_once(dut):
    """Reads and writes do not disturb each other (in windows apart, so that results are known)."""
    bench = await make(dut)
    for _ in range(rounds(6)):
        bench.pick_speeds()
        bench.speeds["write"] = bench.speeds["read"]
        reads = [burst for burst in bench.bursts(200, wild=True) if burst.address >= 0x4000 and burst.address < 0x9000]
        writes = [burst for burst in bench.bursts(200, wild=True) if burst.address >= 0x9000]
        expected = bench.golden_beats(reads)
        await bench.exchange(reads=reads, writes=writes)
        assert bench.reader.received == expected


@cocotb.test()
async def first_violation_is_reported_before_its_answer(dut):
    """ID, address and direction of the first refused burst, one cycle ahead of the DECERR at least."""
    bench = await make(dut)
    for write in (False, True):
        for _ in range(8):
            bench.pick_speeds()
            bursts = bench.bursts(40, wild=True)
            right = MAY_WRITE if write else MAY_READ
            refused = [burst for burst in bursts if not golden_allowed(burst, right, bench.memory)]
            first = refused[0]
            if write:
                bench.writer.send(bursts)
            else:
                bench.reader.bursts.extend(bursts)

            def answers(write=write):
                if write:
                    return [answer for items in bench.writer.received.values() for answer in items if answer == DECERR]
                return [beat for items in bench.reader.received.values() for beat in items if beat[1] == DECERR]

            for _ in range(20000):
                if bench.violation["valid"]:
                    break
                assert not answers()
                await RisingEdge(dut.clk)
            assert not answers(), "the answer came before the report"
            assert bench.violation == {"valid": 1, "write": int(write), "id": first.id, "address": first.address}
            for _ in range(bench.rng.randrange(200)):
                await RisingEdge(dut.clk)
            assert bench.violation["address"] == first.address, "a later violation replaced the first"
            await bench.quiesce()


@cocotb.test()
async def quiesce_at_any_moment(dut):
    """The port comes to rest by itself, whatever was under way; afterwards everything works again."""
    bench = await make(dut)
    for n in range(rounds(40)):
        bench.pick_speeds()
        before = dict(bench.port.words)
        reads, writes = bench.bursts(15, wild=n % 2), bench.bursts(15, wild=n % 2)
        bench.port.written_beats.clear()
        bench.reader.bursts.extend(reads)
        bench.writer.send(writes)
        bench.writer.data_limit = bench.rng.choice([None, bench.rng.randrange(40)])
        for _ in range(bench.rng.randrange(150)):
            await RisingEdge(dut.clk)
        if bench.rng.random() < 0.3:
            bench.speeds["read"] = bench.speeds["write"] = 0.0  # the inside is dead
        await bench.quiesce()
        # What was written is a beginning of what was asked for; behind it only beats that change nothing.
        _, wanted = bench.golden_answers(writes)
        real = list(bench.port.written_beats)
        delivered = next((k for k, beat in enumerate(real) if beat != wanted[k]), len(real))
        assert [address for address, _, _ in real] == [address for address, _, _ in wanted[: len(real)]]
        assert all(data == 0 and strobes == 0 for _, data, strobes in real[delivered:])
        assert all(
            golden_allowed(Burst(0, address, 0), MAY_WRITE, bench.memory)
            for address in bench.port.words.keys() - before.keys()
        )
        if n % 4 == 0:
            bench.pick_speeds()
            await bench.exchange(reads=[], writes=bench.bursts(5, wild=True))
            reads = bench.bursts(5, wild=True)
            expected = bench.golden_beats(reads)
            await bench.exchange(reads=reads, writes=[])
            assert bench.reader.received == expected
            if bench.violation["valid"]:
                await bench.quiesce()


@cocotb.test()
async def not_quiet_while_memory_owes_an_answer(dut):
    """Quiet waits for memory, not for time."""
    bench = await make(dut)
    bench.port.held = True
    bench.reader.bursts.extend(bench.bursts(3, wild=False))
    bench.writer.send(bench.bursts(3, wild=False))
    for _ in range(60):
        await RisingEdge(dut.clk)
    dut.quiesce.value = 1
    for _ in range(200):
        await RisingEdge(dut.clk)
        assert not int(dut.quiet.value)
        assert not int(dut.idle.value)
    bench.port.held = False
    await bench.quiesce()
    assert int(dut.idle.value)


@cocotb.test()
async def full_throughput_and_traffic(dut):
    """One burst, one read beat and one write beat a cycle; addresses three cycles late; traffic adds up."""
    bench = await make(dut)
    memory, port = bench.memory, bench.port
    count = 60
    ones = (1 << memory.beat_bytes) - 1
    bench.reader.bursts.extend([Burst(0, 0x2000 + 8 * memory.beat_bytes * n, 0) for n in range(count)])
    bench.writer.send([Burst(0, 0x3000 + memory.beat_bytes * n, 0, ((n, ones),)) for n in range(count)])
    while not int(dut.inside_arvalid.value):
        await RisingEdge(dut.clk)
    steps = []
    for _ in range(count + 30):
        await RisingEdge(dut.clk)
        steps.append(
            (len(port.reads), bench.reader.beats, len(port.writes), len(port.written_beats), bench.writer.answers)
        )
    # The handshake of the first address is seen one cycle after it is offered, at the port three cycles later.
    assert [row[0] for row in steps[:5]] == [0, 0, 0, 1, 2], steps[:5]
    for column in zip(*steps, strict=True):
        changes = [b - a for a, b in zip((0, *column), column, strict=False)]
        first = changes.index(1)
        assert changes[first : first + count] == [1] * count, changes
    assert bench.traffic == {
        "read_burst": count,
        "write_burst": count,
        "read_beat": count,
        "write_bytes": count * memory.beat_bytes,
    }
    writes = bench.bursts(20, wild=False)
    await bench.exchange(reads=bench.bursts(20, wild=False), writes=writes)
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    strobes = sum(strobes.bit_count() for burst in writes for _, strobes in burst.beats)
    assert bench.traffic["write_bytes"] == count * memory.beat_bytes + strobes
    assert bench.traffic["read_beat"] == port.beats_read
    assert bench.traffic["read_burst"] == count + 20
