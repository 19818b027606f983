"""Writes what has changed in a row: a column, and zeros."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig, StructureConfig
from acf.hw.structure.array_reader import burst_layout
from acf.hw.structure.array_writer import beat_layout

__all__ = ["WRITTEN_ARRAYS", "ExchangeWriter", "exchange_layout"]

WRITTEN_ARRAYS = ("indices", "master", "momentum", "values")

# Beats of an array whose addresses have been asked for.
_BEATS = 4


def exchange_layout(*, structure: StructureConfig) -> data.StructLayout:
    """A place among all entries, and the column that it gets."""
    return data.StructLayout({"place": 32, "column": range(structure.columns)})


class ExchangeWriter(wiring.Component):
    """Gives entries new columns: writes the index, and +0 as master value, momentum and value.

    Four bursts of one beat for each entry; as many entries wait as a row can exchange.

    Parameters
    ----------
    memory : MemoryConfig
    structure : StructureConfig

    Members
    -------
    i : In(stream), ``exchange_layout``
    half : In(1)
        Indices have two bytes, else four.
    indices, master, momentum, values : In(32)
        Addresses of entry 0. These and ``half`` do not change unless ``idle``.
    requests : Out(stream).array(4), ``burst_layout``
    beats : Out(stream).array(4), ``beat_layout``
    idle : Out(1)
        All has been asked for and given.
    halt : In(1)
        Asks for nothing more; beats of bursts asked for are still given.
    """

    def __init__(self, *, memory: MemoryConfig, structure: StructureConfig):
        self._memory = memory
        self._structure = structure
        super().__init__(
            {
                "i": In(stream.Signature(exchange_layout(structure=structure))),
                "half": In(1),
                **{array: In(32) for array in WRITTEN_ARRAYS},
                "requests": Out(stream.Signature(burst_layout(memory=memory))).array(len(WRITTEN_ARRAYS)),
                "beats": Out(stream.Signature(beat_layout(memory=memory))).array(len(WRITTEN_ARRAYS)),
                "idle": Out(1),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        beat_bytes = self._memory.beat_bytes
        beat_bits = exact_log2(beat_bytes)
        layout = exchange_layout(structure=self._structure)
        m.submodules.exchanges = exchanges = fifo.SyncFIFO(width=layout.size, depth=self._structure.exchanged)
        m.d.comb += [
            exchanges.w_data.eq(self.i.payload),
            exchanges.w_en.eq(self.i.valid),
            self.i.ready.eq(exchanges.w_rdy),
        ]

        exchange = data.View(layout, exchanges.r_data)
        asked = Signal(len(WRITTEN_ARRAYS))
        accepted = Signal(len(WRITTEN_ARRAYS))
        left = Signal(len(WRITTEN_ARRAYS))
        m.d.comb += [
            exchanges.r_en.eq((asked | accepted).all()),
            self.idle.eq(~exchanges.r_rdy & ~left.any()),
        ]
        m.d.sync += asked.eq(Mux(exchanges.r_en, 0, asked | accepted))

        for number, (array, request, out) in enumerate(zip(WRITTEN_ARRAYS, self.requests, self.beats, strict=True)):
            index = array == "indices"
            half = self.half if index else C(array == "values", 1)
            # Of a beat to come: where its element begins, in units of two bytes, and the column.
            width = beat_bits - 1 + (layout["column"].width if index else 0)
            m.submodules[f"{array}_beats"] = beats = fifo.SyncFIFO(width=width, depth=_BEATS)
            address = Signal(32, name=f"{array}_address")
            place = beats.r_data[: beat_bits - 1]
            column = beats.r_data[beat_bits - 1 :]
            element = Cat(column, C(0, 32 - len(column)))
            m.d.comb += [
                address.eq(getattr(self, array) + (exchange.place << Mux(half, 1, 2))),
                request.valid.eq(exchanges.r_rdy & ~asked[number] & beats.w_rdy & ~self.halt),
                request.p.address.eq(Cat(C(0, beat_bits), address[beat_bits:])),
                request.p.length.eq(0),
                accepted[number].eq(request.valid & request.ready),
                beats.w_en.eq(request.valid & request.ready),
                beats.w_data.eq(Cat(address[1:beat_bits], exchange.column)[:width]),
                left[number].eq(beats.r_rdy),
                out.valid.eq(beats.r_rdy),
                out.p.data.eq(Mux(half, element[:16].replicate(beat_bytes // 2), element.replicate(beat_bytes // 4))),
                out.p.strobe.eq(
                    Cat(((place == n) | (~half & (place[1:] == n >> 1))).replicate(2) for n in range(beat_bytes // 2))
                ),
                beats.r_en.eq(out.ready),
            ]

        return m
