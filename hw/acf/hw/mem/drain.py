"""The drain engine: accumulator rows from the tiles to memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.axi import axi_write_signature
from acf.hw.mem.candidate_writer import CandidateWriter
from acf.hw.mem.fault_report import fault_signature
from acf.hw.mem.multiply import PairMultiplier
from acf.hw.mem.result_writer import ResultWriter, result_burst_layout
from acf.hw.noc.flit import flit_stream, result_head

__all__ = ["DrainEngine", "drain_job_layout"]

drain_job_layout = data.StructLayout(
    {
        "address": 32,
        "row_stride": 32,
        "first": 32,
        "step": 16,
        "count": 16,
        "accumulator": 16,
        "columns": 16,
        "tile_columns": 16,
        "semaphore": 4,
        "relu": 1,
        "narrow": 1,
        "lower": 1,
        "reduce": 1,
        "select": 1,
        "block": 3,
    }
)
"""Rows ``first``, ``first + step``, ... (``count`` of them) of the result, from accumulator row ``accumulator`` on, and
the other fields of a DRAIN command; with ``lower`` packets have the results of the lower half of the slots. With
``reduce``: ``count`` packets of sums, ``columns`` sums in all, to ``address`` and behind it; with ``select`` a bit for
each, from the lowest bit at ``address`` on."""


class DrainEngine(wiring.Component):
    """Takes RESULTS packets and writes each one to its place in memory.

    The addresses of all rows are worked out first, one a cycle after two products of at most 33 cycles; until then
    packets wait. Packets may come in any order of rows and tile columns. They are taken at one flit a cycle as long as
    memory keeps up. Two packets are held; a packet is written as a burst (two if it crosses a 4 KiB border) when it is
    whole, so that no burst waits for the network. Columns that are not valid are not written. On the way results pass
    the ReLU, where the job asks for it; narrow ones come rounded to operands. Sums may become bits (see
    ``CandidateWriter``); their packets come in order.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``drain_job_layout``
        Taken when the job before it is done.
    results_i : In(flit_stream)
        One packet for each row and tile column of the job; of sums ``count`` packets.
    done : Out(stream), 4 bits
        The semaphore of the job, when every write has been answered.
    write : Out(axi_write)
    row_taken : Out(1)
        A packet is complete in this cycle.
    sums : Out(1)
        The job under way is one with ``reduce``; packets that come behind its own wait for the next job.
    fault : Out(fault_signature)
        WRITE_RESPONSE.
    halt : In(1)
        No more bursts are begun.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(drain_job_layout)),
                "results_i": In(flit_stream(noc=config.noc)),
                "done": Out(stream.Signature(4)),
                "write": Out(axi_write_signature(memory=config.memory)),
                "row_taken": Out(1),
                "sums": Out(1),
                "fault": Out(fault_signature),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        m.submodules.writer = writer = ResultWriter(config=config)
        job = Signal(drain_job_layout)
        selecting = job.select
        if config.lane.number_format.narrows:
            m.submodules.candidates = candidates = CandidateWriter(config=config)
            self._share_port(m, selecting, writer, candidates)
        else:
            candidates, selecting = None, Const(0)
            wiring.connect(m, writer.write, wiring.flipped(self.write))
            wiring.connect(m, writer.fault, wiring.flipped(self.fault))
        m.d.comb += writer.halt.eq(self.halt)
        idle = writer.idle if candidates is None else writer.idle & candidates.idle

        accepting = Signal()  # packets may come
        packets_left = Signal(16 + 4)

        # The table of row addresses.
        m.submodules.products = products = PairMultiplier(width=32)
        m.submodules.table = table = Memory(shape=32, depth=config.lane.accumulator_rows, init=[])
        note, recall = table.write_port(), table.read_port(transparent_for=())
        row_address = Signal(32)
        row = Signal(16)
        rows_left = Signal(16)
        m.d.comb += [
            products.multiplicand.eq(self.i.p.row_stride),
            products.a.eq(self.i.p.first),
            products.b.eq(self.i.p.step),
            note.addr.eq(row),
            note.data.eq(row_address),
            note.en.eq(rows_left != 0),
        ]
        with m.If(rows_left != 0):
            m.d.sync += [
                row.eq(row + 1),
                row_address.eq(row_address + products.b_product),
                rows_left.eq(rows_left - 1),
            ]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.comb += products.start.eq(1)
                    m.d.sync += [
                        job.eq(self.i.p),
                        packets_left.eq(Mux(self.i.p.reduce, self.i.p.count, self.i.p.count * config.cols)),
                    ]
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"), m.If(~products.busy):
                # From the next cycle on the table is filled faster than packets can ask for it.
                m.d.sync += [
                    row.eq(job.accumulator),
                    row_address.eq(job.address + products.a_product),
                    rows_left.eq(job.count),
                ]
                if candidates is not None:
                    m.d.comb += candidates.start.eq(selecting)
                m.next = "FIRST_ROW"
            with m.State("FIRST_ROW"):
                m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.comb += accepting.eq(packets_left != 0)
                with m.If((packets_left == 0) & idle):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.done.valid.eq(1), self.done.payload.eq(job.semaphore)]
                with m.If(self.done.ready):
                    m.next = "IDLE"

        m.d.comb += [
            self.sums.eq(job.reduce & ~fsm.ongoing("IDLE")),
            writer.narrow.eq(job.narrow),
            writer.lower.eq(job.lower),
        ]
        self._receive(m, writer, candidates, job, accepting, packets_left)
        self._locate(m, writer, job, selecting, recall)

        return m

    def _share_port(self, m, selecting, writer, candidates):
        """Who has the memory port; only one of them has anything to write."""
        m.d.comb += candidates.halt.eq(self.halt)
        for name, member in self.write.signature.members.items():
            outer, *inner = (getattr(port, name) for port in (self.write, writer.write, candidates.write))
            if member.flow == Out:
                m.d.comb += outer.eq(Mux(selecting, inner[1], inner[0]))
            elif name in ("bid", "bresp"):
                m.d.comb += [each.eq(outer) for each in inner]
            else:
                m.d.comb += [inner[0].eq(outer & ~selecting), inner[1].eq(outer & selecting)]
        for part in (writer, candidates):
            with m.If(part.fault.valid):
                m.d.comb += [self.fault.valid.eq(1), self.fault.p.eq(part.fault.p)]

    def _receive(self, m, writer, candidates, job, accepting, packets_left):
        """Assemble the flits of a packet to beats."""
        config = self._config
        flits = config.memory.data_width // config.noc.flit_width
        flit = self.results_i.p
        taken = Signal()
        part = Signal(range(max(2, flits)))
        beat = Signal(config.memory.data_width)
        assembled = Signal.like(beat)
        completes = (part == flits - 1) & ~flit.head
        m.d.comb += assembled.eq(Cat(beat[config.noc.flit_width :], self._results(m, job, flit.payload)))
        room = Mux(flit.head, writer.packet_room, ~completes | writer.beat_room)
        writes = taken & completes
        if candidates is not None:
            room, writes = Mux(job.select, candidates.room, room), writes & ~job.select
            m.d.comb += [
                candidates.address.eq(job.address),
                candidates.count.eq(job.columns),
                candidates.block.eq(job.block),
                candidates.sums.eq(flit.payload),
                candidates.valid.eq(taken & job.select & ~flit.head),
            ]
        m.d.comb += [
            self.results_i.ready.eq(accepting & room),
            taken.eq(self.results_i.valid & self.results_i.ready),
            writer.beat.eq(assembled),
            writer.beat_valid.eq(writes),
            self.row_taken.eq(taken & flit.tail),
        ]
        with m.If(taken & ~flit.head):
            m.d.sync += [part.eq(Mux(completes, 0, part + 1)), beat.eq(assembled)]
        with m.If(self.row_taken):
            m.d.sync += packets_left.eq(packets_left - 1)

    def _results(self, m, job, payload):
        """The results of a flit, behind the ReLU."""
        number_format = self._config.lane.number_format
        forms = []
        for width in (number_format.result_width, number_format.operand_width):
            words = [payload.word_select(n, width) for n in range(len(payload) // width)]
            forms.append(Cat(Mux(job.relu & word[-1], 0, word) for word in words))
        results = Signal(len(payload))
        m.d.comb += results.eq(Mux(job.narrow, forms[1], forms[0]))
        return results

    def _locate(self, m, writer, job, selecting, recall):
        """Work out where a packet goes while it comes in: its head, then the column offset, then the address."""
        config = self._config
        halves = config.memory.beat_bytes // 2
        head = data.View(result_head, self.results_i.p.payload)
        head_taken = self.results_i.valid & self.results_i.ready & self.results_i.p.head & ~selecting
        column = Signal(8)
        has_head, has_offset, has_burst = Signal(), Signal(), Signal()
        row = Signal(16)
        offset = Signal(20)  # columns before those of the tile, or sums before those of the packet
        address = Signal(32)
        burst = Signal(result_burst_layout(config=config))
        m.d.comb += [
            recall.addr.eq(head.row),
            recall.en.eq(head_taken),
            writer.burst.eq(burst),
            writer.burst_valid.eq(has_burst),
            writer.begin.eq(head_taken),
        ]
        m.d.sync += [
            has_head.eq(head_taken),
            column.eq(head.column),
            row.eq(head.row),
            has_offset.eq(has_head),
            offset.eq(column[:4] * job.tile_columns),
            address.eq(recall.data),
            has_burst.eq(has_offset),
        ]
        with m.If(job.reduce):
            m.d.sync += [offset.eq(row << exact_log2(config.tile_columns)), address.eq(job.address)]
        rest = Signal(16)
        valid = Signal(16)
        places = Signal(17)  # valid columns in units of an operand of 16 bits
        m.d.comb += [
            rest.eq(Mux(job.columns > offset, job.columns - offset, 0)),
            valid.eq(Mux(rest < job.tile_columns, rest, job.tile_columns)),
            places.eq(Mux(job.narrow, valid, valid << 1)),
        ]
        m.d.sync += [
            burst.address.eq(address + Mux(job.narrow, offset << 1, offset << 2)),
            burst.beats.eq((places + halves - 1) >> exact_log2(halves)),
            # Halfwords of the last beat; 0 stands for all.
            burst.halves.eq(places[: exact_log2(halves)]),
        ]
