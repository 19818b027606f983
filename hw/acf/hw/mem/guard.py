"""The guard of the memory port: windows, draining, traffic.

Everything the fabric asks of memory passes here. A burst that leaves the windows is not passed on; it waits until
nothing of its direction is outstanding, so that the order of every ID is kept, and is then answered DECERR on the spot.
On ``quiesce`` the guard turns away from the fabric, which may be stopped in the middle of anything, and brings the port
to rest alone: it takes the read beats that still come, completes the write data that are still due with strobes 0, and
takes the write answers.
"""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from acf.config import MemoryConfig
from acf.hw.mem.axi import (
    BURST_INCREMENT,
    Response,
    axi_read_signature,
    axi_signature,
    axi_write_signature,
    beat_size,
)
from acf.hw.mem.interconnect import address_layout
from acf.hw.mem.skid_buffer import SkidBuffer
from acf.hw.mem.window_check import MAY_READ, MAY_WRITE, WindowCheck, window_layout

__all__ = ["AxiGuard", "ReadGuard", "WriteGuard", "traffic_layout", "violation_layout"]

_OUTSTANDING_MAX = 255
_WRITE_BURSTS = 16  # bursts passed on whose data are still due


def violation_layout(*, memory: MemoryConfig, id_width: int) -> data.StructLayout:
    """A refused burst: whether there was one, whether it is a write, its ID and address."""
    return data.StructLayout({"valid": 1, "write": 1, "id": id_width, "address": memory.address_width})


def traffic_layout(*, memory: MemoryConfig) -> data.StructLayout:
    """What crossed the port in one cycle: addresses, read beats, written bytes; and whether anything did."""
    return data.StructLayout(
        {
            "read_burst": 1,
            "write_burst": 1,
            "read_beat": 1,
            "write_bytes": range(memory.beat_bytes + 1),
            "active": 1,
        }
    )


