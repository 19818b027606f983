"""The sending end of a link: shares it between sources, packet by packet in each virtual channel."""

import functools
import operator

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.credits import Credits
from acf.hw.noc.flit import flit_layout, link_signature

__all__ = ["LinkSender", "encoded", "selected", "source_signature"]

_WIDEST_TREE = 5  # values among which multiplexers are smaller than gates for each value


def source_signature(*, noc: NocConfig) -> wiring.Signature:
    """One source of a link, seen from the source.

    Members
    -------
    may_send : In(virtual_channels)
        Per virtual channel: the receiver has room for a flit, and no other source is amid a packet.
    request : Out(1)
        A flit is offered; only on a channel on which it may be sent.
    channels : Out(virtual_channels)
        The virtual channel of the flit, one bit; valid with ``request``.
    flit : Out(flit_layout)
        Valid with ``request``.
    grant : In(1)
        The flit is taken in this cycle.
    """
    return wiring.Signature(
        {
            "may_send": In(noc.virtual_channels),
            "request": Out(1),
            "channels": Out(noc.virtual_channels),
            "flit": Out(flit_layout(noc=noc)),
            "grant": In(1),
        }
    )


class LinkSender(wiring.Component):
    """Sends one flit a cycle from one of several sources, the one that has waited longest.

    A virtual channel belongs to one source from the head of a packet to its tail; packets in different virtual channels
    take turns flit by flit. The link is registered: a flit granted in one cycle is on the link in the next. A credit
    that arrives can be used in the next cycle.

    Parameters
    ----------
    noc : NocConfig
    sources : int
        Number of sources.

    Members
    -------
    sources : In(source_signature).array(sources)
    link : Out(link_signature)

    Raises
    ------
    ValueError
        If ``sources`` is not positive.
    """

    def __init__(self, *, noc: NocConfig, sources: int):
        if sources <= 0:
            raise ValueError(f"sources of a link must be positive, not {sources!r}")
        self._noc = noc
        self._count = sources
        super().__init__(
            {
                "sources": In(source_signature(noc=noc)).array(sources),
                "link": Out(link_signature(noc=noc)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        noc = self._noc
        count = self._count

        m.submodules.arbiter = arbiter = LeastRecentArbiter(count=count)
        m.d.comb += [
            arbiter.requests[0].eq(Cat(source.request for source in self.sources)),
            arbiter.used.eq(arbiter.grants[0]),
            Cat(source.grant for source in self.sources).eq(arbiter.grants[0]),
        ]
        sends = Signal()
        m.d.comb += sends.eq(arbiter.requests[0].any())
        flit = Signal(flit_layout(noc=noc))
        m.d.comb += flit.eq(selected(arbiter.grants[0], [source.flit for source in self.sources]))

        channels = Signal(noc.virtual_channels)
        for channel in range(noc.virtual_channels):
            sent = channels[channel]
            m.d.comb += sent.eq(Cat(source.channels[channel] & source.grant for source in self.sources).any())
            credits = Credits(noc=noc, channel=channel)
            credits.count(m, sent=sent, credit=self.link.credit[channel])

            owner = Signal(count, name=f"owner_{channel}")
            is_free = Signal(name=f"is_free_{channel}", init=1)
            with m.If(sent):
                m.d.sync += [owner.eq(arbiter.grants[0]), is_free.eq(flit.tail)]
            for n, source in enumerate(self.sources):
                m.d.comb += source.may_send[channel].eq(credits.has_room & (is_free | owner[n]))

        m.d.sync += self.link.valid.eq(sends)
        with m.If(sends):  # an idle link does not toggle
            m.d.sync += self.link.flit.eq(flit)
            m.d.sync += self.link.channel.eq(encoded(channels))
        return m


def encoded(bits):
    """The number of the one bit that is set."""
    width = max(1, (len(bits) - 1).bit_length())
    return Cat(Cat(bits[n] for n in range(len(bits)) if n >> k & 1).any() for k in range(width))


def selected(bits, values):
    """The value whose bit is set; any of them when none is, so that the choice needs no gate of its own."""
    if len(values) == 1:
        return Value.cast(values[0])
    if len(values) > _WIDEST_TREE:
        words = [Value.cast(value) for value in values]
        return functools.reduce(
            operator.or_, (word & bit.replicate(len(word)) for bit, word in zip(bits, words, strict=True))
        )
    if len(values) == 2:
        return Mux(bits[1], Value.cast(values[1]), Value.cast(values[0]))
    half = 1 << ((len(values) - 1).bit_length() - 1)
    return Mux(bits[half:].any(), selected(bits[half:], values[half:]), selected(bits[:half], values[:half]))
