"""Options that several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

from acf.config import CHANNEL_RULES, NUMBER_FORMATS, PRESETS, ROUTINGS, TOPOLOGIES, FabricConfig, NetworkConfig, preset

if TYPE_CHECKING:
    from acf.sim.memory_timing import MemoryTiming

__all__ = [
    "BandwidthOption",
    "ChannelsOption",
    "DepthOption",
    "DeviceOption",
    "FormatOption",
    "JsonOption",
    "LatencyOption",
    "MeshOption",
    "PortOption",
    "PresetOption",
    "RoundsOption",
    "RoutingOption",
    "SeedOption",
    "TopologyOption",
    "VirtualChannelsOption",
    "configuration",
    "memory_timing",
    "network_configuration",
]

PresetOption = Annotated[str, typer.Option("--preset", help=f"Configuration: {', '.join(PRESETS)}.", metavar="NAME")]

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"Number format instead of the preset's own: {', '.join(NUMBER_FORMATS)}.",
        metavar="NAME",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]

SeedOption = Annotated[int, typer.Option("--seed", help="Of all random numbers.")]
DeviceOption = Annotated[str, typer.Option("--device", help="golden, rtl, or serial: a board.", metavar="NAME")]
PortOption = Annotated[
    str | None,
    typer.Option("--port", help="Serial port of the board, for the serial device.", metavar="PATH", show_default=False),
]

LatencyOption = Annotated[
    int | None, typer.Option("--memory-latency", help="Cycles from a read's address to its data.")
]
BandwidthOption = Annotated[
    float | None, typer.Option("--bytes-per-cycle", help="Bandwidth of the memory, both directions together.")
]

MeshOption = Annotated[
    str | None,
    typer.Option(
        "--mesh",
        help="With the blocks noc and router: of a network alone of so many nodes, height x width.",
        metavar="HxW",
        show_default=False,
    ),
]
TopologyOption = Annotated[
    str | None,
    typer.Option("--topology", help=f"{' or '.join(TOPOLOGIES)}; mesh if none is given.", metavar="NAME"),
]
RoutingOption = Annotated[
    str | None, typer.Option("--routing", help=f"{', '.join(ROUTINGS)}; xy if none is given.", metavar="NAME")
]
ChannelsOption = Annotated[
    str | None,
    typer.Option(
        "--channels",
        help=f"How virtual channels are chosen: {', '.join(CHANNEL_RULES)}; onward, or free where packets choose.",
        metavar="NAME",
    ),
]
RoundsOption = Annotated[
    int | None, typer.Option("--rounds", help="Rounds of allocation in a cycle; 2, or 1 for kept channels.")
]
VirtualChannelsOption = Annotated[int | None, typer.Option("--vcs", help="Virtual channels of a link; 2.")]
DepthOption = Annotated[int | None, typer.Option("--depth", help="Flits of a virtual channel; 8.")]


def network_configuration(
    mesh: str,
    *,
    topology: str | None,
    routing: str | None,
    channels: str | None,
    rounds: int | None,
    virtual_channels: int | None,
    depth: int | None,
) -> NetworkConfig:
    """A network alone, whose size is written as ``4x4``, height and width.

    Raises
    ------
    ValueError
        If a value is out of its range, or the mesh is written otherwise.
    """
    height, cross, width = mesh.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise ValueError(f"a mesh must be written as 4x4, height and width, not {mesh!r}")
    routing = "xy" if routing is None else routing
    if channels is None:
        channels = "onward" if routing in ("xy", "yx") else "free"
    if rounds is None:
        rounds = 1 if channels == "kept" else 2
    return NetworkConfig(
        height=int(height),
        width=int(width),
        virtual_channels=2 if virtual_channels is None else virtual_channels,
        buffer_depth=8 if depth is None else depth,
        routing=routing,
        channels=channels,
        rounds=rounds,
        topology="mesh" if topology is None else topology,
    )


def configuration(preset_name: str, format: str | None) -> FabricConfig:
    """The preset, in another number format if one is given.

    Raises
    ------
    ValueError
        If there is no such preset or format.
    """
    config = preset(preset_name)
    return config if format is None else config.with_format(format)


def memory_timing(device: str, latency: int | None, bandwidth: float | None) -> "MemoryTiming | None":
    """How fast the memory of a device is, as far as options say; None for a device without time.

    Raises
    ------
    ValueError
        If a value is out of its range, or there is one for a device without time.
    """
    given = {"latency": latency, "bandwidth": bandwidth}
    given = {name: value for name, value in given.items() if value is not None}
    if device != "rtl":
        if given:
            raise ValueError(f"the {device} device has no time, so a memory {next(iter(given))} means nothing to it")
        return None
    from acf.sim.memory_timing import MemoryTiming

    return MemoryTiming(**given)
