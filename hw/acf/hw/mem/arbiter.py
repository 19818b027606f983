"""A round-robin arbiter."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobinArbiter"]


class RoundRobinArbiter(wiring.Component):
    """Grants one of several requests; the one after the latest granted comes first, after a reset request 0.

    ``grant`` follows ``requests`` in the same cycle. A request that is held is granted after at most
    ``count - 1`` other grants.

    Parameters
    ----------
    count : int
        Requests.

    Members
    -------
    requests : In(count)
    advance : In(1)
        The grant of this cycle is used: the turn passes on.
    grant : Out(count)
        At most one bit, 0 only without requests.

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

        later = Signal(self._count)  # the requests above the latest granted
        first_later = self.requests & later

        def lowest(value):
            return (value & -value)[: self._count]

        m.d.comb += self.grant.eq(Mux(first_later.any(), lowest(first_later), lowest(self.requests)))
        with m.If(self.advance & self.grant.any()):
            m.d.sync += later.eq(Cat(self.grant[:n].any() if n else 0 for n in range(self._count)))

        return m
