"""Deals rows of results to row feeders, so that all have about as many products.

Those of a gather are rows of ``W``, those of a scatter its columns. No sum is taken in another order for it.
"""

from bisect import bisect

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.runtime.compiler import tile_gather
from acf.runtime.matrices import CsrMatrix
from acf.runtime.vector_scheduling import schedule_vectors

__all__ = ["deal_inner", "deal_rows"]


def deal_rows(config: FabricConfig, weights: CsrMatrix, operand: np.ndarray) -> np.ndarray:
    """Which row of ``W`` lies in which place for a gather: place ``p`` takes row ``order[p]``.

    What a row costs in each inner tile, and in all of them, makes a vector, and these are dealt to the row feeders of
    row tiles by ``schedule_vectors``: so feeders are even in every inner tile too.

    Parameters
    ----------
    config : FabricConfig
    weights : CsrMatrix
    operand : numpy.ndarray
        ``A``, in the storage type of the format. An entry costs as much as its row of ``A`` has non-zeros.
    """
    rows, inner = weights.shape
    tiling = tile_gather(config, rows=rows, inner=inner, columns=operand.shape[1])
    nonzeros = np.count_nonzero(~golden_format(config.lane.format).is_zero(operand), axis=1)
    tiles = max(1, tiling.inner_tiles)
    costs = np.zeros((rows, tiles + 1))
    tile_of_entry = weights.indices // max(1, tiling.inner_tile)
    np.add.at(costs, (weights.row_of_entry, tile_of_entry), nonzeros[weights.indices])
    costs[:, -1] = costs.sum(axis=1)

    # The places of each row feeder in each row tile.
    place = np.arange(rows)
    row_tile, within = np.divmod(place, max(1, tiling.row_tile))
    feeder = row_tile * config.rows + within % config.rows
    places = [place[feeder == number] for number in range(max(1, tiling.row_tiles) * config.rows)]
    feeder_of_row, _ = schedule_vectors(costs, np.array([len(own) for own in places]))
    order = np.empty(rows, dtype=np.int64)
    for number, own in enumerate(places):
        order[own] = np.flatnonzero(feeder_of_row == number)
    return order


def deal_inner(config: FabricConfig, weights: CsrMatrix, operand: np.ndarray) -> np.ndarray:
    """Which column of ``W`` lies in which place for a scatter: place ``p`` takes column ``order[p]``.

    Row feeders get ranges of columns, which are others in each block and column pass. So every range shall cost as much
    as others of its length: each place takes that column with which all places so far come nearest to their share.

    Parameters
    ----------
    config : FabricConfig
    weights : CsrMatrix
    operand : numpy.ndarray
        ``G``, in the storage type of the format. An entry costs as much as its row of ``G`` has non-zeros.
    """
    inner = weights.shape[1]
    nonzeros = np.count_nonzero(~golden_format(config.lane.format).is_zero(operand), axis=1)
    costs = np.bincount(weights.indices, weights=nonzeros[weights.row_of_entry], minlength=inner)
    left = np.argsort(costs, kind="stable").tolist()
    values = costs[left].tolist()
    share = float(costs.mean()) if inner else 0.0
    order = np.empty(inner, dtype=np.int64)
    wanted = 0.0  # what the next place has to cost for all so far to have their share
    for place in range(inner):
        wanted += share
        n = bisect(values, wanted)
        if n == len(values) or (n > 0 and wanted - values[n - 1] <= values[n] - wanted):
            n -= 1
        order[place] = left.pop(n)
        wanted -= values.pop(n)
    return order
