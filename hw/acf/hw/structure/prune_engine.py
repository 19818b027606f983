"""Prunes a layer: drops its smallest entries, wherever they are, and moves the others together.

Entries go by several times, row after row. In the first passes their magnitudes are counted, until it is known which of
them are the smallest; in the last one those that stay are written, and the row pointers as they are then. An entry is
written when it has been read, and where it was read or before: so a layer can be written over itself.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.element_reader import ElementReader
from acf.hw.structure.element_writer import ElementWriter
from acf.hw.structure.ports import ReadPort, WritePort
from acf.hw.structure.radix_select import DIGITS, KEY_WIDTH, RadixSelect
from acf.isa import ErrorCode

__all__ = ["PruneEngine", "prune_job_layout"]

_ENTRY_ARRAYS = ("indices", "values", "master", "momentum")
_ARRAYS = ("pointers", *_ENTRY_ARRAYS)

prune_job_layout = data.StructLayout(
    {
        "shift": 32,
        **dict.fromkeys(_ARRAYS, 32),
        "row_end": 32,
        "index_size": 1,
        "layer_drop": 32,
        "inner_size": 32,
        "protected_from": 32,
        "semaphore": 4,
    }
)
"""A layer to prune; the fields are those of the command PRUNE."""


class PruneEngine(wiring.Component):
    """Drops entries of a layer as ``acf.golden.structure.prune`` says.

    One job at a time. It takes four cycles for each entry and each row, as long as memory keeps up, and about 6,000 to
    look through what has been counted. The entries are read once whole, and their indices and master values three times
    more.

    Parameters
    ----------
    config : FabricConfig
    structure : StructureConfig or None
        Those of ``config`` when None.

    Members
    -------
    i : In(stream), ``prune_job_layout``
        Addresses and ``shift`` are those of whole beats. Where ``shift`` is not 0, what is written must not lie in what
        is read.
    done : Out(stream), 4 bits
        The semaphore of a job, when all that it wrote has been answered.
    read : Out(axi_read)
        IDs 0 to 4. Beats at the ends of what is needed are read whole.
    write : Out(axi_write)
        IDs 0 to 4. Nothing is written outside the arrays, as long as they will be.
    faults : Out(fault_signature).array(5)
        MISALIGNED, with the address or shift; the job is not begun then. POINTER_ORDER and POINTER_RANGE; INDEX_RANGE:
        nothing has been written then. READ_RESPONSE; WRITE_RESPONSE: the layer may have been written in part. Nothing
        new is begun after the first one, until reset.
    halt : In(1)
        No more bursts are begun and no jobs finished, until reset; writes that have begun are finished.
    changed, cycles : Out(32)
        Entries dropped by this job, or the last one, and the cycles that it took.
    """

    def __init__(self, *, config: FabricConfig, structure: StructureConfig | None = None):
        self._memory = config.memory
        self._structure = structure or config.structure
        super().__init__(
            {
                "i": In(stream.Signature(prune_job_layout)),
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

        parts = {"memory": self._memory, "structure": self._structure}
        m.submodules.read_port = read_port = ReadPort(arrays=len(_ARRAYS), **parts)
        m.submodules.write_port = write_port = WritePort(arrays=len(_ARRAYS), **parts)
        m.submodules.select = select = RadixSelect()
        readers = {array: ElementReader(**parts) for array in _ARRAYS}
        writers = {array: ElementWriter(**parts) for array in _ARRAYS}
        for array in _ARRAYS:
            m.submodules[f"{array}_reader"] = readers[array]
            m.submodules[f"{array}_writer"] = writers[array]

        failed = Signal()
        stop = Signal()
        with m.If(Cat(fault.valid for fault in self.faults).any()):
            m.d.sync += failed.eq(1)
        m.d.comb += stop.eq(self.halt | failed)

        wiring.connect(m, read_port.read, wiring.flipped(self.read))
        wiring.connect(m, write_port.write, wiring.flipped(self.write))
        for number, array in enumerate(_ARRAYS):
            reader, writer = readers[array], writers[array]
            wiring.connect(m, reader.request, read_port.requests[number])
            wiring.connect(m, writer.request, write_port.requests[number])
            wiring.connect(m, writer.o, write_port.beats[number])
            m.d.comb += [
                reader.beat.eq(read_port.beat),
                reader.beat_valid.eq(read_port.beat_valid[number]),
                reader.halt.eq(stop),
                writer.halt.eq(stop),
            ]
        for number, port in ((3, read_port), (4, write_port)):
            m.d.comb += [self.faults[number].valid.eq(port.fault.valid), self.faults[number].p.eq(port.fault.p)]

        job = Signal(prune_job_layout)
        entries = Signal(32)
        droppable = Signal(32)
        kept = Signal(32)  # entries that there will be
        writing = Signal()  # the last pass
        asks_bound = Signal()
        begins = Signal()
        m.d.comb += kept.eq(entries - self.changed)
        for array in _ARRAYS:
            reader, writer = readers[array], writers[array]
            half = Const(1, 1) if array == "values" else job.index_size if array == "indices" else Const(0, 1)
            read_begins = begins if array in ("indices", "master") else begins & writing
            address, count, new_count = job[array], entries, kept
            if array == "pointers":
                # The last one first, alone. Not by an override: a field that is constant beside one that is overridden
                # becomes Verilog that never runs.
                read_begins = begins | asks_bound
                address = address + Mux(asks_bound, job.row_end << 2, 0)
                new_count = job.row_end + 1
                count = Mux(asks_bound, 1, new_count)
            m.d.comb += [
                reader.i.valid.eq(read_begins),
                reader.i.p.address.eq(address),
                reader.i.p.count.eq(count),
                reader.i.p.half.eq(half),
                writer.i.valid.eq(begins & writing),
                writer.i.p.address.eq(job[array] + job.shift),
                writer.i.p.count.eq(new_count),
                writer.i.p.half.eq(half),
                writer.elements.payload.eq(reader.o.payload),
            ]
        rows = readers["pointers"]
        new_rows = writers["pointers"]

        # Where a pass is: pointers and entries that have gone by, where the row ends, and entries that stay.
        number = Signal(33)
        place = Signal(32)
        end = Signal(32)
        stayed = Signal(32)
        ties = Signal(32)

        index = readers["indices"].o.payload
        pointer = rows.o.payload
        unprotected = Signal()
        drops = Signal()
        tie = Signal()
        entry_there = Signal()
        writers_ready = Signal()
        m.d.comb += [
            select.start.eq(asks_bound),
            select.rank.eq(job.layer_drop),
            select.key.eq(readers["master"].o.payload[:KEY_WIDTH]),
            unprotected.eq(index < job.protected_from),
            tie.eq(unprotected & ~select.below & select.equal & (ties != 0)),
            drops.eq((unprotected & select.below) | tie),
            entry_there.eq(
                readers["indices"].o.valid
                & readers["master"].o.valid
                & (~writing | (readers["values"].o.valid & readers["momentum"].o.valid))
            ),
            writers_ready.eq(Cat(writers[array].elements.ready for array in _ENTRY_ARRAYS).all()),
            new_rows.elements.payload.eq(stayed),
            self.done.payload.eq(job.semaphore),
        ]

        def take_entry():
            for array in _ENTRY_ARRAYS:
                m.d.comb += [
                    readers[array].o.ready.eq(writing if array in ("values", "momentum") else 1),
                    writers[array].elements.valid.eq(writing & ~drops),
                ]
            m.d.comb += select.valid.eq(unprotected & ~writing)
            m.d.sync += place.eq(place + 1)
            with m.If(~writing & (select.passes == 0)):
                m.d.sync += droppable.eq(droppable + unprotected)
            with m.If(~drops):
                m.d.sync += stayed.eq(stayed + 1)
            with m.If(tie):
                m.d.sync += ties.eq(ties - 1)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(~stop)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [job.eq(self.i.payload), self.cycles.eq(0), self.changed.eq(0)]
                    m.d.sync += [droppable.eq(0), writing.eq(0)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "BOUND"
                for name in (*_ARRAYS, "shift"):
                    with m.If((job[name] & Const(self._memory.beat_bytes - 1, 32)) != 0):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.MISALIGNED, address=job[name])
                        m.next = "STOPPED"
            with m.State("BOUND"):
                m.d.comb += asks_bound.eq(1)
                m.next = "ENTRIES"
            with m.State("ENTRIES"):
                m.d.comb += rows.o.ready.eq(1)
                with m.If(rows.o.valid):
                    m.d.sync += entries.eq(pointer)
                    m.next = "BEGIN"
            with m.State("BEGIN"), m.If(~select.busy):
                m.d.comb += begins.eq(1)
                m.d.sync += [number.eq(0), place.eq(0), end.eq(0), stayed.eq(0), ties.eq(select.ties)]
                m.next = "PASS"
            with m.State("PASS"):
                with m.If(place != end), m.If(entry_there & (~writing | drops | writers_ready)):
                    take_entry()
                    with m.If(index >= job.inner_size):
                        m.d.comb += raise_fault(self.faults[2], ErrorCode.INDEX_RANGE, row=number - 2, index=index)
                        m.next = "STOPPED"
                with m.Elif(number <= job.row_end):
                    # Where a row begins is known when all before it has gone by.
                    written_too = writing & (number != 0)
                    with m.If(rows.o.valid & (~written_too | new_rows.elements.ready)):
                        m.d.comb += [rows.o.ready.eq(1), new_rows.elements.valid.eq(written_too)]
                        m.d.sync += [number.eq(number + 1), end.eq(pointer)]
                        row = Mux(number == 0, 0, number - 1)
                        with m.If(pointer < end):
                            m.d.comb += raise_fault(self.faults[1], ErrorCode.POINTER_ORDER, row=row, index=pointer)
                            m.next = "STOPPED"
                        with m.Elif((pointer > entries) | ((number == 0) & (pointer != 0))):
                            m.d.comb += raise_fault(self.faults[1], ErrorCode.POINTER_RANGE, row=row, index=pointer)
                            m.next = "STOPPED"
                with m.Elif(writing):
                    m.d.comb += new_rows.elements.valid.eq(1)
                    with m.If(new_rows.elements.ready):
                        m.next = "END"
                with m.Else():
                    m.d.comb += select.ended.eq(1)
                    m.next = "COUNTED"
            with m.State("COUNTED"), m.If(~select.busy):
                m.next = "BEGIN"
                with m.If(select.passes == len(DIGITS)):
                    m.d.sync += [
                        writing.eq(1),
                        self.changed.eq(Mux(droppable < job.layer_drop, droppable, job.layer_drop)),
                    ]
            with m.State("END"):
                written = Cat(writer.i.ready for writer in writers.values()).all() & write_port.idle
                with m.If(written & ~stop):
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
