"""Parameters of the whole fabric, and the named presets."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from acf.config.blocks import FeederConfig, LaneConfig, MemoryConfig, NocConfig, StructureConfig
from acf.config.checks import digest_of, require, require_power_of_two, require_range
from acf.config.overrides import with_parameters

__all__ = ["PRESETS", "FabricConfig", "preset"]


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
        require_range("mesh rows", self.rows, 1, 15)
        require_range("mesh columns", self.cols, 1, 15)
        require_power_of_two("lanes of a tile", self.lanes, 1, 16)
        require_power_of_two("adders of sums over lanes", self.reducing_adders, 1, 16)
        per_flit = self.noc.flit_width // self.lane.number_format.operand_width
        require(
            (self.lanes * self.lane.slots) % per_flit == 0,
            f"columns of a tile must fill whole flits of {per_flit} operands, not {self.tile_columns!r}",
        )
        require(
            self.feeder.chunk_rows <= self.lane.operand_rows,
            f"rows of a chunk of packed operands must be at most the {self.lane.operand_rows} rows of a bank, "
            f"not {self.feeder.chunk_rows!r}",
        )
        row_bytes = self.tile_columns * self.lane.number_format.operand_bytes
        require(
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
        return digest_of(parameters)

    def with_format(self, format: str) -> "FabricConfig":
        """The same fabric in another number format."""
        return dataclasses.replace(self, lane=dataclasses.replace(self.lane, format=format))

    def without_skipping(self) -> "FabricConfig":
        """The same fabric whose lanes have no hardware that skips zeros."""
        return dataclasses.replace(self, lane=dataclasses.replace(self.lane, skipping=False))

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
                cursors=2,
                line_buffers=2,
                outstanding=4,
                operand_bursts=4,
                packet_rows=2,
                chunk_rows=4,
                queues=4,
                interleaved=8,
                ranges=64,
            ),
            memory=MemoryConfig(data_width=64),
        ),
        FabricConfig(
            name="base",
            rows=4,
            cols=4,
            lanes=4,
            reducing_adders=4,
            lane=LaneConfig(fifo_depth=64, barrel=8, operand_banks=4, accumulator_rows=1024),
            feeder=FeederConfig(line_buffers=8, outstanding=16, operand_bursts=32),
        ),
        FabricConfig(
            name="ulx3s",
            rows=1,
            cols=1,
            lanes=16,
            reducing_adders=1,
            lane=LaneConfig(slots=4, operand_rows=64, accumulator_rows=64),
            noc=NocConfig(buffer_depth=4),
            feeder=FeederConfig(
                cursors=2,
                line_buffers=2,
                outstanding=4,
                operand_bursts=4,
                packet_rows=2,
                chunk_rows=4,
                group=2,
                queues=4,
                interleaved=16,
                ranges=256,
                formats=(),
            ),
            memory=MemoryConfig(data_width=64),
            structure=StructureConfig(
                burst_beats=4, buffer_beats=8, outstanding=2, exchanged=248, columns=1024, unstructured=False
            ),
        ),
    )
}


def preset(name: str) -> FabricConfig:
    """The preset called ``name``, with other parameters if they follow the name, as in ``base,lane.slots=16``.

    Raises
    ------
    ValueError
        If there is none of that name, or a parameter cannot be what it is to be.
    """
    name, comma, given = name.partition(",")
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return with_parameters(PRESETS[name], given) if comma else PRESETS[name]
