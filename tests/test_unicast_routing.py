"""Routing functions that choose: the proof refuses what can go wrong, and the good ones use the ways that they may."""

import dataclasses
import itertools
import math

import pytest

from acf.config import ROUTINGS, TORUS_ROUTINGS, NetworkConfig
from acf.hw.noc.routing import FACING, STEP, Port
from acf.hw.noc.torus_routing import torus_routing
from acf.hw.noc.unicast_proof import check_unicast, proved_routing
from acf.hw.noc.unicast_routing import UNICAST_ROUTINGS, UnicastRouting, unicast_departures

SIDES = [port for port in Port if port is not Port.LOCAL]


def nodes(height, width):
    return list(itertools.product(range(height), range(width)))


def ways(routing, source, to, *, layer=0, stays=True, around=(99, 99)):
    """Number of different ways of links from ``source`` to ``to``, in one layer or in any; ``around`` a torus."""
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
                        node = (y + STEP[port][0]) % around[0], (x + STEP[port][1]) % around[1]
                        state = (node, FACING[port], onward)
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
    adaptive = torus_routing("adaptive", height=5, width=5, datelines=True)
    assert adaptive.shares(5) == ((0, 1, 2), (3,), (4,))
    assert torus_routing("o1turn", height=5, width=5, datelines=True).shares(6) == ((0,), (1, 2), (3,), (4, 5))


def refuse(routing, message, height=4, width=4, wraps=False):
    with pytest.raises(ValueError, match=message) as caught:
        check_unicast(routing, height=height, width=width, wraps=wraps)
    return str(caught.value)


def printed_circle(text):
    return text.partition("cyclic: ")[2].split(" -> ")


TORI = [(1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (1, 5), (5, 4), (2, 6)]


@pytest.mark.parametrize("name", TORUS_ROUTINGS)
@pytest.mark.parametrize(("height", "width"), TORI)
def test_torus_is_proved(name, height, width):
    network = NetworkConfig(
        height=height, width=width, topology="torus", routing=name, channels="free", virtual_channels=5
    )
    routing = proved_routing(network)
    assert network.datelines == (max(height, width) >= 5)
    assert routing.layers == network.least_channels
    for source, to in itertools.product(nodes(height, width), repeat=2):
        layers = range(routing.layers) if name == "o1turn" else [0]
        for layer in layers:
            found = ways(routing, source, to, layer=layer, stays=False, around=(height, width))
            assert found == 1 or name == "adaptive"


@pytest.mark.parametrize("name", TORUS_ROUTINGS)
def test_torus_without_datelines_is_refused(name):
    """The circle that is printed goes once around a ring."""
    routing = torus_routing(name, height=3, width=5, datelines=False)
    circle = printed_circle(refuse(routing, f"routing function {name} is cyclic: ", height=3, width=5, wraps=True))
    assert circle[0] == circle[-1]
    assert sorted(int(channel[4]) for channel in circle[1:]) == [0, 1, 2, 3, 4]
    assert len({(channel[1], channel[7:]) for channel in circle}) == 1, "in one row and one direction"


def test_ties_in_one_direction_are_refused():
    """Of two ways that are equally long always that to the east: then four nodes are a circle, too."""
    xy = torus_routing("xy", height=1, width=4, datelines=False)

    def eastward(arrival, layer, *, x, to_x, **place):
        return xy.function(
            arrival, layer, x=0 if abs(to_x - x) == 2 else x, to_x=2 if abs(to_x - x) == 2 else to_x, **place
        )

    check_unicast(xy, height=1, width=4, wraps=True)
    refuse(dataclasses.replace(xy, name="eastward", function=eastward), "eastward is cyclic", 1, 4, wraps=True)


def test_links_of_a_torus_carry_the_same():
    """Under uniform traffic: two links for each of 256 pairs on average, and 64 links."""
    routing = torus_routing("xy", height=4, width=4, datelines=False)
    load = {}
    for source, to in itertools.product(nodes(4, 4), repeat=2):
        node, arrival = source, Port.LOCAL
        while node != to:
            offers = routing.function(arrival, 0, y=node[0], x=node[1], to_y=to[0], to_x=to[1])
            (port,) = (port for port, (condition,) in offers.items() if condition)
            load[node, port] = load.get((node, port), 0) + 1
            node, arrival = ((node[0] + STEP[port][0]) % 4, (node[1] + STEP[port][1]) % 4), FACING[port]
    assert set(load.values()) == {16 * 16 * 2 // 64}
    assert len(load) == 64


def test_circle_is_refused_and_printed():
    """All shortest ways in one layer; the circle that is printed is one of links that follow each other."""
    adaptive = UNICAST_ROUTINGS["adaptive"].function

    def any_way(arrival, layer, **place):
        return {port: conditions[:1] for port, conditions in adaptive(arrival, layer, **place).items()}

    text = refuse(UnicastRouting("any-way", any_way), r"routing function any-way is cyclic: \(\d, \d\)\.")
    channels = printed_circle(text)
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
        UnicastRouting("half", half, layers=2, escapes=(1,)),
        r"half is cyclic, and a packet to .* has no escape at \(1, ",
    )


def test_escape_must_not_be_cyclic():
    """The way of escape is along the row for some destinations and along the column for others."""
    adaptive, yx = (UNICAST_ROUTINGS[name].function for name in ("adaptive", "yx"))

    def mixed(arrival, layer, *, to_x, **place):
        offers = adaptive(arrival, layer, to_x=to_x, **place)
        along_column = yx(Port.LOCAL, 0, to_x=to_x, **place)
        return {port: (free, along_column[port][0] if to_x % 2 else escape) for port, (free, escape) in offers.items()}

    refuse(UnicastRouting("mixed", mixed, layers=2, escapes=(1,)), r"mixed is cyclic: \(\d, \d\)\.\w+\[1\] -> ")


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
