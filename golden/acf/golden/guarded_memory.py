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

    def gather(self, addresses: np.ndarray, dtype: np.dtype, *, source: tuple[int, int]) -> np.ndarray:
        """Aligned elements of type ``dtype`` at ``addresses``."""
        places = self._places(addresses, dtype.itemsize, write=False, source=source)
        return self._memory[places].view(dtype)[:, 0]

    def read(self, address: int, size: int, *, source: tuple[int, int]) -> np.ndarray:
        """``size`` bytes from ``address``."""
        return self._memory[self._places(np.array([address]), size, write=False, source=source)[0]]

    def write(self, address: int, data: np.ndarray, *, source: tuple[int, int]) -> None:
        """Store bytes from ``address``."""
        self._memory[self._places(np.array([address]), data.size, write=True, source=source)[0]] = data

    def _places(self, addresses: np.ndarray, size: int, *, write: bool, source: tuple[int, int]) -> np.ndarray:
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
        return addresses[:, None] + np.arange(size)
