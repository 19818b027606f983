"""Takes the DONE and ERROR packets that come to the command processor."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.fabric.registers import error_layout
from acf.hw.noc.flit import done_head, error_head, flit_stream
from acf.isa import ControlKind

__all__ = ["ControlReceiver"]


class ControlReceiver(wiring.Component):
    """Always ready; answers in the cycle after the last flit of a packet. Packets of other kinds are dropped.

    Parameters
    ----------
    noc : NocConfig

    Members
    -------
    i : In(flit_stream)
    done : Out(1)
        A DONE has come, for ``semaphore``.
    semaphore : Out(4)
    failed : Out(1)
        An ERROR has come, with ``error``.
    error : Out(error_layout)
    """

    def __init__(self, *, noc: NocConfig):
        super().__init__(
            {
                "i": In(flit_stream(noc=noc)),
                "done": Out(1),
                "semaphore": Out(4),
                "failed": Out(1),
                "error": Out(error_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()

        flit, error = self.i.p, self.error
        done = data.View(done_head, flit.payload)
        report = data.View(error_head, flit.payload)
        kind = Signal(ControlKind)
        second = Signal()  # the flit after the head comes next

        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [self.done.eq(0), self.failed.eq(0)]
        with m.If(self.i.valid):
            m.d.sync += second.eq(flit.head)
            with m.If(flit.head):
                m.d.sync += [
                    kind.eq(done.kind),
                    self.done.eq(done.kind == ControlKind.DONE),
                    self.semaphore.eq(done.semaphore),
                ]
                with m.If(done.kind == ControlKind.ERROR):
                    m.d.sync += [
                        error.code.eq(report.code),
                        error.source_x.eq(report.source_x),
                        error.source_y.eq(report.source_y),
                    ]
            with m.Elif(kind == ControlKind.ERROR):
                with m.If(second):
                    m.d.sync += [error.address.eq(flit.payload[:32]), error.row.eq(flit.payload[32:])]
                with m.Else():
                    m.d.sync += error.index.eq(flit.payload[:32])
                m.d.sync += self.failed.eq(flit.tail)

        return m
