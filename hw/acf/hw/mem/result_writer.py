"""Whole packets of results as AXI write bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.axi import BURST_INCREMENT, axi_write_signature, beat_size
from acf.hw.mem.burst_tracker import BurstTracker
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import ErrorCode

__all__ = ["ResultWriter", "result_burst_layout"]

_PACKETS = 2


def _packet_beats(config: FabricConfig) -> int:
    return config.tile_columns * 4 // config.memory.beat_bytes


def result_burst_layout(*, config: FabricConfig) -> data.StructLayout:
    """Where the beats of a packet go: address, beats to write, 16-bit halfwords of the last of them (0 for all)."""
    return data.StructLayout(
        {
            "address": config.memory.address_width,
            "beats": range(_packet_beats(config) + 1),
            "halves": exact_log2(config.memory.beat_bytes // 2),
        }
    )


class ResultWriter(wiring.Component):
    """Holds two packets and writes each one when it is whole.

    One beat a cycle, addresses ahead of data; a burst follows the other without a gap on the W channel as long as whole
    packets are there. Beats of a packet beyond those to be written are dropped, one a cycle.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    packet_room : Out(1)
        Another packet may begin.
    begin : In(1)
        A packet begins; only while ``packet_room``.
    beat : In(data_width)
    beat_valid : In(1)
        Takes ``beat``; only while ``beat_room``. Every packet has all beats of ``tile_columns`` results, or of half as
        many.
    narrow, lower : In(1)
        Results are operands of 16 bits, else accumulators; half of them. These change only while ``idle``.
    beat_room : Out(1)
    burst : In(result_burst_layout)
    burst_valid : In(1)
        Takes ``burst``, once for each packet, before or after its beats.
    write : Out(axi_write)
        ID 0.
    idle : Out(1)
        Nothing is held and every burst has been answered.
    fault : Out(fault_signature)
        WRITE_RESPONSE.
    halt : In(1)
        No more bursts are begun; those begun are finished.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "packet_room": Out(1),
                "begin": In(1),
                "beat": In(config.memory.data_width),
                "beat_valid": In(1),
                "beat_room": Out(1),
                "narrow": In(1),
                "lower": In(1),
                "burst": In(result_burst_layout(config=config)),
                "burst_valid": In(1),
                "write": Out(axi_write_signature(memory=config.memory)),
                "idle": Out(1),
                "fault": Out(fault_signature),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config, write = self._config, self.write
        memory = config.memory
        packet_beats = _packet_beats(config)
        beat_bits = exact_log2(memory.beat_bytes)
        layout = result_burst_layout(config=config)

        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=memory.data_width, depth=_PACKETS * packet_beats)
        m.submodules.bursts = bursts = fifo.SyncFIFO(width=layout.size, depth=_PACKETS)
        m.submodules.tracker = tracker = BurstTracker(
            depth=config.feeder.outstanding, address_width=memory.address_width
        )
        # Bursts whose addresses have been sent: beats, whether it ends its packet, beats to drop then, halfwords.
        data_layout = data.StructLayout(
            {
                "beats": layout["beats"].shape,
                "ends": 1,
                "dropped": range(packet_beats + 1),
                "halves": layout["halves"].shape,
            }
        )
        m.submodules.data_jobs = data_jobs = fifo.SyncFIFO(width=data_layout.size, depth=2)

        # What is held.
        begun = Signal(range(_PACKETS + 1))  # packets begun and not yet all gone
        whole = Signal(range(_PACKETS + 1))  # packets all here whose last burst is not yet sent
        incoming = Signal(range(packet_beats))
        completed, handed, gone = Signal(), Signal(), Signal()
        whole_packet = Signal(range(packet_beats + 1))  # beats of a packet
        m.d.comb += [
            self.packet_room.eq(begun != _PACKETS),
            self.beat_room.eq(beats.w_rdy),
            beats.w_data.eq(self.beat),
            beats.w_en.eq(self.beat_valid),
            bursts.w_data.eq(self.burst),
            bursts.w_en.eq(self.burst_valid),
            # Spelled out for Verilator, which adds the amounts of two shifts in one bit.
            whole_packet.eq(
                Mux(
                    self.narrow,
                    Mux(self.lower, packet_beats // 4, packet_beats // 2),
                    Mux(self.lower, packet_beats // 2, packet_beats),
                )
            ),
            completed.eq(self.beat_valid & (incoming == whole_packet - 1)),
        ]
        with m.If(self.beat_valid):
            m.d.sync += incoming.eq(Mux(completed, 0, incoming + 1))
        m.d.sync += [begun.eq(begun + self.begin - gone), whole.eq(whole + completed - handed)]

        # Addresses.
        pending = data.View(layout, bursts.r_data)
        data_job = Signal(data_layout)
        written = Signal(range(packet_beats + 1))  # beats of the packet in bursts before this one
        address = Signal(memory.address_width)
        left = Signal(range(packet_beats + 1))
        length = Signal(range(packet_beats + 1))
        to_border = Signal(13 - beat_bits)
        can_send = Signal()
        issue = Signal()
        m.d.comb += [
            address.eq(pending.address + (written << beat_bits)),
            left.eq(pending.beats - written),
            to_border.eq((1 << (12 - beat_bits)) - address[beat_bits:12]),
            length.eq(Mux(left < to_border, left, to_border)),
            can_send.eq(
                (~write.awvalid | write.awready)
                & bursts.r_rdy
                & (whole != 0)
                & data_jobs.w_rdy
                & tracker.ready
                & ~self.halt
            ),
            issue.eq(can_send & (left != 0)),
            data_job.beats.eq(length),
            data_job.ends.eq(length == left),
            data_job.dropped.eq(whole_packet - pending.beats),
            data_job.halves.eq(Mux(data_job.ends, pending.halves, 0)),
            data_jobs.w_data.eq(data_job),
            data_jobs.w_en.eq(can_send),
            handed.eq(can_send & data_job.ends),
            bursts.r_en.eq(handed),
            tracker.issue.eq(issue),
            tracker.issue_address.eq(address),
            write.awid.eq(0),
            write.awsize.eq(beat_size(memory=memory)),
            write.awburst.eq(BURST_INCREMENT),
        ]
        with m.If(write.awready):
            m.d.sync += write.awvalid.eq(0)
        with m.If(can_send):
            m.d.sync += written.eq(Mux(data_job.ends, 0, written + length))
        with m.If(issue):
            m.d.sync += [write.awvalid.eq(1), write.awaddr.eq(address), write.awlen.eq(length - 1)]

        # Data: the beats of the burst, then those that are not written.
        current = data.View(data_layout, data_jobs.r_data)
        sent = Signal(range(packet_beats + 1))
        total = Signal(range(packet_beats + 1))
        partial = Signal(memory.beat_bytes)
        moves = Signal()
        last_move = Signal()
        writes = sent < current.beats
        m.d.comb += [
            total.eq(current.beats + Mux(current.ends, current.dropped, 0)),
            partial.eq(Cat((n < current.halves).replicate(2) for n in range(memory.beat_bytes // 2))),
            write.wdata.eq(beats.r_data),
            write.wlast.eq(sent == current.beats - 1),
            write.wstrb.eq(Mux(write.wlast & (current.halves != 0), partial, ~0)),
            write.wvalid.eq(data_jobs.r_rdy & beats.r_rdy & writes),
            moves.eq(data_jobs.r_rdy & beats.r_rdy & (~writes | write.wready)),
            beats.r_en.eq(moves),
            last_move.eq(moves & (sent == total - 1)),
            data_jobs.r_en.eq(last_move),
            gone.eq(last_move & current.ends),
        ]
        with m.If(moves):
            m.d.sync += sent.eq(Mux(last_move, 0, sent + 1))

        # Answers.
        m.d.comb += [write.bready.eq(1), tracker.finish.eq(write.bvalid)]
        with m.If(write.bvalid & write.bresp[1]):
            m.d.comb += raise_fault(self.fault, ErrorCode.WRITE_RESPONSE, address=tracker.address)
        m.d.comb += self.idle.eq((begun == 0) & tracker.idle)

        return m
