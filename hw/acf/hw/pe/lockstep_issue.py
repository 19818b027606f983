"""Turns entries into products, one a cycle, for all lanes of a tile that do not skip zeros."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.formats import mac_latency, mac_loop
from acf.hw.pe.interlock import Interlock
from acf.hw.pe.issue import lane_entry
from acf.hw.pe.operand_bank import operand_row_width

__all__ = ["LockstepIssue", "lockstep_products"]


def lockstep_products(*, lane: LaneConfig) -> wiring.Signature:
    """The product that all lanes are at, seen from who issues it.

    Members
    -------
    valid : Out(1)
        There is one; known early in the cycle.
    issued : Out(1)
        It is issued in this cycle.
    sampled : Out(1)
        Its operands are ``partner_row`` and ``row``, not a value and ``row``.
    row, partner_row, slot : Out
        Its operands.
    address : Out
        Its accumulator.
    value : Out
        Of the product in the cycle before.
    read_address : Out
        Accumulator of the product that reads it in this cycle, if there is one.
    write_address : Out
        Accumulator of the product whose sum would be written in this cycle.
    """
    row, slot = operand_row_width(lane=lane), ceil_log2(lane.slots)
    address = ceil_log2(lane.accumulator_rows * lane.slots)
    return wiring.Signature(
        {
            "valid": Out(1),
            "issued": Out(1),
            "sampled": Out(1),
            "row": Out(row),
            "partner_row": Out(row),
            "slot": Out(slot),
            "address": Out(address),
            "value": Out(lane.number_format.operand_width),
            "read_address": Out(address),
            "write_address": Out(address),
        }
    )


class LockstepIssue(wiring.Component):
    """Takes entries apart slot by slot: every slot that holds a column gives a product, in all lanes in the same cycle.

    As no product is left out, slots are counted, entries end in the order in which they came, and one interlock is
    enough for all lanes. Gather and scatter take entry after entry. In SAMPLED mode the entries that are there give one
    product each in turn.

    Latency is two cycles from an entry to its first product; throughput is one product per cycle. Of products whose
    accumulator is in flight it is one every ``loop + 3`` cycles, ``loop`` being that of the operator.

    How it works. The entries that are there are those from ``left`` up to ``came``. ``turn`` walks over them, back and
    forth within a SAMPLED stream, and stays at the first one until its last product otherwise. Those from ``begun`` on
    have not given a product yet; for the others a memory holds the slot that comes next.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    entry : In(stream), ``lane_entry``
        ``ready`` does not depend on ``valid``.
    sampled : In(1)
        The mode is SAMPLED. Changes only while ``idle``.
    used : In(slots)
        Slots that hold columns in any lane, from slot 0 on without a gap. Changes only while ``idle``.
    hold : In(1)
        Issue nothing in this cycle.
    products : Out(lockstep_products)
    hazard : Out(1)
        A product waits for its accumulator.
    swept : Out(1)
        A product waits because of ``hold``.
    idle : Out(1)
        All entries that were taken are done, every sum is written.
    """

    entry: stream.Interface

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        super().__init__(
            {
                "entry": In(stream.Signature(lane_entry(lane=lane))),
                "sampled": In(1),
                "used": In(lane.slots),
                "hold": In(1),
                "products": Out(lockstep_products(lane=lane)),
                "hazard": Out(1),
                "swept": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane, products = self._lane, self.products
        slot_bits = ceil_log2(lane.slots)
        address_width = ceil_log2(lane.accumulator_rows * lane.slots)
        depth, flight = mac_latency(format=lane.format) + 2, mac_loop(format=lane.format) + 2
        m.submodules.interlock = interlock = Interlock(address_width=address_width, depth=depth, flight=flight)

        valid, entry, slot = Signal(), Signal(lane_entry(lane=lane), reset_less=True), Signal(slot_bits)
        m.d.comb += [
            products.valid.eq(valid),
            products.issued.eq(valid & ~interlock.hazard & ~self.hold),
            products.sampled.eq(self.sampled),
            products.row.eq(entry.row),
            products.partner_row.eq(entry.value),
            products.slot.eq(slot),
            products.address.eq(
                Cat(Mux(self.sampled, entry.accumulator[:slot_bits], slot), entry.accumulator[slot_bits:])
            ),
            products.read_address.eq(interlock.read_address),
            products.write_address.eq(interlock.write_address),
            interlock.address.eq(products.address),
            interlock.issue.eq(products.issued),
            interlock.effectual.eq(1),
            self.hazard.eq(valid & interlock.hazard),
            self.swept.eq(valid & ~interlock.hazard & self.hold),
        ]
        with m.If(products.issued):
            m.d.sync += products.value.eq(entry.value)

        waits = self._take_apart(m, valid, entry, slot)
        m.d.comb += self.idle.eq(~(waits | valid | interlock.busy))
        return m

    def _take_apart(self, m, valid, entry, slot):
        """Give the next product whenever the one before is issued. Returns whether there are entries."""
        depth = self._lane.barrel
        came, left, turn, begun = (Signal(range(2 * depth), name=name) for name in ("came", "left", "turn", "begun"))

        m.submodules.storage = storage = Memory(shape=entry.shape().size, depth=depth, init=[])
        writer, reader = storage.write_port(), storage.read_port(domain="comb")
        m.submodules.progress = progress = Memory(shape=len(slot), depth=depth, init=[])
        progress_writer, progress_reader = progress.write_port(), progress.read_port(domain="comb")

        next_slot = Signal.like(slot)
        is_last, loads, can_load, pushed, popped = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.entry.ready.eq((came - left)[: len(came)] != depth),
            # An entry without products ends here.
            pushed.eq(self.entry.valid & self.entry.ready & self.used[0]),
            writer.en.eq(pushed),
            writer.addr.eq(came),
            writer.data.eq(self.entry.payload),
            reader.addr.eq(turn),
            progress_reader.addr.eq(turn),
            next_slot.eq(Mux(turn == begun, 0, progress_reader.data)),
            is_last.eq(~Cat(self.used[1:], 0).bit_select(next_slot, 1)),
            can_load.eq(~valid | self.products.issued),
            loads.eq(can_load & (turn != came)),
            popped.eq(loads & is_last),
            progress_writer.en.eq(loads),
            progress_writer.addr.eq(turn),
            progress_writer.data.eq(next_slot + 1),
        ]
        m.d.sync += [came.eq(came + pushed), left.eq(left + popped)]
        following = Signal.like(turn)
        m.d.comb += following.eq(turn + 1)
        with m.If(can_load):
            m.d.sync += valid.eq(loads)
        with m.If(loads):
            m.d.sync += [entry.eq(reader.data), slot.eq(next_slot)]
            with m.If(turn == begun):
                m.d.sync += begun.eq(following)
            with m.If(self.sampled):
                m.d.sync += turn.eq(Mux(following == came, left + popped, following))
            with m.Else():
                m.d.sync += turn.eq(turn + is_last)
        return came != left
