"""Modules that are generated once and instantiated many times.

Amaranth emits a module per instance. A fabric of 64 equal lanes would give 64 copies of the same text, and synthesis
and Verilator would compile each of them. A ``ModuleLibrary`` gives every distinct component one module; ``place``
makes an instance of it. Without a library (in Amaranth's own simulator, or in formal proofs) ``place`` adds a plain
submodule.
"""

import re
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import (
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetInserter,
    ResetSignal,
    Value,
    ValueCastable,
    ValueLike,
)
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["ModuleLibrary", "place", "port_map"]

_ALWAYS_ASSIGNMENT = re.compile(r"^ *always @\*\s+(?!begin\b)(\S[^=;]*?) = ([^;]*);", re.MULTILINE)
_CONSTANT = re.compile(r"[0-9]*'s?[bodh][0-9a-fxz?_]+")
_NAME = re.compile(r"[A-Za-z_\\$]")


def port_map(component: wiring.Component) -> dict[str, tuple[Value, bool]]:
    """Ports by name, each with its value and whether it is an input; ``m_axi.araddr`` is called ``m_axi_araddr``."""
    ports = {}
    for path, member, value in component.signature.flatten(component):
        name = "_".join(map(str, path))
        if name in ports:
            raise ValueError(f"two ports of {type(component).__name__} are called {name!r}")
        ports[name] = (value.as_value() if isinstance(value, ValueCastable) else value, member.flow == In)
    return ports


class ModuleLibrary:
    """Collects the distinct modules of a design as Verilog.

    A component class takes part by ``place``. Two components are the same module when they have the same class and the
    same constructor arguments, given to ``place`` as ``key``.
    """

    def __init__(self) -> None:
        self._modules: dict[Any, tuple[str, str]] = {}
        self._shapes: dict[str, dict[str, tuple[int, bool]]] = {}

    def module_name(self, component: wiring.Component, key: tuple) -> str:
        """Name of the module of ``component``, which is generated when it is new.

        Raises
        ------
        ValueError
            If ``key`` is that of a component with other ports, so that it leaves out an argument that matters.
        """
        identity = (type(component), key)
        shape = {port: (len(value), is_input) for port, (value, is_input) in port_map(component).items()}
        if identity not in self._modules:
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(component).__name__)
            base = f"acf_{words.lower()}"
            taken = {name for name, _ in self._modules.values()}
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}_{number}"
            self._modules[identity] = (name, "")  # reserved before its submodules ask for names
            self._modules[identity] = (name, convert(component, name=name))
            self._shapes[name] = shape
            return name
        name, _ = self._modules[identity]
        if self._shapes.get(name) != shape:
            raise ValueError(f"key {key!r} stands for two {type(component).__name__} with different ports")
        _mark_used(component)
        return name

    def module_ports(self, name: str) -> set[str]:
        """Port names of the module called ``name``, clock and reset included."""
        text = next(text for module, text in self._modules.values() if module == name)
        header = re.search(rf"^module {re.escape(name)}\((.*?)\);", text, re.MULTILINE | re.DOTALL)
        if header is None:
            raise ValueError(f"the Verilog of module {name!r} has no header")
        return {port.strip().lstrip("\\") for port in header.group(1).split(",")}

    def verilog(self) -> str:
        """The text of all modules."""
        return "\n".join(text for _, text in self._modules.values())


def _mark_used(thing: Any) -> None:
    # Only the first of equal components is elaborated. Amaranth warns of elaboratables that are not, which would hide
    # those that were forgotten.
    if isinstance(thing, Elaboratable):
        if not getattr(thing, "_MustUse__used", True):
            thing._MustUse__used = True
            _mark_used(list(vars(thing).values()))
    elif isinstance(thing, list | tuple):
        for item in thing:
            _mark_used(item)
    elif isinstance(thing, dict):
        _mark_used(list(thing.values()))


def convert(component: wiring.Component, *, name: str) -> str:
    """Verilog of one component (without the modules of its library), submodule names made unique by ``name``.

    Raises
    ------
    ValueError
        If part of a signal is constant and another part is assigned under a condition. The constant part becomes an
        ``always @*`` that reads nothing, and so never runs in simulators that wait for a change.
    """
    ports = {
        port: (value, PortDirection.Input if is_input else PortDirection.Output)
        for port, (value, is_input) in port_map(component).items()
    }
    text = verilog.convert(component, name=name, ports=ports, emit_src=False, strip_internal_attrs=True)
    for target, value in _ALWAYS_ASSIGNMENT.findall(text):
        if not _NAME.search(_CONSTANT.sub("", value)):
            raise ValueError(
                f"{target} of {name} is {value} in a process of its own, which never runs in some simulators; "
                "assign a signal of its own to the part that is not constant, or choose its value by Mux"
            )
    return text


def place(
    m: Module,
    name: str,
    component: wiring.Component,
    *,
    library: ModuleLibrary | None,
    key: tuple,
    reset: ValueLike | None = None,
) -> None:
    """Add ``component`` to ``m`` as submodule ``name``.

    Parameters
    ----------
    m : Module
    name : str
        Name of the instance.
    component : wiring.Component
        Wired by the caller through its ports, as any submodule.
    library : ModuleLibrary or None
        None adds a plain submodule.
    key : tuple
        Constructor arguments that make the module what it is; hashable.
    reset : Value or None
        Synchronous reset beside that of the ``sync`` domain.
    """
    if library is None:
        m.submodules[name] = component if reset is None else ResetInserter(reset)(component)
        return
    module = library.module_name(component, key)
    module_ports = library.module_ports(module)
    connections: dict[str, Any] = {
        ("i_" if is_input else "o_") + port: value for port, (value, is_input) in port_map(component).items()
    }
    # A module without registers has neither clock nor reset.
    if "clk" in module_ports:
        connections["i_clk"] = ClockSignal()
    if "rst" in module_ports:
        connections["i_rst"] = ResetSignal() if reset is None else ResetSignal() | reset
    m.submodules[name] = Instance(module, **connections)
