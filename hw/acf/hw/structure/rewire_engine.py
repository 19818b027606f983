"""Drop and grow in place: changes which columns the rows of a layer have, in memory.

A row goes through these phases. SCAN: all its entries go by; the columns are marked, and a selector keeps the smallest.
SAVE: their positions leave the selector, the worst one first, for a small memory. CANDIDATES: columns without a mark go
by, and the same selector keeps those with the largest keys. SORT: as many of both as can be exchanged, the best ones,
go into two selectors that put them in ascending order. EXCHANGE: they leave these in pairs. Memory is written while the
next row goes by, and read ahead of it: a row is changed nowhere but in its own entries.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.candidate_scan import CandidateScan
from acf.hw.structure.column_marks import ColumnMarks
from acf.hw.structure.exchange_writer import WRITTEN_ARRAYS, ExchangeWriter
from acf.hw.structure.ports import WritePort
from acf.hw.structure.row_fetch import ADDRESSES, RowFetch, rewire_job_layout
from acf.hw.structure.selector import Selector
from acf.isa import ErrorCode

__all__ = ["RewireEngine", "rewire_job_layout"]

_POSITION = 16


class RewireEngine(wiring.Component):
    """Exchanges the smallest entries of each row for columns that it does not have, as ``acf.golden.structure`` says.

    One job at a time. It begins with a cycle for each beat of gradients of one row. For each row it then takes a cycle
    for each entry, one for each beat of gradients and for each candidate in it that may be kept (or one for each column
    that draws a number), and about three for each entry to exchange.

    Parameters
    ----------
    config : FabricConfig
    structure : StructureConfig or None
        Those of ``config`` when None.

    Members
    -------
    i : In(stream), ``rewire_job_layout``
        Addresses, those of row 0 but for the gradients, are those of whole beats, as the stride of gradients is.
    done : Out(stream), 4 bits
        The semaphore of a job, when all that it wrote has been answered.
    read : Out(axi_read)
        IDs 0 to 3. Beats at the ends of what is needed are read whole.
    write : Out(axi_write)
        IDs 0 to 3. Only entries that are exchanged are written.
    faults : Out(fault_signature).array(5)
        MISALIGNED, with the address or stride, or COMMAND_RANGE, with the address of the values, where a row has more
        columns or exchanges more entries than can be built in: these jobs are not begun; POINTER_ORDER and
        POINTER_RANGE (see ``RowRequests``); INDEX_RANGE; READ_RESPONSE; WRITE_RESPONSE. Nothing new is begun after the
        first one, until reset. Rows before the one at fault may have been changed.
    halt : In(1)
        No more bursts are begun and no jobs finished, until reset; writes that have begun are finished.
    changed, cycles : Out(32)
        Entries exchanged by this job, or the last one, and the cycles that it took.
    """

    def __init__(self, *, config: FabricConfig, structure: StructureConfig | None = None):
        self._memory = config.memory
        self._structure = structure or config.structure
        super().__init__(
            {
                "i": In(stream.Signature(rewire_job_layout)),
                "done": Out(stream.Signature(4)),
                "read": Out(axi_read_signature(memory=config.memory)),
                "write": Out(axi_write_signature(memory=config.memory)),
                "faults": Out(fault_signature).array(5),
                "halt": In(1),
                "changed": Out(32),
                "cycles": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()

        structure = self._structure
        parts = {"memory": self._memory, "structure": structure}
        depth = structure.exchanged
        words = self._memory.beat_bytes // 4

        m.submodules.fetch = fetch = RowFetch(**parts)
        m.submodules.write_port = write_port = WritePort(arrays=len(WRITTEN_ARRAYS), **parts)
        m.submodules.marks = marks = ColumnMarks(columns=structure.columns, group=words)
        m.submodules.scan = scan = CandidateScan(**parts)
        m.submodules.best = best = Selector(depth=depth, key_width=32, tag_width=_POSITION)
        m.submodules.dropped = dropped = Selector(depth=depth, key_width=_POSITION, tag_width=0)
        m.submodules.grown = grown = Selector(depth=depth, key_width=_POSITION, tag_width=0)
        m.submodules.ranks = ranks = Memory(shape=_POSITION, depth=depth, init=[])
        m.submodules.writer = writer = ExchangeWriter(**parts)
        save, recall = ranks.write_port(), ranks.read_port(domain="comb")

        failed = Signal()
        stop = Signal()
        with m.If(Cat(fault.valid for fault in self.faults).any()):
            m.d.sync += failed.eq(1)
        m.d.comb += stop.eq(self.halt | failed)

        job = Signal(rewire_job_layout)
        limit = Signal(range(structure.columns + 1))

        wiring.connect(m, fetch.read, wiring.flipped(self.read))
        wiring.connect(m, fetch.gradients, scan.beats)
        wiring.connect(m, write_port.write, wiring.flipped(self.write))
        for number in range(len(WRITTEN_ARRAYS)):
            wiring.connect(m, writer.requests[number], write_port.requests[number])
            wiring.connect(m, writer.beats[number], write_port.beats[number])
        m.d.comb += [getattr(writer, array).eq(job[array]) for array in WRITTEN_ARRAYS]
        for number, fault in ((1, fetch.faults[0]), (3, fetch.faults[1]), (4, write_port.fault)):
            m.d.comb += [self.faults[number].valid.eq(fault.valid), self.faults[number].p.eq(fault.p)]

        row = fetch.rows.p
        position = Signal(_POSITION)
        left = Signal(range(depth + 1))
        droppable = Signal(range(depth + 1))
        exchanged = Signal(range(depth + 1))
        group = Signal(len(marks.look))
        index = fetch.indices.payload
        too_large = index >= job.inner_size
        unprotected = ~too_large & (index < limit)
        m.d.comb += [
            fetch.job.eq(job),
            fetch.limit.eq(limit),
            fetch.halt.eq(stop),
            writer.halt.eq(stop),
            writer.half.eq(job.index_size),
            scan.limit.eq(limit),
            scan.random.eq(job.random),
            scan.seed.eq(job.seed),
            best.limit.eq(job.drop),
            dropped.limit.eq(exchanged),
            grown.limit.eq(exchanged),
            scan.full.eq(best.full),
            scan.worst_key.eq(best.worst_key),
            marks.column.eq(index),
            marks.look.eq(scan.look),
            marks.erase.eq(scan.erase),
            scan.marks.eq(marks.marks),
            save.addr.eq(left - 1),
            save.data.eq(best.worst_tag),
            recall.addr.eq(left - 1),
            dropped.key.eq(recall.data),
            grown.key.eq(best.worst_tag),
            writer.i.p.place.eq(row.place + dropped.worst_key),
            writer.i.p.column.eq(grown.worst_key),
            self.done.payload.eq(job.semaphore),
        ]
        columns_offered = Signal()  # the selector listens to the scan, not to the entries
        m.d.comb += [
            best.key.eq(Mux(columns_offered, scan.key, Cat(~fetch.master.payload[:31], 0))),
            best.tag.eq(Mux(columns_offered, scan.column, position)),
        ]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(~stop)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += job.eq(self.i.payload)
                    m.d.sync += [self.cycles.eq(0), self.changed.eq(0)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "CLEAR"
                m.d.sync += [
                    group.eq(0),
                    limit.eq(Mux(job.protected_from < job.inner_size, job.protected_from, job.inner_size)),
                ]
                with m.If((job.drop == 0) | (job.row_begin >= job.row_end)):
                    m.next = "DONE"
                with m.If((job.drop > depth) | (job.inner_size > structure.columns)):
                    m.d.comb += raise_fault(self.faults[0], ErrorCode.COMMAND_RANGE, address=job.values)
                    m.next = "STOPPED"
                for name in (*ADDRESSES, "candidates", "candidate_stride"):
                    needed = ~job.random if name.startswith("candidate") else 1
                    with m.If(needed & ((job[name] & Const(self._memory.beat_bytes - 1, 32)) != 0)):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.MISALIGNED, address=job[name])
                        m.next = "STOPPED"
            with m.State("CLEAR"):
                m.d.comb += [marks.look.eq(group), marks.erase.eq(1)]
                m.d.sync += group.eq(group + 1)
                with m.If(((group + 1) << exact_log2(words)) >= limit):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [fetch.start.eq(1), scan.seed_valid.eq(1)]
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += position.eq(0)
                m.d.comb += [best.clear.eq(1), dropped.clear.eq(1), grown.clear.eq(1)]
                with m.If(fetch.rows.valid):
                    m.next = "SCAN"
                with m.Elif(~fetch.busy & writer.idle & write_port.idle & ~stop):
                    m.next = "DONE"
            with m.State("SCAN"):
                with m.If(position == row.count):
                    m.d.sync += left.eq(job.drop)
                    m.next = "SAVE"
                with m.Elif(fetch.indices.valid & fetch.master.valid):
                    m.d.comb += [
                        fetch.indices.ready.eq(1),
                        fetch.master.ready.eq(1),
                        marks.mark.eq(unprotected),
                        best.valid.eq(unprotected),
                    ]
                    m.d.sync += position.eq(position + 1)
                    with m.If(too_large):
                        m.d.comb += raise_fault(self.faults[2], ErrorCode.INDEX_RANGE, row=row.row, index=index)
            with m.State("SAVE"), m.If(best.settled):
                with m.If(left == 0):
                    m.d.comb += [best.clear.eq(1), scan.start.eq(1)]
                    m.d.sync += droppable.eq(best.kept)
                    m.next = "CANDIDATES"
                with m.Else():
                    m.d.comb += [best.pop.eq(1), save.en.eq(1)]
                    m.d.sync += left.eq(left - 1)
            with m.State("CANDIDATES"):
                m.d.comb += [columns_offered.eq(1), best.valid.eq(scan.valid)]
                with m.If(~scan.busy & best.settled):
                    m.d.sync += [
                        exchanged.eq(Mux(best.kept < droppable, best.kept, droppable)),
                        left.eq(job.drop),
                    ]
                    m.next = "SORT"
            with m.State("SORT"):
                with m.If(left == 0):
                    m.d.sync += [left.eq(exchanged), self.changed.eq(self.changed + exchanged)]
                    m.next = "EXCHANGE"
                with m.Else():
                    # The worst ones leave first: what is left are the best.
                    m.d.comb += best.pop.eq(1)
                    m.d.comb += [dropped.valid.eq(left <= exchanged), grown.valid.eq(left <= exchanged)]
                    m.d.sync += left.eq(left - 1)
            with m.State("EXCHANGE"), m.If(dropped.settled & grown.settled):
                with m.If(left == 0):
                    m.d.comb += fetch.rows.ready.eq(1)
                    m.next = "ROW"
                with m.Elif(writer.i.ready):
                    m.d.comb += [writer.i.valid.eq(1), dropped.pop.eq(1), grown.pop.eq(1)]
                    m.d.sync += left.eq(left - 1)
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        with m.If(~fsm.ongoing("IDLE") & ~fsm.ongoing("DONE")):
            m.d.sync += self.cycles.eq(self.cycles + 1)

        return m
