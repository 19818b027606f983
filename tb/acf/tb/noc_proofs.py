"""What is proved of the network's parts: ``python -m acf.tb.noc_proofs`` proves all of it, ``--json`` for figures.

Each proof comes with a bug, one changed line of the device, that makes it fail. Buffers are small where what is proved
does not depend on their size, and flits have 64 bits as ever: memories stay arrays for the solver.
"""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from acf.config import NetworkConfig, NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.channel_sender import ChannelSender
from acf.hw.noc.choosing_port import ChoosingPort
from acf.hw.noc.ejector import EjectorQueue
from acf.hw.noc.flit import HEADER, flit_layout
from acf.hw.noc.packet_router import PacketRouter
from acf.hw.noc.routing import STEP, Port
from acf.tb.proof import Harness, Verdict, planted, prove

__all__ = ["PROOFS", "Proof", "run_proof"]


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
    head was given; each marks its flits with its number.
    """

    def __init__(self, device: type = ChannelSender, *, sources: int = 3, depth: int = 4, rounds: int = 2):
        super().__init__()
        self._noc = noc = NocConfig(virtual_channels=2, buffer_depth=depth, class_channels=(0, 0, 0, 0))
        self._device = device(noc=noc, sources=sources, groups=((0, 1),), rounds=rounds, opens_empty_only=True)
        layout = flit_layout(noc=noc)
        self._requests = [self.free(f"requests_{n}", rounds) for n in range(sources)]
        self._channels = [self.free(f"channels_{n}", 2) for n in range(sources)]
        self._flits = [self.free(f"flit_{n}", layout) for n in range(sources)]
        self._freed = self.free("freed", 2)

    def build(self, m: Module) -> None:
        device, depth = self._device, self._noc.buffer_depth
        rounds = len(self._requests[0])
        is_open = [Signal(2, name=f"is_open_{n}") for n in range(len(device.sources))]  # by source, then by channel
        granted = []
        for n, source in enumerate(device.sources):
            flit, channels = self._flits[n], self._channels[n]
            may_head = Mux(flit.tail, source.may_start, source.may_open)
            may = Mux(flit.head, may_head, source.may_go_on & is_open[n])
            taken = Cat(source.grant).any()
            granted.append(taken)
            m.d.comb += [
                Cat(source.request).eq(self._requests[n]),
                source.channels.eq(channels),
                source.flit.eq(flit),
                Assume((self._requests[n] & ~Cat(source.is_open)) == 0),
                Assume(~taken | (at_most_one(channels) & ((channels & may) != 0))),
                Assume(flit.payload[:2] == n),
                Assert((Cat(source.grant) & ~self._requests[n]) == 0),
                # What an input assumes of its outputs.
                Assert(at_most_one(source.may_start)),
                Assert((source.may_open & ~source.may_start) == 0),
                Assert((source.may_start & ~Cat(device.is_free)) == 0),
                Assert(source.is_open[0]),
                *(Assert(~source.is_open[k] | ~Cat(source.grant[:k]).any()) for k in range(1, rounds)),
            ]
            for channel in range(2):
                with m.If(taken & channels[channel]):
                    m.d.sync += is_open[n][channel].eq(~flit.tail)
        m.d.comb += [
            Assert(at_most_one(Cat(granted))),
            Assert(Cat(granted).any() == Cat(requests.any() for requests in self._requests).any()),
        ]
        turns_stay_in_order(m, device.arbiter, len(device.sources))
        for channel in range(2):
            self._watch(m, channel, Cat(bits[channel] for bits in is_open), depth)
        m.submodules.device = device

    def _watch(self, m: Module, channel: int, owners, depth: int) -> None:
        device, link = self._device, self._device.link
        arrives = link.valid & (link.channel == channel)
        held = Signal(range(depth + 2), name=f"held_{channel}")
        m.d.sync += held.eq(held + arrives - self._freed[channel])
        m.d.comb += [
            link.credit[channel].eq(self._freed[channel]),
            Assume(~self._freed[channel] | held.any()),
            Assert(device.places[channel] + arrives + held == depth),
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
        open_now = Mux(arrives, ~link.flit.tail, goes_on)
        number_now = Mux(arrives, sender, number)
        m.d.comb += [
            Assert(at_most_one(owners)),
            Assert(owners.any() == ~device.is_free[channel]),
            Assert(open_now == owners.any()),
            Assert(~open_now | Array(owners)[number_now]),
        ]


class Arrivals:
    """Flits that come by a link as a sender gives them: whole packets in each channel, as far as credits go.

    Each flit says in its upper bits by which link and channel it comes: so packets are told apart where they leave.
    """

    def __init__(self, harness: Harness, noc: NocConfig, port: Port):
        self._depth = noc.buffer_depth
        self._number = int(port)
        self.name = port.name.lower()
        self.valid = harness.free(f"{self.name}_valid")
        self.channel = harness.free(f"{self.name}_channel")
        self.flit = harness.free(f"{self.name}_flit", flit_layout(noc=noc))
        self.arrives = [self.valid & (self.channel == n) for n in range(2)]
        self.unpaid = [Signal(range(noc.buffer_depth + 2), name=f"{self.name}_unpaid_{n}") for n in range(2)]

    def connect(self, m: Module, link) -> None:
        """Send flits that have a way from the router (1, 1) of a mesh of 4x4 under routing xy."""
        header = data.View(HEADER, self.flit.payload[: HEADER.size])
        is_good = (header.x < 4) & (header.y < 4)
        if self._number != Port.LOCAL:
            dy, dx = STEP[Port(self._number)]  # to where it came from: it goes on the other way
            is_good &= header.x == 1 if dy else (header.x - 1) * dx <= 0
            is_good &= (header.y - 1) * dy <= 0
        m.d.comb += [
            link.valid.eq(self.valid),
            link.channel.eq(self.channel),
            link.flit.eq(self.flit),
            Assume(self.flit.payload[_ORIGIN] == Cat(self.channel, Const(self._number, 3))),
        ]
        for n, (arrives, unpaid) in enumerate(zip(self.arrives, self.unpaid, strict=True)):
            goes_on = Signal(name=f"{self.name}_goes_on_{n}")
            m.d.sync += unpaid.eq(unpaid + arrives - link.credit[n])
            with m.If(arrives):
                m.d.sync += goes_on.eq(~self.flit.tail)
            m.d.comb += [
                Assume(~arrives | (unpaid < self._depth)),
                Assume(~arrives | (self.flit.head == ~goes_on)),
                Assume(~arrives | ~self.flit.head | is_good),
                Assert(~link.credit[n] | unpaid.any()),
            ]


_ORIGIN = slice(60, 64)  # of the payload: number of the link, then the channel


class PortHarness(Harness):
    """A router's input hands on its flits in order, each once, and offers them where they may go alone.

    A head is offered where a packet may start, what follows only to the output and in the channel of its head. Outputs
    grant what they please. Any one flit is followed through the buffer of its channel.
    """

    def __init__(self, device: type = ChoosingPort):
        super().__init__()
        network = NetworkConfig(height=4, width=4, buffer_depth=2, channels="onward", rounds=2)
        self._rounds = network.rounds
        self._device = device(network=network, arrival=Port.WEST)
        self._arrivals = Arrivals(self, network.noc, Port.WEST)
        outputs = range(len(self._device.branches))
        self._start = [self.free(f"may_start_{n}", 2) for n in outputs]
        self._open = [self.free(f"may_open_{n}", 2) for n in outputs]
        self._go_on = [self.free(f"may_go_on_{n}", 2) for n in outputs]
        self._waiting = [self.free(f"waiting_{n}", len(b.waiting)) for n, b in enumerate(self._device.branches)]
        self._is_open = [self.free(f"is_open_{n}", network.rounds) for n in outputs]
        self._grants = [self.free(f"grants_{n}", network.rounds) for n in outputs]
        self._mark = self.free("mark")

    def build(self, m: Module) -> None:
        device, arrivals = self._device, self._arrivals
        m.d.comb += [device.y.eq(1), device.x.eq(1)]
        taken = []
        for n, branch in enumerate(device.branches):
            grants, flit = self._grants[n], branch.flit
            opened = Signal(2, name=f"opened_{n}")  # channels in which a packet of this input goes on there
            of_origin = Array(Signal(name=f"of_origin_{n}_{k}") for k in range(2))
            may_head = Mux(flit.tail, self._start[n], self._open[n])
            may = Mux(flit.head, may_head, self._go_on[n] & opened)
            taken.append(grants.any())
            m.d.comb += [
                branch.may_start.eq(self._start[n]),
                branch.may_open.eq(self._open[n]),
                branch.may_go_on.eq(self._go_on[n]),
                branch.waiting.eq(self._waiting[n]),
                Cat(branch.is_open).eq(self._is_open[n]),
                Cat(branch.grant).eq(grants),
                Assume((self._open[n] & ~self._start[n]) == 0),
                Assume((self._start[n] & opened) == 0),
                Assume(self._is_open[n][0] & ~(self._is_open[n][1] & (grants[0] != 0))),
                Assume((grants & ~Cat(branch.request)) == 0),
                Assert((Cat(branch.request) & ~self._is_open[n]) == 0),
            ]
            origin = flit.payload[_ORIGIN][0]
            with m.If(grants.any()):
                m.d.comb += Assert(at_most_one(branch.channels) & ((branch.channels & may) != 0))
                for k in range(2):
                    with m.If(branch.channels[k]):
                        m.d.comb += Assert(flit.head | (of_origin[k] == origin))
                        m.d.sync += [opened[k].eq(~flit.tail), of_origin[k].eq(origin)]
        for r in range(self._rounds):
            requests = Cat(branch.request[r] for branch in device.branches)
            before = Cat(grants[:r].any() for grants in self._grants).any() if r else Const(0)
            m.d.comb += [Assert(at_most_one(requests)), Assert(~before | ~requests.any())]

        flit = device.branches[0].flit  # the same for all
        leaves = [Cat(taken).any() & (flit.payload[_ORIGIN][0] == n) for n in range(2)]
        arrivals.connect(m, device.link)
        inside = [Signal(2, name=f"inside_{n}") for n in range(2)]  # came and have not left
        for n in range(2):
            credit = Signal(name=f"credit_{n}")
            m.d.sync += [credit.eq(leaves[n]), inside[n].eq(inside[n] + arrivals.arrives[n] - leaves[n])]
            m.d.comb += [Assert(~leaves[n] | inside[n].any()), Assert(device.link.credit[n] == credit)]

        follows, channel = Signal(), Signal()
        ahead = Signal(2)
        followed = Signal(len(arrivals.flit.as_value()))
        leaves_here, inside_here = (Mux(channel, found[1], found[0]) for found in (leaves, inside))
        with m.If(follows):
            m.d.comb += Assert(ahead < inside_here)
            with m.If(leaves_here):
                m.d.comb += Assert((ahead != 0) | (flit.as_value() == followed))
                m.d.sync += [ahead.eq(ahead - 1), follows.eq(ahead != 0)]
        with m.Elif(self._mark & arrivals.valid):
            m.d.sync += [
                follows.eq(1),
                channel.eq(arrivals.channel),
                followed.eq(arrivals.flit),
                ahead.eq(Mux(arrivals.channel, inside[1] - leaves[1], inside[0] - leaves[0])),
            ]
        m.submodules.device = device


class RouterHarness(Harness):
    """A whole router: what leaves by a virtual channel is packet after packet, and its receiver is never overrun."""

    def __init__(self, device: type = PacketRouter):
        super().__init__()
        self._network = network = NetworkConfig(height=4, width=4, buffer_depth=2, channels="onward", rounds=2)
        self._device = device(network=network)
        self._arrivals = {port: Arrivals(self, network.noc, port) for port in Port}
        self._freed = {port: self.free(f"freed_{port.name.lower()}", 2) for port in Port}

    def build(self, m: Module) -> None:
        device = self._device
        m.d.comb += [device.y.eq(1), device.x.eq(1)]
        for port in Port:
            self._arrivals[port].connect(m, getattr(device, f"{port.name.lower()}_i"))
            for channel in range(2):
                self._watch(m, port, channel, getattr(device, f"{port.name.lower()}_o"))
        m.submodules.device = device

    def _watch(self, m: Module, port: Port, channel: int, link) -> None:
        name = f"{port.name.lower()}_{channel}"
        depth = self._network.buffer_depth
        freed = self._freed[port][channel]
        held, goes_on = Signal(range(depth + 2), name=f"held_{name}"), Signal(name=f"goes_on_{name}")
        packet, origin = Signal(4, name=f"packet_{name}"), link.flit.payload[_ORIGIN]
        comes = link.valid & (link.channel == channel)
        m.d.sync += held.eq(held + comes - freed)
        m.d.comb += [link.credit[channel].eq(freed), Assume(~freed | held.any()), Assert(held <= depth)]
        with m.If(comes):
            m.d.comb += Assert((link.flit.head == ~goes_on) & (link.flit.head | (origin == packet)))
            m.d.sync += [goes_on.eq(~link.flit.tail), packet.eq(origin)]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A proof and a bug that it finds.

    Parameters
    ----------
    what : str
        What is proved.
    harness : callable
        Makes the harness, with the device class as its argument if it is another one.
    device : callable
        The device class, as it is or with a bug.
    parameters : str
        Of the device.
    depth : int
        Cycles.
    is_induction : bool
        Whether it is proved for all times.
    """

    what: str
    parameters: str
    harness: Callable[..., Harness]
    device: Callable[[bool], type]
    depth: int
    is_induction: bool = True


