"""Where the operands of a product lie in memory, and how they are cut to what the fabric holds."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import BLOCK, Decoder, IndexSize, pattern_fields
from acf.runtime.memory import round_up
from acf.runtime.schedule import OperandTile

__all__ = [
    "ColumnPass",
    "Operand",
    "OperandForm",
    "PackedOperand",
    "PlacedOperand",
    "WeightForm",
    "Weights",
    "column_passes",
    "column_tiling",
    "cut",
    "packed_bytes",
    "piece_length",
    "smallest_index",
]


def smallest_index(inner: int) -> IndexSize:
    """The width of column indices that is enough for ``inner`` columns."""
    return IndexSize.UINT16 if inner <= 1 << 16 else IndexSize.INT32


class WeightForm(enum.StrEnum):
    """How ``W`` lies in memory."""

    CSR = "csr"
    """Row pointers, column indices, values."""
    DENSE = "dense"
    """All elements."""
    BITMAP = "bitmap"
    """Row pointers, a bit for each element, values in ascending order of columns. Only for a gather."""
    NM = "nm"
    """As many values in each group of columns, and their places in the group; of the pattern of fewest bytes."""
    BLOCK = "block"
    """Blocks of 4 x 4: pointers and indices of blocks, all their values."""
    AUTO = "auto"
    """The one of fewest bytes. Only for a gather."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where ``W`` lies in memory.

    Parameters
    ----------
    rows, inner, entries : int
        ``W`` has ``rows x inner`` elements, of which ``entries`` are stored, zeros of blocks and N:M included.
    pointers, indices, values : int
        Addresses of the arrays, ``indices`` that of the bits of a bitmap or the places of N:M; a sampled product does
        not read the values.
    decoder : Decoder
    index_size : IndexSize
    pattern : tuple of int or None
        N and M, of the decoder N_OF_M.
    """

    rows: int
    inner: int
    entries: int
    pointers: int
    indices: int
    values: int = 0
    decoder: Decoder = Decoder.CSR
    index_size: IndexSize = IndexSize.INT32
    pattern: tuple[int, int] | None = None

    def fields(self) -> dict[str, int]:
        """The fields of a STREAM."""
        return {
            "pointers": self.pointers,
            "indices": self.indices,
            "values": self.values,
            # Of blocks all columns count.
            "inner_size": round_up(self.inner, BLOCK) if self.decoder is Decoder.BLOCKS else self.inner,
            "entries": self.entries,
            "decoder": self.decoder,
            "index_size": self.index_size,
            **({} if self.pattern is None else pattern_fields(*self.pattern)),
        }


class OperandForm(enum.StrEnum):
    """How an operand lies in memory."""

    DENSE = "dense"
    PACKED = "packed"
    AUTO = "auto"
    """The one of fewer beats."""


@dataclass(frozen=True, kw_only=True)
class Operand:
    """Where a dense array of rows lies in memory: address of its first element, bytes from row to row."""

    address: int
    stride: int
    form = OperandForm.DENSE

    def tile(self, config: FabricConfig, *, first: int, rows: int, columns: "ColumnPass") -> OperandTile:
        """Rows ``first`` to ``first + rows - 1`` of the columns of a pass."""
        return OperandTile(
            address=self.address + first * self.stride + columns.first * config.lane.number_format.operand_bytes,
            stride=self.stride,
            rows=rows,
            columns=columns.fields["columns"],
            tile_columns=columns.fields["tile_columns"],
        )


@dataclass(frozen=True, kw_only=True)
class PackedOperand:
    """Where an array of rows lies in packed form, see ``acf.golden.packed``.

    Parameters
    ----------
    address : int
        Of the first chunk of the first tile.
    chunk_stride : int
        Bytes from a chunk to the next one of the same tile.
    lengths : int
        Address of the lengths of the first tile.
    length_stride : int
        Bytes from the lengths of a tile to those of the next one.
    """

    address: int
    chunk_stride: int
    lengths: int
    length_stride: int
    form = OperandForm.PACKED

    def tile(self, config: FabricConfig, *, first: int, rows: int, columns: "ColumnPass") -> OperandTile:
        """Rows ``first``, the first one of a chunk, to ``first + rows - 1`` of the columns of a pass.

        Raises
        ------
        ValueError
            If ``first`` lies inside a chunk.
        """
        chunk, inside = divmod(first, config.feeder.chunk_rows)
        if inside:
            raise ValueError(f"packed rows are taken from a multiple of {config.feeder.chunk_rows} on, not {first!r}")
        return OperandTile(
            address=self.address + columns.first_tile * config.chunk_bytes + chunk * self.chunk_stride,
            stride=self.chunk_stride,
            rows=rows,
            columns=columns.fields["columns"],
            tile_columns=columns.fields["tile_columns"],
            packed=True,
            lengths=self.lengths + columns.first_tile * self.length_stride + 2 * chunk,
            length_stride=self.length_stride,
        )


PlacedOperand = Operand | PackedOperand


def packed_bytes(config: FabricConfig, *, rows: int, columns: int) -> int:
    """Bytes of memory that packed rows take, whatever they hold."""
    chunks = ceil(rows / config.feeder.chunk_rows)
    tiles = column_tiling(config, columns)[0] * config.cols
    return chunks * tiles * config.chunk_bytes + tiles * round_up(2 * chunks, config.memory.beat_bytes)


@dataclass(frozen=True, kw_only=True)
class ColumnPass:
    """As many columns as the fabric holds at a time: the first, and the fields of the commands.

    Parameters
    ----------
    first : int
    first_tile : int
        The first tile, where those of one pass after the other are counted.
    fields : dict
        ``columns`` and ``tile_columns``.
    """

    first: int
    first_tile: int
    fields: dict[str, int]


def column_passes(config: FabricConfig, columns: int) -> Iterator[ColumnPass]:
    """All column passes of a product. The last one may be narrower, and is spread over the mesh columns by itself."""
    passes, tile_columns = column_tiling(config, columns)
    for number in range(passes):
        first = number * tile_columns * config.cols
        width = min(columns - first, tile_columns * config.cols)
        fields = {"columns": width, "tile_columns": column_tiling(config, width)[1]}
        yield ColumnPass(first=first, first_tile=number * config.cols, fields=fields)


def piece_length(size: int, most: int, *, granule: int) -> int:
    """The size of pieces, so that they are few and equal: at most ``most``, and multiples of ``granule`` as that is."""
    return round_up(ceil(size / max(1, ceil(size / most))), granule) or granule


def cut(size: int, most: int, *, granule: int) -> Iterator[tuple[int, int]]:
    """Cut ``size`` into pieces of ``piece_length``, the last one may be shorter: (first, count)."""
    length = piece_length(size, most, granule=granule)
    for first in range(0, size, length):
        yield first, min(length, size - first)


def column_tiling(config: FabricConfig, columns: int) -> tuple[int, int]:
    """Number of column passes, and columns of one tile in each but the last one, which may be narrower.

    Few columns are spread over the mesh columns, as far as whole memory beats allow.
    """
    number_format = config.lane.number_format
    smaller = min(number_format.operand_bytes, number_format.result_bytes)
    granule = max(1, config.memory.beat_bytes // smaller)
    passes = ceil(columns / config.columns)
    return passes, round_up(ceil(columns / max(1, passes) / config.cols), granule) or granule
