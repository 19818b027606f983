"""The environment for formal proofs of a router's input for packets to groups."""

from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import data

from acf.config import NetworkConfig
from acf.hw.noc.flit import HEADER, flit_layout
from acf.hw.noc.group_port import GroupPort, group_departures
from acf.hw.noc.group_table import FORK, fork_order, group_of
from acf.hw.noc.routing import Port
from acf.tb.proof import Harness

__all__ = ["GroupPortHarness"]

_ROUTER = 1  # its row and its column
_GROUPS = 2


class GroupPortHarness(Harness):
    """Each flit goes to every output of its fork once and in order, and its place is freed when all have it.

    Tables may change in any cycle; a packet keeps the fork that stood there when its head came. An output starts
    packets where it offers that, and then belongs to the packet until its tail, here as in a ``ChannelSender``. Any one
    flit is followed, at any one output of its fork. Heads of several flits claim outputs in the order of the fork, and
    go nowhere before the packet has all of them. Where all outputs are willing, something is asked of one, or what has
    no output is dropped.
    """

    def __init__(self, device: type = GroupPort):
        super().__init__()
        network = NetworkConfig(
            height=4, width=4, channels="onward", virtual_channels=1, buffer_depth=4, rounds=1, groups=_GROUPS
        )
        self._depth = network.buffer_depth
        self._number = network.virtual_channels  # the virtual channel for groups
        self._departures = group_departures(Port.WEST)
        self._device = device(network=network, arrival=Port.WEST)
        self._valid = self.free("valid")
        self._flit = self.free("flit", flit_layout(noc=network.noc))
        self._write = self.free("write")
        self._elsewhere = self.free("elsewhere")
        self._entry = self.free("entry", range(_GROUPS))
        self._fork = self.free("fork", FORK)
        count = len(self._departures)
        self._start = self.free("start", count)
        self._go_on = self.free("go_on", count)
        self._grants = self.free("grants", count)
        self._mark = self.free("mark")
        self._which = self.free("which", range(count))

    def build(self, m: Module) -> None:
        device = self._device
        branches = list(device.branches[0])
        count = len(branches)
        arriving = self._arriving(m)
        ports = Signal(count)
        m.d.comb += ports.eq(Cat(arriving.ports[port] for port in self._departures))

        requests, claims, taken = Signal(count), Signal(count), Signal(count)
        opened = Signal(count)  # outputs that belong to a packet of this input
        inside = [Signal(range(self._depth + 2), name=f"inside_{n}") for n in range(count)]  # and are for that output
        m.d.comb += [
            requests.eq(Cat(branch.request[0] for branch in branches)),
            claims.eq(Cat(branch.is_claim for branch in branches) & self._grants),
            taken.eq(self._grants & ~claims),
            Assume((self._grants & ~requests) == 0),
            Assume((self._start & opened) == 0),
        ]
        for n, branch in enumerate(branches):
            flit = branch.flit
            amid = Signal(name=f"amid_{n}")
            m.d.comb += [
                branch.may_start.eq(self._start[n] << self._number),
                branch.may_go_on.eq(self._go_on[n] << self._number),
                branch.grant[0].eq(self._grants[n]),
                Assert(~requests[n] | Mux(opened[n], self._go_on[n] & ~branch.is_claim, self._start[n])),
                Assert(~requests[n] | (branch.channels[0] == 1 << self._number)),
                Assert(~taken[n] | (flit.tail == branch.is_tail[0])),
                Assert(~taken[n] | (flit.head == ~amid)),  # packets are not interleaved
                Assert(~claims[n] | ~branch.is_tail[0]),
                Assert(~taken[n] | inside[n].any()),
            ]
            with m.If(self._grants[n]):
                m.d.sync += opened[n].eq(~branch.is_tail[0])
            with m.If(taken[n]):
                m.d.sync += amid.eq(~flit.tail)
            m.d.sync += inside[n].eq(inside[n] + (self._valid & ports[n]) - taken[n])

        unpaid = Signal(range(self._depth + 2))  # came, and its credit has not gone back
        freed = device.freed[0]
        goes_on = Signal()
        m.d.sync += unpaid.eq(unpaid + self._valid - freed)
        with m.If(self._valid):
            m.d.sync += goes_on.eq(~self._flit.tail)
        m.d.comb += [
            Assume(~self._valid | (unpaid < self._depth)),
            Assume(~self._valid | (self._flit.head == ~goes_on)),
            Assert(~freed | unpaid.any()),
        ]

        idles, idled = Signal(), Signal()  # there is a flit, and nothing is asked of outputs that are all willing
        m.d.comb += [
            idles.eq((unpaid > freed) & ((self._start & ~opened) | (self._go_on & opened)).all() & ~requests.any()),
            Assert(~idled | freed),
        ]
        m.d.sync += idled.eq(idles)
        self._follow(m, arriving, ports, unpaid, inside, (requests, taken, opened, idles))
        m.submodules.device = device

    def _arriving(self, m):
        """The fork of the packet of the flit that comes, from a table beside that of the device."""
        device = self._device
        table = Array(Signal(FORK.size, name=f"table_{n}") for n in range(_GROUPS))
        with m.If(self._write & ~self._elsewhere):
            m.d.sync += table[self._entry].eq(self._fork)
        header = data.View(HEADER, self._flit.payload[: HEADER.size])
        of_packet = Signal(FORK)
        arriving = Signal(FORK)
        m.d.comb += [
            device.y.eq(_ROUTER),
            device.x.eq(_ROUTER),
            device.valid.eq(self._valid),
            device.flit.eq(self._flit),
            device.groups.write.eq(self._write),
            device.groups.y.eq(_ROUTER),
            device.groups.x.eq(_ROUTER + self._elsewhere),
            device.groups.number.eq(self._entry),
            device.groups.fork.eq(self._fork),
            Assume(~self._valid | ~self._flit.head | (group_of(header) < _GROUPS)),
            arriving.as_value().eq(Mux(self._flit.head, table[group_of(header)[0]], of_packet.as_value())),
        ]
        with m.If(self._valid):
            m.d.sync += of_packet.eq(arriving)
        return arriving

    def _follow(self, m, arriving, ports, unpaid, inside, outputs):
        """Follow one flit through the buffer, and to one output of its fork."""
        requests, taken, opened, idles = outputs
        freed = self._device.freed[0]
        count = len(self._departures)
        follows, was_taken, at_front = Signal(), Signal(), Signal()
        which = Signal(range(count))
        followed = Signal.like(self._flit)
        fork, columns_first = Signal(count), Signal()
        ahead, to_be_freed = (Signal(range(self._depth + 2), name=name) for name in ("ahead", "to_be_freed"))
        flits = Array(branch.flit.as_value() for branch in self._device.branches[0])
        takes = taken.bit_select(which, 1)
        m.d.comb += at_front.eq(follows & (to_be_freed == freed))
        with m.If(follows):
            with m.If(~was_taken):
                m.d.comb += Assert(ahead < Array(inside)[which])
                with m.If(takes):
                    m.d.comb += Assert((ahead != 0) | (flits[which] == followed.as_value()))
                    m.d.sync += [ahead.eq(ahead - 1), was_taken.eq(ahead == 0)]
            with m.If(freed):
                m.d.comb += Assert((to_be_freed != 0) | was_taken)
                m.d.sync += [to_be_freed.eq(to_be_freed - 1), follows.eq(to_be_freed != 0)]
        with m.Elif(self._mark & self._valid & ports.bit_select(self._which, 1)):
            m.d.sync += [
                follows.eq(1),
                was_taken.eq(0),
                which.eq(self._which),
                followed.eq(self._flit),
                fork.eq(ports),
                columns_first.eq(arriving.columns_first),
                ahead.eq(Array(inside)[self._which] - taken.bit_select(self._which, 1)),
                to_be_freed.eq(unpaid - freed),
            ]
        m.d.comb += Assert(~at_front | was_taken | ~idles)
        with m.If(at_front & followed.head & ~followed.tail):
            m.d.comb += Assert(~taken.any() | ((fork & ~opened & ~taken) == 0))
            for is_column in False, True:
                order = [self._departures.index(port) for port in fork_order(is_column) if port in self._departures]
                for place, n in enumerate(order):
                    earlier = Cat(fork[k] & ~opened[k] for k in order[:place])
                    m.d.comb += Assert((columns_first != is_column) | ~requests[n] | ~earlier.any())
