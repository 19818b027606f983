"""Reads what the merge engine needs of each row, ahead of it."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature
from acf.hw.mem.fault_report import fault_signature
from acf.hw.structure.array_reader import ArrayReader
from acf.hw.structure.element_reader import ElementReader
from acf.hw.structure.ports import ReadPort
from acf.hw.structure.row_requests import RowRequests, row_layout

__all__ = ["ENTRY_ARRAYS", "MergeFetch", "merge_job_layout"]

ENTRY_ARRAYS = ("indices", "values", "master", "momentum")
"""Arrays of a layer with a number for each entry."""

_ROWS = 2

merge_job_layout = data.StructLayout(
    {
        "merge": 1,
        "shift": 32,
        "pointers": 32,
        **dict.fromkeys(ENTRY_ARRAYS, 32),
        "grow": 32,
        "row_begin": 32,
        "row_end": 32,
        "candidates": 32,
        "candidate_stride": 32,
        "random": 1,
        "index_size": 1,
        "inner_size": 32,
        "protected_from": 32,
        "seed": 32,
        "semaphore": 4,
    }
)
"""Rows to survey, or to merge; the fields are those of the commands SURVEY and MERGE."""


class MergeFetch(wiring.Component):
    """Gives the rows of a job, and for each of them its entries and gradients.

    Up to two rows wait; what memory needs to give for the next one is asked for while one is being used. One element of
    each array a cycle, one beat of gradients a cycle.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    job : In(merge_job_layout)
    limit : In(range(structure.columns + 1))
        Columns whose gradients are read. It and ``job`` stay until all has been taken.
    start : In(1)
        Begins; ``row_begin`` is less than ``row_end``.
    busy : Out(1)
        There are rows that ``rows`` has not been given.
    rows : Out(stream), ``row_layout``
    indices, values, master, momentum : Out(stream), 32 bits
        Of the entries of all rows; only indices where nothing is merged.
    gradients : Out(stream), data_width
        Those of a row begin with a new beat. None are given when growth is random.
    read : Out(axi_read)
        IDs 0 to 5.
    faults : Out(fault_signature).array(2)
        Those of ``RowRequests``, and READ_RESPONSE.
    halt : In(1)
        Asks for nothing more.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "job": In(merge_job_layout),
                "limit": In(range(structure.columns + 1)),
                "start": In(1),
                "busy": Out(1),
                "rows": Out(stream.Signature(row_layout)),
                **{array: Out(stream.Signature(32)) for array in ENTRY_ARRAYS},
                "gradients": Out(stream.Signature(memory.data_width)),
                "read": Out(axi_read_signature(memory=memory)),
                "faults": Out(fault_signature).array(2),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        job = self.job
        parts = {"memory": self._memory, "structure": self._structure}
        beat_bits = exact_log2(self._memory.beat_bytes)
        words = self._memory.beat_bytes // 4

        m.submodules.port = port = ReadPort(arrays=2 + len(ENTRY_ARRAYS), **parts)
        m.submodules.pointers = pointers = ElementReader(**parts)
        m.submodules.gradients = gradients = ArrayReader(**parts)
        entries = {array: ElementReader(**parts) for array in ENTRY_ARRAYS}
        for array, reader in entries.items():
            m.submodules[array] = reader
        m.submodules.requests = requests = RowRequests()
        m.submodules.rows = rows = fifo.SyncFIFO(width=row_layout.size, depth=_ROWS)

        wiring.connect(m, port.read, wiring.flipped(self.read))
        wiring.connect(m, pointers.o, requests.pointers)
        wiring.connect(m, gradients.o, wiring.flipped(self.gradients))
        for number, reader in enumerate((pointers, gradients, *entries.values())):
            wiring.connect(m, reader.request, port.requests[number])
            m.d.comb += [
                reader.beat.eq(port.beat),
                reader.beat_valid.eq(port.beat_valid[number]),
                reader.halt.eq(self.halt),
            ]
        for fault, part in zip(self.faults, (requests, port), strict=True):
            m.d.comb += [fault.valid.eq(part.fault.valid), fault.p.eq(part.fault.p)]

        taken = Signal()
        ready = rows.w_rdy & (job.random | gradients.i.ready)
        for array, reader in entries.items():
            half = Const(1, 1) if array == "values" else job.index_size if array == "indices" else Const(0, 1)
            wanted = 1 if array == "indices" else job.merge
            ready &= reader.i.ready
            wiring.connect(m, reader.o, wiring.flipped(getattr(self, array)))
            m.d.comb += [
                reader.i.valid.eq(taken & wanted),
                reader.i.p.address.eq(job[array] + (requests.o.place << Mux(half, 1, 2))),
                reader.i.p.count.eq(requests.o.count),
                reader.i.p.half.eq(half),
            ]
        m.d.comb += [
            pointers.i.valid.eq(self.start),
            pointers.i.p.address.eq(job.pointers + (job.row_begin << 2)),
            pointers.i.p.count.eq(job.row_end - job.row_begin + 1),
            requests.start.eq(self.start),
            requests.row_begin.eq(job.row_begin),
            requests.row_end.eq(job.row_end),
            requests.candidate_stride.eq(job.candidate_stride),
            requests.ready.eq(ready),
            taken.eq(requests.valid & requests.ready),
            self.busy.eq(requests.busy),
            rows.w_data.eq(requests.o),
            rows.w_en.eq(taken),
            self.rows.valid.eq(rows.r_rdy),
            self.rows.payload.eq(rows.r_data),
            rows.r_en.eq(self.rows.ready),
            gradients.i.valid.eq(taken & ~job.random),
            gradients.i.p.beat.eq((job.candidates + requests.candidates) >> beat_bits),
            gradients.i.p.count.eq((self.limit + (words - 1)) >> exact_log2(words)),
        ]

        return m
