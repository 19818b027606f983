"""``acf train``: a sparse network trained wholly on a device."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acf.cli.errors import INTERRUPTED
from acf.cli.options import DeviceOption, PortOption, PresetOption
from acf.config import preset as find_preset

if TYPE_CHECKING:
    from acf.training.experiment import Experiment

__all__ = ["app"]

app = typer.Typer(help="Train sparse networks.", no_args_is_help=True)

_KEPT = ("preset", "data", "holdout")
"""Options that a checkpoint keeps beside the settings."""


@app.callback()
def _root() -> None:
    """Keeps ``digits`` a command of its own while there is no other."""


@app.command("digits")
def digits(
    context: typer.Context,
    method: Annotated[
        str, typer.Option("--method", help="dense, static, set, rigl or gradual.", metavar="NAME")
    ] = "rigl",
    sparsity: Annotated[float, typer.Option("--sparsity", help="Part of all weights that do not exist.")] = 0.9,
    device: DeviceOption = "rtl",
    port: PortOption = None,
    preset: PresetOption = "base",
    hidden: Annotated[str, typer.Option("--hidden", help="Neurons of the hidden layers.")] = "256,128",
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the training images.")] = 30,
    batch: Annotated[int, typer.Option("--batch", help="Images of a step.")] = 64,
    learning_rate: Annotated[float, typer.Option("--lr", help="Falls along a cosine to 0.")] = 0.3,
    momentum: Annotated[float, typer.Option("--momentum", help="Of SGD.")] = 0.9,
    bias: Annotated[float, typer.Option("--bias", help="Where the biases of hidden layers start.")] = 0.1,
    distribution: Annotated[
        str, typer.Option("--distribution", help="How layers share the sparsity: erk or uniform.", metavar="NAME")
    ] = "erk",
    structure: Annotated[
        str, typer.Option("--structure", help="Where weights may move: fan-in or unstructured.", metavar="NAME")
    ] = "fan-in",
    period: Annotated[int, typer.Option("--period", help="Steps between changes of the structure.")] = 50,
    drop: Annotated[float, typer.Option("--drop", help="Part of the entries that the first change drops.")] = 0.3,
    candidate_step: Annotated[
        int,
        typer.Option(
            "--candidate-step",
            help="RigL in fan-in: of so many columns one is looked at in each change: 1, 2, 4 or 8.",
        ),
    ] = 4,
    last_change: Annotated[float, typer.Option("--last-change", help="Part of the steps with changes.")] = 0.75,
    rounding: Annotated[
        str, typer.Option("--rounding", help="Of weights: nearest or stochastic.", metavar="NAME")
    ] = "nearest",
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Update layers beside the products of others: faster, the same bits.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of everything but the split of the images.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="An .npz file with images and labels instead of the digits.", show_default=False),
    ] = None,
    holdout: Annotated[
        str,
        typer.Option("--holdout", help="What accuracy is measured on: test, or validation, a part of the rest."),
    ] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the page, the report and checkpoints.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out, with its options.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a perceptron on handwritten digits: products, optimizer and structure on the device, the loss on the host.

    Ctrl-C stops behind a step and writes a checkpoint; --resume goes on to the bits that there would have been.
    """
    from acf.training.checkpoint import read_checkpoint
    from acf.training.settings import Settings

    given: dict[str, Any] = {
        "method": method, "sparsity": sparsity, "hidden": _sizes(hidden), "epochs": epochs, "batch": batch,
        "learning_rate": learning_rate, "momentum": momentum, "bias": bias, "distribution": distribution,
        "structure": structure, "period": period, "drop": drop, "candidate_step": candidate_step,
        "last_change": last_change, "rounding": rounding, "overlap": overlap,
        "seed": seed, "preset": preset, "data": None if data is None else str(data.resolve()), "holdout": holdout,
    }  # fmt: skip
    if resume:
        if out is None:
            raise ValueError("--resume needs --out, the folder of the checkpoint")
        state, _ = read_checkpoint(out)
        kept = {**state["settings"], **state["options"]}
        kept["hidden"] = tuple(kept["hidden"])
        for name, value in given.items():
            if _was_given(context, name) and value != kept[name]:
                raise ValueError(f"the checkpoint is of a training with {name} {kept[name]!r}, not {value!r}")
        given = kept
    options = {name: given.pop(name) for name in _KEPT}
    _train(Settings(**given), options, device=device, port=port, out=out, resume=resume, as_json=as_json)


