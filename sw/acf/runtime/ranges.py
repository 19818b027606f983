"""Decides which streams of a product remember where in each row their inner range lies, and which use it.

A stream whose inner range is a part of ``W`` passes over all other entries. The first stream of a range has to read
these too, to find where in each row the range lies; it records that in the table of its row feeder. Those of the later
column passes, of the same rows and the same range, read nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from acf.config import FabricConfig
from acf.isa import BLOCK, Decoder, IndexSize, Mode, Ranges, bitmap_row_bytes
from acf.runtime.layout import Weights
from acf.runtime.schedule import Step

__all__ = ["beats_saved", "remember_ranges"]

_WORTH = 0.1
"""Part of the beats of a stream that must be saved."""

_LONGEST_ROW = (1 << 16) - 1
"""Entries of a row of which places can be told apart."""


@dataclass(kw_only=True)
class _Recorded:
    """Rows of one inner range: the stream that comes first, and the steps that may use what it records."""

    number: int
    stream: dict[str, int]
    users: list[int]

    @property
    def rows(self) -> int:
        """Rows of each row feeder, at most."""
        stream = self.stream
        return min(stream["row_limit"], ceil((stream["row_end"] - stream["row_begin"]) / stream["row_step"]))

    def covers(self, stream: dict[str, int]) -> bool:
        """Whether all that ``stream``, of the same range, reads has been looked at."""
        mine = self.stream
        inside = mine["row_begin"] <= stream["row_begin"] and stream["row_end"] <= mine["row_end"]
        in_step = (stream["row_begin"] - mine["row_begin"]) % mine["row_step"] == 0
        return inside and in_step and stream.get("entry_count", 0) <= mine.get("entry_count", 0)

    def place_of(self, stream: dict[str, int]) -> int:
        """Which row of a feeder is the first one of ``stream``."""
        return (stream["row_begin"] - self.stream["row_begin"]) // self.stream["row_step"]


def beats_saved(config: FabricConfig, weights: Weights, *, mode: Mode, part: float) -> float:
    """About which part of its beats a stream saves if it reads only a ``part`` of each row; below 0 if it loses some.

    Whole rows are read one behind the other, whatever their ends, but for a GATHER.
    """
    has_pointers = weights.decoder in (Decoder.CSR, Decoder.BITMAP, Decoder.BLOCKS)
    if not weights.entries or not has_pointers or weights.inner > _LONGEST_ROW:
        return 0.0
    beat_bytes, entries = config.memory.beat_bytes, weights.entries / max(1, weights.rows)
    if weights.decoder == Decoder.BITMAP:
        in_row = bitmap_row_bytes(weights.inner, beat_bytes=beat_bytes) / beat_bytes
        in_row += entries * config.lane.number_format.operand_bytes / beat_bytes
    elif weights.decoder == Decoder.BLOCKS:
        in_row = entries * (config.lane.number_format.operand_bytes + 2 / BLOCK) / beat_bytes
    else:
        in_row = entries * (2 if weights.index_size == IndexSize.UINT16 else 4) / beat_bytes
    return 1 - (in_row * part + 1) / (in_row + (mode == Mode.GATHER))


def remember_ranges(config: FabricConfig, weights: Weights, steps: list[Step]) -> None:
    """Set ``ranges`` and ``range_first`` of the streams of a product, where it saves reads.

    Parameters
    ----------
    config : FabricConfig
    weights : Weights
        Those of all streams.
    steps : list of Step
    """
    free = [(0, config.feeder.ranges)]
    ends: dict[int, list[tuple[int, int]]] = {}  # places that are free behind a step
    recorded = {found.number: found for found in _find(config, weights, steps)}
    for number in range(len(steps)):
        found = recorded.get(number)
        if found is not None:
            place = _take(free, found.rows)
            if place is not None:
                found.stream |= {"ranges": Ranges.RECORD, "range_first": place}
                for user in found.users:
                    stream = steps[user].stream
                    assert stream is not None
                    stream |= {"ranges": Ranges.USE, "range_first": place + found.place_of(stream)}
                ends.setdefault(found.users[-1], []).append((place, found.rows))
        for place, rows in ends.get(number, []):
            _give_back(free, place, rows)


def _find(config: FabricConfig, weights: Weights, steps: list[Step]) -> Iterator[_Recorded]:
    """Streams that come first in their inner range and have users."""
    by_range: dict[tuple[int, ...], list[_Recorded]] = {}
    for number, step in enumerate(steps):
        stream = step.stream
        if stream is None or stream["inner_count"] >= weights.inner:
            continue
        part = stream["inner_count"] / weights.inner
        if beats_saved(config, weights, mode=Mode(stream["mode"]), part=part) < _WORTH:
            continue
        key = tuple(
            stream.get(name, 0)
            for name in ("inner_begin", "inner_count", "inner_offset", "row_offset", "row_step", "entry_begin")
        )
        known = by_range.setdefault(key, [])
        found = next((found for found in known if found.covers(stream)), None)
        if found is not None:
            found.users.append(number)
        elif step.feeders is None:
            known.append(_Recorded(number=number, stream=stream, users=[]))
    return (found for known in by_range.values() for found in known if found.users)


def _take(free: list[tuple[int, int]], rows: int) -> int | None:
    """The first place with room for so many rows."""
    for number, (place, room) in enumerate(free):
        if room >= rows:
            free[number] = (place + rows, room - rows)
            return place
    return None


def _give_back(free: list[tuple[int, int]], place: int, rows: int) -> None:
    """Places that nobody uses any more."""
    free.append((place, rows))
    free.sort()
    joined = [free[0]]
    for begin, room in free[1:]:
        last, size = joined[-1]
        if last + size == begin:
            joined[-1] = (last, size + room)
        else:
            joined.append((begin, room))
    free[:] = joined
