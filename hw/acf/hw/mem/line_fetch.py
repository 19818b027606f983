"""Memory beats of one array for several row cursors."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.arbiter import RoundRobinArbiter
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import ErrorCode

__all__ = ["LineFetch", "encode", "line_job_layout", "line_request_layout", "minimum"]


def encode(one_hot, count: int):
    """The number of the bit that is set."""
    return Cat(
        Cat(one_hot[n] for n in range(count) if n >> bit & 1).any() for bit in range(max(1, (count - 1).bit_length()))
    )


def minimum(first, second):
    """The smaller of two numbers."""
    return Mux(first < second, first, second)


def _cursor_bits(config: FabricConfig) -> int:
    return max(1, exact_log2(config.feeder.cursors))


def line_job_layout(*, config: FabricConfig) -> data.StructLayout:
    """Beats to read for a cursor: number of the first beat in memory, and how many; whether they are for every second
    matrix job or for those between."""
    beat_bits = exact_log2(config.memory.beat_bytes)
    return data.StructLayout(
        {
            "cursor": _cursor_bits(config),
            "beat": config.memory.address_width - beat_bits,
            "count": 32,
            "turn": 1,
        }
    )


def line_request_layout(*, config: FabricConfig) -> data.StructLayout:
    """A burst for a cursor: address of its first beat, and beats less one."""
    return data.StructLayout({"cursor": _cursor_bits(config), "address": config.memory.address_width, "length": 8})


class LineFetch(wiring.Component):
    """Reads runs of beats for each cursor into a FIFO of that cursor.

    Each cursor works on one run at a time and takes the next one as soon as all of the last has been asked for, so that
    the FIFO fills with the next run while the last is being used. A burst is asked for when half the FIFO, or all that
    is left of the run, has room; it does not cross a 4 KiB border. One burst every two cycles, cursors in turn.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    job : In(line_job_layout)
        A run of beats; ``count`` may be 0.
    job_valid : In(1)
        Takes ``job``; only while the cursor is ``idle``.
    idle : Out(cursors)
        The cursor has no run left to ask for.
    request : Out(stream), ``line_request_layout``
        Bursts to read; those of one cursor are answered in order.
    beat_valid, beat_cursor, beat_data, beat_last, beat_error : In
        The answers; always taken.
    available : Out(cursors)
        The cursor has a beat.
    select : In
        The cursor to look at.
    line : Out(data_width)
        Its oldest beat, in the same cycle.
    pop : In(1)
        Drops that beat; only while it is available.
    fault : Out(fault_signature)
        READ_RESPONSE.
    fault_turn : Out(1)
        ``turn`` of the run that the beat is of.
    halt : In(1)
        Asks for nothing more.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        memory = config.memory
        super().__init__(
            {
                "job": In(line_job_layout(config=config)),
                "job_valid": In(1),
                "idle": Out(config.feeder.cursors),
                "request": Out(stream.Signature(line_request_layout(config=config))),
                "beat_valid": In(1),
                "beat_cursor": In(_cursor_bits(config)),
                "beat_data": In(memory.data_width),
                "beat_last": In(1),
                "beat_error": In(1),
                "available": Out(config.feeder.cursors),
                "select": In(_cursor_bits(config)),
                "line": Out(memory.data_width),
                "pop": In(1),
                "fault": Out(fault_signature),
                "fault_turn": Out(1),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory, cursors, lines = self._config.memory, self._config.feeder.cursors, self._config.feeder.line_buffers
        outstanding = self._config.feeder.outstanding
        beat_bits = exact_log2(memory.beat_bytes)
        place_bits = exact_log2(lines)
        border_bits = 12 - beat_bits  # beats between 4 KiB borders, as a power of two

        # Places of a FIFO are asked for, filled and emptied in turn.
        beat = [Signal(memory.address_width - beat_bits, name=f"beat_{c}") for c in range(cursors)]
        left = [Signal(32, name=f"left_{c}") for c in range(cursors)]
        turns = [Signal(name=f"turn_{c}") for c in range(cursors)]
        free = [Signal(range(lines + 1), init=lines, name=f"free_{c}") for c in range(cursors)]
        filled = [Signal(range(lines + 1), name=f"filled_{c}") for c in range(cursors)]
        ask_place = [Signal(place_bits, name=f"ask_place_{c}") for c in range(cursors)]
        fill_place = [Signal(place_bits, name=f"fill_place_{c}") for c in range(cursors)]
        burst_place = [Signal(place_bits, name=f"burst_place_{c}") for c in range(cursors)]
        read_place = [Signal(place_bits, name=f"read_place_{c}") for c in range(cursors)]

        def of(registers, cursor):
            """The register of the cursor with number ``cursor``."""
            value = registers[0]
            for number in range(1, cursors):
                value = Mux(cursor == number, registers[number], value)
            return value

        # Choosing a cursor, then asking for a burst.
        m.submodules.turn = turn = RoundRobinArbiter(count=cursors)
        chosen = Signal(_cursor_bits(self._config))
        chosen_valid = Signal()
        in_flight = Signal(range(outstanding + 1))
        ask = Signal()
        room = [(free[c] >= lines // 2) | (free[c] >= left[c]) for c in range(cursors)]
        m.d.comb += [
            turn.requests.eq(Cat((left[c] != 0) & room[c] & (free[c] != 0) for c in range(cursors))),
            turn.advance.eq(~chosen_valid),
        ]
        with m.If(~chosen_valid):
            m.d.sync += [chosen.eq(encode(turn.grant, cursors)), chosen_valid.eq(turn.grant.any() & ~self.halt)]

        to_border = (1 << border_bits) - of(beat, chosen)[:border_bits]
        length = Signal(range(lines + 1))
        m.d.comb += [
            length.eq(minimum(minimum(of(left, chosen), of(free, chosen)), to_border)),
            ask.eq(chosen_valid & (~self.request.valid | self.request.ready) & (in_flight != outstanding)),
        ]
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(ask):
            m.d.sync += [
                chosen_valid.eq(0),
                self.request.valid.eq(1),
                self.request.p.cursor.eq(chosen),
                self.request.p.address.eq(of(beat, chosen) << beat_bits),
                self.request.p.length.eq(length - 1),
            ]
        m.d.sync += in_flight.eq(in_flight + ask - (self.beat_valid & self.beat_last))

        # Beats and the addresses of their bursts.
        m.submodules.store = store = Memory(shape=memory.data_width, depth=cursors * lines, init=[])
        m.submodules.addresses = addresses = Memory(shape=memory.address_width + 1, depth=cursors * lines, init=[])
        fill, look = store.write_port(), store.read_port(domain="comb")
        note, recall = addresses.write_port(), addresses.read_port(domain="comb")

        def place(registers, cursor):
            return Cat(of(registers, cursor), cursor)[: exact_log2(cursors * lines)]

        m.d.comb += [
            fill.addr.eq(place(fill_place, self.beat_cursor)),
            fill.data.eq(self.beat_data),
            fill.en.eq(self.beat_valid),
            look.addr.eq(place(read_place, self.select)),
            self.line.eq(look.data),
            note.addr.eq(place(ask_place, chosen)),
            note.data.eq(Cat(Const(0, beat_bits), of(beat, chosen), of(turns, chosen))),
            note.en.eq(ask),
            recall.addr.eq(place(burst_place, self.beat_cursor)),
        ]
        with m.If(self.beat_valid & self.beat_error):
            m.d.comb += raise_fault(self.fault, ErrorCode.READ_RESPONSE, address=recall.data[: memory.address_width])
        m.d.comb += self.fault_turn.eq(recall.data[-1])

        for c in range(cursors):
            asked = Signal(range(lines + 1), name=f"asked_{c}")
            arrived = Signal(name=f"arrived_{c}")
            popped = Signal(name=f"popped_{c}")
            m.d.comb += [
                asked.eq(Mux(ask & (chosen == c), length, 0)),
                arrived.eq(self.beat_valid & (self.beat_cursor == c)),
                popped.eq(self.pop & (self.select == c)),
                self.idle[c].eq(left[c] == 0),
                self.available[c].eq(filled[c] != 0),
            ]
            m.d.sync += [
                free[c].eq(free[c] - asked + popped),
                filled[c].eq(filled[c] + arrived - popped),
                left[c].eq(left[c] - asked),
                beat[c].eq(beat[c] + asked),
                ask_place[c].eq(ask_place[c] + asked),
                fill_place[c].eq(fill_place[c] + arrived),
                read_place[c].eq(read_place[c] + popped),
            ]
            with m.If(arrived & self.beat_last):
                m.d.sync += burst_place[c].eq(fill_place[c] + 1)
            with m.If(self.job_valid & (self.job.cursor == c)):
                m.d.sync += [left[c].eq(self.job.count), beat[c].eq(self.job.beat), turns[c].eq(self.job.turn)]

        return m
