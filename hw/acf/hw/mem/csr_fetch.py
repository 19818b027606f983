"""The CSR-fetch engine: from a compressed matrix in memory to a stream of entries.

Row pointers (``PointerFetch``) or the shape of a dense matrix (``DenseRows``) give rows, of which ``RowRanges`` and
``EntryWindow`` may pass only a part. Each row with entries is dealt to a free cursor: ``LineFetch`` reads its indices
and its values, ``CsrCursors`` takes the entries out of both, from the cursors in turn, and ``EntryFilter`` checks them.
Where entries are to come in the order of memory, ``EntryRuns`` joins rows to runs before, and ``RowTags`` tells them
apart behind; ``RowInterleaver`` mixes them again as far as sums allow.
There are three parts, each with a job of its own: while mixed entries of one are given, those of the next one are read,
and the rows of the one after that are found. Rows wait in front of ``EntryRuns``, entries in front of the interleaver.
Where entries come in the order of memory, two jobs that are decoded alike may be read at a time, so that memory has
something to do while cursors end the first of them; their *turn*, which is another for each, tells them apart.
Of a bitmap ``BitmapRows`` says where its rows lie, and ``BitmapDecoder`` makes indices of its ones. Rows with N entries
in each M columns are dense rows of their entries, whose shape ``GroupRows`` works out. The rows of a row of blocks
share its pointers and indices; their values lie as far apart as all values of one row in each block take.
Reads of pointers, and of indices and values of each cursor, have AXI IDs of their own, so that memory may answer them
in any order.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.axi import BURST_INCREMENT, axi_read_signature, beat_size
from acf.hw.mem.bitmap_decoder import BitmapDecoder
from acf.hw.mem.bitmap_rows import BitmapRows
from acf.hw.mem.csr_cursors import CsrCursors
from acf.hw.mem.dense_rows import DenseRows
from acf.hw.mem.entry_filter import EntryFilter, entry_layout, filter_job_layout
from acf.hw.mem.entry_runs import EntryRuns
from acf.hw.mem.entry_window import EntryWindow, cut_span_layout
from acf.hw.mem.fault_report import fault_signature
from acf.hw.mem.group_rows import GroupRows
from acf.hw.mem.line_fetch import LineFetch, encode, line_request_layout
from acf.hw.mem.pointer_fetch import PointerFetch, row_span_layout
from acf.hw.mem.row_interleaver import RowInterleaver
from acf.hw.mem.row_ranges import RowRanges
from acf.hw.mem.row_tags import RowTags
from acf.hw.mem.skid_buffer import SkidBuffer
from acf.hw.mem.span_addresses import SpanAddresses, csr_job_layout, place_layout

__all__ = ["CsrFetch", "pointer_id"]


def pointer_id(*, config: FabricConfig) -> int:
    """The AXI ID of pointer reads. Indices of cursor c have ID 2c, its values 2c + 1, pointers the ID after them.

    Raises
    ------
    ValueError
        If the memory IDs are too few for all cursors.
    """
    cursors, id_width = config.feeder.cursors, config.memory.id_width
    if 2 * cursors >= 1 << id_width:
        raise ValueError(f"{cursors} row cursors need {2 * cursors + 1} memory IDs, but the ID width is {id_width!r}")
    return 2 * cursors


class CsrFetch(wiring.Component):
    """Reads rows of a matrix and gives their entries.

    Entries of one row come in the order of memory, rows interleaved as their beats arrive; in SCATTER mode, where
    entries of different rows add to the same sum, and in SAMPLED mode, those of each accumulator do. One entry a cycle
    as long as memory keeps up: up to ``feeder.outstanding`` bursts each of pointers, indices and values are in flight.
    In SAMPLED mode no values are read.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    prepare : In(1)
        Takes ``job`` and finds its rows; only while ``can_prepare``. Bases are aligned to their elements.
    job : In(csr_job_layout)
    can_prepare : Out(1)
        No job waits to be read, and all rows of the one before have been found.
    start : In(1)
        Gives the entries of the job that was prepared; only while not ``busy``. They are read before.
    busy : Out(1)
        High from the cycle after ``start`` until the last entry has been taken from ``o``.
    o : Out(stream), ``entry_layout``
    read : Out(axi_read)
    filtered, zero_dropped : Out
        See ``EntryFilter``.
    faults : Out(fault_signature).array(4)
        Of pointers, indices, values and entries, none before its job was started. After the first one ``halt`` is
        expected.
    halt : In(1)
        Nothing more is asked of memory; answers are still taken.

    Raises
    ------
    ValueError
        If the memory IDs are too few for all cursors.
    """

    def __init__(self, *, config: FabricConfig):
        self._pointer_id = pointer_id(config=config)
        self._config = config
        super().__init__(
            {
                "prepare": In(1),
                "job": In(csr_job_layout),
                "can_prepare": Out(1),
                "start": In(1),
                "busy": Out(1),
                "o": Out(stream.Signature(entry_layout)),
                "read": Out(axi_read_signature(memory=config.memory)),
                "filtered": Out(range(config.feeder.group + 1)),
                "zero_dropped": Out(range(config.feeder.group + 1)),
                "faults": Out(fault_signature).array(4),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        early, job = Signal(csr_job_layout, name="early"), Signal(csr_job_layout, name="late")
        m.submodules.pointers = pointers = PointerFetch(config=config)
        m.submodules.dense_rows = dense_rows = DenseRows()
        has_groups, has_blocks = ("nm" in config.feeder.formats), ("blocks" in config.feeder.formats)
        line_entries = config.feeder.line_buffers * config.memory.beat_bytes // 4
        # Cuts the path on which what reads rows makes what finds them wait.
        m.submodules.found_rows = found_rows = SkidBuffer(shape=row_span_layout)
        m.submodules.ranges = ranges = RowRanges(places=config.feeder.ranges)
        m.submodules.window = window = EntryWindow()
        m.submodules.runs = runs = EntryRuns(length=line_entries)
        m.submodules.tags = tags = RowTags(config=config, length=line_entries)
        m.submodules.indices = indices = LineFetch(config=config)
        m.submodules.bitmap_rows = bitmap_rows = BitmapRows(config=config)
        m.submodules.bitmaps = bitmaps = BitmapDecoder(config=config)
        m.submodules.values = values = LineFetch(config=config)
        m.submodules.cursors = cursors = CsrCursors(config=config)
        m.submodules.filter = entry_filter = EntryFilter(config=config)
        m.submodules.interleaver = interleaver = RowInterleaver(config=config)

        # Which job is where. One whose rows are found is read as soon as all entries of the one before have been, and
        # given when it is started.
        begins, reads, reading, begins_anew = (Signal() for _ in range(4))
        turn = Signal()  # of the job that is read last
        overlaps, earlier_left = Signal(), Signal()  # entries of the one before it may be left; they are
        chains = Signal()  # the next one may be read before they have gone
        waits, admitted = Signal(), Signal()  # the early job is not read; it is
        given = Signal(init=1)  # the job that is read has been started
        shaped = Signal()  # the shape of groups has been worked out
        finding = begins | shaped | pointers.busy | dense_rows.busy | found_rows.o.valid | ranges.busy | window.o.valid
        m.d.comb += [
            self.can_prepare.eq(~waits & ~finding & ~bitmap_rows.busy),
            reads.eq(waits & given & (~reading | chains)),
            begins_anew.eq(reads & ~reading),
        ]
        m.d.sync += begins.eq(self.prepare)
        with m.If(self.prepare):
            m.d.sync += [early.eq(self.job), waits.eq(1), admitted.eq(0)]
        with m.If(reads):
            m.d.sync += [
                job.eq(early),
                waits.eq(0),
                admitted.eq(1),
                given.eq(0),
                turn.eq(~turn),
                overlaps.eq(reading),
            ]
        with m.Elif(~earlier_left):
            m.d.sync += overlaps.eq(0)
        with m.If(self.start):
            m.d.sync += given.eq(1)

        without_pointers = early.dense | early.n_of_m if has_groups else early.dense
        # Entries that are mixed again behind need not come from several rows at a time.
        in_runs = job.scatter | job.sampled
        # One entry a cycle, cursors in turn, is enough where most entries are of use.
        passes_over = Signal()
        filter_jobs = [Signal(filter_job_layout, name=f"filter_job_{n}") for n in range(2)]
        with m.If(reads):
            m.d.sync += passes_over.eq(
                ~(without_pointers | early.bitmap | early.use_ranges) & ((early.inner_count << 1) < early.inner_size)
            )
            for number, filter_job in enumerate(filter_jobs):
                with m.If(turn != number):
                    m.d.sync += [
                        *(
                            filter_job[name].eq(early[name])
                            for name in filter_job_layout.members
                            if name != "place_first"
                        ),
                        # What turns the number of an entry into its place.
                        filter_job.place_first.eq(early.entry_begin - early.entry_number),
                    ]
        m.d.comb += [
            pointers.start.eq(begins & ~without_pointers),
            pointers.pointers.eq(early.pointers),
            pointers.entries.eq(early.entries),
            pointers.rows.eq(early.rows),
            dense_rows.start.eq((begins & early.dense) | shaped),
            dense_rows.rows.eq(early.rows),
            dense_rows.inner_begin.eq(early.inner_begin),
            dense_rows.inner_size.eq(early.inner_size),
            dense_rows.inner_count.eq(early.inner_count),
            found_rows.i.payload.eq(Mux(without_pointers, dense_rows.o.p.as_value(), pointers.o.p.as_value())),
            found_rows.i.valid.eq(Mux(without_pointers, dense_rows.o.valid, pointers.o.valid)),
            dense_rows.o.ready.eq(found_rows.i.ready),
            pointers.o.ready.eq(found_rows.i.ready),
            ranges.use.eq(early.use_ranges),
            ranges.first.eq(early.range_first),
            # What the job that is read still finds may be what the next one uses.
            ranges.record.eq(job.record_ranges & reading),
            ranges.found_valid.eq(entry_filter.found_valid),
            ranges.found.eq(entry_filter.found),
            window.enable.eq(early.sampled),
            window.begin.eq(early.entry_begin),
            window.end.eq(early.entry_end),
            window.first.eq(early.entry_number),
            runs.i.payload.eq(window.o.payload),
            runs.i.valid.eq(window.o.valid & admitted),
            window.o.ready.eq(runs.i.ready & admitted),
            runs.enable.eq(in_runs),
            # Positions count within a row, and rows of blocks do not lie behind each other.
            runs.turn.eq(turn),
            runs.apart.eq(job.dense | (job.n_of_m if has_groups else 0) | (job.blocks if has_blocks else 0)),
            runs.finish.eq(~(admitted & finding)),
            tags.enable.eq(in_runs),
            cursors.dense.eq(job.dense),
            cursors.places.eq(job.n_of_m),
            cursors.pattern.eq(job.pattern),
            cursors.blocks.eq(job.blocks),
            cursors.wide.eq(job.wide),
            cursors.valueless.eq(job.sampled),
            cursors.ordered.eq(in_runs),
            cursors.grouped.eq(in_runs | passes_over),
            cursors.start.eq(begins_anew),
            cursors.decoded.eq(job.bitmap),
            cursors.index.eq(bitmaps.index),
            cursors.index_available.eq(Mux(job.bitmap, bitmaps.available, indices.available)),
            cursors.value_available.eq(values.available),
            cursors.index_line.eq(indices.line),
            cursors.value_line.eq(values.line),
            indices.select.eq(Mux(job.bitmap, bitmaps.select, cursors.select)),
            values.select.eq(cursors.select),
            indices.pop.eq(Mux(job.bitmap, bitmaps.beat_pop, cursors.index_pop)),
            bitmaps.part.eq(bitmap_rows.part),
            bitmaps.beat_available.eq(indices.available & job.bitmap.replicate(config.feeder.cursors)),
            bitmaps.line.eq(indices.line),
            bitmaps.index_select.eq(cursors.select),
            bitmaps.index_pop.eq(cursors.index_pop & job.bitmap),
            bitmap_rows.start.eq(begins & early.bitmap),
            bitmap_rows.rows.eq(early.rows),
            bitmap_rows.inner_size.eq(early.inner_size),
            bitmap_rows.inner_begin.eq(early.inner_begin),
            bitmap_rows.inner_count.eq(early.inner_count),
            bitmap_rows.partial.eq(early.use_ranges),
            bitmap_rows.load.eq(reads & early.bitmap),
            values.pop.eq(cursors.value_pop),
            indices.halt.eq(self.halt),
            values.halt.eq(self.halt),
            entry_filter.i_turn.eq(Mux(in_runs, tags.turn, turn)),
            entry_filter.dense.eq(job.dense),
            entry_filter.scatter.eq(job.scatter),
            entry_filter.sampled.eq(job.sampled),
            *(taken.eq(filter_job) for taken, filter_job in zip(entry_filter.jobs, filter_jobs, strict=True)),
            self.filtered.eq(entry_filter.filtered),
            self.zero_dropped.eq(entry_filter.zero_dropped),
        ]
        if has_groups:
            m.submodules.group_rows = group_rows = GroupRows()
            m.d.comb += [
                group_rows.pattern.eq(early.pattern),
                group_rows.inner_size.eq(early.inner_size),
                group_rows.inner_begin.eq(early.inner_begin),
                group_rows.inner_count.eq(early.inner_count),
            ]
            m.d.sync += shaped.eq(begins & early.n_of_m)
            with m.If(early.n_of_m):
                m.d.comb += [
                    dense_rows.inner_size.eq(group_rows.entries),
                    dense_rows.inner_begin.eq(group_rows.first),
                    dense_rows.inner_count.eq(group_rows.count),
                    # Columns follow from positions in the whole row.
                    runs.i.p.position.eq(window.o.p.position + group_rows.first),
                ]
        if has_blocks:
            m.d.comb += pointers.blocks.eq(early.blocks)
            with m.If(early.blocks):
                m.d.comb += runs.i.p.position.eq(window.o.p.begin)
        wiring.connect(m, found_rows.o, ranges.i)
        wiring.connect(m, ranges.o, window.i)
        wiring.connect(m, runs.tags, tags.tags)
        wiring.connect(m, cursors.o, tags.i)
        wiring.connect(m, tags.o, entry_filter.i)
        wiring.connect(m, interleaver.o, wiring.flipped(self.o))
        is_wanted = given | (entry_filter.o_turn != turn)
        m.d.comb += [
            interleaver.i.payload.eq(entry_filter.o.payload),
            interleaver.i.valid.eq(entry_filter.o.valid & is_wanted),
            entry_filter.o.ready.eq(interleaver.i.ready & is_wanted),
        ]
        # Indices of bits are in range, so there is one of the two at most.
        entry_fault = fault_signature.create()
        m.d.comb += [
            entry_fault.valid.eq(entry_filter.fault.valid | bitmaps.fault.valid),
            entry_fault.p.eq(Mux(job.bitmap, bitmaps.fault.p.as_value(), entry_filter.fault.p.as_value())),
        ]
        # What is wrong with entries that are not yet wanted is kept.
        found_faults = (
            (pointers.fault, turn),
            (indices.fault, indices.fault_turn),
            (values.fault, values.fault_turn),
            (entry_fault, Mux(in_runs, entry_filter.fault_turn, turn)),
        )
        for number, (fault, (source, source_turn)) in enumerate(zip(self.faults, found_faults, strict=True)):
            kept, kept_turn = fault_signature.create(), Signal(name=f"kept_turn_{number}")
            comes_first = (source_turn != turn) & (kept_turn == turn)
            with m.If(source.valid & (~kept.valid | comes_first)):
                m.d.sync += [kept.valid.eq(1), kept.p.eq(source.p), kept_turn.eq(source_turn)]
            is_wanted = given & admitted if source is pointers.fault else given | (kept_turn != turn)
            m.d.comb += [fault.valid.eq(kept.valid & is_wanted), fault.p.eq(kept.p)]

        dealing = self._deal(m, job, turn, in_runs, begins_anew, runs, indices, values, cursors, bitmap_rows, bitmaps)
        self._ask(m, pointers, indices, values)
        self._answer(m, pointers, indices, values)
        entering = (admitted & finding) | runs.busy | dealing
        alike = (
            in_runs
            & (early.sampled == job.sampled)
            & (early.scatter == job.scatter)
            & (early.wide == job.wide)
            & ~Cat(
                part[name] for part in (early, job) for name in ("dense", "n_of_m", "blocks", "bitmap", "record_ranges")
            ).any()
        )
        m.d.comb += [
            # Entries may still come out of the filter.
            reading.eq(entering | ~cursors.idle | bitmaps.busy | entry_filter.holds.any()),
            chains.eq(alike & ~entering & ~earlier_left),
            # Entries that are in cursors have a tag.
            earlier_left.eq(
                overlaps
                & (Mux(turn, entry_filter.holds[0], entry_filter.holds[1]) | (tags.tagged & (tags.turn != turn)))
            ),
            self.busy.eq((reading & given) | earlier_left | interleaver.busy),
        ]
        # Those of the job before may still be in the interleaver.
        skewed = Signal()
        with m.If(given):
            m.d.sync += skewed.eq(in_runs)
        m.d.comb += interleaver.skewed.eq(Mux(given, in_runs, skewed))

        return m

    def _deal(self, m, job, job_turn, in_runs, begins, runs, indices, values, cursors, bitmap_rows, bitmaps):
        """Deal rows or runs to cursors: first their addresses, then the cursor. Returns whether one is on the way."""
        config = self._config
        count = config.feeder.cursors
        beat_bits = exact_log2(config.memory.beat_bytes)

        span = Signal(cut_span_layout)
        span_valid = Signal()
        dealt = Signal()
        can_load = ~span_valid | dealt
        row = runs.o.p
        is_found = ~job.bitmap | bitmap_rows.here
        m.d.comb += [
            runs.o.ready.eq(can_load & is_found),
            bitmap_rows.local.eq(row.local),
            bitmap_rows.wanted.eq(runs.o.valid),
        ]

        m.submodules.addresses = addresses = SpanAddresses(config=config)
        m.d.comb += [
            addresses.job.eq(job),
            addresses.span.eq(row),
            addresses.bitmap_beat.eq(bitmap_rows.beat),
            addresses.bitmap_words.eq(bitmap_rows.part.more),
        ]
        indices_at, values_at = (Signal(place_layout) for _ in range(2))
        with m.If(can_load):
            m.d.sync += [
                span_valid.eq(runs.o.valid & is_found),
                span.eq(row),
                indices_at.eq(addresses.indices),
                values_at.eq(addresses.values),
            ]

        m.submodules.deal_turn = turn = RoundRobinArbiter(count=count)
        cursor = encode(turn.grant, count)
        in_turn = Signal(count, init=1)
        with m.If(dealt):
            m.d.sync += in_turn.eq(in_turn.rotate_left(1))
        with m.If(begins):
            m.d.sync += in_turn.eq(1)
        # A cursor that can take a row can until it is given one, so that a cycle's delay says nothing wrong of others.
        can_take = Signal(count)
        m.d.sync += can_take.eq(
            indices.idle & values.idle & cursors.room & bitmaps.room & ~(turn.grant & dealt.replicate(count))
        )
        m.d.comb += [
            turn.requests.eq(can_take & Mux(in_runs, in_turn, ~0)),
            turn.advance.eq(span_valid),
            dealt.eq(span_valid & turn.grant.any()),
        ]
        for fetch, place, used in ((indices, indices_at, ~job.dense), (values, values_at, ~job.sampled)):
            m.d.comb += [
                fetch.job_valid.eq(dealt & used),
                fetch.job.cursor.eq(cursor),
                fetch.job.beat.eq(place.address[beat_bits:]),
                fetch.job.count.eq(place.beats),
                fetch.job.turn.eq(job_turn),
            ]
        if "nm" in config.feeder.formats:
            m.d.comb += cursors.job.index_bit.eq(indices_at.bit)
        m.d.comb += [
            bitmaps.job_valid.eq(dealt & job.bitmap),
            bitmaps.job.cursor.eq(cursor),
            bitmaps.job.row.eq(span.row),
            bitmaps.job.count.eq(span.count),
            cursors.job_valid.eq(dealt),
            cursors.job.cursor.eq(cursor),
            cursors.job.count.eq(span.count),
            cursors.job.index_offset.eq(indices_at.address),
            cursors.job.value_offset.eq(values_at.address),
            cursors.job.row.eq(span.row),
            cursors.job.local.eq(span.local),
            cursors.job.position.eq(span.position),
            cursors.job.number.eq(span.number),
        ]
        return span_valid

    def _ask(self, m, pointers, indices, values):
        """Send bursts: pointers before all, indices and values in turn."""
        config, read = self._config, self.read
        can_load = Signal()
        values_next = Signal()
        take_index, take_value = Signal(), Signal()
        m.d.comb += [
            can_load.eq((~read.arvalid | read.arready) & ~self.halt),
            pointers.request.ready.eq(can_load),
            take_index.eq(~pointers.request.valid & indices.request.valid & ~(values_next & values.request.valid)),
            take_value.eq(~pointers.request.valid & values.request.valid & ~take_index),
            indices.request.ready.eq(can_load & take_index),
            values.request.ready.eq(can_load & take_value),
            read.arsize.eq(beat_size(memory=config.memory)),
            read.arburst.eq(BURST_INCREMENT),
        ]
        burst = Signal(line_request_layout(config=config))
        m.d.comb += burst.eq(Mux(take_value, values.request.payload.as_value(), indices.request.payload.as_value()))
        with m.If(read.arready):
            m.d.sync += read.arvalid.eq(0)
        with m.If(can_load):
            m.d.sync += [
                read.arvalid.eq(pointers.request.valid | take_index | take_value),
                read.arid.eq(Cat(take_value, burst.cursor)),
                read.araddr.eq(burst.address),
                read.arlen.eq(burst.length),
            ]
            with m.If(take_index | take_value):
                m.d.sync += values_next.eq(take_index)
            with m.If(pointers.request.valid):
                m.d.sync += [
                    read.arid.eq(self._pointer_id),
                    read.araddr.eq(pointers.request.payload),
                    read.arlen.eq(0),
                ]

    def _answer(self, m, pointers, indices, values):
        """Hand beats to the reader that asked for them; there is always room."""
        read = self.read
        is_pointer = read.rid == self._pointer_id
        is_bad = read.rresp[1]
        m.d.comb += [
            read.rready.eq(1),
            pointers.beat_valid.eq(read.rvalid & is_pointer),
            pointers.beat_data.eq(read.rdata),
            pointers.beat_error.eq(is_bad),
        ]
        for fetch, array in ((indices, 0), (values, 1)):
            m.d.comb += [
                fetch.beat_valid.eq(read.rvalid & ~is_pointer & (read.rid[0] == array)),
                fetch.beat_cursor.eq(read.rid[1:]),
                fetch.beat_data.eq(read.rdata),
                fetch.beat_last.eq(read.rlast),
                fetch.beat_error.eq(is_bad),
            ]