def _device(component: type, old: str, new: str) -> Callable[[bool], type]:
    return lambda with_bug: planted(component, old, new) if with_bug else component


PROOFS = {
    "arbiter": Proof(
        what="grants are one-hot and go to requests; the order of turns stays an order",
        parameters="5 requests, 2 rounds",
        harness=ArbiterHarness,
        device=_device(LeastRecentArbiter, "m.d.sync += bit.eq(1)", "m.d.sync += bit.eq(~bit)"),
        depth=8,
    ),
    "queue": Proof(
        what="flits leave in order, none is lost or doubled; credits stay in range",
        parameters="depth 4",
        harness=QueueHarness,
        device=_device(
            EjectorQueue, "stores.eq(self.valid & (stored | ~can_load))", "stores.eq(self.valid & ~can_load)"
        ),
        depth=8,
    ),
    "port": Proof(
        what="an input hands on flits in order, none is lost or doubled, and only where its packets may go",
        parameters="2 virtual channels x 2, xy, onward, 2 rounds",
        harness=PortHarness,
        device=_device(
            ChoosingPort, "write_flit.en.eq(self.link.valid)", "write_flit.en.eq(self.link.valid & ~chosen.any())"
        ),
        depth=9,
        is_induction=False,
    ),
    "router": Proof(
        what="packets of a virtual channel are not interleaved at any output; no receiver is overrun",
        parameters="2 virtual channels x 2, xy, onward, 2 rounds",
        harness=RouterHarness,
        device=lambda with_bug: (
            planted(
                PacketRouter,
                "rounds=network.rounds",
                "rounds=network.rounds",
                ChannelSender=planted(ChannelSender, "is_free.eq(flit.tail)", "is_free.eq(1)"),
            )
            if with_bug
            else PacketRouter
        ),
        depth=7,
        is_induction=False,
    ),
    "sender": Proof(
        what="credits neither run out nor over; one grant; packets of a virtual channel are not interleaved",
        parameters="3 sources, 2 virtual channels x 4, 2 rounds",
        harness=SenderHarness,
        device=_device(ChannelSender, "is_free.eq(flit.tail)", "is_free.eq(flit.tail | flit.head)"),
        depth=8,
    ),
}
"""All proofs, by name."""


