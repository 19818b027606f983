"""Parameters of the blocks: numbers, lane, network of the fabric, feeders, memory, structure engine."""

from dataclasses import dataclass

from acf.config.checks import require, require_one_of, require_power_of_two, require_range

__all__ = [
    "NUMBER_FORMATS",
    "WEIGHT_FORMATS",
    "FeederConfig",
    "LaneConfig",
    "MemoryConfig",
    "NocConfig",
    "NumberFormat",
    "StructureConfig",
]


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
        Bits of one accumulator on chip.
    result_width : int
        Bits of one drained accumulator in memory.
    flags : int
        How many of ``acf.isa.Flag`` its sums can raise, from the first on.
    """

    name: str
    operand_width: int
    accumulator_width: int
    result_width: int = 32
    flags: int = 1

    @property
    def operand_bytes(self) -> int:
        """Bytes of one operand in memory."""
        return self.operand_width // 8

    @property
    def narrows(self) -> bool:
        """Whether results can be rounded to operands, bfloat16 numbers: integers have no scale for it."""
        return self.operand_width == 16

    @property
    def scaled(self) -> bool:
        """Whether accumulators are fixed-point numbers, whose last bit weighs what a STREAM says."""
        return self.accumulator_width != self.result_width

    @property
    def accumulator_bytes(self) -> int:
        """Bytes of one accumulator on chip."""
        return self.accumulator_width // 8

    @property
    def result_bytes(self) -> int:
        """Bytes of one drained accumulator in memory."""
        return self.result_width // 8


NUMBER_FORMATS = {
    "bf16": NumberFormat(name="bf16", operand_width=16, accumulator_width=32),
    "bf16x": NumberFormat(name="bf16x", operand_width=16, accumulator_width=64, flags=3),
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
    barrel : int
        Entries of a SAMPLED stream whose products take turns; a power of two. An accumulator is in flight for some
        cycles (seven in bf16, four in bf16x), and with fewer places than that a lane cannot be busy in all of them.
    operand_rows : int
        Rows of one operand bank; a power of two.
    operand_banks : int
        Operand banks, of which one computes while others load; a power of two.
    accumulator_rows : int
        Rows of the accumulator bank; a power of two.
    skipping : bool
        Whether lanes skip zeros. Without it they have no hardware for that: the array to compare with.
    """

    format: str = "bf16"
    slots: int = 8
    fifo_depth: int = 4
    barrel: int = 4
    operand_rows: int = 256
    operand_banks: int = 2
    accumulator_rows: int = 128
    skipping: bool = True

    def __post_init__(self) -> None:
        require(
            self.format in NUMBER_FORMATS,
            f"number format must be one of {', '.join(NUMBER_FORMATS)}, not {self.format!r}",
        )
        require_power_of_two("slots of a lane", self.slots, 2, 32)
        require_power_of_two("lane FIFO depth", self.fifo_depth, 4, 64)
        require_power_of_two("places of a lane's barrel", self.barrel, 2, 64)
        require_power_of_two("operand rows", self.operand_rows, 4, 4096)
        require_power_of_two("operand banks", self.operand_banks, 1, 4)
        require_power_of_two("accumulator rows", self.accumulator_rows, 4, 4096)
        require(
            self.slots * self.accumulator_rows <= 1 << 16,
            f"accumulators of a lane must be at most 65536, not {self.slots * self.accumulator_rows!r}",
        )
        require(isinstance(self.skipping, bool), f"skipping of zeros must be True or False, not {self.skipping!r}")

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
        require(self.flit_width == 64, f"flit width must be 64, not {self.flit_width!r}")
        require_range("virtual channels", self.virtual_channels, 1, 8)
        require_power_of_two("buffer depth of a virtual channel", self.buffer_depth, 2, 64)
        require(len(self.class_channels) == 4, f"class channels must name 4 channels, not {self.class_channels!r}")
        for channel in self.class_channels:
            require_range("virtual channel of a traffic class", channel, 0, self.virtual_channels - 1)


WEIGHT_FORMATS = ("nm", "blocks")
"""Formats of weights whose decoders may be left out: N entries in each M columns, and blocks of 4 x 4."""


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
        Bursts that each engine of a row feeder may have in flight; a power of two.
    operand_bursts : int
        Read bursts that a column feeder may have in flight; a power of two. All of them together should hide the
        latency of memory.
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
    ranges : int
        Rows, counted for each inner range, of which is remembered where their entries inside the range stand; a power
        of two.
    formats : tuple of str
        Formats of weights, of ``WEIGHT_FORMATS``, that a row feeder reads besides CSR, dense rows and bitmaps.
    """

    cursors: int = 4
    line_buffers: int = 4
    outstanding: int = 8
    operand_bursts: int = 8
    packet_rows: int = 4
    chunk_rows: int = 16
    group: int = 4
    queues: int = 16
    interleaved: int = 64
    ranges: int = 2048
    formats: tuple[str, ...] = WEIGHT_FORMATS

    def __post_init__(self) -> None:
        require_power_of_two("row cursors", self.cursors, 1, 16)
        require_power_of_two("line buffers", self.line_buffers, 2, 16)
        require_power_of_two("outstanding bursts", self.outstanding, 1, 64)
        require_power_of_two("outstanding bursts of operands", self.operand_bursts, 1, 64)
        require_range("rows of an operand packet", self.packet_rows, 1, 64)
        require_power_of_two("rows of a chunk of packed operands", self.chunk_rows, 2, 64)
        require_power_of_two("entries of a group", self.group, 1, 8)
        require_power_of_two("queues of entries", self.queues, 2, 32)
        require_power_of_two("interleaved entries", self.interleaved, 2, 256)
        require_power_of_two("remembered ranges of rows", self.ranges, 2, 1 << 14)
        for name in self.formats:
            require_one_of("format of weights", name, WEIGHT_FORMATS)


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
        require_power_of_two("memory data width", self.data_width, 64, 512)
        require_range("memory address width", self.address_width, 16, 32)
        require_range("memory ID width", self.id_width, 1, 8)

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
    unstructured : bool
        Whether rows may change their number of entries: PRUNE, SURVEY and MERGE. Without them layers have constant
        fan-in, and the engine is half as large.
    """

    burst_beats: int = 4
    buffer_beats: int = 16
    outstanding: int = 16
    exchanged: int = 1016
    columns: int = 4096
    unstructured: bool = True

    def __post_init__(self) -> None:
        require_power_of_two("beats of a burst", self.burst_beats, 1, 64)
        require_power_of_two("buffered beats", self.buffer_beats, 2, 256)
        require(
            self.buffer_beats >= 2 * self.burst_beats,
            f"buffered beats must be two bursts of {self.burst_beats} at least, not {self.buffer_beats!r}",
        )
        require_range("bursts of an array in flight", self.outstanding, 1, 64)
        require_range("entries exchanged in a row", self.exchanged, 1, 1 << 14)
        require_power_of_two("columns of a layer to rewire", self.columns, 64, 1 << 16)
        require(
            isinstance(self.unstructured, bool),
            f"unstructured changes must be True or False, not {self.unstructured!r}",
        )
