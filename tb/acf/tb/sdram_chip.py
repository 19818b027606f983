"""An SDRAM chip of 4 banks x 8192 rows x 512 columns x 16 bits, edge by edge: refuses what its data sheet forbids.

Of the controller it knows nothing, not even its numbers. ``SHEETS`` holds the limits of several chips, and says where
they are from; a model obeys all that are given to it at once. In two things it is stricter than a data sheet: no burst
may be cut short, and refreshes may not be put off.
"""

import math
import random
from dataclasses import dataclass, field

__all__ = ["SHEETS", "Pins", "SdramChip", "SdramError", "Sheet"]

BANKS, ROWS, COLUMNS = 4, 8192, 512

_COMMANDS = {  # CS#, RAS#, CAS#, WE# where CS# is low
    (1, 1, 1): "NOP",
    (0, 1, 1): "ACTIVE",
    (1, 0, 1): "READ",
    (1, 0, 0): "WRITE",
    (1, 1, 0): "BURST TERMINATE",
    (0, 1, 0): "PRECHARGE",
    (0, 0, 1): "AUTO REFRESH",
    (0, 0, 0): "LOAD MODE REGISTER",
}
_BURSTS = {0b000: 1, 0b001: 2, 0b010: 4, 0b011: 8}


class SdramError(AssertionError):
    """A chip got what its data sheet forbids."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Limits of a chip: nanoseconds, and clock cycles where the name says so.

    Names are those of data sheets. ``tCK`` is by CAS latency, ``tWR`` is called tDPL by some, ``tRAS_most`` is the
    longest time that a row may stay open.
    """

    tCK: dict[int, float]
    tRCD: float
    tRP: float
    tRAS: float
    tRAS_most: float
    tRC: float
    tRFC: float
    tWR: float
    tRRD: float
    tMRD_cycles: int
    tMRD: float
    startup: float
    startup_refreshes: int
    tREF: float = 64e6


SHEETS = {
    # Micron's slowest grade, as LiteDRAM has it, which leaves tRC out; tMRD is that of Micron's own Verilog model.
    "MT48LC16M16A2-75": Sheet(
        tCK={2: 10, 3: 7.5}, tRCD=20, tRP=20, tRAS=44, tRAS_most=120_000, tRC=66, tRFC=66, tWR=15, tRRD=15,
        tMRD_cycles=2, tMRD=0, startup=100_000, startup_refreshes=2,
    ),
    # ISSI. tRCD, tRP, tWR and tRFC as LiteDRAM has them; tRAS, tRC, tMRD and start-up from another controller's
    # transcript of the data sheet (tRCD and tRP are 15 there); tCK and tRRD are assumed.
    "IS42S16160G-7": Sheet(
        tCK={2: 7.5, 3: 7}, tRCD=20, tRP=20, tRAS=37, tRAS_most=100_000, tRC=60, tRFC=70, tWR=20, tRRD=14,
        tMRD_cycles=2, tMRD=14, startup=100_000, startup_refreshes=2,
    ),
    # Alliance Memory, data sheet of June 2016, table 16; the start-up is assumed. It has twice as many columns.
    "AS4C32M16SB-7": Sheet(
        tCK={2: 10, 3: 7}, tRCD=21, tRP=21, tRAS=42, tRAS_most=120_000, tRC=63, tRFC=63, tWR=14, tRRD=14,
        tMRD_cycles=1, tMRD=14, startup=200_000, startup_refreshes=2,
    ),
}  # fmt: skip
"""Chips that stand on boards, by name."""


@dataclass(frozen=True)
class Pins:
    """Inputs of the chip at a rising edge of its clock, as levels: those with an n are active when 0."""

    cke: int = 1
    ras_n: int = 1
    cas_n: int = 1
    we_n: int = 1
    bank: int = 0
    address: int = 0
    mask: int = 0
    dq: int | None = None  # None: nobody drives it


@dataclass
class _Bank:
    row: int | None = None
    active: float = -math.inf
    precharged: float = -math.inf
    written: float = -math.inf  # the last word of a WRITE


@dataclass
class _Burst:
    write: bool
    bank: int
    row: int
    column: int
    begin: int  # edge of the command
    length: int


