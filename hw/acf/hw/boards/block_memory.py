"""Block RAM behind the fabric's memory port, shared with the serial link."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from acf.config import MemoryConfig
from acf.hw.boards.endpoint import access_signature
from acf.hw.mem.axi import Response, axi_signature

__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """A memory with an AXI4 port and one for single bytes.

    Reads and writes of the AXI port are independent of each other, each one beat a cycle, in the order in which they
    were asked for; a read's first beat comes two cycles after its address. A single byte takes a cycle from them.
    A beat outside the memory is answered DECERR, and not written.

    Parameters
    ----------
    memory : MemoryConfig
        Of the AXI port.
    id_width : int
        Of the AXI port.
    size : int
        Bytes; a power of two.

    Members
    -------
    axi : In(axi_signature)
    access : In(access_signature)

    Raises
    ------
    ValueError
        If ``size`` is not a power of two, or less than four beats.
    """

    def __init__(self, *, memory: MemoryConfig, id_width: int, size: int):
        if size <= 0 or size & (size - 1) or size < 4 * memory.beat_bytes:
            raise ValueError(f"block memory must have a power of two of bytes, four beats at least, not {size!r}")
        self._memory = memory
        self._size = size
        super().__init__({"axi": In(axi_signature(memory=memory, id_width=id_width)), "access": In(access_signature)})

    def elaborate(self, platform):
        m = Module()

        beat_bytes = self._memory.beat_bytes
        within = exact_log2(beat_bytes)
        inside = exact_log2(self._size)
        m.submodules.words = words = Memory(shape=self._memory.data_width, depth=self._size // beat_bytes, init=[])
        read = words.read_port(transparent_for=())
        write = words.write_port(granularity=8)
        axi, access = self.axi, self.access

        # A single byte waits until no beat stands at the memory's output.
        request = access.request
        can_move = ~axi.rvalid | axi.rready
        is_read, is_write = Signal(), Signal()
        byte_inside = (request.p.address >> inside) == 0
        lane = Signal(within)
        m.d.comb += [
            is_read.eq(request.valid & ~request.p.write & can_move),
            is_write.eq(request.valid & request.p.write),
            request.ready.eq(is_read | is_write),
            access.value.eq(read.data.word_select(lane, 8)),
        ]
        m.d.sync += [
            access.answered.eq(request.valid & request.ready),
            access.refused.eq(~byte_inside),
            lane.eq(request.p.address[:within]),
        ]

        self._elaborate_reads(m, read, is_read, can_move, within=within, inside=inside)
        self._elaborate_writes(m, write, is_write, within=within, inside=inside)
        byte_word = request.p.address[within:inside]
        with m.If(is_read):
            m.d.comb += [read.addr.eq(byte_word), read.en.eq(1)]
        with m.If(is_write):
            m.d.comb += [
                write.addr.eq(byte_word),
                write.data.eq(request.p.value.replicate(beat_bytes)),
                write.en.eq(byte_inside << request.p.address[:within]),
            ]
        return m

    def _elaborate_reads(self, m, port, stolen, can_move, *, within, inside):
        axi = self.axi
        word = Signal(self._memory.address_width - within)
        left = Signal(9)  # beats
        identifier = Signal.like(axi.arid)
        moves = Signal()
        m.d.comb += [
            moves.eq((left != 0) & can_move & ~stolen),
            axi.arready.eq((left == 0) | ((left == 1) & moves)),
            port.addr.eq(word),
            port.en.eq(moves),
            axi.rdata.eq(port.data),
        ]
        with m.If(can_move):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(moves):
            m.d.sync += [
                word.eq(word + 1),
                left.eq(left - 1),
                axi.rvalid.eq(1),
                axi.rid.eq(identifier),
                axi.rlast.eq(left == 1),
                axi.rresp.eq(self._response(word, within=within, inside=inside)),
            ]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [word.eq(axi.araddr[within:]), left.eq(axi.arlen + 1), identifier.eq(axi.arid)]

    def _elaborate_writes(self, m, port, stolen, *, within, inside):
        axi = self.axi
        word = Signal(self._memory.address_width - within)
        is_open = Signal()
        response = Signal(2)
        this_response = self._response(word, within=within, inside=inside)
        m.d.comb += [
            axi.awready.eq(~is_open & (~axi.bvalid | axi.bready)),
            axi.wready.eq(is_open & ~stolen),
            port.addr.eq(word),
            port.data.eq(axi.wdata),
        ]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [
                word.eq(axi.awaddr[within:]),
                axi.bid.eq(axi.awid),
                is_open.eq(1),
                response.eq(Response.OKAY.value),
            ]
        with m.If(axi.wvalid & axi.wready):
            with m.If(this_response == Response.OKAY.value):
                m.d.comb += port.en.eq(axi.wstrb)
            m.d.sync += [word.eq(word + 1), response.eq(response | this_response)]
            with m.If(axi.wlast):
                m.d.sync += [is_open.eq(0), axi.bvalid.eq(1), axi.bresp.eq(response | this_response)]

    def _response(self, word, *, within, inside):
        outside = (word >> (inside - within)) != 0
        return Mux(outside, Response.DECERR.value, Response.OKAY.value)
