"""Mixes entries of neighbouring rows, where those of one accumulator must stay in order."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from acf.config import FabricConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.entry_filter import entry_layout
from acf.hw.mem.line_fetch import encode

__all__ = ["RowInterleaver"]


class RowInterleaver(wiring.Component):
    """Deals entries to ``feeder.queues`` queues by their accumulator, and takes them from the queues in turn.

    So neighbours in the stream go to different accumulators, as far as there are entries.

    With ``skewed`` they are of different rows too. All entries of a row of a scatter have the same operands, and those
    of a row of a sampled product one in common; so a lane with many non-zero ones works on each of them for long and
    lets the others wait, for as long as the row is. Rows cannot just take turns, because the entries of an accumulator
    must stay in the order of memory. Those of one queue do; and queue q gives entries only while it holds more than
    ``q / queues`` of what it has room for, as long as another one does. So the later a queue, the further its entries
    are behind those that come in. Nothing is held back from who would else get nothing.

    One entry a cycle in and out; two cycles of latency.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream), ``entry_layout``
        Entries, those of each accumulator in the order of memory. Of ``row`` and ``accumulator`` those bits count that
        a lane has.
    o : Out(stream), ``entry_layout``
        Those of each accumulator in the same order.
    skewed : In(1)
        Queues stay behind each other. Changes only while not ``busy``.
    busy : Out(1)
        There are entries inside.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._queues = config.feeder.queues
        self._depth = config.feeder.interleaved
        self._row_bits = ceil_log2(config.lane.operand_rows)
        self._accumulator_bits = ceil_log2(config.lane.accumulator_rows * config.lane.slots)
        entries = stream.Signature(entry_layout)
        super().__init__({"i": In(entries), "o": Out(entries), "skewed": In(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()

        count, depth = self._queues, self._depth
        queue_bits = exact_log2(count)
        level = [Signal(range(depth + 1), name=f"level_{q}") for q in range(count)]
        in_place = [Signal(exact_log2(depth), name=f"in_place_{q}") for q in range(count)]
        out_place = [Signal(exact_log2(depth), name=f"out_place_{q}") for q in range(count)]

        # Out: the queues that are as far behind as they should be, else any.
        mixed_valid = Signal()
        can_load = ~mixed_valid | self.o.ready
        held, due = Signal(count), Signal(count)
        m.submodules.turn = turn = RoundRobinArbiter(count=count)
        m.d.comb += [
            held.eq(Cat(queue.any() for queue in level)),
            due.eq(Cat(queue > q * depth // count for q, queue in enumerate(level))),
            turn.requests.eq(Mux(self.skewed & due.any(), due, held)),
            turn.advance.eq(can_load),
        ]
        leaving = encode(turn.grant, count)

        # In.
        chosen = self.i.p.accumulator[:queue_bits]
        has_room = Array(queue != depth for queue in level)[chosen]
        enters, leaves = self.i.valid & has_room, can_load & turn.grant.any()
        for q in range(count):
            entered, left = Signal(name=f"entered_{q}"), Signal(name=f"left_{q}")
            m.d.comb += [entered.eq(enters & (chosen == q)), left.eq(can_load & turn.grant[q])]
            m.d.sync += [
                level[q].eq(level[q] + entered - left),
                in_place[q].eq(in_place[q] + entered),
                out_place[q].eq(out_place[q] + left),
            ]

        # All queues lie in one memory. What is read was written in an earlier cycle.
        entry, mixed = self.i.p, Signal(entry_layout)
        kept = Cat(entry.value, entry.row[: self._row_bits], entry.accumulator[: self._accumulator_bits])
        m.submodules.storage = storage = Memory(shape=len(kept), depth=count * depth, init=[], attrs={"no_rw_check": 1})
        writer, reader = storage.write_port(), storage.read_port(transparent_for=())
        m.d.comb += [
            writer.en.eq(enters),
            writer.addr.eq(Cat(Array(in_place)[chosen], chosen)),
            writer.data.eq(kept),
            reader.en.eq(leaves),
            reader.addr.eq(Cat(Array(out_place)[leaving], leaving[:queue_bits])),
            Cat(mixed.value, mixed.row[: self._row_bits], mixed.accumulator[: self._accumulator_bits]).eq(reader.data),
            self.busy.eq(mixed_valid | held.any()),
            self.i.ready.eq(has_room),
            self.o.valid.eq(mixed_valid),
            self.o.payload.eq(mixed.as_value()),
        ]
        with m.If(can_load):
            m.d.sync += mixed_valid.eq(turn.grant.any())
        return m
