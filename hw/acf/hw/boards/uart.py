"""UART, 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]


def _check(cycles_per_bit: int) -> None:
    if not 2 <= cycles_per_bit < 1 << 16:
        raise ValueError(f"a bit on the line must take from 2 to 65535 cycles, not {cycles_per_bit!r}")


class UartReceiver(wiring.Component):
    """Samples each bit in its middle.

    A byte cannot wait: it is there for one cycle, ten bits less a half behind the edge of its start bit.

    Parameters
    ----------
    cycles_per_bit : int
        Four at least where the sender has a clock of its own.

    Members
    -------
    pin : In(1)
        The line; synchronized here.
    byte : Out(8)
    valid : Out(1)
        A byte has come.
    broken : Out(1)
        A byte without a stop bit has come, and is lost.

    Raises
    ------
    ValueError
        If ``cycles_per_bit`` is out of range.
    """

    def __init__(self, *, cycles_per_bit: int):
        _check(cycles_per_bit)
        self._cycles = cycles_per_bit
        super().__init__({"pin": In(1, init=1), "byte": Out(8), "valid": Out(1), "broken": Out(1)})

    def elaborate(self, platform):
        m = Module()

        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.pin, line, init=1)
        wait = Signal(range(self._cycles + 1))
        bits = Signal(range(10))  # bits that are to come, the stop bit among them
        m.d.sync += [self.valid.eq(0), self.broken.eq(0), wait.eq(wait - 1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [wait.eq(self._cycles // 2 - 1), bits.eq(9)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(wait == 0):
                m.d.sync += wait.eq(self._cycles - 1)
                m.next = "BITS"
                with m.If(line):  # shorter than half a bit
                    m.next = "IDLE"
            with m.State("BITS"), m.If(wait == 0):
                m.d.sync += [wait.eq(self._cycles - 1), bits.eq(bits - 1)]
                with m.If(bits != 1):
                    m.d.sync += self.byte.eq(Cat(self.byte[1:], line))
                with m.Else():
                    m.d.sync += [self.valid.eq(line), self.broken.eq(~line)]
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Sends a byte in ten bits; throughput is one byte in ``10 * cycles_per_bit`` cycles.

    Parameters
    ----------
    cycles_per_bit : int

    Members
    -------
    i : In(stream), 8 bits
    pin : Out(1)

    Raises
    ------
    ValueError
        If ``cycles_per_bit`` is out of range.
    """

    def __init__(self, *, cycles_per_bit: int):
        _check(cycles_per_bit)
        self._cycles = cycles_per_bit
        super().__init__({"i": In(stream.Signature(8)), "pin": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()

        wait = Signal(range(self._cycles))
        bits = Signal(range(11))
        frame = Signal(10, init=(1 << 10) - 1)
        last = (wait == 0) & (bits <= 1)
        m.d.comb += [self.i.ready.eq(last), self.pin.eq(frame[0])]
        with m.If(last):
            m.d.sync += [bits.eq(0), frame[0].eq(1)]
            with m.If(self.i.valid):
                m.d.sync += [
                    frame.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                    bits.eq(10),
                    wait.eq(self._cycles - 1),
                ]
        with m.Elif(wait == 0):
            m.d.sync += [frame.eq(Cat(frame[1:], Const(1, 1))), bits.eq(bits - 1), wait.eq(self._cycles - 1)]
        with m.Else():
            m.d.sync += wait.eq(wait - 1)
        return m
