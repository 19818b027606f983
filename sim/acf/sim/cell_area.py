"""What a block costs in cells of a liberty library: synthesis by Yosys, counted per module.

Large memories are kept out of the cells: they would be SRAM macros, whose area is counted by the bit. All others are
flip-flops and gates.
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

from acf.sim.area import AreaReport, hierarchical_report, known_counts
from acf.sim.yosys import kept_apart, named_modules, run_yosys, scratch_folder

__all__ = ["SRAM_FROM", "SramMacro", "synthesize_cells"]

SRAM_FROM = 2048
"""Bits of the smallest memory that is kept out, unless told otherwise."""

_TITLES = {"area": "cell area", "sequential": "flip-flops'", "sram_bits": "SRAM bits"}
_TITLES_WITH_MACRO = {**_TITLES, "sram_area": "SRAM area", "total_area": "area"}


@dataclass(frozen=True, kw_only=True)
class SramMacro:
    """A memory of a technology, for the area of a bit.

    Parameters
    ----------
    name : str
    area : float
        Of the whole macro, in the unit of the library.
    bits : int
        That it holds.
    """

    name: str
    area: float
    bits: int

    @classmethod
    def parse(cls, text: str) -> "SramMacro":
        """A macro written as ``NAME:AREA:BITS``.

        Raises
        ------
        ValueError
            If it is written otherwise, or area or bits are not positive.
        """
        name, *numbers = text.split(":")
        try:
            area, bits = float(numbers[0]), int(numbers[1])
        except (ValueError, IndexError):
            area, bits = 0.0, 0
        if not name or len(numbers) != 2 or not (0 < area < math.inf and bits > 0):
            raise ValueError(f"an SRAM macro must be written as NAME:AREA:BITS, both positive, not {text!r}")
        return cls(name=name, area=area, bits=bits)

    @property
    def area_per_bit(self) -> float:
        """In the unit of the library."""
        return self.area / self.bits


def synthesize_cells(
    verilog: str,
    *,
    top: str,
    library: Path,
    macro: SramMacro | None = None,
    sram_from: int = SRAM_FROM,
    known: AreaReport | None = None,
) -> AreaReport:
    """Synthesize Verilog text into the cells of a library, and add their areas in each module.

    Resources are ``area``, that of the cells; ``sequential``, that of the flip-flops among them; ``sram_bits``, the
    bits of memories kept out; and with a macro ``sram_area`` and ``total_area``.

    Parameters
    ----------
    verilog : str
        The design, all its modules included.
    top : str
        Name of the top module.
    library : Path
        A liberty file with cells of one output: a buffer, an inverter, gates, a flip-flop.
    macro : SramMacro or None
        Gives the area of a bit.
    sram_from : int
        Bits of the smallest memory that is kept out.
    known : AreaReport or None
        As for ``acf.sim.area.synthesize``.

    Raises
    ------
    FileNotFoundError
        If there is no such library.
    ValueError
        If ``sram_from`` is not positive, the file is no library, or the text has no module called ``top``.
    RuntimeError
        If Yosys fails, or the library lacks a cell that is needed.
    """
    if sram_from <= 0:
        raise ValueError(f"memories are kept out from a positive number of bits on, not {sram_from!r}")
    cells_text = _library_text(library)
    kept = [name for name in named_modules(verilog, top=top) if name != top]
    begin = time.monotonic()
    boxes = known_counts(known)
    with scratch_folder() as folder:
        (folder / "cells.lib").write_text(cells_text)
        (folder / "design.v").write_text(verilog)
        memories = _coarse(folder, top=top, kept=kept, boxes=list(boxes))
        macros = [(module, name) for (module, name), bits in memories.items() if bits >= sram_from]
        statistics = _map(folder, top=top, macros=macros)
    seconds = time.monotonic() - begin

    found = {name.lstrip("\\"): module for name, module in statistics["modules"].items()}
    cells = {name: module.get("num_cells_by_type", {}) for name, module in found.items() if name not in boxes}
    counts = dict(boxes)
    for name, types in cells.items():
        places = [place for place in macros if place[0] == name]
        unknown = {kind for kind in types if kind.startswith("$")} - {"$scopeinfo"}
        if types.get("$mem_v2") == len(places):
            unknown.remove("$mem_v2")
        if unknown:
            raise RuntimeError(f"module {name} has cells that {library.name} has not: {', '.join(sorted(unknown))}")
        bits = sum(memories[place] for place in places)
        cell_area = _own(found, cells, name, "area")
        own = {"area": cell_area, "sequential": _own(found, cells, name, "sequential_area"), "sram_bits": bits}
        if macro is not None:
            sram_area = bits * macro.area_per_bit
            own |= {"sram_area": sram_area, "total_area": cell_area + sram_area}
        counts[name] = own
    return hierarchical_report(
        counts,
        cells,
        top=top,
        statistics=statistics,
        seconds=seconds,
        known=known,
        titles=_TITLES if macro is None else _TITLES_WITH_MACRO,
        logic="area",
    )


def _own(found: dict[str, dict], cells: dict[str, dict[str, int]], name: str, area: str) -> float:
    """An area of a module without the modules in it; Yosys tells it with them."""
    below = sum(number * found[kind].get(area, 0.0) for kind, number in cells[name].items() if kind in cells)
    return found[name].get(area, 0.0) - below


def _library_text(library: Path) -> str:
    if not library.is_file():
        raise FileNotFoundError(f"there is no liberty library {str(library)!r}")
    try:
        text = library.read_text()
    except UnicodeDecodeError:
        text = ""
    if "library" not in text:
        raise ValueError(f"{str(library)!r} is no liberty library")
    return text


def _coarse(folder: Path, *, top: str, kept: list[str], boxes: list[str]) -> dict[tuple[str, str], int]:
    """Synthesize as far as memories are still whole; returns their bits by module and cell."""
    script = [
        "read_verilog -sv design.v",
        *(f"blackbox {name}" for name in boxes),
        *kept_apart(kept),
        f"synth -flatten -top {top} -run begin:fine",
        "write_rtlil coarse.il",
        "select t:$mem_v2",
        "write_json -selected memories.json",
    ]
    run_yosys(folder, script, doing=f"synthesize {top}")
    found = json.loads((folder / "memories.json").read_text())["modules"]
    return {
        (module, name): int(cell["parameters"]["SIZE"], 2) * int(cell["parameters"]["WIDTH"], 2)
        for module, content in found.items()
        for name, cell in content["cells"].items()
        if cell["type"] == "$mem_v2"
    }


def _map(folder: Path, *, top: str, macros: list[tuple[str, str]]) -> dict:
    """Map all but ``macros`` to the cells of the library; returns Yosys' statistics."""
    (folder / "macros.txt").write_text("".join(f"{module}/{name}\n" for module, name in macros))
    script = [
        "read_rtlil coarse.il",
        *(["select -set macros -read macros.txt"] if macros else []),
        "opt -fast -full",
        "memory_map t:$mem_v2 @macros %d" if macros else "memory_map",
        "opt -undriven -fine",
        "techmap",
        "opt -fast",
        "dfflibmap -liberty cells.lib",
        "opt -fast",
        "abc -liberty cells.lib",
        "opt_clean",
        "tee -q -o statistics.json stat -json -liberty cells.lib",
    ]
    run_yosys(folder, script, doing=f"synthesize {top}")
    return json.loads((folder / "statistics.json").read_text())
