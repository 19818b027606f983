"""Operands on which float32 arithmetic is judged, and the judgement in exact rational arithmetic.

Operands are arrays of equal length, as bit patterns (uint32; bfloat16 ones uint16).
"""

from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["add_cases", "exact", "exact_fma", "fma_cases", "rounded"]

_NAN, _INFINITE = "nan", "infinite"

_CORNERS = np.array(
    [
        sign | magnitude
        for sign in (0, 0x80000000)
        for magnitude in (
            0x00000000, 0x00000001, 0x00000002, 0x003FFFFF, 0x00400000, 0x007FFFFF, 0x00800000, 0x00800001, 0x00FFFFFF,
            0x01000000, 0x0C000000, 0x0C800000, 0x33000000, 0x33800000, 0x33800001, 0x34000000, 0x3F7FFFFF, 0x3F800000,
            0x3F800001, 0x3FFFFFFF, 0x40000000, 0x4B7FFFFF, 0x72FFFFFF, 0x73000000, 0x73000001, 0x7F000000, 0x7F7FFFFE,
            0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF,
        )
    ],
    dtype=np.uint32,
)  # fmt: skip
_BF16_CORNERS = np.array(
    [
        sign | magnitude
        for sign in (0, 0x8000)
        for magnitude in (
            0x0000, 0x0001, 0x0003, 0x007F, 0x0080, 0x0081, 0x3380, 0x3F00, 0x3F7F, 0x3F80, 0x3F81, 0x3FFF, 0x7F00,
            0x7F7F, 0x7F80, 0x7F81, 0x7FC0,
        )
    ],
    dtype=np.uint16,
)  # fmt: skip


