"""What UPDATE and REWIRE do to the arrays in memory."""

import ml_dtypes
import numpy as np

from acf.config import FabricConfig
from acf.golden.command_checks import CommandChecks
from acf.golden.guarded_memory import GuardedMemory
from acf.golden.optimizer import sgd_step

__all__ = ["StructureCommands"]

_SOURCE = (0, 0)
_FLOAT32, _BFLOAT16 = np.dtype("<f4"), np.dtype(ml_dtypes.bfloat16)


class StructureCommands:
    """The structure engine, which sits at the command processor.

    Parameters
    ----------
    memory : GuardedMemory
    config : FabricConfig
    checks : CommandChecks
    """

    def __init__(self, memory: GuardedMemory, *, config: FabricConfig, checks: CommandChecks):
        self._memory = memory
        self._config = config
        self._checks = checks

    def update(self, values: dict[str, int]) -> None:
        """``acf.golden.optimizer.sgd_step`` over all ``entries``."""
        self._require_bf16("an update")
        self._require_seed(values, "stochastic")
        self._require_beats(values, "gradient", "master", "momentum", "values")
        gradient, master, momentum = (
            self._read(values[what], values["entries"], _FLOAT32) for what in ("gradient", "master", "momentum")
        )
        rate, factor = (
            np.array(values[what], dtype=np.uint16).view(_BFLOAT16) for what in ("learning_rate", "momentum_factor")
        )
        step = sgd_step(
            master,
            momentum,
            gradient,
            learning_rate=rate,
            momentum_factor=factor,
            rounding="stochastic" if values["stochastic"] else "nearest",
            seed=values["seed"],
        )
        for what, array in (("master", step.master), ("momentum", step.momentum), ("values", step.weights)):
            self._write(values[what], array)

    def rewire(self, values: dict[str, int]) -> None:
        """Not built yet: refused."""
        self._checks.require(False, "this fabric does not rewire")

    def _require_bf16(self, what: str) -> None:
        format = self._config.lane.format
        self._checks.require(format == "bf16", f"{what} needs weights in bf16, not in {format}")

    def _require_seed(self, values: dict[str, int], flag: str) -> None:
        self._checks.require(not values[flag] or values["seed"] != 0, "seed 0, from which no other number follows")

    def _require_beats(self, values: dict[str, int], *arrays: str) -> None:
        beat = self._config.memory.beat_bytes
        for what in arrays:
            self._checks.require_aligned(what, values[what], beat, address=values[what], source=_SOURCE)

    def _read(self, address: int, count: int, dtype: np.dtype) -> np.ndarray:
        if not count:
            return np.empty(0, dtype=dtype)
        return self._memory.read(address, count * dtype.itemsize, source=_SOURCE).view(dtype)

    def _write(self, address: int, array: np.ndarray) -> None:
        if array.size:
            self._memory.write(address, np.ascontiguousarray(array).view(np.uint8), source=_SOURCE)
