"""Credits of a link: how many flits its receiver has room for, in each virtual channel."""

from amaranth.hdl import Module, Mux, Signal, ValueLike

from acf.config import NocConfig

__all__ = ["Credits"]


class Credits:
    """Free places of a receiver in one virtual channel; all of them after reset.

    A credit that arrives in one cycle counts in the next. That a flit is sent is known late in a cycle, as it hangs on
    the arbiters: in that cycle it selects one bit and is kept; the places are counted in the next.

    Parameters
    ----------
    noc : NocConfig
    channel : int
        Number of the virtual channel.

    Attributes
    ----------
    places : Signal
        Free places, and one more where ``was_sent``.
    was_sent : Signal
        Whether a flit was sent in the cycle before.
    has_room : Signal
        Whether there is a free place.
    """

    def __init__(self, *, noc: NocConfig, channel: int):
        self.places = Signal(range(noc.buffer_depth + 1), name=f"places_{channel}", init=noc.buffer_depth)
        self.was_sent = Signal(name=f"was_sent_{channel}")
        self.has_room = Signal(name=f"has_room_{channel}", init=1)

    def count(self, m: Module, *, sent: ValueLike, credit: ValueLike) -> None:
        """Add the logic: a flit is sent, a credit arrives."""
        places, was_sent = self.places, self.was_sent
        is_left = Mux(sent, Mux(was_sent, places > 2, places > 1), Mux(was_sent, places > 1, places > 0))
        m.d.sync += [was_sent.eq(sent), self.has_room.eq(is_left | credit)]
        with m.If(credit & ~was_sent):
            m.d.sync += places.eq(places + 1)
        with m.If(was_sent & ~credit):
            m.d.sync += places.eq(places - 1)

    def has_places(self, count: int) -> ValueLike:
        """Whether there are at least so many free places."""
        return (self.places > count) | ((self.places == count) & ~self.was_sent)

    def are_all_free(self, depth: int) -> ValueLike:
        """Whether the receiver has nothing, and nothing is on its way to it."""
        return (self.places == depth) & ~self.was_sent
