"""Memory behind windows, as a program sees it: every access is refused or answered, beat by beat."""

from typing import NamedTuple

import numpy as np

from acf.config import MemoryConfig
from acf.isa import ErrorCode

__all__ = ["CommandFault", "GuardedMemory", "WindowRights"]


class CommandFault(Exception):
    """A command met an error; the program is over.

    Parameters
    ----------
    code : ErrorCode
    address, row, index : int
        As far as the code has them.
    source : tuple of int
        Node ``(y, x)`` that met it.
    detail : str
        Further words for people.
    """

    def __init__(
        self,
        code: ErrorCode,
        *,
        address: int = 0,
        row: int = 0,
        index: int = 0,
        source: tuple[int, int] = (0, 0),
        detail: str = "",
    ):
        super().__init__(f"{code.name} at address {address:#x}, row {row}, index {index}, node {source}: {detail}")
        self.code = code
        self.address = address
        self.row = row
        self.index = index
        self.source = source
        self.detail = detail


class WindowRights(NamedTuple):
    """Bytes ``base`` to ``limit``, both inside, and what may be done there."""

    base: int
    limit: int
    readable: bool
    writable: bool


class GuardedMemory:
    """Bytes and the windows that open them.

    Memory is reached in whole beats, so an access is refused when any beat that it touches is not inside one window.
    Beats inside a window but beyond the end of the memory are answered with an error.

    Parameters
    ----------
    memory : numpy.ndarray of uint8
        Read and written in place.
    windows : list of WindowRights
    config : MemoryConfig
    """

    def __init__(self, memory: np.ndarray, *, windows: list[WindowRights], config: MemoryConfig):
        if memory.dtype != np.uint8 or memory.ndim != 1:
            raise ValueError(f"memory must be a flat array of uint8, not {memory.ndim}-dimensional of {memory.dtype}")
        self._memory = memory
        self._windows = windows
        self._beat = config.beat_bytes
        self._address_mask = (1 << config.address_width) - 1

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat."""
        return self._beat

    def gather(self, addresses: np.ndarray, dtype: np.dtype, *, source: tuple[int, int]) -> np.ndarray:
        """Aligned elements of type ``dtype`` at ``addresses``."""
        addresses = self._checked(addresses, dtype.itemsize, write=False, source=source)
        return self._memory[addresses[:, None] + np.arange(dtype.itemsize)].view(dtype)[:, 0]

    def read(self, address: int, size: int, *, source: tuple[int, int]) -> np.ndarray:
        """A copy of ``size`` bytes from ``address``."""
        first = self._checked_address(address, size, write=False, source=source)
        return self._memory[first : first + size].copy()

    def write(self, address: int, data: np.ndarray, *, source: tuple[int, int]) -> None:
        """Store bytes from ``address``."""
        first = self._checked_address(address, data.size, write=True, source=source)
        self._memory[first : first + data.size] = data

    def rows(self, address: int, stride: int, *, rows: int, size: int, write: bool) -> np.ndarray | None:
        """A view of ``rows`` pieces of ``size`` bytes, ``stride`` bytes from one to the next.

        None where not all of it is open and present, or where pieces overlap: then only ``read`` and ``write``, piece
        by piece, say what happens.
        """
        last = address + (rows - 1) * stride + size
        begin, end = address - address % self._beat, -(-last // self._beat) * self._beat
        if rows < 1 or stride < size or not self._is_open(begin, end, write=write):
            return None
        return np.lib.stride_tricks.as_strided(self._memory[address:], (rows, size), (stride, 1))

    def _is_open(self, begin: int, end: int, *, write: bool) -> bool:
        """Whether one window opens all these beats, and memory has them."""
        for window in self._windows:
            allowed = window.writable if write else window.readable
            if allowed and window.base <= begin and end - 1 <= window.limit and end <= self._memory.size:
                return True
        return False

    def _checked_address(self, address: int, size: int, *, write: bool, source: tuple[int, int]) -> int:
        first = address & self._address_mask
        begin, end = first - first % self._beat, -(-(first + size) // self._beat) * self._beat
        if self._is_open(begin, end, write=write):
            return first
        return int(self._checked(np.array([address]), size, write=write, source=source)[0])

    def _checked(self, addresses: np.ndarray, size: int, *, write: bool, source: tuple[int, int]) -> np.ndarray:
        """The addresses, cut to the width of the port, if all ``size`` bytes at each may be reached."""
        addresses = np.asarray(addresses, dtype=np.int64) & self._address_mask
        first = addresses - addresses % self._beat
        last = addresses + size - 1
        last += self._beat - 1 - last % self._beat
        allowed = np.zeros(addresses.shape, dtype=np.bool_)
        for window in self._windows:
            if window.writable if write else window.readable:
                allowed |= (first >= window.base) & (last <= window.limit)
        present = last < self._memory.size
        if not (allowed & present).all():
            bad = int(np.argmin(allowed & present))
            if allowed[bad]:
                code = ErrorCode.WRITE_RESPONSE if write else ErrorCode.READ_RESPONSE
                why = f"there are {self._memory.size} bytes of memory"
            else:
                code = ErrorCode.WINDOW
                why = f"no window allows a {'write' if write else 'read'} there"
            raise CommandFault(code, address=int(first[bad]), source=source, detail=why)
        return addresses
