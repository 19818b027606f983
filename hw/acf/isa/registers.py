"""What the host sees: registers, and the codes of errors."""

import enum

__all__ = [
    "IDENTIFIER",
    "ErrorCode",
    "Register",
]

IDENTIFIER = 0x41434630
"""Value of ``Register.IDENTIFIER``: "ACF0"."""


class ErrorCode(enum.IntEnum):
    """What ended a program early; the first is kept in ``Register.ERROR_CODE``."""

    NONE = 0
    ILLEGAL_COMMAND = 1
    """Unknown opcode or version; address of the command."""
    READ_RESPONSE = 2
    """A read was answered SLVERR or DECERR; address of the burst."""
    WRITE_RESPONSE = 3
    """A write was answered SLVERR or DECERR; address of the burst."""
    WINDOW = 4
    """An access outside the windows was refused; address of the burst."""
    POINTER_ORDER = 5
    """A row pointer is below the one before it; row, and the pointer as index."""
    POINTER_RANGE = 6
    """A row pointer is above the number of entries (in a PRUNE above the last one, or the first one is not 0); row, and
    the pointer as index. Or a bitmap has not as many ones as a row has entries; row, and the entries as index."""
    INDEX_RANGE = 7
    """A column index is at or above the inner size; row and index."""
    MISALIGNED = 8
    """A base address or stride is not aligned as the command requires; the address."""
    WATCHDOG = 9
    """Nothing moved on the memory port, and no command ended, for the programmed number of cycles."""
    ABORTED = 10
    """The host asked for it."""
    COMMAND_RANGE = 11
    """A field of a command is too large for this configuration; address of the command or data."""


class Register(enum.IntEnum):
    """Byte offsets of the 32-bit host registers."""

    IDENTIFIER = 0x000
    VERSION = 0x004
    CONFIG_DIGEST = 0x008
    """First 8 hexadecimal digits of ``FabricConfig.digest``."""
    GEOMETRY = 0x00C
    """rows [0:8], cols [8:16], lanes of a tile [16:24], slots [24:32]."""
    CONTROL = 0x010
    """Write: bit 0 starts the program, bit 1 aborts it."""
    STATUS = 0x014
    """bit 0 busy, bit 1 done, bit 2 error."""
    INTERRUPT_ENABLE = 0x018
    """bit 0: interrupt when a program ends (done or error)."""
    INTERRUPT_STATUS = 0x01C
    """bit 0: a program ended; write 1 to clear."""
    PROGRAM_ADDRESS = 0x020
    """Byte address of the first command, aligned to 64."""
    PROGRAM_LENGTH = 0x024
    """Commands that may be read; running past them is ILLEGAL_COMMAND."""
    WATCHDOG = 0x028
    """Cycles without progress before the watchdog ends the program; 0 turns it off."""
    CYCLES_LOW = 0x030
    CYCLES_HIGH = 0x034
    """Cycles of the latest program, from its first fetch to its END."""
    COUNTER_SELECT = 0x038
    """index [0:8], x [8:12], y [12:16] of the counter to read."""
    COUNTER_VALUE = 0x03C
    """The selected counter."""
    ERROR_CODE = 0x040
    ERROR_ADDRESS = 0x044
    ERROR_ROW = 0x048
    ERROR_INDEX = 0x04C
    ERROR_SOURCE = 0x050
    """x [0:4], y [4:8] of the node that reported it."""
    WINDOW_BASE_0 = 0x060
    """Window n (0 to 3): base at 0x060 + 16 n, limit (last byte address inside) 4 above it, rights 8 above it:
    bit 0 may be read, bit 1 may be written. All windows are closed after reset."""
    WINDOW_LIMIT_0 = 0x064
    WINDOW_RIGHTS_0 = 0x068
