import json
import os
import signal
import subprocess
import sys
import time

import pytest

from acf.cli import doctor, main
from acf.cli.errors import describe
from acf.config import NUMBER_FORMATS, PRESETS, preset
from acf.hw import blocks
from acf.sim.toolchain import Tool


@pytest.fixture
def acf(capsys, monkeypatch):
    monkeypatch.delenv("ACF_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        status = main.run(arguments)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def one_sentence(err):
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("acf: ")
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("rtl", "--preset", "huge"), "'huge'"),
        (("rtl", "--format", "fp4"), "'fp4'"),
        (("rtl", "--block", "engine"), "'engine'"),
        (("rtl", "--block", "mac", "-o", "/no/such/folder/mac.v"), "'/no/such/folder'"),
        (("rtl", "--block", "mac", "-o", "/"), "'/'"),
        (("rtl", "--wrong"), "--wrong"),
        (("rtl", "surplus"), "surplus"),
        (("area", "--block", "engine"), "'engine'"),
        (("area", "--block", "mac", "--tech", "paper"), "'paper'"),
        (("area", "--block", "mac", "--preset", ""), "''"),
        (("bench", "gather", "--rows", "3.5"), "not '3.5'"),
        (("bench", "gather", "--rows=many"), "not 'many'"),
        (("bench", "gather", "--device", "abacus"), "'abacus'"),
        (("bench", "gather", "--preset"), "--preset"),
        (("walk",), "walk"),
        (("--wrong",), "--wrong"),
    ],
)
def test_wrong_input_is_named_in_one_sentence(acf, arguments, named):
    status, out, err = acf(*arguments)
    assert status == 2
    assert out == ""
    assert named in one_sentence(err)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(2, "No such file or directory", "w.mtx"), "'w.mtx': no such file or directory"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "'a' and 'b': invalid cross-device link"),
        (OSError("disk on fire"), "disk on fire"),
        (ValueError("first line\n  second line"), "first line second line"),
        (ValueError(), "ValueError:"),
        (KeyError("rows"), "KeyError: 'rows'"),
    ],
)
def test_errors_are_described_in_one_line(error, sentence):
    assert describe(error) == sentence


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("density must be from 0 to 1, not -1"), 2, "density must be from 0 to 1, not -1"),
        (PermissionError(13, "Permission denied", "x"), 2, "'x': permission denied"),
        (RuntimeError("Yosys failed"), 1, "Yosys failed"),
        (ImportError("No module named 'torch'"), 1, "No module named 'torch'"),
        (KeyError("rows"), 1, "internal error: KeyError: 'rows' (ACF_DEBUG=1 shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_status_says_whose_fault_it_was(acf, monkeypatch, error, status, words):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(blocks, "generate", fail)
    got, _, err = acf("rtl", "--block", "mac")
    assert got == status
    assert one_sentence(err) == f"acf: {words}"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_shows_the_traceback(acf, monkeypatch, how):
    monkeypatch.setenv("ACF_DEBUG", "" if how == "option" else "1")
    status, _, err = acf(*(["--debug"] if how == "option" else []), "rtl", "--preset", "huge")
    assert status == 2
    assert "Traceback" in err
    assert err.splitlines()[-1] == "acf: preset must be one of tiny, base, ulx3s, not 'huge'"


def test_without_a_command_the_commands_are_shown(acf):
    status, out, err = acf()
    assert status == 0
    assert err == ""
    for command in ("doctor", "presets", "rtl", "area", "bench", "demo"):
        assert command in out
    assert "--debug" not in out


def test_group_without_a_command_says_so(acf):
    status, out, err = acf("bench")
    assert status == 2
    assert "gather" in out
    assert one_sentence(err) == "acf: a command is missing"


def test_version(acf):
    status, out, _ = acf("--version")
    assert status == 0
    assert out == "acf 0.1.0\n"


def test_doctor_shows_tools_and_versions(acf):
    status, out, _ = acf("doctor", "--json")
    assert status == 0
    report = json.loads(out)
    tools = {tool["name"]: tool for tool in report["tools"]}
    assert report["python"].startswith("3.")
    assert tools["verilator"]["available"]
    status, out, _ = acf("doctor")
    assert status == 0
    for name, tool in tools.items():
        assert name in out
        assert (tool["version"] or "missing") in out


def test_doctor_says_what_is_unavailable(acf, monkeypatch):
    tools = [
        Tool("perl", "5.36.0", "/usr/bin/perl", "Verilator", "apt-get install perl"),
        Tool("iverilog", None, None, "the second simulator", "apt-get install iverilog"),
    ]
    monkeypatch.setattr(doctor, "find_tools", lambda: tools)
    status, out, _ = acf("doctor")
    assert status == 0
    assert "unavailable: the second simulator (apt-get install iverilog)" in out
    assert "unavailable: Verilator" not in out
    assert out.splitlines()[-1] == "missing: iverilog"
    monkeypatch.setattr(doctor, "find_tools", lambda: tools[:1])
    assert acf("doctor")[1].splitlines()[-1] == "everything is there"


def test_presets_are_shown(acf):
    status, out, _ = acf("presets")
    assert status == 0
    for name, config in PRESETS.items():
        assert name in out
        assert config.digest in out
    assert "feeder.cursors" in out
    status, out, _ = acf("presets", "--json")
    assert {name: values["digest"] for name, values in json.loads(out).items()} == {
        name: config.digest for name, config in PRESETS.items()
    }


def test_rtl_lists_blocks(acf):
    status, out, _ = acf("rtl", "--list")
    assert status == 0
    assert out.split() == blocks.block_names()


@pytest.mark.parametrize("format", NUMBER_FORMATS)
def test_rtl_writes_a_block(acf, format, tmp_path):
    file = tmp_path / "mac.v"
    status, out, _ = acf("rtl", "--preset", "tiny", "--format", format, "--block", "mac", "-o", str(file))
    assert status == 0
    assert str(file) in out
    text = file.read_text()
    config = preset("tiny").with_format(format)
    assert text.splitlines()[0] == f"// ACF mac of tiny in {format}, digest {config.digest}"
    assert "module acf_mac_top(" in text
    status, out, _ = acf("rtl", "--preset", "tiny", "--format", format, "--block", "mac")
    assert out == text


def test_area_of_a_block(acf):
    status, out, err = acf("area", "--block", "mac", "--preset", "tiny", "--format", "int8", "--json")
    assert status == 0
    assert "synthesizing mac" in err
    report = json.loads(out)
    assert report["config"] == preset("tiny").with_format("int8").digest
    assert report["technology"] == "ecp5"
    assert report["total"]["dsp"] == 1, "the product of an int8 MAC is one multiplier"
    assert report["total"]["ff"] >= 32, "and its sum a register"
    status, out, _ = acf("area", "--block", "mac", "--preset", "tiny", "--format", "int8")
    assert status == 0
    assert "acf_mac_top" in out
    assert report["config"] in out


def run_program(*arguments, **options):
    command = [sys.executable, "-c", "from acf.cli.main import main; main()", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_program_exits_with_the_status():
    process = run_program("rtl", "--preset", "huge")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert one_sentence(err)


def test_reader_that_goes_away_is_no_error():
    process = run_program("rtl", "--block", "mac")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert err == ""


def test_interrupt_ends_with_130():
    program = (
        "import sys, time\n"
        "from acf.hw import blocks\n"
        "def generate(*arguments, **options):\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "blocks.generate = generate\n"
        "from acf.cli.main import main\n"
        "sys.argv[1:] = ['rtl']\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # A job in the background inherits an ignored interrupt.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert err == "acf: interrupted\n"
    assert time.monotonic() - begin < 30
