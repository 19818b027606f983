"""The interpreter of commands: each command by hand, every error by its code, semaphores, windows."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from acf.config import preset
from acf.golden.commands import CommandFault, CommandInterpreter, WindowRights
from acf.isa import (
    COMMAND_BYTES,
    DECODED_COLUMNS,
    VERSION,
    Decoder,
    ErrorCode,
    FeederCounter,
    Flag,
    IndexSize,
    Mode,
    Opcode,
    Ranges,
    encode_command,
)
from acf.runtime.device import FabricError, Window
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.program import Program

TINY = preset("tiny")  # 2 x 2 tiles of 2 lanes x 4 slots, 32 operand rows, 16 accumulator rows, beats of 8 bytes
SIZE = 1 << 16
PROGRAM, POINTERS, INDICES, VALUES, OPERAND, RESULT = 0x0000, 0x4000, 0x5000, 0x6000, 0x7000, 0x8000
BF16 = ml_dtypes.bfloat16


class Bench:
    """A memory, an interpreter, and verbs to fill and run them."""

    def __init__(self, *, format="bf16", formats=TINY.feeder.formats):
        feeder = dataclasses.replace(TINY.feeder, formats=formats)
        self.config = dataclasses.replace(TINY.with_format(format), feeder=feeder)
        self.interpreter = CommandInterpreter(config=self.config)
        self.memory = np.zeros(SIZE, dtype=np.uint8)
        self.windows = [WindowRights(0, SIZE - 1, True, True)]

    def put(self, address, values, dtype):
        data = np.array(values, dtype=dtype).ravel().view(np.uint8)
        self.memory[address : address + data.size] = data

    def get(self, address, count, dtype: type = np.float32):
        return self.memory[address : address + count * np.dtype(dtype).itemsize].copy().view(dtype)

    def run(self, *commands, end=True, count=None):
        words = [encode_command(opcode, **fields) for opcode, fields in commands]
        if end:
            words.append(encode_command(Opcode.END))
        return self.run_words(words, count=count)

    def run_words(self, words, count=None):
        self.put(PROGRAM, words, "<u4")
        return self.interpreter.run(
            self.memory,
            program_address=PROGRAM,
            commands=len(words) if count is None else count,
            windows=self.windows,
        )

    def fault(self, *commands, **options):
        with pytest.raises(CommandFault) as caught:
            self.run(*commands, **options)
        return caught.value


def clear(**changes):
    return Opcode.CLEAR, {"targets": 3, "row_limit": 16, **changes}


def load(**changes):
    fields = {"targets": 3, "address": OPERAND, "row_stride": 32, "rows": 4, "columns": 16, "tile_columns": 8}
    return Opcode.LOAD, {**fields, **changes}


ROWS = {"row_begin": 0, "row_end": 4, "row_offset": 1, "row_step": 2, "row_limit": 16}


def stream(**changes):
    fields = {
        "targets": 3, "pointers": POINTERS, "indices": INDICES, "values": VALUES, **ROWS, "inner_begin": 0,
        "inner_count": 4, "skip": 1, "columns": 16, "tile_columns": 8, "inner_size": 4, "entries": 5,
    }  # fmt: skip
    return Opcode.STREAM, {**fields, **changes}


def drain(**changes):
    fields = {"targets": 3, "address": RESULT, "row_stride": 64, **ROWS, "columns": 16, "tile_columns": 8}
    return Opcode.DRAIN, {**fields, **changes}


W = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, 0], [-1, 0, 0, 4]])
A = np.arange(64).reshape(4, 16) % 5  # every fifth operand is zero


@pytest.fixture
def bench():
    bench = Bench()
    rows, columns = np.nonzero(W)
    bench.put(POINTERS, np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=4))]), "<i4")
    bench.put(INDICES, columns, "<i4")
    bench.put(VALUES, W[rows, columns], BF16)
    bench.put(OPERAND, A, BF16)
    return bench


def result(bench, rows=4, columns=16):
    return bench.get(RESULT, rows * 16).reshape(rows, 16)[:, :columns]


def test_a_product_by_hand(bench):
    outcome = bench.run(clear(), load(), stream(), drain())
    assert (result(bench) == W @ A).all()
    assert outcome.commands == 5
    nonzero = (W != 0).astype(int) @ (A != 0).astype(int)
    assert outcome.effectual.sum() == nonzero.sum()
    # Row i is done by mesh row i % 2, column k by mesh column k // 8, lane k % 2.
    for row, column, lane in np.ndindex(2, 2, 2):
        assert outcome.effectual[row, column, lane] == nonzero[row::2, column * 8 + lane : column * 8 + 8 : 2].sum()
    assert outcome.row_feeders[FeederCounter.ENTRIES].tolist() == [3, 2]
    assert outcome.row_feeders[FeederCounter.RESULT_ROWS].tolist() == [4, 4]
    assert outcome.column_feeders[FeederCounter.OPERAND_ROWS].tolist() == [4, 4]


def test_a_block_of_rows_for_each_feeder(bench):
    block = {"row_offset": 2, "row_step": 1, "row_limit": 2}
    outcome = bench.run(clear(), load(), stream(**block), drain(**block))
    assert (result(bench) == W @ A).all()
    assert outcome.row_feeders[FeederCounter.ENTRIES].tolist() == [2, 3]


def test_row_limit_and_targets(bench):
    bench.memory[RESULT:] = 0xFF
    bench.run(clear(), load(), stream(), drain(row_limit=1, targets=2))
    done = result(bench)
    assert (done[1] == (W @ A)[1]).all()
    assert np.isnan(done[[0, 2, 3]]).all()


def test_fewer_columns_than_the_fabric_has(bench):
    bench.memory[RESULT:] = 0xFF
    narrow = {"columns": 6, "tile_columns": 4}
    outcome = bench.run(clear(), load(**narrow), stream(**narrow), drain(**narrow))
    assert (result(bench, columns=6) == (W @ A)[:, :6]).all()
    assert np.isnan(result(bench)[:, 6:]).all(), "columns beyond the last are not written"
    assert (outcome.effectual[:, 1].sum(axis=1) > 0).all(), "columns 4 and 5 belong to mesh column 1"


def test_a_stream_leaves_columns_alone_that_are_not_its_own(bench):
    bench.run(clear(), load(), stream(columns=6, tile_columns=4), drain())
    expected = (W @ A) * np.isin(np.arange(16), (0, 1, 2, 3, 8, 9))  # tile 1 has 2 columns of the 6
    assert (result(bench) == expected).all()


def test_columns_beyond_the_last_read_as_zero(bench):
    bench.run(clear(), load(columns=3), stream(), drain())
    assert (result(bench)[:, :3] == (W @ A)[:, :3]).all()
    assert (result(bench)[:, 3:] == 0).all()


def test_dense_and_short_indices(bench):
    bench.run(clear(), load(), stream(), drain())
    expected = result(bench)
    bench.put(INDICES, np.nonzero(W)[1], "<u2")
    outcome = bench.run(clear(), load(), stream(index_size=IndexSize.UINT16), drain())
    assert (result(bench) == expected).all()
    bench.put(VALUES, W, BF16)
    dense = bench.run(clear(), load(), stream(decoder=Decoder.DENSE, skip=0, pointers=1, indices=1), drain())
    assert (result(bench) == expected).all()
    assert (dense.effectual == outcome.effectual).all()
    assert dense.row_feeders[FeederCounter.ENTRIES].tolist() == [8, 8]
    dense = bench.run(clear(), load(), stream(decoder=Decoder.DENSE), drain())
    assert dense.row_feeders[FeederCounter.ENTRIES].tolist() == [3, 2]
    assert dense.row_feeders[FeederCounter.ZEROS_DROPPED].tolist() == [5, 6]


def put_bitmap(bench, *, behind=0):
    """The bits of ``W``, a beat for each row, with others behind the last column."""
    bench.put(INDICES, [sum(1 << column for column in np.flatnonzero(row)) | behind << 4 for row in W], "<u8")


def test_a_bitmap(bench):
    outcome = bench.run(clear(), load(), stream(), drain())
    expected = result(bench)
    put_bitmap(bench, behind=0x5A5)
    bits = bench.run(clear(), load(), stream(decoder=Decoder.BITMAP), drain())
    assert (result(bench) == expected).all()
    assert (bits.effectual == outcome.effectual).all()
    assert bits.row_feeders[FeederCounter.ENTRIES].tolist() == [3, 2]


def test_a_bitmap_whose_rows_take_beats(bench):
    """Rows of 70 columns take two beats of 64 bits; columns 62 to 65 are read, some before the border, some behind."""
    rows = [sum(1 << 62 + int(column) for column in np.flatnonzero(row)) for row in W]
    bench.put(INDICES, [word for row in rows for word in (row % (1 << 64), row >> 64)], "<u8")
    fields = {"decoder": Decoder.BITMAP, "inner_size": 70, "inner_begin": 62}
    bench.run(clear(), load(), stream(**fields), drain())
    assert (result(bench) == W @ A).all()


def test_a_bitmap_remembers_ranges(bench):
    """Of a row with a remembered part only the beats of the inner range are looked at."""
    rows = [sum(1 << 62 + int(column) for column in np.flatnonzero(row)) for row in W]
    bench.put(INDICES, [word for row in rows for word in (row % (1 << 64), row >> 64)], "<u8")
    fields = {"decoder": Decoder.BITMAP, "inner_size": 70, "inner_begin": 64, "inner_count": 2}
    outcome = bench.run(clear(), load(), stream(**fields, ranges=Ranges.RECORD))
    assert outcome.row_feeders[FeederCounter.FILTERED].tolist() == [2, 1]
    bench.put(INDICES, [word for row in rows for word in (77, row >> 64)], "<u8")
    outcome = bench.run(clear(), load(address=OPERAND + 64), stream(**fields, ranges=Ranges.USE), drain())
    assert (result(bench) == W[:, 2:] @ A[2:]).all()
    assert outcome.row_feeders[FeederCounter.FILTERED].tolist() == [0, 0]
    fault = bench.fault(stream(**{**fields, "inner_begin": 65}, ranges=Ranges.USE))
    assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_RANGE, 0, 1)


def put_groups(bench, *, empty=0):
    """``W``, which has one entry in each two columns, or none; then a zero in place ``empty``."""
    groups = W.reshape(8, 2)
    bench.put(VALUES, groups.sum(axis=1), BF16)
    places = [int(np.flatnonzero(group)[0]) if group.any() else empty for group in groups]
    bench.put(INDICES, [sum(place << n for n, place in enumerate(places))], "u1")


@pytest.mark.parametrize("empty", [0, 1])
def test_one_of_two(bench, empty):
    outcome = bench.run(clear(), load(), stream(), drain())
    expected = result(bench)
    put_groups(bench, empty=empty)
    fields = {"decoder": Decoder.N_OF_M, "kept": 0, "group": 0, "pointers": 1}
    groups = bench.run(clear(), load(), stream(**fields), drain())
    assert (result(bench) == expected).all()
    assert (groups.effectual == outcome.effectual).all()
    assert groups.row_feeders[FeederCounter.ENTRIES].tolist() == [3, 2]
    assert groups.row_feeders[FeederCounter.ZEROS_DROPPED].tolist() == [1, 2]


def test_two_of_four_in_five_columns(bench):
    """Rows of two groups, of which the second has one column; the place of its padding must be that column."""
    bench.put(VALUES, [[1, 2, 5, 0], [0, 0, 0, 0], [3, 0, 6, 0], [-1, 4, 0, 0]], BF16)
    places = [[0, 2, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 3, 0, 0]]
    fields = {"decoder": Decoder.N_OF_M, "kept": 1, "group": 1, "pointers": 1, "inner_size": 5, "inner_count": 5}
    # Bases may be odd.
    bench.put(INDICES + 1, [sum(place << 2 * n for n, place in enumerate(row)) for row in places], "u1")
    bench.put(OPERAND, np.concatenate([A, A[:1]]), BF16)
    bench.run(clear(), load(rows=5), stream(**fields, indices=INDICES + 1), drain())
    assert (result(bench) == W @ A + np.outer([5, 0, 6, 0], A[0])).all()
    # The second group alone: what of the first one is wrong is not seen.
    bench.put(INDICES + 1, [places[0][0] | 3 << 2, 0, 0, 0], "u1")
    bench.put(VALUES + 8, [0, 0, 0, 0], BF16)
    part = {"inner_begin": 4, "inner_count": 1}
    bench.run(clear(), load(), stream(**fields | part, indices=INDICES + 1), drain())
    assert (result(bench) == np.outer([5, 0, 6, 0], A[0])).all()
    bench.put(INDICES + 1, [0, 0, 1 << 6, 0], "u1")
    fault = bench.fault(clear(), load(), stream(**fields | part, indices=INDICES + 1))
    assert (fault.code, fault.row, fault.index) == (ErrorCode.INDEX_RANGE, 2, 5)


def test_a_group_of_eight_has_a_bit_to_spare(bench):
    bench.put(VALUES, [1, 2, 0, 0, 3, 0, -1, 4], BF16)
    bench.put(INDICES, [0x88 | 2 << 4, 0x88, 0x81, 0x38], "u1")
    fields = {"decoder": Decoder.N_OF_M, "kept": 1, "group": 2, "pointers": 1}
    bench.run(clear(), load(), stream(**fields), drain())
    assert (result(bench) == W @ A).all()


IN_BLOCKS = {"decoder": Decoder.BLOCKS, "index_size": IndexSize.UINT16, "entries": 16}


def put_blocks(bench):
    """``W``, which is one block."""
    bench.put(POINTERS, [0, 1], "<i4")
    bench.put(INDICES, [0], "<u2")
    bench.put(VALUES, W, BF16)


def test_a_block(bench):
    outcome = bench.run(clear(), load(), stream(), drain())
    put_blocks(bench)
    blocks = bench.run(clear(), load(), stream(**IN_BLOCKS), drain())
    assert (result(bench) == W @ A).all()
    assert (blocks.effectual == outcome.effectual).all()
    assert blocks.row_feeders[FeederCounter.ZEROS_DROPPED].tolist() == [5, 6]


def test_blocks_of_three_rows_of_blocks(bench):
    """Twelve columns, of which the inner range has four; rows of blocks with two blocks, none and one."""
    blocks = np.arange(1, 49).reshape(3, 4, 4)
    nothing = np.zeros((4, 4))
    bench.put(POINTERS, [0, 2, 2, 3], "<i4")
    bench.put(INDICES, [2, 0, 1], "<u2")
    bench.put(VALUES, blocks.transpose(1, 0, 2), BF16)
    fields = {**IN_BLOCKS, "entries": 48, "inner_size": 12, "row_end": 12}
    for begin, expected in ((0, [blocks[1], nothing, nothing]), (4, [nothing, nothing, blocks[2]])):
        for ranges in (Ranges.RECORD, Ranges.USE):
            command = stream(**fields | {"inner_begin": begin}, ranges=ranges)
            outcome = bench.run(clear(), load(), command, drain(row_end=12))
            assert (result(bench, rows=12) == np.concatenate(expected) @ A).all()
        assert outcome.row_feeders[FeederCounter.FILTERED].tolist() == [0, 0]
    fault = bench.fault(clear(), load(), stream(**fields | {"inner_size": 8}))
    assert (fault.code, fault.row, fault.index) == (ErrorCode.INDEX_RANGE, 0, 8)
    fault = bench.fault(clear(), load(), stream(**fields | {"entries": 47}))
    assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_RANGE, 8, 3)


@pytest.mark.parametrize("decoder", [Decoder.N_OF_M, Decoder.BLOCKS])
def test_decoders_that_are_left_out(decoder):
    fault = Bench(formats=()).fault(stream(decoder=decoder, index_size=IndexSize.UINT16))
    assert (fault.code, fault.detail) == (ErrorCode.COMMAND_RANGE, f"decoder {decoder:d} is not built")


@pytest.mark.parametrize("decoder", list(Decoder))
def test_inner_tiles_add_up(bench, decoder):
    if decoder is Decoder.DENSE:
        bench.put(VALUES, W, BF16)
    if decoder is Decoder.BITMAP:
        put_bitmap(bench)
    if decoder is Decoder.N_OF_M:
        put_groups(bench)
    if decoder is Decoder.BLOCKS:
        put_blocks(bench)
    tiles = []
    for begin, count in ((0, 1), (1, 3)):
        tiles += [load(address=OPERAND + 32 * begin, rows=count, bank=begin)]
        fields = {"decoder": decoder, **({"kept": 0, "group": 0} if decoder is Decoder.N_OF_M else {})}
        fields = IN_BLOCKS if decoder is Decoder.BLOCKS else fields
        tiles += [stream(inner_begin=begin, inner_count=count, bank=begin, **fields)]
    outcome = bench.run(clear(), *tiles, drain())
    assert (result(bench) == W @ A).all()
    passed_over = {Decoder.DENSE: [0, 0], Decoder.N_OF_M: [2, 2], Decoder.BLOCKS: [8, 8]}.get(decoder, [3, 2])
    assert outcome.row_feeders[FeederCounter.FILTERED].tolist() == passed_over


def test_remembered_ranges_are_read_alone(bench):
    part = {"inner_begin": 1, "inner_count": 2}  # of W row 0 has its last entry inside, row 2 its only one, row 3 none
    outcome = bench.run(clear(), load(), stream(**part, ranges=Ranges.RECORD, range_first=62))
    assert outcome.row_feeders[FeederCounter.FILTERED].tolist() == [1, 2]
    # Entries outside are not looked at: here they would be errors.
    bench.put(INDICES, [77, 2, 1, 77, 77], "<i4")
    for ranges in (Ranges.USE, Ranges.USE):
        outcome = bench.run(clear(), load(address=OPERAND + 32), stream(**part, ranges=ranges, range_first=62), drain())
        assert (result(bench) == W[:, 1:3] @ A[1:3]).all()
        assert outcome.row_feeders[FeederCounter.FILTERED].tolist() == [0, 0]
    # Rows from another one on have their places behind it.
    rows = {"row_begin": 2, "range_first": 63}
    bench.run(clear(), load(address=OPERAND + 32), stream(**part, ranges=Ranges.USE, **rows), drain())
    assert (result(bench)[0] == W[2, 1:3] @ A[1:3]).all()
    assert bench.fault(stream(**part, range_first=62)).code is ErrorCode.INDEX_RANGE


def test_remembered_ranges_lie_in_their_row(bench):
    bench.run(stream(ranges=Ranges.RECORD))
    # The second place of feeder 0 is that of row 2, whose entry lies behind the end of row 0.
    outcome = bench.run(clear(), load(), stream(ranges=Ranges.USE, range_first=1, targets=1, row_limit=1), drain())
    assert (result(bench) == 0).all()
    assert outcome.row_feeders[FeederCounter.ENTRIES].tolist() == [0, 0]


def test_accumulators_and_banks_outlive_a_program(bench):
    bench.run(clear(), load())
    bench.run(stream())
    bench.run(stream())
    bench.run(drain())
    assert (result(bench) == 2 * (W @ A)).all()
    bench.run(drain())
    assert (result(bench) == 0).all(), "a drained accumulator is +0"
    assert not np.signbit(result(bench)).any()


def test_nothing_is_cleared_by_itself(bench):
    bench.run(load(), stream(), drain())
    assert np.isnan(result(bench)).all()


def test_accumulator_first_and_operand_first(bench):
    where = {"accumulator_first": 14}
    bench.run(clear(), load(operand_first=28), drain(row_stride=64))
    bench.run(clear(**where, row_limit=2), load(), stream(**where), drain(**where))
    assert (result(bench) == W @ A).all()


def test_int8_wraps_and_says_so():
    bench = Bench(format="int8")
    count = 2**17
    bench.memory = np.zeros(1 << 20, dtype=np.uint8)
    bench.windows = [WindowRights(0, (1 << 20) - 1, True, True)]
    values, indices = 0x40000, 0x80000
    bench.put(POINTERS, [0, count], "<i4")
    bench.put(values, np.full(count, -128), np.int8)
    bench.put(indices, np.zeros(count), "<u2")
    bench.put(OPERAND, [1, 1, -128, 1, 1, 1, 1, 1], np.int8)
    one = {"row_end": 1, "columns": 8, "inner_size": 1, "inner_count": 1, "entries": count}
    one |= {"values": values, "indices": indices, "index_size": IndexSize.UINT16}
    outcome = bench.run(clear(), load(rows=1, columns=8), stream(**one), drain(row_end=1, columns=8))
    assert bench.get(RESULT, 8, np.int32).tolist() == [-128 * count] * 2 + [-(2**31)] + [-128 * count] * 5
    assert outcome.flags[0, 0].tolist() == [Flag.OVERFLOW, 0]  # column 2 is in lane 0
    assert outcome.flags.sum() == Flag.OVERFLOW


class TestErrors:
    def test_unknown_opcode(self, bench):
        with pytest.raises(CommandFault, match="unknown opcode 0x00") as caught:
            bench.run_words([[0] * 16])
        assert caught.value.code is ErrorCode.ILLEGAL_COMMAND

    def test_wrong_version(self, bench):
        words = encode_command(Opcode.END)
        words[0] += 1 << 28
        with pytest.raises(CommandFault, match=f"version must be {VERSION}, not {VERSION + 1}") as caught:
            bench.run_words([encode_command(Opcode.CLEAR), words])
        assert (caught.value.code, caught.value.address) == (ErrorCode.ILLEGAL_COMMAND, COMMAND_BYTES)

    def test_no_end(self, bench):
        fault = bench.fault(clear(), end=False)
        assert (fault.code, fault.address) == (ErrorCode.ILLEGAL_COMMAND, COMMAND_BYTES)

    def test_a_wait_that_never_ends(self, bench):
        fault = bench.fault(clear(semaphore=3), (Opcode.WAIT, {"semaphore": 3, "count": 5}))
        assert fault.code is ErrorCode.WATCHDOG
        assert "WAIT needs 5 signals of semaphore 3, and 4 is all it will ever get" in fault.detail

    def test_signals(self, bench):
        def wait(semaphore, count):
            return Opcode.WAIT, {"semaphore": semaphore, "count": count}

        bench.run(
            clear(semaphore=0), load(semaphore=1, targets=2), stream(semaphore=2, targets=1), drain(semaphore=3),
            wait(0, 3), wait(0, 1), wait(1, 2), wait(2, 2), wait(3, 2),
        )  # fmt: skip
        for number, (command, count) in enumerate([(clear, 4), (load, 4), (stream, 4), (drain, 2)]):
            bench.run(command(semaphore=number), wait(number, count))
            fault = bench.fault(command(semaphore=number), wait(number, count), wait(number, 1))
            assert fault.code is ErrorCode.WATCHDOG, "no signal more than the targets give"
        assert bench.fault(drain(semaphore=3), wait(3, 2), wait(3, 1)).code is ErrorCode.WATCHDOG
        assert bench.fault(wait(3, 1)).code is ErrorCode.WATCHDOG, "semaphores start at zero"

    @pytest.mark.parametrize("pointers", [[0, 2, 2, 1, 5], [0, 2, 2, 3, 2]])
    def test_decreasing_pointer(self, bench, pointers):
        bench.put(POINTERS, pointers, "<i4")
        fault = bench.fault(clear(), load(), stream())
        row = int(np.argmax(np.diff(pointers) < 0))
        assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_ORDER, row, pointers[row + 1])
        assert fault.source == (1 + row % 2, 0)

    @pytest.mark.parametrize("value", [6, -1])
    def test_pointer_beyond_the_entries(self, bench, value):
        bench.put(POINTERS, [0, 2, 2, 3, value], "<i4")
        fault = bench.fault(clear(), load(), stream())
        assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_RANGE, 3, value % 2**32)

    @pytest.mark.parametrize("value", [4, -1, 2**31 - 1])
    def test_index_beyond_the_inner_size(self, bench, value):
        bench.put(INDICES, [0, 2, value, 0, 3], "<i4")
        fault = bench.fault(clear(), load(), stream())
        assert (fault.code, fault.row, fault.index) == (ErrorCode.INDEX_RANGE, 2, value % 2**32)
        assert fault.source == (1, 0)

    @pytest.mark.parametrize(("row", "bits"), [(0, 0b0001), (0, 0b0111), (2, 0), (3, 0b1101), (3, 0b10001)])
    def test_a_bitmap_with_other_ones_than_entries(self, bench, row, bits):
        put_bitmap(bench)
        bench.put(INDICES + 8 * row, bits, "<u8")
        fault = bench.fault(clear(), load(), stream(decoder=Decoder.BITMAP))
        assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_RANGE, row, np.count_nonzero(W[row]))
        assert fault.source == (1 + row % 2, 0)

    def test_the_bits_of_an_empty_row_are_not_read(self, bench):
        put_bitmap(bench)
        bench.put(INDICES + 8, 0xFF, "<u8")
        bench.run(clear(), load(), stream(decoder=Decoder.BITMAP), drain())
        assert (result(bench) == W @ A).all()

    def test_the_first_fault_of_a_feeder_counts(self, bench):
        bench.put(INDICES, [0, 9, 1, 0, 3], "<i4")
        bench.put(POINTERS, [0, 2, 2, 1, 5], "<i4")
        assert bench.fault(stream()).code is ErrorCode.INDEX_RANGE
        bench.put(INDICES, [0, 2, 9, 0, 3], "<i4")
        assert bench.fault(stream()).code is ErrorCode.POINTER_ORDER

    @pytest.mark.parametrize(
        ("command", "address"),
        [
            (load(address=OPERAND + 4), OPERAND + 4),
            (load(row_stride=36), OPERAND),
            (load(tile_columns=2), OPERAND),
            (drain(address=RESULT + 4), RESULT + 4),
            (drain(row_stride=68), RESULT),
            (drain(tile_columns=1), RESULT),
            (stream(pointers=POINTERS + 2), POINTERS + 2),
            (stream(indices=INDICES + 2), INDICES + 2),
            (stream(indices=INDICES + 4, decoder=Decoder.BITMAP), INDICES + 4),
            (stream(pointers=POINTERS + 2, decoder=Decoder.BITMAP), POINTERS + 2),
            (stream(values=VALUES + 1), VALUES + 1),
        ],
    )
    def test_misaligned(self, bench, command, address):
        fault = bench.fault(clear(), command)
        assert (fault.code, fault.address) == (ErrorCode.MISALIGNED, address)

    @pytest.mark.parametrize(
        "command",
        [
            clear(row_limit=17), clear(accumulator_first=1), clear(targets=4), clear(semaphore=8),
            load(rows=33), load(operand_first=30), load(bank=2), load(tile_columns=12), load(tile_columns=0),
            load(targets=8), stream(inner_count=33), stream(bank=2), stream(mode=3),
            stream(mode=Mode.SCATTER, inner_count=17), stream(mode=Mode.SCATTER, row_operand_first=31),
            stream(mode=Mode.SAMPLED), stream(mode=Mode.SAMPLED, row_bank=1, entry_count=129),
            stream(mode=Mode.SAMPLED, row_bank=1, row_operand_first=31),
            stream(decoder=len(Decoder)), stream(decoder=Decoder.BITMAP, mode=Mode.SCATTER),
            stream(decoder=Decoder.BITMAP, mode=Mode.SAMPLED, row_bank=1),
            stream(decoder=Decoder.BITMAP, inner_size=DECODED_COLUMNS + 1),
            stream(decoder=Decoder.N_OF_M, inner_size=DECODED_COLUMNS + 1), stream(decoder=Decoder.N_OF_M, kept=1),
            stream(decoder=Decoder.N_OF_M, ranges=Ranges.USE), stream(decoder=Decoder.BLOCKS),
            stream(decoder=Decoder.BLOCKS, index_size=IndexSize.UINT16, mode=Mode.SAMPLED, row_bank=1),
            stream(ranges=3), stream(ranges=Ranges.USE, range_first=63), stream(ranges=Ranges.RECORD, range_first=63),
            stream(ranges=Ranges.RECORD, decoder=Decoder.DENSE),
            stream(accumulator_first=15), stream(targets=4), drain(accumulator_first=15), drain(tile_columns=9),
            (Opcode.WAIT, {"semaphore": 15, "count": 0}),
        ],
    )  # fmt: skip
    def test_out_of_range(self, bench, command):
        fault = bench.fault(command)
        assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, 0)

    @pytest.mark.parametrize(
        ("closed", "size", "address"),
        [(POINTERS, 4, POINTERS), (INDICES + 16, 4, INDICES + 16), (VALUES + 8, 2, VALUES + 8),
         (POINTERS + 20, 1, POINTERS + 16), (OPERAND + 37, 1, OPERAND + 32), (RESULT + 64, 4, RESULT + 64),
         (PROGRAM + 64, 1, PROGRAM + 64)],
    )  # fmt: skip
    def test_windows(self, bench, closed, size, address):
        bench.windows = [
            WindowRights(0, closed - 1, True, True),
            WindowRights(closed + size, SIZE - 1, True, True),
        ]
        fault = bench.fault(clear(), load(), stream(), drain())
        assert fault.code is ErrorCode.WINDOW
        assert fault.address == address

    def test_rights(self, bench):
        bench.windows = [WindowRights(0, SIZE - 1, True, False)]
        assert bench.fault(clear(), load(), stream(), drain()).code is ErrorCode.WINDOW
        bench.windows = [WindowRights(0, SIZE - 1, False, True)]
        assert bench.fault(clear()).code is ErrorCode.WINDOW
        bench.windows = [WindowRights(0, RESULT - 1, True, False), WindowRights(RESULT, SIZE - 1, False, True)]
        bench.run(clear(), load(), stream(), drain())

    def test_beyond_the_memory(self, bench):
        bench.windows = [WindowRights(0, (1 << 32) - 1, True, True)]
        fault = bench.fault(clear(), load(address=SIZE - 32))
        assert (fault.code, fault.address) == (ErrorCode.READ_RESPONSE, SIZE)
        fault = bench.fault(clear(), drain(address=SIZE))
        assert (fault.code, fault.address) == (ErrorCode.WRITE_RESPONSE, SIZE)


class TestGoldenDevice:
    def program(self, *commands):
        program = Program()
        for opcode, fields in commands:
            program.add(opcode, **fields)
        return program

    def test_runs_programs_and_reports_errors(self):
        device = GoldenDevice(TINY, memory_bytes=SIZE)
        program = self.program(clear(), drain(), (Opcode.END, {}))
        data = program.to_array()
        device.memory[: data.size] = data
        device.memory[RESULT:] = 0xFF
        run = device.run(0, len(program), [Window(base=0, limit=SIZE - 1)])
        assert run.cycles is None
        assert run.lane_cycles is None
        assert run.utilization is None
        assert (device.memory[RESULT : RESULT + 4 * 64] == 0).all()
        with pytest.raises(FabricError, match="WINDOW: address 0x8000") as caught:
            device.run(0, len(program), [Window(base=0, limit=RESULT - 1)])
        assert caught.value.code is ErrorCode.WINDOW
        assert caught.value.source == (1, 0)
        with pytest.raises(FabricError, match="MISALIGNED"):
            device.run(32, len(program), [Window(base=0, limit=SIZE - 1)])

    def test_a_program_survives_its_bytes(self):
        program = self.program(clear(), load(), stream(), drain(semaphore=2), (Opcode.END, {}))
        again = Program.from_array(program.to_array())
        assert (again.to_array() == program.to_array()).all()
        assert again.disassemble() == program.disassemble()
        lines = program.disassemble(address=0x100).splitlines()
        assert lines[0] == "0x00000100  CLEAR  targets=0x3 row_limit=16 accumulator_first=0"
        assert lines[3].startswith("0x000001c0  DRAIN  semaphore=2 targets=0x3 address=0x8000 row_stride=64")
        with pytest.raises(ValueError, match="a multiple of 64 bytes long, not 63 bytes"):
            Program.from_array(program.to_array()[:63])
        with pytest.raises(ValueError, match="command END has no field 'count'"):
            program.add(Opcode.END, count=1)

    def test_windows_are_checked(self):
        with pytest.raises(ValueError, match="base first, not 0x10 to 0xf"):
            Window(base=16, limit=15)