class ReadGuard(wiring.Component):
    """The read half of ``AxiGuard``; see there."""

    def __init__(self, *, memory: MemoryConfig, id_width: int, windows: int):
        self._memory, self._id_width, self._windows = memory, id_width, windows
        super().__init__(
            {
                "inside": In(axi_read_signature(memory=memory, id_width=id_width)),
                "port": Out(axi_read_signature(memory=memory, id_width=id_width)),
                "windows": In(window_layout).array(windows),
                "quiesce": In(1),
                "idle": Out(1),
                "violation": Out(violation_layout(memory=memory, id_width=id_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory, inside, port = self._memory, self.inside, self.port
        check = WindowCheck(memory=memory, id_width=self._id_width, windows=self._windows, right=MAY_READ)
        beats = SkidBuffer(
            shape=data.StructLayout({"id": self._id_width, "data": memory.data_width, "response": 2, "last": 1})
        )
        m.submodules.check = ResetInserter(self.quiesce)(check)
        m.submodules.beats = ResetInserter(self.quiesce)(beats)
        m.submodules.requests = requests = SkidBuffer(shape=address_layout(memory=memory, id_width=self._id_width))

        outstanding = Signal(range(_OUTSTANDING_MAX + 1))
        refusing = Signal()
        refused = Signal.like(check.o.p.burst)
        answering = refusing & (outstanding == 0)
        m.d.comb += self.idle.eq(outstanding == 0)

        # From the inside to the port. What has entered ``requests`` is a promise to the port and outlives quiesce.
        passes = Signal()
        refuses = Signal()
        can_decide = check.o.valid & ~refusing & ~self.quiesce
        m.d.comb += [
            *(check.windows[n].eq(self.windows[n]) for n in range(self._windows)),
            check.i.p.id.eq(inside.arid),
            check.i.p.address.eq(inside.araddr),
            check.i.p.length.eq(inside.arlen),
            check.i.valid.eq(inside.arvalid),
            inside.arready.eq(check.i.ready & ~self.quiesce),
            passes.eq(can_decide & check.o.p.allowed & requests.i.ready & (outstanding != _OUTSTANDING_MAX)),
            refuses.eq(can_decide & ~check.o.p.allowed),
            check.o.ready.eq(passes | refuses),
            requests.i.payload.eq(check.o.p.burst),
            requests.i.valid.eq(passes),
            port.arid.eq(requests.o.p.id),
            port.araddr.eq(requests.o.p.address),
            port.arlen.eq(requests.o.p.length),
            port.arsize.eq(beat_size(memory=memory)),
            port.arburst.eq(BURST_INCREMENT),
            port.arvalid.eq(requests.o.valid),
            requests.o.ready.eq(port.arready),
            self.violation.valid.eq(refuses),
            self.violation.write.eq(0),
            self.violation.id.eq(check.o.p.burst.id),
            self.violation.address.eq(check.o.p.burst.address),
        ]
        m.d.sync += outstanding.eq(outstanding + passes - (port.rvalid & port.rready & port.rlast))

        # Back to the inside.
        m.d.comb += [
            beats.i.p.id.eq(Mux(answering, refused.id, port.rid)),
            beats.i.p.data.eq(Mux(answering, 0, port.rdata)),
            beats.i.p.response.eq(Mux(answering, Response.DECERR.value, port.rresp)),
            beats.i.p.last.eq(Mux(answering, refused.length == 0, port.rlast)),
            beats.i.valid.eq(answering | port.rvalid),
            port.rready.eq(self.quiesce | (beats.i.ready & ~answering)),
            inside.rid.eq(beats.o.p.id),
            inside.rdata.eq(beats.o.p.data),
            inside.rresp.eq(beats.o.p.response),
            inside.rlast.eq(beats.o.p.last),
            inside.rvalid.eq(beats.o.valid & ~self.quiesce),
            beats.o.ready.eq(inside.rready),
        ]
        with m.If(self.quiesce):
            m.d.sync += refusing.eq(0)
        with m.Elif(refuses):
            m.d.sync += [refusing.eq(1), refused.eq(check.o.p.burst)]
        with m.Elif(answering & beats.i.ready):
            m.d.sync += [refused.length.eq(refused.length - 1), refusing.eq(refused.length != 0)]

        return m


class WriteGuard(wiring.Component):
    """The write half of ``AxiGuard``; see there."""

    def __init__(self, *, memory: MemoryConfig, id_width: int, windows: int):
        self._memory, self._id_width, self._windows = memory, id_width, windows
        super().__init__(
            {
                "inside": In(axi_write_signature(memory=memory, id_width=id_width)),
                "port": Out(axi_write_signature(memory=memory, id_width=id_width)),
                "windows": In(window_layout).array(windows),
                "quiesce": In(1),
                "idle": Out(1),
                "violation": Out(violation_layout(memory=memory, id_width=id_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory, inside, port = self._memory, self.inside, self.port
        check = WindowCheck(memory=memory, id_width=self._id_width, windows=self._windows, right=MAY_WRITE)
        answers = SkidBuffer(shape=data.StructLayout({"id": self._id_width, "response": 2}))
        m.submodules.check = ResetInserter(self.quiesce)(check)
        m.submodules.answers = ResetInserter(self.quiesce)(answers)
        m.submodules.requests = requests = SkidBuffer(shape=address_layout(memory=memory, id_width=self._id_width))
        m.submodules.beats = beats = SkidBuffer(
            shape=data.StructLayout({"data": memory.data_width, "strobes": memory.beat_bytes, "last": 1})
        )
        m.submodules.due = due = SyncFIFO(width=8, depth=_WRITE_BURSTS)  # lengths of bursts whose data are due

        outstanding = Signal(range(_OUTSTANDING_MAX + 1))
        refusing = Signal()  # a burst was refused: its data are swallowed, then
        answering = Signal()  # its answer waits
        refused = Signal.like(check.o.p.burst)
        swallowing = Signal()
        m.d.comb += [
            self.idle.eq(outstanding == 0),
            swallowing.eq(refusing & ~answering & (outstanding == 0)),
        ]

        passes = Signal()
        refuses = Signal()
        can_decide = check.o.valid & ~refusing & ~self.quiesce
        m.d.comb += [
            *(check.windows[n].eq(self.windows[n]) for n in range(self._windows)),
            check.i.p.id.eq(inside.awid),
            check.i.p.address.eq(inside.awaddr),
            check.i.p.length.eq(inside.awlen),
            check.i.valid.eq(inside.awvalid),
            inside.awready.eq(check.i.ready & ~self.quiesce),
            passes.eq(
                can_decide & check.o.p.allowed & requests.i.ready & due.w_rdy & (outstanding != _OUTSTANDING_MAX)
            ),
            refuses.eq(can_decide & ~check.o.p.allowed),
            check.o.ready.eq(passes | refuses),
            requests.i.payload.eq(check.o.p.burst),
            requests.i.valid.eq(passes),
            due.w_data.eq(check.o.p.burst.length),
            due.w_en.eq(passes),
            port.awid.eq(requests.o.p.id),
            port.awaddr.eq(requests.o.p.address),
            port.awlen.eq(requests.o.p.length),
            port.awsize.eq(beat_size(memory=memory)),
            port.awburst.eq(BURST_INCREMENT),
            port.awvalid.eq(requests.o.valid),
            requests.o.ready.eq(port.awready),
            self.violation.valid.eq(refuses),
            self.violation.write.eq(1),
            self.violation.id.eq(check.o.p.burst.id),
            self.violation.address.eq(check.o.p.burst.address),
        ]
        m.d.sync += outstanding.eq(outstanding + passes - (port.bvalid & port.bready))

        # Data are counted, not believed: the last beat is where the address said, whatever the inside does.
        sent = Signal(8)
        last = sent == due.r_data
        m.d.comb += [
            beats.i.p.data.eq(Mux(self.quiesce, 0, inside.wdata)),
            beats.i.p.strobes.eq(Mux(self.quiesce, 0, inside.wstrb)),
            beats.i.p.last.eq(last),
            beats.i.valid.eq(due.r_rdy & (inside.wvalid | self.quiesce)),
            due.r_en.eq(beats.i.valid & beats.i.ready & last),
            inside.wready.eq(~self.quiesce & ((due.r_rdy & beats.i.ready) | swallowing)),
            port.wdata.eq(beats.o.p.data),
            port.wstrb.eq(beats.o.p.strobes),
            port.wlast.eq(beats.o.p.last),
            port.wvalid.eq(beats.o.valid),
            beats.o.ready.eq(port.wready),
        ]
        with m.If(beats.i.valid & beats.i.ready):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))

        m.d.comb += [
            answers.i.p.id.eq(Mux(answering, refused.id, port.bid)),
            answers.i.p.response.eq(Mux(answering, Response.DECERR.value, port.bresp)),
            answers.i.valid.eq(answering | port.bvalid),
            port.bready.eq(self.quiesce | (answers.i.ready & ~answering)),
            inside.bid.eq(answers.o.p.id),
            inside.bresp.eq(answers.o.p.response),
            inside.bvalid.eq(answers.o.valid & ~self.quiesce),
            answers.o.ready.eq(inside.bready),
        ]
        with m.If(self.quiesce):
            m.d.sync += [refusing.eq(0), answering.eq(0)]
        with m.Elif(refuses):
            m.d.sync += [refusing.eq(1), refused.eq(check.o.p.burst)]
        with m.Elif(swallowing & inside.wvalid):
            m.d.sync += [refused.length.eq(refused.length - 1), answering.eq(refused.length == 0)]
        with m.Elif(answering & answers.i.ready):
            m.d.sync += [refusing.eq(0), answering.eq(0)]

        return m


class AxiGuard(wiring.Component):
    """Stands between the interconnects and the external memory port.

    Latency is three cycles for addresses and one for data and answers; throughput one burst, one read beat and one
    write beat per cycle. Valid and payload of every outgoing channel are registers and stay until they are taken.

    Not to be reset together with the rest of the fabric: its promise to the port outlives the fabric's reset.

    Parameters
    ----------
    memory : MemoryConfig
    id_width : int
        Bits of an ID on all its sides: that of the wider interconnect.
    windows : int
        Address windows.

    Members
    -------
    inside : In(axi)
        From the interconnects. Write data may come before, with or after their address.
    m_axi : Out(axi)
        The memory port.
    windows : In(window_layout).array(windows)
        Every burst must lie wholly inside one window with its right; all others are answered DECERR.
    violation : Out(violation_layout)
        The first refused burst since ``quiesce`` fell; here at least one cycle before its DECERR.
    quiesce : In(1)
        Take nothing more from the fabric and answer nothing to it; keep it high until after ``quiet`` and after the
        fabric has been reset. Clears ``violation``.
    quiet : Out(1)
        ``quiesce`` is high and nothing is outstanding.
    idle : Out(1)
        Nothing is outstanding at the port.
    traffic : Out(traffic_layout)
        What crossed the port in the cycle before.

    Raises
    ------
    ValueError
        If ``id_width`` or ``windows`` is not positive.
    """

    def __init__(self, *, memory: MemoryConfig, id_width: int, windows: int = 4):
        if id_width <= 0:
            raise ValueError(f"ID width of the guard must be positive, not {id_width!r}")
        if windows <= 0:
            raise ValueError(f"windows of the guard must be positive, not {windows!r}")
        self._memory, self._id_width, self._windows = memory, id_width, windows
        super().__init__(
            {
                "inside": In(axi_signature(memory=memory, id_width=id_width)),
                "m_axi": Out(axi_signature(memory=memory, id_width=id_width)),
                "windows": In(window_layout).array(windows),
                "violation": Out(violation_layout(memory=memory, id_width=id_width)),
                "quiesce": In(1),
                "quiet": Out(1),
                "idle": Out(1),
                "traffic": Out(traffic_layout(memory=memory)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        parameters = {"memory": self._memory, "id_width": self._id_width, "windows": self._windows}
        m.submodules.read = read = ReadGuard(**parameters)
        m.submodules.write = write = WriteGuard(**parameters)
        for half in (read, write):
            m.d.comb += [
                *(half.windows[n].eq(self.windows[n]) for n in range(self._windows)),
                half.quiesce.eq(self.quiesce),
            ]
            for name, member in half.port.signature.members.items():
                inner, outer = getattr(half.port, name), getattr(self.m_axi, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
                inner, outer = getattr(half.inside, name), getattr(self.inside, name)
                m.d.comb += inner.eq(outer) if member.flow == Out else outer.eq(inner)

        m.d.comb += [
            self.idle.eq(read.idle & write.idle),
            self.quiet.eq(self.quiesce & self.idle),
        ]

        with m.If(self.quiesce):
            m.d.sync += self.violation.valid.eq(0)
        with m.Elif(~self.violation.valid):
            m.d.sync += self.violation.eq(Mux(read.violation.valid, read.violation, write.violation))

        port = self.m_axi
        read_burst = port.arvalid & port.arready
        read_beat = port.rvalid & port.rready
        write_burst = port.awvalid & port.awready
        write_beat = port.wvalid & port.wready
        m.d.sync += [
            self.traffic.read_burst.eq(read_burst),
            self.traffic.write_burst.eq(write_burst),
            self.traffic.read_beat.eq(read_beat),
            self.traffic.write_bytes.eq(Mux(write_beat, sum(port.wstrb), 0)),
            self.traffic.active.eq(read_burst | read_beat | write_burst | write_beat | (port.bvalid & port.bready)),
        ]

        return m
