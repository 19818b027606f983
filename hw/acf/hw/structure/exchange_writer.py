"""Writes what has changed in rows: columns, and zeros."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.array_reader import burst_layout
from acf.hw.structure.array_writer import beat_layout

__all__ = ["WRITTEN_ARRAYS", "ExchangeWriter", "exchange_layout"]

WRITTEN_ARRAYS = ("indices", "master", "momentum", "values")

_BEATS = 4
"""Beats whose addresses have been given."""


def exchange_layout(*, structure: StructureConfig) -> data.StructLayout:
    """A place among all entries, and the column that it gets."""
    return data.StructLayout({"place": 32, "column": range(structure.columns)})


class ExchangeWriter(wiring.Component):
    """Gives entries new columns: writes the index, and +0 as master value, momentum and value.

    Entries whose values lie in one beat are written together, when the next one lies in another: a burst for each beat
    of an array in which something changes. An exchange a cycle, and a beat a cycle behind it.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    i : In(stream), ``exchange_layout``
        Places rise.
    half : In(1)
        Indices have two bytes, else four.
    indices, master, momentum, values : In(32)
        Addresses of entry 0. These and ``half`` do not change unless ``idle``.
    flush : In(1)
        Nothing more comes: writes what is held.
    request : Out(stream), ``burst_layout``
    beat : Out(stream), ``beat_layout``
    idle : Out(1)
        All has been asked for and given.
    halt : In(1)
        Asks for nothing more; beats of bursts asked for are still given.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "i": In(stream.Signature(exchange_layout(structure=structure))),
                "half": In(1),
                **{array: In(32) for array in WRITTEN_ARRAYS},
                "flush": In(1),
                "request": Out(stream.Signature(burst_layout(memory=memory))),
                "beat": Out(stream.Signature(beat_layout(memory=memory))),
                "idle": Out(1),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        beat_bytes = self._memory.beat_bytes
        beat_bits = exact_log2(beat_bytes)
        count = beat_bytes // 2  # entries that are written together
        count_bits = beat_bits - 1
        group_bits = 32 - count_bits
        column_layout = data.ArrayLayout(exchange_layout(structure=self._structure)["column"].shape, count)

        # What is being gathered, and what is being written.
        group, mask = Signal(group_bits), Signal(count)
        columns = Signal(column_layout, reset_less=True)
        out_group = Signal(group_bits)
        out_mask = Signal(count)
        out_columns = Signal(column_layout, reset_less=True)
        # The first and the second half of the float32 arrays, values, and both halves of the indices.
        names = ("master_0", "master_1", "momentum_0", "momentum_1", "values", "indices_0", "indices_1")
        due = Signal(len(names))
        step = Signal(len(names))
        here = self.i.p.place[:count_bits]
        passes = Signal()
        elsewhere = Signal()
        free = Signal()
        half = count // 2
        low, high = mask[:half].any(), mask[half:].any()
        m.d.comb += [
            elsewhere.eq(self.i.valid & (self.i.p.place[count_bits:] != group)),
            passes.eq(mask.any() & (elsewhere | self.flush) & free),
            self.i.ready.eq(~mask.any() | ~elsewhere | free),
            step.eq(due & -due),
        ]
        with m.If(passes):
            m.d.sync += [
                out_group.eq(group),
                out_mask.eq(mask),
                out_columns.eq(columns),
                due.eq(
                    Cat(low, high, low, high, 1, Mux(self.half, 1, low), ~self.half & high),
                ),
                mask.eq(0),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                group.eq(self.i.p.place[count_bits:]),
                mask.eq(Mux(passes, 0, mask) | (1 << here)),
            ]
            for n in range(count):
                with m.If(here == n):
                    m.d.sync += columns[n].eq(self.i.p.column)

        m.submodules.beats = beats = fifo.SyncFIFO(width=beat_layout(memory=self._memory).size, depth=_BEATS)
        beat = Signal(beat_layout(memory=self._memory))
        base, offset = Signal(32), Signal(32)
        accepted = Signal()
        is_second = step[1] | step[3] | step[6]
        is_index = step[5] | step[6]
        is_short = step[4] | (is_index & self.half)
        for n, name in enumerate(names):
            with m.If(step[n]):
                m.d.comb += base.eq(getattr(self, name.partition("_")[0]))
        part = Signal(half)
        m.d.comb += [
            offset.eq(
                Mux(
                    is_short,
                    Cat(C(0, beat_bits), out_group)[:32],
                    Cat(C(0, beat_bits), is_second, out_group)[:32],
                )
            ),
            part.eq(Mux(is_second, out_mask[half:], out_mask[:half])),
            self.request.p.address.eq(base + offset),
            self.request.p.length.eq(0),
            self.request.valid.eq(due.any() & beats.w_rdy & ~self.halt),
            accepted.eq(self.request.valid & self.request.ready),
            beat.strobe.eq(
                Mux(
                    is_short,
                    Cat(bit.replicate(2) for bit in out_mask),
                    Cat(bit.replicate(4) for bit in part),
                )
            ),
            beats.w_en.eq(accepted),
            beats.w_data.eq(beat),
            self.beat.valid.eq(beats.r_rdy),
            self.beat.payload.eq(beats.r_data),
            beats.r_en.eq(self.beat.ready),
            free.eq((due == 0) | (accepted & (due == step))),
            self.idle.eq((mask == 0) & (due == 0) & ~beats.r_rdy),
        ]
        with m.If(is_index):
            short = Cat(_extended(out_columns[n], 16) for n in range(count))
            first = Cat(_extended(out_columns[n], 32) for n in range(half))
            second = Cat(_extended(out_columns[n], 32) for n in range(half, count))
            m.d.comb += beat.data.eq(Mux(self.half, short, Mux(is_second, second, first)))
        with m.If(accepted & ~passes):
            m.d.sync += due.eq(due & ~step)

        return m


def _extended(value, width):
    return Cat(value, C(0, width - len(value)))
