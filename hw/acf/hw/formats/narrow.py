"""Rounding of accumulators to operands."""

from amaranth.hdl import Value

__all__ = ["round_to_bf16"]


def round_to_bf16(value: Value) -> Value:
    """A float32 rounded to bfloat16, to nearest even; the only NaN that an accumulator holds is the canonical one."""
    return (value + 0x7FFF + value[16])[16:32]
