"""``acf bench update``: measure a step of the optimizer on a device."""

import json
from typing import Annotated, Any

import typer

from acf.cli.options import DeviceOption, JsonOption, PortOption, PresetOption, SeedOption, configuration

__all__ = ["update"]


def update(
    entries: Annotated[int, typer.Option("--entries", help="Weights that are updated.")] = 10000,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Round the weights stochastically.")] = False,
    seed: SeedOption = 1,
    preset: PresetOption = "base",
    device: DeviceOption = "rtl",
    port: PortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a step of SGD with momentum over the master values of a layer, in memory.

    Exit status 1 if a result is not bit-identical to the golden model.
    """
    from rich.console import Console
    from rich.table import Table

    from acf.runtime.devices import open_device
    from acf.runtime.update import measure_update, update_memory_bytes

    config = configuration(preset, None)
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if not 0 <= entries <= 1 << 24:
        raise ValueError(f"entries must be from 0 to {1 << 24}, not {entries}")
    console = Console(stderr=True)
    with console.status(f"opening the {device} device"):
        fabric = open_device(device, config, memory_bytes=update_memory_bytes(config, entries=entries), port=port)
        report: dict[str, Any] = measure_update(fabric, entries=entries, stochastic=stochastic, seed=seed)
    if as_json:
        print(json.dumps(report))
    else:
        table = Table(title=f"SGD with momentum on {device}, {config.name}", title_justify="left")
        for column in ("what", "value", "unit or denominator"):
            table.add_column(column)
        shown = ("bit_exact", "entries", "cycles", "cycles_per_entry", "roofline_cycles", "roofline_fraction")
        for what in (*shown, "bytes_read", "bytes_written"):
            table.add_row(what.replace("_", " "), str(report[what]), report["units"].get(what, ""))
        table.add_row("configuration", report["config_digest"], f"seed {seed}")
        Console(highlight=False).print(table)
    if not report["bit_exact"]:
        raise RuntimeError(f"the result of the {device} device differs from the golden model (seed {seed})")
