"""Turns entries with masks into products, one a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.pe.operand_bank import operand_row_width

__all__ = ["ProductIssue", "lane_entry", "masked_entry", "product"]


_COMPARED_BITS = 5
"""Bits by which accumulators of SAMPLED entries are told apart."""


def lane_entry(*, lane: LaneConfig) -> data.StructLayout:
    """An entry as a lane takes it: value, operand row (counted through all banks), accumulator and wave.

    Accumulators are counted through all slots; gather and scatter fill in the slot, which is 0 in the entry. In SAMPLED
    mode ``row`` is the operand row that lies in an even bank, and that in an odd bank stands for the value. ``wave``
    tells entries from those behind the next boundary in the stream of packets; there are two waves at most at a time.
    """
    row = operand_row_width(lane=lane)
    return data.StructLayout(
        {
            "value": max(lane.number_format.operand_width, row),
            "row": row,
            "accumulator": ceil_log2(lane.accumulator_rows * lane.slots),
            "wave": 1,
        }
    )


def masked_entry(*, lane: LaneConfig) -> data.StructLayout:
    """An entry and its effectual slots: those where neither the entry nor the operand is zero."""
    return data.StructLayout({"entry": lane_entry(lane=lane), "effectual": lane.slots})


def product(*, lane: LaneConfig) -> data.StructLayout:
    """One product of an entry: that of ``slot``."""
    return data.StructLayout({"entry": lane_entry(lane=lane), "slot": ceil_log2(lane.slots), "effectual": 1})


class ProductIssue(wiring.Component):
    """A barrel of entries, taken apart into products: the lowest slot of an entry first.

    Gather and scatter take entry after entry, without a gap between them. In SAMPLED mode, where all products of an
    entry meet in one accumulator, the entries in the barrel give one product each in turn, so that the next of an entry
    need not wait for the one before. Entries of two waves may add to the same accumulator: one waits as long as one of
    another wave is there whose accumulator may be the same, by its lowest bits.

    Latency is two cycles from an entry to its first product, in SAMPLED mode up to ``barrel`` more until it is its
    turn; throughput is one product per cycle. An entry that is taken apart keeps its place until its last product has
    left. After a reset it is busy for ``barrel`` cycles.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    i : In(stream), ``masked_entry``
        Entries that have at least one product.
    o : Out(stream), ``product``
    sampled : In(1)
        The mode is SAMPLED. Changes only while ``busy`` is low.
    dense : In(1)
        Every used slot gives a product, not only the effectual ones. Changes only while ``busy`` is low.
    used : In(slots)
        Slots that hold columns. Changes only while ``busy`` is low.
    busy : Out(1)
        There is an entry or a product, or it gets ready after a reset.
    holds : Out(2)
        There is an entry or a product of wave 0, of wave 1.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        super().__init__(
            {
                "i": In(stream.Signature(masked_entry(lane=lane))),
                "o": Out(stream.Signature(product(lane=lane))),
                "sampled": In(1),
                "dense": In(1),
                "used": In(lane.slots),
                "busy": Out(1),
                "holds": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._lane
        depth, slots = lane.barrel, lane.slots

        # Entries that came and that left. As long as they leave in the order in which they came, the two are also
        # pointers.
        came, left = Signal(range(2 * depth), init=depth), Signal(range(2 * depth))
        starting = Signal(init=1)  # after a reset: as if it were full, while ``progress`` is set to 0
        held = Signal(depth)  # places that hold an entry
        later = Signal(depth)  # places whose entry is, or was, of wave 1
        compared = min(_COMPARED_BITS, len(self.i.p.entry.accumulator))
        sums = [Signal(compared, name=f"sum_{n}", reset_less=True) for n in range(depth)]
        coming = self.i.p.entry
        meets = Cat(
            held[n] & (later[n] != coming.wave) & (sums[n] == coming.accumulator[:compared]) for n in range(depth)
        ).any()
        turn = Signal(range(depth))  # SAMPLED: the place whose turn it is
        into, out_of = Signal(range(depth)), Signal(range(depth))
        m.d.comb += [
            self.i.ready.eq(((came - left)[: len(came)] != depth) & ~(self.sampled & meets)),
            self.holds.eq(
                Cat(
                    (held & ~later).any() | (self.o.valid & ~self.o.p.entry.wave),
                    (held & later).any() | (self.o.valid & self.o.p.entry.wave),
                )
            ),
            self.busy.eq((came != left) | self.o.valid),
            into.eq(Mux(self.sampled, _encode(_lowest(~held)), came)),
            out_of.eq(Mux(self.sampled | starting, turn, left)),
        ]

        # Entries, and the slots of each that have left.
        layout = masked_entry(lane=lane)
        m.submodules.storage = storage = Memory(shape=layout.size, depth=depth, init=[])
        writer, reader = storage.write_port(), storage.read_port(domain="comb")
        m.submodules.progress = progress = Memory(shape=slots, depth=depth, init=[])
        progress_writer, progress_reader = progress.write_port(), progress.read_port(domain="comb")
        head, done = data.View(layout, reader.data), progress_reader.data
        has_head = held.bit_select(out_of, 1)
        can_load = ~self.o.valid | self.o.ready
        loads = has_head & can_load
        remaining = Signal(slots)
        lowest = Signal(slots)
        is_last = Signal()
        pushed, popped = Signal(), Signal()
        m.d.comb += [
            pushed.eq(self.i.valid & self.i.ready),
            popped.eq(loads & is_last),
            writer.en.eq(pushed),
            writer.addr.eq(into),
            writer.data.eq(self.i.payload),
            reader.addr.eq(out_of),
            progress_reader.addr.eq(out_of),
            progress_writer.addr.eq(out_of),
            progress_writer.en.eq(starting | loads),
            progress_writer.data.eq(Mux(starting | is_last, 0, done | lowest)),
            remaining.eq(Mux(self.dense, self.used, head.effectual) & ~done),
            lowest.eq(_lowest(remaining)),
            is_last.eq((remaining & ~lowest) == 0),
        ]
        m.d.sync += [
            came.eq(came + pushed),
            left.eq(left + popped),
            held.eq((held & ~(popped << out_of)) | (pushed << into)),
        ]
        for n in range(depth):
            with m.If(pushed & (into == n)):
                m.d.sync += [later[n].eq(coming.wave), sums[n].eq(coming.accumulator)]

        following = (turn + 1)[: len(turn)]
        with m.If(starting | (self.sampled & can_load)):
            # Pass over an empty place; over one only, which is enough and costs next to nothing.
            m.d.sync += turn.eq(Mux(starting | held.bit_select(following, 1), following, turn + 2))
        with m.If(starting & (following == 0)):
            m.d.sync += [starting.eq(0), came.eq(0)]

        with m.If(can_load):
            m.d.sync += self.o.valid.eq(has_head)
        with m.If(loads):
            m.d.sync += [
                self.o.p.entry.eq(head.entry),
                self.o.p.slot.eq(_encode(lowest)),
                self.o.p.effectual.eq((head.effectual & lowest).any()),
            ]
        return m


def _lowest(bits: Value) -> Value:
    """The lowest bit that is set, alone."""
    return Cat(bits[n] & ~bits[:n].any() for n in range(len(bits)))


def _encode(one_hot: Value) -> Value:
    """The number of the bit that is set."""
    count = len(one_hot)
    return Cat(Cat(one_hot[n] for n in range(count) if n >> bit & 1).any() for bit in range(ceil_log2(count)))
