"""Operand rows as packets."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, header_values, operand_head
from acf.isa import Cast, OperandKind, TrafficClass

__all__ = ["OperandPackets", "operand_packets_layout"]

operand_packets_layout = data.StructLayout(
    {"rows": 16, "first": 16, "bank": 4, "semaphore": 4, "columns": 16, "packed": 1}
)
"""Rows to send, the operand row that takes the first, bank, semaphore, valid columns of this tile, and whether the rows
are packed."""


class OperandPackets(wiring.Component):
    """Sends operand rows to the tiles of a mesh column, ``feeder.packet_rows`` of them in a packet, or a packed chunk.

    One flit a cycle, heads included. A packet begins when its first beat is there. Columns that are not valid are sent
    as zero, a chunk without valid columns as empty masks. A job without rows is a single head flit with ``last`` set.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``operand_packets_layout``
        Taken with the last flit of the job.
    beats_i : In(stream), data_width
        Of each row the beats that hold valid columns; of each chunk those that hold masks and values.
    lengths_i : In(stream), 16 bits
        Flits of values of each chunk, not after its first beat.
    o : Out(flit_stream)
    x : In(4)
        Column of the node.
    rows_sent : Out
        The last flit of so many rows is taken in this cycle.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(operand_packets_layout)),
                "beats_i": In(stream.Signature(config.memory.data_width)),
                "lengths_i": In(stream.Signature(16)),
                "o": Out(flit_stream(noc=config.noc)),
                "x": In(4),
                "rows_sent": Out(range(config.feeder.chunk_rows + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        flit_width = config.noc.flit_width
        operand_width = config.lane.number_format.operand_width
        per_flit = flit_width // operand_width
        flits_per_row = config.tile_columns // per_flit
        flits_per_beat = config.memory.data_width // flit_width

        started = Signal()
        rows_left = Signal(16)
        row = Signal(16)  # operand row of the next packet
        # Rows of the present packet.
        packet_left = Signal(range(max(config.feeder.packet_rows, config.feeder.chunk_rows) + 1))
        flit = Signal(range(flits_per_row))
        part = Signal(range(max(2, flits_per_beat)))
        columns_left = Signal(16)  # valid columns of the row from this flit on

        packed = self.i.p.packed
        rows = Mux(started, rows_left, self.i.p.rows)
        most = Mux(packed, config.feeder.chunk_rows, config.feeder.packet_rows)  # rows of a packet
        flits_left = Signal(range(config.chunk_mask_flits + config.chunk_value_flits + 1))  # of a chunk
        is_last = Signal()
        head = Signal(operand_head)
        header = header_values(
            x=self.x, y=config.rows, traffic_class=TrafficClass.OPERANDS, kind=OperandKind.ROWS, cast=Cast.COLUMN
        )
        m.d.comb += [
            is_last.eq(rows <= most),
            *(head[name].eq(value) for name, value in header.items()),
            head.row.eq(Mux(started, row, self.i.p.first)),
            head.bank.eq(self.i.p.bank),
            head.last.eq(is_last),
            head.semaphore.eq(self.i.p.semaphore),
            head.packed.eq(packed),
            head.rows.eq(Mux(packed, Mux(is_last, rows, config.feeder.chunk_rows), 0)),
        ]

        operands = Signal(flit_width)
        needs_beat = columns_left != 0
        read = self.beats_i.payload.word_select(part, flit_width)
        m.d.comb += operands.eq(
            Cat(Mux(n < columns_left, read.word_select(n, operand_width), 0) for n in range(per_flit))
        )

        def finish_job():
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += started.eq(0)
            m.next = "HEAD"

        with m.FSM():
            with m.State("HEAD"):
                # Not before there is something to send: a head that waits for memory would hold the mesh.
                has_columns = self.i.p.columns != 0
                has_body = self.beats_i.valid | ~has_columns | (rows == 0)
                m.d.comb += [
                    self.o.valid.eq(self.i.valid & has_body),
                    self.o.p.payload.eq(head),
                    self.o.p.head.eq(1),
                    self.o.p.tail.eq(rows == 0),
                ]
                m.d.sync += [flit.eq(0), part.eq(0), columns_left.eq(self.i.p.columns)]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += [
                        started.eq(1),
                        packet_left.eq(Mux(is_last, rows, most)),
                        rows_left.eq(Mux(is_last, 0, rows - most)),
                        row.eq(head.row + most),
                        flits_left.eq(config.chunk_mask_flits + Mux(has_columns, self.lengths_i.payload, 0)),
                    ]
                    m.next = "ROWS"
                    with m.If(packed & (rows != 0)):
                        m.d.comb += self.lengths_i.ready.eq(has_columns)
                        m.next = "CHUNK"
                    with m.If(rows == 0):
                        finish_job()
            with m.State("ROWS"):
                ends_row = flit == flits_per_row - 1
                ends_packet = ends_row & (packet_left == 1)
                ends_beat = (part == flits_per_beat - 1) | (columns_left <= per_flit)
                m.d.comb += [
                    self.o.valid.eq(self.beats_i.valid | ~needs_beat),
                    self.o.p.payload.eq(operands),
                    self.o.p.tail.eq(ends_packet),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.comb += [self.beats_i.ready.eq(needs_beat & ends_beat), self.rows_sent.eq(ends_row)]
                    m.d.sync += [
                        flit.eq(flit + 1),
                        part.eq(Mux(ends_beat, 0, part + 1)),
                        columns_left.eq(Mux(columns_left < per_flit, 0, columns_left - per_flit)),
                    ]
                    with m.If(ends_row):
                        m.d.sync += [
                            flit.eq(0),
                            part.eq(0),
                            columns_left.eq(self.i.p.columns),
                            packet_left.eq(packet_left - 1),
                        ]
                    with m.If(ends_packet):
                        m.next = "HEAD"
                        with m.If(rows_left == 0):
                            finish_job()
            with m.State("CHUNK"):
                ends = flits_left == 1
                m.d.comb += [
                    self.o.valid.eq(self.beats_i.valid | ~needs_beat),
                    self.o.p.payload.eq(Mux(needs_beat, read, 0)),
                    self.o.p.tail.eq(ends),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.comb += self.beats_i.ready.eq(needs_beat & (ends | (part == flits_per_beat - 1)))
                    m.d.sync += [
                        flits_left.eq(flits_left - 1),
                        part.eq(Mux(part == flits_per_beat - 1, 0, part + 1)),
                    ]
                    with m.If(ends):
                        m.d.comb += self.rows_sent.eq(packet_left)
                        m.next = "HEAD"
                        with m.If(rows_left == 0):
                            finish_job()

        return m
