"""Runs ``O = W A`` on any device."""

from dataclasses import dataclass

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.isa import COMMAND_BYTES, Decoder, IndexSize
from acf.runtime.compiler import GatherLayout, GatherTiling, compile_gather, tile_gather
from acf.runtime.device import Device, RunResult, Window
from acf.runtime.matrices import CsrMatrix, check_operand
from acf.runtime.memory import Allocator, round_up
from acf.runtime.program import Program

__all__ = ["GatherResult", "gather_memory_bytes", "run_gather"]

_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class GatherResult:
    """A product and how it was come by.

    Parameters
    ----------
    accumulators : numpy.ndarray
        ``O``, in the accumulator type of the format.
    run : RunResult
    program : Program
    tiling : GatherTiling
    """

    accumulators: np.ndarray
    run: RunResult
    program: Program
    tiling: GatherTiling


def gather_memory_bytes(config: FabricConfig, *, rows: int, inner: int, columns: int, entries: int) -> int:
    """Bytes of device memory that are enough for a product of these sizes, sparse or dense."""
    number_format = config.lane.number_format
    weights = max(
        4 * (rows + 1) + entries * (4 + number_format.operand_bytes), rows * inner * number_format.operand_bytes
    )
    row_bytes = round_up(columns, 64) * (number_format.operand_bytes * inner + number_format.accumulator_bytes * rows)
    tiling = tile_gather(config, rows=rows, inner=inner, columns=columns)
    commands = 16 + 6 * tiling.passes * tiling.row_tiles * max(1, tiling.inner_tiles)
    return weights + row_bytes + commands * COMMAND_BYTES + 16 * _ALIGNMENT


def run_gather(
    device: Device,
    weights: CsrMatrix,
    operand: np.ndarray,
    *,
    dense: bool = False,
    skip: bool = True,
    index_size: IndexSize = IndexSize.INT32,
) -> GatherResult:
    """``W A`` on ``device``.

    Parameters
    ----------
    device : Device
        Its memory is overwritten from address 0.
    weights : CsrMatrix
    operand : numpy.ndarray
        ``A``, in the storage type of the format.
    dense : bool
        Store all elements of ``W``, and read them by the DENSE decoder.
    skip : bool
        Whether lanes skip zeros.
    index_size : IndexSize
        Width of the column indices in memory.

    Raises
    ------
    ValueError
        If the operands do not fit each other or the device.
    FabricError
        If the device refused.
    """
    config = device.config
    if weights.format != config.lane.format:
        raise ValueError(f"the device computes in {config.lane.format}, but the weights are in {weights.format}")
    check_operand(operand, weights=weights)
    if index_size is IndexSize.UINT16 and weights.shape[1] > 1 << 16:
        raise ValueError(f"indices of 16 bits allow 65536 columns of weights, not {weights.shape[1]}")
    rows, inner, columns = (*weights.shape, operand.shape[1])
    beat = config.memory.beat_bytes
    accumulator_dtype = golden_format(config.lane.format).accumulator_dtype

    allocator = Allocator(device.memory, alignment=max(_ALIGNMENT, beat))
    pointers = indices = 0
    if dense:
        values = allocator.place(weights.to_dense(), what="the weights")
    else:
        index_type = np.uint16 if index_size is IndexSize.UINT16 else np.int32
        pointers = allocator.place(weights.pointers, what="the row pointers")
        indices = allocator.place(weights.indices.astype(index_type), what="the column indices")
        values = allocator.place(weights.values, what="the weights")
    operand_stride = round_up(columns * operand.itemsize, beat)
    operand_address = allocator.place_rows(operand, stride=operand_stride, what="the operand")
    result_stride = round_up(columns * accumulator_dtype.itemsize, beat)
    layout = GatherLayout(
        rows=rows,
        inner=inner,
        columns=columns,
        entries=rows * inner if dense else weights.entries,
        pointers=pointers,
        indices=indices,
        values=values,
        operand=operand_address,
        operand_stride=operand_stride,
        result=allocator.reserve(rows * result_stride, what="the result"),
        result_stride=result_stride,
        decoder=Decoder.DENSE if dense else Decoder.CSR,
        index_size=index_size,
    )
    inputs_end = layout.result
    program = compile_gather(config, layout, skip=skip)
    results_end = allocator.next_address
    program_address = allocator.place(program.to_array(), what="the program")

    windows = [Window(base=program_address, limit=allocator.next_address - 1, writable=False)]
    if inputs_end:
        windows.append(Window(base=0, limit=inputs_end - 1, writable=False))
    if results_end > layout.result:
        windows.append(Window(base=layout.result, limit=results_end - 1, readable=False))
        device.memory[layout.result : results_end] = 0xFF  # so that a result left unwritten shows
    run = device.run(program_address, len(program), windows)
    return GatherResult(
        accumulators=_read_rows(
            device.memory, layout.result, rows=rows, columns=columns, stride=result_stride, dtype=accumulator_dtype
        ),
        run=run,
        program=program,
        tiling=tile_gather(config, rows=rows, inner=inner, columns=columns),
    )


def _read_rows(
    memory: np.ndarray, address: int, *, rows: int, columns: int, stride: int, dtype: np.dtype
) -> np.ndarray:
    data = memory[address : address + rows * stride].reshape(rows, stride)[:, : columns * dtype.itemsize]
    return data.copy().view(dtype).reshape(rows, columns)
