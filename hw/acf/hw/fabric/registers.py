"""The host's side of the fabric: an AXI4-Lite block of registers and one interrupt."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.counters import COUNTER_LATENCY, counter_select
from acf.hw.mem.axi import Response, axi_lite_signature
from acf.hw.mem.window_check import window_layout
from acf.isa import IDENTIFIER, VERSION, Register

__all__ = ["COUNTER_SETTLE", "WINDOWS", "HostRegisters", "error_layout", "status_layout"]

WINDOWS = 4
"""Address windows of the host registers."""

_WINDOW_STRIDE = 16

COUNTER_SETTLE = COUNTER_LATENCY + 16
"""Cycles that a read of ``Register.COUNTER_VALUE`` waits: the node, and registers on the way there and back."""

status_layout = data.StructLayout({"busy": 1, "done": 1, "error": 1})
"""Bits of ``Register.STATUS``."""

error_layout = data.StructLayout({"code": 8, "address": 32, "row": 32, "index": 32, "source_x": 4, "source_y": 4})
"""The first error of a program."""


class HostRegisters(wiring.Component):
    """All registers of ``acf.isa.Register``.

    Takes address and data of a write in any order, one write and one read at a time; reads and writes are independent.
    Byte strobes count; address bits 0 and 1 do not. A read of an unknown address gives 0 and SLVERR. A write that can
    have no effect (unknown, read-only, or ``PROGRAM_ADDRESS``, ``PROGRAM_LENGTH``, ``WATCHDOG`` or a window while a
    program runs) is answered SLVERR and has none. A start while a program runs, or together with an abort, and an abort
    while none runs, are ignored.

    A read is answered in two cycles, one of ``COUNTER_VALUE`` in ``COUNTER_SETTLE`` more, whatever was selected before.
    ``CYCLES_LOW`` and ``CYCLES_HIGH`` belong together only while no program runs.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    s_axil : In(axi_lite)
    interrupt : Out(1)
        High while bit 0 is set in both ``INTERRUPT_STATUS`` and ``INTERRUPT_ENABLE``.
    start, abort : Out(1)
        High for one cycle when the host asks.
    program_address, program_length, watchdog : Out(32)
    windows : Out(window_layout).array(WINDOWS)
    select : Out(counter_select)
    status : In(status_layout)
    ended : In(1)
        A program ended in this cycle.
    cycles : In(64)
    counter_value : In(32)
    error : In(error_layout)
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "s_axil": In(axi_lite_signature()),
                "interrupt": Out(1),
                "start": Out(1),
                "abort": Out(1),
                "program_address": Out(32),
                "program_length": Out(32),
                "watchdog": Out(32),
                "windows": Out(window_layout).array(WINDOWS),
                "select": Out(counter_select),
                "status": In(status_layout),
                "ended": In(1),
                "cycles": In(64),
                "counter_value": In(32),
                "error": In(error_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()

        interrupt_enable = Signal()
        interrupt_status = Signal()
        m.d.sync += self.interrupt.eq(interrupt_enable & interrupt_status)

        readable = self._readable() | {
            Register.INTERRUPT_ENABLE: interrupt_enable,
            Register.INTERRUPT_STATUS: interrupt_status,
        }
        free = {  # registers that may be written at any time
            Register.INTERRUPT_ENABLE: interrupt_enable,
            Register.COUNTER_SELECT: self.select,
        }
        locked = {  # registers that may not change under a program
            Register.PROGRAM_ADDRESS: self.program_address,
            Register.PROGRAM_LENGTH: self.program_length,
            Register.WATCHDOG: self.watchdog,
        } | {offset: value for offset, value in readable.items() if offset >= Register.WINDOW_BASE_0}
        self._elaborate_writes(m, free=free, locked=locked, interrupt_status=interrupt_status)
        self._elaborate_reads(m, readable=readable)

        return m

    def _readable(self) -> dict[int, Value | int]:
        config, error = self._config, self.error
        windows = {}
        for n in range(WINDOWS):
            window, offset = self.windows[n], n * _WINDOW_STRIDE
            windows |= {
                Register.WINDOW_BASE_0 + offset: window.base,
                Register.WINDOW_LIMIT_0 + offset: window.limit,
                Register.WINDOW_RIGHTS_0 + offset: window.rights,
            }
        return {
            Register.IDENTIFIER: IDENTIFIER,
            Register.VERSION: VERSION,
            Register.CONFIG_DIGEST: int(config.digest[:8], 16),
            Register.GEOMETRY: config.rows | config.cols << 8 | config.lanes << 16 | config.lane.slots << 24,
            Register.CONTROL: 0,
            Register.STATUS: self.status,
            Register.PROGRAM_ADDRESS: self.program_address,
            Register.PROGRAM_LENGTH: self.program_length,
            Register.WATCHDOG: self.watchdog,
            Register.CYCLES_LOW: self.cycles[:32],
            Register.CYCLES_HIGH: self.cycles[32:],
            Register.COUNTER_SELECT: self.select,
            Register.COUNTER_VALUE: self.counter_value,
            Register.ERROR_CODE: error.code,
            Register.ERROR_ADDRESS: error.address,
            Register.ERROR_ROW: error.row,
            Register.ERROR_INDEX: error.index,
            Register.ERROR_SOURCE: Cat(error.source_x, error.source_y),
            **windows,
        }

    def _elaborate_writes(self, m, *, free, locked, interrupt_status):
        bus = self.s_axil
        address = Signal(len(bus.awaddr))
        value = Signal(32)
        strobes = Signal(4)
        has_address = Signal()
        has_data = Signal()
        refused = Signal()

        m.d.comb += [
            bus.awready.eq(~has_address),
            bus.wready.eq(~has_data),
            refused.eq(1),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), has_address.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [value.eq(bus.wdata), strobes.eq(bus.wstrb), has_data.eq(1)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        def accept():
            m.d.comb += refused.eq(0)

        def store(target):
            target = Value.cast(target)
            for byte in range((len(target) + 7) // 8):
                with m.If(strobes[byte]):
                    part = target[8 * byte : 8 * byte + 8]
                    m.d.sync += part.eq(value[8 * byte : 8 * byte + 8])
            accept()

        m.d.sync += [self.start.eq(0), self.abort.eq(0)]
        with m.If(has_address & has_data & (bus.bready | ~bus.bvalid)):
            m.d.sync += [has_address.eq(0), has_data.eq(0), bus.bvalid.eq(1)]
            m.d.sync += bus.bresp.eq(refused.replicate(2) & Response.SLVERR.value)
            with m.Switch(address[2:]):
                with m.Case(Register.CONTROL >> 2):
                    accept()
                    start, abort = value[0] & strobes[0], value[1] & strobes[0]
                    m.d.sync += [
                        self.start.eq(start & ~abort & ~self.status.busy),
                        self.abort.eq(abort & self.status.busy),
                    ]
                with m.Case(Register.INTERRUPT_STATUS >> 2):
                    accept()
                    with m.If(value[0] & strobes[0]):
                        m.d.sync += interrupt_status.eq(0)
                for offset, target in free.items():
                    with m.Case(offset >> 2):
                        store(target)
                for offset, target in locked.items():
                    with m.Case(offset >> 2), m.If(~self.status.busy & ~self.start):
                        store(target)
        with m.If(self.ended):
            m.d.sync += interrupt_status.eq(1)

    def _elaborate_reads(self, m, *, readable):
        bus = self.s_axil
        address = Signal(len(bus.araddr))
        wait = Signal(range(COUNTER_SETTLE + 1))

        with m.FSM():
            with m.State("ADDRESS"):
                m.d.comb += bus.arready.eq(1)
                m.d.sync += [address.eq(bus.araddr), wait.eq(0)]
                with m.If(bus.araddr[2:] == Register.COUNTER_VALUE >> 2):
                    m.d.sync += wait.eq(COUNTER_SETTLE)
                with m.If(bus.arvalid):
                    m.next = "LOOK UP"
            with m.State("LOOK UP"):
                m.d.sync += [wait.eq(wait - 1), bus.rdata.eq(0), bus.rresp.eq(Response.SLVERR.value)]
                with m.Switch(address[2:]):
                    for offset, source in readable.items():
                        with m.Case(offset >> 2):
                            m.d.sync += [bus.rdata.eq(source), bus.rresp.eq(Response.OKAY.value)]
                with m.If(wait == 0):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += bus.rvalid.eq(1)
                with m.If(bus.rready):
                    m.next = "ADDRESS"
