"""What is known of the banks of an SDRAM: open rows, and when each command may come."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.hw.boards.sdram_pins import ADDRESS_BITS, BANK_BITS, Command
from acf.hw.boards.sdram_timing import BURST_WORDS, SdramCycles

__all__ = ["SdramBanks", "query_signature"]

query_signature = wiring.Signature(
    {
        "bank": Out(BANK_BITS),
        "row": Out(ADDRESS_BITS),
        "is_open": In(1),
        "hit": In(1),
        "may_access": In(1),
        "may_activate": In(1),
        "may_precharge": In(1),
    }
)
"""A question about a bank: whether a row is open, whether it is ``row``, and which commands it could take now."""


class SdramBanks(wiring.Component):
    """Counts the cycles that each bank must still wait for, command by command.

    A command that is issued counts from the next cycle on. A question is answered in the same cycle.

    Parameters
    ----------
    cycles : SdramCycles

    Members
    -------
    command : In(Command)
        The command that is issued in this cycle.
    bank : In(2)
        Its bank.
    row : In(13)
        The row that it opens.
    all_banks : In(1)
        A PRECHARGE is for all of them.
    first, second : In(query_signature)
        Questions about a bank each. ``may_access`` is of READ and WRITE as far as the bank goes.
    may_precharge_all : Out(1)
        Every bank may be precharged.
    at_rest : Out(1)
        Every bank that is not open may be opened: after PRECHARGE of all, a REFRESH may come.
    """

    command: In(Command)
    bank: In(BANK_BITS)
    row: In(ADDRESS_BITS)
    all_banks: In(1)
    first: In(query_signature)
    second: In(query_signature)
    may_precharge_all: Out(1)
    at_rest: Out(1)

    def __init__(self, *, cycles: SdramCycles):
        self._cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        cycles = self._cycles
        after_write = BURST_WORDS - 1 + cycles.write_recovery
        longest = max(
            cycles.active_to_active, cycles.precharge, cycles.refresh, cycles.mode, cycles.active_to_precharge,
            cycles.active_to_column, after_write, BURST_WORDS,
        )  # fmt: skip
        count = 1 << BANK_BITS
        is_open = [Signal(name=f"is_open_{n}") for n in range(count)]
        rows = [Signal(ADDRESS_BITS, name=f"row_{n}") for n in range(count)]
        # Cycles until the bank may be accessed, activated, precharged.
        waits = [
            {kind: Signal(range(longest), name=f"{kind}_wait_{n}") for kind in ("access", "activate", "precharge")}
            for n in range(count)
        ]
        other_bank = Signal(range(max(cycles.other_bank, 2)))

        with m.If(other_bank != 0):
            m.d.sync += other_bank.eq(other_bank - 1)
        with m.If(self.command == Command.ACTIVE):
            m.d.sync += other_bank.eq(cycles.other_bank - 1)

        for n in range(count):
            wait = waits[n]
            for counter in wait.values():
                with m.If(counter != 0):
                    m.d.sync += counter.eq(counter - 1)

            def hold(kind, distance, wait=wait):
                """Keep a command off for a distance from this cycle, or for longer if it is so already."""
                m.d.sync += wait[kind].eq(Mux(wait[kind] > distance, wait[kind] - 1, distance - 1))

            mine = self.bank == n
            with m.Switch(self.command):
                with m.Case(Command.ACTIVE), m.If(mine):
                    m.d.sync += [is_open[n].eq(1), rows[n].eq(self.row)]
                    hold("access", cycles.active_to_column)
                    hold("activate", cycles.active_to_active)
                    hold("precharge", cycles.active_to_precharge)
                with m.Case(Command.READ), m.If(mine):
                    hold("precharge", BURST_WORDS)  # a PRECHARGE would end the burst
                with m.Case(Command.WRITE), m.If(mine):
                    hold("precharge", after_write)
                with m.Case(Command.PRECHARGE), m.If(mine | self.all_banks):
                    m.d.sync += is_open[n].eq(0)
                    hold("activate", cycles.precharge)
                with m.Case(Command.REFRESH):
                    hold("activate", cycles.refresh)
                with m.Case(Command.MODE):
                    hold("activate", cycles.mode)

        def free(kind):
            return [wait[kind] == 0 for wait in waits]

        for query in (self.first, self.second):
            m.d.comb += [
                query.is_open.eq(Array(is_open)[query.bank]),
                query.hit.eq(query.is_open & (Array(rows)[query.bank] == query.row)),
                query.may_access.eq(Array(free("access"))[query.bank]),
                query.may_activate.eq(Array(free("activate"))[query.bank] & (other_bank == 0)),
                query.may_precharge.eq(Array(free("precharge"))[query.bank]),
            ]
        m.d.comb += [
            self.may_precharge_all.eq(Cat(*free("precharge")).all()),
            self.at_rest.eq(Cat(*free("activate")).all()),
        ]
        return m
