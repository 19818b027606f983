"""Parameters of a network alone, without a fabric around it."""

import dataclasses
from dataclasses import dataclass

from acf.config.blocks import NocConfig
from acf.config.checks import digest_of, require, require_one_of, require_range

__all__ = ["CHANNEL_RULES", "ROUTINGS", "TOPOLOGIES", "TORUS_ROUTINGS", "NetworkConfig"]


ROUTINGS = ("xy", "yx", "west-first", "negative-first", "odd-even", "o1turn", "adaptive")
"""Routing functions of a network alone, by name."""

TOPOLOGIES = ("mesh", "torus")
"""A torus is a mesh whose opposite edges are joined."""

TORUS_ROUTINGS = ("xy", "yx", "o1turn", "adaptive")
"""Those of the routing functions that a torus has."""

CHANNEL_RULES = ("kept", "free", "onward")
"""How a network alone chooses virtual channels."""


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
        One of ``ROUTINGS``.
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

    def __post_init__(self) -> None:
        require_one_of("topology", self.topology, TOPOLOGIES)
        require_range("mesh height", self.height, 1, 16)
        require_range("mesh width", self.width, 1, 16)
        require_one_of("routing", self.routing, ROUTINGS)
        require_one_of("rule for virtual channels", self.channels, CHANNEL_RULES)
        require_range("rounds of allocation", self.rounds, 1, 3)
        require_range("stages of a router", self.stages, 1, 2)
        _ = self.noc  # checks the rest
        if self.channels == "kept":
            require(self.routing == "xy", f"packets keep their virtual channels under routing xy, not {self.routing!r}")
            require(self.rounds == 1, f"where packets keep their virtual channels there is 1 round, not {self.rounds}")
            require(self.stages == 1, f"where packets keep their virtual channels there is 1 stage, not {self.stages}")
        require(
            self.channels != "onward" or self.routing in ("xy", "yx", "o1turn"),
            f"the rule onward needs packets that know their way, not those of routing {self.routing!r}",
        )
        if self.topology == "torus":
            require_one_of("routing of a torus", self.routing, TORUS_ROUTINGS)
            require(self.channels != "kept", "packets on a torus do not keep their virtual channels")
        least = self.least_channels
        what = f"routing {self.routing}" + (f" on a torus of {self.height}x{self.width}" if self.datelines else "")
        require(
            self.virtual_channels >= least,
            f"{what} needs {least} virtual channels at least, not {self.virtual_channels}",
        )

    @property
    def noc(self) -> NocConfig:
        """Parameters of its routers."""
        return NocConfig(
            virtual_channels=self.virtual_channels, buffer_depth=self.buffer_depth, class_channels=(0, 0, 0, 0)
        )

    @property
    def name(self) -> str:
        """What it is, in words."""
        return (
            f"{self.height}x{self.width} {self.topology}, {self.routing}, "
            f"{self.virtual_channels} x {self.buffer_depth} flits, {self.channels}, rounds {self.rounds}"
            + (f", stages {self.stages}" if self.stages > 1 else "")
        )

    @property
    def datelines(self) -> bool:
        """Whether the network has rings in which shortest ways can wait for each other, which needs five nodes."""
        return self.topology == "torus" and max(self.height, self.width) >= 5

    @property
    def least_channels(self) -> int:
        """Virtual channels that the routing needs to be free of deadlock."""
        per_order = 2 if self.datelines else 1
        return per_order * (2 if self.routing == "o1turn" else 1) + (self.routing == "adaptive")

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

        Of ``stages`` only where there are more than one: networks keep the digests of before there was a choice.
        """
        parameters = dataclasses.asdict(self)
        if self.stages == 1:
            del parameters["stages"]
        return digest_of(parameters)
