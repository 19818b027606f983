"""Every block by name: generate, simulate and synthesize any of them alone."""

from collections.abc import Callable

from amaranth.lib import wiring

from acf.config import FabricConfig, NetworkConfig
from acf.hw.hierarchy import ModuleLibrary, convert

__all__ = [
    "BLOCKS",
    "block_names",
    "check_groups",
    "check_routing_tables",
    "generate",
    "generate_board",
    "generate_network",
]

# Of the link and a board alone.
_CYCLES_PER_BIT = 4
_MEMORY_BYTES = 1 << 17
_CLOCK = 60_000_000


def _mac(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.formats import mac

    return mac(format=config.lane.format)


def _float32_add(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.formats.float32_add import Float32Add

    return Float32Add()


def _fused_multiply_add(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.formats.fused import FusedMultiplyAdd

    return FusedMultiplyAdd()


def _lane(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    if not config.lane.skipping:
        from acf.hw.pe.dense_lane import DenseLane

        return DenseLane(config=config)
    from acf.hw.pe.lane import Lane

    return Lane(config=config)


def _tile(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.pe.tile import Tile

    return Tile(config=config, library=library)


def _router(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.noc.router import Router

    return Router(noc=config.noc)


def _node(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.noc.node import NetworkNode

    return NetworkNode(noc=config.noc)


def _noc(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.noc.mesh import Mesh

    return Mesh(height=config.rows + 1, width=config.cols + 1, noc=config.noc, library=library)


def _row_feeder(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.mem.row_feeder import RowFeeder

    return RowFeeder(config=config)


def _column_feeder(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.mem.column_feeder import ColumnFeeder

    return ColumnFeeder(config=config)


def _command_processor(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.fabric.command_processor import CommandProcessor

    return CommandProcessor(config=config)


def _update_engine(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.structure.update_engine import UpdateEngine

    return UpdateEngine(config=config)


def _structure_engine(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.structure.structure_engine import StructureEngine

    return StructureEngine(config=config)


def _rewire_engine(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.structure.rewire_engine import RewireEngine

    return RewireEngine(config=config)


def _prune_engine(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.structure.prune_engine import PruneEngine

    return PruneEngine(config=config)


def _merge_engine(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.structure.merge_engine import MergeEngine

    return MergeEngine(config=config)


def _read_interconnect(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.fabric.command_processor import paced_masters, read_masters
    from acf.hw.mem.interconnect import ReadInterconnect

    return ReadInterconnect(memory=config.memory, masters=read_masters(config), paced=paced_masters(config))


def _write_interconnect(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.fabric.command_processor import write_masters
    from acf.hw.mem.interconnect import WriteInterconnect

    return WriteInterconnect(memory=config.memory, masters=write_masters(config))


def _guard(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.fabric.command_processor import port_id_width
    from acf.hw.mem.guard import AxiGuard

    return AxiGuard(memory=config.memory, id_width=port_id_width(config))


def _fabric(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.fabric.fabric import Fabric

    return Fabric(config=config, library=library)


def _link(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.boards.endpoint import LinkEndpoint

    return LinkEndpoint(cycles_per_bit=_CYCLES_PER_BIT, memory_bytes=_MEMORY_BYTES, clock=0)


def _sdram(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.boards.sdram_at_pins import SdramAtPins
    from acf.hw.boards.sdram_timing import ULX3S_SDRAM
    from acf.hw.fabric.command_processor import port_id_width

    return SdramAtPins(memory=config.memory, id_width=port_id_width(config), cycles=ULX3S_SDRAM.cycles(_CLOCK))


def _board(config: FabricConfig, library: ModuleLibrary) -> wiring.Component:
    from acf.hw.boards.core import BoardCore

    return BoardCore(config=config, memory=_MEMORY_BYTES, cycles_per_bit=_CYCLES_PER_BIT, clock=0, library=library)


# The imports stand inside the factories: naming one block must not load all others.
BLOCKS: dict[str, Callable[[FabricConfig, ModuleLibrary], wiring.Component]] = {
    "mac": _mac,
    "float32_add": _float32_add,
    "fused_multiply_add": _fused_multiply_add,
    "lane": _lane,
    "tile": _tile,
    "router": _router,
    "node": _node,
    "noc": _noc,
    "row_feeder": _row_feeder,
    "column_feeder": _column_feeder,
    "update_engine": _update_engine,
    "rewire_engine": _rewire_engine,
    "prune_engine": _prune_engine,
    "merge_engine": _merge_engine,
    "structure_engine": _structure_engine,
    "read_interconnect": _read_interconnect,
    "write_interconnect": _write_interconnect,
    "guard": _guard,
    "command_processor": _command_processor,
    "fabric": _fabric,
    "link": _link,
    "sdram": _sdram,
    "board": _board,
}
"""Factories of all blocks, by name."""


def block_names() -> list[str]:
    """Names of all blocks, the smallest first."""
    return list(BLOCKS)


def generate(name: str, *, config: FabricConfig, top: str | None = None) -> str:
    """Verilog of one block and of all modules in it.

    Parameters
    ----------
    name : str
        A key of ``BLOCKS``.
    config : FabricConfig
    top : str or None
        Name of the top module; ``acf_NAME_top`` when None.

    Raises
    ------
    ValueError
        If there is no such block.
    """
    if name not in BLOCKS:
        raise ValueError(f"block must be one of {', '.join(BLOCKS)}, not {name!r}")
    library = ModuleLibrary()
    text = convert(BLOCKS[name](config, library), name=top or f"acf_{name}_top")
    return text + "\n" + library.verilog()


def generate_board(config: FabricConfig, *, memory_bytes: int | None, cycles_per_bit: int, top: str) -> str:
    """Verilog of what stands on every board, for a simulation: ``clk``, ``rst``, ``rx``, ``tx`` and two LEDs.

    Parameters
    ----------
    config : FabricConfig
    memory_bytes : int or None
        Block memory behind the fabric; a power of two. None: an SDRAM chip of 32 MB, which is in the Verilog too.
    cycles_per_bit : int
        Of the UART, 2 at least.
    top : str
        Name of the top module.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    from acf.hw.boards.core import BoardCore
    from acf.hw.boards.sdram_board import SdramBoard, chip_verilog
    from acf.hw.boards.sdram_timing import ULX3S_SDRAM

    library = ModuleLibrary()
    memory = ULX3S_SDRAM.cycles(_CLOCK) if memory_bytes is None else memory_bytes
    board = BoardCore(config=config, memory=memory, cycles_per_bit=cycles_per_bit, clock=0, library=library)
    if memory_bytes is None:
        board = SdramBoard(core=board)
    parts = [convert(board, name=top), library.verilog(), chip_verilog() if memory_bytes is None else ""]
    return "\n".join(parts)


def generate_network(network: NetworkConfig, *, block: str = "noc", top: str = "acf_noc_top") -> str:
    """Verilog of a network alone, ``acf.hw.noc.packet_network.PacketNetwork``, or of one of its routers.

    Parameters
    ----------
    network : NetworkConfig
    block : str
        ``noc`` or ``router``.
    top : str
        Name of the top module.

    Raises
    ------
    ValueError
        If its routing function can deadlock in this network, or there is no such block.
    """
    from acf.hw.noc.packet_network import PacketNetwork, packet_router

    library = ModuleLibrary()
    if block == "noc":
        component = PacketNetwork(network=network, library=library)
    elif block == "router":
        component = packet_router(network)
    else:
        raise ValueError(f"block of a network must be noc or router, not {block!r}")
    return convert(component, name=top) + "\n" + library.verilog()


def check_routing_tables(network: NetworkConfig, tables: list[list[list[list[int]]]]) -> None:
    """Refuse routing tables with which packets of a network could wait for ever or get lost.

    Parameters
    ----------
    network : NetworkConfig
    tables : list of lists of int, (height, width, height, width)
        By router and destination the number of the output: north, east, south, west, the node itself, from 0 to 4.

    Raises
    ------
    ValueError
        As ``acf.hw.noc.unicast_proof.check_tables``; of channels that can wait for each other in a circle it prints it.
    """
    from acf.hw.noc.unicast_proof import check_tables

    check_tables(network, tables)


def check_groups(
    network: NetworkConfig, tables: list[list[list[int]]], sources: dict[int, tuple[int, int]]
) -> dict[int, list[tuple[int, int]]]:
    """By group the nodes that take its packets, proved; see ``acf.hw.noc.group_proof.check_group_tables``.

    Raises
    ------
    ValueError
        If packets could wait for ever or get lost.
    """
    from acf.hw.noc.group_proof import check_group_tables

    return check_group_tables(network, tables, sources)
