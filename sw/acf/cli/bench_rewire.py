"""``acf bench rewire``: measure how long the structure of a layer takes to change."""

import json
from typing import Annotated, Any

import typer

from acf.cli.options import DeviceOption, JsonOption, PortOption, PresetOption, SeedOption, configuration

__all__ = ["rewire"]

_UNITS = {
    "drop": "entries of each row that are to be exchanged",
    "asked": "drop x rows",
    "rewired": "entries exchanged, counter REWIRED",
    "rewire_cycles": "clock cycles from the command to the last answer of memory, counter REWIRE_CYCLES",
    "cycles_per_exchange": "rewire_cycles / rewired",
}


def rewire(
    rows: Annotated[int, typer.Option("--rows", help="Rows of the layer.")] = 256,
    inner: Annotated[int, typer.Option("--inner", help="Columns of the layer.")] = 1152,
    density: Annotated[float, typer.Option("--density", help="Part of the columns that each row has.")] = 0.1,
    drop: Annotated[float, typer.Option("--drop", help="Part of the entries dropped at first.")] = 0.3,
    changes: Annotated[int, typer.Option("--changes", help="Changes in which it falls along a cosine to 0.")] = 10,
    at_random: Annotated[bool, typer.Option("--random", help="Grow columns that are drawn.")] = False,
    seed: SeedOption = 1,
    preset: PresetOption = "base",
    device: DeviceOption = "rtl",
    port: PortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop and grow in a layer of constant fan-in, once for each of several changes of a training.

    What comes before it, the gradients of candidates, is not part of it. Changes in which a row would exchange less
    than one entry are left out. Exit status 1 if a result is not bit-identical to the golden model.
    """
    from rich.console import Console
    from rich.table import Table

    from acf.runtime.devices import open_device
    from acf.runtime.rewire import RewireTask, measure_rewire, rewire_memory_bytes
    from acf.sparsity.schedules import DropSchedule
    from acf.sparsity.updates import StructureUpdate, UpdateKind
    from acf.training.rewiring import rewire_fields

    config = configuration(preset, None)
    fan_in = round(density * inner)
    if not 0 < rows <= 1 << 16:
        raise ValueError(f"rows must be from 1 to {1 << 16}, not {rows}")
    if not 1 < inner <= config.structure.columns:
        raise ValueError(f"columns of a layer must be from 2 to {config.structure.columns}, not {inner}")
    if not 0 < fan_in < inner:
        raise ValueError(f"rows must have some of {inner} columns, not a part of {density}")
    if changes < 1:
        raise ValueError(f"there must be at least one change, not {changes}")
    if seed < 1:
        raise ValueError(f"seed must be positive, not {seed}")
    schedule = DropSchedule(initial=drop, end=changes)
    found: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with console.status(f"opening the {device} device") as status:
        size = rewire_memory_bytes(config, rows=rows, inner=inner, fan_in=fan_in)
        fabric = open_device(device, config, memory_bytes=size, port=port)
        for step in range(changes):
            count = int(schedule.at(step) * fan_in)
            if not count:
                continue
            status.update(f"{device}, {config.name}: {count} of {fan_in} entries of a row")
            # A layer of a training has a bias in each row; here that is one of its entries.
            update = StructureUpdate(
                layer="layer", step=step, kind=UpdateKind.REWIRE_BY_GRADIENT, drop=count, entries=fan_in - 1
            )
            fields = rewire_fields(update, columns=inner, number=0, seed=seed)
            task = RewireTask(span=fields.span, block=None if at_random else fields.block)
            one = measure_rewire(fabric, task, rows=rows, inner=inner, fan_in=fan_in, seed=seed + step)
            found.append({"drop": count, "asked": count * rows, **one, "cycles_per_exchange": _ratio(one)})
    total: dict[str, Any] = {name: sum(one[name] for one in found) for name in ("asked", "rewired")}
    total["rewire_cycles"] = None if device == "golden" else sum(one["rewire_cycles"] for one in found)
    report = {
        "product": "rewire",
        "device": device,
        "rows": rows,
        "inner": inner,
        "fan_in": fan_in,
        "drop": drop,
        "changes": found,
        "random": at_random,
        "seed": seed,
        "bit_exact": all(one["bit_exact"] for one in found),
        **total,
        "cycles_per_exchange": _ratio(total),
        "units": _UNITS,
        "config_digest": config.digest,
        "config": config.describe(),
    }
    if as_json:
        print(json.dumps(report))
    else:
        table = Table(title=f"Rewiring on {device}, {config.name}", title_justify="left")
        shown = ("drop", "asked", "rewired", "rewire_cycles", "cycles_per_exchange")
        for column in shown:
            table.add_column(column.replace("_", " "), justify="right")
        for one in (*found, {"drop": "all", **total, "cycles_per_exchange": _ratio(total)}):
            table.add_row(*(f"{one[name]:.2f}" if isinstance(one[name], float) else str(one[name]) for name in shown))
        Console(highlight=False).print(table)
    if not report["bit_exact"]:
        raise RuntimeError(f"the result of the {device} device differs from the golden model (seed {seed})")


def _ratio(one: dict[str, Any]) -> float | None:
    return one["rewire_cycles"] / one["rewired"] if one["rewire_cycles"] and one["rewired"] else None
