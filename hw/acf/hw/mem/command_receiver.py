"""COMMAND packets in, whole commands out."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import NocConfig
from acf.hw.noc.flit import flit_stream
from acf.isa import COMMAND_FIELDS, COMMAND_WORDS, Opcode

__all__ = ["CommandReceiver", "command_field", "command_layout"]

command_layout = data.ArrayLayout(32, COMMAND_WORDS)
"""A command as its 32-bit words, word 0 lowest."""

_BODY_FLITS = COMMAND_WORDS // 2


def command_field(command: data.View, opcode: Opcode, name: str) -> Value:
    """The bits of field ``name`` of a command of ``opcode``."""
    place = COMMAND_FIELDS[opcode][name]
    return Value.cast(command[place.word])[place.low : place.low + place.width]


class CommandReceiver(wiring.Component):
    """Queues COMMAND packets and unpacks them one by one.

    The head flit is dropped, the body is queued; ``depth`` whole commands wait besides the one at ``o``. A command is
    at ``o`` two cycles after its last flit, and the next one nine cycles after it was taken.

    Parameters
    ----------
    noc : NocConfig
    depth : int
        Commands that wait behind the one at the output.

    Members
    -------
    i : In(flit_stream)
        COMMAND packets.
    o : Out(stream), ``command_layout``
        Stable until taken, so that a command may be executed from here and taken when it is done.

    Raises
    ------
    ValueError
        If ``depth`` is not positive.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, noc: NocConfig, depth: int = 2):
        if depth <= 0:
            raise ValueError(f"command queue depth must be positive, not {depth!r}")
        self._noc = noc
        self._depth = depth
        super().__init__(
            {
                "i": In(flit_stream(noc=noc)),
                "o": Out(stream.Signature(command_layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = fifo.SyncFIFO(width=self._noc.flit_width, depth=self._depth * _BODY_FLITS)
        m.d.comb += [
            queue.w_data.eq(self.i.p.payload),
            queue.w_en.eq(self.i.valid & ~self.i.p.head),
            self.i.ready.eq(self.i.p.head | queue.w_rdy),
        ]

        flit = Signal(range(_BODY_FLITS))
        m.d.comb += queue.r_en.eq(~self.o.valid)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(queue.r_en & queue.r_rdy):
            m.d.sync += flit.eq(flit + 1)
            m.d.sync += self.o.valid.eq(flit == _BODY_FLITS - 1)
            with m.Switch(flit):
                for number in range(_BODY_FLITS):
                    with m.Case(number):
                        m.d.sync += self.o.p[2 * number].eq(queue.r_data[:32])
                        m.d.sync += self.o.p[2 * number + 1].eq(queue.r_data[32:])

        return m
