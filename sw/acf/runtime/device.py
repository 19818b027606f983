"""What every device offers: a memory that is a NumPy array, and programs that run on it."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from acf.config import FabricConfig
from acf.isa import ErrorCode, FeederCounter, Flag, LaneCause, StructureCounter

__all__ = ["Device", "FabricError", "RunResult", "Window", "whole_memory"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Memory that a program may touch.

    Parameters
    ----------
    base : int
        First byte address inside.
    limit : int
        Last byte address inside.
    readable, writable : bool
        What may be done there.
    """

    base: int
    limit: int
    readable: bool = True
    writable: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.base <= self.limit < 1 << 32:
            raise ValueError(f"window must lie in 32-bit addresses, base first, not {self.base:#x} to {self.limit:#x}")


class FabricError(RuntimeError):
    """A program ended early.

    Parameters
    ----------
    code : ErrorCode
        What went wrong first.
    address, row, index : int
        Where, as far as the code has them; 0 otherwise.
    source : tuple of int
        Node ``(y, x)`` that reported it.
    detail : str
        Further words for people.
    """

    def __init__(
        self,
        code: ErrorCode,
        address: int = 0,
        row: int = 0,
        index: int = 0,
        source: tuple[int, int] = (0, 0),
        detail: str = "",
    ):
        self.code = ErrorCode(code)
        self.address = address
        self.row = row
        self.index = index
        self.source = source
        message = (
            f"the fabric stopped with {self.code.name}: address {address:#x}, row {row}, index {index}, "
            f"reported by node {source}"
        )
        super().__init__(f"{message}; {detail}" if detail else message)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run of a program leaves behind beside its results in memory.

    Parameters
    ----------
    config : FabricConfig
        The fabric that ran it.
    effectual : numpy.ndarray
        Products with two non-zero operands, by ``[row, column, lane]`` of the tiles.
    flags : numpy.ndarray of uint8
        What sums have raised (``acf.isa.Flag``), by ``[row, column, lane]``.
    row_feeders, column_feeders : dict
        Counters of the feeders, one array each.
    commands : int
        Commands begun.
    cycles : int or None
        First fetch to END; None from a device without timing, as are the next three.
    causes : numpy.ndarray or None
        Cycles by ``[row, column, lane, LaneCause]``.
    bytes_read, bytes_written : int or None
        Traffic of the memory port.
    structure : dict or None
        Counters of the structure engine; None from a device without timing.
    rewired : int
        Entries that were dropped and grown elsewhere.
    """

    config: FabricConfig
    effectual: np.ndarray
    flags: np.ndarray
    row_feeders: dict[FeederCounter, np.ndarray] = field(default_factory=dict)
    column_feeders: dict[FeederCounter, np.ndarray] = field(default_factory=dict)
    commands: int = 0
    cycles: int | None = None
    causes: np.ndarray | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    structure: dict[StructureCounter, int] | None = None
    rewired: int = 0

    @property
    def effectual_macs(self) -> int:
        """Products with two non-zero operands."""
        return int(self.effectual.sum())

    @property
    def raised(self) -> Flag:
        """What any sum has raised."""
        return Flag(int(np.bitwise_or.reduce(self.flags, axis=None)))

    @property
    def overflowed(self) -> bool:
        """Whether any accumulator has wrapped."""
        return Flag.OVERFLOW in self.raised

    @property
    def lane_cycles(self) -> dict[str, int] | None:
        """Cycles of all lanes by cause; they sum to ``cycles`` x lanes."""
        if self.causes is None:
            return None
        return {cause.name.lower(): int(self.causes[..., cause].sum()) for cause in LaneCause}

    @property
    def utilization(self) -> float | None:
        """Effectual MACs / (lanes x cycles)."""
        if not self.cycles:
            return None
        return self.effectual_macs / (self.config.total_lanes * self.cycles)

    @property
    def tile_utilization(self) -> np.ndarray | None:
        """Effectual MACs / (lanes x cycles) of every tile, ``[row, column]``."""
        if not self.cycles:
            return None
        return self.effectual.sum(axis=-1) / (self.config.lanes * self.cycles)


class Device(Protocol):
    """Something that runs programs.

    All devices return the same bits in memory for the same program.
    """

    @property
    def name(self) -> str:
        """``golden``, ``rtl``, …"""
        ...

    @property
    def config(self) -> FabricConfig:
        """The fabric it is."""
        ...

    @property
    def memory(self) -> np.ndarray:
        """The memory, ``uint8``, byte address 0 first; read and written in place."""
        ...

    def run(self, program_address: int, commands: int, windows: list[Window]) -> RunResult:
        """Run the ``commands`` commands at ``program_address``.

        Parameters
        ----------
        program_address : int
            Byte address of the first command, a multiple of ``acf.isa.COMMAND_BYTES``.
        commands : int
            Commands that may be read.
        windows : list of Window
            Up to 4; every access must lie inside one that allows it.

        Raises
        ------
        FabricError
            If the program ended early.
        """
        ...


def whole_memory(device: Device) -> list[Window]:
    """The one window that is all of the memory of ``device``."""
    return [Window(base=0, limit=device.memory.size - 1)]
