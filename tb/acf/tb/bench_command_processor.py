"""The command processor with a host, a memory, and models of the guard and of the nodes around it."""

import logging
import random
from collections import Counter, deque
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from acf.hw.counters import COUNTER_LATENCY
from acf.hw.fabric.command_processor import port_id_width
from acf.hw.mem.guard import traffic_layout, violation_layout
from acf.hw.mem.window_check import window_layout
from acf.hw.noc.flit import command_head, done_head, error_head, flit_layout
from acf.isa import (
    COMMAND_BYTES,
    COMMAND_FIELDS,
    IDENTIFIER,
    NO_SEMAPHORE,
    SEMAPHORES,
    VERSION,
    CommandProcessorCounter,
    ControlKind,
    ErrorCode,
    Opcode,
    Register,
    TrafficClass,
    encode_command,
)
from acf.tb.axi_channels import DECERR, OKAY, SLVERR, AxiMemory
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSink, StreamSource, always, pack, start_clock, unpack

BUSY, DONE, ERROR = 1, 2, 4
START, ABORT = 1, 2
PROGRAM = 0x4_0000
COMMANDS_TO_ROWS = (Opcode.CLEAR, Opcode.STREAM, Opcode.DRAIN)
COMMANDS_TO_STRUCTURE = (Opcode.UPDATE, Opcode.REWIRE, Opcode.PRUNE, Opcode.SURVEY, Opcode.MERGE)


def counter_of(select):
    """What the nodes of this bench answer for a counter."""
    return (select * 0x9E3779B1 >> 3) & 0xFFFF_FFFF


def random_command(rng, opcode, **fixed):
    """A command with random contents."""
    values = {
        name: rng.getrandbits(place.width)
        for name, place in COMMAND_FIELDS[opcode].items()
        if name not in ("opcode", "version")
    }
    return encode_command(opcode, **{**values, "semaphore": NO_SEMAPHORE, **fixed})


def random_program(rng, config, *, length):
    """Commands to feeders and waits that can be fulfilled; each packet will signal its semaphore once."""
    program, signals = [], Counter()
    while len(program) < length - 1:
        waitable = [semaphore for semaphore, count in signals.items() if count]
        if rng.random() < 0.4 and waitable:
            semaphore = rng.choice(waitable)
            count = rng.randint(0, signals[semaphore])
            signals[semaphore] -= count
            program.append(encode_command(Opcode.WAIT, semaphore=semaphore, count=count))
        else:
            opcode = rng.choice([Opcode.LOAD, *COMMANDS_TO_ROWS, *COMMANDS_TO_STRUCTURE])
            if opcode in COMMANDS_TO_STRUCTURE:
                semaphore = rng.choice([*range(SEMAPHORES), NO_SEMAPHORE])
                signals[semaphore] += semaphore != NO_SEMAPHORE
                program.append(random_command(rng, opcode, semaphore=semaphore))
                continue
            feeders = config.cols if opcode == Opcode.LOAD else config.rows
            targets = rng.getrandbits(feeders)
            semaphore = rng.choice([*range(SEMAPHORES), NO_SEMAPHORE])
            signals[semaphore] += targets.bit_count() if semaphore != NO_SEMAPHORE else 0
            program.append(random_command(rng, opcode, targets=targets, semaphore=semaphore))
    return [*program, encode_command(Opcode.END)]


def golden_packets(program):
    """Destination and words of every COMMAND packet, and the signals by semaphore that must have come before it."""
    packets, waited = [], Counter()
    for words in program:
        opcode, semaphore, targets = words[0] & 0xFF, words[0] >> 8 & 0xF, words[1] & 0xFFFF
        if opcode == Opcode.WAIT:
            waited[semaphore] += words[2] & 0xFFFF
        elif opcode in COMMANDS_TO_STRUCTURE:
            packets.append((0, 0, words, +waited))
        elif opcode != Opcode.END:
            for n in range(16):
                if targets >> n & 1:
                    y, x = (0, n + 1) if opcode == Opcode.LOAD else (n + 1, 0)
                    packets.append((y, x, words, +waited))
    return packets


