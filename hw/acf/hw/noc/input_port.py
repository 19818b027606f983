"""The receiving end of a link in a router: buffers, routes, and the choice of a virtual channel."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import NocConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.flit import HEADER, flit_layout, link_signature
from acf.hw.noc.link_sender import source_signature
from acf.hw.noc.routing import Port, RoutingFunction, departures
from acf.isa import Cast

__all__ = ["InputPort", "picked", "place_of"]


class InputPort(wiring.Component):
    """Buffers the flits of one link and offers one of them a cycle to the outputs of the router.

    The route is computed while the flit is written to its buffer and kept beside it as one bit per branch; what the
    outputs need to know of the flit at the head of a buffer stands in registers, so that the cycle in which it leaves
    begins with the arbitration. A flit that arrives in one cycle may leave in the next. It stays until each of its
    branches has been granted, each on its own and once; the credit is sent in the cycle after.

    Parameters
    ----------
    noc : NocConfig
    arrival : Port
        The port of the router that this is.
    routing : RoutingFunction

    Members
    -------
    y, x : In(4)
        The router.
    link : In(link_signature)
    branches : Out(source_signature).array(n)
        One source for each of the outputs ``departures(routing, arrival)``.
    """

    def __init__(self, *, noc: NocConfig, arrival: Port, routing: RoutingFunction):
        self._noc = noc
        self._arrival = arrival
        self._routing = routing
        self._departures = departures(routing, arrival)
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                "link": In(link_signature(noc=noc)),
                "branches": Out(source_signature(noc=noc)).array(len(self._departures)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        channels = range(self._noc.virtual_channels)
        count = len(self._departures)

        grants = Cat(branch.grant for branch in self.branches)
        # The branches that the flit at the head of each buffer still has to take; none when the buffer is empty.
        waiting = [Signal(count, name=f"waiting_{channel}") for channel in channels]
        requests = [Signal(count, name=f"requests_{channel}") for channel in channels]
        leaves = Signal(len(channels))

        m.submodules.chooser = chooser = LeastRecentArbiter(count=len(channels))
        chosen = chooser.grants[0]
        m.d.comb += chooser.used.eq(Mux(grants.any(), chosen, 0))
        for channel in channels:
            may_send = Cat(branch.may_send[channel] for branch in self.branches)
            m.d.comb += [
                requests[channel].eq(waiting[channel] & may_send),
                chooser.requests[0][channel].eq(requests[channel].any()),
                leaves[channel].eq(chosen[channel] & ~(waiting[channel] & ~grants).any()),
            ]
        m.d.sync += self.link.credit.eq(leaves)

        flit = self._buffer(m, waiting=waiting, chosen=chosen, grants=grants, leaves=leaves)
        for n, branch in enumerate(self.branches):
            m.d.comb += [
                branch.request.eq(Cat(requests[channel][n] & chosen[channel] for channel in channels).any()),
                branch.channels.eq(chosen),
                branch.flit.eq(flit),
            ]
        return m

    def _buffer(self, m, *, waiting, chosen, grants, leaves):
        """Keep flits and their branches; the answer is the flit at the head of the chosen buffer."""
        noc = self._noc
        depth = noc.buffer_depth
        count = len(self._departures)
        words = depth * noc.virtual_channels

        m.submodules.flits = flits = memory.Memory(shape=flit_layout(noc=noc), depth=words, init=[])
        m.submodules.routes = routes = memory.Memory(shape=count, depth=words, init=[])
        write_flit, write_route = flits.write_port(), routes.write_port()
        read_flit = flits.read_port(domain="comb", transparent_for=())
        read_route = routes.read_port(domain="comb", transparent_for=())

        arriving = self._route(m)
        arrives = Signal(noc.virtual_channels)
        m.d.comb += arrives.eq(self.link.valid << self.link.channel)

        pointer = range(depth)
        write_at = [Signal(pointer, name=f"write_at_{n}") for n in range(noc.virtual_channels)]
        read_at = [Signal(pointer, name=f"read_at_{n}") for n in range(noc.virtual_channels)]
        for channel, ports in enumerate(waiting):
            level = Signal(range(depth + 1), name=f"level_{channel}")
            with m.If(arrives[channel] & ~leaves[channel]):
                m.d.sync += level.eq(level + 1)
            with m.If(leaves[channel] & ~arrives[channel]):
                m.d.sync += level.eq(level - 1)
            with m.If(arrives[channel]):
                m.d.sync += write_at[channel].eq(write_at[channel] + 1)
            with m.If(leaves[channel]):
                m.d.sync += read_at[channel].eq(read_at[channel] + 1)

            # What arrives at an empty buffer is at once its head, its route is not read back.
            with m.If((level == 0) | ((level == 1) & leaves[channel])):
                m.d.sync += ports.eq(Mux(arrives[channel], arriving, 0))
            with m.Elif(leaves[channel]):
                m.d.sync += ports.eq(read_route.data)
            with m.Elif(chosen[channel]):
                m.d.sync += ports.eq(ports & ~grants)

        write_place = Cat(picked(arrives, write_at), place_of(arrives))
        m.d.comb += [
            write_flit.en.eq(self.link.valid),
            write_flit.addr.eq(write_place),
            write_flit.data.eq(self.link.flit),
            write_route.en.eq(self.link.valid),
            write_route.addr.eq(write_place),
            write_route.data.eq(arriving),
            read_flit.addr.eq(Cat(picked(chosen, read_at), place_of(chosen))),
            # The route of the flit behind the one that leaves.
            read_route.addr.eq(Cat(picked(chosen, [(at + 1)[: len(at)] for at in read_at]), place_of(chosen))),
        ]
        return read_flit.data

    def _route(self, m):
        """The branches of the flit that arrives; body flits follow their head."""
        flit = self.link.flit
        header = data.View(HEADER, flit.payload[: HEADER.size])
        conditions = self._routing(
            self._arrival,
            y=self.y,
            x=self.x,
            to_y=header.y,
            to_x=header.x,
            row=header.cast == Cast.ROW,
            column=header.cast == Cast.COLUMN,
        )
        branches = Signal(len(self._departures))
        opened = Array(Signal.like(branches, name=f"opened_{n}") for n in range(self._noc.virtual_channels))
        of_packet = opened[self.link.channel]
        m.d.comb += branches.eq(Mux(flit.head, Cat(conditions[port] for port in self._departures), of_packet))
        with m.If(self.link.valid):
            m.d.sync += of_packet.eq(branches)
        return branches


def picked(bits, values):
    """The value whose bit is set, the first when none is."""
    found = values[0]
    for bit, value in zip(bits[1:], values[1:], strict=True):
        found = Mux(bit, value, found)
    return found


def place_of(bits):
    """The number of the one bit that is set, as the upper part of a buffer address."""
    return Cat(Cat(bits[n] for n in range(len(bits)) if n >> k & 1).any() for k in range(ceil_log2(len(bits))))
