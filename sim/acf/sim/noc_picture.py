"""The picture of a sweep: latency against load."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from acf.sim.noc_sweep import SATURATED

__all__ = ["PICTURE_FORMATS", "draw_sweep"]

PICTURE_FORMATS = (".svg", ".png", ".pdf")


def draw_sweep(report: dict[str, Any], file: Path, *, title: str) -> None:
    """Draw what ``acf.sim.noc_sweep.sweep`` has found.

    Parameters
    ----------
    report : dict
    file : Path
        One of ``PICTURE_FORMATS`` by its suffix.
    title : str
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = [point for point in report["points"] if not point["packets_not_delivered"]]
    loads = [point["offered_load"] for point in points]
    for name, label in ("mean", "mean"), ("p50", "median"), ("p99", "99 % of all packets"):
        axes.plot(loads, [point[f"latency_{name}"] for point in points], marker=".", label=label)
    alone = report["zero_load_latency"]
    axes.axhline(alone, color="0.6", linewidth=1, linestyle=":", label=f"alone: {alone:.1f}")
    axes.axhline(SATURATED * alone, color="0.6", linewidth=1, linestyle="--", label=f"{SATURATED:g} x alone")
    if report["saturation"] is not None:
        axes.axvline(
            report["saturation"], color="tab:red", linewidth=1, label=f"saturation: {report['saturation']:.3f}"
        )
    axes.set(
        title=title,
        xlabel="offered load, flits per sending node per cycle",
        ylabel="latency from creation to tail, cycles",
        xlim=(0, 1),
        ylim=(0, 8 * alone),
    )
    axes.legend()
    figure.savefig(file)
