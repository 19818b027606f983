"""``acf bench grid``: measure products over a grid of patterns and densities, and draw the results."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from rich.console import Console

    from acf.grid.points import Layer, Point

__all__ = ["grid"]

_RECORDS = "records.jsonl"
_SHAPE = "256x256x128"
_COLUMNS = 128


def grid(
    preset: PresetOption = "base",
    format: FormatOption = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            help=f"Rows x inner x columns of random layers, {_SHAPE} if neither it nor a file is given.",
            metavar="IxJxK",
            show_default=False,
        ),
    ] = None,
    matrix: Annotated[
        list[Path] | None,
        typer.Option("--matrix", help="W from a .mtx, .smtx (also .gz) or .npz file; may be repeated."),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option("--cols", help=f"Columns of the operands of files, {_COLUMNS} if not given.", show_default=False),
    ] = None,
    phases: Annotated[str, typer.Option("--phases", help="Products.", metavar="LIST")] = "gather,scatter,sampled",
    weight_densities: Annotated[
        str, typer.Option("--weight-densities", help="Of random layers.", metavar="LIST")
    ] = "1,0.5,0.3,0.2,0.1,0.05",
    operand_densities: Annotated[
        str, typer.Option("--operand-densities", help="Part of the operands that is not zero.", metavar="LIST")
    ] = "1,0.5,0.25",
    patterns: Annotated[
        str,
        typer.Option("--patterns", help="Of random layers: also other N:M and blockHxW.", metavar="LIST"),
    ] = "unstructured,constant-fan-in,2:4,block4x4",
    device: DeviceOption = "rtl",
    port: PortOption = None,
    seed: SeedOption = 1,
    dense_cycles: Annotated[
        bool, typer.Option("--dense-cycles", help="Measure without skipping too, once for each product and shape.")
    ] = False,
    memory_latency: LatencyOption = None,
    bytes_per_cycle: BandwidthOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the records, as they come, and two charts.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the records that are in --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure products over a grid: patterns, densities of weights and operands, or layers from files.

    Each point is a record as of the other commands. Combinations that cannot be are left out, and named. Exit status 1
    if a result is not bit-identical to the golden product.
    """
    from rich.console import Console

    from acf.grid.points import plan_points
    from acf.grid.run import Conditions, append_record, measure_points, read_records
    from acf.runtime.devices import open_device
    from acf.runtime.measure import UNITS

    config = configuration(preset, format)
    timing = memory_timing(device, memory_latency, bytes_per_cycle)
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if dense_cycles and device != "rtl":
        raise ValueError(f"the {device} device has no time, so --dense-cycles means nothing to it")
    layers: list[tuple[Layer, int]] = []
    skipped: list[str] = []
    if shape is not None or not matrix:
        layers, skipped = _random_layers(shape or _SHAPE, patterns, weight_densities)
    layers += _file_layers(matrix or [], config.lane.format, seed, _COLUMNS if columns is None else columns)
    points = plan_points(layers, _list(phases), _numbers(operand_densities, "operand density"))
    if not points:
        raise ValueError(f"nothing is left to measure: {'; '.join(skipped) or 'a list is empty'}")
    kept: list[dict[str, Any]] = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if (out / _RECORDS).exists():
            if not resume:
                raise ValueError(f"{out / _RECORDS} is there already: --resume goes on with it")
            kept = read_records(out / _RECORDS)
    elif resume:
        raise ValueError("--resume needs --out, the folder of the records")

    console = Console(stderr=True, highlight=False)
    for sentence in skipped:
        console.print(f"left out: {sentence}", soft_wrap=True)
    with console.status(f"opening the {device} device, {config.name}"):
        size = max(point.memory_bytes(config) for point in points)
        options = {} if timing is None else {"timing": timing}
        fabric = open_device(device, config, memory_bytes=size, port=port, **options)
    conditions = Conditions(
        device=device,
        verilog=getattr(fabric, "verilog_digest", None),
        config_digest=config.digest,
        format=config.lane.format,
        seed=seed,
        memory_latency=None if timing is None else timing.latency,
        bytes_per_cycle=None if timing is None else timing.bandwidth,
    )
    records: list[dict[str, Any]] = []
    with _live(console, len(points)) as (begin, end):
        found = measure_points(points, fabric, conditions, kept=kept, dense_cycles=dense_cycles, progress=begin)
        for record, is_new in found:
            records.append(record)
            if out is not None and is_new:
                append_record(out / _RECORDS, record)
            end()
    charts = [] if out is None or records[0]["cycles"] is None else _draw(records, out)
    if as_json:
        print(json.dumps({"records": records, "skipped": skipped, "units": UNITS}))
    else:
        _print_table(records, skipped, charts)
    wrong = [point for point, record in zip(points, records, strict=True) if not record["bit_exact"]]
    if wrong:
        raise RuntimeError(
            f"{len(wrong)} of {len(points)} results of the {device} device differ from the golden product, first "
            f"{wrong[0]} (seed {seed})"
        )


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _numbers(text: str, what: str) -> list[float]:
    numbers = []
    for word in _list(text):
        try:
            numbers.append(float(word))
        except ValueError:
            raise ValueError(f"{what} must be numbers with commas between them, not {word!r}") from None
    return numbers


