"""The ``serial`` device: what it checks, what it sends, and a layer on the simulated board."""

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys

import numpy as np
import pytest

from acf.cli.main import run
from acf.config import PRESETS, preset
from acf.hw.blocks import generate_board
from acf.isa import IDENTIFIER, VERSION, ErrorCode, Opcode, Register, encode_command
from acf.runtime.device import FabricError, Window
from acf.runtime.devices import open_device
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.matrices import random_operand, random_weights
from acf.runtime.serial_device import SerialDevice, _pieces
from acf.runtime.serial_link import Access, LinkError, RefusedError, SerialLink
from acf.sim.board import BoardLine, BoardPort, SimulatedBoard
from acf.sim.gate_level import gate_netlist
from acf.tb.faulty_line import FaultyLine
from acf.tb.link_board import CYCLES_PER_BIT, MEMORY_BYTES, link_board_verilog

TINY = preset("tiny")
SMALL = dataclasses.replace(  # builds in half the time of tiny
    TINY, name="small", rows=1, cols=1, structure=dataclasses.replace(TINY.structure, unstructured=False)
)
BOARD_MEMORY = 1 << 14
BOARD_BIT = 2


# What it checks, on a board that has registers of any value and no fabric


@pytest.fixture
def line():
    board = SimulatedBoard(
        link_board_verilog("link_board"), top="link_board", cycles_per_bit=CYCLES_PER_BIT, quiet=True
    )
    yield BoardLine(board, cycles_per_bit=CYCLES_PER_BIT)
    board.close()


def claim(line, **registers):
    """Make the board say that it is a tiny fabric."""
    values = {"IDENTIFIER": IDENTIFIER, "VERSION": VERSION, "CONFIG_DIGEST": int(TINY.digest[:8], 16)} | registers
    SerialLink(line).access([Access(Register[name], value) for name, value in values.items()])


def test_board_with_another_configuration_is_refused(line):
    claim(line, CONFIG_DIGEST=0x12345678)
    with pytest.raises(
        ValueError, match=r"the board at .* was built for something else: .*CONFIG_DIGEST is 0x12345678"
    ):
        SerialDevice(TINY, port=line, memory_bytes=1024)


def test_board_with_less_memory_is_refused(line):
    claim(line)
    with pytest.raises(ValueError, match=rf"5000 bytes of memory are needed, but the board at .* has {MEMORY_BYTES}"):
        SerialDevice(TINY, port=line, memory_bytes=5000)
    with pytest.raises(ValueError, match="at least 1 byte, not 0"):
        SerialDevice(TINY, port=line, memory_bytes=0)


def test_program_that_cannot_be_ended(line, monkeypatch):
    monkeypatch.setattr("acf.runtime.serial_device._ENDS", 3)
    claim(line, STATUS=1)
    with pytest.raises(LinkError, match="runs a program that cannot be aborted"):
        SerialDevice(TINY, port=line, memory_bytes=1024)


@pytest.mark.parametrize(
    ("data", "stale", "pieces"),
    [
        ([], [], []),
        ([5] * 600, [], []),
        ([5] * 600, [599], [(512, 600, 5)]),
        ([5] * 600, [0, 300, 599], [(0, 600, 5)]),
        ([5] * 256 + [6] * 256, [0, 300], [(0, 256, 5), (256, 512, 6)]),
        ([1, 2] * 300, [0, 300], [(0, 512, None)]),
        ([1, 2] * 128 + [0] * 256 + [1], [0, 256, 512], [(0, 256, None), (256, 512, 0), (512, 513, 1)]),
    ],
)
def test_pieces_that_are_sent(data, stale, pieces):
    marks = np.zeros(len(data), dtype=bool)
    marks[stale] = True
    assert _pieces(np.array(data, dtype=np.uint8), marks) == pieces


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([], 2, "the serial device needs the port of its board: --port PATH"),
        (["--port", "/dev/none"], 2, "there is no port '/dev/none'; is the board plugged in?"),
        (["--port", "/dev/null"], 2, "the port '/dev/null' cannot be opened"),
        (["--port", "x", "--device", "golden"], 2, "the golden device has no port, so 'x' means nothing to it"),
    ],
)
def test_wrong_ports_are_named(capsys, arguments, status, sentence):
    small = ["--preset", "tiny", "--rows", "2", "--inner", "2", "--cols", "2"]
    assert run(["bench", "gather", *small, "--device", "serial", *arguments]) == status
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_port_without_a_board(capsys, monkeypatch):
    monkeypatch.setattr(SerialLink.__init__, "__kwdefaults__", {"patience": 0.01, "tries": 2, "seed": None})
    master, slave = os.openpty()
    try:
        status = run(["bench", "gather", "--preset", "tiny", "--rows", "2", "--inner", "2", "--cols", "2",
                      "--device", "serial", "--port", os.ttyname(slave)])  # fmt: skip
    finally:
        os.close(master)
        os.close(slave)
    assert status == 1
    assert "no board answers at /dev/" in capsys.readouterr().err


