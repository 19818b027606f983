"""What a board is to the fabric, and its top level around ``BoardCore``."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import Out

from acf.config import FabricConfig, preset
from acf.hw.boards.core import BoardCore
from acf.hw.boards.ecp_sdram_pins import EcpSdramPins
from acf.hw.boards.sdram_pins import SDRAM_BYTES, sdram_signature
from acf.hw.boards.sdram_timing import SdramTiming
from acf.hw.hierarchy import ModuleLibrary, convert

__all__ = ["CORE", "Board", "BoardDesign", "EcpPll", "Pins"]

CORE = "acf_board_core"
"""Name of the module that a board's top level stands around."""

_SDRAM_PINS = ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm")


@dataclass(frozen=True)
class Pins:
    """Ports of a platform, requested with ``dir="-"``.

    Parameters
    ----------
    clock : amaranth.lib.io.PortLike
        The oscillator.
    rx, tx : amaranth.lib.io.PortLike
        The serial line, as seen from the FPGA.
    lights : list of amaranth.lib.io.PortLike
        LEDs, as many as there are: busy, ended, running.
    """

    clock: Any
    rx: Any
    tx: Any
    lights: list[Any]


@dataclass(frozen=True)
class BoardDesign:
    """A design that is ready for synthesis.

    Parameters
    ----------
    top : str
        Name of the top module.
    files : dict
        Text by file name: Verilog (``.v``), RTLIL (``.il``), constraints (``.lpf``).
    device : str
        As ``acf.sim.timing.DEVICES`` calls it.
    package : str
    speed : int
        Speed grade.
    """

    top: str
    files: dict[str, str]
    device: str
    package: str
    speed: int


class Board(ABC):
    """A board; a file in ``acf.hw.boards.targets`` defines one and calls it ``BOARD``.

    Members
    -------
    name : str
        For the command line.
    title : str
        For people.
    variants : dict
        Name of a variant: the FPGA on it, as ``acf.sim.timing.DEVICES`` calls it. The first is the default.
    package : str
        Of the FPGA, as nextpnr calls it.
    speed : int
        Speed grade.
    oscillator : int
        Hz.
    clock : int
        Hz at which the fabric runs, unless another is asked for.
    baud : int
        Of the serial line.
    preset : str
        Configuration that is built unless another is asked for.
    block_bytes : int
        Block memory that can be behind the fabric, and is unless SDRAM is asked for; a power of two.
    sdram : SdramTiming or None
        A chip of 16 bits and 32 MB that can be behind the fabric instead; a larger one is used as one of that size.
    loader : tuple of str
        Arguments of openFPGALoader in front of the bitstream.
    """

    name: str
    title: str
    variants: dict[str, str]
    package: str
    speed: int
    oscillator: int
    clock: int
    baud: int
    preset: str
    block_bytes: int
    sdram: SdramTiming | None = None
    loader: tuple[str, ...]

    @abstractmethod
    def platform(self, variant: str) -> Any:
        """The Amaranth platform of a variant."""

    @abstractmethod
    def pins(self, platform: Any) -> Pins:
        """Ask the platform for what the top level needs."""

    def sdram_port(self, platform: Any) -> Any:
        """Ask the platform for the pins of the SDRAM, an ``SDRAMResource``."""
        return platform.request("sdram", dir=dict.fromkeys(_SDRAM_PINS, "-"))

    @property
    def memories(self) -> dict[str, int]:
        """Bytes of the memories that can be built, by name; the first is the default."""
        return {"block": self.block_bytes} | ({} if self.sdram is None else {"sdram": SDRAM_BYTES})

    def check_memory(self, memory: str) -> None:
        """Refuse a memory that this board does not have.

        Raises
        ------
        ValueError
            If it does not.
        """
        if memory not in self.memories:
            raise ValueError(f"memory of the {self.name} must be one of {', '.join(self.memories)}, not {memory!r}")

    def describe(self) -> dict[str, Any]:
        """Plain data, for lists."""
        return {
            "name": self.name,
            "title": self.title,
            "variants": self.variants,
            "preset": self.preset,
            "lanes": preset(self.preset).total_lanes,
            "clock_hz": self.clock,
            "baud": self.baud,
            "memories": self.memories,
        }

    def design(
        self, config: FabricConfig, *, variant: str, clock: int | None = None, memory: str = "block"
    ) -> BoardDesign:
        """Everything that synthesis needs.

        Parameters
        ----------
        config : FabricConfig
        variant : str
            A key of ``variants``.
        clock : int or None
            Hz; that of the board when None.
        memory : str
            A key of ``memories``.

        Raises
        ------
        ValueError
            If there is no such variant or memory, the clock cannot be made, or it is not one for the line or the SDRAM.
        """
        clock = clock or self.clock
        self.check_memory(memory)
        library = ModuleLibrary()
        core = BoardCore(
            config=config,
            memory=self.block_bytes if memory == "block" or self.sdram is None else self.sdram.cycles(clock),
            cycles_per_bit=self.cycles_per_bit(clock),
            clock=clock,
            library=library,
        )
        verilog = convert(core, name=CORE) + "\n" + library.verilog()
        return self.wrap(verilog, variant=variant, clock=clock, memory=memory)

    def cycles_per_bit(self, clock: int) -> int:
        """Of the serial line, at a clock in Hz.

        Raises
        ------
        ValueError
            If the clock is no multiple of the line's, to 2 %, or less than four times as fast.
        """
        cycles = round(clock / self.baud)
        if cycles < 4 or abs(clock / self.baud / cycles - 1) > 0.02:
            raise ValueError(
                f"the clock of the {self.name} must be a multiple of {self.baud} baud, 4 times at least, not {clock} Hz"
            )
        return cycles

    def wrap(self, verilog: str, *, variant: str, clock: int, memory: str = "block") -> BoardDesign:
        """A design around the Verilog of a module ``CORE`` with the ports of ``BoardCore``.

        Raises
        ------
        ValueError
            If there is no such variant or memory, or the clock cannot be made.
        """
        self.check_memory(memory)
        if variant not in self.variants:
            raise ValueError(f"variant of the {self.name} must be one of {', '.join(self.variants)}, not {variant!r}")
        top = f"acf_{self.name}"
        design = _Top(self, EcpPll.find(self.oscillator, clock), has_sdram=memory == "sdram")
        plan = self.platform(variant).prepare(design, top)
        files = {name: _text(plan.files[name]) for name in (f"{top}.il", f"{top}.lpf")}
        return BoardDesign(
            top=top,
            files={"core.v": verilog, **files},
            device=self.variants[variant],
            package=self.package,
            speed=self.speed,
        )


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content


