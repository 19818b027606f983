"""Sends accumulators, two in a flit, in packets of one for each column of the tile."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.noc.flit import flit_stream, header_values, result_head
from acf.isa import ResultKind, TrafficClass

__all__ = ["ResultSender", "sender_depth"]


def sender_depth(*, config: FabricConfig) -> int:
    """Pairs of accumulators that wait to be sent, at most: a packet."""
    return max(4, config.tile_columns // 2)


class ResultSender(wiring.Component):
    """Puts a head before every ``tile_columns / 2`` pairs.

    Packets of all tiles of a mesh row meet on their way to the row feeder, and a packet under way keeps the others out.
    So the head of a ROW is sent when the whole packet is there. SUMS go to the next tile only and are sent as they
    come.

    Latency is one cycle from the pair that the head waits for, throughput one flit a cycle.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    pairs : In(stream)
    sums : In(1)
        They are SUMS, else ROW. Changes only while ``idle``.
    packet : In(16)
        Number of the packet, or accumulator row.
    packet_sent : Out(1)
        The last flit of a packet leaves in this cycle; ``packet`` counts from the next cycle on.
    sent : Out(1)
        A pair leaves in this cycle.
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
        flits = config.tile_columns // 2
        m.submodules.fifo = fifo = SyncFIFO(width=config.noc.flit_width, depth=sender_depth(config=config))

        head = Signal(result_head)
        m.d.comb += head.eq(0)
        to = Mux(self.sums, self.x - 1, 0)
        header = header_values(y=self.y, x=to, traffic_class=TrafficClass.RESULTS, kind=ResultKind.ROW)
        kind = Mux(self.sums, ResultKind.SUMS, ResultKind.ROW)
        fields = {**header, "kind": kind, "column": self.x - 1, "row": self.packet}
        m.d.comb += [head[name].eq(value) for name, value in fields.items()]

        left = Signal(range(flits + 1))  # pairs of the packet whose head is sent
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
