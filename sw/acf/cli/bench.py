"""``acf bench``: measure a product on a device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from acf.cli.bench_grid import grid
from acf.cli.bench_rewire import rewire
from acf.cli.bench_update import update
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
from acf.config import FabricConfig
from acf.isa import DEFAULT_UNIT
from acf.runtime.layout import OperandForm, WeightForm

__all__ = ["app"]

app = typer.Typer(help="Measure the products of sparse layers, and the update of their weights.", no_args_is_help=True)
app.command("update")(update)
app.command("rewire")(rewire)
app.command("grid")(grid)

RowsOption = Annotated[int, typer.Option("--rows", help="Rows of the weights W.")]
InnerOption = Annotated[int, typer.Option("--inner", help="Columns of W.")]
ColumnsOption = Annotated[int, typer.Option("--cols", help="Columns of the operands.")]
WeightDensityOption = Annotated[float, typer.Option("--weight-density", help="Part of W that is not zero.")]
OperandDensityOption = Annotated[
    float, typer.Option("--operand-density", help="Part of the operands that is not zero.")
]
ConcentrationOption = Annotated[
    float | None,
    typer.Option(
        "--column-concentration",
        help="Densities of columns are drawn from a beta distribution around --operand-density whose parameters add up "
        "to this (2 around 0.5: from 0 to 1 equally likely), instead of all alike.",
        show_default=False,
    ),
]
OperandFormOption = Annotated[
    OperandForm,
    typer.Option(
        "--operand-form", help="How operands lie in memory: all elements, masks and non-zeros, or the shorter."
    ),
]
WeightFormOption = Annotated[
    WeightForm,
    typer.Option(
        "--weights-format",
        help="How W lies in memory; auto: in the fewest bytes. A scatter reads csr, dense, nm and block, a sampled "
        "product csr.",
    ),
]
DealOption = Annotated[
    bool,
    typer.Option(
        "--deal/--no-deal", help="Deal columns of operands to lanes, and W to row feeders, by density, or in order."
    ),
]
DenseOption = Annotated[
    bool,
    typer.Option("--dense/--no-dense", help="Run it without skipping too, which takes the longest on large layers."),
]
UnitOption = Annotated[
    int, typer.Option("--unit", help="In bf16x the last bit of an accumulator weighs 2 to the power of this.")
]
MatrixOption = Annotated[
    Path | None,
    typer.Option("--matrix", help="Read W from a .mtx, .smtx (also .gz) or .npz file.", show_default=False),
]


_HELP = {
    "gather": "Multiply sparse weights by a sparse operand: O = W A, the forward product.",
    "scatter": "Multiply the transpose of sparse weights: D = transpose(W) G, the input gradient.",
    "sampled": "Multiply two operands where the weights have entries: S = G transpose(A), the weight gradient.",
}
_MORE_HELP = """