# The board itself


def board_verilog():
    return generate_board(SMALL, memory_bytes=BOARD_MEMORY, cycles_per_bit=BOARD_BIT, top="acf_board_top")


@pytest.fixture(scope="module")
def board():
    board = SimulatedBoard(board_verilog(), top="acf_board_top", cycles_per_bit=BOARD_BIT, quiet=True)
    yield board
    board.close()


@pytest.fixture
def board_line(board):
    return BoardLine(board, cycles_per_bit=BOARD_BIT)


def gather_on(device, *, rows=3, inner=5, columns=4, seed=1):
    weights = random_weights(rows=rows, inner=inner, density=0.5, seed=seed, format="bf16")
    operand = random_operand(inner=inner, columns=columns, density=0.5, seed=seed, format="bf16")
    return run_gather(device, weights, operand)


def test_layer_through_a_terminal(board, capsys, monkeypatch):
    """Registers, memory, program and counters through the UART's pins; compared with the golden product."""
    monkeypatch.setitem(PRESETS, "small", SMALL)
    arguments = ["--preset", "small", "--rows", "4", "--inner", "8", "--cols", "8", "--json"]
    with BoardPort(board) as port:
        assert run(["bench", "gather", *arguments, "--device", "serial", "--port", port.path]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bit_exact"]
    assert report["device"] == "serial"
    assert sum(report["lane_cycles"].values()) == report["lanes"] * report["cycles"]


def test_memory_and_counters_are_those_of_golden(board_line):
    device, golden = (
        SerialDevice(SMALL, port=board_line, memory_bytes=1 << 12),
        GoldenDevice(SMALL, memory_bytes=1 << 12),
    )
    found, expected = gather_on(device), gather_on(golden)
    assert found.accumulators.tobytes() == expected.accumulators.tobytes()
    assert found.run.effectual.tolist() == expected.run.effectual.tolist()
    assert found.run.commands == expected.run.commands
    for kind in ("row_feeders", "column_feeders"):
        counters = {name: values.tolist() for name, values in getattr(found.run, kind).items()}
        assert counters == {name: values.tolist() for name, values in getattr(expected.run, kind).items()}
    assert device.memory.tobytes() == golden.memory.tobytes()


def test_errors_of_programs(board_line):
    device = SerialDevice(SMALL, port=board_line, memory_bytes=1 << 12)
    with pytest.raises(FabricError) as caught:
        device.run(0, 1, [Window(base=0, limit=63)])  # zeros are no command
    assert caught.value.code is ErrorCode.ILLEGAL_COMMAND
    with pytest.raises(FabricError) as caught:
        device.run(0, 1, [])
    assert caught.value.code is ErrorCode.WINDOW


@pytest.mark.parametrize("opcode", [Opcode.PRUNE, Opcode.SURVEY, Opcode.MERGE])
def test_engines_that_are_not_built(board_line, opcode):
    commands = [(opcode, {"semaphore": 0}), (Opcode.WAIT, {"semaphore": 0, "count": 1}), (Opcode.END, {})]
    program = np.array([encode_command(each, **fields) for each, fields in commands], dtype="<u4")
    words = program.view(np.uint8).ravel()
    for device in (
        SerialDevice(SMALL, port=board_line, memory_bytes=1 << 12),
        GoldenDevice(SMALL, memory_bytes=1 << 12),
    ):
        device.memory[: words.size] = words
        with pytest.raises(FabricError) as caught:
            device.run(0, len(commands), [Window(base=0, limit=255)])
        assert caught.value.code is ErrorCode.COMMAND_RANGE


def test_port_has_one_user(board):
    with BoardPort(board) as port:
        device = open_device("serial", SMALL, memory_bytes=1024, port=port.path)
        assert isinstance(device, SerialDevice)
        with pytest.raises(OSError, match="is in use by another program"):
            open_device("serial", SMALL, memory_bytes=1024, port=port.path)
        device.close()


def check_layer(board, product, shape, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL)
    sizes = [
        word
        for option, size in zip(("--rows", "--inner", "--cols"), shape, strict=True)
        for word in (option, str(size))
    ]
    with BoardPort(board) as port:
        arguments = ["--preset", "small", *sizes, "--no-dense", "--json", "--device", "serial", "--port", port.path]
        assert run(["bench", product, *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bit_exact"]
    assert report["effectual_macs"] > 0


@pytest.mark.regress
@pytest.mark.timeout(3600)  # the first one builds it
@pytest.mark.parametrize("product", ["gather", "scatter", "sampled"])
def test_layer_on_the_netlist(netlist_board, capsys, monkeypatch, product):
    """What a board runs, but for the delays: its cells, from the pins of the UART on."""
    check_layer(netlist_board, product, (6, 9, 8), capsys, monkeypatch)


@pytest.fixture(scope="module")
def netlist_board():
    top = "acf_board_top"
    board = SimulatedBoard(gate_netlist(board_verilog(), top=top), top=top, cycles_per_bit=BOARD_BIT, quiet=True)
    yield board
    board.close()


@pytest.mark.regress
def test_larger_layers(board_line):
    device, golden = (
        SerialDevice(SMALL, port=board_line, memory_bytes=1 << 14),
        GoldenDevice(SMALL, memory_bytes=1 << 14),
    )
    for seed in range(3):
        found, expected = (gather_on(d, rows=17, inner=40, columns=35, seed=seed) for d in (device, golden))
        assert found.accumulators.tobytes() == expected.accumulators.tobytes()
        assert found.run.effectual.tolist() == expected.run.effectual.tolist()
        assert device.memory.tobytes() == golden.memory.tobytes()


@pytest.fixture(scope="module")
def sdram_board():
    top = "acf_board_top"
    verilog = generate_board(SMALL, memory_bytes=None, cycles_per_bit=BOARD_BIT, top=top)
    board = SimulatedBoard(verilog, top=top, cycles_per_bit=BOARD_BIT, quiet=True)
    yield board
    board.close()


@pytest.mark.regress
@pytest.mark.parametrize("product", ["gather", "scatter", "sampled"])
def test_layer_in_sdram(sdram_board, capsys, monkeypatch, product):
    check_layer(sdram_board, product, (12, 20, 16), capsys, monkeypatch)


@pytest.mark.regress
def test_sdram_is_as_large_as_it_says(sdram_board):
    line = BoardLine(sdram_board, cycles_per_bit=BOARD_BIT)
    link = SerialLink(line)
    assert link.greeting.memory_bytes == 1 << 25
    places = [0, 1 << 10, 1 << 12, (1 << 24) + 5, (1 << 25) - 100]
    for n, place in enumerate(places):
        link.write(place, bytes(range(n, n + 100)))
    for n, place in enumerate(places):
        assert link.read(place, 100) == bytes(range(n, n + 100))
    with pytest.raises(RefusedError):
        link.read((1 << 25) - 50, 100)
    device, golden = (
        SerialDevice(SMALL, port=line, memory_bytes=1 << 13),
        GoldenDevice(SMALL, memory_bytes=1 << 13),
    )
    found, expected = (gather_on(each, rows=9, inner=20, columns=9) for each in (device, golden))
    assert found.accumulators.tobytes() == expected.accumulators.tobytes()
    assert device.memory.tobytes() == golden.memory.tobytes()


@pytest.mark.regress
@pytest.mark.parametrize("seed", range(3))
def test_layer_over_a_faulty_line(board_line, seed):
    line = FaultyLine(board_line, seed=seed, rate=1e-3)
    # The board says that its time is not the host's, but on this line it is: 1/100 of what it gets.
    device = SerialDevice(SMALL, port=line, memory_bytes=1 << 12, patience=1e-5)
    found, expected = gather_on(device), gather_on(GoldenDevice(SMALL, memory_bytes=1 << 12))
    assert found.accumulators.tobytes() == expected.accumulators.tobytes()
    assert sum(line.faults.values()) > 0
    assert device.link.repeats > 0


@pytest.mark.regress
def test_board_simulate():
    """The command that people start, with the preset that they would use, and a layer on it."""
    command = [sys.executable, "-c", "from acf.cli.main import main; main()", "board", "simulate"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        # What is started in the background ignores interrupts, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as simulation:
        assert simulation.stdout is not None
        try:
            assert select.select([simulation.stdout], [], [], 1800)[0], "no path after half an hour"
            path = simulation.stdout.readline().strip()
            small = ["--rows", "8", "--inner", "24", "--cols", "12"]
            assert run(["bench", "gather", "--preset", "tiny", *small, "--device", "serial", "--port", path]) == 0
            wrong = ["bench", "gather", "--preset", "base", *small, "--device", "serial", "--port", path]
            assert run(wrong) == 2
        finally:
            simulation.send_signal(signal.SIGINT)
    assert simulation.returncode == 130
