"""What carries the bytes of a serial link: a port of this machine, opened by pyserial."""

import time
from typing import Protocol

__all__ = ["Line", "SerialLine"]


class Line(Protocol):
    """A pair of byte streams that may lose, change or add bytes, but keep their order.

    Members
    -------
    name : str
        For messages.
    baud : int
        Bits in a second of ``now``; a byte takes ten.
    """

    name: str
    baud: int

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def write(self, data: bytes) -> None:
        """Send; returns when the bytes are on their way."""
        ...

    def read(self, seconds: float) -> bytes:
        """Whatever has come, as soon as there is any; nothing after ``seconds``."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class SerialLine:
    """A serial port of this machine.

    Parameters
    ----------
    path : str
        As ``/dev/ttyUSB0``.
    baud : int

    Raises
    ------
    OSError
        If there is no such port, or it is not ours to use, in one sentence.
    """

    def __init__(self, path: str, *, baud: int):
        import serial  # only who uses a board needs it

        self.name = path
        self.baud = baud
        try:
            self._port = serial.Serial(path, baudrate=baud, timeout=0, exclusive=True)
        except serial.SerialException as error:
            raise OSError(_refusal(path, error)) from error
        except (ValueError, OverflowError) as error:
            raise OSError(f"the port {path!r} cannot send {baud!r} bits in a second") from error
        self._port.reset_input_buffer()

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def write(self, data: bytes) -> None:
        """Send; returns when the bytes are in the buffer of the port."""
        try:
            self._port.write(data)
        except OSError as error:
            raise OSError(f"the port {self.name!r} has gone: {error}") from error

    def read(self, seconds: float) -> bytes:
        """Whatever has come, as soon as there is any; nothing after ``seconds``."""
        try:
            self._port.timeout = max(seconds, 0)
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except OSError as error:
            raise OSError(f"the port {self.name!r} has gone: {error}") from error

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()


def _refusal(path: str, error: OSError) -> str:
    import errno

    text = str(error).lower()
    if error.errno == errno.ENOENT or "no such file" in text:
        return f"there is no port {path!r}; is the board plugged in?"
    if error.errno == errno.EACCES or "permission denied" in text:
        return f"this user may not open the port {path!r}; on most systems it takes the group dialout"
    if "lock" in text or error.errno in (errno.EBUSY, errno.EAGAIN):
        return f"the port {path!r} is in use by another program"
    return f"the port {path!r} cannot be opened: {error}"
