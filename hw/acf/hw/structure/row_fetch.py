"""Reads what the rewire engine needs to see of a layer, ahead of it."""

import dataclasses

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.array_reader import ArrayReader
from acf.hw.structure.ports import ReadPort
from acf.hw.structure.row_requests import ROW_ENTRIES_MAX, row_layout
from acf.isa import CANDIDATE_WORD, ErrorCode

__all__ = ["ADDRESSES", "RowFetch", "rewire_job_layout"]

ADDRESSES = ("pointers", "indices", "values", "master", "momentum")
"""Arrays of a layer; the addresses are those of row 0."""

_ROWS = 4

rewire_job_layout = data.StructLayout(
    {
        **dict.fromkeys(ADDRESSES, 32),
        "candidates": 32,
        "candidate_first": 4,
        "candidate_shift": 2,
        "row_begin": 32,
        "row_end": 32,
        "span": 32,
        "random": 1,
        "index_size": 1,
        "inner_size": 32,
        "protected_from": 32,
        "seed": 32,
        "semaphore": 4,
    }
)
"""Rows to rewire; the fields are those of the command REWIRE."""


class RowFetch(wiring.Component):
    """Gives the rows of a job, and whole beats of their indices, master values and candidates.

    Rows follow each other in memory, so each array is one run of beats from the first row to the end of the last one. A
    row a cycle, and a beat of each array a cycle.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    job : In(rewire_job_layout)
        Stays until all has been taken.
    start : In(1)
        Begins; ``row_begin`` is less than ``row_end``.
    candidate_words : In(32)
        Words of ``CANDIDATE_WORD`` bits to read.
    read_candidates : In(1)
        Begins to read them, once for a job.
    rows : Out(stream), ``row_layout``
    indices, master, candidates : Out(stream), data_width
        Beats in the order of memory; the first entries and the last ones need not fill theirs.
    read : Out(axi_read)
        IDs 0 to 3.
    faults : Out(fault_signature).array(2)
        POINTER_ORDER, and POINTER_RANGE for a row of more than ``ROW_ENTRIES_MAX`` entries; READ_RESPONSE. Nothing
        follows.
    halt : In(1)
        Asks for nothing more.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._structure = structure
        beats = stream.Signature(memory.data_width)
        super().__init__(
            {
                "job": In(rewire_job_layout),
                "start": In(1),
                "candidate_words": In(32),
                "read_candidates": In(1),
                "rows": Out(stream.Signature(row_layout)),
                "indices": Out(beats),
                "master": Out(beats),
                "candidates": Out(beats),
                "read": Out(axi_read_signature(memory=memory)),
                "faults": Out(fault_signature).array(2),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        job = self.job
        parts = {"memory": self._memory, "structure": self._structure}
        beat_bytes = self._memory.beat_bytes
        beat_bits = exact_log2(beat_bytes)

        m.submodules.port = port = ReadPort(arrays=4, **parts)
        m.submodules.rows = rows = fifo.SyncFIFOBuffered(width=row_layout.size, depth=_ROWS)
        # Master values, and candidates of short rows, come faster than indices: twice the buffer hides the latency.
        deeper = dataclasses.replace(self._structure, buffer_beats=2 * self._structure.buffer_beats)
        readers = {
            "pointers": ArrayReader(**parts),
            "indices": ArrayReader(**parts),
            "master": ArrayReader(memory=self._memory, structure=deeper),
            "candidates": ArrayReader(memory=self._memory, structure=deeper),
        }
        for name, reader in readers.items():
            m.submodules[f"{name}_reader"] = reader
            if name != "pointers":
                wiring.connect(m, reader.o, wiring.flipped(getattr(self, name)))

        wiring.connect(m, port.read, wiring.flipped(self.read))
        for number, reader in enumerate(readers.values()):
            wiring.connect(m, reader.request, port.requests[number])
            m.d.comb += [
                reader.beat.eq(port.beat),
                reader.beat_valid.eq(port.beat_valid[number]),
                reader.halt.eq(self.halt),
            ]
        m.d.comb += [self.faults[1].valid.eq(port.fault.valid), self.faults[1].p.eq(port.fault.p)]

        row = Signal(32)
        pointer, place = Signal(32), Signal(32)  # the one that has come, and the one before it
        has_pointer, uses_pointer = Signal(), Signal()
        end = Signal(32)  # of all rows
        given = Signal(row_layout)
        count = Signal(32)
        row_place = Signal(32)
        m.d.comb += [
            given.row.eq(row),
            given.place.eq(row_place),
            given.count.eq(count),
            rows.w_data.eq(given),
            self.rows.valid.eq(rows.r_rdy),
            self.rows.payload.eq(rows.r_data),
            rows.r_en.eq(self.rows.ready),
            readers["candidates"].i.valid.eq(self.read_candidates),
            readers["candidates"].i.p.beat.eq(job.candidates >> beat_bits),
            readers["candidates"].i.p.count.eq(
                (self.candidate_words + (beat_bytes * 8 // CANDIDATE_WORD - 1))
                >> exact_log2(beat_bytes * 8 // CANDIDATE_WORD)
            ),
        ]
        for name, shift in (("indices", Mux(job.index_size, 1, 2)), ("master", Const(2, 2))):
            first, last = Signal(32, name=f"{name}_first"), Signal(32, name=f"{name}_last")
            run = readers[name].i
            m.d.comb += [
                first.eq(job[name] + (place << shift)),
                last.eq(job[name] + (end << shift) - 1),
                run.p.beat.eq(first >> beat_bits),
                run.p.count.eq((last >> beat_bits) - (first >> beat_bits) + 1),
            ]

        # Pointers begin with a beat: which of its beat a pointer is follows from its number.
        in_beat = beat_bits - 2
        run, beats = readers["pointers"].i, readers["pointers"].o
        asks_all = Signal()
        ask = Signal(32)
        number = Signal(32)  # of the pointer that is taken from the beat
        last = Signal()
        takes = Signal()
        first_beat, last_beat = job.row_begin >> in_beat, job.row_end >> in_beat
        m.d.comb += [
            ask.eq(Mux(asks_all, first_beat, last_beat)),
            run.p.beat.eq((job.pointers >> beat_bits) + ask),
            run.p.count.eq(Mux(asks_all, last_beat - first_beat + 1, 1)),
            last.eq(number == job.row_end),
            takes.eq(beats.valid & (~has_pointer | uses_pointer)),
            beats.ready.eq(takes & (last | number[:in_beat].all())),
        ]
        with m.If(uses_pointer):
            m.d.sync += has_pointer.eq(0)
        with m.If(takes):
            m.d.sync += [
                pointer.eq(beats.payload.word_select(number[:in_beat], 32)),
                has_pointer.eq(1),
                # The end of all rows comes first.
                number.eq(Mux(last, job.row_begin, number + 1)),
            ]

        # A row that is being looked at.
        is_row, back, beyond, row_last, goes_on = Signal(), Signal(), Signal(), Signal(), Signal()
        with m.If(goes_on):
            m.d.sync += is_row.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                # The end of all rows first: it says how much is to be read.
                m.d.comb += run.valid.eq(self.start)
                with m.If(self.start):
                    m.d.sync += [row.eq(job.row_begin - 1), number.eq(job.row_end)]
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [run.valid.eq(1), asks_all.eq(1)]
                with m.If(run.ready):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += uses_pointer.eq(has_pointer)
                m.d.sync += end.eq(pointer)
                with m.If(has_pointer):
                    m.next = "FIRST"
            with m.State("FIRST"):
                m.d.comb += uses_pointer.eq(has_pointer)
                m.d.sync += place.eq(pointer)
                with m.If(has_pointer):
                    m.next = "ENTRIES"
            with m.State("ENTRIES"):
                m.d.comb += [readers[name].i.valid.eq(end > place) for name in ("indices", "master")]
                m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += uses_pointer.eq(has_pointer & (~is_row | goes_on) & ~(is_row & row_last))
                with m.If(uses_pointer):
                    m.d.sync += [
                        is_row.eq(1),
                        row.eq(row + 1),
                        row_place.eq(place),
                        place.eq(pointer),
                        count.eq(pointer - place),
                        back.eq(pointer < place),
                        # Behind the end of all rows there is nothing to give: one of the pointers to come goes back.
                        beyond.eq(pointer > end),
                        row_last.eq((row + 2)[:32] == job.row_end),
                    ]
                with m.If(is_row):
                    with m.If(back):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.POINTER_ORDER, row=row, index=place)
                        m.next = "STOPPED"
                    with m.Elif(count > ROW_ENTRIES_MAX):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.POINTER_RANGE, row=row, index=place)
                        m.next = "STOPPED"
                    with m.Else():
                        m.d.comb += [goes_on.eq(beyond | rows.w_rdy), rows.w_en.eq(~beyond)]
                        with m.If(goes_on & row_last):
                            m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        return m
