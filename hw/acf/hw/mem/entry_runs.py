"""Joins rows that follow each other in memory to runs of entries, which are read without a thought for rows."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.hw.mem.entry_window import cut_span_layout

__all__ = ["EntryRuns", "row_tag_layout"]


def row_tag_layout(*, length: int) -> data.StructLayout:
    """A row's part of a run of at most ``length`` entries: how many entries, which row, what tiles know it as, whether
    it is the first part of the row, and the ``turn`` of its job, which is that of every second one."""
    return data.StructLayout({"count": range(length + 1), "row": 32, "local": 16, "opens": 1, "turn": 1})


class EntryRuns(wiring.Component):
    """Turns rows into runs of entries that end where a multiple of ``length`` is reached.

    Reading row by row fetches the beat at the border of two rows twice, and a short row brings few entries for a
    latency of memory. A run has all entries between two multiples of ``length``, whatever their rows; ``tags`` say
    which rows they belong to. Rows that do not follow each other in memory are in runs of their own.

    One row or one run a cycle; a run leaves when its last row has come, or ``finish``.

    Parameters
    ----------
    length : int
        Entries of a run, a power of two.

    Members
    -------
    i : In(stream), ``cut_span_layout``
        Rows, in the order in which their entries are to come.
    o : Out(stream), ``cut_span_layout``
        Runs. ``row`` and ``local`` are those of the first entry, ``position`` and ``number`` count on from it.
    tags : Out(stream), ``row_tag_layout``
        Rows of the runs, in order. At most ``length`` of them come before the run that they belong to; if they are not
        taken, neither are rows.
    enable : In(1)
        Join; else rows pass as they are, one a cycle, and there are no tags.
    apart : In(1)
        A run has entries of one row only.
    finish : In(1)
        No row follows those that have come.
    turn : In(1)
        Of the job of the rows that come. Changes only while not ``busy``.
    busy : Out(1)
        A run is being put together.
    """

    i: stream.Interface
    o: stream.Interface
    tags: stream.Interface

    def __init__(self, *, length: int):
        self._length = length
        super().__init__(
            {
                "i": In(stream.Signature(cut_span_layout)),
                "o": Out(stream.Signature(cut_span_layout)),
                "tags": Out(stream.Signature(row_tag_layout(length=length))),
                "enable": In(1),
                "apart": In(1),
                "finish": In(1),
                "turn": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        length_bits = exact_log2(self._length)
        row, run = self.i.p, Signal(cut_span_layout)  # the run without its count
        is_open = Signal()
        run_end = Signal(32)
        passed = Signal(32)  # entries of the row in earlier runs
        begin, left = Signal(32), Signal(32)
        to_border = Signal(range(self._length + 1))
        part = Signal(range(self._length + 1))
        ends_row, ends_run, follows, steps, flushes = (Signal() for _ in range(5))
        can_load = ~self.o.valid | self.o.ready
        m.d.comb += [
            begin.eq(row.begin + passed),
            left.eq(row.count - passed),
            to_border.eq(self._length - begin[:length_bits]),
            part.eq(Mux(left < to_border, left, to_border)),
            ends_row.eq(left <= to_border),
            ends_run.eq(left >= to_border),
            follows.eq(~is_open | ((run_end == begin) & ~(self.apart & (passed == 0)))),
            steps.eq(self.enable & self.i.valid & follows & can_load & self.tags.ready),
            flushes.eq(is_open & can_load & Mux(self.i.valid, ~follows, self.finish)),
            self.i.ready.eq(Mux(self.enable, steps & ends_row, can_load)),
            self.tags.valid.eq(self.enable & self.i.valid & follows & can_load),
            self.tags.p.count.eq(part),
            self.tags.p.row.eq(row.row),
            self.tags.p.local.eq(row.local),
            self.tags.p.opens.eq(passed == 0),
            self.tags.p.turn.eq(self.turn),
            self.busy.eq(is_open | self.o.valid),
        ]

        entered = Signal(cut_span_layout)  # the run that begins with this row
        m.d.comb += [
            entered.eq(row),
            entered.begin.eq(begin),
            entered.position.eq(row.position + passed),
            entered.number.eq(row.number + passed),
        ]
        whole = Signal(cut_span_layout)  # the run that leaves
        count = Signal(range(self._length + 1))  # of its entries, for which low bits of places are enough
        m.d.comb += [
            count.eq(Mux(flushes, run_end, begin + part)[: len(count)] - whole.begin[: len(count)]),
            whole.eq(Mux(is_open, run.as_value(), entered.as_value())),
            whole.count.eq(count),
        ]
        with m.If(steps):
            m.d.sync += [
                is_open.eq(~ends_run),
                run_end.eq(begin + part),
                passed.eq(Mux(ends_row, 0, passed + part)),
            ]
            with m.If(~is_open):
                m.d.sync += run.eq(entered)
        with m.If(flushes):
            m.d.sync += is_open.eq(0)
        with m.If(can_load):
            m.d.sync += [
                self.o.valid.eq(Mux(self.enable, (steps & ends_run) | flushes, self.i.valid)),
                self.o.payload.eq(Mux(self.enable, whole.as_value(), row.as_value())),
            ]
        return m
