"""The receiving end of a link in a router whose packets choose their way and their virtual channels."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NetworkConfig
from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.channel_choice import admitted_channels
from acf.hw.noc.channel_sender import channel_source_signature
from acf.hw.noc.flit import HEADER, flit_layout, link_signature
from acf.hw.noc.input_port import picked, place_of
from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_proof import proved_routing
from acf.hw.noc.unicast_routing import unicast_departures

__all__ = ["ChoosingPort"]


class ChoosingPort(wiring.Component):
    """Buffers the flits of one link and offers one of them a cycle to the outputs of the router.

    While a flit is written to its buffer, the virtual channels that its packet may have at each output are worked out
    and kept beside it. A head that comes to the front of its buffer is offered to an output where one of them is free:
    of two such outputs to the one with fewer flits waiting behind it, to each in turn when they are equal. The flits
    behind it follow. In each round of allocation the input chooses one virtual channel, the one that has waited
    longest; where it is not granted, it has a chance in the next round at outputs that nobody has got yet.

    A flit that arrives in one cycle may be granted an output in the next. It leaves at once, or in a router of two
    stages one cycle later. The credit is sent in the cycle after the grant.

    Parameters
    ----------
    network : NetworkConfig
    arrival : Port
        The port of the router that this is.

    Members
    -------
    y, x : In(4)
        The router.
    link : In(link_signature)
    branches : Out(channel_source_signature).array(n)
        One source for each of the outputs ``unicast_departures(routing, arrival)``.
    """

    def __init__(self, *, network: NetworkConfig, arrival: Port):
        self._network = network
        self._arrival = arrival
        self._routing = proved_routing(network)
        self._departures = unicast_departures(self._routing, arrival)
        noc = network.noc
        self._admitted = data.ArrayLayout(noc.virtual_channels, len(self._departures))
        source = channel_source_signature(noc=noc, rounds=network.rounds)
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                "link": In(link_signature(noc=noc)),
                "branches": Out(source).array(len(self._departures)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        noc = self._network.noc
        channels = range(noc.virtual_channels)
        branches = list(self.branches)

        # The flit at the front of each buffer: what its packet may have at each output, nothing when there is none.
        note = data.StructLayout({"admitted": self._admitted, "is_tail": 1})
        fronts = [Signal(note, name=f"front_{n}") for n in channels]
        # Amid a packet: the output and the virtual channel that its head was given.
        is_amid = [Signal(name=f"is_amid_{n}") for n in channels]
        way = [Signal(len(branches), name=f"way_{n}") for n in channels]
        given = [Signal(noc.virtual_channels, name=f"given_{n}") for n in channels]

        grants = [Cat(branch.grant[n] for branch in branches) for n in range(self._network.rounds)]
        granted = Cat(grants).any()
        chosen = Signal(noc.virtual_channels)
        leaves = Signal(noc.virtual_channels)
        at_output = [Signal(noc.virtual_channels, name=f"at_{port.name.lower()}") for port in self._departures]
        m.d.comb += leaves.eq(Mux(granted, chosen, 0))

        turn = Signal()  # who goes first where there is no other reason
        m.d.sync += turn.eq(~turn)
        wanted = [self._wanted(m, n, fronts[n], is_amid[n], way[n], given[n]) for n in channels]
        m.submodules.chooser = chooser = LeastRecentArbiter(count=len(channels), rounds=self._network.rounds)
        m.d.comb += chooser.used.eq(leaves)
        is_left = Const(1)
        final = chooser.grants[0]
        for n, picks in enumerate(chooser.grants):
            offers = [self._offers(m, f"{n}_{k}", fronts[k], wanted[k], turn, n) for k in channels]
            for channel in channels:
                m.d.comb += chooser.requests[n][channel].eq(Cat(offers[channel]).any() & is_left)
            for b, branch in enumerate(branches):
                m.d.comb += branch.request[n].eq(Cat(offers[k][b] & picks[k] for k in channels).any())
            if n:
                final = Mux(is_left, picks, final)
            is_left &= ~grants[n].any()
        m.d.comb += chosen.eq(final)

        flit = self._buffer(m, fronts=fronts, note=note, chosen=chosen, leaves=leaves)
        for b, branch in enumerate(branches):
            m.d.comb += [
                at_output[b].eq(picked(chosen, [wanted[k][b] for k in channels])),
                branch.channels.eq(at_output[b]),
                branch.is_tail.eq(picked(chosen, [front.is_tail for front in fronts])),
                branch.flit.eq(flit),
            ]
        taken = Cat(Cat(branch.grant).any() for branch in branches)
        for n in channels:
            with m.If(leaves[n]):
                m.d.sync += [
                    is_amid[n].eq(~fronts[n].is_tail),
                    way[n].eq(taken),
                    given[n].eq(
                        Cat(Cat(taken[b] & at_output[b][k] for b in range(len(branches))).any() for k in channels)
                    ),
                ]
        m.d.sync += self.link.credit.eq(leaves)
        return m

    def _wanted(self, m, n, front, is_amid, way, given):
        """For every output the virtual channel that the flit at the front of buffer ``n`` can have now, if any."""
        shares = self._routing.shares(self._network.virtual_channels)
        found = []
        for b, branch in enumerate(self.branches):
            free = Signal(self._network.virtual_channels, name=f"free_{n}_{b}")
            m.d.comb += free.eq(front.admitted[b] & Mux(front.is_tail, branch.may_start, branch.may_open))
            first = free
            if len(shares) > 1:  # of two layers the first
                mask = sum(1 << channel for channel in shares[0])
                first = Mux((free & mask).any(), free & mask, free)
            wanted = Signal(self._network.virtual_channels, name=f"wanted_{n}_{b}")
            if self._network.channels == "onward" and len(shares) == 1:  # a packet may have one alone, head and body
                goes_on = front.admitted[b] & branch.may_go_on
            else:
                goes_on = Mux(front.admitted[b].any() & way[b], branch.may_go_on & given, 0)
            m.d.comb += wanted.eq(Mux(is_amid, goes_on, first))
            found.append(wanted)
        return found

    def _offers(self, m, name, front, wanted, turn, number):
        """One bit for every output: whether the flit at the front is offered there in this round."""
        can_go = [Signal(name=f"can_go_{name}_{port.name.lower()}") for port in self._departures]
        for b, branch in enumerate(self.branches):
            m.d.comb += can_go[b].eq(wanted[b].any() & branch.is_open[number])
        sides = [
            [b for b, port in enumerate(self._departures) if port in pair]
            for pair in ((Port.EAST, Port.WEST), (Port.NORTH, Port.SOUTH))
        ]
        if not (self._routing.is_adaptive and all(sides)):
            return can_go
        # At most one of each pair is on a shortest way.
        can_side = [Cat(can_go[b] for b in side).any() for side in sides]
        waiting = [
            picked([front.admitted[b].any() for b in side], [self.branches[b].waiting for b in side]) for side in sides
        ]
        along_row = Signal(name=f"along_row_{name}")
        m.d.comb += along_row.eq((waiting[0] < waiting[1]) | ((waiting[0] == waiting[1]) & turn))
        goes = [can_side[0] & (along_row | ~can_side[1]), can_side[1] & ~(along_row & can_side[0])]
        offers = list(can_go)
        for side, may in zip(sides, goes, strict=True):
            for b in side:
                offers[b] = can_go[b] & may
        return offers

    def _buffer(self, m, *, fronts, note, chosen, leaves):
        """Keep flits and what their packets may have; the answer is the flit at the front of the chosen buffer."""
        noc = self._network.noc
        depth = noc.buffer_depth
        words = depth * noc.virtual_channels

        m.submodules.flits = flits = memory.Memory(shape=flit_layout(noc=noc), depth=words, init=[])
        write_flit = flits.write_port()
        read_flit = flits.read_port(domain="comb", transparent_for=())

        arriving = Signal(note)
        m.d.comb += [
            arriving.admitted.eq(self._admit(m)),
            arriving.is_tail.eq(self.link.flit.tail),
        ]
        arrives = Signal(noc.virtual_channels)
        m.d.comb += arrives.eq(self.link.valid << self.link.channel)

        write_at = [Signal(range(depth), name=f"write_at_{n}") for n in range(noc.virtual_channels)]
        read_at = [Signal(range(depth), name=f"read_at_{n}") for n in range(noc.virtual_channels)]
        for channel, front in enumerate(fronts):
            level = Signal(range(depth + 1), name=f"level_{channel}")
            # Whether the first flit leaves is known last in the cycle: it only selects, here and below.
            less = Mux(arrives[channel], level, level - 1)[: len(level)]
            more = Mux(arrives[channel], level + 1, level)[: len(level)]
            m.d.sync += level.eq(Mux(leaves[channel], less, more))
            with m.If(arrives[channel]):
                m.d.sync += write_at[channel].eq(write_at[channel] + 1)
            with m.If(leaves[channel]):
                m.d.sync += read_at[channel].eq(read_at[channel] + 1)

            # One for each channel: the note of the second flit is at hand before it is known which first one leaves.
            m.submodules[f"notes_{channel}"] = notes = memory.Memory(shape=note, depth=depth, init=[])
            write_note, read_note = notes.write_port(), notes.read_port(domain="comb", transparent_for=())
            m.d.comb += [
                write_note.en.eq(arrives[channel]),
                write_note.addr.eq(write_at[channel]),
                write_note.data.eq(arriving),
                read_note.addr.eq(read_at[channel] + 1),
            ]

            # What arrives at an empty buffer is at once at its front, its note is not read back.
            newcomer, stays, follows = (
                Signal(note, name=f"{name}_{channel}") for name in ("newcomer", "stays", "follows")
            )
            m.d.comb += [
                newcomer.as_value().eq(Mux(arrives[channel], arriving.as_value(), 0)),
                stays.as_value().eq(Mux(level == 0, newcomer.as_value(), front.as_value())),
                follows.as_value().eq(Mux(level == 1, newcomer.as_value(), read_note.data.as_value())),
            ]
            m.d.sync += front.as_value().eq(Mux(leaves[channel], follows.as_value(), stays.as_value()))

        write_place = Cat(picked(arrives, write_at), place_of(arrives))
        read_place = Signal(range(words))
        m.d["comb" if self._network.stages == 1 else "sync"] += read_place.eq(
            Cat(picked(chosen, read_at), place_of(chosen))
        )
        m.d.comb += [
            write_flit.en.eq(self.link.valid),
            write_flit.addr.eq(write_place),
            write_flit.data.eq(self.link.flit),
            read_flit.addr.eq(read_place),
        ]
        return read_flit.data

    def _admit(self, m):
        """What the packet of the flit that arrives may have at each output; body flits follow their head."""
        flit = self.link.flit
        header = data.View(HEADER, flit.payload[: HEADER.size])
        found = admitted_channels(
            self._network,
            self._arrival,
            channel=self.link.channel,
            y=self.y,
            x=self.x,
            to_y=header.y,
            to_x=header.x,
        )
        of_head = Cat(Cat(found[port]) for port in self._departures)
        admitted = Signal(self._admitted)
        opened = Array(Signal(self._admitted.size, name=f"opened_{n}") for n in range(self._network.virtual_channels))
        of_packet = opened[self.link.channel]
        m.d.comb += admitted.as_value().eq(Mux(flit.head, of_head, of_packet))
        with m.If(self.link.valid):
            m.d.sync += of_packet.eq(admitted.as_value())
        return admitted
