"""The host's end of the serial link: frames, sessions and repeats (docs/link.md).

A request is sent again until its answer has come whole. The board carries out each sequence number once, and sends a
repeated request the answer it has kept; so a request has been carried out exactly once when its answer has come, and at
most once when none has.
"""

import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from acf.link import (
    ADDRESS_WRITE,
    ANSWER,
    ESCAPE,
    ESCAPED,
    FLAG,
    HEADER_BYTES,
    LINK_VERSION,
    MAX_PAYLOAD,
    OPERATION_BYTES,
    Kind,
    Status,
)
from acf.runtime.serial_line import Line

__all__ = ["Access", "Frame", "FrameParser", "Greeting", "LinkError", "RefusedError", "SerialLink", "encode_frame"]

_HEADER = struct.Struct("<BIH")
_CRC_BYTES = 4
_SPECIAL = {byte: bytes((ESCAPE, byte ^ ESCAPED)) for byte in (FLAG, ESCAPE)}
_LONGEST = 2 * (HEADER_BYTES + MAX_PAYLOAD + _CRC_BYTES)

_MOST_REGISTERS = MAX_PAYLOAD // OPERATION_BYTES
_MOST_FILLED = 4096  # so that no answer takes long


class LinkError(RuntimeError):
    """The board does not answer, or not as a board; whether the last request was carried out is not known."""


class RefusedError(RuntimeError):
    """The board has no such register or memory, or does not let it be written now."""


@dataclass(frozen=True)
class Frame:
    """One frame, whole and right."""

    kind: int
    sequence: int
    payload: bytes


@dataclass(frozen=True)
class Access:
    """One access to a register: a read where ``value`` is None."""

    address: int
    value: int | None = None


@dataclass(frozen=True)
class Greeting:
    """What a board says of itself."""

    version: int
    max_data: int
    memory_bytes: int
    clock: int


def encode_frame(frame: Frame) -> bytes:
    """The bytes on the line, with a flag at both ends."""
    body = _HEADER.pack(frame.kind, frame.sequence, len(frame.payload)) + frame.payload
    body += struct.pack("<I", zlib.crc32(body))
    escaped = body.replace(bytes((ESCAPE,)), _SPECIAL[ESCAPE]).replace(bytes((FLAG,)), _SPECIAL[FLAG])
    return bytes((FLAG,)) + escaped + bytes((FLAG,))


