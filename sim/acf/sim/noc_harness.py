"""A Verilated network alone in this process, with its sources and sinks, behind ctypes.

The cycle loop, the traffic and the checks of what comes are in ``noc_harness.cpp``; this module holds what is measured.
"""

import ctypes
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acf.config import TABLE, TRAFFIC_CLASSES, ClassPolicy, NetworkConfig
from acf.runtime.multicast_groups import GroupTables
from acf.sim.build import build_library, load_library
from acf.sim.noc_counters import PORTS, PortCounters, counting_errors

__all__ = ["LARGEST_PACKET", "NetworkError", "NetworkHarness", "Phases", "RunStatistics"]

LARGEST_PACKET = 64
"""Flits of a packet, at most."""

HARNESS = Path(__file__).with_name("noc_harness.cpp")

_NODE = "acf_packet_node"  # the module of which there is one in every place
_FLAT_BUFFERS = 32  # virtual channels x nodes; of a larger mesh the node is compiled once

_ONE = 1 << 32  # probability 1
_SLICE_SECONDS = 0.25  # Ctrl-C is served between slices
_RUNNING, _DONE, _DRAIN_LIMIT, _FAULT = range(4)


class NetworkError(RuntimeError):
    """The network lost, doubled, changed or misdelivered a flit; the message names the cycle and the packet."""


class _Options(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "probability", "stall", "gap", "shortest", "longest", "seed", "warm_up", "measure", "drain", "ordered",
            "classes", "watchdog",
        )
    )  # fmt: skip


_COUNTS = (
    "cycles", "flits_created", "created", "delivered", "measured", "measured_delivered", "flits_injected",
    "flits_ejected", "source_stalls", "packet_cycles", "latency_sum", "out_of_order", "longest_silence", "finished",
)  # fmt: skip


_OF_CLASSES = ctypes.c_uint64 * TRAFFIC_CLASSES


