# amaranth: UnusedElaboratable=no
import re

import pytest

from acf.config import NocConfig, preset
from acf.hw import blocks
from acf.hw.hierarchy import ModuleLibrary, convert
from acf.hw.noc.mesh import Mesh
from acf.hw.noc.routing import Port, xy
from acf.tb.packets import noc_environment
from acf.tb.runner import has_icarus, run_bench, run_verilog

BENCH = "acf.tb.bench_mesh"


@pytest.mark.regress
@pytest.mark.parametrize("seed", [1, 2])
def test_mesh(seed):
    run_bench("noc", module=BENCH, seed=seed)


@pytest.mark.skipif(not has_icarus(), reason="needs iverilog")
@pytest.mark.parametrize("block", ["node", pytest.param("noc", marks=pytest.mark.regress)])
def test_icarus(block):
    run_bench(block, module=BENCH, simulator="icarus")


@pytest.mark.regress
def test_node():
    run_bench("node", module=BENCH)


@pytest.mark.parametrize(
    ("height", "width", "noc"),
    [
        (3, 2, NocConfig(virtual_channels=3, buffer_depth=4, class_channels=(2, 0, 1, 1))),
        pytest.param(
            1,
            4,
            NocConfig(virtual_channels=1, buffer_depth=2, class_channels=(0, 0, 0, 0)),
            marks=pytest.mark.regress,
        ),
    ],
)
def test_mesh_parameters(height, width, noc):
    library = ModuleLibrary()
    text = convert(Mesh(height=height, width=width, noc=noc, library=library), name="acf_noc_top")
    run_verilog(
        text + library.verilog(),
        top="acf_noc_top",
        name=f"noc-{height}x{width}-{noc.virtual_channels}x{noc.buffer_depth}",
        module=BENCH,
        simulator="icarus" if has_icarus() else "verilator",  # Icarus builds faster
        env=noc_environment(noc),
    )


def test_nodes_share_one_module():
    text = blocks.generate("noc", config=preset("tiny"))
    assert len(re.findall(r"^module acf_network_node\b", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^  acf_network_node \w+ \(", text, re.MULTILINE)) == 9


def both_ways(arrival, **where):
    """Copies on the way west, too."""
    branches = xy(arrival, **where)
    if arrival is Port.EAST:
        branches[Port.LOCAL] |= where["row"] & (where["to_y"] == where["y"])
    return branches


def test_constructor_refuses():
    with pytest.raises(ValueError, match="mesh height must be from 1 to 16, not 0"):
        Mesh(height=0, width=2, noc=NocConfig())
    with pytest.raises(ValueError, match="mesh width must be from 1 to 16, not 17"):
        Mesh(height=1, width=17, noc=NocConfig())
    with pytest.raises(ValueError, match="routing function both_ways is cyclic"):
        Mesh(height=1, width=4, noc=NocConfig(), routing=both_ways)
