"""The operand banks and accumulators of all tiles, and the sums that are taken in them.

Column ``k`` of a tile is lane ``k % lanes``, slot ``k // lanes``. Where every lane sums for itself (SAMPLED), its
accumulators are counted through all slots: number ``row * slots + slot``.
"""

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import GoldenFormat
from acf.golden.products import steps_in_order
from acf.isa import DEFAULT_UNIT

__all__ = ["TileArray"]


class TileArray:
    """State of the tiles; before anything has been written it is ones in all bits.

    Parameters
    ----------
    config : FabricConfig
    arithmetic : GoldenFormat

    Attributes
    ----------
    banks : numpy.ndarray
        Operands, ``[bank, operand row, mesh column, tile column]``: tiles of one mesh column always hold the same.
    accumulators : numpy.ndarray
        ``[mesh row, accumulator row, mesh column, tile column]``.
    effectual : numpy.ndarray
        Products with two non-zero operands, ``[mesh row, mesh column, lane]``.
    flags : numpy.ndarray of uint8
        What the sums of lanes raised (``acf.isa.Flag``).
    units : numpy.ndarray
        For each mesh row, the exponent of the last bit of its accumulators (bf16x), that of the latest STREAM.
    """

    def __init__(self, *, config: FabricConfig, arithmetic: GoldenFormat):
        lane = config.lane
        self._config = config
        self._arithmetic = arithmetic
        self._raises_flags = np.issubdtype(arithmetic.accumulator_dtype, np.integer)
        width = (config.cols, config.tile_columns)
        self.banks = _all_ones((lane.operand_banks, lane.operand_rows, *width), arithmetic.dtype)
        self.accumulators = _all_ones((config.rows, lane.accumulator_rows, *width), arithmetic.accumulator_dtype)
        self.units = np.full(config.rows, DEFAULT_UNIT)
        self.start_counting()

    def start_counting(self) -> None:
        """Set the counts to zero."""
        lanes = (self._config.rows, self._config.cols, self._config.lanes)
        self.effectual = np.zeros(lanes, dtype=np.int64)
        self.flags = np.zeros(lanes, dtype=np.uint8)

    def accumulate(
        self,
        rows: np.ndarray,
        *,
        bank: int,
        valid: np.ndarray,
        targets: np.ndarray,
        sources: np.ndarray,
        weights: np.ndarray,
        unit: int,
    ) -> None:
        """Add ``weights[n] * banks[bank, sources[n]]`` to accumulator row ``targets[n]`` of mesh row ``rows[n]``.

        In order of n; mesh rows know nothing of one another.

        Parameters
        ----------
        rows : numpy.ndarray
        bank : int
        valid : numpy.ndarray of bool
            Columns that take part, ``[mesh column, tile column]``.
        targets, sources, weights : numpy.ndarray
        unit : int
            Exponent of the last bit of the accumulators (bf16x).
        """
        arithmetic = self._arithmetic.with_unit(unit)
        taken = ~self._arithmetic.is_zero(weights)
        rows, targets, sources, weights = rows[taken], targets[taken], sources[taken], weights[taken]
        width = _width(valid)
        operands = self.banks[bank, :, :, :width]
        nonzero = ~self._arithmetic.is_zero(operands) & valid[:, :width]
        self._count(rows, sources, nonzero)
        accumulators = self.accumulators.reshape(-1, *self.accumulators.shape[2:])
        targets = rows * self.accumulators.shape[1] + targets
        for places in steps_in_order(targets):
            chosen, target = sources[places], targets[places]
            counted = nonzero[chosen]
            before = accumulators[target, :, :width]
            sums, raised = arithmetic.accumulate(before, weights[places, None, None], operands[chosen])
            accumulators[target, :, :width] = np.where(counted, sums, before)
            if self._raises_flags:
                self._note_flags(rows[places], np.where(counted, raised, 0).astype(np.uint8))

    def sample(
        self,
        rows: np.ndarray,
        *,
        row_bank: int,
        bank: int,
        valid: np.ndarray,
        numbers: np.ndarray,
        row_sources: np.ndarray,
        sources: np.ndarray,
        unit: int,
    ) -> None:
        """Add ``banks[row_bank, row_sources[n]] * banks[bank, sources[n]]`` to accumulator ``numbers[n]`` of each lane
        of mesh row ``rows[n]``.

        The slots of a lane are added in ascending order. No number occurs twice in a mesh row; rows ascend. The last
        bit of the accumulators weighs ``2 ** unit`` (bf16x).
        """
        arithmetic = self._arithmetic.with_unit(unit)
        config = self._config
        by_slot = (-1, config.cols, config.lane.slots, config.lanes)
        valid = valid.reshape(by_slot)
        # As [slot, operand row, mesh column, lane], whole slots side by side.
        first, second = (
            np.ascontiguousarray(self.banks[number].reshape(by_slot).transpose(2, 0, 1, 3))
            for number in (row_bank, bank)
        )
        borders = np.searchsorted(rows, np.arange(config.rows + 1)).tolist()
        parts = [(row, slice(*borders[row : row + 2])) for row in range(config.rows)]
        sums = [self._lane_sums(row) for row in range(config.rows)]
        before = np.concatenate([sums[row][numbers[part]] for row, part in parts])
        for slot in np.flatnonzero(valid.any(axis=(0, 1, 3))).tolist():
            x, y = first[slot, row_sources], second[slot, sources]
            counted = ~self._arithmetic.is_zero(x) & ~self._arithmetic.is_zero(y) & valid[:, :, slot]
            total, raised = arithmetic.accumulate(before, x, y)
            before = np.where(counted, total, before)
            for row, part in parts:
                self.effectual[row] += np.count_nonzero(counted[part], axis=0)
                if self._raises_flags:
                    here = np.where(counted[part], raised[part], 0).astype(np.uint8)
                    self.flags[row] |= np.bitwise_or.reduce(here, axis=0)
        for row, part in parts:
            sums[row][numbers[part]] = before[part]
            self._keep_lane_sums(row, sums[row])

    def take_rows(self, row: int, first: int, count: int) -> np.ndarray:
        """Accumulator rows of a mesh row, drained: ``[accumulator row, mesh column, tile column]``; +0 afterwards."""
        taken = self.accumulators[row, first : first + count].copy()
        self.accumulators[row, first : first + count] = 0
        return self._arithmetic.with_unit(int(self.units[row])).result(taken)

    def take_sums(self, row: int, *, first: int, count: int) -> np.ndarray:
        """Sums over all lanes of a mesh row of ``count`` accumulators from number ``first`` on, drained. They are +0.

        Added from the last tile to the first, in each from lane 0 on, starting from +0.
        """
        taken = slice(first, first + count)
        sums = self._lane_sums(row)
        total = np.zeros(count, dtype=sums.dtype)
        for column in reversed(range(self._config.cols)):
            for lane in range(self._config.lanes):
                total, raised = self._arithmetic.add(total, sums[taken, column, lane])
                self.flags[row, column, lane] |= np.bitwise_or.reduce(raised)
        sums[taken] = 0
        self._keep_lane_sums(row, sums)
        return self._arithmetic.with_unit(int(self.units[row])).result(total)

    def _count(self, rows: np.ndarray, sources: np.ndarray, nonzero: np.ndarray) -> None:
        """Count the products of entries, each with one operand row, by mesh row and lane."""
        config = self._config
        operands = np.zeros((config.lane.operand_rows, config.cols, config.tile_columns), dtype=np.int64)
        operands[:, :, : nonzero.shape[2]] = nonzero
        by_lane = operands.reshape(-1, config.cols, config.lane.slots, config.lanes).sum(axis=2)
        uses = np.bincount(rows * config.lane.operand_rows + sources, minlength=config.rows * config.lane.operand_rows)
        self.effectual += np.tensordot(uses.reshape(config.rows, -1), by_lane, axes=1)

    def _note_flags(self, rows: np.ndarray, raised: np.ndarray) -> None:
        """Keep what the sums of ``[entry, mesh column, tile column]`` raised, for their lanes."""
        columns = np.zeros((*raised.shape[:2], self._config.tile_columns), dtype=np.uint8)
        columns[:, :, : raised.shape[2]] = raised
        by_lane = columns.reshape(*raised.shape[:2], self._config.lane.slots, self._config.lanes)
        np.bitwise_or.at(self.flags, rows, np.bitwise_or.reduce(by_lane, axis=2))

    def _lane_sums(self, row: int) -> np.ndarray:
        """A copy of a mesh row's accumulators, ``[number, mesh column, lane]``."""
        config = self._config
        split = self.accumulators[row].reshape(-1, config.cols, config.lane.slots, config.lanes)
        return split.transpose(0, 2, 1, 3).reshape(-1, config.cols, config.lanes)

    def _keep_lane_sums(self, row: int, sums: np.ndarray) -> None:
        config = self._config
        split = sums.reshape(-1, config.lane.slots, config.cols, config.lanes).transpose(0, 2, 1, 3)
        self.accumulators[row] = split.reshape(self.accumulators[row].shape)


def _width(valid: np.ndarray) -> int:
    """How many tile columns, from the first on, hold all that are valid."""
    return int(np.flatnonzero(valid.any(axis=0)).max(initial=-1)) + 1


def _all_ones(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.full((*shape, dtype.itemsize), 0xFF, dtype=np.uint8).view(dtype)[..., 0]
