"""The ``rtl`` device: its harness on a stand-in that copies memory, and the tiny fabric on any memory."""

import contextlib
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from acf.config import preset
from acf.hw.blocks import generate
from acf.isa import ErrorCode
from acf.runtime.device import FabricError, whole_memory
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.matrices import random_operand, random_weights
from acf.sim import build
from acf.sim.build import BuildError, build_library
from acf.sim.harness import Harness, HarnessError, HarnessTimeout
from acf.sim.memory_timing import MemoryTiming
from acf.sim.rtl_device import RtlDevice
from acf.sim.verilog_store import stored_verilog

COPY_ENGINE = Path(__file__).with_name("copy_engine.v").read_text()
SOURCE, TARGET, LENGTH, BURSTS, STROBES, FAULT, START = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
READ_CYCLES, WRITE_CYCLES, READ_RESPONSE, WRITE_RESPONSE, OUT_OF_ORDER = 0x20, 0x24, 0x28, 0x2C, 0x30
BEAT = 8
TINY, FABRIC = preset("tiny"), "acf_fabric_top"
SLVERR, DECERR = 2, 3


@pytest.fixture(scope="module")
def library():
    return build_library(COPY_ENGINE, top="copy_engine")


@pytest.fixture
def memory():
    return np.random.default_rng(1).integers(0, 256, size=1 << 16, dtype=np.uint8)


def start_copy(harness, *, source=0, target=0x8000, bursts=16, beats=16, strobes=0xFF, fault=0):
    for register, value in (
        (SOURCE, source),
        (TARGET, target),
        (LENGTH, beats - 1),
        (BURSTS, bursts),
        (STROBES, strobes),
        (FAULT, fault),
        (START, 1),
    ):
        harness.write_register(register, value)


def copy(harness, **arguments):
    start_copy(harness, **arguments)
    return harness.run(100_000)


def golden_copy(memory, *, source=0, target=0x8000, bursts=16, beats=16, strobes=0xFF):
    copied = memory.copy()
    for n in range(bursts * beats * BEAT):
        if strobes >> n % BEAT & 1:
            copied[target + n] = memory[source + n]
    return copied


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"bursts": 1, "beats": 1},
        {"bursts": 3, "beats": 7, "source": 0x1238, "target": 0x4010},
        {"strobes": 0xA5},
        {"strobes": 0, "bursts": 2},
    ],
)
@pytest.mark.parametrize(
    "timing",
    [
        MemoryTiming(),
        MemoryTiming(latency=1, write_latency=1),
        MemoryTiming(latency=7, bandwidth=5.5, outstanding=1),
        MemoryTiming(stall=0.5, jitter=30, seed=7),
        MemoryTiming(stall=0.3, jitter=50, reorder=True, seed=8),
        MemoryTiming(stall=0.3, jitter=50, reorder=True, interleave=True, seed=9),
    ],
)
def test_copies(library, memory, shape, timing):
    expected = golden_copy(memory, **shape)
    with Harness(library, memory=memory, timing=timing) as harness:
        copy(harness, **shape)
        assert np.array_equal(memory, expected)
        statistics = harness.statistics
        bursts, beats = shape.get("bursts", 16), shape.get("bursts", 16) * shape.get("beats", 16)
        assert (statistics.read_bursts, statistics.read_beats) == (bursts, beats)
        assert (statistics.write_bursts, statistics.write_beats) == (bursts, beats)
        assert statistics.bytes_written == beats * shape.get("strobes", 0xFF).bit_count()
        assert (statistics.reads_outstanding, statistics.writes_outstanding, statistics.refused) == (0, 0, 0)


