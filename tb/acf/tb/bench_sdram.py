"""The SDRAM controller against a chip that refuses what data sheets forbid, and a copy of its contents."""

import os
import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, First, RisingEdge, with_timeout
from cocotb.utils import get_sim_time

from acf.tb.axi_channels import DECERR, OKAY, Burst, ReadMaster, WriteMaster
from acf.tb.runner import bench_config
from acf.tb.sdram_chip import SHEETS, Pins, SdramChip
from acf.tb.stream import start_clock, wait_until

CLOCK = 60e6  # the bench's own clock is another one, which does not matter: the chip counts edges
STARTUP_CYCLES = 13000
BYTES = 1 << 25
ROW_BYTES = 1024
BANKS = 4
ROUNDS = int(os.environ.get("ACF_SDRAM_ROUNDS", "1"))


class Chip:
    """The chip at the pins; what it refuses fails the test."""

    def __init__(self, dut: Any):
        self.model = SdramChip(list(SHEETS.values()), 1e9 / CLOCK)
        self._dut = dut
        self._error: Exception | None = None
        dut.sdram_dq_i.value = 0

    async def start(self) -> None:
        """Run from the end of the reset to the first command, and go on by itself."""
        dut = self._dut
        since, enabled = get_sim_time("ns"), 0
        while int(dut.sdram_command.value) == 0:
            # Nothing happens in most of these cycles: they are counted, not looked at.
            change = First(dut.sdram_clock_enable.value_change, dut.sdram_command.value_change)
            await with_timeout(change, 10 * STARTUP_CYCLES, "ns")
            edges = round((get_sim_time("ns") - since) / 10)
            self.model.idle(edges, cke=enabled)
            since, enabled = since + 10 * edges, int(dut.sdram_clock_enable.value)
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self._dut
        rng = random.Random(1)
        while True:
            await FallingEdge(dut.clk)
            command = int(dut.sdram_command.value)
            try:
                word = self.model.edge(
                    Pins(
                        cke=int(dut.sdram_clock_enable.value),
                        ras_n=~command & 1,
                        cas_n=~command >> 1 & 1,
                        we_n=~command >> 2 & 1,
                        bank=int(dut.sdram_bank.value),
                        address=int(dut.sdram_address.value),
                        mask=int(dut.sdram_mask.value),
                        dq=int(dut.sdram_dq_o.value) if int(dut.sdram_dq_oe.value) else None,
                    )
                )
            except Exception as error:
                self._error = error
                return
            # Pins that nobody drives have any level.
            dut.sdram_dq_i.value = rng.getrandbits(16) if word is None else word

    def check(self) -> bool:
        """Raise what the chip has raised."""
        if self._error is not None:
            raise self._error
        return True


class Bytes:
    """The master of single bytes."""

    def __init__(self, dut: Any):
        self._dut = dut
        for name in ("valid", "payload"):
            getattr(dut, f"access_request_{name}").value = 0

    async def move(self, address: int, value: int | None = None) -> int | None:
        """Read a byte, or write it; None where it is refused."""
        dut = self._dut
        dut.access_request_payload.value = address | (value is not None) << 32 | (value or 0) << 33
        dut.access_request_valid.value = 1
        taken = False
        for _ in range(2000):
            await RisingEdge(dut.clk)
            if taken and int(dut.access_answered.value):
                return None if int(dut.access_refused.value) else int(dut.access_value.value)
            if not taken and int(dut.access_request_ready.value):
                taken = True
                dut.access_request_valid.value = 0
        raise AssertionError(f"byte {address:#x} is {'not answered' if taken else 'not taken'}")