class Bench:
    """Everything around the command processor."""

    def __init__(self, dut):
        self.dut = dut
        # Programs and errors must not depend on how many cycles something took: those draw from another generator.
        self.rng = random.Random(random.getrandbits(32))
        self.timing = random.Random(random.getrandbits(32))
        self.config = bench_config()
        self.flit = flit_layout(noc=self.config.noc)
        self.speeds = {"memory": 1.0, "network": 1.0, "host": 1.0}
        self.bad_addresses = {}
        self.signals = Counter()
        self.packets = []
        self.violation = {}
        self.node_delay = 20
        self.automatic = True  # nodes answer each command with a DONE
        self.quiet_delay = 0
        self.windows = []  # lengths of the windows in which counters counted
        self.clears = 0
        self.resets = 0
        self._flits = {"network": [], "structure": []}
        self._pending = deque()
        dut.violation.value = 0
        dut.traffic.value = 0
        dut.quiet.value = 0
        dut.idle.value = 1
        dut.counters_value.value = 0
        dut.rst.value = 1
        self.sink = StreamSink(dut, "control_o", use=self._use("network"), on_payload=self._on_flit("network"))
        self.source = StreamSource(dut, "control_i", use=self._use("network"))
        self.structure_sink = StreamSink(
            dut, "structure_o", use=self._use("network"), on_payload=self._on_flit("structure")
        )
        self.structure_source = StreamSource(dut, "structure_i", use=self._use("network"))
        self.memory = AxiMemory(
            dut,
            "read",
            memory=self.config.memory,
            rng=self.timing,
            use=self._use("memory"),
            respond=lambda address: self.bad_addresses.get(address & -COMMAND_BYTES, OKAY),
            channels="r",
        )

    def _use(self, side):
        return lambda: self.timing.random() < self.speeds[side]

    async def start(self):
        dut = self.dut
        self.host: Any = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        for half in (self.host.write_if, self.host.read_if):
            half.log.setLevel(logging.WARNING)
        await start_clock(dut)
        for channel in (
            self.host.write_if.aw_channel,
            self.host.write_if.w_channel,
            self.host.write_if.b_channel,
            self.host.read_if.ar_channel,
            self.host.read_if.r_channel,
        ):
            channel.set_pause_generator(self._pauses())
        for task in (self._guard(), self._counters(), self._nodes()):
            cocotb.start_soon(task)
        await RisingEdge(dut.clk)

    def _pauses(self):
        while True:
            yield self.timing.random() >= self.speeds["host"]

    def pick_speeds(self):
        self.speeds = {side: self.rng.choice([1.0, 0.5, 0.2]) for side in self.speeds}
        self.node_delay = self.rng.choice([0, 20, 100])
        self.quiet_delay = self.rng.choice([0, 1, 30])
        self.memory.latency = self.rng.choice([0, 10, 60])

    # The host.

    async def read(self, register, *, response=OKAY):
        answer = await self.host.read(int(register), 4)
        assert answer.resp == response, f"read of {register:#x}: {answer.resp!r}"
        return int.from_bytes(answer.data, "little")

    async def write(self, register, value, *, response=OKAY):
        answer = await self.host.write(int(register), value.to_bytes(4, "little"))
        assert answer.resp == response, f"write of {register:#x}: {answer.resp!r}"

    def place(self, program, *, address=PROGRAM):
        """Write a program to memory."""
        beat = self.config.memory.beat_bytes
        blob = b"".join(word.to_bytes(4, "little") for words in program for word in words)
        for offset in range(0, len(blob), beat):
            self.memory.words[address + offset] = int.from_bytes(blob[offset : offset + beat], "little")

    async def begin(self, program, *, address=PROGRAM, length=None):
        """Start a program."""
        self.place(program, address=address)
        self.signals.clear()
        self.packets.clear()
        await self.write(Register.PROGRAM_ADDRESS, address)
        await self.write(Register.PROGRAM_LENGTH, len(program) if length is None else length)
        await self.write(Register.CONTROL, START)

    async def running(self):
        """Wait until commands are executed."""
        while not int(self.dut.counters_enable.value):
            await RisingEdge(self.dut.clk)

    async def finish(self, *, polls=3000):
        """Wait until the program has ended, by polling; the final status."""
        for _ in range(polls):
            status = await self.read(Register.STATUS)
            if not status & BUSY:
                return status
            assert not status & DONE
        raise AssertionError(f"status {status:#x}; {len(self.packets)} packets, signals {dict(self.signals)}")

    async def check_program(self, program):
        """Run a legal program to its end and compare everything it did."""
        self.bad_addresses.clear()
        self.automatic = True
        windows, clears, resets, reads = len(self.windows), self.clears, self.resets, len(self.memory.reads)
        await self.begin(program)
        assert await self.finish() == DONE
        places = {burst["addr"] - PROGRAM for burst in self.memory.reads[reads:]}
        assert places <= set(range(0, COMMAND_BYTES * len(program), COMMAND_BYTES)), (
            "a command behind PROGRAM_LENGTH is read"
        )
        assert self.packets == [(y, x, words) for y, x, words, _ in golden_packets(program)]
        cycles = await self.read(Register.CYCLES_LOW) | await self.read(Register.CYCLES_HIGH) << 32
        assert self.windows[windows:] == [cycles]
        assert (self.clears - clears, self.resets - resets) == (1, 1)
        assert await self.read(Register.ERROR_CODE) == ErrorCode.NONE
        for counter, expected in {
            CommandProcessorCounter.COMMANDS: len(program),
            CommandProcessorCounter.WRITE_BURSTS: 0,
        }.items():
            await self.write(Register.COUNTER_SELECT, counter)
            assert await self.read(Register.COUNTER_VALUE) == expected, counter.name
        return cycles

    async def check_error(self, code, **fields):
        """Wait for the end, compare the error, and see that everything was reset."""
        windows, resets = len(self.windows), self.resets
        assert await self.finish() == DONE | ERROR
        found = {
            "code": ErrorCode(await self.read(Register.ERROR_CODE)),
            "address": await self.read(Register.ERROR_ADDRESS),
            "row": await self.read(Register.ERROR_ROW),
            "index": await self.read(Register.ERROR_INDEX),
            "source": await self.read(Register.ERROR_SOURCE),
        }
        assert found == {"code": code, "address": 0, "row": 0, "index": 0, "source": 0, **fields}
        assert not int(self.dut.counters_enable.value)
        return self.resets - resets, len(self.windows) - windows

    # The nodes.

    def _on_flit(self, port):
        return lambda payload: None if int(self.dut.rst.value) else self._take_flit(port, unpack(self.flit, payload))

    def _take_flit(self, port, flit):
        flits = self._flits[port]
        assert flit["head"] == (not flits), "head in the middle of a packet, or none at its beginning"
        flits.append(flit["payload"])
        if not flit["tail"]:
            return
        head, *body = flits
        flits.clear()
        header = unpack(command_head, head)
        assert header["traffic_class"] == TrafficClass.CONTROL
        assert header["kind"] == ControlKind.COMMAND
        assert header["cast"] == 0
        assert (port == "structure") == (header["x"] == header["y"] == 0)
        words = [half & 0xFFFF_FFFF for part in body for half in (part, part >> 32)]
        self.packets.append((header["y"], header["x"], words))
        semaphore = words[0] >> 8 & 0xF
        if semaphore != NO_SEMAPHORE and self.automatic:
            self._pending.append((semaphore, port))

    async def _nodes(self):
        while True:
            await RisingEdge(self.dut.clk)
            if self._pending and self.timing.random() < 1 / (1 + self.node_delay):
                semaphore, port = self._pending.popleft()
                self.send_done(semaphore, port=port)

    def _source(self, port):
        return self.structure_source if port == "structure" else self.source

    def send_done(self, semaphore, *, port="network"):
        """A node signals."""
        head = pack(done_head, traffic_class=TrafficClass.CONTROL, kind=ControlKind.DONE, semaphore=semaphore)
        self._source(port).send([pack(self.flit, payload=head, head=1, tail=1)])
        self.signals[semaphore] += 1

    def send_error(self, *, code, x, y, address, row, index, port="network"):
        """A node reports an error."""
        head = pack(
            error_head, traffic_class=TrafficClass.CONTROL, kind=ControlKind.ERROR, code=code, source_x=x, source_y=y
        )
        self._source(port).send(
            [
                pack(self.flit, payload=head, head=1, tail=0),
                pack(self.flit, payload=address | row << 32, head=0, tail=0),
                pack(self.flit, payload=index, head=0, tail=1),
            ]
        )

    def report_violation(self, *, write, master, address):
        """The guard refuses a burst."""
        self.violation = {
            "valid": 1,
            "write": write,
            "address": address,
            "id": master << self.config.memory.id_width | self.rng.getrandbits(3),
        }

    # The guard: quiet some time after the memory has nothing to do.

    async def _guard(self):
        dut, memory = self.dut, self.memory
        layout = traffic_layout(memory=self.config.memory)
        violation = violation_layout(memory=self.config.memory, id_width=port_id_width(self.config))
        bursts, beats, rest, resetting = 0, 0, 0, 0
        while True:
            await ReadOnly()
            quiesce, reset = int(dut.quiesce.value), int(dut.fabric_reset.value)
            assert quiesce or not reset, "reset without quiesce"
            busy = memory.busy or int(dut.read_arvalid.value)
            await RisingEdge(dut.clk)
            if reset:
                assert not busy, "reset while bursts are outstanding"
                assert rest > self.quiet_delay
                self._pending.clear()
                for flits in self._flits.values():
                    flits.clear()
                for source in (self.source, self.structure_source):
                    while len(source.queue) > 1:  # the first may be on the wires already
                        source.queue.pop()
            # A network under reset takes and sends what it likes.
            use = always if quiesce else self._use("network")
            for port in (self.source, self.sink, self.structure_source, self.structure_sink):
                port.use = use
            if resetting and not reset:
                assert resetting >= 4
                self.resets += 1
            resetting = resetting + 1 if reset else 0
            rest = rest + 1 if quiesce and not busy else 0
            if quiesce:
                self.violation = {}
            dut.quiet.value = int(rest > self.quiet_delay)
            dut.idle.value = int(not memory.busy)
            dut.violation.value = pack(violation, **self.violation)
            dut.traffic.value = pack(
                layout,
                read_burst=len(memory.reads) - bursts,
                read_beat=memory.beats_read - beats,
                active=int((len(memory.reads), memory.beats_read) != (bursts, beats)),
            )
            bursts, beats = len(memory.reads), memory.beats_read

    # The counter bus, as slow as it may be.

    async def _counters(self):
        dut = self.dut
        answers = deque([0] * (COUNTER_LATENCY + 15), maxlen=COUNTER_LATENCY + 15)
        counting, cleared = 0, 0
        while True:
            await RisingEdge(dut.clk)
            select = int(dut.counters_select.value)
            answers.append(counter_of(select) if select >> 8 else 0)
            dut.counters_value.value = answers[0]
            enable, clear = int(dut.counters_enable.value), int(dut.counters_clear.value)
            assert not (enable and clear)
            self.clears += clear
            if enable:
                assert counting or cleared, "counters were not cleared just before"
                counting += 1
            elif counting:
                self.windows.append(counting)
                counting = 0
            cleared = clear


