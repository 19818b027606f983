"""Drop and grow in place: changes which columns the rows of a layer have, in memory.

Four stages work on rows that follow each other. LOAD: candidates of a row are put where they can be cleared. SCAN: the
entries of a row go by, a beat of master values at a time; their columns are cleared among the candidates, and the
positions of the smallest are kept. MATCH: candidates that are left, or drawn columns, are given to these positions, one
a cycle. WRITE: what changes in one beat is written together. Memory is read ahead; a row is changed nowhere but in its
own entries, so nothing that is read ahead is changed before it is used.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.candidate_load import CandidateLoad
from acf.hw.structure.candidate_store import CandidateStore
from acf.hw.structure.entry_scan import EntryScan
from acf.hw.structure.exchange_match import ExchangeMatch
from acf.hw.structure.exchange_writer import WRITTEN_ARRAYS, ExchangeWriter, exchange_layout
from acf.hw.structure.ports import WritePort
from acf.hw.structure.row_fetch import ADDRESSES, RowFetch, rewire_job_layout
from acf.isa import CANDIDATE_PART, CANDIDATE_WORD, ErrorCode

__all__ = ["RewireEngine", "rewire_job_layout"]

_LOADED = ("step", "split", "word", "granules", "store", "payload")

_EXCHANGES = 16
"""Exchanges that wait to be written, so that a row with many does not hold up the match of the next one."""


class RewireEngine(wiring.Component):
    """Exchanges the smallest entries of rows for columns that they do not have, as ``acf.golden.rewiring`` says.

    One job at a time. It takes, for each row, what the slowest of these needs: the beats that are read, those of
    candidates (see ``CandidateLoad``), the scan (see ``EntryScan``), the match (see ``ExchangeMatch``), and a cycle for
    each beat that is written.

    Parameters
    ----------
    config : FabricConfig
    structure : StructureConfig or None
        Those of ``config`` when None.

    Members
    -------
    i : In(stream), ``rewire_job_layout``
        Addresses, those of row 0 but for the candidates, are those of whole beats.
    done : Out(stream), 4 bits
        The semaphore of a job, when all that it wrote has been answered.
    read : Out(axi_read)
        IDs 0 to 3. Beats at the ends of what is needed are read whole.
    write : Out(axi_write)
        ID 0. Only entries that are exchanged are written.
    faults : Out(fault_signature).array(5)
        MISALIGNED, with the address, or COMMAND_RANGE, with the address of the values, where a row has more columns
        than can be marked, a span has no entry, or candidates begin too late: these jobs are not begun; POINTER_ORDER
        and POINTER_RANGE (see ``RowFetch``); INDEX_RANGE; READ_RESPONSE; WRITE_RESPONSE. Nothing new is begun after the
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

        m.submodules.fetch = fetch = RowFetch(**parts)
        m.submodules.scan = scan = EntryScan(**parts)
        m.submodules.load = load = CandidateLoad(**parts)
        m.submodules.store = store = CandidateStore(**parts)
        m.submodules.match = match = ExchangeMatch(**parts)
        m.submodules.writer = writer = ExchangeWriter(**parts)
        m.submodules.exchanges = exchanges = fifo.SyncFIFOBuffered(
            width=exchange_layout(structure=structure).size, depth=_EXCHANGES
        )
        m.submodules.write_port = write_port = WritePort(arrays=1, **parts)

        failed = Signal()
        stop = Signal()
        with m.If(Cat(fault.valid for fault in self.faults).any()):
            m.d.sync += failed.eq(1)
        m.d.comb += stop.eq(self.halt | failed)

        job = Signal(rewire_job_layout)
        limit, candidate_count = Signal(range(structure.columns + 1)), Signal(range(structure.columns + 1))
        first, shift, others = Signal(4), Signal(2), Signal(4)
        lacks_last = Signal()
        number = Signal(range(structure.columns // CANDIDATE_WORD + 1))
        candidate_words = Signal(32)
        rows_left = Signal(32)
        flush = Signal()

        wiring.connect(m, fetch.read, wiring.flipped(self.read))
        wiring.connect(m, fetch.rows, scan.rows)
        wiring.connect(m, fetch.indices, scan.indices)
        wiring.connect(m, fetch.master, scan.master)
        m.d.comb += [
            load.beats.valid.eq(fetch.candidates.valid),
            load.beats.payload.eq(fetch.candidates.payload),
            # Behind the last row a part of a beat may be left.
            fetch.candidates.ready.eq(load.beats.ready | flush),
        ]
        wiring.connect(m, scan.dropped, match.dropped)
        wiring.connect(m, scan.marked, match.marked)
        m.d.comb += [
            exchanges.w_data.eq(match.o.payload),
            exchanges.w_en.eq(match.o.valid),
            match.o.ready.eq(exchanges.w_rdy),
            writer.i.payload.eq(exchanges.r_data),
            writer.i.valid.eq(exchanges.r_rdy),
            exchanges.r_en.eq(writer.i.ready),
        ]
        wiring.connect(m, writer.request, write_port.requests[0])
        wiring.connect(m, writer.beat, write_port.beats[0])
        wiring.connect(m, write_port.write, wiring.flipped(self.write))
        m.d.comb += [getattr(writer, array).eq(job[array]) for array in WRITTEN_ARRAYS]
        for n, fault in ((1, fetch.faults[0]), (2, scan.fault), (3, fetch.faults[1]), (4, write_port.fault)):
            m.d.comb += [self.faults[n].valid.eq(fault.valid), self.faults[n].p.eq(fault.p)]
        m.d.comb += [
            fetch.job.eq(job),
            fetch.candidate_words.eq(
                Mux(
                    candidate_count > 2 * CANDIDATE_PART,
                    candidate_words,
                    Mux(candidate_count > CANDIDATE_PART, (candidate_words + 1) >> 1, (candidate_words + 3) >> 2),
                )
            ),
            fetch.halt.eq(stop),
            scan.inner_size.eq(job.inner_size),
            scan.span.eq(job.span),
            scan.half.eq(job.index_size),
            scan.limit.eq(limit),
            scan.first.eq(first),
            scan.shift.eq(shift),
            scan.room.eq(load.ready),
            scan.flush.eq(flush),
            scan.granted.eq(store.granted),
            load.count.eq(candidate_count),
            load.random.eq(job.random),
            load.begun.eq(scan.begun),
            load.row_done.eq(match.row_done),
            load.busy.eq(store.busy),
            store.load_place.eq(load.place),
            *(getattr(store, name).eq(getattr(load, name)) for name in _LOADED),
            *(store.columns[n].eq(scan.columns[n]) for n in range(self._memory.beat_bytes // 4)),
            store.wanted.eq(scan.wanted),
            store.turn.eq(scan.turn),
            store.flush.eq(~load.enable),
            *(
                getattr(store, name).eq(getattr(match, name))
                for name in ("look", "look_next", "takes", "take", "taken", "row_begins")
            ),
            match.count.eq(candidate_count),
            match.lacks_last.eq(lacks_last),
            match.first.eq(first),
            match.shift.eq(shift),
            match.random.eq(job.random),
            match.seed.eq(job.seed),
            match.found.eq(store.found),
            writer.half.eq(job.index_size),
            writer.halt.eq(stop),
            self.done.payload.eq(job.semaphore),
        ]
        m.d.comb += others.eq(~(Const(-1, len(others)) << shift))
        # A cycle late, for the sake of the clock.
        row_done, exchanged = Signal(), Signal()
        m.d.sync += [
            row_done.eq(match.row_done),
            exchanged.eq(match.o.valid & match.o.ready),
            rows_left.eq(rows_left - row_done),
            self.changed.eq(self.changed + exchanged),
        ]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(~stop)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += job.eq(self.i.payload)
                    m.d.sync += [self.cycles.eq(0), self.changed.eq(0)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "COUNT"
                m.d.sync += [
                    number.eq(0),
                    candidate_words.eq(0),
                    rows_left.eq(job.row_end - job.row_begin),
                    first.eq(Mux(job.random, 0, job.candidate_first)),
                    shift.eq(Mux(job.random, 0, job.candidate_shift)),
                    limit.eq(Mux(job.protected_from < job.inner_size, job.protected_from, job.inner_size)),
                ]
                with m.If(job.row_begin >= job.row_end):
                    m.next = "DONE"
                with m.If(
                    (job.inner_size > structure.columns)
                    | (job.span[16:] == 0)
                    | ((job.candidate_first >> job.candidate_shift) != 0)
                ):
                    m.d.comb += raise_fault(self.faults[0], ErrorCode.COMMAND_RANGE, address=job.values)
                    m.next = "STOPPED"
                for name in (*ADDRESSES, "candidates"):
                    needed = ~job.random if name == "candidates" else 1
                    with m.If(needed & ((job[name] & Const(self._memory.beat_bytes - 1, 32)) != 0)):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.MISALIGNED, address=job[name])
                        m.next = "STOPPED"
            with m.State("COUNT"):
                m.d.sync += [
                    candidate_count.eq((limit + others) >> shift),
                    lacks_last.eq(first > ((limit - 1)[: len(others)] & others)),
                ]
                m.d.comb += fetch.start.eq(1)
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                # Pointers come meanwhile.
                m.d.comb += match.seed_valid.eq(number == 0)
                with m.If((number << exact_log2(CANDIDATE_WORD)) < candidate_count):
                    m.d.sync += [candidate_words.eq(candidate_words + rows_left), number.eq(number + 1)]
                with m.Else():
                    m.d.comb += fetch.read_candidates.eq(~job.random)
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += load.enable.eq(1)
                with m.If((rows_left == 0) & ~stop):
                    m.d.comb += flush.eq(1)
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.comb += writer.flush.eq(exchanges.level == 0)
                with m.If((exchanges.level == 0) & writer.idle & write_port.idle & ~stop):
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
