"""``acf noc``: measure the network alone."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acf.cli.network_options import NetworkOptions, policies_of, takes_network_options
from acf.cli.noc_ablate import ablate
from acf.cli.options import JsonOption, SeedOption
from acf.config import TABLE, NetworkConfig
from acf.runtime.networks import open_network

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app"]

app = typer.Typer(help="Measure the network alone, and check it.", no_args_is_help=True)
app.command("ablate")(ablate)


@app.command("sweep")
@takes_network_options
def sweep(
    mesh: Annotated[str, typer.Option("--mesh", help="Height x width, 16x16 at most.", metavar="HxW")] = "4x4",
    traffic: Annotated[
        str,
        typer.Option(
            "--traffic",
            help="uniform, transpose, bit-complement, bit-reverse, shuffle, neighbor, tornado, hotspot or all-to-one.",
            metavar="NAME",
        ),
    ] = "uniform",
    *,
    network: NetworkOptions,
    to_groups: Annotated[
        str | None,
        typer.Option(
            "--to-groups",
            help="Send packets to groups, too, one for each node: row, column, all or random members.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    group_part: Annotated[
        float, typer.Option("--group-part", help="Part of the packets that is for groups, with --to-groups.")
    ] = 1.0,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Of a network by class, for a traffic class from 0 to 3: its routing function, virtual channels, and "
            "whether it is urgent. May be given several times.",
            metavar="N=FUNCTION[:0,1][:urgent]",
            show_default=False,
        ),
    ] = None,
    packet: Annotated[int, typer.Option("--packet", help="Flits of a packet.")] = 1,
    warm_up: Annotated[int, typer.Option("--warmup", help="Cycles before packets count.")] = 2000,
    measure: Annotated[int, typer.Option("--measure", help="Cycles in which packets are created that count.")] = 10_000,
    drain: Annotated[int, typer.Option("--drain", help="Cycles until they must have come.")] = 10_000,
    step: Annotated[float, typer.Option("--step", help="Between offered loads, below saturation.")] = 0.1,
    resolution: Annotated[float, typer.Option("--resolution", help="Of the load at which it saturates.")] = 0.005,
    seed: SeedOption = 1,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the latency to this file, .svg, .png or .pdf.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency against offered load, on the RTL of the network, up to where it saturates.

    Every flit that comes is checked, and every packet must come once.
    """
    from rich.console import Console

    from acf.hw import blocks  # Amaranth is slow to load, and most commands do without
    from acf.sim.noc_harness import LARGEST_PACKET, Phases
    from acf.sim.noc_picture import PICTURE_FORMATS, draw_sweep
    from acf.sim.noc_soak import dimension_tables
    from acf.sim.noc_sweep import UNITS, Sweep
    from acf.sim.noc_sweep import sweep as run_sweep
    from acf.sim.traffic import destinations, group_traffic

    alone = network.configuration(mesh)
    destinations(traffic, alone)
    if to_groups is not None:
        groups = group_traffic(to_groups, alone, flits=packet, seed=seed)
        blocks.check_groups(alone, groups.forks.tolist(), groups.sources)
    elif group_part != 1:
        raise ValueError(f"--group-part {group_part:g} means nothing without --to-groups")
    treated = policies_of(alone, policies or []) if alone.by_class or policies else None
    tables = dimension_tables(alone, row_first=True) if TABLE in alone.functions else None
    if tables is not None:
        blocks.check_routing_tables(alone, tables.tolist())
    if not 1 <= packet <= LARGEST_PACKET:
        raise ValueError(f"flits of a packet must be from 1 to {LARGEST_PACKET}, not {packet}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
    phases = Phases(warm_up=warm_up, measure=measure, drain=drain)
    wanted = Sweep(
        traffic=traffic, groups=to_groups, group_part=group_part, flits=packet, seed=seed, phases=phases, step=step,
        resolution=resolution,
    )  # fmt: skip
    if plot is not None and plot.suffix not in PICTURE_FORMATS:
        raise ValueError(f"a plot must be a file of {', '.join(PICTURE_FORMATS)}, not {str(plot)!r}")
    if plot is not None and not plot.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(plot.parent)!r} to draw {plot.name!r} to")

    heading = f"{traffic} on {alone.name}"
    with open_network(alone) as harness:
        if treated is not None:
            harness.set_policies(treated)
        if tables is not None:
            harness.set_tables(tables)
        console = Console(stderr=True, highlight=False)
        with console.status(heading) as status:
            found = run_sweep(harness, wanted, progress=lambda text: status.update(f"{heading}: {text}"))
    report: dict[str, Any] = {
        "command": shlex.join(["acf", *sys.argv[1:]]),
        "mesh": f"{alone.height}x{alone.width}",
        "topology": alone.topology,
        "traffic": traffic,
        **({} if to_groups is None else {"to_groups": to_groups, "group_part": group_part}),
        "routing": alone.routing,
        "channels": alone.channels,
        "rounds": alone.rounds,
        "stages": alone.stages,
        "virtual_channels": alone.virtual_channels,
        "buffer_depth": alone.buffer_depth,
        "packet_flits": packet,
        "seed": seed,
        "phases": {"warm_up": warm_up, "measure": measure, "drain": drain},
        "resolution": resolution,
        **({} if treated is None else {"policies": [dataclasses.asdict(policy) for policy in treated]}),
        **found,
        "units": UNITS,
        "config": alone.digest,
    }
    if plot is not None:
        draw_sweep(report, plot, title=f"{heading}, packet length {packet}")
    if as_json:
        print(json.dumps(report))
    else:
        _print_table(report, heading)