async def make(dut):
    bench = Bench(dut)
    await bench.start()
    return bench


@cocotb.test()
async def registers(dut):
    """Every register against a model: strobes, unknown and read-only addresses, any order of address and data."""
    bench = await make(dut)
    config, rng = bench.config, bench.rng
    constants = {
        Register.IDENTIFIER: IDENTIFIER,
        Register.VERSION: VERSION,
        Register.CONFIG_DIGEST: int(config.digest[:8], 16),
        Register.GEOMETRY: config.rows | config.cols << 8 | config.lanes << 16 | config.lane.slots << 24,
        Register.CONTROL: 0,
        Register.STATUS: 0,
        Register.INTERRUPT_STATUS: 0,
        Register.CYCLES_LOW: 0,
        Register.CYCLES_HIGH: 0,
        Register.ERROR_CODE: 0,
        Register.ERROR_ADDRESS: 0,
        Register.ERROR_ROW: 0,
        Register.ERROR_INDEX: 0,
        Register.ERROR_SOURCE: 0,
    }
    widths = {
        Register.INTERRUPT_ENABLE: 1,
        Register.PROGRAM_ADDRESS: 32,
        Register.PROGRAM_LENGTH: 32,
        Register.WATCHDOG: 32,
        Register.COUNTER_SELECT: 16,
        **{Register.WINDOW_BASE_0 + 16 * n: 32 for n in range(4)},
        **{Register.WINDOW_LIMIT_0 + 16 * n: 32 for n in range(4)},
        **{Register.WINDOW_RIGHTS_0 + 16 * n: 2 for n in range(4)},
    }
    writable = {Register.CONTROL, Register.INTERRUPT_STATUS}
    model = {**constants, **dict.fromkeys(widths, 0)}
    for n in range(600):
        if n % 50 == 0:
            bench.pick_speeds()
        offset = rng.choice([*model, *widths, rng.randrange(1024) * 4])
        if offset == Register.COUNTER_VALUE:
            continue
        if rng.random() < 0.5:
            known = offset in model
            value = await bench.read(offset, response=OKAY if known else SLVERR)
            assert value == model.get(offset, 0), f"{offset:#x}"
        else:
            first = rng.randrange(4)
            part = rng.randbytes(rng.randint(1, 4 - first))
            if offset == Register.CONTROL:
                part = bytes(len(part))
            answer = await bench.host.write(offset + first, part)
            assert answer.resp == (OKAY if offset in widths or offset in writable else SLVERR), f"{offset:#x}"
            if offset in widths:
                stored = bytearray(model[offset].to_bytes(4, "little"))
                stored[first : first + len(part)] = part
                model[offset] = int.from_bytes(stored, "little") & (1 << widths[offset]) - 1
    for n in range(4):
        assert unpack(window_layout, int(getattr(dut, f"windows_{n}").value)) == {
            "base": model[Register.WINDOW_BASE_0 + 16 * n],
            "limit": model[Register.WINDOW_LIMIT_0 + 16 * n],
            "rights": model[Register.WINDOW_RIGHTS_0 + 16 * n],
        }


