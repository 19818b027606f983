"""Pins of an SDRAM chip on an ECP5: the registers stand in the cells of the pins."""

from typing import Any

from amaranth.hdl import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import flipped

from acf.hw.boards.sdram_pins import WORD_BITS, SdramSampler, sdram_signature

__all__ = ["EcpSdramPins"]


class EcpSdramPins(Elaboratable):
    """What ``PinRegisters`` is in a simulation.

    The clock of the chip is that of the FPGA, inverted: what the FPGA changes at its rising edge has half a cycle
    until the chip takes it, and as long before it changes again. The words of the chip are sampled at the falling
    edge: they are valid from about the middle of the one half cycle to that of the one after the next.

    Parameters
    ----------
    port : amaranth.build.PortGroup
        An ``SDRAMResource`` of amaranth-boards, requested with ``dir="-"``.

    Members
    -------
    controller : In(sdram_signature)
    """

    def __init__(self, port: Any):
        self._port = port
        self.controller = flipped(sdram_signature.create(path=("controller",)))

    def elaborate(self, platform):
        m = Module()
        port, controller = self._port, self.controller

        m.submodules.clock = clock = io.DDRBuffer("o", port.clk)
        m.d.comb += [clock.o[0].eq(0), clock.o[1].eq(1)]
        m.submodules.select = select = io.Buffer("o", port.cs)
        m.d.comb += select.o.eq(1)
        command = controller.command.as_value()
        for name, pins, value in (
            ("clock_enable", port.clk_en, controller.clock_enable),
            ("ras", port.ras, command[0]),
            ("cas", port.cas, command[1]),
            ("we", port.we, command[2]),
            ("bank", port.ba, controller.bank),
            ("address", port.a, controller.address),
            ("mask", port.dqm, controller.mask),
        ):
            m.submodules[name] = register = io.FFBuffer("o", pins)
            m.d.comb += register.o.eq(value)

        m.submodules.sampler = sampler = SdramSampler()
        m.d.comb += controller.dq_i.eq(sampler.o)
        for bit in range(WORD_BITS):
            m.submodules[f"dq_{bit}"] = pin = io.Buffer("io", port.dq[bit])
            m.d.comb += [
                pin.o.eq(self._register(m, f"dq_o_{bit}", controller.dq_o[bit])),
                pin.oe.eq(~self._register(m, f"dq_off_{bit}", ~controller.dq_oe)),
                sampler.i[bit].eq(pin.i),
            ]
        return m

    def _register(self, m, name, value):
        """A register in the cell of a pin. It has no reset: clock enable keeps the chip from what it does before."""
        output = Signal(name=name)
        m.submodules[f"{name}_register"] = Instance(
            "OFS1P3DX", i_SCLK=ClockSignal(), i_SP=Const(1), i_CD=Const(0), i_D=value, o_Q=output
        )
        return output
