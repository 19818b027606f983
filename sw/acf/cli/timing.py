"""``acf timing``: how fast one block can be clocked after place and route."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acf.cli.network_options import MeshOption, NetworkOptions, takes_network_options
from acf.cli.options import FormatOption, JsonOption, PresetOption
from acf.cli.sources import source_of

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_path", "timing"]


@takes_network_options
def timing(
    block: Annotated[str, typer.Option("--block", help="Block to place and route; `acf rtl --list` names them.")],
    preset: PresetOption = "base",
    format: FormatOption = None,
    technology: Annotated[str, typer.Option("--tech", help="Technology: ecp5.", metavar="NAME")] = "ecp5",
    speed: Annotated[int, typer.Option("--speed", help="Speed grade: 6, 7 or 8, the fastest.")] = 6,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="25k, 45k or 85k; the smallest with room if none is given.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the first placement.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", help="Placements, whose median Fmax counts.")] = 1,
    mesh: MeshOption = None,
    *,
    network: NetworkOptions,
    as_json: JsonOption = False,
) -> None:
    """Place and route a block alone, between registers at its ports, and show its Fmax and its slowest path."""
    from rich.console import Console

    from acf.sim.timing import place_and_route

    if technology != "ecp5":
        raise ValueError(f"technology must be one of ecp5, not {technology!r}")
    if not 1 <= seeds <= 100:
        raise ValueError(f"placements must be from 1 to 100, not {seeds}")
    source = source_of(
        block,
        preset=preset,
        format=format,
        mesh=mesh,
        network=network,
    )
    console = Console(stderr=True, highlight=False)
    heading = source.what
    with console.status(heading) as status:

        def progress(text: str) -> None:
            status.update(f"{heading}: {text}")
            if not console.is_terminal:
                console.print(f"{heading}: {text}")

        found = place_and_route(
            source.verilog,
            top=source.top,
            speed=speed,
            device=device,
            seeds=range(seed, seed + seeds),
            progress=progress,
        )
    report: dict[str, Any] = {
        **source.config,
        "technology": technology,
        "tools": list(found.tools),
        "seconds": round(found.seconds, 1),
        **found.as_dict(),
    }
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_tables(report, source.what)


def _print_tables(report: dict[str, Any], what: str) -> None:
    from rich.console import Console

    from acf.sim.area import RESOURCES

    console = Console(highlight=False)
    by_seed = report["fmax_mhz_by_seed"]
    console.print(
        f"{what} ({report['config']}), "
        f"ECP5 {report['device']} of speed grade {report['speed_grade']}, {' and '.join(report['tools'])}, "
        f"{report['seconds']} s",
        soft_wrap=True,
    )
    console.print(f"Fmax {report['fmax_mhz']:.1f} MHz, seed {report['seed']}", end="")
    several = ", ".join(f"{number:.1f}" for number in by_seed.values())
    console.print(f", the median of {several}" if len(by_seed) > 1 else "")
    cells = ", ".join(f"{title} {report['cells'][name]:,}" for name, (title, _) in RESOURCES.items())
    console.print(f"cells: {cells}", soft_wrap=True)
    print_path(console, report, whole=report["block"])


def print_path(console: "Console", report: dict[str, Any], *, whole: str) -> None:
    """Print the slowest path of a report; ``whole`` is what its top module is called."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"slowest path, {report['critical_path_ns']:.2f} ns", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("instance")
    table.add_column("next to signal")
    for name in ("cells", "logic, ns", "routing, ns", "sum, ns"):
        table.add_column(name, justify="right")
    total = 0.0
    for step in report["critical_path"]:
        total += step["logic"] + step["routing"]
        instance = step["instance"] or whole
        numbers = (f"{number:.2f}" for number in (step["logic"], step["routing"], total))
        table.add_row(instance, step["signal"], str(step["cells"]), *numbers)
    console.print(table)
