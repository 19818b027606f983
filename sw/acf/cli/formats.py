"""``acf formats``: what the formats of weights cost, for a given matrix."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from acf.cli.options import (
    BandwidthOption,
    DeviceOption,
    FormatOption,
    JsonOption,
    LatencyOption,
    PortOption,
    PresetOption,
    SeedOption,
    configuration,
    memory_timing,
)

__all__ = ["formats"]


def formats(
    file: Annotated[Path, typer.Argument(help="W: a .mtx, .smtx (also .gz) or .npz file.", metavar="FILE")],
    product: Annotated[str, typer.Option("--product", help="gather: O = W A, or scatter: D = transpose(W) G.")] = (
        "gather"
    ),
    columns: Annotated[int, typer.Option("--cols", help="Columns of the operand.")] = 256,
    operand_density: Annotated[
        float, typer.Option("--operand-density", help="Part of the operand that is not zero.")
    ] = 0.5,
    seed: SeedOption = 1,
    preset: PresetOption = "base",
    format: FormatOption = None,
    device: DeviceOption = "rtl",
    port: PortOption = None,
    memory_latency: LatencyOption = None,
    bytes_per_cycle: BandwidthOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what each format of the weights in FILE takes of memory, and what a product from it costs, measured.

    Exit status 1 if a result is not bit-identical to the golden product.
    """
    from rich.console import Console

    from acf.runtime.devices import open_device
    from acf.runtime.matrix_files import read_matrix
    from acf.runtime.measure import random_operands
    from acf.runtime.measure_formats import FORMAT_PRODUCTS, UNITS, formats_memory_bytes, measure_formats

    config = configuration(preset, format)
    timing = memory_timing(device, memory_latency, bytes_per_cycle)
    if product not in FORMAT_PRODUCTS:
        raise ValueError(f"product must be one of {', '.join(FORMAT_PRODUCTS)}, not {product!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    weights = read_matrix(file, format=config.lane.format, seed=seed)
    (operand,) = random_operands(product, weights, columns=columns, density=operand_density, seed=seed)
    console = Console(stderr=True)
    with console.status(f"opening the {device} device") as status:
        options: dict[str, Any] = {} if timing is None else {"timing": timing}
        size = formats_memory_bytes(product, config, weights, columns=columns)
        fabric = open_device(device, config, memory_bytes=size, port=port, **options)
        costs = measure_formats(
            product,
            fabric,
            weights,
            operand,
            progress=lambda text: status.update(f"{device}, {config.name}: {text}"),
        )
    report = {
        "product": product,
        "device": device,
        "matrix": str(file),
        "rows": weights.shape[0],
        "inner": weights.shape[1],
        "columns": columns,
        "weight_entries": weights.entries,
        "weight_nonzeros": weights.nonzeros,
        "weight_density": weights.density,
        "operand_density": operand_density,
        "seed": seed,
        "memory_latency": None if timing is None else timing.latency,
        "bytes_per_cycle": None if timing is None else timing.bandwidth,
        "best": costs[0].stored.name,
        "formats": [cost.report() for cost in costs],
        "units": UNITS,
        "config_digest": config.digest,
        "config": config.describe(),
    }
    if as_json:
        print(json.dumps(report))
    else:
        _print_table(report)
    wrong = [cost.stored.name for cost in costs if cost.bit_exact is False]
    if wrong:
        raise RuntimeError(
            f"the result of the {device} device from {wrong[0]} differs from the golden product (seed {seed})"
        )


def _print_table(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    config = report["config"]
    has_time = report["formats"][0]["cycles"] is not None
    table = Table(
        title=f"{report['product']} from {report['rows']} x {report['inner']} weights with "
        f"{report['weight_entries']:,} entries, {report['columns']} columns, on {report['device']}, "
        f"{config['name']} in {config['lane']['format']}",
        title_justify="left",
    )
    table.add_column("format", no_wrap=True)
    for name in ("cycles", "read", "bytes", "values", "indices", "pointers", "exact"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in report["formats"]:
        arrays = cost["arrays"]
        rest = {name: size for name, size in arrays.items() if name not in ("values", "pointers")}
        table.add_row(
            ("* " if cost["name"] == report["best"] else "  ") + cost["name"],
            _count(cost["cycles"]),
            _count(cost["bytes_read"]),
            _count(cost["bytes"]),
            _count(arrays.get("values")),
            _count(sum(rest.values()) if rest else None),
            _count(arrays.get("pointers")),
            {True: "yes", False: "[bold red]NO[/]", None: "-"}[cost["bit_exact"]],
        )
    console = Console(highlight=False)
    console.print(table)
    order = "fewest cycles" if has_time else f"fewest bytes, since the {report['device']} device has no time"
    notes = {
        "*": f"the {order}, of those that were run",
        "cycles": "from the first fetch to END",
        "read": "bytes through the memory port, operands and program included",
        "bytes": "of the arrays in the columns behind; indices: or what stands for them",
        "operand": f"{100 * report['operand_density']:g} % non-zero, seed {report['seed']}",
        "configuration": report["config_digest"],
        **{cost["name"]: cost["note"] for cost in report["formats"] if cost["note"]},
    }
    for name, note in notes.items():
        console.print(f"{name}: {note}", soft_wrap=True)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