class _Counts(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in _COUNTS),
        ("delivered_of", _OF_CLASSES),
        ("latency_of", _OF_CLASSES),
        ("finished_of", _OF_CLASSES),
    )


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Cycles of the phases of a run.

    Parameters
    ----------
    warm_up : int
        Before packets count.
    measure : int
        In which packets are created that count.
    drain : int
        At most, until all of these have come; traffic goes on.

    Raises
    ------
    ValueError
        If one is negative, or nothing is measured.
    """

    warm_up: int = 2000
    measure: int = 10_000
    drain: int = 10_000

    def __post_init__(self) -> None:
        for what, cycles, least in (
            ("warm-up", self.warm_up, 0),
            ("measuring", self.measure, 1),
            ("drain", self.drain, 0),
        ):
            if not least <= cycles <= 10**9:
                raise ValueError(f"cycles of the {what} phase must be from {least} to 1000000000, not {cycles}")


@dataclass(frozen=True, kw_only=True)
class RunStatistics:
    """What one run with one load came to; packets and flits of all nodes together.

    Members
    -------
    drained : bool
        Whether all packets created in the measuring phase came before the end.
    cycles : int
    flits_created : int
        Of the whole run, as all counts that say nothing else.
    created, delivered : int
        Packets of the whole run.
    measured, measured_delivered : int
        Those created in the measuring phase, and those of them that came.
    flits_injected, flits_ejected : int
        In the measuring phase, into and out of the network.
    source_stalls : int
        Cycles x nodes of the measuring phase in which a source offered a flit in vain.
    packet_cycles : int
        Packets created and not yet delivered, summed over all cycles.
    latency_sum : int
        Of all packets delivered, in cycles.
    out_of_order : int
        Packets that came behind a later one of their flow.
    longest_silence : int
        Cycles in a row in which no flit went into or out of the network while packets were on their way.
    finished : int
        Cycles until the last packet had come.
    delivered_of, latency_of, finished_of : tuple of int
        By traffic class: measured packets that came, the sum of their latencies, and cycles until the last of all
        packets had come.
    latencies : ndarray of uint64
        Cycles from creation to the arrival of the tail, of measured packets, in the order in which they came; at the
        last member of a packet for a group.
    member_latencies : ndarray of uint64
        The same of measured packets for groups, at each of their members.
    """

    drained: bool
    cycles: int
    flits_created: int
    created: int
    delivered: int
    measured: int
    measured_delivered: int
    flits_injected: int
    flits_ejected: int
    source_stalls: int
    packet_cycles: int
    latency_sum: int
    out_of_order: int
    longest_silence: int
    finished: int
    delivered_of: tuple[int, ...]
    latency_of: tuple[int, ...]
    finished_of: tuple[int, ...]
    latencies: np.ndarray
    member_latencies: np.ndarray


_HANDLE = ctypes.c_void_p
_UNSIGNED = ctypes.c_uint
_NUMBERS = ctypes.POINTER(ctypes.c_uint64)
_FUNCTIONS = {
    "noc_open": (_HANDLE, []),
    "noc_close": (None, [_HANDLE]),
    "noc_begin": (None, [_HANDLE, ctypes.POINTER(_Options), _NUMBERS]),
    "noc_advance": (ctypes.c_int, [_HANDLE, ctypes.c_double]),
    "noc_flush": (ctypes.c_int, [_HANDLE, ctypes.c_uint64]),
    "noc_alone": (ctypes.c_int64, [_HANDLE, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64]),
    "noc_message": (ctypes.c_char_p, [_HANDLE]),
    "noc_nodes": (ctypes.c_uint64, [_HANDLE]),
    "noc_statistics": (None, [_HANDLE, ctypes.POINTER(_Counts)]),
    "noc_policy": (ctypes.c_int, [_HANDLE, *[_UNSIGNED] * 3, ctypes.c_int]),
    "noc_table": (ctypes.c_int, [_HANDLE, *[_UNSIGNED] * 5]),
    "noc_counters": (ctypes.c_int, [_HANDLE, *[_UNSIGNED] * 4, _NUMBERS]),
    "noc_fork": (ctypes.c_int, [_HANDLE, *[_UNSIGNED] * 4]),
    "noc_members": (None, [_HANDLE, _UNSIGNED, ctypes.c_char_p]),
    "noc_queue": (None, [_HANDLE, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint32)]),
    "noc_sent_to": (ctypes.c_uint64, [_HANDLE, _UNSIGNED, _UNSIGNED]),
    "noc_injected": (ctypes.c_uint64, [_HANDLE, _UNSIGNED, _UNSIGNED]),
    "noc_ejected": (ctypes.c_uint64, [_HANDLE, _UNSIGNED, _UNSIGNED]),
    "noc_latencies": (ctypes.c_uint64, [_HANDLE, _NUMBERS, ctypes.c_uint64]),
    "noc_member_latencies": (ctypes.c_uint64, [_HANDLE, _NUMBERS, ctypes.c_uint64]),
}


class NetworkHarness:
    """A network, reset and empty. One by class begins with ``network.default_policies``, and with no table written.

    Parameters
    ----------
    network : NetworkConfig
        What the Verilog was generated with.
    verilog : str
        Text of ``acf.hw.noc.packet_network.PacketNetwork``.
    top : str
        Name of its top module.
    ordered : bool
        Packets of a flow, from one node to another, must come in order; it is an error if they do not. In a network by
        class those of classes must whose policy keeps the order.
    quiet : bool
        No progress on standard error while the simulator is built.

    Raises
    ------
    acf.sim.build.BuildError
        If the simulator does not build.
    """

    def __init__(
        self,
        network: NetworkConfig,
        *,
        verilog: str,
        top: str = "acf_noc_top",
        ordered: bool = True,
        quiet: bool = False,
    ):
        self.network = network
        self._ordered = (1 << TRAFFIC_CLASSES) - 1 if ordered else 0
        self._classes = (1 << TRAFFIC_CLASSES) - 1 if network.by_class or network.statistics else 1
        nodes = " ".join(f"NODE({y}, {x})" for y in range(network.height) for x in range(network.width))
        once = (_NODE,) if network.nodes * network.noc.virtual_channels > _FLAT_BUFFERS else ()
        has = {
            "ACF_BY_CLASS": network.by_class,
            "ACF_FUNCTIONS": network.by_class and len(network.functions) > 1,
            "ACF_TABLES": TABLE in network.functions,
            "ACF_COUNTERS": network.statistics,
        }
        defined = "".join(f"#define {name}\n" for name, is_there in has.items() if is_there)
        if network.groups:
            defined += f"#define ACF_GROUPS {network.groups}\n#define ACF_GROUP_FLITS {network.group_flits}\n"
        library = build_library(
            verilog,
            top=top,
            harness=HARNESS,
            headers={"nodes.h": f"#define ACF_NODES(NODE) {nodes}\n{defined}"},
            compiled_once=once,
            quiet=quiet,
        )
        self._library = load_library(library, _FUNCTIONS)
        self._handle = _HANDLE(self._library.noc_open())
        self._finalizer = weakref.finalize(self, self._library.noc_close, self._handle)

        self._groups: GroupTables | None = None
        if network.by_class:
            self.set_policies(network.default_policies)

    def close(self) -> None:
        """End the simulation."""
        self._finalizer()

    def __enter__(self) -> "NetworkHarness":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def set_policies(self, policies: Sequence[ClassPolicy]) -> None:
        """Say how classes are treated from now on. The network must be empty.

        Raises
        ------
        ValueError
            If packets could wait for ever, see ``NetworkConfig.check_policies``.
        """
        self.network.check_policies(policies)
        self._ordered = 0
        for n, policy in enumerate(policies):
            number = self.network.functions.index(policy.function)
            channels = sum(1 << channel for channel in policy.channels)
            self._library.noc_policy(self._handle, n, number, channels, policy.is_urgent)
            self._ordered |= self.network.keeps_order(policy) << n

    def set_tables(self, tables: np.ndarray) -> None:
        """Write the routing tables. The network must be empty.

        Parameters
        ----------
        tables : ndarray of int, (height, width, height, width)
            By router and destination the number of a port. ``acf.hw.blocks.check_routing_tables`` proves them.

        Raises
        ------
        ValueError
            If the network has no tables.
        """
        for (y, x, to_y, to_x), port in np.ndenumerate(tables):
            if not self._library.noc_table(self._handle, y, x, to_y, to_x, int(port)):
                raise ValueError(f"a network with routing {self.network.routing!r} has no tables")

    def set_groups(self, tables: GroupTables) -> None:
        """Write the tables of groups. The network must be empty.

        Parameters
        ----------
        tables : GroupTables
            ``acf.hw.blocks.check_groups`` proves them.

        Raises
        ------
        ValueError
            If the network has no groups, or the tables are those of another one.
        """
        if tables.network != self.network:
            raise ValueError(f"groups must be those of {self.network.name}, not of {tables.network.name}")
        for (y, x, group), fork in np.ndenumerate(tables.forks):
            self._library.noc_fork(self._handle, y, x, group, int(fork))
        for number in range(self.network.groups):
            is_member = np.zeros((self.network.height, self.network.width), dtype=np.uint8)
            if number in tables.groups:
                is_member[tuple(np.transpose(tables.groups[number].members))] = 1
            self._library.noc_members(self._handle, number, is_member.tobytes())
        self._groups = tables

    def counters(self) -> list[PortCounters]:
        """What all inputs of all routers have counted since the run began, by class; those without a flit are left out.

        The network must be empty.

        Raises
        ------
        ValueError
            If the network has no statistics.
        NetworkError
            If they are not those of the flits that were sent.
        """
        if not self.network.statistics:
            raise ValueError(f"a network without statistics has no counters: {self.network.name}")
        found = []
        numbers = (ctypes.c_uint64 * 3)()
        places = [divmod(n, self.network.width) for n in range(self.network.nodes)]
        for (y, x), (number, port), n in itertools.product(places, enumerate(PORTS), range(TRAFFIC_CLASSES)):
            self._library.noc_counters(self._handle, y, x, number, n, numbers)
            if any(numbers):
                flits, stalls, occupancy = numbers
                found.append(
                    PortCounters(
                        node=(y, x), port=port, traffic_class=n, flits=flits, stalls=stalls, occupancy=occupancy
                    )
                )
        if errors := counting_errors(self.network, found, self._flits_of, self._forked()):
            raise NetworkError(f"the network counts wrong: {errors[0]}")
        return found

    def copies(self) -> tuple[int, int]:
        """Flits that went into the network since the run began, and flits that nodes took from it.

        The network must be empty.

        Raises
        ------
        NetworkError
            If a flit went in more than once or not at all, or not every member of its group took it once.
        """
        found = [
            self._flits_of(node, n) for node, n in itertools.product(range(self.network.nodes), range(TRAFFIC_CLASSES))
        ]
        entered, taken = (sum(counts) for counts in zip(*found, strict=True))
        created = self._counts().flits_created
        groups = {} if self._groups is None else self._groups.groups
        more = sum(
            self._library.noc_sent_to(self._handle, number, n) * (len(group.members) - 1)
            for (number, group), n in itertools.product(groups.items(), range(TRAFFIC_CLASSES))
        )
        if (entered, taken) != (created, created + more):
            raise NetworkError(
                f"of {created} flits for {created + more} receivers {entered} went into the network "
                f"and {taken} came out"
            )
        return entered, taken

    def _forked(self) -> np.ndarray:
        """Flits that left a router more often than they came to it, by row, column and class."""
        more = np.zeros((self.network.height, self.network.width, TRAFFIC_CLASSES), dtype=np.int64)
        tables = self._groups
        if tables is None:
            return more
        for number in tables.groups:
            copies = tables.copies(number)
            for n in range(TRAFFIC_CLASSES):
                sent = self._library.noc_sent_to(self._handle, number, n)
                more[:, :, n] += sent * np.where(copies, copies - 1, 0)
        return more

    def _flits_of(self, node: int, traffic_class: int) -> tuple[int, int]:
        """Flits of a class that a node has sent and taken since the run began."""
        return (
            self._library.noc_injected(self._handle, node, traffic_class),
            self._library.noc_ejected(self._handle, node, traffic_class),
        )

    def alone(self, source: int, to: int, *, flits: int, max_cycles: int = 10_000) -> int:
        """Latency in cycles of one packet in the empty network; nodes are numbered row by row.

        Raises
        ------
        NetworkError
            If it does not come in ``max_cycles`` cycles, or not as it was sent.
        """
        latency = self._library.noc_alone(self._handle, source, to, flits, max_cycles)
        self._check()
        if latency < 0:
            raise NetworkError(f"a packet alone from node {source} to {to} has not come after {max_cycles} cycles")
        return latency

    def run(
        self,
        destinations: np.ndarray,
        *,
        load: float,
        flits: int,
        seed: int,
        phases: Phases,
        shortest: int | None = None,
        stall: float = 0.0,
        gap: float = 0.0,
        watchdog: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> RunStatistics:
        """Reset the network and run it with random traffic.

        Parameters
        ----------
        destinations : ndarray of float64, (nodes, nodes) or (nodes, nodes + groups)
            Probability of each destination, and of each group, by source; the sum of a row is 1, or 0 for a node that
            sends nothing. Only its source sends to a group.
        load : float
            Flits that a sending node creates in a cycle, on average: in each cycle it creates a packet with the
            probability ``load / (mean flits of a packet)``, independent of all others.
        flits : int
            Of every packet, or of the longest; packets for groups are no longer than ``network.group_flits``.
        seed : int
            Of all random numbers.
        phases : Phases
        shortest : int or None
            Flits of the shortest packet, if they are not all of the same length; each length is as likely.
        stall : float
            Probability that a sink does not take a flit in a cycle.
        gap : float
            Probability that a source does not offer the next flit in a cycle, also amid a packet.
        watchdog : int
            It is an error if packets are on their way and nothing moves for more cycles than so many; 0 allows it.
            Holds for ``flush``, too.
        progress : callable or None
            Called a few times per second with the cycles run so far.

        Raises
        ------
        ValueError
            If an argument is out of its range.
        NetworkError
            If a flit does not come as it was sent.
        """
        shortest = flits if shortest is None else shortest
        if not 1 <= shortest <= flits <= LARGEST_PACKET:
            raise ValueError(f"flits of a packet must be from 1 to {LARGEST_PACKET}, not {shortest} to {flits}")
        if not 0 <= load <= 1:
            raise ValueError(f"offered load must be from 0 to 1 flit per node per cycle, not {load}")
        if not 0 <= seed < 1 << 63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
        for what, probability in ("stall", stall), ("gap", gap):
            if not 0 <= probability < 1:
                raise ValueError(f"probability of a {what} must be from 0 to less than 1, not {probability}")
        options = _Options(
            probability=round(load / ((shortest + flits) / 2) * _ONE),
            stall=round(stall * _ONE),
            gap=round(gap * _ONE),
            shortest=shortest,
            longest=flits,
            seed=seed,
            warm_up=phases.warm_up,
            measure=phases.measure,
            drain=phases.drain,
            ordered=self._ordered,
            classes=self._classes,
            watchdog=watchdog,
        )
        sums = self._destination_sums(destinations)
        self._library.noc_begin(self._handle, ctypes.byref(options), sums.ctypes.data_as(_NUMBERS))
        while (status := self._library.noc_advance(self._handle, _SLICE_SECONDS)) == _RUNNING:
            if progress is not None:
                progress(self._counts().cycles)
        self._check()
        return self._collect(drained=status == _DONE)

    def deliver(self, packets: np.ndarray, *, watchdog: int = 0, max_cycles: int = 10_000_000) -> RunStatistics:
        """Reset the network and run it until packets have come that wait at their sources from the beginning.

        The latency of a packet counts from the cycle in which the one before it has left their source.

        Parameters
        ----------
        packets : ndarray of uint32, (packets, 4)
            Source, destination, flits and traffic class of each; those of a source leave it in their order. Groups
            stand behind the nodes: group ``n`` is destination ``nodes + n``.
        watchdog, max_cycles : int
            As of ``run`` and ``flush``.

        Raises
        ------
        ValueError
            If a packet has no such source, destination, length or class, or another node sends to a group than its
            source.
        NetworkError
            If a flit does not come as it was sent, or not in time.
        """
        nodes = self.network.nodes
        packets = np.ascontiguousarray(packets, dtype=np.uint32).reshape(-1, 4)
        sources, to, flits, classes = packets.T
        most = np.where(to < nodes, LARGEST_PACKET, self.network.group_flits)
        for what, is_wrong in (
            ("a node as its source", sources >= nodes),
            ("a node or a group as its destination", to >= nodes + self.network.groups),
            (
                f"from 1 to {LARGEST_PACKET} flits, or for a group {self.network.group_flits}",
                (flits < 1) | (flits > most),
            ),
            (f"a class from 0 to {TRAFFIC_CLASSES - 1}", classes >= TRAFFIC_CLASSES),
        ):
            if is_wrong.any():
                raise ValueError(f"a packet must have {what}, not be {packets[is_wrong][0].tolist()}")
        for source, group in np.unique(packets[to >= nodes, :2], axis=0):
            self._check_source(int(source), int(group) - nodes)
        options = _Options(shortest=1, longest=1, classes=1, ordered=self._ordered, watchdog=watchdog)
        self._library.noc_begin(self._handle, ctypes.byref(options), None)
        self._library.noc_queue(self._handle, len(packets), packets.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32)))
        return self.flush(max_cycles=max_cycles)

    def _check_source(self, source: int, group: int) -> None:
        groups = {} if self._groups is None else self._groups.groups
        if group not in groups:
            raise ValueError(f"no table has been written for group {group}")
        place = divmod(source, self.network.width)
        if groups[group].source != place:
            raise ValueError(f"only {groups[group].source} sends to group {group}, not {place}")

    def flush(self, *, max_cycles: int = 1_000_000) -> RunStatistics:
        """Create nothing more and run until the network and all sources are empty.

        Raises
        ------
        NetworkError
            If that takes more than ``max_cycles`` cycles, or a flit does not come as it was sent.
        """
        status = self._library.noc_flush(self._handle, max_cycles)
        self._check()
        counts = self._counts()
        if status != _DONE:
            left = counts.created - counts.delivered
            raise NetworkError(f"{left} packets have not come after {max_cycles} cycles without new ones")
        return self._collect(drained=True)

    def _destination_sums(self, destinations: np.ndarray) -> np.ndarray:
        nodes, groups = self.network.nodes, self.network.groups
        if destinations.shape == (nodes, nodes):
            destinations = np.pad(destinations, ((0, 0), (0, groups)))
        if destinations.shape != (nodes, nodes + groups):
            raise ValueError(f"destinations must have the shape {(nodes, nodes)}, not {destinations.shape}")
        for source, group in np.argwhere(destinations[:, nodes:]):
            self._check_source(int(source), int(group))
        sums = np.rint(np.cumsum(destinations, axis=1) * _ONE).astype(np.uint64)
        if not np.isin(sums[:, -1], (0, _ONE)).all():
            raise ValueError("probabilities of the destinations of a node must have the sum 1 or 0")
        return np.ascontiguousarray(sums)

    def _counts(self) -> _Counts:
        counts = _Counts()
        self._library.noc_statistics(self._handle, ctypes.byref(counts))
        return counts

    def _collect(self, *, drained: bool) -> RunStatistics:
        counts = self._counts()
        latencies, member_latencies = (
            self._read_latencies(read) for read in (self._library.noc_latencies, self._library.noc_member_latencies)
        )
        values = {name: int(getattr(counts, name)) for name in _COUNTS}
        return RunStatistics(
            drained=drained,
            latencies=latencies,
            member_latencies=member_latencies,
            delivered_of=tuple(counts.delivered_of),
            latency_of=tuple(counts.latency_of),
            finished_of=tuple(counts.finished_of),
            **values,
        )

    def _read_latencies(self, read: Callable[..., int]) -> np.ndarray:
        found = np.empty(read(self._handle, None, 0), dtype=np.uint64)
        read(self._handle, found.ctypes.data_as(_NUMBERS), found.size)
        return found

    def _check(self) -> None:
        message = self._library.noc_message(self._handle).decode()
        if message:
            raise NetworkError(f"the network broke its promise in {message}")
