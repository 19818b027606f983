"""Executes commands in order: sends them to feeders, waits for semaphores."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.fabric.program_fetch import COMMAND_PARTS
from acf.hw.noc.flit import command_head, flit_stream, header_values
from acf.isa import COMMAND_FIELDS, NO_SEMAPHORE, SEMAPHORES, VERSION, ControlKind, ErrorCode, Opcode, TrafficClass

__all__ = ["Dispatch"]

_STRUCTURE = (Opcode.UPDATE, Opcode.REWIRE, Opcode.PRUNE, Opcode.SURVEY, Opcode.MERGE)


def _field(parts: list, opcode: Opcode, name: str):
    """A field of a command in its 64-bit parts."""
    place = COMMAND_FIELDS[opcode][name]
    low = 32 * (place.word % 2) + place.low
    return parts[place.word // 2][low : low + place.width]


class Dispatch(wiring.Component):
    """Takes commands from ``ProgramFetch`` one after the other.

    LOAD goes to the column feeders in ``targets``, CLEAR, STREAM and DRAIN to the row feeders, one packet each, lowest
    first; a command without targets is passed over. UPDATE, REWIRE, PRUNE, SURVEY and MERGE go to node (0, 0), the
    structure engine. WAIT holds everything behind it. A command costs three cycles, and nine more per target. END waits
    until the last flit before it is taken; after it, or after an error, nothing happens until reset. Where lanes do not
    skip zeros, a LOAD of packed operands is an error (COMMAND_RANGE).

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    run : In(1)
        Commands may begin; one that has begun goes on.
    fetched, exhausted, fetch_failed : In(1)
        ``valid``, ``exhausted`` and ``failed`` of ``ProgramFetch``.
    part : Out(3), value : In(64), take : Out(1)
        As there.
    wait : Out(1), semaphore : Out(4), count : Out(16), reached : In(1)
        To ``Semaphores``.
    o : Out(flit_stream)
    begun : Out(1)
        A command begins.
    ended : Out(1)
        END was executed; stays.
    failed : Out(1)
        A command was refused for ``code``; stays.
    code : Out(8)
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "run": In(1),
                "fetched": In(1),
                "exhausted": In(1),
                "fetch_failed": In(1),
                "part": Out(range(COMMAND_PARTS)),
                "value": In(64),
                "take": Out(1),
                "wait": Out(1),
                "semaphore": Out(4),
                "count": Out(16),
                "reached": In(1),
                "o": Out(flit_stream(noc=config.noc)),
                "begun": Out(1),
                "ended": Out(1),
                "failed": Out(1),
                "code": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()

        first = Signal(64)
        opcode = _field([first], Opcode.LOAD, "opcode")
        version = _field([first], Opcode.LOAD, "version")
        targets = _field([first], Opcode.LOAD, "targets")
        pending = Signal.like(targets)  # feeders that have not been sent the command
        to_columns = opcode == Opcode.LOAD
        to_structure = opcode.matches(*_STRUCTURE)
        feeders = Mux(to_columns, Const((1 << self._config.cols) - 1, 16), Const((1 << self._config.rows) - 1, 16))
        has_semaphore = self.semaphore < SEMAPHORES
        m.d.comb += self.semaphore.eq(_field([first], Opcode.LOAD, "semaphore"))

        number = Signal(4)  # of the lowest pending feeder
        for n in reversed(range(max(self._config.rows, self._config.cols))):
            with m.If(pending[n]):
                m.d.comb += number.eq(n)

        head = Signal(command_head)
        m.d.comb += [
            head[name].eq(value)
            for name, value in header_values(
                x=Mux(to_columns, number + 1, 0),
                y=Mux(to_columns | to_structure, 0, number + 1),
                traffic_class=TrafficClass.CONTROL,
                kind=ControlKind.COMMAND,
            ).items()
        ]

        def fail(code):
            m.d.sync += [self.failed.eq(1), self.code.eq(code)]
            m.next = "HALT"

        def finish():
            m.d.comb += self.take.eq(1)
            m.next = "NEXT"

        can_send = ~self.o.valid | self.o.ready

        def send(*, payload, is_head, is_tail):
            m.d.sync += [
                self.o.p.payload.eq(payload),
                self.o.p.head.eq(is_head),
                self.o.p.tail.eq(is_tail),
                self.o.valid.eq(1),
            ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("NEXT"):
                m.d.sync += first.eq(self.value)
                with m.If(self.run):
                    with m.If(self.exhausted):
                        fail(ErrorCode.ILLEGAL_COMMAND)
                    with m.Elif(self.fetched & self.fetch_failed):
                        fail(ErrorCode.READ_RESPONSE)
                    with m.Elif(self.fetched):
                        m.d.comb += self.begun.eq(1)
                        m.next = "CHECK"

            with m.State("CHECK"):
                m.d.comb += self.part.eq(COMMAND_FIELDS[Opcode.WAIT]["count"].word // 2)
                if not self._config.lane.skipping:
                    packed = _field([self.value] * COMMAND_PARTS, Opcode.LOAD, "packed")
                    with m.If(to_columns):
                        m.d.comb += self.part.eq(COMMAND_FIELDS[Opcode.LOAD]["packed"].word // 2)
                m.d.sync += [
                    pending.eq(Mux(to_structure, 1, targets)),
                    self.count.eq(_field([first, self.value], Opcode.WAIT, "count")),
                ]
                with m.If(version != VERSION):
                    fail(ErrorCode.ILLEGAL_COMMAND)
                with m.Else(), m.Switch(opcode):
                    with m.Case(Opcode.END), m.If(can_send):
                        m.d.sync += self.ended.eq(1)
                        m.next = "HALT"
                    with m.Case(Opcode.WAIT):
                        m.next = "WAIT"
                        with m.If(~has_semaphore):
                            fail(ErrorCode.COMMAND_RANGE)
                    with m.Case(Opcode.LOAD, Opcode.CLEAR, Opcode.STREAM, Opcode.DRAIN):
                        m.next = "HEAD"
                        with m.If(~has_semaphore & (self.semaphore != NO_SEMAPHORE)):
                            fail(ErrorCode.COMMAND_RANGE)
                        with m.Elif((targets & ~feeders).any()):
                            fail(ErrorCode.COMMAND_RANGE)
                        if not self._config.lane.skipping:
                            # The tiles would not understand it.
                            with m.Elif(to_columns & packed):
                                fail(ErrorCode.COMMAND_RANGE)
                    with m.Case(*_STRUCTURE):
                        m.next = "HEAD"
                        with m.If(~has_semaphore & (self.semaphore != NO_SEMAPHORE)):
                            fail(ErrorCode.COMMAND_RANGE)
                    with m.Default():
                        fail(ErrorCode.ILLEGAL_COMMAND)

            with m.State("WAIT"):
                m.d.comb += self.wait.eq(1)
                with m.If(self.reached):
                    finish()

            with m.State("HEAD"):
                with m.If(~pending.any()):
                    finish()
                with m.Elif(can_send):
                    send(payload=head, is_head=1, is_tail=0)
                    m.next = "BODY"

            sent = Signal(range(COMMAND_PARTS))
            is_tail = sent == COMMAND_PARTS - 1
            with m.State("BODY"):
                m.d.comb += self.part.eq(sent)
                with m.If(can_send):
                    send(payload=self.value, is_head=0, is_tail=is_tail)
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(is_tail):
                        m.d.sync += pending.eq(pending & (pending - 1))
                        m.next = "HEAD"

            with m.State("HALT"):
                pass

        return m