def _random_layers(shape: str, patterns: str, densities: str) -> "tuple[list[tuple[Layer, int]], list[str]]":
    from acf.grid.points import random_layers

    found = re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})x([1-9]\d{0,6})", shape)
    if found is None:
        raise ValueError(f"shape must be rows x inner x columns, as 256x256x128, not {shape!r}")
    rows, inner, columns = map(int, found.groups())
    layers, skipped = random_layers(_list(patterns), _numbers(densities, "weight density"), rows=rows, inner=inner)
    return [(layer, columns) for layer in layers], skipped


def _file_layers(paths: list[Path], format: str, seed: int, columns: int) -> "list[tuple[Layer, int]]":
    from acf.grid.points import file_layer
    from acf.runtime.matrix_files import read_matrix

    return [(file_layer(path, read_matrix(path, format=format, seed=seed)), columns) for path in paths]


@contextmanager
def _live(console: "Console", total: int) -> "Iterator[tuple[Callable[[Point, str], None], Callable[[], None]]]":
    """A bar that shows what is measured; where nobody watches, a line for each point."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*bars, TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        begun: list[Any] = [None, 0]

        def begin(point: "Point", text: str) -> None:
            progress.update(task, description=f"{point}: {text}")
            if not console.is_terminal and begun[0] is not point:
                console.print(f"{begun[1] + 1} of {total}: {point}", soft_wrap=True)
            begun[0] = point

        def end() -> None:
            begun[1] += 1
            progress.advance(task)

        yield begin, end


def _draw(records: list[dict[str, Any]], out: Path) -> list[Path]:
    from acf.grid.pictures import draw_roofline, draw_stalls

    charts = [out / "roofline.png", out / "stalls.png"]
    for path, draw in zip(charts, (draw_roofline, draw_stalls), strict=True):
        draw(records).savefig(path, dpi=160)
    return charts


def _print_table(records: list[dict[str, Any]], skipped: list[str], charts: list[Path]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from acf.grid.pictures import layer_name

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("product", no_wrap=True)
    table.add_column("weights", min_width=20, overflow="fold")
    for title in ("oper-\nands", "cycles", "roof-\nline", "utili-\nzation", "speed-\nup", "ideal"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("bit\nexact", no_wrap=True)
    for record in records:
        table.add_row(
            record["product"],
            layer_name(record),
            f"{100 * record['asked_operand_density']:g} %",
            "-" if record["cycles"] is None else f"{record['cycles']:,}",
            _percent(record["roofline_fraction"]),
            _percent(record["utilization"]),
            _times(record["speedup"]),
            _times(record["ideal_speedup"], 1),
            "yes" if record["bit_exact"] else "[bold red]NO[/]",
        )
    console = Console(highlight=False)
    console.print(table)
    for sentence in skipped:
        console.print(f"left out: {sentence}", soft_wrap=True)
    first = records[0]
    if first["cycles"] is None:
        console.print(f"the {first['device']} device has no time")
    console.print(f"configuration {first['config_digest']}, seed {first['seed']}")
    for path in charts:
        console.print(str(path), soft_wrap=True)


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"


def _times(factor: float | None, digits: int = 2) -> str:
    return "-" if factor is None else f"{factor:.{digits}f} x"