def add_cases(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pairs ``a, b``: corners against each other (or as many as fill one half), then random ones.

    Random ones are, in equal parts: any bits; exponents near each other; the negative of each other but for a few units
    in the last places; one with few significant bits, so that sums tie; subnormal numbers and the smallest others.
    """
    a, b = (grid.ravel() for grid in np.meshgrid(_CORNERS, _CORNERS, indexing="ij"))
    chosen = np.sort(rng.permutation(len(a))[: count // 2])
    a, b = a[chosen], b[chosen]
    number = count - len(a)
    left, right = rng.integers(0, 1 << 32, (2, number), dtype=np.uint32)
    kind = rng.integers(0, 5, number)
    exponent = (left >> 23 & 0xFF).astype(np.int64) + rng.integers(-27, 28, number)
    near = (right & 0x807FFFFF) | (np.clip(exponent, 0, 254).astype(np.uint32) << 23)
    opposite = (left.astype(np.int64) + rng.integers(-3, 4, number)).astype(np.uint32) ^ np.uint32(0x80000000)
    thin = near & np.uint32(0xFFF00000)
    small = right & np.uint32(0x81FFFFFF)
    left = np.where(kind == 4, left & np.uint32(0x81FFFFFF), left)
    right = np.choose(kind, [right, near, opposite, thin, small]).astype(np.uint32)
    swap = rng.random(number) < 0.5
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    return np.concatenate([a, left]), np.concatenate([b, right])


def fma_cases(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``count`` cases ``acc, x, y`` with bfloat16 ``y``: corners (or as many as fill one half), then random ones.

    Random ones are, in equal parts: any bits; an accumulator with an exponent near that of the product; the negative
    product but for a few units in the last places; an accumulator that brings the sum beside a tie; a product that is
    subnormal or nearly so, beside a small accumulator.
    """
    acc, x, y = (grid.ravel() for grid in np.meshgrid(_CORNERS, _CORNERS, _BF16_CORNERS, indexing="ij"))
    chosen = np.sort(rng.permutation(len(acc))[: count // 2])
    acc, x, y = acc[chosen], x[chosen], y[chosen]
    number = count - len(acc)
    random_acc, random_x = rng.integers(0, 1 << 32, (2, number), dtype=np.uint32)
    random_y = rng.integers(0, 1 << 16, number, dtype=np.uint16)
    thin = rng.random(number) < 0.25
    random_x[thin] &= 0xFFFF0000
    random_y[rng.random(number) < 0.25] &= 0xFFE0
    kind = rng.integers(0, 5, number)
    # Small products: exponents that sum to about that of the smallest float32.
    exponent = 127 - 127 - 12 + 127 + rng.integers(-30, 30, number) - (random_x >> 23 & 0xFF).astype(np.int64)
    low_y = (random_y & 0x807F) | (np.clip(exponent, 0, 254).astype(np.uint16) << 7)
    random_y = np.where(kind == 4, low_y, random_y).astype(np.uint16)
    with np.errstate(all="ignore"):
        wide_y = (random_y.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
        product = random_x.view(np.float32).astype(np.float64) * wide_y
        close = product.astype(np.float32).view(np.uint32)
        power = np.frexp(product)[1]
        tie = np.ldexp(1 + rng.integers(1, 8, number) * 2.0**-24, power + rng.integers(-1, 2, number))
        tie += np.ldexp(rng.integers(-1, 2, number) * 1.0, power - rng.integers(26, 32, number))
        beside = (np.copysign(tie, product) - product).astype(np.float32).view(np.uint32)
    exponent = (close >> 23 & 0xFF).astype(np.int64) + rng.integers(-36, 36, number)
    near = (random_acc & 0x807FFFFF) | (np.clip(exponent, 0, 254).astype(np.uint32) << 23)
    near[thin] &= 0xFFFFF000
    opposite = ((close.astype(np.int64) + rng.integers(-3, 4, number)) & 0xFFFFFFFF).astype(np.uint32) ^ 0x80000000
    small = random_acc & np.uint32(0x81FFFFFF)
    random_acc = np.choose(kind, [random_acc, near, opposite, beside, small]).astype(np.uint32)
    return np.concatenate([acc, random_acc]), np.concatenate([x, random_x]), np.concatenate([y, random_y])


def exact(bits: int, *, fraction: int) -> tuple[int, Any]:
    """Sign, and value of an IEEE number with 8 exponent bits: a Fraction, or what it is instead."""
    sign, exponent, low = bits >> (8 + fraction), bits >> fraction & 0xFF, bits & ((1 << fraction) - 1)
    if exponent == 0xFF:
        return sign, _NAN if low else _INFINITE
    significand = low | (exponent != 0) << fraction
    magnitude = Fraction(significand) * Fraction(2) ** (max(exponent, 1) - 127 - fraction)
    return sign, -magnitude if sign else magnitude


def rounded(value: Fraction, *, fraction: int) -> int:
    """Bits of a non-zero rational number, rounded to nearest even."""
    sign, magnitude = value < 0, abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent -= magnitude < Fraction(2) ** exponent
    quantum = max(exponent, -126) - fraction
    significand = round(magnitude / Fraction(2) ** quantum)  # Python rounds ties of a Fraction to even
    # The leading bit of a normal significand adds one to the exponent field.
    bits = significand + ((quantum + fraction + 126) << fraction)
    return min(bits, 0xFF << fraction) | sign << (8 + fraction)


def exact_fma(acc: int, x: int, y: int, *, x_fraction: int = 23) -> int:
    """``acc + x * y`` by IEEE 754, in exact arithmetic: float32 ``acc``, bfloat16 ``y``."""
    (sign_a, a), (sign_x, u), (sign_y, v) = exact(acc, fraction=23), exact(x, fraction=x_fraction), exact(y, fraction=7)
    sign = sign_x ^ sign_y
    infinite = [s for s, terms in ((sign_a, (a,)), (sign, (u, v))) if _INFINITE in terms]
    if _NAN in (a, u, v) or (_INFINITE in (u, v) and 0 in (u, v)) or len(set(infinite)) == 2:
        return 0x7FC00000
    if infinite:
        return infinite[0] << 31 | 0x7F800000
    total = a + u * v
    if total == 0:
        # Zeros keep a sign that both terms have; a sum that cancels is +0.
        return (sign_a & sign) << 31
    return rounded(total, fraction=23)
