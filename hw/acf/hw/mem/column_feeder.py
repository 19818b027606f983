"""The column feeder: operand rows from memory to the tiles of its column."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.counters import counter_bus
from acf.hw.mem.axi import axi_read_signature
from acf.hw.mem.command_receiver import CommandReceiver, command_field
from acf.hw.mem.fault_report import ReportSender, fault_signature, raise_fault
from acf.hw.mem.feeder_counters import FeederCounters
from acf.hw.mem.operand_load import OperandLoad
from acf.hw.mem.operand_packets import OperandPackets, operand_packets_layout
from acf.hw.noc.flit import flit_stream
from acf.hw.node_product import times_node
from acf.isa import ErrorCode, FeederCounter, Opcode

__all__ = ["ColumnFeeder"]


class ColumnFeeder(wiring.Component):
    """Carries out LOAD for the tiles of one mesh column.

    A command is checked, then its rows are read and sent; the rows of the next command are already read while those of
    one before it are still being sent. Packed operands are sent as they lie in memory. Two more commands wait.
    Throughput is one flit a cycle (see ``OperandPackets``). After the first fault an ERROR packet is sent and no more
    is read until reset. COMMAND_RANGE and MISALIGNED tell the address in the command, COMMAND_RANGE for the length of a
    chunk that of the chunk.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    control_i : In(flit_stream)
        COMMAND packets.
    control_o : Out(flit_stream)
        ERROR packets.
    operands_o : Out(flit_stream)
        OPERANDS packets to all tiles of the column.
    read : Out(axi_read)
    y, x : In(4)
        The node of the feeder; it is column feeder ``x - 1``.
    counters : In(counter_bus)
        OPERAND_ROWS.
    """

    y: Signal
    x: Signal

    def __init__(self, *, config: FabricConfig):
        self._config = config
        flits = flit_stream(noc=config.noc)
        super().__init__(
            {
                "control_i": In(flits),
                "control_o": Out(flits),
                "operands_o": Out(flits),
                "read": Out(axi_read_signature(memory=config.memory)),
                "y": In(4),
                "x": In(4),
                "counters": In(counter_bus),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        memory, lane = config.memory, config.lane
        operand_bytes = lane.number_format.operand_bytes
        operand_bits = exact_log2(operand_bytes)
        beat_bits = exact_log2(memory.beat_bytes)

        m.submodules.receiver = receiver = CommandReceiver(noc=config.noc)
        m.submodules.load = load = OperandLoad(config=config)
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=operand_packets_layout.size, depth=2)
        m.submodules.packets = packets = OperandPackets(config=config)
        # Chunks that have been asked for.
        m.submodules.lengths = lengths = fifo.SyncFIFO(width=16, depth=8)
        m.submodules.report = report = ReportSender(noc=config.noc, sources=2)
        m.submodules.count = count = FeederCounters(kinds=(FeederCounter.OPERAND_ROWS,))

        wiring.connect(m, wiring.flipped(self.control_i), receiver.i)
        wiring.connect(m, report.o, wiring.flipped(self.control_o))
        wiring.connect(m, load.read, wiring.flipped(self.read))
        wiring.connect(m, load.o, packets.beats_i)
        wiring.connect(m, packets.o, wiring.flipped(self.operands_o))
        command_fault = fault_signature.create()
        for number, fault in enumerate((command_fault, load.fault)):
            m.d.comb += [report.faults[number].valid.eq(fault.valid), report.faults[number].p.eq(fault.p)]
        m.d.comb += [
            report.y.eq(self.y),
            report.x.eq(self.x),
            load.halt.eq(report.stopped),
            packets.x.eq(self.x),
            packets.i.valid.eq(jobs.r_rdy),
            packets.i.payload.eq(jobs.r_data),
            jobs.r_en.eq(packets.i.ready),
            count.y.eq(self.y),
            count.x.eq(self.x),
            count.counters.enable.eq(self.counters.enable),
            count.counters.clear.eq(self.counters.clear),
            count.counters.select.eq(self.counters.select),
            self.counters.value.eq(count.counters.value),
            count.events[0].eq(packets.rows_sent),
            lengths.w_data.eq(load.lengths.payload),
            lengths.w_en.eq(load.lengths.valid),
            load.lengths.ready.eq(lengths.w_rdy),
            packets.lengths_i.payload.eq(lengths.r_data),
            packets.lengths_i.valid.eq(lengths.r_rdy),
            lengths.r_en.eq(packets.lengths_i.ready),
        ]

        command = receiver.o.p

        def of(name):
            return command_field(command, Opcode.LOAD, name)

        # Columns before those of this feeder, then columns that are its own.
        before = Signal(20)
        rest = Signal(16)
        columns = Signal(16)
        feeder = (self.x - 1)[:4]
        m.d.sync += before.eq(times_node(of("tile_columns"), feeder))
        m.d.comb += [
            rest.eq(Mux(of("columns") > before, of("columns") - before, 0)),
            columns.eq(Mux(rest < of("tile_columns"), rest, of("tile_columns"))),
        ]

        row_bytes = of("tile_columns") << operand_bits
        range_fault = (
            (of("tile_columns") == 0)
            | (of("tile_columns") > config.tile_columns)
            | (of("bank") >= lane.operand_banks)
            | (of("operand_first") + of("rows") > lane.operand_rows)
        )
        packed = of("packed")
        multiples = of("address") | of("row_stride") | Mux(packed, 0, row_bytes)
        alignment_fault = (multiples & Const(memory.beat_bytes - 1, 32)) != 0
        # Bytes before those of this feeder, in a row or before its first chunk; then lengths before its own.
        bytes_before, lengths_before = Signal(32), Signal(32)
        m.d.sync += [
            bytes_before.eq(Mux(packed, times_node(config.chunk_bytes, feeder), before << operand_bits)),
            lengths_before.eq(times_node(of("length_stride"), feeder)),
        ]

        job = Signal(operand_packets_layout)
        m.d.comb += [
            load.i.p.address.eq(of("address") + bytes_before),
            load.i.p.row_stride.eq(of("row_stride")),
            load.i.p.rows.eq(
                Mux(
                    packed,
                    (of("rows") + config.feeder.chunk_rows - 1) >> exact_log2(config.feeder.chunk_rows),
                    of("rows"),
                )
            ),
            load.i.p.packed.eq(packed),
            load.i.p.lengths.eq(of("lengths") + lengths_before),
            load.i.p.beats.eq(((columns << operand_bits) + memory.beat_bytes - 1) >> beat_bits),
            job.rows.eq(of("rows")),
            job.first.eq(of("operand_first")),
            job.bank.eq(of("bank")),
            job.semaphore.eq(of("semaphore")),
            job.columns.eq(columns),
            job.packed.eq(packed),
            jobs.w_data.eq(job),
        ]

        with m.FSM():
            with m.State("IDLE"), m.If(receiver.o.valid & ~report.stopped):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "STOPPED"
                with m.If(command[0][:8] != Opcode.LOAD):
                    m.d.comb += raise_fault(command_fault, ErrorCode.ILLEGAL_COMMAND)
                with m.Elif(range_fault):
                    m.d.comb += raise_fault(command_fault, ErrorCode.COMMAND_RANGE, address=of("address"))
                with m.Elif(alignment_fault):
                    m.d.comb += raise_fault(command_fault, ErrorCode.MISALIGNED, address=of("address"))
                with m.Else():
                    m.next = "HAND_OVER"
            with m.State("HAND_OVER"), m.If(load.i.ready & jobs.w_rdy):
                m.d.comb += [load.i.valid.eq(1), jobs.w_en.eq(1), receiver.o.ready.eq(1)]
                m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        return m
