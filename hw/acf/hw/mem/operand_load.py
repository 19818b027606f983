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
_BURST_BEATS = 4
"""Of packed operands. Longer ones would make row feeders wait for memory behind them."""


def row_beats(config: FabricConfig) -> int:
    """Memory beats of an operand row of one tile."""
    return config.tile_columns * config.lane.number_format.operand_bytes // config.memory.beat_bytes


def operand_load_layout(*, config: FabricConfig) -> data.StructLayout:
    """Rows to read: address of the first, bytes from one to the next, how many, and beats of each.

    With ``packed`` chunks are read as rows are; their lengths lie at ``lengths``.
    """
    return data.StructLayout(
        {
            "address": 32,
            "row_stride": 32,
            "rows": 16,
            "beats": range(row_beats(config) + 1),
            "packed": 1,
            "lengths": 32,
        }
    )


class OperandLoad(wiring.Component):
    """Reads rows of beats, a burst for each row (two where a row crosses a 4 KiB border), or packed chunks.

    One burst every cycle, as long as fewer than ``feeder.operand_bursts`` are in flight and the FIFO has room for what
    has been asked for. The FIFO holds as many rows, up to 64 beats but at least two rows or bursts. Of a chunk those
    beats are read that hold something, in bursts of 4. Its length is looked up first: a beat of lengths is read, behind
    all that was asked before; a chunk takes a cycle more than its bursts.

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
    lengths : Out(stream), 16 bits
        The length of each chunk.
    read : Out(axi_read)
        ID 0.
    fault : Out(fault_signature)
        READ_RESPONSE, and the beat is not given; or COMMAND_RANGE, with the address of a chunk whose length is too
        large.
    halt : In(1)
        Nothing more is asked of memory; answers are still taken, but lead nowhere.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(operand_load_layout(config=config))),
                "o": Out(stream.Signature(config.memory.data_width)),
                "lengths": Out(stream.Signature(16)),
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
        most = max(row_beats(config), _BURST_BEATS)  # beats of a burst
        depth = max(2 * most, min(config.feeder.operand_bursts * row_beats(config), _FIFO_BEATS_MAX))
        m.submodules.beats = buffer = fifo.SyncFIFOBuffered(width=memory.data_width, depth=depth)
        m.submodules.tracker = tracker = BurstTracker(
            depth=config.feeder.operand_bursts, address_width=memory.address_width
        )

        free = Signal(range(depth + 1), init=depth)
        expected = Signal(range(depth + 1))  # beats of rows that have not come yet
        row_address = Signal(32)
        address = Signal(32)
        row_stride = Signal(32)
        rows_left = Signal(16)
        beats = range(max(row_beats(config), config.chunk_bytes // memory.beat_bytes) + 1)
        left = Signal(beats)  # beats of the present row
        known = Signal()  # how many they are
        in_row = Signal(range(row_beats(config) + 1))
        packed = Signal()
        to_border = Signal(13 - beat_bits)
        length = Signal(range(most + 1))
        ask = Signal()
        following = row_address + row_stride
        short = Signal.like(to_border)
        free_channel = tracker.ready & (~read.arvalid | read.arready) & ~self.halt
        m.d.comb += [
            to_border.eq((1 << (12 - beat_bits)) - address[beat_bits:12]),
            short.eq(Mux(to_border < most, to_border, most)),
            length.eq(Mux(left < short, left, short)),
            ask.eq((rows_left != 0) & known & (free >= length) & free_channel),
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
                    known.eq(~packed),
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
                packed.eq(self.i.p.packed),
                known.eq(~self.i.p.packed),
            ]

        too_long, is_length = self._look_up_lengths(
            m, tracker, wanted=(rows_left != 0) & ~known & ~self.halt, free_channel=free_channel, expected=expected
        )
        with m.If(self.lengths.valid & self.lengths.ready):
            flits_per_beat = memory.data_width // config.noc.flit_width
            flits = self.lengths.payload + config.chunk_mask_flits
            m.d.sync += [known.eq(1), left.eq((flits + flits_per_beat - 1) >> exact_log2(flits_per_beat))]

        arrives = read.rvalid & ~is_length
        m.d.comb += [
            read.rready.eq(1),
            buffer.w_en.eq(arrives & ~read.rresp[1] & ~self.halt),
            buffer.w_data.eq(read.rdata),
            tracker.finish.eq(read.rvalid & read.rlast),
            self.o.valid.eq(buffer.r_rdy),
            self.o.payload.eq(buffer.r_data),
            buffer.r_en.eq(self.o.ready),
        ]
        with m.If(read.rvalid & read.rresp[1]):
            m.d.comb += raise_fault(self.fault, ErrorCode.READ_RESPONSE, address=tracker.address)
        with m.Elif(too_long):
            m.d.comb += raise_fault(self.fault, ErrorCode.COMMAND_RANGE, address=row_address)
        m.d.sync += [
            free.eq(free - Mux(ask, length, 0) + (self.o.valid & self.o.ready)),
            expected.eq(expected + Mux(ask, length, 0) - arrives),
        ]

        return m

    def _look_up_lengths(self, m, tracker, *, wanted, free_channel, expected):
        """Give the length of the next chunk when it is wanted. Returns whether it is too large, and whether the beat
        that may come in this cycle is one of lengths."""
        config, read = self._config, self.read
        beat_bits = exact_log2(config.memory.beat_bytes)
        pointer = Signal(32)
        beat = Signal(config.memory.data_width, reset_less=True)
        present, asked = Signal(), Signal()
        is_length, too_long = Signal(), Signal()
        found = beat.word_select(pointer[1:beat_bits], 16)
        m.d.comb += [
            is_length.eq(asked & (expected == 0)),
            too_long.eq(wanted & present & (found > config.chunk_value_flits)),
            self.lengths.valid.eq(wanted & present & ~too_long),
            self.lengths.payload.eq(found),
        ]
        with m.If(wanted & ~present & ~asked & free_channel):
            m.d.comb += [tracker.issue.eq(1), tracker.issue_address.eq(pointer & ~(config.memory.beat_bytes - 1))]
            m.d.sync += [asked.eq(1), read.arvalid.eq(1), read.araddr.eq(tracker.issue_address), read.arlen.eq(0)]
        with m.If(is_length & read.rvalid):
            m.d.sync += [asked.eq(0), present.eq(~read.rresp[1]), beat.eq(read.rdata)]
        with m.If(self.lengths.valid & self.lengths.ready):
            m.d.sync += pointer.eq(pointer + 2)
            with m.If(pointer[1:beat_bits].all()):
                m.d.sync += present.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [pointer.eq(self.i.p.lengths), present.eq(0)]
        return too_long, is_length
