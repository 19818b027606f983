"""Takes operand packets apart."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, operand_head
from acf.hw.pe.operand_bank import operand_write
from acf.hw.pe.operand_writer import OperandWriter
from acf.isa import NO_SEMAPHORE

__all__ = ["OperandLoader"]


class OperandLoader(wiring.Component):
    """Takes ROWS packets apart: operands come column after column, column ``k`` goes to lane ``k % lanes``.

    Each lane takes one operand a cycle, so a flit takes one cycle when there are at least as many lanes as operands in
    a flit, else operands per flit / lanes. A head takes one. It waits for nothing but the sending of an earlier DONE.

    In a packed chunk a flit of masks takes one cycle, and one more cycle follows the last of them. Values are taken as
    above, but all lanes that a flit is for wait for a cycle when one of them comes to a row without any. One cycle ends
    the packet, and one more each row behind the last value.

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
        A flit with operands or masks is taken in this cycle.
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
        groups = lanes // per_cycle  # of lanes that a flit is for
        parts = per_flit // per_cycle  # cycles that a flit takes

        writers = [OperandWriter(config=config, lane=n) for n in range(lanes)]
        for n, writer in enumerate(writers):
            m.submodules[f"writer_{n}"] = writer

        head = data.View(operand_head, self.i.p.payload)
        packed, last = Signal(), Signal()
        semaphore = Signal(4)
        masks_number = Signal(range(config.chunk_mask_flits))
        group = Signal(range(groups))
        part = Signal(range(parts))
        values, part_taken = Signal(), Signal()
        begins, load, flush, masks_valid = Signal(), Signal(), Signal(), Signal()
        all_ready, all_ended = Signal(), Signal()
        m.d.comb += [
            all_ready.eq(Cat(w.ready | (group != n // per_cycle) for n, w in enumerate(writers)).all()),
            all_ended.eq(Cat(w.ended for w in writers).all()),
            part_taken.eq(values & self.i.valid & all_ready),
            self.received.eq(self.i.valid & self.i.ready & ~self.i.p.head),
        ]
        bank_row = Cat(head.row[: ceil_log2(config.lane.operand_rows)], head.bank)
        for n, (writer, write) in enumerate(zip(writers, self.writes, strict=True)):
            wiring.connect(m, writer.write, wiring.flipped(write))
            operands = self.i.p.payload.word_select(part, per_cycle * width)
            m.d.comb += [
                writer.begin.eq(begins),
                writer.row.eq(bank_row),
                writer.rows.eq(head.rows),
                writer.dense.eq(~packed),
                writer.masks.eq(self.i.p.payload),
                writer.masks_valid.eq(masks_valid),
                writer.masks_number.eq(masks_number),
                writer.load.eq(load),
                writer.value.eq(operands.word_select(n % per_cycle, width)),
                writer.valid.eq(part_taken & (group == n // per_cycle)),
                writer.flush.eq(flush),
            ]

        with m.If(self.done.ready):
            m.d.sync += self.done.valid.eq(0)

        def end_load(signalled):
            m.d.sync += [
                self.under_way.eq(0),
                self.done.valid.eq(signalled != NO_SEMAPHORE),
                self.done.payload.eq(signalled),
            ]

        without_values = Signal()
        with m.FSM():
            with m.State("HEAD"):
                m.d.comb += self.i.ready.eq(~self.done.valid | self.done.ready)
                with m.If(self.i.valid & self.i.ready):
                    m.d.comb += begins.eq(1)
                    m.d.sync += [
                        packed.eq(head.packed),
                        last.eq(head.last),
                        semaphore.eq(head.semaphore),
                        self.under_way.eq(1),
                        masks_number.eq(0),
                        group.eq(0),
                        part.eq(0),
                    ]
                    m.next = "VALUES"
                    with m.If(head.packed):
                        m.next = "MASKS"
                    # A packet of no rows, of a load without rows, is head and tail at once.
                    with m.If(self.i.p.tail):
                        m.next = "HEAD"
                        with m.If(head.last):
                            end_load(head.semaphore)
            with m.State("MASKS"):
                m.d.comb += [self.i.ready.eq(1), masks_valid.eq(self.i.valid)]
                m.d.sync += without_values.eq(self.i.p.tail)
                with m.If(self.i.valid):
                    m.d.sync += masks_number.eq(masks_number + 1)
                    with m.If(self.i.p.tail | (masks_number == config.chunk_mask_flits - 1)):
                        m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += load.eq(1)
                m.next = "VALUES"
                with m.If(without_values):
                    m.next = "FINISH"
            with m.State("VALUES"):
                m.d.comb += [values.eq(1), self.i.ready.eq(all_ready & (part == parts - 1))]
                with m.If(part_taken):
                    m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += group.eq(Mux(group == groups - 1, 0, group + 1))
                    with m.If(self.i.p.tail):
                        m.next = "HEAD"
                        with m.If(packed):
                            m.next = "FINISH"
                        with m.Elif(last):
                            end_load(semaphore)
            with m.State("FINISH"):
                m.d.comb += flush.eq(1)
                with m.If(all_ended):
                    m.next = "HEAD"
                    with m.If(last):
                        end_load(semaphore)
        return m