def _train(
    settings: Any,
    options: dict[str, Any],
    *,
    device: str,
    port: str | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
):
    from rich.console import Console

    from acf.runtime.devices import DEVICES, open_device
    from acf.training.data import load_dataset
    from acf.training.experiment import Experiment, Stopped
    from acf.training.page import make_page

    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    if out is not None and out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{str(out)!r} is no folder to write to")
    config = find_preset(options["preset"])
    dataset = load_dataset(None if options["data"] is None else Path(options["data"]), holdout=options["holdout"])
    experiment = Experiment(config, settings, dataset, holdout=options["holdout"])
    console = Console(stderr=True, highlight=False)
    with console.status(f"opening the {device} device, {config.name}"):
        fabric = open_device(device, config, memory_bytes=experiment.memory_bytes, port=port)
    experiment.open(fabric)
    if resume:
        assert out is not None
        experiment.resume(out)
    try:
        with _stop_on_interrupt() as stop, _live(console, experiment) as progress:
            experiment.run(folder=out, extra={"options": options}, stop=stop, progress=progress)
    except Stopped as error:
        hint = "" if out is None else f"; go on with: acf train digits --resume --device {device} --out {out}"
        console.print(f"acf: {error}{hint}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    report = experiment.report()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (out / "index.html").write_text(make_page(experiment, report), encoding="utf-8")
        console.print(f"drew {out / 'index.html'}", soft_wrap=True)
    if as_json:
        print(json.dumps(report))
    else:
        _print_table(experiment, report)


@contextmanager
def _stop_on_interrupt() -> Iterator[Any]:
    """The first Ctrl-C asks for a stop behind the present step, the second one is not waited for."""
    asked = []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _live(console: Any, experiment: "Experiment") -> Iterator[Any]:
    """A line that follows the training."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[figures]}"), TimeRemainingColumn(),
    )  # fmt: skip
    elements = sum(rows * columns for rows, columns in (layer.shape for layer in experiment.blueprint.plan.layers))
    started, first = time.monotonic(), experiment.trainer.step_number
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(experiment.settings.method, total=experiment.steps, completed=first, figures="")

        def show(experiment: "Experiment") -> None:
            step = experiment.trainer.step_number
            entries = sum(row["entries"] for row in experiment.trainer.pruner.rows())
            figures = [f"loss {experiment.losses[-1]:.3f}"]
            if experiment.epochs:
                figures.append(f"accuracy {100 * experiment.epochs[-1].accuracy:.1f} %")
            figures.append(f"density {entries / elements:.3f}")
            figures.append(f"{(step - first) / (time.monotonic() - started):.1f} steps/s")
            bar.update(task, completed=step, figures=", ".join(figures))

        yield show


def _print_table(experiment: "Experiment", report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{report['method']} on {report['device']}, {report['preset']}: {report['data']}, seed {report['seed']}"
    table = Table("what", title=title, title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("unit or denominator", style="dim")
    table.add_row("accuracy", f"{100 * report['final_accuracy']:.2f} %",
                  f"of {report['holdout_images']} {report['holdout']} images, last epoch")  # fmt: skip
    table.add_row("loss", f"{report['final_loss']:.4f}", "mean of the last epoch")
    for layer in report["layers"]:
        table.add_row(f"sparsity of {layer['layer']}", f"{100 * layer['sparsity']:.2f} %",
                      f"{layer['entries']:,} weights of {layer['shape'][0]} x {layer['shape'][1]}")  # fmt: skip
    for name, totals in report["phases"].items():
        if totals["cycles"] is not None:
            table.add_row(f"cycles, {name}", f"{totals['cycles']:,}", f"in {totals['runs']:,} programs")
        table.add_row(f"effectual MACs, {name}", f"{totals['effectual_macs']:,}", f"in {totals['runs']:,} programs")
    table.add_row("weights", report["weights_sha256"][:16], "SHA-256 of weights, masks and momentum, first digits")
    table.add_row("configuration", report["config_digest"], f"{report['steps']} steps of {report['batch']} images")
    Console(highlight=False).print(table)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"hidden layers are numbers with commas between, as in 256,128, not {text!r}") from None


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
