import pytest

from acf.sim.area import RESOURCES, synthesize

# `leaf` stands four times, once in each `middle`.
HIERARCHY = r"""
module leaf(input clk, input [3:0] d, output reg [3:0] q);
  always @(posedge clk) q <= d;
endmodule

module \middle.inner (input [3:0] i, output o);
  assign o = ^i;
endmodule

module middle(input clk, input [3:0] d, output [3:0] q, output o);
  wire [3:0] inside;
  leaf l(.clk(clk), .d(d), .q(q));
  \middle.inner x(.i(d), .o(o));
endmodule

module top(input clk, input [3:0] d, output [3:0] a, b, c, e, output o, p);
  leaf first(.clk(clk), .d(d), .q(a));
  leaf second(.clk(clk), .d(~d), .q(b));
  middle third(.clk(clk), .d(d), .q(c), .o(o));
  middle fourth(.clk(clk), .d(d), .q(e), .o(p));
endmodule
"""

RESOURCE_CASES = {
    "ff": ("input clk, input [4:0] d, output reg [4:0] q", "always @(posedge clk) q <= d;", {"ff": 5}),
    "lut4": ("input [3:0] i, output o", "assign o = ^i;", {"lut4": 1, "comb": 1}),
    "mux": ("input [4:0] i, output o", "assign o = ^i;", {"lut4": 2, "mux": 1, "comb": 2}),
    "dsp": (
        "input clk, input [15:0] x, y, output reg [31:0] o",
        "always @(posedge clk) o <= x * y;",
        {"dsp": 1, "ff": 32},
    ),
    "lut_ram": (
        "input clk, we, input [3:0] a, r, input [3:0] d, output [3:0] q",
        "reg [3:0] m [0:15]; always @(posedge clk) if (we) m[a] <= d; assign q = m[r];",
        {"lut_ram": 1, "comb": 4},
    ),
    "bram": (
        "input clk, we, input [9:0] a, input [17:0] d, output reg [17:0] q",
        "reg [17:0] m [0:1023]; always @(posedge clk) if (we) m[a] <= d; else q <= m[a];",
        {"bram": 1},
    ),
}


@pytest.mark.parametrize("name", RESOURCE_CASES)
def test_every_resource_is_counted(name):
    ports, body, expected = RESOURCE_CASES[name]
    report = synthesize(f"module top({ports}); {body} endmodule", top="top")
    assert {resource: number for resource, number in report.total.items() if number} == expected


def test_carry_chains_take_two_luts_a_cell():
    total = synthesize("module top(input [15:0] x, y, output [15:0] o); assign o = x + y; endmodule", top="top").total
    assert total["carry"] == 8
    assert total["comb"] == total["lut4"] + 16


def test_modules_are_counted_once_and_multiplied():
    report = synthesize(HIERARCHY, top="top")
    modules = {module.name: module for module in report.modules}
    assert {name: module.instances for name, module in modules.items()} == {"top": 1, "middle": 2, "leaf": 4}
    assert modules["leaf"].counts["ff"] == 4
    assert modules["middle"].counts["ff"] == 0, "leaf is not part of it"
    assert modules["middle"].counts["lut4"] == 1, "modules with a dot in their name are"
    assert modules["top"].counts["lut4"] == 4
    assert report.total["ff"] == 4 * 4
    assert report.total["lut4"] == 4 + 2
    assert report.modules[0].name == "top"


def test_report_is_plain_data():
    report = synthesize(HIERARCHY, top="top")
    assert report.tool.startswith("Yosys ")
    assert report.seconds > 0
    data = report.as_dict()
    assert set(data["total"]) == set(RESOURCES)
    assert data["modules"][0]["counts"].keys() == RESOURCES.keys()


def test_result_follows_the_text():
    for width in (3, 6):
        text = f"module top(input clk, input [{width - 1}:0] d, output reg [{width - 1}:0] q);"
        report = synthesize(f"{text} always @(posedge clk) q <= d; endmodule", top="top")
        assert report.total["ff"] == width


def test_unknown_technology_is_named():
    with pytest.raises(ValueError, match=r"^technology must be one of ecp5, not 'paper'$"):
        synthesize(HIERARCHY, top="top", technology="paper")


def test_missing_top_is_named():
    with pytest.raises(ValueError, match=r"^the Verilog text has no module 'bottom'$"):
        synthesize(HIERARCHY, top="bottom")


def test_error_of_yosys_is_one_sentence():
    with pytest.raises(RuntimeError, match=r"^Yosys could not synthesize top: .*ERROR: .*syntax error") as caught:
        synthesize("module top(input i; endmodule", top="top")
    assert "\n" not in str(caught.value)


def test_cells_that_are_not_counted_are_an_error():
    text = "module top(input i, output o); OSCG x(.OSC(o)); endmodule"
    with pytest.raises(RuntimeError, match=r"^module top has cells that are not counted: OSCG$"):
        synthesize(text, top="top")