@cocotb.test()
async def counter_values_have_settled(dut):
    """A counter read right after its selection is the selected one, however slow the bus."""
    bench = await make(dut)
    for n in range(40):
        if n % 10 == 0:
            bench.pick_speeds()
        select = bench.rng.getrandbits(16)
        await bench.write(Register.COUNTER_SELECT, select)
        assert await bench.read(Register.COUNTER_VALUE) == (counter_of(select) if select >> 8 else 0)


@cocotb.test()
async def random_programs(dut):
    """Packets in order, none before its waits are over, counters and cycles as counted here."""
    bench = await make(dut)
    for n in range(12):
        if n:
            bench.pick_speeds()
        program = random_program(bench.rng, bench.config, length=bench.rng.choice([1, 5, 25]))
        await bench.write(Register.INTERRUPT_ENABLE, n % 2)
        await bench.check_program(program)
        assert await bench.read(Register.INTERRUPT_STATUS) == 1
        assert int(dut.interrupt.value) == n % 2
        await bench.write(Register.INTERRUPT_STATUS, 0)
        assert await bench.read(Register.INTERRUPT_STATUS) == 1
        await bench.write(Register.INTERRUPT_STATUS, 1)
        assert await bench.read(Register.INTERRUPT_STATUS) == 0
        assert not int(dut.interrupt.value)