@dataclass(frozen=True)
class EcpPll:
    """Dividers of the ECP5's phase-locked loop (EHXPLLL), its output fed back."""

    source: int
    target: int
    input_divider: int
    feedback_divider: int
    output_divider: int

    @classmethod
    def find(cls, source: int, target: int) -> "EcpPll":
        """The loop that makes exactly ``target`` Hz of ``source`` Hz.

        Raises
        ------
        ValueError
            If there is none.
        """
        for divider in range(1, 129):
            if source / divider < 3_125_000 or target * divider % source:
                continue
            feedback = target * divider // source
            for output in range(128, 0, -1):
                if feedback <= 128 and 400e6 <= target * output <= 800e6:
                    return cls(source, target, divider, feedback, output)
        raise ValueError(f"no phase-locked loop of the ECP5 makes {target} Hz of {source} Hz")

    def instance(self, *, clock: Any, output: Signal, locked: Signal) -> Instance:
        """The loop itself."""
        return Instance(
            "EHXPLLL",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=self.input_divider, p_CLKFB_DIV=self.feedback_divider,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=self.output_divider,
            p_CLKOP_CPHASE=self.output_divider - 1, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
            i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_PLLWAKESYNC=0, i_ENCLKOP=0, i_CLKI=clock, i_CLKFB=output, o_CLKOP=output, o_LOCK=locked,
        )  # fmt: skip


class _Top(Elaboratable):
    def __init__(self, board: Board, pll: EcpPll, *, has_sdram: bool):
        self._board = board
        self._pll = pll
        self._has_sdram = has_sdram

    def elaborate(self, platform):
        m = Module()

        pins = self._board.pins(platform)

        def pin(name, direction, port):
            m.submodules[name] = buffer = io.Buffer(direction, port)
            return buffer.i if direction == "i" else buffer.o

        locked = Signal()
        m.domains.sync = ClockDomain()
        m.submodules.pll = self._pll.instance(clock=pin("clock", "i", pins.clock), output=ClockSignal(), locked=locked)
        m.submodules.reset = ResetSynchronizer(~locked)
        busy, ended = Signal(), Signal()
        chip = {}
        if self._has_sdram:
            m.submodules.sdram = sdram = EcpSdramPins(self._board.sdram_port(platform))
            for name, member in sdram_signature.members.items():
                chip[f"{'o' if member.flow == Out else 'i'}_sdram_{name}"] = getattr(sdram.controller, name)
        m.submodules.core = Instance(
            CORE,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_rx=pin("rx", "i", pins.rx),
            o_tx=pin("tx", "o", pins.tx),
            o_busy=busy,
            o_ended=ended,
            **chip,
        )
        beat = Signal(25)
        m.d.sync += beat.eq(beat + 1)
        for n, (light, value) in enumerate(zip(pins.lights, (busy, ended, beat[-1]), strict=False)):
            m.d.comb += pin(f"light_{n}", "o", light).eq(value)
        return m
