"""Operands on which fixed-point sums are judged, and the judgement in exact rational arithmetic.

Cases are tuples of arrays ``word, x, y`` of equal length, as bit patterns (uint64, uint16, uint16).
"""

from fractions import Fraction

import numpy as np

from acf.isa import Flag
from acf.tb.float32_cases import exact, rounded

__all__ = ["bf16x_cases", "exact_sum", "exact_words", "word_cases", "word_to_float32"]

_BF16_CORNERS = (
    0x0000, 0x0001, 0x0003, 0x007F, 0x0080, 0x0081, 0x2780, 0x27FF, 0x3F00, 0x3F7F, 0x3F80, 0x3F81, 0x3FFF, 0x4000,
    0x4700, 0x477F, 0x7F00, 0x7F7F, 0x7F80, 0x7F81, 0x7FC0,
)  # fmt: skip
_WORD_CORNERS = tuple(
    invalid << 63 | value & (1 << 63) - 1
    for invalid in (0, 1)
    for value in (
        0, 1, 2, 3, -1, -2, 1 << 23, (1 << 24) - 1, (1 << 24) + 1, (1 << 25) + 2, (1 << 25) + 6, 1 << 53, (1 << 54) - 1,
        (1 << 61) + 1, (1 << 62) - 1, (1 << 62) - 2, -(1 << 62), 1 - (1 << 62), -(1 << 61),
    )
)  # fmt: skip
_RANGE = 1 << 62


def bf16x_cases(rng: np.random.Generator, count: int, *, exponent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``count`` cases: corners against each other (or as many as fill one half), then random ones.

    Random ones are, in equal parts: any bits; products about the last bit, of which some tie; products about the
    highest one, beside sums near the borders of the range; moderate ones.
    """
    small = np.array([sign | bits for sign in (0, 0x8000) for bits in _BF16_CORNERS], dtype=np.uint16)
    large = np.array(_WORD_CORNERS, dtype=np.uint64)
    word, x, y = (grid.ravel() for grid in np.meshgrid(large, small, small, indexing="ij"))
    chosen = np.sort(rng.permutation(len(word))[: count // 2])
    word, x, y = word[chosen], x[chosen], y[chosen]
    number = count - len(word)
    random_word = rng.integers(0, 1 << 64, number, dtype=np.uint64)
    random_x, random_y = rng.integers(0, 1 << 16, (2, number), dtype=np.uint16)
    kind = rng.integers(0, 4, number)
    # The exponent of the second factor brings the product to where it matters, in units.
    low, high = np.array([0, -4, 58, 10]), np.array([1, 3, 65, 40])
    bit = rng.integers(low[kind], high[kind])
    field = np.clip(bit + exponent - (random_x >> 7 & 0xFF).astype(np.int64) + 2 * 127, 0, 255).astype(np.uint16)
    random_y = np.where(kind == 0, random_y, random_y & 0x807F | field << 7)
    # Few significant bits, so that products tie.
    thin = rng.random(number) < 0.4
    random_x[thin] &= 0xFFE0
    random_y[thin] &= 0xFFE0
    border = (rng.choice([-_RANGE, _RANGE - 1], number) + rng.integers(-(1 << 60), 1 << 60, number)) >> np.where(
        rng.random(number) < 0.5, 0, 1
    )
    near = border.astype(np.int64).view(np.uint64) & np.uint64((1 << 63) - 1)
    random_word = np.where(kind == 2, near, random_word)
    random_word &= np.where(rng.random(number) < 0.8, np.uint64((1 << 63) - 1), np.uint64((1 << 64) - 1))
    return np.concatenate([word, random_word]), np.concatenate([x, random_x]), np.concatenate([y, random_y])


def word_cases(rng: np.random.Generator, count: int) -> np.ndarray:
    """``count`` words of all magnitudes, corners first, with ties of their rounding to 24 bits among them."""
    number = count - len(_WORD_CORNERS)
    magnitude = rng.integers(0, 1 << 62, number) >> rng.integers(0, 62, number)
    length = np.frexp(np.maximum(magnitude, 1).astype(np.float64))[1].astype(np.int64)
    cut = np.clip(length - 25, 0, 62)
    tied = (magnitude >> cut << cut) + rng.integers(-1, 2, number)
    value = np.where(rng.random(number) < 0.5, tied, magnitude) * rng.choice([-1, 1], number)
    word = value.astype(np.int64).view(np.uint64) & np.uint64((1 << 63) - 1)
    word |= np.where(rng.random(number) < 0.05, np.uint64(1 << 63), np.uint64(0))
    return np.concatenate([np.array(_WORD_CORNERS, dtype=np.uint64), word])


def exact_sum(word: int, x: int, y: int, *, exponent: int) -> tuple[int, int]:
    """``word + x * y`` and its flags, in exact arithmetic."""
    left, right = exact(x, fraction=7)[1], exact(y, fraction=7)[1]
    if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        return word | 1 << 63, Flag.INVALID
    term = left * right / Fraction(2) ** exponent
    units = round(term)  # of two that are equally near, the even one
    flags = Flag(0)
    if units != term:
        flags |= Flag.UNDERFLOW
    total, wrapped = exact_words(word, units & (1 << 63) - 1)
    if abs(units) >= _RANGE or wrapped:
        flags |= Flag.OVERFLOW
    return total, flags


def exact_words(a: int, b: int) -> tuple[int, int]:
    """The sum of two words and its flags."""
    total = _value(a) + _value(b)
    flags = Flag(0) if -_RANGE <= total < _RANGE else Flag.OVERFLOW
    return total & (1 << 63) - 1 | (a | b) >> 63 << 63, flags


def word_to_float32(word: int, *, exponent: int) -> int:
    """The bits of a word rounded to float32."""
    if word >> 63:
        return 0x7FC00000
    value = _value(word)
    return rounded(value * Fraction(2) ** exponent, fraction=23) if value else 0


def _value(word: int) -> int:
    value = word & (1 << 63) - 1
    return value - (1 << 63) if value >> 62 else value
