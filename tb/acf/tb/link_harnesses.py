"""Environments for formal proofs of what shares and feeds one link: the arbiter, a sender and the queue behind it."""

import functools
import itertools
import operator

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal

from acf.config import NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.channel_sender import ChannelSender
from acf.hw.noc.ejector import EjectorQueue
from acf.hw.noc.flit import flit_layout
from acf.tb.proof import Harness

__all__ = ["ArbiterHarness", "QueueHarness", "SenderHarness", "at_most_one"]


def at_most_one(bits) -> object:
    """Whether no two bits are set."""
    return (bits & (bits - 1)) == 0


def turns_stay_in_order(m: Module, arbiter: LeastRecentArbiter, count: int) -> dict:
    """Assert that "goes first" is transitive; the answer is that relation, by pairs."""
    first = {**arbiter.goes_first, **{(b, a): ~bit for (a, b), bit in arbiter.goes_first.items()}}
    for a, b, c in itertools.permutations(range(count), 3):
        m.d.comb += Assert(~(first[a, b] & first[b, c]) | first[a, c])
    return first


class ArbiterHarness(Harness):
    """Of every round one request is granted, if there is one, and no other; the order of turns stays an order."""

    def __init__(self, device: type = LeastRecentArbiter, *, count: int = 5, rounds: int = 2):
        super().__init__()
        self._count = count
        self._device = device(count=count, rounds=rounds)
        self._requests = [self.free(f"requests_{n}", count) for n in range(rounds)]
        self._used = self.free("used", count)

    def build(self, m: Module) -> None:
        device = self._device
        m.d.comb += [device.used.eq(self._used), Assume(at_most_one(self._used))]
        for requests, wanted, grants in zip(device.requests, self._requests, device.grants, strict=True):
            m.d.comb += [
                requests.eq(wanted),
                Assert(at_most_one(grants)),
                Assert((grants & ~wanted) == 0),
                Assert(grants.any() == wanted.any()),
            ]
        first = turns_stay_in_order(m, device, self._count)
        # Who has been served in one cycle is the last in the next.
        before = Signal(self._count)
        m.d.sync += before.eq(self._used)
        for a in range(self._count):
            m.d.comb += Assert(~before[a] | ~Cat(first[a, b] for b in range(self._count) if b != a).any())
        m.submodules.device = device


class QueueHarness(Harness):
    """Flits leave in the order in which they came, none is lost or doubled, the queue and its credits stay in range.

    Any one flit is followed: how many are before it, and where it lies.
    """

    def __init__(self, device: type = EjectorQueue, *, depth: int = 4):
        super().__init__()
        noc = NocConfig(virtual_channels=1, buffer_depth=depth, class_channels=(0, 0, 0, 0))
        self._depth = depth
        self._device = device(noc=noc)
        self._peek = self._device.flits.read_port(domain="comb", transparent_for=())
        self._valid = self.free("valid")
        self._ready = self.free("ready")
        self._mark = self.free("mark")
        self._flit = self.free("flit", flit_layout(noc=noc).size)

    def build(self, m: Module) -> None:
        device, depth = self._device, self._depth
        credits = Signal(range(depth + 2), init=depth)
        m.d.sync += credits.eq(credits - self._valid + device.freed)
        m.d.comb += [
            device.valid.eq(self._valid),
            device.flit.eq(self._flit),
            device.o.ready.eq(self._ready),
            Assume(~self._valid | credits.any()),
            Assert(device.level <= depth),
            Assert(credits + device.level == depth),
            Assert((device.level == 0) | device.o.valid),
            Assert(((device.write.addr - device.read.addr - device.level) & (depth - 1)) == 0),
        ]

        inside = Signal(range(depth + 3))  # came and has not left
        leaves = device.o.valid & self._ready
        m.d.sync += inside.eq(inside + self._valid - leaves)
        m.d.comb += Assert(inside == device.level + device.o.valid)

        follows = Signal()
        ahead = Signal(range(depth + 2))
        followed = Signal(len(self._flit))
        front = device.o.payload.as_value()
        m.d.comb += self._peek.addr.eq(device.read.addr + ahead - 1)
        with m.If(follows):
            m.d.comb += [
                Assert(ahead < inside),
                Assert(Mux(ahead == 0, front, self._peek.data.as_value()) == followed),
            ]
            with m.If(leaves):
                m.d.sync += [ahead.eq(ahead - 1), follows.eq(ahead != 0)]
        with m.Elif(self._mark & self._valid):
            m.d.sync += [follows.eq(1), followed.eq(self._flit), ahead.eq(inside - leaves)]
        m.submodules.device = device


