"""Frozen, validated parameters of the fabric, grouped by block, and the named presets.

No hardware description is imported here: the golden model, the compiler and the simulators read the same objects.
"""

from acf.config.blocks import (
    NUMBER_FORMATS,
    FeederConfig,
    LaneConfig,
    MemoryConfig,
    NocConfig,
    NumberFormat,
    StructureConfig,
)
from acf.config.fabric import PRESETS, FabricConfig, preset
from acf.config.network import CHANNEL_RULES, ROUTINGS, TOPOLOGIES, TORUS_ROUTINGS, NetworkConfig

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
