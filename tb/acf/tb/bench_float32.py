"""Drives the float32 adder, or multiply-add, and compares every bit, in every cycle, with the golden arithmetic.

``ACF_FLOAT_CASES`` is the number of cases at full rate.
"""

import os
import random
from collections import deque

import cocotb
import ml_dtypes
import numpy as np
from cocotb.triggers import FallingEdge

from acf.golden.float32 import add, fused_multiply_add
from acf.hw.formats.float32_add import Float32Add
from acf.hw.formats.fused import FusedMultiplyAdd
from acf.tb.float32_cases import add_cases, fma_cases
from acf.tb.stream import always, at_random, start_clock

_CASES = int(os.environ.get("ACF_FLOAT_CASES", "50000"))
_LATENCY = FusedMultiplyAdd().latency

assert Float32Add().latency == _LATENCY


def _ports(dut) -> list:
    """The operands, in the order in which cases give them."""
    return [dut.a, dut.x, dut.y] if hasattr(dut, "y") else [dut.a, dut.b]


def _cases(dut, count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(random.getrandbits(64))
    return (fma_cases if hasattr(dut, "y") else add_cases)(rng, count)


def _golden(a: np.ndarray, b: np.ndarray, *factor: np.ndarray) -> list[int]:
    a, b = a.view(np.float32), b.view(np.float32)
    result = fused_multiply_add(a, b, factor[0].view(ml_dtypes.bfloat16)) if factor else add(a, b)
    return result.view(np.uint32).tolist()


async def _start(dut) -> None:
    for port in (*_ports(dut), dut.enable):
        port.value = 0
    await start_clock(dut)


async def _run(dut, cases, *, use=always) -> int:
    """Feed all cases, one in every cycle that ``use`` grants; check ``o`` in every cycle. Returns the cycles taken."""
    ports = _ports(dut)
    expected = _golden(*cases)
    waiting = list(zip(*(array.tolist() for array in cases), strict=True))
    pending: deque[int | None] = deque([None] * (_LATENCY - 1))
    last, sent, cycle = None, 0, 0
    await FallingEdge(dut.clk)
    while sent < len(waiting) or any(number is not None for number in pending):
        granted = sent < len(waiting) and use()
        dut.enable.value = int(granted)
        # What an idle operator is given must not matter.
        operands = waiting[sent] if granted else [random.getrandbits(len(port)) for port in ports]
        for port, value in zip(ports, operands, strict=True):
            port.value = value
        pending.append(sent if granted else None)
        sent += granted
        await FallingEdge(dut.clk)
        cycle += 1
        finished = pending.popleft()
        last = last if finished is None else finished
        if last is not None:
            got = int(dut.o.value)
            assert got == expected[last], (
                f"cycle {cycle}, case {last}: {' '.join(f'{value:08X}' for value in waiting[last])} gave {got:08X}, "
                f"not {expected[last]:08X}"
            )
    dut.enable.value = 0
    return cycle


@cocotb.test()
async def full_rate(dut):
    """One operation per cycle, each with its result after exactly ``latency`` cycles."""
    await _start(dut)
    cases = _cases(dut, _CASES)
    assert await _run(dut, cases) == len(cases[0]) + _LATENCY - 1


@cocotb.test()
async def with_gaps(dut):
    """Results are the same, and stay until the next one, whatever comes between valid inputs."""
    await _start(dut)
    rng = random.Random(random.getrandbits(64))
    for probability in (0.1, 0.5, 0.9):
        await _run(dut, _cases(dut, _CASES // 10), use=at_random(probability, rng))


@cocotb.test()
async def reset_empties_the_pipeline(dut):
    """After a reset at any time nothing older comes out."""
    await _start(dut)
    cases = _cases(dut, 64)
    for depth in range(_LATENCY + 2):
        await _run(dut, cases)
        dut.enable.value = 1
        for _ in range(depth):
            dut.a.value = random.getrandbits(32)
            await FallingEdge(dut.clk)
        dut.rst.value, dut.enable.value = 1, 0
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        before = int(dut.o.value)
        for _ in range(_LATENCY + 2):
            await FallingEdge(dut.clk)
            assert int(dut.o.value) == before, "a result came out of an emptied pipeline"
