"""``acf presets``: the named configurations and their parameters."""

import json

from rich.console import Console
from rich.table import Table

from acf.cli.options import JsonOption
from acf.config import PRESETS

__all__ = ["presets"]


def presets(as_json: JsonOption = False) -> None:
    """Show the named configurations, their parameters and their digests."""
    described = {name: config.describe() for name, config in PRESETS.items()}
    if as_json:
        print(json.dumps(described, indent=2))
        return
    table = Table()
    table.add_column("parameter")
    for name in described:
        table.add_column(name, justify="right")
    flat = [_flatten(values) for values in described.values()]
    for parameter in flat[0]:
        if parameter != "name":
            table.add_row(parameter, *(str(values[parameter]) for values in flat))
    Console(highlight=False).print(table)


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
