"""Parameters of a preset that are given beside its name, as in ``base,lane.accumulator_rows=512``."""

import dataclasses
from typing import TYPE_CHECKING, Any

from acf.config.checks import require

if TYPE_CHECKING:
    from acf.config.fabric import FabricConfig

__all__ = ["with_parameters"]


def with_parameters(config: "FabricConfig", given: str) -> "FabricConfig":
    """The fabric with other parameters; all of these are in its name.

    Parameters
    ----------
    config : FabricConfig
    given : str
        ``parameter=value`` or ``block.parameter=value``, with commas between them: a number, a switch, which is ``on``
        or ``off``, or ``lane.format``.

    Raises
    ------
    ValueError
        If there is no such parameter, or it cannot have this value.
    """
    blocks: dict[str, dict[str, Any]] = {}
    for each in given.split(","):
        path, equals, value = each.partition("=")
        require(bool(equals), f"a parameter must be written as lane.slots=16, not {each!r}")
        block, dot, parameter = path.partition(".")
        owner = getattr(config, block, None) if dot else config
        parameter = parameter if dot else block
        known = dataclasses.is_dataclass(owner) and parameter in {found.name for found in dataclasses.fields(owner)}
        before = getattr(owner, parameter) if known else None
        require(
            known and isinstance(before, int | str) and parameter != "name", f"there is no parameter {path!r} to set"
        )
        blocks.setdefault(block if dot else "", {})[parameter] = _parsed(path, before, value)
    own = blocks.pop("", {})
    changed = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in blocks.items()}
    return dataclasses.replace(config, name=f"{config.name},{given}", **own, **changed)


def _parsed(path: str, before: Any, value: str) -> int | str:
    if isinstance(before, str):
        return value
    if isinstance(before, bool):
        require(value in ("on", "off"), f"{path} must be on or off, not {value!r}")
        return value == "on"
    require(value.isdecimal(), f"{path} must be a number, not {value!r}")
    return int(value)
