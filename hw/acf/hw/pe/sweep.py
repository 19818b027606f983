"""Reads accumulator rows, which sets them to +0, to be sent or only for that."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from acf.config import FabricConfig
from acf.hw.formats.narrow import round_to_bf16
from acf.hw.pe.accumulator_bank import accumulator_sweep
from acf.hw.pe.operand_bank import operand_row_width
from acf.hw.pe.sweep_job import sweep_walk

__all__ = ["AccumulatorSweep"]

_PATIENCE = 4
"""Cycles for which the sweep waits for a cycle in which it is in no product's way, before it makes products wait."""


class AccumulatorSweep(wiring.Component):
    """Walks over accumulator rows, all lanes at the same slot; each lane gives its accumulator when it can.

    With ``gate``, what stands where an operand is zero is sent as +0: the mask of an operand row is looked up first.
    With ``narrow`` results are rounded to operands. With ``lower`` only those of the lower half of the slots are sent,
    the others are set to +0.

    Sending takes one cycle to start and then, for each row, one to look up its mask, and for each slot two to fetch it
    and one for each of its flits, or one where several slots share a flit. A slot that is not sent takes one cycle.
    Only clearing takes one cycle to start and ``slots`` cycles for each row. Lanes that are busy may delay a slot by
    three cycles.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    walk : In(sweep_walk)
    pairs : Out(stream)
        Two accumulators or four operands, those of lower columns first and in the lower bits. Where the number format
        is ``scaled``, only accumulators: they are narrowed when they have been rounded.
    sender_idle : In(1)
        All are sent.
    lanes : Out(accumulator_sweep).array(lanes)
    accumulators : In(32).array(lanes)
        What they have read in the cycle before.
    look_up : Out(1)
        Have all lanes look up the mask of ``gate_row``; without ``lane.skipping`` there are no masks, and they look up
        the operand of ``gate_row`` and ``gate_slot``, for each slot.
    gate_row : Out
        Counted through all banks.
    gate_slot : Out
        Only without ``lane.skipping``.
    masks : In(slots).array(lanes)
        What they have looked up in the cycle before; without ``lane.skipping`` one bit, set where the operand is not
        zero.
    """

    pairs: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        lane = config.lane
        members = {
            "walk": In(sweep_walk(lane=lane)),
            "pairs": Out(stream.Signature(2 * lane.number_format.accumulator_width)),
            "sender_idle": In(1),
            "lanes": Out(accumulator_sweep(lane=lane)).array(config.lanes),
            "accumulators": In(lane.number_format.accumulator_width).array(config.lanes),
            "look_up": Out(1),
            "gate_row": Out(operand_row_width(lane=lane)),
            "masks": In(lane.slots if lane.skipping else 1).array(config.lanes),
        }
        if not lane.skipping:
            members["gate_slot"] = Out(ceil_log2(lane.slots))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config, walk = self._config, self.walk
        slots = config.lane.slots

        slot = Signal(range(slots))
        row_ends = slot == slots - 1
        last_sent = slot == Mux(walk.lower, slots // 2 - 1, slots - 1)

        all_taken, fetch = self._fetching(m, slot)
        held = self._hold(m)
        shown = self._gated(m, held, slot)
        flit, slot_ends, fills, collect = self._flits(m, shown, slot)

        def end_slot(next_state):
            m.d.sync += slot.eq(slot + 1)  # back to 0 after the last
            m.next = next_state

        def end_row(next_state):
            m.d.comb += walk.row_done.eq(1)
            m.next = next_state
            with m.If(walk.rows_left == 1):
                m.next = "FINISH"

        with m.FSM():
            with m.State("START"), m.If(walk.active):
                with m.If(walk.send):
                    m.next = "ROW"
                with m.Else():
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                fetch()
                with m.If(all_taken):
                    end_slot("CLEAR")
                    with m.If(row_ends):
                        end_row("CLEAR")
            with m.State("ROW"):
                if config.lane.skipping:
                    m.d.comb += self.look_up.eq(walk.gate)
                m.next = "FETCH"
            with m.State("FETCH"):
                fetch()
                if not config.lane.skipping:
                    m.d.comb += self.look_up.eq(walk.gate & all_taken)
                with m.If(all_taken):
                    m.next = "ARRIVE"
            with m.State("ARRIVE"):
                m.next = "SEND"
                with m.If(~fills):
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                collect()
                end_slot("FETCH")
            with m.State("SEND"):
                m.d.comb += [self.pairs.valid.eq(1), self.pairs.payload.eq(flit)]
                with m.If(self.pairs.ready):
                    collect()
                    with m.If(slot_ends):
                        end_slot("FETCH")
                        with m.If(last_sent):
                            m.next = "REST"
                        with m.If(row_ends):
                            end_row("ROW")
            with m.State("REST"):
                fetch()
                with m.If(all_taken):
                    end_slot("REST")
                    with m.If(row_ends):
                        end_row("ROW")
            with m.State("FINISH"), m.If(self.sender_idle):
                m.d.comb += walk.finished.eq(1)
                m.next = "START"
        return m

    def _fetching(self, m, slot):
        """Whether all lanes have given the slot, and the verb that asks them for it."""
        missing = Signal(self._config.lanes, init=-1)  # lanes that have not
        taken = Cat(lane.taken for lane in self.lanes)
        waited = Signal(range(_PATIENCE))
        all_taken = Signal()
        m.d.comb += all_taken.eq(~(missing & ~taken).any())
        for lane in self.lanes:
            m.d.comb += [
                lane.row.eq(self.walk.row),
                lane.slot.eq(slot),
                lane.urgent.eq(waited == _PATIENCE - 1),
            ]

        def fetch():
            m.d.comb += [lane.read.eq(missing[n]) for n, lane in enumerate(self.lanes)]
            m.d.sync += missing.eq(Mux(all_taken, ~0, missing & ~taken))
            with m.If(all_taken):
                m.d.sync += waited.eq(0)
            with m.Elif(waited != _PATIENCE - 1):
                m.d.sync += waited.eq(waited + 1)

        return all_taken, fetch

    def _hold(self, m):
        """What the lanes have read: they show it for one cycle only."""
        held = []
        for n, (lane, accumulator) in enumerate(zip(self.lanes, self.accumulators, strict=True)):
            arrives = Signal(name=f"arrives_{n}")
            kept = Signal.like(accumulator, name=f"held_{n}", reset_less=True)
            m.d.sync += arrives.eq(lane.taken)
            with m.If(arrives):
                m.d.sync += kept.eq(accumulator)
            held.append(kept)
        return held

    def _flits(self, m, shown, slot):
        """The flit that results of this slot are in, whether it is the last one of them, whether they fill it, and the
        verb that goes on to the next flit or slot."""
        number_format = self._config.lane.number_format
        width = len(self.pairs.payload)
        part, collected = Signal(range(max(2, len(Cat(shown)) // width))), Signal(width)
        forms = []
        narrows = number_format.narrows and not number_format.scaled
        for results in (shown, [round_to_bf16(value) for value in shown] if narrows else shown):
            word = Signal(len(Cat(results)), name=f"word_{len(forms)}")
            m.d.comb += word.eq(Cat(results))
            if len(word) >= width:
                forms.append((word.word_select(part, width), part == len(word) // width - 1, Const(1, 1)))
            else:
                shared = exact_log2(width // len(word))
                forms.append((Cat(collected[len(word) :], word), Const(1, 1), slot[:shared].all()))
        flit, slot_ends, fills = Signal(width), Signal(), Signal()
        for signal, wide, narrow in zip((flit, slot_ends, fills), *forms, strict=True):
            m.d.comb += signal.eq(Mux(self.walk.narrow, narrow, wide))

        def collect():
            m.d.sync += [collected.eq(flit), part.eq(Mux(slot_ends, 0, part + 1))]

        return flit, slot_ends, fills, collect

    def _gated(self, m, held, slot):
        """What was read, or +0 where the operand is zero."""
        walk = self.walk
        arrives = Signal()
        m.d.comb += self.gate_row.eq(Cat(walk.gate_row, walk.gate_bank))
        m.d.sync += arrives.eq(self.look_up)
        if not self._config.lane.skipping:
            m.d.comb += self.gate_slot.eq(slot)
        shown = []
        for n, (mask, accumulator) in enumerate(zip(self.masks, held, strict=True)):
            kept_mask = Signal.like(mask, name=f"mask_{n}", reset_less=True)
            with m.If(arrives):
                m.d.sync += kept_mask.eq(mask)
            kept = Signal(name=f"kept_{n}")
            m.d.comb += kept.eq(~walk.gate | (kept_mask.bit_select(slot, 1) if len(mask) > 1 else kept_mask))
            shown.append(Mux(kept, accumulator, 0))
        return shown