@cocotb.test()
async def waits_hold(dut):
    """No packet leaves before the semaphores in front of it have been signalled."""
    bench = await make(dut)
    program = random_program(bench.rng, bench.config, length=40)
    golden = golden_packets(program)
    bench.automatic = False
    await bench.begin(program)
    sent = Counter()
    while True:
        for _ in range(200):
            await RisingEdge(dut.clk)
        ready = [waited <= sent for *_, waited in golden]
        assert len(bench.packets) == sum(ready)
        if all(ready):
            break
        missing = next(waited for *_, waited in golden if not waited <= sent) - sent
        semaphore = bench.rng.choice(list(missing))
        bench.send_done(semaphore)
        sent[semaphore] += 1
    rest = Counter()
    for words in program:
        if words[0] & 0xFF == Opcode.WAIT:
            rest[words[0] >> 8 & 0xF] += words[2] & 0xFFFF
    for semaphore in (rest - sent).elements():
        bench.send_done(semaphore)
    assert await bench.finish() == DONE


@cocotb.test()
async def fetch_hides_memory_latency(dut):
    """Commands cost three cycles and nine per packet, however far memory is; counters agree with the memory."""
    bench = await make(dut)
    for latency in (0, 40):
        bench.memory.latency = latency
        count, targets = 30, (1 << bench.config.rows) - 1
        program = [random_command(bench.rng, Opcode.CLEAR, targets=targets) for _ in range(count)]
        beats = bench.memory.beats_read
        cycles = await bench.check_program([*program, encode_command(Opcode.END)])
        busy = count * (3 + 9 * bench.config.rows) + 2
        start = cycles - busy
        assert latency < start < latency + 20, f"{cycles} cycles for {busy} of dispatch behind a latency of {latency}"
        gaps = {b - a for a, b in pairwise(bench.sink.cycles[-9 * bench.config.rows * count :])}
        assert gaps == {1, 4}, gaps
        await bench.write(Register.COUNTER_SELECT, CommandProcessorCounter.READ_BURSTS)
        assert await bench.read(Register.COUNTER_VALUE) == count + 1
        await bench.write(Register.COUNTER_SELECT, CommandProcessorCounter.BYTES_READ)
        read = (bench.memory.beats_read - beats) * bench.config.memory.beat_bytes
        assert await bench.read(Register.COUNTER_VALUE) == read == (count + 1) * COMMAND_BYTES


