"""Measures what docs/formats.md compares, keeps it under docs/results/, and writes its table from there.

python scripts/measure_formats.py            measures bf16x again (half an hour); bf16 is that of the other scripts
python scripts/measure_formats.py NAME ...   measures only the results so called, as docs/results/NAME.json
python scripts/measure_formats.py --tables   only writes the table anew from docs/results/
python scripts/measure_formats.py --check    exits with 1 where the table is not that of docs/results/
"""

import sys
from collections.abc import Callable
from typing import Any

from measure import RESULTS, ROOT, measure_page, result

PAGE = ROOT / "docs" / "formats.md"
SEEDS = (1, 2, 3)
LAYER = "256x256x128-w0.1-a0.5"
PRODUCTS = ("gather", "scatter", "sampled")


def commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    fabric = "--preset base --format bf16x"
    areas = {
        f"area-{block}-bf16x": f"acf area {fabric} --block {block} --tech ecp5 --json"
        for block in ("mac", "lane", "tile")
    }
    timings = {"timing-lane-bf16x": f"acf timing {fabric} --block lane --tech ecp5 --speed 6 --seed 1 --seeds 3 --json"}
    products = {
        f"{product}-base-bf16x-{LAYER}": (
            f"acf bench {product} {fabric} --rows 256 --inner 256 --cols 128 --weight-density 0.1 "
            "--operand-density 0.5 --seed 1 --device rtl --json"
        )
        for product in PRODUCTS
    }
    trainings = {
        f"train-digits-rigl-0.9-bf16x-seed{seed}": (
            "acf train digits --method rigl --sparsity 0.9 --preset base,lane.format=bf16x --device golden "
            f"--seed {seed} --json --out build/train/rigl-0.9-bf16x-{seed}"
        )
        for seed in SEEDS
    }
    return {**areas, **timings, **products, **trainings}


def table() -> list[str]:
    """Rows of the table that compares the two formats."""
    lines = ["| | bf16 | bf16x |", "|---|---|---|"]

    def row(what: str, name: str, value: Callable[[Any], str]) -> None:
        """A line of what two results say; ``{}`` in the name stands for the format."""
        lines.append(f"| {what} | {value(result(name.format('')))} | {value(result(name.format('-bf16x')))} |")

    for block, what in (("mac", "operator"), ("lane", "lane"), ("tile", "tile of four lanes")):
        row(
            f"{what}: LUT slots / flip-flops / multipliers / block RAM",
            f"area-{block}{{}}",
            lambda r: " / ".join(f"{r['total'][resource]:,}" for resource in ("comb", "ff", "dsp", "bram")),
        )
    row(
        "lane: Fmax in MHz, seeds 1, 2, 3; median",
        "timing-lane{}",
        lambda r: ", ".join(f"{r['fmax_mhz_by_seed'][str(seed)]:.1f}" for seed in SEEDS) + f"; {r['fmax_mhz']:.1f}",
    )
    for product in PRODUCTS:
        row(
            f"{product} {LAYER}: cycles / utilization / lane cycles lost to hazards",
            f"{product}-base{{}}-{LAYER}",
            lambda r: (
                f"{r['cycles']:,} / {100 * r['utilization']:.1f} % / "
                f"{100 * r['lane_cycles']['hazard'] / (r['lanes'] * r['cycles']):.2f} %"
            ),
        )
    for seed in SEEDS:
        # The seeds that have been trained in both.
        if (RESULTS / f"train-digits-rigl-0.9-bf16x-seed{seed}.json").exists():
            row(
                f"digits, *rigl* at 90 %, seed {seed}: test accuracy / loss of the last epoch",
                f"train-digits-rigl-0.9{{}}-seed{seed}",
                lambda r: f"{100 * r['final_accuracy']:.2f} % / {r['losses'][-1]:.6f}",
            )
    return lines


if __name__ == "__main__":
    sys.exit(measure_page(PAGE, "formats", commands=commands(), table=table, script="measure_formats.py"))
