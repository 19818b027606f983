# amaranth: UnusedElaboratable=no
"""The UART: bytes over a line whose sender has another clock, breaks, and what stands between bytes."""

import random

import pytest
from amaranth.sim import Simulator

from acf.hw.boards.uart import UartReceiver, UartTransmitter


def levels(data, *, cycles, skew, gap, rng, stop=1):
    """The line, cycle by cycle, from a sender whose bits last ``cycles * skew`` cycles."""
    bits = [1] * 3
    for byte in data:
        bits += [0, *(byte >> n & 1 for n in range(8)), stop]
        bits += [1] * rng.randrange(gap + 1)
    bits += [1] * 12
    return [bits[int(n / (cycles * skew))] for n in range(int(len(bits) * cycles * skew))]


def receive(line, *, cycles):
    """What comes of the line: bytes, or None for one that is broken."""
    dut = UartReceiver(cycles_per_bit=cycles)
    found = []

    async def bench(ctx):
        for level in line:
            ctx.set(dut.pin, level)
            await ctx.tick()
            if ctx.get(dut.valid):
                found.append(ctx.get(dut.byte))
            if ctx.get(dut.broken):
                found.append(None)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize(("cycles", "skew"), [(2, 1), (4, 1), (5, 1), (20, 0.98), (20, 1), (20, 1.02), (21, 0.98)])
@pytest.mark.parametrize("gap", [0, 3])
def test_bytes_are_received(cycles, skew, gap):
    rng = random.Random(1)
    data = [0, 0xFF, 0x55, 0xAA, *rng.choices(range(256), k=20)]
    assert receive(levels(data, cycles=cycles, skew=skew, gap=gap, rng=rng), cycles=cycles) == data


def test_byte_without_stop_bit_is_broken():
    rng = random.Random(1)
    line = levels([0x12], cycles=8, skew=1, gap=0, rng=rng)
    line += levels([0x34], cycles=8, skew=1, gap=0, rng=rng, stop=0)
    line += levels([0x56], cycles=8, skew=1, gap=0, rng=rng)
    assert receive(line, cycles=8) == [0x12, None, 0x56]


def test_break_is_one_broken_byte():
    rng = random.Random(1)
    line = [1] * 20 + [0] * 500 + levels([0x56], cycles=8, skew=1, gap=0, rng=rng)
    assert receive(line, cycles=8) == [None, 0x56]


def test_spike_is_no_start_bit():
    line = [1] * 20 + [0] * 3 + [1] * 200
    assert receive(line, cycles=8) == []


@pytest.mark.parametrize("cycles", [2, 4, 20])
@pytest.mark.parametrize("wait", [0, 30])
def test_bytes_are_sent(cycles, wait):
    """Back to back, where there is always a byte: ten bits each, without a cycle between."""
    dut = UartTransmitter(cycles_per_bit=cycles)
    rng = random.Random(wait)
    data = [0, 0xFF, *rng.choices(range(256), k=6)]
    line = []

    async def send(ctx):
        for byte in data:
            if wait:
                await ctx.tick().repeat(rng.randrange(1, wait))
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def watch(ctx):
        async for _, _, level in ctx.tick().sample(dut.pin):
            line.append(level)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    begin = line.index(0)
    if not wait:
        # The testbench ends when the last byte is taken, so it is not in the picture.
        expected = [
            bit for byte in data[:-1] for bit in (0, *(byte >> n & 1 for n in range(8)), 1) for _ in range(cycles)
        ]
        assert line[begin : begin + len(expected)] == expected
    assert receive([*line, *[1] * 3 * cycles], cycles=cycles)[: len(data) - 1] == data[:-1]


@pytest.mark.parametrize("part", [UartReceiver, UartTransmitter])
def test_bits_that_are_too_short_are_refused(part):
    with pytest.raises(ValueError, match="from 2 to 65535 cycles, not 1"):
        part(cycles_per_bit=1)
