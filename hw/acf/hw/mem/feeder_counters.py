"""Event counters of a feeder on the counter bus."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from acf.hw.counters import counter_bus
from acf.isa import FeederCounter

__all__ = ["FeederCounters"]


class FeederCounters(wiring.Component):
    """One 32-bit counter for each of ``kinds``.

    Events count in the cycle in which they happen, while ``counters.enable`` is high. ``counters.value`` follows
    ``counters.select`` by one cycle and is 0 for other nodes and other counters.

    Parameters
    ----------
    kinds : tuple of FeederCounter
        Counters that exist.

    Members
    -------
    events : In(8).array(len(kinds))
        How many happen, in the order of ``kinds``.
    y, x : In(4)
        The node of the counters.
    counters : In(counter_bus)

    Raises
    ------
    ValueError
        If a counter is named twice.
    """

    y: Signal
    x: Signal

    def __init__(self, *, kinds: tuple[FeederCounter, ...]):
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"feeder counters must differ, not {[kind.name for kind in kinds]!r}")
        self._kinds = kinds
        super().__init__(
            {
                "events": In(8).array(len(kinds)),
                "y": In(4),
                "x": In(4),
                "counters": In(counter_bus),
            }
        )

    def elaborate(self, platform):
        m = Module()

        counters = [Signal(32, name=f"{kind.name.lower()}_counter") for kind in self._kinds]
        for counter, event in zip(counters, self.events, strict=True):
            with m.If(self.counters.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(self.counters.enable):
                m.d.sync += counter.eq(counter + event)

        select = self.counters.select
        m.d.sync += self.counters.value.eq(0)
        with m.If((select.y == self.y) & (select.x == self.x)), m.Switch(select.index):
            for kind, counter in zip(self._kinds, counters, strict=True):
                with m.Case(int(kind)):
                    m.d.sync += self.counters.value.eq(counter)

        return m