def run_proof(name: str, *, with_bug: bool = False) -> Verdict:
    """Prove one of ``PROOFS``, of the device as it is or with its bug."""
    proof = PROOFS[name]
    harness = proof.harness(proof.device(with_bug))
    return prove(harness, depth=proof.depth, is_induction=proof.is_induction)


def main() -> None:
    """Prove everything, and that no proof holds with its bug."""
    records = []
    for name, proof in PROOFS.items():
        found, with_bug = run_proof(name), run_proof(name, with_bug=True)
        how = "k-induction" if proof.is_induction else "bounded"
        records.append(
            {
                "proof": name,
                "what": proof.what,
                "device": proof.device(False).__name__,
                "with": proof.parameters,
                "how": how,
                "depth": proof.depth,
                "result": found.status,
                "result_with_bug": with_bug.status,
                "seconds": round(found.seconds, 1),
            }
        )
        if "--json" not in sys.argv:
            print(
                f"{name}: {found.status} ({how}, {proof.depth}), with a bug {with_bug.status}; {proof.what}", flush=True
            )
    if "--json" in sys.argv:
        print(json.dumps({"solver": "yices", "proofs": records}))
    if any((one["result"], one["result_with_bug"]) != ("proved", "refuted") for one in records):
        sys.exit(1)


if __name__ == "__main__":
    main()
