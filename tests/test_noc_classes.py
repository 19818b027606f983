"""Networks by class: what may share virtual channels, what may be said while they run, and what they count."""

# amaranth: UnusedElaboratable=no
import itertools
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from acf.cli import main
from acf.cli.network_options import policies_of
from acf.config import ClassPolicy, NetworkConfig
from acf.hw.blocks import check_routing_tables
from acf.hw.noc.port_statistics import PortStatistics
from acf.hw.noc.routing import STEP, Port
from acf.hw.noc.unicast_proof import proved_functions
from acf.runtime.networks import open_network
from acf.sim.noc_counters import PortCounters, counting_errors
from acf.sim.noc_harness import Phases
from acf.sim.noc_soak import WATCHDOG, dimension_tables, random_policies, soak, traffic_of
from acf.sim.traffic import destinations


def network(routing, *, virtual_channels=4, height=3, width=3, **more):
    return NetworkConfig(
        height=height,
        width=width,
        routing=routing,
        virtual_channels=virtual_channels,
        channels="free",
        by_class=True,
        **more,
    )


SMALL = network("xy,adaptive/table", virtual_channels=3, height=2, width=2, buffer_depth=4, rounds=2, statistics=True)


@pytest.mark.parametrize(
    "routing",
    ["xy", "xy/yx", "xy,west-first", "xy,west-first,adaptive", "xy,table", "o1turn/odd-even", "table/adaptive"],
)
def test_functions_that_go_together(routing):
    found = proved_functions(network(routing, virtual_channels=5))
    assert [function.name for function in found] == routing.replace("/", ",").split(",")


@pytest.mark.parametrize("size", [4, 5])
def test_functions_that_go_together_on_a_torus(size):
    proved_functions(network("xy,table/o1turn", virtual_channels=8, height=size, width=1, topology="torus"))


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        ("xy,yx", r"routing functions xy, yx together are cyclic: \(\d, \d\)\.\w+\[0\] -> "),
        ("xy,odd-even", "routing functions xy, odd-even together are cyclic: "),
        ("west-first,negative-first", "together are cyclic"),
        ("o1turn,xy", r"together are cyclic: .*\[2\]"),
        ("yx,adaptive", r"together are cyclic: \(\d, \d\)\.\w+\[3\]"),
        ("o1turn,adaptive", "together are cyclic, and a packet to .* has no escape at"),
    ],
)
def test_functions_that_do_not(routing, message):
    """On 3x4 nodes; the channels of a circle that is printed follow each other."""
    with pytest.raises(ValueError, match=message) as caught:
        proved_functions(network(routing, width=4))
    circle = str(caught.value).partition("cyclic: ")[2].split(" -> ")
    if len(circle) > 1 and "adaptive" not in routing:
        assert circle[0] == circle[-1]
        for before, after in itertools.pairwise(circle):
            y, x, side = int(before[1]), int(before[4]), Port[before[7:].partition("[")[0]]
            assert after.startswith(f"({y + STEP[side][0]}, {x + STEP[side][1]}).")


def test_virtual_channels_of_sets():
    config = network("xy,west-first/adaptive/o1turn", virtual_channels=7)
    assert config.least_channels == 5
    assert config.channel_sets == {"xy": (0, 1), "west-first": (0, 1), "adaptive": (2, 3, 4), "o1turn": (5, 6)}
    assert config.shares_of("adaptive") == ((2, 3), (4,))
    assert config.escapes_beside("adaptive") == (4,)
    assert config.escapes_beside("xy") == ()
    assert network("xy,adaptive").escapes_beside("xy") == (3,)
    assert {policy.function for policy in config.default_policies} == set(config.functions)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"routing": "xy,zigzag"}, "'zigzag'"),
        ({"routing": "xy,xy"}, "'xy' twice"),
        ({"routing": "xy,adaptive/o1turn", "virtual_channels": 3}, "needs 4 virtual channels at least, not 3"),
        ({"routing": "xy,odd-even", "topology": "torus"}, "'odd-even'"),
    ],
)
def test_networks_are_refused(parameters, named):
    with pytest.raises(ValueError, match=named):
        network(**parameters)


