import json
import re
from functools import partial

import pytest
from typer.testing import CliRunner

from acf.cli.main import app
from acf.config import preset
from acf.sim.area import RESOURCES, AreaReport, ModuleArea, synthesize
from acf.sim.area_comparison import AreaComparison
from acf.sim.cell_area import SramMacro, synthesize_cells
from acf.sim.yosys import unchanged_modules

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


# Cells with round areas; ABC wants a buffer.
LIBRARY = """library(small) {
  cell(BUF) { area : 2; pin(A) { direction : input; } pin(Y) { direction : output; function : "A"; } }
  cell(INV) { area : 1; pin(A) { direction : input; } pin(Y) { direction : output; function : "A'"; } }
  cell(NAND2) {
    area : 2; pin(A) { direction : input; } pin(B) { direction : input; }
    pin(Y) { direction : output; function : "(A*B)'"; }
  }
  cell(NOR2) {
    area : 2.5; pin(A) { direction : input; } pin(B) { direction : input; }
    pin(Y) { direction : output; function : "(A+B)'"; }
  }
  FLIP_FLOP
}
"""
FLIP_FLOP = """cell(DFF) {
    area : 10; ff(IQ, IQN) { clocked_on : C; next_state : D; }
    pin(C) { direction : input; clock : true; } pin(D) { direction : input; }
    pin(Q) { direction : output; function : "IQ"; }
  }"""
# Four leaves with a memory of 64 bits each; a memory of 8 bits in the top.
MEMORIES = """
module leaf(input clk, we, input [3:0] a, d, output reg [3:0] q);
  reg [3:0] m [0:15];
  always @(posedge clk) begin if (we) m[a] <= d; q <= m[a]; end
endmodule

module pair(input clk, we, input [3:0] a, d, output [3:0] q, r);
  leaf x(.clk(clk), .we(we), .a(a), .d(d), .q(q));
  leaf y(.clk(clk), .we(we), .a(a), .d(~d), .q(r));
endmodule

module top(input clk, we, input [3:0] a, d, output [3:0] q, r, s, t, input b, output [3:0] o);
  pair x(.clk(clk), .we(we), .a(a), .d(d), .q(q), .r(r));
  pair y(.clk(clk), .we(we), .a(~a), .d(d), .q(s), .r(t));
  reg [3:0] m [0:1];
  always @(posedge clk) if (we) m[b] <= d;
  assign o = m[a[0]];
endmodule
"""


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "small.lib"
    path.write_text(LIBRARY.replace("FLIP_FLOP", FLIP_FLOP))
    return path


def test_cells_of_a_library_have_their_areas(library):
    text = "module top(input clk, a, output reg q, output y); always @(posedge clk) q <= a; assign y = ~a; endmodule"
    report = synthesize_cells(text, top="top", library=library)
    assert report.total == {"area": 11, "sequential": 10, "sram_bits": 0}
    assert report.logic == "area"


@pytest.mark.parametrize("bits", [8, 9, 65])
def test_large_memories_are_macros(library, bits):
    macro = SramMacro.parse("ram_1k:2000:8000")
    report = synthesize_cells(MEMORIES, top="top", library=library, macro=macro, sram_from=bits)
    modules = {module.name: module for module in report.modules}
    assert {name: module.instances for name, module in modules.items()} == {"top": 1, "pair": 2, "leaf": 4}
    kept = {"leaf": 64 if bits <= 64 else 0, "top": 8 if bits <= 8 else 0, "pair": 0}
    assert {name: module.counts["sram_bits"] for name, module in modules.items()} == kept
    # What is no macro is a flip-flop for each bit; the register behind a memory that is one is part of it.
    bits_left = {"leaf": 0 if bits <= 64 else 64 + 4, "top": 8 - kept["top"], "pair": 0}
    assert {name: module.counts["sequential"] / 10 for name, module in modules.items()} == bits_left
    total = report.total
    assert total["sram_area"] == total["sram_bits"] / 4
    assert total["total_area"] == total["area"] + total["sram_area"]


@pytest.mark.parametrize("text", ["", "x", "x:1", "x:1:2:3", ":1:2", "x:0:5", "x:1:0", "x:-1:5", "x:nan:5", "x:1:2.5"])
def test_a_macro_written_otherwise_is_named(text):
    message = f"an SRAM macro must be written as NAME:AREA:BITS, both positive, not {text!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SramMacro.parse(text)


