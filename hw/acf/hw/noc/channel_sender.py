"""The sending end of a link whose virtual channels are given out anew to every packet."""

from collections.abc import Collection

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.credits import Credits
from acf.hw.noc.flit import flit_layout, link_signature
from acf.hw.noc.link_sender import encoded, selected

__all__ = ["ChannelSender", "channel_source_signature"]

_MEAN_BITS = 3
_AWAY = 2  # cycles from a grant in which its credit cannot have come back, besides the stages of the link


def channel_source_signature(
    *, noc: NocConfig, rounds: int, at_once: bool = False, has_urgent: bool = False, has_claims: bool = False
) -> wiring.Signature:
    """One source of a link, seen from the source.

    Members
    -------
    may_start : In(virtual_channels)
        Virtual channels that are offered to the head of a packet, one of each group at most.
    may_open : In(virtual_channels)
        Those of them that are offered to the head of a packet of several flits.
    may_go_on : In(virtual_channels)
        Those in which the receiver has room for the next flit of a packet.
    waiting : In(range)
        How many flits wait at the receiver, in virtual channels of the first group: a running mean, times 8.
    is_open : In(1).array(rounds)
        Nobody has been granted in an earlier round of this cycle.
    request : Out(1).array(rounds)
        A flit is offered, in this round of the cycle; only where ``is_open``.
    channels : Out(virtual_channels).array(rounds or 1)
        The virtual channel of the flit, one bit; valid with ``grant``. With ``at_once`` that of each round.
    is_tail : Out(1).array(rounds or 1)
        Whether the flit is the last of its packet; valid with ``grant``. With ``at_once`` that of each round.
    flit : Out(flit_layout)
        Valid with ``grant``; where the link has two stages, in the cycle after it.
    grant : In(1).array(rounds)
        The flit offered in this round is taken. With ``at_once`` only where ``is_left``.
    is_left : Out(1).array(rounds)
        With ``at_once`` alone: nothing that the source offered in an earlier round, here or elsewhere, is granted.
    is_urgent : Out(1).array(rounds)
        With ``has_urgent`` alone: the flit offered in this round goes before others that are not urgent.
    is_claim : Out(1)
        With ``has_claims`` alone: a grant gives the virtual channel, which is kept for the source; nothing is sent.
    """
    answers = rounds if at_once else 1
    return wiring.Signature(
        {
            "may_start": In(noc.virtual_channels),
            "may_open": In(noc.virtual_channels),
            "may_go_on": In(noc.virtual_channels),
            "waiting": In(range((noc.virtual_channels * noc.buffer_depth << _MEAN_BITS) + 1)),
            "is_open": In(1).array(rounds),
            "request": Out(1).array(rounds),
            "channels": Out(noc.virtual_channels).array(answers),
            "is_tail": Out(1).array(answers),
            "flit": Out(flit_layout(noc=noc)),
            "grant": In(1).array(rounds),
            **({"is_left": Out(1).array(rounds)} if at_once else {}),
            **({"is_urgent": Out(1).array(rounds)} if has_urgent else {}),
            **({"is_claim": Out(1)} if has_claims else {}),
        }
    )