@app.command("soak")
@takes_network_options
def soak(
    flits: Annotated[int, typer.Option("--flits", help="To send, at least, over all networks.")] = 10_000_000,
    mesh: Annotated[
        str | None,
        typer.Option(
            "--mesh",
            help="Height x width of one network; without it all kinds of networks, of 16 nodes each.",
            metavar="HxW",
            show_default=False,
        ),
    ] = None,
    *,
    network: NetworkOptions,
    seed: SeedOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Send very many flits, in traffic of all kinds, past sinks and sources that pause, and check each of them.

    Every packet must come once, whole, in order where the network promises it, and nothing may stand still.
    """
    from rich.console import Console

    from acf.hw import blocks
    from acf.sim.noc_soak import UNITS, dimension_tables, soak_networks, traffic_of
    from acf.sim.noc_soak import soak as run_soak

    if flits <= 0:
        raise ValueError(f"flits of a soak must be positive, not {flits}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
    if mesh is not None:
        networks = [network.configuration(mesh)]
        if TABLE in networks[0].functions:
            blocks.check_routing_tables(networks[0], dimension_tables(networks[0], row_first=True).tolist())
    else:
        network.check_none_given()
        networks = soak_networks()

    console = Console(stderr=True, highlight=False)

    def record(number: int, network: NetworkConfig) -> dict[str, Any]:
        heading = f"{number} of {len(networks)}, {network.name}"
        with open_network(network) as harness, console.status(heading) as status:
            found = run_soak(
                harness,
                traffic_of(network),
                flits=-(-flits // len(networks)),
                seed=seed,
                progress=lambda count: status.update(f"{heading}: {count:,} flits"),
            )
        return {"network": network.name, "in_order": network.in_order, **found, "config": network.digest}

    records = [record(number, network) for number, network in enumerate(networks, start=1)]
    report = {
        "command": shlex.join(["acf", *sys.argv[1:]]),
        "seed": seed,
        **{key: sum(one[key] for one in records) for key in ("flits", "packets", "cycles")},
        "longest_silence": max(one["longest_silence"] for one in records),
        "networks": records,
        "units": UNITS,
    }
    if as_json:
        print(json.dumps(report))
    else:
        for one in records:
            print(f"{one['network']}: {one['flits']:,} flits in {one['cycles']:,} cycles")
        print(
            f"{report['flits']:,} flits, {report['packets']:,} packets: all came, once and whole, "
            f"in order where that is promised; nothing moved for {report['longest_silence']} cycles at most"
        )


def _print_table(report: dict[str, Any], heading: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(
        title=f"{heading}, packet length {report['packet_flits']}, seed {report['seed']} ({report['config']})",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    members = ("member mean", "member 99 %") if "to_groups" in report else ()
    for name in ("offered", "accepted", "mean", "median", "99 %", *members, "source waits", ""):
        table.add_column(name, justify="right")
    for point in report["points"]:
        came = not point["packets_not_delivered"]
        numbers = [f"{point['latency_mean']:.1f}", str(point["latency_p50"]), str(point["latency_p99"])]
        if members and came:
            numbers += [f"{point['member_latency_mean']:.1f}", str(point["member_latency_p99"])]
        elif members:
            numbers += ["-", "-"]
        table.add_row(
            f"{point['offered_load']:.4f}",
            f"{point['accepted_load']:.4f}",
            *(numbers if came else ["-"] * len(numbers)),
            f"{100 * point['source_stall']:.1f} %",
            "saturated" if point["saturated"] else "",
        )
    console.print(table)
    console.print(
        "loads in flits per sending node per cycle, latencies in cycles from creation to tail; "
        f"packets alone take {report['zero_load_latency']:.2f}",
        soft_wrap=True,
    )
    for n, policy in enumerate(report.get("policies", [])):
        latencies = [point["classes"][n]["latency_mean"] for point in report["points"] if not point["saturated"]]
        numbers = ", ".join("-" if latency is None else f"{latency:.1f}" for latency in latencies)
        channels = ", ".join(map(str, policy["channels"]))
        console.print(
            f"class {n}: {policy['function']} in virtual channels {channels or 'of escape'}"
            f"{', urgent' if policy['is_urgent'] else ''}: mean latencies {numbers}",
            soft_wrap=True,
        )
    if report.get("counters"):
        _print_counters(console, report["counters"])
    low, high = report["saturation_between"]
    if report["saturation"] is not None:
        console.print(f"saturation: {low:g} (at {high:g} the mean latency is more than 3 times that)")
    else:
        console.print(
            "saturation: none up to 1 flit per node per cycle" if high is None else f"saturation: below {high:g}"
        )


def _print_counters(console: "Console", counters: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"inputs of routers at an offered load of {counters['offered_load']:g}, {counters['cycles']:,} cycles",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("node", "input", "class", "flits", "stalls", "flits held"):
        table.add_column(name, justify="left" if name == "input" else "right")
    for one in counters["inputs"]:
        y, x = one["node"]
        counts = f"{one['flits']:,}", f"{one['stalls']:,}", f"{one['occupancy'] / counters['cycles']:.3f}"
        table.add_row(f"{y}, {x}", one["port"], str(one["traffic_class"]), *counts)
    console.print(table)