def test_libraries_that_will_not_do_are_named(tmp_path):
    text = "module top(input clk, a, output reg q); always @(posedge clk) q <= ~a; endmodule"
    with pytest.raises(FileNotFoundError, match=r"^there is no liberty library '.*absent.lib'$"):
        synthesize_cells(text, top="top", library=tmp_path / "absent.lib")
    with pytest.raises(ValueError, match=r"^memories are kept out from a positive number of bits on, not 0$"):
        synthesize_cells(text, top="top", library=tmp_path / "absent.lib", sram_from=0)
    path = tmp_path / "x.lib"
    for content in (b"\xff\xfe", b"a poem"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^'.*x.lib' is no liberty library$"):
            synthesize_cells(text, top="top", library=path)
    path.write_text(LIBRARY.replace("FLIP_FLOP", ""))
    with pytest.raises(RuntimeError, match=r"^(module top has cells that x.lib has not: |Yosys could not)") as caught:
        synthesize_cells(text, top="top", library=path)
    assert "\n" not in str(caught.value)
    path.write_text("library(broken) { cell(")
    with pytest.raises(RuntimeError, match=r"^Yosys could not synthesize top: "):
        synthesize_cells(text, top="top", library=path)


def test_known_modules_are_not_synthesized_again(library):
    changed = MEMORIES.replace("assign o = m[a[0]];", "assign o = ~m[a[0]];")
    same = unchanged_modules(changed, MEMORIES)
    assert same == {"leaf", "pair"}
    assert unchanged_modules(MEMORIES.replace("q <= m[a]", "q <= ~m[a]"), MEMORIES) == set()
    for run in (partial(synthesize, top="top"), partial(synthesize_cells, top="top", library=library)):
        before, whole = run(MEMORIES), run(changed)
        again = run(changed, known=before.only(same))
        assert again.as_dict() == whole.as_dict()
        assert again.total != before.total


def some_report(**counts):
    modules = [ModuleArea(name=name, instances=n, counts={"comb": comb, "ff": 0}) for name, (n, comb) in counts.items()]
    return AreaReport(modules=tuple(modules), tool="t", seconds=1, titles={"comb": "COMB", "ff": "FF"})


def test_areas_are_compared_by_module():
    comparison = AreaComparison(
        some_report(top=(1, 100), acf_lane=(4, 50), acf_row_feeder=(2, 30), extra=(1, 5)),
        some_report(top=(1, 110), acf_lockstep_lane=(4, 25), acf_row_feeder=(2, 30), other=(1, 2)),
    )
    found = {module.name: (module.dense_name, module.dense_instances) for module in comparison.modules}
    assert found == {
        "top": ("top", 1),
        "acf_lane": ("acf_lockstep_lane", 4),
        "acf_row_feeder": ("acf_row_feeder", 2),
        "extra": (None, 0),
        None: ("other", 1),
    }
    assert comparison.ratio == {"comb": 365 / 272, "ff": None}
    assert comparison.ratio_without_feeders == {"comb": 365 / 212, "ff": None}
    data = comparison.as_dict()
    assert data["cost_percent"]["comb"] == pytest.approx(100 * (365 / 272 - 1))
    assert data["compared_modules"][1]["ratio"] == {"comb": 2, "ff": None}
    assert AreaComparison(comparison.dense, comparison.dense).ratio["comb"] == 1
    assert AreaComparison(some_report(top=(1, 2)), some_report(top=(1, 2))).ratio_without_feeders is None


BENCH = {"config_digest": "d", "cycles": 100, "dense_cycles": 1000, "weight_density": 0.1}


def test_throughput_per_area():
    comparison = AreaComparison(some_report(top=(1, 250)), some_report(top=(1, 200)))
    one = comparison.throughput(BENCH, digest="d")
    assert one["speedup"] == 10
    assert one["throughput_per_area"] == {"comb": 8, "ff": None}
    assert one["break_even_sparsity"]["comb"] == pytest.approx(1 - 0.8)
    assert comparison.throughput(BENCH | {"cycles": 10}, digest="d")["break_even_sparsity"]["comb"] == 0
    # Where it pays just so, it takes the same cycles times area.
    even = BENCH | {"cycles": 800, "weight_density": 0.3}
    assert comparison.throughput(even, digest="d")["break_even_sparsity"]["comb"] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("bench", "message"),
    [
        ({}, "the report of acf bench has no 'config_digest'"),
        (BENCH | {"config_digest": "e"}, "the report of acf bench is of configuration e, not d"),
        (BENCH | {"dense_cycles": None}, "the report of acf bench must have dense_cycles, not None"),
        (BENCH | {"cycles": 0}, "the report of acf bench must have cycles, not 0"),
    ],
)
def test_reports_that_will_not_do_are_named(bench, message):
    comparison = AreaComparison(some_report(top=(1, 250)), some_report(top=(1, 200)))
    with pytest.raises(ValueError, match=rf"^{message}$"):
        comparison.throughput(bench, digest="d")


