"""Arithmetic whose result is float32, rounded once, on NumPy arrays.

Written from the mathematics, not from the hardware: a fused multiply-add is one exact sum, rounded once. The product of
a float32 and a bfloat16 number has 32 significant bits and lies between 2^-282 and 2^256, so float64 holds it exactly;
so does it hold the float32 that it is added to. Their float64 sum may be inexact, but its error is a float64 too
(Knuth's two-sum), which is enough to round the sum *to odd*: towards zero, with the last bit set when anything was
lost. Rounding that to float32 then gives what rounding the exact sum would, because float64 has more than two bits to
spare, subnormal results included (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms
using rounding to odd", 2008).

Subnormal operands and results are kept. Infinities and NaN follow IEEE 754; every NaN result is 7FC00000.
"""

import ml_dtypes
import numpy as np
import numpy.typing as npt

__all__ = ["CANONICAL_NAN", "add", "add_product", "fused_multiply_add", "widen"]

CANONICAL_NAN = np.uint32(0x7FC00000)
"""Bits of every NaN that an operation returns."""

_SMALLEST_NORMAL = np.float32(2.0**-126)


def add(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """``round(a + b)`` of float32 numbers, to nearest even."""
    with np.errstate(all="ignore"):
        # One IEEE operation; only its NaN differ between machines.
        total = np.atleast_1d(np.asarray(a, dtype=np.float32) + np.asarray(b, dtype=np.float32))
    total.view(np.uint32)[np.isnan(total)] = CANONICAL_NAN
    return total.reshape(np.broadcast_shapes(np.shape(a), np.shape(b)))


def fused_multiply_add(acc: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> np.ndarray:
    """``round(acc + x * y)`` of float32 ``acc`` and ``x`` and bfloat16 ``y``, to nearest even."""
    with np.errstate(all="ignore"):
        product = np.asarray(x, dtype=np.float32).astype(np.float64) * widen(y).astype(np.float64)
        start = np.asarray(acc, dtype=np.float32).astype(np.float64)
        total = np.atleast_1d(start + product)
        # Knuth's two-sum: total + error is the exact sum, NaN where it is not finite.
        virtual = total - start
        error = (start - (total - virtual)) + (product - virtual)
        # Towards zero first, then the last bit set: together one step up or down where the last bit was even. The
        # signs are multiplied, not the numbers, whose product may vanish.
        side = np.sign(error) * np.sign(total)
        bits = total.view(np.int64)
        even = (bits & 1) == 0
        odd = bits + (even & (side > 0)) - (even & (side < 0))
        result = odd.view(np.float64).astype(np.float32)
    result.view(np.uint32)[np.isnan(result)] = CANONICAL_NAN
    return result.reshape(np.broadcast_shapes(np.shape(acc), np.shape(x), np.shape(y)))


def add_product(acc: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> np.ndarray:
    """``round(acc + x * y)`` of float32 ``acc`` and bfloat16 ``x``, ``y``: what ``fused_multiply_add`` gives, faster.

    The product of two bfloat16 numbers has 16 significant bits. As long as it is neither too large nor too small it is
    a float32 number, and adding it rounds once; elsewhere ``fused_multiply_add`` does the work.
    """
    start = np.asarray(acc, dtype=np.float32)
    with np.errstate(all="ignore"):
        product = widen(x) * widen(y)
        total = np.atleast_1d(start + product)
    if not _all_exact(x, y):
        magnitude = np.abs(product)
        inexact = np.broadcast_to(~((magnitude >= _SMALLEST_NORMAL) & (magnitude < np.inf)), total.shape)
        total[inexact] = fused_multiply_add(*(np.broadcast_to(part, total.shape)[inexact] for part in (start, x, y)))
    total.view(np.uint32)[np.isnan(total)] = CANONICAL_NAN
    return total.reshape(np.broadcast_shapes(start.shape, product.shape))


def _all_exact(x: npt.ArrayLike, y: npt.ArrayLike) -> bool:
    """Whether all products of these bfloat16 numbers are float32 numbers; False where that would take long to say."""
    smallest = largest = 0
    for numbers in (x, y):
        bits = np.asarray(numbers, dtype=ml_dtypes.bfloat16).view(np.uint16) << np.uint16(1)  # without the sign
        largest += int(bits.max(initial=0)) >> 8
        # Below 0 comes the largest number of all: so 0, whose products are exact, is not the smallest.
        smallest += (int((bits - np.uint16(1)).min(initial=0xFFFF)) + 1) >> 8
    # Biased exponents of the factors: their sum is that of the product and once more the bias.
    return smallest >= 2 * 127 - 126 and largest < 2 * 127 + 127


def widen(x: npt.ArrayLike) -> np.ndarray:
    """bfloat16 numbers as float32.

    By shifting: several times faster than the cast of ml_dtypes, which goes element by element.
    """
    bits = np.asarray(x, dtype=ml_dtypes.bfloat16).view(np.uint16).astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32)
