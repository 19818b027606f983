"""Memory ports that several arrays of one engine share, each with an ID of its own."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import MemoryConfig, StructureConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.axi import BURST_INCREMENT, axi_read_signature, axi_write_signature, beat_size
from acf.hw.mem.burst_tracker import BurstTracker
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.array_reader import burst_layout
from acf.hw.structure.array_writer import beat_layout
from acf.isa import ErrorCode

__all__ = ["ReadPort", "WritePort"]


def _check_arrays(arrays: int, memory: MemoryConfig) -> None:
    if not 0 < arrays <= 1 << memory.id_width:
        raise ValueError(f"arrays of a port must be from 1 to {1 << memory.id_width}, not {arrays!r}")


class ReadPort(wiring.Component):
    """Reads bursts of several arrays; array ``n`` has ID ``n``.

    One burst a cycle, arrays in turn.

    Parameters
    ----------
    arrays : int
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    requests : In(stream).array(arrays), ``burst_layout``
    beat : Out(data_width)
        An answer.
    beat_valid : Out(arrays)
        The array that it is for. A beat with a bad response is not given.
    read : Out(axi_read)
    idle : Out(1)
        Every burst has been answered.
    fault : Out(fault_signature)
        READ_RESPONSE.

    Raises
    ------
    ValueError
        If there are more arrays than IDs, or none.
    """

    def __init__(self, *, arrays: int, memory: MemoryConfig, structure: StructureConfig):
        _check_arrays(arrays, memory)
        self._arrays = arrays
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "requests": In(stream.Signature(burst_layout(memory=memory))).array(arrays),
                "beat": Out(memory.data_width),
                "beat_valid": Out(arrays),
                "read": Out(axi_read_signature(memory=memory)),
                "idle": Out(1),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        read = self.read
        m.submodules.turn = turn = RoundRobinArbiter(count=self._arrays)
        trackers = [
            BurstTracker(depth=self._structure.outstanding, address_width=self._memory.address_width)
            for _ in range(self._arrays)
        ]
        m.submodules += trackers

        bad = Signal()
        m.d.comb += [
            turn.requests.eq(Cat(request.valid & t.ready for request, t in zip(self.requests, trackers, strict=True))),
            turn.advance.eq(~read.arvalid | read.arready),
            self.beat.eq(read.rdata),
            self.idle.eq(~read.arvalid & Cat(tracker.idle for tracker in trackers).all()),
            bad.eq(read.rvalid & read.rresp[1]),
            read.arsize.eq(beat_size(memory=self._memory)),
            read.arburst.eq(BURST_INCREMENT),
            read.rready.eq(1),
        ]
        with m.If(read.arready):
            m.d.sync += read.arvalid.eq(0)
        for number, (request, tracker) in enumerate(zip(self.requests, trackers, strict=True)):
            here = read.rid == number
            m.d.comb += [
                request.ready.eq(turn.grant[number] & turn.advance),
                tracker.issue.eq(turn.grant[number] & turn.advance),
                tracker.issue_address.eq(request.p.address),
                tracker.finish.eq(read.rvalid & read.rlast & here),
                self.beat_valid[number].eq(read.rvalid & ~read.rresp[1] & here),
            ]
            with m.If(request.ready):
                m.d.sync += [
                    read.arvalid.eq(1),
                    read.arid.eq(number),
                    read.araddr.eq(request.p.address),
                    read.arlen.eq(request.p.length),
                ]
            with m.If(bad & here):
                m.d.comb += raise_fault(self.fault, ErrorCode.READ_RESPONSE, address=tracker.address)

        return m


class WritePort(wiring.Component):
    """Writes bursts of several arrays; array ``n`` has ID ``n``.

    One burst a cycle, arrays in turn; one beat a cycle, without gaps between bursts whose beats are there.

    Parameters
    ----------
    arrays : int
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    requests : In(stream).array(arrays), ``burst_layout``
    beats : In(stream).array(arrays), ``beat_layout``
        The beats of all bursts of an array. They should be there when the burst is asked for: others wait for them.
    write : Out(axi_write)
    idle : Out(1)
        Every burst has been answered.
    fault : Out(fault_signature)
        WRITE_RESPONSE.

    Raises
    ------
    ValueError
        If there are more arrays than IDs, or none.
    """

    def __init__(self, *, arrays: int, memory: MemoryConfig, structure: StructureConfig):
        _check_arrays(arrays, memory)
        self._arrays = arrays
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "requests": In(stream.Signature(burst_layout(memory=memory))).array(arrays),
                "beats": In(stream.Signature(beat_layout(memory=memory))).array(arrays),
                "write": Out(axi_write_signature(memory=memory)),
                "idle": Out(1),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        write = self.write
        m.submodules.turn = turn = RoundRobinArbiter(count=self._arrays)
        trackers = [
            BurstTracker(depth=self._structure.outstanding, address_width=self._memory.address_width)
            for _ in range(self._arrays)
        ]
        m.submodules += trackers
        # Bursts whose beats are still to be sent.
        order_layout = data.StructLayout({"array": range(max(2, self._arrays)), "length": 8})
        m.submodules.order = order = fifo.SyncFIFO(width=order_layout.size, depth=4)

        entry = Signal(order_layout)
        m.d.comb += [
            turn.requests.eq(Cat(request.valid & t.ready for request, t in zip(self.requests, trackers, strict=True))),
            turn.advance.eq((~write.awvalid | write.awready) & order.w_rdy),
            order.w_data.eq(entry),
            order.w_en.eq(turn.advance & turn.grant.any()),
            self.idle.eq(Cat(tracker.idle for tracker in trackers).all()),
            write.awsize.eq(beat_size(memory=self._memory)),
            write.awburst.eq(BURST_INCREMENT),
            write.bready.eq(1),
        ]
        with m.If(write.awready):
            m.d.sync += write.awvalid.eq(0)

        current = data.View(order_layout, order.r_data)
        sent = Signal(8)
        moves = Signal()
        m.d.comb += [
            write.wlast.eq(sent == current.length),
            moves.eq(write.wvalid & write.wready),
            order.r_en.eq(moves & write.wlast),
        ]
        with m.If(moves):
            m.d.sync += sent.eq(Mux(write.wlast, 0, sent + 1))

        for number, (request, beats, tracker) in enumerate(zip(self.requests, self.beats, trackers, strict=True)):
            m.d.comb += [
                request.ready.eq(turn.grant[number] & turn.advance),
                tracker.issue.eq(turn.grant[number] & turn.advance),
                tracker.issue_address.eq(request.p.address),
                tracker.finish.eq(write.bvalid & (write.bid == number)),
            ]
            with m.If(request.ready):
                m.d.comb += [entry.array.eq(number), entry.length.eq(request.p.length)]
                m.d.sync += [write.awvalid.eq(1), write.awid.eq(number), write.awaddr.eq(request.p.address)]
                m.d.sync += write.awlen.eq(request.p.length)
            with m.If(order.r_rdy & (current.array == number)):
                m.d.comb += [
                    write.wvalid.eq(beats.valid),
                    write.wdata.eq(beats.p.data),
                    write.wstrb.eq(beats.p.strobe),
                    beats.ready.eq(write.wready),
                ]
            with m.If(tracker.finish & write.bresp[1]):
                m.d.comb += raise_fault(self.fault, ErrorCode.WRITE_RESPONSE, address=tracker.address)

        return m
