"""What a feeder tells the command processor: DONE, and the first fault."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.flit import done_head, error_head, flit_stream, header_values
from acf.isa import NO_SEMAPHORE, ControlKind, ErrorCode, TrafficClass

__all__ = ["ReportSender", "fault_layout", "fault_signature", "raise_fault"]

fault_layout = data.StructLayout({"code": 8, "address": 32, "row": 32, "index": 32})
"""An ``ErrorCode`` and what it says of the place; unused fields are 0."""

fault_signature = wiring.Signature({"valid": Out(1), "p": Out(fault_layout)})
"""A fault, seen from the block that meets it. It need not be held: the first one is latched."""


def raise_fault(fault, code: ErrorCode, *, address=0, row=0, index=0) -> list:
    """Assignments that raise ``fault`` in this cycle."""
    return [
        fault.valid.eq(1),
        fault.p.code.eq(int(code)),
        fault.p.address.eq(address),
        fault.p.row.eq(row),
        fault.p.index.eq(index),
    ]


class ReportSender(wiring.Component):
    """Sends DONE packets, and one ERROR packet for the first fault.

    A DONE flit leaves two cycles after it was asked for, one every two cycles at most. Of several faults in one cycle
    the first in ``faults`` counts. A DONE that has begun is finished; after the ERROR packet nothing is sent any more.

    Parameters
    ----------
    noc : NocConfig
    sources : int
        Number of fault inputs.

    Members
    -------
    done : In(stream), 4 bits
        Semaphores to signal. ``NO_SEMAPHORE`` is taken and not sent.
    faults : In(fault_signature).array(sources)
    stopped : Out(1)
        High from the cycle after the first fault until reset.
    y, x : In(4)
        The node that reports.
    o : Out(flit_stream)
        CONTROL packets to the command processor.

    Raises
    ------
    ValueError
        If ``sources`` is not positive.
    """

    done: stream.Interface
    stopped: Signal
    y: Signal
    x: Signal
    o: stream.Interface

    def __init__(self, *, noc: NocConfig, sources: int):
        if sources <= 0:
            raise ValueError(f"fault inputs must be at least one, not {sources!r}")
        self._noc = noc
        self._sources = sources
        super().__init__(
            {
                "done": In(stream.Signature(4)),
                "faults": In(fault_signature).array(sources),
                "stopped": Out(1),
                "y": In(4),
                "x": In(4),
                "o": Out(flit_stream(noc=noc)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        first = Signal(fault_layout)
        with m.If(~self.stopped):
            for source in reversed(range(self._sources)):
                with m.If(self.faults[source].valid):
                    m.d.sync += [self.stopped.eq(1), first.eq(self.faults[source].p)]

        semaphore = Signal(4)
        done = Signal(done_head)
        error = Signal(error_head)
        for head, kind in ((done, ControlKind.DONE), (error, ControlKind.ERROR)):
            for name, value in header_values(x=0, y=0, traffic_class=TrafficClass.CONTROL, kind=kind).items():
                m.d.comb += head[name].eq(value)
        m.d.comb += [
            done.semaphore.eq(semaphore),
            error.code.eq(first.code),
            error.source_x.eq(self.x),
            error.source_y.eq(self.y),
        ]

        def send(payload, *, head, tail):
            m.d.comb += [self.o.valid.eq(1), self.o.p.payload.eq(payload)]
            m.d.comb += [self.o.p.head.eq(head), self.o.p.tail.eq(tail)]
            return self.o.ready

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.stopped):
                    m.next = "ERROR"
                with m.Elif(self.done.valid):
                    m.d.comb += self.done.ready.eq(1)
                    m.d.sync += semaphore.eq(self.done.payload)
                    with m.If(self.done.payload != NO_SEMAPHORE):
                        m.next = "DONE"
            with m.State("DONE"), m.If(send(done, head=1, tail=1)):
                m.next = "IDLE"
            with m.State("ERROR"), m.If(send(error, head=1, tail=0)):
                m.next = "PLACE"
            with m.State("PLACE"), m.If(send(Cat(first.address, first.row), head=0, tail=0)):
                m.next = "INDEX"
            with m.State("INDEX"), m.If(send(first.index, head=0, tail=1)):
                m.next = "STOPPED"
            with m.State("STOPPED"):
                pass

        return m
