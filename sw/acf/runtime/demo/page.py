"""The demo page: one HTML file that needs nothing else."""

import html

from acf.isa import LaneCause
from acf.runtime.demo import pictures
from acf.runtime.demo.experiment import HIDDEN, SPARSITY, DemoResult
from acf.runtime.html_page import STYLE, card

__all__ = ["make_page"]

_STYLE = f"""{STYLE}
.good b {{ color: #157a5c; }} .bad b {{ color: #b3402a; }}
.card svg {{ display: block; width: 100%; height: auto; max-height: 430px; }}
td:nth-child(2), th:nth-child(2) {{ white-space: nowrap; }}
code {{ font: 13.5px ui-monospace, "DejaVu Sans Mono", monospace; }}
"""


def make_page(result: DemoResult) -> str:
    """The page as text."""
    timed = result.measurement.sparse.run.cycles is not None
    rows, inner = result.measurement.weights.shape
    cards = [
        card(
            "Accuracy",
            f"Of {len(result.labels)} test images that the network has not seen in training.",
            pictures.draw_accuracy(result),
        ),
    ]
    if timed:
        cards += [
            card(
                "Speed-up beside the ideal",
                "Cycles of the same array with skipping off / cycles; the ideal is dense MACs / effectual MACs.",
                pictures.draw_speedup(result),
            ),
            card(
                "Where the cycles went",
                "Every cycle of every lane has exactly one cause. Above in cycles, below as parts of each run.",
                pictures.draw_cycles(result),
            ),
            card(
                "Utilization of each tile",
                "Effectual MACs / (lanes x cycles), on the mesh. First fetch to last write, so fill and drain count.",
                pictures.draw_mesh(result),
            ),
        ]
    else:
        text = f"The {result.device} device computes the same bits but has no time; run the demo with --device rtl."
        cards.append(f'<section class="card"><h2>No cycles</h2><p>{html.escape(text)}</p></section>')
    cards.append(card("What it said", "Red: what the network takes for another digit.", pictures.draw_digits(result),
                       wide=True))  # fmt: skip
    cards.append(f'<section class="card wide"><h2>All numbers</h2>{_table(result)}</section>')
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A sparse layer on the fabric</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>A trained sparse layer on the fabric</h1>
<p>A perceptron (64 inputs, {HIDDEN[0]} and {HIDDEN[1]} hidden neurons, 10 outputs) was trained on handwritten digits,
and {100 * SPARSITY:.0f} % of the weights of its hidden layers were pruned away. Its second hidden layer,
{rows} x {inner} weights, was then run for {len(result.labels)} test images on {_device_words(result)}: weights in CSR,
activations with the zeros that ReLU leaves. The rest of the network ran on the host.</p>
<div class="facts">{_facts(result)}</div>
<div class="grid">
{"".join(cards)}
</div>
</main>
</body>
</html>
"""


def _device_words(result: DemoResult) -> str:
    config = result.config
    array = f"{config.rows} x {config.cols} tiles of {config.lanes} lanes"
    if result.device == "rtl":
        return f"the Verilated RTL ({array})"
    return f"the golden model of the fabric ({array})"


def _facts(result: DemoResult) -> str:
    report = result.measurement.report()
    exact = report["bit_exact"]
    agreeing = int((result.predictions == result.golden_predictions).sum())
    total = len(result.labels)
    facts = [
        ("good" if exact else "bad", "bit-exact" if exact else "wrong bits", "result beside the golden product"),
        ("good" if agreeing == total else "bad", f"{agreeing} / {total}", "predictions as the golden model's"),
        ("", f"{100 * result.fabric_accuracy:.1f} %", f"accuracy, {100 * result.dense_accuracy:.1f} % before pruning"),
    ]
    if report["cycles"] is not None:
        facts += [
            ("", f"{report['speedup']:.1f} x", f"speed-up, ideal {report['ideal_speedup']:.1f} x"),
            ("", f"{100 * report['utilization']:.0f} %", f"of {report['lanes']} lanes x cycles did an effectual MAC"),
        ]
    return "".join(
        f'<div class="fact {kind}"><b>{html.escape(value)}</b><span>{html.escape(text)}</span></div>'
        for kind, value, text in facts
    )


def _table(result: DemoResult) -> str:
    report, config = result.measurement.report(), result.config
    rows, inner, columns = report["rows"], report["inner"], report["columns"]
    lines = [
        ("test images", f"{columns:,}", f"of scikit-learn's digits; trained on {result.training_images:,} others"),
        ("seed", str(result.seed), "of the split, the first weights and the order of training"),
        ("accuracy before pruning", _percent(result.dense_accuracy), "float32, correct / test images"),
        ("accuracy after pruning", _percent(result.pruned_accuracy), "float32, correct / test images"),
        ("accuracy with the layer on the device", _percent(result.fabric_accuracy), "bf16 operands, float32 sums"),
        ("weights of the layer", f"{rows:,} x {inner:,}", "W, in CSR with int32 indices"),
        ("weight density", _percent(report["weight_density"]), f"{report['weight_nonzeros']:,} of {rows * inner:,}"),
        ("activation density", _percent(report["operand_density"]),
         f"{report['operand_nonzeros']:,} of {inner * columns:,} behind the ReLU"),
        ("dense MACs", f"{report['dense_macs']:,}", "rows x inner x columns"),
        ("effectual MACs", f"{report['effectual_macs']:,}", "both operands non-zero"),
    ]  # fmt: skip
    if report["cycles"] is not None:
        lane_cycles = report["lanes"] * report["cycles"]
        lines += [
            ("cycles", f"{report['cycles']:,}", "first fetch to END, with skipping"),
            ("cycles, skipping off", f"{report['dense_cycles']:,}", "same array, W stored with all its zeros"),
            ("speed-up", f"{report['speedup']:.2f} x", "cycles, skipping off / cycles"),
            ("ideal speed-up", f"{report['ideal_speedup']:.2f} x", "dense MACs / effectual MACs"),
            ("utilization", _percent(report["utilization"]), f"effectual MACs / {lane_cycles:,} lane cycles"),
            (
                "utilization, skipping off",
                _percent(report["dense_utilization"]),
                "dense MACs / lane cycles of that run",
            ),
        ]
        for cause in LaneCause:
            cycles = report["lane_cycles"][cause.name.lower()]
            lines.append(
                (f"lanes: {pictures.CAUSE_NAMES[cause]}", _percent(cycles / lane_cycles), f"{cycles:,} lane cycles")
            )
        lines += [
            ("bytes read", f"{report['bytes_read']:,}", "beats of the memory port, program included"),
            ("bytes written", f"{report['bytes_written']:,}", "strobes of the memory port"),
        ]
    lines += [
        ("commands", f"{report['commands']:,}", "in the program"),
        ("configuration", f"<code>{html.escape(config.name)} {config.digest}</code>",
         f"{config.rows} x {config.cols} tiles, {config.lanes} lanes of {config.lane.slots} slots each, "
         f"{config.lane.format}; the digest is that of all parameters"),
    ]  # fmt: skip
    body = "".join(
        f"<tr><td>{what}</td><td>{value}</td><td>{html.escape(unit)}</td></tr>" for what, value, unit in lines
    )
    head = "<tr><th>what</th><th>value</th><th>unit or denominator</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"
