"""The points of a grid: which product of which weights with which operands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acf.config import FabricConfig
from acf.runtime.matrices import MAX_SIZE, CsrMatrix, check_density, random_values
from acf.runtime.measure import PRODUCTS, product_memory_bytes
from acf.sparsity.patterns import Blocks, ConstantFanIn, NOfM, Pattern, Unstructured

__all__ = ["Layer", "Point", "file_layer", "parse_pattern", "plan_points", "random_layers"]

_MASK_STREAM = 3
"""Keeps the random numbers of masks apart from those of values and operands."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Weights of a grid, drawn in a pattern or taken from a file.

    Parameters
    ----------
    rows, inner, entries : int
        Of ``W``.
    pattern : Pattern or None
        With ``density``: how to draw a mask.
    density : float or None
        As it was asked for.
    path : Path or None
        The file that ``matrix`` comes from.
    matrix : CsrMatrix or None
    """

    rows: int
    inner: int
    entries: int
    pattern: Pattern | None = None
    density: float | None = None
    path: Path | None = None
    matrix: CsrMatrix | None = None

    @property
    def label(self) -> str:
        """What a chart calls it."""
        if self.path is not None:
            return self.path.name
        return f"{self.pattern}, {100 * (self.density or 0):g} %"

    def weights(self, *, seed: int, format: str) -> CsrMatrix:
        """``W``, with normally distributed values."""
        if self.matrix is not None:
            return self.matrix
        assert self.pattern is not None
        assert self.density is not None
        generator = np.random.default_rng([seed, _MASK_STREAM])
        mask = self.pattern.make((self.rows, self.inner), self.density, generator)
        values = random_values(mask.indices.size, seed=seed, format=format)
        return CsrMatrix(mask.shape, mask.pointers, mask.indices, values, format)


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One product to measure: ``columns`` and ``operand_density`` are those of its operands."""

    product: str
    layer: Layer
    columns: int
    operand_density: float

    def memory_bytes(self, config: FabricConfig) -> int:
        """Bytes of device memory that are enough for it."""
        layer = self.layer
        sizes = {"rows": layer.rows, "inner": layer.inner, "columns": self.columns, "entries": layer.entries}
        return product_memory_bytes(self.product, config, **sizes)

    def __str__(self) -> str:
        return f"{self.product}, {self.layer.label}, operands {100 * self.operand_density:g} %"


def parse_pattern(name: str) -> Pattern:
    """The pattern called ``unstructured``, ``constant-fan-in``, ``N:M`` or ``blockHxW``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name == "unstructured":
        return Unstructured()
    if name == "constant-fan-in":
        return ConstantFanIn()
    if found := re.fullmatch(r"(\d{1,4}):(\d{1,4})", name):
        return NOfM(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"block(\d{1,4})x(\d{1,4})", name):
        return Blocks(int(found[1]), int(found[2]))
    raise ValueError(f"a pattern must be unstructured, constant-fan-in, N:M or blockHxW, not {name!r}")


def random_layers(
    patterns: Sequence[str], densities: Sequence[float], *, rows: int, inner: int
) -> tuple[list[Layer], list[str]]:
    """A layer for each density and pattern, and a sentence for each that cannot be.

    A layer of density 1 is the same in every pattern, so there is one of it.

    Raises
    ------
    ValueError
        If a pattern or a density is none.
    """
    layers: list[Layer] = []
    skipped: list[str] = []
    dense: str | None = None
    kinds = [(name, parse_pattern(name)) for name in patterns]
    for density in densities:
        if not 0 < density <= 1:
            raise ValueError(f"weight density must be above 0 and at most 1, not {density!r}")
        for name, pattern in kinds:
            try:
                entries = pattern.entries((rows, inner), density)
            except ValueError as error:
                skipped.append(f"{name} at {100 * density:g} %: {error}")
                continue
            if density == 1 and dense is not None:
                skipped.append(f"{name} at 100 %: the same as {dense} at 100 %")
                continue
            dense = name if density == 1 else dense
            layers.append(Layer(rows=rows, inner=inner, entries=entries, pattern=pattern, density=density))
    return layers, skipped


def file_layer(path: Path, matrix: CsrMatrix) -> Layer:
    """The layer of a matrix that was read from a file."""
    rows, inner = matrix.shape
    return Layer(rows=rows, inner=inner, entries=matrix.entries, path=path, matrix=matrix)


def plan_points(
    layers: Sequence[tuple[Layer, int]], products: Sequence[str], operand_densities: Sequence[float]
) -> list[Point]:
    """All products of all layers, each with the columns of its operands; those of a layer one after the other.

    Raises
    ------
    ValueError
        If a product, a density or a number of columns is none.
    """
    for product in products:
        if product not in PRODUCTS:
            raise ValueError(f"phase must be one of {', '.join(PRODUCTS)}, not {product!r}")
    for density in operand_densities:
        check_density(density, what="operand density")
    for _, columns in layers:
        if not 1 <= columns <= MAX_SIZE:
            raise ValueError(f"operands must have 1 to {MAX_SIZE} columns, not {columns}")
    return [
        Point(product=product, layer=layer, columns=columns, operand_density=density)
        for layer, columns in layers
        for product in products
        for density in operand_densities
    ]
