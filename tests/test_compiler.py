"""Compiled programs give the bits of the product, and are joined by semaphores properly."""

import dataclasses

import numpy as np
import pytest

from acf.config import preset
from acf.golden.formats import golden_format
from acf.golden.products import gather
from acf.isa import NO_SEMAPHORE, Decoder, IndexSize, Opcode
from acf.runtime.compiler import compile_gather, tile_gather
from acf.runtime.drains import MOST_PARTS
from acf.runtime.gather import gather_memory_bytes, run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import Operand, WeightForm, Weights
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.tb.weight_cases import random_blocks, random_pattern

FORMATS = ("bf16", "int8")


def tiny(format="bf16", **lane):
    config = preset("tiny").with_format(format)
    return dataclasses.replace(config, lane=dataclasses.replace(config.lane, **lane))


def golden_device(config, weights, operand):
    rows, inner = weights.shape
    size = gather_memory_bytes(config, rows=rows, inner=inner, columns=operand.shape[1], entries=weights.entries)
    return GoldenDevice(config, memory_bytes=size)


def compiled(config, shape, *, operand_stride=64, skip=True, **changes):
    rows, inner, columns = shape
    weights = Weights(rows=rows, inner=inner, entries=0, pointers=0, indices=0, **changes)
    operand, result = Operand(address=0, stride=operand_stride), Operand(address=0, stride=64)
    return compile_gather(config, weights, columns=columns, operand=operand, result=result, skip=skip)


def check(config, weights, operand, **options):
    result = run_gather(golden_device(config, weights, operand), weights, operand, **options)
    expected = result.golden(weights, operand)
    assert result.accumulators.dtype == golden_format(weights.format).result_dtype
    assert result.accumulators.shape == (weights.shape[0], operand.shape[1])
    assert result.accumulators.tobytes() == expected.accumulators.tobytes()
    assert result.run.effectual_macs == expected.effectual_macs
    return result


SHAPES = [
    (0, 0, 0),
    (0, 5, 5),
    (5, 0, 5),
    (5, 5, 0),
    (1, 1, 1),
    (1, 33, 1),
    (2, 1, 17),
    (31, 32, 16),
    (32, 32, 16),
    (33, 33, 17),
    (7, 11, 13),
    (37, 97, 41),
    (65, 64, 32),
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight_form", sorted(set(WeightForm) - {WeightForm.NM}))
def test_any_shape_gives_the_bits_of_the_product(format, shape, weight_form):
    rows, inner, columns = shape
    weights = random_weights(rows=rows, inner=inner, density=0.3, seed=sum(shape), format=format)
    operand = random_operand(inner=inner, columns=columns, density=0.6, seed=sum(shape), format=format)
    check(tiny(format), weights, operand, weight_form=weight_form, skip=weight_form is not WeightForm.DENSE)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (4, 8), (1, 2), (8, 16)])
def test_any_shape_from_n_of_m(format, shape, pattern):
    rows, inner, columns = shape
    n, m = pattern
    weights = random_pattern(rows=rows, inner=inner, n=n, m=m, seed=sum(shape), format=format)
    operand = random_operand(inner=inner, columns=columns, density=0.6, seed=sum(shape), format=format)
    for skip in (True, False):
        check(tiny(format), weights, operand, weight_form=WeightForm.NM, pattern=pattern, skip=skip, deal=skip)
    check(tiny(format), weights, operand, weight_form=WeightForm.NM, skip=True)
    check(tiny(format), weights, operand, weight_form=WeightForm.AUTO, skip=True)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_from_blocks(format, shape):
    rows, inner, columns = shape
    weights = random_blocks(rows=rows, inner=inner, size=4, seed=sum(shape), format=format)
    operand = random_operand(inner=inner, columns=columns, density=0.6, seed=sum(shape), format=format)
    for skip in (True, False):
        check(tiny(format), weights, operand, weight_form=WeightForm.BLOCK, skip=skip, deal=skip)
    check(tiny(format), weights, operand, weight_form=WeightForm.AUTO, deal=True)


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_and_densities(seed):
    generator = np.random.default_rng(seed)
    rows, inner, columns = generator.integers(1, [80, 130, 50]).tolist()
    format = FORMATS[seed % 2]
    weights = random_weights(rows=rows, inner=inner, density=generator.random(), seed=seed, format=format)
    operand = random_operand(inner=inner, columns=columns, density=generator.random(), seed=seed, format=format)
    check(
        tiny(format, operand_banks=(1, 2, 4)[seed % 3]),
        weights,
        operand,
        index_size=(IndexSize.INT32, IndexSize.UINT16)[seed // 2 % 2],
    )


def test_skipping_changes_no_bit():
    weights = random_pattern(rows=20, inner=40, n=2, m=4, seed=1, format="bf16")
    operand = random_operand(inner=40, columns=20, density=0.5, seed=1, format="bf16")
    config = tiny()
    results = [
        check(config, weights, operand, skip=skip, weight_form=form) for skip in (True, False) for form in WeightForm
    ]
    assert len({result.accumulators.tobytes() for result in results}) == 1


def test_unsorted_duplicate_and_zero_entries_are_legal():
    generator = np.random.default_rng(4)
    rows, inner, count = 9, 70, 300
    pointers = np.concatenate([[0], np.sort(generator.integers(0, count, rows - 1)), [count]])
    values = golden_format("bf16").quantize(generator.normal(size=count) * (generator.random(count) < 0.8))
    weights = CsrMatrix((rows, inner), pointers, generator.integers(0, inner, count), values, "bf16")
    operand = random_operand(inner=inner, columns=7, density=0.9, seed=4, format="bf16")
    result = check(tiny(), weights, operand)
    assert result.tiling.inner_tiles > 1
    unsplit = gather(weights.pointers, weights.indices, weights.values, operand, format="bf16")
    assert result.accumulators.tobytes() != unsplit.accumulators.tobytes(), "this test needs an order that matters"


def test_base_takes_a_convolution_layer():
    weights = random_weights(rows=128, inner=576, density=0.1, seed=2, format="bf16")
    operand = random_operand(inner=576, columns=196, density=0.5, seed=2, format="bf16")
    check(preset("base"), weights, operand)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["tiny", "base"])
