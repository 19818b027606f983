"""Reads a program from memory ahead of its execution."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import MemoryConfig
from acf.hw.mem.axi import BURST_INCREMENT, Response, axi_read_signature, beat_size
from acf.isa import COMMAND_BYTES

__all__ = ["COMMAND_PARTS", "ProgramFetch"]

COMMAND_PARTS = COMMAND_BYTES // 8
"""64-bit parts of a command."""


class ProgramFetch(wiring.Component):
    """Keeps a few commands ready.

    One burst per command, as many in flight as there are places; the beats are always taken at once. The first burst is
    asked for in the cycle after ``start``.

    Parameters
    ----------
    memory : MemoryConfig
    places : int
        Commands fetched ahead; a power of two.

    Members
    -------
    read : Out(axi_read)
        ID 0 only.
    start : In(1)
        Begin at ``address`` and read at most ``length`` commands. Only once after a reset.
    stop : In(1)
        Ask for nothing more.
    address : In(32)
        A multiple of the size of a command.
    length : In(32)
    idle : Out(1)
        Nothing is asked for or on its way.
    valid : Out(1)
        A command is ready.
    exhausted : Out(1)
        ``length`` commands were taken; high from the cycle after ``start``.
    head : Out(32)
        Address of the command that is ready, or comes next.
    failed : Out(1)
        Its burst was answered with an error.
    part : In(3)
    value : Out(64)
        Part ``part`` of the command that is ready, in the same cycle.
    take : In(1)
        Drop the command that is ready.

    Raises
    ------
    ValueError
        If ``places`` is not a power of two of at least 2.
    """

    def __init__(self, *, memory: MemoryConfig, places: int = 8):
        if places < 2 or places & (places - 1):
            raise ValueError(f"places of the program fetch must be a power of two of at least 2, not {places!r}")
        self._memory, self._places = memory, places
        super().__init__(
            {
                "read": Out(axi_read_signature(memory=memory)),
                "start": In(1),
                "stop": In(1),
                "address": In(32),
                "length": In(32),
                "idle": Out(1),
                "valid": Out(1),
                "exhausted": Out(1),
                "head": Out(32),
                "failed": Out(1),
                "part": In(range(COMMAND_PARTS)),
                "value": Out(64),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        read = self.read
        beats = COMMAND_BYTES // self._memory.beat_bytes  # per command
        parts = COMMAND_PARTS // beats  # per beat
        place_bits = exact_log2(self._places)

        started = Signal()
        to_ask = Signal(32)
        to_take = Signal(32)
        free = Signal(range(self._places + 1), init=self._places)
        asked = read.arvalid & read.arready

        m.d.comb += [
            read.arid.eq(0),
            read.arlen.eq(beats - 1),
            read.arsize.eq(beat_size(memory=self._memory)),
            read.arburst.eq(BURST_INCREMENT),
            read.rready.eq(1),
        ]
        with m.If(self.start):
            m.d.sync += [
                started.eq(1),
                to_ask.eq(self.length),
                to_take.eq(self.length),
                self.head.eq(self.address),
                read.araddr.eq(self.address),
                read.arvalid.eq(self.length != 0),
            ]
        with m.Else():
            # A burst that is asked for stays so; the next may follow when it is taken.
            with m.If(asked):
                m.d.sync += [
                    to_ask.eq(to_ask - 1),
                    read.araddr.eq(read.araddr + COMMAND_BYTES),
                    read.arvalid.eq(~self.stop & (to_ask != 1) & ((free > 1) | self.take)),
                ]
            with m.Elif(~read.arvalid):
                m.d.sync += read.arvalid.eq(~self.stop & (to_ask != 0) & (free != 0))
            with m.If(self.take):
                m.d.sync += [to_take.eq(to_take - 1), self.head.eq(self.head + COMMAND_BYTES)]
        m.d.sync += free.eq(free - asked + self.take)

        # Places fill and empty in a ring; only whole commands are ready.
        m.submodules.memory = memory = Memory(shape=self._memory.data_width, depth=self._places * beats, init=[])
        store = memory.write_port()
        load = memory.read_port(domain="comb")
        row = Signal(range(self._places * beats))
        place = Signal(place_bits)
        ready = Signal(range(self._places + 1))
        on_the_way = Signal(range(self._places + 1))
        failed = Signal(self._places)
        arrived = read.rvalid & read.rlast
        filling = row[-place_bits:]

        m.d.comb += [
            store.addr.eq(row),
            store.data.eq(read.rdata),
            store.en.eq(read.rvalid),
        ]
        with m.If(read.rvalid):
            bad = (read.rresp == Response.SLVERR.value) | (read.rresp == Response.DECERR.value)
            is_first = row[:-place_bits] == 0 if beats > 1 else 1
            m.d.sync += [
                row.eq(row + 1),
                failed.bit_select(filling, 1).eq(bad | (failed.bit_select(filling, 1) & ~is_first)),
            ]
        with m.If(self.take):
            m.d.sync += place.eq(place + 1)
        m.d.sync += [
            ready.eq(ready + arrived - self.take),
            on_the_way.eq(on_the_way + asked - arrived),
        ]

        beat_bits, part_bits = exact_log2(beats), exact_log2(parts)
        m.d.comb += [
            load.addr.eq(Cat(self.part[part_bits : part_bits + beat_bits], place)),
            self.value.eq(load.data.word_select(self.part[:part_bits], 64)),
            self.valid.eq(ready != 0),
            self.failed.eq(failed.bit_select(place, 1)),
            self.exhausted.eq(started & (to_take == 0)),
            self.idle.eq(~read.arvalid & (on_the_way == 0)),
        ]

        return m