def test_rules_by_class():
    for channels, by_class in ("onward", True), ("kept", True):
        with pytest.raises(ValueError, match="must be free, not"):
            NetworkConfig(height=2, width=2, routing="xy", channels=channels, by_class=by_class)
    with pytest.raises(ValueError, match=r"routing must be one of .*, not 'xy,table'"):
        NetworkConfig(height=2, width=2, routing="xy,table", channels="free")
    with pytest.raises(ValueError, match="have no statistics"):
        NetworkConfig(height=2, width=2, statistics=True)


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["0=yx"], "'yx'"),
        (["0=xy:2"], "virtual channels of xy are 0, 1, not 2"),
        (["0=xy:"], "'0=xy:'"),
        (["4=xy"], "'4=xy'"),
        (["xy"], "'xy'"),
        (["0=xy:0:1:urgent"], "'0=xy:0:1:urgent'"),
        (["3=o1turn:4"], "needs one of the virtual channels 5, not 4 alone"),
    ],
)
def test_policies_are_refused(texts, named):
    with pytest.raises(ValueError, match=named):
        policies_of(network("xy/adaptive/o1turn", virtual_channels=6), texts)


def test_policies_of_options():
    config = network("xy,adaptive/table")
    first, second, *_ = policies_of(config, ["1=table:3:urgent", "0=xy:0"])
    assert first == ClassPolicy(function="xy", channels=(0,))
    assert second == ClassPolicy(function="table", channels=(3,), is_urgent=True)
    assert config.keeps_order(second)
    assert not config.keeps_order(first), "it may have the virtual channel of escape besides"


def tree_tables(height, width, seed):
    """Tables of ways along a random spanning tree: up to where the ways part, then down."""
    draw = random.Random(seed)
    places = list(itertools.product(range(height), range(width)))
    ways = {(0, 0): {}}  # by node and neighbour in the tree
    while len(ways) < len(places):
        node = draw.choice(list(ways))
        side = draw.choice(list(STEP))
        to = node[0] + STEP[side][0], node[1] + STEP[side][1]
        if to in places and to not in ways:
            ways[node][side] = to
            ways[to] = {Port((side + 2) % 4): node}
    tables = np.full((height, width, height, width), int(Port.LOCAL))
    for to in places:
        reached = [(to, None)]
        for node, _ in reached:
            for side, other in ways[node].items():
                if all(other != seen for seen, _ in reached):
                    tables[other][to] = next(back for back, at in ways[other].items() if at == node)
                    reached.append((other, side))
    return tables


def changed(tables, place, port):
    tables = tables.copy()
    tables[place] = port
    return tables


XY, YX = (dimension_tables(network("table", height=3, width=4), row_first=first) for first in (True, False))


def test_tables_are_proved():
    alone, beside = network("table", width=4), network("xy,table", width=4)
    for tables in XY, YX, *(tree_tables(3, 4, seed) for seed in range(5)):
        check_routing_tables(alone, tables.tolist())
    check_routing_tables(beside, XY.tolist())
    check_routing_tables(network("table", height=1, width=1), [[[[4]]]])


