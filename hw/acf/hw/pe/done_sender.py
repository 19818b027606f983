"""Tells the command processor that something is done."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.flit import done_head, flit_stream, header_values
from acf.isa import ControlKind, TrafficClass

__all__ = ["DoneSender"]


class DoneSender(wiring.Component):
    """Sends a DONE packet for each semaphore asked for; loads go before streams.

    Latency is one cycle, throughput one per cycle. The output is registered.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    loads, streams : In(stream), semaphore
    control : Out(flit_stream)
    """

    loads: stream.Interface
    streams: stream.Interface
    control: stream.Interface

    def __init__(self, *, noc: NocConfig):
        super().__init__(
            {
                "loads": In(stream.Signature(4)),
                "streams": In(stream.Signature(4)),
                "control": Out(flit_stream(noc=noc)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        semaphore = Signal(4)
        can_load = ~self.control.valid | self.control.ready
        m.d.comb += [
            self.loads.ready.eq(can_load),
            self.streams.ready.eq(can_load & ~self.loads.valid),
        ]
        with m.If(can_load):
            m.d.sync += [
                self.control.valid.eq(self.loads.valid | self.streams.valid),
                semaphore.eq(Mux(self.loads.valid, self.loads.payload, self.streams.payload)),
            ]

        head = Signal(done_head)
        m.d.comb += [
            head[name].eq(value)
            for name, value in {
                **header_values(y=0, x=0, traffic_class=TrafficClass.CONTROL, kind=ControlKind.DONE),
                "semaphore": semaphore,
            }.items()
        ]
        m.d.comb += [
            self.control.p.payload.eq(head),
            self.control.p.head.eq(1),
            self.control.p.tail.eq(1),
        ]
        return m
