"""Counts where the cycles of a tile's lanes went.

How it works. Thirty-two bits of flip-flops for every cause of every lane would cost as much as a quarter of a lane. So
events are counted in a few bits each, and one of these small counters after the other is *collected*: added to its word
in a small memory and set back. Every second cycle collects in turn; the cycles between collect the counter that the bus
has selected, so that what is read is exact and never late.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.hw.counters import counter_bus
from acf.isa import COUNTERS_PER_LANE, LaneCause, LaneCounter, TileCounter

__all__ = ["CycleCounters", "lane_events"]


def lane_events(*, flags: int = 1) -> wiring.Signature:
    """What happens in a lane in a cycle: a product is issued, it is effectual, one waits for its accumulator, one waits
    because an accumulator is swept, a sum has raised one of ``flags`` flags."""
    return wiring.Signature(
        {"issued": Out(1), "effectual": Out(1), "hazard": Out(1), "swept": Out(1), "flags": Out(flags)}
    )


# Words of the memory that belong to no lane's counter: flags are flip-flops.
_TILE_WORDS = {TileCounter.ENTRIES: 7, TileCounter.OPERAND_FLITS: 15}


class CycleCounters(wiring.Component):
    """Gives every cycle of every lane its cause, and counts them.

    An event is counted when ``counters.enable`` is high in its cycle; a counter that is selected shows it at most four
    cycles later.

    Parameters
    ----------
    lanes : int
        Lanes of the tile.
    flags : int
        Flags that a lane has.

    Members
    -------
    events : In(lane_events).array(lanes)
    held : In(1)
        A packet waits until accumulators are swept.
    sweeping : In(1)
        Accumulators are sent or set to +0.
    open : In(1)
        A stream is open.
    loading : In(1)
        A load is under way.
    entry_received, flit_received : In(1)
        An entry, a flit with operands is taken.
    counters : In(counter_bus)
    y, x : In(4)
        Position of the tile in the mesh.

    Raises
    ------
    ValueError
        If ``lanes`` is not from 1 to 16.
    """

    def __init__(self, *, lanes: int, flags: int = 1):
        if not 1 <= lanes <= 16:
            raise ValueError(f"counted lanes must be from 1 to 16, not {lanes!r}")
        self._lanes = lanes
        self._flags = flags
        super().__init__(
            {
                "events": In(lane_events(flags=flags)).array(lanes),
                "held": In(1),
                "sweeping": In(1),
                "open": In(1),
                "loading": In(1),
                "entry_received": In(1),
                "flit_received": In(1),
                "counters": In(counter_bus),
                "y": In(4),
                "x": In(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        clear = Signal()
        m.d.sync += clear.eq(self.counters.clear)

        events = self._events(m)
        words = max(2 * COUNTERS_PER_LANE, self._lanes * COUNTERS_PER_LANE)
        selected, is_selected = self._selection(m)
        turn = Signal()
        next_word = Signal(range(words))
        word = Signal(range(words))
        m.d.sync += [turn.eq(~turn), word.eq(Mux(turn, next_word, selected))]
        with m.If(turn):
            m.d.sync += next_word.eq(Mux(next_word == words - 1, 0, next_word + 1))

        # A counter waits at most two rounds of every second cycle.
        width = ceil_log2(2 * words + 1)
        counts = {n: Signal(width, name=f"count_{n}") for n in events}
        for n, event in events.items():
            m.d.sync += counts[n].eq(Mux(clear, 0, Mux(word == n, event, counts[n] + event)))

        # Words that have not been written since the last clear count as 0.
        m.submodules.totals = totals = Memory(shape=32, depth=words, init=[])
        writer, reader = totals.write_port(), totals.read_port(domain="comb")
        written = Signal(words)
        total = Signal(32)
        fresh = Array(counts.get(n, Const(0)) for n in range(words))[word]
        m.d.sync += written.eq(Mux(clear, 0, written | (1 << word)))
        m.d.comb += [
            reader.addr.eq(word),
            total.eq(Mux(written.bit_select(word, 1), reader.data, 0) + fresh),
            writer.addr.eq(word),
            writer.data.eq(total),
            writer.en.eq(1),
        ]

        flags = self._sticky_flags(m, clear)
        with m.If(~is_selected):
            m.d.sync += self.counters.value.eq(0)
        with m.Elif(self._selects_flag()):
            m.d.sync += self.counters.value.eq(flags.word_select(self.counters.select.index[3:], self._flags))
        with m.Elif(turn):
            m.d.sync += self.counters.value.eq(total)
        return m

    def _events(self, m):
        """Events of the cycle before, by memory word; all 0 when counters were not enabled in it."""
        opened = Signal()  # in this program
        with m.If(self.counters.clear):
            m.d.sync += opened.eq(0)
        with m.Elif(self.open):
            m.d.sync += opened.eq(1)

        seen = {
            _TILE_WORDS[TileCounter.ENTRIES]: self.entry_received,
            _TILE_WORDS[TileCounter.OPERAND_FLITS]: self.flit_received,
        }
        for n, lane in enumerate(self.events):
            operand_wait = self.loading | ~opened
            # A sweep is the cause where something waits for it, or where nothing else goes on.
            drain = lane.swept | self.held | (self.sweeping & ~self.open & ~operand_wait)
            tests = {
                LaneCause.MAC: lane.issued,
                LaneCause.HAZARD: lane.hazard,
                LaneCause.DRAIN: drain,
                LaneCause.ENTRY_WAIT: self.open,
                LaneCause.OPERAND_WAIT: operand_wait,
                LaneCause.IDLE: 1,
            }
            earlier = 0
            for cause, holds in tests.items():
                seen[n * COUNTERS_PER_LANE + cause] = holds & ~earlier
                earlier = earlier | holds
            seen[n * COUNTERS_PER_LANE + LaneCounter.EFFECTUAL_MACS] = lane.effectual

        events = {n: Signal(name=f"event_{n}") for n in seen}
        m.d.sync += [event.eq(seen[n] & self.counters.enable) for n, event in events.items()]
        return events

    def _sticky_flags(self, m, clear):
        flags = Signal(self._lanes * self._flags)
        raised = Signal.like(flags)
        m.d.sync += raised.eq(Cat(lane.flags for lane in self.events))
        m.d.sync += flags.eq(Mux(clear, 0, flags | raised))
        return flags

    def _selection(self, m):
        """The selected word, and whether this tile and one of its counters are meant."""
        select = self.counters.select
        here = (select.y == self.y) & (select.x == self.x)
        selected = Signal(ceil_log2(max(2, self._lanes) * COUNTERS_PER_LANE))
        exists = Signal()
        m.d.comb += [selected.eq(select.index), exists.eq(select.index < self._lanes * COUNTERS_PER_LANE)]
        for counter, word in _TILE_WORDS.items():
            with m.If(select.index == counter):
                m.d.comb += [selected.eq(word), exists.eq(1)]
        return selected, here & exists

    def _selects_flag(self):
        index = self.counters.select.index
        return (index[:3] == LaneCounter.FLAGS) & (index[3:] < self._lanes)
