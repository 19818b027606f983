"""Formats in which weights may lie in memory: what each takes of it, and which a matrix can have."""

import enum
from dataclasses import dataclass, field

import numpy as np

from acf.config import FabricConfig
from acf.isa import BLOCK, DECODED_COLUMNS, LARGEST_GROUP, IndexSize, bitmap_row_bytes
from acf.runtime.block_weights import BLOCK_COLUMNS, block_bytes, block_count
from acf.runtime.layout import WeightForm, smallest_index
from acf.runtime.matrices import CsrMatrix
from acf.runtime.pattern_weights import pattern_bytes, smallest_pattern, unfit_for_pattern

__all__ = [
    "FormatPath",
    "StoredFormat",
    "bitmap_of",
    "check_blocks",
    "checked_pattern",
    "smallest_form",
    "stored_formats",
]

_POINTER_BYTES = 4
_PATTERNS = ((2, 4), (1, 4), (4, 8))


class FormatPath(enum.StrEnum):
    """How a product comes about from a format."""

    CSR_UINT16 = "csr-uint16"
    """The CSR decoder, indices of 16 bits."""
    CSR_INT32 = "csr-int32"
    """The CSR decoder, indices of 32 bits."""
    CSC = "csc"
    """CSC of ``W`` is CSR of its transpose: the CSR decoder in the other dataflow, indices as short as they may be."""
    DENSE = "dense"
    """The DENSE decoder."""
    BITMAP = "bitmap"
    """The BITMAP decoder, which is for gathers only."""
    NM = "nm"
    """The N_OF_M decoder, of one pattern."""
    BLOCK = "block"
    """The BLOCKS decoder."""


@dataclass(frozen=True, kw_only=True)
class StoredFormat:
    """A matrix in one format.

    Parameters
    ----------
    name : str
    arrays : dict
        Bytes of each array, by name; empty where the matrix cannot have the format.
    path : FormatPath or None
        How a product comes about from it; None where the fabric has no decoder for it.
    pattern : tuple of int or None
        N and M.
    note : str
        What else there is to say: why the matrix cannot have the format, or what it costs besides.
    """

    name: str
    arrays: dict[str, int] = field(default_factory=dict)
    path: FormatPath | None = None
    pattern: tuple[int, int] | None = None
    note: str = ""

    @property
    def bytes(self) -> int | None:
        """Bytes of all arrays; None where the matrix cannot have the format."""
        return sum(self.arrays.values()) if self.arrays else None


def stored_formats(config: FabricConfig, weights: CsrMatrix) -> list[StoredFormat]:
    """Each format, with its bytes, or why ``weights`` cannot have it."""
    rows, inner = weights.shape
    operand_bytes = config.lane.number_format.operand_bytes
    entries, values = weights.entries, weights.entries * operand_bytes
    pointers = (rows + 1) * _POINTER_BYTES
    wide = StoredFormat(
        name="csr-int32",
        arrays={"values": values, "indices": 4 * entries, "pointers": pointers},
        path=FormatPath.CSR_INT32,
    )
    csc_index = 2 if rows <= 1 << 16 else 4
    short = _csr_uint16(weights, values=values, pointers=pointers)
    return [
        short,
        wide,
        StoredFormat(
            name="csc",
            arrays={"values": values, "indices": csc_index * entries, "pointers": (inner + 1) * _POINTER_BYTES},
            path=FormatPath.CSC,
            note="read as CSR of the transpose, in the other dataflow",
        ),
        StoredFormat(
            name="coo",
            arrays={"values": values, "row indices": 4 * entries, "column indices": 4 * entries},
            path=short.path or wide.path,
            note=f"the host converts it to {short.path or wide.path} on load, which is not measured",
        ),
        _where_single(
            weights, StoredFormat(name="dense", arrays={"values": rows * inner * operand_bytes}, path=FormatPath.DENSE)
        ),
        _bitmap(config, weights, values=values, pointers=pointers),
        *(_where_single(weights, _n_of_m(config, weights, n, m)) for n, m in _PATTERNS),
        _where_single(weights, _blocks(config, weights)),
    ]


