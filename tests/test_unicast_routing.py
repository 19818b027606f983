"""Routing functions that choose: the proof refuses what can go wrong, and the good ones use the ways that they may."""

import dataclasses
import itertools
import math

import pytest

from acf.config import ROUTINGS
from acf.hw.noc.routing import FACING, STEP, Port
from acf.hw.noc.unicast_routing import UNICAST_ROUTINGS, UnicastRouting, check_unicast, unicast_departures

SIDES = [port for port in Port if port is not Port.LOCAL]


def nodes(height, width):
    return list(itertools.product(range(height), range(width)))


def ways(routing, source, to, *, layer=0, stays=True):
    """Number of different ways of links from ``source`` to ``to``, in one layer or in any."""
    states = {(source, Port.LOCAL, layer): 1}
    found = 0
    while states:
        following = {}
        for (node, arrival, at), count in states.items():
            y, x = node
            offers = routing.function(arrival, at, y=y, x=x, to_y=to[0], to_x=to[1])
            if any(offers[Port.LOCAL]):
                found += count
                continue
            for port in SIDES:
                for onward, condition in enumerate(offers.get(port, ())):
                    if condition and (onward == layer or not stays):
                        state = ((y + STEP[port][0], x + STEP[port][1]), FACING[port], onward)
                        following[state] = following.get(state, 0) + count
        states = following
    return found


def shortest_ways(source, to):
    rows, columns = abs(source[0] - to[0]), abs(source[1] - to[1])
    return math.comb(rows + columns, rows)


@pytest.mark.parametrize("name", ROUTINGS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (2, 2), (4, 4), (4, 5), (5, 4)])
def test_functions_are_proved(name, height, width):
    check_unicast(UNICAST_ROUTINGS[name], height=height, width=width)


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("xy", 0, lambda source, to: 1),
        ("yx", 0, lambda source, to: 1),
        ("o1turn", 0, lambda source, to: 1),
        ("o1turn", 1, lambda source, to: 1),
        ("west-first", 0, lambda source, to: 1 if to[1] < source[1] else shortest_ways(source, to)),
        (
            "negative-first",
            0,
            lambda source, to: shortest_ways(source, to) if (to[1] < source[1]) == (to[0] > source[0]) else 1,
        ),
        ("adaptive", 0, shortest_ways),
        ("adaptive", 1, lambda source, to: 1),
    ],
)
def test_number_of_ways(name, layer, expected):
    for source in nodes(4, 5):
        for to in nodes(4, 5):
            assert ways(UNICAST_ROUTINGS[name], source, to, layer=layer) == expected(source, to), (source, to)


def test_odd_even_turns():
    """Every pair has a way, some have several, and none makes a turn that is not allowed in its column."""
    routing = UNICAST_ROUTINGS["odd-even"]
    found = [ways(routing, source, to) for source in nodes(5, 5) for to in nodes(5, 5)]
    assert min(found) == 1
    assert max(found) > 10
    for (y, x), (to_y, to_x) in itertools.product(nodes(5, 5), nodes(5, 5)):
        for arrival in Port:
            offers = routing.function(arrival, 0, y=y, x=x, to_y=to_y, to_x=to_x)
            taken = {port for port, (condition,) in offers.items() if condition}
            if arrival is Port.WEST and x % 2 == 0 and to_x > x:
                assert not taken & {Port.NORTH, Port.SOUTH}, "from east to north or south in an even column"
            if arrival in (Port.NORTH, Port.SOUTH) and x % 2 and Port.WEST in taken:
                # Never reached: who has to go west does not leave its row in an odd column.
                before = routing.function(Port.LOCAL, 0, y=y - STEP[arrival][0], x=x, to_y=to_y, to_x=to_x)
                assert not any(before[port][0] for port in (Port.NORTH, Port.SOUTH))


def test_o1turn_keeps_to_its_layer():
    routing = UNICAST_ROUTINGS["o1turn"]
    for layer in 0, 1:
        assert ways(routing, (0, 0), (3, 3), layer=layer, stays=False) == 1


