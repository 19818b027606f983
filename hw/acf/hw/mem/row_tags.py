"""Says of entries that were read in runs which row they belong to."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.csr_cursors import raw_group_layout
from acf.hw.mem.entry_runs import row_tag_layout

__all__ = ["RowTags"]


class RowTags(wiring.Component):
    """Cuts groups of entries where a row ends, and gives each part the row that its tag names.

    No latency; one part a cycle. A group with entries of n rows so takes n cycles.

    Parameters
    ----------
    config : FabricConfig
    length : int
        Entries of a run, see ``EntryRuns``. Twice as many tags are kept.

    Members
    -------
    i : In(stream), ``raw_group_layout``
    tags : In(stream), ``row_tag_layout``
    o : Out(stream), ``raw_group_layout``
    enable : In(1)
        Else groups pass as they are.
    tagged : Out(1)
        There is a tag.
    turn : Out(1)
        That of the tag.
    """

    i: stream.Interface
    o: stream.Interface
    tags: stream.Interface

    def __init__(self, *, config: FabricConfig, length: int):
        self._group = config.feeder.group
        self._length = length
        group = stream.Signature(raw_group_layout(config=config))
        super().__init__(
            {
                "i": In(group),
                "tags": In(stream.Signature(row_tag_layout(length=length))),
                "o": Out(group),
                "enable": In(1),
                "tagged": Out(1),
                "turn": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        layout = row_tag_layout(length=self._length)
        depth = 2 << exact_log2(self._length)
        m.submodules.waiting = waiting = SyncFIFO(width=layout.size, depth=depth)
        tag = layout(waiting.r_data)
        m.d.comb += [
            waiting.w_data.eq(self.tags.payload),
            waiting.w_en.eq(self.tags.valid),
            self.tags.ready.eq(waiting.w_rdy),
            self.tagged.eq(waiting.r_rdy),
            self.turn.eq(tag.turn),
        ]

        group, part = self.i.p, self.o.p
        used = Signal(range(self._length + 1))  # entries that the tag has had
        first = Signal(range(self._group))
        left = Signal(range(self._length + 1))
        end = Signal(range(self._group + 1))
        moves = Signal()
        ends_group = end == group.count
        ends_tag = (end - first) == left
        m.d.comb += [
            left.eq(tag.count - used),
            end.eq(Mux(group.count - first < left, group.count, first + left)),
            part.eq(group),
            self.o.valid.eq(self.i.valid & (~self.enable | waiting.r_rdy)),
            moves.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(moves & (~self.enable | ends_group)),
            waiting.r_en.eq(moves & self.enable & ends_tag),
        ]
        with m.If(self.enable):
            m.d.comb += [
                part.first.eq(first),
                part.count.eq(end),
                part.row.eq(tag.row),
                part.local.eq(tag.local),
                part.opens.eq(tag.opens & (used == 0)),
            ]
            with m.If(moves):
                m.d.sync += [first.eq(Mux(ends_group, 0, end)), used.eq(Mux(ends_tag, 0, used + (end - first)))]
        return m
