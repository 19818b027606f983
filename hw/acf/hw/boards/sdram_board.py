"""A board with an SDRAM chip on it, for simulations."""

from pathlib import Path

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from acf.hw.boards.core import BoardCore
from acf.hw.boards.sdram_pins import PinRegisters, sdram_signature

__all__ = ["SdramBoard", "chip_verilog"]

_CHIP = "acf_sdram_chip"


def chip_verilog() -> str:
    """Verilog of the chip: what it does, for a simulation. It does not mind when commands come too early."""
    return Path(__file__).with_name("sdram_chip.v").read_text()


class SdramBoard(wiring.Component):
    """A ``BoardCore`` with an SDRAM, the registers of the pins, and the chip, of which ``chip_verilog`` is the text.

    Parameters
    ----------
    core : BoardCore

    Members
    -------
    rx, tx, busy, ended
        As of ``BoardCore``.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)
    busy: Out(1)
    ended: Out(1)

    def __init__(self, *, core: BoardCore):
        self._core = core
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self._core
        m.submodules.pins = pins = PinRegisters()
        connect(m, core.sdram, pins.controller)
        connections = {
            f"{'i' if member.flow == Out else 'o'}_{name}": getattr(pins.chip, name)
            for name, member in sdram_signature.members.items()
        }
        m.submodules.chip = Instance(_CHIP, i_clk=ClockSignal(), **connections)
        m.d.comb += [
            core.rx.eq(self.rx),
            self.tx.eq(core.tx),
            self.busy.eq(core.busy),
            self.ended.eq(core.ended),
        ]
        return m
