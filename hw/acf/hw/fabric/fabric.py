"""The fabric: mesh, compute tiles, feeders, command processor and memory port, joined."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import FabricConfig
from acf.hw.fabric.command_processor import CommandProcessor, paced_masters, port_id_width
from acf.hw.fabric.registers import WINDOWS
from acf.hw.hierarchy import ModuleLibrary, place
from acf.hw.mem.axi import axi_lite_signature, axi_signature
from acf.hw.mem.column_feeder import ColumnFeeder
from acf.hw.mem.guard import AxiGuard
from acf.hw.mem.interconnect import ReadInterconnect, WriteInterconnect
from acf.hw.mem.row_feeder import RowFeeder
from acf.hw.noc.mesh import Mesh
from acf.hw.pe.tile import Tile
from acf.hw.structure.structure_engine import StructureEngine
from acf.isa import TrafficClass

__all__ = ["Fabric"]


class Fabric(wiring.Component):
    """``rows x cols`` compute tiles with everything they need between a host and a memory.

    Node (0, 0) of the mesh is the command processor, with the structure engine beside it, the rest of row 0 the column
    feeders, the rest of column 0 the row feeders, all others are compute tiles. An error or an abort resets every node
    but the command processor, once the guard has brought the memory port to rest.

    Parameters
    ----------
    config : FabricConfig
    library : ModuleLibrary or None
        Takes the modules of the blocks, so that equal blocks share one; None makes plain submodules.

    Members
    -------
    m_axi : Out(axi_signature)
        The memory port.
    s_axil : In(axi_lite_signature)
        The host registers, see ``acf.isa.Register``.
    interrupt : Out(1)
        High while an enabled interrupt is pending.
    """

    def __init__(self, *, config: FabricConfig, library: ModuleLibrary | None = None):
        self._config = config
        self._library = library
        super().__init__(
            {
                "m_axi": Out(axi_signature(memory=config.memory, id_width=port_id_width(config))),
                "s_axil": In(axi_lite_signature()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        rows, cols = config.rows, config.cols

        cp = CommandProcessor(config=config)
        place(m, "command_processor", cp, library=self._library, key=(config,))
        reset = cp.fabric_reset

        def add(name, component, *key):
            place(m, name, component, library=self._library, key=key, reset=reset)
            return component

        mesh = add(
            "mesh",
            Mesh(height=rows + 1, width=cols + 1, noc=config.noc, library=self._library),
            rows + 1,
            cols + 1,
            config.noc,
        )
        column_feeders = [add(f"column_feeder_{c}", ColumnFeeder(config=config), config) for c in range(cols)]
        row_feeders = [add(f"row_feeder_{r}", RowFeeder(config=config), config) for r in range(rows)]
        tiles = {
            (r, c): add(f"tile_{r}_{c}", Tile(config=config, library=self._library), config)
            for r in range(rows)
            for c in range(cols)
        }
        structure = add("structure_engine", StructureEngine(config=config), config)
        connect(m, cp.structure_o, structure.control_i)
        connect(m, structure.control_o, cp.structure_i)
        nodes = {(0, 0): cp}
        nodes |= {(0, c + 1): feeder for c, feeder in enumerate(column_feeders)}
        nodes |= {(r + 1, 0): feeder for r, feeder in enumerate(row_feeders)}
        nodes |= {(r + 1, c + 1): tile for (r, c), tile in tiles.items()}

        self._connect_host(m, cp)
        self._connect_network(m, mesh, nodes)
        self._connect_memory(m, cp, [cp, *column_feeders, *row_feeders, structure], [*row_feeders, structure], add)
        self._connect_counters(m, cp, [*nodes.values(), structure])
        return m

    def _connect_host(self, m, cp):
        connect(m, flipped(self.s_axil), cp.s_axil)
        m.d.comb += self.interrupt.eq(cp.interrupt)

    def _connect_network(self, m, mesh, nodes):
        # What each kind of node sends and takes; the network never delivers a class to a node that lacks its port.
        ports = {
            CommandProcessor: {"control": ("control_o", "control_i")},
            ColumnFeeder: {"control": ("control_o", "control_i"), "operands": ("operands_o", None)},
            RowFeeder: {
                "control": ("control_o", "control_i"),
                "entries": ("entries_o", None),
                "results": (None, "results_i"),
            },
            Tile: {
                "control": ("control", None),
                "entries": (None, "entries"),
                "operands": (None, "operands"),
                "results": ("results", "results_i"),
            },
        }
        for (y, x), node in nodes.items():
            if not isinstance(node, CommandProcessor):
                m.d.comb += [node.y.eq(y), node.x.eq(x)]
            for traffic_class in TrafficClass:
                name = traffic_class.name.lower()
                source, sink = ports[type(node)].get(name, (None, None))
                into, out_of = getattr(mesh, f"{name}_i")[y][x], getattr(mesh, f"{name}_o")[y][x]
                if source is not None:
                    sent = getattr(node, source)
                    m.d.comb += [into.payload.eq(sent.payload), into.valid.eq(sent.valid), sent.ready.eq(into.ready)]
                if sink is not None:
                    taken = getattr(node, sink)
                    m.d.comb += [
                        taken.payload.eq(out_of.payload),
                        taken.valid.eq(out_of.valid),
                        out_of.ready.eq(taken.ready),
                    ]
                else:
                    m.d.comb += out_of.ready.eq(1)

    def _connect_memory(self, m, cp, readers, writers, add):
        memory = self._config.memory
        id_width = port_id_width(self._config)
        reads = add(
            "read_interconnect",
            ReadInterconnect(memory=memory, masters=len(readers), paced=paced_masters(self._config)),
            memory,
            len(readers),
        )
        writes = add(
            "write_interconnect",
            WriteInterconnect(memory=memory, masters=len(writers)),
            memory,
            len(writers),
        )
        guard = AxiGuard(memory=memory, id_width=id_width, windows=WINDOWS)
        place(m, "guard", guard, library=self._library, key=(memory, id_width, WINDOWS))

        for n, reader in enumerate(readers):
            connect(m, reader.read, reads.masters[n])
        for n, writer in enumerate(writers):
            connect(m, writer.write, writes.masters[n])
        # IDs of the narrower interconnect are extended by zeros.
        for port in (reads.port, writes.port):
            for name, member in port.signature.members.items():
                outer, inner = getattr(guard.inside, name), getattr(port, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        connect(m, guard.m_axi, flipped(self.m_axi))
        m.d.comb += [
            *(guard.windows[n].eq(cp.windows[n]) for n in range(WINDOWS)),
            guard.quiesce.eq(cp.quiesce),
            cp.quiet.eq(guard.quiet),
            cp.idle.eq(guard.idle),
            cp.violation.eq(guard.violation),
            cp.traffic.eq(guard.traffic),
        ]

    def _connect_counters(self, m, cp, nodes):
        # One register stage each way: every node sees the same window, one cycle late.
        bus = Signal.like(Cat(cp.counters.enable, cp.counters.clear, cp.counters.select))
        m.d.sync += bus.eq(Cat(cp.counters.enable, cp.counters.clear, cp.counters.select))
        others = [node for node in nodes if not isinstance(node, CommandProcessor)]
        joined = Signal(32)
        total = 0
        for node in others:
            target = node.counters
            m.d.comb += Cat(target.enable, target.clear, target.select).eq(bus)
            total = total | target.value
        m.d.sync += joined.eq(total)
        m.d.comb += cp.counters.value.eq(joined)
