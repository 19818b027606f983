"""Multiply-accumulate operators, one per number format, all with the same ports."""

from acf.hw.formats.bf16 import Bf16Mac
from acf.hw.formats.int8 import Int8Mac

__all__ = ["Bf16Mac", "Int8Mac", "mac"]

_OPERATORS = {"bf16": Bf16Mac, "int8": Int8Mac}


def mac(*, format: str) -> Bf16Mac | Int8Mac:
    """The operator of the number format called ``format``, as deep as its default pipeline.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if format not in _OPERATORS:
        raise ValueError(f"number format must be one of {', '.join(_OPERATORS)}, not {format!r}")
    return _OPERATORS[format]()
