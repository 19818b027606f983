"""Writes operand packets into the banks of a tile's lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, operand_head
from acf.hw.pe.operand_bank import operand_row_width, operand_write
from acf.isa import NO_SEMAPHORE

__all__ = ["OperandLoader"]


class OperandLoader(wiring.Component):
    """Takes ROWS packets apart: operands come column after column, column ``k`` goes to lane ``k % lanes``.

    Each lane takes one operand a cycle, so a flit takes one cycle when there are at least as many lanes as operands in
    a flit, else operands per flit / lanes. A head takes one. It waits for nothing but the sending of an earlier DONE.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(flit_stream)
    writes : Out(operand_write).array(lanes)
        To the lanes; written in the cycle in which the flit is taken or is worked on.
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
        lanes, width = config.lanes, config.lane.number_format.operand_width
        per_flit = config.noc.flit_width // width
        per_cycle = min(lanes, per_flit)
        steps = config.tile_columns // per_cycle  # cycles for one row

        head = data.View(operand_head, self.i.p.payload)
        row = Signal(operand_row_width(lane=config.lane))
        last = Signal()
        semaphore = Signal(4)

        # The number of a row's step is a column number without its low bits: lane, slot and place in the flit are
        # slices of it, because all counts are powers of two.
        step = Signal(range(steps))
        column = Cat(0 if per_cycle == 1 else Signal(ceil_log2(per_cycle), name="zero"), step)
        column = column[1:] if per_cycle == 1 else column
        slot = column[ceil_log2(lanes) :]
        first_lane = column[: ceil_log2(lanes)]
        place = column[: ceil_log2(per_flit)]

        body = self.i.valid & ~self.i.p.head
        flit_ends = place == per_flit - per_cycle
        with m.If(body):
            m.d.comb += self.i.ready.eq(flit_ends)
            m.d.sync += step.eq(step + 1)
            with m.If(step == steps - 1):
                m.d.sync += [step.eq(0), row.eq(row + 1)]
        with m.Else():
            m.d.comb += self.i.ready.eq(~self.done.valid | self.done.ready)
        m.d.comb += self.received.eq(body & self.i.ready)

        for n, write in enumerate(self.writes):
            chosen = first_lane == n // per_cycle * per_cycle
            m.d.comb += [
                write.enable.eq(body & chosen),
                write.row.eq(row),
                write.slot.eq(slot),
                write.value.eq(
                    self.i.p.payload.word_select(place[ceil_log2(per_cycle) :], per_cycle * width).word_select(
                        n % per_cycle, width
                    )
                ),
            ]

        with m.If(self.done.ready):
            m.d.sync += self.done.valid.eq(0)
        # A packet of no rows, of a load without rows, is head and tail at once.
        is_head = self.i.p.head
        ends_load = self.i.p.tail & Mux(is_head, head.last, last)
        signalled = Mux(is_head, head.semaphore, semaphore)
        with m.If(self.i.valid & self.i.ready):
            with m.If(is_head):
                bank_row = Cat(head.row[: ceil_log2(config.lane.operand_rows)], head.bank)
                m.d.sync += [
                    row.eq(bank_row),
                    step.eq(0),
                    last.eq(head.last),
                    semaphore.eq(head.semaphore),
                    self.under_way.eq(1),
                ]
            with m.If(ends_load):
                m.d.sync += [
                    self.under_way.eq(0),
                    self.done.valid.eq(signalled != NO_SEMAPHORE),
                    self.done.payload.eq(signalled),
                ]
        return m
