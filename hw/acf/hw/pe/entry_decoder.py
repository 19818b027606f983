"""Acts on the packets of a row feeder, in order."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from acf.config import FabricConfig
from acf.hw.noc.flit import drain_head, entry_head, flit_stream, setup_head, signal_head
from acf.hw.node_product import times_node
from acf.hw.pe.issue import lane_entry
from acf.hw.pe.lane import settling_cycles
from acf.hw.pe.sweep_job import sweep_request
from acf.isa import NO_SEMAPHORE, UNIT_BITS, EntryKind, Mode

__all__ = ["EntryDecoder"]


class EntryDecoder(wiring.Component):
    """Passes entries to the lanes at one per cycle; everything else is a boundary between two *waves* of entries.

    What a boundary is for is done when all entries before it are: a SIGNAL is given on, a sweep begins. Meanwhile
    entries of the next wave go on to the lanes, where they find those of the wave before. There are two waves at a
    time, so another boundary behind them waits; those between which no entry comes are one. Lanes without skipping take
    no entry of the next wave before they have done all of the one before.

    A SETUP that changes the banks alone takes one cycle, and begins a wave where it is SAMPLED, as its entries may add
    to the same accumulators as those before. Any other SETUP waits until lanes are idle and takes three cycles. A DRAIN
    or CLEAR is handed over in one cycle, when the one before it is done. Gather and scatter differ only in what the
    feeder puts into an entry, so nobody tells them apart here.

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
    passed : In(1)
        No entry of another wave than that of ``entry`` waits for its products to be issued.
    settled : Out(1)
        The sums of all waves but that of ``entry`` are there.
    swept : In(1)
        No sweep is asked for or under way, and what was swept is +0.
    sweep : Out(stream), ``sweep_request``
        DRAIN and CLEAR; to begin when ``settled``.
    done : Out(stream), semaphore
        SIGNAL. One that closes no stream, which is that of a CLEAR, waits for the sweep too.
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
                "passed": In(1),
                "settled": Out(1),
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
        wave = Signal()  # that of the entries that come now
        m.d.comb += [
            self.entry.p.wave.eq(wave),
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
        ]

        can_begin_wave, begin_wave = self._waves(m, wave)
        takes_signal = self._signals(m, signal)
        share = self._column_share(m, setup)
        phase = Signal(range(3))
        same_setup = self._same_setup(m, setup, takes=phase == 2)
        with m.Switch(entry.kind):
            with m.Case(EntryKind.ENTRY):
                goes_on = ~self.must_wait & ~self.looking_up
                may_mix = 1 if lane.skipping else self.settled
                m.d.comb += [
                    self.entry.valid.eq(self.i.valid & goes_on & may_mix),
                    self.i.ready.eq(self.entry.ready & goes_on & may_mix),
                    self.received.eq(self.i.valid & self.i.ready),
                    self.held.eq(self.i.valid & ~goes_on),
                ]
            with m.Case(EntryKind.SETUP), m.If(self.i.valid):
                with m.If(same_setup):
                    m.d.comb += self.i.ready.eq(can_begin_wave | ~self.sampled)
                    with m.If(self.sampled & can_begin_wave):
                        begin_wave()
                with m.Elif(self.idle):
                    m.d.sync += phase.eq(phase + 1)
                    with m.If(phase == 2):
                        m.d.comb += self.i.ready.eq(1)
                        m.d.sync += [
                            phase.eq(0),
                            self.sampled.eq(setup.mode == Mode.SAMPLED),
                            self.dense.eq(~setup.skip),
                            self.unit.eq(setup.unit),
                            *self._set_used(share),
                        ]
                with m.If(self.i.ready):
                    m.d.sync += [bank.eq(setup.bank), row_bank.eq(setup.row_bank), self.open.eq(1)]
            with m.Case(EntryKind.DRAIN, EntryKind.CLEAR), m.If(self.i.valid & can_begin_wave):
                m.d.comb += [
                    self.sweep.valid.eq(1),
                    self.i.ready.eq(self.sweep.ready),
                    self.held.eq(~self.sweep.ready),
                ]
                with m.If(self.sweep.ready):
                    begin_wave()
            with m.Case(EntryKind.SIGNAL), m.If(self.i.valid):
                with m.If(signal.semaphore == NO_SEMAPHORE):
                    m.d.comb += self.i.ready.eq(1)
                with m.Elif(can_begin_wave & (self.open | (self.settled & self.swept))):
                    m.d.comb += self.i.ready.eq(takes_signal)
                    with m.If(takes_signal):
                        begin_wave()
                with m.Else():
                    m.d.comb += self.held.eq(self.settled & ~self.open & ~self.swept)
                with m.If(self.i.ready):
                    m.d.sync += self.open.eq(0)
        return m

    def _waves(self, m, wave):
        """Whether another wave may begin, and the verb that begins it."""
        lane = self._config.lane
        settling = settling_cycles(lane=lane) if lane.skipping else 1
        pending = Signal(range(settling + 1))  # counts down as soon as the wave before has passed
        has_entries = Signal()  # the wave has
        with m.If(pending.any() & self.passed):
            m.d.sync += pending.eq(pending - 1)
        with m.If(self.received):
            m.d.sync += has_entries.eq(1)

        def begin_wave():
            with m.If(has_entries):
                m.d.sync += [wave.eq(~wave), has_entries.eq(0), pending.eq(settling)]

        m.d.comb += self.settled.eq(~pending.any())
        return self.settled | ~has_entries, begin_wave

    def _signals(self, m, signal):
        """Keep a SIGNAL until the wave before it is settled. Returns whether one can be taken."""
        waits, due, semaphore = Signal(), Signal(), Signal.like(self.done.payload)
        m.d.comb += [self.done.valid.eq(due), self.done.payload.eq(semaphore)]
        taken = self.i.valid & self.i.ready & (signal.kind == EntryKind.SIGNAL) & (signal.semaphore != NO_SEMAPHORE)
        with m.If(due & self.done.ready):
            m.d.sync += [waits.eq(0), due.eq(0)]
        with m.Elif(waits & self.settled):
            m.d.sync += due.eq(1)
        with m.If(taken):
            m.d.sync += [waits.eq(1), semaphore.eq(signal.semaphore)]
        return ~waits

    def _same_setup(self, m, setup, *, takes):
        """Whether a SETUP has the mode and the columns of the one before; remembers them when it ``takes`` one."""
        names = ("mode", "skip", "unit", "columns", "tile_columns")
        known = Signal()
        same = known
        for name in names:
            kept = Signal.like(setup[name], name=f"kept_{name}")
            with m.If(takes):
                m.d.sync += kept.eq(setup[name])
            same = same & (kept == setup[name])
        with m.If(takes):
            m.d.sync += known.eq(1)
        return same

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
