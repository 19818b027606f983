"""``acf area``: what the fabric or one of its blocks costs after synthesis."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from acf.cli.network_options import MeshOption, NetworkOptions, takes_network_options
from acf.cli.options import FormatOption, JsonOption, PresetOption, configuration
from acf.cli.sources import Source, source_of
from acf.sim.area import TECHNOLOGIES, AreaReport, synthesize
from acf.sim.area_comparison import FORMULAS, AreaComparison, ratios
from acf.sim.cell_area import SRAM_FROM, SramMacro, synthesize_cells
from acf.sim.yosys import named_modules, unchanged_modules

__all__ = ["area"]


@takes_network_options
def area(
    block: Annotated[str, typer.Option("--block", help="Block to synthesize; `acf rtl --list` names them.")] = "fabric",
    preset: PresetOption = "base",
    format: FormatOption = None,
    technology: Annotated[
        str, typer.Option("--tech", help=f"{', '.join(TECHNOLOGIES)}, or a liberty library.", metavar="NAME|FILE.lib")
    ] = "ecp5",
    sram_macro: Annotated[
        str | None,
        typer.Option(
            "--sram-macro",
            help="With a library: a macro of its technology that gives the area of a bit in large memories.",
            metavar="NAME:AREA:BITS",
            show_default=False,
        ),
    ] = None,
    sram_from: Annotated[
        int | None,
        typer.Option("--sram-from", help=f"With a library: bits of the smallest large memory; {SRAM_FROM}."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", help="dense: the same block without hardware for skipping, beside it.", metavar="dense"
        ),
    ] = None,
    bench: Annotated[
        list[Path] | None,
        typer.Option(
            "--bench",
            help="With --compare: a report of `acf bench ... --json`, as often as wanted, for throughput per area.",
            show_default=False,
        ),
    ] = None,
    mesh: MeshOption = None,
    *,
    network: NetworkOptions,
    as_json: JsonOption = False,
) -> None:
    """Synthesize the fabric or a block with Yosys, and count what each module takes, or add up the area of its cells.

    LUTs, carries, flip-flops, DSPs and memories of an FPGA, or the area of the cells of a library and the bits of
    memories that would be SRAM macros.
    """
    run = _synthesizer(technology, sram_macro, sram_from)
    if compare not in (None, "dense"):
        raise ValueError(f"--compare must be dense, not {compare!r}")
    if compare is not None and mesh is not None:
        raise ValueError("--compare dense is for blocks of a preset; a network alone skips nothing")
    if bench and compare is None:
        raise ValueError(f"--bench {str(bench[0])!r} means nothing without --compare dense")
    benches = [_read_bench(path) for path in bench or []]

    def source(skipping: bool) -> Source:
        return source_of(block, preset=preset, format=format, mesh=mesh, network=network, skipping=skipping)

    with_skipping = source(True)
    report = _synthesize(run, with_skipping, technology)
    reports = [report]
    if compare is not None:
        without = source(False)
        if without.verilog == with_skipping.verilog:
            reports.append(report)
        else:
            # Modules that are the same in both are synthesized once.
            same = report.only(unchanged_modules(without.verilog, with_skipping.verilog))
            reports.append(_synthesize(run, without, technology, same))
    heading = {
        **with_skipping.config,
        "technology": technology,
        "tool": report.tool,
        "seconds": round(sum(one.seconds for one in reports), 1),
    }
    if sram_macro is not None:
        heading["sram_macro"] = sram_macro
    if compare is None:
        if as_json:
            print(json.dumps({**heading, **report.as_dict()}, indent=2))
        else:
            _print_table(report, heading, with_skipping.what)
        return
    comparison = AreaComparison(*reports)
    throughput = [comparison.throughput(one, digest=with_skipping.config["config"]) for one in benches]
    if as_json:
        compared = {
            "dense_config": configuration(preset, format).without_skipping().digest,
            **comparison.as_dict(),
            "benches": throughput,
        }
        print(json.dumps({**heading, **report.as_dict(), **compared}, indent=2))
    else:
        _print_comparison(comparison, heading, with_skipping.what)
        for one in throughput:
            _print_throughput(comparison, one)


_Synthesizer = Callable[[Source, AreaReport | None], AreaReport]
"""Synthesizes a design, of which some modules may be known."""


def _synthesizer(technology: str, sram_macro: str | None, sram_from: int | None) -> _Synthesizer:
    """What synthesizes for a technology.

    Raises
    ------
    ValueError
        If there is no such technology, or it has no use for an option.
    FileNotFoundError
        If there is no such library.
    """
    if technology in TECHNOLOGIES:
        for name, value in (("sram-macro", sram_macro), ("sram-from", sram_from)):
            if value is not None:
                raise ValueError(f"--{name} {value} means nothing to {technology}, which has memories of its own")
        return lambda source, known: synthesize(source.verilog, top=source.top, technology=technology, known=known)
    if not technology.endswith(".lib"):
        raise ValueError(f"technology must be one of {', '.join(TECHNOLOGIES)} or a FILE.lib, not {technology!r}")
    library = Path(technology)
    if not library.is_file():
        raise FileNotFoundError(f"there is no liberty library {technology!r}")
    macro = None if sram_macro is None else SramMacro.parse(sram_macro)
    bits = SRAM_FROM if sram_from is None else sram_from
    return lambda source, known: synthesize_cells(
        source.verilog, top=source.top, library=library, macro=macro, sram_from=bits, known=known
    )


def _synthesize(run: _Synthesizer, source: Source, technology: str, known: AreaReport | None = None) -> AreaReport:
    """Synthesize a design, and say so meanwhile."""
    console = Console(stderr=True, highlight=False)
    count = len(named_modules(source.verilog, top=source.top)) - len(known.modules if known else ())
    message = f"synthesizing {source.what} for {technology}, {count} modules"
    if console.is_terminal:
        with console.status(message):
            return run(source, known)
    console.print(message)
    return run(source, known)


def _read_bench(path: Path) -> dict[str, Any]:
    """A report of ``acf bench``, as it was printed or kept with its command by scripts/measure.py.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no report of acf bench {str(path)!r}")
    try:
        report = json.loads(path.read_text())
    except ValueError:
        report = None
    if not isinstance(report, dict):
        raise ValueError(f"{str(path)!r} is no report of acf bench")
    return report.get("result", report)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"