def end():
    return encode_command(Opcode.END)


def with_word(words, index, value):
    return [*words[:index], value, *words[index + 1 :]]


@cocotb.test()
async def bad_commands(dut):
    """Each kind of bad command ends the program with its address, after the commands before it; then all is well."""
    bench = await make(dut)
    config, rng = bench.config, bench.rng
    good = random_command(rng, Opcode.CLEAR, targets=1)
    end_words = encode_command(Opcode.END)
    cases = [
        (ErrorCode.ILLEGAL_COMMAND, with_word(end_words, 0, 0)),
        (ErrorCode.ILLEGAL_COMMAND, with_word(end_words, 0, end_words[0] & ~0xFF | 0x7E)),
        (ErrorCode.ILLEGAL_COMMAND, with_word(end_words, 0, end_words[0] ^ 3 << 28)),
        (ErrorCode.COMMAND_RANGE, random_command(rng, Opcode.LOAD, targets=1 << config.cols)),
        (ErrorCode.COMMAND_RANGE, random_command(rng, Opcode.STREAM, targets=0x8001)),
        (ErrorCode.COMMAND_RANGE, random_command(rng, Opcode.DRAIN, targets=1 << config.rows | 1)),
        (ErrorCode.COMMAND_RANGE, random_command(rng, Opcode.CLEAR, targets=1, semaphore=SEMAPHORES)),
        (ErrorCode.COMMAND_RANGE, encode_command(Opcode.WAIT, semaphore=NO_SEMAPHORE, count=0)),
    ]
    for code, bad in cases:
        bench.pick_speeds()
        before = rng.randrange(12)
        await bench.begin([good] * before + [bad, good, end()])
        resets, windows = await bench.check_error(code, address=PROGRAM + before * COMMAND_BYTES)
        assert (resets, windows) == (2, 1) or resets < 2  # the first reset may have come before the polling began
        assert len(bench.packets) == before
        assert await bench.read(Register.INTERRUPT_STATUS) == 1
        await bench.write(Register.INTERRUPT_STATUS, 1)
        await bench.check_program(random_program(rng, config, length=6))


@cocotb.test()
async def bad_programs(dut):
    """Programs that cannot be fetched, or run past their length."""
    bench = await make(dut)
    config = bench.config
    good = random_command(bench.rng, Opcode.CLEAR, targets=1)
    for length in (0, 1, 9):
        bench.pick_speeds()
        await bench.begin([good] * length)
        await bench.check_error(ErrorCode.ILLEGAL_COMMAND, address=PROGRAM + length * COMMAND_BYTES)
        assert len(bench.packets) == length
    for offset in (4, 32):
        reads = len(bench.memory.reads)
        await bench.begin([end()], address=PROGRAM + offset)
        await bench.check_error(ErrorCode.MISALIGNED, address=PROGRAM + offset)
        assert len(bench.memory.reads) == reads
    for response in (SLVERR, DECERR):
        bench.pick_speeds()
        bench.bad_addresses = {PROGRAM + 3 * COMMAND_BYTES: response}
        await bench.begin([good] * 5 + [end()])
        await bench.check_error(ErrorCode.READ_RESPONSE, address=PROGRAM + 3 * COMMAND_BYTES)
        assert len(bench.packets) == 3
    # What lies behind END was fetched ahead, but is nobody's command.
    bench.bad_addresses = {PROGRAM + 3 * COMMAND_BYTES: DECERR}
    await bench.begin([good, good, end(), good, good])
    assert await bench.finish() == DONE
    await bench.check_program(random_program(bench.rng, config, length=6))


@cocotb.test()
async def any_length_ends_at_end(dut):
    """However many commands there might be, END is the last: every bit of PROGRAM_LENGTH counts, in every cycle."""
    bench = await make(dut)
    bench.memory.latency = 30
    for n in range(32):
        before = bench.rng.randrange(2)
        await bench.begin(
            [random_command(bench.rng, Opcode.CLEAR, targets=1)] * before + [end()], length=before + (1 << n)
        )
        assert await bench.finish() == DONE, f"{before} + 2**{n} commands"
        assert len(bench.packets) == before


