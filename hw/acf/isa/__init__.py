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
    Flag,
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
from acf.isa.unit import DEFAULT_UNIT, UNIT_BITS, UNIT_STEP, unit_exponent, unit_field

__all__ = [
    "BLOCK",
    "DECODED_COLUMNS",
    "DEFAULT_UNIT",
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
    "UNIT_BITS",
    "UNIT_STEP",
    "VERSION",
    "Cast",
    "CommandProcessorCounter",
    "ControlKind",
    "Decoder",
    "EntryKind",
    "ErrorCode",
    "FeederCounter",
    "Field",
    "Flag",
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
    "unit_exponent",
    "unit_field",
]
