"""An arbiter that serves the one who has waited longest."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LeastRecentArbiter"]


class LeastRecentArbiter(wiring.Component):
    """Grants the request whose latest grant is longest ago.

    ``grant`` follows ``requests`` in the same cycle, through two levels of logic for up to five requests, fewer than a
    rotating priority needs. A request that is held is granted after at most ``count - 1`` used grants of others.

    Parameters
    ----------
    count : int
        Requests.

    Members
    -------
    requests : In(count)
    advance : In(1)
        The grant of this cycle is used: the granted request becomes the last in turn.
    grant : Out(count)
        Exactly one bit when there are requests, else 0.

    Raises
    ------
    ValueError
        If ``count`` is not positive.
    """

    def __init__(self, *, count: int):
        if count <= 0:
            raise ValueError(f"requests of an arbiter must be positive, not {count!r}")
        self._count = count
        super().__init__({"requests": In(count), "advance": In(1), "grant": Out(count)})

    def elaborate(self, platform):
        m = Module()

        # One bit for every pair: whether the first of the two goes first.
        goes_first = {}
        for first in range(self._count):
            for second in range(first + 1, self._count):
                bit = Signal(name=f"first_{first}_{second}", init=1)
                goes_first[first, second] = bit
                goes_first[second, first] = ~bit
                with m.If(self.advance):
                    with m.If(self.grant[first]):
                        m.d.sync += bit.eq(0)
                    with m.Elif(self.grant[second]):
                        m.d.sync += bit.eq(1)

        for n in range(self._count):
            beaten = Cat(self.requests[k] & goes_first[k, n] for k in range(self._count) if k != n)
            m.d.comb += self.grant[n].eq(self.requests[n] & ~beaten.any())

        return m
