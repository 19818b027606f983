"""``acf rtl``: Verilog of the fabric, or of any block alone."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from acf.cli.options import (
    ChannelsOption,
    DepthOption,
    FormatOption,
    PresetOption,
    RoundsOption,
    RoutingOption,
    TopologyOption,
    VirtualChannelsOption,
    configuration,
    network_configuration,
)

__all__ = ["rtl"]


def rtl(
    preset: PresetOption = "base",
    format: FormatOption = None,
    block: Annotated[str, typer.Option("--block", help="Block to generate; --list names them.")] = "fabric",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if none.", show_default=False)
    ] = None,
    mesh: Annotated[
        str | None,
        typer.Option(
            "--mesh",
            help="With --block noc: a network alone of so many nodes, height x width, one packet stream each.",
            metavar="HxW",
            show_default=False,
        ),
    ] = None,
    topology: TopologyOption = None,
    routing: RoutingOption = None,
    channels: ChannelsOption = None,
    rounds: RoundsOption = None,
    virtual_channels: VirtualChannelsOption = None,
    depth: DepthOption = None,
    list_blocks: Annotated[bool, typer.Option("--list", help="Name the blocks and stop.")] = False,
) -> None:
    """Write the Verilog of the fabric, or of one of its blocks."""
    from acf.hw import blocks  # Amaranth is slow to load, and most commands do without

    if list_blocks:
        print("\n".join(blocks.block_names()))
        return
    config = configuration(preset, format)
    if output is not None and not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(output.parent)!r} to write {output.name!r} to")
    if output is not None and output.is_dir():
        raise IsADirectoryError(f"{str(output)!r} is a folder, not a file to write to")
    of_network = {
        "topology": topology,
        "routing": routing,
        "channels": channels,
        "rounds": rounds,
        "vcs": virtual_channels,
        "depth": depth,
    }
    if mesh is not None:
        if block != "noc":
            raise ValueError(f"--mesh is for the block noc, not {block!r}")
        network = network_configuration(
            mesh,
            topology=topology,
            routing=routing,
            channels=channels,
            rounds=rounds,
            virtual_channels=virtual_channels,
            depth=depth,
        )
        text = blocks.generate_network(network)
        what = f"noc of a {network.topology} of {network.height}x{network.width}, routing {network.routing}"
        header = f"// ACF {what}, digest {network.digest}\n"
    else:
        for option, value in of_network.items():
            if value is not None:
                raise ValueError(f"--{option} {value} means nothing without --mesh")
        text = blocks.generate(block, config=config)
        what = f"{block} of {config.name} in {config.lane.format}"
        header = f"// ACF {block}, configuration {config.name} in {config.lane.format}, digest {config.digest}\n"
    if output is None:
        sys.stdout.write(header + text)
    else:
        output.write_text(header + text)
        print(f"{output}: {what}, {text.count(chr(10))} lines")
