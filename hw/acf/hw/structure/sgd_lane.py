"""SGD with momentum, one entry a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.hw.formats.fused import FusedMultiplyAdd
from acf.hw.structure.random import xorshift32

__all__ = ["SgdLane"]


class SgdLane(wiring.Component):
    """Momentum, master value and weight of an entry after a step of SGD.

    ``momentum_o = round(gradient + momentum * momentum_factor)``, ``master_o = round(master - momentum_o *
    learning_rate)``, both float32, and ``weight_o`` is ``master_o`` rounded to bfloat16: to nearest even, or, when
    ``stochastic``, by adding 16 random bits to the 16 that go. Every entry draws once, whatever the rounding.

    Latency is ``latency`` cycles; throughput is one entry per cycle. It never stalls.

    Parameters
    ----------
    tag_width : int
        Bits of the tag that travels with an entry.

    Members
    -------
    gradient, momentum, master : In(32)
        An entry, float32.
    tag : In(tag_width)
    enable : In(1)
        The entry counts in this cycle.
    momentum_factor, learning_rate : In(16)
        bfloat16; not to change while an entry is inside.
    stochastic : In(1)
    seed : In(32)
    seed_valid : In(1)
        The entries after this cycle draw the states that follow ``seed``; only while no entry is inside.
    momentum_o, master_o : Out(32)
    weight_o : Out(16)
    tag_o : Out(tag_width)
    valid_o : Out(1)

    Attributes
    ----------
    latency : int
        Cycles from an entry to its results.
    """

    def __init__(self, *, tag_width: int):
        # Between float32 numbers sums are so wide that they need a stage for themselves.
        self._momentum = FusedMultiplyAdd(x_fraction=23, stages=5)
        self._master = FusedMultiplyAdd(x_fraction=23, stages=5)
        self._tag_width = tag_width
        self.latency = self._momentum.latency + self._master.latency + 1
        super().__init__(
            {
                "gradient": In(32),
                "momentum": In(32),
                "master": In(32),
                "tag": In(tag_width),
                "enable": In(1),
                "momentum_factor": In(16),
                "learning_rate": In(16),
                "stochastic": In(1),
                "seed": In(32),
                "seed_valid": In(1),
                "momentum_o": Out(32),
                "master_o": Out(32),
                "weight_o": Out(16),
                "tag_o": Out(tag_width),
                "valid_o": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.momentum = first = self._momentum
        m.submodules.master = second = self._master

        def delayed(name, value, valid, cycles):
            """``value`` and ``valid`` some cycles later; a register changes only with a valid value."""
            for cycle in range(1, cycles + 1):
                later = Signal(len(value), name=f"{name}_{cycle}", reset_less=True)
                later_valid = Signal(name=f"{name}_valid_{cycle}")
                m.d.sync += later_valid.eq(valid)
                with m.If(valid):
                    m.d.sync += later.eq(value)
                value, valid = later, later_valid
            return value, valid

        waiting, between = delayed("before", Cat(self.master, self.tag), self.enable, first.latency)
        passed, after = delayed("after", Cat(first.o, waiting[32:]), between, second.latency)
        m.d.comb += [
            first.a.eq(self.gradient),
            first.x.eq(self.momentum),
            first.y.eq(self.momentum_factor),
            first.enable.eq(self.enable),
            second.a.eq(waiting[:32]),
            second.x.eq(first.o),
            second.y.eq(self.learning_rate ^ 0x8000),
            second.enable.eq(between),
        ]

        # A NaN that comes out of an adder has 16 zeros below, so that no rounding changes it; so has an infinity.
        state = Signal(32)
        drawn = xorshift32(state)
        rounded = Signal(33)
        m.d.comb += rounded.eq(second.o + Mux(self.stochastic, drawn[:16], 0x7FFF + second.o[16]))
        m.d.sync += self.valid_o.eq(after)
        with m.If(after):
            m.d.sync += [
                state.eq(drawn),
                self.momentum_o.eq(passed[:32]),
                self.tag_o.eq(passed[32:]),
                self.master_o.eq(second.o),
                self.weight_o.eq(rounded[16:32]),
            ]
        with m.If(self.seed_valid):
            m.d.sync += state.eq(self.seed)

        return m
