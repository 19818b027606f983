"""Networks alone, as Verilated RTL."""

from typing import TYPE_CHECKING

from acf.config import NetworkConfig

if TYPE_CHECKING:
    from acf.sim.noc_harness import NetworkHarness

__all__ = ["open_network"]

_TOP = "acf_noc_top"


def open_network(network: NetworkConfig, *, ordered: bool | None = None, quiet: bool = False) -> "NetworkHarness":
    """Simulate a network; its Verilog and its simulator are kept under ``build`` and used again.

    Parameters
    ----------
    network : NetworkConfig
    ordered : bool or None
        Whether packets of a flow must come in order; what ``network`` promises when None.
    quiet : bool
        No progress on standard error.

    Raises
    ------
    ValueError
        If packets of ``network`` could wait for each other for ever.
    BuildError
        If a tool fails.
    """
    from acf.hw.blocks import generate_network
    from acf.sim.noc_harness import NetworkHarness
    from acf.sim.verilog_store import stored_verilog

    verilog = stored_verilog(f"{_TOP}-{network.digest}", lambda: generate_network(network, top=_TOP))
    ordered = network.in_order if ordered is None else ordered
    return NetworkHarness(network, verilog=verilog, top=_TOP, ordered=ordered, quiet=quiet)
