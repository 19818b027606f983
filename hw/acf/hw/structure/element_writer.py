"""One array that is written element by element."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.array_reader import burst_layout
from acf.hw.structure.array_writer import ArrayWriter, beat_layout
from acf.hw.structure.element_reader import element_run_layout

__all__ = ["ElementWriter"]


class ElementWriter(wiring.Component):
    """Writes a run of elements that begins at a whole beat, one element a cycle.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    i : In(stream), ``element_run_layout``
        Addresses are those of whole beats. Taken when all of the run before it has been given; ``count`` may be 0.
    elements : In(stream), 32 bits
        The elements of the run, taken only while it lacks some.
    request, o, halt
        As those of ``ArrayWriter``.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._writer = ArrayWriter(memory=memory, structure=structure)
        super().__init__(
            {
                "i": In(stream.Signature(element_run_layout)),
                "elements": In(stream.Signature(32)),
                "request": Out(stream.Signature(burst_layout(memory=memory))),
                "o": Out(stream.Signature(beat_layout(memory=memory))),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        beat_bytes = self._memory.beat_bytes
        beat_bits = exact_log2(beat_bytes)
        m.submodules.writer = writer = self._writer
        wiring.connect(m, writer.request, wiring.flipped(self.request))
        wiring.connect(m, writer.o, wiring.flipped(self.o))

        left = Signal(32)
        half = Signal()
        place = Signal(beat_bits - 1)  # of the next element in its beat
        run_bytes = Mux(self.i.p.half, self.i.p.count << 1, self.i.p.count << 2)
        begins = Signal()
        last = Signal()
        ends = Signal()
        moves = Signal()
        m.d.comb += [
            writer.halt.eq(self.halt),
            self.i.ready.eq(writer.i.ready),
            writer.i.valid.eq(self.i.valid),
            writer.i.p.beat.eq(self.i.p.address >> beat_bits),
            writer.i.p.count.eq((run_bytes + (beat_bytes - 1)) >> beat_bits),
            writer.i.p.bytes.eq(run_bytes[:beat_bits]),
            begins.eq(place == 0),
            last.eq(left == 1),
            ends.eq(last | Mux(half, place.all(), place[:-1].all())),
            self.elements.ready.eq((left != 0) & (~begins | writer.room)),
            moves.eq(self.elements.valid & self.elements.ready),
            writer.reserve.eq(moves & begins),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [left.eq(self.i.p.count), half.eq(self.i.p.half)]
        m.d.sync += [writer.beat_valid.eq(moves & ends), writer.beat_last.eq(last)]
        with m.If(moves):
            m.d.sync += [left.eq(left - 1), place.eq(Mux(ends, 0, place + 1))]
            with m.If(half):
                m.d.sync += writer.beat.word_select(place, 16).eq(self.elements.payload[:16])
            with m.Else():
                m.d.sync += writer.beat.word_select(place[:-1], 32).eq(self.elements.payload)

        return m
