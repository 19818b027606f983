"""Frozen, validated parameters of the fabric, grouped by block, and the named presets.

No hardware description is imported here: the golden model, the compiler and the simulators read the same objects.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CHANNEL_RULES",
    "NUMBER_FORMATS",
    "PRESETS",
    "ROUTINGS",
    "TOPOLOGIES",
    "TORUS_ROUTINGS",
    "FabricConfig",
    "FeederConfig",
    "LaneConfig",
    "MemoryConfig",
    "NetworkConfig",
    "NocConfig",
    "NumberFormat",
    "StructureConfig",
    "preset",
]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_range(what: str, value: int, low: int, high: int) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{what} must be an integer from {low} to {high}, not {value!r}",
    )


def _require_power_of_two(what: str, value: int, low: int, high: int) -> None:
    _require_range(what, value, low, high)
    _require(value & (value - 1) == 0, f"{what} must be a power of two, not {value!r}")


def _require_one_of(what: str, value: str, names: tuple[str, ...]) -> None:
    _require(value in names, f"{what} must be one of {', '.join(names)}, not {value!r}")


def _digest(parameters: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """Storage of a number format.

    Parameters
    ----------
    name : str
        Name used in configurations and on the command line.
    operand_width : int
        Bits of one operand in memory and in an operand bank.
    accumulator_width : int
        Bits of one accumulator, on chip and drained.
    """

    name: str
    operand_width: int
    accumulator_width: int

    @property
    def operand_bytes(self) -> int:
        """Bytes of one operand in memory."""
        return self.operand_width // 8

    @property
    def narrows(self) -> bool:
        """Whether accumulators can be rounded to operands: integers have no scale for it."""
        return self.name == "bf16"

    @property
    def accumulator_bytes(self) -> int:
        """Bytes of one drained accumulator in memory."""
        return self.accumulator_width // 8


NUMBER_FORMATS = {
    "bf16": NumberFormat(name="bf16", operand_width=16, accumulator_width=32),
    "int8": NumberFormat(name="int8", operand_width=8, accumulator_width=32),
}


@dataclass(frozen=True, kw_only=True)
class LaneConfig:
    """One MAC lane.

    Parameters
    ----------
    format : str
        Number format of operands and accumulators, a key of ``NUMBER_FORMATS``.
    slots : int
        Columns that one lane owns (``S``); a power of two.
    fifo_depth : int
        Entries that wait in front of one lane; a power of two.
    operand_rows : int
        Rows of one operand bank; a power of two.
    operand_banks : int
        Operand banks, of which one computes while others load; a power of two.
    accumulator_rows : int
        Rows of the accumulator bank; a power of two.
    """

    format: str = "bf16"
    slots: int = 8
    fifo_depth: int = 4
    operand_rows: int = 256
    operand_banks: int = 2
    accumulator_rows: int = 128

    def __post_init__(self) -> None:
        _require(
            self.format in NUMBER_FORMATS,
            f"number format must be one of {', '.join(NUMBER_FORMATS)}, not {self.format!r}",
        )
        _require_power_of_two("slots of a lane", self.slots, 2, 32)
        _require_power_of_two("lane FIFO depth", self.fifo_depth, 2, 64)
        _require_power_of_two("operand rows", self.operand_rows, 4, 4096)
        _require_power_of_two("operand banks", self.operand_banks, 1, 4)
        _require_power_of_two("accumulator rows", self.accumulator_rows, 4, 4096)
        _require(
            self.slots * self.accumulator_rows <= 1 << 16,
            f"accumulators of a lane must be at most 65536, not {self.slots * self.accumulator_rows!r}",
        )

    @property
    def number_format(self) -> NumberFormat:
        """Storage widths of ``format``."""
        return NUMBER_FORMATS[self.format]


@dataclass(frozen=True, kw_only=True)
class NocConfig:
    """The mesh network.

    Parameters
    ----------
    flit_width : int
        Payload bits of a flit; the packet formats of ``acf.isa`` need 64.
    virtual_channels : int
        Virtual channels per link.
    buffer_depth : int
        Flits per virtual channel and input port; a power of two.
    class_channels : tuple of int
        Virtual channel of each traffic class, indexed by ``acf.isa.TrafficClass``. Control and entries may wait for
        compute, operands and results are always taken at their end: classes of these two kinds must not share a
        channel.
    """

    flit_width: int = 64
    virtual_channels: int = 2
    buffer_depth: int = 8
    class_channels: tuple[int, int, int, int] = (0, 0, 1, 1)

    def __post_init__(self) -> None:
        _require(self.flit_width == 64, f"flit width must be 64, not {self.flit_width!r}")
        _require_range("virtual channels", self.virtual_channels, 1, 8)
        _require_power_of_two("buffer depth of a virtual channel", self.buffer_depth, 2, 64)
        _require(len(self.class_channels) == 4, f"class channels must name 4 channels, not {self.class_channels!r}")
        for channel in self.class_channels:
            _require_range("virtual channel of a traffic class", channel, 0, self.virtual_channels - 1)


ROUTINGS = ("xy", "yx", "west-first", "negative-first", "odd-even", "o1turn", "adaptive")
"""Routing functions of a network alone, by name."""

TOPOLOGIES = ("mesh", "torus")
"""A torus is a mesh whose opposite edges are joined."""

TORUS_ROUTINGS = ("xy", "yx", "o1turn", "adaptive")
"""Those of the routing functions that a torus has."""

CHANNEL_RULES = ("kept", "free", "onward")
"""How a network alone chooses virtual channels."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network alone: a rectangle of nodes, each with one stream of packets in and one out.

    Parameters
    ----------
    height, width : int
        Nodes from north to south and from west to east.
    virtual_channels : int
        Virtual channels per link; packets of all classes may use all of them.
    buffer_depth : int
        Flits per virtual channel and input port; a power of two.
    routing : str
        One of ``ROUTINGS``.
    channels : str
        One of ``CHANNEL_RULES``. ``kept``: a packet keeps the virtual channel that it got where it entered, as in the
        fabric. ``free``: at each hop it gets the one with the most room. ``onward``: at each hop it gets the one that
        belongs to the output which it will take at the next router; packets of a flow stay in order.
    rounds : int
        Rounds in which outputs are allotted to inputs within a cycle; 1 in the fabric.
    topology : str
        One of ``TOPOLOGIES``.
    """

    height: int
    width: int
    virtual_channels: int = 2
    buffer_depth: int = 8
    routing: str = "xy"
    channels: str = "kept"
    rounds: int = 1
    topology: str = "mesh"

    def __post_init__(self) -> None:
        _require_one_of("topology", self.topology, TOPOLOGIES)
        _require_range("mesh height", self.height, 1, 16)
        _require_range("mesh width", self.width, 1, 16)
        _require_one_of("routing", self.routing, ROUTINGS)
        _require_one_of("rule for virtual channels", self.channels, CHANNEL_RULES)
        _require_range("rounds of allocation", self.rounds, 1, 3)
        _ = self.noc  # checks the rest
        if self.channels == "kept":
            _require(
                self.routing == "xy", f"packets keep their virtual channels under routing xy, not {self.routing!r}"
            )
            _require(self.rounds == 1, f"where packets keep their virtual channels there is 1 round, not {self.rounds}")
        _require(
            self.channels != "onward" or self.routing in ("xy", "yx", "o1turn"),
            f"the rule onward needs packets that know their way, not those of routing {self.routing!r}",
        )
        if self.topology == "torus":
            _require_one_of("routing of a torus", self.routing, TORUS_ROUTINGS)
            _require(self.channels != "kept", "packets on a torus do not keep their virtual channels")
        least = self.least_channels
        what = f"routing {self.routing}" + (f" on a torus of {self.height}x{self.width}" if self.datelines else "")
        _require(
            self.virtual_channels >= least,
            f"{what} needs {least} virtual channels at least, not {self.virtual_channels}",
        )

    @property
    def noc(self) -> NocConfig:
        """Parameters of its routers."""
        return NocConfig(
            virtual_channels=self.virtual_channels, buffer_depth=self.buffer_depth, class_channels=(0, 0, 0, 0)
        )

    @property
    def name(self) -> str:
        """What it is, in words."""
        return (
            f"{self.height}x{self.width} {self.topology}, {self.routing}, "
            f"{self.virtual_channels} x {self.buffer_depth} flits, {self.channels}, rounds {self.rounds}"
        )

    @property
    def datelines(self) -> bool:
        """Whether the network has rings in which shortest ways can wait for each other, which needs five nodes."""
        return self.topology == "torus" and max(self.height, self.width) >= 5

    @property
    def least_channels(self) -> int:
        """Virtual channels that the routing needs to be free of deadlock."""
        per_order = 2 if self.datelines else 1
        return per_order * (2 if self.routing == "o1turn" else 1) + (self.routing == "adaptive")

    @property
    def in_order(self) -> bool:
        """Whether packets from one node to another stay in order."""
        one_way = self.routing in ("xy", "yx")
        return one_way and (self.channels == "onward" or self.virtual_channels == 1)

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return self.height * self.width

    def links(self, source: tuple[int, int], to: tuple[int, int]) -> int:
        """Links on a shortest way from one node to another, each a row and a column."""
        steps = [abs(end - begin) for begin, end in zip(source, to, strict=True)]
        if self.topology == "torus":
            sizes = self.height, self.width
            steps = [min(count, size - count) for count, size in zip(steps, sizes, strict=True)]
        return sum(steps)

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of every parameter."""
        return _digest(dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class FeederConfig:
    """CSR fetch, operand fetch and drain.

    Parameters
    ----------
    cursors : int
        Rows of ``W`` that one feeder streams at a time, interleaved; a power of two.
    line_buffers : int
        Memory words buffered per cursor and array (indices, values); a power of two.
    outstanding : int
        Read bursts that one engine may have in flight; a power of two.
    packet_rows : int
        Operand rows in one operand packet, where they lie dense in memory.
    chunk_rows : int
        Operand rows in one chunk of packed operands; a power of two.
    group : int
        Entries of a row that are looked at in one cycle where most of them are passed over; a power of two.
    queues : int
        Queues by which entries are mixed that come in the order of memory; a power of two.
    interleaved : int
        Entries that each of them holds; a power of two.
    """

    cursors: int = 4
    line_buffers: int = 4
    outstanding: int = 8
    packet_rows: int = 4
    chunk_rows: int = 16
    group: int = 4
    queues: int = 16
    interleaved: int = 64

    def __post_init__(self) -> None:
        _require_power_of_two("row cursors", self.cursors, 1, 16)
        _require_power_of_two("line buffers", self.line_buffers, 2, 16)
        _require_power_of_two("outstanding bursts", self.outstanding, 1, 64)
        _require_range("rows of an operand packet", self.packet_rows, 1, 64)
        _require_power_of_two("rows of a chunk of packed operands", self.chunk_rows, 2, 64)
        _require_power_of_two("entries of a group", self.group, 1, 8)
        _require_power_of_two("queues of entries", self.queues, 2, 32)
        _require_power_of_two("interleaved entries", self.interleaved, 2, 256)


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """The AXI4 memory port.

    Parameters
    ----------
    data_width : int
        Bits of one beat; a power of two from 64 to 512.
    address_width : int
        Bits of a byte address.
    id_width : int
        Bits of a transaction ID behind one master, before the interconnect adds its own.
    """

    data_width: int = 256
    address_width: int = 32
    id_width: int = 6

    def __post_init__(self) -> None:
        _require_power_of_two("memory data width", self.data_width, 64, 512)
        _require_range("memory address width", self.address_width, 16, 32)
        _require_range("memory ID width", self.id_width, 1, 8)

    @property
    def beat_bytes(self) -> int:
        """Bytes of one beat."""
        return self.data_width // 8


@dataclass(frozen=True, kw_only=True)
class StructureConfig:
    """The engines that update weights and their structure.

    Parameters
    ----------
    burst_beats : int
        Beats of the longest burst; bursts end where a multiple of it does. A power of two.
    buffer_beats : int
        Beats buffered for each array that is read or written, two bursts at least; a power of two.
    outstanding : int
        Bursts that each array may have in flight.
    exchanged : int
        Entries of a row that one rewiring can exchange, at most.
    columns : int
        Columns of a layer that can be rewired, at most; a power of two.
    """

    burst_beats: int = 4
    buffer_beats: int = 16
    outstanding: int = 16
    exchanged: int = 1016
    columns: int = 4096

    def __post_init__(self) -> None:
        _require_power_of_two("beats of a burst", self.burst_beats, 1, 64)
        _require_power_of_two("buffered beats", self.buffer_beats, 2, 256)
        _require(
            self.buffer_beats >= 2 * self.burst_beats,
            f"buffered beats must be two bursts of {self.burst_beats} at least, not {self.buffer_beats!r}",
        )
        _require_range("bursts of an array in flight", self.outstanding, 1, 64)
        _require_range("entries exchanged in a row", self.exchanged, 1, 1 << 14)
        _require_power_of_two("columns of a layer to rewire", self.columns, 64, 1 << 16)


@dataclass(frozen=True, kw_only=True)
class FabricConfig:
    """The whole fabric: ``rows x cols`` compute tiles, their feeders, the network and the memory port.

    Parameters
    ----------
    name : str
        Name printed in reports; not part of ``digest``.
    rows, cols : int
        Compute tiles of the mesh.
    lanes : int
        Lanes in one tile; a power of two.
    reducing_adders : int
        Adders of a tile that add up the sums of its lanes, one at most for each lane; a power of two.
    lane, noc, feeder, memory, structure
        Parameters of the blocks.
    """

    name: str
    rows: int
    cols: int
    lanes: int
    reducing_adders: int = 2
    lane: LaneConfig = field(default_factory=LaneConfig)
    noc: NocConfig = field(default_factory=NocConfig)
    feeder: FeederConfig = field(default_factory=FeederConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    structure: StructureConfig = field(default_factory=StructureConfig)

    def __post_init__(self) -> None:
        _require_range("mesh rows", self.rows, 1, 15)
        _require_range("mesh columns", self.cols, 1, 15)
        _require_power_of_two("lanes of a tile", self.lanes, 1, 16)
        _require_power_of_two("adders of sums over lanes", self.reducing_adders, 1, 16)
        per_flit = self.noc.flit_width // self.lane.number_format.operand_width
        _require(
            (self.lanes * self.lane.slots) % per_flit == 0,
            f"columns of a tile must fill whole flits of {per_flit} operands, not {self.tile_columns!r}",
        )
        _require(
            self.feeder.chunk_rows <= self.lane.operand_rows,
            f"rows of a chunk of packed operands must be at most the {self.lane.operand_rows} rows of a bank, "
            f"not {self.feeder.chunk_rows!r}",
        )
        row_bytes = self.tile_columns * self.lane.number_format.operand_bytes
        _require(
            row_bytes % self.memory.beat_bytes == 0,
            f"an operand row of a tile must fill whole memory beats of {self.memory.beat_bytes} bytes, "
            f"not {row_bytes!r} bytes",
        )

    @property
    def lower_columns(self) -> int:
        """Columns in the lower half of the slots, which are drained alone where there are no more; 0 where they do not
        fill whole beats."""
        columns = self.tile_columns // 2
        return columns if columns * self.lane.number_format.operand_bytes % self.memory.beat_bytes == 0 else 0

    @property
    def tile_columns(self) -> int:
        """Columns that one tile holds: lanes x slots."""
        return self.lanes * self.lane.slots

    @property
    def chunk_mask_flits(self) -> int:
        """Flits of the masks of one chunk of packed operands."""
        return -(-self.feeder.chunk_rows * self.tile_columns // self.noc.flit_width)

    @property
    def chunk_value_flits(self) -> int:
        """Flits of the values of one chunk of packed operands, if none of them is zero."""
        operands = self.feeder.chunk_rows * self.tile_columns
        return operands * self.lane.number_format.operand_width // self.noc.flit_width

    @property
    def chunk_bytes(self) -> int:
        """Bytes from one chunk of packed operands to that of the next mesh column."""
        size = (self.chunk_mask_flits + self.chunk_value_flits) * self.noc.flit_width // 8
        return -(-size // self.memory.beat_bytes) * self.memory.beat_bytes

    @property
    def columns(self) -> int:
        """Columns that the fabric holds in one pass."""
        return self.cols * self.tile_columns

    @property
    def total_lanes(self) -> int:
        """Lanes of the whole fabric."""
        return self.rows * self.cols * self.lanes

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of every parameter but the name."""
        parameters = dataclasses.asdict(self)
        del parameters["name"]
        return _digest(parameters)

    def with_format(self, format: str) -> "FabricConfig":
        """The same fabric in another number format."""
        return dataclasses.replace(self, lane=dataclasses.replace(self.lane, format=format))

    def describe(self) -> dict[str, Any]:
        """Parameters and digest as plain data, for reports."""
        return {**dataclasses.asdict(self), "digest": self.digest}


PRESETS = {
    config.name: config
    for config in (
        FabricConfig(
            name="tiny",
            rows=2,
            cols=2,
            lanes=2,
            lane=LaneConfig(slots=4, operand_rows=32, accumulator_rows=16),
            noc=NocConfig(buffer_depth=4),
            feeder=FeederConfig(
                cursors=2, line_buffers=2, outstanding=4, packet_rows=2, chunk_rows=4, queues=4, interleaved=8
            ),
            memory=MemoryConfig(data_width=64),
        ),
        FabricConfig(
            name="base",
            rows=4,
            cols=4,
            lanes=4,
            lane=LaneConfig(fifo_depth=8, operand_banks=4, accumulator_rows=256),
        ),
        FabricConfig(
            name="ulx3s",
            rows=1,
            cols=1,
            lanes=8,
            reducing_adders=1,
            lane=LaneConfig(slots=4, operand_rows=64, accumulator_rows=64),
            noc=NocConfig(buffer_depth=4),
            feeder=FeederConfig(
                cursors=2, line_buffers=2, outstanding=4, packet_rows=2, chunk_rows=4, group=2, queues=4, interleaved=16
            ),
            memory=MemoryConfig(data_width=64),
            structure=StructureConfig(burst_beats=4, buffer_beats=8, outstanding=2, exchanged=248, columns=1024),
        ),
    )
}


def preset(name: str) -> FabricConfig:
    """The preset called ``name``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]
