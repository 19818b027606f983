"""Checks of parameters: each raises ``ValueError`` with one sentence that names the value."""

import hashlib
import json
from typing import Any

__all__ = ["digest_of", "require", "require_one_of", "require_power_of_two", "require_range"]


def require(condition: bool, message: str) -> None:
    """Refuse a parameter, in the words of ``message``, unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def require_range(what: str, value: int, low: int, high: int) -> None:
    """Refuse what is no integer from ``low`` to ``high``."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{what} must be an integer from {low} to {high}, not {value!r}",
    )


def require_power_of_two(what: str, value: int, low: int, high: int) -> None:
    """Refuse what is no power of two from ``low`` to ``high``."""
    require_range(what, value, low, high)
    require(value & (value - 1) == 0, f"{what} must be a power of two, not {value!r}")


def require_one_of(what: str, value: str, names: tuple[str, ...]) -> None:
    """Refuse what is none of ``names``."""
    require(value in names, f"{what} must be one of {', '.join(names)}, not {value!r}")


def digest_of(parameters: dict[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
