"""The structure engine: carries out UPDATE, REWIRE, PRUNE, SURVEY and MERGE at the memory port."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from acf.config import FabricConfig
from acf.hw.counters import counter_bus
from acf.hw.mem.axi import axi_read_signature, axi_write_signature
from acf.hw.mem.command_receiver import CommandReceiver, command_field
from acf.hw.mem.fault_report import ReportSender, fault_signature, raise_fault
from acf.hw.noc.flit import flit_stream
from acf.hw.structure.merge_engine import MergeEngine, merge_job_layout
from acf.hw.structure.prune_engine import PruneEngine, prune_job_layout
from acf.hw.structure.rewire_engine import RewireEngine, rewire_job_layout
from acf.hw.structure.update_engine import UpdateEngine
from acf.isa import ErrorCode, Opcode, StructureCounter

__all__ = ["StructureEngine"]


class StructureEngine(wiring.Component):
    """Takes COMMAND packets, hands each to the engine that carries it out, and reports.

    Commands are carried out one after the other; two wait. After the first fault an ERROR packet is sent and nothing
    more is begun until reset. COMMAND_RANGE for a seed of 0, a format other than bf16 or an engine that is not built
    tells no address.

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
    counters : In(counter_bus)
        ``acf.isa.StructureCounter`` at node (0, 0).
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
                "counters": In(counter_bus),
            }
        )

    def elaborate(self, platform):
        m = Module()

        config = self._config
        m.submodules.receiver = receiver = CommandReceiver(noc=config.noc)
        m.submodules.update = update = UpdateEngine(config=config)
        m.submodules.rewire = rewire = RewireEngine(config=config)
        engines = {Opcode.UPDATE: update, Opcode.REWIRE: rewire}
        prune = merge = None
        if config.structure.unstructured:
            m.submodules.prune = prune = PruneEngine(config=config)
            m.submodules.merge = merge = MergeEngine(config=config)
            engines |= {Opcode.PRUNE: prune, Opcode.SURVEY: merge, Opcode.MERGE: merge}
        all_engines = list(dict.fromkeys(engines.values()))
        faults = [fault for engine in all_engines for fault in engine.faults]
        m.submodules.report = report = ReportSender(noc=config.noc, sources=1 + len(faults))

        wiring.connect(m, wiring.flipped(self.control_i), receiver.i)
        wiring.connect(m, report.o, wiring.flipped(self.control_o))
        command_fault = fault_signature.create()
        for number, fault in enumerate([command_fault, *faults]):
            m.d.comb += [report.faults[number].valid.eq(fault.valid), report.faults[number].p.eq(fault.p)]
        m.d.comb += [engine.halt.eq(report.stopped) for engine in all_engines]

        command = receiver.o.p
        self._set_parameters(m, command, update, rewire, prune, merge)
        opcode = command[0][:8]
        at_work = Signal(range(len(all_engines)))  # who has the memory port; only one engine works at a time
        self._share_port(m, at_work, all_engines)

        flag = {Opcode.UPDATE: "stochastic", **dict.fromkeys((Opcode.REWIRE, Opcode.SURVEY, Opcode.MERGE), "random")}
        busy = {each: Signal(name=f"{each.name.lower()}_busy") for each in engines}
        with m.FSM():
            with m.State("IDLE"), m.If(receiver.o.valid & ~report.stopped):
                m.next = "STOPPED"
                with m.Switch(opcode):
                    for each, engine in engines.items():
                        with m.Case(each):
                            m.d.sync += at_work.eq(all_engines.index(engine))
                            refused = Const(not config.lane.number_format.narrows, 1)
                            if each in flag:
                                seed = command_field(command, each, "seed")
                                refused |= command_field(command, each, flag[each]) & (seed == 0)
                            with m.If(refused):
                                m.d.comb += raise_fault(command_fault, ErrorCode.COMMAND_RANGE)
                            with m.Else():
                                m.next = each.name
                    if not config.structure.unstructured:
                        with m.Case(Opcode.PRUNE, Opcode.SURVEY, Opcode.MERGE):
                            m.d.comb += raise_fault(command_fault, ErrorCode.COMMAND_RANGE)
                    with m.Default():
                        m.d.comb += raise_fault(command_fault, ErrorCode.ILLEGAL_COMMAND)
            for each, engine in engines.items():
                with m.State(each.name):
                    m.d.comb += [engine.i.valid.eq(1), busy[each].eq(1)]
                    with m.If(engine.i.ready):
                        m.d.comb += receiver.o.ready.eq(1)
                        m.next = f"{each.name}_RUN"
                with m.State(f"{each.name}_RUN"):
                    m.d.comb += [
                        busy[each].eq(1),
                        report.done.valid.eq(engine.done.valid),
                        report.done.payload.eq(engine.done.payload),
                        engine.done.ready.eq(report.done.ready),
                    ]
                    with m.If(engine.done.valid & engine.done.ready):
                        m.next = "IDLE"
            with m.State("STOPPED"):
                pass

        updated = Signal(32)
        with m.If(update.i.valid & update.i.ready):
            m.d.sync += updated.eq(update.i.p.count)
        amounts = {
            StructureCounter.UPDATED: Mux(update.done.valid & update.done.ready, updated, 0),
            StructureCounter.UPDATE_CYCLES: busy[Opcode.UPDATE],
            StructureCounter.REWIRED: Mux(rewire.done.valid & rewire.done.ready, rewire.changed, 0),
            StructureCounter.REWIRE_CYCLES: busy[Opcode.REWIRE],
        }
        if prune is not None and merge is not None:
            amounts |= {
                StructureCounter.PRUNED: Mux(prune.done.valid & prune.done.ready, prune.changed, 0),
                StructureCounter.PRUNE_CYCLES: busy[Opcode.PRUNE],
                StructureCounter.MERGED: Mux(merge.done.valid & merge.done.ready, merge.changed, 0),
                StructureCounter.MERGE_CYCLES: busy[Opcode.SURVEY] | busy[Opcode.MERGE],
            }
        self._count(m, amounts)
        return m

    def _set_parameters(self, m, command, update, rewire, prune, merge):
        def of(opcode, name):
            return command_field(command, opcode, name)

        same = ("gradient", "master", "momentum", "learning_rate", "momentum_factor", "stochastic", "seed", "semaphore")
        m.d.comb += [
            *(update.i.p[name].eq(of(Opcode.UPDATE, name)) for name in same),
            update.i.p.weights.eq(of(Opcode.UPDATE, "values")),
            update.i.p.count.eq(of(Opcode.UPDATE, "entries")),
            *(rewire.i.p[name].eq(of(Opcode.REWIRE, name)) for name, _ in rewire_job_layout),
        ]
        if prune is None or merge is None:
            return
        m.d.comb += [
            *(prune.i.p[name].eq(of(Opcode.PRUNE, name)) for name, _ in prune_job_layout),
            merge.i.p.merge.eq(command[0][:8] == Opcode.MERGE),
            merge.i.p.grow.eq(of(Opcode.SURVEY, "grow")),
            *(
                merge.i.p[name].eq(of(Opcode.MERGE, name))
                for name, _ in merge_job_layout
                if name not in ("merge", "grow")
            ),
        ]

    def _share_port(self, m, at_work, engines):
        for own, name in ((self.read, "read"), (self.write, "write")):
            for member, flow in own.signature.members.items():
                outer = getattr(own, member)
                for number, engine in enumerate(engines):
                    inner = getattr(getattr(engine, name), member)
                    if flow.flow == Out:
                        with m.If(at_work == number):
                            m.d.comb += outer.eq(inner)
                    elif member in ("arready", "rvalid", "awready", "wready", "bvalid"):
                        m.d.comb += inner.eq(outer & (at_work == number))
                    else:
                        m.d.comb += inner.eq(outer)

    def _count(self, m, amounts):
        select = self.counters.select
        m.d.sync += self.counters.value.eq(0)
        for counter, amount in amounts.items():
            value = Signal(32, name=f"{counter.name.lower()}_counter")
            with m.If(self.counters.clear):
                m.d.sync += value.eq(0)
            with m.Elif(self.counters.enable):
                m.d.sync += value.eq(value + amount)
            with m.If((select.y == 0) & (select.x == 0) & (select.index == counter)):
                m.d.sync += self.counters.value.eq(value)
