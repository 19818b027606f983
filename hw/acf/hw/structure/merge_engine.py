"""Grows entries anywhere in a layer: writes its rows elsewhere, each with its newcomers behind the entries it had.

A layer goes by twice, in jobs of some rows each. In a survey the keys of all candidates are counted in bins, by their
highest bits; between the two, the bins are looked through for the one that the smallest newcomer is in. In a merge rows
are written. A row goes through these phases. ENTRIES: they go by, their columns are marked, and they are written.
CANDIDATES: columns without a mark go by; they are counted, or written if their keys are large enough.
"""

from amaranth.hdl import C, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.candidate_scan import CandidateScan
from acf.hw.structure.column_marks import ColumnMarks
from acf.hw.structure.element_writer import ElementWriter
from acf.hw.structure.merge_fetch import ENTRY_ARRAYS, MergeFetch, merge_job_layout
from acf.hw.structure.ports import WritePort
from acf.hw.structure.radix_select import KEY_WIDTH, RadixSelect
from acf.isa import ErrorCode

__all__ = ["MergeEngine", "merge_job_layout"]

_ARRAYS = ("pointers", *ENTRY_ARRAYS)


class MergeEngine(wiring.Component):
    """Surveys rows of a layer and merges newcomers into them, as ``acf.golden.merge`` says.

    One job at a time. It begins with a cycle for each beat of gradients of one row. A row then takes a cycle for each
    entry and each candidate, and one for each beat of gradients (or for each column that draws a number). Before the
    first merge of a layer come about 2,000 cycles to look through the bins.

    Parameters
    ----------
    config : FabricConfig
    structure : StructureConfig or None
        Those of ``config`` when None.

    Members
    -------
    i : In(stream), ``merge_job_layout``
        Addresses, those of row 0 but for the gradients, are those of whole beats, as ``shift`` and the stride of
        gradients are. What is written must not lie in what is read.
    done : Out(stream), 4 bits
        The semaphore of a job, when all writes that it began have been answered. What does not fill a burst is written
        with the next rows of the layer; the last ones leave nothing.
    read : Out(axi_read)
        IDs 0 to 5. Beats at the ends of what is needed are read whole.
    write : Out(axi_write)
        IDs 0 to 4.
    faults : Out(fault_signature).array(5)
        MISALIGNED, with the address, shift or stride, or COMMAND_RANGE, with the address of the indices, where a row
        has more columns than can be built in, where rows do not follow those of the job before or were not surveyed, or
        where a layer is surveyed while another is being merged: these jobs are not begun; POINTER_ORDER and
        POINTER_RANGE (see ``RowRequests``); INDEX_RANGE, and COMMAND_RANGE where a layer has other entries or
        candidates than when it was surveyed; READ_RESPONSE; WRITE_RESPONSE. Nothing new is begun after the first one,
        until reset.
    halt : In(1)
        No more bursts are begun and no jobs finished, until reset; writes that have begun are finished.
    changed, cycles : Out(32)
        Newcomers of this job, or the last one, and the cycles that it took.
    """

    def __init__(self, *, config: FabricConfig, structure: StructureConfig | None = None):
        self._memory = config.memory
        self._structure = structure or config.structure
        super().__init__(
            {
                "i": In(stream.Signature(merge_job_layout)),
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
        words = self._memory.beat_bytes // 4
        m.submodules.fetch = fetch = MergeFetch(**parts)
        m.submodules.write_port = write_port = WritePort(arrays=len(_ARRAYS), **parts)
        m.submodules.marks = marks = ColumnMarks(columns=structure.columns, group=words)
        m.submodules.scan = scan = CandidateScan(**parts)
        m.submodules.select = select = RadixSelect()
        writers = {array: ElementWriter(**parts) for array in _ARRAYS}

        failed = Signal()
        stop = Signal()
        with m.If(Cat(fault.valid for fault in self.faults).any()):
            m.d.sync += failed.eq(1)
        m.d.comb += stop.eq(self.halt | failed)

        job = Signal(merge_job_layout)
        limit = Signal(range(structure.columns + 1))
        # Of the layer: rows and entries surveyed, candidates and newcomers wanted, rows and entries merged.
        rows = Signal(32)
        entries = Signal(32)
        offered = Signal(32)
        wanted = Signal(32)
        merged = Signal(32)
        place = Signal(32)
        total = Signal(32)
        ties = Signal(32)

        wiring.connect(m, fetch.read, wiring.flipped(self.read))
        wiring.connect(m, fetch.gradients, scan.beats)
        wiring.connect(m, write_port.write, wiring.flipped(self.write))
        begins = Signal()
        for number, (array, writer) in enumerate(writers.items()):
            m.submodules[f"{array}_writer"] = writer
            wiring.connect(m, writer.request, write_port.requests[number])
            wiring.connect(m, writer.o, write_port.beats[number])
            half = Const(1, 1) if array == "values" else job.index_size if array == "indices" else Const(0, 1)
            m.d.comb += [
                writer.halt.eq(stop),
                writer.i.valid.eq(begins),
                writer.i.p.address.eq(job[array] + job.shift),
                writer.i.p.count.eq(rows + 1 if array == "pointers" else total),
                writer.i.p.half.eq(half),
            ]
        for number, fault in ((1, fetch.faults[0]), (3, fetch.faults[1]), (4, write_port.fault)):
            m.d.comb += [self.faults[number].valid.eq(fault.valid), self.faults[number].p.eq(fault.p)]

        row = fetch.rows.p
        position = Signal(len(row.count))
        group = Signal(len(marks.look))
        first = job.row_begin == 0
        index = fetch.indices.payload
        key = Mux(job.random, scan.key[1:], scan.key[:KEY_WIDTH])
        entry_there = fetch.indices.valid
        for array in ENTRY_ARRAYS[1:]:
            entry_there &= ~job.merge | getattr(fetch, array).valid
        new_pointers = writers["pointers"]
        room = Cat(writers[array].elements.ready for array in ENTRY_ARRAYS).all()
        full = place == total
        fits = Signal()  # to the job before
        tie = Signal()
        grows = Signal()
        newcomers = Signal()  # the writers listen to the scan, not to the entries
        m.d.comb += [
            fetch.job.eq(job),
            fetch.limit.eq(limit),
            fetch.halt.eq(stop),
            scan.limit.eq(limit),
            scan.random.eq(job.random),
            scan.seed.eq(job.seed),
            marks.column.eq(index),
            marks.look.eq(scan.look),
            marks.erase.eq(scan.erase),
            scan.marks.eq(marks.marks),
            select.rank.eq(job.grow),
            select.key.eq(~key),  # the largest are wanted
            tie.eq(~select.below & select.equal & (ties != 0)),
            grows.eq(select.below | tie),
            new_pointers.elements.payload.eq(place),
            self.done.payload.eq(job.semaphore),
        ]
        for array in ENTRY_ARRAYS:
            column = Cat(scan.column, C(0, 32 - len(scan.column))) if array == "indices" else C(0, 32)
            m.d.comb += writers[array].elements.payload.eq(Mux(newcomers, column, getattr(fetch, array).payload))

        def write_entry():
            m.d.comb += [writers[array].elements.valid.eq(1) for array in ENTRY_ARRAYS]
            m.d.sync += place.eq(place + 1)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(~stop)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [job.eq(self.i.payload), self.cycles.eq(0), self.changed.eq(0)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "CLEAR"
                m.d.sync += [
                    group.eq(0),
                    limit.eq(Mux(job.protected_from < job.inner_size, job.protected_from, job.inner_size)),
                ]
                with m.If(job.row_begin >= job.row_end):
                    m.next = "DONE"
                with m.If(job.merge):
                    m.d.comb += fits.eq((job.row_begin == merged) & (job.row_end <= rows))
                with m.Else():
                    m.d.comb += fits.eq((first | (job.row_begin == rows)) & (merged == 0))
                with m.If(~fits | (job.inner_size > structure.columns)):
                    m.d.comb += raise_fault(self.faults[0], ErrorCode.COMMAND_RANGE, address=job.indices)
                    m.next = "STOPPED"
                for name in ("pointers", "indices", "values", "master", "momentum", "shift"):
                    needed = 1 if name in ("pointers", "indices") else job.merge
                    with m.If(needed & ((job[name] & Const(self._memory.beat_bytes - 1, 32)) != 0)):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.MISALIGNED, address=job[name])
                        m.next = "STOPPED"
                for name in ("candidates", "candidate_stride"):
                    with m.If(~job.random & ((job[name] & Const(self._memory.beat_bytes - 1, 32)) != 0)):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.MISALIGNED, address=job[name])
                        m.next = "STOPPED"
            with m.State("CLEAR"):
                m.d.comb += [marks.look.eq(group), marks.erase.eq(1)]
                m.d.sync += group.eq(group + 1)
                with m.If(((group + 1) << exact_log2(words)) >= limit):
                    m.next = "START"
                    with m.If(first):
                        m.next = "LAYER"
            with m.State("LAYER"):
                m.next = "LOOK"
                with m.If(job.merge):
                    m.d.comb += select.ended.eq(1)
                    m.d.sync += [merged.eq(0), place.eq(0)]
                    m.d.sync += total.eq(entries + Mux(offered < wanted, offered, wanted))
                with m.Else():
                    m.d.comb += select.start.eq(1)
                    m.d.sync += [rows.eq(0), merged.eq(0), offered.eq(0), wanted.eq(job.grow)]
            with m.State("LOOK"), m.If(~select.busy):
                m.d.comb += begins.eq(job.merge)
                m.d.sync += ties.eq(select.ties)
                m.next = "START"
            with m.State("START"):
                m.d.comb += [fetch.start.eq(1), scan.seed_valid.eq(1)]
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += position.eq(0)
                with m.If(fetch.rows.valid):
                    m.d.comb += new_pointers.elements.valid.eq(job.merge)
                    with m.If(~job.merge | new_pointers.elements.ready):
                        m.next = "ENTRIES"
                with m.Elif(~fetch.busy):
                    m.next = "DONE"
                    with m.If(job.merge):
                        m.next = "SETTLE"
                        with m.If(merged == rows):
                            m.next = "LAST"
            with m.State("ENTRIES"):
                with m.If(position == row.count):
                    m.d.comb += scan.start.eq(1)
                    m.next = "CANDIDATES"
                with m.Elif(entry_there & (~job.merge | room | full)):
                    m.d.comb += [getattr(fetch, array).ready.eq(1) for array in ENTRY_ARRAYS]
                    m.d.comb += marks.mark.eq((index < job.inner_size) & (index < limit))
                    m.d.sync += position.eq(position + 1)
                    with m.If(job.merge):
                        write_entry()
                    with m.If(index >= job.inner_size):
                        m.d.comb += raise_fault(self.faults[2], ErrorCode.INDEX_RANGE, row=row.row, index=index)
                        m.next = "STOPPED"
                    with m.Elif(job.merge & full):
                        m.d.comb += raise_fault(self.faults[2], ErrorCode.COMMAND_RANGE, address=job.indices)
                        m.next = "STOPPED"
            with m.State("CANDIDATES"):
                m.d.comb += newcomers.eq(1)
                with m.If(scan.valid):
                    with m.If(~job.merge):
                        m.d.comb += select.valid.eq(1)
                        m.d.sync += offered.eq(offered + 1)
                    with m.Elif(grows):
                        m.d.comb += scan.hold.eq(~room)
                        with m.If(full):
                            m.d.comb += raise_fault(self.faults[2], ErrorCode.COMMAND_RANGE, address=job.indices)
                            m.next = "STOPPED"
                        with m.Elif(room):
                            write_entry()
                            m.d.sync += [self.changed.eq(self.changed + 1), ties.eq(ties - tie)]
                with m.Elif(~scan.busy):
                    m.d.comb += fetch.rows.ready.eq(1)
                    m.next = "ROW"
                    with m.If(job.merge):
                        m.d.sync += merged.eq(merged + 1)
                    with m.Else():
                        m.d.sync += [rows.eq(rows + 1), entries.eq(row.place + row.count)]
            with m.State("LAST"):
                m.d.comb += new_pointers.elements.valid.eq(1)
                with m.If(place != total):
                    m.d.comb += raise_fault(self.faults[2], ErrorCode.COMMAND_RANGE, address=job.indices)
                    m.next = "STOPPED"
                with m.Elif(new_pointers.elements.ready):
                    m.d.sync += [rows.eq(0), merged.eq(0)]
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                # Two cycles after the last entry its beat is in the buffer; what fills a burst has then been asked for.
                m.d.sync += position.eq(1)
                asking = Cat(writer.request.valid for writer in writers.values()).any()
                unwritten = (rows == 0) & ~Cat(writer.i.ready for writer in writers.values()).all()
                with m.If((position != 0) & ~asking & ~unwritten & write_port.idle & ~stop):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        with m.If(~fsm.ongoing("IDLE") & ~fsm.ongoing("DONE")):
            m.d.sync += self.cycles.eq(self.cycles + 1)

        return m
