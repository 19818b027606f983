"""``acf noc ablate``: what it is worth to adapt the network to the traffic of sparse layers."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acf.cli.options import JsonOption, SeedOption
from acf.runtime.networks import open_network

if TYPE_CHECKING:
    from acf.sparsity.structure import Structure

__all__ = ["ablate"]

_TOP = "acf_noc_top"


def ablate(
    shapes: Annotated[
        str, typer.Option("--shapes", help="Of the weights of each layer, rows x columns.", metavar="RxC,...")
    ] = "64x128,64x64,16x64",
    sparsity: Annotated[float, typer.Option("--sparsity", help="Of all layers together, shared by ERK.")] = 0.8,
    skew: Annotated[
        float, typer.Option("--skew", help="Exponent by which rows and columns differ in entries; 0: not at all.")
    ] = 0.7,
    matrices: Annotated[
        list[Path] | None,
        typer.Option(
            "--matrix",
            help="Masks from .smtx, .mtx or .npz files instead, a layer each; as often as wanted.",
            show_default=False,
        ),
    ] = None,
    tiles: Annotated[str, typer.Option("--tiles", help="Rows x columns of tiles, 4x4 at most.", metavar="RxC")] = "4x4",
    columns: Annotated[int, typer.Option("--cols", help="Columns of the operands.")] = 32,
    tile_columns: Annotated[int, typer.Option("--tile-cols", help="Columns that a tile holds at a time.")] = 8,
    steps: Annotated[int, typer.Option("--steps", help="How often all layers are run.")] = 12,
    every: Annotated[int, typer.Option("--every", help="Steps from one choice to the next.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", help="Masks are drawn anew for so many seeds.")] = 3,
    seed: SeedOption = 1,
    brief: Annotated[
        bool, typer.Option("--brief", help="With --json: only sums by layer and step, not every product of every seed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare fixed xy routing with a controller that adapts the network, on its RTL, in the traffic of sparse layers.

    Behind each product of a layer, or only every so many steps, the controller reads the counters of the routers and
    chooses routing, virtual channels and logical shape of the tiles for its next run. Every flit that comes is checked.
    """
    from rich.console import Console

    from acf.hw import blocks  # Amaranth is slow to load, and most commands do without
    from acf.sim import noc_ablation

    wanted = noc_ablation.Ablation(
        tiles=_sizes(tiles), columns=columns, tile_columns=tile_columns, steps=steps, every=every
    )
    if not 1 <= seeds <= 100:
        raise ValueError(f"seeds must be from 1 to 100, not {seeds}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
    if matrices:
        by_seed = {seed: _read(matrices)}
    else:
        layers = {f"{n}: {text}": _sizes(text) for n, text in enumerate(shapes.split(","))}
        by_seed = {number: _drawn(layers, sparsity, skew, number) for number in range(seed, seed + seeds)}

    network = noc_ablation.ablation_network(wanted.tiles)
    reports: list[dict[str, Any]] = []
    console = Console(stderr=True, highlight=False)
    with open_network(network, ordered=False) as harness, console.status(network.name) as status:
        for number, masks in by_seed.items():

            def progress(text: str, number: int = number) -> None:
                status.update(f"{network.name}: seed {number}, {text}")

            found = noc_ablation.ablate(harness, masks, wanted, check=blocks.check_groups, progress=progress)
            reports += [{"seed": number, **report} for report in found]
    report = {
        "command": shlex.join(["acf", *sys.argv[1:]]),
        "network": network.name,
        "tiles": tiles,
        "columns": columns,
        "tile_columns": tile_columns,
        "steps": steps,
        "every": every,
        "masks": "from files" if matrices else f"ERK at sparsity {sparsity:g}, skew {skew:g}",
        "layers": {
            number: {name: {"shape": list(mask.shape), "entries": mask.entries} for name, mask in masks.items()}
            for number, masks in by_seed.items()
        },
        **({} if brief else {"results": reports}),
        "by_layer": noc_ablation.by_layer(reports),
        "summary": noc_ablation.summary(reports),
        "units": noc_ablation.UNITS,
        "config": network.digest,
    }
    if as_json:
        print(json.dumps(report))
    else:
        _print_table({**report, "results": reports})


def _sizes(text: str) -> tuple[int, int]:
    height, cross, width = text.strip().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise ValueError(f"sizes must be written as 4x4, rows and columns, not {text!r}")
    return int(height), int(width)


def _read(paths: list[Path]) -> dict[str, "Structure"]:
    """Where entries stand in files."""
    from acf.runtime.matrix_files import read_matrix
    from acf.sparsity.structure import Structure

    matrices = {f"{n}: {path.name}": read_matrix(path, format="int8") for n, path in enumerate(paths)}
    return {
        name: Structure.from_unsorted(matrix.shape, matrix.pointers, matrix.indices)
        for name, matrix in matrices.items()
    }


def _drawn(layers: Mapping[str, tuple[int, int]], sparsity: float, skew: float, seed: int) -> dict[str, "Structure"]:
    import numpy as np

    from acf.sparsity.distributions import elements, erk
    from acf.sparsity.masks import skewed

    generator = np.random.default_rng(seed)
    return {
        name: skewed(layers[name], round(density * elements(layers[name])), skew, generator)
        for name, density in erk(layers, sparsity).items()
    }


def _print_table(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from acf.runtime.network_control import NetworkChoice

    console = Console(highlight=False, width=150)  # a choice needs a line
    table = Table(
        title=f"{report['network']}, {report['masks']}, {report['columns']} columns, step {report['steps']} of "
        f"{report['steps']} ({report['config']})",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("seed", "layer", "product", "may choose", "choice", "cycles", "mean", "99 %", "ratio"):
        table.add_column(name, justify="right" if name in ("seed", "cycles", "mean", "99 %", "ratio") else "left")
    for one in report["results"]:
        table.add_row(
            str(one["seed"]),
            one["layer"],
            one["product"],
            one["experiment"],
            NetworkChoice(**one["choice"]).name,
            f"{one['cycles']:,}",
            f"{one['latency_mean']:.1f}",
            str(one["latency_p99"]),
            f"{one['ratio']:.3f}",
        )
    console.print(table)
    for name, ratios in report["summary"].items():
        console.print(
            f"{name}: {ratios['last_step']:.3f} of the fixed network's speed in the last step "
            f"({ratios['least']:.3f} to {ratios['most']:.3f}), {ratios['all_steps']:.3f} over all steps",
            soft_wrap=True,
        )
    console.print(
        "a choice names the trees of entries and operands, the routing of results, the map of virtual channels, and "
        "the shape; cycles until all packets of a product have come; latencies from the front of a source to the last "
        "receiver",
        soft_wrap=True,
    )
