"""Boards: what they are, their top level through the tools, and what ``acf board`` says."""

import json
import os
import stat

import pytest

from acf.cli.main import run
from acf.config import PRESETS, MemoryConfig
from acf.hw.boards.board import CORE, EcpPll
from acf.hw.boards.catalog import board_names, find_board
from acf.hw.boards.core import BoardCore
from acf.hw.boards.sdram import SdramMemory
from acf.hw.boards.sdram_timing import ULX3S_SDRAM
from acf.hw.hierarchy import convert, port_map
from acf.sim import bitstream
from acf.sim.bitstream import build_bitstream, check_fit, load_bitstream
from acf.sim.timing import DEVICES
from acf.sim.yosys import mapped_for_clock, repeated_modules, run_yosys

ULX3S = find_board("ulx3s")

# Sends back what comes, one cycle later, and counts edges.
ECHO = f"""
module {CORE}(input clk, input rst, input rx, output reg tx, output busy, output ended);
  reg [15:0] edges;
  always @(posedge clk) begin
    tx <= rx;
    if (rst) edges <= 0; else if (tx != rx) edges <= edges + 1;
  end
  assign busy = edges[15];
  assign ended = ^edges;
endmodule
"""


def sdram_core():
    """A core with an SDRAM behind it whose bytes the line reads and writes: 42 bits of it are a request."""
    memory = SdramMemory(memory=MemoryConfig(data_width=64), id_width=1, cycles=ULX3S_SDRAM.cycles(ULX3S.clock))
    ports = ", ".join(f".sdram_{name}(sdram_{name})" for name in SDRAM_WIDTHS)
    declared = ", ".join(
        f"{'input' if name == 'dq_i' else 'output'} [{width - 1}:0] sdram_{name}"
        for name, width in SDRAM_WIDTHS.items()
    )
    return f"""
module {CORE}(input clk, input rst, input rx, output tx, output busy, output ended, {declared});
  reg [41:0] line;
  reg [7:0] found;
  wire [7:0] value;
  wire answered;
  always @(posedge clk) begin
    line <= {{line, rx}};
    found <= answered ? value : found << 1;
  end
  assign tx = found[7];
  memory memory(
    .clk(clk), .rst(rst), .access_request_payload(line[40:0]), .access_request_valid(line[41]),
    .access_request_ready(busy), .access_answered(answered), .access_value(value), .access_refused(ended),
    .axi_arvalid(1'b0), .axi_awvalid(1'b0), .axi_wvalid(1'b0), .axi_rready(1'b1), .axi_bready(1'b1), {ports}
  );
endmodule
""" + convert(memory, name="memory")


