"""Several masters on one port: every answer reaches the one who asked, in the order of its ID."""

import os
import random
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from acf.hw.fabric.command_processor import paced_masters, read_masters, write_masters
from acf.tb.axi_channels import DECERR, OKAY, SLVERR, AxiMemory, Burst, ReadMaster, WriteMaster
from acf.tb.runner import bench_config, rounds
from acf.tb.stream import always, at_random, start_clock, wait_until

WRITES = os.environ.get("ACF_BENCH_CHANNELS") == "w"


def respond(address):
    """Some places of memory answer with errors."""
    return {5: SLVERR, 9: DECERR}.get(address >> 6 & 0xF, OKAY)


def random_burst(rng, memory, *, base, span, longest):
    """A burst that keeps inside 4 KiB."""
    length = rng.randrange(longest)
    page = base + rng.randrange(span // 4096) * 4096
    address = page + rng.randrange((4096 // memory.beat_bytes) - length) * memory.beat_bytes
    beats = tuple((rng.getrandbits(memory.data_width), rng.getrandbits(memory.beat_bytes)) for _ in range(length + 1))
    return Burst(rng.getrandbits(memory.id_width), address, length, beats)


def golden_reads(bursts, memory, words):
    """Beats by ID that a master must receive for its bursts."""
    received = {}
    for burst in bursts:
        for n in range(burst.length + 1):
            address = burst.address + n * memory.beat_bytes
            beat = (words(address), respond(address), int(n == burst.length))
            received.setdefault(burst.id, []).append(beat)
    return received


def golden_writes(bursts, memory, blank):
    """Responses by ID, and memory, after the bursts of one master, the only one in its region."""
    received, words = {}, {}
    for burst in bursts:
        received.setdefault(burst.id, []).append(respond(burst.address))
        for n, (data, strobes) in enumerate(burst.beats):
            address = burst.address + n * memory.beat_bytes
            old = words.get(address, blank(address)).to_bytes(memory.beat_bytes, "little")
            new = data.to_bytes(memory.beat_bytes, "little")
            words[address] = int.from_bytes(
                (new[b] if strobes >> b & 1 else old[b] for b in range(memory.beat_bytes)), "little"
            )
    return received, words


async def start(dut, *, port_use, master_uses, rng) -> tuple[Any, list[Any], AxiMemory]:
    """The masters, the memory, and a running clock."""
    memory = bench_config().memory
    make = WriteMaster if WRITES else ReadMaster
    count = write_masters(bench_config()) if WRITES else read_masters(bench_config())
    masters = [make(dut, f"masters_{n}", memory=memory, use=master_uses(n)) for n in range(count)]
    port = AxiMemory(
        dut, "port", memory=memory, rng=rng, use=port_use, respond=respond, channels="w" if WRITES else "r"
    )
    await start_clock(dut)
    return memory, masters, port


async def check_reads(dut, masters, port, memory, bursts):
    for master, own in zip(masters, bursts, strict=True):
        master.beats = 0
        master.bursts.extend(own)
    total = sum(burst.length + 1 for own in bursts for burst in own)
    await wait_until(
        dut,
        lambda: sum(master.beats for master in masters) >= total,
        cycles=100 * total + 1000,
        pending=lambda: f"{total - sum(master.beats for master in masters)} beats",
    )
    for n, (master, own) in enumerate(zip(masters, bursts, strict=True)):
        assert master.received == golden_reads(own, memory, port.blank), f"master {n}"
        master.received.clear()


@cocotb.test(skip=WRITES)
async def random_reads(dut):
    """Random bursts under every mix of stalls."""
    rng = random.Random(random.getrandbits(32))
    speeds = [1.0, 0.5, 0.1]
    chances = {"port": 1.0}
    memory, masters, port = await start(
        dut,
        port_use=lambda: rng.random() < chances["port"],
        master_uses=lambda n: lambda: rng.random() < chances.setdefault(n, 1.0),
        rng=rng,
    )
    for port_speed in speeds:
        chances["port"] = port_speed
        chances |= {n: rng.choice(speeds) for n in range(len(masters))}
        bursts = [
            [random_burst(rng, memory, base=0, span=1 << 16, longest=8) for _ in range(rounds(30))] for _ in masters
        ]
        await check_reads(dut, masters, port, memory, bursts)


@cocotb.test(skip=WRITES)
async def full_read_throughput(dut):
    """One address and one beat a cycle, addresses one late; paced masters have every ninth; each kind in turn."""
    rng = random.Random(random.getrandbits(32))
    memory, masters, port = await start(dut, port_use=always, master_uses=lambda n: always, rng=rng)
    each = 40
    bursts = [[Burst(0, 64 * n, 0) for n in range(each)] for _ in masters]
    for master, own in zip(masters, bursts, strict=True):
        master.bursts.extend(own)
    while not int(dut.masters_0_arvalid.value):
        await RisingEdge(dut.clk)
    assert not port.reads
    await RisingEdge(dut.clk)
    addresses = [len(port.reads)]
    beats = [sum(master.beats for master in masters)]
    total = each * len(masters)
    for _ in range(total + 10):
        await RisingEdge(dut.clk)
        addresses.append(len(port.reads))
        beats.append(sum(master.beats for master in masters))
    for counts in (addresses, beats):
        steps = [b - a for a, b in pairwise(counts)]
        first, last = steps.index(1), len(steps) - steps[::-1].index(1)
        assert sum(steps[first:last]) == last - first == total, f"{total} transfers took {last - first} cycles"
    turns = [read["id"] >> memory.id_width for read in port.reads]
    paced = paced_masters(bench_config())
    kinds = [turn in paced for turn in turns]
    last_other = len(kinds) - 1 - kinds[::-1].index(False)
    behind_paced = [n for n in range(last_other) if kinds[n]]
    assert {b - a for a, b in pairwise(behind_paced)} == {9}, "paced masters have not every ninth burst"
    for kind, own in ((True, len(paced)), (False, len(masters) - len(paced))):
        of_kind = [turn for turn, is_paced in zip(turns, kinds, strict=True) if is_paced == kind]
        for n in range(0, len(of_kind) - own, own):
            assert len(set(of_kind[n : n + own])) == own, f"turns from {n}: {of_kind[n : n + 8]}"


@cocotb.test(skip=WRITES)
async def paced_masters_ask_no_faster_than_memory_answers(dut):
    """Paced bursts follow each other at a beat a cycle without a gap, and no others wait behind them."""
    rng = random.Random(random.getrandbits(32))
    memory, masters, port = await start(dut, port_use=always, master_uses=lambda n: always, rng=rng)
    paced = paced_masters(bench_config())
    others = [n for n in range(len(masters)) if n not in paced]
    each, beats, rounds = 30, 4, 8
    for n in paced:
        masters[n].bursts.extend(Burst(0, 4096 * k, beats - 1) for k in range(each))
    asked, pauses = [], iter([20, *(rng.randrange(1, 30) for _ in range(rounds - 1))])
    waits, waited = next(pauses), []
    total = each * beats * len(paced)
    for cycle in range(4 * total):
        await RisingEdge(dut.clk)
        asked += [(cycle, read) for read in port.reads[len(asked) :]]
        waits -= 1
        if waits == 0:
            number = rng.choice(others)
            masters[number].bursts.append(Burst(1, 0, rng.randrange(8)))
            waited.append((cycle, number))
        elif waits < 0 and asked[-1][1]["id"] >> memory.id_width == waited[-1][1]:
            waits = next(pauses, 0)
    assert len(asked) == each * len(paced) + rounds

    ahead, before = 0, asked[0][0]
    for cycle, read in asked:
        ahead = max(ahead - (cycle - before), 0)
        is_paced = read["id"] >> memory.id_width in paced
        assert not is_paced or ahead <= 1, f"{ahead} beats are due in cycle {cycle}, and more asked for"
        ahead, before = ahead + read["len"] + 1, cycle
    all_beats = total + sum(read["len"] + 1 for _, read in asked if read["id"] >> memory.id_width not in paced)
    took = asked[-1][0] - asked[0][0]
    assert all_beats - beats - rounds <= took <= all_beats - beats, f"{all_beats} beats took {took} cycles"
    others_asked = [cycle for cycle, read in asked if read["id"] >> memory.id_width not in paced]
    for (offered, number), cycle in zip(waited, others_asked, strict=True):
        assert cycle - offered <= 4, f"master {number} waited {cycle - offered} cycles behind paced ones"


@cocotb.test(skip=not WRITES)
async def random_writes(dut):
    """Random bursts under every mix of stalls; each master writes a region of its own."""
    rng = random.Random(random.getrandbits(32))
    speeds = [1.0, 0.5, 0.1]
    chances = {"port": 1.0}
    memory, masters, port = await start(
        dut,
        port_use=lambda: rng.random() < chances["port"],
        master_uses=lambda n: lambda: rng.random() < chances.setdefault(n, 1.0),
        rng=rng,
    )
    for port_speed in speeds:
        chances["port"] = port_speed
        chances |= {n: rng.choice(speeds) for n in range(len(masters))}
        bursts = [
            [random_burst(rng, memory, base=n << 13, span=1 << 13, longest=8) for _ in range(rounds(30))]
            for n in range(len(masters))
        ]
        port.words.clear()
        for master, own in zip(masters, bursts, strict=True):
            master.received.clear()
            master.answers = 0
            master.send(own)
        total = sum(map(len, bursts))
        await wait_until(
            dut,
            lambda: sum(master.answers for master in masters) >= total,  # noqa: B023
            cycles=1000 * total,
            pending=lambda: f"{[master.answers for master in masters]} answers",
        )
        expected_words = {}
        for n, (master, own) in enumerate(zip(masters, bursts, strict=True)):
            received, words = golden_writes(own, memory, port.blank)
            expected_words |= words
            assert master.received == received, f"master {n}"
        assert port.words == expected_words


@cocotb.test(skip=not WRITES)
async def full_write_throughput(dut):
    """One data beat a cycle, whichever master it comes from; bursts of all masters in turn, from the first one on."""
    rng = random.Random(random.getrandbits(32))
    memory, masters, port = await start(dut, port_use=always, master_uses=lambda n: always, rng=rng)
    each, length = 10, 3
    strobes = (1 << memory.beat_bytes) - 1
    for n, master in enumerate(masters):
        master.send([Burst(0, (n << 12) + 64 * k, length, ((k, strobes),) * (length + 1)) for k in range(each)])
    total = each * len(masters) * (length + 1)
    counts = []
    for _ in range(total + 12):
        await RisingEdge(dut.clk)
        counts.append(len(port.written_beats))
    steps = [b - a for a, b in pairwise(counts)]
    first, last = steps.index(1), len(steps) - steps[::-1].index(1)
    assert sum(steps) == total
    assert last - first == total, f"{total} beats took {last - first} cycles"
    turns = [write["id"] >> memory.id_width for write in port.writes]
    assert turns == [n % len(masters) for n in range(len(turns))]


@cocotb.test()
async def ready_may_wait_for_valid(dut):
    """Valid never waits for ready: sides that raise ready only for what is offered get everything all the same."""
    rng = random.Random(random.getrandbits(32))
    memory, masters, port = await start(dut, port_use=always, master_uses=lambda n: always, rng=rng)
    for side in (*masters, port):
        for sink in side.sinks:
            sink.patient = True
    bursts = [
        [random_burst(rng, memory, base=n << 13, span=1 << 13, longest=4) for _ in range(8)]
        for n in range(len(masters))
    ]
    if not WRITES:
        await check_reads(dut, masters, port, memory, bursts)
        return
    for master, own in zip(masters, bursts, strict=True):
        master.send(own)
    await wait_until(
        dut,
        lambda: sum(master.answers for master in masters) == sum(map(len, bursts)),
        cycles=5000,
        pending=lambda: f"{[master.answers for master in masters]} answers",
    )
    for n, (master, own) in enumerate(zip(masters, bursts, strict=True)):
        assert master.received == golden_writes(own, memory, port.blank)[0], f"master {n}"


@cocotb.test(skip=not WRITES)
async def a_master_may_be_late_with_data(dut):
    """Data of a later burst wait for those of an earlier one, however long these take."""
    rng = random.Random(random.getrandbits(32))
    chances = {0: 0.02}
    memory, masters, port = await start(
        dut, port_use=at_random(0.9, rng), master_uses=lambda n: lambda: rng.random() < chances.get(n, 1.0), rng=rng
    )
    bursts = [
        [random_burst(rng, memory, base=n << 13, span=1 << 13, longest=4) for _ in range(6)]
        for n in range(len(masters))
    ]
    for master, own in zip(masters, bursts, strict=True):
        master.send(own)
    total = sum(map(len, bursts))
    await wait_until(
        dut,
        lambda: sum(master.answers for master in masters) == total,
        cycles=20000,
        pending=lambda: f"{[master.answers for master in masters]} answers",
    )
    order = [write["id"] >> memory.id_width for write in port.writes]
    assert sorted(order) == sorted(n for n, own in enumerate(bursts) for _ in own)
    assert {(a, d, s) for a, d, s in port.written_beats} == {
        (burst.address + k * memory.beat_bytes, data, strobes)
        for own in bursts
        for burst in own
        for k, (data, strobes) in enumerate(burst.beats)
    }
