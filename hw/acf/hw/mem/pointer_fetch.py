"""Row pointers of a CSR matrix: from rows to the places of their entries.

Two walks go over the same words in the same order, the pointers at the begin and at the end of each row. The first runs
ahead and asks for the memory beats that hold the words, each beat once while the walk stays in it; the second takes the
words out of the beats. Where rows follow each other, the end of one is the begin of the next and is read once.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.burst_tracker import BurstTracker
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import BLOCK, ErrorCode

__all__ = ["PointerFetch", "WordWalk", "row_span_layout", "row_walk_layout"]

row_walk_layout = data.StructLayout({"first": 32, "step": 16, "count": 16, "local": 16})
"""Rows ``first``, ``first + step``, ... (``count`` of them), which tiles know as rows ``local``, ``local + 1``, ..."""

row_span_layout = data.StructLayout({"begin": 32, "count": 32, "row": 32, "local": 16})
"""A row of ``W`` with entries: where they begin, how many, its number and what tiles know it as."""


class WordWalk(wiring.Component):
    """Addresses of the pointers that a walk over rows needs, one per ``advance``.

    Parameters
    ----------
    beat_bytes : int
        Bytes of a memory beat.

    Members
    -------
    start : In(1)
        Begins the walk with the inputs, which are held while it lasts.
    pointers : In(32)
        Address of the first pointer of the matrix.
    rows : In(row_walk_layout)
    blocks : In(1)
        Every ``BLOCK`` rows, from row 0 on, have pointers together.
    advance : In(1)
        Goes to the next word; only while ``valid``.
    valid : Out(1)
        There is a word.
    address : Out(32)
        Its address.
    is_end : Out(1)
        It is the pointer at the end of a row, else at the begin.
    is_last : Out(1)
        No word follows.
    leaves_beat : Out(1)
        The next word, if there is one, lies in another beat.
    """

    start: Signal
    pointers: Signal
    rows: data.View
    blocks: Signal
    advance: Signal
    valid: Signal
    address: Signal
    is_end: Signal
    is_last: Signal
    leaves_beat: Signal

    def __init__(self, *, beat_bytes: int):
        self._beat_bits = exact_log2(beat_bytes)
        super().__init__(
            {
                "start": In(1),
                "pointers": In(32),
                "rows": In(row_walk_layout),
                "blocks": In(1),
                "advance": In(1),
                "valid": Out(1),
                "address": Out(32),
                "is_end": Out(1),
                "is_last": Out(1),
                "leaves_beat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        left = Signal(16)  # rows whose end has not been passed
        contiguous = Signal()
        m.d.sync += contiguous.eq((self.rows.step == 1) & ~self.blocks)
        in_block = Signal(exact_log2(BLOCK))  # number of the row in its block
        behind = in_block + self.rows.step  # rows from the begin of its block to the next one of the walk

        following = Signal(32)
        with m.If(self.is_end & ~contiguous):
            pointers = Mux(self.blocks, behind >> exact_log2(BLOCK), self.rows.step)
            m.d.comb += following.eq(self.address + (pointers << 2) - 4)
        with m.Else():
            m.d.comb += following.eq(self.address + 4)
        m.d.comb += [
            self.valid.eq(left != 0),
            self.is_last.eq(self.is_end & (left == 1)),
            self.leaves_beat.eq(following[self._beat_bits :] != self.address[self._beat_bits :]),
        ]

        with m.If(self.advance):
            m.d.sync += [self.address.eq(following), self.is_end.eq(~self.is_end | contiguous)]
            with m.If(self.is_end):
                m.d.sync += [left.eq(left - 1), in_block.eq(behind)]
        with m.If(self.start):
            first = Mux(self.blocks, self.rows.first >> exact_log2(BLOCK), self.rows.first)
            m.d.sync += [
                self.address.eq(self.pointers + (first << 2)),
                in_block.eq(self.rows.first),
                self.is_end.eq(0),
                left.eq(self.rows.count),
            ]

        return m


class PointerFetch(wiring.Component):
    """Reads the row pointers of a walk over rows and gives the rows that have entries.

    Beats are read singly, up to ``feeder.outstanding`` of them ahead. A row costs one cycle where rows follow each
    other and two elsewhere and in blocks, with or without entries.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    start : In(1)
        Begins; ``pointers``, ``entries`` and ``rows`` are held until ``busy`` falls.
    pointers : In(32)
        Address of the first pointer of the matrix.
    entries : In(32)
        Number of entries of the matrix.
    rows : In(row_walk_layout)
    blocks : In(1)
        Pointers are those of rows of blocks and count blocks; a row has as many entries as its blocks have columns, and
        begins at as many as those before have. ``entries`` are all elements of blocks.
    busy : Out(1)
        High from the cycle after ``start`` until the last row has been taken from ``o``.
    o : Out(stream), ``row_span_layout``
        Rows in order; empty rows are left out.
    request : Out(stream), address
        Beats to read, one each.
    beat_valid, beat_data, beat_error : In
        The answers, in order; always taken.
    fault : Out(fault_signature)
        POINTER_RANGE, POINTER_ORDER or READ_RESPONSE. Rows from the faulty one on are not given.
    """

    def __init__(self, *, config: FabricConfig):
        self._memory = config.memory
        self._outstanding = config.feeder.outstanding
        super().__init__(
            {
                "start": In(1),
                "pointers": In(32),
                "entries": In(32),
                "rows": In(row_walk_layout),
                "blocks": In(1),
                "busy": Out(1),
                "o": Out(stream.Signature(row_span_layout)),
                "request": Out(stream.Signature(self._memory.address_width)),
                "beat_valid": In(1),
                "beat_data": In(self._memory.data_width),
                "beat_error": In(1),
                "fault": Out(fault_signature),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory = self._memory
        words_per_beat = memory.beat_bytes // 4
        beat_bits = exact_log2(memory.beat_bytes)

        m.submodules.ahead = ahead = WordWalk(beat_bytes=memory.beat_bytes)
        m.submodules.behind = behind = WordWalk(beat_bytes=memory.beat_bytes)
        m.submodules.beats = beats = fifo.SyncFIFO(width=memory.data_width, depth=self._outstanding)
        m.submodules.tracker = tracker = BurstTracker(depth=self._outstanding, address_width=memory.address_width)
        for walk in (ahead, behind):
            m.d.comb += [walk.start.eq(self.start), walk.pointers.eq(self.pointers), walk.rows.eq(self.rows)]
            m.d.comb += walk.blocks.eq(self.blocks)

        # Asking: a beat once when the walk enters it.
        free = Signal(range(self._outstanding + 1), init=self._outstanding)
        entered = Signal()  # the beat of the present word has been asked for
        asked = Signal()
        m.d.comb += [
            self.request.valid.eq(ahead.valid & ~entered & (free != 0) & tracker.ready),
            self.request.payload.eq(ahead.address & -memory.beat_bytes),
            asked.eq(self.request.valid & self.request.ready),
            ahead.advance.eq(ahead.valid & (entered | asked)),
            tracker.issue.eq(asked),
            tracker.issue_address.eq(self.request.payload),
        ]
        with m.If(ahead.advance):
            m.d.sync += entered.eq(~ahead.leaves_beat)
        with m.If(self.start):
            m.d.sync += entered.eq(0)

        # Answers.
        m.d.comb += [
            beats.w_en.eq(self.beat_valid),
            beats.w_data.eq(self.beat_data),
            tracker.finish.eq(self.beat_valid),
        ]
        m.d.sync += free.eq(free - asked + (beats.r_en & beats.r_rdy))

        # Taking: one word a cycle out of the oldest beat.
        word = Signal(32)
        word_valid = Signal()
        word_is_end = Signal()
        word_taken = Signal()
        words = data.View(data.ArrayLayout(32, words_per_beat), beats.r_data)
        m.d.comb += [
            behind.advance.eq(behind.valid & beats.r_rdy & (~word_valid | word_taken)),
            beats.r_en.eq(behind.advance & (behind.leaves_beat | behind.is_last)),
        ]
        with m.If(word_taken):
            m.d.sync += word_valid.eq(0)
        with m.If(behind.advance):
            m.d.sync += [
                word.eq(words[behind.address[2:beat_bits]]),
                word_is_end.eq(behind.is_end),
                word_valid.eq(1),
            ]

        # Judging: the word against the one before it; what is found is acted on in the next cycle.
        previous = Signal(32)
        judged = Signal(data.StructLayout({"word": 32, "begin": 32, "count": 32, "is_end": 1}))
        too_large, backwards = Signal(), Signal()
        judged_valid, judged_taken = Signal(), Signal()
        can_judge = ~judged_valid | judged_taken
        columns = exact_log2(BLOCK)  # of a block
        m.d.comb += word_taken.eq(word_valid & can_judge)
        with m.If(can_judge):
            m.d.sync += [
                judged_valid.eq(word_valid),
                judged.word.eq(word),
                judged.begin.eq(previous),
                judged.count.eq(word - previous),
                judged.is_end.eq(word_is_end),
                too_large.eq(word > Mux(self.blocks, self.entries >> (2 * columns), self.entries)),
                backwards.eq(word_is_end & (word < previous)),
            ]
        with m.If(word_taken):
            m.d.sync += previous.eq(word)

        row = Signal(32)
        local = Signal(16)
        can_load = ~self.o.valid | self.o.ready
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(judged_valid):
            with m.If(too_large):
                m.d.comb += raise_fault(self.fault, ErrorCode.POINTER_RANGE, row=row, index=judged.word)
            with m.Elif(backwards):
                m.d.comb += raise_fault(self.fault, ErrorCode.POINTER_ORDER, row=row, index=judged.word)
            with m.Elif(~judged.is_end):
                m.d.comb += judged_taken.eq(1)
            with m.Elif(can_load):
                m.d.comb += judged_taken.eq(1)
                m.d.sync += [
                    row.eq(row + self.rows.step),
                    local.eq(local + 1),
                    self.o.valid.eq(judged.count != 0),
                    self.o.p.begin.eq(Mux(self.blocks, judged.begin << columns, judged.begin)),
                    self.o.p.count.eq(Mux(self.blocks, judged.count << columns, judged.count)),
                    self.o.p.row.eq(row),
                    self.o.p.local.eq(local),
                ]
        with m.If(self.beat_valid & self.beat_error):
            m.d.comb += raise_fault(self.fault, ErrorCode.READ_RESPONSE, address=tracker.address)
        with m.If(self.start):
            m.d.sync += [row.eq(self.rows.first), local.eq(self.rows.local)]

        m.d.comb += self.busy.eq(behind.valid | word_valid | judged_valid | self.o.valid)

        return m
