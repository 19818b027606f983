"""Parameters of a network alone, without a fabric around it."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from acf.config.blocks import NocConfig
from acf.config.checks import digest_of, require, require_one_of, require_power_of_two, require_range

__all__ = [
    "CHANNEL_RULES",
    "GROUP_CAST",
    "ROUTINGS",
    "TABLE",
    "TOPOLOGIES",
    "TORUS_ROUTINGS",
    "TRAFFIC_CLASSES",
    "ClassPolicy",
    "NetworkConfig",
    "channel_shares",
]


ROUTINGS = ("xy", "yx", "west-first", "negative-first", "odd-even", "o1turn", "adaptive")
"""Routing functions of a network alone, by name."""

TABLE = "table"
"""The routing function that a network by class may have besides: tables that are written while it runs."""

TRAFFIC_CLASSES = 4
"""Traffic classes that the header of a packet can name."""

GROUP_CAST = 3
"""``cast`` of a packet for all members of a group: in its header the number of the group stands for the destination."""

TOPOLOGIES = ("mesh", "torus")
"""A torus is a mesh whose opposite edges are joined."""

TORUS_ROUTINGS = ("xy", "yx", "o1turn", "adaptive")
"""Those of the routing functions that a torus has."""

CHANNEL_RULES = ("kept", "free", "onward")
"""How a network alone chooses virtual channels."""


def channel_shares(channels: Sequence[int], *, layers: int, escapes: int) -> tuple[tuple[int, ...], ...]:
    """The virtual channels of each layer: one for each of escape, the last ones, the others divided evenly."""
    free, others = len(channels) - escapes, layers - escapes
    bounds = [n * free // others for n in range(others)] + list(range(free, len(channels) + 1))
    return tuple(tuple(channels[begin:end]) for begin, end in itertools.pairwise(bounds))


@dataclass(frozen=True, kw_only=True)
class ClassPolicy:
    """How a network by class treats the packets of one traffic class.

    Parameters
    ----------
    function : str
        The routing function that they take.
    channels : tuple of int
        Virtual channels that they may have; those of escape are theirs besides.
    is_urgent : bool
        Whether they go before all that are not.
    """

    function: str
    channels: tuple[int, ...]
    is_urgent: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network alone: a rectangle of nodes, each with one stream of packets in and one out.

    Parameters
    ----------
    height, width : int
        Nodes from north to south and from west to east.
    virtual_channels : int
        Virtual channels per link; packets of all classes may use all of them.
    buffer_depth : int
        Flits per virtual channel and input port; a power of two.
    routing : str
        One of ``ROUTINGS``. Of a network by class one or several of them and of ``TABLE``: those between commas share
        virtual channels, those on different sides of a slash do not.
    channels : str
        One of ``CHANNEL_RULES``. ``kept``: a packet keeps the virtual channel that it got where it entered, as in the
        fabric. ``free``: at each hop it gets the one with the most room. ``onward``: at each hop it gets the one that
        belongs to the output which it will take at the next router; packets of a flow stay in order.
    rounds : int
        Rounds in which outputs are allotted to inputs within a cycle; 1 in the fabric.
    stages : int
        Cycles of a router besides that of its link: 1, or 2 with a register between the choice of a flit and its way
        through the crossbar. 1 in the fabric.
    topology : str
        One of ``TOPOLOGIES``.
    by_class : bool
        Inputs of the network say for each traffic class which routing function its packets take, which virtual channels
        they may have, and whether they are urgent.
    statistics : bool
        Every input of a router counts flits, stalls and occupied places by traffic class.
    groups : int
        Groups of receivers, whose packets are forked in the routers as tables say that are written while the network
        runs: 0, or a power of two up to 256.
    group_channels : int
        Virtual channels beside ``virtual_channels`` that packets for groups have, and nobody else: 1, 2 or 4. Those for
        a group have the one whose number is that of the group modulo so many.
    """

    height: int
    width: int
    virtual_channels: int = 2
    buffer_depth: int = 8
    routing: str = "xy"
    channels: str = "kept"
    rounds: int = 1
    stages: int = 1
    topology: str = "mesh"
    by_class: bool = False
    statistics: bool = False
    groups: int = 0
    group_channels: int = 1

    def __post_init__(self) -> None:
        require_one_of("topology", self.topology, TOPOLOGIES)
        require_range("mesh height", self.height, 1, 16)
        require_range("mesh width", self.width, 1, 16)
        if self.by_class:
            for function in self.functions:
                require_one_of("routing", function, (*ROUTINGS, TABLE))
            twice = [name for name in self.functions if self.functions.count(name) > 1]
            require(not twice, f"routing {self.routing!r} names {twice[0] if twice else ''!r} twice")
            require(self.channels == "free", f"the rule of a network by class must be free, not {self.channels!r}")
        else:
            require_one_of("routing", self.routing, ROUTINGS)
        require_one_of("rule for virtual channels", self.channels, CHANNEL_RULES)
        require_range("rounds of allocation", self.rounds, 1, 3)
        require_range("stages of a router", self.stages, 1, 2)
        _ = self.noc  # checks the rest
        if self.channels == "kept":
            require(self.routing == "xy", f"packets keep their virtual channels under routing xy, not {self.routing!r}")
            require(self.rounds == 1, f"where packets keep their virtual channels there is 1 round, not {self.rounds}")
            require(self.stages == 1, f"where packets keep their virtual channels there is 1 stage, not {self.stages}")
            require(not self.statistics, "routers of packets that keep their virtual channels have no statistics")
        require(
            self.channels != "onward" or self.routing in ("xy", "yx", "o1turn"),
            f"the rule onward needs packets that know their way, not those of routing {self.routing!r}",
        )
        if self.topology == "torus":
            for function in self.functions:
                if function != TABLE:
                    require_one_of("routing of a torus", function, TORUS_ROUTINGS)
            require(self.channels != "kept", "packets on a torus do not keep their virtual channels")
        self._check_groups()
        least = self.least_channels
        what = f"routing {self.routing}" + (f" on a torus of {self.height}x{self.width}" if self.datelines else "")
        require(
            self.virtual_channels >= least,
            f"{what} needs {least} virtual channels at least, not {self.virtual_channels}",
        )

    def _check_groups(self) -> None:
        if not self.groups:
            require(
                self.group_channels == 1, f"a network without groups has no {self.group_channels} channels for them"
            )
            return
        require_power_of_two("groups of a network", self.groups, 1, 256)
        require(
            self.group_channels in (1, 2, 4),
            f"virtual channels for groups must be 1, 2 or 4, not {self.group_channels}",
        )
        require(
            self.groups >= self.group_channels, f"{self.groups} groups have no {self.group_channels} virtual channels"
        )
        require(self.topology == "mesh", f"groups need a mesh, not a {self.topology}")
        require(self.channels != "kept", "groups need packets that do not keep their virtual channels")
        require(self.stages == 1, f"groups need routers of 1 stage, not {self.stages}")

    @property
    def noc(self) -> NocConfig:
        """Parameters of its routers."""
        return NocConfig(
            virtual_channels=self.virtual_channels + (self.group_channels if self.groups else 0),
            buffer_depth=self.buffer_depth,
            class_channels=(0, 0, 0, 0),
        )

    @property
    def group_flits(self) -> int:
        """Flits of a packet for a group at most: its head goes on when half of the queue behind an output is free."""
        return self.buffer_depth // 2

    @property
    def without_groups(self) -> "NetworkConfig":
        """What it is for packets with one destination."""
        return dataclasses.replace(self, groups=0, group_channels=1)

    @property
    def name(self) -> str:
        """What it is, in words."""
        return (
            f"{self.height}x{self.width} {self.topology}, {self.routing}, "
            f"{self.virtual_channels} x {self.buffer_depth} flits, {self.channels}, rounds {self.rounds}"
            + (f", stages {self.stages}" if self.stages > 1 else "")
            + (", by class" if self.by_class else "")
            + (", statistics" if self.statistics else "")
            + (f", {self.groups} groups in {self.group_channels}" if self.groups else "")
        )

    @property
    def allots_at_once(self) -> bool:
        """Whether all rounds of allocation are made together, which takes less time than one after the other."""
        return self.stages == 2 and self.offers > 1

    @property
    def offers(self) -> int:
        """Flits that an input offers in a cycle at most, one in each round."""
        return self.rounds if self.stages == 1 else min(self.rounds, self.virtual_channels)

    @property
    def datelines(self) -> bool:
        """Whether the network has rings in which shortest ways can wait for each other, which needs five nodes."""
        return self.topology == "torus" and max(self.height, self.width) >= 5

    @property
    def functions(self) -> tuple[str, ...]:
        """Its routing functions, as they are numbered."""
        return tuple(self.routing.replace("/", ",").split(","))

    @property
    def has_escapes(self) -> bool:
        """Whether a routing function needs virtual channels of escape."""
        return "adaptive" in self.functions

    def _layers(self, function: str) -> tuple[int, int]:
        """Layers of virtual channels that a function tells apart, and how many of them are of escape."""
        per_order = 2 if self.datelines and function != TABLE else 1
        escapes = per_order if function == "adaptive" else 0
        return per_order * (2 if function == "o1turn" else 1) + (function == "adaptive"), escapes

    @property
    def least_channels(self) -> int:
        """Virtual channels that the routing needs to be free of deadlock."""
        return sum(self._least_of_sets)

    @property
    def _least_of_sets(self) -> list[int]:
        return [max(self._layers(name)[0] for name in names.split(",")) for names in self.routing.split("/")]

    @property
    def channel_sets(self) -> dict[str, tuple[int, ...]]:
        """By routing function the virtual channels that it has, alone or with others.

        Each set has as many as it needs; those that are left are dealt to the sets in turn.
        """
        sizes = self._least_of_sets
        for n in range(self.virtual_channels - sum(sizes)):
            sizes[n % len(sizes)] += 1
        bounds = itertools.pairwise([0, *itertools.accumulate(sizes)])
        found = zip(self.routing.split("/"), bounds, strict=True)
        return {name: tuple(range(*ends)) for names, ends in found for name in names.split(",")}

    def shares_of(self, function: str) -> tuple[tuple[int, ...], ...]:
        """The virtual channels of each layer of a routing function."""
        layers, escapes = self._layers(function)
        return channel_shares(self.channel_sets[function], layers=layers, escapes=escapes)

    def escapes_beside(self, function: str) -> tuple[int, ...]:
        """Virtual channels of escape among those that a function has, maybe with others."""
        own = self.channel_sets[function]
        if "adaptive" not in self.functions or self.channel_sets["adaptive"] != own:
            return ()
        return own[-self._layers("adaptive")[1] :]

    @property
    def default_policies(self) -> tuple[ClassPolicy, ...]:
        """A policy for each traffic class: functions in turn, each with all of its virtual channels, nothing urgent."""
        names = [self.functions[n % len(self.functions)] for n in range(TRAFFIC_CLASSES)]
        return tuple(ClassPolicy(function=name, channels=self.channel_sets[name]) for name in names)

    def check_policies(self, policies: Sequence[ClassPolicy]) -> None:
        """Refuse policies with which packets could wait for ever.

        Raises
        ------
        ValueError
            If there are not as many as classes, the network has no such function, or a class may not have virtual
            channels of each layer of its function, or may have others than those of its function.
        """
        require(self.by_class, f"a network that is not by class has no policies: {self.name}")
        require(len(policies) == TRAFFIC_CLASSES, f"policies must be {TRAFFIC_CLASSES}, not {len(policies)}")
        for policy in policies:
            require_one_of("routing of a class", policy.function, self.functions)
            own = self.channel_sets[policy.function]
            wrong = [channel for channel in policy.channels if channel not in own]
            numbers = ", ".join(map(str, own))
            require(not wrong, f"virtual channels of {policy.function} are {numbers}, not {wrong[0] if wrong else 0}")
            for share in self.shares_of(policy.function):
                require(
                    not {*share}.isdisjoint({*policy.channels, *self.escapes_beside(policy.function)}),
                    f"a class of {policy.function} needs one of the virtual channels {', '.join(map(str, share))}, "
                    f"not {', '.join(map(str, policy.channels)) or 'none'} alone",
                )

    def keeps_order(self, policy: ClassPolicy) -> bool:
        """Whether packets of a class from one node to another stay in order."""
        channels = {*policy.channels, *self.escapes_beside(policy.function)}
        return policy.function in ("xy", "yx", TABLE) and len(channels) == 1

    @property
    def in_order(self) -> bool:
        """Whether packets from one node to another stay in order."""
        one_way = self.routing in ("xy", "yx")
        return one_way and (self.channels == "onward" or self.virtual_channels == 1)

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return self.height * self.width

    def links(self, source: tuple[int, int], to: tuple[int, int]) -> int:
        """Links on a shortest way from one node to another, each a row and a column."""
        steps = [abs(end - begin) for begin, end in zip(source, to, strict=True)]
        if self.topology == "torus":
            sizes = self.height, self.width
            steps = [min(count, size - count) for count, size in zip(steps, sizes, strict=True)]
        return sum(steps)

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of every parameter.

        Of ``stages``, ``by_class``, ``statistics`` and groups only where they are not as ever: networks keep the
        digests of before there was a choice.
        """
        parameters = dataclasses.asdict(self)
        if self.stages == 1:
            del parameters["stages"]
        for name in "by_class", "statistics", "groups":
            if not parameters[name]:
                del parameters[name]
        if not self.groups:
            del parameters["group_channels"]
        return digest_of(parameters)
