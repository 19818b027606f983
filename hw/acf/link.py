"""Numbers of the serial link between a host and a board; docs/link.md says what they mean, byte by byte.

Hardware and host read the same names here, so that neither has to look at the other.
"""

import enum

__all__ = [
    "ADDRESS_WRITE",
    "ANSWER",
    "ESCAPE",
    "ESCAPED",
    "FLAG",
    "HEADER_BYTES",
    "LINK_VERSION",
    "MAX_DATA",
    "MAX_PAYLOAD",
    "OPERATION_BYTES",
    "Kind",
    "Status",
]

LINK_VERSION = 1

FLAG = 0x7E
"""Begins and ends every frame, and stands nowhere else."""

ESCAPE = 0x7D
"""Stands in front of a byte that is sent as ``byte ^ ESCAPED``, because it is a FLAG or an ESCAPE."""

ESCAPED = 0x20

HEADER_BYTES = 7
"""Kind (1), sequence number (4), length of the payload (2); little-endian, as everything on the link."""

OPERATION_BYTES = 6
"""A register access: address (2), value (4). And the head of a memory access: address (4), count (2)."""

ADDRESS_WRITE = 1 << 15
"""Bit of the address of a register access: it is a write."""

MAX_DATA = 1024
"""Bytes that one READ or WRITE moves at most; a FILL may write 65535."""

MAX_PAYLOAD = OPERATION_BYTES + MAX_DATA
"""Bytes of the longest payload of a request."""

ANSWER = 0x80
"""Bit of the kind of an answer."""


class Kind(enum.IntEnum):
    """What a request asks for."""

    HELLO = 1
    """Open a session that begins at this sequence number. Answer: version (1), MAX_DATA (2), bytes of memory (4), clock
    in Hz (4), which is 0 for a board whose clock is not in real time."""
    REGISTERS = 2
    """Register accesses, one after the other. Answer: 4 bytes for each, of a write the value written."""
    READ = 3
    """Address, count. Answer: the bytes of memory."""
    WRITE = 4
    """Address, count, as many bytes."""
    FILL = 5
    """Address, count, one byte, which is written to all of them."""


class Status(enum.IntEnum):
    """First byte of every answer's payload."""

    OKAY = 0
    SESSION = 1
    """No session is open, or the sequence number is not the next: any session is closed, nothing was done."""
    MALFORMED = 2
    """The payload is not what the kind asks for; accesses in front of the wrong one were made."""
    REFUSED = 3
    """No such register or address of memory, or a register that may not be written now; accesses in front of it were
    made, those behind it were not."""
