"""Draws the pictures of the demo page, each as the text of an SVG."""

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colors
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from acf.isa import LaneCause
from acf.runtime.demo.experiment import DemoResult
from acf.runtime.gather import GatherResult
from acf.runtime.products import ProductResult

__all__ = ["draw_accuracy", "draw_cycles", "draw_digits", "draw_mesh", "draw_speedup"]

INK, FAINT, LINE = "#1f2933", "#66737f", "#d5dbe1"
BLUE, TEAL, GREY = "#2563a8", "#1a936f", "#a7b2bd"

CAUSE_COLOURS = {
    LaneCause.MAC: "#1a936f",
    LaneCause.OPERAND_WAIT: "#e9a23b",
    LaneCause.ENTRY_WAIT: "#6a8fc9",
    LaneCause.HAZARD: "#c8553d",
    LaneCause.DRAIN: "#8d6a9f",
    LaneCause.IDLE: "#d9dee3",
}
CAUSE_NAMES = {
    LaneCause.MAC: "multiply",
    LaneCause.OPERAND_WAIT: "wait for operands",
    LaneCause.ENTRY_WAIT: "wait for entries of W",
    LaneCause.HAZARD: "accumulator in flight",
    LaneCause.DRAIN: "drain results",
    LaneCause.IDLE: "done",
}

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": LINE,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "svg.hashsalt": "acf",
}


def draw_accuracy(result: DemoResult) -> str:
    """Bars: the network before pruning, after it, and with its layer on the device."""
    bars = [
        ("dense, float32", result.dense_accuracy, GREY),
        ("90 % pruned, float32", result.pruned_accuracy, BLUE),
        (f"90 % pruned, layer on {result.device}", result.fabric_accuracy, TEAL),
    ]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(6, 2.1)
        for place, (name, accuracy, colour) in enumerate(bars):
            axes.barh(place, 100 * accuracy, color=colour, height=0.62)
            axes.text(1.5, place, name, va="center", color="white" if colour != GREY else INK, weight="bold")
            axes.text(100 * accuracy + 1, place, f"{100 * accuracy:.1f} %", va="center", weight="bold")
        axes.set(xlim=(0, 110), yticks=[], xticks=range(0, 101, 20), xlabel=f"% of {len(result.labels)} test images")
        axes.invert_yaxis()
        return _svg(figure)


def draw_cycles(result: DemoResult) -> str:
    """Stacked bars: where the cycles of a lane went, with skipping and without; below, as parts of the whole."""
    dense = result.measurement.dense
    assert dense is not None, "the demo runs without skipping too"
    runs = [("skipping off", *_times(dense)), ("skipping on", *_times(result.measurement.sparse))]
    lanes = result.config.total_lanes
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6, 4.7), layout="constrained")
        absolute, parts = figure.subplots(2, 1)
        for place, (_, cycles, causes) in enumerate(runs):
            causes = causes.sum(axis=(0, 1, 2)) / lanes
            left = 0.0
            for cause in LaneCause:
                absolute.barh(place, causes[cause], left=left, color=CAUSE_COLOURS[cause], height=0.6)
                share = 100 * causes[cause] / cycles
                bar_left = 100 * left / cycles
                parts.barh(
                    place, share, left=bar_left, color=CAUSE_COLOURS[cause], height=0.6, label=CAUSE_NAMES[cause]
                )
                if share >= 7:
                    ink = INK if cause in (LaneCause.IDLE, LaneCause.OPERAND_WAIT) else "white"
                    parts.text(bar_left + share / 2, place, f"{share:.0f} %", ha="center", va="center", color=ink)
                left += causes[cause]
            absolute.text(cycles, place, f"  {cycles:,}", va="center", weight="bold")
        longest = max(cycles for _, cycles, _ in runs)
        absolute.set(xlim=(0, 1.14 * longest), xlabel=f"cycles, mean of {lanes} lanes")
        absolute.xaxis.set_major_locator(MaxNLocator(5))
        absolute.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        parts.set(xlim=(0, 100), xlabel="% of lanes x cycles of the run")
        for axes in (absolute, parts):
            _plain(axes)
            axes.set_yticks(range(2), [name for name, _, _ in runs])
            axes.invert_yaxis()
        handles, labels = parts.get_legend_handles_labels()
        count = len(LaneCause)
        figure.legend(handles[:count], labels[:count], loc="outside upper center", ncols=3, frameon=False)
        return _svg(figure)