def test_departures():
    assert unicast_departures(UNICAST_ROUTINGS["xy"], Port.NORTH) == (Port.SOUTH, Port.LOCAL)
    assert unicast_departures(UNICAST_ROUTINGS["yx"], Port.WEST) == (Port.EAST, Port.LOCAL)
    assert Port.WEST not in unicast_departures(UNICAST_ROUTINGS["west-first"], Port.SOUTH)
    assert unicast_departures(UNICAST_ROUTINGS["adaptive"], Port.LOCAL) == tuple(Port)


def test_shares_of_virtual_channels():
    assert UNICAST_ROUTINGS["xy"].shares(3) == ((0, 1, 2),)
    assert UNICAST_ROUTINGS["o1turn"].shares(4) == ((0, 1), (2, 3))
    assert UNICAST_ROUTINGS["adaptive"].shares(4) == ((0, 1, 2), (3,))


def refuse(routing, message, height=4, width=4):
    with pytest.raises(ValueError, match=message) as caught:
        check_unicast(routing, height=height, width=width)
    return str(caught.value)


def test_circle_is_refused_and_printed():
    """All shortest ways in one layer; the circle that is printed is one of links that follow each other."""
    adaptive = UNICAST_ROUTINGS["adaptive"].function

    def any_way(arrival, layer, **place):
        return {port: conditions[:1] for port, conditions in adaptive(arrival, layer, **place).items()}

    text = refuse(UnicastRouting("any-way", any_way), r"routing function any-way is cyclic: \(\d, \d\)\.")
    channels = text.partition("cyclic: ")[2].split(" -> ")
    assert channels[0] == channels[-1]
    assert len(set(channels)) == len(channels) - 1 >= 4
    for before, after in itertools.pairwise(channels):
        y, x, side = int(before[1]), int(before[4]), Port[before[7:].partition("[")[0]]
        assert after.startswith(f"({y + STEP[side][0]}, {x + STEP[side][1]}).")


def test_escape_must_be_offered_everywhere():
    adaptive = UNICAST_ROUTINGS["adaptive"].function

    def half(arrival, layer, *, y, **place):
        offers = adaptive(arrival, layer, y=y, **place)
        return {port: (free, escape and y != 1) for port, (free, escape) in offers.items()}

    refuse(
        UnicastRouting("half", half, layers=2, escape=1), r"half is cyclic, and a packet to .* has no escape at \(1, "
    )


def test_escape_must_not_be_cyclic():
    """The way of escape is along the row for some destinations and along the column for others."""
    adaptive, yx = (UNICAST_ROUTINGS[name].function for name in ("adaptive", "yx"))

    def mixed(arrival, layer, *, to_x, **place):
        offers = adaptive(arrival, layer, to_x=to_x, **place)
        along_column = yx(Port.LOCAL, 0, to_x=to_x, **place)
        return {port: (free, along_column[port][0] if to_x % 2 else escape) for port, (free, escape) in offers.items()}

    refuse(UnicastRouting("mixed", mixed, layers=2, escape=1), r"mixed is cyclic: \(\d, \d\)\.\w+\[1\] -> ")


def test_both_orders_in_one_layer_are_refused():
    xy, yx = (UNICAST_ROUTINGS[name].function for name in ("xy", "yx"))

    def either(arrival, layer, *, to_x, **place):
        chosen = yx(Port.LOCAL, 0, to_x=to_x, **place) if to_x % 2 else xy(Port.LOCAL, 0, to_x=to_x, **place)
        return chosen

    refuse(UnicastRouting("either", either), "either is cyclic")


def test_lost_packets_are_refused():
    xy = UNICAST_ROUTINGS["xy"]

    def changed(port, condition):
        def function(arrival, layer, **place):
            offers = xy.function(arrival, layer, **place)
            if port in offers:
                offers[port] = (condition(offers[port][0], **place),)
            return offers

        return dataclasses.replace(xy, name="changed", function=function)

    refuse(changed(Port.NORTH, lambda taken, **place: False), r"a packet to .* that came by \w+ is lost at ")
    refuse(changed(Port.EAST, lambda taken, x, **place: taken or x == 2), r"leaves the shortest way at \(\d, 2\), EAST")
    refuse(changed(Port.LOCAL, lambda taken, y, **place: taken and y != 3), r"ends its way, or does not, at \(3, ")