@pytest.mark.parametrize("latency", [1, 2, 24, 300])
@pytest.mark.parametrize(("bursts", "beats"), [(1, 1), (1, 16), (16, 16)])
def test_latency_by_count(library, memory, latency, bursts, beats):
    with Harness(library, memory=memory, timing=MemoryTiming(latency=latency, write_latency=latency + 1)) as harness:
        copy(harness, bursts=bursts, beats=beats)
        # From the first address to the last beat: later bursts hide behind the first, one beat follows the other.
        assert harness.read_register(READ_CYCLES) == latency + bursts * beats
        # A write beat moves in the cycle after its address; the answer comes after the last beat.
        assert harness.read_register(WRITE_CYCLES) == 1 + bursts * beats + latency + 1


def test_outstanding_by_count(library, memory):
    with Harness(library, memory=memory, timing=MemoryTiming(latency=20, outstanding=1)) as harness:
        copy(harness, bursts=8, beats=4)
        # The next address is taken in the cycle after the last beat of the burst before.
        assert harness.read_register(READ_CYCLES) == 8 * (20 + 4)


@pytest.mark.parametrize("bandwidth", [0.5, 3, 5.5, 8, 100])
def test_bandwidth_by_count(library, memory, bandwidth):
    with Harness(library, memory=memory, timing=MemoryTiming(latency=1, bandwidth=bandwidth)) as harness:
        copy(harness)
        beats = 256
        expected = 1 + max(beats, 1 + math.floor((beats - 1) * BEAT / bandwidth))
        assert abs(harness.read_register(READ_CYCLES) - expected) <= math.ceil(BEAT / bandwidth)


def test_reordering_is_seen_only_when_asked_for(library, memory):
    seen = {}
    for reorder, interleave in ((False, False), (True, False), (True, True)):
        timing = MemoryTiming(jitter=100, reorder=reorder, interleave=interleave, seed=3)
        with Harness(library, memory=memory, timing=timing) as harness:
            copy(harness)
            seen[reorder, interleave] = harness.read_register(OUT_OF_ORDER)
    assert seen[False, False] == 0
    assert seen[True, False] > 0
    assert seen[True, True] > 0


def test_same_seed_same_cycles(library, memory):
    def cycles(seed):
        timing = MemoryTiming(stall=0.5, jitter=20, reorder=True, seed=seed)
        with Harness(library, memory=memory.copy(), timing=timing) as harness:
            return copy(harness)

    assert cycles(1) == cycles(1)
    assert len({cycles(seed) for seed in range(5)}) > 1


def test_outside_the_memory_is_decerr(library, memory):
    before = memory.copy()
    with Harness(library, memory=memory, base=0x1000) as harness:
        copy(harness, source=0x0F80, target=0x1000 + memory.size - 128, bursts=2, beats=16)
        assert harness.read_register(READ_RESPONSE) == DECERR  # the first burst, below the base
        assert harness.read_register(WRITE_RESPONSE) == DECERR  # the second burst, behind the end
        assert harness.statistics.refused == 2
    assert np.array_equal(memory[: memory.size - 128], before[: memory.size - 128])
    assert not memory[memory.size - 128 :].any()  # refused reads give zeros


def test_planted_error_responses(library, memory):
    before = memory.copy()
    with Harness(library, memory=memory) as harness:
        harness.fail_accesses(0x20, 0x20, response=SLVERR)
        harness.fail_accesses(0x8000, 0x8007, response=DECERR)
        copy(harness, bursts=1)
        assert harness.read_register(READ_RESPONSE) == SLVERR
        assert harness.read_register(WRITE_RESPONSE) == DECERR
        assert np.array_equal(memory, before)
        harness.heal_accesses()
        copy(harness, bursts=1)
        assert (harness.read_register(READ_RESPONSE), harness.read_register(WRITE_RESPONSE)) == (0, 0)
        assert np.array_equal(memory, golden_copy(before, bursts=1))
        with pytest.raises(ValueError, match=r"must be 2 \(SLVERR\) or 3 \(DECERR\), not 0"):
            harness.fail_accesses(0, 1, response=0)


def test_two_harnesses_do_not_share_state(library, memory):
    other = memory[::-1].copy()
    with Harness(library, memory=memory) as one, Harness(library, memory=other) as two:
        start_copy(one)
        start_copy(two, bursts=2)
        expected, expected_other = golden_copy(memory), golden_copy(other, bursts=2)
        two.run(10_000)
        one.run(10_000)
    assert np.array_equal(memory, expected)
    assert np.array_equal(other, expected_other)


