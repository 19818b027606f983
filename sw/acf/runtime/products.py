"""Runs the two products of the backward pass on any device."""

from dataclasses import dataclass

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.isa import BLOCK, COMMAND_BYTES, DEFAULT_UNIT, LARGEST_GROUP, IndexSize, Opcode
from acf.runtime.column_dealing import column_costs, deal_columns, segments_of, with_totals
from acf.runtime.compiler import add_clear
from acf.runtime.device import Device, RunResult
from acf.runtime.drains import MOST_PARTS, place_accumulators
from acf.runtime.layout import OperandForm, WeightForm, column_tiling, packed_bytes
from acf.runtime.matrices import CsrMatrix
from acf.runtime.memory import round_up
from acf.runtime.program import Program
from acf.runtime.result_dealing import deal_inner
from acf.runtime.sampled import sampled_steps
from acf.runtime.sampled_drain import MOST_RANGES
from acf.runtime.sampled_tiling import tile_sampled
from acf.runtime.scatter import scatter_steps
from acf.runtime.scatter_blocks import MORE_BLOCKS
from acf.runtime.schedule import MOST_PIECES, Step, add_steps
from acf.runtime.session import Session

__all__ = ["ProductResult", "backward_memory_bytes", "run_sampled", "run_scatter"]


@dataclass(frozen=True, kw_only=True)
class ProductResult:
    """A product and how it was come by.

    Parameters
    ----------
    accumulators : numpy.ndarray
        ``D`` or ``S``, in the accumulator type of the format, or rounded to operands where that was asked for.
    run : RunResult
    program : Program
    forms : tuple of OperandForm
        How each operand lay in memory.
    weight_form : WeightForm
        How ``W`` lay in memory.
    order : numpy.ndarray
        The column in each place; sums over columns are taken in the order of places.
    results_dealt : bool
        Whether rows of the result were dealt to row feeders by their density.
    unit : int
        In bf16x the last bit of an accumulator weighed ``2 ** unit``.
    """

    accumulators: np.ndarray
    run: RunResult
    program: Program
    forms: tuple[OperandForm, ...]
    weight_form: WeightForm
    order: np.ndarray
    results_dealt: bool
    unit: int = DEFAULT_UNIT


def backward_memory_bytes(config: FabricConfig, *, rows: int, inner: int, columns: int, entries: int) -> int:
    """Bytes of device memory that are enough for either product with ``W`` of these sizes, sparse or dense."""
    number_format = config.lane.number_format
    # In N:M and blocks there may be a few more than elements.
    elements = max(entries, (rows + BLOCK) * (inner + LARGEST_GROUP))
    weights = 4 * (rows + 1) + elements * (4 + number_format.operand_bytes)
    row_bytes = round_up(columns, 64) * number_format.result_bytes
    passes = column_tiling(config, columns)[0]
    row_tiles = rows // config.lane.operand_rows + 1
    blocks = inner // min(config.lane.operand_rows, config.rows * config.lane.accumulator_rows) + 1 + MORE_BLOCKS
    groups = 2 * tile_sampled(config, rows=rows, inner=inner, entries=elements).groups + 1
    commands = 16 + (8 + config.rows) * passes * row_tiles * blocks * groups + 2 * MOST_PARTS * config.rows * groups
    commands += 2 * MOST_PIECES * (2 * config.rows + 1) + MOST_RANGES * (8 + 2 * config.rows) * blocks
    results = elements * number_format.result_bytes
    weights += packed_bytes(config, rows=rows, columns=columns) + packed_bytes(config, rows=inner, columns=columns)
    return weights + (rows + 2 * inner) * row_bytes + results + commands * COMMAND_BYTES + 4096


