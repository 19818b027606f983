"""Multiply-accumulate operators, one per number format, all with the same ports."""

from acf.hw.formats.bf16 import Bf16Mac
from acf.hw.formats.bf16x import Bf16xMac
from acf.hw.formats.int8 import Int8Mac

__all__ = ["Bf16Mac", "Bf16xMac", "Int8Mac", "mac", "mac_latency", "mac_loop"]

_OPERATORS = {"bf16": Bf16Mac, "bf16x": Bf16xMac, "int8": Int8Mac}


def mac(*, format: str) -> Bf16Mac | Bf16xMac | Int8Mac:
    """The operator of the number format called ``format``, as deep as its default pipeline.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    return _operator(format)()


def mac_latency(*, format: str) -> int:
    """Cycles from the inputs of ``mac`` to its output.

    Raises
    ------
    ValueError
        If there is no format of that name.
    """
    return _operator(format).latency


def mac_loop(*, format: str) -> int:
    """Cycles from the accumulator that goes into ``mac`` to the one that comes out: of its latency the last ones.

    Raises
    ------
    ValueError
        If there is no format of that name.
    """
    return _operator(format).loop


def _operator(format: str) -> type[Bf16Mac] | type[Bf16xMac] | type[Int8Mac]:
    if format not in _OPERATORS:
        raise ValueError(f"number format must be one of {', '.join(_OPERATORS)}, not {format!r}")
    return _OPERATORS[format]
