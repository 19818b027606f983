"""Packets of the three products of a sparse layer, as they cross a mesh of tiles with feeders at its west and north.

Counts come from where the entries of ``W`` stand; times do not: all packets of a product wait at their sources from the
beginning, as if memory and lanes were never in the way. Packets are those of the fabric. An entry is one flit to all
tiles of a logical row. An operand row is a head and four operands a flit, to all tiles of a logical column. Results go
from each tile to the feeder that sent the entries, a head and two accumulators a flit.
"""

from collections.abc import Sequence

import numpy as np

from acf.config import NetworkConfig
from acf.isa import TrafficClass
from acf.runtime.multicast_groups import MulticastGroup

__all__ = ["PRODUCTS", "layer_packets", "least_cycles"]

PRODUCTS = ("forward", "input gradient", "weight gradient")
"""What a layer is asked for in training."""

_OPERANDS_A_FLIT = 4
_RESULTS_A_FLIT = 2
_SUMS_A_PACKET = 8


def layer_packets(
    pointers: np.ndarray,
    indices: np.ndarray,
    inner: int,
    *,
    product: str,
    columns: int,
    tile_columns: int,
    network: NetworkConfig,
    entries: dict[int, MulticastGroup],
    operands: dict[int, MulticastGroup],
) -> np.ndarray:
    """The packets of one product.

    Columns come in passes of as many as all logical columns hold, and each pass takes all entries again. Rows of ``W``
    (forward) or its columns (input gradient) are dealt to logical rows in turn, and within one to its feeders. Of a
    weight gradient entries are dealt one by one; their sums pass from tile to tile towards the feeder, once behind the
    last pass. Operand rows are dealt to the feeders of a logical column in turn.

    Parameters
    ----------
    pointers, indices : ndarray of int
        Where the entries stand, as CSR.
    inner : int
        Columns of ``W``.
    product : str
        One of ``PRODUCTS``.
    columns, tile_columns : int
        Columns of the operand, and how many of them a tile holds.
    network : NetworkConfig
    entries, operands : dict of MulticastGroup
        By number, the groups from the west and from the north, see ``acf.runtime.multicast_groups.logical_groups``.

    Returns
    -------
    ndarray of uint32, (packets, 4)
        Source, destination, flits and traffic class, see ``acf.sim.noc_harness.NetworkHarness.deliver``.

    Raises
    ------
    ValueError
        If there is no such product, a number is not positive, or a packet of operands is longer than one for a group
        may be.
    """
    if product not in PRODUCTS:
        raise ValueError(f"a product must be one of {', '.join(PRODUCTS)}, not {product!r}")
    for what, number in ("columns of the operand", columns), ("columns of a tile", tile_columns):
        if number <= 0:
            raise ValueError(f"{what} must be positive, not {number}")
    rows = np.repeat(np.arange(pointers.size - 1), np.diff(pointers))
    height = pointers.size - 1
    # Which sum an entry adds to, and how many operand rows and sums there are.
    target, loaded, sums = {
        "forward": (rows, inner, height),
        "input gradient": (indices, height, inner),
        "weight gradient": (np.arange(indices.size), height + inner, indices.size),
    }[product]
    made = _Packets(network)
    of_rows, of_columns = _by_members(entries), _by_members(operands)
    left = columns
    while left > 0:
        widths = [max(0, min(tile_columns, left - n * tile_columns)) for n in range(len(of_columns))]
        left -= sum(widths)
        for numbers, (members, width) in zip(of_columns.values(), zip(of_columns, widths, strict=True), strict=True):
            if width:
                flits = 1 + -(-width // _OPERANDS_A_FLIT)
                made.to_groups(operands, numbers, np.arange(loaded), flits, TrafficClass.OPERANDS)
            if width and product != "weight gradient":
                for tile in members:
                    of_tile = next(n for n, tiles in enumerate(of_rows) if tile in tiles)
                    feeders = [entries[number].source for number in [*of_rows.values()][of_tile]]
                    own = np.arange(of_tile, sums, len(of_rows)) // len(of_rows)
                    flits = 1 + -(-width // _RESULTS_A_FLIT)
                    made.to_nodes(tile, feeders, own, flits, TrafficClass.RESULTS)
        for n, numbers in enumerate(of_rows.values()):
            own = target[target % len(of_rows) == n] // len(of_rows)
            made.to_groups(entries, numbers, own, 1, TrafficClass.ENTRIES)
    if product == "weight gradient":
        flits = 1 + _SUMS_A_PACKET // _RESULTS_A_FLIT
        for n, (tiles, numbers) in enumerate(of_rows.items()):
            own = np.arange(-(-len(range(n, sums, len(of_rows))) // _SUMS_A_PACKET))
            feeders = [entries[number].source for number in numbers]
            for k, tile in enumerate(tiles):
                made.to_nodes(tile, [tiles[k - 1]] if k else feeders, own, flits, TrafficClass.RESULTS)
    return made.all()


def least_cycles(packets: np.ndarray, groups: dict[int, MulticastGroup], network: NetworkConfig) -> int:
    """Flits of the node that sends or takes most of them, one a cycle each: what no network can go below.

    Parameters
    ----------
    packets : ndarray of uint32, (packets, 4)
        As of ``layer_packets``.
    groups : dict of MulticastGroup
        Those that they are for, by number.
    network : NetworkConfig
    """
    sources, to, flits, _ = packets.astype(np.int64).T
    sent = np.bincount(sources, weights=flits, minlength=network.nodes)
    by_destination = np.bincount(to, weights=flits, minlength=network.nodes + network.groups)
    taken = by_destination[: network.nodes].copy()
    for number, group in groups.items():
        for y, x in group.members:
            taken[y * network.width + x] += by_destination[network.nodes + number]
    return int(max(sent.max(), taken.max()))


def _by_members(groups: dict[int, MulticastGroup]) -> dict[tuple[tuple[int, int], ...], list[int]]:
    """Numbers of the groups with the same members, one for each feeder."""
    found: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for number, group in groups.items():
        found.setdefault(group.members, []).append(number)
    return found


class _Packets:
    """Rows of ``layer_packets``, in the order in which they are added."""

    def __init__(self, network: NetworkConfig):
        self._network = network
        self._rows: list[np.ndarray] = []

    def _number(self, node: tuple[int, int]) -> int:
        return node[0] * self._network.width + node[1]

    def to_groups(
        self,
        groups: dict[int, MulticastGroup],
        numbers: Sequence[int],
        dealt: np.ndarray,
        flits: int,
        kind: TrafficClass,
    ) -> None:
        """A packet for each of ``dealt``, which choose in turn which feeder sends it."""
        if flits > self._network.group_flits:
            raise ValueError(
                f"{flits} flits of operands are more than a packet for a group may have, {self._network.group_flits}"
            )
        to = np.array([self._network.nodes + number for number in numbers])
        sources = np.array([self._number(groups[number].source) for number in numbers])
        self._add(sources[dealt % len(numbers)], to[dealt % len(numbers)], flits, kind)

    def to_nodes(
        self, tile: tuple[int, int], nodes: Sequence[tuple[int, int]], dealt: np.ndarray, flits: int, kind: TrafficClass
    ) -> None:
        """A packet for each of ``dealt``, which choose in turn which node it is for."""
        to = np.array([self._number(node) for node in nodes])
        self._add(np.full(dealt.size, self._number(tile)), to[dealt % len(nodes)], flits, kind)

    def _add(self, sources: np.ndarray, to: np.ndarray, flits: int, kind: TrafficClass) -> None:
        columns = sources, to, np.full(sources.size, flits), np.full(sources.size, int(kind))
        self._rows.append(np.stack(columns, axis=1))

    def all(self) -> np.ndarray:
        """All packets."""
        return np.concatenate(self._rows).astype(np.uint32)