class Copy:
    """What the memory must hold."""

    def __init__(self, chip: Chip, memory: Any):
        self._chip = chip
        self._bytes: dict[int, int] = {}
        self._beat_bytes = memory.beat_bytes

    def byte(self, address: int) -> int:
        if address in self._bytes:
            return self._bytes[address]
        # Rows are above banks in addresses of bytes, and below them in those of the chip.
        word = address >> 1
        column, bank, row = word & 511, word >> 9 & 3, word >> 11
        return self._chip.model.blank((bank << 13 | row) << 9 | column) >> 8 * (address & 1) & 0xFF

    def write(self, address: int, value: int) -> None:
        self._bytes[address] = value

    def beat(self, address: int) -> int:
        return int.from_bytes((self.byte(address + n) for n in range(self._beat_bytes)), "little")

    def write_burst(self, burst: Burst) -> None:
        for n, (data, strobes) in enumerate(burst.beats):
            for byte in range(self._beat_bytes):
                address = burst.address + n * self._beat_bytes + byte
                if strobes >> byte & 1 and address < BYTES:
                    self.write(address, data >> 8 * byte & 0xFF)

    def received(self, burst: Burst) -> list[tuple[int, int, int]]:
        """Data, response and last of each beat of a read; outside of the memory there are zeros."""
        addresses = [burst.address + n * self._beat_bytes for n in range(burst.length + 1)]
        return [
            (self.beat(address) if address < BYTES else 0, OKAY if address < BYTES else DECERR, int(n == burst.length))
            for n, address in enumerate(addresses)
        ]


