"""Options that several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

from acf.config import NUMBER_FORMATS, PRESETS, FabricConfig, preset

if TYPE_CHECKING:
    from acf.sim.memory_timing import MemoryTiming

__all__ = [
    "BandwidthOption",
    "DeviceOption",
    "FormatOption",
    "JsonOption",
    "LatencyOption",
    "PortOption",
    "PresetOption",
    "SeedOption",
    "configuration",
    "memory_timing",
]

PresetOption = Annotated[
    str,
    typer.Option(
        "--preset",
        help=f"Configuration: {', '.join(PRESETS)}; other parameters may follow, as in base,lane.slots=16.",
        metavar="NAME",
    ),
]

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