@pytest.mark.parametrize(
    ("routing", "tables", "message"),
    [
        ("xy", XY, "'xy' has no tables"),
        ("table", XY[:2], "must be those of a network of 3x4"),
        ("table", changed(XY, (0, 0, 1, 1), 5), "must hold ports from 0 to 4, not 5"),
        ("table", changed(XY, (0, 0, 1, 1), Port.NORTH), r"leaves the mesh at \(0, 0\), NORTH"),
        ("table", changed(XY, (0, 0, 1, 1), Port.LOCAL), r"ends its way, or does not, at \(0, 0\)"),
        ("table", changed(XY, (0, 1, 2, 1), Port.WEST), r"is lost at \(0, 1\)|comes back to"),
        ("xy,table", YX, "routing functions xy, table together are cyclic: .* -> "),
        ("table", np.where(np.arange(4) % 2, XY, YX), "routing function table is cyclic: .* -> "),
    ],
)
def test_tables_are_refused(routing, tables, message):
    with pytest.raises(ValueError, match=message):
        check_routing_tables(network(routing, width=4), tables.tolist())


def golden_statistics(events):
    """By class flits, stalls and occupancy, the last as ``PortStatistics`` counts it."""
    flits, stalls, held, occupancy = ([0] * 4 for _ in range(4))
    for came, left, waits in events:
        for n in range(4):
            occupancy[n] += held[n]
            stalls[n] += waits >> n & 1
        if came is not None:
            flits[came] += 1
            held[came] += 1
        if left is not None:
            held[left] -= 1
    return list(zip(flits, stalls, occupancy, strict=True))


def test_counters_of_a_port():
    draw = random.Random(1)
    inside, events = [], []
    for _ in range(300):
        left = inside.pop(draw.randrange(len(inside))) if inside and draw.random() < 0.5 else None
        came = draw.randrange(4) if len(inside) < 6 and draw.random() < 0.6 else None
        inside += [] if came is None else [came]
        events.append((came, left, draw.randrange(16)))
    events += [(None, None, 0)] * 2
    device = PortStatistics(most=8)

    async def bench(context):
        for came, left, waits in events:
            context.set(device.arrives, came is not None)
            context.set(device.arriving_class, came or 0)
            context.set(device.leaves, left is not None)
            context.set(device.leaving_class, left or 0)
            context.set(device.waits, waits)
            await context.tick()
        found = []
        for n in range(4):
            context.set(device.traffic_class, n)
            found.append((context.get(device.flits), context.get(device.stalls), context.get(device.occupancy)))
        # Occupancy follows by one cycle more than the others.
        expected, earlier = golden_statistics(events[:-1]), golden_statistics(events[:-2])
        assert [one[:2] for one in found] == [one[:2] for one in expected]
        assert [one[2] for one in found] == [one[2] for one in earlier] or found == expected

    simulator = Simulator(device)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    with pytest.raises(ValueError, match="must be positive, not 0"):
        PortStatistics(most=0)


def test_wrong_counts_are_seen():
    line = network("xy", height=1, width=2, statistics=True)
    good = [
        PortCounters(node=(0, 0), port="local", traffic_class=1, flits=5, stalls=2, occupancy=7),
        PortCounters(node=(0, 1), port="west", traffic_class=1, flits=5, stalls=0, occupancy=5),
    ]
    flits_of = {(0, 1): (5, 0), (1, 1): (0, 5)}

    def errors(counters):
        return counting_errors(line, counters, lambda *key: flits_of.get(key, (0, 0)))

    assert errors(good) == []
    assert "has sent 5 flits of class 1 and its router counts 0" in errors(good[1:])[0]
    assert "at (0, 0) 5 flits of class 1 came and 0 left" in errors(good[:1])[0]
    assert "less occupancy" in errors([*good, PortCounters(**{**vars(good[1]), "stalls": 9, "flits": 0})])[0]


@pytest.fixture(scope="module")
def harness():
    with open_network(SMALL, ordered=False, quiet=True) as opened:
        opened.set_tables(dimension_tables(SMALL, row_first=True))
        yield opened


def test_policies_change_while_the_network_is_empty(harness):
    found = soak(harness, traffic_of(SMALL), flits=30_000, seed=1)
    assert found["flits"] >= 30_000
    assert found["longest_silence"] < WATCHDOG / 4


