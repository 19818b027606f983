# amaranth: UnusedElaboratable=no
import pytest

from acf.config import NocConfig
from acf.hw.hierarchy import convert
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.link_sender import LinkSender
from acf.hw.noc.router import Router
from acf.tb.packets import noc_environment
from acf.tb.runner import has_icarus, run_bench, run_verilog

BENCH = "acf.tb.bench_router"


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.regress)])
def test_router(seed):
    run_bench("router", module=BENCH, seed=seed)


@pytest.mark.skipif(not has_icarus(), reason="needs iverilog")
def test_router_icarus():
    run_bench("router", module=BENCH, simulator="icarus")


@pytest.mark.parametrize(
    "noc",
    [
        pytest.param(
            NocConfig(virtual_channels=1, buffer_depth=2, class_channels=(0, 0, 0, 0)), marks=pytest.mark.regress
        ),
        NocConfig(virtual_channels=3, buffer_depth=4, class_channels=(0, 1, 2, 2)),
    ],
    ids=lambda noc: f"{noc.virtual_channels}x{noc.buffer_depth}",
)
def test_router_parameters(noc):
    run_verilog(
        convert(Router(noc=noc), name="acf_router_top"),
        top="acf_router_top",
        name=f"router-{noc.virtual_channels}x{noc.buffer_depth}",
        module=BENCH,
        simulator="icarus" if has_icarus() else "verilator",  # Icarus builds faster
        env=noc_environment(noc),
    )


def test_constructors_refuse():
    with pytest.raises(ValueError, match="requests of an arbiter must be positive, not 0"):
        LeastRecentArbiter(count=0)
    with pytest.raises(ValueError, match="sources of a link must be positive, not -1"):
        LinkSender(noc=NocConfig(), sources=-1)
