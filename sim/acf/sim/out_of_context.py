"""Prepares the netlist of a block for place and route without the rest of the fabric.

A block has more ports than a package has pins. So every input but clock and reset comes from a register of its own, as
if a neighbour had it in a register, and every output goes to one. The registers of the inputs form a shift register
from one pin, those of the outputs drive nothing. Paths from and to ports count like any other path; only the reset
comes straight from a pin and counts nowhere, since it may be held as long as it takes.
"""

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Names", "add_port_registers"]

_CLOCK, _RESET = "clk", "rst"
_INPUT, _OUTPUT = "input port ", "output port "
_DATA_PIN = "shift_in"


def add_port_registers(netlist: dict[str, Any], *, top: str) -> int:
    """Replace the ports of ``top``, in place, by registers and the pins ``clk``, ``rst`` and ``shift_in``.

    Parameters
    ----------
    netlist : dict
        As Yosys writes it by ``write_json``, mapped to ECP5.
    top : str

    Returns
    -------
    int
        Registers that were added.
    """
    module = netlist["modules"][top]
    ports = module["ports"]
    bits = [bit for net in module["netnames"].values() for bit in net["bits"] if isinstance(bit, int)]
    bits += [bit for port in ports.values() for bit in port["bits"] if isinstance(bit, int)]
    fresh = max(bits, default=1) + 1
    pins = {name: ports[name] for name in (_CLOCK, _RESET) if name in ports}
    if _CLOCK not in pins:  # a block without registers
        pins[_CLOCK] = {"direction": "input", "bits": [fresh]}
        fresh += 1
    pins[_DATA_PIN] = {"direction": "input", "bits": [fresh]}
    clock, previous = pins[_CLOCK]["bits"][0], fresh
    added = 0
    for name, port in ports.items():
        if name in pins:
            continue
        for number, bit in enumerate(port["bits"]):
            if not isinstance(bit, int):  # an output that is constant
                continue
            label = f"{name}[{number}]" if len(port["bits"]) > 1 else name
            if port["direction"] == "input":
                module["cells"][_INPUT + label] = _register(clock, previous, bit)
                previous = bit
            else:
                fresh += 1
                module["cells"][_OUTPUT + label] = _register(clock, bit, fresh)
            added += 1
    module["ports"] = pins
    return added


def _register(clock: int, data: int, output: int) -> dict[str, Any]:
    # A string of digits would be read as a number without the space.
    return {
        "hide_name": 0,
        "type": "TRELLIS_FF",
        "parameters": {"GSR": "DISABLED", "CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"},
        "attributes": {},
        "port_directions": {"CLK": "input", "DI": "input", "Q": "output"},
        "connections": {"CLK": [clock], "DI": [data], "Q": [output]},
    }


# Yosys names a cell after a signal nearby: `sum_TRELLIS_FF_Q_3_DI_LUT4_Z` is in front of the registers of `sum`.
_CELL = re.compile(r"_(?:TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21|MULT18X18D|TRELLIS_DPR16X4|DP16KD|PDPW16KD)(?:_|\$|$)")


@dataclass(frozen=True)
class Names:
    """What the cells of a flattened netlist are called in the design.

    Parameters
    ----------
    modules : dict
        Module of each instance path below the top module, and of the top module, whose path is empty.
    """

    modules: dict[str, str]

    @classmethod
    def of_netlist(cls, netlist: dict[str, Any], *, top: str) -> "Names":
        """From the notes that Yosys leaves where it has flattened a module."""
        cells = netlist["modules"][top]["cells"].items()
        modules = {
            name: cell["attributes"].get("module", "").lstrip("\\")
            for name, cell in cells
            if cell["type"] == "$scopeinfo"
        }
        return cls({"": top, **modules})

    def find(self, cell: str) -> tuple[str, str]:
        """Path of the instance that a cell lies in, and the signal next to it.

        For a register of ``add_port_registers`` the path is ``input port`` or ``output port``.
        """
        for kind in (_INPUT, _OUTPUT):
            if cell.startswith(kind):
                return kind.strip(), cell.removeprefix(kind)
        signal = _CELL.split(cell)[0]
        path = signal
        while "." in path:
            path = path.rpartition(".")[0]
            if path in self.modules:
                return path, signal.removeprefix(path + ".")
        return "", signal
