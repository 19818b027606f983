"""Sweeps of networks whose packets are for groups: who takes them, how often, and how long they are on their way."""

import json

import numpy as np
import pytest

from acf.cli import main
from acf.config import NetworkConfig
from acf.hw.blocks import check_groups, generate_network
from acf.runtime.multicast_groups import GroupTables, MulticastGroup
from acf.sim.noc_harness import NetworkError, NetworkHarness, Phases
from acf.sim.noc_sweep import Sweep, sweep
from acf.sim.traffic import GROUP_PATTERNS, destinations, group_traffic, routers_passed, with_groups

SMALL = NetworkConfig(
    height=2, width=3, buffer_depth=4, channels="onward", rounds=2, virtual_channels=1, groups=8, statistics=True
)
PHASES = Phases(warm_up=100, measure=1500, drain=4000)


@pytest.fixture(scope="module")
def harness():
    with NetworkHarness(SMALL, verilog=generate_network(SMALL), ordered=SMALL.in_order, quiet=True) as opened:
        yield opened


@pytest.mark.parametrize("pattern", GROUP_PATTERNS)
def test_members(pattern):
    tables = group_traffic(pattern, SMALL, seed=3)
    check_groups(SMALL, tables.forks.tolist(), tables.sources)
    expected = {
        "row": lambda y, x: {(y, k) for k in range(3)},
        "column": lambda y, x: {(k, x) for k in range(2)},
        "all": lambda y, x: {(k, n) for k in range(2) for n in range(3)},
        "random": lambda y, x: {*tables.groups[y * 3 + x].members},
    }[pattern]
    assert {n: (group.source, {*group.members}) for n, group in tables.groups.items()} == {
        y * 3 + x: ((y, x), expected(y, x)) for y in range(2) for x in range(3)
    }


def test_part_of_the_packets():
    tables = group_traffic("row", SMALL)
    table = with_groups(destinations("all-to-one", SMALL), tables, part=0.25)
    assert table.shape == (6, 14)
    assert table.sum(axis=1).tolist() == [1, 1, 1, 1, 0, 1], "the one in the middle sends nothing, to groups neither"
    assert table[0, 4] == 0.75
    assert table[0, 6] == 0.25
    assert routers_passed(SMALL, tables)[:, 6:12].diagonal().tolist() == [3, 2, 3, 3, 2, 3]


def taken_of(counters, entered):
    """Flits that come to routers from their nodes, and all others that come to routers."""
    local = sum(one["flits"] for one in counters["inputs"] if one["port"] == "local")
    assert local == entered, "the routers count each flit once where it enters"
    return sum(one["flits"] for one in counters["inputs"]) - local


def test_rows(harness):
    """Each flit enters once, all of the row take it, and it passes each of the two links of the row once."""
    found = sweep(harness, Sweep(groups="row", phases=PHASES, step=0.1, resolution=0.05))
    assert found["members"] == [3] * 6
    assert found["zero_load"]["by_routers"] == {2: [6, 6], 3: [8, 8]}
    light = found["points"][0]
    assert light["copies"]["taken"] == 3 * light["copies"]["entered"] > 0
    assert light["accepted_load"] == pytest.approx(3 * light["entered_load"], rel=0.05)
    assert light["member_deliveries"] == 3 * light["packets"]
    assert light["member_latency_mean"] < light["latency_mean"]
    counted = found["counters"]
    (point,) = (point for point in found["points"] if point["offered_load"] == counted["offered_load"])
    assert taken_of(counted, point["copies"]["entered"]) == 2 * point["copies"]["entered"]
    # Every sink takes what the three nodes of its row send.
    assert 0.15 < found["saturation"] < 1 / 3


def test_part_for_groups_of_several_flits(harness):
    found = sweep(harness, Sweep(groups="random", group_part=0.5, flits=2, phases=PHASES, step=0.05, resolution=0.5))
    light = found["points"][0]
    assert light["copies"]["entered"] < light["copies"]["taken"]
    assert light["member_deliveries"] > 0
    members = np.mean(found["members"])
    assert light["copies"]["taken"] / light["copies"]["entered"] == pytest.approx((1 + members) / 2, rel=0.15)


def test_missing_copies_are_seen(harness):
    """What is not what the groups should take is an error, be the network right or not."""
    tables = group_traffic("row", SMALL)
    harness.set_groups(tables)
    harness.run(with_groups(destinations("uniform", SMALL), tables, part=1), load=0.1, flits=1, seed=1, phases=PHASES)
    harness.flush()
    entered, taken = harness.copies()
    assert taken == 3 * entered
    tables.groups[0] = MulticastGroup(source=(0, 0), members=((0, 0),))
    with pytest.raises(NetworkError, match=f"{entered} went into the network and {taken} came out"):
        harness.copies()


def test_swallowed_copies_are_seen(harness):
    """A router that does not fork to its node: packets do not come, whatever else is right."""
    tables = group_traffic("row", SMALL)
    broken = GroupTables(SMALL, tables.groups)
    broken.forks[0, 1, 0] &= ~16
    harness.set_groups(broken)
    table = with_groups(destinations("uniform", SMALL), tables, part=1)
    harness.run(table, load=0.05, flits=1, seed=1, phases=Phases(warm_up=0, measure=500, drain=0))
    with pytest.raises(NetworkError, match="packets have not come"):
        harness.flush(max_cycles=2000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to-groups", "row"), "a group for each of 16 nodes, not 0"),
        (("--to-groups", "row", "--groups", "8"), "a group for each of 16 nodes, not 8"),
        (("--to-groups", "diagonal", "--groups", "16"), "must be one of row, column, all, random, not 'diagonal'"),
        (("--to-groups", "row", "--groups", "16", "--group-part", "0"), "must be above 0 and at most 1, not 0"),
        (("--to-groups", "row", "--groups", "16", "--packet", "5"), "have 4 flits at most, not 5"),
        (("--group-part", "0.5"), "--group-part 0.5 means nothing without --to-groups"),
        (("--to-groups", "row", "--groups", "16", "--topology", "torus"), "need a mesh, not a torus"),
        (("--to-groups", "row", "--groups", "16", "--stages", "2"), "routers of 1 stage, not 2"),
    ],
)
def test_wrong_input(capsys, arguments, message):
    assert main.run(("noc", "sweep", *arguments)) == 2
    assert message in capsys.readouterr().err


def test_command_line(capsys):
    options = ("--mesh", "2x3", "--depth", "4", "--vcs", "1", "--groups", "8", "--statistics")
    phases = ("--warmup", "50", "--measure", "300", "--step", "0.5", "--resolution", "1")
    command = ("noc", "sweep", *options, "--to-groups", "column", "--group-part", "0.5", *phases)
    assert main.run((*command, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["to_groups"], report["group_part"]) == ("column", 0.5)
    assert set(report["units"]) >= {"entered_load", "member_latency", "copies"}
    assert main.run(command) == 0
    assert "member" in capsys.readouterr().out
