"""The network alone under random traffic: its statistics against queueing theory, and faults that must be seen."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from acf.cli import main
from acf.config import NetworkConfig
from acf.runtime.networks import open_network
from acf.sim.noc_harness import NetworkError, NetworkHarness, Phases, RunStatistics
from acf.sim.noc_sweep import Sweep, sweep, zero_load_latency
from acf.sim.traffic import PATTERNS, destinations, routers_passed

LOOPS = Path(__file__).with_name("loop_network.v").read_text()
SMALL = NetworkConfig(height=2, width=3, buffer_depth=4, channels="onward", rounds=2)
SMALL_OPTIONS = ("--mesh", "2x3", "--depth", "4")
PHASES = Phases(warm_up=200, measure=4000, drain=4000)


def latency(routers, flits, stages=1):
    return (1 + stages) * routers + 2 + flits - 1


@pytest.fixture(scope="module")
def harness():
    with open_network(SMALL, quiet=True) as opened:
        yield opened


@pytest.mark.parametrize("flits", [1, 4])
def test_packets_alone(harness, flits):
    table = destinations("uniform", SMALL)
    found = zero_load_latency(harness, table, flits=flits, seed=1)
    assert found["packets"] == SMALL.nodes**2
    assert found["by_routers"] == {routers: [latency(routers, flits)] * 2 for routers in (1, 2, 3, 4)}
    assert math.isclose(found["mean"], (table * latency(routers_passed(SMALL), flits)).sum() / SMALL.nodes)


@pytest.mark.parametrize("flits", [1, 3])
@pytest.mark.parametrize("pattern", ["uniform", "hotspot", "neighbor"])
def test_every_packet_comes(harness, pattern, flits):
    table = destinations(pattern, SMALL)
    running = harness.run(table, load=0.3, flits=flits, seed=2, phases=PHASES)
    assert running.drained
    assert running.measured == running.measured_delivered == running.latencies.size
    assert running.latencies.min() >= latency(1, flits)
    assert running.flits_injected == pytest.approx(running.measured * flits, rel=0.05)
    found = harness.flush()
    assert found.created == found.delivered > running.measured
    assert found.packet_cycles == found.latency_sum, "Little's law, exact where nothing is left"
    expected = 0.3 / flits * SMALL.nodes * PHASES.measure
    assert found.measured == pytest.approx(expected, abs=5 * math.sqrt(expected))


@pytest.mark.parametrize(("flits", "load"), [(1, 0.9), (4, 0.3), (4, 0.7), (16, 0.5)])
def test_one_queue_waits_as_in_theory(harness, flits, load):
    """Every node sends to itself, so that packets wait in the queues of their sources alone, which are Geo/D/1."""
    phases = Phases(warm_up=2000, measure=60_000, drain=4000)
    found = harness.run(np.eye(SMALL.nodes), load=load, flits=flits, seed=3, phases=phases)
    wait = load * (flits - 1) / (2 * (1 - load))
    assert found.latencies.mean() - latency(1, flits) == pytest.approx(wait, rel=0.08, abs=1e-9)


def test_all_to_one_takes_one_flit_a_cycle(harness):
    table = destinations("all-to-one", SMALL)
    assert table.any(axis=1).sum() == SMALL.nodes - 1
    found = harness.run(table, load=1.0, flits=1, seed=1, phases=PHASES)
    assert not found.drained
    assert found.flits_ejected == PHASES.measure
    report = sweep(harness, Sweep(traffic="all-to-one", phases=PHASES, resolution=0.01))
    low, high = report["saturation_between"]
    assert low <= 1 / (SMALL.nodes - 1) <= high + 0.02
    assert low > 0.75 / (SMALL.nodes - 1)


def test_same_seed_same_numbers(harness):
    table = destinations("uniform", SMALL)
    runs = [harness.run(table, load=0.5, flits=2, seed=seed, phases=PHASES) for seed in (5, 5, 6)]
    assert np.array_equal(runs[0].latencies, runs[1].latencies)
    assert not np.array_equal(runs[0].latencies, runs[2].latencies)


@pytest.fixture(scope="module")
def loops():
    network = NetworkConfig(height=1, width=7)
    with NetworkHarness(network, verilog=LOOPS, top="loop_network", quiet=True) as opened:
        yield opened


def to_itself(sender):
    only = np.zeros((7, 7))
    only[sender, sender] = 1
    return only


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (1, "1 packets have not come after 1000 cycles without new ones"),
        (2, "packet 50 from 2 to 2, which has come before"),
        (3, r"node 3 takes 02.*, as flit 0 of packet 50 from 3"),
        (4, "packet 50 from 4 to 4 comes behind packet 5[12]"),
        (5, "node 4 takes .* packet 50 from 5 to 5"),
        (6, "nothing has moved for 301 cycles, and .* packets have not come; the oldest is packet 51 from 6 to 6"),
    ],
)
def test_faults_are_seen(loops, node, message):
    def run(sender):
        phases = Phases(warm_up=400, measure=400, drain=100)
        loops.run(to_itself(sender), load=0.5, flits=1, seed=1, phases=phases, watchdog=300 if sender == 6 else 0)
        return loops.flush(max_cycles=1000)

    with pytest.raises(NetworkError, match=message):
        run(node)
    found = run(0)
    assert found.created == found.delivered > 300


def network(
    routing,
    channels="free",
    *,
    height=2,
    width=3,
    rounds=2,
    stages=1,
    virtual_channels=2,
    buffer_depth=4,
    topology="mesh",
):
    return NetworkConfig(
        height=height,
        width=width,
        routing=routing,
        channels=channels,
        rounds=rounds,
        stages=stages,
        virtual_channels=virtual_channels,
        buffer_depth=buffer_depth,
        topology=topology,
    )


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        *(
            pytest.param(config, marks=pytest.mark.regress)
            for config in (
                network("o1turn", "onward", virtual_channels=3, stages=2),
                network("xy", "kept", rounds=1),
                network("xy", rounds=1),
                network("xy", "onward", height=3, virtual_channels=4),
                network("xy", "onward", width=2, stages=2),
                network("yx", "onward", virtual_channels=1),
                network("west-first", rounds=3, height=3),
                network("negative-first", height=3, virtual_channels=1),
                network("odd-even", height=4, buffer_depth=8),
                network("o1turn", height=3),
                network("adaptive", width=2),
                network("adaptive", height=3, stages=2),
                network("yx", "onward", virtual_channels=1, rounds=1, stages=2),
                network("o1turn", "onward", virtual_channels=5),
                network("o1turn", "onward", virtual_channels=5, stages=2),
                network("adaptive", height=4, width=4, virtual_channels=3, buffer_depth=2),
                network("xy", "onward", width=5, topology="torus"),
                network("yx", "onward", height=4, width=1, topology="torus"),
                network("xy", height=5, virtual_channels=3, topology="torus"),
                network("o1turn", "onward", height=5, virtual_channels=4, rounds=3, stages=2, topology="torus"),
                network("o1turn", width=6, virtual_channels=4, topology="torus"),
                network("o1turn", "onward", width=5, virtual_channels=5, topology="torus"),
                network("adaptive", height=3, width=4, topology="torus"),
                network("adaptive", height=3, width=5, virtual_channels=3, topology="torus"),
            )
        ),
    ],
    ids=lambda config: (
        f"{config.topology}-{config.routing}-{config.channels}-{config.virtual_channels}-{config.stages}"
    ),
)
def test_full_networks_empty_themselves(config):
    """More than the network can carry, in packets longer than its buffers, into sinks that stall; then nothing more."""
    with open_network(config, quiet=True) as harness:
        uniform = destinations("uniform", config)
        for flits in 1, min(3, config.buffer_depth):
            found = zero_load_latency(harness, uniform, flits=flits, seed=1)
            assert found["by_routers"] == {
                int(routers): [latency(routers, flits, config.stages)] * 2
                for routers in np.unique(routers_passed(config))
            }
        for traffic in "uniform", "hotspot", "neighbor":
            for flits, stall in (1, 0.0), (1, 0.6), (9, 0.0), (9, 0.4):
                phases = Phases(warm_up=0, measure=1500, drain=0)
                running = harness.run(
                    destinations(traffic, config), load=1.0, flits=flits, seed=flits, phases=phases, stall=stall
                )
                assert running.flits_injected > running.flits_ejected > phases.measure / 2
                found = harness.flush(max_cycles=100_000)
                assert found.created == found.delivered > running.delivered
                assert found.packet_cycles == found.latency_sum


@pytest.mark.regress
@pytest.mark.parametrize(
    ("config", "traffic", "least", "most"),
    [
        (network("xy", "onward", height=4, width=4, buffer_depth=8), "uniform", 0.75, 1.0),
        (network("xy", "onward", height=4, width=4, buffer_depth=8, stages=2), "uniform", 0.75, 1.0),
        (network("xy", "onward", height=4, width=4, buffer_depth=8, virtual_channels=4), "uniform", 0.77, 1.0),
        (network("xy", "onward", height=8, width=8, buffer_depth=8), "uniform", 0.39, 0.5),
        (network("xy", "free", height=8, width=8, buffer_depth=8), "uniform", 0.41, 0.5),
        (network("xy", "onward", height=4, width=4, buffer_depth=8), "transpose", 0.32, 1 / 3),
        (network("adaptive", height=4, width=4, buffer_depth=8), "transpose", 0.8, 1.0),
        (
            network("xy", "onward", height=4, width=4, buffer_depth=8, virtual_channels=4, topology="torus"),
            "uniform",
            0.9,
            1.0,
        ),
    ],
    ids=["4x4-2", "4x4-2-two-stages", "4x4-4", "8x8-onward", "8x8-free", "xy-transpose", "adaptive-transpose", "torus"],
)
def test_saturation(config, traffic, least, most):
    with open_network(config, quiet=True) as harness:
        report = sweep(harness, Sweep(traffic=traffic))
    assert least <= report["saturation"] <= most + 0.005


class Formula:
    """A network whose latency is ``10 / (1 - load / capacity)``: three times as long at two thirds of its capacity."""

    def __init__(self, capacity):
        self.network = SMALL
        self.capacity = capacity
        self.flushed = 0

    def alone(self, source, to, *, flits):
        return 10

    def run(self, table, *, load, flits, seed, phases, progress):
        done = load < self.capacity
        mean = 10 / (1 - load / self.capacity) if done else 1000
        counts = dict.fromkeys((field.name for field in dataclasses.fields(RunStatistics)), 0)
        return RunStatistics(
            **{**counts, "drained": done, "latencies": np.full(4, mean), "member_latencies": np.empty(0)}
        )

    def flush(self):
        self.flushed += 1


@pytest.mark.parametrize("capacity", [0.05, 0.2, 0.91, 1.4])
def test_saturation_is_found(capacity):
    report = sweep(Formula(capacity), Sweep(resolution=0.002))  # type: ignore
    low, high = report["saturation_between"]
    assert low == report["saturation"]
    assert low - 1e-9 <= 2 / 3 * capacity <= high + 1e-9
    assert high - low <= 0.002 + 1e-9
    loads = [point["offered_load"] for point in report["points"]]
    assert loads == sorted(loads)
    for point in report["points"]:
        assert point["saturated"] == (point["latency_mean"] > 30)


def test_networks_that_do_not_saturate():
    report = sweep(Formula(2.0), Sweep())  # type: ignore
    assert report["saturation"] is None
    assert report["saturation_between"] == [1.0, None]


@pytest.mark.parametrize(
    ("pattern", "ways"),
    [
        ("transpose", {(0, 1): (1, 0), (3, 1): (1, 3), (2, 2): (2, 2)}),
        ("bit-complement", {(0, 0): (3, 3), (1, 2): (2, 1)}),
        ("bit-reverse", {(0, 1): (2, 0), (3, 2): (1, 3)}),
        ("shuffle", {(0, 1): (0, 2), (2, 0): (0, 1)}),
        ("neighbor", {(0, 1): (1, 2), (3, 3): (0, 0)}),
        ("tornado", {(0, 1): (0, 2), (3, 3): (3, 0)}),
        ("all-to-one", {(0, 0): (2, 2), (3, 1): (2, 2)}),
    ],
)
def test_patterns(pattern, ways):
    table = destinations(pattern, NetworkConfig(height=4, width=4))
    for source, to in ways.items():
        assert table[source[0] * 4 + source[1]].tolist() == [n == to[0] * 4 + to[1] for n in range(16)]


def test_routers_passed():
    mesh, torus = (
        routers_passed(network("xy", "free", height=3, width=4, topology=name)) for name in ("mesh", "torus")
    )
    assert mesh[0].tolist() == [1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6]
    assert torus[0].tolist() == [1, 2, 3, 2, 2, 3, 4, 3, 2, 3, 4, 3]
    assert (torus == torus.T).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_probabilities(pattern):
    table = destinations(pattern, NetworkConfig(height=8, width=8))
    assert table.shape == (64, 64)
    assert (table >= 0).all()
    assert np.allclose(table.sum(axis=1), 1) or pattern == "all-to-one"
    if pattern not in ("uniform", "hotspot", "all-to-one"):
        assert (table.sum(axis=0) == 1).all(), "a permutation"


@pytest.fixture
def acf(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        status = main.run(("noc", "sweep", *arguments))
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--mesh", "4"), "'4'"),
        (("--mesh", "0x4"), "not 0"),
        (("--mesh", "4x17"), "not 17"),
        (("--mesh", "-2x2"), "'-2x2'"),
        (("--topology", "ring"), "'ring'"),
        (("--topology", "torus", "--routing", "odd-even"), "'odd-even'"),
        (("--topology", "torus", "--channels", "kept"), "torus"),
        (("--topology", "torus", "--mesh", "5x5", "--vcs", "1"), "not 1"),
        (("--traffic", "rain"), "'rain'"),
        (("--mesh", "2x3", "--traffic", "transpose"), "2x3"),
        (("--mesh", "2x3", "--traffic", "shuffle"), "not 6"),
        (("--routing", "zigzag"), "'zigzag'"),
        (("--channels", "lost"), "'lost'"),
        (("--channels", "kept", "--routing", "yx"), "'yx'"),
        (("--channels", "kept", "--rounds", "2"), "not 2"),
        (("--channels", "onward", "--routing", "adaptive"), "'adaptive'"),
        (("--routing", "o1turn", "--vcs", "1"), "not 1"),
        (("--rounds", "4"), "not 4"),
        (("--stages", "3"), "not 3"),
        (("--channels", "kept", "--stages", "2"), "not 2"),
        (("--channels", "kept", "--statistics"), "have no statistics"),
        (("--by-class", "--channels", "onward"), "'onward'"),
        (("--vcs", "9"), "not 9"),
        (("--depth", "3"), "not 3"),
        (("--packet", "0"), "not 0"),
        (("--packet", "65"), "not 65"),
        (("--seed", "-1"), "not -1"),
        (("--warmup", "-1"), "not -1"),
        (("--measure", "0"), "not 0"),
        (("--step", "0"), "not 0.0"),
        (("--resolution", "nan"), "not nan"),
        (("--plot", "sweep.txt"), "'sweep.txt'"),
        (("--plot", "/no/such/folder/a.svg"), "'/no/such/folder'"),
    ],
)
def test_wrong_input_is_named_in_one_sentence(acf, arguments, named):
    status, out, err = acf(*arguments)
    assert (status, out) == (2, "")
    assert named in err
    assert len(err.splitlines()) == 1


def test_command_line(acf, tmp_path):
    short = ("--measure", "1000", "--resolution", "0.1", *SMALL_OPTIONS)
    status, out, _ = acf(*short, "--json", "--plot", str(tmp_path / "sweep.svg"))
    assert status == 0
    report = json.loads(out)
    assert report["config"] == SMALL.digest
    assert report["zero_load_latency"] == pytest.approx(2 * report["mean_routers"] + 2)
    assert {point["saturated"] for point in report["points"]} == {False, True}
    assert set(report["units"]) >= {"offered_load", "latency", "saturation"}
    assert "</svg>" in (tmp_path / "sweep.svg").read_text()
    status, out, _ = acf(*short)
    assert status == 0
    assert f"saturation: {report['saturation']:g}" in out


def test_verilog_of_a_network(capsys, tmp_path):
    file = tmp_path / "noc.v"
    assert main.run(("rtl", "--block", "noc", *SMALL_OPTIONS, "-o", str(file))) == 0
    assert "noc of 2x3 mesh, xy, 2 x 4 flits" in capsys.readouterr().out
    text = file.read_text()
    assert text.partition("\n")[0].endswith(SMALL.digest)
    for side in "io":
        for part in "valid", "ready", "payload":
            assert f"{side}_1_2_{part}" in text
    for rule in "kept", "onward":
        arguments = ("rtl", "--block", "router", "--mesh", "3x3", "--vcs", "3", "--channels", rule, "-o", str(file))
        assert main.run(arguments) == 0
        assert f"router of 3x3 mesh, xy, 3 x 8 flits, {rule}" in capsys.readouterr().out
        assert "output [2:0] east_i_credit;" in file.read_text()
    for arguments, named in (
        (("--block", "lane", "--mesh", "4x4"), "'lane'"),
        (("--block", "noc", "--vcs", "4"), "--vcs 4"),
        (("--block", "noc", "--topology", "torus"), "--topology torus"),
        (("--block", "noc", "--by-class"), "--by-class means"),
    ):
        for command in "rtl", "area", "timing":
            assert main.run((command, *arguments)) == 2
            assert named in capsys.readouterr().err
