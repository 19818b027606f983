"""The arithmetic of each number format, on NumPy arrays.

Written from the mathematics, not from the hardware: a bf16 accumulation is one exact sum, rounded once, as
``acf.golden.float32`` does it, a bf16x accumulation is exact, as ``acf.golden.fixed_point`` does it.
"""

from typing import Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from acf.config import NUMBER_FORMATS, NumberFormat
from acf.golden import fixed_point
from acf.golden.float32 import add, add_product
from acf.isa import DEFAULT_UNIT

__all__ = ["Bf16", "Bf16x", "GoldenFormat", "Int8", "golden_format"]

_CANONICAL_NAN_BF16 = np.uint16(0x7FC0)


class GoldenFormat(Protocol):
    """What the golden model needs to know of a number format.

    Attributes
    ----------
    number_format : NumberFormat
        Storage widths.
    dtype : numpy.dtype
        Operands in memory.
    accumulator_dtype : numpy.dtype
        Accumulators on chip.
    result_dtype : numpy.dtype
        Drained accumulators.
    """

    number_format: NumberFormat
    dtype: np.dtype
    accumulator_dtype: np.dtype
    result_dtype: np.dtype

    def with_unit(self, exponent: int) -> "GoldenFormat":
        """The same arithmetic where the last bit of an accumulator weighs ``2 ** exponent``, if that can be chosen."""
        ...

    def quantize(self, values: npt.ArrayLike) -> np.ndarray:
        """Real numbers as operands, each rounded once, to nearest even."""
        ...

    def accumulate(self, acc: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``acc + x * y`` element by element (arguments are broadcast), and the flags of each (``acf.isa.Flag``).

        Every product is added, also those with a zero operand: which products are skipped is the caller's rule.
        """
        ...

    def is_zero(self, x: npt.ArrayLike) -> np.ndarray:
        """Which operands are zero, so that their products are skipped."""
        ...

    def add(self, a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """The sum of two accumulators, and its flags."""
        ...

    def result(self, acc: np.ndarray) -> np.ndarray:
        """Accumulators as they are drained."""
        ...

    def narrow(self, acc: npt.ArrayLike) -> np.ndarray:
        """Drained accumulators as operands, rounded once.

        Raises
        ------
        ValueError
            If the format has no rounding from results to operands.
        """
        ...


class Bf16:
    """bfloat16 operands, float32 accumulators: a fused multiply-add with one rounding, to nearest even.

    Subnormal operands and results are kept. Infinities and NaN follow IEEE 754; every NaN result is 7FC00000. There is
    no overflow flag: a sum too large becomes infinite.
    """

    number_format = NUMBER_FORMATS["bf16"]
    dtype = np.dtype(ml_dtypes.bfloat16)
    accumulator_dtype = np.dtype(np.float32)
    result_dtype = np.dtype(np.float32)

    def with_unit(self, exponent: int) -> "GoldenFormat":
        """The same: float32 has an exponent of its own."""
        return self

    def quantize(self, values: npt.ArrayLike) -> np.ndarray:
        """float64 numbers rounded once to bfloat16; too large ones become infinite, every NaN becomes 7FC0."""
        with np.errstate(all="ignore"):
            exact = np.asarray(values, dtype=np.float64)
            rounded = exact.astype(np.float32)
            magnitude, reached = np.abs(exact), np.abs(rounded.astype(np.float64))
        # Through float32 by rounding to odd, so that the second rounding is the only one that counts.
        bits = rounded.view(np.uint32)
        bits = np.where(bits & 1 == 0, bits + (magnitude > reached) - (magnitude < reached), bits).astype(np.uint32)
        bits = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
        return np.where(np.isnan(exact), _CANONICAL_NAN_BF16, bits).astype(np.uint16).view(self.dtype)

    def accumulate(self, acc: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``round(acc + x * y)`` in float32, and no flags."""
        result = add_product(acc, x, y)
        return result, np.zeros(result.shape, dtype=np.uint8)

    def is_zero(self, x: npt.ArrayLike) -> np.ndarray:
        """True for +0 and -0; subnormal numbers are not zero."""
        return (np.asarray(x, dtype=self.dtype).view(np.uint16) & 0x7FFF) == 0

    def add(self, a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``round(a + b)`` in float32, every NaN canonical, and no flags."""
        result = add(a, b)
        return result, np.zeros(result.shape, dtype=np.uint8)

    def result(self, acc: np.ndarray) -> np.ndarray:
        """The same: accumulators are float32."""
        return acc

    def narrow(self, acc: npt.ArrayLike) -> np.ndarray:
        """float32 rounded to bfloat16, to nearest even; every NaN becomes 7FC0."""
        values = np.asarray(acc, dtype=np.float32)
        bits = values.view(np.uint32)
        bits = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
        return np.where(np.isnan(values), _CANONICAL_NAN_BF16, bits).astype(np.uint16).view(self.dtype)


class Bf16x(Bf16):
    """bfloat16 operands, 64-bit fixed-point accumulators: exact sums, rounded to float32 when they are drained.

    See ``acf.golden.fixed_point``.

    Parameters
    ----------
    unit : int
        The last bit of an accumulator weighs ``2 ** unit``.
    """

    number_format = NUMBER_FORMATS["bf16x"]
    accumulator_dtype = np.dtype(np.int64)

    def __init__(self, unit: int = DEFAULT_UNIT):
        self._unit = unit

    def with_unit(self, exponent: int) -> "GoldenFormat":
        """The same arithmetic where the last bit of an accumulator weighs ``2 ** exponent``."""
        return Bf16x(exponent)

    def accumulate(self, acc: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``acc + x * y``, the product in whole units, modulo 2^63, and its flags."""
        return fixed_point.add_product(acc, x, y, exponent=self._unit)

    def add(self, a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``a + b`` modulo 2^63, and its flags."""
        return fixed_point.add(a, b)

    def result(self, acc: np.ndarray) -> np.ndarray:
        """Accumulators rounded to float32, to nearest even; invalid ones are 7FC00000."""
        return fixed_point.round_to_float32(acc, exponent=self._unit)


class Int8:
    """int8 operands, int32 accumulators that wrap."""

    number_format = NUMBER_FORMATS["int8"]
    dtype = np.dtype(np.int8)
    accumulator_dtype = np.dtype(np.int32)
    result_dtype = np.dtype(np.int32)

    def with_unit(self, exponent: int) -> "GoldenFormat":
        """The same: the last bit of an integer weighs 1."""
        return self

    def quantize(self, values: npt.ArrayLike) -> np.ndarray:
        """float64 numbers rounded to the nearest integer, ties to even, and held within -128 to 127.

        Raises
        ------
        ValueError
            If a value is NaN, for which there is no integer.
        """
        exact = np.asarray(values, dtype=np.float64)
        if np.isnan(exact).any():
            raise ValueError(f"int8 cannot hold nan, at flat index {int(np.argmax(np.isnan(exact)))!r}")
        return np.clip(np.rint(exact), -128, 127).astype(self.dtype)

    def accumulate(self, acc: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``acc + x * y`` modulo 2^32, and OVERFLOW where it wrapped."""
        product = np.asarray(x, dtype=np.int8).astype(np.int64) * np.asarray(y, dtype=np.int8)
        exact = np.asarray(acc, dtype=np.int32) + product
        result = exact.astype(np.int32)
        return result, (result != exact).astype(np.uint8)

    def is_zero(self, x: npt.ArrayLike) -> np.ndarray:
        """True for 0."""
        return np.asarray(x, dtype=np.int8) == 0

    def add(self, a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """``a + b`` modulo 2^32, and OVERFLOW where it wrapped."""
        exact = np.asarray(a, dtype=np.int32).astype(np.int64) + np.asarray(b, dtype=np.int32)
        result = exact.astype(np.int32)
        return result, (result != exact).astype(np.uint8)

    def result(self, acc: np.ndarray) -> np.ndarray:
        """The same: accumulators are int32."""
        return acc

    def narrow(self, acc: npt.ArrayLike) -> np.ndarray:
        """There is none: an int32 sum has no scale.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("int32 accumulators cannot be rounded to int8 operands: they have no scale")


_FORMATS: dict[str, type[Bf16] | type[Int8]] = {"bf16": Bf16, "bf16x": Bf16x, "int8": Int8}


def golden_format(name: str) -> GoldenFormat:
    """The arithmetic of the number format called ``name``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in _FORMATS:
        raise ValueError(f"number format must be one of {', '.join(_FORMATS)}, not {name!r}")
    return _FORMATS[name]()
