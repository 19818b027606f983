"""What a block costs in silicon: synthesis by Yosys, counted per module.

Modules that a design instantiates by name are synthesized once each and multiplied by their number; modules inside
one of them (those with a dot in their name) are flattened into it. So the total of a block is the sum of its modules as
they are, without optimization across their borders: the cost of two blocks can be compared part by part.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field, replace

from acf.sim.yosys import kept_apart, named_modules, run_yosys, scratch_folder

__all__ = [
    "RESOURCES",
    "TECHNOLOGIES",
    "AreaReport",
    "ModuleArea",
    "count_resources",
    "hierarchical_report",
    "known_counts",
    "synthesize",
]

RESOURCES: dict[str, tuple[str, dict[str, int]]] = {
    "comb": ("COMB", {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}),
    "lut4": ("LUT4", {"LUT4": 1}),
    "carry": ("carry", {"CCU2C": 1}),
    "lut_ram": ("LUT RAM", {"TRELLIS_DPR16X4": 1}),
    "mux": ("mux", {"PFUMX": 1, "L6MUX21": 1}),
    "ff": ("FF", {"TRELLIS_FF": 1}),
    "dsp": ("DSP", {"MULT18X18D": 1}),
    "bram": ("BRAM", {"DP16KD": 1, "PDPW16KD": 1}),
}
"""What is counted, by name: its title, and how much of it each ECP5 cell takes.

