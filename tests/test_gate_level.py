"""Netlists of ECP5 cells: benches of blocks pass on what synthesis makes of them."""

import pytest

from acf.config import preset
from acf.sim.gate_level import gate_netlist
from acf.tb.runner import run_bench


@pytest.mark.regress
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_lane_as_netlist(format):
    """Block memory, LUT memory, multiplier and carries."""
    run_bench("lane", module="acf.tb.bench_lane", config=preset("tiny").with_format(format), netlist=True)


def test_unknown_top_is_named():
    with pytest.raises(ValueError, match="the Verilog text has no module 'b'"):
        gate_netlist("module a; endmodule", top="b")
