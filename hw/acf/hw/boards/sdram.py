"""An SDRAM chip behind the fabric's memory port, shared with the serial link."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from acf.config import MemoryConfig
from acf.hw.boards.endpoint import access_signature
from acf.hw.boards.sdram_pins import SDRAM_BYTES, sdram_signature
from acf.hw.boards.sdram_sequencer import GROUP_ADDRESS_BITS, GROUP_BITS, SdramSequencer, access_layout
from acf.hw.boards.sdram_timing import SdramCycles
from acf.hw.mem.axi import Response, axi_signature

__all__ = ["SdramMemory"]

_GROUP_BYTES = GROUP_BITS // 8
_WITHIN = exact_log2(_GROUP_BYTES)
_BYTE_TAG = 1  # of an access for a single byte

_BEATS = 8
"""Beats of reads that may be on their way, or waiting for the master; a row's worth of latency is hidden by four."""


class SdramMemory(wiring.Component):
    """A memory of 32 MB with an AXI4 port and one for single bytes, as ``BlockMemory`` has them.

    Reads are answered in the order in which they were asked for, and so are writes. Of a read burst and a write burst
    that are there at the same time the one that has begun goes on; where it cannot, and behind its end, the other one
    goes. A write is answered when its last beat is on its way to the chip; whatever is read later finds it there. A
    beat outside the memory is answered DECERR, with zeros, and not written. Nothing in the memory is answered until
    the chip is initialised.

    Parameters
    ----------
    memory : MemoryConfig
        Of the AXI port.
    id_width : int
        Of the AXI port.
    cycles : SdramCycles
        Of the chip.

    Members
    -------
    axi : In(axi_signature)
    access : In(access_signature)
    sdram : Out(sdram_signature)
    accessed, activated, refreshed : Out(1)
        As of ``SdramSequencer``.

    Raises
    ------
    ValueError
        If addresses do not reach the end of the memory.
    """

    def __init__(self, *, memory: MemoryConfig, id_width: int, cycles: SdramCycles):
        if 1 << memory.address_width < SDRAM_BYTES:
            raise ValueError(
                f"memory address width must be {exact_log2(SDRAM_BYTES)} at least for an SDRAM, "
                f"not {memory.address_width!r}"
            )
        self._memory = memory
        self._id_width = id_width
        self._cycles = cycles
        super().__init__(
            {
                "axi": In(axi_signature(memory=memory, id_width=id_width)),
                "access": In(access_signature),
                "sdram": Out(sdram_signature),
                "accessed": Out(1),
                "activated": Out(1),
                "refreshed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = SdramSequencer(cycles=self._cycles)
        connect(m, flipped(self.sdram), sequencer.sdram)
        m.d.comb += [
            self.accessed.eq(sequencer.accessed),
            self.activated.eq(sequencer.activated),
            self.refreshed.eq(sequencer.refreshed),
        ]

        read, may_read, is_reading, read_ends = self._elaborate_reads(m, sequencer)
        write, may_write, is_writing = self._elaborate_writes(m)
        byte, may_move_byte, is_byte_moving = self._elaborate_bytes(m, sequencer)

        # Bytes are few and their master waits for each. Of bursts the one that was served last goes on.
        writes_first = Signal()
        chosen = sequencer.i
        m.d.comb += chosen.valid.eq(may_read | may_write | may_move_byte)
        with m.If(may_move_byte):
            m.d.comb += [chosen.p.eq(byte), is_byte_moving.eq(chosen.ready)]
        with m.Elif(may_write & (writes_first | ~may_read)):
            m.d.comb += [chosen.p.eq(write), is_writing.eq(chosen.ready)]
        with m.Else():
            m.d.comb += [chosen.p.eq(read), is_reading.eq(chosen.ready & may_read)]
        axi = self.axi
        with m.If(is_reading):
            m.d.sync += writes_first.eq(0)
        with m.If(is_writing):
            m.d.sync += writes_first.eq(1)
        with m.If(axi.wvalid & axi.wready & axi.wlast):
            m.d.sync += writes_first.eq(0)
        with m.If(read_ends):
            m.d.sync += writes_first.eq(1)
        return m

    def _address(self, beat, group):
        """Address of an access: that of a beat and the number of the group in it."""
        return Cat(group, beat)[:GROUP_ADDRESS_BITS]

    def _is_outside(self, beat):
        return (beat >> exact_log2(SDRAM_BYTES // self._memory.beat_bytes)) != 0

    def _elaborate_reads(self, m, sequencer):
        axi, beat_bytes = self.axi, self._memory.beat_bytes
        groups = beat_bytes // _GROUP_BYTES
        within = exact_log2(beat_bytes)
        note = data.StructLayout({"id": self._id_width, "last": 1, "refused": 1})
        m.submodules.notes = notes = fifo.SyncFIFO(width=note.size, depth=_BEATS)
        m.submodules.beats = beats = fifo.SyncFIFO(width=self._memory.data_width, depth=_BEATS)

        # What is asked for: a beat has its note when the last of its groups is on its way.
        beat = Signal(self._memory.address_width - within)
        left = Signal(9)  # beats
        identifier = Signal.like(axi.arid)
        group = Signal(range(groups))
        access = Signal(access_layout)
        may_read, is_reading, passes = Signal(), Signal(), Signal()
        is_last_group = group == groups - 1
        refused = self._is_outside(beat)
        owed = Signal(range(_BEATS + 1))  # beats of notes, and of the one that is asked for
        noted = data.View(note, notes.w_data)
        m.d.comb += [
            # A beat leaves room for itself in both queues before it is asked for.
            may_read.eq((left != 0) & ~refused & (owed != _BEATS)),
            passes.eq(Mux(refused, (left != 0) & (owed != _BEATS), is_reading & is_last_group)),
            access.address.eq(self._address(beat, group)),
            noted.id.eq(identifier),
            noted.last.eq(left == 1),
            noted.refused.eq(refused),
            notes.w_en.eq(passes),
            axi.arready.eq(left == 0),
        ]
        with m.If(is_reading):
            m.d.sync += group.eq(Mux(is_last_group, 0, group + 1))
        with m.If(passes):
            m.d.sync += [beat.eq(beat + 1), left.eq(left - 1)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [beat.eq(axi.araddr[within:]), left.eq(axi.arlen + 1), identifier.eq(axi.arid)]

        # What comes back. Groups of a beat come one after the other, the lowest first.
        arrived = Signal(range(groups))
        collected = Signal(self._memory.data_width)
        is_full = Signal()
        m.d.sync += is_full.eq(0)
        with m.If(sequencer.answered & (sequencer.answer.tag != _BYTE_TAG)):
            m.d.sync += [
                collected.eq(Cat(collected, sequencer.answer.data)[GROUP_BITS:]),
                arrived.eq(Mux(arrived == groups - 1, 0, arrived + 1)),
                is_full.eq(arrived == groups - 1),
            ]
        answered = data.View(note, notes.r_data)
        taken = axi.rvalid & axi.rready
        m.d.comb += [
            beats.w_data.eq(collected),
            beats.w_en.eq(is_full),
            axi.rvalid.eq(notes.r_rdy & (answered.refused | beats.r_rdy)),
            axi.rid.eq(answered.id),
            axi.rlast.eq(answered.last),
            axi.rdata.eq(Mux(answered.refused, 0, beats.r_data)),
            axi.rresp.eq(Mux(answered.refused, Response.DECERR.value, Response.OKAY.value)),
            notes.r_en.eq(taken),
            beats.r_en.eq(taken & ~answered.refused),
        ]
        m.d.sync += owed.eq(owed + passes - taken)
        return access, may_read, is_reading, passes & (left == 1)

    def _elaborate_writes(self, m):
        axi, beat_bytes = self.axi, self._memory.beat_bytes
        groups = beat_bytes // _GROUP_BYTES
        within = exact_log2(beat_bytes)
        beat = Signal(self._memory.address_width - within)
        group = Signal(range(groups))
        is_open, is_refused = Signal(), Signal()
        access = Signal(access_layout)
        may_write, is_writing = Signal(), Signal()
        outside = self._is_outside(beat)
        m.d.comb += [
            axi.awready.eq(~is_open & (~axi.bvalid | axi.bready)),
            may_write.eq(is_open & axi.wvalid & ~outside),
            access.address.eq(self._address(beat, group)),
            access.write.eq(1),
            access.data.eq(axi.wdata.word_select(group, GROUP_BITS)),
            access.strobes.eq(axi.wstrb.word_select(group, _GROUP_BYTES)),
            axi.wready.eq(Mux(outside, is_open, is_writing & (group == groups - 1))),
        ]
        with m.If(is_writing):
            m.d.sync += group.eq(Mux(group == groups - 1, 0, group + 1))
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [beat.eq(axi.awaddr[within:]), axi.bid.eq(axi.awid), is_open.eq(1), is_refused.eq(0)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [beat.eq(beat + 1), is_refused.eq(is_refused | outside)]
            with m.If(axi.wlast):
                response = Mux(is_refused | outside, Response.DECERR.value, Response.OKAY.value)
                m.d.sync += [is_open.eq(0), axi.bvalid.eq(1), axi.bresp.eq(response)]
        return access, may_write, is_writing

    def _elaborate_bytes(self, m, sequencer):
        request = self.access.request
        inside = (request.p.address >> exact_log2(SDRAM_BYTES)) == 0
        access = Signal(access_layout)
        may_move, is_moving = Signal(), Signal()
        is_awaited = Signal()  # the byte of a read
        lane = Signal(_WITHIN)
        found = sequencer.answered & (sequencer.answer.tag == _BYTE_TAG)
        m.d.comb += [
            may_move.eq(request.valid & inside & ~is_awaited),
            request.ready.eq(Mux(inside, is_moving, ~is_awaited)),
            access.address.eq(request.p.address[_WITHIN:]),
            access.write.eq(request.p.write),
            access.tag.eq(_BYTE_TAG),
            access.data.eq(request.p.value.replicate(_GROUP_BYTES)),
            access.strobes.eq(Const(1, _GROUP_BYTES) << request.p.address[:_WITHIN]),
        ]
        m.d.sync += [self.access.answered.eq(found), self.access.refused.eq(0)]
        with m.If(found):
            m.d.sync += [self.access.value.eq(sequencer.answer.data.word_select(lane, 8)), is_awaited.eq(0)]
        with m.If(request.valid & request.ready):
            m.d.sync += [
                lane.eq(request.p.address[:_WITHIN]),
                is_awaited.eq(inside & ~request.p.write),
                self.access.answered.eq(~inside | request.p.write),
                self.access.refused.eq(~inside),
            ]
        return access, may_move, is_moving
