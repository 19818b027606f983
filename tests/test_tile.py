"""The compute tile, on both simulators and in all formats."""

import pytest

from acf.config import NUMBER_FORMATS, preset
from acf.tb.mutation import BENCHES
from acf.tb.runner import has_icarus, run_bench


@pytest.mark.parametrize("format", list(NUMBER_FORMATS))
def test_tile(format):
    run_bench("tile", module=BENCHES["tile"].module, config=preset("tiny").with_format(format))


@pytest.mark.parametrize(
    "format", ["bf16", *(pytest.param(name, marks=pytest.mark.regress) for name in ("bf16x", "int8"))]
)
def test_tile_without_skipping(format):
    run_bench("tile", module=BENCHES["tile"].module, config=preset("tiny").with_format(format).without_skipping())


@pytest.mark.regress
@pytest.mark.parametrize(
    "config", [preset("base"), preset("base").without_skipping(), preset("base").with_format("bf16x")]
)
def test_base_tile(config):
    run_bench("tile", module=BENCHES["tile"].module, config=config, seed=2)


@pytest.mark.skipif(not has_icarus(), reason="needs iverilog (Icarus Verilog)")
@pytest.mark.parametrize(
    "format", ["bf16", *(pytest.param(name, marks=pytest.mark.regress) for name in ("bf16x", "int8"))]
)
def test_tile_icarus(format):
    run_bench("tile", module=BENCHES["tile"].module, config=preset("tiny").with_format(format), simulator="icarus")
