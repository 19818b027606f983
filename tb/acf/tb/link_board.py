"""A small board for the link alone: memory, and registers that count what is done to them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from acf.config import MemoryConfig
from acf.hw.boards.block_memory import BlockMemory
from acf.hw.boards.endpoint import LinkEndpoint
from acf.hw.hierarchy import convert
from acf.hw.mem.axi import Response, axi_lite_signature

__all__ = ["CYCLES_PER_BIT", "MEMORY_BYTES", "REGISTERS", "TOUCHED", "LinkBoard", "link_board_verilog"]

MEMORY_BYTES = 4096
CYCLES_PER_BIT = 4

REGISTERS = 8
"""Registers that hold what is written, from address 0 on."""

TOUCHED = 4 * REGISTERS
"""Address of a register that counts the writes to it, and to all others. Those behind it are refused."""


class _Registers(wiring.Component):
    s_axil: In(axi_lite_signature())

    def elaborate(self, platform):
        m = Module()
        bus = self.s_axil
        values = [Signal(32, name=f"value_{n}") for n in range(REGISTERS)]
        touched = Signal(32)
        both = bus.awvalid & bus.wvalid & ~bus.bvalid
        m.d.comb += [bus.awready.eq(both), bus.wready.eq(both), bus.arready.eq(bus.arvalid & ~bus.rvalid)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(both):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(Response.SLVERR.value)]
            with m.If(bus.awaddr <= TOUCHED):
                m.d.sync += [bus.bresp.eq(Response.OKAY.value), touched.eq(touched + 1)]
            with m.Switch(bus.awaddr):
                for n, value in enumerate(values):
                    with m.Case(4 * n):
                        m.d.sync += value.eq(bus.wdata)
        with m.If(bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0), bus.rresp.eq(Response.SLVERR.value)]
            with m.Switch(bus.araddr):
                for n, value in enumerate([*values, touched]):
                    with m.Case(4 * n):
                        m.d.sync += [bus.rdata.eq(value), bus.rresp.eq(Response.OKAY.value)]
        return m


class LinkBoard(wiring.Component):
    """``LinkEndpoint`` with block memory and registers behind it."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = LinkEndpoint(cycles_per_bit=CYCLES_PER_BIT, memory_bytes=MEMORY_BYTES, clock=0)
        m.submodules.memory = memory = BlockMemory(memory=MemoryConfig(data_width=64), id_width=1, size=MEMORY_BYTES)
        m.submodules.registers = registers = _Registers()
        connect(m, link.registers, registers.s_axil)
        connect(m, link.memory, memory.access)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx), memory.axi.rready.eq(1)]
        return m


def link_board_verilog(top: str) -> str:
    """Verilog of a ``LinkBoard``."""
    return convert(LinkBoard(), name=top)
