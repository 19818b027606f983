"""Takes operand packets apart where lanes do not skip zeros."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, operand_head
from acf.hw.pe.operand_bank import operand_row_width, operand_write
from acf.isa import NO_SEMAPHORE

__all__ = ["DenseOperandLoader"]


class DenseOperandLoader(wiring.Component):
    """Takes ROWS packets apart: operands come column after column, column ``k`` goes to lane ``k % lanes``.

    As ``OperandLoader``, as fast, but of operands that are not packed, so that all lanes are at the same row and slot.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(flit_stream)
    writes : Out(operand_write).array(lanes)
        To the lanes; operands are written in the cycle in which the flit is taken or is worked on.
    done : Out(stream), semaphore
        Asked for after the last operand of a packet marked ``last`` is written.
    under_way : Out(1)
        A load has begun and its last packet has not ended.
    received : Out(1)
        A flit with operands is taken in this cycle.
    """

    i: stream.Interface
    done: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "i": In(flit_stream(noc=config.noc)),
                "writes": Out(operand_write(lane=config.lane)).array(config.lanes),
                "done": Out(stream.Signature(4)),
                "under_way": Out(1),
                "received": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes, lane = config.lanes, config.lane
        width = lane.number_format.operand_width
        per_flit = config.noc.flit_width // width
        per_cycle = min(lanes, per_flit)
        groups = lanes // per_cycle  # of lanes that a flit is for
        parts = per_flit // per_cycle  # cycles that a flit takes

        head = data.View(operand_head, self.i.p.payload)
        last, semaphore = Signal(), Signal(4)
        row, slot = Signal(operand_row_width(lane=lane)), Signal(range(lane.slots))
        group, part = Signal(range(groups)), Signal(range(parts))
        taken, slot_ends, part_ends = Signal(), Signal(), Signal()
        operands = self.i.p.payload.word_select(part, per_cycle * width)
        m.d.comb += [
            slot_ends.eq(group == groups - 1),
            part_ends.eq(part == parts - 1),
            self.received.eq(self.i.valid & self.i.ready & ~self.i.p.head),
        ]
        for n, write in enumerate(self.writes):
            m.d.comb += [
                write.enable.eq(taken & (group == n // per_cycle)),
                write.row.eq(row),
                write.slot.eq(slot),
                write.value.eq(operands.word_select(n % per_cycle, width)),
            ]

        with m.If(self.done.ready):
            m.d.sync += self.done.valid.eq(0)

        def end_load(signalled):
            m.d.sync += [
                self.under_way.eq(0),
                self.done.valid.eq(signalled != NO_SEMAPHORE),
                self.done.payload.eq(signalled),
            ]

        with m.FSM():
            with m.State("HEAD"):
                m.d.comb += self.i.ready.eq(~self.done.valid | self.done.ready)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [
                        last.eq(head.last),
                        semaphore.eq(head.semaphore),
                        self.under_way.eq(1),
                        row.eq(Cat(head.row[: ceil_log2(lane.operand_rows)], head.bank)),
                        slot.eq(0),
                        group.eq(0),
                        part.eq(0),
                    ]
                    m.next = "VALUES"
                    # A packet of no rows, of a load without rows, is head and tail at once.
                    with m.If(self.i.p.tail):
                        m.next = "HEAD"
                        with m.If(head.last):
                            end_load(head.semaphore)
            with m.State("VALUES"):
                m.d.comb += [taken.eq(self.i.valid), self.i.ready.eq(part_ends)]
                with m.If(taken):
                    m.d.sync += [part.eq(Mux(part_ends, 0, part + 1)), group.eq(Mux(slot_ends, 0, group + 1))]
                    with m.If(slot_ends):
                        m.d.sync += slot.eq(slot + 1)  # back to 0 after the last
                    with m.If(slot_ends & (slot == lane.slots - 1)):
                        m.d.sync += row.eq(row + 1)
                    with m.If(part_ends & self.i.p.tail):
                        m.next = "HEAD"
                        with m.If(last):
                            end_load(semaphore)
        return m
