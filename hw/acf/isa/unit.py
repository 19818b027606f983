"""What the last bit of a fixed-point accumulator weighs, as a STREAM says it."""

__all__ = ["DEFAULT_UNIT", "UNIT_BITS", "UNIT_STEP", "unit_exponent", "unit_field"]

UNIT_BITS = 6
"""Bits of ``unit`` of a STREAM."""

UNIT_STEP = 4
"""The weight of an accumulator's last bit is given in steps of ``2 ** UNIT_STEP``."""

DEFAULT_UNIT = -48
"""The last bit of an accumulator weighs ``2 ** DEFAULT_UNIT`` where nothing else is asked for."""


def unit_field(exponent: int) -> int:
    """``unit`` of a STREAM after which the last bit of an accumulator weighs ``2 ** exponent`` (format bf16x).

    Raises
    ------
    ValueError
        If it cannot weigh that.
    """
    steps, rest = divmod(exponent - DEFAULT_UNIT, UNIT_STEP)
    most = 1 << (UNIT_BITS - 1)
    if rest or not -most <= steps < most:
        lowest, highest = DEFAULT_UNIT - most * UNIT_STEP, DEFAULT_UNIT + (most - 1) * UNIT_STEP
        raise ValueError(
            f"exponent of an accumulator's last bit must be a multiple of {UNIT_STEP} from {lowest} to {highest}, "
            f"not {exponent!r}"
        )
    return steps % (1 << UNIT_BITS)


def unit_exponent(field: int) -> int:
    """The inverse of ``unit_field``."""
    most = 1 << (UNIT_BITS - 1)
    return DEFAULT_UNIT + UNIT_STEP * ((field ^ most) - most)