def _csr_uint16(weights: CsrMatrix, *, values: int, pointers: int) -> StoredFormat:
    name, inner = "csr-uint16", weights.shape[1]
    if inner > 1 << 16:
        return StoredFormat(name=name, note=f"indices of 16 bits allow 65536 columns, not {inner}")
    arrays = {"values": values, "indices": 2 * weights.entries, "pointers": pointers}
    return StoredFormat(name=name, arrays=arrays, path=FormatPath.CSR_UINT16)


def _bitmap(config: FabricConfig, weights: CsrMatrix, *, values: int, pointers: int) -> StoredFormat:
    """A bit for each column of each row."""
    beat_bytes = config.memory.beat_bytes
    unfit = _unfit_for_bitmap(weights)
    if unfit is not None:
        return StoredFormat(name="bitmap", note=unfit)
    rows, inner = weights.shape
    return StoredFormat(
        name="bitmap",
        arrays={
            "values": values,
            "bitmap": rows * bitmap_row_bytes(inner, beat_bytes=beat_bytes),
            "pointers": pointers,
        },
        path=FormatPath.BITMAP,
        note=f"its rows take whole beats of {beat_bytes} bytes",
    )


def bitmap_of(weights: CsrMatrix, *, beat_bytes: int) -> np.ndarray:
    """The bits of ``weights`` as the BITMAP decoder reads them, in bytes; rows begin at whole beats.

    Raises
    ------
    ValueError
        If there are too many columns, or those of a row do not ascend.
    """
    unfit = _unfit_for_bitmap(weights)
    if unfit is not None:
        raise ValueError(unfit)
    pitch = bitmap_row_bytes(weights.shape[1], beat_bytes=beat_bytes)
    bits = np.zeros(weights.shape[0] * pitch, dtype=np.uint8)
    np.bitwise_or.at(
        bits, weights.row_of_entry * pitch + (weights.indices >> 3), (1 << (weights.indices & 7)).astype(np.uint8)
    )
    return bits


def smallest_form(config: FabricConfig, weights: CsrMatrix) -> WeightForm:
    """The form of fewest bytes among those that leave sums in the order of the entries; CSR where none has fewer.

    Bytes are an estimate of cycles: they count where the memory port is what a product waits for.
    """
    rows, inner = weights.shape
    operand_bytes, beat_bytes = config.lane.number_format.operand_bytes, config.memory.beat_bytes
    pointers_and_values = (rows + 1) * _POINTER_BYTES + weights.entries * operand_bytes
    index_bytes = 2 if smallest_index(inner) is IndexSize.UINT16 else 4
    sizes = {WeightForm.CSR: pointers_and_values + weights.entries * index_bytes}
    if _descent(weights) is None:
        sizes[WeightForm.DENSE] = rows * inner * operand_bytes
        if inner <= DECODED_COLUMNS:
            bits = rows * bitmap_row_bytes(inner, beat_bytes=beat_bytes)
            sizes[WeightForm.BITMAP] = pointers_and_values + bits
        pattern = smallest_pattern(weights, operand_bytes=operand_bytes) if _has_patterns(config, inner) else None
        if pattern is not None:
            sizes[WeightForm.NM] = sum(pattern_bytes(rows, inner, *pattern, operand_bytes=operand_bytes).values())
        if _has_blocks(config, inner):
            blocks = block_bytes(rows, block_count(weights), operand_bytes=operand_bytes)
            sizes[WeightForm.BLOCK] = sum(blocks.values())
    return min(sizes, key=lambda form: sizes[form])


def _unfit_for_bitmap(weights: CsrMatrix) -> str | None:
    """Why ``weights`` cannot be a bitmap."""
    if weights.shape[1] > DECODED_COLUMNS:
        return f"a bitmap has at most {DECODED_COLUMNS} columns, not {weights.shape[1]}"
    entry = _descent(weights)
    if entry is None:
        return None
    row, (before, column) = weights.row_of_entry[entry], weights.indices[entry - 1 : entry + 1].tolist()
    return f"columns of a bitmap ascend, but row {row} has column {column} behind column {before}"


def _descent(weights: CsrMatrix) -> int | None:
    """The first entry whose column is not above that of the entry before it in its row."""
    rows = weights.row_of_entry
    wrong = np.flatnonzero((rows[1:] == rows[:-1]) & (weights.indices[1:] <= weights.indices[:-1]))
    return int(wrong[0]) + 1 if wrong.size else None


_NOT_BUILT = "there is no decoder for it: bytes only"


