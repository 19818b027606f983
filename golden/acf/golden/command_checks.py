"""What commands are refused for, before anything is done."""

import numpy as np

from acf.config import FabricConfig
from acf.golden.guarded_memory import CommandFault
from acf.isa import SEMAPHORES, Decoder, ErrorCode, Ranges

__all__ = ["CommandChecks"]


class CommandChecks:
    """Checks of the fields of a command, and what a feeder takes by them.

    Parameters
    ----------
    config : FabricConfig

    Attributes
    ----------
    address : int
        Of the command that is checked.
    """

    def __init__(self, config: FabricConfig):
        self._config = config
        self.address = 0

    def require(self, condition: bool, detail: str) -> None:
        """Raise COMMAND_RANGE unless ``condition`` holds."""
        if not condition:
            raise CommandFault(ErrorCode.COMMAND_RANGE, address=self.address, detail=detail)

    def require_aligned(self, what: str, value: int, multiple: int, *, address: int, source: tuple[int, int]) -> None:
        """Raise MISALIGNED, naming ``address``, unless ``value`` is a multiple of ``multiple``."""
        if value % multiple:
            raise CommandFault(
                ErrorCode.MISALIGNED,
                address=address,
                source=source,
                detail=f"{what} must be a multiple of {multiple}, not {value}",
            )

    def targets(self, values: dict[str, int], count: int) -> list[int]:
        """Numbers of the feeders, of ``count``, that a command is for."""
        self.require(values["targets"] < 1 << count, f"targets {values['targets']:#x}, but there are {count} feeders")
        return [n for n in range(count) if values["targets"] >> n & 1]

    def semaphore(self, values: dict[str, int]) -> int:
        """The semaphore of a command, which must exist."""
        semaphore = values["semaphore"]
        self.require(semaphore < SEMAPHORES, f"semaphore {semaphore} of {SEMAPHORES}")
        return semaphore

    def require_tile_columns(self, values: dict[str, int]) -> None:
        """That a tile has ``tile_columns`` columns."""
        limit = self._config.tile_columns
        tile_columns = values["tile_columns"]
        self.require(0 < tile_columns <= limit, f"tile_columns {tile_columns}, but tiles hold {limit}")

    def column_shares(self, values: dict[str, int]) -> np.ndarray:
        """Columns of each mesh column."""
        starts = np.arange(self._config.cols) * values["tile_columns"]
        return np.clip(values["columns"] - starts, 0, values["tile_columns"])

    def feeder_rows(self, feeder: int, values: dict[str, int]) -> np.ndarray:
        """Rows of ``W`` and of the result that a row feeder takes, in order."""
        first = values["row_begin"] + feeder * values["row_offset"]
        rows = first + np.arange(values["row_limit"], dtype=np.int64) * values["row_step"]
        return rows[rows < values["row_end"]]

    def require_accumulator_rows(self, first: int, count: int) -> None:
        """That a tile has ``count`` accumulator rows from ``first`` on."""
        limit = self._config.lane.accumulator_rows
        self.require(first + count <= limit, f"accumulator rows {first} and {count} more, but a tile has {limit}")

    def require_operand_rows(self, what: str, count: int) -> None:
        """That a bank has ``count`` operand rows."""
        limit = self._config.lane.operand_rows
        self.require(count <= limit, f"{what} {count}, but a bank has {limit} rows")

    def require_bank(self, values: dict[str, int]) -> None:
        """That there is such a bank."""
        self.require(values["bank"] < self._config.lane.operand_banks, f"bank {values['bank']}")

    def require_sums(self, values: dict[str, int]) -> None:
        """That the entries of a feeder have accumulators, counted through all slots, in whole rows of all lanes."""
        lane, lanes = self._config.lane, self._config.lanes
        first, rows = values["accumulator_first"], -(-values["entry_count"] // self._config.tile_columns) * lanes
        self.require(first % lanes == 0, f"accumulator_first {first} must be a multiple of the {lanes} lanes")
        self.require(
            first + rows <= lane.accumulator_rows,
            f"{values['entry_count']} entries from accumulator row {first} on, but a tile has "
            f"{lane.accumulator_rows} rows of {lane.slots}",
        )

    def require_ranges(self, values: dict[str, int], rows: int) -> None:
        """That the table of a feeder has a place for each of its rows, and that they have indices."""
        ranges, first, limit = values["ranges"], values["range_first"], self._config.feeder.ranges
        self.require(ranges in set(Ranges), f"ranges {ranges}")
        if ranges == Ranges.ALL:
            return
        self.require(
            values["decoder"] in (Decoder.CSR, Decoder.BITMAP, Decoder.BLOCKS),
            "ranges are remembered of rows with pointers only",
        )
        self.require(first + rows <= limit, f"ranges of {rows} rows from {first} on, but {limit} are remembered")
