"""One array that is read as runs of elements."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.array_reader import ArrayReader, burst_layout

__all__ = ["ElementReader", "element_run_layout"]

_RUNS = 2

element_run_layout = data.StructLayout({"address": 32, "count": 32, "half": 1})
"""Elements that follow each other: address of the first, how many, and whether they have two bytes or four."""


class ElementReader(wiring.Component):
    """Reads runs of elements that begin anywhere, one element a cycle.

    Two runs wait; the second one is already asked for while the first is being given.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    i : In(stream), ``element_run_layout``
        Addresses are those of whole elements; ``count`` may be 0.
    request, beat, beat_valid, halt
        As those of ``ArrayReader``.
    o : Out(stream), 32 bits
        The elements of all runs.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._reader = ArrayReader(memory=memory, structure=structure)
        super().__init__(
            {
                "i": In(stream.Signature(element_run_layout)),
                "request": Out(stream.Signature(burst_layout(memory=memory))),
                "beat": In(memory.data_width),
                "beat_valid": In(1),
                "o": Out(stream.Signature(32)),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        beat_bytes = self._memory.beat_bytes
        beat_bits = exact_log2(beat_bytes)
        m.submodules.reader = reader = self._reader
        wiring.connect(m, reader.request, wiring.flipped(self.request))
        m.d.comb += [
            reader.beat.eq(self.beat),
            reader.beat_valid.eq(self.beat_valid),
            reader.halt.eq(self.halt),
        ]

        # Places in a beat are counted in elements of two bytes.
        run_layout = data.StructLayout({"place": beat_bits - 1, "count": 32, "half": 1})
        m.submodules.runs = runs = fifo.SyncFIFO(width=run_layout.size, depth=_RUNS)
        given = Signal(run_layout)
        run_bytes = Mux(self.i.p.half, self.i.p.count << 1, self.i.p.count << 2)
        takes = Signal()
        m.d.comb += [
            self.i.ready.eq(reader.i.ready & runs.w_rdy),
            takes.eq(self.i.valid & self.i.ready & (self.i.p.count != 0)),
            reader.i.valid.eq(takes),
            reader.i.p.beat.eq(self.i.p.address >> beat_bits),
            reader.i.p.count.eq((run_bytes + self.i.p.address[:beat_bits] + (beat_bytes - 1)) >> beat_bits),
            given.place.eq(self.i.p.address[1:beat_bits]),
            given.count.eq(self.i.p.count),
            given.half.eq(self.i.p.half),
            runs.w_en.eq(takes),
            runs.w_data.eq(given),
        ]

        run = data.View(run_layout, runs.r_data)
        taken = Signal(32)
        place = Signal(beat_bits - 1)
        last = Signal()
        moves = Signal()
        m.d.comb += [
            place.eq(run.place + Mux(run.half, taken, taken << 1)),
            last.eq(taken == run.count - 1),
            self.o.valid.eq(runs.r_rdy & reader.o.valid),
            self.o.payload.eq(
                Mux(
                    run.half,
                    reader.o.payload.word_select(place, 16),
                    reader.o.payload.word_select(place[1:], 32),
                )
            ),
            moves.eq(self.o.valid & self.o.ready),
            reader.o.ready.eq(moves & (last | Mux(run.half, place.all(), place[1:].all()))),
            runs.r_en.eq(moves & last),
        ]
        with m.If(moves):
            m.d.sync += taken.eq(Mux(last, 0, taken + 1))

        return m