def _has_patterns(config: FabricConfig, inner: int) -> bool:
    return "nm" in config.feeder.formats and inner <= DECODED_COLUMNS


def checked_pattern(config: FabricConfig, weights: CsrMatrix, pattern: tuple[int, int] | None) -> tuple[int, int]:
    """The N and M in which ``weights`` are to lie in memory: ``pattern``, or that of fewest bytes.

    Raises
    ------
    ValueError
        If there is no decoder, no such pattern, or rows are not in ascending order of columns.
    """
    inner = weights.shape[1]
    if "nm" not in config.feeder.formats:
        raise ValueError(f"configuration {config.digest} has no decoder for weights in nm")
    if inner > DECODED_COLUMNS:
        raise ValueError(f"N:M has at most {DECODED_COLUMNS} columns, not {inner}")
    entry = _descent(weights)
    if entry is not None:
        raise ValueError(f"columns of N:M ascend, but those of row {weights.row_of_entry[entry]} do not")
    if pattern is None:
        pattern = smallest_pattern(weights, operand_bytes=config.lane.number_format.operand_bytes)
    if pattern is None:
        n, m = LARGEST_GROUP // 2, LARGEST_GROUP
        raise ValueError(f"weights cannot be N:M, not even {n}:{m}: {unfit_for_pattern(weights, n, m)}")
    return pattern


def _n_of_m(config: FabricConfig, weights: CsrMatrix, n: int, m: int) -> StoredFormat:
    """``n`` entries in each ``m`` successive columns, zeros where there are fewer, and the place of each in them."""
    name = f"{n}:{m}"
    unfit = unfit_for_pattern(weights, n, m)
    if unfit is not None:
        return StoredFormat(name=name, note=unfit)
    arrays = pattern_bytes(*weights.shape, n, m, operand_bytes=config.lane.number_format.operand_bytes)
    if not _has_patterns(config, weights.shape[1]):
        return StoredFormat(name=name, arrays=arrays, note=_NOT_BUILT)
    return StoredFormat(name=name, arrays=arrays, path=FormatPath.NM, pattern=(n, m))


def check_blocks(config: FabricConfig, weights: CsrMatrix) -> None:
    """Check that ``weights`` can lie in memory in blocks.

    Raises
    ------
    ValueError
        If there is no decoder, there are too many columns, or rows are not in ascending order of columns.
    """
    if "blocks" not in config.feeder.formats:
        raise ValueError(f"configuration {config.digest} has no decoder for weights in blocks")
    if weights.shape[1] > BLOCK_COLUMNS:
        raise ValueError(f"weights in blocks have at most {BLOCK_COLUMNS} columns, not {weights.shape[1]}")
    entry = _descent(weights)
    if entry is not None:
        raise ValueError(f"columns of blocks ascend, but those of row {weights.row_of_entry[entry]} do not")


def _has_blocks(config: FabricConfig, inner: int) -> bool:
    return "blocks" in config.feeder.formats and inner <= BLOCK_COLUMNS


def _blocks(config: FabricConfig, weights: CsrMatrix) -> StoredFormat:
    """All elements of each block that has an entry, one column index for each."""
    rows, inner = weights.shape
    name = f"blocks-{BLOCK}x{BLOCK}"
    if inner > BLOCK_COLUMNS:
        return StoredFormat(name=name, note=f"indices of 16 bits allow {BLOCK_COLUMNS} columns, not {inner}")
    operand_bytes = config.lane.number_format.operand_bytes
    arrays = block_bytes(rows, block_count(weights), operand_bytes=operand_bytes)
    if not _has_blocks(config, inner):
        return StoredFormat(name=name, arrays=arrays, note=_NOT_BUILT)
    return StoredFormat(name=name, arrays=arrays, path=FormatPath.BLOCK)


def _where_single(weights: CsrMatrix, stored: StoredFormat) -> StoredFormat:
    """``stored``, unless an element has two entries, which only formats with an index for each can have."""
    places = np.sort(weights.row_of_entry * max(1, weights.shape[1]) + weights.indices)
    twice = np.flatnonzero(places[1:] == places[:-1])
    if not twice.size:
        return stored
    row, column = divmod(int(places[twice[0]]), weights.shape[1])
    return StoredFormat(name=stored.name, note=f"element ({row}, {column}) has more than one entry")
