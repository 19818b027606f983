"""The host's way into the memory of a device: every byte is counted, by what it was for and where it lies."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from acf.runtime.layout import Operand

__all__ = ["HostMemory"]


class HostMemory:
    """Reads and writes the memory of a device.

    Parameters
    ----------
    memory : numpy.ndarray of uint8
    regions : mapping of str to (int, int)
        First address, and the first one behind, of what is counted apart.

    Attributes
    ----------
    read_bytes, written_bytes : collections.Counter
        By ``(purpose, region)``.
    """

    def __init__(self, memory: np.ndarray, *, regions: Mapping[str, tuple[int, int]]):
        self._memory = memory
        self._regions = dict(regions)
        self._purpose = "set-up"
        self.read_bytes: Counter[tuple[str, str]] = Counter()
        self.written_bytes: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def purpose(self, name: str) -> Iterator[None]:
        """Count under ``name`` inside the block."""
        before, self._purpose = self._purpose, name
        try:
            yield
        finally:
            self._purpose = before

    def read(self, address: int, size: int) -> np.ndarray:
        """A copy of ``size`` bytes."""
        self.read_bytes[self._purpose, self._region(address, size)] += size
        return np.array(self._memory[address : address + size])

    def write(self, address: int, array: np.ndarray) -> None:
        """Store the bytes of an array."""
        data = np.frombuffer(np.ascontiguousarray(array).tobytes(), dtype=np.uint8)
        self.written_bytes[self._purpose, self._region(address, data.size)] += data.size
        self._memory[address : address + data.size] = data

    def read_rows(self, place: Operand, *, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
        """A copy of a dense array of rows."""
        data = self.read(place.address, rows * place.stride).reshape(rows, place.stride)
        return data[:, : columns * dtype.itemsize].copy().view(dtype)

    def write_rows(self, place: Operand, array: np.ndarray) -> None:
        """Store a dense array of rows, zeros in what is left of each."""
        padded = np.zeros((array.shape[0], place.stride), dtype=np.uint8)
        padded[:, : array.shape[1] * array.itemsize] = np.ascontiguousarray(array).view(np.uint8)
        self.write(place.address, padded)

    def _region(self, address: int, size: int) -> str:
        for name, (begin, end) in self._regions.items():
            if begin <= address and address + size <= end:
                return name
        raise ValueError(f"{size} bytes at {address:#x} are in no region of the memory")
