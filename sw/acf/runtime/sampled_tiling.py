"""How a sampled product is cut: in groups of entries whose sums lie on the chip together, and in operand tiles."""

from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import CANDIDATE_WORD
from acf.runtime.layout import OperandForm, column_tiling, piece_length
from acf.runtime.memory import round_up

__all__ = ["SampledTiling", "accumulator_rows_of", "entry_granule", "sum_cycles", "tile_sampled"]


@dataclass(frozen=True, kw_only=True)
class SampledTiling:
    """How a sampled product is cut.

    Parameters
    ----------
    entry_count : int
        Entries whose sums one mesh row holds at a time.
    groups : int
        How often the columns pass by.
    row_tile, inner_tile : int
        Rows of ``G`` and of ``A`` that lie in a bank together.
    """

    entry_count: int
    groups: int
    row_tile: int
    inner_tile: int


def tile_sampled(
    config: FabricConfig,
    *,
    rows: int,
    inner: int,
    entries: int,
    columns: int | None = None,
    form: OperandForm = OperandForm.PACKED,
    select: bool = False,
) -> SampledTiling:
    """The tiling of a sampled product.

    Parameters
    ----------
    config : FabricConfig
    rows, inner, entries : int
        Of ``W``.
    columns : int or None
        Of the operands; if not None there are up to twice as many groups as there must be, where that is estimated to
        save time.
    form : OperandForm
        How the operands lie in memory.
    select : bool
        A bit for each sum is kept.
    """
    lane = config.lane
    granule = entry_granule(config, select=select)
    most = lane.accumulator_rows // config.lanes * config.tile_columns // granule * granule
    groups = ceil(entries / (config.rows * most))
    if columns and groups:
        more = ceil(entries / (config.rows * max(granule, most // 2 // granule * granule)))
        costs = [
            _group_cycles(config, rows=rows, inner=inner, entries=entries, columns=columns, form=form, groups=count)
            for count in (groups, more)
        ]
        # Two groups have room beside each other: all drains but the last one go on beside streams.
        draining = sum_cycles(config, ceil(entries / config.rows))
        if costs[1] + draining / more < costs[0] + draining:
            groups = more
    return SampledTiling(
        entry_count=round_up(ceil(ceil(entries / max(1, groups)) / config.rows), granule),
        groups=groups,
        row_tile=piece_length(rows, lane.operand_rows, granule=config.feeder.chunk_rows),
        inner_tile=piece_length(inner, lane.operand_rows, granule=config.feeder.chunk_rows),
    )


def _group_cycles(
    config: FabricConfig, *, rows: int, inner: int, entries: int, columns: int, form: OperandForm, groups: int
) -> float:
    """About how long the streams of a sampled product in so many groups take: their products, or their reads."""
    passes, tile_columns = column_tiling(config, columns)
    slots = ceil(tile_columns / config.lanes)
    packed = form is OperandForm.PACKED
    products = passes * entries * slots / config.rows / (4 if packed else 1)
    operands = (groups * inner + rows) * columns * config.lane.number_format.operand_bytes * (3 / 4 if packed else 1)
    indices = 4 * passes * entries
    # Short bursts, and the turns of those who read, take a fifth of the port.
    return max(9 / 8 * products, 5 / 4 * (operands + indices) / config.memory.beat_bytes)


def entry_granule(config: FabricConfig, *, select: bool) -> int:
    """Whole packets of sums, and whole beats of memory; of bits whole words, so that blocks of them are not cut."""
    granule = max(config.tile_columns, config.memory.beat_bytes // config.lane.number_format.result_bytes)
    if not select:
        return granule
    most = config.lane.accumulator_rows // config.lanes * config.tile_columns
    return max(granule, CANDIDATE_WORD if most >= CANDIDATE_WORD else 8)


def accumulator_rows_of(config: FabricConfig, entries: int) -> int:
    """Accumulator rows of all lanes of a tile that hold the sums of so many entries, in whole packets."""
    return ceil(entries / config.tile_columns) * config.lanes


def sum_cycles(config: FabricConfig, sums: int) -> int:
    """About how long a mesh row adds up so many sums."""
    return sums * config.lanes // min(config.reducing_adders, config.lanes)
