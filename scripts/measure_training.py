"""Trains what docs/training.md states, keeps the reports under docs/results/, and writes its table from there.

python scripts/measure_training.py            trains everything again, on the golden device (about half an hour)
python scripts/measure_training.py NAME ...   measures only the results so called, as docs/results/NAME.json
python scripts/measure_training.py --tables   only writes the table anew from docs/results/
python scripts/measure_training.py --check    exits with 1 where the table is not that of docs/results/
"""

import sys

from measure import ROOT, measure_page, result

PAGE = ROOT / "docs" / "training.md"
SEEDS = (1, 2, 3)

TRAININGS = {
    "dense": "--method dense",
    "static-0.9": "--method static --sparsity 0.9",
    "set-0.9": "--method set --sparsity 0.9",
    "rigl-0.9": "--method rigl --sparsity 0.9",
    "rigl-0.9-unstructured": "--method rigl --structure unstructured --sparsity 0.9",
    "gradual-0.9": "--method gradual --sparsity 0.9",
    "rigl-0.98": "--method rigl --sparsity 0.98",
    "rigl-0.98-512": "--method rigl --sparsity 0.98 --hidden 512,256",
}


def commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    on_golden = {
        f"train-digits-{name}-seed{seed}": (
            f"acf train digits {options} --device golden --seed {seed} --json --out build/train/{name}-{seed}"
        )
        for name, options in TRAININGS.items()
        for seed in SEEDS
    }
    on_rtl = {
        f"train-digits-{preset}-rtl-rigl-0.9-seed1": (
            f"acf train digits --method rigl --sparsity 0.9 --preset {preset} {options} --device rtl "
            f"--seed 1 --json --out build/train/{preset}-rtl"
        )
        for preset, options in (
            ("tiny", "--hidden 32,16 --batch 32 --epochs 1 --period 10"),
            ("base", "--epochs 1 --period 11"),
        )
    }
    return {**on_golden, **on_rtl}


def table() -> list[str]:
    """Rows of the table of accuracies."""
    lines = [
        "| method | hidden | sparsity | test accuracy, seeds 1, 2, 3 | mean | dense MACs / effectual MACs |",
        "|---|---|---|---|---|---|",
    ]
    for name in TRAININGS:
        reports = [result(f"train-digits-{name}-seed{seed}") for seed in SEEDS]
        first = reports[0]
        accuracies = [100 * report["final_accuracy"] for report in reports]
        shown = ", ".join(f"{accuracy:.2f} %" for accuracy in accuracies)
        phases = [report["phases"][phase] for report in reports for phase in ("forward", "backward")]
        ratio = sum(phase["dense_macs"] for phase in phases) / sum(phase["effectual_macs"] for phase in phases)
        method = first["method"] + (", unstructured" if first.get("structure") == "unstructured" else "")
        lines.append(
            f"| {method} | {', '.join(map(str, first['hidden']))} | {100 * first['network_sparsity']:.2f} % "
            f"| {shown} | {sum(accuracies) / len(accuracies):.2f} % | {ratio:.1f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(measure_page(PAGE, "accuracies", commands=commands(), table=table, script="measure_training.py"))