def test_reset_forgets_what_is_under_way(library, memory):
    with Harness(library, memory=memory, timing=MemoryTiming(latency=500)) as harness:
        start_copy(harness, bursts=4)
        with pytest.raises(HarnessTimeout, match="4 reads and 0 writes outstanding"):
            harness.run(50)
        harness.reset()
        assert harness.statistics.reads_outstanding == 0
        expected = golden_copy(memory)
        copy(harness)
        assert np.array_equal(memory, expected)


def test_timeouts_say_what_is_pending(library, memory):
    with Harness(library, memory=memory, timing=MemoryTiming(latency=1000)) as harness:
        start_copy(harness, bursts=3)
        with pytest.raises(
            HarnessTimeout, match="no interrupt in 100 cycles; 3 reads and 0 writes outstanding, 0 beats"
        ):
            harness.run(100)
        assert harness.run(10_000) > 0
        start_copy(harness, fault=3)
        with pytest.raises(HarnessTimeout, match="no beat on the memory port for 2000 cycles; 0 reads and 0 writes"):
            harness.run(10_000_000, quiet_cycles=2000)
        with pytest.raises(HarnessTimeout, match="read of host register 0xf00 not answered in 50 cycles"):
            harness.read_register(0xF00, max_cycles=50)
        with pytest.raises(HarnessTimeout, match="write of 0x5 to host register 0xf04 not answered in 50 cycles"):
            harness.write_register(0xF04, 5, max_cycles=50)


@pytest.mark.parametrize(
    ("fault", "timing", "message"),
    [
        (1, MemoryTiming(stall=0.9), "ARVALID fell before ARREADY"),
        (2, MemoryTiming(), "WLAST is 1 with 15 beats of the burst to come"),
    ],
)
def test_broken_protocol_is_reported(library, memory, fault, timing, message):
    with Harness(library, memory=memory, timing=timing) as harness:
        start_copy(harness, fault=fault)
        with pytest.raises(HarnessError, match=f"memory port in cycle [0-9]+: {message}"):
            harness.run(10_000)


def test_crossing_4k_is_reported(library, memory):
    with Harness(library, memory=memory) as harness:
        start_copy(harness, source=0xFF8, bursts=1, beats=2)
        with pytest.raises(HarnessError, match="AR burst of 2 beats at 0xff8 crosses a 4 KiB boundary"):
            harness.run(10_000)


def test_error_of_a_register_is_reported(library, memory):
    with (
        Harness(library, memory=memory) as harness,
        pytest.raises(HarnessError, match="read of host register 0x800 answered with AXI response 2"),
    ):
        harness.read_register(0x800)


def test_progress_and_beat(library, memory):
    with Harness(library, memory=memory) as harness:
        assert harness.beat_bytes == BEAT
        start_copy(harness, fault=3)
        calls = []
        with pytest.raises(HarnessTimeout):
            harness.run(5_000_000, progress=calls.append)
        assert calls == sorted(calls)
        assert calls


def test_memory_must_be_bytes(library):
    with pytest.raises(ValueError, match="one-dimensional array of uint8, not 1-dimensional float64"):
        Harness(library, memory=np.zeros(8))
    with pytest.raises(ValueError, match="contiguous and writeable"):
        Harness(library, memory=np.zeros(16, np.uint8)[::2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latency": 0}, "memory latency must be an integer of at least 1, not 0"),
        ({"write_latency": 2.5}, "memory write latency must be an integer of at least 1, not 2.5"),
        ({"outstanding": 0}, "outstanding bursts of the memory must be an integer of at least 1, not 0"),
        ({"jitter": -1}, "latency jitter must be an integer of at least 0, not -1"),
        ({"bandwidth": 0}, "memory bandwidth must be from 1/1024 to 1048576 bytes per cycle, not 0"),
        ({"stall": 1.0}, "stall probability must be from 0 to 0.99, not 1.0"),
        ({"interleave": True}, "interleaved beats need reorder=True"),
    ],
)
def test_timing_is_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        MemoryTiming(**arguments)


