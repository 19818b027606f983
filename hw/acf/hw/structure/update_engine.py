"""The optimizer's step over the weights of a layer, in memory."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig, StructureConfig
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.hw.structure.array_reader import ArrayReader
from acf.hw.structure.array_writer import ArrayWriter
from acf.hw.structure.ports import ReadPort, WritePort
from acf.hw.structure.sgd_lane import SgdLane
from acf.isa import ErrorCode

__all__ = ["UpdateEngine", "update_job_layout"]

_ARRAYS = ("gradient", "master", "momentum", "weights")

update_job_layout = data.StructLayout(
    {
        **dict.fromkeys(_ARRAYS, 32),
        "count": 32,
        "learning_rate": 16,
        "momentum_factor": 16,
        "stochastic": 1,
        "seed": 32,
        "semaphore": 4,
    }
)
"""A step: addresses of the arrays, entries of each, and what ``SgdLane`` needs."""


class UpdateEngine(wiring.Component):
    """Takes steps of SGD with momentum, in place.

    Reads gradients, master values and momentum, and writes the latter two and the weights (see ``SgdLane``).

    One job at a time. The arrays must not overlap. One entry a cycle, as long as memory keeps up: six beats of float32
    numbers are moved for as many entries as a beat holds, and one of weights for two times that.

    Parameters
    ----------
    config : FabricConfig
    structure : StructureConfig or None
        Those of ``config`` when None.

    Members
    -------
    i : In(stream), ``update_job_layout``
        Addresses are those of whole beats; ``count`` may be 0.
    done : Out(stream), 4 bits
        The semaphore of a job, when all that it wrote has been answered.
    read : Out(axi_read)
        IDs 0 to 2. The last beat of an array is read whole.
    write : Out(axi_write)
        IDs 0 to 2. Nothing is written outside the arrays.
    faults : Out(fault_signature).array(3)
        MISALIGNED, with the first such address of a job, which then is not begun; READ_RESPONSE; WRITE_RESPONSE.
        Nothing new is begun after the first one, until reset.
    halt : In(1)
        No more bursts are begun and no jobs finished, until reset; writes that have begun are finished.
    """

    def __init__(self, *, config: FabricConfig, structure: StructureConfig | None = None):
        self._memory = config.memory
        self._structure = structure or config.structure
        super().__init__(
            {
                "i": In(stream.Signature(update_job_layout)),
                "done": Out(stream.Signature(4)),
                "read": Out(axi_read_signature(memory=config.memory)),
                "write": Out(axi_write_signature(memory=config.memory)),
                "faults": Out(fault_signature).array(3),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        parts = {"memory": self._memory, "structure": self._structure}
        words = self._memory.beat_bytes // 4
        word_bits = exact_log2(words)
        beat_bits = word_bits + 2

        m.submodules.read_port = read_port = ReadPort(arrays=3, **parts)
        m.submodules.write_port = write_port = WritePort(arrays=3, **parts)
        readers = {array: ArrayReader(**parts) for array in ("gradient", "master", "momentum")}
        writers = {array: ArrayWriter(**parts) for array in ("master", "momentum", "weights")}
        for array, reader in readers.items():
            m.submodules[f"{array}_reader"] = reader
        for array, writer in writers.items():
            m.submodules[f"{array}_writer"] = writer
        # Of an entry: its place in a beat of weights, whether it ends a beat of float32 numbers, and the job.
        tag_layout = data.StructLayout({"place": word_bits + 1, "ends": 1, "last": 1})
        m.submodules.lane = lane = SgdLane(tag_width=tag_layout.size)

        failed = Signal()
        stop = Signal()
        with m.If(Cat(fault.valid for fault in self.faults).any()):
            m.d.sync += failed.eq(1)
        m.d.comb += stop.eq(self.halt | failed)

        wiring.connect(m, read_port.read, wiring.flipped(self.read))
        wiring.connect(m, write_port.write, wiring.flipped(self.write))
        for number, reader in enumerate(readers.values()):
            wiring.connect(m, reader.request, read_port.requests[number])
            m.d.comb += [
                reader.beat.eq(read_port.beat),
                reader.beat_valid.eq(read_port.beat_valid[number]),
                reader.halt.eq(stop),
            ]
        for number, writer in enumerate(writers.values()):
            wiring.connect(m, writer.request, write_port.requests[number])
            wiring.connect(m, writer.o, write_port.beats[number])
            m.d.comb += writer.halt.eq(stop)
        for number, port in ((1, read_port), (2, write_port)):
            m.d.comb += [self.faults[number].valid.eq(port.fault.valid), self.faults[number].p.eq(port.fault.p)]

        # The job.
        job = Signal(update_job_layout)
        start = Signal()
        written = Signal()
        left = Signal(32)
        for array, run in (*readers.items(), *writers.items()):
            numbers = word_bits + (1 if array == "weights" else 0)  # numbers in a beat, as a power of two
            m.d.comb += [
                run.i.valid.eq(start),
                run.i.p.beat.eq(job[array] >> beat_bits),
                run.i.p.count.eq((job.count + ((1 << numbers) - 1)) >> numbers),
            ]
            if isinstance(run, ArrayWriter):
                m.d.comb += run.i.p.bytes.eq(job.count[:numbers] << (beat_bits - numbers))
        m.d.comb += [
            written.eq(Cat(writer.i.ready for writer in writers.values()).all() & write_port.idle),
            lane.momentum_factor.eq(job.momentum_factor),
            lane.learning_rate.eq(job.learning_rate),
            lane.stochastic.eq(job.stochastic),
            lane.seed.eq(job.seed),
            lane.seed_valid.eq(start),
            self.done.payload.eq(job.semaphore),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(~stop)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += job.eq(self.i.payload)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "START"
                for array in reversed(_ARRAYS):
                    with m.If((job[array] & Const(self._memory.beat_bytes - 1, 32)) != 0):
                        m.d.comb += raise_fault(self.faults[0], ErrorCode.MISALIGNED, address=job[array])
                        m.next = "STOPPED"
            with m.State("START"):
                m.d.comb += start.eq(1)
                m.d.sync += left.eq(job.count)
                m.next = "RUN"
            with m.State("RUN"), m.If(written & ~stop):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        # Entries into the lane, as soon as there is room for all that a beat of them gives.
        tag = Signal(tag_layout)
        place = Signal(word_bits + 1)
        word = place[:word_bits]
        fire = Signal()
        begins = Signal()
        available = Cat(reader.o.valid for reader in readers.values()).all()
        room = writers["master"].room & writers["momentum"].room & (writers["weights"].room | place.any())
        m.d.comb += [
            fire.eq(available & ((word != 0) | room)),
            begins.eq(fire & (word == 0)),
            tag.place.eq(place),
            tag.last.eq(left == 1),
            tag.ends.eq(tag.last | (word == words - 1)),
            lane.enable.eq(fire),
            lane.tag.eq(tag),
            writers["master"].reserve.eq(begins),
            writers["momentum"].reserve.eq(begins),
            writers["weights"].reserve.eq(begins & ~place[-1]),
        ]
        for array, reader in readers.items():
            m.d.comb += [
                getattr(lane, array).eq(reader.o.payload.word_select(word, 32)),
                reader.o.ready.eq(fire & tag.ends),
            ]
        with m.If(fire):
            m.d.sync += [left.eq(left - 1), place.eq(place + 1)]
        with m.If(start):
            m.d.sync += place.eq(0)

        # Results into beats.
        result = data.View(tag_layout, lane.tag_o)
        values = {
            "master": (lane.master_o, result.place[:word_bits]),
            "momentum": (lane.momentum_o, result.place[:word_bits]),
            "weights": (lane.weight_o, result.place),
        }
        for array, (value, at) in values.items():
            writer = writers[array]
            ends = result.ends if array != "weights" else result.last | (result.ends & result.place[-1])
            with m.If(lane.valid_o):
                m.d.sync += writer.beat.word_select(at, len(value)).eq(value)
            m.d.sync += [writer.beat_valid.eq(lane.valid_o & ends), writer.beat_last.eq(result.last)]

        return m
