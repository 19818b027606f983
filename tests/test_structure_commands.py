"""Commands to the structure engine on the golden device: what they do to memory, and what they are refused for."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from acf.config import preset
from acf.golden.commands import CommandFault, CommandInterpreter, WindowRights
from acf.golden.optimizer import sgd_step, xorshift32_states
from acf.golden.rewiring import SPAN_UNIT, rewire, select_largest
from acf.isa import COMMAND_BYTES, ErrorCode, IndexSize, Opcode, encode_command
from acf.sparsity import reference
from acf.sparsity.weights import SparseWeights

TINY = preset("tiny")  # beats of 8 bytes
PROGRAM, GRADIENT, MASTER, MOMENTUM, VALUES = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
SIZE = 1 << 16
BF16 = ml_dtypes.bfloat16


class Bench:
    """A memory with three arrays in it, and an interpreter."""

    def __init__(self, *, format="bf16", unstructured=True):
        structure = dataclasses.replace(TINY.structure, unstructured=unstructured)
        config = dataclasses.replace(TINY, structure=structure).with_format(format)
        self.interpreter = CommandInterpreter(config=config)
        self.memory = np.full(SIZE, 0xA5, dtype=np.uint8)
        self.windows = [WindowRights(0, SIZE - 1, True, True)]
        rng = np.random.default_rng(3)
        self.gradient, self.master, self.momentum = rng.normal(size=(3, 100)).astype(np.float32)
        self.put(GRADIENT, self.gradient)
        self.put(MASTER, self.master)
        self.put(MOMENTUM, self.momentum)

    def put(self, address, array):
        data = np.ascontiguousarray(array).view(np.uint8).ravel()
        self.memory[address : address + data.size] = data

    def get(self, address, count, dtype: type = np.float32):
        return self.memory[address : address + count * np.dtype(dtype).itemsize].copy().view(dtype)

    def run(self, *commands):
        words = [encode_command(opcode, **fields) for opcode, fields in [*commands, (Opcode.END, {})]]
        self.put(PROGRAM, np.array(words, dtype="<u4"))
        return self.interpreter.run(self.memory, program_address=PROGRAM, commands=len(words), windows=self.windows)

    def fault(self, *commands):
        with pytest.raises(CommandFault) as caught:
            self.run(*commands)
        return caught.value


def bits(number):
    return int(np.array(number, dtype=BF16).view(np.uint16))


def update(**changes):
    fields = {
        "semaphore": 6, "gradient": GRADIENT, "master": MASTER, "momentum": MOMENTUM, "values": VALUES, "entries": 99,
        "learning_rate": bits(0.1), "momentum_factor": bits(0.9),
    }  # fmt: skip
    return Opcode.UPDATE, {**fields, **changes}


@pytest.mark.parametrize(("stochastic", "rounding"), [(0, "nearest"), (1, "stochastic")])
def test_an_update_is_a_step_of_sgd(stochastic, rounding):
    bench = Bench()
    bench.run(update(stochastic=stochastic, seed=7), (Opcode.WAIT, {"semaphore": 6, "count": 1}))
    expected = sgd_step(
        bench.master[:99], bench.momentum[:99], bench.gradient[:99], learning_rate=0.1, momentum_factor=0.9,
        rounding=rounding, seed=7,
    )  # fmt: skip
    assert bench.get(MASTER, 99).tobytes() == expected.master.tobytes()
    assert bench.get(MOMENTUM, 99).tobytes() == expected.momentum.tobytes()
    assert bench.get(VALUES, 99, BF16).tobytes() == expected.weights.tobytes()


def test_an_update_touches_nothing_else():
    bench = Bench()
    before = bench.memory.copy()
    bench.run(update())
    changed = np.flatnonzero(bench.memory != before)
    changed = changed[changed >= GRADIENT]
    inside = [(MASTER, 4), (MOMENTUM, 4), (VALUES, 2)]
    assert changed.size > 0
    assert all(any(base <= place < base + 99 * size for base, size in inside) for place in changed.tolist())


def test_an_update_of_nothing_signals():
    bench = Bench()
    before = bench.memory.copy()
    bench.run(update(entries=0), (Opcode.WAIT, {"semaphore": 6, "count": 1}))
    assert (bench.memory[GRADIENT:] == before[GRADIENT:]).all()


@pytest.mark.parametrize("array", ["gradient", "master", "momentum", "values"])
def test_arrays_of_an_update_lie_at_whole_beats(array):
    address = update()[1][array] + 4
    fault = Bench().fault(update(**{array: address}))
    assert (fault.code, fault.address) == (ErrorCode.MISALIGNED, address)


def test_updates_are_for_bf16():
    fault = Bench(format="int8").fault(update())
    assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, PROGRAM)


def test_stochastic_rounding_needs_a_seed():
    fault = Bench().fault((Opcode.WAIT, {"semaphore": 0, "count": 0}), update(stochastic=1, seed=0))
    assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, PROGRAM + COMMAND_BYTES)


def test_an_update_keeps_to_the_windows():
    bench = Bench()
    bench.windows = [WindowRights(0, MOMENTUM - 1, True, True), WindowRights(MOMENTUM, SIZE - 1, True, False)]
    before = bench.get(MOMENTUM, 100)
    assert bench.fault(update()).code is ErrorCode.WINDOW
    assert bench.get(MOMENTUM, 100).tobytes() == before.tobytes()


POINTERS, INDICES, CANDIDATES, BITS = 0x5000, 0x5800, 0x6000, 0x7000
ROWS, COLUMNS = 12, 23  # the last column is protected


class RewireBench(Bench):
    """Weights of constant fan-in behind a bias, and gradients of all of them."""

    def __init__(self, *, index_type: type = np.uint16, **options):
        super().__init__(**options)
        rng = np.random.default_rng(5)
        self.pointers = np.arange(ROWS + 1, dtype=np.int32) * 8
        chosen = [[*rng.permutation(COLUMNS - 1)[:7], COLUMNS - 1] for _ in range(ROWS)]
        self.indices = np.array(chosen, dtype=index_type).ravel()
        self.master, self.momentum = rng.normal(size=(2, 8 * ROWS)).astype(np.float32)
        self.values = self.master.astype(BF16)
        self.candidates = rng.normal(size=(ROWS, 24)).astype(np.float32)
        self.bits = rng.random((ROWS, 32)) < 0.4
        for address, array in (
            (POINTERS, self.pointers), (INDICES, self.indices), (VALUES, self.values), (MASTER, self.master),
            (MOMENTUM, self.momentum), (CANDIDATES, self.candidates), (BITS, np.packbits(self.bits, bitorder="little")),
        ):  # fmt: skip
            self.put(address, array)

    def weights(self):
        return SparseWeights((ROWS, COLUMNS), self.pointers, self.indices.astype(np.int32), self.master.copy(),
                             self.momentum.copy(), self.values.copy())  # fmt: skip

    def check(self, expected):
        assert self.get(INDICES, 8 * ROWS, self.indices.dtype.type).tolist() == expected.indices.tolist()
        assert self.get(MASTER, 8 * ROWS).tobytes() == expected.master.tobytes()
        assert self.get(MOMENTUM, 8 * ROWS).tobytes() == expected.momentum.tobytes()
        assert self.get(VALUES, 8 * ROWS, BF16).tobytes() == expected.values.tobytes()


def rewire_command(**changes):
    fields = {
        "semaphore": 6, "pointers": POINTERS, "indices": INDICES, "values": VALUES, "row_begin": 0, "row_end": ROWS,
        "master": MASTER, "momentum": MOMENTUM, "candidates": BITS, "span": 3 * SPAN_UNIT, "seed": 5,
        "index_size": IndexSize.UINT16, "inner_size": COLUMNS, "protected_from": COLUMNS - 1,
    }  # fmt: skip
    return Opcode.REWIRE, {**fields, **changes}


def golden_rewire(bench, **changes):
    settings = {
        "row_begin": 0, "row_end": ROWS, "span": 3 * SPAN_UNIT, "most": TINY.structure.exchanged,
        "inner_size": COLUMNS, "protected_from": COLUMNS - 1, "candidates": bench.bits[:, : COLUMNS - 1], "seed": 5,
    }  # fmt: skip
    arrays = bench.pointers, bench.indices, bench.master, bench.momentum, bench.values
    return rewire(*arrays, **{**settings, **changes})


@pytest.mark.parametrize("index_size", IndexSize)
@pytest.mark.parametrize("span", [SPAN_UNIT, 3 * SPAN_UNIT, 200_000, (1 << 32) - 1])
def test_a_rewiring_takes_candidates(index_size, span):
    bench = RewireBench(index_type=np.uint16 if index_size is IndexSize.UINT16 else np.int32)
    outcome = bench.run(rewire_command(span=span, index_size=index_size), (Opcode.WAIT, {"semaphore": 6, "count": 1}))
    expected = golden_rewire(bench, span=span)
    bench.check(expected)
    assert outcome.rewired == expected.changed
    assert (expected.changed > 0) == (span < 1 << 20)


def test_rows_are_rewired_in_parts():
    """Candidates of a command are those of its first row on, and so are draws."""
    bench = RewireBench()
    bench.run(rewire_command(row_begin=8, candidates=BITS + 8 * 4))
    expected = golden_rewire(bench, row_begin=8, candidates=bench.bits[8:, : COLUMNS - 1])
    bench.check(expected)
    assert (bench.get(MASTER, 64) == bench.master[:64]).all()


@pytest.mark.parametrize(("shift", "first"), [(0, 0), (1, 0), (1, 1), (2, 3), (3, 6)])
def test_some_columns_are_candidates(shift, first):
    """Of 22 columns 22, 11, 6 or 3; the last one counts even where it is beyond the columns that may grow."""
    bench = RewireBench()
    bits = bench.bits if shift == 0 else np.ascontiguousarray(bench.bits[:, :16])
    bench.put(BITS, np.packbits(bits, bitorder="little"))
    bench.run(rewire_command(candidate_shift=shift, candidate_first=first))
    candidates = bits[:, : -(-22 >> shift)]
    expected = golden_rewire(bench, candidates=candidates, candidate_step=1 << shift, candidate_first=first)
    bench.check(expected)
    new = expected.indices[expected.indices != bench.indices]
    assert new.size
    assert set(new % (1 << shift)) == {first}


def test_growth_at_random_draws_columns():
    bench = RewireBench()
    bench.run(rewire_command(random=1, seed=99, candidates=4))
    bench.check(golden_rewire(bench, candidates=None, seed=99))


def test_sums_become_bits_that_a_rewiring_takes():
    """A DRAIN with select writes a bit for each sum, in whole bytes, and nothing else."""
    bench = Bench()
    tiles = bench.interpreter._tiles
    sums = np.random.default_rng(8).normal(size=(TINY.rows, 40)).astype(np.float32)
    held = np.zeros((TINY.rows, 64, TINY.cols, TINY.lanes), dtype=np.float32)
    held[:, :40, 1, 1] = sums
    for row in range(TINY.rows):
        tiles._keep_lane_sums(row, held[row])
    before = bench.memory.copy()
    fields = {"address": VALUES, "entries": 16 + 40 + 21, "entry_begin": 16, "entry_count": 40, "reduce": 1}
    bench.run((Opcode.DRAIN, {"targets": 3, "select": 1, "block": 3, **fields}))
    bits = np.concatenate([
        select_largest(sums[0], first=16, block=8), select_largest(sums[1, :21], first=56, block=8)
    ])  # fmt: skip
    assert bits.sum() == 8
    before[VALUES + 2 : VALUES + 10] = np.packbits(bits, bitorder="little")
    assert (bench.memory[GRADIENT:] == before[GRADIENT:]).all()
    for changes in ({"block": 7}, {"reduce": 0}, {"narrow": 1}):
        command = {"targets": 3, "select": 1, "tile_columns": 8, **fields, **changes}
        assert bench.fault((Opcode.DRAIN, command)).code is ErrorCode.COMMAND_RANGE
    for changes in ({"address": VALUES + 4}, {"entry_begin": 4}, {"entry_count": 4}):
        command = {"targets": 3, "select": 1, **fields, **changes}
        assert bench.fault((Opcode.DRAIN, command)).code is ErrorCode.MISALIGNED


@pytest.mark.parametrize("what", ["pointers", "indices", "values", "master", "momentum", "candidates"])
def test_arrays_of_a_rewiring_lie_at_whole_beats(what):
    address = rewire_command()[1][what] + 4
    fault = RewireBench().fault(rewire_command(**{what: address}))
    assert (fault.code, fault.address) == (ErrorCode.MISALIGNED, address)


@pytest.mark.parametrize("changes", [{"random": 1, "seed": 0}, {"format": "int8"}])
def test_rewirings_that_are_refused(changes):
    format = changes.pop("format", "bf16")
    assert RewireBench(format=format).fault(rewire_command(**changes)).code is ErrorCode.COMMAND_RANGE


@pytest.mark.parametrize(
    "changes",
    [{"span": SPAN_UNIT - 1}, {"span": 0}, {"inner_size": 1 << 17}, {"candidate_first": 4, "candidate_shift": 2}],
)
def test_rewirings_that_cannot_be_done(changes):
    fault = RewireBench().fault(rewire_command(**changes))
    assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, VALUES)


def test_a_rewiring_names_a_bad_pointer():
    bench = RewireBench()
    bench.put(POINTERS + 4 * 3, np.array([7], dtype=np.int32))
    fault = bench.fault(rewire_command())
    assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_ORDER, 2, 7)


def test_a_rewiring_names_a_bad_index():
    bench = RewireBench()
    bench.put(INDICES + 2 * 30, np.array([COLUMNS], dtype=np.uint16))
    before = bench.memory.copy()
    fault = bench.fault(rewire_command())
    assert (fault.code, fault.row, fault.index) == (ErrorCode.INDEX_RANGE, 3, COLUMNS)
    assert (bench.memory[GRADIENT:] == before[GRADIENT:]).all()


SECOND = 0x8000


def prune_command(**changes):
    fields = {
        "semaphore": 6, "pointers": POINTERS, "indices": INDICES, "values": VALUES, "row_end": ROWS, "master": MASTER,
        "momentum": MOMENTUM, "layer_drop": 30, "index_size": IndexSize.UINT16, "inner_size": COLUMNS,
        "protected_from": COLUMNS - 1,
    }  # fmt: skip
    return Opcode.PRUNE, {**fields, **changes}


@pytest.mark.parametrize("shift", [0, SECOND, (1 << 32) - 0x1000])
@pytest.mark.parametrize("index_size", IndexSize)
@pytest.mark.parametrize("drop", [0, 1, 30, 84, 200])
def test_a_pruning_drops_the_smallest_of_a_layer(index_size, drop, shift):
    bench = RewireBench(index_type=np.uint16 if index_size is IndexSize.UINT16 else np.int32)
    before = bench.memory.copy()
    command = prune_command(layer_drop=drop, index_size=index_size, shift=shift)
    bench.run(command, (Opcode.WAIT, {"semaphore": 6, "count": 1}))
    expected = reference.prune(bench.weights(), drop=drop, protected_from=COLUMNS - 1)
    after = bench.memory.copy()
    for address, array in (
        (POINTERS, expected.pointers), (INDICES, expected.indices.astype(bench.indices.dtype)),
        (MASTER, expected.master), (MOMENTUM, expected.momentum), (VALUES, expected.values),
    ):  # fmt: skip
        address = (address + shift) % (1 << 32)
        assert after[address : address + array.nbytes].tobytes() == array.tobytes()
        before[address : address + array.nbytes] = after[address : address + array.nbytes]
    assert (after[GRADIENT:] == before[GRADIENT:]).all(), "nothing else has changed"


@pytest.mark.parametrize("what", ["shift", "pointers", "indices", "values", "master", "momentum"])
def test_arrays_of_a_pruning_lie_at_whole_beats(what):
    address = 0x4000 + 4
    fault = RewireBench().fault(prune_command(**{what: address}))
    assert (fault.code, fault.address) == (ErrorCode.MISALIGNED, address)


@pytest.mark.parametrize("make", ["prune", "survey", "merge"])
def test_engines_that_are_not_built(make):
    commands = {"prune": prune_command, "survey": survey_command, "merge": merge_command}
    fault = RewireBench(unstructured=False).fault(commands[make]())
    assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, PROGRAM)


def test_prunings_are_for_bf16():
    assert RewireBench(format="int8").fault(prune_command()).code is ErrorCode.COMMAND_RANGE


@pytest.mark.parametrize(
    ("place", "pointer", "code", "row"),
    [
        (3, 7, ErrorCode.POINTER_ORDER, 2),
        (3, 97, ErrorCode.POINTER_RANGE, 2),
        (0, 1, ErrorCode.POINTER_RANGE, 0),
        (ROWS, 87, ErrorCode.POINTER_RANGE, ROWS - 2),
    ],
)
def test_a_pruning_names_a_bad_pointer(place, pointer, code, row):
    bench = RewireBench()
    bench.put(POINTERS + 4 * place, np.array([pointer], dtype=np.int32))
    before = bench.memory.copy()
    fault = bench.fault(prune_command())
    assert (fault.code, fault.row, fault.index) == (code, row, 88 if place == ROWS else pointer)
    assert (bench.memory[GRADIENT:] == before[GRADIENT:]).all()


def test_a_pruning_names_what_comes_first():
    """A row is read before the pointer behind the next one."""
    bench = RewireBench()
    bench.put(INDICES + 2 * 30, np.array([COLUMNS], dtype=np.uint16))
    bench.put(POINTERS + 4 * 5, np.array([0], dtype=np.int32))
    fault = bench.fault(prune_command())
    assert (fault.code, fault.row, fault.index) == (ErrorCode.INDEX_RANGE, 3, COLUMNS)
    bench.put(POINTERS + 4 * 4, np.array([0], dtype=np.int32))
    fault = bench.fault(prune_command())
    assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_ORDER, 3, 0)


def survey_command(**changes):
    fields = {
        "semaphore": 6, "pointers": POINTERS, "indices": INDICES, "row_begin": 0, "row_end": ROWS, "grow": 25,
        "candidates": CANDIDATES, "candidate_stride": 96, "index_size": IndexSize.UINT16, "inner_size": COLUMNS,
        "protected_from": COLUMNS - 1,
    }  # fmt: skip
    return Opcode.SURVEY, {**fields, **changes}


def merge_command(**changes):
    _, fields = survey_command()
    del fields["grow"]
    addresses = {"values": VALUES, "master": MASTER, "momentum": MOMENTUM, "shift": 0x8000}
    return Opcode.MERGE, {**fields, **addresses, **changes}


@pytest.mark.parametrize("random", [0, 1])
@pytest.mark.parametrize("index_size", IndexSize)
@pytest.mark.parametrize("cut", [0, 5])
def test_a_merge_grows_where_gradients_of_a_layer_are_largest(index_size, cut, random):
    bench = RewireBench(index_type=np.uint16 if index_size is IndexSize.UINT16 else np.int32)
    before = bench.memory.copy()
    parts = [(0, cut), (cut, ROWS)] if cut else [(0, ROWS)]
    commands = []
    for command in (survey_command, merge_command):
        for begin, end in parts:
            place = CANDIDATES + begin * 96
            fields = {"row_begin": begin, "row_end": end, "candidates": place, "random": random, "seed": 7 + begin}
            commands.append(command(index_size=index_size, **fields))
    bench.run(*commands, (Opcode.WAIT, {"semaphore": 6, "count": len(commands)}))
    keys = reference.gradient_keys(bench.candidates[:, :COLUMNS])
    if random:
        drawn = [xorshift32_states(7 + begin, (end - begin) * (COLUMNS - 1)) for begin, end in parts]
        numbers = np.concatenate(drawn).reshape(ROWS, -1) >> np.uint32(1)
        keys = lambda row: numbers[row]  # noqa: E731
    expected = reference.grow(bench.weights(), count=25, keys=keys, protected_from=COLUMNS - 1)
    after = bench.memory.copy()
    for address, array in (
        (POINTERS, expected.pointers), (INDICES, expected.indices.astype(bench.indices.dtype)),
        (MASTER, expected.master), (MOMENTUM, expected.momentum), (VALUES, expected.values),
    ):  # fmt: skip
        address += 0x8000
        assert after[address : address + array.nbytes].tobytes() == array.tobytes()
        before[address : address + array.nbytes] = after[address : address + array.nbytes]
    assert (after[GRADIENT:] == before[GRADIENT:]).all(), "nothing else has changed"


def test_a_survey_lasts_from_program_to_program():
    bench, other = RewireBench(), RewireBench()
    bench.run(survey_command(), merge_command())
    other.run(survey_command())
    other.run(merge_command())
    assert (other.memory[GRADIENT:] == bench.memory[GRADIENT:]).all()
    assert other.fault(merge_command()).code is ErrorCode.COMMAND_RANGE


def test_an_error_forgets_surveys():
    bench = RewireBench()
    bench.run(survey_command())
    bench.fault(update(gradient=4))
    assert bench.fault(merge_command()).code is ErrorCode.COMMAND_RANGE


@pytest.mark.parametrize(
    "commands",
    [
        [survey_command(inner_size=1 << 17)],
        [survey_command(random=1, seed=0)],
        [survey_command(row_begin=3)],
        [survey_command(row_end=5), survey_command(row_begin=6)],
        [merge_command()],
        [survey_command(), merge_command(row_end=ROWS + 1)],
        [survey_command(), merge_command(row_begin=2)],
        [survey_command(), merge_command(row_end=2), survey_command()],
        [survey_command(), merge_command(row_end=2), merge_command(row_begin=0)],
        [survey_command(), merge_command(random=1, seed=0)],
    ],
)
def test_surveys_and_merges_that_are_refused(commands):
    assert RewireBench().fault(*commands).code is ErrorCode.COMMAND_RANGE


@pytest.mark.parametrize("what", ["shift", "pointers", "indices", "values", "master", "momentum", "candidates"])
def test_arrays_of_a_merge_lie_at_whole_beats(what):
    address = 0x4000 + 4
    fault = RewireBench().fault(survey_command(), merge_command(**{what: address}))
    assert (fault.code, fault.address) == (ErrorCode.MISALIGNED, address)


def test_a_survey_names_what_is_bad():
    bench = RewireBench()
    bench.put(INDICES + 2 * 30, np.array([COLUMNS], dtype=np.uint16))
    fault = bench.fault(survey_command())
    assert (fault.code, fault.row, fault.index) == (ErrorCode.INDEX_RANGE, 3, COLUMNS)
    bench.put(POINTERS + 4 * 3, np.array([7], dtype=np.int32))
    fault = bench.fault(survey_command())
    assert (fault.code, fault.row, fault.index) == (ErrorCode.POINTER_ORDER, 2, 7)
