"""Measures one sparse product: with skipping, without it if wanted, and against the mathematics and its roofline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.golden.products import Product, sampled, scatter
from acf.isa import DEFAULT_UNIT, FeederCounter, Flag
from acf.runtime import roofline
from acf.runtime.device import Device
from acf.runtime.gather import GatherResult, gather_memory_bytes, run_gather
from acf.runtime.layout import OperandForm, WeightForm
from acf.runtime.matrices import CsrMatrix, random_operand
from acf.runtime.products import ProductResult, backward_memory_bytes, run_sampled, run_scatter
from acf.runtime.sampled import sampled_chains

__all__ = [
    "check_weight_form",
    "PRODUCTS",
    "UNITS",
    "Measurement",
    "expected_product",
    "is_exact",
    "measure_product",
    "product_memory_bytes",
    "random_operands",
]

PRODUCTS = {
    "gather": "O = W A",
    "scatter": "D = transpose(W) G",
    "sampled": "S = G transpose(A), where W has entries",
}
"""The products of a layer: forward, input gradient, weight gradient."""

_WEIGHT_FORMS = {
    "gather": tuple(WeightForm),
    "scatter": (WeightForm.CSR, WeightForm.DENSE, WeightForm.NM, WeightForm.BLOCK),
    "sampled": (WeightForm.CSR,),
}

UNITS = {
    "cycles": "clock cycles, from the fetch of the first command to END",
    "lanes": "lanes of the fabric, one MAC per cycle each",
    "effectual_macs": "products whose two operands are non-zero",
    "dense_macs": "rows x inner x columns products",
    "utilization": "effectual_macs / (lanes x cycles)",
    "dense_cycles": "cycles of the same array with skipping off, W stored with all its zeros",
    "dense_utilization": "dense_macs / (lanes x dense_cycles)",
    "speedup": "dense_cycles / cycles",
    "ideal_speedup": "dense_macs / effectual_macs",
    "lane_cycles": "lane cycles by cause; they sum to lanes x cycles",
    "bytes_read": "bytes of the beats read through the memory port, program included",
    "bytes_written": "bytes written through the memory port",
    "weight_density": "non-zero weights / (rows x inner)",
    "weight_form": "how W lies in memory, with skipping",
    "operand_forms": "how each operand lies in memory, with skipping: dense, or packed as masks and non-zeros",
    "columns_dealt": "whether columns are dealt to lanes by density, with skipping, or in order",
    "results_dealt": "whether rows of the result are dealt to row feeders by density, with skipping, or in order",
    "operand_density": "non-zero operands / all, both operands of a sampled product together",
    **roofline.UNITS,
}
"""What the numbers of a report count."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A product, run with skipping, and without it if that was wanted.

    Parameters
    ----------
    product : str
        A key of ``PRODUCTS``.
    weights : CsrMatrix
    operands : tuple of numpy.ndarray
        One array, or those of the rows and of the columns of ``W`` of a sampled product.
    sparse : GatherResult or ProductResult
        With skipping.
    dense : GatherResult, ProductResult or None
        Without it and with ``W`` stored dense.
    form : OperandForm
        Asked for for ``sparse``; for ``dense`` operands are dense.
    dealt : bool
        Whether columns were dealt to lanes and rows of the result to row feeders by density, for ``sparse``.
    bit_exact : bool
        Whether the results have the bits of ``acf.golden.products``, and the effectual products were counted right.
    """

    product: str
    weights: CsrMatrix
    operands: tuple[np.ndarray, ...]
    sparse: GatherResult | ProductResult
    dense: GatherResult | ProductResult | None
    form: OperandForm
    dealt: bool
    bit_exact: bool

    @property
    def weight_form(self) -> WeightForm:
        """How ``W`` lay in memory for ``sparse``."""
        return self.sparse.weight_form

    @property
    def dense_macs(self) -> int:
        """Products of the dense matrices."""
        return self.weights.shape[0] * self.weights.shape[1] * self.operands[0].shape[1]

    def report(self, *, bytes_per_cycle: float | None = None) -> dict[str, Any]:
        """Every number as plain data; what has no value, such as the time on a device without any, is None.

        Parameters
        ----------
        bytes_per_cycle : float or None
            Bandwidth of the device's memory, both directions together; None: that of the port.
        """
        config = self.sparse.run.config
        run, dense_run = self.sparse.run, None if self.dense is None else self.dense.run
        is_zero = golden_format(config.lane.format).is_zero
        nonzeros = [int(np.count_nonzero(~is_zero(operand))) for operand in self.operands]
        operand_nonzeros = sum(nonzeros)
        operand_size = sum(operand.size for operand in self.operands)
        effectual = run.effectual_macs
        dense_cycles = dense_run.cycles if dense_run else None
        bound = roofline.product_roofline(
            self.product,
            config,
            rows=self.weights.shape[0],
            inner=self.weights.shape[1],
            columns=self.operands[0].shape[1],
            entries=self.weights.entries,
            effectual_macs=effectual,
            operand_nonzeros=nonzeros,
            bytes_per_cycle=bytes_per_cycle,
        )
        return {
            "product": self.product,
            "rows": self.weights.shape[0],
            "inner": self.weights.shape[1],
            "columns": self.operands[0].shape[1],
            "weight_entries": self.weights.entries,
            "weight_nonzeros": self.weights.nonzeros,
            "weight_density": self.weights.density,
            "weight_form": str(self.weight_form),
            "operand_nonzeros": operand_nonzeros,
            "nonzeros_by_operand": nonzeros,
            "operand_density": operand_nonzeros / operand_size if operand_size else None,
            "operand_forms": [str(form) for form in self.sparse.forms],
            "asked_operand_form": str(self.form),
            "columns_dealt": self.dealt,
            "results_dealt": self.dealt if isinstance(self.sparse, GatherResult) else self.sparse.results_dealt,
            "bit_exact": self.bit_exact,
            "unit": self.sparse.unit if config.lane.number_format.scaled else None,
            "overflow": run.overflowed,
            "underflow": Flag.UNDERFLOW in run.raised,
            "invalid": Flag.INVALID in run.raised,
            "lanes": config.total_lanes,
            "effectual_macs": effectual,
            "dense_macs": self.dense_macs,
            "cycles": run.cycles,
            **bound.report(run.cycles),
            "utilization": run.utilization,
            "dense_cycles": dense_cycles,
            "dense_utilization": self.dense_macs / (config.total_lanes * dense_cycles) if dense_cycles else None,
            "speedup": dense_cycles / run.cycles if run.cycles and dense_cycles else None,
            "ideal_speedup": self.dense_macs / effectual if effectual else None,
            "lane_cycles": run.lane_cycles,
            "dense_lane_cycles": dense_run.lane_cycles if dense_run else None,
            "bytes_read": run.bytes_read,
            "bytes_written": run.bytes_written,
            "dense_bytes_read": dense_run.bytes_read if dense_run else None,
            "dense_bytes_written": dense_run.bytes_written if dense_run else None,
            "entries_sent": int(run.row_feeders[FeederCounter.ENTRIES].sum()),
            "entries_filtered": int(run.row_feeders[FeederCounter.FILTERED].sum()),
            "commands": run.commands,
            "tile_utilization": None if run.tile_utilization is None else run.tile_utilization.tolist(),
            "units": UNITS,
            "config_digest": config.digest,
            "config": config.describe(),
        }


Progress = Callable[[str], None]


def check_weight_form(product: str, form: WeightForm) -> None:
    """Check that a product can be measured with its weights in a form.

    Raises
    ------
    ValueError
        If it cannot.
    """
    allowed = _WEIGHT_FORMS[product]
    if form not in allowed:
        raise ValueError(f"weights of a {product} product lie in {' or '.join(allowed)}, not in {form}")


def measure_product(
    product: str,
    device: Device,
    weights: CsrMatrix,
    operands: Sequence[np.ndarray],
    *,
    without_skipping: bool = True,
    weight_form: WeightForm = WeightForm.CSR,
    form: OperandForm = OperandForm.AUTO,
    deal: bool = True,
    unit: int = DEFAULT_UNIT,
    progress: Progress = lambda text: None,
) -> Measurement:
    """Run a product with skipping and without, and compare both with the golden product.

    Without skipping ``W`` lies in memory with all its zeros and every lane spends a cycle on each product of its
    columns; columns beyond the operand cost nothing, so that the dense run is not made worse than it is. Where ``W``
    has several entries for one element, that run takes the first.

    Parameters
    ----------
    product : str
        A key of ``PRODUCTS``.
    device : Device
    weights : CsrMatrix
    operands : sequence of numpy.ndarray
        Those of ``Measurement``.
    without_skipping : bool
        Whether that is run too, always with dense operands.
    weight_form : WeightForm
        How the weights lie in memory, with skipping; see ``check_weight_form``.
    form : OperandForm
        How the operands lie in memory.
    deal : bool
        Whether columns are dealt to lanes and rows of the result to row feeders by their density; without skipping
        that changes nothing.
    unit : int
        In bf16x the last bit of an accumulator weighs ``2 ** unit``.
    progress : callable
        Is told what begins.
    """
    check_weight_form(product, weight_form)
    run = {"gather": run_gather, "scatter": run_scatter, "sampled": run_sampled}[product]
    progress("with skipping")
    sparse = run(device, weights, *operands, weight_form=weight_form, form=form, deal=deal, unit=unit)
    single, dense = weights, None
    if without_skipping:
        progress("without skipping")
        single = weights.canonical()
        dense = run(device, single, *operands, weight_form=WeightForm.DENSE, skip=False, unit=unit)
    progress("golden product")
    exact = is_exact(sparse, expected_product(product, weights, operands, sparse))
    if dense is not None:
        exact = exact and is_exact(dense, expected_product(product, single, operands, dense, everywhere=True))
    return Measurement(
        product=product,
        weights=weights,
        operands=tuple(operands),
        sparse=sparse,
        dense=dense,
        form=form,
        dealt=deal,
        bit_exact=exact,
    )


def expected_product(
    product: str,
    matrix: CsrMatrix,
    operands: Sequence[np.ndarray],
    result: GatherResult | ProductResult,
    *,
    everywhere: bool = False,
) -> Product:
    """What ``result`` should be; ``everywhere`` sampled products are those of all elements."""
    pointers, indices = matrix.pointers, matrix.indices
    if isinstance(result, GatherResult):
        return result.golden(matrix, *operands)
    rows, inner = matrix.shape
    if product == "scatter":
        return scatter(pointers, indices, matrix.values, *operands, inner=inner, format=matrix.format, unit=result.unit)
    if everywhere:
        pointers, indices = np.arange(rows + 1) * inner, np.tile(np.arange(inner), rows)
    chains = sampled_chains(result.run.config, operands[0].shape[1], order=result.order)
    return sampled(pointers, indices, *operands, chains=chains, format=matrix.format, unit=result.unit)


def random_operands(
    product: str, weights: CsrMatrix, *, columns: int, density: float, seed: int, concentration: float | None = None
) -> tuple[np.ndarray, ...]:
    """The operands of a product: of the columns of ``W``, of its rows, or of its rows and its columns.

    Parameters are those of ``random_operand``.
    """
    rows, inner = weights.shape
    sizes = {"gather": [(inner, seed)], "scatter": [(rows, seed)], "sampled": [(rows, seed + 1), (inner, seed)]}
    return tuple(
        random_operand(
            inner=size,
            columns=columns,
            density=density,
            seed=own_seed,
            format=weights.format,
            concentration=concentration,
        )
        for size, own_seed in sizes[product]
    )


def product_memory_bytes(
    product: str, config: FabricConfig, *, rows: int, inner: int, columns: int, entries: int
) -> int:
    """Bytes of device memory that are enough for a measurement of a product."""
    memory_bytes = gather_memory_bytes if product == "gather" else backward_memory_bytes
    return memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=entries)


def is_exact(result: GatherResult | ProductResult, expected: Product) -> bool:
    """Whether a result has the bits of the golden product, and the effectual products were counted right."""
    return (
        result.accumulators.dtype == expected.accumulators.dtype
        and result.accumulators.shape == expected.accumulators.shape
        and result.accumulators.tobytes() == expected.accumulators.tobytes()
        and result.run.effectual_macs == expected.effectual_macs
        and result.run.raised == int(np.bitwise_or.reduce(expected.flags, axis=None))
    )
