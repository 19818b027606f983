"""Patterns: which places a mask may take, and thereby which of them an update may drop and grow.

A pattern turns a density into a mask that it allows. ``Blocks`` masks stay as they are made; rows of ``ConstantFanIn``
and ``NOfM`` masks are rewired one by one, which is what the structure engine does in place; entries of ``Unstructured``
masks may move from row to row.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acf.sparsity import masks
from acf.sparsity.structure import Structure

__all__ = ["Blocks", "ConstantFanIn", "NOfM", "Pattern", "Unstructured"]


@dataclass(frozen=True)
class Pattern(ABC):
    """What patterns have in common.

    A dense layer, one of density 1, is dense in every pattern.
    """

    @property
    def in_place(self) -> bool:
        """Whether rows can be rewired in place."""
        return False

    @property
    def group(self) -> int | None:
        """Successive columns within which an entry may move; None where it may move within its whole row."""
        return None

    @abstractmethod
    def entries(self, shape: tuple[int, int], density: float) -> int:
        """Entries of a mask of ``shape`` that comes nearest to ``density``; a row or a matrix keeps at least one."""

    def movable(self, shape: tuple[int, int], entries: int) -> int:
        """How many entries one update can move at most: no more than can be grown in their stead.

        Of each row, or, where entries may stand anywhere, of the layer.
        """
        return 0

    @abstractmethod
    def make(self, shape: tuple[int, int], density: float, generator: np.random.Generator) -> Structure:
        """A mask drawn by ``generator``, with ``entries(shape, density)`` entries."""

    @abstractmethod
    def check(self, structure: Structure) -> None:
        """Raise ``ValueError`` if ``structure`` does not keep to the pattern."""


@dataclass(frozen=True)
class Unstructured(Pattern):
    """Entries anywhere."""

    def entries(self, shape: tuple[int, int], density: float) -> int:
        return max(1, round(density * shape[0] * shape[1]))

    def movable(self, shape: tuple[int, int], entries: int) -> int:
        return min(entries, shape[0] * shape[1] - entries)

    def make(self, shape: tuple[int, int], density: float, generator: np.random.Generator) -> Structure:
        return masks.unstructured(shape, self.entries(shape, density), generator)

    def __str__(self) -> str:
        return "unstructured"

    def check(self, structure: Structure) -> None:
        """Every structure keeps to it."""


@dataclass(frozen=True)
class ConstantFanIn(Pattern):
    """The same number of entries in every row.

    Sources
    -------
    Lasby et al., *Dynamic Sparse Training with Structured Sparsity*, 2023 (SRigL).
    """

    @property
    def in_place(self) -> bool:
        return True

    def entries(self, shape: tuple[int, int], density: float) -> int:
        return shape[0] * max(1, round(density * shape[1]))

    def movable(self, shape: tuple[int, int], entries: int) -> int:
        fan_in = entries // shape[0]
        return min(fan_in, shape[1] - fan_in)

    def make(self, shape: tuple[int, int], density: float, generator: np.random.Generator) -> Structure:
        return masks.constant_fan_in(shape, self.entries(shape, density) // shape[0], generator)

    def check(self, structure: Structure) -> None:
        if structure.shape[0]:
            masks.check_constant_fan_in(structure, int(structure.fan_in[0]))

    def __str__(self) -> str:
        return "constant fan-in"


@dataclass(frozen=True)
class NOfM(Pattern):
    """``n`` of every ``m`` successive columns; what is dropped from such a group is grown in the same group.

    Parameters
    ----------
    n, m : int
        ``1 <= n < m``. Layers have density ``n / m`` or 1.

    Raises
    ------
    ValueError
        If ``n`` and ``m`` are out of range.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise ValueError(f"N:M must keep at least 1 and fewer than M, not {self.n}:{self.m}")

    @property
    def in_place(self) -> bool:
        return True

    @property
    def group(self) -> int | None:
        return self.m

    def entries(self, shape: tuple[int, int], density: float) -> int:
        if density == 1:
            return shape[0] * shape[1]
        if abs(density - self.n / self.m) > 1e-9:
            raise ValueError(f"the density of a layer must be {self.n / self.m:.6g} for {self}, or 1, not {density!r}")
        if shape[1] % self.m:
            raise ValueError(f"columns must be a multiple of {self.m} for {self}, not {shape[1]}")
        return shape[0] * shape[1] // self.m * self.n

    def movable(self, shape: tuple[int, int], entries: int) -> int:
        if entries == shape[0] * shape[1]:
            return 0
        return shape[1] // self.m * min(self.n, self.m - self.n)

    def make(self, shape: tuple[int, int], density: float, generator: np.random.Generator) -> Structure:
        if self.entries(shape, density) == shape[0] * shape[1]:
            return Structure.dense(shape)
        return masks.n_of_m(shape, self.n, self.m, generator)

    def check(self, structure: Structure) -> None:
        if structure.entries < structure.shape[0] * structure.shape[1]:
            masks.check_n_of_m(structure, self.n, self.m)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


@dataclass(frozen=True)
class Blocks(Pattern):
    """Blocks of ``height x width`` elements, full or empty.

    Raises
    ------
    ValueError
        If a size is not positive.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ValueError(f"blocks must have positive sizes, not {self.height} x {self.width}")

    def entries(self, shape: tuple[int, int], density: float) -> int:
        return self._count(shape, density) * self.height * self.width

    def make(self, shape: tuple[int, int], density: float, generator: np.random.Generator) -> Structure:
        return masks.blocks(shape, (self.height, self.width), self._count(shape, density), generator)

    def check(self, structure: Structure) -> None:
        masks.check_blocks(structure, (self.height, self.width))

    def _count(self, shape: Sequence[int], density: float) -> int:
        if shape[0] % self.height or shape[1] % self.width:
            raise ValueError(f"a matrix of {self} must be a whole number of them, not {shape[0]} x {shape[1]}")
        return max(1, round(density * (shape[0] // self.height) * (shape[1] // self.width)))

    def __str__(self) -> str:
        return f"blocks of {self.height} x {self.width}"
