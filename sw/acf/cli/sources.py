"""Verilog of what a command is asked for: a block of a preset, or of a network alone."""

from dataclasses import dataclass
from typing import Any

from acf.cli.options import configuration, network_configuration

__all__ = ["Source", "source_of"]

NETWORK_BLOCKS = ("noc", "router")
"""Blocks that there are of a network alone, too."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A design.

    Parameters
    ----------
    verilog : str
    top : str
        Name of its top module.
    what : str
        What it is, in words.
    config : dict
        What it is, for a report.
    """

    verilog: str
    top: str
    what: str
    config: dict[str, Any]


def source_of(
    block: str, *, preset: str, format: str | None, mesh: str | None, **of_network: str | int | None
) -> Source:
    """Generate a block.

    Parameters
    ----------
    block, preset, format : str
    mesh : str or None
        Size of a network alone; without it the block is one of the preset.
    of_network : str, int or None
        The other arguments of ``network_configuration``; None where an option is not given.

    Raises
    ------
    ValueError
        If a value is out of its range, or means nothing to this block.
    """
    from acf.hw import blocks  # Amaranth is slow to load, and most commands do without

    top = f"acf_{block}_top"
    config = configuration(preset, format)
    if mesh is not None:
        if block not in NETWORK_BLOCKS:
            raise ValueError(f"--mesh is for the blocks {' and '.join(NETWORK_BLOCKS)}, not {block!r}")
        network = network_configuration(mesh, **of_network)  # type: ignore
        return Source(
            verilog=blocks.generate_network(network, block=block, top=top),
            top=top,
            what=f"{block} of {network.name}",
            config={"block": block, "network": network.name, "config": network.digest},
        )
    for option, value in of_network.items():
        if value is not None:
            name = {"virtual_channels": "vcs"}.get(option, option)
            raise ValueError(f"--{name} {value} means nothing without --mesh")
    return Source(
        verilog=blocks.generate(block, config=config, top=top),
        top=top,
        what=f"{block} of {config.name} in {config.lane.format}",
        config={
            "block": block,
            "preset": config.name,
            "format": config.lane.format,
            "config": config.digest,
        },
    )
