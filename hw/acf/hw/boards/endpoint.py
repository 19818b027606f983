"""The board's end of the serial link: carries out requests, each once, and answers them."""

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from acf.hw.boards.frames import FrameReceiver, FrameSender, header_layout
from acf.hw.boards.uart import UartReceiver, UartTransmitter
from acf.hw.mem.axi import Response, axi_lite_signature
from acf.link import (
    ADDRESS_WRITE,
    ANSWER,
    HEADER_BYTES,
    LINK_VERSION,
    MAX_DATA,
    MAX_PAYLOAD,
    OPERATION_BYTES,
    Kind,
    Status,
)

__all__ = ["LinkEndpoint", "access_signature"]

access_signature = wiring.Signature(
    {
        "request": Out(stream.Signature(data.StructLayout({"address": 32, "write": 1, "value": 8}))),
        "answered": In(1),
        "value": In(8),
        "refused": In(1),
    }
)
"""Bytes of a memory, one at a time: a request is answered by ``answered`` for one cycle, in a later one."""


class LinkEndpoint(wiring.Component):
    """UART, frames and requests of docs/link.md.

    The answer to the latest request is kept. A request with the sequence number of the latest one is answered with it
    and not carried out, so that a host may repeat a request as often as it likes. Requests come one at a time: what
    comes while one is carried out or answered is dropped.

    Parameters
    ----------
    cycles_per_bit : int
        Of the UART.
    memory_bytes : int
        Told to the host.
    clock : int
        Hz, told to the host; 0 where a second of the board is not one of the host.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    registers : Out(axi_lite_signature)
    memory : Out(access_signature)
    active : Out(1)
        A request is carried out or answered.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, *, cycles_per_bit: int, memory_bytes: int, clock: int):
        if not 0 < memory_bytes < 1 << 32:
            raise ValueError(f"memory behind the link must have from 1 to 2^32 - 1 bytes, not {memory_bytes!r}")
        if not 0 <= clock < 1 << 32:
            raise ValueError(f"clock must be from 0 to 2^32 - 1 Hz, not {clock!r}")
        self._cycles_per_bit = cycles_per_bit
        self._greeting = b"".join(
            number.to_bytes(size, "little")
            for number, size in ((LINK_VERSION, 1), (MAX_DATA, 2), (memory_bytes, 4), (clock, 4))
        )
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "registers": Out(axi_lite_signature()),
                "memory": Out(access_signature),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.receiver = receiver = UartReceiver(cycles_per_bit=self._cycles_per_bit)
        m.submodules.transmitter = transmitter = UartTransmitter(cycles_per_bit=self._cycles_per_bit)
        m.submodules.frames = frames = FrameReceiver()
        m.submodules.sender = sender = FrameSender()
        connect(m, sender.o, transmitter.i)
        m.d.comb += [
            receiver.pin.eq(self.rx),
            self.tx.eq(transmitter.pin),
            frames.byte.eq(receiver.byte),
            frames.valid.eq(receiver.valid),
            frames.broken.eq(receiver.broken),
        ]

        m.submodules.answer = answer = Memory(shape=8, depth=MAX_DATA, init=[])
        kept, keep = answer.read_port(transparent_for=()), answer.write_port()

        header = Signal(header_layout)  # of the latest request
        is_open = Signal()
        status = Signal(Status)
        answered = Signal(range(MAX_DATA + 1))  # bytes kept
        taken = Signal(range(MAX_PAYLOAD + 1))  # bytes of the request that were looked at
        left = Signal(len(header.length))  # those that were not
        head = Signal(8 * OPERATION_BYTES)
        head_bytes = Signal(range(OPERATION_BYTES + 1))
        first, second = head[:16], head[16:]  # of a register access
        address, count = Signal(32), Signal(16)
        value = Signal(32)
        m.d.comb += [frames.address.eq(taken), keep.addr.eq(answered)]

        def store(byte):
            m.d.comb += [keep.data.eq(byte), keep.en.eq(1)]
            m.d.sync += answered.eq(answered + 1)

        def end(code):
            m.d.sync += status.eq(code)
            m.next = "SEND"

        bus, memory = self.registers, self.memory
        connect_once = [bus.awvalid, bus.wvalid, bus.arvalid]
        m.d.comb += [
            *(part.eq(first[:12]) for part in (bus.awaddr, bus.araddr)),
            bus.wdata.eq(second),
            bus.wstrb.eq(0b1111),
            bus.bready.eq(1),
            bus.rready.eq(1),
            memory.request.p.address.eq(address),
            memory.request.p.write.eq(header.kind != Kind.READ),
            memory.request.p.value.eq(frames.data),
        ]
        for valid, ready in zip(connect_once, (bus.awready, bus.wready, bus.arready), strict=True):
            with m.If(ready):
                m.d.sync += valid.eq(0)

        m.d.comb += self.active.eq(1)
        m.d.comb += frames.hold.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.active.eq(0), frames.hold.eq(0)]
                with m.If(frames.received):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                following = frames.header.sequence == (header.sequence + 1)[:32]
                m.d.sync += [taken.eq(0), head_bytes.eq(0)]
                with m.If(is_open & (frames.header.sequence == header.sequence) & (frames.header.kind != Kind.HELLO)):
                    m.next = "SEND"
                with m.Else():
                    m.d.sync += [
                        header.eq(frames.header),
                        left.eq(frames.header.length),
                        answered.eq(0),
                        status.eq(Status.OKAY),
                    ]
                    with m.If(frames.header.kind == Kind.HELLO):
                        m.d.sync += is_open.eq(1)
                        m.next = "GREET"
                    with m.Elif(is_open & following):
                        m.next = "HEAD"
                    with m.Else():
                        m.d.sync += is_open.eq(0)
                        end(Status.SESSION)
            with m.State("GREET"):
                store(Array(Const(byte, 8) for byte in self._greeting)[answered[: len(self._greeting).bit_length()]])
                with m.If(answered == len(self._greeting) - 1):
                    m.next = "SEND"

            with m.State("HEAD"):
                knows = Cat(header.kind == kind for kind in Kind).any()
                with m.If(head_bytes == OPERATION_BYTES):
                    m.next = "ACT"
                with m.Elif((header.kind == Kind.REGISTERS) & (left == 0) & (head_bytes == 0)):
                    m.next = "SEND"
                with m.Elif((left == 0) | ~knows):
                    end(Status.MALFORMED)
                with m.Else():
                    m.next = "HEAD BYTE"
            with m.State("HEAD BYTE"):
                m.d.sync += [
                    head.eq(Cat(head[8:], frames.data)),
                    head_bytes.eq(head_bytes + 1),
                    taken.eq(taken + 1),
                    left.eq(left - 1),
                ]
                m.next = "HEAD"

            with m.State("ACT"):
                m.d.sync += [address.eq(head[:32]), count.eq(head[32:]), head_bytes.eq(0)]
                with m.Switch(header.kind):
                    with m.Case(Kind.REGISTERS):
                        is_write = (first & ADDRESS_WRITE) != 0
                        m.d.sync += [bus.awvalid.eq(is_write), bus.wvalid.eq(is_write), bus.arvalid.eq(~is_write)]
                        m.next = "REGISTER"
                        with m.If((first & ~ADDRESS_WRITE) >= 1 << len(bus.awaddr)):
                            m.d.sync += [valid.eq(0) for valid in connect_once]
                            end(Status.REFUSED)
                    with m.Case(Kind.READ):
                        m.next = "MEMORY"
                        with m.If((left != 0) | (head[32:] > MAX_DATA)):
                            end(Status.MALFORMED)
                    with m.Case(Kind.WRITE):
                        m.next = "MEMORY"
                        with m.If(left != head[32:]):
                            end(Status.MALFORMED)
                    with m.Default():  # FILL
                        m.next = "MEMORY"
                        with m.If(left != 1):
                            end(Status.MALFORMED)
            with m.State("REGISTER"):
                response = Signal(2)
                done = bus.bvalid | bus.rvalid
                m.d.comb += response.eq((bus.bresp & bus.bvalid.replicate(2)) | (bus.rresp & bus.rvalid.replicate(2)))
                m.d.sync += value.eq(second)
                with m.If(bus.rvalid):
                    m.d.sync += value.eq(bus.rdata)
                with m.If(done):
                    m.next = "KEEP"
                    with m.If(response != Response.OKAY.value):
                        end(Status.REFUSED)
            with m.State("KEEP"):
                store(value[:8])
                m.d.sync += value.eq(value >> 8)
                with m.If(answered[:2] == 3):
                    m.next = "HEAD"

            with m.State("MEMORY"):
                m.d.sync += count.eq(count - 1)
                m.next = "ACCESS"
                with m.If(count == 0):
                    m.next = "SEND"
            with m.State("ACCESS"):
                m.d.comb += memory.request.valid.eq(1)
                with m.If(memory.request.ready):
                    m.next = "ACCESSED"
            with m.State("ACCESSED"), m.If(memory.answered):
                m.d.sync += address.eq(address + 1)
                m.next = "MEMORY"
                with m.If(memory.refused):
                    end(Status.REFUSED)
                with m.Elif(header.kind == Kind.READ):
                    store(memory.value)
                with m.Elif(header.kind == Kind.WRITE):
                    m.d.sync += [taken.eq(taken + 1), left.eq(left - 1)]

            # The answer: header, status and what was kept. The memory of the latter is a cycle behind its address.
            position = Signal(range(HEADER_BYTES + 1))
            sent = Signal(range(MAX_DATA + 1))
            outgoing = Signal(header_layout)
            m.d.comb += [
                outgoing.kind.eq(header.kind | ANSWER),
                outgoing.sequence.eq(header.sequence),
                outgoing.length.eq(answered + 1),
                kept.addr.eq(sent),
            ]
            byte = sender.i
            with m.State("SEND"):
                front = Cat(outgoing, status, Const(0, 6))
                m.d.comb += [
                    byte.valid.eq(1),
                    byte.p.value.eq(front.word_select(position, 8)),
                    byte.p.last.eq((position == HEADER_BYTES) & (answered == 0)),
                ]
                m.d.sync += sent.eq(0)
                with m.If(byte.ready):
                    m.d.sync += position.eq(position + 1)
                    with m.If(position == HEADER_BYTES):
                        m.d.sync += position.eq(0)
                        m.next = "FINISH"
                        with m.If(answered != 0):
                            m.next = "LOOK UP"
            with m.State("LOOK UP"):
                m.next = "SEND KEPT"
            with m.State("SEND KEPT"):
                m.d.comb += [
                    byte.valid.eq(1),
                    byte.p.value.eq(kept.data),
                    byte.p.last.eq(sent == answered - 1),
                ]
                with m.If(byte.ready):
                    m.d.sync += sent.eq(sent + 1)
                    m.next = "LOOK UP"
                    with m.If(byte.p.last):
                        m.next = "FINISH"
            with m.State("FINISH"):  # the CRC and the flag go their way while the next request comes
                m.next = "IDLE"
        return m
