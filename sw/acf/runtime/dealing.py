"""Deals columns to lanes, so that all lanes of a column pass have about as many products."""

import heapq

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.runtime.layout import column_passes

__all__ = ["column_weights", "deal_columns"]


def column_weights(config: FabricConfig, *operands: np.ndarray) -> np.ndarray:
    """What the columns cost: the product of their densities in all operands.

    Parameters
    ----------
    config : FabricConfig
    *operands : numpy.ndarray
        Of as many columns each, in the storage type of the format.
    """
    is_zero = golden_format(config.lane.format).is_zero
    weights = np.ones(operands[0].shape[1])
    for operand in operands:
        weights *= np.count_nonzero(~is_zero(operand), axis=0) / max(1, operand.shape[0])
    return weights


def deal_columns(config: FabricConfig, weights: np.ndarray) -> np.ndarray:
    """Which column lies in which place: place ``p`` of the operand in memory takes column ``order[p]``.

    The heaviest column first, each goes to the lane and column pass that has least so far and room for another one
    (longest processing time first, Graham 1969; here with places counted).

    Parameters
    ----------
    config : FabricConfig
    weights : numpy.ndarray
        Of each column, see ``column_weights``.
    """
    places: dict[tuple[int, int, int], list[int]] = {}
    for number, column_pass in enumerate(column_passes(config, weights.size)):
        tile_columns = column_pass.fields["tile_columns"]
        for place in range(column_pass.fields["columns"]):
            tile, column = divmod(place, tile_columns)
            lane = number, tile, column % config.lanes
            places.setdefault(lane, []).append(column_pass.first + place)
    lanes = list(places.values())
    waiting = [(0.0, n) for n in range(len(lanes))]
    order = np.empty(weights.size, dtype=np.int64)
    taken = [0] * len(lanes)
    for column in np.argsort(-weights, kind="stable").tolist():
        load, n = heapq.heappop(waiting)
        order[lanes[n][taken[n]]] = column
        taken[n] += 1
        if taken[n] < len(lanes[n]):
            heapq.heappush(waiting, (load + float(weights[column]), n))
    return order
