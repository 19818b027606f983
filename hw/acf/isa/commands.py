"""Commands of a program: sixteen words of 32 bits."""

from acf.isa.fields import COMMAND_FIELDS
from acf.isa.opcodes import Opcode

__all__ = [
    "BLOCK",
    "DECODED_COLUMNS",
    "CANDIDATE_PART",
    "CANDIDATE_WORD",
    "COMMAND_BYTES",
    "COMMAND_WORDS",
    "GATE_STEPS",
    "LARGEST_BLOCK",
    "LARGEST_GROUP",
    "NO_SEMAPHORE",
    "SEMAPHORES",
    "VERSION",
    "bitmap_row_bytes",
    "candidate_row_bits",
    "decode_command",
    "encode_command",
    "pattern_fields",
    "pattern_row_entries",
    "place_bits",
]

VERSION = 8
"""Version of the program format; commands of another version are refused."""

COMMAND_WORDS = 16
"""32-bit words of one command."""

COMMAND_BYTES = 4 * COMMAND_WORDS

SEMAPHORES = 8
"""Counting semaphores of the command processor."""

NO_SEMAPHORE = 15
"""Value of a semaphore field that signals none."""

DECODED_COLUMNS = 1 << 16
"""``inner_size`` of a STREAM with the decoder BITMAP or N_OF_M is at most it."""

CANDIDATE_WORD = 64
"""The bits that say which candidates of a row are to grow fill whole words of so many bits, or less than one."""

CANDIDATE_PART = 16
"""The least of a word that a row has: one of these, two, or whole words."""

LARGEST_BLOCK = 6
"""``block`` of a DRAIN with ``select`` is at most it: sums of a block are in one word of ``CANDIDATE_WORD`` bits."""

LARGEST_GROUP = 16
"""Columns of a group of the decoder N_OF_M are at most it."""

BLOCK = 4
"""Rows and columns of a block of the decoder BLOCKS."""

GATE_STEPS = 64
"""``row_step`` of a DRAIN with ``gate`` must be below it."""


def bitmap_row_bytes(inner_size: int, *, beat_bytes: int) -> int:
    """Bytes from the bits of one row of a bitmap to those of the next: whole beats of memory, one at least."""
    return max(1, -(-inner_size // (8 * beat_bytes))) * beat_bytes


def pattern_fields(n: int, m: int) -> dict[str, int]:
    """The fields of a STREAM with the decoder N_OF_M that say how many entries each group of columns has.

    Raises
    ------
    ValueError
        If there is no such pattern: both are powers of two, ``n`` below ``m``, ``m`` at most ``LARGEST_GROUP``.
    """
    if not (0 < n < m <= LARGEST_GROUP and n & (n - 1) == 0 and m & (m - 1) == 0):
        raise ValueError(
            f"N:M must be powers of two, N from 1 on and below M, M at most {LARGEST_GROUP}, not {n!r}:{m!r}"
        )
    return {"kept": n.bit_length() - 1, "group": m.bit_length() - 2}


def pattern_row_entries(inner_size: int, n: int, m: int) -> int:
    """Entries of a row of ``inner_size`` columns with ``n`` in each group of ``m``, the last one perhaps shorter."""
    return -(-inner_size // m) * n


def place_bits(m: int) -> int:
    """Bits that the place of an entry in its group of ``m`` columns takes in memory: 1, 2 or 4."""
    return {2: 1, 4: 2, 8: 4, 16: 4}[m]


def candidate_row_bits(count: int) -> int:
    """Bits that a row of so many candidates has in memory."""
    if 0 < count <= 2 * CANDIDATE_PART:
        return CANDIDATE_PART if count <= CANDIDATE_PART else 2 * CANDIDATE_PART
    return -(-count // CANDIDATE_WORD) * CANDIDATE_WORD


def encode_command(opcode: Opcode, **values: int) -> list[int]:
    """The 16 words of a command.

    Parameters
    ----------
    opcode : Opcode
    **values : int
        Fields by name. Fields left out are 0, ``semaphore`` ``NO_SEMAPHORE``.

    Raises
    ------
    ValueError
        If a field does not belong to the command or does not fit.
    """
    fields = COMMAND_FIELDS[opcode]
    values = {"semaphore": NO_SEMAPHORE, **values, "opcode": int(opcode), "version": VERSION}
    words = [0] * COMMAND_WORDS
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"command {opcode.name} has no field {name!r}")
        place = fields[name]
        if not 0 <= value < 1 << place.width:
            raise ValueError(f"{name} of command {opcode.name} must fit {place.width} bits, not {value!r}")
        words[place.word] |= int(value) << place.low
    return words


def decode_command(words: list[int]) -> tuple[Opcode, dict[str, int]]:
    """The opcode and the fields of a command; the inverse of ``encode_command``.

    Raises
    ------
    ValueError
        If the opcode or the version is unknown, or a bit outside the fields is set.
    """
    if len(words) != COMMAND_WORDS:
        raise ValueError(f"a command has {COMMAND_WORDS} words, not {len(words)!r}")
    number = words[0] & 0xFF
    if number not in set(Opcode):
        raise ValueError(f"unknown opcode {number:#04x}")
    opcode = Opcode(number)
    values = {}
    rest = [int(word) for word in words]
    for name, place in COMMAND_FIELDS[opcode].items():
        values[name] = (int(words[place.word]) >> place.low) & ((1 << place.width) - 1)
        rest[place.word] &= ~(((1 << place.width) - 1) << place.low)
    if values["version"] != VERSION:
        raise ValueError(f"program format version must be {VERSION}, not {values['version']!r}")
    if any(rest):
        raise ValueError(f"command {opcode.name} has bits set outside its fields: {[f'{word:#x}' for word in rest]}")
    return opcode, values
