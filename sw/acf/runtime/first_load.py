"""Cuts the first operands of a product, so that lanes begin before all of them are there.

Behind the first stream of a product operands are loaded while others are streamed. The first ones are not; so those of
a gather or of a sampled product are loaded and streamed in *pieces* by inner indices, each loaded while the one before
it is streamed. A further stream costs some cycles, and ``W`` is read again for it. How many pieces pay is estimated,
from sizes and the number of entries alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from acf.config import FabricConfig
from acf.isa import BLOCK, Decoder, IndexSize, bitmap_row_bytes, place_bits
from acf.runtime.layout import OperandForm, PlacedOperand, Weights, column_tiling, cut
from acf.runtime.memory import round_up

__all__ = ["STREAM_CYCLES", "inner_tiles", "load_cycles", "read_cycles", "stream_cycles"]

STREAM_CYCLES = 200
"""About what a STREAM, with its DRAIN, costs besides its work."""

_ENDS: Sequence[Sequence[float]] = (
    (), (1 / 2,), (1 / 4,), (1 / 8,), (1 / 4, 1 / 2), (1 / 8, 1 / 2), (1 / 8, 3 / 8), (1 / 16, 1 / 4),
)  # fmt: skip
"""Ways to cut the first operands: where the pieces but the last end."""

_WORTH = 0.02
"""Part of the first stream that pieces must save."""


def stream_cycles(config: FabricConfig, weights: Weights, *, columns: int) -> float:
    """About how long lanes work on all entries in one column pass."""
    # Half of the operands are taken for zero, and lanes for busy in eight cycles of nine.
    slots = ceil(column_tiling(config, columns)[1] / config.lanes)
    return weights.entries * slots / 2 / config.rows * 9 / 8


def inner_tiles(
    config: FabricConfig,
    weights: Weights,
    *,
    columns: int,
    operand: PlacedOperand,
    row_operand: PlacedOperand | None = None,
    row_pieces: int = 1,
) -> list[tuple[int, int]]:
    """The tiles of the inner indices in the first column pass: those of the others, the first one in pieces.

    With two operands there are two pieces at most: of four banks one has the row operand of this pass, and one waits
    for that of the next. The row operand is loaded behind the first piece.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
    columns : int
    operand : Operand or PackedOperand
        Whose rows are cut.
    row_operand : Operand, PackedOperand or None
        That of the rows of ``W``, in a sampled product.
    row_pieces : int
        Pieces in which it is loaded, each streamed with the first piece of the other one while the next is loaded.

    Returns
    -------
    list of (int, int)
        First inner index of each tile, and how many.
    """
    granule = config.feeder.chunk_rows
    most = config.lane.operand_banks
    tiles = list(cut(weights.inner, config.lane.operand_rows, granule=granule))
    if not tiles or not columns:
        return tiles
    (_, size), *others = tiles
    loading = load_cycles(config, operand, rows=size, columns=columns)
    streaming = stream_cycles(config, weights, columns=columns) * size / weights.inner
    reading = read_cycles(config, weights)
    before = 0.0
    if row_operand is not None:
        most //= 2
        streaming /= 2  # both factors may be zero
        rows = min(weights.rows, config.lane.operand_rows)
        before = load_cycles(config, row_operand, rows=rows, columns=columns)
        # The bank of a piece is missed by the next column pass, whose operands are wanted soon.
        if columns > config.columns and streaming < 2 * (loading + before):
            most = 1

    def cycles(ends: list[int]) -> float:
        there = done = 0.0
        for number, (begin, end) in enumerate(pairwise([0, *ends])):
            part = (end - begin) / size
            there += loading * part
            pieces = row_pieces if number == 0 else 1
            for _ in range(pieces):
                there += before / pieces if number == 0 else 0
                done = max(done, there) + max(streaming * part, reading) / pieces
            done += STREAM_CYCLES * bool(number)
        return done

    best = [size]
    for fractions in _ENDS:
        ends = sorted({*(round_up(ceil(size * fraction), granule) for fraction in fractions if granule < size), size})
        if ends[-1] == size and len(ends) <= most and cycles(ends) < cycles(best) - _WORTH * streaming:
            best = ends
    return [*((begin, end - begin) for begin, end in pairwise([0, *best])), *others]


def load_cycles(config: FabricConfig, operand: PlacedOperand, *, rows: int, columns: int) -> float:
    """About how long the memory port takes to read ``rows`` rows of a column pass."""
    width = min(columns, column_tiling(config, columns)[1] * config.cols)
    cycles = rows * width * config.lane.number_format.operand_bytes / config.memory.beat_bytes
    return cycles * 5 / 8 if operand.form is OperandForm.PACKED else cycles


def read_cycles(config: FabricConfig, weights: Weights, *, readers: int = 1) -> float:
    """About how long it takes to read all entries for a STREAM, and to look at them.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
    readers : int
        Row feeders that read and look at each entry.
    """
    beat_bytes, group = config.memory.beat_bytes, config.feeder.group
    size = weights.entries * config.lane.number_format.operand_bytes
    if weights.decoder == Decoder.CSR:
        size += weights.entries * (2 if weights.index_size == IndexSize.UINT16 else 4)
    if weights.decoder == Decoder.BITMAP:
        size += weights.rows * bitmap_row_bytes(weights.inner, beat_bytes=beat_bytes)
        group = 1
    if weights.decoder == Decoder.BLOCKS:
        size += weights.entries // BLOCK * 2  # each row of a block reads its index
    if weights.pattern is not None:
        size += weights.entries * place_bits(weights.pattern[1]) // 8
        group = 1
    # All row feeders share the memory port.
    return readers * max(size / beat_bytes, weights.entries / config.rows / group)
