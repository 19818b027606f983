"""Groups in a network alone: trees and their tables, what the proof refuses, and packets that come to all members."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from acf.cli import main
from acf.config import NetworkConfig
from acf.hw.blocks import check_groups, generate_network
from acf.hw.noc import packet_router
from acf.hw.noc.group_port import GroupPort
from acf.hw.noc.routing import STEP, Port
from acf.runtime.multicast_groups import (
    CHANNEL_MAPS,
    GroupTables,
    MulticastGroup,
    logical_groups,
    logical_shapes,
    number_groups,
)
from acf.runtime.networks import open_network
from acf.sim.noc_harness import NetworkError, NetworkHarness
from acf.sim.noc_soak import WATCHDOG, random_groups, soak, traffic_of
from acf.tb.proof import planted


def network(height, width, **more):
    return NetworkConfig(**{"height": height, "width": width, "channels": "onward", "groups": 16, **more})


LINE = network(1, 4, virtual_channels=1, buffer_depth=2)
SQUARE = network(2, 2, virtual_channels=1, buffer_depth=4)
BLOCK = network(
    2, 3, channels="free", routing="xy/yx", by_class=True, statistics=True, rounds=2, buffer_depth=4, group_channels=2
)


def golden_receivers(forks, source):
    """Nodes to which a packet comes, each as often as it does; ``forks`` of one group."""
    found, ways = [], [source]
    for y, x in ways:  # grows while it is walked
        taken = int(forks[y, x])
        ways += [(y + dy, x + dx) for bit, (dy, dx) in STEP.items() if taken >> bit & 1]
        found += [(y, x)] * (taken >> Port.LOCAL & 1)
    return found


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (6, 1), (2, 2), (4, 4), (3, 5), (16, 16)])
@pytest.mark.parametrize("group_channels", [1, 4])
def test_random_trees(height, width, group_channels):
    """Every member is reached once, no link is crossed twice, no way is longer than it must be, and all are proved."""
    config = network(height, width, groups=64, group_channels=group_channels)
    for seed in range(3):
        tables = random_groups(config, np.random.default_rng(seed))
        proved = check_groups(config, tables.forks.tolist(), tables.sources)
        for number, group in tables.groups.items():
            found = golden_receivers(tables.forks[:, :, number], group.source)
            assert sorted(found) == sorted(group.members) == sorted(proved[number])
            ways = {way for member in group.members for way in group.way(member) if way[1] != 1 << Port.LOCAL}
            assert tables.links(number) == len(ways) == tables.copies(number).sum() - len(group.members)
            for member in group.members:
                distance = sum(abs(end - begin) for begin, end in zip(group.source, member, strict=True))
                assert len(group.way(member)) == distance + 1


def test_order_of_dimensions():
    group = MulticastGroup(source=(1, 1), members=((0, 0), (2, 2), (1, 2)))
    assert group.way((0, 0)) == [((1, 1), 8), ((1, 0), 1), ((0, 0), 16)]
    assert dataclasses.replace(group, columns_first=True).way((0, 0)) == [((1, 1), 1), ((0, 1), 8), ((0, 0), 16)]
    assert GroupTables(network(3, 3), {5: group}).forks[:, :, 5].tolist() == [[16, 0, 0], [1, 10, 20], [0, 0, 16]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MulticastGroup(source=(0, 0), members=()), "must have a member at least, not 0"),
        (lambda: MulticastGroup(source=(0, 0), members=((0, 1), (0, 1))), r"not \(0, 1\) 2 times"),
        (lambda: GroupTables(SQUARE, {16: ANY}), "from 0 to 15, not 16"),
        (lambda: GroupTables(SQUARE, {0: MulticastGroup(source=(0, 2), members=((0, 0),))}), r"2x2, not \(0, 2\)"),
        (lambda: GroupTables(SQUARE.without_groups, {}), "without groups has no tables"),
        (
            lambda: number_groups([[ANY] * 17], network=SQUARE, channel_map="shared"),
            "16 groups in 1 virtual channels are too few",
        ),
        (lambda: network(2, 2, groups=3), "must be a power of two, not 3"),
        (lambda: network(2, 2, group_channels=3), "must be 1, 2 or 4, not 3"),
        (lambda: network(2, 2, groups=2, group_channels=4), "2 groups have no 4 virtual channels"),
        (lambda: network(2, 2, groups=0, group_channels=2), "without groups has no 2 channels"),
        (lambda: network(2, 2, stages=2), "routers of 1 stage, not 2"),
        (lambda: network(2, 2, channels="kept"), "do not keep their virtual channels"),
        (lambda: network(2, 2, topology="torus"), "need a mesh, not a torus"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


ANY = MulticastGroup(source=(0, 0), members=((0, 0),))


def test_numbers_of_groups():
    config = network(2, 2, group_channels=2)
    for channel_map, expected in (
        ("shared", [[0, 2, 4], [6, 8]]),
        ("apart", [[0, 2, 4], [1, 3]]),
        ("striped", [[0, 1, 2], [4, 3]]),
    ):
        found = number_groups([[ANY] * 3, [ANY] * 2], network=config, channel_map=channel_map)
        assert [list(kind) for kind in found] == expected
    with pytest.raises(ValueError, match="one of apart, shared, striped, not 'none'"):
        number_groups([], network=config, channel_map="none")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (4, 4), (1, 4), (4, 2), (3, 2)])
def test_logical_shapes(height, width):
    """In every shape each tile is in one row and one column, which meet in it alone."""
    shapes = logical_shapes(height, width)
    assert (height, width) in shapes
    assert {rows * columns for rows, columns in shapes} == {height * width}
    config = network(height + 1, width + 1, groups=64, group_channels=2)
    for shape in shapes:
        for order in itertools.product((False, True), repeat=2):
            kinds = logical_groups(height, width, shape, rows_columns_first=order[0], columns_columns_first=order[1])
            for channel_map in CHANNEL_MAPS:
                if channel_map == "apart" or order[0] == order[1]:
                    numbered = number_groups(kinds, network=config, channel_map=channel_map)
                    tables = GroupTables(config, numbered[0] | numbered[1])
                    check_groups(config, tables.forks.tolist(), tables.sources)
            rows, columns = ({group.members for group in kind} for kind in kinds)
            assert (len(rows), len(columns)) == shape
            assert all(len({*row} & {*column}) == 1 for row in rows for column in columns)
            assert {group.source for group in kinds[0]} == {(y + 1, 0) for y in range(height)}
            assert {group.source for group in kinds[1]} == {(0, x + 1) for x in range(width)}
    with pytest.raises(ValueError, match="cannot be drawn as 5x7"):
        logical_groups(height, width, (5, 7))


def test_shapes_of_four_by_four():
    assert logical_shapes(4, 4) == [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)]


def forks(size, entries):
    """Tables of group 0 alone, from the letters of its outputs."""
    tables = np.zeros((*size, 16), dtype=int)
    for node, letters in entries.items():
        tables[(*node, 0)] = sum(1 << "NESWL".index(letter) for letter in letters)
    return tables.tolist()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({(0, 0): "E"}, r"group 0 is lost at \(0, 1\)"),
        ({(0, 0): "E", (0, 1): "WL"}, r"goes back at \(0, 1\), WEST"),
        ({(0, 0): "EN"}, r"leaves the mesh at \(0, 0\), NORTH"),
        ({(0, 0): "ES", (0, 1): "S", (1, 0): "E", (1, 1): "L"}, r"comes to \(1, 1\) twice"),
    ],
)
def test_tables_are_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        check_groups(SQUARE, forks((2, 2), entries), {0: (0, 0)})


def test_wrong_sizes_are_refused():
    good = forks((2, 2), {(0, 0): "L"})
    assert check_groups(SQUARE, good, {0: (0, 0)}) == {0: [(0, 0)]}
    for config, tables, sources, message in (
        (SQUARE.without_groups, good, {}, "without groups"),
        (SQUARE, good[:1], {}, "must be 2 x 2 of 16 forks"),
        (SQUARE, good, {16: (0, 0)}, "from 0 to 15, not 16"),
        (SQUARE, good, {0: (2, 0)}, r"must be in the mesh, not \(2, 0\)"),
    ):
        with pytest.raises(ValueError, match=message):
            check_groups(config, tables, sources)


def corners(config, channel_map):
    """Each corner of a square sends to the one across: two along rows first, two along columns first."""
    across = [
        MulticastGroup(source=(y, x), members=((1 - y, 1 - x),), columns_first=y == x) for y in (0, 1) for x in (0, 1)
    ]
    (rows, columns) = ([group for group in across if group.columns_first == first] for first in (False, True))
    first, second = number_groups([rows, columns], network=config, channel_map=channel_map)
    return GroupTables(config, first | second)


def test_both_orders_in_one_virtual_channel_are_refused():
    """The circle that is printed goes around the square; in two virtual channels there is none."""
    config = network(2, 2, group_channels=2)
    tables = corners(config, "apart")
    check_groups(config, tables.forks.tolist(), tables.sources)
    tables = corners(config, "shared")
    with pytest.raises(ValueError, match="groups in virtual channel 2 are cyclic: ") as caught:
        check_groups(config, tables.forks.tolist(), tables.sources)
    circle = str(caught.value).partition("cyclic: ")[2].split(" -> ")
    assert circle[0] == circle[-1]
    assert len(circle) == 5
    for before, after in itertools.pairwise(circle):
        dy, dx = STEP[Port[before[7:]]]
        assert after.startswith(f"({int(before[1]) + dy}, {int(before[4]) + dx}).")


def test_order_of_forks_counts():
    """Trees along rows first whose heads take columns first wait for each other, though no packet turns wrongly."""
    config = network(3, 3)
    places = list(itertools.product(range(3), range(3)))
    tables = GroupTables(
        config, {n: MulticastGroup(source=source, members=tuple(places)) for n, source in enumerate(places)}
    )
    check_groups(config, tables.forks.tolist(), tables.sources)
    with pytest.raises(ValueError, match="are cyclic"):
        check_groups(config, (tables.forks | 32).tolist(), tables.sources)


@pytest.fixture(scope="module")
def line():
    with open_network(LINE, quiet=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def block():
    with open_network(BLOCK, ordered=False, quiet=True) as opened:
        yield opened


def test_random_groups_in_a_line(line):
    assert soak(line, traffic_of(LINE), flits=60_000, seed=3)["longest_silence"] < WATCHDOG / 4


def test_random_groups_in_a_block(block):
    """Groups change from run to run, packets have one flit or two; routers count each flit at each of them."""
    found = soak(block, traffic_of(BLOCK), flits=120_000, seed=1)
    assert found["longest_silence"] < WATCHDOG / 4


@pytest.mark.regress
@pytest.mark.parametrize(
    "config",
    [
        network(4, 4, buffer_depth=16, groups=64, virtual_channels=1),
        network(5, 1, buffer_depth=8, group_channels=4),
        network(4, 3, channels="free", routing="adaptive", statistics=True, groups=32, buffer_depth=4),
    ],
    ids=lambda config: config.name.replace(" ", ""),
)
def test_many_flits(config):
    with open_network(config, ordered=False, quiet=True) as opened:
        assert soak(opened, traffic_of(config), flits=300_000, seed=2)["longest_silence"] < WATCHDOG / 4


def packets(config, sent):
    """Rows of ``deliver``: from the source of a group, so many of so many flits."""
    rows = [
        [group.source[0] * config.width + group.source[1], config.nodes + number, flits, 0]
        for (number, group), flits in sent
    ]
    return np.array(rows)


def test_packets_alone(line):
    """Single flits take the time of the farthest member; whoever is on the way has its copy before."""
    groups = {0: MulticastGroup(source=(0, 0), members=((0, 0), (0, 1), (0, 3))), 1: ANY}
    line.set_groups(GroupTables(LINE, groups))
    assert line.alone(0, LINE.nodes, flits=1) == 2 * 4 + 2
    assert line.alone(0, LINE.nodes + 1, flits=1) == 2 * 1 + 2
    assert line.alone(0, 3, flits=1) == 2 * 4 + 2


def test_one_flit_a_cycle(block):
    """A stream of flits for all nodes, once into the network, at every node one a cycle."""
    everyone = tuple(itertools.product(range(2), range(3)))
    group = MulticastGroup(source=(0, 0), members=everyone)
    block.set_groups(GroupTables(BLOCK, {0: group}))
    found = block.deliver(packets(BLOCK, [((0, group), 1)] * 200))
    assert found.delivered == 200
    counted = {(one.node, one.port): one.flits for one in block.counters()}
    assert counted == {
        ((0, 0), "local"): 200, ((0, 1), "west"): 200, ((0, 2), "west"): 200,
        ((1, 0), "north"): 200, ((1, 1), "north"): 200, ((1, 2), "north"): 200,
    }  # fmt: skip
    # Buffers of four flits, of which a head leaves half free, carry three flits in four cycles.
    assert found.finished == pytest.approx(200 * 4 / 3, rel=0.02, abs=15)


def test_who_may_send(block):
    block.set_groups(GroupTables(BLOCK, {0: ANY}))
    for row, message in (
        ([1, 6, 1, 0], r"only \(0, 0\) sends to group 0, not \(0, 1\)"),
        ([0, 7, 1, 0], "no table has been written for group 1"),
        ([0, 6, 3, 0], "from 1 to 64 flits, or for a group 2"),
        ([6, 0, 1, 0], "a node as its source"),
        ([0, 22, 1, 0], "a node or a group as its destination"),
        ([0, 0, 1, 4], "a class from 0 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            block.deliver(np.array([row]))
    with pytest.raises(ValueError, match="groups must be those of"):
        block.set_groups(GroupTables(LINE, {0: ANY}))


@pytest.mark.parametrize(
    ("node", "letters", "message"),
    [
        ((0, 1), "E", r"packets have not come; the oldest is packet 0 from 0 to 4"),
        ((0, 2), "EL", "node 2 takes "),
        ((0, 2), "", "packets have not come"),
    ],
)
def test_wrong_tables_are_seen(line, node, letters, message):
    """The members are 1 and 3. An entry without outputs swallows packets, and nothing stands still behind it."""
    group = MulticastGroup(source=(0, 0), members=((0, 1), (0, 3)))
    tables = GroupTables(LINE, {0: group})
    tables.forks[(*node, 0)] = sum(1 << "NESWL".index(letter) for letter in letters)
    line.set_groups(tables)
    with pytest.raises(NetworkError, match=message):
        line.deliver(packets(LINE, [((0, group), 1)] * 20), watchdog=100)


OPPOSED = {
    0: MulticastGroup(source=(0, 1), members=((1, 1),)),
    1: MulticastGroup(source=(1, 0), members=((0, 0), (1, 0), (1, 1))),
    2: MulticastGroup(source=(1, 1), members=((1, 0), (0, 1), (1, 1))),
}
"""Two trees that cross both of each other's nodes, and a packet that comes between."""


