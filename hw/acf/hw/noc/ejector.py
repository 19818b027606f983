"""The way out of the network: from a router's local links to one packet stream per traffic class."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.flit import HEADER, flit_layout, flit_stream, link_signature
from acf.isa import TrafficClass

__all__ = ["Ejector", "EjectorQueue"]


class EjectorQueue(wiring.Component):
    """A FIFO for the flits of one virtual channel, whose output is registered.

    Latency is one cycle when it is empty; throughput is one flit a cycle. It holds ``buffer_depth`` flits and one more
    in the output register.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    valid : In(1)
        A flit arrives; the sender knows that there is room.
    flit : In(flit_layout)
    freed : Out(1)
        In the next cycle there is room for one more flit.
    o : Out(flit_stream)
    """

    def __init__(self, *, noc: NocConfig):
        depth = noc.buffer_depth
        # The proof of the queue looks at what it holds.
        self.flits = memory.Memory(shape=flit_layout(noc=noc), depth=depth, init=[])
        write, read = self.flits.write_port(), self.flits.read_port(domain="comb", transparent_for=())
        self.write, self.read = write, read
        self.level = Signal(range(depth + 1))
        super().__init__(
            {
                "valid": In(1),
                "flit": In(flit_layout(noc=noc)),
                "freed": Out(1),
                "o": Out(flit_stream(noc=noc)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.flits = self.flits
        write, read, level = self.write, self.read, self.level

        can_load = ~self.o.valid | self.o.ready
        stored = level.any()
        stores = Signal()
        loads_stored = Signal()
        m.d.comb += [
            loads_stored.eq(can_load & stored),
            stores.eq(self.valid & (stored | ~can_load)),
            self.freed.eq(can_load & (stored | self.valid)),
            write.en.eq(stores),
            write.data.eq(self.flit),
        ]
        m.d.sync += level.eq(level + stores - loads_stored)
        with m.If(stores):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(loads_stored):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(can_load):
            m.d.sync += self.o.valid.eq(stored | self.valid)
        with m.If(self.freed):
            m.d.sync += self.o.payload.eq(Mux(stored, read.data, self.flit))

        return m


class Ejector(wiring.Component):
    """Takes the flits of every virtual channel from its link and hands them out by traffic class.

    Every virtual channel has a queue of its own: a class that is not taken holds up the classes of its own virtual
    channel only. Latency is one cycle from ``valid`` on a link to ``valid`` on a stream; throughput is one flit a
    cycle for each virtual channel. Outputs are registered.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    links : In(link_signature).array(virtual_channels)
        Each carries the flits of one virtual channel.
    control_o, entries_o, operands_o, results_o : Out(flit_stream)
        Packets by the class that their header names, which must be one of the virtual channel they come by.
    """

    def __init__(self, *, noc: NocConfig):
        self._noc = noc
        super().__init__(
            {
                "links": In(link_signature(noc=noc)).array(noc.virtual_channels),
                **{f"{each.name.lower()}_o": Out(flit_stream(noc=noc)) for each in TrafficClass},
            }
        )

    def elaborate(self, platform):
        m = Module()

        for channel in sorted(set(self._noc.class_channels)):
            link = self.links[channel]
            m.submodules[f"queue_{channel}"] = queue = EjectorQueue(noc=self._noc)
            m.d.comb += [queue.valid.eq(link.valid), queue.flit.eq(link.flit)]
            m.d.sync += link.credit[channel].eq(queue.freed)

            of_packet = Signal(HEADER["traffic_class"].shape, name=f"class_{channel}")
            header = data.View(HEADER, queue.o.payload.payload[: HEADER.size])
            of_flit = Mux(queue.o.payload.head, header.traffic_class, of_packet)
            with m.If(queue.o.valid):
                m.d.sync += of_packet.eq(of_flit)

            for traffic_class in TrafficClass:
                if self._noc.class_channels[traffic_class] != channel:
                    continue
                packets = getattr(self, f"{traffic_class.name.lower()}_o")
                is_meant = of_flit == traffic_class
                m.d.comb += [
                    packets.payload.eq(queue.o.payload),
                    packets.valid.eq(queue.o.valid & is_meant),
                ]
                with m.If(is_meant):
                    m.d.comb += queue.o.ready.eq(packets.ready)

        return m
