"""What a DRAIN writes: accumulator rows, or sums over the lanes of a mesh row."""

import numpy as np

from acf.config import FabricConfig
from acf.golden.command_checks import CommandChecks
from acf.golden.formats import GoldenFormat
from acf.golden.guarded_memory import GuardedMemory
from acf.golden.rewiring import select_largest
from acf.golden.tiles import TileArray
from acf.isa import GATE_STEPS, LARGEST_BLOCK

__all__ = ["Drains"]


class Drains:
    """Takes results from the tiles and writes them to memory.

    Parameters
    ----------
    memory : GuardedMemory
    tiles : TileArray
    config : FabricConfig
    checks : CommandChecks
    arithmetic : GoldenFormat
    """

    def __init__(
        self,
        memory: GuardedMemory,
        tiles: TileArray,
        *,
        config: FabricConfig,
        checks: CommandChecks,
        arithmetic: GoldenFormat,
    ):
        self._memory = memory
        self._tiles = tiles
        self._config = config
        self._checks = checks
        self._arithmetic = arithmetic

    def check(self, values: dict[str, int]) -> None:
        """Refuse what no row feeder can do."""
        if values["reduce"]:
            self._checks.require(
                not values["gate"] and not values["relu"] and not values["narrow"],
                "sums are drained without gate, relu and narrow",
            )
            if values["select"]:
                lane = self._config.lane
                self._checks.require(lane.number_format.narrows, f"sums are selected in float32, not in {lane.format}")
                self._checks.require(values["block"] <= LARGEST_BLOCK, f"block {values['block']} of {LARGEST_BLOCK}")
            self._checks.require_sums(values)
            return
        self._checks.require(not values["select"], "only sums are selected")
        self._checks.require_tile_columns(values)
        self._checks.require(
            not values["narrow"] or self._config.lane.number_format.narrows,
            f"results of format {self._config.lane.format} cannot be rounded to operands",
        )

    def rows(self, feeder: int, values: dict[str, int]) -> int:
        """Write accumulator rows of a mesh row; how many there were, one for each tile."""
        config = self._config
        dtype = self._arithmetic.dtype if values["narrow"] else self._arithmetic.result_dtype
        shares = self._checks.column_shares(values)
        source = (feeder + 1, 0)
        rows = self._checks.feeder_rows(feeder, values)
        self._checks.require_accumulator_rows(values["accumulator_first"], rows.size)
        gate_rows = (values["gate_first"] + rows - values["row_begin"]) % config.lane.operand_rows
        if values["gate"]:
            self._checks.require_bank(values)
            self._checks.require(values["row_step"] < GATE_STEPS, f"row_step {values['row_step']} of a gated DRAIN")
        for what, value in (
            ("address", values["address"]),
            ("row_stride", values["row_stride"]),
            ("tile_columns in bytes", values["tile_columns"] * dtype.itemsize),
        ):
            self._checks.require_aligned(
                what, value, config.memory.beat_bytes, address=values["address"], source=source
            )
        if not rows.size:
            return 0
        first = values["address"] + int(rows[0]) * values["row_stride"]
        stride = values["row_step"] * values["row_stride"]
        results = self._tiles.take_rows(feeder, values["accumulator_first"], rows.size)
        if values["gate"]:
            results[self._arithmetic.is_zero(self._tiles.banks[values["bank"], gate_rows])] = 0
        if values["relu"]:
            results[results.view(np.int32) < 0] = 0
        if values["narrow"]:
            results = self._arithmetic.narrow(results)
        pieces = [
            (first + column * values["tile_columns"] * dtype.itemsize, _bytes(results[:, column, : shares[column]]))
            for column in np.flatnonzero(shares).tolist()
        ]
        places = [
            self._memory.rows(address, stride, rows=rows.size, size=data.shape[1], write=True)
            for address, data in pieces
        ]
        present = [place for place in places if place is not None]
        if len(present) == len(pieces):
            for place, (_, data) in zip(present, pieces, strict=True):
                place[:] = data
        else:  # row by row, to the first that is refused
            for n in range(rows.size):
                for address, data in pieces:
                    self._memory.write(address + n * stride, data[n], source=source)
        return rows.size * config.cols

    def sums(self, feeder: int, values: dict[str, int]) -> int:
        """Write the sums of entries over the lanes of a mesh row; in how many packets they came."""
        config = self._config
        source = (feeder + 1, 0)
        dtype = self._arithmetic.result_dtype
        beat = config.memory.beat_bytes
        for what in ("address", "entry_begin", "entry_count"):
            granule = beat if what == "address" else 8 if values["select"] else beat // dtype.itemsize
            self._checks.require_aligned(what, values[what], granule, address=values["address"], source=source)
        begin = values["entry_begin"] + feeder * values["entry_count"]
        count = min(values["entry_count"], max(0, values["entries"] - begin))
        packets = -(-count // config.tile_columns)
        first = values["accumulator_first"] * config.lane.slots
        total = self._tiles.take_sums(feeder, first=first, count=packets * config.tile_columns)
        if values["select"]:
            if count:
                bits = select_largest(total[:count], first=begin, block=1 << values["block"])
                self._memory.write(values["address"] + begin // 8, np.packbits(bits, bitorder="little"), source=source)
            return packets
        for packet in range(packets):
            part = slice(packet * config.tile_columns, min(count, (packet + 1) * config.tile_columns))
            address = values["address"] + (begin + part.start) * dtype.itemsize
            self._memory.write(address, total[part].copy().view(np.uint8), source=source)
        return packets


def _bytes(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(np.uint8)
