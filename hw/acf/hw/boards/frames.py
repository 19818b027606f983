"""Frames of the serial link: flags, escapes and CRC-32, on the way in and on the way out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.link import ESCAPE, ESCAPED, FLAG, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["FrameReceiver", "FrameSender", "frame_byte_layout", "header_layout"]

_CRC_BYTES = 4

header_layout = data.StructLayout({"kind": 8, "sequence": 32, "length": 16})
"""In the order of the bytes of a frame."""

frame_byte_layout = data.StructLayout({"value": 8, "last": 1})
"""A byte of a frame that is to be sent."""


def _crc() -> crc.Processor:
    return crc.catalog.CRC32_ISO_HDLC().create()


class FrameReceiver(wiring.Component):
    """Finds the frames in what comes from the line, and keeps the payload of one.

    A frame is reported once, at its closing flag, if it is whole: its length and its CRC are right, and every byte of
    it had a stop bit. Anything else is dropped without a word. A flag always begins a new frame, so that the next frame
    is found whatever was lost or came too much. While ``hold`` is high the payload stays as it is; a frame of which a
    part comes in that time is dropped.

    Members
    -------
    byte : In(8)
    valid, broken : In(1)
        As of ``UartReceiver``.
    hold : In(1)
    header : Out(header_layout)
    received : Out(1)
        High for one cycle when ``header`` and the payload are those of a new frame.
    address : In
        Index of a byte of the payload.
    data : Out(8)
        That byte, one cycle later.
    """

    def __init__(self):
        super().__init__(
            {
                "byte": In(8),
                "valid": In(1),
                "broken": In(1),
                "hold": In(1),
                "header": Out(header_layout),
                "received": Out(1),
                "address": In(ceil_log2(MAX_PAYLOAD)),
                "data": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # The CRC is written behind the payload, since it is only known for what it is at the flag.
        m.submodules.payload = payload = Memory(shape=8, depth=MAX_PAYLOAD + _CRC_BYTES, init=[])
        read, write = payload.read_port(transparent_for=()), payload.write_port()
        m.submodules.crc = check = _crc()

        longest = HEADER_BYTES + MAX_PAYLOAD + _CRC_BYTES
        count = Signal(range(longest + 1))
        spoilt = Signal(init=1)  # nothing is believed before the first flag
        escaped = Signal()
        header = Signal(header_layout.size)
        value = Signal(8)
        taken = Signal()
        m.d.comb += [
            read.addr.eq(self.address),
            self.data.eq(read.data),
            value.eq(Mux(escaped, self.byte ^ ESCAPED, self.byte)),
            check.data.eq(value),
            check.valid.eq(taken),
            write.addr.eq(count - HEADER_BYTES),
            write.data.eq(value),
            self.header.eq(header),
        ]
        m.d.sync += self.received.eq(0)
        with m.If(self.hold | self.broken):
            m.d.sync += spoilt.eq(1)
        with m.If(self.valid & (self.byte == FLAG)):
            whole = (count == HEADER_BYTES + _CRC_BYTES + self.header.length) & check.match_detected
            m.d.comb += check.start.eq(1)
            m.d.sync += [
                self.received.eq(whole & ~spoilt & ~escaped & ~self.hold),
                count.eq(0),
                spoilt.eq(self.hold),
                escaped.eq(0),
            ]
        with m.Elif(self.valid & ~escaped & (self.byte == ESCAPE)):
            m.d.sync += escaped.eq(1)
        with m.Elif(self.valid & ~self.hold & ~spoilt):
            m.d.sync += escaped.eq(0)
            with m.If(count == longest):
                m.d.sync += spoilt.eq(1)
            with m.Else():
                m.d.comb += taken.eq(1)
                m.d.sync += count.eq(count + 1)
            with m.If(count < HEADER_BYTES):
                m.d.sync += header.eq(Cat(header[8:], value))
            with m.Else():
                m.d.comb += write.en.eq(taken)
        return m


class FrameSender(wiring.Component):
    """Puts flags around a frame, escapes into it and its CRC behind it.

    Members
    -------
    i : In(stream), ``frame_byte_layout``
        Header and payload; ``last`` marks the last byte of the frame.
    o : Out(stream), 8 bits
        For the line.
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(frame_byte_layout)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()

        m.submodules.crc = check = _crc()
        value = Signal(8)  # what is to be sent with its escape
        special = (value == FLAG) | (value == ESCAPE)
        escaped = Signal()
        left = Signal(range(_CRC_BYTES + 1))
        remainder = Signal(32)
        whole = Signal()  # all of ``value`` is sent in this cycle

        def send_escaped():
            m.d.comb += [
                self.o.payload.eq(Mux(escaped, value ^ ESCAPED, Mux(special, ESCAPE, value))),
                whole.eq(self.o.valid & self.o.ready & (escaped | ~special)),
            ]
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += escaped.eq(special & ~escaped)

        m.d.comb += check.data.eq(self.i.p.value)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += [check.start.eq(1), self.o.payload.eq(FLAG), self.o.valid.eq(self.i.valid)]
                with m.If(self.o.valid & self.o.ready):
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [
                    value.eq(self.i.p.value),
                    self.o.valid.eq(self.i.valid),
                    self.i.ready.eq(whole),
                    check.valid.eq(whole),
                ]
                send_escaped()
                with m.If(whole & self.i.p.last):
                    m.next = "REMAINDER"
            with m.State("REMAINDER"):
                m.d.sync += [remainder.eq(check.crc), left.eq(_CRC_BYTES)]
                m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [value.eq(remainder), self.o.valid.eq(1)]
                send_escaped()
                with m.If(whole):
                    m.d.sync += [remainder.eq(remainder >> 8), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.o.payload.eq(FLAG), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "BEGIN"
        return m
