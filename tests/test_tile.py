"""The compute tile, on both simulators and in both formats; the bench is ``acf.tb.bench_tile``."""

import pytest

from acf.config import preset
from acf.tb.runner import has_icarus, run_bench


@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_tile(format):
    run_bench("tile", module="acf.tb.bench_tile", config=preset("tiny").with_format(format))


@pytest.mark.regress
def test_base_tile():
    run_bench("tile", module="acf.tb.bench_tile", config=preset("base"), seed=2)


@pytest.mark.skipif(not has_icarus(), reason="needs iverilog (Icarus Verilog)")
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_tile_icarus(format):
    run_bench("tile", module="acf.tb.bench_tile", config=preset("tiny").with_format(format), simulator="icarus")
