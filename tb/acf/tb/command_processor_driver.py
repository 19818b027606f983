"""The command processor with a host, a memory, and models of the guard and of the nodes around it."""

import logging
import random
from collections import Counter, deque
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from acf.hw.counters import COUNTER_LATENCY
from acf.hw.fabric.command_processor import port_id_width
from acf.hw.mem.guard import traffic_layout, violation_layout
from acf.hw.noc.flit import command_head, done_head, error_head, flit_layout
from acf.isa import (
    COMMAND_BYTES,
    COMMAND_FIELDS,
    NO_SEMAPHORE,
    SEMAPHORES,
    CommandProcessorCounter,
    ControlKind,
    ErrorCode,
    Opcode,
    Register,
    TrafficClass,
    encode_command,
)
from acf.tb.axi_channels import OKAY, AxiMemory
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSink, StreamSource, always, pack, start_clock, unpack

__all__ = [
    "ABORT",
    "BUSY",
    "DONE",
    "ERROR",
    "PROGRAM",
    "START",
    "counter_of",
    "golden_packets",
    "make",
    "random_command",
    "random_program",
]

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


class CommandProcessorBench:
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
        # Accesses of the host take so many cycles each: without these, many programs would begin in even cycles alone.
        for _ in range(self.timing.randrange(4)):
            await RisingEdge(self.dut.clk)
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
    bench = CommandProcessorBench(dut)
    await bench.start()
    return bench
