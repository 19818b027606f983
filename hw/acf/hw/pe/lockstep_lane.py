"""Operands, operator and accumulators of a lane that goes in step with the others of its tile."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.formats import mac
from acf.hw.pe.accumulator_bank import AccumulatorBank, accumulator_sweep, connect_sweep, take_turns
from acf.hw.pe.lockstep_issue import lockstep_products
from acf.hw.pe.operand_bank import OperandBank, is_nonzero, operand_row_width, operand_write
from acf.isa import UNIT_BITS

__all__ = ["LockstepLane"]


class LockstepLane(wiring.Component):
    """Carries out the products that ``LockstepIssue`` issues, on its own columns.

    Memories, operator and times are those of ``Lane``. Zeros are not known before the operands are read: the product
    takes its cycle, and then does not enable the operator and writes nothing, so that sums have the bits that ``Lane``
    gives.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    products : In(lockstep_products)
    used : In(slots)
        Slots that hold columns in this lane.
    holds : Out(1)
        The product must not be issued in this cycle: an accumulator is swept, or an operand looked up.
    load : In(operand_write)
        May go on while products read another bank.
    sweep : In(accumulator_sweep)
    accumulator : Out(accumulator_width)
        What ``sweep`` has read in the cycle before.
    look_up : In(1)
        Read an operand for the sweep.
    look_up_row, look_up_slot : In
        Which one; the row counts through all banks.
    nonzero : Out(1)
        The operand that was looked up in the cycle before is not zero.
    clearing : Out(1)
        An accumulator that was swept is not yet +0.
    issued : Out(1)
        A product of this lane is issued in this cycle.
    effectual : Out(1)
        One was two cycles before, and neither of its operands is zero.
    flags : Out
        What the accumulator that is written has raised, by bits of ``acf.isa.Flag``.
    unit : In(6)
        As in ``Lane``.
    """

    def __init__(self, *, config: FabricConfig):
        self._lane = lane = config.lane
        unit = {"unit": In(UNIT_BITS)} if lane.number_format.scaled else {}
        super().__init__(
            {
                "products": In(lockstep_products(lane=lane)),
                "used": In(lane.slots),
                "holds": Out(1),
                "load": In(operand_write(lane=lane)),
                "sweep": In(accumulator_sweep(lane=lane)),
                "accumulator": Out(lane.number_format.accumulator_width),
                "look_up": In(1),
                "look_up_row": In(operand_row_width(lane=lane)),
                "look_up_slot": In(ceil_log2(lane.slots)),
                "nonzero": Out(1),
                "clearing": Out(1),
                "issued": Out(1),
                "effectual": Out(1),
                "flags": Out(lane.number_format.flags),
                **unit,
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane, product = self._lane, self.products

        m.submodules.operator = operator = mac(format=lane.format)
        m.submodules.operands = operands = OperandBank(lane=lane)
        m.submodules.accumulators = accumulators = AccumulatorBank(lane=lane)
        connect(m, flipped(self.load), operands.write)
        connect_sweep(
            m,
            self.sweep,
            accumulators,
            accumulator=self.accumulator,
            clearing=self.clearing,
            depth=operator.loop + 2,
        )

        lead = operator.latency - operator.loop
        made_to_wait = take_turns(
            m, self.sweep, valid=product.valid, address=product.address, reads=self.issued, lead=lead
        )
        reads = self.issued
        for n in range(lead):
            later = Signal(name=f"reads_later_{n}")
            m.d.sync += later.eq(reads)
            reads = later
        m.d.comb += [
            self.holds.eq(self.look_up | made_to_wait),
            self.issued.eq(product.issued & self.used.bit_select(product.slot, 1)),
            operands.read.eq(self.issued | self.look_up),
            operands.row.eq(Mux(self.look_up, self.look_up_row, product.row)),
            operands.slot.eq(Mux(self.look_up, self.look_up_slot, product.slot)),
            operands.paired.eq(product.sampled & ~self.look_up),
            operands.partner_row.eq(product.partner_row),
            self.nonzero.eq(is_nonzero(operands.operand, format=lane.format)),
            accumulators.read.eq(reads),
            accumulators.read_address.eq(product.read_address),
        ]

        # As in ``Lane`` the inputs of the operator are registered. Here they show whether a product is effectual.
        x, y = (Signal(lane.number_format.operand_width, name=name, reset_less=True) for name in ("x", "y"))
        a = Signal.like(accumulators.data, reset_less=True)
        fetched, enable, accumulator_fetched = Signal(), Signal(), Signal()
        m.d.sync += [fetched.eq(self.issued), enable.eq(fetched), accumulator_fetched.eq(reads)]
        with m.If(fetched):
            m.d.sync += [
                x.eq(Mux(product.sampled, operands.partner, product.value)),
                y.eq(operands.operand),
            ]
        with m.If(accumulator_fetched):
            m.d.sync += a.eq(accumulators.data)
        m.d.comb += [
            self.effectual.eq(enable & is_nonzero(x, format=lane.format) & is_nonzero(y, format=lane.format)),
            operator.x.eq(x),
            operator.y.eq(y),
            operator.a.eq(a),
            operator.enable.eq(self.effectual),
        ]

        write = self.effectual
        for n in range(operator.latency):
            write_next = Signal(name=f"write_{n}")
            m.d.sync += write_next.eq(write)
            write = write_next
        m.d.comb += [
            accumulators.write.eq(write),
            accumulators.write_address.eq(product.write_address),
            accumulators.write_data.eq(operator.o),
            self.flags.eq(Mux(write, operator.flags, 0)),
        ]
        if lane.number_format.scaled:
            m.d.comb += operator.unit.eq(self.unit)
        return m
