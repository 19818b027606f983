"""The receiving end of a link in a router whose packets choose their way and their virtual channels."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from acf.config import TABLE, TRAFFIC_CLASSES, NetworkConfig
from acf.hw.noc.allotment import Candidates, allot_at_once, allot_in_turn
from acf.hw.noc.channel_choice import admitted_channels
from acf.hw.noc.channel_sender import channel_source_signature
from acf.hw.noc.class_policy import admitted_by_class, control_members, route_table
from acf.hw.noc.flit import HEADER, flit_layout, link_signature
from acf.hw.noc.input_port import picked, place_of
from acf.hw.noc.note_queue import NoteQueue
from acf.hw.noc.port_statistics import PortStatistics, counter_members
from acf.hw.noc.routing import Port
from acf.hw.noc.unicast_proof import departures_of, proved_functions, proved_routing

__all__ = ["ChoosingPort"]


class ChoosingPort(wiring.Component):
    """Buffers the flits of one link and offers one of them a cycle to the outputs of the router.

    While a flit is written to its buffer, the virtual channels that its packet may have at each output are worked out
    and kept beside it. A head that comes to the front of its buffer is offered to an output where one of them is free:
    of two such outputs to the one with fewer flits waiting behind it, to each in turn when they are equal. The flits
    behind it follow. In each round of allocation the input chooses one virtual channel: see ``allotment``.

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
        One source for each of the outputs ``departures_of(network, arrival)``.
    classes, table : In
        See ``control_members``.
    counters : In(counter_signature)
        Of a network that counts. Only the class is looked at; the answer comes in the same cycle.
    """

    def __init__(self, *, network: NetworkConfig, arrival: Port):
        self._network = network
        self._arrival = arrival
        functions = proved_functions(network) if network.by_class else (proved_routing(network),)
        # Virtual channels by layer; those of the last layers are taken where there is no other.
        self._shares = functions[0].shares(network.virtual_channels)
        self._is_adaptive = any(function.is_adaptive for function in functions)
        self._departures = departures_of(network, arrival)
        # Of its layer a packet may have one virtual channel alone, its head and its body.
        self._has_one_way = network.channels == "onward" and len(self._shares) == 1
        noc = network.noc
        self._admitted = data.ArrayLayout(noc.virtual_channels, len(self._departures))
        source = channel_source_signature(
            noc=noc, rounds=network.offers, at_once=network.allots_at_once, has_urgent=network.by_class
        )
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                "link": In(link_signature(noc=noc)),
                "branches": Out(source).array(len(self._departures)),
                **control_members(network),
                **counter_members(network),
            }
        )

    def elaborate(self, platform):
        m = Module()
        noc = self._network.noc
        channels = range(noc.virtual_channels)
        branches = list(self.branches)

        # The flit at the front of each buffer: what its packet may have at each output, nothing when there is none.
        by_class, counts = self._network.by_class, self._network.statistics
        more = {**({"is_urgent": 1} if by_class else {}), **({"traffic_class": 2} if counts else {})}
        note = data.StructLayout({"admitted": self._admitted, "is_tail": 1, **more})
        queues = [NoteQueue(note=note, depth=noc.buffer_depth, channel=n) for n in channels]
        fronts = [queue.front for queue in queues]
        # Amid a packet: the output and the virtual channel that its head was given.
        is_amid = [Signal(name=f"is_amid_{n}") for n in channels]
        way = [Signal(len(branches), name=f"way_{n}") for n in channels]
        given = [Signal(noc.virtual_channels, name=f"given_{n}") for n in channels]

        arriving = Signal(note)  # what is known of a flit that comes, and to which buffer it comes
        arrives = Signal(noc.virtual_channels)
        m.d.comb += arrives.eq(self.link.valid << self.link.channel)

        turn = Signal()  # who goes first where there is no other reason
        m.d.sync += turn.eq(~turn)
        wanted = [self._wanted(m, n, fronts[n], is_amid[n], way[n], given[n], turn) for n in channels]
        flits = Candidates(
            branches=branches,
            # The one that a packet may have is known before it is known whether it can have it now.
            wanted=[list(front.admitted) for front in fronts] if self._has_one_way else wanted,
            offers=lambda number: [
                self._offers(m, f"{number}_{k}", fronts[k], wanted[k], turn, number) for k in channels
            ],
            are_tails=[front.is_tail for front in fronts],
            will_be_there=[arrives[n] | queue.level.any() for n, queue in enumerate(queues)],
            are_urgent=[front.is_urgent for front in fronts] if by_class else None,
        )
        allot = allot_at_once if self._network.allots_at_once else allot_in_turn
        chosen, leaves, taken = allot(m, flits, rounds=self._network.offers)

        flit = self._buffer(m, queues, arrives, arriving, chosen=chosen, leaves=leaves)
        for branch in branches:
            m.d.comb += branch.flit.eq(flit)
        at_output = [picked(chosen, [wanted[k][b] for k in channels]) for b in range(len(branches))]
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
        if counts:
            self._count(m, queues, arriving, leaves)
        return m

    def _count(self, m, queues, arriving, leaves):
        """Count what comes, waits and goes on."""
        noc = self._network.noc
        m.submodules.statistics = statistics = PortStatistics(most=noc.buffer_depth * noc.virtual_channels)
        fronts = [queue.front for queue in queues]
        waits = Cat(queue.level.any() for queue in queues) & ~leaves
        m.d.comb += [
            statistics.arrives.eq(self.link.valid),
            statistics.arriving_class.eq(arriving.traffic_class),
            statistics.leaves.eq(leaves.any()),
            statistics.leaving_class.eq(picked(leaves, [front.traffic_class for front in fronts])),
            *(
                statistics.waits[n].eq(
                    Cat(bit & (front.traffic_class == n) for bit, front in zip(waits, fronts, strict=True)).any()
                )
                for n in range(TRAFFIC_CLASSES)
            ),
        ]
        m.d.comb += statistics.traffic_class.eq(self.counters.traffic_class)
        for name in "flits", "stalls", "occupancy":
            m.d.comb += getattr(self.counters, name).eq(getattr(statistics, name))

    def _one_of(self, m, name, free, turn):
        """One of the virtual channels that are free: the first or the last one in turn, one of escape only at last."""
        network = self._network
        escapes = {channel for function in network.functions for channel in network.escapes_beside(function)}
        order = [channel for channel in range(network.virtual_channels) if channel not in escapes]
        one, others = Signal(len(free), name=f"one_{name}"), Signal(name=f"others_{name}")
        m.d.comb += others.eq(Cat(free[channel] for channel in order).any())
        for n, channel in enumerate(order):
            before, behind = (Cat(free[k] for k in part).any() for part in (order[:n], order[n + 1 :]))
            m.d.comb += one[channel].eq(free[channel] & ~Mux(turn, behind, before))
        for channel in escapes:
            m.d.comb += one[channel].eq(free[channel] & ~others & ~Cat(free[k] for k in escapes if k < channel).any())
        return one

    def _wanted(self, m, n, front, is_amid, way, given, turn):
        """For every output the virtual channel that the flit at the front of buffer ``n`` can have now, if any."""
        shares = self._shares
        found = []
        for b, branch in enumerate(self.branches):
            free = Signal(self._network.virtual_channels, name=f"free_{n}_{b}")
            m.d.comb += free.eq(front.admitted[b] & Mux(front.is_tail, branch.may_start, branch.may_open))
            first = free
            if self._network.by_class:
                first = self._one_of(m, f"{n}_{b}", free, turn)
            elif len(shares) > 1:  # of two layers the first
                mask = sum(1 << channel for channel in shares[0])
                first = Mux((free & mask).any(), free & mask, free)
            wanted = Signal(self._network.virtual_channels, name=f"wanted_{n}_{b}")
            if self._has_one_way:
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
        if not (self._is_adaptive and all(sides)):
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

    def _buffer(self, m, queues, arrives, arriving, *, chosen, leaves):
        """Keep flits and what their packets may have; the answer is the flit at the front of the chosen buffer."""
        noc = self._network.noc
        words = noc.buffer_depth * noc.virtual_channels

        m.submodules.flits = flits = memory.Memory(shape=flit_layout(noc=noc), depth=words, init=[])
        write_flit = flits.write_port()
        read_flit = flits.read_port(domain="comb", transparent_for=())

        note = arriving.shape()
        m.d.comb += [
            Cat(arriving[name] for name in note.members if name != "is_tail").eq(self._admit(m)),
            arriving.is_tail.eq(self.link.flit.tail),
        ]
        for n, queue in enumerate(queues):
            queue.keep(m, arrives=arrives[n], arriving=arriving, leaves=leaves[n])

        write_place = Cat(picked(arrives, [queue.write_at for queue in queues]), place_of(arrives))
        read_place = Signal(range(words))
        m.d["comb" if self._network.stages == 1 else "sync"] += read_place.eq(
            Cat(picked(chosen, [queue.read_at for queue in queues]), place_of(chosen))
        )
        m.d.comb += [
            write_flit.en.eq(self.link.valid),
            write_flit.addr.eq(write_place),
            write_flit.data.eq(self.link.flit),
            read_flit.addr.eq(read_place),
        ]
        return read_flit.data

    def _admit(self, m):
        """What the packet of the flit that arrives may have at each output, whether it is urgent, and its class.

        Body flits follow their head.
        """
        flit = self.link.flit
        header = data.View(HEADER, flit.payload[: HEADER.size])
        place = {"channel": self.link.channel, "y": self.y, "x": self.x}
        if self._network.by_class:
            entry = Const(0)
            if TABLE in self._network.functions:
                to = {"to_y": header.y, "to_x": header.x}
                entry = route_table(m, self._network, self.table, y=self.y, x=self.x, **to)
            found = admitted_by_class(
                m, self._network, self._arrival, classes=self.classes, header=header, entry=entry, **place
            )
            more = [Array(policy.is_urgent for policy in self.classes)[header.traffic_class]]
        else:
            found = admitted_channels(self._network, self._arrival, to_y=header.y, to_x=header.x, **place)
            more = []
        if self._network.statistics:
            more.append(header.traffic_class)
        of_head = Cat(Cat(found[port]) for port in self._departures)
        said = Signal(len(of_head) + len(Cat(more)))
        opened = Array(Signal(len(said), name=f"opened_{n}") for n in range(self._network.virtual_channels))
        of_packet = opened[self.link.channel]
        m.d.comb += said.eq(Mux(flit.head, Cat(of_head, *more), of_packet))
        with m.If(self.link.valid):
            m.d.sync += of_packet.eq(said)
        return said