@cocotb.test()
async def errors_of_nodes(dut):
    """What a node reports is kept, the first of several; then all is well."""
    bench = await make(dut)
    rng = bench.rng
    for _ in range(6):
        bench.pick_speeds()
        await bench.begin([encode_command(Opcode.WAIT, semaphore=0, count=1), end()])
        await bench.running()
        for _ in range(rng.randrange(300)):
            await RisingEdge(dut.clk)
        errors = [
            {
                "code": rng.choice([ErrorCode.POINTER_ORDER, ErrorCode.INDEX_RANGE]),
                "x": rng.randrange(4),
                "y": rng.randrange(4),
                "address": rng.getrandbits(32),
                "row": rng.getrandbits(32),
                "index": rng.getrandbits(32),
            }
            for _ in range(2)
        ]
        bench.send_done(1)
        bench.send_error(**errors[0])
        bench.send_done(1)
        bench.send_error(**errors[1])
        first = errors[0]
        await bench.check_error(
            first["code"],
            address=first["address"],
            row=first["row"],
            index=first["index"],
            source=first["x"] | first["y"] << 4,
        )
        await bench.check_program(random_program(rng, bench.config, length=6))


@cocotb.test()
async def packets_from_both_sides_stay_whole(dut):
    """An error of the structure engine among the signals of the nodes, and the other way round."""
    bench = await make(dut)
    rng = bench.rng
    for n in range(8):
        bench.pick_speeds()
        bench.automatic = False
        await bench.begin([encode_command(Opcode.WAIT, semaphore=0, count=1000), end()])
        await bench.running()
        port, other = ("structure", "network") if n % 2 else ("network", "structure")
        for _ in range(rng.randrange(5)):
            bench.send_done(1, port=other)
        error = {
            "address": rng.getrandbits(32),
            "row": rng.getrandbits(32),
            "index": rng.getrandbits(32),
        }
        x, y = (0, 0) if port == "structure" else (2, 1)
        bench.send_error(code=ErrorCode.MISALIGNED, x=x, y=y, port=port, **error)
        for _ in range(9):
            bench.send_done(1, port=other)
        await bench.check_error(ErrorCode.MISALIGNED, source=x | y << 4, **error)
        await bench.check_program(random_program(rng, bench.config, length=6))


@cocotb.test()
async def violation_goes_before_what_it_causes(dut):
    """A refused burst is WINDOW, with the node it came from, though the node and the fetch complain too."""
    bench = await make(dut)
    config = bench.config
    nodes = {(False, 0): (0, 0)}
    nodes |= {(False, 1 + c): (0, c + 1) for c in range(config.cols)}
    nodes |= {(False, 1 + config.cols + r): (r + 1, 0) for r in range(config.rows)}
    nodes |= {(True, r): (r + 1, 0) for r in range(config.rows)}
    for (write, master), (y, x) in nodes.items():
        for together in (False, True):
            address = bench.rng.getrandbits(config.memory.address_width)
            await bench.begin([encode_command(Opcode.WAIT, semaphore=0, count=1), end()])
            await bench.running()
            bench.send_error(code=ErrorCode.READ_RESPONSE, x=x, y=y, address=address, row=0, index=0)
            if together:  # the error packet is complete in the cycle in which the violation comes up
                while len(bench.source.queue) > 1:
                    await RisingEdge(dut.clk)
            bench.report_violation(write=int(write), master=master, address=address)
            await bench.check_error(ErrorCode.WINDOW, address=address, source=x | y << 4)
    await bench.check_program(random_program(bench.rng, config, length=6))


@cocotb.test()
async def watchdog(dut):
    """No progress for the programmed time ends the program; progress in time does not."""
    bench = await make(dut)
    limit = 300
    await bench.write(Register.WATCHDOG, limit)
    await bench.begin([encode_command(Opcode.WAIT, semaphore=0, count=5), end()])
    for _ in range(4):
        for _ in range(limit - 60):
            await RisingEdge(dut.clk)
        assert await bench.read(Register.STATUS) == BUSY
        bench.send_done(0)
    waited = 0
    while not int(dut.quiesce.value):
        await RisingEdge(dut.clk)
        waited += 1
    assert limit - 10 < waited < limit + 20
    await bench.check_error(ErrorCode.WATCHDOG)
    await bench.write(Register.WATCHDOG, 0)
    await bench.begin([encode_command(Opcode.WAIT, semaphore=0, count=1), end()])
    for _ in range(3 * limit):
        await RisingEdge(dut.clk)
    assert await bench.read(Register.STATUS) == BUSY
    bench.send_done(0)
    assert await bench.finish() == DONE