Run with zero skipping, without it (unless --no-dense), and in the golden model. Exit status 1 if a result is not
bit-identical to the golden product.
"""


def _command(product: str) -> Callable[..., None]:
    """The command that measures a product."""

    def command(
        rows: RowsOption = 64,
        inner: InnerOption = 256,
        columns: ColumnsOption = 256,
        weight_density: WeightDensityOption = 0.2,
        operand_density: OperandDensityOption = 0.5,
        column_concentration: ConcentrationOption = None,
        weight_form: WeightFormOption = WeightForm.CSR,
        operand_form: OperandFormOption = OperandForm.AUTO,
        deal: DealOption = True,
        dense: DenseOption = True,
        unit: UnitOption = DEFAULT_UNIT,
        seed: SeedOption = 1,
        preset: PresetOption = "base",
        format: FormatOption = None,
        device: DeviceOption = "rtl",
        port: PortOption = None,
        matrix: MatrixOption = None,
        memory_latency: LatencyOption = None,
        bytes_per_cycle: BandwidthOption = None,
        as_json: JsonOption = False,
    ) -> None:
        _bench(
            product,
            rows=rows,
            inner=inner,
            columns=columns,
            weight_density=weight_density,
            operand_density=operand_density,
            column_concentration=column_concentration,
            weight_form=weight_form,
            operand_form=operand_form,
            deal=deal,
            dense=dense,
            unit=unit,
            seed=seed,
            preset=preset,
            format=format,
            device=device,
            port=port,
            matrix=matrix,
            memory_latency=memory_latency,
            bytes_per_cycle=bytes_per_cycle,
            as_json=as_json,
        )

    return command


for _product, _help in _HELP.items():
    app.command(_product, help=_help + _MORE_HELP)(_command(_product))


def _bench(
    product: str,
    *,
    rows: int,
    inner: int,
    columns: int,
    weight_density: float,
    operand_density: float,
    column_concentration: float | None,
    weight_form: WeightForm,
    operand_form: OperandForm,
    deal: bool,
    dense: bool,
    unit: int,
    seed: int,
    preset: str,
    format: str | None,
    device: str,
    port: str | None,
    matrix: Path | None,
    memory_latency: int | None,
    bytes_per_cycle: float | None,
    as_json: bool,
) -> None:
    from rich.console import Console

    from acf.runtime.devices import open_device
    from acf.runtime.matrices import random_weights
    from acf.runtime.matrix_files import read_matrix
    from acf.runtime.measure import check_weight_form, measure_product, product_memory_bytes, random_operands

    check_weight_form(product, weight_form)
    config = configuration(preset, format)
    number_format = config.lane.format
    timing = memory_timing(device, memory_latency, bytes_per_cycle)
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if matrix is not None:
        weights = read_matrix(matrix, format=number_format, seed=seed)
    else:
        weights = random_weights(rows=rows, inner=inner, density=weight_density, seed=seed, format=number_format)
    operands = random_operands(
        product,
        weights,
        columns=columns,
        density=operand_density,
        seed=seed,
        concentration=column_concentration,
    )
    rows, inner = weights.shape
    size = product_memory_bytes(product, config, rows=rows, inner=inner, columns=columns, entries=weights.entries)

    console = Console(stderr=True)
    with console.status(f"opening the {device} device") as status:
        options: dict[str, Any] = {} if timing is None else {"timing": timing}
        fabric = open_device(device, config, memory_bytes=size, port=port, **options)
        measured = measure_product(
            product,
            fabric,
            weights,
            operands,
            weight_form=weight_form,
            form=operand_form,
            deal=deal,
            without_skipping=dense,
            unit=unit,
            progress=lambda text: status.update(f"{device}, {config.name}: {text}"),
        )
    report = {
        "device": device,
        "matrix": None if matrix is None else str(matrix),
        "seed": seed,
        "column_concentration": column_concentration,
        "memory_latency": None if timing is None else timing.latency,
        "bytes_per_cycle": None if timing is None else timing.bandwidth,
        **measured.report(bytes_per_cycle=None if timing is None else timing.bandwidth),
    }
    if as_json:
        print(json.dumps(report))
    else:
        _print_table(report, config)
    if not report["bit_exact"]:
        raise RuntimeError(f"the result of the {device} device differs from the golden product (seed {seed})")


def _print_table(report: dict[str, Any], config: FabricConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    from acf.runtime.measure import PRODUCTS

    product = report["product"]
    title = f"{PRODUCTS[product]} on {report['device']}, {config.name} in {config.lane.format}"
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit or denominator", style="dim")

    def row(what: str, value: str, unit: str = "") -> None:
        table.add_row(what, value, unit)

    rows, inner, columns = report["rows"], report["inner"], report["columns"]
    row("W", f"{rows} x {inner}", report["matrix"] or f"random, seed {report['seed']}")
    row("weight density", _percent(report["weight_density"]), f"{report['weight_nonzeros']:,} of {rows * inner:,}")
    row("weight form", report["weight_form"], "in memory, with skipping")
    shapes = {"G": rows, "A": inner} if product == "sampled" else {"G": rows} if product == "scatter" else {"A": inner}
    for name, size in shapes.items():
        row(name, f"{size} x {columns}", f"random, seed {report['seed']}")
    size = columns * sum(shapes.values())
    row("operand density", _percent(report["operand_density"]), f"{report['operand_nonzeros']:,} of {size:,}")
    row("operand form", " and ".join(report["operand_forms"]), f"asked for: {report['asked_operand_form']}")
    row("columns", "dealt" if report["columns_dealt"] else "in order", "to lanes, by density or as they stand")
    if product != "sampled":
        row("rows of the result", "dealt" if report["results_dealt"] else "in order", "to row feeders, likewise")
    table.add_section()
    row("bit exact", "yes" if report["bit_exact"] else "[bold red]NO[/]", "every run beside the golden product")
    row("effectual MACs", f"{report['effectual_macs']:,}", f"of {report['dense_macs']:,} dense MACs")
    if report["cycles"] is not None:
        lane_cycles = report["lanes"] * report["cycles"]
        row("cycles", f"{report['cycles']:,}", "first fetch to END")
        if report["dense_cycles"] is not None:
            row("cycles without skipping", f"{report['dense_cycles']:,}", "same array, W stored dense")
            row("speedup", _times(report["speedup"]), "cycles without skipping / cycles")
        row("ideal speedup", _times(report["ideal_speedup"]), "dense MACs / effectual MACs")
        row("utilization", _percent(report["utilization"]), f"effectual MACs of {report['lanes']} lanes x cycles")
        _roofline_rows(report, row)
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
        shown = (
            f"{bandwidth:g} bytes per cycle" if bandwidth else f"{config.memory.beat_bytes} bytes per cycle each way"
        )
        row("memory", f"{report['memory_latency']} cycles", shown)
    else:
        row("cycles", "-", f"the {report['device']} device has no time")
        _roofline_rows(report, row)
    row("configuration", report["config_digest"], f"{config.rows} x {config.cols} tiles x {config.lanes} lanes")
    Console(highlight=False).print(table)


def _roofline_rows(report: dict[str, Any], row: Callable[[str, str, str], None]) -> None:
    read, written = report["compulsory_bytes_read"], report["compulsory_bytes_written"]
    row("roofline", f"{report['roofline_cycles']:,.0f}", f"cycles at least: {report['roofline_bound']} binds")
    row("  of compute", f"{report['roofline_compute_cycles']:,.0f}", "effectual MACs / lanes")
    row("  of memory", f"{report['roofline_memory_cycles']:,.0f}", f"read {read:,}, write {written:,} bytes, each once")
    if report["roofline_fraction"] is not None:
        row("roofline fraction", _percent(report["roofline_fraction"]), "roofline / cycles")


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.2f} %"


def _times(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.2f} x"
