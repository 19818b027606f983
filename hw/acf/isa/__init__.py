"""What crosses the borders of the blocks: commands, packets, registers, counters and error codes, bit by bit.

Hardware, golden model, compiler and simulators all read these tables; none of them states a bit position again.
``docs/program.md`` and ``docs/registers.md`` explain them to people.
"""

from acf.isa.commands import (
    BLOCK,
    CANDIDATE_PART,
    CANDIDATE_WORD,
    COMMAND_BYTES,
    COMMAND_WORDS,
    DECODED_COLUMNS,
    GATE_STEPS,
    LARGEST_BLOCK,
    LARGEST_GROUP,
    NO_SEMAPHORE,
    SEMAPHORES,
    VERSION,
    bitmap_row_bytes,
    candidate_row_bits,
    decode_command,
    encode_command,
    pattern_fields,
    pattern_row_entries,
    place_bits,
)
from acf.isa.counters import (
    COUNTERS_PER_LANE,
    CommandProcessorCounter,
    FeederCounter,
    LaneCause,
    LaneCounter,
    StructureCounter,
    TileCounter,
)
from acf.isa.fields import COMMAND_FIELDS, Field
from acf.isa.opcodes import Decoder, IndexSize, Mode, Opcode, Ranges
from acf.isa.packets import (
    Cast,
    ControlKind,
    EntryKind,
    OperandKind,
    ResultKind,
    TrafficClass,
)
from acf.isa.registers import (
    IDENTIFIER,
    ErrorCode,
    Register,
)

__all__ = [
    "BLOCK",
    "DECODED_COLUMNS",
    "CANDIDATE_PART",
    "CANDIDATE_WORD",
    "COMMAND_BYTES",
    "COMMAND_FIELDS",
    "COMMAND_WORDS",
    "COUNTERS_PER_LANE",
    "GATE_STEPS",
    "IDENTIFIER",
    "LARGEST_BLOCK",
    "LARGEST_GROUP",
    "NO_SEMAPHORE",
    "SEMAPHORES",
    "VERSION",
    "Cast",
    "CommandProcessorCounter",
    "ControlKind",
    "Decoder",
    "EntryKind",
    "ErrorCode",
    "FeederCounter",
    "Field",
    "IndexSize",
    "LaneCause",
    "LaneCounter",
    "Mode",
    "Opcode",
    "OperandKind",
    "Ranges",
    "Register",
    "ResultKind",
    "StructureCounter",
    "TileCounter",
    "TrafficClass",
    "bitmap_row_bytes",
    "candidate_row_bits",
    "decode_command",
    "encode_command",
    "pattern_fields",
    "pattern_row_entries",
    "place_bits",
]
