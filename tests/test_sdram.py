# amaranth: UnusedElaboratable=no
"""The SDRAM controller: its bench, what its constructors refuse, and faults that the bench must find."""

import dataclasses

import pytest

from acf.config import MemoryConfig, preset
from acf.hw.boards.sdram import SdramMemory
from acf.hw.boards.sdram_at_pins import SdramAtPins
from acf.hw.boards.sdram_timing import ULX3S_SDRAM
from acf.hw.hierarchy import convert
from acf.tb.runner import bench_environment, has_icarus, run_bench, run_verilog

BENCH = "acf.tb.bench_sdram"
CYCLES = ULX3S_SDRAM.cycles(60_000_000)


def test_bench():
    run_bench("sdram", module=BENCH)


@pytest.mark.regress
@pytest.mark.parametrize("name", ["tiny", "base"])  # beats of 8 and of 32 bytes
@pytest.mark.parametrize("seed", range(3))
def test_bench_with_many_bursts(name, seed):
    run_bench("sdram", module=BENCH, config=preset(name), seed=seed, env={"ACF_SDRAM_ROUNDS": "10"})


@pytest.mark.regress
@pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")
def test_bench_with_icarus():
    run_bench("sdram", module=BENCH, simulator="icarus")


@pytest.mark.regress
@pytest.mark.parametrize(
    ("name", "cycles", "sentence"),
    [
        ("active_to_column", 1, "tRCD"),
        ("precharge", 1, "tRP"),
        ("refresh", 4, "tRFC"),
        ("write_recovery", 1, "tWR"),
        ("mode", 1, "tMRD"),
        ("startup", 11_900, "before 200000 ns from power are over"),
        ("startup_refreshes", 1, "the mode register was loaded after 1 refreshes"),
        ("refresh_interval", 600, "refreshes where"),
    ],
)
def test_chip_refuses_what_comes_too_early(name, cycles, sentence):
    """The bench finds each number of the controller that is too small for a chip, or too large."""
    config = preset("tiny")
    controller = SdramAtPins(memory=config.memory, id_width=4, cycles=dataclasses.replace(CYCLES, **{name: cycles}))
    top = "acf_sdram_top"
    with pytest.raises(AssertionError, match=sentence):
        run_verilog(
            convert(controller, name=top),
            top=top,
            name=f"sdram-early-{name}",
            module=BENCH,
            testcase=["nothing_before_the_chip_is_ready", "random_bursts", "refreshes_come_in_time_under_load"],
            env=bench_environment(config),
        )


def test_addresses_must_reach_the_end():
    with pytest.raises(ValueError, match="memory address width must be 25 at least for an SDRAM, not 24"):
        SdramMemory(memory=MemoryConfig(data_width=64, address_width=24), id_width=1, cycles=CYCLES)
