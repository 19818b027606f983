"""Mixes entries of neighbouring rows, where those of one accumulator must stay in order."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.entry_filter import entry_layout
from acf.hw.mem.line_fetch import encode

__all__ = ["RowInterleaver"]


class RowInterleaver(wiring.Component):
    """Deals entries to ``feeder.cursors`` queues by their accumulator, and takes them from the queues in turn.

    So neighbours in the stream go to different accumulators, as far as there are entries.

    With ``skewed`` they are of different rows too. All entries of a row of a scatter have the same operands, so a lane
    with many non-zero ones works on each of them for long and lets the others wait, for as long as the row is. Rows
    cannot just take turns, because the entries of an accumulator must stay in the order of memory. Those of one queue
    do; and queue q gives entries only as long as its oldest one is q rows behind the newest one.

    One entry a cycle in and out; two cycles of latency for queue 0. A queue that is full is not held back, so the
    distance of the queues is shorter where rows have more than ``feeder.interleaved`` entries.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``entry_layout``
        Entries, those of each accumulator in the order of memory.
    o : Out(stream), ``entry_layout``
        Those of each accumulator in the same order.
    enable : In(1)
        Else entries pass as they are. Changes only while not ``busy``.
    skewed : In(1)
        Queues stay behind each other, by what ``i`` has as ``row``, which does not descend.
    finish : In(1)
        No entry follows those that have come.
    busy : Out(1)
        There are entries inside.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._queues = config.feeder.cursors
        self._depth = config.feeder.interleaved
        entries = stream.Signature(entry_layout)
        super().__init__(
            {
                "i": In(entries),
                "o": Out(entries),
                "enable": In(1),
                "skewed": In(1),
                "finish": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        count = self._queues
        queues = [SyncFIFO(width=entry_layout.size, depth=self._depth) for _ in range(count)]
        chosen = self.i.p.accumulator[: exact_log2(count)] if count > 1 else 0
        newest = Signal(16)
        may_leave = Signal(count)
        mixed = Signal(entry_layout)
        mixed_valid = Signal()
        can_load = ~mixed_valid | self.o.ready
        m.submodules.turn = turn = RoundRobinArbiter(count=count)
        grant = turn.grant
        for q, queue in enumerate(queues):
            m.submodules[f"queue_{q}"] = queue
            head = entry_layout(queue.r_data)
            distance = Signal(16, name=f"distance_{q}")
            m.d.comb += [
                queue.w_data.eq(self.i.payload),
                queue.w_en.eq(self.enable & self.i.valid & (chosen == q)),
                distance.eq(newest - head.row),
                may_leave[q].eq(queue.r_rdy & (~self.skewed | self.finish | ~queue.w_rdy | (distance >= q))),
                queue.r_en.eq(grant[q] & can_load),
            ]
        has_room = Array(queue.w_rdy for queue in queues)[chosen]
        m.d.comb += [
            turn.requests.eq(may_leave),
            turn.advance.eq(can_load),
            self.busy.eq(mixed_valid | Cat(queue.r_rdy for queue in queues).any()),
            self.i.ready.eq(Mux(self.enable, has_room, self.o.ready)),
            self.o.valid.eq(Mux(self.enable, mixed_valid, self.i.valid)),
            self.o.payload.eq(Mux(self.enable, mixed.as_value(), self.i.p.as_value())),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += newest.eq(self.i.p.row)
        with m.If(can_load):
            m.d.sync += [
                mixed_valid.eq(self.enable & grant.any()),
                mixed.eq(Array(queue.r_data for queue in queues)[encode(grant, count)]),
            ]
        return m
