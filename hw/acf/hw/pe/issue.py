"""Turns entries with masks into products, one a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.pe.operand_bank import operand_row_width

__all__ = ["ProductIssue", "lane_entry", "masked_entry", "product"]


def lane_entry(*, lane: LaneConfig) -> data.StructLayout:
    """An entry as a lane takes it: value, operand row (counted through all banks) and accumulator row."""
    return data.StructLayout(
        {
            "value": lane.number_format.operand_width,
            "row": operand_row_width(lane=lane),
            "accumulator": ceil_log2(lane.accumulator_rows),
        }
    )


def masked_entry(*, lane: LaneConfig) -> data.StructLayout:
    """An entry and its effectual slots: those where neither the entry nor the operand is zero."""
    return data.StructLayout({"entry": lane_entry(lane=lane), "effectual": lane.slots})


def product(*, lane: LaneConfig) -> data.StructLayout:
    """One product of an entry: with the operand of ``slot``, into the accumulator of ``slot``."""
    return data.StructLayout({"entry": lane_entry(lane=lane), "slot": ceil_log2(lane.slots), "effectual": 1})


class ProductIssue(wiring.Component):
    """A FIFO of entries, taken apart into products: the lowest slot first, without a gap between entries.

    Latency is two cycles from an entry to its first product; throughput is one product per cycle. The entry that is
    taken apart keeps its place in the FIFO until its last product has left.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    i : In(stream), ``masked_entry``
        Entries that have at least one product.
    offered : In(1)
        High when ``i.valid`` is; may be high in other cycles too. Known early in the cycle.
    o : Out(stream), ``product``
    dense : In(1)
        Every used slot gives a product, not only the effectual ones. Changes only while ``busy`` is low.
    used : In(slots)
        Slots that hold columns. Changes only while ``busy`` is low.
    level : Out
        Entries in the FIFO.
    busy : Out(1)
        There is an entry or a product.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        super().__init__(
            {
                "i": In(stream.Signature(masked_entry(lane=lane))),
                "offered": In(1),
                "o": Out(stream.Signature(product(lane=lane))),
                "dense": In(1),
                "used": In(lane.slots),
                "level": Out(range(lane.fifo_depth + 1)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._lane

        # A FIFO with pointers one bit longer than its address: i.valid, which comes late in its cycle, decides nothing
        # but whether one of them moves.
        layout = masked_entry(lane=lane)
        m.submodules.storage = storage = Memory(shape=layout.size, depth=lane.fifo_depth, init=[])
        writer, reader = storage.write_port(), storage.read_port(domain="comb")
        into, out_of = Signal(range(2 * lane.fifo_depth)), Signal(range(2 * lane.fifo_depth))
        head = data.View(layout, reader.data)
        has_head = Signal()
        pop = Signal()
        m.d.comb += [
            self.level.eq((into - out_of)[: len(into)]),
            self.i.ready.eq(self.level != lane.fifo_depth),
            # What is written counts only when the pointer moves.
            writer.en.eq(self.offered & self.i.ready),
            writer.addr.eq(into),
            writer.data.eq(self.i.payload),
            reader.addr.eq(out_of),
            has_head.eq(into != out_of),
            self.busy.eq(has_head | self.o.valid),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += into.eq(into + 1)
        with m.If(pop):
            m.d.sync += out_of.eq(out_of + 1)

        done = Signal(lane.slots)  # slots of the head that have left
        remaining = Signal(lane.slots)
        lowest = Signal(lane.slots)
        m.d.comb += remaining.eq(Mux(self.dense, self.used, head.effectual) & ~done)
        m.d.comb += lowest.eq(Cat(remaining[n] & ~remaining[:n].any() for n in range(lane.slots)))
        is_last = (remaining & ~lowest) == 0

        can_load = ~self.o.valid | self.o.ready
        with m.If(can_load):
            m.d.sync += self.o.valid.eq(has_head)
            with m.If(has_head):
                m.d.sync += [
                    self.o.p.entry.eq(head.entry),
                    self.o.p.slot.eq(_encode(lowest)),
                    self.o.p.effectual.eq((head.effectual & lowest).any()),
                    done.eq(Mux(is_last, 0, done | lowest)),
                ]
                m.d.comb += pop.eq(is_last)
        return m


def _encode(one_hot: Signal) -> Value:
    """The number of the bit that is set."""
    count = len(one_hot)
    return Cat(Cat(one_hot[n] for n in range(count) if n >> bit & 1).any() for bit in range(ceil_log2(count)))
