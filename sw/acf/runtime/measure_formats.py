"""Measures what a product of a matrix costs from each format that its weights may have in memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acf.config import FabricConfig
from acf.isa import IndexSize
from acf.runtime.device import Device
from acf.runtime.gather import run_gather
from acf.runtime.layout import OperandForm, WeightForm
from acf.runtime.matrices import CsrMatrix
from acf.runtime.measure import expected_product, is_exact, product_memory_bytes
from acf.runtime.products import run_scatter
from acf.runtime.weight_formats import FormatPath, StoredFormat, stored_formats

__all__ = ["FORMAT_PRODUCTS", "UNITS", "FormatCost", "formats_memory_bytes", "measure_formats"]

FORMAT_PRODUCTS = ("gather", "scatter")
"""Products that are measured: those that read values of ``W``."""

_OTHER = {"gather": "scatter", "scatter": "gather"}

UNITS = {
    "arrays": "bytes of each array of W, as it lies in memory where there is a decoder for it",
    "bytes": "bytes of all arrays",
    "cycles": "clock cycles, from the fetch of the first command to END",
    "bytes_read": "bytes of the beats read through the memory port, operands and program included",
    "bit_exact": "whether the result has the bits of the golden product",
    "path": "how the product came about; formats of the same path are measured once",
}
"""What the numbers of a report count."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    cycles: int | None
    bytes_read: int | None
    bit_exact: bool


@dataclass(frozen=True, kw_only=True)
class FormatCost:
    """A format, and what a product from it cost.

    Parameters
    ----------
    stored : StoredFormat
    cycles, bytes_read : int or None
        None where it was not run, or on a device without time.
    bit_exact : bool or None
        None where it was not run.
    """

    stored: StoredFormat
    cycles: int | None = None
    bytes_read: int | None = None
    bit_exact: bool | None = None

    def report(self) -> dict[str, Any]:
        """Every number as plain data."""
        return {
            "name": self.stored.name,
            "path": None if self.stored.path is None else str(self.stored.path),
            "arrays": self.stored.arrays,
            "bytes": self.stored.bytes,
            "cycles": self.cycles,
            "bytes_read": self.bytes_read,
            "bit_exact": self.bit_exact,
            "note": self.stored.note,
        }


def formats_memory_bytes(product: str, config: FabricConfig, weights: CsrMatrix, *, columns: int) -> int:
    """Bytes of device memory that are enough for all formats."""
    rows, inner = weights.shape
    return max(
        product_memory_bytes(product, config, rows=rows, inner=inner, columns=columns, entries=weights.entries),
        product_memory_bytes(_OTHER[product], config, rows=inner, inner=rows, columns=columns, entries=weights.entries),
    )


def measure_formats(
    product: str,
    device: Device,
    weights: CsrMatrix,
    operand: np.ndarray,
    *,
    progress: Callable[[str], None] = lambda text: None,
) -> list[FormatCost]:
    """Run a product from each format that ``weights`` can have and that there is a decoder for.

    Those with a result in front, by cycles, or by bytes on a device without time; the others behind them.

    Parameters
    ----------
    product : str
        ``gather`` or ``scatter``.
    device : Device
    weights : CsrMatrix
    operand : numpy.ndarray
        ``A`` or ``G``.
    progress : callable
        Is told what begins.

    Raises
    ------
    ValueError
        If there is no such product, or operands do not fit.
    """
    if product not in FORMAT_PRODUCTS:
        raise ValueError(f"product must be one of {', '.join(FORMAT_PRODUCTS)}, not {product!r}")
    runs: dict[tuple[FormatPath, tuple[int, int] | None], _Run] = {}
    costs = []
    for stored in stored_formats(device.config, weights):
        path = stored.path
        if path is FormatPath.BITMAP and product != "gather":
            stored, path = replace(stored, path=None, note="the BITMAP decoder is for gathers only"), None
        if path is None:
            costs.append(FormatCost(stored=stored))
            continue
        key = path, stored.pattern
        if key not in runs:
            progress(stored.name)
            runs[key] = _run(path, product, device, weights, operand, pattern=stored.pattern)
        run = runs[key]
        costs.append(FormatCost(stored=stored, cycles=run.cycles, bytes_read=run.bytes_read, bit_exact=run.bit_exact))
    return sorted(costs, key=_rank)


def _rank(cost: FormatCost) -> tuple[bool, bool, int]:
    size = cost.stored.bytes
    return cost.bit_exact is None, size is None, (size or 0) if cost.cycles is None else cost.cycles


def _run(
    path: FormatPath,
    product: str,
    device: Device,
    weights: CsrMatrix,
    operand: np.ndarray,
    *,
    pattern: tuple[int, int] | None,
) -> _Run:
    options: dict[str, Any] = {"form": OperandForm.AUTO, "deal": True}
    if path is FormatPath.CSC:
        weights, product = weights.transposed(), _OTHER[product]
    elif path in (FormatPath.DENSE, FormatPath.BITMAP, FormatPath.NM, FormatPath.BLOCK):
        options |= (
            {"weight_form": WeightForm(path), "pattern": pattern} if pattern else {"weight_form": WeightForm(path)}
        )
        weights = weights.canonical()  # they lie in memory, and are added, in the order of columns
    else:
        options["index_size"] = IndexSize.UINT16 if path is FormatPath.CSR_UINT16 else IndexSize.INT32
    result = (run_gather if product == "gather" else run_scatter)(device, weights, operand, **options)
    exact = is_exact(result, expected_product(product, weights, (operand,), result))
    return _Run(cycles=result.run.cycles, bytes_read=result.run.bytes_read, bit_exact=exact)
