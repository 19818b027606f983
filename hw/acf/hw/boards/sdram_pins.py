"""Pins of an SDRAM chip of 16 bits, and the registers in front of them."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "ADDRESS_BITS",
    "AUTO_PRECHARGE",
    "BANK_BITS",
    "COLUMN_BITS",
    "SDRAM_BYTES",
    "WORD_BITS",
    "Command",
    "PinRegisters",
    "SdramSampler",
    "sdram_signature",
]

WORD_BITS = 16
BANK_BITS = 2
ADDRESS_BITS = 13
"""Bits of the address pins, and of a row."""

COLUMN_BITS = 9
SDRAM_BYTES = WORD_BITS // 8 << BANK_BITS + ADDRESS_BITS + COLUMN_BITS

AUTO_PRECHARGE = 10
"""Address pin that says all banks of PRECHARGE; READ and WRITE keep it low, so that the row stays open."""


class Command(enum.Enum, shape=3):
    """RAS, CAS and WE, each set where the pin is active (low), from bit 0."""

    NOP = 0b000
    ACTIVE = 0b001
    READ = 0b010
    REFRESH = 0b011
    WRITE = 0b110
    PRECHARGE = 0b101
    MODE = 0b111


sdram_signature = wiring.Signature(
    {
        "clock_enable": Out(1),
        "command": Out(Command),
        "bank": Out(BANK_BITS),
        "address": Out(ADDRESS_BITS),
        "mask": Out(WORD_BITS // 8),
        "dq_o": Out(WORD_BITS),
        "dq_oe": Out(1),
        "dq_i": In(WORD_BITS),
    }
)
"""An SDRAM chip seen from its controller. ``mask`` is DQM; ``dq_i`` was sampled in the middle of the cycle before, or
comes from the chip, as the user says."""


class SdramSampler(wiring.Component):
    """Registers of the data that come from a chip: those at the falling edge of the clock.

    Members
    -------
    i : In(16)
        At the pins.
    o : Out(16)
        What they were in the middle of the cycle before.
    """

    i: In(WORD_BITS)
    o: Out(WORD_BITS)

    def elaborate(self, platform):
        m = Module()
        # A domain of its own, so that no other design has to declare it.
        m.domains.falling = falling = ClockDomain(clk_edge="neg", reset_less=True, local=True)
        m.d.comb += falling.clk.eq(ClockSignal())
        sampled = Signal(WORD_BITS)
        m.d.falling += sampled.eq(self.i)
        m.d.comb += self.o.eq(sampled)
        return m


class PinRegisters(wiring.Component):
    """What stands at the pins of an FPGA: a register for every output, ``SdramSampler`` for the input.

    Members
    -------
    controller : In(sdram_signature)
    chip : Out(sdram_signature)
        The chip works at the falling edge of the clock; ``dq_i`` is what it drives.
    """

    controller: In(sdram_signature)
    chip: Out(sdram_signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.sampler = sampler = SdramSampler()
        for name, member in sdram_signature.members.items():
            if member.flow == Out:
                m.d.sync += getattr(self.chip, name).eq(getattr(self.controller, name))
        m.d.comb += [sampler.i.eq(self.chip.dq_i), self.controller.dq_i.eq(sampler.o)]
        return m
