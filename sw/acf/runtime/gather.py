"""Runs ``O = W A`` on any device."""

from dataclasses import dataclass

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.golden.products import Product, gather
from acf.isa import BLOCK, COMMAND_BYTES, DEFAULT_UNIT, LARGEST_GROUP, IndexSize, bitmap_row_bytes
from acf.runtime.column_dealing import MOST_SEGMENTS, column_costs, deal_columns
from acf.runtime.compiler import GatherTiling, compile_gather, inner_blocks, tile_gather
from acf.runtime.device import Device, RunResult
from acf.runtime.drains import MOST_PARTS
from acf.runtime.layout import OperandForm, WeightForm, packed_bytes
from acf.runtime.matrices import CsrMatrix, check_operand
from acf.runtime.memory import round_up
from acf.runtime.program import Program
from acf.runtime.result_dealing import deal_rows
from acf.runtime.session import Session
from acf.runtime.weight_formats import smallest_form

__all__ = ["GatherResult", "gather_memory_bytes", "run_gather"]

_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class GatherResult:
    """A product and how it was come by.

    Parameters
    ----------
    accumulators : numpy.ndarray
        ``O``, in the accumulator type of the format, or with ``narrow`` in that of the operands.
    run : RunResult
    program : Program
    tiling : GatherTiling
    forms : tuple of OperandForm
        How ``A`` lay in memory.
    weight_form : WeightForm
        How ``W`` lay in memory.
    blocks : list of (numpy.ndarray, list of int)
        Columns, and where the blocks of inner indices begin in which their sums were taken.
    unit : int
        In bf16x the last bit of an accumulator weighed ``2 ** unit``.
    """

    accumulators: np.ndarray
    run: RunResult
    program: Program
    tiling: GatherTiling
    forms: tuple[OperandForm, ...]
    weight_form: WeightForm
    blocks: list[tuple[np.ndarray, list[int]]]
    unit: int = DEFAULT_UNIT

    def golden(self, weights: CsrMatrix, operand: np.ndarray) -> Product:
        """What the product should be, its sums taken in the same blocks."""
        csr = weights.pointers, weights.indices, weights.values
        shape = weights.shape[0], operand.shape[1]
        arithmetic = golden_format(weights.format)
        accumulators, flags = np.zeros(shape, dtype=arithmetic.result_dtype), np.zeros(shape, dtype=np.uint8)
        effectual = 0
        for columns, starts in self.blocks:
            part = gather(*csr, operand[:, columns], format=weights.format, unit=self.unit, split=starts)
            accumulators[:, columns], flags[:, columns] = part.accumulators, part.flags
            effectual += part.effectual_macs
        return Product(accumulators, flags, effectual)


