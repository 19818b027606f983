"""Deals what has costs of several kinds to bins, so that these have about as much of each kind."""

import numpy as np

__all__ = ["schedule_vectors"]


def schedule_vectors(costs: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each item, and what each bin has of each kind of cost.

    The heaviest item first, each goes to the bin with room whose costs have the least scalar product with its own
    (vector scheduling, Chekuri and Khanna 2004; the rule by the scalar product is that of Panigrahy et al. 2011 for
    vector bin packing). Where nothing tells bins apart, it goes to the emptiest.

    Parameters
    ----------
    costs : numpy.ndarray
        ``[item, kind]``.
    room : numpy.ndarray
        How many items each bin takes; all together as many as there are, or more.
    """
    taken = np.zeros_like(room)
    loads = np.zeros((len(room), costs.shape[1]))
    bin_of = np.zeros(len(costs), dtype=np.int64)
    for item in np.argsort(-costs.sum(axis=1), kind="stable").tolist():
        chosen = int(np.where(taken < room, loads @ costs[item] + 1e-9 * taken, np.inf).argmin())
        bin_of[item] = chosen
        loads[chosen] += costs[item]
        taken[chosen] += 1
    return bin_of, loads
