"""Draws the records of a grid: how near they come to the roofline, and where the cycles of the lanes went."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from acf.isa import LaneCause
from acf.runtime.demo.pictures import CAUSE_COLOURS, CAUSE_NAMES, FAINT, GREY, INK, LINE
from acf.runtime.measure import PRODUCTS

__all__ = ["draw_roofline", "draw_stalls", "intensity", "layer_name"]

Record = dict[str, Any]

_COLOURS = {"gather": "#2563a8", "scatter": "#1a936f", "sampled": "#c8553d"}
_MARKERS = "osD^vPX*<>"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": LINE,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}
_BAR = 0.19
"""Inches from bar to bar."""


def layer_name(record: Record) -> str:
    """What a record's weights are called in charts."""
    if record["matrix"] is not None:
        return record["matrix"].rpartition("/")[2].partition(".smtx")[0]
    return f"{record['pattern']}, {100 * record['asked_weight_density']:g} %"


def intensity(record: Record) -> float:
    """Effectual MACs per compulsory byte, as far as bytes bind: times the memory's slope it is the roof."""
    return record["effectual_macs"] / (record["roofline_memory_cycles"] * _slope(record))


def draw_roofline(records: list[Record]) -> Figure:
    """Achieved MACs a cycle over MACs per byte, below the roof of lanes and memory port.

    All records must be of one configuration and one memory, and have cycles.
    """
    points = [record for record in records if record["effectual_macs"]]
    slope, lanes = _slope(records[0]), records[0]["lanes"]
    patterns = list(dict.fromkeys(record["pattern"] or "from a file" for record in records))
    products = [product for product in PRODUCTS if any(record["product"] == product for record in records)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 5), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        xs = np.array([intensity(record) for record in points] or [1.0])
        ys = np.array([record["effectual_macs"] / record["cycles"] for record in points] or [1.0])
        left = min(xs.min(), lanes / slope) / 1.6
        right = max(xs.max(), lanes / slope) * 1.6
        roof = np.geomspace(left, right, 200)
        label = f"{lanes} lanes,\n{slope:g} bytes a cycle"
        (line,) = axes.plot(roof, np.minimum(lanes, slope * roof), color=INK, linewidth=1.6, label=label)
        for record, x, y in zip(points, xs, ys, strict=False):
            marker = _MARKERS[patterns.index(record["pattern"] or "from a file") % len(_MARKERS)]
            colour = _COLOURS[record["product"]]
            axes.plot(x, y, marker, markersize=6, color=colour, alpha=0.65, markeredgewidth=0)
        axes.set(
            xscale="log",
            yscale="log",
            xlim=(left, right),
            ylim=(min(ys.min(), slope * left) / 1.3, 1.8 * lanes),
            xlabel="effectual MACs per compulsory byte" + _of_which(records[0]),
            ylabel="effectual MACs a cycle",
        )
        axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain_number))
        handles = [line]
        handles += [Line2D([], [], marker="s", linestyle="", color=_COLOURS[name], label=name) for name in products]
        handles += [
            Line2D([], [], marker=_MARKERS[number % len(_MARKERS)], linestyle="", color=GREY, label=name)
            for number, name in enumerate(patterns)
        ]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, title=_title(records[0]))
        return figure


def draw_stalls(records: list[Record]) -> Figure:
    """A bar for each record, split by what the lanes did; a panel for each product."""
    products = [product for product in PRODUCTS if any(record["product"] == product for record in records)]
    rows = list(dict.fromkeys(_row(record) for record in records))
    with matplotlib.rc_context(_STYLE):
        height = _BAR * len(rows)
        figure = Figure(figsize=(3.2 + 3.1 * len(products), height + 1.9), layout="constrained")
        panels = figure.subplots(1, len(products), squeeze=False, sharey=True)[0]
        for axes, product in zip(panels, products, strict=True):
            _stall_panel(axes, {_row(record): record for record in records if record["product"] == product}, rows)
            axes.set_title(f"{product}: {PRODUCTS[product].partition(',')[0]}", size=10, loc="left")
        panels[0].set_yticks(range(len(rows)), [f"{name}   {density}" for name, density in rows], size=8, color=INK)
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        figure.supxlabel("% of lanes x cycles; at the right the cycles", size=10, color=FAINT)
        handles, labels = panels[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(
            unique.values(), unique.keys(), loc="outside upper center", ncols=6, frameon=False,
            title=f"{_title(records[0])}; rows: weights, their density, density of the operands",
        )  # fmt: skip
        return figure


def _stall_panel(axes: Any, records: dict[tuple, Record], rows: list[tuple]) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    lefts = np.zeros(len(rows))
    for cause in LaneCause:
        name = cause.name.lower()
        parts = np.array([
            100 * records[row]["lane_cycles"][name] / sum(records[row]["lane_cycles"].values()) if row in records else 0
            for row in rows
        ])  # fmt: skip
        axes.barh(
            range(len(rows)), parts, left=lefts, height=0.78, color=CAUSE_COLOURS[cause], label=CAUSE_NAMES[cause]
        )
        lefts += parts
    for place, row in enumerate(rows):
        if row in records:
            axes.text(129, place, f"{records[row]['cycles']:,}", va="center", ha="right", size=7.5, color=FAINT)
    axes.set(xlim=(0, 130), xticks=range(0, 101, 25))
    # Layers apart from each other: several densities of operands belong to one.
    for place in range(1, len(rows)):
        if rows[place][0] != rows[place - 1][0]:
            axes.axhline(place - 0.5, color=LINE, linewidth=0.5)


def _row(record: Record) -> tuple[str, str]:
    name = layer_name(record)
    size = f" {record['rows']} x {record['inner']}" if record["matrix"] is not None else ""
    return name + size, f"{100 * record['asked_operand_density']:g} %"


def _title(record: Record) -> str:
    config = record["config"]
    return f"{config['name']}, {config['lane']['format']}, {record['device']}"


def _slope(record: Record) -> float:
    beat = record["config"]["memory"]["data_width"] // 8
    return beat if record["bytes_per_cycle"] is None else min(beat, record["bytes_per_cycle"])


def _of_which(record: Record) -> str:
    shared = record["bytes_per_cycle"] is not None and record["bytes_per_cycle"] <= _slope(record)
    return "" if shared else " (read or written, whichever are more)"


def _plain_number(value: float, _: Any) -> str:
    return f"{value:g}"