def test_urgent_packets_wait_less(harness):
    """All of one function and one virtual channel but the urgent ones, which have another; then none is urgent."""
    phases = Phases(warm_up=200, measure=6000, drain=6000)
    mean = {}
    for is_urgent in False, True:
        policies = [ClassPolicy(function="xy", channels=(0,)) for _ in range(3)]
        harness.set_policies([*policies, ClassPolicy(function="xy", channels=(1,), is_urgent=is_urgent)])
        found = harness.run(destinations("all-to-one", SMALL), load=0.32, flits=1, seed=3, phases=phases)
        assert found.drained
        assert sum(found.delivered_of) == found.measured
        assert sum(found.latency_of) == int(found.latencies.sum())
        harness.flush()
        mean[is_urgent] = found.latency_of[3] / found.delivered_of[3]
        others = sum(found.latency_of[:3]) / sum(found.delivered_of[:3])
    assert mean[True] < 0.97 * mean[False]
    assert mean[True] < 0.97 * others


def test_counters_of_a_network(harness):
    """Those of each run alone; with transposed traffic two nodes of four send over two links, the others over none."""
    harness.set_policies(harness.network.default_policies)
    harness.run(destinations("uniform", SMALL), load=0.0, flits=1, seed=1, phases=Phases(measure=1))
    harness.flush()
    assert harness.counters() == []
    harness.run(destinations("transpose", SMALL), load=0.02, flits=1, seed=1, phases=Phases(measure=2000))
    harness.flush()
    flits = {(one.node, one.port, one.traffic_class): one.flits for one in harness.counters()}
    for n in range(4):
        from_corners = sum(flits.get((node, "local", n), 0) for node in ((0, 1), (1, 0)))
        assert from_corners > 10
        assert sum(count for (_, port, of), count in flits.items() if of == n and port != "local") == 2 * from_corners


@pytest.mark.regress
@pytest.mark.parametrize(
    "config",
    [
        network("xy,west-first,adaptive/table", height=2, statistics=True, rounds=2),
        network("xy/yx", height=3, virtual_channels=4, stages=2, rounds=2, buffer_depth=8),
        network("xy/adaptive", height=1, width=5, topology="torus", virtual_channels=5, stages=2, rounds=2),
    ],
    ids=lambda config: config.name.replace(" ", ""),
)
def test_soak_by_class(config):
    with open_network(config, ordered=False, quiet=True) as opened:
        assert soak(opened, traffic_of(config), flits=300_000, seed=2)["longest_silence"] < WATCHDOG / 4


def test_random_policies_are_of_all_kinds():
    drawn = [policy for seed in range(20) for policy in random_policies(SMALL, np.random.default_rng(seed))]
    assert {policy.function for policy in drawn} == {"xy", "adaptive", "table"}
    assert {policy.is_urgent for policy in drawn} == {False, True}
    assert {len(policy.channels) for policy in drawn} == {0, 1, 2}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--routing", "xy,yx"), "cyclic"),
        (("--class", "0=xy"), "not by class"),
        (("--routing", "xy/yx", "--class", "0=zz"), "'zz'"),
        (("--routing", "yx,table"), "cyclic"),
    ],
)
def test_command_line_refuses(capsys, arguments, named):
    assert main.run(("noc", "sweep", "--mesh", "2x2", *arguments)) == 2
    shown = capsys.readouterr()
    assert named in shown.err
    assert len(shown.err.splitlines()) == 1


def test_command_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = ("--mesh", "2x2", "--routing", SMALL.routing, "--vcs", "3", "--depth", "4", "--statistics")
    short = ("--measure", "500", "--resolution", "0.2", "--step", "0.5", "--class", "2=table:2:urgent")
    assert main.run(("noc", "sweep", *options, *short)) == 0
    shown = capsys.readouterr().out
    assert "class 2: table in virtual channels 2, urgent: mean latencies " in shown
    assert "inputs of routers at an offered load of " in shown
