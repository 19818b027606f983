"""The column feeder against a plain Python LOAD."""

import random

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiRamRead, AxiReadBus

from acf.hw.noc.flit import flit_layout, operand_head
from acf.isa import NO_SEMAPHORE, Cast, ErrorCode, FeederCounter, Opcode, OperandKind, TrafficClass
from acf.tb.axi_channels import DECERR, SLVERR
from acf.tb.axi_responder import AxiResponder
from acf.tb.feeder_link import command_flits, count_events, header_of, quiet_inputs, read_counter, reports
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSink, StreamSource, pack, start_clock, unpack

CONFIG = bench_config()
BEAT = CONFIG.memory.beat_bytes
SIZE = CONFIG.lane.number_format.operand_bytes
PER_FLIT = CONFIG.noc.flit_width // CONFIG.lane.number_format.operand_width
T = CONFIG.tile_columns
FLITS_PER_ROW = T // PER_FLIT


def golden_load(peek, command, *, feeder):
    """Operand rows that a LOAD writes to the banks of a tile column: ``(row, bank, bytes)`` each, T operands long."""
    before = feeder * command["tile_columns"]
    valid = min(max(command["columns"] - before, 0), command["tile_columns"])
    rows = []
    for n in range(command["rows"]):
        read = peek(command["address"] + n * command["row_stride"] + before * SIZE, valid * SIZE)
        rows.append((command["operand_first"] + n, command["bank"], read + bytes((T - valid) * SIZE)))
    return rows


def golden_chunks(peek, command, *, feeder):
    """The flits that a LOAD of packed operands sends."""
    rows_of_chunk, mask_flits = CONFIG.feeder.chunk_rows, CONFIG.chunk_mask_flits
    has_columns = command["columns"] > feeder * command["tile_columns"]
    flits = []

    def head(**fields):
        head = {
            "x": feeder + 1,
            "y": CONFIG.rows,
            "cast": Cast.COLUMN,
            "traffic_class": TrafficClass.OPERANDS,
            "kind": OperandKind.ROWS,
            "bank": command["bank"],
            "semaphore": command["semaphore"],
            "packed": 1,
        }
        flits.append((pack(operand_head, **head, **fields), 1, int(fields["rows"] == 0)))

    if not command["rows"]:
        head(row=command["operand_first"], rows=0, last=1)
    for first in range(0, command["rows"], rows_of_chunk):
        left = command["rows"] - first
        head(row=command["operand_first"] + first, rows=min(left, rows_of_chunk), last=int(left <= rows_of_chunk))
        chunk = first // rows_of_chunk
        words = [0] * mask_flits
        if has_columns:
            place = command["lengths"] + feeder * command["length_stride"] + 2 * chunk
            length = int.from_bytes(peek(place & ~1, 2), "little")
            address = command["address"] + feeder * CONFIG.chunk_bytes + chunk * command["row_stride"]
            content = peek(address, 8 * (mask_flits + length))
            words = [int.from_bytes(content[n : n + 8], "little") for n in range(0, len(content), 8)]
        flits += [(word, 0, int(n == len(words) - 1)) for n, word in enumerate(words)]
    return [pack(flit_layout(noc=CONFIG.noc), payload=word, head=h, tail=t) for word, h, t in flits]


def unpack_load(words, *, x):
    """The rows in the packets of one LOAD, and the semaphore of the packet with ``last``; checks the packets."""
    rows, semaphore = [], None
    flits = [unpack(flit_layout(noc=CONFIG.noc), word) for word in words]
    while flits:
        assert semaphore is None, "a packet follows the last one"
        first = flits.pop(0)
        assert first["head"], "a packet begins without a head"
        header = header_of(first["payload"])
        assert header == {
            "x": x,
            "y": CONFIG.rows,
            "cast": Cast.COLUMN,
            "traffic_class": TrafficClass.OPERANDS,
            "kind": OperandKind.ROWS,
        }
        head = unpack(operand_head, first["payload"])
        if head["last"]:
            semaphore = head["semaphore"]
        body = []
        while not (body[-1] if body else first)["tail"]:
            body.append(flits.pop(0))
        assert not any(flit["head"] for flit in body)
        assert len(body) % FLITS_PER_ROW == 0
        count = len(body) // FLITS_PER_ROW
        assert count <= CONFIG.feeder.packet_rows
        assert count == CONFIG.feeder.packet_rows or head["last"]
        for n in range(count):
            content = b"".join(
                flit["payload"].to_bytes(8, "little") for flit in body[n * FLITS_PER_ROW :][:FLITS_PER_ROW]
            )
            rows.append((head["row"] + n, head["bank"], content))
    return rows, semaphore


