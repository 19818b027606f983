"""The row feeder: entries of ``W`` to the tiles of its row, results back to memory.

Commands are carried out in order by the entry side, which sends everything the tiles see. A DRAIN is handed to the
drain engine before the tiles hear of it, but for a DRAIN of sums behind another one, whose sums wait for the engine.
The entry side then goes on with the next command while results come in.
Before that, commands are prepared: while the entries of one STREAM are sent, a DRAIN behind it is made ready, and the
rows of the STREAM behind that are found.
"""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.counters import counter_bus
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.command_receiver import CommandReceiver, command_field
from acf.hw.mem.csr_fetch import CsrFetch, pointer_id
from acf.hw.mem.drain import DrainEngine, drain_job_layout
from acf.hw.mem.fault_report import ReportSender, fault_signature, raise_fault
from acf.hw.mem.feeder_counters import FeederCounters
from acf.hw.mem.row_command import RowCommand
from acf.hw.mem.row_share import RowShare
from acf.hw.noc.flit import clear_head, drain_head, entry_head, flit_stream, header_values, setup_head, signal_head
from acf.isa import Cast, Decoder, EntryKind, ErrorCode, FeederCounter, IndexSize, Mode, Opcode, Ranges, TrafficClass

__all__ = ["RowFeeder"]


