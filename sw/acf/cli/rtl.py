"""``acf rtl``: Verilog of the fabric, or of any block alone."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from acf.cli.network_options import MeshOption, NetworkOptions, takes_network_options
from acf.cli.options import FormatOption, PresetOption
from acf.cli.sources import source_of

__all__ = ["rtl"]


@takes_network_options
def rtl(
    preset: PresetOption = "base",
    format: FormatOption = None,
    block: Annotated[str, typer.Option("--block", help="Block to generate; --list names them.")] = "fabric",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if none.", show_default=False)
    ] = None,
    mesh: MeshOption = None,
    *,
    network: NetworkOptions,
    list_blocks: Annotated[bool, typer.Option("--list", help="Name the blocks and stop.")] = False,
) -> None:
    """Write the Verilog of the fabric, or of one of its blocks."""
    from acf.hw import blocks  # Amaranth is slow to load, and most commands do without

    if list_blocks:
        print("\n".join(blocks.block_names()))
        return
    if output is not None and not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(output.parent)!r} to write {output.name!r} to")
    if output is not None and output.is_dir():
        raise IsADirectoryError(f"{str(output)!r} is a folder, not a file to write to")
    source = source_of(
        block,
        preset=preset,
        format=format,
        mesh=mesh,
        network=network,
    )
    header = f"// ACF {source.what}, digest {source.config['config']}\n"
    if output is None:
        sys.stdout.write(header + source.verilog)
    else:
        output.write_text(header + source.verilog)
        print(f"{output}: {source.what}, {source.verilog.count(chr(10))} lines")
