"""The structure engine: carries out UPDATE and REWIRE at the memory port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.command_receiver import CommandReceiver, command_field
from acf.hw.mem.fault_report import ReportSender, fault_signature, raise_fault
from acf.hw.noc.flit import flit_stream
from acf.hw.structure.update_engine import UpdateEngine
from acf.isa import ErrorCode, Opcode

__all__ = ["StructureEngine"]


class StructureEngine(wiring.Component):
    """Takes COMMAND packets, hands each to the engine that carries it out, and reports.

    Commands are carried out one after the other; two wait. After the first fault an ERROR packet is sent and nothing
    more is begun until reset. COMMAND_RANGE tells no address: the structure engine speaks with the command processor
    alone, and does not know where a command came from.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    control_i : In(flit_stream)
        COMMAND packets.
    control_o : Out(flit_stream)
        DONE and ERROR packets.
    read : Out(axi_read)
    write : Out(axi_write)
    """

    control_i: stream.Interface
    control_o: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        flits = flit_stream(noc=config.noc)
        super().__init__(
            {
                "control_i": In(flits),
                "control_o": Out(flits),
                "read": Out(axi_read_signature(memory=config.memory)),
                "write": Out(axi_write_signature(memory=config.memory)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        m.submodules.receiver = receiver = CommandReceiver(noc=config.noc)
        m.submodules.update = update = UpdateEngine(config=config)
        m.submodules.report = report = ReportSender(noc=config.noc, sources=1 + len(update.faults))

        wiring.connect(m, wiring.flipped(self.control_i), receiver.i)
        wiring.connect(m, report.o, wiring.flipped(self.control_o))
        wiring.connect(m, update.read, wiring.flipped(self.read))
        wiring.connect(m, update.write, wiring.flipped(self.write))
        wiring.connect(m, update.done, report.done)
        command_fault = fault_signature.create()
        for number, fault in enumerate([command_fault, *update.faults]):
            m.d.comb += [report.faults[number].valid.eq(fault.valid), report.faults[number].p.eq(fault.p)]

        command = receiver.o.p

        def of(name):
            return command_field(command, Opcode.UPDATE, name)

        m.d.comb += [
            update.halt.eq(report.stopped),
            *(update.i.p[name].eq(of(name)) for name in ("gradient", "master", "momentum")),
            *(update.i.p[name].eq(of(name)) for name in ("learning_rate", "momentum_factor", "stochastic", "seed")),
            update.i.p.weights.eq(of("values")),
            update.i.p.count.eq(of("entries")),
            update.i.p.semaphore.eq(of("semaphore")),
        ]
        no_seed = of("stochastic") & (of("seed") == 0)
        refused = Signal()
        m.d.comb += refused.eq(Mux(config.lane.format == "bf16", no_seed, 1))
        with m.FSM():
            with m.State("IDLE"), m.If(receiver.o.valid & ~report.stopped):
                m.next = "STOPPED"
                with m.If(command[0][:8] != Opcode.UPDATE):
                    m.d.comb += raise_fault(command_fault, ErrorCode.ILLEGAL_COMMAND)
                with m.Elif(refused):
                    m.d.comb += raise_fault(command_fault, ErrorCode.COMMAND_RANGE)
                with m.Else():
                    m.next = "UPDATE"
            with m.State("UPDATE"):
                m.d.comb += update.i.valid.eq(1)
                with m.If(update.i.ready):
                    m.d.comb += receiver.o.ready.eq(1)
                    m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        return m
