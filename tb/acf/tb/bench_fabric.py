"""Bench of the whole fabric: compiled programs against the mathematics, with random stalls at the memory port."""

import dataclasses
import os
import random

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import Timer

from acf.config import FabricConfig
from acf.isa import ErrorCode, LaneCause, Opcode
from acf.runtime.compiler import tile_gather
from acf.runtime.device import FabricError, Window, whole_memory
from acf.runtime.gather import GatherResult, gather_memory_bytes, run_gather
from acf.runtime.layout import WeightForm
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.runtime.program import Program
from acf.tb.cocotb_device import CocotbDevice
from acf.tb.runner import bench_config
from acf.tb.stream import start_clock

MEMORY_BYTES = 1 << 20


async def _device(dut, *, stall: float) -> CocotbDevice:
    # The AXI models look at the reset as soon as they are made.
    dut.clk.value, dut.rst.value = 0, 1
    await Timer(1, "ns")
    device = CocotbDevice(dut, bench_config(), memory_bytes=MEMORY_BYTES, stall=stall, seed=random.randrange(1 << 30))
    await start_clock(dut)
    await bridge(device.check_configuration)()
    return device


def _operands(
    config: FabricConfig, rows: int, inner: int, columns: int, weight_density: float, operand_density: float
) -> tuple[CsrMatrix, np.ndarray]:
    format = config.lane.format
    weights = random_weights(
        rows=rows, inner=inner, density=weight_density, format=format, seed=random.randrange(1 << 30)
    )
    operand = random_operand(
        inner=inner, columns=columns, density=operand_density, format=format, seed=random.randrange(1 << 30)
    )
    return weights, operand


def _check(weights: CsrMatrix, operand: np.ndarray, result: GatherResult) -> None:
    """Bits against the product, counters against each other."""
    config = result.run.config
    truth = result.golden(weights, operand)
    assert result.accumulators.tobytes() == truth.accumulators.tobytes(), f"bits differ for {weights.shape}"
    assert result.run.effectual_macs == truth.effectual_macs
    assert result.run.cycles is not None
    assert result.run.causes is not None
    assert (result.run.causes.sum(axis=-1) == result.run.cycles).all(), "a lane's causes do not sum to the cycles"
    assert config.total_lanes * result.run.cycles == sum((result.run.lane_cycles or {}).values())


def _shapes(count: int) -> list[tuple[int, int, int]]:
    config = bench_config()
    edges = [(0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (7, 1, 13), (1, 37, 1)]
    larger = [(random.randint(1, 3 * config.rows * 5), random.randint(1, 2 * config.lane.operand_rows),
               random.randint(1, 2 * config.columns)) for _ in range(count)]  # fmt: skip
    return edges + larger


@cocotb.test()
async def products_of_any_shape(dut):
    """Random shapes and densities, stalls on every channel of the memory port."""
    device = await _device(dut, stall=0.3)
    config = device.config
    for rows, inner, columns in _shapes(int(os.environ.get("ACF_BENCH_CASES", "4"))):
        assert gather_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=rows * inner) < MEMORY_BYTES
        weights, operand = _operands(
            config, rows, inner, columns, random.choice([0.1, 0.4, 1.0]), random.choice([0.2, 0.6, 1.0])
        )
        result = await bridge(run_gather)(device, weights, operand)
        _check(weights, operand, result)


@cocotb.test()
async def skipping_off_has_the_same_bits(dut):
    """The dense array: same result, a cycle for each product of every valid column."""
    device = await _device(dut, stall=0.0)
    config = device.config
    rows, inner, columns = 2 * config.rows, 16, config.columns - 3
    weights, operand = _operands(config, rows, inner, columns, 0.3, 0.5)
    sparse = await bridge(run_gather)(device, weights, operand)
    dense = await bridge(run_gather)(device, weights, operand, weight_form=WeightForm.DENSE, skip=False)
    _check(weights, operand, sparse)
    _check(weights, operand, dense)
    assert dense.run.causes is not None
    assert sparse.run.causes is not None
    assert dense.run.causes[..., LaneCause.MAC].sum() == rows * inner * columns
    assert sparse.run.causes[..., LaneCause.MAC].sum() == sparse.run.effectual_macs


@cocotb.test()
async def faults_end_a_program_and_leave_the_fabric_usable(dut):
    """Bad pointers, indices, windows and commands: the right code, then a good run."""
    device = await _device(dut, stall=0.1)
    config = device.config
    weights, operand = _operands(config, 6, 9, 5, 0.5, 0.7)
    good = await bridge(run_gather)(device, weights, operand)

    async def expect(code: ErrorCode, program: Program, windows: list[Window] | None = None) -> None:
        address = device.memory.size - 64 * len(program)
        device.memory[address:] = program.to_array()
        with pytest.raises(FabricError) as caught:
            await bridge(device.run)(address, len(program), windows or whole_memory(device))
        assert caught.value.code is code, f"{caught.value} instead of {code.name}"
        again = await bridge(run_gather)(device, weights, operand)
        _check(weights, operand, again)

    def with_stream(**changes: int) -> Program:
        changed = Program()
        for opcode, fields in good.program.commands:
            changed.add(opcode, **({**fields, **changes} if opcode is Opcode.STREAM else fields))
        return changed

    stream = next(fields for opcode, fields in good.program.commands if opcode is Opcode.STREAM)
    await expect(ErrorCode.INDEX_RANGE, with_stream(inner_size=int(weights.indices.max())))
    await expect(ErrorCode.POINTER_RANGE, with_stream(entries=weights.entries - 1))
    await expect(ErrorCode.MISALIGNED, with_stream(pointers=stream["pointers"] + 1))
    await expect(ErrorCode.ILLEGAL_COMMAND, _without_end(good.program))
    narrow = [dataclasses.replace(whole_memory(device)[0], writable=False)]
    await expect(ErrorCode.WINDOW, good.program, narrow)


def _without_end(program: Program) -> Program:
    cut = Program()
    for opcode, fields in program.commands:
        if opcode is not Opcode.END:
            cut.add(opcode, **fields)
    return cut


@cocotb.test()
async def tiling_covers_every_bank(dut):
    """A product with several column passes, row tiles and inner tiles."""
    device = await _device(dut, stall=0.05)
    config = device.config
    rows, inner, columns = (
        config.rows * config.lane.accumulator_rows + 3,
        config.lane.operand_rows * 2 + 5,
        config.columns + 1,
    )
    tiling = tile_gather(config, rows=rows, inner=inner, columns=columns)
    assert (tiling.passes, tiling.row_tiles, tiling.inner_tiles) == (2, 2, 3)
    weights, operand = _operands(config, rows, inner, columns, 0.08, 0.5)
    result = await bridge(run_gather)(device, weights, operand)
    _check(weights, operand, result)
