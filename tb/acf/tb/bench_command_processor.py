"""The command processor with a host, a memory, and models of the guard and of the nodes around it."""

from collections import Counter
from itertools import pairwise

import cocotb
from cocotb.triggers import RisingEdge

from acf.hw.fabric.command_processor import commands_ahead
from acf.hw.mem.guard import traffic_layout
from acf.hw.mem.window_check import window_layout
from acf.isa import (
    COMMAND_BYTES,
    IDENTIFIER,
    NO_SEMAPHORE,
    SEMAPHORES,
    VERSION,
    CommandProcessorCounter,
    ErrorCode,
    Opcode,
    Register,
    encode_command,
)
from acf.tb.axi_channels import DECERR, OKAY, SLVERR
from acf.tb.command_processor_driver import (
    ABORT,
    BUSY,
    DONE,
    ERROR,
    PROGRAM,
    START,
    counter_of,
    golden_packets,
    make,
    random_command,
    random_program,
)
from acf.tb.runner import rounds
from acf.tb.stream import unpack


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
    for length in range(18):
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
    # A bad command that comes while those before it still wait to be handed out: it alone is bad.
    for bad in range(16, 0, -(16 // rounds(16))):
        bench.memory.latency = 0
        bench.speeds = dict.fromkeys(bench.speeds, 0.1)
        bench.bad_addresses = {PROGRAM + bad * COMMAND_BYTES: SLVERR}
        await bench.begin([good] * 17 + [end()])
        await bench.check_error(ErrorCode.READ_RESPONSE, address=PROGRAM + bad * COMMAND_BYTES)
        assert len(bench.packets) == bad
    bench.pick_speeds()
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
async def ends_with_the_last_answer(dut):
    """A program is done three cycles after the last beat of what was fetched behind its END, in even cycles and odd."""
    bench = await make(dut)
    await bench.write(Register.INTERRUPT_ENABLE, 1)
    for latency in range(24, 40):
        bench.memory.latency = latency
        await bench.begin([end()], length=8)
        await bench.running()
        last = waited = 0
        while not int(dut.interrupt.value):
            await RisingEdge(dut.clk)
            waited += 1
            if bench.memory.busy:
                last = waited
        assert waited - last == 3, f"latency {latency}: done {waited - last} cycles after the last beat"
        await bench.write(Register.INTERRUPT_STATUS, 1)


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
    for n in range(rounds(30)):
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
    assert aborted > rounds(30) // 3
    await bench.write(Register.CONTROL, ABORT)
    assert await bench.read(Register.STATUS) in (DONE, DONE | ERROR)


@cocotb.test()
async def abort_waits_for_what_was_asked(dut):
    """However many commands are on their way: none of them comes into the next program."""
    bench = await make(dut)
    most = 0
    for delay in range(39, 7, -(32 // rounds(32))):
        bench.memory.latency = 300
        bench.speeds["memory"] = bench.rng.choice([1.0, 0.5])  # with pauses between the addresses, too
        before = len(bench.memory.reads)
        await bench.begin([random_command(bench.rng, Opcode.CLEAR, targets=1) for _ in range(20)] + [end()])
        for _ in range(delay):
            await RisingEdge(dut.clk)
        await bench.write(Register.CONTROL, ABORT)
        asked = len(bench.memory.reads) - before
        assert await bench.finish() == DONE | ERROR
        assert len(bench.memory.reads) - before <= asked + 1, "commands are asked for after an abort"
        most = max(most, asked)
        bench.memory.latency = 4
        await bench.check_program(random_program(bench.rng, bench.config, length=6))
    places = commands_ahead(bench.config)
    assert most == places, f"{most} commands were on their way at most, and there are {places} places"


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
