"""Sums of bfloat16 products in fixed point, on NumPy arrays.

Written from the mathematics, not from the hardware. An accumulator is a 64-bit word. Its lower 63 bits are a sum as a
two's complement number, in units of ``2 ** exponent``; the highest bit says that the sum is *invalid*, because an
infinity or a NaN was multiplied. A product of two bfloat16 numbers, 16 significant bits, is rounded to a whole number
of units, to nearest even, and added modulo 2^63. So a word is what all its products together make, in whatever order
and in whatever parts they are added.

What happened on the way is told in ``acf.isa.Flag``: OVERFLOW where a product or a sum left the range from -2^62 to
2^62 - 1, UNDERFLOW where a product was no whole number of units, INVALID where a factor was an infinity or a NaN. Such
a product changes nothing but the highest bit, and raises no other flag.
"""

import numpy as np
import numpy.typing as npt

from acf.golden.float32 import CANONICAL_NAN, widen
from acf.isa import Flag

__all__ = ["add", "add_product", "round_to_float32"]

_VALUE_BITS = 63
_LIMIT = np.int64(1) << np.int64(_VALUE_BITS - 1)
_INVALID = np.int64(-1) << np.int64(_VALUE_BITS)


def add_product(
    words: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, *, exponent: int
) -> tuple[np.ndarray, np.ndarray]:
    """``words + x * y`` of bfloat16 ``x`` and ``y``, and the flags of each sum.

    Parameters
    ----------
    words : array of int64
    x, y : array of bfloat16
        Broadcast against ``words`` and each other.
    exponent : int
        The last bit of a word weighs ``2 ** exponent``.

    Returns
    -------
    words : numpy.ndarray of int64
    flags : numpy.ndarray of uint8
    """
    words = np.asarray(words, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        # All of this is exact: 16 bits times a power of two, far inside the range of float64.
        product = np.atleast_1d(widen(x).astype(np.float64) * (widen(y).astype(np.float64) * 2.0**-exponent))
        units = np.rint(product)  # to nearest even
        flags = (units != product).view(np.uint8) * np.uint8(Flag.UNDERFLOW)
    invalid = words < 0
    # Few arrays have anything in them that the following is for.
    if not (units.min(initial=0) > -_LIMIT and units.max(initial=0) < _LIMIT):
        infinite = ~np.isfinite(product)
        flags |= ~(np.abs(units) < float(_LIMIT)) * np.uint8(Flag.OVERFLOW)
        flags[infinite] = Flag.INVALID
        units = np.fmod(np.where(infinite, 0, units), 2.0**_VALUE_BITS)
        invalid = invalid | infinite

    total = _values(words) + units.astype(np.int64)
    if total.size and not (total.min() >= -_LIMIT and total.max() < _LIMIT):
        flags = flags | ((total >= _LIMIT) | (total < -_LIMIT)) * np.uint8(Flag.OVERFLOW)
    shape = np.broadcast_shapes(words.shape, np.shape(x), np.shape(y))
    return _words(total, invalid).reshape(shape), np.broadcast_to(flags, total.shape).reshape(shape)


def add(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The sums of two words, and the flags of each: OVERFLOW where it left the range."""
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    total = _values(a) + _values(b)
    overflow = (total >= _LIMIT) | (total < -_LIMIT)
    return _words(total, (a < 0) | (b < 0)), (Flag.OVERFLOW * overflow).astype(np.uint8)


def round_to_float32(words: npt.ArrayLike, *, exponent: int) -> np.ndarray:
    """The sums as float32 numbers, rounded to nearest even; invalid ones are the canonical NaN.

    A sum of zero is +0, one that is rounded to zero keeps its sign. Subnormal results are kept, too large ones are
    infinite.
    """
    words = np.atleast_1d(np.asarray(words, dtype=np.int64))
    values = _values(words)
    magnitude = np.abs(values)
    # Into the 53 bits of a float64 by rounding to odd, so that the rounding to float32 is the only one that counts.
    wide = magnitude >> np.int64(53) != 0
    odd = np.where(wide, (magnitude >> 10 | (magnitude & 1023 != 0)) << 10, magnitude).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        result = np.ldexp(np.copysign(odd, values), exponent).astype(np.float32)
    result.view(np.uint32)[words < 0] = CANONICAL_NAN
    return result


def _values(words: np.ndarray) -> np.ndarray:
    values = np.atleast_1d(words << np.int64(1))
    values >>= np.int64(1)
    return values


def _words(values: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    words = values & ~_INVALID
    if invalid.any():
        words |= np.where(invalid, _INVALID, np.int64(0))
    return words
