"""An arbiter that serves the one who has waited longest."""

import itertools

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LeastRecentArbiter"]


class LeastRecentArbiter(wiring.Component):
    """Grants the request whose latest use is longest ago.

    ``grants`` follow ``requests`` in the same cycle, through two levels of logic for up to five requests, fewer than a
    rotating priority needs. A request that is held is granted after at most ``count - 1`` used grants of others. In a
    cycle there may be several rounds, of which a later one may depend on what came of an earlier one; one order serves
    them all.

    Parameters
    ----------
    count : int
        Requests.
    rounds : int
        Rounds in a cycle.

    Members
    -------
    requests : In(count).array(rounds)
    grants : Out(count).array(rounds)
        Exactly one bit where there are requests, else 0.
    used : In(count)
        The request that is served in this cycle becomes the last in turn: one bit, or none.

    Raises
    ------
    ValueError
        If ``count`` or ``rounds`` is not positive.
    """

    def __init__(self, *, count: int, rounds: int = 1):
        for what, number in ("requests of an arbiter", count), ("rounds of an arbiter", rounds):
            if number <= 0:
                raise ValueError(f"{what} must be positive, not {number!r}")
        self._count = count
        # One bit for every pair: whether the first of the two goes first. Its proof looks at them.
        self.goes_first = {
            (first, second): Signal(name=f"first_{first}_{second}", init=1)
            for first, second in itertools.combinations(range(count), 2)
        }
        super().__init__(
            {
                "requests": In(count).array(rounds),
                "grants": Out(count).array(rounds),
                "used": In(count),
            }
        )

    def elaborate(self, platform):
        m = Module()

        goes_first = dict(self.goes_first)
        for (first, second), bit in self.goes_first.items():
            goes_first[second, first] = ~bit
            with m.If(self.used[first]):
                m.d.sync += bit.eq(0)
            with m.Elif(self.used[second]):
                m.d.sync += bit.eq(1)

        for requests, grants in zip(self.requests, self.grants, strict=True):
            for n in range(self._count):
                beaten = Cat(requests[k] & goes_first[k, n] for k in range(self._count) if k != n)
                m.d.comb += grants[n].eq(requests[n] & ~beaten.any())

        return m
