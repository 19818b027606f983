"""Routing functions in Python: the proof refuses what can go wrong, and the good one goes where it should."""

import itertools

import pytest

from acf.hw.noc.routing import Port, check_routing, departures, dependency_graph, receivers, xy
from acf.isa import Cast
from acf.tb.packets import golden_receivers


def nodes(height, width):
    return list(itertools.product(range(height), range(width)))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (3, 3), (4, 5)])
def test_xy_is_proved(height, width):
    check_routing(xy, height=height, width=width)


@pytest.mark.parametrize("cast", list(Cast))
def test_xy_goes_to_the_golden_receivers(cast):
    for source in nodes(4, 5):
        for to in nodes(4, 5):
            found = receivers(xy, height=4, width=5, source=source, to=to, cast=cast)
            assert sorted(found) == sorted(golden_receivers(source, to, cast))


def test_xy_crossings():
    """The crossbar: never back, never from a column into a row."""
    assert departures(xy, Port.NORTH) == (Port.SOUTH, Port.LOCAL)
    assert departures(xy, Port.EAST) == (Port.NORTH, Port.SOUTH, Port.WEST, Port.LOCAL)
    assert departures(xy, Port.SOUTH) == (Port.NORTH, Port.LOCAL)
    assert departures(xy, Port.WEST) == (Port.NORTH, Port.EAST, Port.SOUTH, Port.LOCAL)
    assert departures(xy, Port.LOCAL) == tuple(Port)


def test_graph_of_a_row():
    graph = dependency_graph(xy, height=1, width=3)
    onward = {(before, after) for before, after, (kind, _) in graph.edges(keys=True) if kind == "next"}
    assert onward == {
        ((0, 0, Port.EAST), (0, 1, Port.EAST)),
        ((0, 0, Port.EAST), (0, 1, Port.LOCAL)),
        ((0, 1, Port.EAST), (0, 2, Port.LOCAL)),
        ((0, 2, Port.WEST), (0, 1, Port.WEST)),
        ((0, 2, Port.WEST), (0, 1, Port.LOCAL)),
        ((0, 1, Port.WEST), (0, 0, Port.LOCAL)),
    }
    forks = {(before, after, key) for before, after, key in graph.edges(keys=True) if key[0] == "fork"}
    pair = (0, 1, Port.LOCAL), (0, 1, Port.EAST)
    assert forks == {(*pair, ("fork", Port.WEST)), (*reversed(pair), ("fork", Port.WEST))}


def xy_or_yx(arrival, *, y, x, to_y, to_x, row, column):
    """Rows first for destinations in even columns, columns first for the others."""
    rows_first = (to_x & 1) ^ 1
    in_row, in_column = to_y == y, to_x == x
    along_row, along_column = rows_first | in_row, (rows_first ^ 1) | in_column
    branches = {
        Port.LOCAL: in_row & in_column,
        Port.EAST: along_row & (to_x > x),
        Port.WEST: along_row & (to_x < x),
        Port.NORTH: along_column & (to_y < y),
        Port.SOUTH: along_column & (to_y > y),
    }
    return {port: condition for port, condition in branches.items() if port is not arrival or port is Port.LOCAL}


def test_circle_of_turns_is_refused_and_printed():
    with pytest.raises(ValueError, match=r"routing function xy_or_yx is cyclic: \(\d, \d\)\.\w+ -> ") as caught:
        check_routing(xy_or_yx, height=4, width=4)
    way = str(caught.value).partition("cyclic: ")[2].split(" -> ")
    assert way[0] == way[-1]
    assert len(way) >= 5
    assert not any("LOCAL" in channel for channel in way), "unicast packets alone make this circle"


def west_copies(arrival, **where):
    """Copies on the way west, too."""
    branches = xy(arrival, **where)
    if arrival is Port.EAST:
        branches[Port.LOCAL] |= where["row"] & (where["to_y"] == where["y"])
    return branches


def test_circle_through_ways_out_is_refused():
    """Two multicasts that meet: each holds the way out of its router and waits for that of the other."""
    with pytest.raises(ValueError, match=r"west_copies is cyclic: .*LOCAL"):
        check_routing(west_copies, height=1, width=4)
    check_routing(west_copies, height=1, width=3)  # too short for two forks to meet


def turn_copies(arrival, **where):
    """A COLUMN packet leaves a copy where it turns into the column, too."""
    branches = xy(arrival, **where)
    if arrival is Port.WEST:
        branches[Port.LOCAL] |= where["column"] & (where["to_x"] == where["x"]) & (where["to_y"] > where["y"])
    return branches


def test_forks_of_two_inputs_into_the_same_branches_are_refused():
    """Each packet holds the branch that the other one waits for."""
    with pytest.raises(ValueError, match=r"turn_copies is cyclic: (\(\d, \d\))\.\w+ -> \1\.\w+ -> \1\.\w+$"):
        check_routing(turn_copies, height=3, width=2)


def loses_north(arrival, **where):
    branches = xy(arrival, **where)
    branches.pop(Port.NORTH, None)
    return branches


def overshoots(arrival, **where):
    branches = xy(arrival, **where)
    if arrival is Port.WEST:
        branches[Port.EAST] |= where["row"]
    return branches


def never_arrives_in_rows(arrival, **where):
    branches = xy(arrival, **where)
    if arrival is Port.WEST:
        branches[Port.LOCAL] &= where["row"] ^ 1
        branches[Port.SOUTH] |= where["row"] & (where["y"] == 0)
    return branches


def test_lost_packets_are_refused():
    with pytest.raises(ValueError, match=r"loses_north: a packet from \(1, 0\) to \(0, 0\) .* is lost"):
        check_routing(loses_north, height=2, width=1)
    with pytest.raises(ValueError, match=r"overshoots: a packet from .* cast ROW leaves the mesh at \(0, 1\)"):
        check_routing(overshoots, height=1, width=2)
    with pytest.raises(ValueError, match=r"never_arrives_in_rows: .* cast ROW"):
        check_routing(never_arrives_in_rows, height=2, width=2)


def test_graph_holds_every_channel_of_the_mesh():
    height, width = 3, 4
    links = {
        (y, x, port)
        for y, x in nodes(height, width)
        for port, (to_y, to_x) in {
            Port.NORTH: (y - 1, x),
            Port.EAST: (y, x + 1),
            Port.SOUTH: (y + 1, x),
            Port.WEST: (y, x - 1),
            Port.LOCAL: (y, x),
        }.items()
        if (to_y, to_x) in nodes(height, width)
    }
    assert set(dependency_graph(xy, height=height, width=width)) == links
