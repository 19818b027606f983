"""Operands on which the arithmetic of a number format is judged: corners, random ones, and the TestFloat vectors.

A list of cases is a tuple of arrays ``acc, x, y`` of equal length, as bit patterns (uint32, uint16 or uint8).
"""

import gzip
import os
from pathlib import Path

import numpy as np

__all__ = ["VECTOR_FILES", "bf16_cases", "int8_cases", "vector_cases", "vector_columns", "vector_folder"]

Cases = tuple[np.ndarray, np.ndarray, np.ndarray]

VECTOR_FILES = {
    "bf16_mul": "bf16_mul_rne_derived_nanriscv.txt.gz",
    "bf16_add": "bf16_add_rne_derived_nanriscv.txt.gz",
    "f32_add": "f32_add_rne_level1_nanriscv.txt.gz",
    "f32_to_bf16": "f32_to_bf16_rne_level1_nanriscv.txt.gz",
    "bf16_to_f32": "bf16_to_f32_rne_level1_nanriscv.txt.gz",
}
"""The vectors that say something about the bf16 operator, by function. ``f32_mul`` does not: of its 46,464 products the
operator has those of two bfloat16 numbers only, and ``bf16_mul`` holds these with more operands."""

_BF16_ONE = 0x3F80
_BF16_CORNERS = (
    0x0000,
    0x0001,
    0x0002,
    0x007F,
    0x0080,
    0x0081,
    0x00FF,
    0x1F80,
    0x2000,
    0x3F00,
    0x3F7F,
    0x3F80,
    0x3F81,
    0x3FFF,
    0x4000,
    0x4B7F,
    0x7F00,
    0x7F7F,
    0x7F80,
    0x7F81,
    0x7FC0,
    0x7FFF,
)
_F32_CORNERS = (
    0x00000000,
    0x00000001,
    0x00000002,
    0x003FFFFF,
    0x00400000,
    0x007FFFFF,
    0x00800000,
    0x00800001,
    0x00FFFFFF,
    0x01000000,
    0x33800000,
    0x3F7FFFFF,
    0x3F800000,
    0x3F800001,
    0x3FFFFFFF,
    0x40000000,
    0x7F000000,
    0x7F7FFFFE,
    0x7F7FFFFF,
    0x7F800000,
    0x7F800001,
    0x7FC00000,
    0x7FFFFFFF,
)


