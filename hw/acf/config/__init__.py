"""Frozen, validated parameters of the fabric, grouped by block, and the named presets.

No hardware description is imported here: the golden model, the compiler and the simulators read the same objects.
"""

from acf.config.blocks import (
    NUMBER_FORMATS,
    WEIGHT_FORMATS,
    FeederConfig,
    LaneConfig,
    MemoryConfig,
    NocConfig,
    NumberFormat,
    StructureConfig,
)
from acf.config.fabric import PRESETS, FabricConfig, preset
from acf.config.network import (
    CHANNEL_RULES,
    GROUP_CAST,
    ROUTINGS,
    TABLE,
    TOPOLOGIES,
    TORUS_ROUTINGS,
    TRAFFIC_CLASSES,
    ClassPolicy,
    NetworkConfig,
    channel_shares,
)

__all__ = [
    "CHANNEL_RULES",
    "GROUP_CAST",
    "NUMBER_FORMATS",
    "PRESETS",
    "ROUTINGS",
    "TABLE",
    "TOPOLOGIES",
    "TORUS_ROUTINGS",
    "TRAFFIC_CLASSES",
    "WEIGHT_FORMATS",
    "ClassPolicy",
    "FabricConfig",
    "FeederConfig",
    "LaneConfig",
    "MemoryConfig",
    "NetworkConfig",
    "NocConfig",
    "NumberFormat",
    "StructureConfig",
    "channel_shares",
    "preset",
]
