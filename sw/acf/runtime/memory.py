"""Room in the memory of a device."""

import numpy as np

__all__ = ["Allocator", "round_up"]


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


class Allocator:
    """Hands out aligned, adjacent pieces of a memory, from ``base`` upwards.

    Parameters
    ----------
    memory : numpy.ndarray of uint8
        The memory of a device.
    alignment : int
        Every piece starts at a multiple of it and fills whole multiples.
    base : int
        First address that may be used.
    """

    def __init__(self, memory: np.ndarray, *, alignment: int = 64, base: int = 0):
        if alignment <= 0 or alignment & (alignment - 1):
            raise ValueError(f"alignment must be a power of two, not {alignment!r}")
        if not 0 <= base <= memory.size:
            raise ValueError(f"base must lie inside the memory of {memory.size} bytes, not at {base!r}")
        self._memory = memory
        self._alignment = alignment
        self.next_address = round_up(base, alignment)

    def reserve(self, size: int, *, what: str) -> int:
        """The address of ``size`` free bytes.

        Raises
        ------
        ValueError
            If that many are not left; ``what`` says for what they were meant.
        """
        address = self.next_address
        if address + size > self._memory.size:
            raise ValueError(
                f"{what} needs {size} bytes at {address:#x}, but the device has {self._memory.size} bytes of memory"
            )
        self.next_address = round_up(address + size, self._alignment)
        return address

    def place(self, array: np.ndarray, *, what: str) -> int:
        """The address of a copy of ``array``."""
        data = np.frombuffer(np.ascontiguousarray(array).tobytes(), dtype=np.uint8)
        address = self.reserve(data.size, what=what)
        self._memory[address : address + data.size] = data
        return address

    def place_rows(self, array: np.ndarray, *, stride: int, what: str) -> int:
        """The address of a copy of a two-dimensional ``array``, ``stride`` bytes from row to row, zeros between."""
        rows, width = array.shape[0], array.shape[1] * array.itemsize
        if stride < width:
            raise ValueError(f"stride of {what} must be at least {width} bytes, not {stride!r}")
        address = self.reserve(rows * stride, what=what)
        target = self._memory[address : address + rows * stride].reshape(rows, stride)
        target[:] = 0
        target[:, :width] = np.ascontiguousarray(array).view(np.uint8).reshape(rows, width)
        return address
