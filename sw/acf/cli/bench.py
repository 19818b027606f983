"""``acf bench``: measure a product on a device."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acf.cli.options import FormatOption, JsonOption, PresetOption, configuration
from acf.config import FabricConfig

if TYPE_CHECKING:
    from acf.sim.memory_timing import MemoryTiming

__all__ = ["app"]

app = typer.Typer(help="Measure products of sparse matrices.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Keeps ``gather`` a command of its own while there is no other."""


@app.command("gather")
def gather(
    rows: Annotated[int, typer.Option("--rows", help="Rows of the weights W.")] = 64,
    inner: Annotated[int, typer.Option("--inner", help="Columns of W, rows of the operand A.")] = 256,
    columns: Annotated[int, typer.Option("--cols", help="Columns of A.")] = 256,
    weight_density: Annotated[float, typer.Option("--weight-density", help="Part of W that is not zero.")] = 0.2,
    operand_density: Annotated[float, typer.Option("--operand-density", help="Part of A that is not zero.")] = 0.5,
    seed: Annotated[int, typer.Option("--seed", help="Of all random numbers.")] = 1,
    preset: PresetOption = "base",
    format: FormatOption = None,
    device: Annotated[str, typer.Option("--device", help="golden or rtl.", metavar="NAME")] = "rtl",
    matrix: Annotated[
        Path | None,
        typer.Option("--matrix", help="Read W from a .mtx, .smtx (also .gz) or .npz file.", show_default=False),
    ] = None,
    memory_latency: Annotated[
        int | None, typer.Option("--memory-latency", help="Cycles from a read's address to its data.")
    ] = None,
    bytes_per_cycle: Annotated[
        float | None, typer.Option("--bytes-per-cycle", help="Bandwidth of the memory, both directions together.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Multiply sparse weights by a sparse operand: O = W A, with zero skipping, without it, and in the golden model.

    Exit status 1 if a result is not bit-identical to the golden product.
    """
    from rich.console import Console

    from acf.runtime.devices import open_device
    from acf.runtime.gather import gather_memory_bytes
    from acf.runtime.matrices import random_operand, random_weights
    from acf.runtime.matrix_files import read_matrix
    from acf.runtime.measure import measure_gather

    config = configuration(preset, format)
    number_format = config.lane.format
    timing = _memory_timing(device, memory_latency, bytes_per_cycle)
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if matrix is not None:
        weights = read_matrix(matrix, format=number_format, seed=seed)
        rows, inner = weights.shape
    else:
        weights = random_weights(rows=rows, inner=inner, density=weight_density, seed=seed, format=number_format)
    operand = random_operand(inner=inner, columns=columns, density=operand_density, seed=seed, format=number_format)
    size = gather_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=weights.entries)

    console = Console(stderr=True)
    with console.status(f"opening the {device} device") as status:
        options: dict[str, Any] = {} if timing is None else {"timing": timing}
        fabric = open_device(device, config, memory_bytes=size, **options)
        measured = measure_gather(
            fabric, weights, operand, progress=lambda text: status.update(f"{device}, {config.name}: {text}")
        )
    report = {
        "product": "gather",
        "device": device,
        "matrix": None if matrix is None else str(matrix),
        "seed": seed,
        "memory_latency": None if timing is None else timing.latency,
        "bytes_per_cycle": None if timing is None else timing.bandwidth,
        **measured.report(),
    }
    if as_json:
        print(json.dumps(report))
    else:
        _print_table(report, config)
    if not report["bit_exact"]:
        raise RuntimeError(f"the result of the {device} device differs from the golden product (seed {seed})")


def _memory_timing(device: str, latency: int | None, bandwidth: float | None) -> "MemoryTiming | None":
    given = {"latency": latency, "bandwidth": bandwidth}
    given = {name: value for name, value in given.items() if value is not None}
    if device != "rtl":
        if given:
            raise ValueError(f"the {device} device has no time, so a memory {next(iter(given))} means nothing to it")
        return None
    from acf.sim.memory_timing import MemoryTiming

    return MemoryTiming(**given)


def _print_table(report: dict[str, Any], config: FabricConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"O = W A on {report['device']}, {config.name} in {config.lane.format}", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit or denominator", style="dim")

    def row(what: str, value: str, unit: str = "") -> None:
        table.add_row(what, value, unit)

    rows, inner, columns = report["rows"], report["inner"], report["columns"]
    row("W", f"{rows} x {inner}", report["matrix"] or f"random, seed {report['seed']}")
    row("weight density", _percent(report["weight_density"]), f"{report['weight_nonzeros']:,} of {rows * inner:,}")
    row("A", f"{inner} x {columns}", f"random, seed {report['seed']}")
    row(
        "operand density", _percent(report["operand_density"]), f"{report['operand_nonzeros']:,} of {inner * columns:,}"
    )
    table.add_section()
    row("bit exact", "yes" if report["bit_exact"] else "[bold red]NO[/]", "both runs beside the golden product")
    row("effectual MACs", f"{report['effectual_macs']:,}", f"of {report['dense_macs']:,} dense MACs")
    if report["cycles"] is not None:
        lane_cycles = report["lanes"] * report["cycles"]
        row("cycles", f"{report['cycles']:,}", "first fetch to END")
        row("cycles without skipping", f"{report['dense_cycles']:,}", "same array, W stored dense")
        row("speedup", _times(report["speedup"]), "cycles without skipping / cycles")
        row("ideal speedup", _times(report["ideal_speedup"]), "dense MACs / effectual MACs")
        row("utilization", _percent(report["utilization"]), f"effectual MACs of {report['lanes']} lanes x cycles")
        table.add_section()
        for cause, cycles in report["lane_cycles"].items():
            row(
                f"  {cause.replace('_', ' ')}",
                _percent(cycles / lane_cycles),
                f"{cycles:,} of {lane_cycles:,} lane cycles",
            )
        table.add_section()
        row("read", f"{report['bytes_read']:,}", f"bytes, {report['bytes_read'] / report['cycles']:.1f} per cycle")
        row(
            "written",
            f"{report['bytes_written']:,}",
            f"bytes, {report['bytes_written'] / report['cycles']:.1f} per cycle",
        )
        bandwidth = report["bytes_per_cycle"]
        row(
            "memory", f"{report['memory_latency']} cycles", f"{bandwidth or config.memory.beat_bytes:g} bytes per cycle"
        )
    else:
        row("cycles", "-", f"the {report['device']} device has no time")
    row("configuration", report["config_digest"], f"{config.rows} x {config.cols} tiles x {config.lanes} lanes")
    Console(highlight=False).print(table)


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.2f} %"


def _times(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.2f} x"
