"""Entry point of ``acf``: the commands, and what happens when one fails."""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from acf.cli import area, bench, board, demo, doctor, formats, noc, presets, rtl, timing, train
from acf.cli.errors import DEBUG_VARIABLE, INTERNAL, INTERRUPTED, READER_GONE, report

__all__ = ["app", "main", "run"]

app = typer.Typer(
    help="Adaptive Compute Fabric: hardware and software for training sparse neural networks.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("doctor")(doctor.doctor)
app.command("presets")(presets.presets)
app.command("rtl")(rtl.rtl)
app.command("area")(area.area)
app.command("timing")(timing.timing)
app.add_typer(bench.app, name="bench")
app.command("formats")(formats.formats)
app.add_typer(noc.app, name="noc")
app.add_typer(board.app, name="board")
app.command("demo")(demo.demo)
app.add_typer(train.app, name="train")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    if version:
        print(f"acf {importlib.metadata.version('acf')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors are reported in one sentence."""
    try:
        status = app(args=list(arguments), prog_name="acf", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # Typer turns a broken pipe into an exit.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            return error.code if isinstance(error.code, int) else INTERNAL
        # The reader has gone, as in `acf rtl | head`: nobody is left to tell. Python would complain on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (Exception, KeyboardInterrupt) as error:
        return report(error, arguments)
    if status == INTERRUPTED:  # Typer has caught the KeyboardInterrupt
        return report(KeyboardInterrupt())
    return status if isinstance(status, int) else 0


def main() -> None:
    """The program ``acf``."""
    sys.exit(run(sys.argv[1:]))