@pytest.mark.regress
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("branch.is_claim.eq(is_claiming & behind)", "branch.is_claim.eq(0)", "node . takes .*, head 1, tail 0"),
        ("has_all.eq(grants.any())", "has_all.eq(0)", "nothing has moved for 201 cycles"),
        ("left.eq(waiting & ~grants)", "left.eq(waiting & ~grants & ~(grants << 1))", "packets have not come"),
        ("stays.packet.ports.eq(left)", "stays.packet.ports.eq(waiting)", "come before|head 1|as flit"),
        ("", "", None),
    ],
)
def test_bugs_are_seen(monkeypatch, old, new, message):
    """Heads that go before they have all outputs, or never; copies that are forgotten or doubled."""
    if old:
        monkeypatch.setattr(packet_router, "GroupPort", planted(GroupPort, old, new))
    tables = GroupTables(SQUARE, OPPOSED)
    check_groups(SQUARE, tables.forks.tolist(), tables.sources)
    draw = random.Random(1)
    with NetworkHarness(SQUARE, verilog=generate_network(SQUARE), quiet=True) as opened:
        opened.set_groups(tables)

        def run():
            opened.deliver(packets(SQUARE, [(one, 2) for one in OPPOSED.items()]), watchdog=200)
            mixed = [(draw.choice(list(OPPOSED.items())), draw.randint(1, 2)) for _ in range(300)]
            opened.deliver(packets(SQUARE, mixed), watchdog=200)

        if message is None:
            run()
        else:
            with pytest.raises(NetworkError, match=message):
                run()


def test_command_line(capsys):
    assert main.run(("rtl", "--block", "noc", "--mesh", "1x2", "--groups", "3", "-o", "-")) == 2
    assert "power of two, not 3" in capsys.readouterr().err
    assert main.run(("rtl", "--block", "noc", "--group-vcs", "2", "-o", "-")) == 2
    assert "--group-vcs 2 means nothing without --mesh" in capsys.readouterr().err
