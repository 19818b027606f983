"""Sends results, as many as a flit holds, in packets of one for each column of the tile."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, header_values, result_head
from acf.isa import ResultKind, TrafficClass

__all__ = ["ResultSender", "sender_depth"]


def sender_depth(*, config: FabricConfig) -> int:
    """Flits of results that wait to be sent, at most: a packet."""
    # Exact sums have a flit each, and their adders need some on the way to be busy in every cycle.
    return max(8 if config.lane.number_format.scaled else 4, config.tile_columns // 2)


class ResultSender(wiring.Component):
    """Puts a head before the flits of every packet: ``tile_columns / 2``, of ``narrow`` results half of them, of those
    of the ``lower`` slots half of them.

    Packets of all tiles of a mesh row meet on their way to the row feeder, and a packet under way keeps the others out.
    So the head of a ROW is sent when the whole packet is there. SUMS go to the next tile only and are sent as they
    come.

    Latency is one cycle from the flit that the head waits for, throughput one flit a cycle.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    pairs : In(stream)
    sums : In(1)
        They are SUMS, else ROW.
    exact : In(1)
        They are fixed-point sums of an accumulator's width, one in a flit, not two.
    narrow, lower : In(1)
        Four results in a flit, not two; a packet of the lower half of the slots. These four change only while
        ``idle``.
    packet : In(16)
        Number of the packet, or accumulator row.
    packet_sent : Out(1)
        The last flit of a packet leaves in this cycle; ``packet`` counts from the next cycle on.
    sent : Out(1)
        A flit of results leaves in this cycle.
    idle : Out(1)
        Nothing waits to be sent.
    results : Out(flit_stream)
    y, x : In(4)
        Position of the tile in the mesh.
    """

    pairs: stream.Interface
    results: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "pairs": In(stream.Signature(config.noc.flit_width)),
                "sums": In(1),
                "exact": In(1),
                "narrow": In(1),
                "lower": In(1),
                "packet": In(16),
                "packet_sent": Out(1),
                "sent": Out(1),
                "idle": Out(1),
                "results": Out(flit_stream(noc=config.noc)),
                "y": In(4),
                "x": In(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        most = config.tile_columns // 2
        flits = Signal(range(2 * most + 1))
        # Spelled out: Verilator adds the amounts of two shifts in as many bits as each has, and 1 + 1 becomes 0.
        m.d.comb += flits.eq(Mux(self.narrow, Mux(self.lower, most // 4, most // 2), Mux(self.lower, most // 2, most)))
        with m.If(self.exact):
            m.d.comb += flits.eq(2 * most)
        m.submodules.fifo = fifo = SyncFIFO(width=config.noc.flit_width, depth=sender_depth(config=config))

        head = Signal(result_head)
        m.d.comb += head.eq(0)
        to = Mux(self.sums, self.x - 1, 0)
        header = header_values(y=self.y, x=to, traffic_class=TrafficClass.RESULTS, kind=ResultKind.ROW)
        kind = Mux(self.sums, ResultKind.SUMS, ResultKind.ROW)
        fields = {**header, "kind": kind, "column": self.x - 1, "row": self.packet}
        m.d.comb += [head[name].eq(value) for name, value in fields.items()]

        left = Signal(range(2 * most + 1))  # flits of the packet whose head is sent
        is_head, is_tail = left == 0, left == 1
        moves = self.results.valid & self.results.ready
        m.d.comb += [
            fifo.w_data.eq(self.pairs.payload),
            fifo.w_en.eq(self.pairs.valid),
            self.pairs.ready.eq(fifo.w_rdy),
            self.results.valid.eq(Mux(is_head & ~self.sums, fifo.level >= flits, fifo.r_rdy)),
            self.results.p.payload.eq(Mux(is_head, head.as_value(), fifo.r_data)),
            self.results.p.head.eq(is_head),
            self.results.p.tail.eq(is_tail),
            self.sent.eq(moves & ~is_head),
            self.packet_sent.eq(moves & is_tail),
            fifo.r_en.eq(self.sent),
            self.idle.eq(~fifo.r_rdy),
        ]
        with m.If(moves):
            m.d.sync += left.eq(Mux(is_head, flits, left - 1))
        return m
