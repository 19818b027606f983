"""Cuts the rows of a scatter's result to blocks, which are summed and drained one after the other.

Every row feeder reads all of ``W`` for each block, unless an earlier column pass had the same blocks (see
``acf.runtime.ranges``), and while a block is drained the next one is summed. So with more blocks less of the drains
stands alone, and more is read. How many pay is estimated, from sizes and the number of entries alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from math import ceil
from typing import TypeVar

from acf.config import FabricConfig
from acf.isa import Mode
from acf.runtime.drains import Accumulators, drain_cycles, drain_parts, place_accumulators
from acf.runtime.first_load import STREAM_CYCLES, read_cycles, stream_cycles
from acf.runtime.layout import Weights, column_tiling
from acf.runtime.memory import round_up
from acf.runtime.ranges import beats_saved
from acf.runtime.schedule import MOST_PIECES

__all__ = ["MORE_BLOCKS", "BlockCounts", "block_counts", "cut_blocks", "first_pieces"]

T = TypeVar("T")

MORE_BLOCKS = 3
"""Blocks of a column pass beyond those that there must be, at most."""

_WORTH = 0.01
"""Part of all cycles that more blocks must save."""


def cut_blocks(config: FabricConfig, *, wanted: int, count: int) -> list[tuple[int, int]]:
    """Cut ``wanted`` rows to ``count`` blocks: first row, and how many rows of it each row feeder sums.

    All blocks but the last are of one size; there may be fewer of them than asked for.
    """
    block = max(1, ceil(ceil(wanted / count) / config.rows))
    if count > 1:
        # A gate may lie in packed form, whose rows are taken chunk by chunk.
        block = round_up(block, ceil(config.feeder.chunk_rows / config.rows))
    return [
        (first, min(block, ceil((wanted - first) / config.rows))) for first in range(0, wanted, block * config.rows)
    ]


@dataclass(frozen=True, kw_only=True)
class BlockCounts:
    """How many blocks column passes are cut to. A single pass counts as the last one.

    Parameters
    ----------
    first, others, last : int
    """

    first: int
    others: int
    last: int

    def of(self, passes: Iterable[T]) -> list[tuple[T, int]]:
        """Each column pass and its number of blocks."""
        passes = list(passes)
        but_last = [self.first, *[self.others] * (len(passes) - 2)][: max(0, len(passes) - 1)]
        return list(zip(passes, [*but_last, self.last], strict=False))


def block_counts(
    config: FabricConfig, weights: Weights, *, columns: int, wanted: int, gated: bool = False, narrow: bool = False
) -> BlockCounts:
    """The numbers of blocks that are estimated to take the fewest cycles.

    The first pass is cut where drains take longer than sums, so that they begin soon; the last one, because nothing
    stands beside its last drain; all, where their blocks leave no accumulators for the next one.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
    columns : int
        Columns of the result.
    wanted : int
        Rows of the result.
    gated : bool
        Operands that gate the rows of a block must fit into a bank.
    narrow : bool
        Results are rounded to operands.
    """
    lane = config.lane
    most = config.rows * lane.accumulator_rows
    if gated:
        most = min(most, lane.operand_rows)
    least = max(1, ceil(wanted / most))
    passes = min(4, column_tiling(config, columns)[0])
    counts = range(least, min(least + MORE_BLOCKS, max(least, ceil(wanted / config.rows))) + 1)
    best, best_cycles = BlockCounts(first=least, others=least, last=least), float("inf")
    choices = product(counts, counts if passes > 1 else [least], counts if passes > 2 else [least])
    for last, first, others in sorted(choices, key=sum):
        candidate = BlockCounts(first=first, others=others, last=last)
        in_passes = [count for _, count in candidate.of(range(passes))]
        cycles = _cycles(config, weights, columns=columns, wanted=wanted, counts=in_passes, narrow=narrow)
        if cycles < (1 - _WORTH) * best_cycles:
            best, best_cycles = candidate, cycles
    return best


def first_pieces(
    config: FabricConfig, weights: Weights, *, columns: int, wanted: int, block: int, rows: int
) -> list[tuple[int, int]]:
    """In which pieces the first operands are loaded and streamed, first row and how many.

    Each piece is as long as all before it together, so that it is there about when they have been streamed.

    Parameters
    ----------
    config, weights, columns, wanted
        As in ``block_counts``.
    block : int
        Rows of the first block in each row feeder.
    rows : int
        Rows of the first operands.
    """
    granule = config.feeder.chunk_rows
    width = min(columns, column_tiling(config, columns)[1] * config.cols)
    loading = rows * width * config.lane.number_format.operand_bytes // config.memory.beat_bytes
    products, reading = _stream_cycles(config, weights, columns=columns)
    streaming = max(products * block * config.rows / max(1, wanted), reading)
    parts = drain_parts(cycles=int(min(loading, streaming)), rows=rows, granule=granule, halving=True)
    ends = [round_up(end, granule) for end in accumulate(count for _, count in reversed(parts[-MOST_PIECES:]))]
    return [(begin, min(end, rows) - begin) for begin, end in pairwise([0, *ends[:-1], rows])]


def _cycles(
    config: FabricConfig, weights: Weights, *, columns: int, wanted: int, counts: list[int], narrow: bool
) -> float:
    """About how long column passes of so many blocks take."""
    products, reading = _stream_cycles(config, weights, columns=columns)
    tile_columns = column_tiling(config, columns)[1]
    setting_up = STREAM_CYCLES * max(1, ceil(weights.rows / config.lane.operand_rows))

    blocks, readings = [], []
    for number, count in enumerate(counts):
        for _, block in cut_blocks(config, wanted=wanted, count=count):
            saved = beats_saved(config, weights, mode=Mode.SCATTER, part=block / max(1, weights.inner))
            blocks.append(block)
            readings.append(reading * (1 - max(0.0, saved)) if count in counts[:number] else reading)
    places = [Accumulators(rows=block) for block in blocks]
    place_accumulators(config, places)
    summed = 0.0
    drained: list[float] = []
    for number, (block, read, place) in enumerate(zip(blocks, readings, places, strict=True)):
        # A drain waits for the one before it, and what comes behind it with it. The last two may be under way.
        free = drained[-2] if number > 1 else 0.0
        if number and place.overlaps(places[number - 1]):
            free = drained[-1]
        summed = max(summed, free) + max(products * block * config.rows / max(1, wanted), read) + setting_up
        drained.append(
            max([summed, *drained[-1:]]) + drain_cycles(config, rows=block, tile_columns=tile_columns, narrow=narrow)
        )
    return max(drained, default=0.0)


def _stream_cycles(config: FabricConfig, weights: Weights, *, columns: int) -> tuple[float, float]:
    """About how long lanes work on all entries in one column pass, and how long it takes to read these for a block."""
    return stream_cycles(config, weights, columns=columns), read_cycles(config, weights, readers=config.rows)
