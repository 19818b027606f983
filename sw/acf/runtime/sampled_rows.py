"""In which rows of ``W`` the entries lie that each row feeder has of a sampled product.

Entries are dealt to row feeders by their place in memory. Where row pointers are known, so are the rows that a feeder
has to look at, and those of the operand ``G`` that it needs first.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np

from acf.config import FabricConfig
from acf.runtime.layout import ColumnPass, PlacedOperand, cut
from acf.runtime.memory import round_up
from acf.runtime.schedule import MOST_PIECES, Piece

__all__ = ["feeder_rows", "row_pieces", "rows_of_entries"]


def feeder_rows(
    row_pointers: np.ndarray, begins: Sequence[int], *, count: int, within: tuple[int, int] | None = None
) -> list[tuple[int, int]]:
    """The rows that have the ``count`` entries from each of ``begins`` on: first, and the one behind the last.

    Only those ``within`` some rows count, also first and behind the last.
    """
    entries = int(row_pointers[-1])
    least, most = (0, len(row_pointers) - 1) if within is None else within
    rows = []
    for begin in begins:
        end = min(begin + count, entries)
        first, last = np.searchsorted(row_pointers, [begin, end - 1], side="right").tolist() if begin < end else (1, 0)
        first, last = max(first - 1, least), min(last, most)
        rows.append((first, last) if first < last else (least, least))
    return rows


def rows_of_entries(
    config: FabricConfig, row_pointers: np.ndarray, *, entry_begin: int, entry_count: int
) -> list[tuple[int, int]]:
    """The rows that have entries of all row feeders from ``entry_begin`` on, whole chunks of them: first, how many."""
    chunk, rows = config.feeder.chunk_rows, len(row_pointers) - 1
    ((first, last),) = feeder_rows(row_pointers, [entry_begin], count=config.rows * entry_count)
    begin = min(first, max(0, rows - 1)) // chunk * chunk
    end = min(round_up(max(last, begin + 1), chunk), rows)
    return [(begin + row, count) for row, count in cut(end - begin, config.lane.operand_rows, granule=chunk)]


def row_pieces(
    config: FabricConfig,
    row_pointers: np.ndarray,
    *,
    stream: dict[str, int],
    operand: PlacedOperand,
    columns: ColumnPass,
    most: int = MOST_PIECES,
) -> list[Piece]:
    """Pieces of ``G`` that are loaded one while the one before is streamed.

    In each piece every row feeder goes on in its own rows, by about as many.

    Parameters
    ----------
    config : FabricConfig
    row_pointers : numpy.ndarray
    stream : dict
        Fields of the STREAM, whose rows are those of the operand tile.
    operand : Operand or PackedOperand
        ``G``.
    columns : ColumnPass
    most : int
        Pieces at most.
    """
    chunk = config.feeder.chunk_rows
    row, row_count = stream["row_begin"], stream["row_end"] - stream["row_begin"]
    begins = [stream["entry_begin"] + feeder * stream["entry_count"] for feeder in range(config.rows)]
    rows = feeder_rows(row_pointers, begins, count=stream["entry_count"], within=(row, row + row_count))
    # In chunks of the tile, the last of which may be shorter.
    spans = [((first - row) // chunk, ceil((last - row) / chunk)) for first, last in rows]
    count = min(most, max((end - begin for begin, end in spans), default=0))
    loaded: set[int] = set()
    pieces = []
    for number in range(count):
        cuts = [[begin + max(0, end - begin) * part // count for part in (number, number + 1)] for begin, end in spans]
        wanted = {place for begin, end in cuts for place in range(begin, end)} - loaded
        loaded |= wanted
        loads = []
        for begin, end in _runs(sorted(wanted)):
            first, rows = begin * chunk, min(end * chunk, row_count) - begin * chunk
            loads.append((first, operand.tile(config, first=row + first, rows=rows, columns=columns)))
        rows = [(min(begin * chunk, row_count), min(end * chunk, row_count)) for begin, end in cuts]
        pieces.append(Piece(loads=loads, rows=rows))
    return pieces


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours joined: first, and the one behind the last."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs
