"""What stands on every board: the fabric, a memory and the serial link."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import FabricConfig
from acf.hw.boards.block_memory import BlockMemory
from acf.hw.boards.endpoint import LinkEndpoint
from acf.hw.boards.sdram import SdramMemory
from acf.hw.boards.sdram_pins import SDRAM_BYTES, sdram_signature
from acf.hw.boards.sdram_timing import SdramCycles
from acf.hw.fabric.command_processor import port_id_width
from acf.hw.fabric.fabric import Fabric
from acf.hw.hierarchy import ModuleLibrary, place

__all__ = ["BoardCore"]


class BoardCore(wiring.Component):
    """A fabric whose registers and memory are reached over a UART.

    Parameters
    ----------
    config : FabricConfig
    memory : int or SdramCycles
        What is behind the fabric's memory port: bytes of block RAM, a power of two, or an SDRAM of 32 MB.
    cycles_per_bit : int
        Of the UART.
    clock : int
        Hz; 0 in a simulation.
    library : ModuleLibrary or None
        As of ``Fabric``.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    busy : Out(1)
        The link carries out a request.
    ended : Out(1)
        The interrupt: a program has ended, and the host has not taken note of it.
    sdram : Out(sdram_signature)
        To ``PinRegisters``, or to what is like them. Only with an SDRAM.
    """

    def __init__(
        self,
        *,
        config: FabricConfig,
        memory: int | SdramCycles,
        cycles_per_bit: int,
        clock: int,
        library: ModuleLibrary | None = None,
    ):
        self._config = config
        self._library = library
        id_width = port_id_width(config)
        members = {"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "ended": Out(1)}
        if isinstance(memory, SdramCycles):
            memory_bytes = SDRAM_BYTES
            self._memory = SdramMemory(memory=config.memory, id_width=id_width, cycles=memory)
            members["sdram"] = Out(sdram_signature)
        else:
            memory_bytes = memory
            self._memory = BlockMemory(memory=config.memory, id_width=id_width, size=memory_bytes)
        self._link = LinkEndpoint(cycles_per_bit=cycles_per_bit, memory_bytes=memory_bytes, clock=clock)
        self._keys = ((config.memory, id_width, memory), (cycles_per_bit, memory_bytes, clock))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        fabric = Fabric(config=self._config, library=self._library)
        memory, link = self._memory, self._link
        for name, component, key in (
            ("fabric", fabric, (self._config,)),
            ("memory", memory, self._keys[0]),
            ("link", link, self._keys[1]),
        ):
            place(m, name, component, library=self._library, key=key)
        connect(m, fabric.m_axi, memory.axi)
        connect(m, link.registers, fabric.s_axil)
        connect(m, link.memory, memory.access)
        if isinstance(memory, SdramMemory):
            connect(m, flipped(self.sdram), memory.sdram)
        ended = Signal()
        m.d.sync += ended.eq(fabric.interrupt)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.busy.eq(link.active),
            self.ended.eq(ended),
        ]
        return m
