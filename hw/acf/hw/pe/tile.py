"""A compute tile: lanes that work on the same entries, each on its own columns."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from acf.config import FabricConfig
from acf.hw.counters import counter_bus
from acf.hw.hierarchy import ModuleLibrary, place
from acf.hw.noc.flit import flit_stream
from acf.hw.pe.cycle_counters import CycleCounters
from acf.hw.pe.dense_loader import DenseOperandLoader
from acf.hw.pe.done_sender import DoneSender
from acf.hw.pe.entry_decoder import EntryDecoder
from acf.hw.pe.lane import Lane
from acf.hw.pe.lockstep_issue import LockstepIssue
from acf.hw.pe.lockstep_lane import LockstepLane
from acf.hw.pe.operand_loader import OperandLoader
from acf.hw.pe.reduce import ReducingSweep
from acf.hw.pe.result_rounder import ResultRounder
from acf.hw.pe.result_sender import ResultSender
from acf.hw.pe.sweep import AccumulatorSweep
from acf.hw.pe.sweep_job import SweepJob

__all__ = ["Tile"]


class Tile(wiring.Component):
    """Takes entries and operands from the network, sends accumulators and signals.

    ENTRIES packets are acted on in order. An ENTRY goes to all lanes in one cycle, when every lane has room; what all
    other kinds are for is done when the lanes have finished what came before, while entries behind them come. While a
    DRAIN or CLEAR waits for that, or sweeps the accumulators, packets behind it are acted on; only an ENTRY whose
    accumulators are not swept yet, or another DRAIN or CLEAR, has to wait.
    So all looks as if it had happened in order. OPERANDS packets are written to the banks meanwhile.
    Column ``k`` of the tile lives in lane ``k % lanes``, slot ``k // lanes``.

    Without ``lane.skipping`` one ``LockstepIssue`` issues the products of all lanes, operands are not packed, and a
    SETUP's ``skip`` means nothing.

    Parameters
    ----------
    config : FabricConfig
    library : ModuleLibrary or None
        Takes the module of the lanes, so that all of them share it.

    Members
    -------
    entries : In(flit_stream)
        From the row feeder; see ``acf.isa.EntryKind``.
    operands : In(flit_stream)
        From the column feeder. Taken at one flit per cycle when there are at least as many lanes as operands in a flit.
    results : Out(flit_stream)
        To the row feeder, accumulator rows for DRAIN; or to the tile in the west (row feeder for the first tile), sums
        over the lanes of this tile and of those in the east.
    results_i : In(flit_stream)
        From the tile in the east, such sums; taken when they are needed.
    control : Out(flit_stream)
        To the command processor, DONE for SIGNAL and for operand packets marked ``last``.
    counters : In(counter_bus)
        ``acf.isa.LaneCounter`` and ``acf.isa.TileCounter``.
    y, x : In(4)
        Position of the tile in the mesh.
    """

    entries: stream.Interface
    operands: stream.Interface
    results: stream.Interface
    results_i: stream.Interface
    control: stream.Interface

    def __init__(self, *, config: FabricConfig, library: ModuleLibrary | None = None):
        self._config = config
        self._library = library
        super().__init__(
            {
                "entries": In(flit_stream(noc=config.noc)),
                "operands": In(flit_stream(noc=config.noc)),
                "results": Out(flit_stream(noc=config.noc)),
                "results_i": In(flit_stream(noc=config.noc)),
                "control": Out(flit_stream(noc=config.noc)),
                "counters": In(counter_bus),
                "y": In(4),
                "x": In(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        m.submodules.decoder = decoder = EntryDecoder(config=config)
        loads = OperandLoader if config.lane.skipping else DenseOperandLoader
        m.submodules.loader = loader = loads(config=config)
        m.submodules.job = job = SweepJob(lane=config.lane)
        m.submodules.sweep = sweep = AccumulatorSweep(config=config)
        m.submodules.reduce = reduce = ReducingSweep(config=config)
        m.submodules.results = results = ResultSender(config=config)
        m.submodules.sender = sender = DoneSender(noc=config.noc)
        m.submodules.counting = counting = CycleCounters(lanes=config.lanes, flags=config.lane.number_format.flags)
        if config.lane.skipping:
            lanes = [Lane(config=config) for _ in range(config.lanes)]
        else:
            m.submodules.issue = issue = LockstepIssue(lane=config.lane)
            lanes = [LockstepLane(config=config) for _ in range(config.lanes)]
        for n, lane in enumerate(lanes):
            place(m, f"lane_{n}", lane, library=self._library, key=(config,))

        connect(m, flipped(self.entries), decoder.i)
        connect(m, flipped(self.operands), loader.i)
        connect(m, flipped(self.results_i), reduce.incoming)
        connect(m, results.results, flipped(self.results))
        connect(m, sender.control, flipped(self.control))
        connect(m, flipped(self.counters), counting.counters)
        connect(m, decoder.sweep, job.request)
        connect(m, decoder.done, sender.streams)
        connect(m, loader.done, sender.loads)
        m.d.comb += [block.x.eq(self.x) for block in (decoder, reduce, results, counting)]
        m.d.comb += [block.y.eq(self.y) for block in (results, counting)]

        # One of the two at a time sends, and asks the lanes.
        walk = job.walk
        sends, reduces = walk.active & ~walk.reduce, walk.active & walk.reduce
        for name in ("send", "reduce", "narrow", "lower", "gate", "gate_bank", "row", "rows_left", "gate_row"):
            m.d.comb += [getattr(block.walk, name).eq(getattr(walk, name)) for block in (sweep, reduce)]
        m.d.comb += [
            sweep.walk.active.eq(sends),
            reduce.walk.active.eq(reduces),
            walk.row_done.eq(sweep.walk.row_done | reduce.walk.row_done),
            walk.finished.eq(sweep.walk.finished | reduce.walk.finished),
            results.sums.eq(walk.reduce),
            results.narrow.eq(walk.narrow),
            results.lower.eq(walk.lower),
            results.packet.eq(job.packet),
            job.packet_sent.eq(results.packet_sent),
        ]
        self._send_results(m, decoder, job, sweep, reduce, results)

        # What is behind the sweep, and what has to wait for it.
        clearing = Cat(lane.clearing for lane in lanes).any()
        m.d.comb += [
            job.entry_row.eq(decoder.entry.p.accumulator[ceil_log2(config.lane.slots) :]),
            decoder.must_wait.eq(job.must_wait),
            decoder.looking_up.eq(sweep.look_up if config.lane.skipping else 0),
            decoder.swept.eq(job.idle & ~clearing),
            job.settled.eq(decoder.settled & ~clearing),
        ]

        if config.lane.skipping:
            m.d.comb += [
                # Every lane takes the entry in the same cycle.
                decoder.entry.ready.eq(Cat(lane.entry.ready for lane in lanes).all()),
                decoder.idle.eq(Cat(lane.idle for lane in lanes).all()),
                decoder.passed.eq(Cat(lane.passed for lane in lanes).all()),
            ]
        else:
            self._share_issue(m, issue, lanes, decoder, sweep)
        m.d.comb += [
            counting.held.eq(decoder.held),
            counting.sweeping.eq(~decoder.swept),
            counting.open.eq(decoder.open | ~decoder.idle),
            counting.loading.eq(loader.under_way),
            counting.entry_received.eq(decoder.received),
            counting.flit_received.eq(loader.received),
        ]
        for n, lane in enumerate(lanes):
            connect(m, loader.writes[n], lane.load)
            if config.lane.skipping:
                m.d.comb += [
                    lane.entry.payload.eq(decoder.entry.payload),
                    lane.entry.p.row.eq(Mux(sweep.look_up, sweep.gate_row, decoder.entry.p.row)),
                    lane.look_up.eq(sweep.look_up),
                    lane.entry.valid.eq(decoder.entry.valid & decoder.entry.ready),
                    lane.wave.eq(decoder.entry.p.wave),
                    lane.sampled.eq(decoder.sampled),
                    lane.dense.eq(decoder.dense),
                ]
            m.d.comb += [
                lane.used.eq(decoder.used[n]),
                sweep.accumulators[n].eq(lane.accumulator),
                reduce.accumulators[n].eq(lane.accumulator),
                sweep.masks[n].eq(lane.mask if config.lane.skipping else lane.nonzero),
            ]
            for name in ("row", "slot", "urgent"):
                choice = Mux(walk.reduce, getattr(reduce.lanes[n], name), getattr(sweep.lanes[n], name))
                m.d.comb += getattr(lane.sweep, name).eq(choice)
            m.d.comb += [
                lane.sweep.read.eq(reduce.lanes[n].read | sweep.lanes[n].read),
                reduce.lanes[n].taken.eq(lane.sweep.taken & reduces),
                sweep.lanes[n].taken.eq(lane.sweep.taken & sends),
            ]
            for name in ("issued", "effectual", "hazard", "swept"):
                waits = not config.lane.skipping and name in ("hazard", "swept")
                m.d.comb += getattr(counting.events[n], name).eq(getattr(issue if waits else lane, name))
            m.d.comb += counting.events[n].flags.eq(lane.flags | reduce.overflow[n])
            if config.lane.number_format.scaled:
                m.d.comb += lane.unit.eq(decoder.unit)
        return m

    def _send_results(self, m, decoder, job, sweep, reduce, results):
        """From the sweep that is under way to the sender; fixed-point accumulators are rounded, or sums sent whole."""
        walk = job.walk
        taker = results.pairs
        m.d.comb += [sweep.sender_idle.eq(results.idle), reduce.sent.eq(results.sent << 1)]
        if self._config.lane.number_format.scaled:
            m.submodules.rounder = rounder = ResultRounder(config=self._config)
            taker, exact = rounder.i, walk.reduce & (self.x != 1)
            connect(m, rounder.o, results.pairs)
            asked = Signal.like(rounder.unit)
            with m.If(job.request.valid & job.request.ready):
                m.d.sync += asked.eq(decoder.unit)
            with m.If(~walk.active):
                m.d.sync += rounder.unit.eq(asked)
            m.d.comb += [
                rounder.exact.eq(exact),
                rounder.narrow.eq(walk.narrow),
                results.exact.eq(exact),
                sweep.sender_idle.eq(results.idle & rounder.idle),
                reduce.sent.eq(Mux(exact, results.sent, results.sent << 1)),
            ]
        m.d.comb += [
            taker.valid.eq(sweep.pairs.valid | reduce.pairs.valid),
            taker.payload.eq(Mux(walk.reduce, reduce.pairs.payload, sweep.pairs.payload)),
            sweep.pairs.ready.eq(taker.ready),
            reduce.pairs.ready.eq(taker.ready),
        ]

    def _share_issue(self, m, issue, lanes, decoder, sweep):
        """Lanes without skipping: one of them issues products for all, and all wait where one has to."""
        connect(m, decoder.entry, issue.entry)
        m.d.comb += [
            decoder.idle.eq(issue.idle),
            decoder.passed.eq(issue.idle),
            issue.sampled.eq(decoder.sampled),
            issue.used.eq(decoder.used[0]),  # no lane has more columns than the first
            issue.hold.eq(Cat(lane.holds for lane in lanes).any()),
        ]
        for lane in lanes:
            connect(m, issue.products, lane.products)
            m.d.comb += [
                lane.look_up.eq(sweep.look_up),
                lane.look_up_row.eq(sweep.gate_row),
                lane.look_up_slot.eq(sweep.gate_slot),
            ]
