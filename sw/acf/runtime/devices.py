"""Opens devices by name."""

from typing import TYPE_CHECKING, Any

from acf.config import FabricConfig
from acf.runtime.device import Device
from acf.runtime.golden_device import GoldenDevice

if TYPE_CHECKING:
    from acf.sim.memory_timing import MemoryTiming

__all__ = ["DEVICES", "open_device"]

DEVICES = ("golden", "rtl", "serial")

_TOP = "acf_fabric_top"


def open_device(
    name: str,
    config: FabricConfig,
    *,
    memory_bytes: int = 1 << 26,
    timing: "MemoryTiming | None" = None,
    port: str | None = None,
    **options: Any,
) -> Device:
    """The device called ``name``.

    Parameters
    ----------
    name : str
        ``golden``: the interpreter of commands, no timing. ``rtl``: the Verilated fabric. ``serial``: a board.
    config : FabricConfig
    memory_bytes : int
        Size of the memory.
    timing : acf.sim.memory_timing.MemoryTiming or None
        How fast the memory is; only for ``rtl``.
    port : str or None
        Serial port of the board; only for ``serial``, which needs it.
    **options
        Others of ``acf.sim.rtl_device.RtlDevice`` or ``acf.runtime.serial_device.SerialDevice``.

    Raises
    ------
    ValueError
        If there is none of that name, or it has no such option, or a board is of another configuration.
    OSError
        If a port cannot be opened.
    RuntimeError
        If a simulator does not build, or no board answers.
    """
    if port is not None and name != "serial":
        raise ValueError(f"the {name} device has no port, so {port!r} means nothing to it")
    if name == "golden":
        if timing is not None or options:
            raise ValueError(f"the golden device has no time and no option {next(iter(options), 'timing')!r}")
        return GoldenDevice(config, memory_bytes=memory_bytes)
    if name == "rtl":
        # Only here, so that what needs no simulator works without a compiler, and does not wait for Amaranth.
        from acf.hw.blocks import generate
        from acf.sim.rtl_device import RtlDevice
        from acf.sim.verilog_store import stored_verilog

        verilog = stored_verilog(f"{_TOP}-{config.digest}", lambda: generate("fabric", config=config, top=_TOP))
        return RtlDevice(config, verilog=verilog, top=_TOP, memory_bytes=memory_bytes, timing=timing, **options)
    if name == "serial":
        from acf.runtime.serial_device import SerialDevice

        if port is None:
            raise ValueError("the serial device needs the port of its board: --port PATH")
        if timing is not None:
            raise ValueError("the memory of the serial device is as fast as it is; it takes no timing")
        return SerialDevice(config, port=port, memory_bytes=memory_bytes, **options)
    raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {name!r}")