class FrameParser:
    """Finds frames in bytes as they come; what is no frame is dropped without a word."""

    def __init__(self) -> None:
        self._piece = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in ``data``."""
        frames = []
        for n, piece in enumerate(data.split(bytes((FLAG,)))):
            if n:  # a flag stands in front of this piece
                frame = _decode(bytes(self._piece)) if self._begun else None
                if frame is not None:
                    frames.append(frame)
                self._piece.clear()
                self._begun = True
            if len(self._piece) <= _LONGEST:
                self._piece += piece
        return frames


def _decode(escaped: bytes) -> Frame | None:
    body = bytearray()
    parts = escaped.split(bytes((ESCAPE,)))
    body += parts[0]
    for part in parts[1:]:
        if not part:  # an escape before an escape, or before the flag
            return None
        body.append(part[0] ^ ESCAPED)
        body += part[1:]
    if len(body) < HEADER_BYTES + _CRC_BYTES:
        return None
    kind, sequence, length = _HEADER.unpack_from(body)
    payload = bytes(body[HEADER_BYTES:-_CRC_BYTES])
    if len(payload) != length or zlib.crc32(body[:-_CRC_BYTES]) != int.from_bytes(body[-_CRC_BYTES:], "little"):
        return None
    return Frame(kind, sequence, payload)


class SerialLink:
    """Registers and memory of a board behind a line.

    Parameters
    ----------
    line : Line
    patience : float
        Seconds, beside those that the bytes take, after which an answer is taken for lost. A board that says that its
        clock is not in real time gets a hundred times as much.
    tries : int
        How often a request is sent before the board is given up.
    seed : int or None
        Of the numbers with which sessions begin; None takes ones that nobody can foresee.

    Members
    -------
    greeting : Greeting
        Of the latest session.
    repeats : int
        Requests that were sent again so far.

    Raises
    ------
    LinkError
        If no board answers, or one of another version.
    """

    def __init__(self, line: Line, *, patience: float = 0.25, tries: int = 8, seed: int | None = None):
        if tries < 1:
            raise ValueError(f"a request must be sent at least once, not {tries!r} times")
        self._line = line
        self._asked_patience = self._patience = patience
        self._tries = tries
        self._random = random.SystemRandom() if seed is None else random.Random(seed)
        self._parser = FrameParser()
        self._sequence: int | None = None
        self.repeats = 0
        self.greeting = self.connect()

    @property
    def name(self) -> str:
        """Of the line."""
        return self._line.name

    def close(self) -> None:
        """Let go of the line."""
        self._sequence = None
        self._line.close()

    def connect(self) -> Greeting:
        """Open a new session; what an earlier one has left on the line is passed over."""
        self._patience = self._asked_patience
        self._sequence = None
        first = self._random.getrandbits(32)
        payload = self._transact(Kind.HELLO, first, b"", expected=12)
        if len(payload) < 2 or payload[1] != LINK_VERSION:
            version = payload[1] if len(payload) > 1 else None
            raise LinkError(f"the board at {self.name} speaks version {version} of the link, not {LINK_VERSION}")
        if payload[0] != Status.OKAY or len(payload) != 12:
            raise LinkError(f"the board at {self.name} greets with {payload.hex()}")
        greeting = Greeting(*struct.unpack("<BHII", payload[1:]))
        if not greeting.clock:
            self._patience = 100 * self._asked_patience
        self._sequence = first
        self.greeting = greeting
        return greeting

    def access(self, accesses: Sequence[Access]) -> list[int]:
        """Make register accesses one after the other; the value read, or written, of each.

        Raises
        ------
        RefusedError
            If one was refused; those behind it were not made.
        LinkError
            If the board does not answer.
        """
        values: list[int] = []
        for begin in range(0, len(accesses), _MOST_REGISTERS):
            part = accesses[begin : begin + _MOST_REGISTERS]
            request = b"".join(
                struct.pack("<HI", a.address, 0) if a.value is None
                else struct.pack("<HI", a.address | ADDRESS_WRITE, a.value)
                for a in part
            )  # fmt: skip
            status, data = self._request(Kind.REGISTERS, request, expected=4 * len(part))
            if status is Status.REFUSED:
                wrong = part[len(data) // 4]
                what = "read" if wrong.value is None else f"write of {wrong.value:#x}"
                raise RefusedError(f"the board at {self.name} refused a {what} of the register at {wrong.address:#05x}")
            self._check(status, data, 4 * len(part), Kind.REGISTERS)
            values += struct.unpack(f"<{len(part)}I", data)
        return values

    def read(self, address: int, count: int) -> bytes:
        """Bytes of the board's memory.

        Raises
        ------
        RefusedError
            If they are not all there.
        LinkError
            If the board does not answer.
        """
        found = bytearray()
        most = self.greeting.max_data
        for begin in range(0, count, most):
            size = min(most, count - begin)
            head = struct.pack("<IH", address + begin, size)
            status, data = self._request(Kind.READ, head, expected=size)
            self._check_memory(status, address + begin, size)
            self._check(status, data, size, Kind.READ)
            found += data
        return bytes(found)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the board's memory; the errors are those of ``read``, and a part may be written then."""
        most = self.greeting.max_data
        for begin in range(0, len(data), most):
            part = data[begin : begin + most]
            request = struct.pack("<IH", address + begin, len(part)) + part
            status, answer = self._request(Kind.WRITE, request, expected=0)
            self._check_memory(status, address + begin, len(part))
            self._check(status, answer, 0, Kind.WRITE)

    def fill(self, address: int, count: int, value: int) -> None:
        """Write the same byte ``count`` times; see ``write``."""
        for begin in range(0, count, _MOST_FILLED):
            size = min(_MOST_FILLED, count - begin)
            request = struct.pack("<IHB", address + begin, size, value)
            status, answer = self._request(Kind.FILL, request, expected=0)
            self._check_memory(status, address + begin, size)
            self._check(status, answer, 0, Kind.FILL)

    def _check_memory(self, status: Status, address: int, count: int) -> None:
        if status is Status.REFUSED:
            raise RefusedError(
                f"the board at {self.name} has no memory at {address:#x} to {address + count - 1:#x}, "
                f"only {self.greeting.memory_bytes} bytes"
            )

    def _check(self, status: Status, data: bytes, expected: int, kind: Kind) -> None:
        if status is not Status.OKAY or len(data) != expected:
            self._sequence = None
            raise LinkError(f"the board at {self.name} answers {kind.name} with {status.name} and {len(data)} bytes")

    def _request(self, kind: Kind, payload: bytes, *, expected: int) -> tuple[Status, bytes]:
        """Carry out one request in the session; opens one where the last has ended in an error."""
        if self._sequence is None:
            self.connect()
        assert self._sequence is not None
        sequence = (self._sequence + 1) % (1 << 32)
        self._sequence = None  # until the answer is here
        answer = self._transact(kind, sequence, payload, expected=expected)
        if not answer or answer[0] not in set(Status):
            raise LinkError(f"the board at {self.name} answers with an unknown status, {answer[:1].hex() or 'none'}")
        status = Status(answer[0])
        if status is Status.SESSION:
            raise LinkError(f"the board at {self.name} has forgotten this session: it was reset, or has another host")
        self._sequence = sequence
        return status, answer[1:]

    def _transact(self, kind: Kind, sequence: int, payload: bytes, *, expected: int) -> bytes:
        """Send a request until its answer has come."""
        frame = encode_frame(Frame(kind, sequence, payload))
        line = self._line
        moved = len(frame) + 2 * (HEADER_BYTES + 1 + expected + _CRC_BYTES) + 2
        seconds = self._patience + 2 * moved * 10 / line.baud
        for attempt in range(self._tries):
            self.repeats += attempt > 0
            line.write(frame)
            end = line.now() + seconds
            while (left := end - line.now()) > 0:
                for answer in self._parser.feed(line.read(left)):
                    if answer.kind == kind | ANSWER and answer.sequence == sequence:
                        return answer.payload
        raise LinkError(f"no board answers at {self.name} ({kind.name}, sent {self._tries} times)")
