"""The merge engine."""

import pytest

from acf.config import preset
from acf.tb.runner import has_icarus, run_bench


def run(**settings):
    run_bench("merge_engine", module="acf.tb.bench_merge_engine", **settings)


def test_merge_engine_verilator():
    run(divisor=3)


@pytest.mark.regress
@pytest.mark.parametrize("seed", [1, 2])
def test_merge_engine_with_many_layers(seed):
    run(seed=seed)


@pytest.mark.regress
def test_merge_engine_base():
    run(config=preset("base"))


@pytest.mark.regress
@pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog is not installed")
def test_merge_engine_icarus():
    run(simulator="icarus", testcase=["bad_layers"])
