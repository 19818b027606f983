"""Watches the fault outputs of an engine."""

from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge

from acf.isa import ErrorCode

__all__ = ["FaultMonitor"]


class FaultMonitor:
    """Keeps code and address of every fault in ``seen``, its row and index in ``places``.

    Parameters
    ----------
    dut
        Handle of the design, with ports ``faults_N_valid`` and ``faults_N_p``.
    count : int
        How many there are.
    """

    def __init__(self, dut: Any, *, count: int):
        self.seen: list[tuple[ErrorCode, int]] = []
        self.places: list[tuple[int, int]] = []
        self._dut = dut
        self._ports = [(getattr(dut, f"faults_{n}_valid"), getattr(dut, f"faults_{n}_p")) for n in range(count)]
        cocotb.start_soon(self._watch())

    def clear(self) -> None:
        """Forget them."""
        self.seen.clear()
        self.places.clear()

    async def _watch(self) -> None:
        while True:
            await ReadOnly()
            found, places = [], []
            for valid, place in self._ports:
                if valid.value.is_resolvable and int(valid.value) and str(self._dut.rst.value) == "0":
                    word = int(place.value)
                    found.append((ErrorCode(word & 0xFF), word >> 8 & 0xFFFFFFFF))
                    places.append((word >> 40 & 0xFFFFFFFF, word >> 72))
            await RisingEdge(self._dut.clk)
            self.seen += found
            self.places += places
