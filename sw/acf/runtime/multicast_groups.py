"""Groups of receivers in a network alone: trees from a source to its members, and the tables that say so to routers.

The tree of a group is the union of the ways that packets of dimension order would take to each member: along the row of
the source first, or along its column first. Branches part where these ways part, so every link carries a packet once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acf.config import NetworkConfig

__all__ = [
    "CHANNEL_MAPS",
    "COLUMNS_FIRST",
    "GroupTables",
    "MulticastGroup",
    "logical_groups",
    "logical_shapes",
    "number_groups",
]

COLUMNS_FIRST = 1 << 5
"""Bit of a fork: heads take the outputs to the north and south before those to the east and west."""

_NORTH, _EAST, _SOUTH, _WEST, _LOCAL = (1 << n for n in range(5))
_STEP = {_NORTH: (-1, 0), _EAST: (0, 1), _SOUTH: (1, 0), _WEST: (0, -1)}

Node = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class MulticastGroup:
    """Who sends to a group, and who takes what is sent; nodes are a row and a column.

    Parameters
    ----------
    source : tuple of int
    members : tuple of tuples of int
        Each once, the source too if it is one.
    columns_first : bool
        Whether the tree goes along the column of the source first, not along its row.

    Raises
    ------
    ValueError
        If there are no members, or one is there twice.
    """

    source: Node
    members: tuple[Node, ...]
    columns_first: bool = False

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("a group must have a member at least, not 0")
        twice = [member for member in self.members if self.members.count(member) > 1]
        if twice:
            raise ValueError(f"a group must have each member once, not {twice[0]} {self.members.count(twice[0])} times")

    def way(self, member: Node) -> list[tuple[Node, int]]:
        """Routers on the way to a member, and the output of each, as a bit."""
        (y, x), (to_y, to_x) = self.source, member
        found = []
        for along_row in (False, True) if self.columns_first else (True, False):
            while (x != to_x) if along_row else (y != to_y):
                port = (_EAST if to_x > x else _WEST) if along_row else (_SOUTH if to_y > y else _NORTH)
                found.append(((y, x), port))
                y, x = y + _STEP[port][0], x + _STEP[port][1]
        return [*found, ((y, x), _LOCAL)]


class GroupTables:
    """The tables of all routers of a network, for some of its groups.

    Parameters
    ----------
    network : NetworkConfig
        One that has groups.
    groups : mapping of int to MulticastGroup
        By number. The number chooses the virtual channel, too: see ``NetworkConfig.group_channels``.

    Attributes
    ----------
    network, groups
    forks : ndarray of int, (height, width, groups)
        By router and group a bit for each output, north, east, south, west and the node itself, and ``COLUMNS_FIRST``;
        0 where no packet of the group comes.

    Raises
    ------
    ValueError
        If the network has no groups, a number is none of its groups, or a source or member is not in the mesh.
    """

    def __init__(self, network: NetworkConfig, groups: Mapping[int, MulticastGroup]):
        if not network.groups:
            raise ValueError(f"a network without groups has no tables of them: {network.name}")
        self.network = network
        self.groups = dict(groups)
        self.forks = np.zeros((network.height, network.width, network.groups), dtype=np.int64)
        for number, group in self.groups.items():
            if not 0 <= number < network.groups:
                raise ValueError(f"groups must be from 0 to {network.groups - 1}, not {number}")
            for y, x in (group.source, *group.members):
                if not (0 <= y < network.height and 0 <= x < network.width):
                    size = f"{network.height}x{network.width}"
                    raise ValueError(f"nodes of group {number} must be in the mesh of {size}, not {(y, x)}")
            for member in group.members:
                for (y, x), port in group.way(member):
                    self.forks[y, x, number] |= port | COLUMNS_FIRST * group.columns_first

    @property
    def sources(self) -> dict[int, Node]:
        """By group the node that sends to it."""
        return {number: group.source for number, group in self.groups.items()}

    def links(self, number: int) -> int:
        """Links that a packet of a group crosses, the ways into nodes not counted."""
        return int(self._outputs(self.forks[:, :, number] & ~_LOCAL).sum())

    def copies(self, number: int) -> np.ndarray:
        """Copies that each router sends on of a flit for a group: 0 where none comes.

        Returns
        -------
        ndarray of int64, (height, width)
        """
        return self._outputs(self.forks[:, :, number])

    def _outputs(self, forks: np.ndarray) -> np.ndarray:
        return sum(((forks >> n & 1 for n in range(5))), np.zeros_like(forks))


CHANNEL_MAPS = ("apart", "shared", "striped")
"""Ways to give virtual channels to groups of several kinds, see ``number_groups``."""


def number_groups(
    kinds: Sequence[Sequence[MulticastGroup]], *, network: NetworkConfig, channel_map: str
) -> list[dict[int, MulticastGroup]]:
    """Give numbers to groups of several kinds, and with these the virtual channels.

    Parameters
    ----------
    kinds : sequence of sequences of MulticastGroup
    network : NetworkConfig
    channel_map : str
        ``apart``: groups of kind ``k`` get the virtual channel ``k`` modulo ``group_channels``; ``shared``: all get the
        first one; ``striped``: those of each kind get all of them in turn.

    Returns
    -------
    list of dict
        By kind and number, in the order of each kind.

    Raises
    ------
    ValueError
        If there are more groups than the virtual channels have numbers, or no such map.
    """
    if channel_map not in CHANNEL_MAPS:
        raise ValueError(f"a map of virtual channels must be one of {', '.join(CHANNEL_MAPS)}, not {channel_map!r}")
    step = network.group_channels
    following = list(range(step))  # by virtual channel the next number
    found = []
    for kind, groups in enumerate(kinds):
        numbered = {}
        for n, group in enumerate(groups):
            channel = {"apart": kind, "shared": 0, "striped": n}[channel_map] % step
            if following[channel] >= network.groups:
                raise ValueError(f"{network.groups} groups in {step} virtual channels are too few")
            numbered[following[channel]] = group
            following[channel] += step
        found.append(numbered)
    return found


def logical_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """All rows x columns as which ``height x width`` tiles can be drawn; each divides one of the two, or all tiles."""
    count = height * width
    shapes = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    return [(rows, columns) for rows, columns in shapes if _fits(rows, height) and _fits(columns, width)]


def logical_groups(
    height: int,
    width: int,
    shape: tuple[int, int],
    *,
    rows_columns_first: bool = False,
    columns_columns_first: bool = False,
) -> tuple[list[MulticastGroup], list[MulticastGroup]]:
    """Groups that draw a mesh of tiles as one of another shape.

    Tiles are numbered row by row, from 0; tile ``t`` stands in logical row ``t // columns`` and logical column
    ``t % columns``. They lie in a network with one row and one column more, to the north and to the west, in which the
    feeders are. Each feeder at the west sends to the logical rows that its mesh row has tiles of, each at the north to
    the logical columns that its mesh column has tiles of; to all tiles of them, wherever they are.

    Parameters
    ----------
    height, width : int
        Tiles from north to south and from west to east.
    shape : tuple of int
        One of ``logical_shapes(height, width)``: rows and columns.
    rows_columns_first, columns_columns_first : bool
        Whether trees from the west, and those from the north, go along columns first.

    Returns
    -------
    rows, columns : lists of MulticastGroup
        By logical row and feeder, by logical column and feeder.

    Raises
    ------
    ValueError
        If it has no such shape.
    """
    if shape not in logical_shapes(height, width):
        raise ValueError(f"a mesh of {height}x{width} tiles cannot be drawn as {shape[0]}x{shape[1]}")
    rows, columns = shape
    tiles = [divmod(tile, width) for tile in range(height * width)]
    members = {
        "row": [tuple((y + 1, x + 1) for y, x in tiles[row * columns : (row + 1) * columns]) for row in range(rows)],
        "column": [tuple((y + 1, x + 1) for y, x in tiles[column::columns]) for column in range(columns)],
    }
    from_west = [
        MulticastGroup(source=(y, 0), members=taken, columns_first=rows_columns_first)
        for taken in members["row"]
        for y in sorted({y for y, _ in taken})
    ]
    from_north = [
        MulticastGroup(source=(0, x), members=taken, columns_first=columns_columns_first)
        for taken in members["column"]
        for x in sorted({x for _, x in taken})
    ]
    return from_west, from_north


def _fits(parts: int, size: int) -> bool:
    return parts % size == 0 or size % parts == 0