class SenderHarness(Harness):
    """Credits of a link neither run out nor over, grants are one at most, and packets of a channel follow each other.

    Sources keep to their side: a head is offered only where it may start, what follows only in the channel that the
    head was given; each marks its flits with its number. A link of two stages makes its rounds at once. With claims the
    second channel is one for groups: sources may claim it before they send the head of a packet of several flits, and
    it is offered only while half of the receiver's queue is free.
    """

    def __init__(
        self,
        device: type = ChannelSender,
        *,
        sources: int = 3,
        depth: int = 4,
        rounds: int = 2,
        stages: int = 1,
        has_claims: bool = False,
    ):
        super().__init__()
        self._noc = noc = NocConfig(virtual_channels=2, buffer_depth=depth, class_channels=(0, 0, 0, 0))
        self._at_once = stages == 2
        self._has_claims = has_claims
        self._device = device(
            noc=noc,
            sources=sources,
            groups=((0,), (1,)) if has_claims else ((0, 1),),
            rounds=rounds,
            at_once=self._at_once,
            stages=stages,
            opens_empty_only=not has_claims,
            half_free=(1,) if has_claims else (),
        )
        self._late = stages - 1  # cycles from the grant of a flit to the flit
        layout = flit_layout(noc=noc)
        answers = rounds if self._at_once else 1
        self._requests = [self.free(f"requests_{n}", rounds) for n in range(sources)]
        self._channels = [[self.free(f"channels_{n}_{k}", 2) for k in range(answers)] for n in range(sources)]
        self._flits = [self.free(f"flit_{n}", layout) for n in range(sources)]
        self._are_heads = [self.free(f"are_heads_{n}", answers) for n in range(sources)]
        self._are_tails = [self.free(f"are_tails_{n}", answers) for n in range(sources)]
        self._are_left = [self.free(f"are_left_{n}", rounds) for n in range(sources)]
        self._claims = [self.free(f"claims_{n}") if has_claims else Const(0) for n in range(sources)]
        self._freed = self.free("freed", 2)

    def build(self, m: Module) -> None:
        device, depth = self._device, self._noc.buffer_depth
        rounds = len(self._requests[0])
        owes = [Signal(name=f"owes_{n}") for n in range(len(device.sources))]  # has claimed, and its head is to come
        is_open = [Signal(2, name=f"is_open_{n}") for n in range(len(device.sources))]  # by source, then by channel
        granted, tails = [], []
        for n, source in enumerate(device.sources):
            flit = self._flits[n]
            grants = Cat(source.grant)
            taken = Signal(name=f"taken_{n}")
            channels, is_head, is_tail = Signal(2, name=f"channels_{n}"), Signal(), Signal()
            if self._at_once:
                # Nothing of an earlier round is granted, here or elsewhere.
                m.d.comb += [
                    Cat(source.is_left).eq(self._are_left[n]),
                    *(Assume(~self._are_left[n][k] | ~grants[:k].any()) for k in range(rounds)),
                    Assume(self._are_left[n][0]),
                    taken.eq((grants & self._are_left[n]).any()),
                    *(Assert(source.is_open[k]) for k in range(rounds)),
                ]
                answered = [grants[k] for k in range(rounds)]
            else:
                m.d.comb += taken.eq(grants.any())
                m.d.comb += [Assert(~source.is_open[k] | ~grants[:k].any()) for k in range(1, rounds)]
                answered = [taken]
            said = zip(answered, self._channels[n], strict=True)
            m.d.comb += [
                channels.eq(functools.reduce(operator.or_, (Mux(bit, value, 0) for bit, value in said))),
                is_head.eq((Cat(answered) & self._are_heads[n]).any()),
                is_tail.eq((Cat(answered) & self._are_tails[n]).any()),
            ]
            may_head = Mux(is_tail, source.may_start, source.may_open)
            if self._has_claims:
                claims = self._claims[n]
                room = device.credits[1].places - device.credits[1].was_sent
                may_head = Mux(owes[n] & channels[1], source.may_go_on & is_open[n], may_head)
                m.d.comb += [
                    source.is_claim.eq(claims),
                    Assume(~taken | ~claims | (channels[1] & is_head & ~is_tail & ~owes[n])),
                    Assume(~taken | ~channels[1] | ~owes[n] | is_head),
                    Assert(~source.may_start[1] | (room >= depth // 2)),
                ]
                with m.If(taken & channels[1]):
                    m.d.sync += owes[n].eq(claims)
            may = Mux(is_head, may_head, source.may_go_on & is_open[n])
            granted.append(taken)
            tails.append(is_tail)
            m.d.comb += [
                Cat(source.request).eq(self._requests[n]),
                Cat(source.channels).eq(Cat(self._channels[n])),
                Cat(source.is_tail).eq(self._are_tails[n]),
                source.flit.eq(flit),
                Assume(~self.later(m, taken, self._late) | (flit.head == self.later(m, is_head, self._late))),
                Assume(~self.later(m, taken, self._late) | (flit.tail == self.later(m, is_tail, self._late))),
                Assume((self._requests[n] & ~Cat(source.is_open)) == 0),
                Assume(~taken | (at_most_one(channels) & ((channels & may) != 0))),
                Assume(flit.payload[:2] == n),
                Assert((grants & ~self._requests[n]) == 0),
                # What an input assumes of its outputs.
                Assert(at_most_one(grants)),
                *([] if self._has_claims else [Assert(at_most_one(source.may_start))]),
                Assert((source.may_open & ~source.may_start) == 0),
                Assert((source.may_start & ~Cat(device.is_free)) == 0),
                Assert(source.is_open[0]),
            ]
            for channel in range(2):
                with m.If(taken & channels[channel]):
                    m.d.sync += is_open[n][channel].eq(~is_tail)
        certain = [requests[:1] if self._at_once else requests for requests in self._requests]
        asked = Cat(requests.any() for requests in self._requests).any()
        m.d.comb += [
            Assert(at_most_one(Cat(granted))),
            Assert(~Cat(granted).any() | asked),
            # Of rounds at once the first one serves somebody for certain.
            Assert(Cat(granted).any() | ~Cat(requests.any() for requests in certain).any()),
        ]
        turns_stay_in_order(m, device.arbiter, len(device.sources))
        # Of a flit that was granted and is not on the link yet.
        tail, sender = Signal(), Signal(2)
        for n, taken in enumerate(granted):
            with m.If(taken):
                m.d.sync += [tail.eq(tails[n]), sender.eq(n)]
        for channel in range(2):
            crosses = device.crossing[channel] if self._late else Const(0)
            owners = Cat(bits[channel] for bits in is_open)
            claimed = Cat(owes) if channel else Const(0, len(owes))
            m.d.comb += Assert((claimed & ~owners) == 0)
            self._watch(m, channel, owners, claimed.any(), depth, (crosses, tail, sender))
        m.submodules.device = device

    def _watch(self, m: Module, channel: int, owners, is_claimed, depth: int, crossing: tuple) -> None:
        device, link = self._device, self._device.link
        credits = device.credits[channel]
        crosses, tail_that_crosses, sender_that_crosses = crossing
        arrives = link.valid & (link.channel == channel)
        held = Signal(range(depth + 2), name=f"held_{channel}")
        m.d.sync += held.eq(held + arrives - self._freed[channel])
        m.d.comb += [
            Assert(credits.places >= credits.was_sent),
            Assert(credits.has_room == (credits.places > credits.was_sent)),
            link.credit[channel].eq(self._freed[channel]),
            Assume(~self._freed[channel] | held.any()),
            Assert(credits.places - credits.was_sent + crosses + arrives + held == depth),
        ]

        # What comes by the link: of whom the packet is, and whether it goes on.
        goes_on = Signal(name=f"goes_on_{channel}")
        number = Signal(2, name=f"number_{channel}")
        sender = link.flit.payload[:2]
        with m.If(arrives):
            m.d.comb += [
                Assert(link.flit.head == ~goes_on),
                Assert(~goes_on | (sender == number)),
            ]
            m.d.sync += [goes_on.eq(~link.flit.tail), number.eq(sender)]
        open_now = Mux(crosses, ~tail_that_crosses, Mux(arrives, ~link.flit.tail, goes_on))
        number_now = Mux(crosses, sender_that_crosses, Mux(arrives, sender, number))
        m.d.comb += [
            Assert(at_most_one(owners)),
            Assert(owners.any() == ~device.is_free[channel]),
            Assert(~(open_now & is_claimed)),
            Assert((open_now | is_claimed) == owners.any()),
            Assert(~open_now | Array(owners)[number_now]),
        ]
