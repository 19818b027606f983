"""The receiving end of a link for packets that are for groups: buffers, and forks into several outputs."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from acf.config import TRAFFIC_CLASSES, NetworkConfig
from acf.hw.noc.channel_sender import channel_source_signature
from acf.hw.noc.class_policy import policy_members
from acf.hw.noc.flit import HEADER, flit_layout
from acf.hw.noc.group_table import FORK, fork_order, group_members, group_of
from acf.hw.noc.note_queue import NoteQueue
from acf.hw.noc.port_statistics import PortStatistics, counter_members
from acf.hw.noc.router_table import RouterTable
from acf.hw.noc.routing import Port

__all__ = ["GroupPort", "group_departures"]


def group_departures(arrival: Port) -> tuple[Port, ...]:
    """The ports by which packets for groups from ``arrival`` may go on: all but back."""
    return tuple(port for port in Port if port is not arrival or port is Port.LOCAL)


class GroupPort(wiring.Component):
    """Buffers the flits for groups that come by one link, and hands each of them to every output of its fork.

    Each virtual channel for groups has a queue of its own. While a flit is written to it, the outputs of its packet are
    looked up and kept beside it. The flit at the front is offered to all of them at once and taken by each when it
    likes; it leaves with the last one. Only a packet of several flits has all of its outputs before its head goes
    anywhere: it claims them one after the other, in the order of its fork, in a cycle of the link each, and keeps them
    while it waits for the next one. The last one takes the head at once.

    A flit that arrives in one cycle may be granted in the next. One without outputs is dropped then.

    Parameters
    ----------
    network : NetworkConfig
        One that has groups.
    arrival : Port
        The port of the router that this is.

    Members
    -------
    y, x : In(4)
        The router.
    valid : In(group_channels)
        A flit arrives, one bit for its virtual channel among those for groups.
    flit : In(flit_layout)
    freed : Out(group_channels)
        A place has become free, in the cycle before.
    branches : Out(channel_source_signature).array(group_channels, n)
        One source for each of the outputs ``group_departures(arrival)``.
    classes, groups : In
        See ``policy_members`` and ``group_members``.
    counters : In(counter_signature)
        Of a network that counts. Only the class is looked at; the answer comes in the same cycle.
    """

    def __init__(self, *, network: NetworkConfig, arrival: Port):
        self._network = network
        self._departures = group_departures(arrival)
        source = channel_source_signature(
            noc=network.noc, rounds=network.offers, has_urgent=network.by_class, has_claims=True
        )
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                "valid": In(network.group_channels),
                "flit": In(flit_layout(noc=network.noc)),
                "freed": Out(network.group_channels),
                "branches": Out(source).array(network.group_channels, len(self._departures)),
                **policy_members(network),
                **group_members(network),
                **counter_members(network),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counted = []
        known = self._look_up(m)
        for channel in range(self._network.group_channels):
            statistics = None
            if self._network.statistics:
                m.submodules[f"statistics_{channel}"] = statistics = PortStatistics(most=self._network.buffer_depth)
                counted.append(statistics)
            self._queue(m, channel, known, statistics)
        if counted:
            for statistics in counted:
                m.d.comb += statistics.traffic_class.eq(self.counters.traffic_class)
            for name in "flits", "stalls", "occupancy":
                m.d.comb += getattr(self.counters, name).eq(sum(getattr(one, name) for one in counted))
        return m

    def _look_up(self, m):
        """What is kept of the flit that arrives: of a body what was said of its head."""
        network = self._network
        header = data.View(HEADER, self.flit.payload[: HEADER.size])
        # Entries that were never written have no output.
        m.submodules.table = table = RouterTable(shape=FORK, depth=network.groups)
        m.d.comb += [
            table.y.eq(self.y),
            table.x.eq(self.x),
            table.write.eq(self.groups.write),
            table.write_y.eq(self.groups.y),
            table.write_x.eq(self.groups.x),
            table.write_at.eq(self.groups.number),
            table.written.eq(self.groups.fork),
            table.at.eq(group_of(header)),
        ]
        is_urgent = Array(policy.is_urgent for policy in self.classes)[header.traffic_class] if network.by_class else 0
        said = data.StructLayout(
            {"ports": len(self._departures), "columns_first": 1, "is_urgent": 1, "traffic_class": 2}
        )
        of_head = Signal(said)
        m.d.comb += [
            of_head.ports.eq(Cat(table.entry.ports[port] for port in self._departures)),
            of_head.columns_first.eq(table.entry.columns_first),
            of_head.is_urgent.eq(is_urgent),
            of_head.traffic_class.eq(header.traffic_class),
        ]
        note = data.StructLayout({"packet": said, "is_head": 1, "is_tail": 1})
        known = []
        for channel in range(network.group_channels):
            of_packet = Signal(said, name=f"of_packet_{channel}")
            arriving = Signal(note, name=f"arriving_{channel}")
            m.d.comb += [
                arriving.packet.as_value().eq(Mux(self.flit.head, of_head.as_value(), of_packet.as_value())),
                arriving.is_head.eq(self.flit.head),
                arriving.is_tail.eq(self.flit.tail),
            ]
            with m.If(self.valid[channel]):
                m.d.sync += of_packet.eq(arriving.packet)
            known.append(arriving)
        return known

    def _queue(self, m, channel, known, statistics):
        """The queue of one virtual channel, and what its first flit asks for."""
        network = self._network
        depth = network.buffer_depth
        arriving, arrives = known[channel], self.valid[channel]
        note = arriving.shape()
        branches = self.branches[channel]

        queue = NoteQueue(note=note, depth=depth, channel=channel)
        front, level = queue.front, queue.level
        m.submodules[f"flits_{channel}"] = flits = memory.Memory(
            shape=flit_layout(noc=network.noc), depth=depth, init=[]
        )
        write, read = flits.write_port(), flits.read_port(domain="comb", transparent_for=())
        m.d.comb += [
            write.en.eq(arrives),
            write.addr.eq(queue.write_at),
            write.data.eq(self.flit),
            read.addr.eq(queue.read_at),
        ]

        waiting = front.packet.ports
        is_claiming = Signal(name=f"is_claiming_{channel}")
        claimed = Signal.like(waiting, name=f"claimed_{channel}")
        grants = Cat(branch.grant[0] & ~branch.is_claim for branch in branches)
        left = Signal.like(waiting, name=f"left_{channel}")
        leaves = Signal(name=f"leaves_{channel}")
        m.d.comb += [
            left.eq(waiting & ~grants),
            leaves.eq(level.any() & ~left.any()),
        ]
        m.d.sync += self.freed[channel].eq(leaves)
        stays = Signal(note, name=f"stays_{channel}")
        m.d.comb += [stays.eq(front), stays.packet.ports.eq(left)]
        queue.keep(m, arrives=arrives, arriving=arriving, leaves=leaves, stays=stays)

        # A packet of several flits: whether its head has gone by the last output, so that it has all the others.
        has_all = Signal(name=f"has_all_{channel}")
        m.d.comb += is_claiming.eq(front.is_head & ~front.is_tail & ~has_all)
        with m.If(leaves):
            m.d.sync += [claimed.eq(0), has_all.eq(0)]
        with m.Elif(is_claiming):
            m.d.sync += claimed.eq(claimed | Cat(branch.grant[0] & branch.is_claim for branch in branches))
            m.d.sync += has_all.eq(grants.any())
        number = network.virtual_channels + channel
        unclaimed = waiting & ~claimed
        for n, branch in enumerate(branches):
            before, behind = self._around(unclaimed, n, front.packet.columns_first)
            is_free = front.is_head & (front.is_tail | is_claiming)  # or it is its own
            m.d.comb += [
                branch.request[0].eq(
                    Mux(is_free, branch.may_start[number], branch.may_go_on[number])
                    & Mux(is_claiming, unclaimed[n] & ~before, waiting[n])
                ),
                branch.is_claim.eq(is_claiming & behind),
                branch.channels[0].eq(1 << number),
                branch.is_tail[0].eq(front.is_tail),
                branch.flit.eq(read.data),
            ]
            if network.by_class:
                m.d.comb += branch.is_urgent[0].eq(front.packet.is_urgent)
        if statistics is not None:
            of_class = front.packet.traffic_class
            waits = level.any() & ~leaves
            m.d.comb += [
                statistics.arrives.eq(arrives),
                statistics.arriving_class.eq(arriving.packet.traffic_class),
                statistics.leaves.eq(leaves),
                statistics.leaving_class.eq(of_class),
                *(statistics.waits[n].eq(waits & (of_class == n)) for n in range(TRAFFIC_CLASSES)),
            ]

    def _around(self, unclaimed, n, columns_first):
        """Whether there are others before output ``n`` in the order of a fork, and whether there are behind it."""
        found = []
        for is_column in False, True:
            order = fork_order(is_column)
            place = order.index(self._departures[n])
            for part in order[:place], order[place + 1 :]:
                found.append(Cat(unclaimed[k] for k, port in enumerate(self._departures) if port in part).any())
        return Mux(columns_first, found[2], found[0]), Mux(columns_first, found[3], found[1])
