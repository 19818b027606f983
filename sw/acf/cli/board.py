"""``acf board``: the fabric on an FPGA board, or a simulation of one behind a pseudo-terminal."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from acf.cli.options import FormatOption, JsonOption, PresetOption, configuration
from acf.config import PRESETS
from acf.hw.boards.catalog import board_names, find_board

__all__ = ["app"]

app = typer.Typer(help="Put the fabric on an FPGA board, or simulate one.", no_args_is_help=True)

_CYCLES_PER_BIT = 2  # one clock for both ends, so that little of it is enough


@app.command("list")
def list_boards(as_json: JsonOption = False) -> None:
    """Show the boards, their variants, and what is built for them."""
    from rich.console import Console
    from rich.table import Table

    boards = [find_board(name).describe() for name in board_names()]
    if as_json:
        print(json.dumps(boards, indent=2))
        return
    table = Table()
    for column in ("board", "variants", "preset", "lanes", "clock", "memory", "serial line"):
        table.add_column(column)
    for board in boards:
        table.add_row(
            f"{board['name']}: {board['title']}",
            ", ".join(board["variants"]),
            board["preset"],
            str(board["lanes"]),
            f"{board['clock_hz'] / 1e6:g} MHz",
            ", ".join(f"{name} {_size(size)}" for name, size in board["memories"].items()),
            f"{board['baud'] / 1e6:g} Mbaud",
        )
    Console(highlight=False).print(table)


@app.command("simulate")
def simulate(
    preset: PresetOption = "tiny",
    format: FormatOption = None,
    memory: Annotated[
        str,
        typer.Option("--memory", help="Bytes of block memory, a power of two; or sdram.", metavar="BYTES|sdram"),
    ] = str(1 << 18),
    netlist: Annotated[
        bool, typer.Option("--netlist", help="The netlist of ECP5 cells after synthesis, instead of the RTL.")
    ] = False,
) -> None:
    """Simulate a board behind a pseudo-terminal, until Ctrl-C.

    Prints one line, the path of the terminal; `acf bench gather --device serial --port PATH` uses it as a board's.
    """
    from acf.hw.blocks import generate_board
    from acf.sim.board import BoardPort, SimulatedBoard
    from acf.sim.gate_level import gate_netlist

    config = configuration(preset, format)
    if memory != "sdram" and not memory.isdecimal():
        raise ValueError(f"memory of a simulated board must be a number of bytes or sdram, not {memory!r}")
    memory_bytes = None if memory == "sdram" else int(memory)
    if netlist and memory_bytes is None:
        raise ValueError("the SDRAM of a simulated board is no netlist: --netlist needs a --memory in bytes")
    top = "acf_board_top"
    verilog = generate_board(config, memory_bytes=memory_bytes, cycles_per_bit=_CYCLES_PER_BIT, top=top)
    if netlist:
        print(f"synthesizing {config.name} in {config.lane.format}", file=sys.stderr)
        verilog = gate_netlist(verilog, top=top)
    board = SimulatedBoard(verilog, top=top, cycles_per_bit=_CYCLES_PER_BIT)
    with BoardPort(board) as port:
        print(port.path, flush=True)
        port.join()
    raise RuntimeError(f"the terminal {port.path} of the simulated board has failed")


def _size(size: int) -> str:
    """Bytes for people."""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _command(name: str) -> Callable[..., None]:
    """The command that builds and loads one board."""

    def command(
        build: Annotated[bool, typer.Option("--build", help="Make the bitstream.")] = False,
        load: Annotated[bool, typer.Option("--load", help="Load it by openFPGALoader.")] = False,
        preset: Annotated[
            str | None,
            typer.Option(
                "--preset",
                help=f"Configuration instead of the board's own: {', '.join(PRESETS)}.",
                metavar="NAME",
                show_default=False,
            ),
        ] = None,
        format: FormatOption = None,
        variant: Annotated[
            str | None,
            typer.Option(
                "--variant",
                help="FPGA on the board; the first of `acf board list` if none is given.",
                metavar="NAME",
                show_default=False,
            ),
        ] = None,
        clock: Annotated[
            float | None, typer.Option("--clock", help="MHz, instead of the board's own.", show_default=False)
        ] = None,
        memory: Annotated[
            str, typer.Option("--memory", help="Memory behind the fabric, as `acf board list` shows.", metavar="NAME")
        ] = "block",
        seed: Annotated[int, typer.Option("--seed", help="Of the placement.")] = 1,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", help="The bitstream; below build/boards if none.", show_default=False),
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        _board(
            name,
            build=build,
            load=load,
            preset=preset,
            format=format,
            variant=variant,
            clock=clock,
            memory=memory,
            seed=seed,
            output=output,
            as_json=as_json,
        )

    return command


for _name in board_names():
    app.command(_name, help="Build the fabric for this board by open tools, and load it.")(_command(_name))


def _board(
    name: str,
    *,
    build: bool,
    load: bool,
    preset: str | None,
    format: str | None,
    variant: str | None,
    clock: float | None,
    memory: str,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    from acf.sim.bitstream import load_bitstream
    from acf.sim.build import build_folder

    if not build and not load:
        raise ValueError(f"there is nothing to do for the {name}: give --build, --load or both")
    board = find_board(name)
    board.check_memory(memory)
    config = configuration(preset or board.preset, format)
    variant = variant or next(iter(board.variants))
    hertz = board.clock if clock is None else round(clock * 1e6)
    if output is None:
        parts = [name, variant, config.name, config.lane.format, *([] if memory == "block" else [memory])]
        output = build_folder() / "boards" / f"{'-'.join(parts)}.bit"
    report: dict[str, Any] = {
        "board": name,
        "variant": variant,
        "preset": config.name,
        "format": config.lane.format,
        "config": config.digest,
        "lanes": config.total_lanes,
        "memory": memory,
        "memory_bytes": board.memories[memory],
        "baud": board.baud,
    }
    if build:
        report |= _build(board, config, variant=variant, clock=hertz, memory=memory, seed=seed, output=output)
        if as_json:
            print(json.dumps(report, indent=2))
        else:
            _print_tables(report)
        if not report["fast_enough"]:
            raise RuntimeError(
                f"the slowest path allows {report['fmax_mhz']:.1f} MHz, not {report['clock_mhz']:g}: "
                "try another --seed, or a slower --clock"
            )
    if load:
        load_bitstream(output, arguments=board.loader)
        print(f"loaded {output}; use it by --device serial --preset {config.name} --port PATH")


def _build(
    board: Any, config: Any, *, variant: str, clock: int, memory: str, seed: int, output: Path
) -> dict[str, Any]:
    from rich.console import Console

    from acf.sim.bitstream import build_bitstream

    console = Console(stderr=True, highlight=False)
    heading = f"{board.name} {variant}, {config.name} in {config.lane.format}"
    with console.status(heading) as status:

        def progress(text: str) -> None:
            status.update(f"{heading}: {text}")
            if not console.is_terminal:
                console.print(f"{heading}: {text}", soft_wrap=True)

        progress("Verilog")
        design = board.design(config, variant=variant, clock=clock, memory=memory)
        return build_bitstream(
            design.files,
            top=design.top,
            device=design.device,
            package=design.package,
            speed=design.speed,
            clock=clock / 1e6,
            output=output,
            seed=seed,
            progress=progress,
        ).as_dict()


def _print_tables(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from acf.cli.timing import print_path
    from acf.sim.area import RESOURCES

    console = Console(highlight=False)
    console.print(
        f"{report['board']} {report['variant']}: {report['preset']} in {report['format']} ({report['config']}), "
        f"{report['lanes']} lanes, {' and '.join(report['tools'])}, {sum(report['seconds'].values()):.0f} s",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "taken", "of", "part"):
        table.add_column(column, justify="right")
    for name, number in report["available"].items():
        taken = report["cells"][name]
        table.add_row(RESOURCES[name][0], f"{taken:,}", f"{number:,}", f"{100 * taken / number:.0f} %")
    console.print(table)
    console.print(f"Fmax {report['fmax_mhz']:.1f} MHz, seed {report['seed']}; the clock is {report['clock_mhz']:g} MHz")
    print_path(console, report, whole=report["board"])
    console.print(f"bitstream: {report['bitstream']}", soft_wrap=True)
