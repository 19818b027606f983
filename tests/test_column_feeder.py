# amaranth: UnusedElaboratable=no
"""The column feeder and what it is made of."""

import pytest

from acf.config import NocConfig, preset
from acf.hw.mem.burst_tracker import BurstTracker
from acf.hw.mem.command_receiver import CommandReceiver
from acf.hw.mem.fault_report import ReportSender
from acf.hw.mem.feeder_counters import FeederCounters
from acf.isa import FeederCounter
from acf.tb.runner import has_icarus, run_bench

needs_icarus = pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")


def run(**settings):
    run_bench("column_feeder", module="acf.tb.bench_column_feeder", **settings)


@pytest.mark.parametrize("format", ["bf16", "int8"])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.regress)])
def test_column_feeder_verilator(format, seed):
    run(config=preset("tiny").with_format(format), seed=seed)


@needs_icarus
def test_column_feeder_icarus():
    run(simulator="icarus")


@pytest.mark.regress
def test_column_feeder_base():
    run(config=preset("base"))


def test_command_queue_has_a_depth():
    with pytest.raises(ValueError, match="command queue depth must be positive, not 0"):
        CommandReceiver(noc=NocConfig(), depth=0)


def test_bursts_in_flight_are_positive():
    with pytest.raises(ValueError, match="bursts in flight must be at least one, not -1"):
        BurstTracker(depth=-1, address_width=32)


def test_reports_need_a_fault_input():
    with pytest.raises(ValueError, match="fault inputs must be at least one, not 0"):
        ReportSender(noc=NocConfig(), sources=0)


def test_counters_differ():
    with pytest.raises(ValueError, match="feeder counters must differ, not \\['ENTRIES', 'ENTRIES'\\]"):
        FeederCounters(kinds=(FeederCounter.ENTRIES, FeederCounter.ENTRIES))
