"""Verilog of what a command is asked for: a block of a preset, or of a network alone."""

from dataclasses import dataclass
from typing import Any

from acf.cli.network_options import NetworkOptions
from acf.cli.options import configuration

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
    block: str,
    *,
    preset: str,
    format: str | None,
    mesh: str | None,
    network: NetworkOptions,
    skipping: bool = True,
) -> Source:
    """Generate a block.

    Parameters
    ----------
    block, preset, format : str
    mesh : str or None
        Size of a network alone; without it the block is one of the preset.
    network : NetworkOptions
        The other options of a network alone.
    skipping : bool
        Whether the lanes of the preset skip zeros.

    Raises
    ------
    ValueError
        If a value is out of its range, or means nothing to this block.
    """
    from acf.hw import blocks  # Amaranth is slow to load, and most commands do without

    top = f"acf_{block}_top"
    config = configuration(preset, format)
    if not skipping:
        config = config.without_skipping()
    if mesh is not None:
        if block not in NETWORK_BLOCKS:
            raise ValueError(f"--mesh is for the blocks {' and '.join(NETWORK_BLOCKS)}, not {block!r}")
        alone = network.configuration(mesh)
        return Source(
            verilog=blocks.generate_network(alone, block=block, top=top),
            top=top,
            what=f"{block} of {alone.name}",
            config={"block": block, "network": alone.name, "config": alone.digest},
        )
    network.check_none_given()
    return Source(
        verilog=blocks.generate(block, config=config, top=top),
        top=top,
        what=f"{block} of {config.name} in {config.lane.format}" + ("" if skipping else " without skipping"),
        config={
            "block": block,
            "preset": config.name,
            "format": config.lane.format,
            "config": config.digest,
        },
    )
