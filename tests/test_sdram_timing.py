"""Limits of SDRAM chips: what is refused, and cycles that are as long as nanoseconds ask for."""

import dataclasses
import math

import pytest

from acf.hw.boards.sdram_timing import ULX3S_SDRAM, SdramTiming
from acf.tb.sdram_chip import SHEETS


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("cas_latency", 4, "CAS latency must be 2 or 3, not 4"),
        ("cycle", 0, "cycle of an SDRAM must be positive, not 0 ns"),
        ("precharge", -1.5, "precharge of an SDRAM must be positive, not -1.5 ns"),
        ("refresh_period", math.inf, "refresh_period of an SDRAM must be positive, not inf ns"),
        ("write_recovery", math.nan, "write_recovery of an SDRAM must be positive, not nan ns"),
        ("startup_refreshes", 1, "startup_refreshes of an SDRAM must be at least 2, not 1"),
        ("mode_cycles", 0, "mode_cycles of an SDRAM must be at least 1, not 0"),
        ("rows", 2.5, "rows of an SDRAM must be at least 1, not 2.5"),
        ("active_to_active", 40, r"must be active_to_precharge \(44 ns\) at least, not 40 ns"),
    ],
)
def test_limits_that_cannot_be(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(ULX3S_SDRAM, **{name: value})


@pytest.mark.parametrize(
    ("clock", "sentence"),
    [
        (0, "must be positive and at most 100 MHz at CAS latency 2, not 0"),
        (133_000_000, "must be positive and at most 100 MHz at CAS latency 2, not 133"),
        (1_000_000, "must give 18 cycles between two refreshes at least, not 7 as 1 MHz does"),
    ],
)
def test_clocks_that_cannot_be(clock, sentence):
    with pytest.raises(ValueError, match=sentence):
        ULX3S_SDRAM.cycles(clock)


def test_cycles():
    slow: SdramTiming = dataclasses.replace(ULX3S_SDRAM, active_to_column=20, precharge=20.01, mode_cycles=3)
    cycles = slow.cycles(100_000_000)
    assert (cycles.active_to_column, cycles.precharge, cycles.mode) == (2, 3, 3)
    assert cycles.startup == 20_000
    assert cycles.refresh_interval == 781
    assert slow.cycles(15_000_000).write_recovery == 2


def test_limits_of_the_ulx3s_are_those_of_its_chips():
    """Of each limit the one of the slowest chip that the model of the bench knows."""
    limits = {
        "cycle": [sheet.tCK[ULX3S_SDRAM.cas_latency] for sheet in SHEETS.values()],
        "active_to_column": [sheet.tRCD for sheet in SHEETS.values()],
        "precharge": [sheet.tRP for sheet in SHEETS.values()],
        "active_to_precharge": [sheet.tRAS for sheet in SHEETS.values()],
        "active_to_active": [sheet.tRC for sheet in SHEETS.values()],
        "refresh": [sheet.tRFC for sheet in SHEETS.values()],
        "write_recovery": [sheet.tWR for sheet in SHEETS.values()],
        "other_bank": [sheet.tRRD for sheet in SHEETS.values()],
        "mode_cycles": [sheet.tMRD_cycles for sheet in SHEETS.values()],
        "startup": [sheet.startup for sheet in SHEETS.values()],
    }
    for name, values in limits.items():
        assert getattr(ULX3S_SDRAM, name) == max(values), name
