"""The command processor: runs programs, joins what the nodes report, and brings the fabric back after an error.

A program passes QUIESCE, RESET, SETTLE, CLEAR, RUN, ENDING. The first three give every program the same fabric to start
from, whatever the one before has left: the guard brings the memory port to rest, then all other nodes are reset. An
error takes the same way out, so that a fabric with an error reported has nothing left under way. After END the nodes
are not reset: their counters can be read until the next start.
"""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.counters import counter_bus
from acf.hw.fabric.control_receiver import ControlReceiver
from acf.hw.fabric.dispatch import Dispatch
from acf.hw.fabric.local_port import LocalPort
from acf.hw.fabric.program_fetch import ProgramFetch
from acf.hw.fabric.registers import WINDOWS, HostRegisters
from acf.hw.fabric.semaphores import Semaphores
from acf.hw.mem.axi import axi_lite_signature, axi_read_signature
from acf.hw.mem.guard import traffic_layout, violation_layout
from acf.hw.mem.interconnect import interconnect_id_width
from acf.hw.mem.window_check import window_layout
from acf.hw.noc.flit import flit_stream
from acf.isa import COMMAND_BYTES, CommandProcessorCounter, ErrorCode

__all__ = ["CommandProcessor", "commands_ahead", "paced_masters", "port_id_width", "read_masters", "write_masters"]

_MOST_AHEAD = 8  # commands
_RESET_CYCLES = 8
_SETTLE_CYCLES = 8  # registers on the way of the reset


def commands_ahead(config: FabricConfig) -> int:
    """Commands that are fetched ahead: they hide the same latency of memory as the bursts of a row feeder."""
    return min(_MOST_AHEAD, max(2, config.feeder.outstanding))


def read_masters(config: FabricConfig) -> int:
    """Masters of the read interconnect.

    They are the command processor, the column feeders, the row feeders and the structure engine, in this order.
    """
    return 2 + config.rows + config.cols


def paced_masters(config: FabricConfig) -> range:
    """Masters of the read interconnect that ask for much ahead of need: the column feeders."""
    return range(1, 1 + config.cols)


def write_masters(config: FabricConfig) -> int:
    """Masters of the write interconnect: the row feeders, the structure engine."""
    return config.rows + 1


def port_id_width(config: FabricConfig) -> int:
    """Bits of an ID at the memory port, wide enough for both interconnects."""
    return interconnect_id_width(memory=config.memory, masters=max(read_masters(config), write_masters(config)))