def gather_memory_bytes(config: FabricConfig, *, rows: int, inner: int, columns: int, entries: int) -> int:
    """Bytes of device memory that are enough for a product of these sizes, ``W`` in any form."""
    number_format = config.lane.number_format
    operand_bytes = number_format.operand_bytes
    pointers_and_values = 4 * (rows + 1) + entries * operand_bytes
    weights = max(
        pointers_and_values + 4 * entries,
        pointers_and_values + rows * bitmap_row_bytes(inner, beat_bytes=config.memory.beat_bytes),
        rows * (inner + LARGEST_GROUP) * number_format.operand_bytes,  # dense, and in any N:M, zeros included
        # Blocks of a single entry each, if there are as many.
        4 * (rows + 1) + min(entries, (rows + BLOCK) * (inner + BLOCK) // BLOCK**2) * (2 + BLOCK**2 * operand_bytes),
    )
    row_bytes = round_up(columns, 64) * (number_format.operand_bytes * inner + number_format.result_bytes * rows)
    tiling = tile_gather(config, rows=rows, inner=inner, columns=columns)
    commands = 16 + 2 * MOST_PARTS + 6 * tiling.passes * tiling.row_tiles * max(1, tiling.inner_tiles)
    row_bytes += packed_bytes(config, rows=inner, columns=columns)
    return weights + row_bytes + commands * COMMAND_BYTES + 16 * _ALIGNMENT


def run_gather(
    device: Device,
    weights: CsrMatrix,
    operand: np.ndarray,
    *,
    weight_form: WeightForm = WeightForm.CSR,
    skip: bool = True,
    index_size: IndexSize | None = None,
    pattern: tuple[int, int] | None = None,
    form: OperandForm = OperandForm.DENSE,
    deal: bool = False,
    relu: bool = False,
    narrow: bool = False,
    unit: int = DEFAULT_UNIT,
) -> GatherResult:
    """``W A`` on ``device``.

    Parameters
    ----------
    device : Device
        Its memory is overwritten from address 0.
    weights : CsrMatrix
    operand : numpy.ndarray
        ``A``, in the storage type of the format.
    weight_form : WeightForm
        How ``W`` lies in memory; if AUTO, of smallest indices.
    skip : bool
        Whether lanes skip zeros.
    index_size : IndexSize or None
        Width of the column indices in memory; by default the smaller one, if all columns have such an index.
    pattern : tuple of int or None
        N and M of weights in N:M; by default of the fewest bytes.
    form : OperandForm
        How ``A`` lies in memory.
    deal : bool
        Whether columns are dealt to lanes, and rows of ``W`` to row feeders, by their density, else in order. The bits
        are the same.
    relu, narrow : bool
        Whether negative results become +0, and results are rounded to operands.
    unit : int
        In bf16x the last bit of an accumulator weighs ``2 ** unit``.

    Raises
    ------
    ValueError
        If the operands do not fit each other or the device, or there is no such unit.
    FabricError
        If the device refused.
    """
    config = device.config
    session = Session(device)
    check_operand(operand, weights=weights)
    if weight_form is WeightForm.AUTO:
        weight_form = smallest_form(config, weights)
    rows, inner, columns = (*weights.shape, operand.shape[1])
    order, row_order = np.arange(columns), np.arange(rows)
    if deal:
        if weight_form is not WeightForm.BLOCK:  # where rows belong together
            row_order = deal_rows(config, weights, operand)
        order = _deal_columns(config, weights.take_rows(row_order), operand)
    placed = session.place_weights(
        weights.take_rows(row_order), form=weight_form, index_size=index_size, pattern=pattern
    )
    source = session.place_operand(operand[:, order], form=form)
    arithmetic = golden_format(config.lane.format)
    dtype = arithmetic.dtype if narrow else arithmetic.result_dtype
    result = session.reserve_rows(rows=rows, columns=columns, dtype=dtype)
    program = compile_gather(
        config, placed, columns=columns, operand=source, result=result, relu=relu, narrow=narrow, skip=skip
    ).with_unit(unit)
    run = session.run(program)
    found = session.read_rows(result, rows=rows, columns=columns, dtype=dtype)
    return GatherResult(
        accumulators=found[np.argsort(row_order)][:, np.argsort(order)],
        run=run,
        program=program,
        tiling=tile_gather(config, rows=rows, inner=inner, columns=columns),
        forms=(source.form,),
        weight_form=weight_form,
        blocks=[
            (order[part], starts) for part, starts in inner_blocks(config, placed, columns=columns, operand=source)
        ],
        unit=unit,
    )


def _deal_columns(config: FabricConfig, weights: CsrMatrix, operand: np.ndarray) -> np.ndarray:
    """An order of columns with which the lanes of each mesh row are even in each inner tile."""
    rows, inner = weights.shape
    tiling = tile_gather(config, rows=rows, inner=inner, columns=operand.shape[1])
    tiles = max(1, tiling.inner_tiles)
    tile_of_entry = weights.indices // max(1, tiling.inner_tile)
    if tiles > MOST_SEGMENTS:
        tile_of_entry = tile_of_entry * MOST_SEGMENTS // tiles
    feeder_of_row = np.arange(rows) % max(1, tiling.row_tile) % config.rows
    feeder_of_entry = feeder_of_row[weights.row_of_entry]
    segments = tile_of_entry * config.rows + feeder_of_entry
    return deal_columns(config, column_costs(config, segments, (weights.indices, operand)))
