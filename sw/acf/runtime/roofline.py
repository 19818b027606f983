"""The fewest cycles that a product or an update could take: those of its products, or those of its bytes.

Every array is moved once and whole, every product takes one cycle of one lane, and both go on at the same time.
``docs/measuring.md`` says what counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acf.config import FabricConfig
from acf.isa import IndexSize
from acf.runtime.layout import smallest_index

__all__ = ["UNITS", "Roofline", "product_roofline", "update_roofline"]

_POINTER_BYTES = 4
_GRADIENT_BYTES, _MASTER_BYTES, _MOMENTUM_BYTES, _COPY_BYTES = 4, 4, 4, 2

UNITS = {
    "roofline_cycles": "the larger of roofline_compute_cycles and roofline_memory_cycles",
    "roofline_compute_cycles": "effectual_macs / lanes",
    "roofline_memory_cycles": "cycles that the memory port takes for compulsory_bytes_read and _written",
    "roofline_bound": "compute or memory: which of the two terms is the larger",
    "roofline_fraction": "roofline_cycles / cycles",
    "compulsory_bytes_read": "bytes of W and of the operands, each once, without padding",
    "compulsory_bytes_written": "bytes of the result, once, without padding",
}
"""What the numbers of ``Roofline.report`` count."""


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A lower bound on cycles.

    Parameters
    ----------
    macs : int
        Effectual products.
    lanes : int
        Products a cycle at most.
    bytes_read, bytes_written : int
        Compulsory bytes.
    beat_bytes : int
        Bytes that the memory port moves in a cycle at most, in each direction.
    bytes_per_cycle : float or None
        Bytes that the memory moves in a cycle at most, both directions together; None: as many as the port.
    """

    macs: int
    lanes: int
    bytes_read: int
    bytes_written: int
    beat_bytes: int
    bytes_per_cycle: float | None = None

    @property
    def compute_cycles(self) -> float:
        """Cycles of the products with all lanes busy."""
        return self.macs / self.lanes

    @property
    def memory_cycles(self) -> float:
        """Cycles of the bytes with the port busy: of the fuller direction, or of both where the memory is slower."""
        cycles = max(self.bytes_read, self.bytes_written) / self.beat_bytes
        if self.bytes_per_cycle is not None:
            cycles = max(cycles, (self.bytes_read + self.bytes_written) / self.bytes_per_cycle)
        return cycles

    @property
    def cycles(self) -> float:
        """The bound."""
        return max(self.compute_cycles, self.memory_cycles)

    @property
    def bound(self) -> str:
        """Which term is the larger: ``compute`` or ``memory``."""
        return "compute" if self.compute_cycles >= self.memory_cycles else "memory"

    def report(self, cycles: int | None) -> dict[str, Any]:
        """The bound beside the ``cycles`` that were measured, as plain data; None where there are none."""
        return {
            "roofline_cycles": self.cycles,
            "roofline_compute_cycles": self.compute_cycles,
            "roofline_memory_cycles": self.memory_cycles,
            "roofline_bound": self.bound,
            "roofline_fraction": self.cycles / cycles if cycles else None,
            "compulsory_bytes_read": self.bytes_read,
            "compulsory_bytes_written": self.bytes_written,
        }


def product_roofline(
    product: str,
    config: FabricConfig,
    *,
    rows: int,
    inner: int,
    columns: int,
    entries: int,
    effectual_macs: int,
    operand_nonzeros: Sequence[int] | None = None,
    bytes_per_cycle: float | None = None,
    index_size: IndexSize | None = None,
) -> Roofline:
    """The bound of a product with ``rows x inner`` weights, of which ``entries`` are stored.

    Where there is nothing to multiply, because ``W`` has no entry or the operands no column, only the result counts.

    Parameters
    ----------
    product : str
        ``gather``, ``scatter`` or ``sampled``.
    config : FabricConfig
    rows, inner, columns : int
        Sizes of the layer.
    entries : int
        Stored entries of ``W``.
    effectual_macs : int
        Products with two non-zero operands.
    operand_nonzeros : sequence of int or None
        Of each operand. One that has few enough counts as a bit for each element and its non-zero elements; None: all
        elements.
    bytes_per_cycle : float or None
        Bandwidth of the memory, see ``Roofline``.
    index_size : IndexSize or None
        Width of the column indices in memory; None: the smallest.

    Raises
    ------
    ValueError
        If there is no such product.
    """
    number_format = config.lane.number_format
    operand_rows = {"gather": [inner], "scatter": [rows], "sampled": [rows, inner]}
    results = {"gather": rows * columns, "scatter": inner * columns, "sampled": entries}
    if product not in results:
        raise ValueError(f"product must be one of {', '.join(results)}, not {product!r}")
    index_size = smallest_index(inner) if index_size is None else index_size
    index_bytes = 2 if index_size is IndexSize.UINT16 else 4
    entry_bytes = index_bytes + (0 if product == "sampled" else number_format.operand_bytes)
    read = (rows + 1) * _POINTER_BYTES + entries * entry_bytes
    for number, of_operand in enumerate(operand_rows[product]):
        elements = of_operand * columns
        dense = elements * number_format.operand_bytes
        nonzeros = elements if operand_nonzeros is None else operand_nonzeros[number]
        read += min(dense, -(-elements // 8) + nonzeros * number_format.operand_bytes)
    return Roofline(
        macs=effectual_macs,
        lanes=config.total_lanes,
        bytes_read=read if entries and columns else 0,
        bytes_written=results[product] * number_format.result_bytes,
        beat_bytes=config.memory.beat_bytes,
        bytes_per_cycle=bytes_per_cycle,
    )


def update_roofline(config: FabricConfig, *, entries: int) -> Roofline:
    """The bound of a step of the optimizer over so many weights: that of its bytes."""
    return Roofline(
        macs=0,
        lanes=config.total_lanes,
        bytes_read=entries * (_GRADIENT_BYTES + _MASTER_BYTES + _MOMENTUM_BYTES),
        bytes_written=entries * (_MASTER_BYTES + _MOMENTUM_BYTES + _COPY_BYTES),
        beat_bytes=config.memory.beat_bytes,
    )
