"""The optimizer's step as the structure engine takes it: SGD with momentum on float32 master values, bfloat16 weights.

Every operation rounds once, to nearest even, in the order that is written here; only the weights may be rounded
stochastically instead.
"""

from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acf.golden.float32 import fused_multiply_add

__all__ = ["ROUNDINGS", "SgdStep", "fused_multiply_add", "round_weights", "sgd_step", "xorshift32", "xorshift32_states"]

ROUNDINGS = ("nearest", "stochastic")
"""How master values become weights."""


class SgdStep(NamedTuple):
    """What a step leaves behind: float32 ``master`` and ``momentum``, bfloat16 ``weights``."""

    master: np.ndarray
    momentum: np.ndarray
    weights: np.ndarray


def sgd_step(
    master: npt.ArrayLike,
    momentum: npt.ArrayLike,
    gradient: npt.ArrayLike,
    *,
    learning_rate: npt.ArrayLike,
    momentum_factor: npt.ArrayLike,
    rounding: str = "nearest",
    seed: int = 1,
) -> SgdStep:
    """One step of SGD with momentum.

    ``momentum' = round(gradient + momentum * momentum_factor)``, ``master' = round(master - momentum' *
    learning_rate)``, each fused, and the weights are ``master'`` rounded to bfloat16.

    Parameters
    ----------
    master, momentum, gradient : array_like of float32
        One entry each for every weight.
    learning_rate, momentum_factor : bfloat16
    rounding : str
        One of ``ROUNDINGS``; see ``round_weights``.
    seed : int
        See ``round_weights``.

    Raises
    ------
    ValueError
        As ``round_weights`` does, or if the arrays have other shapes than one another.
    """
    master, momentum, gradient = (np.asarray(array, dtype=np.float32) for array in (master, momentum, gradient))
    if not master.shape == momentum.shape == gradient.shape:
        raise ValueError(
            f"master, momentum and gradient must have one shape, not {master.shape}, {momentum.shape} and "
            f"{gradient.shape}"
        )
    rate = np.asarray(learning_rate, dtype=ml_dtypes.bfloat16)
    negative = (rate.view(np.uint16) ^ np.uint16(0x8000)).view(ml_dtypes.bfloat16)
    momentum = fused_multiply_add(gradient, momentum, momentum_factor)
    master = fused_multiply_add(master, momentum, negative)
    return SgdStep(master, momentum, round_weights(master, rounding=rounding, seed=seed))


def round_weights(master: npt.ArrayLike, *, rounding: str = "nearest", seed: int = 1) -> np.ndarray:
    """float32 numbers as bfloat16, each rounded once.

    Parameters
    ----------
    master : array_like of float32
    rounding : str
        ``nearest``: to nearest even. ``stochastic``: up in magnitude with a probability that is the distance to the
        lower neighbour; entry ``n`` draws the low 16 bits of the state ``n + 1`` steps of ``xorshift32`` after
        ``seed``. Infinities stay, every NaN becomes 7FC0.
    seed : int
        Not 0 where rounding is stochastic; else without meaning.

    Raises
    ------
    ValueError
        If there is no such rounding, or the seed is 0 or does not fit 32 bits.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
    values = np.asarray(master, dtype=np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32).reshape(values.shape).astype(np.uint64)
    if rounding == "stochastic":
        up = (xorshift32_states(seed, values.size) & np.uint32(0xFFFF)).astype(np.uint64).reshape(values.shape)
    else:
        up = np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1))
    weights = np.where(np.isnan(values), 0x7FC0, (bits + up) >> np.uint64(16)).astype(np.uint16)
    return weights.view(ml_dtypes.bfloat16)


def xorshift32(state: int) -> int:
    """The state after ``state`` of Marsaglia's generator with shifts 13, 17 and 5; 0 follows 0 only."""
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ (state << 5 & 0xFFFFFFFF)


def xorshift32_states(seed: int, count: int) -> np.ndarray:
    """The ``count`` states that follow ``seed``, as uint32.

    Raises
    ------
    ValueError
        If ``seed`` is 0 or does not fit 32 bits.
    """
    if not 0 < seed < 1 << 32:
        raise ValueError(f"seed of xorshift32 must be from 1 to 4294967295, not {seed!r}")
    states = np.empty(count, dtype=np.uint32)
    state = seed
    for number in range(count):
        states[number] = state = xorshift32(state)
    return states