@cocotb.test()
async def watchdog_counts_every_cycle(dut):
    """From the latest progress to the end of the program it is the programmed time and always as much on top."""
    bench = await make(dut)
    layout = traffic_layout(memory=bench.config.memory)
    extra = []
    for limit in (90, 95, 101, 128, 170, 341, 512):
        await bench.write(Register.WATCHDOG, limit)
        await bench.begin([encode_command(Opcode.WAIT, semaphore=0, count=1), end()])
        await bench.running()
        waited = 0
        while not int(dut.quiesce.value):
            await RisingEdge(dut.clk)
            active = unpack(layout, int(dut.traffic.value))["active"]
            waited = 0 if active else waited + 1
            assert waited < 2 * limit
        extra.append(waited - limit)
        await bench.check_error(ErrorCode.WATCHDOG)
    assert len(set(extra)) == 1, f"cycles beyond the programmed ones: {extra}"
    assert 0 <= extra[0] <= 8


@cocotb.test()
async def abort_at_any_moment(dut):
    """An abort ends a program wherever it is; the next one runs as if nothing had been."""
    bench = await make(dut)
    rng = bench.rng
    aborted = 0
    for n in range(30):
        bench.pick_speeds()
        await bench.begin(random_program(rng, bench.config, length=12))
        for _ in range(rng.randrange(400)):
            await RisingEdge(dut.clk)
        await bench.write(Register.CONTROL, ABORT)
        status = await bench.finish()
        code = await bench.read(Register.ERROR_CODE)
        assert (status, code) in ((DONE, ErrorCode.NONE), (DONE | ERROR, ErrorCode.ABORTED))
        aborted += code == ErrorCode.ABORTED
        if n % 3 == 0:
            await bench.check_program(random_program(rng, bench.config, length=6))
    assert aborted > 10
    await bench.write(Register.CONTROL, ABORT)
    assert await bench.read(Register.STATUS) in (DONE, DONE | ERROR)


@cocotb.test()
async def locked_while_busy(dut):
    """Neither the program nor its windows change while it runs; a second start does nothing."""
    bench = await make(dut)
    await bench.write(Register.WINDOW_BASE_0, 0x1234)
    await bench.begin([encode_command(Opcode.WAIT, semaphore=3, count=1), end()])
    for register in (
        Register.PROGRAM_ADDRESS,
        Register.PROGRAM_LENGTH,
        Register.WATCHDOG,
        Register.WINDOW_BASE_0,
        Register.WINDOW_LIMIT_0 + 48,
        Register.WINDOW_RIGHTS_0 + 16,
    ):
        before = await bench.read(register)
        await bench.write(register, before ^ 1, response=SLVERR)
        assert await bench.read(register) == before
    await bench.write(Register.CONTROL, START)
    await bench.write(Register.COUNTER_SELECT, 0x1234)
    assert await bench.read(Register.COUNTER_SELECT) == 0x1234
    bench.send_done(3)
    assert await bench.finish() == DONE
    for _ in range(100):
        await RisingEdge(dut.clk)
    assert await bench.read(Register.STATUS) == DONE
    await bench.write(Register.CONTROL, START | ABORT)
    assert await bench.read(Register.STATUS) == DONE
    await bench.write(Register.WINDOW_BASE_0, 0x55)
    assert await bench.read(Register.WINDOW_BASE_0) == 0x55


@cocotb.test()
async def semaphores_start_at_zero(dut):
    """Signals of one program are not there for the next, nor those that come between programs."""
    bench = await make(dut)
    await bench.begin([encode_command(Opcode.WAIT, semaphore=2, count=1), end()])
    await bench.running()
    for _ in range(3):
        bench.send_done(2)
    assert await bench.finish() == DONE
    bench.send_done(2)
    for _ in range(20):
        await RisingEdge(dut.clk)
    await bench.begin([encode_command(Opcode.WAIT, semaphore=2, count=1), end()])
    for _ in range(300):
        await RisingEdge(dut.clk)
    assert await bench.read(Register.STATUS) == BUSY
    bench.send_done(NO_SEMAPHORE)
    bench.send_done(3)
    for _ in range(100):
        await RisingEdge(dut.clk)
    assert await bench.read(Register.STATUS) == BUSY
    bench.send_done(2)
    assert await bench.finish() == DONE