@pytest.mark.parametrize("columns", [1, 5, 16, 17, 64, 65, 100, 128, 129, 1000])
def test_columns_spread_over_the_mesh(name, format, columns):
    config = preset(name).with_format(format)
    tiling = tile_gather(config, rows=1, inner=1, columns=columns)
    number_format, beat = config.lane.number_format, config.memory.beat_bytes
    assert tiling.tile_columns * number_format.operand_bytes % beat == 0
    assert tiling.tile_columns * number_format.result_bytes % beat == 0
    assert tiling.tile_columns <= config.tile_columns
    assert (tiling.passes - 1) * tiling.pass_columns < columns <= tiling.passes * tiling.pass_columns
    assert tiling.passes == -(-columns // config.columns), "no pass more than the fabric needs"
    granule = beat // number_format.operand_bytes
    assert (tiling.tile_columns - granule) * config.cols * tiling.passes < columns, "no tile wider than needed"


@pytest.mark.parametrize("banks", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 5, 4), (40, 200, 20), (100, 60, 40), (70, 100, 17), (64, 128, 64)])
def test_semaphores_join_what_must_be_joined(banks, shape):
    """Replays a program with every signal as late as possible and every command as early as its WAITs allow."""
    config = tiny(operand_banks=banks)
    tiles = config.rows * config.cols
    rows, inner, columns = shape
    program = compiled(config, shape)
    pending = [0] * 8
    under_way: dict[int, str] = {}  # semaphore -> what will signal it
    bank_state = ["empty"] * banks
    drains = 0
    rows_drained = 0
    for opcode, fields in program.commands:
        semaphore = fields.get("semaphore", NO_SEMAPHORE)
        if opcode is Opcode.WAIT:
            assert pending[semaphore] == fields["count"], "a WAIT takes all that is to come and no more"
            pending[semaphore] = 0
            what = under_way.pop(semaphore)
            if what == "load":
                bank_state[semaphore] = "loaded"
            elif what == "stream":
                bank_state[semaphore] = "free"
        elif opcode is Opcode.LOAD:
            assert bank_state[fields["bank"]] in ("empty", "free"), "a bank that may still be read is not loaded"
            assert semaphore == fields["bank"]
            bank_state[fields["bank"]] = "loading"
        elif opcode is Opcode.STREAM:
            assert bank_state[fields["bank"]] == "loaded", "only a bank that has been loaded is read"
            if semaphore != NO_SEMAPHORE:
                bank_state[fields["bank"]] = "reading for the last time"
        elif opcode is Opcode.DRAIN:
            drains += 1
            rows_drained += fields["row_end"] - fields["row_begin"]
            # Drains are waited for together.
            pending[semaphore] += config.rows
            under_way[semaphore] = "drain"
        if semaphore != NO_SEMAPHORE and opcode not in (Opcode.WAIT, Opcode.DRAIN):
            assert semaphore not in under_way, "a semaphore counts one thing at a time"
            under_way[semaphore] = {Opcode.LOAD: "load", Opcode.STREAM: "stream"}[opcode]
            pending[semaphore] = tiles
    assert "drain" not in under_way.values(), "the last drain is waited for"
    tiling = tile_gather(config, rows=rows, inner=inner, columns=columns)
    assert rows_drained == tiling.passes * rows
    assert drains - tiling.passes * tiling.row_tiles in range(MOST_PARTS)


def test_operands_that_fit_are_loaded_once_a_pass():
    config = tiny()
    program = compiled(config, (500, 2 * config.lane.operand_rows, 3 * config.columns))
    loads = sum(opcode is Opcode.LOAD for opcode, _ in program.commands)
    assert loads == 2 * 3
    assert sum(opcode is Opcode.STREAM for opcode, _ in program.commands) > loads


