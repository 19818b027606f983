"""The page of a training: one HTML file that needs nothing else."""

import html
from typing import Any

from acf.runtime.html_page import STYLE, card
from acf.training import pictures
from acf.training.experiment import Experiment

__all__ = ["make_page"]

_STYLE = f"""{STYLE}
.card svg {{ display: block; width: 100%; height: auto; max-height: 620px; }}
th, td {{ overflow-wrap: anywhere; }}
"""

_METHODS = {
    "dense": "with all its weights",
    "static": "with a sparse structure that stays as it was drawn",
    "set": "with a sparse structure: small weights are dropped, others grown at random (SET)",
    "rigl": "with a sparse structure: small weights are dropped, others grown where the gradient is largest (RigL)",
    "gradual": "at first with all its weights, of which it loses the smallest, step by step (gradual pruning)",
}


def make_page(experiment: Experiment, report: dict[str, Any]) -> str:
    """The page as text; ``report`` is that of the experiment, behind at least one epoch."""
    config = experiment.config
    timed = any(totals["cycles"] is not None for totals in report["phases"].values())
    device = "the Verilated RTL" if report["device"] == "rtl" else f"the {report['device']} model"
    phases = "Cycles, first fetch to END of each program." if timed else (
        "Products of two operands that are not zero; this device has no time. The same run on the RTL gives cycles."
    )  # fmt: skip
    cards = [
        card("Loss", "Cross-entropy of the batches, as they are trained on.", pictures.draw_loss(experiment)),
        card("Accuracy", f"Held out: {report['holdout_images']} images that the network is not trained on.",
              pictures.draw_accuracy(experiment)),
        card("Density", "Weights that exist / elements, biases not counted.", pictures.draw_densities(experiment)),
        card("Phases", phases, pictures.draw_phases(experiment)),
        card("How the mask evolves", "Below, the mask of the first layer: a row for each neuron, a column for each "
              "input. Above, if inputs are an image, how many neurons look at each.",
              pictures.draw_masks(experiment), wide=True),
        f'<section class="card wide"><h2>All numbers</h2>{_table(report)}</section>',
    ]  # fmt: skip
    sizes = " - ".join(str(size) for size in experiment.blueprint.sizes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A sparse network trained on the fabric</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>A sparse network trained on the fabric</h1>
<p>A perceptron ({html.escape(sizes)}) was trained on {html.escape(report["data"])}, {_METHODS[report["method"]]}, on
{html.escape(device)} of {config.rows} x {config.cols} tiles of {config.lanes} lanes: products of all layers, optimizer
and structure. The host computed softmax and loss.</p>
<div class="facts">{_facts(report)}</div>
<div class="grid">
{"".join(cards)}
</div>
</main>
</body>
</html>
"""


def _facts(report: dict[str, Any]) -> str:
    phases = report["phases"]
    facts = [
        (f"{100 * report['final_accuracy']:.1f} %", f"of {report['holdout_images']} {report['holdout']} images"),
        (f"{100 * report['network_sparsity']:.1f} %", "of the weights do not exist"),
    ]
    training = [phases[name] for name in phases if name not in ("evaluation",)]
    if any(totals["cycles"] is not None for totals in training):
        cycles = sum(totals["cycles"] or 0 for totals in training)
        facts.append((f"{cycles / report['steps']:,.0f}", "cycles a training step, changes of the structure included"))
    if report["change_cycles_of_100_steps"] is not None:
        part = 100 * report["change_cycles_of_100_steps"]
        facts.append((f"{part:.2f} %", "of the cycles of 100 steps is what a change of the structure takes"))
    macs = sum(phases[name]["effectual_macs"] for name in ("forward", "backward"))
    dense = sum(phases[name]["dense_macs"] for name in ("forward", "backward"))
    if macs:
        facts.append((f"{dense / macs:.1f} x", "fewer MACs than a dense network without skipping"))
    return "".join(
        f'<div class="fact"><b>{html.escape(value)}</b><span>{html.escape(text)}</span></div>' for value, text in facts
    )


def _table(report: dict[str, Any]) -> str:
    lines = [
        ("accuracy", _percent(report["final_accuracy"]), f"of {report['holdout_images']} {report['holdout']} images"),
        ("loss", f"{report['final_loss']:.4f}", "mean of the last epoch"),
        ("training images", f"{report['training_images']:,}", f"{report['steps']:,} steps of {report['batch']}"),
        ("learning rate", f"{report['learning_rate']:g}", f"cosine to 0, momentum {report['momentum']:g}"),
        ("seed", str(report["seed"]), "of first weights and masks, order of the images, growth at random"),
    ]
    for layer in report["layers"]:
        rows, columns = layer["shape"]
        lines.append(
            (
                f"sparsity of {layer['layer']}",
                _percent(layer["sparsity"]),
                f"{layer['entries']:,} of {rows} x {columns}",
            )
        )
    for name, totals in report["phases"].items():
        runs = f"in {totals['runs']:,} programs"
        if totals["cycles"] is not None:
            lines.append((f"{name}: cycles", f"{totals['cycles']:,}", runs))
            lines.append((f"{name}: bytes read", f"{totals['bytes_read']:,}", "beats of the memory port"))
            lines.append((f"{name}: bytes written", f"{totals['bytes_written']:,}", "strobes of the memory port"))
        for what in ("update", "rewire", "prune", "merge"):
            entries = (totals["engine"] or {}).get(f"{what}d", 0)
            if entries:
                cycles = totals["engine"][f"{what}_cycles"]
                lines.append((f"{name}: cycles per entry", f"{cycles / entries:.2f}", f"{entries:,} entries {what}d"))
        of = f"of {totals['dense_macs']:,} dense MACs" if "dense_macs" in totals else runs
        lines.append((f"{name}: effectual MACs", f"{totals['effectual_macs']:,}", of))
    weights = report["weights_region_bytes"]
    for what in ("host_bytes_read", "host_bytes_written"):
        count = report[what].get("training: weights", 0)
        lines.append((f"host: {what.split('_')[-1]}", f"{count:,}", f"bytes of weights while training, of {weights:,}"))
    lines += [
        ("weights", report["weights_sha256"], "SHA-256 of weights, master values, momentum and structure"),
        ("losses", report["losses_sha256"], "SHA-256 of the losses of all steps, as float64"),
        ("configuration", f"{report['preset']} {report['config_digest']}", "digest of all parameters of the device"),
    ]
    body = "".join(
        f"<tr><td>{html.escape(what)}</td><td>{html.escape(value)}</td><td>{html.escape(unit)}</td></tr>"
        for what, value, unit in lines
    )
    head = "<tr><th>what</th><th>value</th><th>unit or denominator</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"
