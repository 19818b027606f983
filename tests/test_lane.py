# amaranth: UnusedElaboratable=no
"""The lane, on both simulators and in all formats; the bench is ``acf.tb.bench_lane``."""

import pytest

from acf.config import NUMBER_FORMATS, preset
from acf.hw.pe.interlock import Interlock
from acf.tb.runner import has_icarus, run_bench


@pytest.mark.parametrize("format", list(NUMBER_FORMATS))
@pytest.mark.parametrize("name", ["tiny", pytest.param("base", marks=pytest.mark.regress)])
def test_lane(name, format):
    run_bench("lane", module="acf.tb.bench_lane", config=preset(name).with_format(format))


@pytest.mark.regress
@pytest.mark.parametrize("format", list(NUMBER_FORMATS))
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_lane_without_skipping(name, format):
    run_bench("lane", module="acf.tb.bench_lane", config=preset(name).with_format(format).without_skipping())


@pytest.mark.regress
@pytest.mark.skipif(not has_icarus(), reason="needs iverilog (Icarus Verilog)")
@pytest.mark.parametrize("format", list(NUMBER_FORMATS))
def test_lane_icarus(format):
    run_bench("lane", module="acf.tb.bench_lane", config=preset("tiny").with_format(format), simulator="icarus")


def test_interlock_without_depth():
    with pytest.raises(ValueError, match="depth of an interlock must be at least 1, not 0"):
        Interlock(address_width=4, depth=0)
    with pytest.raises(ValueError, match="flight through an interlock must be from 1 to its depth of 3, not 4"):
        Interlock(address_width=4, depth=3, flight=4)
