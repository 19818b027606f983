"""Makes results of fixed-point accumulators, on their way out of a tile."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.formats.fixed_to_float import FixedToFloat32
from acf.hw.formats.narrow import round_to_bf16
from acf.isa import UNIT_BITS

__all__ = ["ResultRounder"]


class ResultRounder(wiring.Component):
    """Rounds two accumulators at a time to float32: a flit, or of ``narrow`` results half of one.

    Sums for the next tile are not rounded: each is a flit.

    Latency is four cycles; throughput is a pair a cycle, of sums for the next tile one in two.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    i : In(stream)
        Two accumulators at a time, that of the lower column in the lower bits. With ``exact`` a pair is taken in any
        cycle, comes two cycles after the one before at the earliest, and ``o`` must be taken when it is there.
    exact, narrow : In(1)
        Sums for the next tile; four results in a flit, not two. Change only while ``idle``.
    unit : In(6)
        What the last bit of an accumulator weighs. Changes only while ``idle``.
    o : Out(stream)
        Flits of results.
    idle : Out(1)
        Nothing is under way.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._width = config.lane.number_format.accumulator_width
        self._flit_width = config.noc.flit_width
        super().__init__(
            {
                "i": In(stream.Signature(2 * self._width)),
                "exact": In(1),
                "narrow": In(1),
                "unit": In(UNIT_BITS),
                "o": Out(stream.Signature(self._flit_width)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        moves = Signal()
        pair = Signal(2 * self._width, reset_less=True)
        fresh, halves = Signal(), Signal(2)  # what is in ``pair``: one to be rounded; halves to be sent as they are
        m.d.comb += [moves.eq(~self.o.valid | self.o.ready), self.i.ready.eq(moves | self.exact)]
        with m.If(moves):
            m.d.sync += [fresh.eq(0), halves.eq(halves >> 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [pair.eq(self.i.payload), fresh.eq(~self.exact), halves.eq(self.exact.replicate(2))]

        rounded = []
        for n in range(2):
            rounder = FixedToFloat32()
            m.submodules[f"rounder_{n}"] = EnableInserter(moves)(rounder)
            m.d.comb += [
                rounder.i.eq(pair.word_select(n, self._width)),
                rounder.enable.eq(fresh),
                rounder.unit.eq(self.unit),
            ]
            rounded.append(rounder.o)
        valid, on_the_way = fresh, [fresh]
        for n in range(FixedToFloat32.latency):
            valid_next = Signal(name=f"valid_{n}")
            with m.If(moves):
                m.d.sync += valid_next.eq(valid)
            valid = valid_next
            on_the_way.append(valid)

        # Of narrow results the first half of a flit waits for the other.
        first_half, has_first = Signal(self._flit_width // 2, reset_less=True), Signal()
        half = Signal.like(first_half)
        m.d.comb += half.eq(Cat(round_to_bf16(value) for value in rounded))
        with m.If(valid & self.narrow & moves):
            m.d.sync += [first_half.eq(half), has_first.eq(~has_first)]
        m.d.comb += [
            self.o.valid.eq(halves.any() | (valid & (~self.narrow | has_first))),
            self.o.payload.eq(
                Mux(
                    self.exact,
                    Mux(halves[1], pair[: self._width], pair[self._width :]),
                    Mux(self.narrow, Cat(first_half, half), Cat(rounded)),
                )
            ),
            self.idle.eq(~(Cat(on_the_way).any() | halves.any() | has_first)),
        ]
        return m
