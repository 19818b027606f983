"""Sends accumulator rows to the row feeder and sets them to +0."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, header_values, result_head
from acf.hw.pe.accumulator_bank import accumulator_sweep
from acf.hw.pe.operand_bank import operand_row_width
from acf.isa import ResultKind, TrafficClass

__all__ = ["AccumulatorSweep", "sweep_request", "tile_result_head"]

sweep_request = data.StructLayout(
    {"first": 12, "count": 13, "send": 1, "reduce": 1, "gate": 1, "gate_bank": 2, "gate_row": 12, "gate_step": 7}
)
"""First accumulator row, number of rows, whether they are sent before they are set to +0, and as what: see
``acf.hw.noc.flit.drain_head``."""


def tile_result_head(m: Module, *, kind: ResultKind, y: Value, x: Value, to: ValueLike, row: Value) -> Value:
    """Head of a packet from the tile at ``x`` to the node at ``to`` of the same mesh row."""
    head = Signal(result_head)
    header = header_values(y=y, x=to, traffic_class=TrafficClass.RESULTS, kind=kind)
    m.d.comb += head.eq(0)
    m.d.comb += [head[name].eq(value) for name, value in {**header, "column": x - 1, "row": row}.items()]
    return head.as_value()


class AccumulatorSweep(wiring.Component):
    """Walks over accumulator rows, all lanes at the same slot.

    With ``gate``, what stands where an operand is zero is sent as +0: the mask of an operand row is looked up with each
    head.

    Sending takes one cycle to start and then one per flit: a head and ``tile_columns / 2`` flits for each row (twice
    these with a single lane, which gives one accumulator a cycle). Only clearing takes one cycle to start and ``slots``
    cycles for each row.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    request : In(stream), ``sweep_request``
        Taken in the last cycle of the walk. The lanes must be idle.
    results : Out(flit_stream)
        One packet for each row.
    lanes : Out(accumulator_sweep)
        To all lanes.
    accumulators : In(32).array(lanes)
        What they have read.
    look_up : Out(1)
        Have all lanes look up the mask of ``gate_row``.
    gate_row : Out
        Counted through all banks.
    masks : In(slots).array(lanes)
        What they have looked up.
    y, x : In(4)
        Position of the tile in the mesh.
    """

    request: stream.Interface
    results: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "request": In(stream.Signature(sweep_request)),
                "results": Out(flit_stream(noc=config.noc)),
                "lanes": Out(accumulator_sweep(lane=config.lane)),
                "accumulators": In(config.lane.number_format.accumulator_width).array(config.lanes),
                "look_up": Out(1),
                "gate_row": Out(operand_row_width(lane=config.lane)),
                "masks": In(config.lane.slots).array(config.lanes),
                "y": In(4),
                "x": In(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slots, pairs = config.lane.slots, max(1, config.lanes // 2)

        row = Signal(12)
        rows_left = Signal(13)
        gate_row = Signal(ceil_log2(config.lane.operand_rows))
        slot = Signal(range(slots))
        pair = Signal(range(pairs))
        slot_ends = pair == pairs - 1
        row_ends = slot == slots - 1

        head = tile_result_head(m, kind=ResultKind.ROW, y=self.y, x=self.x, to=0, row=row)

        def read(which):
            """Ask the lanes for a slot; they show it from the next cycle on."""
            m.d.comb += [self.lanes.read.eq(1), self.lanes.read_slot.eq(which)]

        def clear_slot():
            m.d.comb += self.lanes.clear.eq(1)
            m.d.sync += slot.eq(slot + 1)  # back to 0 after the last

        def end_row(next_state):
            m.d.sync += [
                row.eq(row + 1),
                rows_left.eq(rows_left - 1),
                gate_row.eq(gate_row + self.request.p.gate_step),
            ]
            m.next = next_state
            with m.If(rows_left == 1):
                m.d.comb += self.request.ready.eq(1)
                m.next = "START"

        # Whether the accumulators that the lanes show at this slot are sent as they are.
        kept = [Signal(name=f"kept_{n}") for n in range(config.lanes)]
        m.d.comb += [kept[n].eq(~self.request.p.gate | mask.bit_select(slot, 1)) for n, mask in enumerate(self.masks)]
        shown = [Mux(kept[n], accumulator, 0) for n, accumulator in enumerate(self.accumulators)]

        m.d.comb += [
            self.lanes.read_row.eq(row),
            self.lanes.clear_row.eq(row),
            self.lanes.clear_slot.eq(slot),
            self.gate_row.eq(Cat(gate_row, self.request.p.gate_bank)),
        ]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [
                    row.eq(self.request.p.first),
                    rows_left.eq(self.request.p.count),
                    gate_row.eq(self.request.p.gate_row),
                ]
                with m.If(self.request.valid):
                    with m.If(self.request.p.count == 0):
                        m.d.comb += self.request.ready.eq(1)
                    with m.Elif(self.request.p.send):
                        m.next = "HEAD"
                    with m.Else():
                        m.next = "CLEAR"
            with m.State("CLEAR"):
                clear_slot()
                with m.If(row_ends):
                    end_row("CLEAR")
            with m.State("HEAD"):
                m.d.comb += [
                    self.results.valid.eq(1),
                    self.results.p.payload.eq(head),
                    self.results.p.head.eq(1),
                ]
                m.d.comb += self.look_up.eq(self.request.p.gate)
                with m.If(self.results.ready):
                    read(0)
                    m.next = "FIRST" if config.lanes == 1 else "PAIR"
            if config.lanes == 1:
                lower = self._fetch_lower(m, read, clear_slot, slot, shown[0])
                both = Cat(lower, shown[0])
            else:
                both = Cat(shown).word_select(pair, config.noc.flit_width)
            with m.State("PAIR"):
                m.d.comb += [
                    self.results.valid.eq(1),
                    self.results.p.payload.eq(both),
                    self.results.p.tail.eq(row_ends & slot_ends),
                ]
                with m.If(self.results.ready):
                    m.d.sync += pair.eq(Mux(slot_ends, 0, pair + 1))
                    with m.If(slot_ends):
                        clear_slot()
                        with m.If(row_ends):
                            end_row("HEAD")
                        with m.Else():
                            read(slot + 1)
                            if config.lanes == 1:
                                m.next = "FIRST"
        return m

    def _fetch_lower(self, m, read, clear_slot, slot, shown):
        """A single lane gives the two accumulators of a flit one after the other; keep the first."""
        lower = Signal(self._config.lane.number_format.accumulator_width)
        with m.State("FIRST"):
            m.d.sync += lower.eq(shown)
            clear_slot()
            read(slot + 1)
            m.next = "PAIR"
        return lower