def random_load(rng, **fixed):
    """A LOAD within the limits of the configuration."""
    rows = rng.choice([0, 1, 2, 3, rng.randint(0, CONFIG.lane.operand_rows)])
    tile_columns = rng.choice([T, BEAT // SIZE * rng.randint(1, T * SIZE // BEAT)])
    return {
        "address": BEAT * rng.randint(0, 1 << 12),
        "row_stride": BEAT * rng.choice([0, 1, T * SIZE // BEAT, rng.randint(0, 600)]),
        "rows": rows,
        "operand_first": rng.randint(0, CONFIG.lane.operand_rows - rows),
        "bank": rng.randrange(CONFIG.lane.operand_banks),
        "columns": rng.choice([0, 1, T, CONFIG.columns, rng.randint(0, CONFIG.columns + 5)]),
        "tile_columns": tile_columns,
        "semaphore": rng.choice([0, 5, 7, NO_SEMAPHORE]),
        **fixed,
    }


def random_packed_load(rng, poke, **fixed):
    """A LOAD of packed operands within the limits, whose lengths are written to memory."""
    rows = rng.choice([0, 1, CONFIG.feeder.chunk_rows, rng.randint(0, CONFIG.lane.operand_rows)])
    chunks = -(-rows // CONFIG.feeder.chunk_rows)
    tile_columns = rng.randint(1, T)
    command = {
        "address": BEAT * rng.randint(0, 1 << 12),
        "row_stride": BEAT * rng.choice([0, 1, CONFIG.chunk_bytes // BEAT, rng.randint(0, 600)]),
        "rows": rows,
        "operand_first": rng.randint(0, CONFIG.lane.operand_rows - rows),
        "lengths": (1 << 19) + rng.randint(0, 100),
        "length_stride": 2 * chunks + 2 * rng.randint(0, 5),
        "bank": rng.randrange(CONFIG.lane.operand_banks),
        "columns": rng.choice([0, 1, T, CONFIG.columns, rng.randint(0, CONFIG.columns + 5)]),
        "tile_columns": tile_columns,
        "semaphore": rng.choice([0, 5, 7, NO_SEMAPHORE]),
        "packed": 1,
        **fixed,
    }
    most = CONFIG.chunk_value_flits
    longest = rng.choice([0, 1, most])
    for feeder in range(CONFIG.cols):
        lengths = [rng.choice([0, longest, rng.randint(0, longest)]) for _ in range(chunks)]
        place = command["lengths"] + feeder * command["length_stride"]
        poke(place & ~1, b"".join(length.to_bytes(2, "little") for length in lengths))
    return command


class Bench:
    """The feeder, its packets and its memory; ``chance`` is that of a cycle being used on any handshake."""

    def __init__(self, dut, *, feeder=0, memory=True):
        self.dut, self.feeder, self.x, self.chance = dut, feeder, feeder + 1, 1.0
        quiet_inputs(dut, y=0, x=self.x)
        self.control = StreamSource(dut, "control_i", use=self.use)
        self.reports = StreamSink(dut, "control_o", use=self.use)
        self.operands = StreamSink(dut, "operands_o", use=self.use)
        if memory:
            rng = random.Random(random.getrandbits(32))
            self.memory = AxiResponder(dut, memory=CONFIG.memory, rng=rng, use=self.use)

    def use(self):
        """Whether a handshake uses this cycle."""
        return random.random() < self.chance

    def send(self, command):
        """Queue a LOAD."""
        self.control.send(command_flits(Opcode.LOAD, y=0, x=self.x, targets=1 << self.feeder, **command))

    async def finish(self, commands, *, peek=None, cycles=40000):
        """Wait for all packets of ``commands``, compare them, forget them."""
        peek = peek or self.memory.peek
        expected = [
            (golden_chunks if command.get("packed") else golden_load)(peek, command, feeder=self.feeder)
            for command in commands
        ]
        flits = [
            len(rows)
            if command.get("packed")
            else len(rows) * FLITS_PER_ROW + max(1, -(-len(rows) // CONFIG.feeder.packet_rows))
            for command, rows in zip(commands, expected, strict=True)
        ]
        await self.operands.wait_for(sum(flits), timeout_cycles=cycles)
        await ClockCycles(self.dut.clk, 20)
        received = list(self.operands.received)
        assert len(received) == sum(flits)
        for command, rows, count in zip(commands, expected, flits, strict=True):
            words, received = received[:count], received[count:]
            if command.get("packed"):
                assert words == rows, f"{command}"
                continue
            assert unpack_load(words, x=self.x) == (rows, command["semaphore"]), f"{command}"
        self.operands.received.clear()
        assert not self.reports.received

    async def error(self):
        """Wait for the report of an error: code, address."""
        await self.reports.wait_for(3)
        await ClockCycles(self.dut.clk, 100)
        [(kind, code, y, x, row, address, index)] = reports(self.reports.received)
        assert (kind, y, x, row, index) == ("ERROR", 0, self.x, 0, 0)
        self.reports.received.clear()
        return ErrorCode(code), address

    async def reset(self):
        """Reset everything but the contents of the memory."""
        chance, self.chance = self.chance, 1.0
        await ClockCycles(self.dut.clk, 2)
        await self.memory.reset(self.dut)
        self.control.stop()
        self.control = StreamSource(self.dut, "control_i", use=self.use)
        await ClockCycles(self.dut.clk, 3)
        self.operands.received.clear()
        self.reports.received.clear()
        self.dut.rst.value = 0
        self.chance = chance


@cocotb.test()
async def random_loads(dut):
    """Several commands in the queue, every handshake stalling, answers at any time."""
    bench = Bench(dut, feeder=random.randrange(CONFIG.cols))
    await start_clock(dut)
    await count_events(dut)
    rows = 0
    for latency, chance in ((1, 1.0), (25, 0.5), (3, 0.2)):
        bench.memory.read.latency, bench.chance = latency, chance
        for _ in range(6):
            commands = [random_load(random) for _ in range(random.randint(1, 4))]
            for command in commands:
                bench.send(command)
            await bench.finish(commands)
            rows += sum(command["rows"] for command in commands)
        # Packed ones between dense ones. Their lengths must not change while they wait, so each has its own.
        for _ in range(6):
            commands = []
            for n in range(random.randint(1, 4)):
                place = (1 << 19) + (n << 12) + random.randint(0, 100)
                packed = random_packed_load(random, bench.memory.poke, lengths=place)
                commands.append(random.choice([packed, packed, random_load(random)]))
            for command in commands:
                bench.send(command)
            await bench.finish(commands)
            rows += sum(command["rows"] for command in commands)
    assert await read_counter(dut, FeederCounter.OPERAND_ROWS, y=0, x=bench.x) == rows
    assert await read_counter(dut, FeederCounter.OPERAND_ROWS, y=1, x=bench.x) == 0
    assert await read_counter(dut, FeederCounter.ENTRIES, y=0, x=bench.x) == 0


@cocotb.test()
async def rows_across_borders(dut):
    """Rows that cross a 4 KiB border are read in two bursts."""
    bench = Bench(dut)
    await start_clock(dut)
    for before in range(1, T * SIZE // BEAT):
        command = random_load(
            random, rows=5, operand_first=0, address=0x8000 - before * BEAT, row_stride=4096, columns=T, tile_columns=T
        )
        bench.send(command)
        await bench.finish([command])
        assert len(bench.memory.read.reads) == 10
        bench.memory.read.reads.clear()


@cocotb.test()
async def only_valid_beats_are_read(dut):
    """Bytes that come over the bus are those of the beats with valid columns."""
    bench = Bench(dut, feeder=1)
    await start_clock(dut)
    for columns in (T, T + 1, 2 * T - 1, 2 * T):
        command = random_load(random, rows=3, operand_first=0, columns=columns, tile_columns=T)
        before = bench.memory.read.beats_read
        bench.send(command)
        await bench.finish([command])
        assert bench.memory.read.beats_read - before == 3 * -(-(columns - T) * SIZE // BEAT)


@cocotb.test()
async def full_throughput(dut):
    """One flit a cycle, 40 cycles from memory, from the first flit of a command to the last of the one after it."""
    bench = Bench(dut)
    bench.memory.read.latency, bench.memory.read.in_order = 40, True
    await start_clock(dut)
    rows = CONFIG.lane.operand_rows
    commands = [
        random_load(
            random,
            rows=rows,
            operand_first=0,
            address=0x4000 * n,
            row_stride=T * SIZE,
            columns=CONFIG.columns,
            tile_columns=T,
        )
        for n in range(2)
    ]
    for command in commands:
        bench.send(command)
    await bench.finish(commands)
    flits = 2 * (rows * FLITS_PER_ROW + -(-rows // CONFIG.feeder.packet_rows))
    cycles = bench.operands.cycles[-1] - bench.operands.cycles[0] + 1
    # What latency and outstanding bursts allow, and one flit a cycle at most.
    ahead = CONFIG.feeder.operand_bursts * FLITS_PER_ROW
    allowed = max(1.0, (40 + 8) / ahead)
    dut._log.info(f"{flits} flits in {cycles} cycles")
    assert cycles <= flits * allowed + 10


@cocotb.test()
async def only_what_a_chunk_holds_is_read(dut):
    """Beats of masks and values, and those of the lengths, each once."""
    bench = Bench(dut, feeder=1)
    await start_clock(dut)
    per_beat = BEAT // 8
    for length in (0, 1, CONFIG.chunk_value_flits - 1, CONFIG.chunk_value_flits):
        rows = CONFIG.lane.operand_rows
        command = random_packed_load(random, bench.memory.poke, rows=rows, operand_first=0, columns=CONFIG.columns)
        chunks = rows // CONFIG.feeder.chunk_rows
        command |= {"lengths": 1 << 19, "length_stride": 2 * chunks}
        bench.memory.poke((1 << 19) + 2 * chunks, length.to_bytes(2, "little") * chunks)
        before = bench.memory.read.beats_read
        bench.send(command)
        await bench.finish([command])
        lengths = range(2 * chunks // BEAT, (4 * chunks - 1) // BEAT + 1)
        beats = chunks * -(-(CONFIG.chunk_mask_flits + length) // per_beat) + len(lengths)
        assert bench.memory.read.beats_read - before == beats


@cocotb.test()
async def full_throughput_of_chunks(dut):
    """One flit a cycle, 40 cycles from memory, but for the lengths at the beginning of a command."""
    bench = Bench(dut)
    bench.memory.read.latency, bench.memory.read.in_order = 40, True
    await start_clock(dut)
    rows, chunk = CONFIG.lane.operand_rows, CONFIG.chunk_mask_flits + CONFIG.chunk_value_flits
    chunks = rows // CONFIG.feeder.chunk_rows
    fixed = {"rows": rows, "operand_first": 0, "row_stride": CONFIG.chunk_bytes, "columns": CONFIG.columns}
    commands = [
        random_packed_load(random, bench.memory.poke, address=0x8000 * n, lengths=1 << 19, length_stride=256, **fixed)
        for n in range(2)
    ]
    bench.memory.poke(1 << 19, CONFIG.chunk_value_flits.to_bytes(2, "little") * chunks)
    for command in commands:
        bench.send(command)
    await bench.finish(commands)
    flits = 2 * chunks * (1 + chunk)
    cycles = bench.operands.cycles[-1] - bench.operands.cycles[0] + 1
    ahead = max(8, CONFIG.feeder.operand_bursts * T * SIZE // BEAT) * BEAT // 8
    allowed = max(1.0, (40 + 8) / ahead)
    lookups = 2 * -(-2 * chunks // BEAT)
    dut._log.info(f"{flits} flits in {cycles} cycles")
    assert cycles <= flits * allowed + 10 + 100 * lookups


@cocotb.test()
async def beat_every_cycle(dut):
    """Bursts follow each other closely enough for a beat every cycle."""
    bench = Bench(dut)
    await start_clock(dut)
    bench.memory.read.held = True
    command = random_load(
        random,
        rows=CONFIG.lane.operand_rows,
        operand_first=0,
        row_stride=T * SIZE,
        address=0,
        columns=T,
        tile_columns=T,
    )
    bench.send(command)
    await ClockCycles(dut.clk, 60)
    assert len(bench.memory.read.reads) == CONFIG.feeder.operand_bursts
    cycles = [burst["cycle"] for burst in bench.memory.read.reads]
    assert cycles[-1] - cycles[0] == CONFIG.feeder.operand_bursts - 1
    bench.memory.read.held = False
    await bench.finish([command])
    assert bench.memory.read.in_flight_most == CONFIG.feeder.operand_bursts


@cocotb.test()
async def errors(dut):
    """Every error is reported, and after a reset the feeder works again."""
    bench = Bench(dut)
    await start_clock(dut)
    rows = CONFIG.lane.operand_rows
    good = {
        "rows": 4,
        "operand_first": 0,
        "address": 64 * BEAT,
        "row_stride": 8 * BEAT,
        "columns": T,
        "tile_columns": T,
    }
    narrow = BEAT // SIZE // 2
    cases = [
        (good | {"bank": CONFIG.lane.operand_banks}, ErrorCode.COMMAND_RANGE, None),
        (good | {"operand_first": rows - 3}, ErrorCode.COMMAND_RANGE, None),
        (good | {"tile_columns": T + BEAT // SIZE}, ErrorCode.COMMAND_RANGE, None),
        (good | {"tile_columns": 0}, ErrorCode.COMMAND_RANGE, None),
        (good | {"tile_columns": narrow}, ErrorCode.MISALIGNED, None),
        (good | {"address": 64 * BEAT + BEAT // 2}, ErrorCode.MISALIGNED, None),
        (good | {"row_stride": BEAT + 4}, ErrorCode.MISALIGNED, None),
        (good, ErrorCode.READ_RESPONSE, SLVERR),
        (good, ErrorCode.READ_RESPONSE, DECERR),
    ]
    for case, expected, response in cases:
        command = random_load(random, **{"bank": 0, **case})
        bad = case["address"] + 2 * case["row_stride"]  # third row
        bench.memory.read.respond = lambda address, bad=bad, response=response: (
            response if address == bad and response else 0
        )
        bench.send(command)
        code, address = await bench.error()
        assert (code, address) == (expected, bad if response else command["address"]), f"{command}"
        sent = len(bench.operands.received)
        assert sent < 4 * FLITS_PER_ROW if response else not sent, "an operand row is sent in spite of the error"
        await bench.reset()
        bench.memory.read.respond = lambda address: 0
        command = random_load(random)
        bench.send(command)
        await bench.finish([command])
    for feeder_row, (code, what) in enumerate(((ErrorCode.COMMAND_RANGE, None), (ErrorCode.READ_RESPONSE, SLVERR))):
        command = random_packed_load(random, bench.memory.poke, **good, lengths=1 << 19, packed=1, length_stride=64) | {
            "rows": 2 * CONFIG.feeder.chunk_rows
        }
        too_long = CONFIG.chunk_value_flits + 1 + random.choice([0, 0x8000])
        bench.memory.poke(1 << 19, (0).to_bytes(2, "little") + too_long.to_bytes(2, "little"))
        bench.memory.read.respond = lambda address, what=what: what if address == 1 << 19 and what else 0
        bench.send(command)
        place = command["address"] + command["row_stride"]
        assert await bench.error() == (code, 1 << 19 if feeder_row else place)
        await bench.reset()
        bench.memory.read.respond = lambda address: 0
        command = random_packed_load(random, bench.memory.poke)
        bench.send(command)
        await bench.finish([command])
    bench.control.send(command_flits(Opcode.CLEAR, y=0, x=1, targets=1, row_limit=1))
    assert await bench.error() == (ErrorCode.ILLEGAL_COMMAND, 0)


@cocotb.test()
async def reset_at_any_time(dut):
    """A reset in the middle leaves nothing behind."""
    bench = Bench(dut)
    await start_clock(dut)
    for latency in range(1, 31, 3):
        bench.memory.read.latency, bench.chance = latency, random.choice([1.0, 0.5])
        for _ in range(3):
            bench.send(random.choice([random_load(random), random_packed_load(random, bench.memory.poke)]))
        await ClockCycles(dut.clk, random.randint(10, 200))
        await bench.reset()
        command = random_load(random)
        bench.send(command)
        await bench.finish([command])


@cocotb.test()
async def independent_memory(dut):
    """The same against the memory of cocotbext-axi."""
    bench = Bench(dut, memory=False)
    bench.chance = 0.7
    dut.rst.value = 1
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, "read"), dut.clk, dut.rst, size=1 << 20)
    ram.write(0, random.randbytes(1 << 20))
    ram.ar_channel.set_pause_generator(iter(lambda: random.random() < 0.3, None))
    ram.r_channel.set_pause_generator(iter(lambda: random.random() < 0.3, None))
    await start_clock(dut)
    for _ in range(10):
        command = random_load(random, address=BEAT * random.randint(0, 999), row_stride=BEAT * random.randint(0, 100))
        bench.send(command)
        await bench.finish([command], peek=ram.read)
