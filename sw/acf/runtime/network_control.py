"""Chooses how a network alone treats its traffic, by what its counters said of the run before.

The controller changes one thing at a time. While the packets of a run stall, it looks for the traffic class that
stalls most, tries the next option of something that concerns this class, and keeps it if the run took fewer cycles
than the best one so far. What cannot be better is not tried: no run is shorter than the flits that one node sends or
takes, which the runtime knows before. When nothing is left to be tried, or hardly anything stalls, it stays with the
best. What it knows is kept by layer and product, so a layer that comes again goes on where it was.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from acf.isa import TrafficClass

__all__ = ["CONCERNS", "FEW_STALLS", "NetworkChoice", "NetworkController"]

FEW_STALLS = 0.02
"""Stalls for each flit that passes an input of a router, below which there is nothing to be tried."""

CONCERNS = {
    "entries": (TrafficClass.ENTRIES,),
    "operands": (TrafficClass.OPERANDS,),
    "results": (TrafficClass.RESULTS,),
    "channel_map": (TrafficClass.ENTRIES, TrafficClass.OPERANDS),
    "shape": (TrafficClass.ENTRIES, TrafficClass.OPERANDS, TrafficClass.RESULTS),
}
"""By field of ``NetworkChoice``, the classes that it concerns."""


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """How one layer's traffic is treated.

    Parameters
    ----------
    entries, operands : str
        Order of dimensions of their trees, ``xy`` or ``yx``.
    results : str
        Routing function of the network.
    channel_map : str
        One of ``acf.runtime.multicast_groups.CHANNEL_MAPS``; only with ``apart`` may the trees differ.
    shape : tuple of int
        Rows and columns as which the tiles are drawn.
    """

    entries: str
    operands: str
    results: str
    channel_map: str
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        """What it is, in words."""
        rows, columns = self.shape
        return f"{self.entries} {self.operands} {self.results}, {self.channel_map}, {rows}x{columns}"

    @property
    def is_allowed(self) -> bool:
        """Whether trees in one virtual channel go the same way, so that they cannot wait for each other."""
        return self.channel_map == "apart" or self.entries == self.operands


@dataclass
class _Knowledge:
    best: NetworkChoice
    cycles: int | None = None
    stalls: dict[TrafficClass, float] = field(default_factory=dict)
    tried: set[NetworkChoice] = field(default_factory=set)


class NetworkController:
    """The loop: ``choose`` before a run, ``observe`` behind it.

    Parameters
    ----------
    start : NetworkChoice
        For what has never been run.
    options : mapping of str to sequence
        Values of fields of ``NetworkChoice`` among which it may choose; other fields stay as they are.

    Raises
    ------
    ValueError
        If there is no such field, or ``start`` is not among the options.
    """

    def __init__(self, start: NetworkChoice, options: Mapping[str, Sequence]):
        for name, values in options.items():
            if name not in CONCERNS:
                raise ValueError(f"a choice must be one of {', '.join(CONCERNS)}, not {name!r}")
            if getattr(start, name) not in values:
                raise ValueError(f"{name} must begin with one of {', '.join(map(str, values))}, not {start}")
        self._start = start
        self._options = dict(options)
        self._known: dict[Hashable, _Knowledge] = {}

    def choose(self, key: Hashable, least_cycles: Callable[[NetworkChoice], int] = lambda choice: 0) -> NetworkChoice:
        """What to do in the next run of a layer and a product.

        Parameters
        ----------
        key : hashable
            The layer and the product.
        least_cycles : callable
            How many cycles a run takes under a choice at least, whatever the network does.
        """
        known = self._known.get(key)
        if known is None or known.cycles is None:
            return self._start
        for traffic_class in sorted(known.stalls, key=lambda each: -known.stalls[each]):
            if known.stalls[traffic_class] < FEW_STALLS:
                break
            for name, values in self._options.items():
                if traffic_class not in CONCERNS[name]:
                    continue
                for value in values:
                    choice = dataclasses.replace(known.best, **{name: value})
                    if choice in known.tried or not choice.is_allowed:
                        continue
                    if least_cycles(choice) < known.cycles:
                        return choice
                    known.tried.add(choice)
        return known.best

    def observe(
        self, key: Hashable, choice: NetworkChoice, *, cycles: int, stalls: Mapping[TrafficClass, float]
    ) -> None:
        """Take note of a run.

        Parameters
        ----------
        key : hashable
        choice : NetworkChoice
            What was done.
        cycles : int
            Until the last packet had come.
        stalls : mapping of TrafficClass to float
            Cycles in which a flit of the class was the first in a buffer of a router and did not go on, for each flit
            of the class that came to an input.
        """
        known = self._known.setdefault(key, _Knowledge(choice))
        known.tried.add(choice)
        if known.cycles is None or cycles < known.cycles:
            known.best, known.cycles, known.stalls = choice, cycles, dict(stalls)
