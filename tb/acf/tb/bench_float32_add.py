"""Drives the float32 adder and compares every bit, in every cycle, with the golden sum.

``ACF_FLOAT_CASES`` is the number of cases at full rate.
"""

import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from acf.golden.float32 import add
from acf.hw.formats.float32_add import Float32Add
from acf.tb.float32_cases import add_cases
from acf.tb.stream import always, at_random, start_clock

_CASES = int(os.environ.get("ACF_FLOAT_CASES", "50000"))
_LATENCY = Float32Add().latency


def _cases(count: int) -> tuple[np.ndarray, np.ndarray]:
    return add_cases(np.random.default_rng(random.getrandbits(64)), count)


async def _start(dut) -> None:
    for port in (dut.a, dut.b, dut.enable):
        port.value = 0
    await start_clock(dut)


async def _run(dut, cases, *, use=always) -> int:
    """Feed all cases, one in every cycle that ``use`` grants; check ``o`` in every cycle. Returns the cycles taken."""
    a, b = cases
    expected = add(a.view(np.float32), b.view(np.float32)).view(np.uint32).tolist()
    a, b = a.tolist(), b.tolist()
    pending: deque[int | None] = deque([None] * (_LATENCY - 1))
    last, sent, cycle = None, 0, 0
    await FallingEdge(dut.clk)
    while sent < len(a) or any(number is not None for number in pending):
        granted = sent < len(a) and use()
        dut.enable.value = int(granted)
        # What an idle operator is given must not matter.
        dut.a.value = a[sent] if granted else random.getrandbits(32)
        dut.b.value = b[sent] if granted else random.getrandbits(32)
        pending.append(sent if granted else None)
        sent += granted
        await FallingEdge(dut.clk)
        cycle += 1
        finished = pending.popleft()
        last = last if finished is None else finished
        if last is not None:
            got = int(dut.o.value)
            assert got == expected[last], (
                f"cycle {cycle}, case {last}: a={a[last]:08X} b={b[last]:08X} gave {got:08X}, not {expected[last]:08X}"
            )
    dut.enable.value = 0
    return cycle


@cocotb.test()
async def full_rate(dut):
    """One operation per cycle, each with its result after exactly ``latency`` cycles."""
    await _start(dut)
    cases = _cases(_CASES)
    assert await _run(dut, cases) == len(cases[0]) + _LATENCY - 1


@cocotb.test()
async def with_gaps(dut):
    """Results are the same, and stay until the next one, whatever comes between valid inputs."""
    await _start(dut)
    rng = random.Random(random.getrandbits(64))
    for probability in (0.1, 0.5, 0.9):
        await _run(dut, _cases(_CASES // 10), use=at_random(probability, rng))


@cocotb.test()
async def reset_empties_the_pipeline(dut):
    """After a reset at any time nothing older comes out."""
    await _start(dut)
    cases = _cases(64)
    for depth in range(_LATENCY + 2):
        await _run(dut, cases)
        dut.enable.value = 1
        for _ in range(depth):
            dut.a.value, dut.b.value = random.getrandbits(32), random.getrandbits(32)
            await FallingEdge(dut.clk)
        dut.rst.value, dut.enable.value = 1, 0
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        before = int(dut.o.value)
        for _ in range(_LATENCY + 2):
            await FallingEdge(dut.clk)
            assert int(dut.o.value) == before, "a result came out of an emptied pipeline"
