"""Acts on the packets of a row feeder, in order."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import drain_head, entry_head, flit_stream, setup_head, signal_head
from acf.hw.node_product import times_node
from acf.hw.pe.issue import lane_entry
from acf.hw.pe.sweep_job import sweep_request
from acf.isa import NO_SEMAPHORE, UNIT_BITS, EntryKind, Mode

__all__ = ["EntryDecoder"]


class EntryDecoder(wiring.Component):
    """Passes entries to the lanes at one per cycle; everything else waits until the lanes are idle.

    A DRAIN or CLEAR is handed over in one cycle, when the one before it is done; what comes behind it goes on while
    accumulators are swept. SETUP takes three cycles. Gather and scatter differ only in what the feeder puts into an
    entry, so nobody tells them apart here.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(flit_stream)
    x : In(4)
        Column of the tile in the mesh; 1 is the first.
    entry : Out(stream), ``lane_entry``
        To all lanes at once.
    must_wait : In(1)
        The accumulators of ``entry`` are not swept yet; it is not offered.
    looking_up : In(1)
        The lanes look up a mask for the sweep; no entry is offered.
    idle : In(1)
        All lanes are idle.
    swept : In(1)
        No sweep is under way, and what was swept is +0.
    sweep : Out(stream), ``sweep_request``
        DRAIN and CLEAR.
    done : Out(stream), semaphore
        SIGNAL. One that closes no stream, which is that of a CLEAR, waits for the sweep too, if it has a semaphore.
    sampled : Out(1)
        The mode is SAMPLED.
    dense : Out(1)
        Skipping is off.
    used : Out(slots).array(lanes)
        Slots of each lane that hold columns.
    unit : Out(6)
        What the last bit of an accumulator weighs (``acf.isa.unit_exponent``), as the latest SETUP said.
    open : Out(1)
        A stream is open: from its SETUP to its SIGNAL.
    held : Out(1)
        A packet waits for the sweep and for nothing else.
    received : Out(1)
        An entry is taken in this cycle.
    """

    i: stream.Interface
    entry: stream.Interface
    sweep: stream.Interface
    done: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "i": In(flit_stream(noc=config.noc)),
                "x": In(4),
                "entry": Out(stream.Signature(lane_entry(lane=config.lane))),
                "must_wait": In(1),
                "looking_up": In(1),
                "idle": In(1),
                "swept": In(1),
                "sweep": Out(stream.Signature(sweep_request)),
                "done": Out(stream.Signature(4)),
                "sampled": Out(1),
                "dense": Out(1),
                "used": Out(config.lane.slots).array(config.lanes),
                "unit": Out(UNIT_BITS),
                "open": Out(1),
                "held": Out(1),
                "received": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lane = self._config.lane
        bank, row_bank = (Signal(ceil_log2(lane.operand_banks), name=name) for name in ("bank", "row_bank"))

        def head_as(layout):
            return data.View(layout, self.i.p.payload)

        entry, setup, signal = map(head_as, (entry_head, setup_head, signal_head))
        drain = head_as(drain_head)  # CLEAR has the same fields
        row = Cat(entry.row[: ceil_log2(lane.operand_rows)], bank)
        m.d.comb += [
            self.entry.p.value.eq(entry.value),
            self.entry.p.row.eq(row),
            self.entry.p.accumulator.eq(Cat(C(0, ceil_log2(lane.slots)), entry.accumulator)),
        ]
        if lane.operand_banks > 1:
            # The lanes want the row of the even bank as row and that of the odd one as value.
            row_row = Cat(entry.value[: ceil_log2(lane.operand_rows)], row_bank)
            with m.If(self.sampled):
                m.d.comb += [
                    self.entry.p.value.eq(Mux(bank[0], row, row_row)),
                    self.entry.p.row.eq(Mux(bank[0], row_row, row)),
                    self.entry.p.accumulator.eq(entry.accumulator),
                ]
        m.d.comb += [
            self.sweep.p.first.eq(drain.first),
            self.sweep.p.count.eq(drain.more + 1),
            *(self.sweep.p[name].eq(drain[name]) for name in ("gate", "gate_bank", "gate_row", "gate_step")),
            self.sweep.p.send.eq(entry.kind == EntryKind.DRAIN),
            *(
                self.sweep.p[name].eq((entry.kind == EntryKind.DRAIN) & drain[name])
                for name in ("reduce", "narrow", "lower")
            ),
            self.done.payload.eq(signal.semaphore),
        ]

        share = self._column_share(m, setup)
        phase = Signal(range(3))
        with m.Switch(entry.kind):
            with m.Case(EntryKind.ENTRY):
                goes_on = ~self.must_wait & ~self.looking_up
                m.d.comb += [
                    self.entry.valid.eq(self.i.valid & goes_on),
                    self.i.ready.eq(self.entry.ready & goes_on),
                    self.received.eq(self.i.valid & self.i.ready),
                    self.held.eq(self.i.valid & ~goes_on),
                ]
            with m.Case(EntryKind.SETUP), m.If(self.i.valid & self.idle):
                m.d.sync += phase.eq(phase + 1)
                with m.If(phase == 2):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [
                        phase.eq(0),
                        bank.eq(setup.bank),
                        row_bank.eq(setup.row_bank),
                        self.sampled.eq(setup.mode == Mode.SAMPLED),
                        self.dense.eq(~setup.skip),
                        self.unit.eq(setup.unit),
                        self.open.eq(1),
                    ]
                    m.d.sync += self._set_used(share)
            with m.Case(EntryKind.DRAIN, EntryKind.CLEAR):
                m.d.comb += [
                    self.sweep.valid.eq(self.i.valid & self.idle & self.swept),
                    self.i.ready.eq(self.idle & self.swept & self.sweep.ready),
                    self.held.eq(self.i.valid & self.idle & ~self.swept),
                ]
            with m.Case(EntryKind.SIGNAL):
                sends = signal.semaphore != NO_SEMAPHORE
                goes_on = self.idle & (self.open | self.swept | ~sends)
                m.d.comb += [
                    self.done.valid.eq(self.i.valid & goes_on & sends),
                    self.i.ready.eq(goes_on & (self.done.ready | ~sends)),
                    self.held.eq(self.i.valid & self.idle & ~goes_on),
                ]
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += self.open.eq(0)
        return m

    def _column_share(self, m, setup):
        """Columns that this tile holds, two cycles after the SETUP has come."""
        columns = self._config.tile_columns
        per_tile = setup.tile_columns[: ceil_log2(columns + 1)]
        before = Signal(16)
        share = Signal(range(columns + 1))
        m.d.sync += before.eq(times_node(per_tile, (self.x - 1)[:4]))
        left = Mux(setup.columns > before, setup.columns - before, 0)
        m.d.sync += share.eq(Mux(left < per_tile, left, per_tile))
        return share

    def _set_used(self, share):
        """Slot ``s`` of lane ``n`` holds column ``s * lanes + n``."""
        # Lanes and slots apart: a comparison for each of either is less than one for each of both.
        full_slots, rest = share[exact_log2(self._config.lanes) :], share[: exact_log2(self._config.lanes)]
        return [
            used[slot].eq((full_slots > slot) | ((full_slots == slot) & (rest > n)))
            for n, used in enumerate(self.used)
            for slot in range(self._config.lane.slots)
        ]
