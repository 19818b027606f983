"""What UPDATE, REWIRE, PRUNE, SURVEY and MERGE do to the arrays in memory."""

import ml_dtypes
import numpy as np

from acf.config import FabricConfig
from acf.golden.command_checks import CommandChecks
from acf.golden.guarded_memory import CommandFault, GuardedMemory
from acf.golden.merge import LayerGrowth, Rows
from acf.golden.optimizer import sgd_step
from acf.golden.rewiring import SPAN_UNIT, rewire
from acf.golden.structure import prune
from acf.isa import ErrorCode, IndexSize, candidate_row_bits

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
    growth : LayerGrowth
        What surveys leave for merges.

    Attributes
    ----------
    rewired : int
        Entries that rewirings have exchanged.
    """

    def __init__(self, memory: GuardedMemory, *, config: FabricConfig, checks: CommandChecks, growth: LayerGrowth):
        self._memory = memory
        self._config = config
        self._structure = config.structure
        self._checks = checks
        self._growth = growth
        self.rewired = 0

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
        """``acf.golden.rewiring.rewire`` of rows ``row_begin`` to ``row_end``."""
        self._require_bf16("a rewiring")
        self._require_seed(values, "random")
        arrays = ("momentum", "master", "values", "indices", "pointers")
        candidates = () if values["random"] else ("candidates",)
        self._require_beats(values, *candidates, *arrays)
        for allowed, detail in (
            (
                values["inner_size"] <= self._structure.columns,
                f"inner_size {values['inner_size']} of {self._structure.columns}",
            ),
            (values["span"] >= SPAN_UNIT, f"a span of {values['span']}, less than one entry"),
            (
                values["candidate_first"] < 1 << values["candidate_shift"],
                f"candidates from column {values['candidate_first']} on, of each {1 << values['candidate_shift']} one",
            ),
        ):
            if not allowed:
                raise CommandFault(ErrorCode.COMMAND_RANGE, address=values["values"], source=_SOURCE, detail=detail)
        rows = max(0, values["row_end"] - values["row_begin"])
        if not rows:
            return
        pointers = self._pointers(values, rows)
        first, count = int(pointers[0]), int(pointers[-1] - pointers[0])
        types = self._types(values)
        entries = {
            what: self._read(values[what] + first * dtype.itemsize, count, dtype) for what, dtype in types.items()
        }
        self._require_indices(values, pointers - first, entries["indices"], row_begin=values["row_begin"])
        rewired = rewire(
            pointers - first,
            entries["indices"],
            entries["master"],
            entries["momentum"],
            entries["values"],
            row_begin=0,
            row_end=rows,
            span=values["span"],
            most=self._structure.exchanged,
            inner_size=values["inner_size"],
            protected_from=values["protected_from"],
            candidates=self._selected(values, rows),
            candidate_first=values["candidate_first"],
            candidate_step=1 << values["candidate_shift"],
            seed=values["seed"],
        )
        self.rewired += rewired.changed
        for what, dtype in types.items():
            self._write(values[what] + first * dtype.itemsize, getattr(rewired, what))

    def prune(self, values: dict[str, int]) -> None:
        """``acf.golden.structure.prune`` of a whole layer, to where ``shift`` says."""
        self._require_unstructured("a pruning")
        self._require_bf16("a pruning")
        self._require_beats(values, "shift", "momentum", "master", "values", "indices", "pointers")
        pointers = self._read(values["pointers"], values["row_end"] + 1, np.dtype("<u4")).astype(np.int64)
        fault = self._layer_fault(pointers)
        types = self._types(values)
        good = pointers[: fault[0]] if fault else pointers
        indices = self._read(values["indices"], int(good[-1]) if good.size else 0, types["indices"])
        self._require_indices(values, good, indices, row_begin=0)
        if fault:
            place, code = fault
            raise CommandFault(
                code,
                row=max(0, place - 1),
                index=int(pointers[place]),
                source=_SOURCE,
                detail=f"pointers rise from 0 to {int(pointers[-1])}",
            )
        arrays = {what: self._read(values[what], int(pointers[-1]), dtype) for what, dtype in types.items()}
        pruned = prune(
            pointers,
            arrays["indices"],
            arrays["master"],
            arrays["momentum"],
            arrays["values"],
            count=values["layer_drop"],
            inner_size=values["inner_size"],
            protected_from=values["protected_from"],
        )
        self._write(values["pointers"] + values["shift"], pruned.pointers.astype("<u4"))
        for what in types:
            self._write(values[what] + values["shift"], getattr(pruned, what))

    def survey(self, values: dict[str, int]) -> None:
        """``acf.golden.merge.LayerGrowth.survey`` of rows ``row_begin`` to ``row_end``."""
        growth = self._growth
        self._require_rows_to_grow(values, "pointers", "indices")
        self._require_row(values, values["row_begin"] in (0, growth.rows) and not growth.merged)
        rows = max(0, values["row_end"] - values["row_begin"])
        if rows:
            pointers, indices = self._rows(values, rows)
            candidates = self._rows_to_grow(values, pointers, indices)
            self._growth.survey(candidates, first=values["row_begin"] == 0, grow=values["grow"])

    def merge(self, values: dict[str, int]) -> None:
        """``acf.golden.merge.LayerGrowth.merge`` of rows ``row_begin`` to ``row_end``."""
        arrays = ("pointers", "indices", "values", "master", "momentum", "shift")
        self._require_rows_to_grow(values, *arrays)
        self._require_row(values, values["row_begin"] == self._growth.merged and values["row_end"] <= self._growth.rows)
        rows = max(0, values["row_end"] - values["row_begin"])
        if not rows:
            return
        pointers, indices = self._rows(values, rows)
        first, types = int(pointers[0]), self._types(values)
        entries = {
            what: self._read(values[what] + first * dtype.itemsize, indices.size, dtype)
            for what, dtype in types.items()
        }
        merged = self._growth.merge(
            self._rows_to_grow(values, pointers, indices), entries["master"], entries["momentum"], entries["values"]
        )
        shift = values["shift"]
        # The last row is the only one whose end does not begin another.
        ends = merged.pointers if not self._growth.rows else merged.pointers[:-1]
        self._write(values["pointers"] + shift + 4 * values["row_begin"], ends.astype("<u4"))
        for what, dtype in types.items():
            address = values[what] + shift + int(merged.pointers[0]) * dtype.itemsize
            self._write(address, getattr(merged, what).astype(dtype))

    def _require_rows_to_grow(self, values: dict[str, int], *arrays: str) -> None:
        self._require_unstructured("growth")
        self._require_bf16("growth")
        self._require_seed(values, "random")
        candidates = () if values["random"] else ("candidate_stride", "candidates")
        self._require_beats(values, *candidates, *reversed(arrays))
        if values["inner_size"] > self._structure.columns:
            self._refuse(values, f"inner_size {values['inner_size']} of {self._structure.columns}")

    def _require_row(self, values: dict[str, int], follows: bool) -> None:
        if not follows:
            known = f"of {self._growth.rows} rows surveyed, {self._growth.merged} have been merged"
            self._refuse(values, f"rows {values['row_begin']} to {values['row_end']}, but {known}")

    def _refuse(self, values: dict[str, int], detail: str) -> None:
        raise CommandFault(ErrorCode.COMMAND_RANGE, address=values["indices"], source=_SOURCE, detail=detail)

    def _rows(self, values: dict[str, int], rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Pointers and indices of rows, checked."""
        pointers = self._pointers(values, rows)
        first, dtype = int(pointers[0]), self._types(values)["indices"]
        indices = self._read(values["indices"] + first * dtype.itemsize, int(pointers[-1]) - first, dtype)
        self._require_indices(values, pointers - first, indices, row_begin=values["row_begin"])
        return pointers, indices

    def _rows_to_grow(self, values: dict[str, int], pointers: np.ndarray, indices: np.ndarray) -> Rows:
        limit = min(values["inner_size"], values["protected_from"])
        candidates = self._candidates(values, pointers.size - 1)
        return Rows(pointers - pointers[0], indices, limit, candidates=candidates, seed=values["seed"])

    def _candidates(self, values: dict[str, int], rows: int) -> np.ndarray | None:
        """The gradients of rows, as far as columns may grow; None where growth is random."""
        if values["random"]:
            return None
        limit = min(values["inner_size"], values["protected_from"])
        addresses = values["candidates"] + np.arange(rows) * values["candidate_stride"]
        read = [self._read(address, limit, _FLOAT32) for address in addresses.tolist()]
        return np.array(read, dtype=np.float32).reshape(rows, limit)

    def _selected(self, values: dict[str, int], rows: int) -> np.ndarray | None:
        """Which candidates of rows are wanted; None where growth is random."""
        if values["random"]:
            return None
        limit = min(values["inner_size"], values["protected_from"])
        count = len(range(0, limit, 1 << values["candidate_shift"]))
        size = candidate_row_bits(count) // 8
        bits = self._read(values["candidates"], rows * size, np.dtype(np.uint8)).reshape(rows, size)
        return np.unpackbits(bits, axis=1, count=count, bitorder="little").astype(np.bool_)

    def _layer_fault(self, pointers: np.ndarray) -> tuple[int, ErrorCode] | None:
        """Number of the first pointer of a layer that is wrong, and in what way; None where all are right."""
        falls = np.diff(pointers, prepend=0) < 0
        outside = (pointers > pointers[-1]) | (np.arange(pointers.size) == 0) & (pointers != 0)
        bad = np.flatnonzero(falls | outside)
        if not bad.size:
            return None
        place = int(bad[0])
        return place, ErrorCode.POINTER_ORDER if falls[place] else ErrorCode.POINTER_RANGE

    def _types(self, values: dict[str, int]) -> dict[str, np.dtype]:
        """How the arrays of entries are stored."""
        index_type = np.dtype("<u2" if values["index_size"] == IndexSize.UINT16 else "<u4")
        return {"indices": index_type, "master": _FLOAT32, "momentum": _FLOAT32, "values": _BFLOAT16}

    def _pointers(self, values: dict[str, int], rows: int) -> np.ndarray:
        """Where rows begin, and where the last one ends."""
        address = values["pointers"] + 4 * values["row_begin"]
        pointers = self._read(address, rows + 1, np.dtype("<u4")).astype(np.int64)
        bad = np.flatnonzero(np.diff(pointers) < 0)
        if bad.size:
            row = int(bad[0])
            raise CommandFault(
                ErrorCode.POINTER_ORDER,
                row=values["row_begin"] + row,
                index=int(pointers[row + 1]),
                source=_SOURCE,
                detail=f"the pointer before it is {int(pointers[row])}",
            )
        return pointers

    def _require_indices(
        self, values: dict[str, int], pointers: np.ndarray, indices: np.ndarray, *, row_begin: int
    ) -> None:
        bad = np.flatnonzero(indices >= values["inner_size"])
        if bad.size:
            entry = int(bad[0])
            raise CommandFault(
                ErrorCode.INDEX_RANGE,
                row=row_begin + int(np.searchsorted(pointers, entry, side="right")) - 1,
                index=int(indices[entry]),
                source=_SOURCE,
                detail=f"the inner size is {values['inner_size']}",
            )

    def _require_bf16(self, what: str) -> None:
        format = self._config.lane.format
        narrows = self._config.lane.number_format.narrows
        self._checks.require(narrows, f"{what} needs weights in bf16, not in {format}")

    def _require_unstructured(self, what: str) -> None:
        self._checks.require(self._structure.unstructured, f"{what} anywhere in a layer is not built")

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