def draw_mesh(result: DemoResult) -> str:
    """The mesh, every tile coloured by its utilization."""
    config = result.config
    cycles, _ = _times(result.measurement.sparse)
    tiles = 100 * result.measurement.sparse.run.effectual.sum(axis=-1) / (config.lanes * cycles)
    palette = colors.LinearSegmentedColormap.from_list("utilization", ["#f1f6f4", "#7cc3aa", "#1a936f", "#0c5a45"])
    scale = colors.Normalize(0, 100)
    with matplotlib.rc_context(_STYLE):
        width = 1.02 * (config.cols + 1)
        figure = Figure(figsize=(width + 1.1, 0.9 * (config.rows + 1)), layout="constrained")
        axes = figure.subplots()

        def node(y: int, x: int, colour: str, text: str, ink: str, **style) -> None:
            axes.add_patch(Rectangle((x - 0.42, y - 0.36), 0.84, 0.72, facecolor=colour, edgecolor=LINE, zorder=2))
            axes.text(x, y, text, ha="center", va="center", color=ink, zorder=3, **style)

        for y in range(config.rows + 1):
            axes.plot([0, config.cols], [y, y], color=LINE, linewidth=2, zorder=1)
        for x in range(config.cols + 1):
            axes.plot([x, x], [0, config.rows], color=LINE, linewidth=2, zorder=1)
        node(0, 0, "white", "command\nprocessor", FAINT, size=8)
        for column in range(config.cols):
            node(0, column + 1, "white", f"operands\n{column}", FAINT, size=9)
        for row in range(config.rows):
            node(row + 1, 0, "white", f"rows of W\n{row}", FAINT, size=9)
            for column in range(config.cols):
                value = tiles[row, column]
                node(row + 1, column + 1, palette(scale(value)), f"{value:.1f} %", "white" if value > 45 else INK,
                     size=11, weight="bold")  # fmt: skip
        axes.set(xlim=(-0.55, config.cols + 0.55), ylim=(config.rows + 0.5, -0.5))
        axes.axis("off")
        bar = figure.colorbar(ScalarMappable(scale, palette), ax=axes, shrink=0.75, pad=0.02)
        bar.set_label("effectual MACs / (lanes x cycles), %")
        bar.outline.set_visible(False)
        return _svg(figure)


def draw_speedup(result: DemoResult) -> str:
    """Two bars: the measured speed-up and the ideal one."""
    report = result.measurement.report()
    bars = [("measured", report["speedup"], TEAL), ("ideal", report["ideal_speedup"], GREY)]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(6, 1.65)
        for place, (name, factor, colour) in enumerate(bars):
            axes.barh(place, factor, color=colour, height=0.62)
            axes.text(factor, place, f"  {factor:.1f} x", va="center", weight="bold")
            axes.text(0.012 * report["ideal_speedup"], place, name, va="center", weight="bold",
                      color="white" if colour != GREY else INK)  # fmt: skip
        axes.set(
            yticks=[], xlim=(0, 1.15 * max(factor for _, factor, _ in bars)), xlabel="times as fast as skipping off"
        )
        axes.invert_yaxis()
        return _svg(figure)


def draw_digits(result: DemoResult, *, columns: int = 10, rows: int = 2) -> str:
    """Some images with what the network says: first those it gets wrong, then others from the start."""
    wrong = np.flatnonzero(result.predictions != result.labels)[:columns]
    right = np.flatnonzero(result.predictions == result.labels)
    chosen = np.concatenate([right[: columns * rows - wrong.size], wrong])
    side = int(np.sqrt(result.images.shape[1]))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(0.78 * columns, 1.12 * rows), layout="constrained")
        for axes, number in zip(figure.subplots(rows, columns, squeeze=False).ravel(), chosen, strict=False):
            axes.imshow(result.images[number].reshape(side, side), cmap="Greys", vmin=0, vmax=1)
            said, is_so = result.predictions[number], result.labels[number]
            text = f"{said}" if said == is_so else f"{said}, is {is_so}"
            axes.set_title(text, size=11, weight="bold", color=TEAL if said == is_so else "#c8553d", pad=3)
        for axes in figure.axes:
            axes.set(xticks=[], yticks=[])
            if not axes.images:
                axes.axis("off")
        return _svg(figure)


def _times(product: GatherResult | ProductResult) -> tuple[int, np.ndarray]:
    """Cycles of a run, and cycles by tile, lane and cause."""
    if product.run.cycles is None or product.run.causes is None:
        raise ValueError("cycles can be drawn only of a device that has time")
    return product.run.cycles, product.run.causes


def _figure(width: float, height: float):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
