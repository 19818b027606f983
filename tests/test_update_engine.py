# amaranth: UnusedElaboratable=no
"""The update engine and what it is made of."""

import pytest

from acf.config import MemoryConfig, StructureConfig, preset
from acf.hw.structure.ports import ReadPort, WritePort
from acf.tb.runner import has_icarus, run_bench


def run(**settings):
    run_bench("update_engine", module="acf.tb.bench_update_engine", **settings)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.regress)])
def test_update_engine_verilator(seed):
    run(seed=seed)


@pytest.mark.regress
def test_update_engine_base():
    run(config=preset("base"))


@pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")
def test_update_engine_icarus():
    run(simulator="icarus", testcase=["jobs_in_a_row", "misaligned", "halted"])


def test_what_cannot_be_built_is_refused():
    memory = MemoryConfig(id_width=1)
    for port in (ReadPort, WritePort):
        with pytest.raises(ValueError, match="arrays of a port must be from 1 to 2, not 3"):
            port(arrays=3, memory=memory, structure=StructureConfig())
    with pytest.raises(ValueError, match="buffered beats must be two bursts of 16 at least, not 16"):
        StructureConfig(burst_beats=16, buffer_beats=16)
    with pytest.raises(ValueError, match="beats of a burst must be a power of two, not 12"):
        StructureConfig(burst_beats=12)
