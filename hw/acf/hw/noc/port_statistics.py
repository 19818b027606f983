"""Counters of what passes an input of a router, by traffic class."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import TRAFFIC_CLASSES, NetworkConfig

__all__ = ["COUNTER_BITS", "PortStatistics", "counter_members", "counter_signature"]

COUNTER_BITS = 32
"""Of each counter; it goes on from 0 behind its largest value."""

_NAMES = ("flits", "stalls", "occupancy")


def counter_signature() -> wiring.Signature:
    """Reads the counters of any input in a network, seen from who reads; the answer comes two cycles later.

    Members
    -------
    y, x : Out(4)
        The router.
    port : Out(3)
        Its input: north, east, south, west, or from the node itself, from 0 to 4.
    traffic_class : Out(2)
    flits : In(32)
        Flits of the class that came by this input since reset.
    stalls : In(32)
        Cycles in which a flit of the class was the first in one of the buffers and did not go on.
    occupancy : In(32)
        Flits of the class in the buffers, summed over all cycles.
    """
    return wiring.Signature(
        {
            "y": Out(4),
            "x": Out(4),
            "port": Out(3),
            "traffic_class": Out(2),
            **{name: In(COUNTER_BITS) for name in _NAMES},
        }
    )


def counter_members(network: NetworkConfig) -> dict[str, wiring.Member]:
    """The member ``counters`` of a network that counts, and of its nodes and routers."""
    return {"counters": In(counter_signature())} if network.statistics else {}


class PortStatistics(wiring.Component):
    """The counters of one input. All follow what they count by two cycles.

    Parameters
    ----------
    most : int
        Flits in the buffers, at most.

    Members
    -------
    arrives, leaves : In(1)
        A flit comes, a flit goes on.
    arriving_class, leaving_class : In(2)
        Its class.
    waits : In(4)
        By class, whether a flit is the first in a buffer and does not go on.
    traffic_class : In(2)
        The class that is read, in the same cycle.
    flits, stalls, occupancy : Out(32)

    Raises
    ------
    ValueError
        If ``most`` is not positive.
    """

    def __init__(self, *, most: int):
        if most <= 0:
            raise ValueError(f"flits in the buffers of an input must be positive, not {most!r}")
        self._most = most
        super().__init__(
            {
                "arrives": In(1),
                "arriving_class": In(2),
                "leaves": In(1),
                "leaving_class": In(2),
                "waits": In(TRAFFIC_CLASSES),
                "traffic_class": In(2),
                **{name: Out(COUNTER_BITS) for name in _NAMES},
            }
        )

    def elaborate(self, platform):
        m = Module()
        counts = {name: [] for name in _NAMES}
        for n in range(TRAFFIC_CLASSES):
            # Kept for a cycle: what leaves is known late.
            comes, goes, waits = (Signal(name=f"{what}_{n}") for what in ("comes", "goes", "waits"))
            m.d.sync += [
                comes.eq(self.arrives & (self.arriving_class == n)),
                goes.eq(self.leaves & (self.leaving_class == n)),
                waits.eq(self.waits[n]),
            ]
            level = Signal(range(self._most + 1), name=f"level_{n}")
            flits, stalls, occupancy = (Signal(COUNTER_BITS, name=f"{name}_{n}") for name in _NAMES)
            m.d.sync += [
                level.eq(level + comes - goes),
                flits.eq(flits + comes),
                stalls.eq(stalls + waits),
                occupancy.eq(occupancy + level),
            ]
            for name, count in zip(_NAMES, (flits, stalls, occupancy), strict=True):
                counts[name].append(count)
        for name, of_classes in counts.items():
            m.d.comb += getattr(self, name).eq(Array(of_classes)[self.traffic_class])
        return m
