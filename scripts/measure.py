"""Measures what README.md and docs/noc.md state, keeps it under docs/results/, and writes their tables from there.

    python scripts/measure.py            measures everything again (about half an hour on 2 cores)
    python scripts/measure.py NAME ...   measures only the results so called, as docs/results/NAME.json
    python scripts/measure.py --tables   only writes the tables anew from docs/results/
    python scripts/measure.py --check    exits with 1 where the tables are not those of docs/results/

Every file under docs/results/ holds the command that made it, and what that command printed.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rich.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
README = ROOT / "README.md"
NETWORK = ROOT / "docs" / "noc.md"

GATHERS = [(64, 256, 256, 0.5, 1.0), (64, 256, 256, 0.2, 1.0), (64, 256, 256, 0.2, 0.5), (64, 256, 256, 0.1, 0.5)]
LAYERS = [(256, 256, 128, 0.1, 1.0), (256, 256, 128, 0.1, 0.5), (256, 256, 512, 0.1, 0.5)]
LARGE_LAYERS = [(256, 1152, 1024, 0.1, 0.5)]
"""Without their dense runs, which would take most of the time."""
PRODUCTS = ("gather", "scatter", "sampled")
BLOCKS = [
    "mac",
    "lane",
    "tile",
    "router",
    "node",
    "row_feeder",
    "column_feeder",
    "command_processor",
    "update_engine",
    "rewire_engine",
    "prune_engine",
]
COMPARED_BLOCKS = [("lane", "bf16"), ("tile", "bf16"), ("lane", "int8"), ("tile", "int8")]
"""Beside the same without skipping."""
COMPARED_RUNS = [
    *(f"{product}-base-256x256x512-w0.1-a0.5" for product in PRODUCTS),
    "gather-base-64x256x256-w0.2-a1",
    "gather-base-64x256x256-w0.5-a1",
]
ARRAY = {"tile": 16, "node": 25, "row_feeder": 4, "column_feeder": 4, "command_processor": 1}
"""Blocks of `base` that compute products, with their number: all but the structure engine and the memory port."""
TIMED_BLOCKS = ["mac", "lane", "router"]
SWEEPS: list[tuple[str, str, dict[str, str | int]]] = [
    ("4x4", "uniform", {"--channels": "kept", "--vcs": 2}),
    ("4x4", "uniform", {"--vcs": 2}),
    ("4x4", "uniform", {"--vcs": 2, "--rounds": 1, "--stages": 2}),
    ("4x4", "uniform", {"--vcs": 2, "--stages": 2}),
    ("4x4", "uniform", {"--vcs": 4}),
    ("8x8", "uniform", {"--vcs": 2}),
    ("8x8", "uniform", {"--channels": "free", "--vcs": 2}),
    ("4x4", "transpose", {"--routing": "xy", "--vcs": 2}),
    ("4x4", "transpose", {"--routing": "adaptive", "--vcs": 2}),
    ("4x4", "uniform", {"--topology": "torus", "--vcs": 4}),
    ("8x8", "uniform", {"--topology": "torus", "--vcs": 4}),
]

ROUTERS: list[tuple[str, str, bool]] = [  # name, options, whether it is placed
    ("kept-vcs2-depth8", "--channels kept --vcs 2 --depth 8", True),
    ("onward-rounds1-vcs2-depth8", "--channels onward --rounds 1 --vcs 2 --depth 8", True),
    ("onward-rounds1-stages2-vcs2-depth8", "--channels onward --rounds 1 --stages 2 --vcs 2 --depth 8", True),
    ("onward-stages2-vcs2-depth8", "--channels onward --stages 2 --vcs 2 --depth 8", True),
    ("onward-vcs2-depth8", "--channels onward --vcs 2 --depth 8", False),
    ("onward-vcs1-depth8", "--channels onward --vcs 1 --depth 8", False),
    ("onward-vcs4-depth8", "--channels onward --vcs 4 --depth 8", False),
    ("onward-vcs2-depth2", "--channels onward --vcs 2 --depth 2", False),
    ("onward-vcs2-depth16", "--channels onward --vcs 2 --depth 16", False),
    ("onward-vcs2-depth8-groups32", "--channels onward --vcs 2 --depth 8 --groups 32", False),
]


def product_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    runs = [("gather", *run) for run in GATHERS]
    runs += [(product, *layer) for layer in (*LAYERS, *LARGE_LAYERS) for product in PRODUCTS]
    return {
        f"{product}-base-{rows}x{inner}x{columns}-w{weight:g}-a{operand:g}": (
            f"acf bench {product} --preset base --rows {rows} --inner {inner} --cols {columns} "
            f"--weight-density {weight:g} --operand-density {operand:g} --seed 1 --device rtl "
            + ("--no-dense " if (rows, inner, columns, weight, operand) in LARGE_LAYERS else "")
            + "--json"
        )
        for product, rows, inner, columns, weight, operand in runs
    }


def update_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    return {"update-base-10000": "acf bench update --preset base --entries 10000 --seed 1 --device rtl --json"}


def area_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    commands = {f"area-{block}": f"acf area --preset base --block {block} --tech ecp5 --json" for block in BLOCKS}
    for block in ("mac", "lane", "tile"):
        commands[f"area-{block}-int8"] = f"acf area --preset base --format int8 --block {block} --tech ecp5 --json"
    return commands


def comparison_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    benches = " ".join(f"--bench docs/results/{name}.json" for name in COMPARED_RUNS)
    commands = {}
    for block, format in COMPARED_BLOCKS:
        name, options = (
            (f"area-compare-{block}", benches)
            if format == "bf16"
            else (f"area-compare-{block}-{format}", f"--format {format}")
        )
        commands[name] = f"acf area --preset base --block {block} --tech ecp5 --compare dense {options} --json"
    return commands


def timing_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    return {
        f"timing-{block}": f"acf timing --preset base --block {block} --tech ecp5 --speed 6 --seed 1 --seeds 3 --json"
        for block in TIMED_BLOCKS
    }


def network_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    commands = {}
    for mesh, traffic, options in SWEEPS:
        words = [f"{option} {value}" for option, value in options.items()]
        parts = [value if isinstance(value, str) else f"{option[2:]}{value}" for option, value in options.items()]
        name = "-".join(["noc", mesh, traffic, *parts])
        commands[name] = " ".join(["acf noc sweep --mesh", mesh, "--traffic", traffic, *words, "--seed 1 --json"])
    return commands


def soak_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    return {
        "noc-soak": "acf noc soak --flits 10000000 --seed 1 --json",
        "noc-soak-groups": "acf noc soak --mesh 4x4 --routing xy/yx --channels free --rounds 2 --vcs 4 --by-class "
        "--statistics --groups 32 --group-vcs 2 --flits 400000 --seed 1 --json",
    }


def ablation_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    return {"noc-ablation": "acf noc ablate --seed 1 --seeds 3 --brief --json"}


def router_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    commands = {}
    for name, options, is_placed in ROUTERS:
        commands[f"noc-router-area-{name}"] = f"acf area --block router --mesh 4x4 {options} --json"
        if is_placed:
            commands[f"noc-router-timing-{name}"] = (
                f"acf timing --block router --mesh 4x4 {options} --seed 1 --seeds 3 --json"
            )
    return commands


def proof_commands() -> dict[str, str]:
    """Names of result files and the commands that print them."""
    return {
        "noc-proofs": "python -m acf.tb.noc_proofs --json arbiter queue port router sender",
        "noc-proofs-groups": "python -m acf.tb.noc_proofs --json 'sender of groups' 'group port'",
    }


def measure(name: str, command: str) -> None:
    """Run a command and keep its JSON object."""
    words = shlex.split(command)
    words[0] = str(Path(sys.executable).with_name(words[0]))
    printed = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = {"command": command, "result": json.loads(printed)}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def result(name: str) -> dict[str, Any]:
    """What a kept command printed."""
    return json.loads((RESULTS / f"{name}.json").read_text())["result"]


def product_table() -> list[str]:
    """Rows of the throughput table."""
    lines = [
        "| product | layer (rows x inner x columns) | weights | operands | cycles | utilization | speed-up | ideal | waiting (operands, entries, hazards, drain, idle) |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in product_commands():
        r = result(name)
        total = r["lanes"] * r["cycles"]
        causes = r["lane_cycles"]
        waits = ", ".join(
            f"{100 * causes[cause] / total:.0f} %"
            for cause in ("operand_wait", "entry_wait", "hazard", "drain", "idle")
        )
        lines.append(
            f"| {r['product']} | {r['rows']} x {r['inner']} x {r['columns']} | {100 * r['weight_density']:.0f} % "
            f"| {100 * r['operand_density']:.0f} % | {r['cycles']:,} | {100 * r['utilization']:.1f} % "
            f"| {_times(r['speedup'])} | {r['ideal_speedup']:.2f} x | {waits} |"
        )
    return lines


def _times(factor: float | None) -> str:
    return "not run" if factor is None else f"{factor:.2f} x"


def update_table() -> list[str]:
    """Rows of the table of the optimizer."""
    lines = ["| weights | cycles | cycles per weight | bytes read | bytes written |", "|---|---|---|---|---|"]
    for name in update_commands():
        r = result(name)
        lines.append(
            f"| {r['entries']:,} | {r['cycles']:,} | {r['cycles_per_entry']:.3f} | {r['bytes_read']:,} "
            f"| {r['bytes_written']:,} |"
        )
    return lines


def area_table() -> list[str]:
    """Rows of the area table."""
    lines = [
        "| block | format | LUT4 | carry (CCU2C) | flip-flops | DSP | block RAM | LUT RAM |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in area_commands():
        r = result(name)
        t = r["total"]
        lines.append(
            f"| {r['block']} | {r['format']} | {t['lut4']:,} | {t['carry']:,} | {t['ff']:,} | {t['dsp']} | {t['bram']} "
            f"| {t['lut_ram']} |"
        )
    return lines


def _compared(name: str) -> tuple[dict[str, float], dict[str, float]]:
    """Totals of a block with skipping and without."""
    r = result(f"area-compare-{name}")
    return r["total"], r["dense_total"]


def array_areas(*, feeders: bool = True) -> tuple[dict[str, float], dict[str, float]]:
    """Totals of the array with skipping, and of that without, there with feeders or not."""
    totals: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for block, count in ARRAY.items():
        pair = _compared("tile") if block == "tile" else (result(f"area-{block}")["total"],) * 2
        for side, (total, counts) in enumerate(zip(totals, pair, strict=True)):
            times = 0 if side and not feeders and block.endswith("feeder") else count
            for name, number in counts.items():
                total[name] = total.get(name, 0) + times * number
    return totals


def comparison_table() -> list[str]:
    """Rows of the table of areas with skipping and without."""
    lane = next(one for one in result("area-compare-tile")["compared_modules"] if one["name"] == "acf_lane")
    own = next(one for one in result("area-compare-tile")["modules"] if one["name"] == "acf_lane")["counts"]
    rows = [
        ("lane alone", "bf16", _compared("lane")),
        ("lane in a tile", "bf16", (own, lane["dense_counts"])),
        ("tile", "bf16", _compared("tile")),
        ("array", "bf16", array_areas()),
        ("array, its feeders not counted on the side without", "bf16", array_areas(feeders=False)),
        ("lane alone", "int8", _compared("lane-int8")),
        ("tile", "int8", _compared("tile-int8")),
    ]
    titles = {"comb": "LUT slots", "lut4": "LUT4", "ff": "flip-flops", "dsp": "DSP", "bram": "block RAM"}
    lines = [
        "| of `base` | format | " + " | ".join(titles.values()) + " | skipping costs, of LUT slots |",
        "|---|---|" + "---|" * len(titles) + "---|",
    ]
    for what, format, (skipping, dense) in rows:
        counts = " | ".join(f"{skipping[name]:,} / {dense[name]:,}" for name in titles)
        cost = 100 * (skipping["comb"] / dense["comb"] - 1)
        lines.append(f"| {what} | {format} | {counts} | {cost:.1f} % |")
    return lines


def gain_table() -> list[str]:
    """Rows of the table of throughput per area."""
    lines = [
        "| product | layer | weights | operands | speed-up | per LUT slot of a tile | of the array | break-even weight sparsity, array | per LUT slot, feeders not counted without |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|---|",
    ]
    (skipping, dense), (_, alone) = array_areas(), array_areas(feeders=False)
    for one in result("area-compare-tile")["benches"]:
        speedup, density = one["speedup"], one["weight_density"]
        gain = speedup * dense["comb"] / skipping["comb"]
        lines.append(
            f"| {one['product']} | {one['rows']} x {one['inner']} x {one['columns']} | {100 * density:.0f} % "
            f"| {100 * one['operand_density']:.0f} % | {_times(speedup)} "
            f"| {_times(one['throughput_per_area']['comb'])} | {_times(gain)} "
            f"| {100 * max(0, 1 - density * gain):.0f} % | {_times(speedup * alone['comb'] / skipping['comb'])} |"
        )
    return lines


def timing_table() -> list[str]:
    """Rows of the table of clocks."""
    lines = ["| block | format | Fmax, MHz | of all seeds | slowest path, ns: by way of |", "|---|---|---|---|---|"]
    for name in timing_commands():
        r = result(name)
        speeds = sorted(r["fmax_mhz_by_seed"].values())
        steps = [f"{step['instance'] or r['block']}: `{step['signal']}`" for step in r["critical_path"]]
        lines.append(
            f"| {r['block']} | {r['format']} | {r['fmax_mhz']:.1f} | {speeds[0]:.1f} to {speeds[-1]:.1f} "
            f"| {r['critical_path_ns']:.1f}: {', '.join(steps)} |"
        )
    return lines


def network_table() -> list[str]:
    """Rows of the table of saturation."""
    lines = [
        "| network | traffic | routing | virtual channels x depth | given out, rounds, stages | alone, cycles | saturation | most accepted |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in network_commands():
        r = result(name)
        accepted = max(point["accepted_load"] for point in r["points"])
        lines.append(
            f"| {r['mesh']} {r['topology']} | {r['traffic']} | {r['routing']} "
            f"| {r['virtual_channels']} x {r['buffer_depth']} | {r['channels']}, {r['rounds']}, {r.get('stages', 1)} "
            f"| {r['zero_load_latency']:.2f} | {r['saturation']:.3f} | {accepted:.3f} |"
        )
    return lines


def soak_table() -> list[str]:
    """Rows of the table of the soak."""
    lines = ["| network | flits | packets | cycles | most silent cycles | order |", "|---|---|---|---|---|---|"]
    networks = [one for name in soak_commands() for one in result(name)["networks"]]
    rows = [(one["network"], one, "kept" if one["in_order"] else "free") for one in networks]
    every = {key: sum(one[key] for one in networks) for key in ("flits", "packets", "cycles")}
    every["longest_silence"] = max(one["longest_silence"] for one in networks)
    for network, one, order in [*rows, ("all", every, "")]:
        lines.append(
            f"| {network} | {one['flits']:,} | {one['packets']:,} | {one['cycles']:,} | {one['longest_silence']} "
            f"| {order} |"
        )
    return lines


def ablation_table() -> list[str]:
    """Rows of the table of adaptation."""
    (name,) = ablation_commands()
    r = result(name)
    layers = r["by_layer"]
    products = list(dict.fromkeys(product for one in layers["fixed"].values() for product in one["cycles"]))
    lines = [
        f"| may choose | {' | '.join(products)} | all | all steps | chosen in the last step |",
        "|---|" + "---|" * (len(products) + 3),
    ]
    for experiment, ratios in r["summary"].items():
        parts = []
        for product in products:
            before, after = (
                sum(one["cycles"][product] for one in layers[name].values()) for name in ("fixed", experiment)
            )
            parts.append(f"{before / after:.3f}")
        chosen = sum((Counter(one["chosen"]) for one in layers[experiment].values()), Counter()).most_common()
        what = "; ".join(f"{choice}: {count}" for choice, count in chosen)
        lines.append(
            f"| {'nothing' if experiment == 'fixed' else experiment} | {' | '.join(parts)} "
            f"| {ratios['last_step']:.3f} | {ratios['all_steps']:.3f} | {what} |"
        )
    return lines


def router_table() -> list[str]:
    """Rows of the table of routers."""
    lines = ["| router of | LUT slots | LUT4 | flip-flops | LUT RAM | Fmax, MHz |", "|---|---|---|---|---|---|"]
    for name, _, is_placed in ROUTERS:
        r = result(f"noc-router-area-{name}")
        t = r["total"]
        speed = f"{result(f'noc-router-timing-{name}')['fmax_mhz']:.1f}" if is_placed else ""
        lines.append(f"| {r['network']} | {t['comb']:,} | {t['lut4']:,} | {t['ff']:,} | {t['lut_ram']} | {speed} |")
    return lines


def proof_table() -> list[str]:
    """Rows of the table of proofs."""
    lines = ["| device | with | proved | by | with a bug |", "|---|---|---|---|---|"]
    for one in (one for name in proof_commands() for one in result(name)["proofs"]):
        how = one["how"] if one["how"] == "k-induction" else f"all runs of {one['depth']} cycles"
        what = one["what"] if one["result"] == "proved" else f"{one['result']}: {one['what']}"
        lines.append(f"| `{one['device']}` | {one['with']} | {what} | {how} | {one['result_with_bug']} |")
    return lines


def filled(text: str, section: str, lines: list[str], *, script: str = "measure.py") -> str:
    """``text`` with the lines between the markers of ``section`` replaced."""
    begin, end = f"<!-- {section}: written by scripts/{script} -->", f"<!-- end of {section} -->"
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"markers of section {section!r} are missing")
    return f"{head}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{tail}"


def measure_page(
    page: Path, section: str, *, commands: dict[str, str], table: Callable[[], list[str]], script: str
) -> int:
    """Measure, write or check, as the command line says, where one table of one page states what is measured."""
    options = _options(f"Measures what the table {section!r} of {page.name} states, and writes the table.", commands)
    if not (options.tables or options.check):
        _measure_all({name: commands[name] for name in options.names or commands})
    before = page.read_text()
    after = filled(before, section, table(), script=script)
    if options.check:
        return int(after != before)
    page.write_text(after)
    return 0


def _measure_all(commands: dict[str, str]) -> None:
    with Progress() as progress:
        task = progress.add_task("measuring", total=len(commands))
        for name, command in commands.items():
            progress.update(task, description=name)
            measure(name, command)
            progress.advance(task)


def _options(description: str, names: Collection[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="measure only docs/results/NAME.json")
    parser.add_argument("--tables", action="store_true", help="only write the tables anew from docs/results/")
    parser.add_argument("--check", action="store_true", help="exit with 1 where tables are not those of docs/results/")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no result called {unknown[0]!r}, but {', '.join(names)}")
    return options


def main() -> int:
    """Measure, write or check."""
    commands = {
        **product_commands(),
        **update_commands(),
        **area_commands(),
        **comparison_commands(),
        **timing_commands(),
        **network_commands(),
        **soak_commands(),
        **proof_commands(),
        **ablation_commands(),
        **router_commands(),
    }
    options = _options(__doc__ or "", commands)
    if not (options.tables or options.check):
        _measure_all({name: commands[name] for name in options.names or commands})
    pages = {
        README: {
            "throughput": product_table,
            "optimizer": update_table,
            "area": area_table,
            "comparison": comparison_table,
            "gain": gain_table,
            "timing": timing_table,
        },
        NETWORK: {
            "network": network_table,
            "ablation": ablation_table,
            "soak": soak_table,
            "proofs": proof_table,
            "router": router_table,
        },
    }
    stale = False
    for page, tables in pages.items():
        before = page.read_text()
        after = before
        for section, table in tables.items():
            after = filled(after, section, table())
        stale |= after != before
        if not options.check:
            page.write_text(after)
    return int(stale and options.check)


if __name__ == "__main__":
    sys.exit(main())