SDRAM_WIDTHS = {
    "clock_enable": 1, "command": 3, "bank": 2, "address": 13, "mask": 2, "dq_o": 16, "dq_oe": 1, "dq_i": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", board_names())
def test_board_is_complete(name):
    board = find_board(name)
    assert board.name == name
    assert set(board.variants.values()) <= set(DEVICES)
    assert board.preset in PRESETS
    assert board.cycles_per_bit(board.clock) * board.baud == board.clock
    for variant in board.variants:
        for memory in board.memories:
            design = board.wrap(ECHO, variant=variant, clock=board.clock, memory=memory)
            assert design.top == f"acf_{name}"
            constraints = design.files[f"acf_{name}.lpf"]
            assert 'SITE "' in constraints
            assert ("sdram" in constraints) == (memory == "sdram")


def test_unknown_boards_and_variants_are_named():
    with pytest.raises(ValueError, match=r"board must be one of .*ulx3s.*, not 'none'"):
        find_board("none")
    with pytest.raises(ValueError, match="variant of the ulx3s must be one of 85F, 45F, 25F, 12F, not '99F'"):
        ULX3S.wrap(ECHO, variant="99F", clock=60_000_000)


def test_core_has_the_pins_of_the_chip():
    core = BoardCore(config=PRESETS["tiny"], memory=ULX3S_SDRAM.cycles(ULX3S.clock), cycles_per_bit=4, clock=0)
    widths = {name: len(value) for name, (value, _) in port_map(core).items() if name.startswith("sdram_")}
    assert widths == {f"sdram_{name}": width for name, width in SDRAM_WIDTHS.items()}
    assert "sdram_dq_o" not in port_map(BoardCore(config=PRESETS["tiny"], memory=4096, cycles_per_bit=4, clock=0))


def test_unknown_memories_are_named():
    with pytest.raises(ValueError, match="memory of the ulx3s must be one of block, sdram, not 'flash'"):
        ULX3S.wrap(ECHO, variant="12F", clock=60_000_000, memory="flash")
    with pytest.raises(ValueError, match="memory of the ulx3s must be one of block, sdram, not 'flash'"):
        ULX3S.design(PRESETS["tiny"], variant="12F", memory="flash")


@pytest.mark.parametrize("clock", [1_000_000, 9_000_000, 40_000_000])
def test_clock_is_a_multiple_of_the_line(clock):
    with pytest.raises(ValueError, match=f"4 times at least, not {clock} Hz"):
        ULX3S.cycles_per_bit(clock)


@pytest.mark.parametrize("target", [25, 30, 45, 50, 60, 75, 100])
def test_pll_makes_the_clock(target):
    hertz = round(target * 1e6)
    pll = EcpPll.find(25_000_000, hertz)
    assert 25_000_000 * pll.feedback_divider == hertz * pll.input_divider
    assert 400e6 <= hertz * pll.output_divider <= 800e6
    assert 25e6 / pll.input_divider >= 3.125e6


def test_pll_that_cannot_be():
    with pytest.raises(ValueError, match="no phase-locked loop of the ECP5 makes 48000000 Hz of 25000000 Hz"):
        EcpPll.find(25_000_000, 48_000_000)


def test_modules_with_many_instances_are_kept_apart():
    instances = "\n".join(f"  lane lane_{n} (\n    .clk(clk)\n  );" for n in range(5))
    verilog = f"""
module lane(input clk); endmodule
module node(input clk); endmodule
module top(input clk);
{instances}
  node node_0 (
    .clk(clk)
  );
endmodule
"""
    assert repeated_modules(verilog) == ["lane"]
    assert repeated_modules(verilog, more_than=5) == []


MEMORIES = """
module top(input clk, input [7:0] d, input [3:0] place, output [7:0] few, many, output reg any);
  reg [7:0] two[0:1], sixteen[0:15];
  always @(posedge clk) begin
    two[place[0]] <= d;
    sixteen[place] <= d;
    any <= ^few & |many & (few > many) ^ (few + many > d);
  end
  assign few = two[place[1]];
  assign many = sixteen[d[3:0]];
endmodule
"""


def mapped(tmp_path, clock):
    """Cells of a design by type."""
    (tmp_path / "design.v").write_text(MEMORIES)
    script = ["read_verilog -sv design.v", *mapped_for_clock("top", clock=clock), "tee -q -o cells.json stat -json"]
    run_yosys(tmp_path, script, doing="map top")
    return json.loads((tmp_path / "cells.json").read_text())["modules"]["\\top"]["num_cells_by_type"]


def test_memories_of_two_words_are_registers(tmp_path):
    assert mapped(tmp_path, 60.0)["TRELLIS_DPR16X4"] == 2  # of the sixteen words alone


def test_a_slow_clock_makes_a_design_smaller(tmp_path):
    assert mapped(tmp_path, 60.0)["LUT4"] < mapped(tmp_path, 400.0)["LUT4"]


def test_what_does_not_fit_is_told_by_resource():
    cells: dict[str, int] = dict.fromkeys(("comb", "ff", "dsp", "bram"), 0)
    check_fit(cells, "25k", what="it")
    check_fit(DEVICES["25k"], "25k", what="it")
    with pytest.raises(ValueError, match=r"it does not fit the 25k device: it takes 0 of 24288 COMB, .*57 of 56 BRAM"):
        check_fit(cells | {"bram": 57}, "25k", what="it")


def test_bitstream(tmp_path):
    """The top level with its pins, its clock and its reset, all the way, around a core that is quickly placed."""
    design = ULX3S.wrap(ECHO, variant="12F", clock=60_000_000)
    output = tmp_path / "new" / "echo.bit"
    report = build_bitstream(
        design.files,
        top=design.top,
        device=design.device,
        package=design.package,
        speed=design.speed,
        clock=60.0,
        output=output,
    )
    assert output.read_bytes().find(b"\xff\xff\xbd\xb3") >= 0  # the preamble of an ECP5 bitstream
    assert report.is_fast_enough
    assert report.cells["ff"] >= 17
    plain = report.as_dict()
    assert plain["utilization"]["EHXPLLL"] == 1
    assert plain["utilization"]["TRELLIS_IO"] == 6
    assert {step["instance"].partition("_")[0] for step in plain["critical_path"]} <= {"", "core", "light"}
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.regress
def test_bitstream_with_sdram(tmp_path):
    """The controller and the pins of the chip: every register of an output in the cell of its pin."""
    design = ULX3S.wrap(sdram_core(), variant="12F", clock=60_000_000, memory="sdram")
    report = build_bitstream(
        design.files,
        top=design.top,
        device=design.device,
        package=design.package,
        speed=design.speed,
        clock=60.0,
        output=tmp_path / "sdram.bit",
    )
    assert report.is_fast_enough
    used = report.as_dict()["utilization"]
    assert used["TRELLIS_IO"] == 6 + 39
    assert used["IOLOGIC"] == 38  # all but chip select, which does not change


def test_list(capsys):
    assert run(["board", "list", "--json"]) == 0
    (ulx3s,) = (board for board in json.loads(capsys.readouterr().out) if board["name"] == "ulx3s")
    assert ulx3s["lanes"] == PRESETS["ulx3s"].total_lanes
    assert ulx3s["memories"] == {"block": 128 << 10, "sdram": 32 << 20}
    assert run(["board", "list"]) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "ulx3s" in table
    assert "32 MiB" in table


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["ulx3s"], 2, "there is nothing to do for the ulx3s: give --build, --load or both"),
        (["ulx3s", "--build", "--preset", "huge"], 2, "preset must be one of"),
        (["ulx3s", "--build", "--memory", "flash"], 2, "memory of the ulx3s must be one of block, sdram, not 'flash'"),
        (["simulate", "--memory", "much"], 2, "must be a number of bytes or sdram, not 'much'"),
        (["simulate", "--memory", "sdram", "--netlist"], 2, "--netlist needs a --memory in bytes"),
        (["ulx3s", "--build", "--memory", "sdram", "--clock", "120"], 2, "at most 100 MHz at CAS latency 2, not 120"),
        (["ulx3s", "--build", "--clock", "47"], 2, "must be a multiple of 3000000 baud"),
        (["ulx3s", "--load", "--output", "none.bit"], 2, "there is no bitstream 'none.bit' to load; --build makes it"),
    ],
)
def test_wrong_input(capsys, arguments, status, sentence):
    assert run(["board", *arguments]) == status
    assert sentence in capsys.readouterr().err


def test_load_without_the_tool(tmp_path, monkeypatch):
    monkeypatch.setattr(bitstream.shutil, "which", lambda name: None)
    (tmp_path / "x.bit").write_bytes(b"")
    with pytest.raises(RuntimeError, match="openFPGALoader is not installed"):
        load_bitstream(tmp_path / "x.bit", arguments=())


@pytest.mark.parametrize("plugged", [False, True])
def test_load(tmp_path, monkeypatch, plugged):
    tool = tmp_path / "openFPGALoader"
    tool.write_text('#!/bin/sh\necho "$@" > "$0.log"\n' + ("" if plugged else "echo 'Error: no cable' >&2; exit 1\n"))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "x.bit").write_bytes(b"")
    if plugged:
        load_bitstream(tmp_path / "x.bit", arguments=ULX3S.loader)
        assert (tmp_path / "openFPGALoader.log").read_text().split() == ["--board", "ulx3s", str(tmp_path / "x.bit")]
    else:
        with pytest.raises(RuntimeError, match=r"is the board plugged in\? \(Error: no cable\)"):
            load_bitstream(tmp_path / "x.bit", arguments=ULX3S.loader)