class CommandProcessor(wiring.Component):
    """Node (0, 0): host registers, program execution, error handling, the counters of the memory port.

    A program must WAIT for all it has started before its END: END stops the counters and waits only until the memory
    port is idle, and what is still under way then is lost at the next start. Commands are fetched ahead, as far as
    ``PROGRAM_LENGTH`` allows, so all of these must lie inside a readable window.

    The first error of a program is kept: a refused burst before anything else, then what a node reports, then what the
    command processor finds itself, the watchdog, the abort. ``STATUS.error`` is set at once, done and the interrupt
    follow when the port is quiet and the fabric is reset. A memory that owes an answer and never gives it keeps
    ``STATUS.busy`` set: AXI has no way to take a request back.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    s_axil : In(axi_lite)
    interrupt : Out(1)
        As of ``HostRegisters``.
    control_i, control_o : flit_stream
        From and to the network.
    structure_i, structure_o : flit_stream
        From and to the structure engine, as if it were a node of the network.
    read : Out(axi_read)
        Program fetch; master 0 of ``read_masters``.
    counters : Out(counter_bus)
        ``value`` is the OR of all other nodes.
    windows : Out(window_layout).array(WINDOWS)
    quiesce : Out(1)
    quiet, idle : In(1)
    violation : In(violation_layout)
    traffic : In(traffic_layout)
        As of ``AxiGuard``, to be connected without registers.
    fabric_reset : Out(1)
        Reset for everything but the guard and this block, for several cycles under ``quiesce``.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        memory = config.memory
        super().__init__(
            {
                "s_axil": In(axi_lite_signature()),
                "interrupt": Out(1),
                "control_i": In(flit_stream(noc=config.noc)),
                "control_o": Out(flit_stream(noc=config.noc)),
                "structure_i": In(flit_stream(noc=config.noc)),
                "structure_o": Out(flit_stream(noc=config.noc)),
                "read": Out(axi_read_signature(memory=memory)),
                "counters": Out(counter_bus),
                "windows": Out(window_layout).array(WINDOWS),
                "quiesce": Out(1),
                "quiet": In(1),
                "idle": In(1),
                "violation": In(violation_layout(memory=memory, id_width=port_id_width(config))),
                "traffic": In(traffic_layout(memory=memory)),
                "fabric_reset": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        m.submodules.registers = registers = HostRegisters(config=config)
        fetch = ProgramFetch(memory=config.memory, places=commands_ahead(config))
        semaphores = Semaphores()
        receiver = ControlReceiver(noc=config.noc)
        dispatch = Dispatch(config=config)
        local = LocalPort(noc=config.noc)
        for name, part in {
            "local": local,
            "fetch": fetch,
            "semaphores": semaphores,
            "receiver": receiver,
            "dispatch": dispatch,
        }.items():
            m.submodules[name] = ResetInserter(self.fabric_reset)(part)

        wiring.connect(m, wiring.flipped(self.s_axil), registers.s_axil)
        wiring.connect(m, wiring.flipped(self.read), fetch.read)
        wiring.connect(m, dispatch.o, local.i)
        wiring.connect(m, local.o, receiver.i)
        wiring.connect(m, wiring.flipped(self.control_i), local.network_i)
        wiring.connect(m, wiring.flipped(self.control_o), local.network_o)
        wiring.connect(m, wiring.flipped(self.structure_i), local.structure_i)
        wiring.connect(m, wiring.flipped(self.structure_o), local.structure_o)
        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            *(self.windows[n].eq(registers.windows[n]) for n in range(WINDOWS)),
            fetch.address.eq(registers.program_address),
            fetch.length.eq(registers.program_length),
            fetch.part.eq(dispatch.part),
            fetch.take.eq(dispatch.take),
            dispatch.value.eq(fetch.value),
            dispatch.fetched.eq(fetch.valid),
            dispatch.exhausted.eq(fetch.exhausted),
            dispatch.fetch_failed.eq(fetch.failed),
            semaphores.wait.eq(dispatch.wait),
            semaphores.waiting.eq(dispatch.semaphore),
            semaphores.count.eq(dispatch.count),
            dispatch.reached.eq(semaphores.reached),
            semaphores.signal.eq(receiver.done),
            semaphores.number.eq(receiver.semaphore),
        ]

        running = Signal()  # commands are executed, and counters count
        listening = Signal()  # what the nodes report counts for this program
        starved = Signal()
        self._elaborate_sequence(m, registers, fetch, dispatch, running=running, listening=listening)
        self._elaborate_errors(m, registers, fetch, dispatch, receiver, listening=listening, starved=starved)
        self._elaborate_watchdog(m, registers, receiver, starved=starved)
        self._elaborate_counters(m, registers, dispatch, running=running)

        return m

    def _elaborate_sequence(self, m, registers, fetch, dispatch, *, running, listening):
        status = registers.status
        left = Signal(range(max(_RESET_CYCLES, _SETTLE_CYCLES)))
        finishing = Signal()  # this is the way out after an error, not the way in

        def hold(cycles):
            m.d.sync += left.eq(cycles - 1)

        def end():
            m.d.sync += [status.busy.eq(0), status.done.eq(1)]
            m.d.comb += registers.ended.eq(1)
            m.next = "IDLE"

        def leave():
            m.d.sync += finishing.eq(1)
            m.next = "QUIESCE"

        m.d.comb += [
            dispatch.run.eq(running),
            fetch.stop.eq(~running),
            self.counters.enable.eq(running),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += finishing.eq(0)
                with m.If(registers.start):
                    m.d.sync += [status.busy.eq(1), status.done.eq(0)]
                    m.next = "QUIESCE"
            with m.State("QUIESCE"):
                m.d.comb += self.quiesce.eq(1)
                hold(_RESET_CYCLES)
                with m.If(self.quiet):
                    m.next = "RESET"
            with m.State("RESET"):
                m.d.comb += [self.quiesce.eq(1), self.fabric_reset.eq(1)]
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    hold(_SETTLE_CYCLES)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += self.quiesce.eq(1)
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.next = "CLEAR"
                    with m.If(finishing):
                        end()
            with m.State("CLEAR"):
                m.d.comb += [
                    self.counters.clear.eq(1),
                    fetch.start.eq(self._program_fault(registers)[0] == ErrorCode.NONE),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [running.eq(~status.error & ~dispatch.ended), listening.eq(1)]
                with m.If(status.error):
                    leave()
                with m.Elif(dispatch.ended):
                    m.next = "ENDING"
            with m.State("ENDING"):
                m.d.comb += listening.eq(1)
                with m.If(status.error):
                    leave()
                with m.Elif(self.idle & fetch.idle):
                    end()

    def _program_fault(self, registers):
        """Error code and address of a program that cannot even be fetched; the code is NONE if it can."""
        address = registers.program_address
        too_far = address[self._config.memory.address_width :].any()
        code = Mux(
            address % COMMAND_BYTES != 0, ErrorCode.MISALIGNED, Mux(too_far, ErrorCode.COMMAND_RANGE, ErrorCode.NONE)
        )
        return code, address

    def _elaborate_errors(self, m, registers, fetch, dispatch, receiver, *, listening, starved):
        error, status = registers.error, registers.status

        def latch(code, *, address=0, row=0, index=0, x=0, y=0):
            m.d.sync += [
                status.error.eq(code != ErrorCode.NONE),
                error.code.eq(code),
                error.address.eq(address),
                error.row.eq(row),
                error.index.eq(index),
                error.source_x.eq(x),
                error.source_y.eq(y),
            ]

        # The master number in the ID of a refused burst says which node it came from.
        cols = self._config.cols
        master = Signal(8)
        master_y = Signal(4)
        master_x = Signal(4)
        m.d.comb += master.eq(self.violation.id[self._config.memory.id_width :])
        with m.If(self.violation.write):
            m.d.comb += master_y.eq(Mux(master == self._config.rows, 0, master + 1))
        with m.Elif(master == cols + self._config.rows + 1):
            m.d.comb += master_y.eq(0)
        with m.Elif(master > cols):
            m.d.comb += master_y.eq(master - cols)
        with m.Else():
            m.d.comb += master_x.eq(master)

        fault, fault_address = self._program_fault(registers)
        with m.If(registers.start):
            latch(ErrorCode.NONE)
        with m.Elif(status.busy & ~status.error):
            with m.If(listening & self.violation.valid):
                latch(ErrorCode.WINDOW, address=self.violation.address, x=master_x, y=master_y)
            with m.Elif(listening & receiver.failed):
                reported = receiver.error
                latch(
                    reported.code,
                    address=reported.address,
                    row=reported.row,
                    index=reported.index,
                    x=reported.source_x,
                    y=reported.source_y,
                )
            with m.Elif(listening & (fault != ErrorCode.NONE)):
                latch(fault, address=fault_address)
            with m.Elif(listening & dispatch.failed):
                latch(dispatch.code, address=fetch.head)
            with m.Elif(starved):
                latch(ErrorCode.WATCHDOG)
            with m.Elif(registers.abort):
                latch(ErrorCode.ABORTED)

    def _elaborate_watchdog(self, m, registers, receiver, *, starved):
        waited = Signal(32)
        m.d.sync += [
            waited.eq(waited + 1),
            starved.eq((registers.watchdog != 0) & (waited >= registers.watchdog)),
        ]
        with m.If(~registers.status.busy | self.traffic.active | receiver.done):
            m.d.sync += [waited.eq(0), starved.eq(0)]

    def _elaborate_counters(self, m, registers, dispatch, *, running):
        traffic = self.traffic
        with m.If(self.counters.clear):
            m.d.sync += registers.cycles.eq(0)
        with m.Elif(running):
            m.d.sync += registers.cycles.eq(registers.cycles + 1)

        increments = {
            CommandProcessorCounter.BYTES_READ: Mux(traffic.read_beat, self._config.memory.beat_bytes, 0),
            CommandProcessorCounter.BYTES_WRITTEN: traffic.write_bytes,
            CommandProcessorCounter.COMMANDS: dispatch.begun,
            CommandProcessorCounter.READ_BURSTS: traffic.read_burst,
            CommandProcessorCounter.WRITE_BURSTS: traffic.write_burst,
        }
        select = registers.select
        own = Signal(32)
        m.d.comb += self.counters.select.eq(select)
        m.d.sync += [own.eq(0), registers.counter_value.eq(own | self.counters.value)]
        for counter, increment in increments.items():
            value = Signal(32, name=f"counter_{counter.name.lower()}")
            with m.If(self.counters.clear):
                m.d.sync += value.eq(0)
            with m.Elif(running):
                m.d.sync += value.eq(value + increment)
            with m.If((Cat(select.x, select.y) == 0) & (select.index == counter)):
                m.d.sync += own.eq(value)
