"""A Verilated network alone in this process, with its sources and sinks, behind ctypes.

The cycle loop, the traffic and the checks of what comes are in ``noc_harness.cpp``; this module holds what is measured.
"""

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acf.config import NetworkConfig
from acf.sim.build import build_library, load_library

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
            "watchdog",
        )
    )  # fmt: skip


_COUNTS = (
    "cycles", "flits_created", "created", "delivered", "measured", "measured_delivered", "flits_injected",
    "flits_ejected", "source_stalls", "packet_cycles", "latency_sum", "out_of_order", "longest_silence",
)  # fmt: skip


class _Counts(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in _COUNTS)


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
    latencies : ndarray of uint64
        Cycles from creation to the arrival of the tail, of measured packets, in the order in which they came.
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
    latencies: np.ndarray


_HANDLE = ctypes.c_void_p
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
    "noc_latencies": (ctypes.c_uint64, [_HANDLE, _NUMBERS, ctypes.c_uint64]),
}


class NetworkHarness:
    """A network, reset and empty.

    Parameters
    ----------
    network : NetworkConfig
        What the Verilog was generated with.
    verilog : str
        Text of ``acf.hw.noc.packet_network.PacketNetwork``.
    top : str
        Name of its top module.
    ordered : bool
        Packets of a flow, from one node to another, must come in order; it is an error if they do not.
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
        self._ordered = ordered
        nodes = " ".join(f"NODE({y}, {x})" for y in range(network.height) for x in range(network.width))
        once = (_NODE,) if network.nodes * network.virtual_channels > _FLAT_BUFFERS else ()
        library = build_library(
            verilog,
            top=top,
            harness=HARNESS,
            headers={"nodes.h": f"#define ACF_NODES(NODE) {nodes}\n"},
            compiled_once=once,
            quiet=quiet,
        )
        self._library = load_library(library, _FUNCTIONS)
        self._handle = _HANDLE(self._library.noc_open())
        self._finalizer = weakref.finalize(self, self._library.noc_close, self._handle)

    def close(self) -> None:
        """End the simulation."""
        self._finalizer()

    def __enter__(self) -> "NetworkHarness":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

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
        destinations : ndarray of float64, (nodes, nodes)
            Probability of each destination, by source; the sum of a row is 1, or 0 for a node that sends nothing.
        load : float
            Flits that a sending node creates in a cycle, on average: in each cycle it creates a packet with the
            probability ``load / (mean flits of a packet)``, independent of all others.
        flits : int
            Of every packet, or of the longest.
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
            watchdog=watchdog,
        )
        sums = self._destination_sums(destinations)
        self._library.noc_begin(self._handle, ctypes.byref(options), sums.ctypes.data_as(_NUMBERS))
        while (status := self._library.noc_advance(self._handle, _SLICE_SECONDS)) == _RUNNING:
            if progress is not None:
                progress(self._counts().cycles)
        self._check()
        return self._collect(drained=status == _DONE)

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
        nodes = self.network.nodes
        if destinations.shape != (nodes, nodes):
            raise ValueError(f"destinations must have the shape {(nodes, nodes)}, not {destinations.shape}")
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
        latencies = np.empty(counts.measured_delivered, dtype=np.uint64)
        self._library.noc_latencies(self._handle, latencies.ctypes.data_as(_NUMBERS), latencies.size)
        values = {name: int(getattr(counts, name)) for name in _COUNTS}
        return RunStatistics(drained=drained, latencies=latencies, **values)

    def _check(self) -> None:
        message = self._library.noc_message(self._handle).decode()
        if message:
            raise NetworkError(f"the network broke its promise in {message}")
