"""Accumulators of one lane."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import LaneConfig
from acf.hw.formats import mac_latency, mac_loop

__all__ = ["AccumulatorBank", "accumulator_sweep", "clearing_cycles", "connect_sweep", "issue_delay", "take_turns"]


def issue_delay(*, lane: LaneConfig) -> int:
    """Cycles from an entry that is taken to its first product: without skipping there is no mask to look up."""
    return 5 if lane.skipping else 2


def clearing_cycles(*, lane: LaneConfig) -> int:
    """Cycles from the sweep of an accumulator to the first entry that may be taken for it: it is set to +0 when a
    product's sum would be written that read its accumulator when it was swept; an entry's first product is issued
    ``issue_delay`` cycles after it is taken, and reads its accumulator when the operator is about to need it."""
    latency, loop = mac_latency(format=lane.format), mac_loop(format=lane.format)
    return max(1, loop + 3 - (latency - loop) - issue_delay(lane=lane))


def accumulator_sweep(*, lane: LaneConfig) -> wiring.Signature:
    """Reading accumulators out, which sets them to +0, seen from who asks a lane for it.

    Members
    -------
    read : Out(1)
        Read ``slot`` of ``row``. No entry that was taken, and none that comes before it is read, adds to this
        accumulator.
    row, slot : Out
    urgent : Out(1)
        As soon as the lane can, which holds back a product for that if it must; otherwise in a cycle in which none
        whose accumulator is of the same parity reads it.
    taken : In(1)
        It is read in this cycle: the lane shows it in the next, and it is +0 for all entries that are taken
        ``clearing_cycles`` later, or after that.
    """
    return wiring.Signature(
        {
            "read": Out(1),
            "row": Out(ceil_log2(lane.accumulator_rows)),
            "slot": Out(ceil_log2(lane.slots)),
            "urgent": Out(1),
            "taken": In(1),
        }
    )


class AccumulatorBank(wiring.Component):
    """Accumulators: a product's read and a sweep's read in a cycle, with a latency of one cycle, beside as many writes.

    There are two memories, of even and of odd accumulators, each with one read and one write a cycle. So what is read
    for a product and what is swept in a cycle must be of different parity, and so must what is written.

    Reading and writing the same accumulator in one cycle gives an undefined value; the lane prevents it.

    Parameters
    ----------
    lane : LaneConfig

    Members
    -------
    read : In(1)
        Read; ``data`` shows it in the next cycle.
    read_address : In
        Slot in the low bits, row above.
    data : Out(accumulator_width)
    sweep : In(1)
        Read this one too; ``swept`` shows it in the next cycle. Known early in the cycle.
    sweep_address : In
    swept : Out(accumulator_width)
    write : In(1)
    write_address : In
    write_data : In(accumulator_width)
    clear : In(1)
        Write +0.
    clear_address : In
    """

    def __init__(self, *, lane: LaneConfig):
        self._lane = lane
        address = ceil_log2(lane.accumulator_rows * lane.slots)
        width = lane.number_format.accumulator_width
        super().__init__(
            {
                "read": In(1),
                "read_address": In(address),
                "data": Out(width),
                "sweep": In(1),
                "sweep_address": In(address),
                "swept": Out(width),
                "write": In(1),
                "write_address": In(address),
                "write_data": In(width),
                "clear": In(1),
                "clear_address": In(address),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shown = []
        for parity, name in enumerate(("even", "odd")):
            # Reads and writes of one address are kept apart, so synthesis need not order them.
            m.submodules[name] = accumulators = Memory(
                shape=self._lane.number_format.accumulator_width,
                depth=self._lane.accumulator_rows * self._lane.slots // 2,
                init=[],
                attrs={"no_rw_check": 1},
            )
            writer, reader = accumulators.write_port(), accumulators.read_port(transparent_for=())
            sweeps = self.sweep & (self.sweep_address[0] == parity)
            clears = self.clear & (self.clear_address[0] == parity)
            m.d.comb += [
                reader.en.eq(sweeps | (self.read & (self.read_address[0] == parity))),
                reader.addr.eq(Mux(sweeps, self.sweep_address[1:], self.read_address[1:])),
                writer.en.eq(clears | (self.write & (self.write_address[0] == parity))),
                writer.addr.eq(Mux(clears, self.clear_address[1:], self.write_address[1:])),
                writer.data.eq(Mux(clears, 0, self.write_data)),
            ]
            shown.append(reader.data)

        even, odd = shown
        read_odd, swept_odd = Signal(), Signal()
        m.d.sync += [read_odd.eq(self.read_address[0]), swept_odd.eq(self.sweep_address[0])]
        m.d.comb += [self.data.eq(Mux(read_odd, odd, even)), self.swept.eq(Mux(swept_odd, odd, even))]
        return m


def take_turns(
    m: Module, sweep: wiring.PureInterface, *, valid: Value, address: Value, reads: Value, lead: int
) -> Value:
    """Sweep an accumulator when no product reads one of the same parity. Returns whether the next product must wait.

    Where products read their accumulators later than they are issued, one of those on the way may leave the gap that
    an urgent sweep needs; if none does, the next one is held back for a cycle, and the gap comes when that is over.

    Parameters
    ----------
    m : Module
    sweep : In(accumulator_sweep)
    valid : Value
        There is a product; known early in the cycle.
    address : Value
        Its accumulator.
    reads : Value
        It is issued in this cycle and will read that.
    lead : int
        Cycles until it does.
    """
    parity = sweep.slot[0]
    meets = valid & (address[0] == parity)
    urgent = sweep.read & sweep.urgent
    if not lead:
        m.d.comb += sweep.taken.eq(sweep.read & (sweep.urgent | ~meets))
        return urgent & meets
    reads_next, odd, in_the_way = reads, address[0], []
    for n in range(lead):
        reads_later, odd_later = Signal(name=f"reads_{n}"), Signal(name=f"odd_{n}", reset_less=True)
        m.d.sync += [reads_later.eq(reads_next), odd_later.eq(odd)]
        reads_next, odd = reads_later, odd_later
        in_the_way.append(reads_next & (odd == parity))
    m.d.comb += sweep.taken.eq(sweep.read & ~in_the_way[-1])
    return urgent & meets & Cat(in_the_way).all()


def connect_sweep(
    m: Module,
    sweep: wiring.PureInterface,
    accumulators: AccumulatorBank,
    *,
    accumulator: Value,
    clearing: Value,
    depth: int,
) -> None:
    """Read what is swept, and write +0 ``depth`` cycles later.

    Parameters
    ----------
    m : Module
    sweep : In(accumulator_sweep)
    accumulators : AccumulatorBank
    accumulator : Value
        Shows what was read.
    clearing : Value
        High while an accumulator that was swept is not yet +0.
    depth : int
        Cycles from reading an accumulator for a product to writing it.
    """
    swept, address = sweep.taken, Cat(sweep.slot, sweep.row)
    m.d.comb += [
        accumulators.sweep.eq(swept),
        accumulators.sweep_address.eq(address),
        accumulator.eq(accumulators.swept),
    ]
    on_the_way = []
    for n in range(depth):
        swept_next = Signal(name=f"swept_{n}")
        address_next = Signal.like(accumulators.clear_address, name=f"swept_address_{n}", reset_less=True)
        m.d.sync += swept_next.eq(swept)
        with m.If(swept):
            m.d.sync += address_next.eq(address)
        swept, address = swept_next, address_next
        on_the_way.append(swept)
    m.d.comb += [
        accumulators.clear.eq(swept),
        accumulators.clear_address.eq(address),
        clearing.eq(Cat(on_the_way).any()),
    ]
