"""The ``golden`` device: the interpreter of commands, without time."""

import numpy as np

from acf.config import FabricConfig
from acf.golden.commands import CommandFault, CommandInterpreter, WindowRights
from acf.runtime.device import FabricError, RunResult, Window

__all__ = ["GoldenDevice"]


class GoldenDevice:
    """A fabric in NumPy.

    Parameters
    ----------
    config : FabricConfig
    memory_bytes : int
        Size of the memory.
    """

    name = "golden"

    def __init__(self, config: FabricConfig, *, memory_bytes: int = 1 << 26):
        if not 0 < memory_bytes <= 1 << config.memory.address_width:
            raise ValueError(f"memory must have 1 to 2^{config.memory.address_width} bytes, not {memory_bytes!r}")
        self.config = config
        self.memory = np.zeros(memory_bytes, dtype=np.uint8)
        self._interpreter = CommandInterpreter(config=config)

    def run(self, program_address: int, commands: int, windows: list[Window]) -> RunResult:
        """Run a program; see ``acf.runtime.device.Device``."""
        rights = [WindowRights(w.base, w.limit, w.readable, w.writable) for w in windows]
        try:
            outcome = self._interpreter.run(
                self.memory, program_address=program_address, commands=commands, windows=rights
            )
        except CommandFault as fault:
            raise FabricError(
                fault.code, fault.address, fault.row, fault.index, fault.source, detail=fault.detail
            ) from fault
        return RunResult(
            config=self.config,
            effectual=outcome.effectual,
            flags=outcome.flags,
            row_feeders=outcome.row_feeders,
            column_feeders=outcome.column_feeders,
            commands=outcome.commands,
            rewired=outcome.rewired,
        )
