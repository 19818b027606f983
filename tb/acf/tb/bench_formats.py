"""Drives a multiply-accumulate operator and compares every bit, in every cycle, with the golden arithmetic.

``ACF_MAC_CASES`` is the number of cases at full rate, ``ACF_SHARED_DATA`` the folder that holds the TestFloat vectors.
"""

import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from acf.golden.formats import golden_format
from acf.hw.formats import mac_latency, mac_loop
from acf.isa import DEFAULT_UNIT, unit_exponent, unit_field
from acf.tb.fixed_point_cases import bf16x_cases
from acf.tb.format_cases import bf16_cases, int8_cases, vector_cases, vector_folder
from acf.tb.runner import bench_config
from acf.tb.stream import always, at_random, start_clock

_CASES = int(os.environ.get("ACF_MAC_CASES", "200000"))


def _format() -> str:
    return bench_config().lane.format


def _latency() -> int:
    return mac_latency(format=_format())


def _scaled() -> bool:
    return bench_config().lane.number_format.scaled


def _cases(count: int, *, unit: int = DEFAULT_UNIT):
    rng = np.random.default_rng(random.getrandbits(64))
    if _scaled():
        return bf16x_cases(rng, count, exponent=unit)
    return {"bf16": bf16_cases, "int8": int8_cases}[_format()](rng, count)


def _golden(cases, *, unit: int = DEFAULT_UNIT) -> tuple[list[int], list[int]]:
    arithmetic = golden_format(_format()).with_unit(unit)
    acc, x, y = cases
    result, flags = arithmetic.accumulate(
        acc.view(arithmetic.accumulator_dtype), x.view(arithmetic.dtype), y.view(arithmetic.dtype)
    )
    return result.view(acc.dtype).tolist(), flags.tolist()


async def _start(dut) -> None:
    for port in (dut.x, dut.y, dut.a, dut.enable, *([dut.unit] if _scaled() else [])):
        port.value = 0
    await start_clock(dut)


async def _run(dut, cases, expected: list[int], flags: list[int], *, use=always) -> int:
    """Feed all cases, one in every cycle that ``use`` grants; check ``o`` in every cycle. Returns the cycles taken.

    The accumulator of a case is there only in the cycle in which the operator needs it.
    """
    # Cases on their way, by number, the oldest first; None for an idle cycle.
    pending: deque[int | None] = deque([None] * (_latency() - 1))
    cases = [array.tolist() for array in cases]
    accumulators: deque[int | None] = deque([None] * (_latency() - mac_loop(format=_format())))
    last, sent, cycle = None, 0, 0
    await FallingEdge(dut.clk)
    while sent < len(expected) or any(number is not None for number in pending):
        granted = sent < len(expected) and use()
        dut.enable.value = int(granted)
        if granted:
            dut.x.value, dut.y.value = cases[1][sent], cases[2][sent]
            pending.append(sent)
            accumulators.append(cases[0][sent])
            sent += 1
        else:
            # What an idle operator is given must not matter.
            dut.x.value = random.getrandbits(len(dut.x))
            pending.append(None)
            accumulators.append(None)
        accumulator = accumulators.popleft()
        dut.a.value = random.getrandbits(len(dut.a)) if accumulator is None else accumulator
        await FallingEdge(dut.clk)
        cycle += 1
        finished = pending.popleft()
        last = last if finished is None else finished
        if last is not None:
            got, wanted = (int(dut.o.value), int(dut.flags.value)), (expected[last], flags[last])
            a, x, y = (column[last] for column in cases)
            assert got == wanted, (
                f"cycle {cycle}, case {last}: a={a:08X} x={x:04X} y={y:04X} gave {got[0]:08X} flags {got[1]}, "
                f"not {wanted[0]:08X} flags {wanted[1]}"
            )
    dut.enable.value = 0
    return cycle


@cocotb.test()
async def full_rate(dut):
    """One operation per cycle, each with its result after exactly ``latency`` cycles."""
    await _start(dut)
    cases = _cases(_CASES)
    cycles = await _run(dut, cases, *_golden(cases))
    assert cycles == len(cases[0]) + _latency() - 1


@cocotb.test()
async def with_gaps(dut):
    """Random idle cycles, with other inputs: every result as before, and kept until the next one."""
    await _start(dut)
    cases = _cases(_CASES // 4)
    rng = random.Random(random.getrandbits(64))
    for probability in (0.1, 0.5, 0.9):
        first = rng.randrange(3)
        part = tuple(array[first::3] for array in cases)
        await _run(dut, part, *_golden(part), use=at_random(probability, rng))


@cocotb.test()
async def idle_registers_hold(dut):
    """While nothing valid is inside, no register changes, whatever the inputs do."""
    await _start(dut)
    cases = tuple(array[:64] for array in _cases(64))
    await _run(dut, cases, *_golden(cases))
    # Registers between stages are called by the number of the section that they end.
    registers = [handle for handle in dut if handle._name.endswith(tuple(f"_{stage}" for stage in range(1, 5)))]
    registers += [dut.o, dut.flags]
    assert len(registers) > 2 + 4 * (_latency() - 1) or _latency() == 1, "the registers have other names"
    before = [int(handle.value) for handle in registers]
    for _ in range(200):
        dut.a.value, dut.x.value = random.getrandbits(len(dut.a)), random.getrandbits(len(dut.x))
        dut.y.value = random.getrandbits(len(dut.y))
        await FallingEdge(dut.clk)
        now = [int(handle.value) for handle in registers]
        assert now == before, [
            handle._name for handle, old, new in zip(registers, before, now, strict=True) if old != new
        ]


@cocotb.test()
async def reset_empties_the_pipeline(dut):
    """A reset at any time is followed by the same results as the first one; nothing older comes out."""
    await _start(dut)
    cases = tuple(array[-256:] for array in _cases(4096))
    expected = _golden(cases)
    for depth in range(6):
        await _run(dut, tuple(array[:64] for array in cases), *(column[:64] for column in expected))
        dut.enable.value = 1
        for _ in range(depth):
            dut.a.value, dut.x.value = random.getrandbits(len(dut.a)), random.getrandbits(len(dut.x))
            await FallingEdge(dut.clk)
        dut.rst.value = 1
        dut.enable.value = 0
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        before = int(dut.o.value)
        for _ in range(_latency() + 2):
            await FallingEdge(dut.clk)
            assert int(dut.o.value) == before, "a result came out of an emptied pipeline"
        await _run(dut, cases, *expected)


@cocotb.test(skip=not _scaled())
async def every_unit(dut):
    """The last bit of an accumulator may weigh anything that a command can say."""
    await _start(dut)
    for field in range(64):
        unit = unit_exponent(field)
        assert unit_field(unit) == field
        dut.unit.value = field
        cases = _cases(2000, unit=unit)
        await _run(dut, cases, *_golden(cases, unit=unit))


@cocotb.test(skip=_format() != "bf16" or vector_folder() is None)
async def testfloat(dut):
    """Every TestFloat vector that the operator can run."""
    folder = vector_folder()
    assert folder is not None
    await _start(dut)
    for name, (cases, expected) in vector_cases(folder).items():
        await _run(dut, cases, expected.tolist(), [0] * len(expected))
        dut._log.info("%s: %d vectors", name, len(expected))
