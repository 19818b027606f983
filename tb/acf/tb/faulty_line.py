"""A serial line that loses, changes and adds bytes."""

import random

from acf.runtime.serial_line import Line

__all__ = ["FaultyLine"]


class FaultyLine:
    """Passes bytes both ways and spoils some; implements ``acf.runtime.serial_line.Line``.

    Parameters
    ----------
    line : Line
    seed : int

    Members
    -------
    rate : float
        Probability that a byte is dropped, flipped or has one inserted in front of it; may be changed at any time.
    faults : dict
        How many of each there were.
    """

    def __init__(self, line: Line, *, seed: int, rate: float = 0.0):
        self._line = line
        self._random = random.Random(seed)
        self.name = line.name
        self.baud = line.baud
        self.rate = rate
        self.faults = {"dropped": 0, "flipped": 0, "inserted": 0}

    def now(self) -> float:
        """Of the line."""
        return self._line.now()

    def write(self, data: bytes) -> None:
        """Send, spoilt."""
        self._line.write(self._spoil(data))

    def read(self, seconds: float) -> bytes:
        """Receive, spoilt."""
        return self._spoil(self._line.read(seconds))

    def close(self) -> None:
        """Let go of the line."""
        self._line.close()

    def _spoil(self, data: bytes) -> bytes:
        if not self.rate:
            return data
        roll = self._random
        spoilt = bytearray()
        for byte in data:
            if roll.random() >= self.rate:
                spoilt.append(byte)
                continue
            kind = roll.choice(tuple(self.faults))
            self.faults[kind] += 1
            if kind == "flipped":
                spoilt.append(byte ^ roll.randrange(1, 256))
            elif kind == "inserted":
                # Flags and escapes do the most harm, so they come more often than by chance.
                spoilt += bytes((roll.choice((0x7E, 0x7D, byte, roll.randrange(256))), byte))
        return bytes(spoilt)