def test_trace_is_written(memory, tmp_path):
    library = build_library(COPY_ENGINE, top="copy_engine", trace="vcd")
    trace = tmp_path / "copy.vcd"
    with Harness(library, memory=memory, trace=trace) as harness:
        copy(harness, bursts=1)
    text = trace.read_text()
    assert "m_axi_araddr" in text
    assert text.count("#") > 100


def test_library_is_built_once(monkeypatch, tmp_path):
    monkeypatch.setenv("ACF_BUILD", str(tmp_path))
    builds = []

    def fake_build(scratch, **_):
        builds.append(threading.get_ident())
        (scratch / "obj").mkdir()
        (scratch / build.LIBRARY).write_text("")

    monkeypatch.setattr(build, "_build", fake_build)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: build_library("module m; endmodule", top="m"), range(8)))
    assert len(builds) == 1
    assert len(set(paths)) == 1
    assert paths[0].is_file()
    assert build_library("module m; wire a; endmodule", top="m") != paths[0]
    assert len(builds) == 2
    assert not list((tmp_path / "rtl").glob("*.*.*"))


def test_failed_build_says_why_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("ACF_BUILD", str(tmp_path))
    with pytest.raises(BuildError, match=r"verilator failed with status [0-9]+:\n.*syntax error"):
        build_library("module m; wire wire; endmodule", top="m", quiet=True)
    assert not [path for path in (tmp_path / "rtl").iterdir() if path.is_dir()]
    with pytest.raises(ValueError, match="trace format must be vcd or fst, not 'svg'"):
        build_library("module m; endmodule", top="m", trace="svg")


def test_device_refuses_verilog_of_something_else():
    with pytest.raises(ValueError, match="not of this configuration: IDENTIFIER is 0x"):
        RtlDevice(preset("tiny"), verilog=COPY_ENGINE, top="copy_engine", memory_bytes=4096)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_bytes": 0}, r"memory must have 1 to 2\^32 bytes, not 0"),
        ({"watchdog": 0}, r"watchdog must be from 1 to 2\^32 - 1 cycles, not 0"),
        ({"trace": Path("a.txt")}, "a trace must be a .vcd or .fst file, not 'a.txt'"),
    ],
)
def test_device_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        RtlDevice(preset("tiny"), verilog=COPY_ENGINE, top="copy_engine", **arguments)


@pytest.fixture(scope="module")
def fabric():
    """Verilog of the tiny fabric."""
    return stored_verilog(f"{FABRIC}-{TINY.digest}", lambda: generate("fabric", config=TINY, top=FABRIC))


@contextlib.contextmanager
def opened(fabric, **arguments):
    device = RtlDevice(TINY, verilog=fabric, top=FABRIC, memory_bytes=1 << 20, **arguments)
    try:
        yield device
    finally:
        device.close()


def operands(seed, *, rows=21, inner=40, columns=19):
    weights = random_weights(rows=rows, inner=inner, density=0.3, seed=seed, format="bf16")
    return weights, random_operand(inner=inner, columns=columns, density=0.5, seed=seed + 1, format="bf16")


def golden(weights, operand):
    return run_gather(GoldenDevice(TINY, memory_bytes=1 << 20), weights, operand)


def bits(result):
    return result.accumulators.view(np.uint32)


