"""Reads operand rows from memory, ahead of those who use them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.axi import BURST_INCREMENT, axi_read_signature, beat_size
from acf.hw.mem.burst_tracker import BurstTracker
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import ErrorCode

__all__ = ["OperandLoad", "operand_load_layout", "row_beats"]

_FIFO_BEATS_MAX = 64


def row_beats(config: FabricConfig) -> int:
    """Memory beats of an operand row of one tile."""
    return config.tile_columns * config.lane.number_format.operand_bytes // config.memory.beat_bytes


def operand_load_layout(*, config: FabricConfig) -> data.StructLayout:
    """Rows to read: address of the first, bytes from one to the next, how many, and beats of each."""
    return data.StructLayout({"address": 32, "row_stride": 32, "rows": 16, "beats": range(row_beats(config) + 1)})


class OperandLoad(wiring.Component):
    """Reads rows of beats, a burst for each row (two where a row crosses a 4 KiB border).

    One burst every cycle, as long as fewer than ``feeder.outstanding`` are in flight and the FIFO has room for what has
    been asked for. The FIFO holds as many rows, up to 64 beats but at least two rows.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``operand_load_layout``
        Taken when every row of the job before it has been asked for. Address and stride are whole beats. Nothing is
        read when ``rows`` or ``beats`` is 0.
    o : Out(stream), data_width
        The beats of all rows.
    read : Out(axi_read)
        ID 0.
    fault : Out(fault_signature)
        READ_RESPONSE. The beat is not given.
    halt : In(1)
        Nothing more is asked of memory; answers are still taken, but lead nowhere.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(operand_load_layout(config=config))),
                "o": Out(stream.Signature(config.memory.data_width)),
                "read": Out(axi_read_signature(memory=config.memory)),
                "fault": Out(fault_signature),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config, read = self._config, self.read
        memory = config.memory
        beat_bits = exact_log2(memory.beat_bytes)
        beats = row_beats(config)
        depth = max(2 * beats, min(config.feeder.outstanding * beats, _FIFO_BEATS_MAX))
        m.submodules.beats = buffer = fifo.SyncFIFOBuffered(width=memory.data_width, depth=depth)
        m.submodules.tracker = tracker = BurstTracker(
            depth=config.feeder.outstanding, address_width=memory.address_width
        )

        free = Signal(range(depth + 1), init=depth)
        row_address = Signal(32)
        address = Signal(32)
        row_stride = Signal(32)
        rows_left = Signal(16)
        left = Signal(range(beats + 1))  # beats of the present row
        in_row = Signal(range(beats + 1))
        to_border = Signal(13 - beat_bits)
        length = Signal(range(beats + 1))
        ask = Signal()
        following = row_address + row_stride
        m.d.comb += [
            to_border.eq((1 << (12 - beat_bits)) - address[beat_bits:12]),
            length.eq(Mux(left < to_border, left, to_border)),
            ask.eq((rows_left != 0) & (free >= length) & tracker.ready & (~read.arvalid | read.arready) & ~self.halt),
            tracker.issue.eq(ask),
            tracker.issue_address.eq(address),
            read.arid.eq(0),
            read.arsize.eq(beat_size(memory=memory)),
            read.arburst.eq(BURST_INCREMENT),
        ]
        with m.If(read.arready):
            m.d.sync += read.arvalid.eq(0)
        with m.If(ask):
            m.d.sync += [read.arvalid.eq(1), read.araddr.eq(address), read.arlen.eq(length - 1)]
            with m.If(length == left):
                m.d.sync += [
                    row_address.eq(following),
                    address.eq(following),
                    left.eq(in_row),
                    rows_left.eq(rows_left - 1),
                ]
            with m.Else():
                m.d.sync += [address.eq(address + (length << beat_bits)), left.eq(left - length)]

        m.d.comb += self.i.ready.eq(rows_left == 0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                row_address.eq(self.i.p.address),
                address.eq(self.i.p.address),
                row_stride.eq(self.i.p.row_stride),
                rows_left.eq(Mux(self.i.p.beats != 0, self.i.p.rows, 0)),
                left.eq(self.i.p.beats),
                in_row.eq(self.i.p.beats),
            ]

        m.d.comb += [
            read.rready.eq(1),
            buffer.w_en.eq(read.rvalid & ~read.rresp[1] & ~self.halt),
            buffer.w_data.eq(read.rdata),
            tracker.finish.eq(read.rvalid & read.rlast),
            self.o.valid.eq(buffer.r_rdy),
            self.o.payload.eq(buffer.r_data),
            buffer.r_en.eq(self.o.ready),
        ]
        with m.If(read.rvalid & read.rresp[1]):
            m.d.comb += raise_fault(self.fault, ErrorCode.READ_RESPONSE, address=tracker.address)
        m.d.sync += free.eq(free - Mux(ask, length, 0) + (self.o.valid & self.o.ready))

        return m
