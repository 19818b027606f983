"""Programs: lists of commands, as bytes for a device and as text for people."""

from typing import NamedTuple

import numpy as np

from acf.isa import (
    COMMAND_BYTES,
    COMMAND_FIELDS,
    COMMAND_WORDS,
    NO_SEMAPHORE,
    Opcode,
    decode_command,
    encode_command,
    unit_field,
)

__all__ = ["Command", "Program"]

_HEXADECIMAL = ("address", "pointers", "indices", "values", "targets")


class Command(NamedTuple):
    """One command and its fields by name."""

    opcode: Opcode
    fields: dict[str, int]

    def __str__(self) -> str:
        shown = []
        for name in COMMAND_FIELDS[self.opcode]:
            value = self.fields.get(name, NO_SEMAPHORE if name == "semaphore" else 0)
            if name in ("opcode", "version") or (name == "semaphore" and value == NO_SEMAPHORE):
                continue
            shown.append(f"{name}={value:#x}" if name in _HEXADECIMAL else f"{name}={value}")
        return f"{self.opcode.name:<6} {' '.join(shown)}".rstrip()


class Program:
    """A list of commands that grows by ``add``."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def __len__(self) -> int:
        return len(self.commands)

    def add(self, opcode: Opcode, **fields: int) -> None:
        """Append a command.

        Raises
        ------
        ValueError
            If a field does not belong to the command or does not fit.
        """
        encode_command(opcode, **fields)
        self.commands.append(Command(opcode, fields))

    def with_unit(self, exponent: int) -> "Program":
        """The same program, in which the last bit of an accumulator weighs ``2 ** exponent`` (format bf16x).

        Raises
        ------
        ValueError
            If it cannot weigh that.
        """
        unit = unit_field(exponent)
        program = Program()
        for opcode, fields in self.commands:
            program.add(opcode, **({**fields, "unit": unit} if opcode is Opcode.STREAM and unit else fields))
        return program

    def to_array(self) -> np.ndarray:
        """The program as it lies in memory: ``uint8``, ``COMMAND_BYTES`` a command."""
        words = [encode_command(opcode, **fields) for opcode, fields in self.commands]
        return np.array(words, dtype="<u4").reshape(len(self), COMMAND_WORDS).view(np.uint8).ravel()

    @classmethod
    def from_array(cls, array: np.ndarray) -> "Program":
        """The inverse of ``to_array``.

        Raises
        ------
        ValueError
            If these bytes are not commands.
        """
        if array.size % COMMAND_BYTES:
            raise ValueError(f"a program is a multiple of {COMMAND_BYTES} bytes long, not {array.size!r} bytes")
        program = cls()
        for words in np.frombuffer(array.tobytes(), dtype="<u4").reshape(-1, COMMAND_WORDS).tolist():
            opcode, fields = decode_command(words)
            del fields["opcode"], fields["version"]
            program.add(opcode, **fields)
        return program

    def disassemble(self, *, address: int = 0) -> str:
        """One line of text per command, each with its address."""
        return "\n".join(f"{address + n * COMMAND_BYTES:#010x}  {command}" for n, command in enumerate(self.commands))
