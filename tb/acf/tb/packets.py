"""Packets, and the books on who must get which: shared by the benches of the network."""

import json
import os
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from acf.config import NocConfig
from acf.hw.noc.flit import HEADER, flit_layout
from acf.isa import Cast, TrafficClass
from acf.tb.runner import bench_config
from acf.tb.stream import pack

__all__ = ["Packet", "Scoreboard", "bench_noc", "golden_receivers", "noc_environment"]

_NOC_VARIABLE = "ACF_BENCH_NOC"


def noc_environment(noc: NocConfig) -> dict[str, str]:
    """Environment that tells a bench of network parameters outside the presets."""
    return {_NOC_VARIABLE: json.dumps(vars(noc))}


def bench_noc() -> NocConfig:
    """Network parameters that the running bench was built with."""
    if _NOC_VARIABLE not in os.environ:
        return bench_config().noc
    parameters = json.loads(os.environ[_NOC_VARIABLE])
    return NocConfig(**{**parameters, "class_channels": tuple(parameters["class_channels"])})


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A packet whose flits say where they come from.

    Parameters
    ----------
    source : int
        8 bits that tell senders apart.
    number : int
        Number among the packets of all senders.
    to : (int, int)
        Destination, y and x.
    traffic_class : TrafficClass
    cast : Cast
    length : int
        Flits.
    """

    source: int
    number: int
    to: tuple[int, int]
    traffic_class: TrafficClass
    cast: Cast = Cast.UNICAST
    length: int = 1

    def flits(self) -> list[int]:
        """The flits as packed words."""
        layout = flit_layout(noc=NocConfig())
        header = pack(
            HEADER,
            x=self.to[1],
            y=self.to[0],
            cast=self.cast,
            traffic_class=self.traffic_class,
            kind=self.number % 16,
        )
        words = []
        for n in range(self.length):
            # Bodies carry noise where heads carry the header: nobody may take them for heads.
            low = header if n == 0 else (self.number * 40503 + n * 10007) & 0xFFFF
            payload = low | self.source << 16 | self.number << 24 | n << 48
            words.append(pack(layout, payload=payload, head=n == 0, tail=n == self.length - 1))
        return words


def golden_receivers(source: tuple[int, int], to: tuple[int, int], cast: Cast) -> list[tuple[int, int]]:
    """Who gets a copy: along the row to the east, along the column to the south, else the destination alone."""
    if cast == Cast.ROW and source[0] == to[0] and source[1] < to[1]:
        return [(to[0], x) for x in range(source[1] + 1, to[1] + 1)]
    if cast == Cast.COLUMN and source[0] < to[0]:
        return [(y, to[1]) for y in range(source[0] + 1, to[0] + 1)]
    return [to]


class Scoreboard:
    """Keeps books on packets: each must come to each of its sinks once, whole, unmixed, in the order of its flow.

    A flow is what one source sends to one sink. A sink is any key that stands for one stream of packets.
    """

    def __init__(self) -> None:
        self._flows: dict[tuple[int, Hashable], deque[Packet]] = {}
        self._open: dict[Hashable, deque[int]] = {}

    def expect(self, packet: Packet, sinks: Iterable[Hashable]) -> None:
        """Expect ``packet`` at every one of ``sinks``."""
        for sink in sinks:
            self._flows.setdefault((packet.source, sink), deque()).append(packet)

    def take(self, sink: Hashable, flit: int) -> None:
        """A flit has come to ``sink``."""
        rest = self._open.get(sink)
        if not rest:
            assert flit >> 64 & 1, f"{sink}: flit {flit:#x} outside a packet"
            source = flit >> 16 & 0xFF
            flow = self._flows.get((source, sink))
            assert flow, f"{sink}: unexpected packet from source {source}: {flit:#x}"
            rest = self._open[sink] = deque(flow.popleft().flits())
        expected = rest.popleft()
        assert flit == expected, f"{sink}: flit {flit:#x}, expected {expected:#x}"

    @property
    def done(self) -> bool:
        """Whether everything expected has come."""
        return not any(self._open.values()) and not any(self._flows.values())

    def pending(self) -> str:
        """What has not come."""
        lines = [f"{len(rest)} flits of an open packet at {sink}" for sink, rest in self._open.items() if rest]
        for (source, sink), flow in self._flows.items():
            if flow:
                lines.append(f"{len(flow)} packets from source {source} to {sink}, first {flow[0]}")
        return "\n".join(lines) or "nothing"
