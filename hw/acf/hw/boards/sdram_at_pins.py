"""The SDRAM controller with the registers of its pins, to be tried without a board."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from acf.config import MemoryConfig
from acf.hw.boards.sdram import SdramMemory
from acf.hw.boards.sdram_pins import PinRegisters
from acf.hw.boards.sdram_timing import SdramCycles

__all__ = ["SdramAtPins"]


class SdramAtPins(wiring.Component):
    """``SdramMemory`` behind ``PinRegisters``; parameters and members are those of the former.

    ``sdram`` are the pins of a chip that works at the falling edge of the clock.
    """

    def __init__(self, *, memory: MemoryConfig, id_width: int, cycles: SdramCycles):
        self._memory = SdramMemory(memory=memory, id_width=id_width, cycles=cycles)
        super().__init__(self._memory.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self._memory
        m.submodules.pins = pins = PinRegisters()
        connect(m, memory.sdram, pins.controller)
        connect(m, flipped(self.sdram), pins.chip)
        connect(m, flipped(self.axi), memory.axi)
        connect(m, flipped(self.access), memory.access)
        m.d.comb += [
            self.accessed.eq(memory.accessed),
            self.activated.eq(memory.activated),
            self.refreshed.eq(memory.refreshed),
        ]
        return m
