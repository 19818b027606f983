"""Finds the smallest of many keys without sorting them."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["DIGITS", "KEY_WIDTH", "RadixSelect"]

DIGITS = (11, 10, 10)
"""Bits of a key that each pass looks at, the highest first: of a float32, exponent and three bits more."""

KEY_WIDTH = sum(DIGITS)

_LOWS = tuple(sum(DIGITS[number + 1 :]) for number in range(len(DIGITS)))
_BINS = 1 << max(DIGITS)


class RadixSelect(wiring.Component):
    """Tells which keys are the ``rank`` smallest of all, after the same keys have gone by once for each of ``DIGITS``.

    Every pass counts how many keys have each value of a digit, among those that are like the threshold in the digits
    before. Then the counts are looked through from the lowest, which gives one digit of the threshold and takes
    a cycle for each possible value. One key a cycle.

    Members
    -------
    start : In(1)
        Begins with ``rank``; only while not ``busy``. It takes as long as looking through once after a reset, and where
        keys have been counted but not looked through.
    rank : In(32)
    key : In(KEY_WIDTH)
    valid : In(1)
        Counts ``key``; only while not ``busy``.
    ended : In(1)
        The pass is over; only while not ``busy``, and not with a key.
    busy : Out(1)
    passes : Out(range(len(DIGITS) + 1))
        Those that are over.
    below : Out(1)
        ``key`` is below the threshold, in the digits found so far: one of the smallest. Always, if all keys were less
        than ``rank``.
    equal : Out(1)
        It is equal to the threshold in these digits: of all such keys, ``ties`` are among the smallest.
    ties : Out(32)
    """

    start: In(1)
    rank: In(32)
    key: In(KEY_WIDTH)
    valid: In(1)
    ended: In(1)
    busy: Out(1)
    passes: Out(range(len(DIGITS) + 1))
    below: Out(1)
    equal: Out(1)
    ties: Out(32)

    def elaborate(self, platform):
        m = Module()

        m.submodules.bins = bins = Memory(shape=32, depth=_BINS, init=[])
        change = bins.write_port()
        look = bins.read_port(transparent_for=(change,))

        threshold = Signal(KEY_WIDTH)
        mask = Signal(KEY_WIDTH)  # digits that have been found
        digit = Signal(max(DIGITS))
        everything = Signal()
        like = Signal()
        m.d.comb += [
            like.eq(((self.key ^ threshold) & mask) == 0),
            self.below.eq(everything | ((self.key & mask) < threshold)),
            self.equal.eq(like),
        ]

        # Counting: a key's bin is read in one cycle and written in the next.
        counted = Signal()
        place = Signal(max(DIGITS))
        scanning = Signal()
        number = Signal(max(DIGITS))
        last = Signal()
        m.d.comb += [look.addr.eq(Mux(scanning, number, digit)), last.eq(number == _BINS - 1)]
        m.d.sync += [counted.eq(self.valid & like & ~scanning), place.eq(look.addr)]

        # Looking through: every bin is set to 0 one cycle after it has been read.
        looked = Signal()
        looked_last = Signal()
        dirty = Signal(init=1)
        clearing = Signal()
        found = Signal()
        finds = Signal()
        m.d.sync += [looked.eq(scanning), looked_last.eq(scanning & last)]
        m.d.comb += [
            change.addr.eq(place),
            change.data.eq(Mux(looked, 0, look.data + 1)),
            change.en.eq(counted | looked),
            finds.eq(~clearing & looked & ~found & (look.data >= self.ties)),
            self.busy.eq(scanning | looked),
        ]
        with m.If(scanning):
            m.d.sync += [number.eq(number + 1), scanning.eq(~last)]
        with m.If(self.ended):
            m.d.sync += [scanning.eq(1), found.eq(0)]
        with m.If(~clearing & looked & ~found & ~finds):
            m.d.sync += self.ties.eq(self.ties - look.data)
        with m.If(finds):
            m.d.sync += found.eq(1)
        with m.If(looked_last):
            m.d.sync += [dirty.eq(0), clearing.eq(0)]
        with m.Elif(counted):
            m.d.sync += dirty.eq(1)
        with m.Switch(self.passes):
            for level, (low, width) in enumerate(zip(_LOWS, DIGITS, strict=True)):
                with m.Case(level):
                    m.d.comb += digit.eq(self.key[low : low + width])
                    with m.If(finds):
                        m.d.sync += threshold[low : low + width].eq(place)
                    with m.If(~clearing & looked_last):
                        m.d.sync += [
                            self.passes.eq(level + 1),
                            mask.eq(Const((1 << KEY_WIDTH) - (1 << low), KEY_WIDTH)),
                        ]
                        with m.If(~found & ~finds):
                            m.d.sync += everything.eq(1)

        with m.If(self.start):
            m.d.sync += [self.passes.eq(0), mask.eq(0), threshold.eq(0), everything.eq(0), self.ties.eq(self.rank)]
            m.d.sync += [scanning.eq(dirty), clearing.eq(dirty)]

        return m