def run_scatter(
    device: Device,
    weights: CsrMatrix,
    operand: np.ndarray,
    *,
    gate: np.ndarray | None = None,
    narrow: bool = False,
    weight_form: WeightForm = WeightForm.CSR,
    skip: bool = True,
    index_size: IndexSize | None = None,
    pattern: tuple[int, int] | None = None,
    form: OperandForm = OperandForm.DENSE,
    deal: bool = False,
    unit: int = DEFAULT_UNIT,
) -> ProductResult:
    """``transpose(W) G`` on ``device``.

    Parameters
    ----------
    device : Device
        Its memory is overwritten from address 0.
    weights : CsrMatrix
    operand : numpy.ndarray
        ``G``, as many rows as ``W``, in the storage type of the format.
    gate : numpy.ndarray or None
        Of the shape of the result: where it is zero, so is the result.
    narrow : bool
        Whether results are rounded to operands.
    weight_form : WeightForm
        How ``W`` lies in memory: CSR, DENSE, NM or BLOCK.
    skip : bool
        Whether lanes skip zeros.
    index_size : IndexSize or None
        Width of the column indices in memory; by default the smaller one, if all columns have such an index.
    pattern : tuple of int or None
        N and M of weights in N:M; by default of the fewest bytes.
    form : OperandForm
        How operands lie in memory; a gate is dense.
    deal : bool
        Whether columns are dealt to lanes, and rows of the result to row feeders, by their density, else in order. The
        bits are the same.
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
    _check_form(weight_form, WeightForm.CSR, WeightForm.DENSE, WeightForm.NM, WeightForm.BLOCK)
    arithmetic = golden_format(config.lane.format)
    rows, inner = weights.shape
    _check(operand, "the operand", rows=rows, columns=None, dtype=arithmetic.dtype)
    columns = operand.shape[1]
    if gate is not None:
        _check(gate, "the gate", rows=inner, columns=columns, dtype=arithmetic.dtype)

    session = Session(device)
    order, inner_order = np.arange(columns), np.arange(inner)
    # In blocks and groups columns belong together.
    deals_results = deal and weight_form not in (WeightForm.NM, WeightForm.BLOCK)
    if deal:
        if deals_results:
            inner_order = deal_inner(config, weights, operand)
            weights = weights.take_columns(inner_order)
        costs = column_costs(config, segments_of(weights.entries), (weights.row_of_entry, operand))
        order = deal_columns(config, costs)
    placed = session.place_weights(weights, form=weight_form, index_size=index_size, pattern=pattern)
    source = session.place_operand(operand[:, order], form=form)
    gate_source = None if gate is None else session.place_operand(gate[inner_order][:, order], what="the gate")
    dtype = arithmetic.dtype if narrow else arithmetic.result_dtype
    result = session.reserve_rows(rows=inner, columns=columns, dtype=dtype)
    steps = scatter_steps(
        config, placed, columns=columns, operand=source, result=result, gate=gate_source, narrow=narrow, skip=skip
    )
    program = _program(config, steps).with_unit(unit)
    run = session.run(program)
    found = session.read_rows(result, rows=inner, columns=columns, dtype=dtype)
    return ProductResult(
        accumulators=found[np.argsort(inner_order)][:, np.argsort(order)],
        run=run,
        program=program,
        forms=(source.form,),
        weight_form=weight_form,
        order=order,
        results_dealt=deals_results,
        unit=unit,
    )


def run_sampled(
    device: Device,
    weights: CsrMatrix,
    row_operand: np.ndarray,
    operand: np.ndarray,
    *,
    weight_form: WeightForm = WeightForm.CSR,
    skip: bool = True,
    index_size: IndexSize | None = None,
    form: OperandForm = OperandForm.DENSE,
    deal: bool = False,
    unit: int = DEFAULT_UNIT,
) -> ProductResult:
    """``G transpose(A)`` on ``device``, where ``W`` has entries; with ``dense`` everywhere.

    Parameters
    ----------
    device : Device
        Its memory is overwritten from address 0.
    weights : CsrMatrix
        Of its entries only the places matter.
    row_operand, operand : numpy.ndarray
        ``G``, as many rows as ``W``, and ``A``, as many rows as ``W`` has columns, in the storage type of the format.
    weight_form : WeightForm
        How ``W`` lies in memory: CSR or DENSE. If DENSE, all elements count as entries, in the order of the rows.
    skip : bool
        Whether lanes skip zeros.
    index_size : IndexSize or None
        Width of the column indices in memory; by default the smaller one, if all columns have such an index.
    form : OperandForm
        How operands lie in memory; a gate is dense.
    deal : bool
        Whether columns are dealt to lanes by their density, else in order; see ``ProductResult.order``.
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
    _check_form(weight_form, WeightForm.CSR, WeightForm.DENSE)
    dtype = golden_format(config.lane.format).dtype
    rows, inner = weights.shape
    _check(row_operand, "the row operand", rows=rows, columns=None, dtype=dtype)
    columns = row_operand.shape[1]
    _check(operand, "the operand", rows=inner, columns=columns, dtype=dtype)

    session = Session(device)
    placed = session.place_weights(weights, form=weight_form, index_size=index_size)
    order = np.arange(columns)
    if deal:
        segments = segments_of(weights.entries)
        costs = column_costs(config, segments, (weights.row_of_entry, row_operand), (weights.indices, operand))
        order = deal_columns(config, with_totals(costs, config.rows))
    row_source = session.place_operand(row_operand[:, order], what="the row operand", form=form)
    source = session.place_operand(operand[:, order], form=form)
    result = session.reserve_sums(placed.entries)
    steps = sampled_steps(
        config,
        placed,
        columns=columns,
        row_operand=row_source,
        operand=source,
        result=result,
        skip=skip,
        exposed=True,
        row_pointers=np.arange(rows + 1) * inner if weight_form is WeightForm.DENSE else weights.pointers,
    )
    program = _program(config, steps).with_unit(unit)
    run = session.run(program)
    return ProductResult(
        accumulators=session.read_sums(result, placed.entries),
        run=run,
        program=program,
        forms=(row_source.form, source.form),
        weight_form=weight_form,
        order=order,
        results_dealt=False,
        unit=unit,
    )


def _program(config: FabricConfig, steps: list[Step]) -> Program:
    program = Program()
    if steps:
        add_clear(program, config, rows=place_accumulators(config, [step.accumulators for step in steps]))
        add_steps(program, config, steps)
    program.add(Opcode.END)
    return program


def _check_form(form: WeightForm, *allowed: WeightForm) -> None:
    if form not in allowed:
        raise ValueError(f"this product of the backward pass reads weights in {' or '.join(allowed)}, not in {form}")


def _check(array: np.ndarray, what: str, *, rows: int, columns: int | None, dtype: np.dtype) -> None:
    if array.ndim != 2 or array.dtype != dtype:
        raise ValueError(f"{what} must be two-dimensional of {dtype}, not {array.ndim}-dimensional of {array.dtype}")
    if array.shape[0] != rows or columns not in (None, array.shape[1]):
        wanted = f"{rows} rows" if columns is None else f"{rows} rows of {columns} columns"
        raise ValueError(f"{what} must have {wanted}, not {array.shape[0]} x {array.shape[1]}")
