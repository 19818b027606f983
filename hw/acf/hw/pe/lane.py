"""One MAC lane that spends no cycle on a zero."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from acf.config import FabricConfig, LaneConfig
from acf.hw.formats import mac, mac_latency
from acf.hw.pe.accumulator_bank import AccumulatorBank, accumulator_sweep, connect_sweep, take_turns
from acf.hw.pe.entry_fifo import EntryFifo
from acf.hw.pe.interlock import Interlock
from acf.hw.pe.issue import ProductIssue, lane_entry, masked_entry
from acf.hw.pe.operand_bank import OperandBank, is_nonzero, operand_write
from acf.isa import UNIT_BITS

__all__ = ["Lane", "settling_cycles"]


def settling_cycles(*, lane: LaneConfig) -> int:
    """Cycles from issuing a product until its sum has been written."""
    return mac_latency(format=lane.format) + 3


class Lane(wiring.Component):
    """Adds up products of the entries with its operands, for every slot ``s`` where neither factor is zero.

    Gather and scatter add ``value * operand[row, s]`` to accumulator ``accumulator + s``; SAMPLED adds ``operand[value,
    s] * operand[row, s]`` to accumulator ``accumulator``, for the slots in ascending order.

    An entry's mask is looked up when it is taken; an entry without products ends there. The others wait in a FIFO, are
    taken apart slot by slot, and each product passes operand and accumulator memory (two cycles) and the operator. A
    product whose accumulator is still in flight waits, so that the sums are those of the entries in order, whatever
    the timing. SAMPLED entries of one wave that are in the lane at a time must have different accumulators: they are
    taken apart in turn, as many at a time as the barrel has places.

    Throughput is one entry per cycle while there is room, one product per cycle. The first product of an entry is
    issued five cycles after the entry was taken, or six where the FIFO lies in block RAM (SAMPLED: up to ``barrel``
    cycles later) and written ``latency + 2`` cycles later, where ``latency`` is that of the operator; products of one
    accumulator are at least ``loop + 3`` cycles apart, where ``loop`` is the part of it that lies behind the
    accumulator.

    Accumulators are swept beside that: those of even number beside products whose accumulator is odd, and the other way
    round, or in cycles without a product. Each is set to +0 when a product's sum would be written that read its
    accumulator when it was swept, so both memories are free then as they were before.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    entry : In(stream), ``lane_entry``
        ``ready`` does not depend on ``valid``.
    load : In(operand_write)
        May go on while entries read another bank.
    sweep : In(accumulator_sweep)
    accumulator : Out(accumulator_width)
        What ``sweep`` has read in the cycle before.
    look_up : In(1)
        Look up the mask of operand row ``entry.p.row``, although it is no entry's; no entry is taken in this cycle.
    mask : Out(slots)
        What was looked up in the cycle before.
    sampled : In(1)
        The mode is SAMPLED. Changes only while ``idle``.
    dense : In(1)
        Issue a product for every used slot of every entry; those with a zero still change nothing. Changes only while
        ``idle``.
    used : In(slots)
        Slots that hold columns; the others give no products. Changes only while ``idle``.
    idle : Out(1)
        All entries that were taken are done, every sum is written. Not in the first ``barrel`` cycles after reset.
    wave : In(1)
        That of the entries that are taken now.
    passed : Out(1)
        All products of the entries of the other wave have been issued: their sums are written ``settling_cycles``
        later.
    clearing : Out(1)
        An accumulator that was swept is not yet +0.
    issued : Out(1)
        A product is issued in this cycle.
    effectual : Out(1)
        One is, and neither of its operands is zero.
    hazard : Out(1)
        A product waits for its accumulator.
    swept : Out(1)
        A product waits because an accumulator is swept.
    flags : Out
        What the accumulator that is written has raised, by bits of ``acf.isa.Flag``.
    unit : In(6)
        What the last bit of an accumulator weighs, only where the number format is ``scaled``. Changes only while
        ``idle``.
    """

    entry: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._lane = lane = config.lane
        unit = {"unit": In(UNIT_BITS)} if lane.number_format.scaled else {}
        super().__init__(
            {
                "entry": In(stream.Signature(lane_entry(lane=lane))),
                "load": In(operand_write(lane=lane)),
                "sweep": In(accumulator_sweep(lane=lane)),
                "accumulator": Out(lane.number_format.accumulator_width),
                "look_up": In(1),
                "mask": Out(lane.slots),
                "sampled": In(1),
                "dense": In(1),
                "used": In(lane.slots),
                "idle": Out(1),
                "wave": In(1),
                "passed": Out(1),
                "clearing": Out(1),
                "issued": Out(1),
                "effectual": Out(1),
                "hazard": Out(1),
                "swept": Out(1),
                "flags": Out(lane.number_format.flags),
                **unit,
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._lane

        m.submodules.operator = operator = mac(format=lane.format)
        m.submodules.operands = operands = OperandBank(lane=lane)
        m.submodules.accumulators = accumulators = AccumulatorBank(lane=lane)
        m.submodules.issue = issue = ProductIssue(lane=lane)
        m.submodules.interlock = interlock = Interlock(
            address_width=ceil_log2(lane.accumulator_rows * lane.slots),
            depth=operator.latency + 2,
            flight=operator.loop + 2,
        )
        connect(m, flipped(self.load), operands.write)

        waiting, waits = self._look_up_mask(m, operands, issue)
        self._issue_products(m, issue, interlock, operands, accumulators, operator)
        connect_sweep(
            m,
            self.sweep,
            accumulators,
            accumulator=self.accumulator,
            clearing=self.clearing,
            depth=operator.loop + 2,
        )
        m.d.comb += [
            self.idle.eq(~(waiting | issue.busy | interlock.busy)),
            self.passed.eq(~Mux(self.wave, waits[0] | issue.holds[0], waits[1] | issue.holds[1])),
        ]
        return m

    def _look_up_mask(self, m, operands, issue):
        """Read the mask of each entry; let those that have products wait for their turn. Returns whether one does, and
        whether one of wave 0, of wave 1."""
        lane = self._lane
        taken = self.entry.valid & self.entry.ready
        entry = Signal(self.entry.p.shape(), reset_less=True)
        # The mask comes late in its cycle, so all else that decides is known by then.
        looked_up, nonzero, by_mask, always = Signal(), Signal(), Signal(), Signal()
        width = lane.number_format.operand_width
        is_value = self.sampled | is_nonzero(self.entry.p.value[:width], format=lane.format)
        m.d.sync += [
            looked_up.eq(taken),
            by_mask.eq(taken & is_value & ~self.dense),
            always.eq(taken & self.dense & self.used.any()),
        ]
        with m.If(taken):
            m.d.sync += [entry.eq(self.entry.p), nonzero.eq(is_value)]

        effectual = Signal(lane.slots)
        has_products, masked = Signal(), Signal(masked_entry(lane=lane), reset_less=True)
        m.d.comb += [
            operands.look_up.eq(taken | self.look_up),
            operands.mask_row.eq(self.entry.p.row),
            operands.mask_paired.eq(self.sampled & ~self.look_up),
            operands.mask_partner_row.eq(self.entry.p.value),
            self.mask.eq(operands.mask),
            effectual.eq(operands.mask & self.used),
        ]
        m.d.sync += has_products.eq(always | (by_mask & effectual.any()))
        with m.If(looked_up):
            m.d.sync += [masked.entry.eq(entry), masked.effectual.eq(Mux(nonzero, effectual, 0))]

        m.submodules.fifo = fifo = EntryFifo(width=len(masked.as_value()), depth=lane.fifo_depth)
        m.d.comb += [
            # Entries on the way need a place too.
            self.entry.ready.eq(fifo.level + looked_up + has_products < lane.fifo_depth),
            fifo.i.valid.eq(has_products),
            fifo.i.payload.eq(masked),
            fifo.o.ready.eq(issue.i.ready),
            issue.i.valid.eq(fifo.o.valid),
            issue.i.payload.eq(fifo.o.payload),
            issue.sampled.eq(self.sampled),
            issue.dense.eq(self.dense),
            issue.used.eq(self.used),
        ]
        # Behind the first one in the FIFO there may be others of the later wave, but none of an earlier one. What
        # the FIFO has just taken it may not show yet.
        first = Signal(masked_entry(lane=lane))
        taken_in, taken_wave = Signal(), Signal()
        m.d.sync += [taken_in.eq(has_products), taken_wave.eq(masked.entry.wave)]
        m.d.comb += first.eq(fifo.o.payload)
        places = (
            (looked_up, entry.wave),
            (has_products, masked.entry.wave),
            (taken_in, taken_wave),
            (fifo.o.valid, first.entry.wave),
        )
        waits = [Cat(valid & (of_wave == wave) for valid, of_wave in places).any() for wave in (0, 1)]
        return looked_up | has_products | fifo.level.any(), waits

    def _issue_products(self, m, issue, interlock, operands, accumulators, operator):
        product = issue.o
        accumulator, slot_bits = product.p.entry.accumulator, len(product.p.slot)
        slot = Mux(self.sampled, accumulator[:slot_bits], product.p.slot)
        address = Cat(slot, accumulator[slot_bits:])
        issued = Signal()
        effectual = Signal()
        # Whether there is a product is known early in the cycle, whether it waits for its accumulator is not.
        lead = operator.latency - operator.loop
        made_to_wait = take_turns(m, self.sweep, valid=product.valid, address=address, reads=effectual, lead=lead)
        m.d.comb += [
            product.ready.eq(~interlock.hazard & ~made_to_wait),
            issued.eq(product.valid & product.ready),
            effectual.eq(issued & product.p.effectual),
            interlock.address.eq(address),
            interlock.issue.eq(issued),
            interlock.effectual.eq(product.p.effectual),
            self.issued.eq(issued),
            self.effectual.eq(effectual),
            self.hazard.eq(product.valid & interlock.hazard),
            self.swept.eq(product.valid & ~interlock.hazard & made_to_wait),
        ]

        # Only effectual products reach the memories and the operator; for the others everything holds still. The
        # operator's inputs are registered: a block memory takes half a cycle to show what it has read.
        width = self._lane.number_format.operand_width
        value, x, y = (Signal(width, name=name, reset_less=True) for name in ("value", "x", "y"))
        a = Signal.like(accumulators.data, reset_less=True)
        fetched, enable, accumulator_fetched = Signal(), Signal(), Signal()
        m.d.sync += [fetched.eq(effectual), enable.eq(fetched), accumulator_fetched.eq(interlock.read)]
        with m.If(effectual):
            m.d.sync += value.eq(product.p.entry.value)
        with m.If(fetched):
            m.d.sync += [
                x.eq(Mux(self.sampled, operands.partner, value)),
                y.eq(operands.operand),
            ]
        with m.If(accumulator_fetched):
            m.d.sync += a.eq(accumulators.data)
        m.d.comb += [
            operands.read.eq(effectual),
            operands.row.eq(product.p.entry.row),
            operands.slot.eq(product.p.slot),
            operands.paired.eq(self.sampled),
            operands.partner_row.eq(product.p.entry.value),
            accumulators.read.eq(interlock.read),
            accumulators.read_address.eq(interlock.read_address),
            operator.x.eq(x),
            operator.y.eq(y),
            operator.a.eq(a),
            operator.enable.eq(enable),
        ]

        m.d.comb += [
            accumulators.write.eq(interlock.write),
            accumulators.write_address.eq(interlock.write_address),
            accumulators.write_data.eq(operator.o),
            self.flags.eq(Mux(interlock.write, operator.flags, 0)),
        ]
        if self._lane.number_format.scaled:
            m.d.comb += operator.unit.eq(self.unit)