class ChannelSender(wiring.Component):
    """Sends one flit a cycle from one of several sources, and offers free virtual channels to heads of packets.

    Of each group of virtual channels the one with the most room is offered, so that packets spread over them. It
    belongs to the packet until its tail. The link is registered: a flit granted in one cycle is on the link in the
    next, or with two stages in the one after that. A credit that arrives can be used in the next cycle.

    Parameters
    ----------
    noc : NocConfig
    sources : int
        Number of sources.
    groups : sequence of sequences of int
        Every virtual channel is in one of them.
    rounds : int
        Rounds of allocation in a cycle.
    at_once : bool
        All rounds are made together: in each one source is granted without regard to the others, and of the flits of
        all rounds the one of the earliest goes, if nothing of an earlier round is granted to its source elsewhere.
    stages : int
        1: a flit is chosen and crosses to the link in one cycle; 2: it crosses in the cycle after.
    has_urgent : bool
        Sources say whether their flits are urgent; in each round those go first.
    opens_empty_only : bool
        Packets of several flits are offered virtual channels only while the receiver's queue is empty.
    half_free : collection of int
        Virtual channels that are offered to heads only while half of the receiver's queue is free. If there are any,
        sources can claim one without sending.

    Members
    -------
    sources : In(channel_source_signature).array(sources)
    link : Out(link_signature)

    Raises
    ------
    ValueError
        If the groups do not hold every virtual channel once, ``sources`` or ``rounds`` is not positive, or there are
        neither 1 nor 2 ``stages``.
    """

    def __init__(
        self,
        *,
        noc: NocConfig,
        sources: int,
        groups: tuple[tuple[int, ...], ...],
        rounds: int = 1,
        at_once: bool = False,
        stages: int = 1,
        has_urgent: bool = False,
        opens_empty_only: bool = False,
        half_free: Collection[int] = (),
    ):
        if sources <= 0:
            raise ValueError(f"sources of a link must be positive, not {sources!r}")
        if sorted(channel for group in groups for channel in group) != list(range(noc.virtual_channels)):
            raise ValueError(f"groups must hold each of {noc.virtual_channels} virtual channels once, not {groups!r}")
        if stages not in (1, 2):
            raise ValueError(f"stages of a link must be 1 or 2, not {stages!r}")
        self._noc = noc
        self._groups = groups
        self._at_once = at_once
        self._has_urgent = has_urgent
        self._stages = stages
        self._crossing_domain = "comb" if stages == 1 else "sync"
        self._opens_empty_only = opens_empty_only
        self._half_free = half_free
        # The proof looks at these; by virtual channel: room of the receiver, and whether no packet has it.
        self.arbiter = LeastRecentArbiter(count=sources, rounds=rounds)
        channels = range(noc.virtual_channels)
        self.credits = [Credits(noc=noc, channel=n) for n in channels]
        self.is_free = [Signal(name=f"is_free_{n}", init=1) for n in channels]
        self.crossing = Signal(noc.virtual_channels)  # the virtual channel of a flit that crosses to the link now
        super().__init__(
            {
                "sources": In(
                    channel_source_signature(
                        noc=noc, rounds=rounds, at_once=at_once, has_urgent=has_urgent, has_claims=bool(half_free)
                    )
                ).array(sources),
                "link": Out(link_signature(noc=noc)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        noc = self._noc
        sources = list(self.sources)

        m.submodules.arbiter = arbiter = self.arbiter
        is_open = Const(1)
        granted = Const(0, len(sources))
        sent_now = []  # of each answer of the sources: to which of them it holds
        for n, (requests, grants) in enumerate(zip(arbiter.requests, arbiter.grants, strict=True)):
            asks = Cat(source.request[n] for source in sources)
            if self._has_urgent:
                urgent = asks & Cat(source.is_urgent[n] for source in sources)
                asks = Mux(urgent.any(), urgent, asks)
            m.d.comb += requests.eq(asks)
            goes = grants
            if self._at_once:
                goes = Signal(len(sources), name=f"goes_{n}")
                m.d.comb += goes.eq(Mux(is_open, grants & Cat(source.is_left[n] for source in sources), 0))
                sent_now.append(goes)
            for source, grant in zip(sources, grants, strict=True):
                m.d.comb += [
                    source.is_open[n].eq(1 if self._at_once else is_open),
                    source.grant[n].eq(grant & is_open if self._at_once else grant),
                ]
            is_open &= ~requests.any()
            granted |= goes
        m.d.comb += arbiter.used.eq(granted)
        if not self._at_once:
            sent_now.append(granted)

        def said(what):
            """What the source says whose flit is sent; 0 when there is none."""
            return Cat(
                bit & what(source, n)
                for n, bits in enumerate(sent_now)
                for bit, source in zip(bits, sources, strict=True)
            ).any()

        # All but what is read from buffers follows at once on the arbiter.
        channels = Signal(noc.virtual_channels)
        given = Signal(noc.virtual_channels) if self._half_free else channels
        is_tail = said(lambda source, n: source.is_tail[n])
        for channel in range(noc.virtual_channels):
            m.d.comb += given[channel].eq(said(lambda source, n, channel=channel: source.channels[n][channel]))
        if self._half_free:
            m.d.comb += channels.eq(Mux(said(lambda source, n: source.is_claim), 0, given))

        counts, start, is_empty, has_room = [], [], [], []
        for channel in range(noc.virtual_channels):
            sent = channels[channel]
            credits, is_free = self.credits[channel], self.is_free[channel]
            credits.count(m, sent=sent, credit=self.link.credit[channel])
            with m.If(given[channel]):
                m.d.sync += is_free.eq(is_tail)
            counts.append(credits.places)
            has_room.append(credits.has_room)
            has_enough = credits.has_room
            if channel in self._half_free:
                has_enough = credits.has_places(noc.buffer_depth // 2)
            start.append(has_enough & is_free)
            is_empty.append(credits.are_all_free(noc.buffer_depth) if self._opens_empty_only else Const(1))

        offered = {}
        for group in self._groups:
            offered |= _roomiest([(channel, Mux(start[channel], counts[channel], 0)) for channel in group])
        may_start = Cat(offered[channel] & start[channel] for channel in range(noc.virtual_channels))
        group = self._groups[0]
        waiting = self._count_waiting(
            m,
            places=sum(counts[channel] for channel in group),
            most=len(group) * noc.buffer_depth,
            sent=Cat(channels[channel] for channel in group).any(),
        )
        for source in sources:
            m.d.comb += [
                source.may_start.eq(may_start),
                source.may_open.eq(may_start & Cat(is_empty)),
                source.may_go_on.eq(Cat(has_room)),
                source.waiting.eq(waiting),
            ]

        chosen = Signal(len(sources))
        m.d[self._crossing_domain] += [chosen.eq(arbiter.used), self.crossing.eq(channels)]
        crosses = self.crossing.any()
        m.d.sync += self.link.valid.eq(crosses)
        with m.If(crosses):  # an idle link does not toggle
            m.d.sync += self.link.flit.eq(selected(chosen, [source.flit for source in sources]))
            m.d.sync += self.link.channel.eq(encoded(self.crossing))
        return m

    def _count_waiting(self, m, *, places, most, sent):
        """The running mean of flits that wait behind the link.

        A place that is taken is that of a flit that waits, or of one whose credit is still on its way: the latter say
        how busy the link is, and nothing of what is behind it.
        """
        latest = Signal(_AWAY + self._stages)
        m.d.sync += latest.eq(Cat(sent, latest)[: len(latest)])
        now = Signal(range(most + 1))
        m.d.comb += now.eq(most - places - sum(latest[1:]))  # places do not know yet what was sent a cycle ago
        mean = Signal(range((most << _MEAN_BITS) + 1))
        m.d.sync += mean.eq(mean - (mean >> _MEAN_BITS) + now)
        return mean


def _roomiest(rooms):
    """For each channel of a group, one bit: whether it has the most room. Exactly one has it."""
    if len(rooms) == 1:
        return {rooms[0][0]: Const(1)}
    middle = len(rooms) // 2
    halves = rooms[:middle], rooms[middle:]
    bits, most = zip(*((_roomiest(half), _most(half)) for half in halves), strict=True)
    is_first = most[0] >= most[1]
    return {channel: bit & is_first for channel, bit in bits[0].items()} | {
        channel: bit & ~is_first for channel, bit in bits[1].items()
    }


def _most(rooms):
    """The most room of a group."""
    if len(rooms) == 1:
        return rooms[0][1]
    middle = len(rooms) // 2
    first, second = _most(rooms[:middle]), _most(rooms[middle:])
    return Mux(first >= second, first, second)