@dataclass
class SdramChip:
    """A chip. Give it the pins at each edge of its clock; it returns what it drives until the next one.

    Parameters
    ----------
    sheets : list of Sheet
        All of them are obeyed.
    period : float
        Of the clock, in nanoseconds.
    late : float
        Refreshes that may be due and not done. A sheet only asks for all rows in ``tREF``; a controller that lags
        behind by no more than this gets there, and one that does not is found before 64 ms are over.
    """

    sheets: list[Sheet]
    period: float
    late: float = 1.0
    commands: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.edges = 0
        self._banks = [_Bank() for _ in range(BANKS)]
        self._cells: dict[int, int] = {}
        self._burst: _Burst | None = None
        self._refreshed = self._moded = -math.inf
        self._mode_edge = -(1 << 30)
        self._mode: tuple[int, int] | None = None  # CAS latency, burst length
        self._enabled = 0
        self._startup_refreshes = 0
        self._has_precharged = False
        self._in_use_since: float | None = None
        self._refreshes = 0
        self._earlier_mask = 0  # at the edge before
        self._due: dict[int, int] = {}  # edges at which words are valid, and the words' addresses
        self._drove_at = [-2, -2]  # the latest two edges at which a word of ours was valid

    def word(self, address: int) -> int:
        """Contents of a word, by bank, row and column in this order from the top."""
        return self._cells[address] if address in self._cells else self.blank(address)

    @staticmethod
    def blank(address: int) -> int:
        """Contents of a word that was never written: random, but always the same."""
        return random.Random(address).getrandbits(16)

    def idle(self, edges: int, *, cke: int) -> None:
        """So many edges of the start, at which nothing is commanded."""
        self.edges += edges
        self._enabled += edges * cke

    def edge(self, pins: Pins) -> int | None:
        """A rising edge of the clock. The word that the chip drives up to the next one, or None."""
        now = self.edges * self.period
        if pins.dq is not None and self.edges in self._drove_at:
            raise self._error("both sides drive the data pins")
        if pins.dq is not None and self.edges - 1 in self._drove_at:
            raise self._error("the data pins are not left alone for a cycle between a READ and a WRITE")
        if pins.cke:
            self._enabled += 1
        elif self._enabled:
            raise self._error("clock enable went away")
        command = _COMMANDS[pins.ras_n, pins.cas_n, pins.we_n]
        if command != "NOP":
            self.commands[command] = self.commands.get(command, 0) + 1
            self._obey(command, pins, now)
        self._check_refreshes(now)
        self._take_word(pins, now)
        driven = self._drive_word()
        self._earlier_mask = pins.mask
        self.edges += 1
        return driven

    # Commands

    def _obey(self, command: str, pins: Pins, now: float) -> None:
        if self._in_use_since is None:
            self._check_startup(command, now)
        for sheet in self.sheets:
            self._at_least(now, self._refreshed, sheet.tRFC, "tRFC", command)
            self._at_least(now, self._moded, sheet.tMRD, "tMRD", command)
            if self.edges - self._mode_edge < sheet.tMRD_cycles:
                raise self._error(f"{command} only {self.edges - self._mode_edge} cycles after the mode: tMRD")
        {
            "ACTIVE": self._active,
            "READ": self._column,
            "WRITE": self._column,
            "PRECHARGE": self._precharge,
            "AUTO REFRESH": self._refresh,
            "LOAD MODE REGISTER": self._load_mode,
        }.get(command, self._unknown)(command, pins, now)

    def _unknown(self, command: str, pins: Pins, now: float) -> None:
        raise self._error(f"{command} is of no use here")

    def _active(self, command: str, pins: Pins, now: float) -> None:
        bank = self._banks[pins.bank]
        if bank.row is not None:
            raise self._error(f"ACTIVE of bank {pins.bank}, whose row {bank.row} is open")
        for sheet in self.sheets:
            self._at_least(now, bank.active, sheet.tRC, "tRC", f"ACTIVE of bank {pins.bank}")
            self._at_least(now, bank.precharged, sheet.tRP, "tRP", f"ACTIVE of bank {pins.bank}")
            for other in self._banks:
                self._at_least(now, other.active, sheet.tRRD, "tRRD", f"ACTIVE of bank {pins.bank}")
        bank.row, bank.active = pins.address, now

    def _column(self, command: str, pins: Pins, now: float) -> None:
        if self._mode is None:
            raise self._error(f"{command} before the mode register was loaded")
        bank = self._banks[pins.bank]
        if bank.row is None:
            raise self._error(f"{command} of bank {pins.bank}, which is not open")
        for sheet in self.sheets:
            self._at_least(now, bank.active, sheet.tRCD, "tRCD", f"{command} of bank {pins.bank}")
        if pins.address >> 9:
            raise self._error(f"{command} with address {pins.address:#x}: column, auto precharge and upper pins")
        self._end_burst(f"{command} of bank {pins.bank}")
        self._burst = _Burst(command == "WRITE", pins.bank, bank.row, pins.address, self.edges, self._mode[1])
        if command == "READ":
            self._schedule_words(self._burst, self._mode[0])

    def _end_burst(self, what: str) -> None:
        """No burst is cut short, which a chip allows and would lose words."""
        if self._burst is not None and self.edges < self._burst.begin + self._burst.length:
            raise self._error(f"{what} only {self.edges - self._burst.begin} cycles after a burst began")

    def _precharge(self, command: str, pins: Pins, now: float) -> None:
        chosen = range(BANKS) if pins.address >> 10 & 1 else [pins.bank]
        for number in chosen:
            bank = self._banks[number]
            if bank.row is None:
                continue
            if self._burst is not None and self._burst.bank == number:
                self._end_burst(f"PRECHARGE of bank {number}")
            for sheet in self.sheets:
                self._at_least(now, bank.active, sheet.tRAS, "tRAS", f"PRECHARGE of bank {number}")
                self._at_least(now, bank.written, sheet.tWR, "tWR", f"PRECHARGE of bank {number}")
                if now - bank.active > sheet.tRAS_most:
                    raise self._error(f"row {bank.row} of bank {number} was open for {now - bank.active:.0f} ns: tRAS")
            bank.row, bank.precharged = None, now
        # A PRECHARGE of all makes every bank wait, whether it was open or not.
        if len(chosen) == BANKS:
            self._has_precharged = True
            for bank in self._banks:
                bank.precharged = now

    def _refresh(self, command: str, pins: Pins, now: float) -> None:
        self._needs_idle_banks(command, now)
        self._refreshed = now
        self._refreshes += 1
        self._startup_refreshes += 1

    def _load_mode(self, command: str, pins: Pins, now: float) -> None:
        self._needs_idle_banks(command, now)
        latency, code = pins.address >> 4 & 0b111, pins.address & 0b111
        if pins.bank or pins.address & ~0b1111111 or pins.address >> 3 & 1:
            raise self._error(f"mode {pins.address:#x} of bank {pins.bank}: not bursts, counting upwards, both ways")
        if latency not in (2, 3) or code not in _BURSTS:
            raise self._error(f"mode {pins.address:#x} is reserved")
        for sheet in self.sheets:
            if self.period < sheet.tCK[latency]:
                raise self._error(f"CAS latency {latency} needs cycles of {sheet.tCK[latency]} ns, not {self.period}")
        self._mode = latency, _BURSTS[code]
        self._moded, self._mode_edge = now, self.edges
        if self._in_use_since is None:
            self._in_use_since, self._refreshes = now, 0

    def _needs_idle_banks(self, command: str, now: float) -> None:
        for number, bank in enumerate(self._banks):
            if bank.row is not None:
                raise self._error(f"{command} while bank {number} is open")
            for sheet in self.sheets:
                self._at_least(now, bank.precharged, sheet.tRP, "tRP", command)
                self._at_least(now, bank.active, sheet.tRC, "tRC", command)

    # Time

    def _at_least(self, now: float, then: float, limit: float, name: str, what: str) -> None:
        if now - then < limit - 1e-6:
            raise self._error(f"{what} {now - then:.1f} ns after, not {limit:g}: {name}")

    def _check_startup(self, command: str, now: float) -> None:
        for sheet in self.sheets:
            if now < sheet.startup:
                raise self._error(f"{command} at {now:.0f} ns, before {sheet.startup:.0f} ns from power are over")
            if command == "LOAD MODE REGISTER" and self._startup_refreshes < sheet.startup_refreshes:
                raise self._error(f"the mode register was loaded after {self._startup_refreshes} refreshes")
        if self._enabled < 2:
            raise self._error(f"{command} with clock enable for {self._enabled} edges")
        if command != "PRECHARGE" and not self._has_precharged:
            raise self._error(f"{command} before PRECHARGE of all banks")
        if command not in ("PRECHARGE", "AUTO REFRESH", "LOAD MODE REGISTER"):
            raise self._error(f"{command} before the mode register was loaded")

    def _check_refreshes(self, now: float) -> None:
        if self._in_use_since is None:
            return
        for sheet in self.sheets:
            due = (now - self._in_use_since) / (sheet.tREF / ROWS)
            if due - self._refreshes > 1 + self.late:
                raise self._error(f"{self._refreshes} refreshes where {due:.1f} are due at {now:.0f} ns")

    def _error(self, text: str) -> SdramError:
        return SdramError(f"edge {self.edges}: {text}")

    # Data

    def _address(self, burst: _Burst, number: int) -> int:
        # A burst stays within its block of columns.
        column = burst.column & -burst.length | (burst.column + number) & (burst.length - 1)
        return (burst.bank * ROWS + burst.row) * COLUMNS + column

    def _schedule_words(self, burst: _Burst, latency: int) -> None:
        for number in range(burst.length):
            self._due[burst.begin + latency + number] = self._address(burst, number)

    def _take_word(self, pins: Pins, now: float) -> None:
        burst = self._burst
        is_writing = burst is not None and burst.write and self.edges < burst.begin + burst.length
        if burst is None or not is_writing:
            if pins.dq is not None:
                raise self._error("data without a WRITE")
            return
        if pins.dq is None:
            raise self._error("no data for a WRITE")
        address = self._address(burst, self.edges - burst.begin)
        kept = _byte_mask(pins.mask)
        self._cells[address] = self.word(address) & kept | pins.dq & ~kept & 0xFFFF
        self._banks[burst.bank].written = now

    def _drive_word(self) -> int | None:
        """The word that is valid at the next edge."""
        address = self._due.pop(self.edges + 1, None)
        # DQM takes two cycles to reach the outputs: the mask at the edge before this one counts for the next one.
        mask = self._earlier_mask
        if address is None or mask == 0b11:
            return None
        self._drove_at = [self._drove_at[1], self.edges + 1]
        return self.word(address) & ~_byte_mask(mask)


def _byte_mask(mask: int) -> int:
    """The bits of a word that DQM masks."""
    return sum(0xFF << 8 * byte for byte in range(2) if mask >> byte & 1)
