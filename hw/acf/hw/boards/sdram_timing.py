"""What an SDRAM chip asks for between two commands: in nanoseconds, and in cycles of a clock."""

import math
from dataclasses import dataclass

__all__ = ["BURST_WORDS", "ULX3S_SDRAM", "SdramCycles", "SdramTiming"]

BURST_WORDS = 4
"""Words that each READ and WRITE moves: the shortest beat of a memory port is as long."""

_LEAST_WRITE_RECOVERY = 2  # cycles; some chips state it so instead of in nanoseconds


@dataclass(frozen=True, kw_only=True)
class SdramCycles:
    """Least distances in cycles, each from one command to the other.

    Parameters
    ----------
    cas_latency : int
        READ to its first word.
    startup : int
        Power to the first command.
    startup_refreshes : int
        REFRESH commands before the chip is used.
    active_to_column : int
        tRCD, ACTIVE to READ or WRITE of the bank.
    precharge : int
        tRP, PRECHARGE to ACTIVE of the bank.
    active_to_precharge : int
        tRAS, ACTIVE to PRECHARGE of the bank.
    active_to_active : int
        tRC, ACTIVE to ACTIVE of the bank.
    refresh : int
        tRFC, REFRESH to whatever comes next.
    write_recovery : int
        tWR or tDPL, the last word written to PRECHARGE of the bank.
    other_bank : int
        tRRD, ACTIVE to ACTIVE of another bank.
    mode : int
        tMRD, MODE to whatever comes next.
    refresh_interval : int
        tREFI, one REFRESH to the next one, on the average and at most.
    """

    cas_latency: int
    startup: int
    startup_refreshes: int
    active_to_column: int
    precharge: int
    active_to_precharge: int
    active_to_active: int
    refresh: int
    write_recovery: int
    other_bank: int
    mode: int
    refresh_interval: int


@dataclass(frozen=True, kw_only=True)
class SdramTiming:
    """Limits from the data sheet of a chip, in nanoseconds.

    Parameters
    ----------
    cas_latency : int
        Cycles from READ to its first word, 2 or 3.
    cycle : float
        tCK, the shortest cycle at that latency.
    startup : float
        From power and a stable clock to the first command.
    startup_refreshes : int
        REFRESH commands before the chip is used.
    active_to_column, precharge, active_to_precharge, active_to_active, refresh, write_recovery, other_bank : float
        As in ``SdramCycles``.
    mode_cycles : int
        tMRD, in cycles.
    refresh_period : float
        In which each row must be refreshed once.
    rows : int
        Rows that are refreshed in that period, one by each REFRESH.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    cas_latency: int
    cycle: float
    startup: float
    startup_refreshes: int
    active_to_column: float
    precharge: float
    active_to_precharge: float
    active_to_active: float
    refresh: float
    write_recovery: float
    other_bank: float
    mode_cycles: int
    refresh_period: float
    rows: int

    def __post_init__(self) -> None:
        if self.cas_latency not in (2, 3):
            raise ValueError(f"CAS latency must be 2 or 3, not {self.cas_latency!r}")
        for name, least in (("startup_refreshes", 2), ("mode_cycles", 1), ("rows", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} of an SDRAM must be at least {least}, not {value!r}")
        for name in (
            "cycle",
            "startup",
            "active_to_column",
            "precharge",
            "active_to_precharge",
            "active_to_active",
            "refresh",
            "write_recovery",
            "other_bank",
            "refresh_period",
        ):
            value = getattr(self, name)
            if not value > 0 or math.isinf(value):
                raise ValueError(f"{name} of an SDRAM must be positive, not {value!r} ns")
        if self.active_to_active < self.active_to_precharge:
            raise ValueError(
                f"active_to_active of an SDRAM must be active_to_precharge ({self.active_to_precharge} ns) at least, "
                f"not {self.active_to_active!r} ns"
            )

    def cycles(self, clock: int) -> SdramCycles:
        """The same in cycles.

        Parameters
        ----------
        clock : int
            Hz.

        Raises
        ------
        ValueError
            If the clock is too fast for the chip, or so slow that refreshing would take all of the time.
        """
        if clock <= 0 or clock * self.cycle > 1e9 * (1 + 1e-9):
            raise ValueError(
                f"clock of an SDRAM must be positive and at most {1e3 / self.cycle:g} MHz "
                f"at CAS latency {self.cas_latency}, not {clock / 1e6:g}"
            )

        def at_least(nanoseconds: float) -> int:
            # A limit that is a whole number of cycles must not be rounded up by the last bit of a float.
            return max(1, math.ceil(nanoseconds * clock / 1e9 - 1e-9))

        cycles = SdramCycles(
            cas_latency=self.cas_latency,
            startup=at_least(self.startup),
            startup_refreshes=self.startup_refreshes,
            active_to_column=at_least(self.active_to_column),
            precharge=at_least(self.precharge),
            active_to_precharge=at_least(self.active_to_precharge),
            active_to_active=at_least(self.active_to_active),
            refresh=at_least(self.refresh),
            write_recovery=max(_LEAST_WRITE_RECOVERY, at_least(self.write_recovery)),
            other_bank=at_least(self.other_bank),
            mode=self.mode_cycles,
            refresh_interval=math.floor(self.refresh_period / self.rows * clock / 1e9),
        )
        # Everything that a REFRESH waits for and keeps waiting, twice over.
        taken = 2 * (cycles.active_to_active + cycles.precharge + cycles.refresh + cycles.write_recovery + BURST_WORDS)
        if cycles.refresh_interval < taken:
            raise ValueError(
                f"clock of an SDRAM must give {taken} cycles between two refreshes at least, "
                f"not {cycles.refresh_interval} as {clock / 1e6:g} MHz does"
            )
        return cycles


ULX3S_SDRAM = SdramTiming(
    cas_latency=2,
    cycle=10,
    startup=200_000,
    startup_refreshes=8,
    active_to_column=21,
    precharge=21,
    active_to_precharge=44,
    active_to_active=66,
    refresh=70,
    write_recovery=20,
    other_bank=15,
    mode_cycles=2,
    refresh_period=64e6,
    rows=8192,
)
"""The slowest of the chips of 32 MB or more that stand on boards of this kind, limit by limit; see docs/boards.md."""
