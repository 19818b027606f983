"""Turns accesses of four words into commands for an SDRAM chip, and keeps the chip refreshed.

Two accesses are known at a time. The first one is carried out; in cycles in which it has nothing to command, the bank
of the second one is made ready. Rows stay open until another row of their bank is needed, or a refresh comes.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from acf.hw.boards.sdram_banks import SdramBanks
from acf.hw.boards.sdram_pins import (
    ADDRESS_BITS,
    AUTO_PRECHARGE,
    BANK_BITS,
    COLUMN_BITS,
    WORD_BITS,
    Command,
    sdram_signature,
)
from acf.hw.boards.sdram_timing import BURST_WORDS, SdramCycles

__all__ = ["GROUP_ADDRESS_BITS", "GROUP_BITS", "SdramSequencer", "access_layout", "answer_layout"]

GROUP_BITS = BURST_WORDS * WORD_BITS
"""Bits that an access moves."""

_COLUMN_GROUP_BITS = COLUMN_BITS - (BURST_WORDS - 1).bit_length()
GROUP_ADDRESS_BITS = _COLUMN_GROUP_BITS + BANK_BITS + ADDRESS_BITS
"""Bits of the address of an access: groups of four columns, banks, rows, so that long bursts open bank after bank."""

access_layout = data.StructLayout(
    {
        "address": data.StructLayout({"group": _COLUMN_GROUP_BITS, "bank": BANK_BITS, "row": ADDRESS_BITS}),
        "write": 1,
        "tag": 1,
        "strobes": GROUP_BITS // 8,
        "data": GROUP_BITS,
    }
)
"""An access; ``tag`` comes back with what it reads."""

answer_layout = data.StructLayout({"tag": 1, "data": GROUP_BITS})

_PIN_CYCLES = 2
"""From the cycle in which a command is chosen to the one in whose middle the chip takes it."""


class SdramSequencer(wiring.Component):
    """Initialises an SDRAM chip, refreshes it, and carries out accesses in the order in which they come.

    A read of an open row is answered ``cas_latency + 6`` cycles after it was commanded. Accesses of open rows follow
    each other every four cycles; a write after a read waits for ``cas_latency + 1`` more.

    Parameters
    ----------
    cycles : SdramCycles

    Members
    -------
    i : In(stream), ``access_layout``
    answer : Out(answer_layout)
    answered : Out(1)
        ``answer`` holds what a read has found. There is no waiting: who asks has room.
    sdram : Out(sdram_signature)
        To ``PinRegisters``, or to what is like them.
    accessed, activated, refreshed : Out(1)
        High in each cycle in which such a command is chosen. Accesses less activations are those that found their row.
    """

    i: In(stream.Signature(access_layout))
    answer: Out(answer_layout)
    answered: Out(1)
    sdram: Out(sdram_signature)
    accessed: Out(1)
    activated: Out(1)
    refreshed: Out(1)

    def __init__(self, *, cycles: SdramCycles):
        self._cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.banks = banks = SdramBanks(cycles=self._cycles)

        head, following = Signal(access_layout), Signal(access_layout)
        has_head, has_following = Signal(), Signal()
        done = Signal()  # the first access is commanded
        m.d.comb += self.i.ready.eq(~has_following)
        with m.If(done | ~has_head):
            m.d.sync += [head.eq(following), has_head.eq(has_following), has_following.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            with m.If(done | ~has_head):
                m.d.sync += [head.eq(self.i.p), has_head.eq(1)]
            with m.Else():
                m.d.sync += [following.eq(self.i.p), has_following.eq(1)]

        command = Signal(Command)
        bank, address = Signal(BANK_BITS), Signal(ADDRESS_BITS)
        m.d.comb += [
            banks.command.eq(command),
            banks.bank.eq(bank),
            banks.row.eq(address),
            banks.all_banks.eq(address[AUTO_PRECHARGE]),
            banks.first.bank.eq(head.address.bank),
            banks.first.row.eq(head.address.row),
            banks.second.bank.eq(following.address.bank),
            banks.second.row.eq(following.address.row),
        ]
        m.d.sync += [self.sdram.command.eq(command), self.sdram.bank.eq(bank), self.sdram.address.eq(address)]
        m.d.comb += [
            self.accessed.eq(done),
            self.activated.eq(command == Command.ACTIVE),
            self.refreshed.eq(command == Command.REFRESH),
        ]

        may_read, may_write = self._elaborate_data(m, head, command)

        def issue(what, *, to=None, at=0):
            m.d.comb += [command.eq(what), address.eq(at)]
            if to is not None:
                m.d.comb += bank.eq(to)

        def prepare(access, query):
            """Open the row of an access, as far as the bank lets us."""
            with m.If(~query.is_open & query.may_activate):
                issue(Command.ACTIVE, to=access.address.bank, at=access.address.row)
            with m.If(query.is_open & ~query.hit & query.may_precharge):
                issue(Command.PRECHARGE, to=access.address.bank)

        def run():
            first, second = banks.first, banks.second
            may_move = Mux(head.write, may_write, may_read)
            # The one of the second access: overridden below where the first needs the cycle.
            with m.If(has_following & (following.address.bank != head.address.bank)):
                prepare(following, second)
            with m.If(has_head):
                with m.If(first.hit & first.may_access & may_move):
                    m.d.comb += done.eq(1)
                    column = head.address.group << (COLUMN_BITS - _COLUMN_GROUP_BITS)
                    issue(Mux(head.write, Command.WRITE, Command.READ), to=head.address.bank, at=column)
                prepare(head, first)

        self._elaborate_phases(m, banks, issue, run)
        return m

    def _elaborate_phases(self, m, banks, issue, run):
        cycles = self._cycles
        interval = Signal(range(cycles.refresh_interval))
        owed = Signal(3)  # refreshes that are due; one at a time is ever seen
        left = Signal(range(cycles.startup + 1), init=cycles.startup)
        refreshes = Signal(range(cycles.startup_refreshes + 1))  # of the initialisation
        ready = Signal()

        with m.If(ready):
            m.d.sync += interval.eq(interval + 1)
            with m.If(interval == cycles.refresh_interval - 1):
                m.d.sync += [interval.eq(0), owed.eq(owed + 1)]
                with m.If(self.refreshed):
                    m.d.sync += owed.eq(owed)
            with m.Elif(self.refreshed):
                m.d.sync += owed.eq(owed - 1)

        with m.FSM():
            with m.State("START"):
                m.d.sync += left.eq(left - 1)
                # The chip must see its clock before clock enable, and clock enable before the first command.
                with m.If(left == cycles.startup // 2):
                    m.d.sync += self.sdram.clock_enable.eq(1)
                with m.If(left == 0):
                    m.next = "PRECHARGE"
            with m.State("PRECHARGE"), m.If(banks.may_precharge_all):
                issue(Command.PRECHARGE, at=1 << AUTO_PRECHARGE)
                m.next = "REFRESH"
            with m.State("REFRESH"), m.If(banks.at_rest):
                issue(Command.REFRESH)
                m.next = "RUN"
                with m.If(~ready):
                    m.d.sync += refreshes.eq(refreshes + 1)
                    m.next = "REFRESH"
                    with m.If(refreshes == cycles.startup_refreshes - 1):
                        m.next = "MODE"
            with m.State("MODE"), m.If(banks.at_rest):
                burst_length = (BURST_WORDS - 1).bit_length()  # code of the mode register; bursts count upwards
                issue(Command.MODE, to=0, at=cycles.cas_latency << 4 | burst_length)
                m.d.sync += ready.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(owed != 0):
                    m.next = "PRECHARGE"
                with m.Else():
                    run()

    def _elaborate_data(self, m, head, command):
        """The words on their way; returns whether READ and WRITE may use the data pins."""
        cycles = self._cycles
        # A word driven by the chip and one driven by us have an idle cycle between them.
        read_to_write = cycles.cas_latency + BURST_WORDS + 1
        wait_read, wait_write = Signal(range(BURST_WORDS)), Signal(range(read_to_write))
        for wait in (wait_read, wait_write):
            with m.If(wait != 0):
                m.d.sync += wait.eq(wait - 1)

        sdram = self.sdram
        words, masks = Signal(GROUP_BITS), Signal(GROUP_BITS // 8)
        driving = Signal(BURST_WORDS)
        # What is not driven by a WRITE holds its last word still.
        m.d.comb += [sdram.dq_o.eq(words), sdram.mask.eq(masks), sdram.dq_oe.eq(driving[0])]
        m.d.sync += [driving.eq(driving >> 1), masks.eq(masks >> WORD_BITS // 8)]
        with m.If(driving[1]):
            m.d.sync += words.eq(words >> WORD_BITS)

        # One bit for each cycle from a READ to its answer.
        latency = _PIN_CYCLES + cycles.cas_latency + BURST_WORDS
        coming, tags = Signal(latency), Signal(latency)
        found = Signal(GROUP_BITS)
        m.d.sync += [
            coming.eq(Cat(command == Command.READ, coming[:-1])),
            tags.eq(Cat(head.tag, tags[:-1])),
        ]
        with m.If(coming[-1 - BURST_WORDS : -1].any()):
            m.d.sync += found.eq(Cat(found[WORD_BITS:], sdram.dq_i))
        m.d.comb += [
            self.answered.eq(coming[-1]),
            self.answer.tag.eq(tags[-1]),
            self.answer.data.eq(found),
        ]

        with m.If(command == Command.READ):
            m.d.sync += [wait_read.eq(BURST_WORDS - 1), wait_write.eq(read_to_write - 1)]
        with m.If(command == Command.WRITE):
            m.d.sync += [
                wait_read.eq(BURST_WORDS - 1),
                wait_write.eq(BURST_WORDS - 1),
                words.eq(head.data),
                masks.eq(~head.strobes),
                driving.eq(~0),
            ]
        return wait_read == 0, wait_write == 0
