"""One array that is written as a run of beats."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.array_reader import burst_layout

__all__ = ["ArrayWriter", "beat_layout", "written_run_layout"]


def written_run_layout(*, memory: MemoryConfig) -> data.StructLayout:
    """Number of the first beat in memory, how many, and bytes of the last one (0 for all)."""
    beat_bits = exact_log2(memory.beat_bytes)
    return data.StructLayout({"beat": memory.address_width - beat_bits, "count": 32, "bytes": beat_bits})


def beat_layout(*, memory: MemoryConfig) -> data.StructLayout:
    """A beat to write, and which of its bytes."""
    return data.StructLayout({"data": memory.data_width, "strobe": memory.beat_bytes})


class ArrayWriter(wiring.Component):
    """Buffers beats and writes them in bursts.

    A burst is asked for when all of it is in the buffer. It ends at a multiple of ``structure.burst_beats``, so that it
    never crosses a 4 KiB border, or with the run.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    i : In(stream), ``written_run_layout``
        Taken when all of the run before it has been asked for; ``count`` may be 0.
    room : Out(1)
        There is a place in the buffer that is not reserved.
    reserve : In(1)
        Reserves it; only while ``room``.
    beat : In(data_width)
    beat_last : In(1)
        It ends the run.
    beat_valid : In(1)
        Takes ``beat`` to a place reserved.
    request : Out(stream), ``burst_layout``
        Bursts to write. ``halt`` takes back what was offered.
    o : Out(stream), ``beat_layout``
        The beats of all bursts.
    halt : In(1)
        Asks for nothing more; beats of bursts asked for are still given.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "i": In(stream.Signature(written_run_layout(memory=memory))),
                "room": Out(1),
                "reserve": In(1),
                "beat": In(memory.data_width),
                "beat_last": In(1),
                "beat_valid": In(1),
                "request": Out(stream.Signature(burst_layout(memory=memory))),
                "o": Out(stream.Signature(beat_layout(memory=memory))),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory = self._memory
        depth, burst = self._structure.buffer_beats, self._structure.burst_beats
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=memory.data_width + 1, depth=depth)

        beat = Signal(len(self.i.p.beat))
        left = Signal(32)
        end_bytes = Signal(len(self.i.p.bytes))
        free = Signal(range(depth + 1), init=depth)
        waiting = Signal(range(depth + 1))  # beats in the buffer that no burst has been asked for
        in_burst = Signal(range(burst + 1))
        length = Signal(range(burst + 1))
        asked = Signal()
        m.d.comb += [
            in_burst.eq(burst - (beat & (burst - 1))),
            length.eq(Mux(left < in_burst, left, in_burst)),
            self.request.valid.eq((left != 0) & (waiting >= length) & ~self.halt),
            self.request.p.address.eq(beat << exact_log2(memory.beat_bytes)),
            self.request.p.length.eq(length - 1),
            asked.eq(self.request.valid & self.request.ready),
            # The bytes of a run count until its last beat is gone, that of the next one begins after that.
            self.i.ready.eq((left == 0) & ~beats.r_rdy),
        ]
        with m.If(asked):
            m.d.sync += [beat.eq(beat + length), left.eq(left - length)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [beat.eq(self.i.p.beat), left.eq(self.i.p.count), end_bytes.eq(self.i.p.bytes)]

        last = beats.r_data[-1]
        partial = Cat(n < end_bytes for n in range(memory.beat_bytes))
        m.d.comb += [
            self.room.eq(free != 0),
            beats.w_data.eq(Cat(self.beat, self.beat_last)),
            beats.w_en.eq(self.beat_valid),
            self.o.valid.eq(beats.r_rdy),
            self.o.p.data.eq(beats.r_data[:-1]),
            self.o.p.strobe.eq(Mux(last & (end_bytes != 0), partial, ~0)),
            beats.r_en.eq(self.o.ready),
        ]
        m.d.sync += [
            free.eq(free - self.reserve + (self.o.valid & self.o.ready)),
            waiting.eq(waiting + self.beat_valid - Mux(asked, length, 0)),
        ]

        return m
