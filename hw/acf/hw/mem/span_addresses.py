"""Where in memory the indices and values of a row, or of a run of rows, lie."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.bitmap_rows import BITMAP_WORD, bitmap_part_layout
from acf.hw.mem.entry_window import cut_span_layout
from acf.hw.mem.group_rows import pattern_layout, place_width
from acf.hw.mem.pointer_fetch import row_walk_layout
from acf.isa import BLOCK

__all__ = ["SpanAddresses", "csr_job_layout", "place_layout"]

csr_job_layout = data.StructLayout(
    {
        "pointers": 32,
        "indices": 32,
        "values": 32,
        "entries": 32,
        "inner_begin": 32,
        "inner_size": 32,
        "inner_count": 16,
        "entry_begin": 32,
        "entry_end": 32,
        "entry_number": 16,
        "accumulator_first": 16,
        "dense": 1,
        "bitmap": 1,
        "blocks": 1,
        "n_of_m": 1,
        "pattern": pattern_layout,
        "wide": 1,
        "skip": 1,
        "scatter": 1,
        "sampled": 1,
        "record_ranges": 1,
        "use_ranges": 1,
        "range_first": 16,
        "rows": row_walk_layout,
    }
)
"""The fields of a STREAM command that concern the matrix: ``dense``, ``bitmap``, ``blocks`` and ``n_of_m`` for the
decoder, ``wide`` for 32-bit indices, inner and entry ranges of this feeder, ``entry_number`` the accumulator of the
first entry, ``range_first`` the place in the table of ranges of the row that tiles know as 0."""

place_layout = data.StructLayout({"address": 32, "bit": 3, "beats": 32})
"""Byte address of the first element, and its bit there; beats from that of the first to that of the last one."""

_BLOCK_BITS = exact_log2(BLOCK)


class SpanAddresses(wiring.Component):
    """Places of the indices and values of a span, by the decoder of its job.

    No latency; a span comes in the second cycle of its job at the earliest.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    job : In(csr_job_layout)
    span : In(cut_span_layout)
        Rows of blocks and of bitmaps come alone.
    bitmap_beat, bitmap_words : In
        The first beat of the bits of the row, and how many words but one are read; see ``BitmapRows``.
    indices, values : Out(place_layout)
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        beat_bits = exact_log2(config.memory.beat_bytes)
        super().__init__(
            {
                "job": In(csr_job_layout),
                "span": In(cut_span_layout),
                "bitmap_beat": In(config.memory.address_width - beat_bits),
                "bitmap_words": In(bitmap_part_layout["more"].width),
                "indices": Out(place_layout),
                "values": Out(place_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config, job, span, indices, values = self._config, self.job, self.span, self.indices, self.values
        formats = config.feeder.formats
        beat_bits = exact_log2(config.memory.beat_bytes)
        operand_bits = exact_log2(config.lane.number_format.operand_bytes)

        offset, size = Signal(32), Signal(34)  # bytes from the begin of the array, and of all indices
        m.d.comb += [
            offset.eq(Mux(job.wide, span.begin << 2, span.begin << 1)),
            size.eq(Mux(job.wide, span.count << 2, span.count << 1)),
        ]
        with m.If(job.bitmap):
            m.d.comb += [
                offset.eq(self.bitmap_beat << beat_bits),
                size.eq((self.bitmap_words + 1) << exact_log2(BITMAP_WORD // 8)),
            ]
        if "nm" in formats:
            width = place_width(job.pattern.group)
            with m.If(job.n_of_m):
                # The last bits may begin a further byte.
                m.d.comb += [
                    Cat(indices.bit, offset).eq(span.begin << width),
                    size.eq((indices.bit + (span.count[:16] << width) + 7) >> 3),
                ]
        values_begin = job.values
        if "blocks" in formats:
            with m.If(job.blocks):
                m.d.comb += [
                    offset.eq((span.begin >> _BLOCK_BITS) << 1),
                    size.eq(((span.begin[:_BLOCK_BITS] + span.count + BLOCK - 1) >> _BLOCK_BITS) << 1),
                ]
            # Where the values of the n-th rows of all blocks begin; of other decoders all begin in one place.
            planes = [Signal(32, name=f"plane_{n}") for n in range(BLOCK)]
            plane = Mux(job.blocks, job.entries >> _BLOCK_BITS, 0) << operand_bits
            m.d.sync += [
                begin.eq(job.values + (plane if n & 1 else 0) + (plane << 1 if n & 2 else 0))
                for n, begin in enumerate(planes)
            ]
            values_begin = Array(planes)[span.row[:_BLOCK_BITS]]

        def beats(place, size):
            """Beats of ``size`` bytes; what is less than a beat, at both ends, is a beat or two."""
            ends = place.address[:beat_bits] + size[:beat_bits] + ((1 << beat_bits) - 1)
            return size[beat_bits:] + ends[beat_bits:]

        m.d.comb += [
            indices.address.eq(job.indices + offset),
            indices.beats.eq(beats(indices, size)),
            values.address.eq(values_begin + (span.begin << operand_bits)),
            values.beats.eq(beats(values, span.count << operand_bits)),
        ]
        return m
