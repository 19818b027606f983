"""Many flits through networks of all kinds; and that loss, doubles and deadlock among them would be seen."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from acf.cli import main
from acf.config import ROUTINGS, TORUS_ROUTINGS, NetworkConfig
from acf.hw.blocks import generate_network
from acf.hw.noc import channel_choice, choosing_port
from acf.hw.noc.torus_routing import torus_routing
from acf.runtime.networks import open_network
from acf.sim.noc_harness import NetworkError, NetworkHarness
from acf.sim.noc_soak import WATCHDOG, soak, soak_networks, traffic_of
from acf.sim.traffic import PATTERNS

LOOPS = Path(__file__).with_name("loop_network.v").read_text()
RING = NetworkConfig(height=1, width=5, buffer_depth=2, channels="onward", topology="torus")
RING_OPTIONS = ("--mesh", "1x5", "--topology", "torus", "--depth", "2", "--rounds", "1")


def test_networks_are_of_all_kinds():
    networks = soak_networks()
    kinds = {(network.topology, network.routing, network.channels, network.datelines) for network in networks}
    assert len(kinds) == len(networks) == 28
    by_class = [network for network in networks if network.by_class]
    assert {name for network in by_class for name in network.functions} > {"xy", "adaptive", "table"}
    assert all(network.statistics for network in by_class)
    assert any(network.groups for network in by_class)
    networks = networks[: -len(by_class)]
    assert {network.routing for network in networks if network.topology == "mesh"} == set(ROUTINGS)
    for datelines in False, True:
        tori = [network for network in networks if network.topology == "torus" and network.datelines == datelines]
        assert {network.routing for network in tori} == set(TORUS_ROUTINGS)
        assert any(network.in_order for network in tori)
    assert {name for network in networks for name in traffic_of(network)} == set(PATTERNS)
    assert {network.virtual_channels for network in networks} == {1, 2, 3, 4}
    assert {(network.rounds, network.stages) for network in networks} == {(n, k) for n in (1, 2, 3) for k in (1, 2)}
    assert {network.buffer_depth for network in networks} == {2, 4, 8}


@pytest.mark.regress
@pytest.mark.parametrize("network", soak_networks(), ids=lambda network: network.name.replace(" ", ""))
def test_ten_million_flits(network):
    """400,000 through each network."""
    check(network, flits=400_000)


def test_some_flits():
    check(RING, flits=30_000)


def check(network, *, flits):
    traffic = traffic_of(network)
    with open_network(network, quiet=True) as harness:
        found = soak(harness, traffic, flits=flits, seed=1)
    assert found["flits"] >= flits
    assert found["packets"] < found["flits"] < 20 * found["packets"]
    assert found["traffic"] == list(traffic)
    assert found["longest_silence"] < WATCHDOG / 4
    assert not (network.in_order and found["out_of_order"])


@pytest.mark.regress
def test_deadlock_is_seen(monkeypatch):
    """The same ring without datelines: the proof is passed by, and its packets wait for each other all around."""
    ring = dataclasses.replace(RING, channels="free")
    routing = torus_routing("xy", height=1, width=5, datelines=False)
    for module in channel_choice, choosing_port:
        monkeypatch.setattr(module, "proved_routing", lambda network: routing)
    with NetworkHarness(ring, verilog=generate_network(ring), ordered=False, quiet=True) as harness:
        message = f"nothing has moved for {WATCHDOG + 1} cycles, and [0-9]+ packets have not come; the oldest is packet"
        with pytest.raises(NetworkError, match=message):
            soak(harness, traffic_of(ring), flits=400_000, seed=1)


@pytest.fixture(scope="module")
def loops():
    network = NetworkConfig(height=1, width=7)
    with NetworkHarness(network, verilog=LOOPS, top="loop_network", quiet=True) as opened:
        yield opened


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (1, "as flit . of packet 50|packet 51|packets have not come; the oldest is packet 50 from 1 to 1"),
        (2, "packet 50 from 2 to 2"),
        (3, "packet 50 from 3"),
        (4, "packet 50 from 4 to 4"),
        (5, "node 4 takes .* packet 50 from 5 to 5"),
        (6, "nothing has moved for .* the oldest is packet 5[01] from 6 to 6"),
    ],
)
def test_faults_are_seen(loops, node, message):
    def run(sender):
        only = np.zeros((7, 7))
        only[sender, sender] = 1
        return soak(loops, {"to itself": only}, flits=12_000, seed=1)

    with pytest.raises(NetworkError, match=message):
        run(node)
    assert run(0)["flits"] >= 12_000


@pytest.fixture
def acf(capsys):
    def call(*arguments):
        status = main.run(("noc", "soak", *arguments))
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--flits", "0"), "not 0"),
        (("--seed", "-1"), "not -1"),
        (("--vcs", "4"), "--vcs 4"),
        (("--topology", "torus"), "--topology torus"),
        (("--mesh", "4"), "'4'"),
        (("--mesh", "5x5", "--topology", "torus", "--routing", "adaptive"), "not 2"),
    ],
)
def test_wrong_input_is_named_in_one_sentence(acf, arguments, named):
    status, out, err = acf(*arguments)
    assert (status, out) == (2, "")
    assert named in err
    assert len(err.splitlines()) == 1


def test_command_line(acf):
    status, out, _ = acf(*RING_OPTIONS, "--flits", "3000", "--json")
    assert status == 0
    report = json.loads(out)
    (record,) = report["networks"]
    assert record["config"] == RING.digest
    assert report["flits"] == record["flits"] >= 3000
    assert set(report["units"]) >= {"flits", "packets", "cycles", "longest_silence", "out_of_order"}
    status, again, _ = acf(*RING_OPTIONS, "--flits", "3000")
    assert status == 0
    assert f"{report['flits']:,} flits" in again, "the same seed, the same flits"
