"""AXI4 and AXI4-Lite as Amaranth signatures (AMBA AXI and ACE Protocol Specification, IHI 0022).

Only what the fabric uses: INCR bursts of full-width beats. Reads and writes are separate signatures, since most masters
need only one. Signal names are those of the specification, so that generated ports read ``m_axi_araddr``.
"""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig

__all__ = [
    "BURST_INCREMENT",
    "Response",
    "axi_lite_signature",
    "axi_read_signature",
    "axi_signature",
    "axi_write_signature",
    "beat_size",
]

BURST_INCREMENT = 0b01


class Response(enum.Enum, shape=2):
    """Values of RRESP and BRESP."""

    OKAY = 0b00
    EXOKAY = 0b01
    SLVERR = 0b10
    DECERR = 0b11


def beat_size(*, memory: MemoryConfig) -> int:
    """The ARSIZE or AWSIZE of a full-width beat."""
    return exact_log2(memory.beat_bytes)


def axi_read_signature(*, memory: MemoryConfig, id_width: int | None = None) -> wiring.Signature:
    """Read channels (AR, R) seen from the master. ``id_width`` defaults to that of ``memory``."""
    id_width = memory.id_width if id_width is None else id_width
    return wiring.Signature(
        {
            "arid": Out(id_width),
            "araddr": Out(memory.address_width),
            "arlen": Out(8),
            "arsize": Out(3),
            "arburst": Out(2),
            "arvalid": Out(1),
            "arready": In(1),
            "rid": In(id_width),
            "rdata": In(memory.data_width),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi_write_signature(*, memory: MemoryConfig, id_width: int | None = None) -> wiring.Signature:
    """Write channels (AW, W, B) seen from the master. ``id_width`` defaults to that of ``memory``."""
    id_width = memory.id_width if id_width is None else id_width
    return wiring.Signature(
        {
            "awid": Out(id_width),
            "awaddr": Out(memory.address_width),
            "awlen": Out(8),
            "awsize": Out(3),
            "awburst": Out(2),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(memory.data_width),
            "wstrb": Out(memory.beat_bytes),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(id_width),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )


def axi_lite_signature(*, address_width: int = 12) -> wiring.Signature:
    """AXI4-Lite with 32-bit data, seen from the master."""
    return wiring.Signature(
        {
            "awaddr": Out(address_width),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_width),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi_signature(*, memory: MemoryConfig, id_width: int | None = None) -> wiring.Signature:
    """All five channels, seen from the master: a memory port."""
    read = axi_read_signature(memory=memory, id_width=id_width)
    write = axi_write_signature(memory=memory, id_width=id_width)
    return wiring.Signature({**dict(read.members), **dict(write.members)})
