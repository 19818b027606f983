# amaranth: UnusedElaboratable=no
"""The SDRAM controller: its bench, what its constructors refuse, and faults that the bench must find."""

import pytest

from acf.config import MemoryConfig, preset
from acf.hw.boards.sdram import SdramMemory
from acf.hw.boards.sdram_timing import ULX3S_SDRAM
from acf.tb.runner import has_icarus, run_bench

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


def test_addresses_must_reach_the_end():
    with pytest.raises(ValueError, match="memory address width must be 25 at least for an SDRAM, not 24"):
        SdramMemory(memory=MemoryConfig(data_width=64, address_width=24), id_width=1, cycles=CYCLES)