@pytest.mark.parametrize(("banks", "inner_tiles"), [(2, 2), (4, 3), (4, 4)])
def test_banks_keep_what_is_wanted_again(banks, inner_tiles):
    config = tiny(operand_banks=banks)
    program = compiled(config, (500, inner_tiles * config.lane.operand_rows, 1))
    assert sum(opcode is Opcode.LOAD for opcode, _ in program.commands) == inner_tiles


def test_next_operands_load_while_streaming():
    config = tiny()
    program = compiled(config, (10, 6 * config.lane.operand_rows, 1))
    order = [(opcode, fields["bank"]) for opcode, fields in program.commands if opcode in (Opcode.LOAD, Opcode.STREAM)]
    for number, (opcode, bank) in enumerate(order):
        if opcode is Opcode.STREAM and number + 1 < len(order):
            assert (Opcode.LOAD, bank) not in order[number + 1 : number + 2], "the next load goes to the other bank"
    first_streams = [number for number, (opcode, _) in enumerate(order) if opcode is Opcode.STREAM][:3]
    assert [sum(o is Opcode.LOAD for o, _ in order[:number]) for number in first_streams] == [2, 2, 3]


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 3, 0), (0, 0, 0)])
def test_an_empty_result_needs_no_command(shape):
    program = compiled(tiny(), shape)
    assert [opcode for opcode, _ in program.commands] == [Opcode.END]


def test_an_empty_sum_writes_zeros():
    program = compiled(tiny(), (3, 0, 3))
    assert [opcode for opcode, _ in program.commands] == [Opcode.CLEAR, Opcode.DRAIN, Opcode.WAIT, Opcode.END]


def test_fields_are_checked():
    with pytest.raises(ValueError, match="row_stride of command LOAD must fit 32 bits, not 4294967296"):
        compiled(tiny(), (1, 1, 1), operand_stride=1 << 32)
    with pytest.raises(ValueError, match="rows of a product must be from 0 to 2\\^31 - 1, not -1"):
        compiled(tiny(), (-1, 1, 1))


def test_dense_programs_say_so():
    program = compiled(tiny(), (2, 2, 2), decoder=Decoder.DENSE, skip=False)
    (fields,) = [fields for opcode, fields in program.commands if opcode is Opcode.STREAM]
    assert fields["decoder"] == Decoder.DENSE
    assert fields["skip"] == 0


class TestRunGather:
    def weights(self, **changes):
        return random_weights(**{"rows": 4, "inner": 6, "density": 0.5, "seed": 1, "format": "bf16", **changes})

    def operand(self, **changes):
        return random_operand(**{"inner": 6, "columns": 3, "density": 0.5, "seed": 1, "format": "bf16", **changes})

    def test_wrong_format(self):
        with pytest.raises(ValueError, match="the device computes in int8, but the weights are in bf16"):
            run_gather(GoldenDevice(tiny("int8")), self.weights(), self.operand())

    def test_wrong_type(self):
        with pytest.raises(ValueError, match="the operand must be of type bfloat16, as the weights are, not float32"):
            run_gather(GoldenDevice(tiny()), self.weights(), self.operand().astype(np.float32))

    def test_wrong_shape(self):
        with pytest.raises(ValueError, match="the operand must have 6 rows, one for each column of the weights, not 5"):
            run_gather(GoldenDevice(tiny()), self.weights(), self.operand(inner=5))
        with pytest.raises(ValueError, match=r"two-dimensional array, not of shape \(6,\)"):
            run_gather(GoldenDevice(tiny()), self.weights(), self.operand()[:, 0])

    def test_too_small_a_memory(self):
        with pytest.raises(ValueError, match="but the device has 256 bytes of memory"):
            run_gather(GoldenDevice(tiny(), memory_bytes=256), self.weights(), self.operand())

    def test_too_many_columns_for_short_indices(self):
        weights = random_weights(rows=1, inner=65537, density=0, seed=1, format="bf16")
        operand = random_operand(inner=65537, columns=1, density=0, seed=1, format="bf16")
        with pytest.raises(ValueError, match="indices of 16 bits allow 65536 columns of weights, not 65537"):
            run_gather(GoldenDevice(tiny()), weights, operand, index_size=IndexSize.UINT16)

    def test_memory_size_of_the_device(self):
        with pytest.raises(ValueError, match="memory must have 1 to 2\\^32 bytes, not 0"):
            GoldenDevice(tiny(), memory_bytes=0)

    def test_results_stay_when_the_device_runs_again(self):
        weights, operand = self.weights(), self.operand(columns=4)
        device = GoldenDevice(tiny())
        first = run_gather(device, weights, operand)
        before = first.accumulators.tobytes()
        run_gather(device, self.weights(seed=2), operand)
        assert first.accumulators.tobytes() == before