@pytest.mark.parametrize(
    "timing",
    [
        MemoryTiming(),
        MemoryTiming(latency=1, write_latency=1),
        MemoryTiming(latency=200, write_latency=300, bandwidth=0.7),
        MemoryTiming(outstanding=1, stall=0.2, jitter=9, seed=3),
        MemoryTiming(stall=0.6, jitter=60, reorder=True, seed=4),
        MemoryTiming(stall=0.4, jitter=200, reorder=True, interleave=True, seed=5),
    ],
)
def test_fabric_gives_the_golden_bits_on_any_memory(fabric, timing):
    with opened(fabric, timing=timing) as device:
        for seed in range(3):
            weights, operand = operands(seed)
            before = device.port_statistics
            result, expected = run_gather(device, weights, operand), golden(weights, operand)
            after = device.port_statistics
            assert np.array_equal(bits(result), bits(expected))
            run = result.run
            assert np.array_equal(run.effectual, expected.run.effectual)
            assert run.commands == expected.run.commands
            for feeders, same in (
                (run.row_feeders, expected.run.row_feeders),
                (run.column_feeders, expected.run.column_feeders),
            ):
                assert all(np.array_equal(feeders[counter], same[counter]) for counter in same)
            # Every cycle of every lane has one cause; the port has moved what the memory has seen.
            assert run.causes is not None
            assert (run.causes.sum(axis=-1) == run.cycles).all()
            assert run.bytes_read == (after.read_beats - before.read_beats) * BEAT
            assert run.bytes_written == after.bytes_written - before.bytes_written


def test_fabric_takes_longer_on_a_slower_memory(fabric):
    cycles = []
    for timing in (MemoryTiming(latency=1), MemoryTiming(latency=100), MemoryTiming(latency=100, bandwidth=0.5)):
        with opened(fabric, timing=timing) as device:
            cycles.append(run_gather(device, *operands(1)).run.cycles)
    assert cycles == sorted(cycles)
    assert cycles[0] < cycles[1] < cycles[2]


@pytest.mark.parametrize("response", [SLVERR, DECERR])
def test_fabric_reports_failing_memory_and_goes_on(fabric, response):
    weights, operand = operands(3)
    with opened(fabric, timing=MemoryTiming(stall=0.3, seed=2)) as device:
        result = run_gather(device, weights, operand)
        # The program lies behind the operands; what comes first in memory are the weights.
        device.harness.fail_accesses(0, 7, response=response)
        with pytest.raises(FabricError, match="READ_RESPONSE") as raised:
            run_gather(device, weights, operand)
        assert raised.value.code == ErrorCode.READ_RESPONSE
        assert raised.value.address < 64
        assert device.port_statistics.reads_outstanding == device.port_statistics.writes_outstanding == 0
        device.harness.heal_accesses()
        assert np.array_equal(bits(run_gather(device, weights, operand)), bits(result))


def test_fabric_keeps_to_its_windows(fabric):
    with opened(fabric) as device:
        device.memory[:] = 0
        with pytest.raises(FabricError, match="WINDOW"):
            device.run(0, 1, [])
        with pytest.raises(FabricError, match="ILLEGAL_COMMAND"):
            device.run(0, 1, whole_memory(device))
        with pytest.raises(ValueError, match="program address must be a multiple of 64"):
            device.run(4, 1, whole_memory(device))
        with pytest.raises(ValueError, match="up to 4 windows, not 5"):
            device.run(0, 1, whole_memory(device) * 5)


def test_silent_memory_trips_the_watchdog(fabric):
    with opened(fabric, timing=MemoryTiming(latency=5000), watchdog=2000) as device:
        with pytest.raises(FabricError, match="WATCHDOG"):
            run_gather(device, *operands(1))
        assert device.port_statistics.reads_outstanding == 0
    with (
        opened(fabric, timing=MemoryTiming(latency=4_000_000_000), watchdog=1000) as device,
        pytest.raises(HarnessTimeout, match=r"did not end: no interrupt, and no beat .* for 4000 cycles; .*STATUS 0x"),
    ):
        run_gather(device, *operands(1))


def test_program_has_a_limit(fabric):
    with (
        opened(fabric, max_cycles=300) as device,
        pytest.raises(HarnessTimeout, match=r"did not end: no interrupt in 300 cycles; .*STATUS 0x1, ERROR_CODE 0"),
    ):
        run_gather(device, *operands(1))
