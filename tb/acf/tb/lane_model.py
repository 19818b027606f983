"""What lanes compute, in plain Python, and operands that are hard for them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from acf.config import NUMBER_FORMATS, LaneConfig
from acf.golden.formats import golden_format

__all__ = ["ColumnModel", "Entry", "random_entries", "random_operands", "random_sampled"]

_CORNERS = {
    # Zeros, ones, infinities, NaNs, subnormals, the largest and the smallest normal numbers.
    "bf16": bytes.fromhex("0000 8000 3F80 BF80 7F80 FF80 7FC0 FFFF 7F81 0001 807F 7F7F FF7F 0080 8080 3F81 3380 4B80"),
    # The same, and numbers whose products are about the last bit and the highest one.
    "bf16x": bytes.fromhex(
        "0000 8000 3F80 BF80 7F80 FF80 7FC0 FFFF 7F81 0001 807F 7F7F FF7F 0080 8080 3F81 3380 4B80 2740 A7C0 4600 C680"
    ),
    "int8": bytes.fromhex("00 01 FF 7F 80"),
}


@dataclass(frozen=True)
class Entry:
    """An entry: the bits of its value, its operand row in the bank, its accumulator row.

    In SAMPLED mode the operand row in the row bank stands for the value; accumulators are counted through all slots.
    """

    value: int
    row: int
    accumulator: int


def random_operands(rng: random.Random, count: int, *, format: str, density: float, corners: float = 0.2) -> list[int]:
    """Bits of ``count`` operands, of which a share of ``density`` is drawn from all numbers, the others zero.

    With probability ``corners`` one of them is a special number. The others are moderate, so that sums of them round.
    """
    width = NUMBER_FORMATS[format].operand_bytes
    corner_bits = [int.from_bytes(_CORNERS[format][n : n + width]) for n in range(0, len(_CORNERS[format]), width)]
    if format == "int8":
        ordinary = [bits for bits in range(256) if bits]
    else:
        ordinary = [sign << 15 | exponent << 7 for sign in (0, 1) for exponent in range(120, 134)]

    def one() -> int:
        if rng.random() >= density:
            return rng.choice([0x0000, 0x8000]) if format != "int8" else 0
        if rng.random() < corners:
            return rng.choice(corner_bits)
        return rng.choice(ordinary) | (rng.getrandbits(7) if format != "int8" else 0)

    return [one() for _ in range(count)]


def random_entries(
    rng: random.Random, count: int, *, lane: LaneConfig, rows: Sequence[int], accumulators: Sequence[int], density=0.9
) -> list[Entry]:
    """Entries whose rows and accumulators are drawn from those given."""
    values = random_operands(rng, count, format=lane.format, density=density)
    return [Entry(value, rng.choice(rows), rng.choice(accumulators)) for value in values]


def random_sampled(
    rng: random.Random, count: int, *, lane: LaneConfig, rows: Sequence[int], row_rows: Sequence[int]
) -> list[Entry]:
    """SAMPLED entries of one stream, each with an accumulator of its own; rows are drawn from those given."""
    accumulators = rng.sample(range(lane.accumulator_rows * lane.slots), count)
    return [Entry(rng.choice(row_rows), rng.choice(rows), accumulator) for accumulator in accumulators]


@dataclass
class ColumnModel:
    """Operands and accumulators of some columns, those of one lane or of a tile, and what became of them.

    Column ``k`` of a tile is slot ``k // lanes`` of lane ``k % lanes``.

    Parameters
    ----------
    lane : LaneConfig
    columns : int
        Columns held; ``slots`` for each lane.
    """

    lane: LaneConfig
    columns: int
    used: np.ndarray = field(init=False)
    """Which columns take part."""
    issued: np.ndarray = field(init=False)
    """Products that cost a cycle, by column, were every entry dense (``dense``) or not."""
    effectual: np.ndarray = field(init=False)
    """Products of two numbers that are not zero, by column."""
    flags: np.ndarray = field(init=False)
    """What sums have raised (``acf.isa.Flag``), by column."""

    def __post_init__(self) -> None:
        self.golden = golden_format(self.lane.format)
        rows = self.lane.operand_banks * self.lane.operand_rows
        self.operands = np.zeros((rows, self.columns), self.golden.dtype)
        self.accumulators = np.zeros((self.lane.accumulator_rows, self.columns), self.golden.accumulator_dtype)
        self.used = np.ones(self.columns, bool)
        self.start_counting()

    def start_counting(self) -> None:
        """Set the counts to zero."""
        self.issued = np.zeros(self.columns, int)
        self.effectual = np.zeros(self.columns, int)
        self.flags = np.zeros(self.columns, np.uint8)

    def from_bits(self, bits: Sequence[int] | int) -> np.ndarray:
        """Operands from their bits."""
        return np.asarray(bits, f"u{self.golden.number_format.operand_bytes}").view(self.golden.dtype)

    def load(self, row: int, bits: Sequence[int]) -> None:
        """Write an operand row, counted through all banks."""
        self.operands[row] = self.from_bits(bits)

    def add(self, entry: Entry, *, bank: int, dense: bool) -> None:
        """Carry out one entry."""
        x, y = self.from_bits(entry.value), self.operands[self._row(bank, entry.row)]
        effectual = self.used & ~self.golden.is_zero(x) & ~self.golden.is_zero(y)
        old = self.accumulators[entry.accumulator]
        new, raised = self.golden.accumulate(old, x, y)
        self.accumulators[entry.accumulator] = np.where(effectual, new, old)
        self.flags[effectual] |= raised[effectual]
        self.effectual += effectual
        self.issued += self.used if dense else effectual

    def add_sampled(self, entry: Entry, *, bank: int, row_bank: int, dense: bool) -> None:
        """Carry out one entry of a SAMPLED stream, in all lanes."""
        slots = self.lane.slots
        x, y = self.operands[self._row(row_bank, entry.value)], self.operands[self._row(bank, entry.row)]
        effectual = self.used & ~self.golden.is_zero(x) & ~self.golden.is_zero(y)
        row, place = divmod(entry.accumulator, slots)
        lanes = self.columns // slots
        sums = self.accumulators[row].reshape(slots, lanes)[place]  # a view
        for slot in range(slots):
            columns = slice(slot * lanes, (slot + 1) * lanes)
            new, raised = self.golden.accumulate(sums, x[columns], y[columns])
            sums[:] = np.where(effectual[columns], new, sums)
            self.flags[columns] |= np.where(effectual[columns], raised, 0).astype(np.uint8)
        self.effectual += effectual
        self.issued += self.used if dense else effectual

    def _row(self, bank: int, row: int) -> int:
        return bank * self.lane.operand_rows + row

    def row_bits(self, row: int) -> list[int]:
        """Bits of an accumulator row."""
        return [int(bits) for bits in self.accumulators[row].view(f"u{self.golden.number_format.accumulator_bytes}")]

    def result_bits(self, row: int) -> list[int]:
        """Bits of an accumulator row as it is drained."""
        return [int(bits) for bits in self.golden.result(self.accumulators[row]).view(np.uint32)]

    def one_bits(self, times: int) -> int:
        """Bits of an accumulator to which 1 was added so often."""
        one = self.golden.quantize(np.ones(1))
        sums = np.zeros(1, self.golden.accumulator_dtype)
        for _ in range(times):
            sums = self.golden.accumulate(sums, one, one)[0]
        return int(sums.view(f"u{sums.itemsize}")[0])

    @property
    def raised(self) -> int:
        """What any sum has raised."""
        return int(np.bitwise_or.reduce(self.flags))

    def clear(self, row: int) -> None:
        """Set an accumulator row to +0."""
        self.accumulators[row] = 0