def bf16_cases(rng: np.random.Generator, count: int) -> Cases:
    """``count`` cases: corners against each other (all 89,056, or as many as fill one half), then random ones.

    Random ones are, in equal parts: any bits; an accumulator with an exponent near that of the product; the negative
    product but for a few units in the last places; an accumulator that brings the sum beside a tie, where it passes a
    power of two; an infinite operand whose significand would cancel, were it a number.
    """
    small = np.array([s | c for s in (0, 0x8000) for c in _BF16_CORNERS], dtype=np.uint16)
    large = np.array([s | c for s in (0, 0x80000000) for c in _F32_CORNERS], dtype=np.uint32)
    acc, x, y = _against_each_other(rng, large, small, at_most=count // 2)
    number = count - len(acc)
    random_x, random_y = rng.integers(0, 1 << 16, (2, number), dtype=np.uint16)
    # Some operands without most of their significand, so that sums come out even, or tie.
    thin = rng.random(number) < 0.25
    random_x[thin] &= 0xFFE0
    random_acc = rng.integers(0, 1 << 32, number, dtype=np.uint32)
    kind = rng.integers(0, 5, number)
    # Products just below a power of two: the only ones that leave nothing but the sticky bit below a tie.
    full = (kind == 3) & (rng.random(number) < 0.5)
    random_x[full] |= 0x007C
    random_y[full] |= 0x007C
    random_x[kind == 4] = random_x[kind == 4] & 0x8000 | 0x7F80
    with np.errstate(all="ignore"):
        product = _as_f32(random_x).astype(np.float64) * _as_f32(random_y)
        near = product.astype(np.float32).view(np.uint32)
        power = np.frexp(product)[1]
        tie = np.ldexp(1 + rng.integers(1, 8, number) * 2.0**-24, power + rng.integers(-1, 2, number))
        tie += np.ldexp(rng.integers(-1, 2, number) * 1.0, power - rng.integers(26, 32, number))
        beside = (np.copysign(tie, product) - product).astype(np.float32).view(np.uint32)
    exponent = np.where(kind == 4, (random_y >> 7 & 0xFF) + 128, near >> 23 & 0xFF).astype(np.int64)
    exponent += np.where(kind == 4, rng.integers(-1, 2, number), rng.integers(-28, 29, number))
    by_exponent = (random_acc & 0x807FFFFF) | (np.clip(exponent, 0, 254).astype(np.uint32) << 23)
    by_exponent[thin] &= 0xFFFFF000
    opposite = ((near.astype(np.int64) + rng.integers(-3, 4, number)) & 0xFFFFFFFF).astype(np.uint32) ^ 0x80000000
    random_acc = np.choose(kind, [random_acc, by_exponent, opposite, beside, by_exponent]).astype(np.uint32)
    return np.concatenate([acc, random_acc]), np.concatenate([x, random_x]), np.concatenate([y, random_y])


def int8_cases(rng: np.random.Generator, count: int) -> Cases:
    """``count`` cases: corners against each other (all 512, or as many as fill one half), then random ones.

    Half of the random ones are about to wrap.
    """
    small = np.array([0, 1, 2, 0x7E, 0x7F, 0x80, 0x81, 0xFF], dtype=np.uint8)
    large = np.array([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFC000, 0x7FFFBFFF, 0x80000000, 0x80003F80], dtype=np.uint32)
    acc, x, y = _against_each_other(rng, large, small, at_most=count // 2)
    number = count - len(acc)
    random_x, random_y = rng.integers(0, 1 << 8, (2, number), dtype=np.uint8)
    random_acc = rng.integers(0, 1 << 32, number, dtype=np.uint32)
    edge = (0x80000000 + rng.integers(-(1 << 14), 1 << 14, number)).astype(np.uint32)
    random_acc = np.where(rng.random(number) < 0.5, edge, random_acc)
    return np.concatenate([acc, random_acc]), np.concatenate([x, random_x]), np.concatenate([y, random_y])


def vector_folder() -> Path | None:
    """Where the TestFloat vectors lie: ``testfloat`` in ``ACF_SHARED_DATA``, else in ``../shared/data``; or None."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("ACF_SHARED_DATA", beside)) / "testfloat"
    return folder if all((folder / name).exists() for name in VECTOR_FILES.values()) else None


def vector_columns(folder: Path, function: str) -> list[np.ndarray]:
    """The columns of one vector file, as unsigned integers."""
    with gzip.open(folder / VECTOR_FILES[function], "rt") as file:
        rows = [line.split() for line in file]
    return [np.array([int(word, 16) for word in column], dtype=np.uint32) for column in zip(*rows, strict=True)]


def vector_cases(folder: Path) -> dict[str, tuple[Cases, np.ndarray]]:
    """Every vector that the bf16 operator can run, with the float32 result it must give.

    - ``bf16_mul``: the product, added to -0, which leaves every product as it is, the sign of zero included;
    - ``bf16_add``: the first operand times 1, added to the second, and with the operands exchanged;
    - ``f32_add``: the same where the operand that is multiplied is a bfloat16 number.
    """
    cases = {}
    x, y, _, expected = vector_columns(folder, "bf16_mul")
    cases["bf16_mul"] = (np.full(len(x), 0x80000000, dtype=np.uint32), _low(x), _low(y)), expected
    x, y, _, expected = vector_columns(folder, "bf16_add")
    cases["bf16_add"] = _added([(x, y << 16), (y, x << 16)], [expected, expected])
    left, right, expected, _ = vector_columns(folder, "f32_add")
    first, second = left & 0xFFFF == 0, right & 0xFFFF == 0
    cases["f32_add"] = _added(
        [(left[first] >> 16, right[first]), (right[second] >> 16, left[second])], [expected[first], expected[second]]
    )
    return cases


def _against_each_other(rng: np.random.Generator, large: np.ndarray, small: np.ndarray, *, at_most: int) -> Cases:
    acc, x, y = (grid.ravel() for grid in np.meshgrid(large, small, small, indexing="ij"))
    chosen = np.sort(rng.permutation(len(acc))[:at_most])
    return acc[chosen], x[chosen], y[chosen]


def _added(pairs: list[tuple[np.ndarray, np.ndarray]], expected: list[np.ndarray]) -> tuple[Cases, np.ndarray]:
    x = _low(np.concatenate([pair[0] for pair in pairs]))
    acc = np.concatenate([pair[1] for pair in pairs]).astype(np.uint32)
    return (acc, x, np.full(len(x), _BF16_ONE, dtype=np.uint16)), np.concatenate(expected)


def _low(bits: np.ndarray) -> np.ndarray:
    return bits.astype(np.uint16)


def _as_f32(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