class Bench:
    """Everything around the controller."""

    @classmethod
    async def start(cls, dut: Any, *, read: float = 1.0, write: float = 1.0) -> "Bench":
        """Start the clock, and everything else when the chip gets its first command; see ``speeds``."""
        for name in dir(dut):
            is_input = name.startswith(("axi_ar", "axi_aw", "axi_w", "axi_rready", "axi_bready", "access_request"))
            if is_input and not name.endswith(("arready", "awready", "wready", "request_ready")):
                getattr(dut, name).value = 0
        chip = Chip(dut)
        await start_clock(dut)
        await chip.start()
        return cls(dut, chip, read=read, write=write)

    def __init__(self, dut: Any, chip: Chip, *, read: float, write: float):
        self.dut = dut
        self.memory = bench_config().memory
        self.id_bits = len(dut.axi_arid)
        self.chip = chip
        self.copy = Copy(self.chip, self.memory)
        self.bytes = Bytes(dut)
        self.speeds = {"read": read, "write": write}  # parts of the cycles that the channels use
        # Numbers of their own: what is read and written does not depend on when.
        stalls = random.Random(random.getrandbits(32))
        self.reads = ReadMaster(dut, "axi", memory=self.memory, use=lambda: stalls.random() < self.speeds["read"])
        self.writes = WriteMaster(dut, "axi", memory=self.memory, use=lambda: stalls.random() < self.speeds["write"])
        self.counts = dict.fromkeys(("accessed", "activated", "refreshed"), 0)
        self.cycles = 0
        self.asked_at = self.found_at = 0  # cycles of the latest address and beat of a read
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            self.cycles += 1
            for name in self.counts:
                self.counts[name] += int(getattr(dut, name).value)
            if int(dut.axi_arvalid.value) and int(dut.axi_arready.value):
                self.asked_at = self.cycles
            if int(dut.axi_rvalid.value) and int(dut.axi_rready.value):
                self.found_at = self.cycles

    async def finish(self, *, beats: int, answers: int) -> None:
        """Wait until so many beats were read and so many bursts written in all."""
        await wait_until(
            self.dut,
            lambda: self.chip.check() and self.reads.beats >= beats and self.writes.answers >= answers,
            cycles=200 * (beats + 20 * answers) + 2000,
            pending=lambda: f"{beats - self.reads.beats} beats, {answers - self.writes.answers} answers",
        )

    def burst(self, rng: random.Random, *, base: int, span: int, longest: int) -> Burst:
        """A random burst in a region; it may cross rows, since the controller does not care for 4 KiB."""
        beat_bytes = self.memory.beat_bytes
        length = rng.randrange(longest)
        address = base + rng.randrange(span // beat_bytes - length) * beat_bytes
        full = (1 << beat_bytes) - 1
        beats = tuple(
            (rng.getrandbits(self.memory.data_width), rng.choice((full, rng.getrandbits(beat_bytes))))
            for _ in range(length + 1)
        )
        return Burst(rng.getrandbits(self.id_bits), address, length, beats)

    def check_reads(self, bursts: list[Burst]) -> None:
        expected: dict[int, list[tuple[int, int, int]]] = {}
        for burst in bursts:
            expected.setdefault(burst.id, []).extend(self.copy.received(burst))
        assert self.reads.received == expected
        self.reads.received.clear()
        self.reads.beats = 0

    def check_answers(self, bursts: list[Burst], response: int = OKAY) -> None:
        expected: dict[int, list[int]] = {}
        for burst in bursts:
            expected.setdefault(burst.id, []).append(response)
        assert self.writes.received == expected
        self.writes.received.clear()
        self.writes.answers = 0


def regions(rng: random.Random) -> list[int]:
    """Beginnings of two regions of two times all banks, of which each has every bank and no row of the other."""
    pages = rng.sample(range(BYTES // (2 * BANKS * ROW_BYTES)), 2)
    return [page * 2 * BANKS * ROW_BYTES for page in pages]


@cocotb.test()
async def nothing_before_the_chip_is_ready(dut):
    """Commands of the initialisation, and the first access right behind them."""
    bench = await Bench.start(dut)
    bench.reads.bursts.append(Burst(1, 64, 0))
    await bench.finish(beats=1, answers=0)
    bench.check_reads([Burst(1, 64, 0)])
    assert bench.chip.model.commands == {
        "PRECHARGE": 1,
        "AUTO REFRESH": 8,
        "LOAD MODE REGISTER": 1,
        "ACTIVE": 1,
        "READ": bench.memory.beat_bytes // 8,
    }
    assert bench.chip.model.edges < 0.0002 * CLOCK + 100


@cocotb.test()
async def random_bursts(dut):
    """Reads of one region and writes of another at a time, and the other way round, under every mix of stalls."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut)
    span = 2 * BANKS * ROW_BYTES
    for _ in range(ROUNDS):
        places = regions(rng)
        for speeds in ((1.0, 1.0), (0.2, 1.0), (1.0, 0.2), (0.4, 0.4)):
            bench.speeds["read"], bench.speeds["write"] = speeds
            places.reverse()
            written = [bench.burst(rng, base=places[0], span=span, longest=12) for _ in range(30)]
            read = [bench.burst(rng, base=places[1], span=span, longest=12) for _ in range(30)]
            bench.writes.send(written)
            bench.reads.bursts.extend(read)
            await bench.finish(beats=sum(burst.length + 1 for burst in read), answers=len(written))
            bench.check_reads(read)
            bench.check_answers(written)
            for burst in written:
                bench.copy.write_burst(burst)
    assert bench.counts["accessed"] > bench.counts["activated"] > 0


@cocotb.test()
async def a_write_that_was_answered_is_read(dut):
    """Each read is asked for in the cycle of the answer to a write of the same place, in banks and rows at random."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut)
    for _ in range(40 * ROUNDS):
        burst = bench.burst(rng, base=rng.randrange(64) * (BYTES // 64), span=BYTES // 64, longest=4)
        bench.writes.send([burst])
        await bench.finish(beats=0, answers=1)
        bench.check_answers([burst])
        bench.copy.write_burst(burst)
        bench.reads.bursts.append(burst)
        await bench.finish(beats=burst.length + 1, answers=0)
        bench.check_reads([burst])


@cocotb.test()
async def addresses_one_bit_apart(dut):
    """Rows of each bank, banks and columns are told apart: each place is visited from one that differs in one bit."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut)
    beat_bytes = bench.memory.beat_bytes
    full = (1 << beat_bytes) - 1
    first_bit, row_bit, end_bit = ((size - 1).bit_length() for size in (beat_bytes, BANKS * ROW_BYTES, BYTES))
    start = rng.randrange(BYTES // beat_bytes) * beat_bytes
    cases = [(start, range(first_bit, row_bit))]
    # Each bit of a row as 0 and as 1.
    for flip in (0, BYTES - BANKS * ROW_BYTES):
        cases += [(start ^ bank * ROW_BYTES ^ flip, range(row_bit, end_bit)) for bank in range(BANKS)]
    for base, bits in cases:
        others = [base ^ 1 << bit for bit in bits]
        rng.shuffle(others)
        places = [place for other in others for place in (base, other)]
        bursts = [Burst(0, place, 0, ((rng.getrandbits(8 * beat_bytes), full),)) for place in places]
        bench.writes.send(bursts)
        await bench.finish(beats=0, answers=len(bursts))
        bench.check_answers(bursts)
        for burst in bursts:
            bench.copy.write_burst(burst)
        bench.reads.bursts.extend(bursts)
        await bench.finish(beats=len(bursts), answers=0)
        bench.check_reads(bursts)


@cocotb.test()
async def single_bytes(dut):
    """Bytes between bursts of others, at both ends of the memory, and outside of it."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut, read=0.7, write=0.7)
    span = 2 * BANKS * ROW_BYTES
    read = [bench.burst(rng, base=0, span=span, longest=16) for _ in range(60 * ROUNDS)]
    written = [bench.burst(rng, base=span, span=span, longest=16) for _ in range(60 * ROUNDS)]
    bench.reads.bursts.extend(read)
    bench.writes.send(written)
    places = [BYTES - 64 + n for n in range(64)] + [4 * span + n * 1000 for n in range(64)]
    for _ in range(100 * ROUNDS):
        bench.chip.check()
        address = rng.choice(places)
        if rng.random() < 0.5:
            value = rng.getrandbits(8)
            bench.copy.write(address, value)
            assert await bench.bytes.move(address, value) is not None
        else:
            assert await bench.bytes.move(address) == bench.copy.byte(address)
    for address in (BYTES, 0xFFFF_FFFF):
        assert await bench.bytes.move(address) is None
        assert await bench.bytes.move(address, 1) is None
    await bench.finish(beats=sum(burst.length + 1 for burst in read), answers=len(written))
    bench.check_reads(read)
    bench.check_answers(written)
    for address in places:
        assert await bench.bytes.move(address) == bench.copy.byte(address)


@cocotb.test()
async def beats_outside_are_refused(dut):
    """Bursts over the end of the memory and behind it: beat by beat when read, as a whole when written."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut, read=0.8)
    beat_bytes = bench.memory.beat_bytes
    full = (1 << beat_bytes) - 1

    def burst(address, length):
        beats = tuple((rng.getrandbits(8 * beat_bytes), full) for _ in range(length + 1))
        return Burst(rng.getrandbits(bench.id_bits), address, length, beats)

    inside = [burst(BYTES - 4 * beat_bytes, 3)]
    outside = [burst(BYTES - 2 * beat_bytes, 5), burst(BYTES, 0), burst(0x8000_0000, 12), burst(0xFFFF_F000, 1)]
    for bursts, response in ((inside, OKAY), (outside, DECERR)):
        bench.writes.send(bursts)
        await bench.finish(beats=0, answers=len(bursts))
        bench.check_answers(bursts, response)
        for each in bursts:
            bench.copy.write_burst(each)
    bursts = [outside[0], inside[0], outside[2], outside[1], inside[0], outside[3]]
    bench.reads.bursts.extend(bursts)
    await bench.finish(beats=sum(each.length + 1 for each in bursts), answers=0)
    bench.check_reads(bursts)


@cocotb.test()
async def long_bursts_keep_the_data_pins_busy(dut):
    """A word a cycle, but for refreshes and the first row, through rows of all banks."""
    bench = await Bench.start(dut)
    beat_bytes = bench.memory.beat_bytes
    full = (1 << beat_bytes) - 1
    count = 4 * ROW_BYTES // beat_bytes
    await bench.bytes.move(BYTES - 1)  # the chip is ready
    bursts = []
    for first in range(0, count, 256):
        length = min(256, count - first)
        beats = tuple((random.getrandbits(8 * beat_bytes), full) for _ in range(length))
        bursts.append(Burst(1, first * beat_bytes, length - 1, beats))
    words = count * beat_bytes // 2
    # Of each refresh: the precharge, the refresh itself, and the row that is opened again.
    overhead = (words // 468 + 2) * 16 + len(bursts) * 4 + 5 * BANKS + 16
    for is_write in (True, False):
        begin = bench.cycles
        opened = bench.counts["activated"]
        if is_write:
            bench.writes.send(bursts)
            await bench.finish(beats=0, answers=len(bursts))
            bench.check_answers(bursts)
            for burst in bursts:
                bench.copy.write_burst(burst)
        else:
            bench.reads.bursts.extend(bursts)
            await bench.finish(beats=count, answers=0)
            bench.check_reads(bursts)
        took = bench.cycles - begin
        cocotb.log.info("%s: %d words in %d cycles", "write" if is_write else "read", words, took)
        assert words <= took <= words + overhead, f"{words} words took {took} cycles"
        assert bench.counts["activated"] - opened <= 2 * BANKS + 2 * (words // 468 + 2)


@cocotb.test()
async def one_beat_from_each_state_of_its_row(dut):
    """Cycles from the address of a read to its beat: of an open row, a closed bank, a bank with another row open."""
    bench = await Bench.start(dut)
    await bench.bytes.move(BYTES - 1)
    await wait_until(dut, lambda: bench.counts["refreshed"] > 8, cycles=1000, pending=lambda: "a refresh")
    taken = {}
    for name, address in (("closed", 0), ("open", 64), ("other", 4 * ROW_BYTES)):
        for _ in range(30):
            await RisingEdge(dut.clk)
        bench.reads.bursts.append(Burst(0, address, 0))
        await bench.finish(beats=1, answers=0)
        taken[name] = bench.found_at - bench.asked_at
        bench.check_reads([Burst(0, address, 0)])
    cocotb.log.info("cycles of one beat: %s", taken)
    groups = bench.memory.beat_bytes // 8
    assert taken["closed"] == taken["open"] + 2
    assert taken["other"] == taken["open"] + 4
    assert taken["open"] == 12 + 4 * (groups - 1)


@cocotb.test()
async def refreshes_come_in_time_under_load(dut):
    """The chip asks for one in 7.8 us on the average; other accesses never keep it waiting for long."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut)
    await bench.bytes.move(0)
    before = bench.counts["refreshed"]
    begin = bench.cycles
    span = 2 * BANKS * ROW_BYTES
    reads = [bench.burst(rng, base=0, span=span, longest=16) for _ in range(80 * ROUNDS)]
    writes = [bench.burst(rng, base=span, span=span, longest=16) for _ in range(80 * ROUNDS)]
    bench.reads.bursts.extend(reads)
    bench.writes.send(writes)
    await bench.finish(beats=sum(burst.length + 1 for burst in reads), answers=len(writes))
    bench.check_reads(reads)
    for _ in range(3 * 468):  # and while there is nothing to do
        await RisingEdge(dut.clk)
    bench.chip.check()
    intervals = (bench.cycles - begin) / 468
    assert intervals > 8
    assert abs(bench.counts["refreshed"] - before - intervals) <= 1
    for burst in writes:
        bench.copy.write_burst(burst)
    assert bench.counts["accessed"] > 0


@cocotb.test()
async def ready_may_wait_for_valid(dut):
    """Valid never waits for ready: masters that raise ready only for what is offered get everything all the same."""
    rng = random.Random(random.getrandbits(32))
    bench = await Bench.start(dut)
    for side in (*bench.reads.sinks, *bench.writes.sinks):
        side.patient = True
    span = 2 * BANKS * ROW_BYTES
    bursts = [bench.burst(rng, base=0, span=span, longest=4) for _ in range(8)]
    bench.writes.send(bursts)
    await bench.finish(beats=0, answers=len(bursts))
    bench.check_answers(bursts)
    for burst in bursts:
        bench.copy.write_burst(burst)
    bench.reads.bursts.extend(bursts)
    await bench.finish(beats=sum(burst.length + 1 for burst in bursts), answers=0)
    bench.check_reads(bursts)