def area(*arguments):
    return CliRunner().invoke(app, ["area", *map(str, arguments)])


def test_a_lane_beside_one_without_skipping(tmp_path, library):
    digest = preset("tiny").digest
    report = tmp_path / "bench.json"
    report.write_text(json.dumps({"command": "acf bench", "result": BENCH | {"config_digest": digest}}))
    options = ["--block", "lane", "--preset", "tiny", "--format", "int8", "--compare", "dense", "--json"]
    report8 = tmp_path / "bench8.json"
    report8.write_text(json.dumps(BENCH | {"config_digest": preset("tiny").with_format("int8").digest}))
    assert str(area(*options, "--bench", report).exception) == (
        f"the report of acf bench is of configuration {digest}, not {preset('tiny').with_format('int8').digest}"
    )
    result = area(*options, "--bench", report8)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert 1 < found["ratio"]["comb"] < 2
    assert found["ratio"]["comb"] == found["total"]["comb"] / found["dense_total"]["comb"]
    assert found["ratio"]["dsp"] == 1
    assert found["dense_config"] == preset("tiny").with_format("int8").without_skipping().digest
    assert found["benches"][0]["throughput_per_area"]["comb"] == 10 / found["ratio"]["comb"]
    # Scratchpads are of the same size, masks apart; nothing else of the array is a memory.
    cells = json.loads(area(*options[:-1], "--tech", library, "--sram-from", 64, "--json").stdout)
    lane = preset("tiny").lane
    masks = lane.operand_banks * lane.operand_rows * lane.slots
    assert cells["total"]["sram_bits"] - cells["dense_total"]["sram_bits"] >= masks
    scratchpads = masks * 8 + lane.accumulator_rows * lane.slots * 32
    assert cells["dense_total"]["sram_bits"] >= scratchpads
    assert cells["logic"] == "area"
    assert cells["ratio"]["area"] > 1


def test_a_block_that_skips_nothing_has_ratio_1():
    result = area("--block", "mac", "--preset", "tiny", "--format", "int8", "--compare", "dense")
    assert result.exit_code == 0, result.output
    assert "skipping costs 0.0 % of COMB" in result.stdout
    assert result.stderr.count("synthesizing") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tech", "paper"], "technology must be one of ecp5 or a FILE.lib, not 'paper'"),
        (["--tech", "absent.lib"], "there is no liberty library 'absent.lib'"),
        (["--sram-from", "64"], "--sram-from 64 means nothing to ecp5, which has memories of its own"),
        (["--sram-macro", "x:1:2"], "--sram-macro x:1:2 means nothing to ecp5, which has memories of its own"),
        (["--compare", "sparse"], "--compare must be dense, not 'sparse'"),
        (
            ["--compare", "dense", "--mesh", "2x2"],
            "--compare dense is for blocks of a preset; a network alone skips nothing",
        ),
        (["--bench", "x.json"], "--bench 'x.json' means nothing without --compare dense"),
        (["--compare", "dense", "--bench", "x.json"], "there is no report of acf bench 'x.json'"),
        (["--compare", "dense", "--bench", "LIBRARY"], "'LIBRARY' is no report of acf bench"),
    ],
)  # fmt: skip
def test_options_that_will_not_do_are_named(options, message, library):
    options = [one.replace("LIBRARY", str(library)) for one in options]
    result = area("--block", "router", "--preset", "tiny", *options)
    assert str(result.exception) == message.replace("LIBRARY", str(library))