def _table(report: AreaReport, names: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("module", min_width=max(map(len, names)))
    table.add_column("times", justify="right")
    for title in report.titles.values():
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _print_heading(heading: dict[str, Any], what: str) -> None:
    print(what + " ({config}), {technology} by {tool}, {seconds} s".format(**heading))


def _print_table(report: AreaReport, heading: dict[str, Any], what: str) -> None:
    _print_heading(heading, what)
    table = _table(report, [module.name for module in report.modules])
    for module in report.modules:
        table.add_row(module.name, str(module.instances), *(_shown(module.counts[name]) for name in report.titles))
    if len(report.modules) > 1:
        table.add_section()
        table.add_row("total", "", *(_shown(report.total[name]) for name in report.titles))
    Console(highlight=False).print(table)


def _print_comparison(comparison: AreaComparison, heading: dict[str, Any], what: str) -> None:
    _print_heading(heading, what + " beside the same without skipping")
    names = list(comparison.skipping.titles)
    rows: list[tuple[str, int | str, Mapping[str, float], str, int | str, Mapping[str, float]]] = [
        (
            module.name or "(none)",
            module.instances,
            module.counts,
            "  without: " + (module.dense_name or "(none)"),
            module.dense_instances,
            module.dense_counts,
        )
        for module in comparison.modules
    ]
    if len(rows) > 1:
        rows.append(("total", "", comparison.skipping.total, "  without", "", comparison.dense.total))
    table = _table(comparison.skipping, [name for row in rows for name in (row[0], row[3])])
    for name, number, counts, dense_name, dense_number, dense_counts in rows:
        table.add_row(name, str(number), *(_shown(counts[resource]) for resource in names))
        table.add_row(dense_name, str(dense_number), *(_shown(dense_counts[resource]) for resource in names))
        ratio = ratios(counts, dense_counts)
        table.add_row("  ratio", "", *(_times(ratio[resource]) for resource in names))
        table.add_section()
    bound = comparison.ratio_without_feeders
    if bound is not None:
        table.add_row("  ratio, dense without feeders", "", *(_times(bound[resource]) for resource in names))
    Console(highlight=False).print(table)
    logic = comparison.skipping.logic
    ratio = comparison.ratio[logic]
    if ratio is not None:
        print(f"skipping costs {100 * (ratio - 1):.1f} % of {comparison.skipping.titles[logic]}")


def _print_throughput(comparison: AreaComparison, one: dict[str, Any]) -> None:
    print(
        "\n{product} {rows} x {inner} x {columns}, weights {weight_density:.3g}, operands {operand_density:.3g}: "
        "{cycles:,} cycles, {dense_cycles:,} dense".format(**one)
    )
    for name, title in comparison.skipping.titles.items():
        gain, even = one["throughput_per_area"][name], one["break_even_sparsity"][name]
        if gain is not None:
            print(f"  per {title}: {gain:.2f} x the throughput, break-even at a weight sparsity of {100 * even:.1f} %")
    for name in ("throughput_per_area", "break_even_sparsity"):
        print(f"  {name} = {FORMULAS[name]}")
