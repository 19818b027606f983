"""One array that is read as a run of beats."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig

__all__ = ["ArrayReader", "burst_layout", "run_layout"]


def burst_layout(*, memory: MemoryConfig) -> data.StructLayout:
    """A burst: address of its first beat, and beats less one."""
    return data.StructLayout({"address": memory.address_width, "length": 8})


def run_layout(*, memory: MemoryConfig) -> data.StructLayout:
    """Beats that follow each other: number of the first beat in memory, and how many."""
    return data.StructLayout({"beat": memory.address_width - exact_log2(memory.beat_bytes), "count": 32})


class ArrayReader(wiring.Component):
    """Asks for runs of beats and buffers what comes.

    A burst is asked for when the buffer has room for all of it. It ends at a multiple of ``structure.burst_beats``, so
    that it never crosses a 4 KiB border.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    i : In(stream), ``run_layout``
        Taken when all of the run before it has been asked for; ``count`` may be 0.
    request : Out(stream), ``burst_layout``
        Bursts to read, answered in order. ``halt`` takes back what was offered.
    beat : In(data_width)
    beat_valid : In(1)
        Takes ``beat``, the answer.
    o : Out(stream), data_width
        The beats of all runs.
    halt : In(1)
        Asks for nothing more.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(memory=memory))),
                "request": Out(stream.Signature(burst_layout(memory=memory))),
                "beat": In(memory.data_width),
                "beat_valid": In(1),
                "o": Out(stream.Signature(memory.data_width)),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        depth, burst = self._structure.buffer_beats, self._structure.burst_beats
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=self._memory.data_width, depth=depth)

        beat = Signal(len(self.i.p.beat))
        left = Signal(32)
        free = Signal(range(depth + 1), init=depth)
        in_burst = Signal(range(burst + 1))
        length = Signal(range(burst + 1))
        asked = Signal()
        m.d.comb += [
            in_burst.eq(burst - (beat & (burst - 1))),
            length.eq(Mux(left < in_burst, left, in_burst)),
            self.request.valid.eq((left != 0) & (free >= length) & ~self.halt),
            self.request.p.address.eq(beat << exact_log2(self._memory.beat_bytes)),
            self.request.p.length.eq(length - 1),
            asked.eq(self.request.valid & self.request.ready),
            self.i.ready.eq(left == 0),
        ]
        with m.If(asked):
            m.d.sync += [beat.eq(beat + length), left.eq(left - length)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [beat.eq(self.i.p.beat), left.eq(self.i.p.count)]

        m.d.comb += [
            beats.w_data.eq(self.beat),
            beats.w_en.eq(self.beat_valid),
            self.o.valid.eq(beats.r_rdy),
            self.o.payload.eq(beats.r_data),
            beats.r_en.eq(self.o.ready),
        ]
        m.d.sync += free.eq(free - Mux(asked, length, 0) + (self.o.valid & self.o.ready))

        return m