``comb`` is what place and route calls COMB: LUT slots, those of carry chains (2 a cell) and LUT RAMs (4 a cell) too.
"""

TECHNOLOGIES = ("ecp5",)
"""Names of the technologies that ``synthesize`` knows."""

# Cells that cost nothing: constants, and notes on where a flattened module was.
_FREE_CELLS = {"VLO", "VHI", "$scopeinfo"}


@dataclass(frozen=True)
class ModuleArea:
    """Cost of one module, the modules it instantiates excepted.

    Parameters
    ----------
    name : str
    instances : int
        How often it stands in the whole block.
    counts : dict
        How much of each resource is in one instance.
    """

    name: str
    instances: int
    counts: Mapping[str, float]


@dataclass(frozen=True)
class AreaReport:
    """Cost of a block.

    Parameters
    ----------
    modules : tuple of ModuleArea
        The top module first, then those that cost most, all instances together.
    tool : str
        Name and version of the synthesizer.
    seconds : float
        How long it took.
    titles : dict
        Resources by name, each with its title.
    logic : str
        The resource that stands for logic as a whole.
    children : dict
        Modules directly below each module, with their number.
    """

    modules: tuple[ModuleArea, ...]
    tool: str
    seconds: float
    titles: dict[str, str] = field(default_factory=lambda: {name: title for name, (title, _) in RESOURCES.items()})
    logic: str = "comb"
    children: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def total(self) -> dict[str, float]:
        """How much of each resource is in the block, all instances together."""
        return {name: sum(module.instances * module.counts[name] for module in self.modules) for name in self.titles}

    def only(self, names: Set[str]) -> "AreaReport":
        """The report of some modules."""
        return replace(self, modules=tuple(module for module in self.modules if module.name in names))

    def as_dict(self) -> dict:
        """Total and modules as plain data, for reports."""
        return {"total": self.total, "modules": [asdict(module) for module in self.modules]}


def synthesize(verilog: str, *, top: str, technology: str = "ecp5", known: AreaReport | None = None) -> AreaReport:
    """Synthesize Verilog text and count what each module takes.

    Parameters
    ----------
    verilog : str
        The design, all its modules included.
    top : str
        Name of the top module.
    technology : str
        One of ``TECHNOLOGIES``.
    known : AreaReport or None
        Of this technology, of modules that are the same, with all that is in them: they are not synthesized again.

    Raises
    ------
    ValueError
        If the technology is unknown, or the text has no module called ``top``.
    RuntimeError
        If Yosys fails, or leaves a cell that the technology does not have.
    """
    if technology not in TECHNOLOGIES:
        raise ValueError(f"technology must be one of {', '.join(TECHNOLOGIES)}, not {technology!r}")
    named = named_modules(verilog, top=top)
    begin = time.monotonic()
    boxes = known_counts(known)
    statistics = _statistics(verilog, top=top, kept=[name for name in named if name != top], boxes=list(boxes))
    seconds = time.monotonic() - begin

    cells = {
        name: found.get("num_cells_by_type", {})
        for name, found in ((name.lstrip("\\"), found) for name, found in statistics["modules"].items())
        if name not in boxes
    }
    counts = {name: count_resources(name, types, {*cells, *boxes}) for name, types in cells.items()}
    return hierarchical_report({**counts, **boxes}, cells, top=top, statistics=statistics, seconds=seconds, known=known)


def known_counts(known: AreaReport | None) -> dict[str, Mapping[str, float]]:
    """Counts of the modules of a report, by name; of none without one."""
    return {} if known is None else {module.name: module.counts for module in known.modules}


def hierarchical_report(
    counts: Mapping[str, Mapping[str, float]],
    cells: Mapping[str, Mapping[str, int]],
    *,
    top: str,
    statistics: dict,
    seconds: float,
    known: AreaReport | None,
    titles: dict[str, str] | None = None,
    logic: str = "comb",
) -> AreaReport:
    """The report of a design.

    Parameters
    ----------
    counts : dict
        Of each module.
    cells : dict
        Cells of each module that was synthesized, by type.
    top : str
    statistics : dict
        Of Yosys, which names itself in it.
    seconds : float
    known : AreaReport or None
        Of the other modules.
    titles : dict or None
        Those of ``RESOURCES`` when None.
    logic : str
    """
    children = {} if known is None else dict(known.children)
    for name, types in cells.items():
        children[name] = {kind: number for kind, number in types.items() if kind in counts}
    modules = [
        ModuleArea(name=name, instances=number, counts=counts[name])
        for name, number in _instances(children, top).items()
    ]
    modules.sort(key=lambda module: (module.name != top, -module.instances * module.counts[logic], module.name))
    return AreaReport(
        modules=tuple(modules),
        tool=" ".join(statistics["creator"].split()[:2]),
        seconds=seconds,
        titles={name: title for name, (title, _) in RESOURCES.items()} if titles is None else titles,
        logic=logic,
        children=children,
    )


def _statistics(verilog: str, *, top: str, kept: list[str], boxes: list[str]) -> dict:
    script = [
        "read_verilog -sv design.v",
        *(f"blackbox {name}" for name in boxes),
        *kept_apart(kept),
        f"synth_ecp5 -top {top}",
        "tee -q -o statistics.json stat -json",
    ]
    with scratch_folder() as folder:
        (folder / "design.v").write_text(verilog)
        run_yosys(folder, script, doing=f"synthesize {top}")
        return json.loads((folder / "statistics.json").read_text())


def _instances(children: Mapping[str, Mapping[str, int]], top: str) -> Counter[str]:
    """How often each module stands below ``top``, itself included."""
    total: Counter[str] = Counter()

    def visit(name: str, times: int) -> None:
        total[name] += times
        for child, number in children[name].items():
            visit(child, times * number)

    visit(top, 1)
    return total


def count_resources(name: str, cells: dict[str, int], modules: Set[str] = frozenset()) -> dict[str, int]:
    """Number of each of ``RESOURCES`` in the cells of a module, those that are ``modules`` excepted.

    Raises
    ------
    RuntimeError
        If there is a cell that the technology does not have.
    """
    known = {cell for _, weights in RESOURCES.values() for cell in weights}
    unknown = set(cells) - known - _FREE_CELLS - modules
    if unknown:
        raise RuntimeError(f"module {name} has cells that are not counted: {', '.join(sorted(unknown))}")
    return {
        resource: sum(cells.get(cell, 0) * weight for cell, weight in weights.items())
        for resource, (_, weights) in RESOURCES.items()
    }
