"""Environments for formal proofs of a whole router, and of one of its inputs."""

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from acf.config import NetworkConfig, NocConfig
from acf.hw.noc.choosing_port import ChoosingPort
from acf.hw.noc.flit import HEADER, flit_layout
from acf.hw.noc.packet_router import PacketRouter
from acf.hw.noc.routing import STEP, Port
from acf.tb.link_harnesses import at_most_one
from acf.tb.proof import Harness

__all__ = ["PortHarness", "RouterHarness"]

_ORIGIN = slice(60, 64)  # of the payload: number of the link, then the channel


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


class PortHarness(Harness):
    """A router's input hands on its flits in order, each once, and offers them where they may go alone.

    A head is offered where a packet may start, what follows only to the output and in the channel of its head. Outputs
    grant what they please, each one flit at most. Any one flit is followed through the buffer of its channel.
    """

    def __init__(self, device: type = ChoosingPort, *, stages: int = 1):
        super().__init__()
        network = NetworkConfig(height=4, width=4, buffer_depth=2, channels="onward", rounds=2, stages=stages)
        self._late = stages - 1  # cycles from the grant of a flit to the flit
        self._rounds = network.rounds
        self._at_once = network.allots_at_once
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
            took, may_head, may_follow = Signal(name=f"took_{n}"), Signal(name=f"may_{n}"), Signal(name=f"follow_{n}")
            channels, is_tail = Signal(2, name=f"channels_{n}"), Signal(name=f"is_tail_{n}")
            went = grants & Cat(branch.is_left) if self._at_once else grants
            m.d.comb += [
                took.eq(went.any()),
                channels.eq(branch.channels[0]),
                is_tail.eq(branch.is_tail[0]),
                may_head.eq((channels & Mux(is_tail, self._start[n], self._open[n])).any()),
                may_follow.eq((channels & self._go_on[n] & opened).any()),
                branch.may_start.eq(self._start[n]),
                branch.may_open.eq(self._open[n]),
                branch.may_go_on.eq(self._go_on[n]),
                branch.waiting.eq(self._waiting[n]),
                Cat(branch.is_open).eq(self._is_open[n]),
                Cat(branch.grant).eq(grants),
                Assume((self._open[n] & ~self._start[n]) == 0),
                Assume((self._start[n] & opened) == 0),
                Assume(at_most_one(grants)),
                Assume(self._is_open[n].all() if self._at_once else self._is_open[n][0]),
                Assume(self._at_once | ~(self._is_open[n][1] & (grants[0] != 0))),
                Assume((grants & ~Cat(branch.request)) == 0),
                Assert((Cat(branch.request) & ~self._is_open[n]) == 0),
            ]
            if self._at_once:
                with m.If(went[1]):
                    m.d.comb += [channels.eq(branch.channels[1]), is_tail.eq(branch.is_tail[1])]
            with m.If(took):
                m.d.comb += Assert(at_most_one(channels))
                for k in range(2):
                    with m.If(channels[k]):
                        m.d.sync += opened[k].eq(~is_tail)
            took, channels, may_head, may_follow, is_tail = (
                self.later(m, signal, self._late) for signal in (took, channels, may_head, may_follow, is_tail)
            )
            taken.append(took)
            origin = flit.payload[_ORIGIN][0]
            with m.If(took):
                m.d.comb += [Assert(Mux(flit.head, may_head, may_follow)), Assert(flit.tail == is_tail)]
                for k in range(2):
                    with m.If(channels[k]):
                        m.d.comb += Assert(flit.head | (of_origin[k] == origin))
                        m.d.sync += of_origin[k].eq(origin)
        for r in range(self._rounds):
            requests = Cat(branch.request[r] for branch in device.branches)
            before = Cat(grants[:r].any() for grants in self._grants).any() if r else Const(0)
            m.d.comb += Assert(at_most_one(requests))
            if self._at_once:
                m.d.comb += [Assert(branch.is_left[r] == ~before) for branch in device.branches]
            else:
                m.d.comb += Assert(~before | ~requests.any())

        flit = device.branches[0].flit  # the same for all
        leaves = [Cat(taken).any() & (flit.payload[_ORIGIN][0] == n) for n in range(2)]
        arrivals.connect(m, device.link)
        inside = [Signal(2, name=f"inside_{n}") for n in range(2)]  # came and have not left
        for n in range(2):
            credit = Signal(name=f"credit_{n}")  # goes out in the cycle behind the grant
            m.d["comb" if self._late else "sync"] += credit.eq(leaves[n])
            m.d.sync += inside[n].eq(inside[n] + arrivals.arrives[n] - leaves[n])
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

    def __init__(self, device: type = PacketRouter, *, stages: int = 1):
        super().__init__()
        self._network = network = NetworkConfig(
            height=4, width=4, buffer_depth=2, channels="onward", rounds=2, stages=stages
        )
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
