"""Several AXI4 masters on one port, reads and writes apart.

The number of the master stands above the master's own ID bits, so that responses find their way back by ID alone and
those of different masters may come in any order and interleaved. Bursts are granted in turn, one address a cycle;
every channel of the port passes a ``SkidBuffer``.

A master must take its responses without waiting for another master: a response that waits holds those behind it.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import MemoryConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.axi import BURST_INCREMENT, axi_read_signature, axi_write_signature, beat_size
from acf.hw.mem.skid_buffer import SkidBuffer

__all__ = ["ReadInterconnect", "WriteInterconnect", "address_layout", "interconnect_id_width"]

_AHEAD_MOST = 63
_PASSED_OVER_MOST = 8
"""Bursts of others that go before a paced one that could go too."""


def interconnect_id_width(*, memory: MemoryConfig, masters: int) -> int:
    """Bits of an ID at the port of an interconnect of ``masters`` masters."""
    return memory.id_width + ceil_log2(masters)


def address_layout(*, memory: MemoryConfig, id_width: int) -> data.StructLayout:
    """What differs between bursts: ID, address, beats less one."""
    return data.StructLayout({"id": id_width, "address": memory.address_width, "length": 8})


def _check_masters(masters: int) -> None:
    if masters <= 0:
        raise ValueError(f"masters of an interconnect must be positive, not {masters!r}")


def _selected(select, values):
    """OR of the values whose bit in ``select`` is set: a multiplexer for one-hot selects."""
    total = 0
    for chosen, value in zip(select, values, strict=True):
        total = total | (chosen.replicate(len(value)) & value)
    return total


class ReadInterconnect(wiring.Component):
    """Joins the read channels of several masters.

    Latency is one cycle in each direction; throughput one burst and one read beat per cycle.

    Memory answers in the order in which it was asked, more or less, so a master that asks for much ahead of need makes
    one that needs a little now wait behind all of it. Such masters are *paced*: a burst of theirs is passed on only
    when memory, at a beat a cycle, has given all that was asked before, and no other master asks; or when eight bursts
    of others went before it. So the queue in memory stays as short as its latency while there is throughput to spare,
    and where there is none paced masters have every ninth burst. Both kinds have turns of their own.

    Parameters
    ----------
    memory : MemoryConfig
    masters : int
        Masters; master ``n`` has number ``n`` in the ID bits of ``port`` from ``memory.id_width`` on.
    paced : range
        Numbers of the masters that are paced.

    Members
    -------
    masters : In(axi_read).array(masters)
        Bursts must be INCR of full-width beats: size and burst type are not looked at.
    port : Out(axi_read)

    Raises
    ------
    ValueError
        If ``masters`` is not positive, or there is no master of a number in ``paced``.
    """

    def __init__(self, *, memory: MemoryConfig, masters: int, paced: range = range(0)):
        _check_masters(masters)
        for number in paced:
            if not 0 <= number < masters:
                raise ValueError(f"paced masters must be some of {masters}, not number {number!r}")
        self._memory, self._count, self._paced = memory, masters, paced
        self._id_width = interconnect_id_width(memory=memory, masters=masters)
        super().__init__(
            {
                "masters": In(axi_read_signature(memory=memory)).array(masters),
                "port": Out(axi_read_signature(memory=memory, id_width=self._id_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory, port, masters = self._memory, self.port, [self.masters[n] for n in range(self._count)]

        # Two arbiters, so that those who come between do not change the turns of paced ones.
        m.submodules.arbiter = arbiter = RoundRobinArbiter(count=self._count)
        m.submodules.paced_arbiter = paced_arbiter = RoundRobinArbiter(count=self._count)
        m.submodules.requests = requests = SkidBuffer(shape=address_layout(memory=memory, id_width=self._id_width))
        # Beats that were asked for, less one for each cycle since. Those of the cycle before are added here, not where
        # they are granted, since who is granted takes most of a cycle.
        before, latest = Signal(range(_AHEAD_MOST + 1)), Signal(range(257))
        total, ahead = Signal(range(_AHEAD_MOST + 257)), Signal(range(_AHEAD_MOST + 1))
        few_ahead = ((latest == 0) & (before <= 1)) | ((latest == 1) & (before == 0))  # one at most
        is_paced_turn, passed_over = Signal(), Signal(range(_PASSED_OVER_MOST + 1))
        grant = Signal(self._count)
        granted = requests.i.valid & requests.i.ready
        m.d.comb += [total.eq(before + latest), ahead.eq(Mux(total > _AHEAD_MOST, _AHEAD_MOST, total))]
        m.d.sync += [before.eq(ahead - (ahead != 0)), latest.eq(Mux(granted, requests.i.p.length + 1, 0))]
        with m.If(granted):
            m.d.sync += passed_over.eq(Mux(is_paced_turn | ~paced_arbiter.requests.any(), 0, passed_over + 1))
        m.d.comb += [
            arbiter.requests.eq(Cat(0 if n in self._paced else master.arvalid for n, master in enumerate(masters))),
            paced_arbiter.requests.eq(
                Cat(master.arvalid if n in self._paced else 0 for n, master in enumerate(masters))
            ),
            is_paced_turn.eq(
                paced_arbiter.requests.any()
                & ((passed_over == _PASSED_OVER_MOST) | (few_ahead & ~arbiter.requests.any()))
            ),
            arbiter.advance.eq(requests.i.ready & ~is_paced_turn),
            paced_arbiter.advance.eq(requests.i.ready & is_paced_turn),
            grant.eq(Mux(is_paced_turn, paced_arbiter.grant, arbiter.grant)),
            requests.i.valid.eq(grant.any()),
            requests.i.payload.eq(_selected(grant, _addresses(masters, memory, self._id_width, "ar"))),
            *(master.arready.eq(grant[n] & requests.i.ready) for n, master in enumerate(masters)),
            port.arid.eq(requests.o.p.id),
            port.araddr.eq(requests.o.p.address),
            port.arlen.eq(requests.o.p.length),
            port.arsize.eq(beat_size(memory=memory)),
            port.arburst.eq(BURST_INCREMENT),
            port.arvalid.eq(requests.o.valid),
            requests.o.ready.eq(port.arready),
        ]

        m.submodules.beats = beats = SkidBuffer(
            shape=data.StructLayout({"id": self._id_width, "data": memory.data_width, "response": 2, "last": 1})
        )
        number = beats.o.p.id[memory.id_width :]
        m.d.comb += [
            beats.i.p.id.eq(port.rid),
            beats.i.p.data.eq(port.rdata),
            beats.i.p.response.eq(port.rresp),
            beats.i.p.last.eq(port.rlast),
            beats.i.valid.eq(port.rvalid),
            port.rready.eq(beats.i.ready),
            beats.o.ready.eq(Cat(master.rready & (number == n) for n, master in enumerate(masters)).any()),
        ]
        for n, master in enumerate(masters):
            m.d.comb += [
                master.rid.eq(beats.o.p.id),
                master.rdata.eq(beats.o.p.data),
                master.rresp.eq(beats.o.p.response),
                master.rlast.eq(beats.o.p.last),
                master.rvalid.eq(beats.o.valid & (number == n)),
            ]

        return m


class WriteInterconnect(wiring.Component):
    """Joins the write channels of several masters.

    Data follow in the order in which addresses were granted, bursts whole and back to back; a master may send its data
    at any time, they wait for their turn. Latency is one cycle in each direction (data: from the cycle after the
    grant), throughput one burst and one data beat per cycle.

    Parameters
    ----------
    memory : MemoryConfig
    masters : int
        Masters; master ``n`` has number ``n`` in the ID bits of ``port`` from ``memory.id_width`` on.
    outstanding : int
        Bursts whose addresses were granted and whose data are not yet all there.

    Members
    -------
    masters : In(axi_write).array(masters)
        Bursts must be INCR of full-width beats: size and burst type are not looked at.
    port : Out(axi_write)

    Raises
    ------
    ValueError
        If ``masters`` or ``outstanding`` is not positive.
    """

    def __init__(self, *, memory: MemoryConfig, masters: int, outstanding: int = 8):
        _check_masters(masters)
        if outstanding <= 0:
            raise ValueError(f"outstanding bursts of an interconnect must be positive, not {outstanding!r}")
        self._memory, self._count, self._outstanding = memory, masters, outstanding
        self._id_width = interconnect_id_width(memory=memory, masters=masters)
        super().__init__(
            {
                "masters": In(axi_write_signature(memory=memory)).array(masters),
                "port": Out(axi_write_signature(memory=memory, id_width=self._id_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory, port, masters = self._memory, self.port, [self.masters[n] for n in range(self._count)]

        m.submodules.arbiter = arbiter = RoundRobinArbiter(count=self._count)
        m.submodules.requests = requests = SkidBuffer(shape=address_layout(memory=memory, id_width=self._id_width))
        m.submodules.turns = turns = SyncFIFO(width=self._count, depth=self._outstanding)  # grants, one bit a master
        can_grant = requests.i.ready & turns.w_rdy
        m.d.comb += [
            arbiter.requests.eq(Cat(master.awvalid for master in masters)),
            arbiter.advance.eq(can_grant),
            requests.i.valid.eq(arbiter.requests.any() & turns.w_rdy),
            requests.i.payload.eq(_selected(arbiter.grant, _addresses(masters, memory, self._id_width, "aw"))),
            turns.w_data.eq(arbiter.grant),
            turns.w_en.eq(arbiter.requests.any() & requests.i.ready),
            *(master.awready.eq(arbiter.grant[n] & can_grant) for n, master in enumerate(masters)),
            port.awid.eq(requests.o.p.id),
            port.awaddr.eq(requests.o.p.address),
            port.awlen.eq(requests.o.p.length),
            port.awsize.eq(beat_size(memory=memory)),
            port.awburst.eq(BURST_INCREMENT),
            port.awvalid.eq(requests.o.valid),
            requests.o.ready.eq(port.awready),
        ]

        m.submodules.beats = beats = SkidBuffer(
            shape=data.StructLayout({"data": memory.data_width, "strobes": memory.beat_bytes, "last": 1})
        )
        turn = Signal(self._count)
        m.d.comb += [
            turn.eq(turns.r_data & turns.r_rdy.replicate(self._count)),
            beats.i.payload.eq(_selected(turn, [Cat(master.wdata, master.wstrb, master.wlast) for master in masters])),
            beats.i.valid.eq((turn & Cat(master.wvalid for master in masters)).any()),
            turns.r_en.eq(beats.i.valid & beats.i.ready & beats.i.p.last),
            *(master.wready.eq(turn[n] & beats.i.ready) for n, master in enumerate(masters)),
            port.wdata.eq(beats.o.p.data),
            port.wstrb.eq(beats.o.p.strobes),
            port.wlast.eq(beats.o.p.last),
            port.wvalid.eq(beats.o.valid),
            beats.o.ready.eq(port.wready),
        ]

        m.submodules.answers = answers = SkidBuffer(shape=data.StructLayout({"id": self._id_width, "response": 2}))
        number = answers.o.p.id[memory.id_width :]
        m.d.comb += [
            answers.i.p.id.eq(port.bid),
            answers.i.p.response.eq(port.bresp),
            answers.i.valid.eq(port.bvalid),
            port.bready.eq(answers.i.ready),
            answers.o.ready.eq(Cat(master.bready & (number == n) for n, master in enumerate(masters)).any()),
        ]
        for n, master in enumerate(masters):
            m.d.comb += [
                master.bid.eq(answers.o.p.id),
                master.bresp.eq(answers.o.p.response),
                master.bvalid.eq(answers.o.valid & (number == n)),
            ]

        return m


def _addresses(masters, memory: MemoryConfig, id_width: int, channel: str) -> list:
    """The address channel of each master as ``address_layout``, its number in the ID."""
    return [
        Cat(
            getattr(master, f"{channel}id"),
            Const(number, id_width - memory.id_width),
            getattr(master, f"{channel}addr"),
            getattr(master, f"{channel}len"),
        )
        for number, master in enumerate(masters)
    ]
