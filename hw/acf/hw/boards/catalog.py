"""Boards by name: all files of ``acf.hw.boards.targets``."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from acf.hw.boards import targets

if TYPE_CHECKING:
    from acf.hw.boards.board import Board

__all__ = ["board_names", "find_board"]


def board_names() -> list[str]:
    """Names of all boards, in the order of the alphabet; loads none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def find_board(name: str) -> "Board":
    """The board called ``name``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in board_names():
        raise ValueError(f"board must be one of {', '.join(board_names())}, not {name!r}")
    return importlib.import_module(f"{targets.__name__}.{name}").BOARD