class RowFeeder(wiring.Component):
    """Carries out CLEAR, STREAM and DRAIN for the tiles of one mesh row.

    Two commands wait while others are prepared and carried out. A STREAM sends SETUP, the entries and SIGNAL; a CLEAR
    sends CLEAR and SIGNAL; a DRAIN sends DRAIN, writes what the tiles answer and sends DONE. Commands are checked
    before anything is sent; what is wrong with one is told when those before it are done. After the first fault an
    ERROR packet is sent and nothing more is begun until reset. COMMAND_RANGE tells the address of the values or of the
    results.

    Throughput is one entry a cycle (see ``CsrFetch``) and one result flit a cycle (see ``DrainEngine``).

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    control_i : In(flit_stream)
        COMMAND packets.
    control_o : Out(flit_stream)
        DONE and ERROR packets.
    entries_o : Out(flit_stream)
        ENTRIES packets to all tiles of the row.
    results_i : In(flit_stream)
        RESULTS packets.
    read : Out(axi_read)
    write : Out(axi_write)
    y, x : In(4)
        The node of the feeder; it is row feeder ``y - 1``.
    counters : In(counter_bus)
        ENTRIES, ZEROS_DROPPED, FILTERED and RESULT_ROWS.

    Raises
    ------
    ValueError
        If the memory IDs are too few for the cursors.
    """

    y: Signal
    x: Signal

    def __init__(self, *, config: FabricConfig):
        self._config = config
        pointer_id(config=config)  # refuses configurations with too few IDs
        flits = flit_stream(noc=config.noc)
        super().__init__(
            {
                "control_i": In(flits),
                "control_o": Out(flits),
                "entries_o": Out(flits),
                "results_i": In(flits),
                "read": Out(axi_read_signature(memory=config.memory)),
                "write": Out(axi_write_signature(memory=config.memory)),
                "y": In(4),
                "x": In(4),
                "counters": In(counter_bus),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        m.submodules.receiver = receiver = CommandReceiver(noc=config.noc)
        m.submodules.share = share = RowShare(most=max(config.lane.accumulator_rows, config.lane.operand_rows))
        m.submodules.meaning = meaning = RowCommand(config=config)
        m.submodules.fetch = fetch = CsrFetch(config=config)
        m.submodules.drain = drain = DrainEngine(config=config)
        m.submodules.report = report = ReportSender(noc=config.noc, sources=len(fetch.faults) + 2)
        m.submodules.count = count = FeederCounters(
            kinds=(
                FeederCounter.ENTRIES,
                FeederCounter.ZEROS_DROPPED,
                FeederCounter.FILTERED,
                FeederCounter.RESULT_ROWS,
            )
        )

        wiring.connect(m, wiring.flipped(self.control_i), receiver.i)
        wiring.connect(m, wiring.flipped(self.results_i), drain.results_i)
        wiring.connect(m, report.o, wiring.flipped(self.control_o))
        wiring.connect(m, drain.done, report.done)
        wiring.connect(m, fetch.read, wiring.flipped(self.read))
        wiring.connect(m, drain.write, wiring.flipped(self.write))
        command_fault = fault_signature.create()
        for number, fault in enumerate([command_fault, *fetch.faults, drain.fault]):
            m.d.comb += [report.faults[number].valid.eq(fault.valid), report.faults[number].p.eq(fault.p)]
        m.d.comb += [
            report.y.eq(self.y),
            report.x.eq(self.x),
            fetch.halt.eq(report.stopped),
            drain.halt.eq(report.stopped),
            count.y.eq(self.y),
            count.x.eq(self.x),
            count.counters.enable.eq(self.counters.enable),
            count.counters.clear.eq(self.counters.clear),
            count.counters.select.eq(self.counters.select),
            self.counters.value.eq(count.counters.value),
            count.events[0].eq(fetch.o.valid & fetch.o.ready),
            count.events[1].eq(fetch.zero_dropped),
            count.events[2].eq(fetch.filtered),
            count.events[3].eq(drain.row_taken),
        ]

        command = receiver.o.p
        ready_drain = Signal(data.StructLayout({"valid": 1, "job": drain_job_layout, "flit": drain_head}))
        told = Signal()  # tiles have heard of it, the drain engine has not
        drain_job = self._set_parameters(m, command, share, meaning, fetch)
        send, send_entry, flits = self._senders(m, command, share, meaning, fetch)
        m.d.comb += drain.i.payload.eq(ready_drain.job)

        is_stream = command[0][:8] == Opcode.STREAM
        is_drain = command[0][:8] == Opcode.DRAIN
        is_clear = command[0][:8] == Opcode.CLEAR
        is_wrong = ~(is_stream | is_drain | is_clear) | meaning.range_fault | meaning.alignment_fault
        is_free = Signal()  # everything before the command that is prepared has been carried out
        setting_up = Signal()

        with m.FSM(name="preparation"):
            with m.State("IDLE"), m.If(receiver.o.valid & ~report.stopped):
                m.d.comb += share.start.eq(1)
                m.next = "SHARE"
            with m.State("SHARE"), m.If(share.done):
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(is_wrong):
                    m.next = "WRONG"
                with m.Elif(is_stream):
                    m.next = "ROWS"
                with m.Elif(is_drain):
                    m.next = "DRAIN"
                with m.Else():
                    m.next = "CLEAR"
            with m.State("ROWS"), m.If(fetch.can_prepare):
                m.d.comb += fetch.prepare.eq(1)
                m.next = "SETUP"
            with m.State("SETUP"), m.If(is_free):
                m.d.comb += setting_up.eq(1)
                with m.If(send(flits[EntryKind.SETUP])):
                    m.d.comb += [fetch.start.eq(1), receiver.o.ready.eq(1)]
                    m.next = "IDLE"
            with m.State("DRAIN"), m.If(~ready_drain.valid):
                m.d.sync += [
                    ready_drain.valid.eq(1),
                    ready_drain.job.eq(drain_job),
                    ready_drain.flit.eq(flits[EntryKind.DRAIN]),
                ]
                m.d.comb += receiver.o.ready.eq(1)
                m.next = "IDLE"
            with m.State("CLEAR"), m.If(is_free):
                with m.If(command_field(command, Opcode.CLEAR, "row_limit") == 0):
                    m.next = "CLEARED"
                with m.Else(), m.If(send(flits[EntryKind.CLEAR])):
                    m.next = "CLEARED"
            with m.State("CLEARED"), m.If(send(flits[EntryKind.SIGNAL])):
                m.d.comb += receiver.o.ready.eq(1)
                m.next = "IDLE"
            with m.State("WRONG"), m.If(is_free):
                m.next = "STOPPED"
                with m.If(~(is_stream | is_drain | is_clear)):
                    m.d.comb += raise_fault(command_fault, ErrorCode.ILLEGAL_COMMAND)
                with m.Elif(meaning.range_fault):
                    m.d.comb += raise_fault(command_fault, ErrorCode.COMMAND_RANGE, address=meaning.address)
                with m.Else():
                    m.d.comb += raise_fault(command_fault, ErrorCode.MISALIGNED, address=meaning.address)
            with m.State("STOPPED"):
                pass

        semaphore = Signal(4)
        with m.If(setting_up):
            m.d.sync += semaphore.eq(command_field(command, Opcode.STREAM, "semaphore"))
        signal = self._head(m, "stream_signal", signal_head, EntryKind.SIGNAL, semaphore=semaphore)
        with m.FSM(name="execution"):
            with m.State("IDLE"), m.If(~report.stopped):
                with m.If(ready_drain.valid & ~told):
                    m.d.comb += drain.i.valid.eq(1)
                    with m.If(drain.i.ready & (ready_drain.job.count == 0)):
                        m.d.sync += ready_drain.valid.eq(0)
                    with m.Elif(drain.i.ready):
                        m.next = "DRAIN"
                    # Sums all come from one tile, so none can come before those of the DRAIN before; tiles may begin.
                    with m.Elif(drain.sums & ready_drain.job.reduce & (ready_drain.job.count != 0)):
                        m.next = "TELL"
                with m.Else():
                    m.d.comb += is_free.eq(1)
                with m.If(fetch.start):
                    m.next = "ENTRIES"
            with m.State("DRAIN"), m.If(send(ready_drain.flit)):
                m.d.sync += ready_drain.valid.eq(0)
                m.next = "IDLE"
            with m.State("TELL"), m.If(send(ready_drain.flit)):
                m.d.sync += told.eq(1)
                m.next = "IDLE"
            with m.State("ENTRIES"):
                send_entry()
                with m.If(~fetch.busy & ~report.stopped):
                    m.next = "SIGNAL"
            with m.State("SIGNAL"), m.If(send(signal)):
                m.next = "IDLE"
        with m.If(told):
            m.d.comb += drain.i.valid.eq(1)
            with m.If(drain.i.ready):
                m.d.sync += [told.eq(0), ready_drain.valid.eq(0)]

        return m

    def _set_parameters(self, m, command, share, meaning, fetch):
        """The fields of the command at every place that needs them. Returns what the drain engine would be told."""
        config = self._config

        def stream_field(name):
            return command_field(command, Opcode.STREAM, name)

        def drain_field(name):
            return command_field(command, Opcode.DRAIN, name)

        drain_job = Signal(drain_job_layout)
        ranges, first_accumulator = meaning.ranges, stream_field("accumulator_first")
        first_local = Signal(16)
        with m.Switch(stream_field("mode")):
            with m.Case(Mode.GATHER):
                m.d.comb += first_local.eq(first_accumulator)
            with m.Case(Mode.SCATTER, Mode.SAMPLED):
                m.d.comb += first_local.eq(stream_field("row_operand_first"))
        # Row and entry fields have the same places in STREAM and DRAIN.
        m.d.comb += [
            share.feeder.eq(self.y - 1),
            meaning.feeder.eq(self.y - 1),
            meaning.command.eq(command),
            meaning.rows.eq(share.count),
            *(share.i[name].eq(stream_field(f"row_{name}")) for name in ("begin", "end", "offset", "step", "limit")),
            *(
                fetch.job[name].eq(stream_field(name))
                for name in (
                    "pointers",
                    "indices",
                    "values",
                    "entries",
                    "inner_size",
                    "inner_count",
                    "skip",
                )
            ),
            fetch.job.dense.eq(stream_field("decoder") == Decoder.DENSE),
            fetch.job.bitmap.eq(stream_field("decoder") == Decoder.BITMAP),
            fetch.job.blocks.eq(stream_field("decoder") == Decoder.BLOCKS),
            fetch.job.n_of_m.eq(stream_field("decoder") == Decoder.N_OF_M),
            *(fetch.job.pattern[name].eq(stream_field(name)) for name in ("kept", "group")),
            fetch.job.wide.eq(stream_field("index_size") == IndexSize.INT32),
            fetch.job.rows.first.eq(share.first),
            fetch.job.rows.step.eq(stream_field("row_step")),
            fetch.job.rows.count.eq(share.count),
            fetch.job.rows.local.eq(first_local),
            fetch.job.scatter.eq(stream_field("mode") == Mode.SCATTER),
            fetch.job.sampled.eq(stream_field("mode") == Mode.SAMPLED),
            fetch.job.record_ranges.eq(stream_field("ranges") == Ranges.RECORD),
            fetch.job.use_ranges.eq(stream_field("ranges") == Ranges.USE),
            fetch.job.range_first.eq(stream_field("range_first") - first_local),
            fetch.job.inner_begin.eq(ranges.inner_begin),
            fetch.job.entry_begin.eq(ranges.entry_begin),
            fetch.job.entry_end.eq(ranges.entry_end),
            fetch.job.entry_number.eq(first_accumulator << exact_log2(config.lane.slots)),
            fetch.job.accumulator_first.eq(first_accumulator),
            *(
                drain_job[name].eq(drain_field(name))
                for name in (
                    "address",
                    "row_stride",
                    "columns",
                    "tile_columns",
                    "semaphore",
                    "relu",
                    "narrow",
                    "reduce",
                    "select",
                    "block",
                )
            ),
            drain_job.lower.eq(self._drains_lower(command)),
            drain_job.first.eq(share.first),
            drain_job.step.eq(drain_field("row_step")),
            drain_job.count.eq(share.count),
            drain_job.accumulator.eq(first_accumulator),
        ]
        # Sums are one array, in packets of as many as a tile has columns.
        with m.If((command[0][:8] == Opcode.DRAIN) & drain_field("reduce")):
            m.d.comb += [
                drain_job.address.eq(
                    drain_field("address")
                    + Mux(drain_field("select"), ranges.entry_begin >> 3, (ranges.entry_begin << 2)[:32])
                ),
                drain_job.columns.eq(ranges.entries_here),
                drain_job.tile_columns.eq(config.tile_columns),
                drain_job.count.eq((ranges.entries_here + config.tile_columns - 1) >> exact_log2(config.tile_columns)),
            ]
        return drain_job

    def _drains_lower(self, command):
        """Whether a DRAIN needs no results but those of the lower half of the slots."""
        columns, reduce = (command_field(command, Opcode.DRAIN, name) for name in ("tile_columns", "reduce"))
        return (columns <= self._config.lower_columns) & ~reduce

    def _head(self, m, name, layout, kind, **fields):
        """The head flit of a packet of entries of some kind."""
        flit = Signal(layout, name=name)
        header = header_values(
            x=self._config.cols, y=self.y, traffic_class=TrafficClass.ENTRIES, kind=kind, cast=Cast.ROW
        )
        m.d.comb += [flit[field].eq(value) for field, value in {**header, **fields}.items()]
        return flit

    def _senders(self, m, command, share, meaning, fetch):
        """Verbs that drive ``entries_o`` in this cycle, and the flits of the command."""

        def head(layout, kind, **fields):
            return self._head(m, f"{kind.name.lower()}_flit", layout, kind, **fields)

        def drain_field(name):
            return command_field(command, Opcode.DRAIN, name)

        accumulators = command_field(command, Opcode.STREAM, "accumulator_first")
        config = self._config
        packets = (meaning.ranges.entries_here + config.tile_columns - 1) >> exact_log2(config.tile_columns)
        flits = {
            EntryKind.SETUP: head(
                setup_head,
                EntryKind.SETUP,
                **{
                    name: command_field(command, Opcode.STREAM, name)
                    for name in ("mode", "skip", "bank", "row_bank", "columns", "tile_columns", "unit")
                },
            ),
            EntryKind.DRAIN: head(
                drain_head,
                EntryKind.DRAIN,
                first=accumulators,
                more=Mux(drain_field("reduce"), packets << exact_log2(config.lanes), share.count) - 1,
                reduce=drain_field("reduce"),
                narrow=drain_field("narrow"),
                lower=self._drains_lower(command),
                gate=drain_field("gate"),
                gate_bank=drain_field("bank"),
                gate_row=meaning.ranges.gate_row,
                gate_step=drain_field("row_step"),
            ),
            EntryKind.CLEAR: head(
                clear_head,
                EntryKind.CLEAR,
                first=accumulators,
                more=command_field(command, Opcode.CLEAR, "row_limit") - 1,
            ),
            EntryKind.SIGNAL: head(
                signal_head, EntryKind.SIGNAL, semaphore=command_field(command, Opcode.STREAM, "semaphore")
            ),
        }
        entry = head(
            entry_head, EntryKind.ENTRY, value=fetch.o.p.value, row=fetch.o.p.row, accumulator=fetch.o.p.accumulator
        )
        # A signal of its own, since a field that is constant beside one that is not becomes Verilog that never runs:
        # ``always @*`` waits for a change of something, and there is nothing in it.
        payload = Signal(self._config.noc.flit_width)
        m.d.comb += [payload.eq(entry), self.entries_o.payload.eq(Cat(payload, C(1), C(1)))]

        def send(flit):
            m.d.comb += [self.entries_o.valid.eq(1), payload.eq(flit)]
            return self.entries_o.ready

        def send_entry():
            m.d.comb += [self.entries_o.valid.eq(fetch.o.valid), fetch.o.ready.eq(self.entries_o.ready)]

        return send, send_entry, flits
