"""Measures the points of a grid on a device, one record each, and keeps the records in a file as it goes."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acf.grid.points import Layer, Point
from acf.runtime.device import Device
from acf.runtime.matrices import CsrMatrix
from acf.runtime.measure import measure_product, random_operands

__all__ = ["Conditions", "append_record", "measure_points", "read_records"]

Record = dict[str, Any]

# What makes two measurements the same.
_IDENTITY = (
    "product", "pattern", "matrix", "rows", "inner", "columns", "weight_entries", "asked_weight_density",
    "asked_operand_density", "device", "verilog", "config_digest", "seed", "memory_latency", "bytes_per_cycle",
)  # fmt: skip
_DENSE = ("dense_cycles", "dense_utilization", "dense_lane_cycles", "dense_bytes_read", "dense_bytes_written")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What all points of a grid have in common.

    Parameters
    ----------
    device : str
    verilog : str or None
        Digest of what the device was built from, if it was built.
    config_digest : str
    format : str
    seed : int
    memory_latency : int or None
    bytes_per_cycle : float or None
    """

    device: str
    verilog: str | None
    config_digest: str
    format: str
    seed: int
    memory_latency: int | None
    bytes_per_cycle: float | None

    def describe(self, point: Point) -> Record:
        """What a record says of its point beside the measurement."""
        layer = point.layer
        return {
            "device": self.device,
            "verilog": self.verilog,
            "pattern": None if layer.pattern is None else str(layer.pattern),
            "matrix": None if layer.path is None else str(layer.path),
            "asked_weight_density": layer.density,
            "asked_operand_density": point.operand_density,
            "seed": self.seed,
            "memory_latency": self.memory_latency,
            "bytes_per_cycle": self.bytes_per_cycle,
        }

    def identity(self, point: Point) -> tuple:
        """Equal to ``_identity`` of the record of that point."""
        layer = point.layer
        return _identity({
            **self.describe(point), "product": point.product, "rows": layer.rows, "inner": layer.inner,
            "columns": point.columns, "weight_entries": layer.entries, "config_digest": self.config_digest,
        })  # fmt: skip


def measure_points(
    points: Iterable[Point],
    device: Device,
    conditions: Conditions,
    *,
    kept: Sequence[Record] = (),
    dense_cycles: bool = False,
    progress: Callable[[Point, str], None] = lambda point, text: None,
) -> Iterator[tuple[Record, bool]]:
    """The record of each point in turn, and whether it was measured now.

    Parameters
    ----------
    points : iterable of Point
        Fastest if all of a layer follow each other.
    device : Device
        With enough memory for all.
    conditions : Conditions
    kept : sequence of dict
        Records of earlier runs; those that are of the same measurement are taken.
    dense_cycles : bool
        Run without skipping too, once for each product and shape: nothing depends on the numbers then.
    progress : callable
        Is told what begins.
    """
    earlier = {_identity(record): record for record in kept}
    without_skipping: dict[tuple, Record] = {}
    drawn: tuple[Layer, CsrMatrix] | None = None
    for point in points:
        shape = (point.product, point.layer.rows, point.layer.inner, point.columns)
        record = earlier.get(conditions.identity(point))
        run_dense = dense_cycles and shape not in without_skipping
        measured_now = record is None or (run_dense and record["dense_cycles"] is None)
        if measured_now:
            if drawn is None or drawn[0] is not point.layer:
                drawn = point.layer, point.layer.weights(seed=conditions.seed, format=conditions.format)
            record = _measure(point, drawn[1], device, conditions, run_dense, progress)
        assert record is not None
        if record["dense_cycles"] is not None:
            without_skipping.setdefault(shape, {name: record[name] for name in _DENSE})
        elif dense_cycles:
            record |= without_skipping[shape]
            record["speedup"] = record["dense_cycles"] / record["cycles"]
        yield record, measured_now


def _measure(
    point: Point,
    weights: CsrMatrix,
    device: Device,
    conditions: Conditions,
    run_dense: bool,
    progress: Callable[[Point, str], None],
) -> Record:
    operands = random_operands(
        point.product, weights, columns=point.columns, density=point.operand_density, seed=conditions.seed
    )
    measured = measure_product(
        point.product,
        device,
        weights,
        operands,
        without_skipping=run_dense,
        progress=lambda text: progress(point, text),
    )
    report = measured.report(bytes_per_cycle=conditions.bytes_per_cycle)
    del report["units"]  # the same for all
    return {**conditions.describe(point), **report}


def _identity(record: Record) -> tuple:
    return tuple(record.get(name) for name in _IDENTITY)


def append_record(path: Path, record: Record) -> None:
    """Add a line to a file of records."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_records(path: Path) -> list[Record]:
    """The records of a file; a last line that was cut off when its writer was ended is left out, there too.

    Raises
    ------
    ValueError
        If another line is no record.
    """
    text = path.read_text()
    whole, _, rest = text.rpartition("\n")
    if rest:
        path.write_text(whole + "\n" if whole else "")
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not {"product", "cycles", "dense_cycles"} <= record.keys():
            raise ValueError(f"{path}: line {number} is no record of a grid")
        records.append(record)
    return records
