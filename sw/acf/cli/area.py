"""``acf area``: what one block costs after synthesis."""

import json
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from acf.cli.network_options import MeshOption, NetworkOptions, takes_network_options
from acf.cli.options import FormatOption, JsonOption, PresetOption
from acf.cli.sources import source_of
from acf.sim.area import RESOURCES, TECHNOLOGIES, AreaReport, synthesize

__all__ = ["area"]


@takes_network_options
def area(
    block: Annotated[str, typer.Option("--block", help="Block to synthesize; `acf rtl --list` names them.")],
    preset: PresetOption = "base",
    format: FormatOption = None,
    technology: Annotated[
        str, typer.Option("--tech", help=f"Technology: {', '.join(TECHNOLOGIES)}.", metavar="NAME")
    ] = "ecp5",
    mesh: MeshOption = None,
    *,
    network: NetworkOptions,
    as_json: JsonOption = False,
) -> None:
    """Synthesize a block with Yosys and count what it takes: LUTs, carries, flip-flops, DSPs, memories."""
    if technology not in TECHNOLOGIES:
        raise ValueError(f"technology must be one of {', '.join(TECHNOLOGIES)}, not {technology!r}")
    source = source_of(
        block,
        preset=preset,
        format=format,
        mesh=mesh,
        network=network,
    )
    console = Console(stderr=True, highlight=False)
    message = f"synthesizing {source.what} for {technology}"
    if console.is_terminal:
        with console.status(message):
            report = synthesize(source.verilog, top=source.top, technology=technology)
    else:
        console.print(message)
        report = synthesize(source.verilog, top=source.top, technology=technology)

    heading = {
        **source.config,
        "technology": technology,
        "tool": report.tool,
        "seconds": round(report.seconds, 1),
    }
    if as_json:
        print(json.dumps({**heading, **report.as_dict()}, indent=2))
    else:
        _print_table(report, heading, source.what)


def _print_table(report: AreaReport, heading: dict, what: str) -> None:
    print(what + " ({config}), {technology} by {tool}, {seconds} s".format(**heading))
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("module", min_width=max(len(module.name) for module in report.modules))
    table.add_column("times", justify="right")
    for title, _ in RESOURCES.values():
        table.add_column(title, justify="right", no_wrap=True)
    for module in report.modules:
        table.add_row(module.name, str(module.instances), *(str(module.counts[name]) for name in RESOURCES))
    if len(report.modules) > 1:
        table.add_section()
        table.add_row("total", "", *(str(report.total[name]) for name in RESOURCES))
    Console(highlight=False).print(table)
