"""Draws the pictures of a training, each as the text of an SVG."""

import io
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from acf.training.experiment import Experiment

__all__ = ["draw_accuracy", "draw_densities", "draw_loss", "draw_masks", "draw_phases"]

_INK, _FAINT, _LINE = "#1f2933", "#66737f", "#d5dbe1"
_BLUE, _TEAL, _GREY = "#2563a8", "#1a936f", "#a7b2bd"
_SERIES = ("#2563a8", "#1a936f", "#e9a23b", "#c8553d", "#8d6a9f")

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _FAINT,
    "axes.edgecolor": _LINE,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "svg.hashsalt": "acf",
}


def draw_loss(experiment: Experiment) -> str:
    """The loss of every step, and the mean of every epoch."""
    losses, per_epoch = experiment.losses, experiment.steps_per_epoch
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure()
        axes.plot(np.arange(1, len(losses) + 1), losses, color=_GREY, linewidth=0.8, label="each step")
        means = [record.loss for record in experiment.epochs]
        axes.plot((np.arange(len(means)) + 0.5) * per_epoch, means, color=_BLUE, linewidth=2, label="mean of an epoch")
        axes.set(xlabel="step", ylabel="cross-entropy", yscale="log")
        axes.legend(frameon=False)
        return _svg(figure)


def draw_accuracy(experiment: Experiment) -> str:
    """Accuracy behind every epoch, on what was held out and on the batches of the epoch."""
    epochs = np.arange(1, len(experiment.epochs) + 1)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure()
        training = [100 * record.training_accuracy for record in experiment.epochs]
        held_out = [100 * record.accuracy for record in experiment.epochs]
        axes.plot(epochs, training, color=_GREY, linewidth=1.5, label="training batches")
        axes.plot(epochs, held_out, color=_TEAL, linewidth=2, marker="o", markersize=3, label=experiment.holdout)
        axes.set(xlabel="epoch", ylabel="accuracy, %", ylim=(None, 100.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure)


def draw_densities(experiment: Experiment) -> str:
    """The density of each layer behind every epoch."""
    epochs = np.arange(1, len(experiment.epochs) + 1)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure()
        for number, layer in enumerate(experiment.blueprint.plan.layers):
            densities = [100 * record.densities[layer.name] for record in experiment.epochs]
            colour = _SERIES[number % len(_SERIES)]
            label = f"{layer.name}, {layer.shape[0]} x {layer.shape[1]}"
            axes.plot(epochs, densities, color=colour, linewidth=2, label=label)
        axes.set(xlabel="epoch", ylabel="weights / elements, %", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
        return _svg(figure)


def draw_phases(experiment: Experiment) -> str:
    """Cycles of each phase, or effectual MACs where the device has no time."""
    phases = experiment.trainer.phases
    timed = any(totals.cycles is not None for totals in phases.values())
    values = [(totals.cycles or 0) if timed else totals.effectual_macs for totals in phases.values()]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(grid="x")
        for place, ((name, totals), value) in enumerate(zip(phases.items(), values, strict=True)):
            axes.barh(place, value, color=_GREY if name == "evaluation" else _TEAL, height=0.6)
            axes.text(value, place, f"  {value:,} in {totals.runs:,} programs", va="center", color=_INK)
        axes.set_yticks(range(len(phases)), list(phases), color=_INK)
        axes.set(xlim=(0, 1.7 * max([*values, 1])), xlabel="cycles" if timed else "effectual MACs")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.invert_yaxis()
        return _svg(figure)


def draw_masks(experiment: Experiment) -> str:
    """The mask of the first layer at several steps; above each, how often every input is used, as an image."""
    snapshots = experiment.snapshots
    features = experiment.dataset.features
    side = int(np.sqrt(features))
    square = side * side == features
    most = max(int(snapshot.mask.sum(axis=0).max(initial=1)) for snapshot in snapshots)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(1.85 * len(snapshots) + 0.6, 6.4 if square else 5), layout="constrained")
        rows = figure.subplots(
            2 if square else 1, len(snapshots), squeeze=False, height_ratios=(1, 3) if square else None
        )
        for column, snapshot in enumerate(snapshots):
            axes = rows[-1, column]
            axes.imshow(snapshot.mask, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            axes.set(xticks=[], yticks=[], xlabel=f"{features} inputs")
            if not column:
                axes.set_ylabel(f"{snapshot.mask.shape[0]} neurons")
            if square:
                used = snapshot.mask.sum(axis=0).reshape(side, side)
                rows[0, column].imshow(used, cmap="viridis", vmin=0, vmax=most)
                rows[0, column].set(xticks=[], yticks=[])
            kept = int((snapshot.mask & snapshots[0].mask).sum())
            title = f"step {snapshot.step:,}"
            if column:
                title += f"\n{100 * kept / max(1, snapshots[0].mask.sum()):.0f} % as at first"
            rows[0, column].set_title(title, size=10, weight="bold")
        return _svg(figure, dpi=200)


def _figure(*, grid: Literal["x", "y"] = "y"):
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, *, dpi: int = 100) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None}, dpi=dpi)
    return text.getvalue()[text.getvalue().index("<svg") :]
