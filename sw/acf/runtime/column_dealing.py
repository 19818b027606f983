"""Deals columns of operands to lanes, so that all lanes of a tile have about as many products at any time.

All lanes of a mesh row get the same entries. A lane whose operands have more non-zeros than those of others, where the
entries want them, makes the others wait as soon as its FIFO is full, even if it has fewer elsewhere. So entries are cut
into *segments* that follow each other, and lanes are made even in each of them.
"""

from itertools import pairwise

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.runtime.layout import ColumnPass, column_passes
from acf.runtime.vector_scheduling import schedule_vectors

__all__ = ["MOST_SEGMENTS", "column_costs", "deal_columns", "segments_of", "with_totals"]

MOST_SEGMENTS = 32
"""Segments of all entries, at most, for each mesh row that is looked at alone."""

_PASSES = 8
"""Column passes whose columns are dealt together."""

_PARTNERS = 256
"""Columns of these that a column may change places with in a sweep."""

_SWEEPS = 3

_ELEMENTS = 1 << 22
"""Products that are looked at together."""


def segments_of(entries: int) -> np.ndarray:
    """The segment of each entry, where they are cut by their places to segments of one length."""
    return np.arange(entries) * min(MOST_SEGMENTS, max(1, entries)) // max(1, entries)


def column_costs(config: FabricConfig, segments: np.ndarray, *operands: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How many products each column has in each segment: columns x segments.

    Parameters
    ----------
    config : FabricConfig
    segments : numpy.ndarray
        The segment of each entry.
    *operands : tuple of numpy.ndarray
        Of one or two operands: the row that each entry takes, and the operand in the storage type of the format.
    """
    is_zero = golden_format(config.lane.format).is_zero
    rows, kept = [rows for rows, _ in operands], [~is_zero(operand) for _, operand in operands]
    count = int(segments.max(initial=0)) + 1
    if len(operands) == 1:
        uses = np.zeros((count, kept[0].shape[0]))
        np.add.at(uses, (segments, rows[0]), 1)
        return (uses @ kept[0]).T
    order = np.argsort(segments, kind="stable")
    ends = np.searchsorted(segments[order], np.arange(count + 1))
    costs = np.zeros((count, kept[0].shape[1]))
    for segment, (begin, end) in enumerate(pairwise(ends)):
        step = max(1, _ELEMENTS // max(1, costs.shape[1]))
        for first in range(begin, end, step):
            entries = order[first : min(first + step, end)]
            costs[segment] += np.count_nonzero(kept[0][rows[0][entries]] & kept[1][rows[1][entries]], axis=0)
    return costs.T


def with_totals(costs: np.ndarray, count: int) -> np.ndarray:
    """``costs`` and their sums over each of ``count`` parts of the segments: even in each segment, and in all too."""
    totals = [costs[:, part].sum(axis=1) for part in np.array_split(np.arange(costs.shape[1]), count)]
    return np.column_stack([costs, *totals])


def deal_columns(config: FabricConfig, costs: np.ndarray) -> np.ndarray:
    """Which column lies in which place: place ``p`` of the operand in memory takes column ``order[p]``.

    First columns are dealt to the lanes of column passes by ``schedule_vectors``, then they change places in pairs
    where the sum of squares over lanes and segments gets less by it. Columns stay in their group of column passes, so
    that the time is proportional to their number.

    Parameters
    ----------
    config : FabricConfig
    costs : numpy.ndarray
        See ``column_costs``.
    """
    passes = list(column_passes(config, len(costs)))
    order = np.empty(len(costs), dtype=np.int64)
    for together in (passes[n : n + _PASSES] for n in range(0, len(passes), _PASSES)):
        first = together[0].first
        own = costs[first : together[-1].first + together[-1].fields["columns"]]
        places = [np.array(lane) for column_pass in together for lane in _lanes(config, column_pass)]
        lane_of, loads = schedule_vectors(own, np.array([lane.size for lane in places]))
        _swap(own, lane_of, loads)
        for number, lane in enumerate(places):
            order[lane] = first + np.flatnonzero(lane_of == number)
    return order


def _lanes(config: FabricConfig, column_pass: ColumnPass) -> list[list[int]]:
    """The places of each lane in a column pass."""
    lanes: dict[tuple[int, int], list[int]] = {}
    for place in range(column_pass.fields["columns"]):
        tile, column = divmod(place, column_pass.fields["tile_columns"])
        lanes.setdefault((tile, column % config.lanes), []).append(column_pass.first + place)
    return list(lanes.values())


def _swap(costs: np.ndarray, lane_of: np.ndarray, loads: np.ndarray) -> None:
    """Let each column change places with the one where it helps most, in place."""
    columns = len(costs)
    partners = np.arange(columns)
    random = np.random.default_rng(0)
    for _ in range(_SWEEPS):
        for column in range(columns):
            if columns > _PARTNERS:
                partners = random.integers(columns, size=_PARTNERS)
            mine, theirs = lane_of[column], lane_of[partners]
            more = costs[partners] - costs[column]
            # By how much the sum of squares of the two lanes gets less; nothing within one lane.
            gain = -2 * (((loads[mine] - loads[theirs]) + more) * more).sum(axis=1)
            gain[theirs == mine] = 0
            best = int(gain.argmax())
            if gain[best] > 1e-6:
                loads[mine] += more[best]
                loads[theirs[best]] -= more[best]
                lane_of[column], lane_of[partners[best]] = theirs[best], mine
