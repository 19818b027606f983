"""Where the operands of a product lie in memory, and how they are cut to what the fabric holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import Decoder, IndexSize
from acf.runtime.memory import round_up
from acf.runtime.schedule import OperandTile

__all__ = ["ColumnPass", "Operand", "Weights", "column_passes", "column_tiling", "cut", "smallest_index"]


def smallest_index(inner: int) -> IndexSize:
    """The width of column indices that is enough for ``inner`` columns."""
    return IndexSize.UINT16 if inner <= 1 << 16 else IndexSize.INT32


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where ``W`` lies in memory.

    Parameters
    ----------
    rows, inner, entries : int
        ``W`` has ``rows x inner`` elements, of which ``entries`` are stored.
    pointers, indices, values : int
        Addresses of the CSR arrays; a sampled product does not read the values.
    decoder : Decoder
    index_size : IndexSize
    """

    rows: int
    inner: int
    entries: int
    pointers: int
    indices: int
    values: int = 0
    decoder: Decoder = Decoder.CSR
    index_size: IndexSize = IndexSize.INT32

    def fields(self) -> dict[str, int]:
        """The fields of a STREAM."""
        return {
            "pointers": self.pointers,
            "indices": self.indices,
            "values": self.values,
            "inner_size": self.inner,
            "entries": self.entries,
            "decoder": self.decoder,
            "index_size": self.index_size,
        }


@dataclass(frozen=True, kw_only=True)
class Operand:
    """Where a dense array of rows lies in memory: address of its first element, bytes from row to row."""

    address: int
    stride: int

    def tile(self, config: FabricConfig, *, first: int, rows: int, columns: "ColumnPass") -> OperandTile:
        """Rows ``first`` to ``first + rows - 1`` of the columns of a pass."""
        return OperandTile(
            address=self.address + first * self.stride + columns.first * config.lane.number_format.operand_bytes,
            stride=self.stride,
            rows=rows,
            **columns.fields,
        )


@dataclass(frozen=True, kw_only=True)
class ColumnPass:
    """As many columns as the fabric holds at a time: the first, and the fields of the commands.

    Parameters
    ----------
    first : int
    fields : dict
        ``columns`` and ``tile_columns``.
    """

    first: int
    fields: dict[str, int]


def column_passes(config: FabricConfig, columns: int) -> Iterator[ColumnPass]:
    """All column passes of a product."""
    passes, tile_columns = column_tiling(config, columns)
    for number in range(passes):
        first = number * tile_columns * config.cols
        width = min(columns - first, tile_columns * config.cols)
        yield ColumnPass(first=first, fields={"columns": width, "tile_columns": tile_columns})


def cut(size: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut ``size`` into as few pieces of at most ``most`` as there must be, as equal as possible: (first, count)."""
    pieces = ceil(size / most)
    length = ceil(size / max(1, pieces))
    for first in range(0, size, max(1, length)):
        yield first, min(length, size - first)


def column_tiling(config: FabricConfig, columns: int) -> tuple[int, int]:
    """Number of column passes, and columns of one tile in one pass.

    Few columns are spread over the mesh columns, as far as whole memory beats allow.
    """
    number_format = config.lane.number_format
    smaller = min(number_format.operand_bytes, number_format.accumulator_bytes)
    granule = max(1, config.memory.beat_bytes // smaller)
    passes = ceil(columns / config.columns)
    return passes, round_up(ceil(columns / max(1, passes) / config.cols), granule) or granule
