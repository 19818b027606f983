"""The gather product against the mathematics and against a loop that cannot be misunderstood."""

import ml_dtypes
import numpy as np
import pytest

from acf.golden.formats import golden_format
from acf.golden.products import gather, gather_reference, sampled, scatter
from acf.isa import Flag
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights

FORMATS = ("bf16", "bf16x", "int8")


def golden_by_hand(weights: CsrMatrix, operand: np.ndarray) -> tuple[np.ndarray, int]:
    """One element after another, one entry after another."""
    arithmetic = golden_format(weights.format)
    result = np.zeros((weights.shape[0], operand.shape[1]), dtype=arithmetic.accumulator_dtype)
    effectual = 0
    for row, column in np.ndindex(result.shape):
        total = arithmetic.accumulator_dtype.type(0)
        for place in range(weights.pointers[row], weights.pointers[row + 1]):
            x, y = weights.values[place], operand[weights.indices[place], column]
            if x != 0 and y != 0:
                total = arithmetic.accumulate(np.array([total]), np.array([x]), np.array([y]))[0][0]
                effectual += 1
        result[row, column] = total
    return arithmetic.result(result), effectual


def product(weights: CsrMatrix, operand: np.ndarray, **options):
    return gather(weights.pointers, weights.indices, weights.values, operand, format=weights.format, **options)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (13, 17, 11), (3, 29, 1), (0, 4, 4), (4, 0, 4), (4, 4, 0)])
def test_equals_the_plain_loop(format, shape):
    rows, inner, columns = shape
    weights = random_weights(rows=rows, inner=inner, density=0.4, seed=3, format=format)
    operand = random_operand(inner=inner, columns=columns, density=0.6, seed=3, format=format)
    expected, effectual = golden_by_hand(weights, operand)
    result = product(weights, operand)
    assert result.accumulators.dtype == expected.dtype
    assert result.accumulators.tobytes() == expected.tobytes()
    assert result.effectual_macs == effectual


def test_lies_within_the_bound_of_float64():
    weights = random_weights(rows=40, inner=300, density=0.5, seed=1, format="bf16")
    operand = random_operand(inner=300, columns=30, density=0.5, seed=1, format="bf16")
    exact, bound = gather_reference(weights.pointers, weights.indices, weights.values, operand)
    error = np.abs(product(weights, operand).accumulators - exact)
    assert (error <= bound).all()
    assert error.max() > 0, "a test of rounding needs sums that round"


def test_int8_equals_exact_integers():
    weights = random_weights(rows=20, inner=100, density=0.5, seed=1, format="int8")
    operand = random_operand(inner=100, columns=9, density=0.5, seed=1, format="int8")
    exact = weights.to_dense().astype(np.int64) @ operand.astype(np.int64)
    result = product(weights, operand)
    assert (result.accumulators == exact).all()
    assert not result.flags.any()


def test_order_is_that_of_memory():
    # 2^24 + 1 rounds back to 2^24, so the two orders differ.
    values = np.array([2.0**24, 1.0, 1.0], dtype=ml_dtypes.bfloat16)
    operand = np.ones((3, 1), dtype=ml_dtypes.bfloat16)
    pointers = np.array([0, 3])
    large_first = gather(pointers, np.array([0, 1, 2]), values, operand, format="bf16")
    large_last = gather(pointers, np.array([2, 1, 0]), values[::-1], operand, format="bf16")
    assert large_first.accumulators[0, 0] == 2.0**24
    assert large_last.accumulators[0, 0] == 2.0**24 + 2


def test_split_keeps_the_order_inside_each_block():
    values = np.array([1.0, 2.0**24, 1.0], dtype=ml_dtypes.bfloat16)
    operand = np.ones((4, 1), dtype=ml_dtypes.bfloat16)
    arguments = (np.array([0, 3]), np.array([3, 0, 2]), values, operand)
    assert gather(*arguments, format="bf16").accumulators[0, 0] == 2.0**24
    # Block 0 holds the large entry alone, block 1 the two small ones: each is lost.
    assert gather(*arguments, format="bf16", split=2).accumulators[0, 0] == 2.0**24
    # Indices from 2 on come last but together with nothing large before them when the large one moves to block 1.
    moved = (np.array([0, 3]), np.array([0, 3, 1]), values, operand)
    assert gather(*moved, format="bf16").accumulators[0, 0] == 2.0**24
    assert gather(*moved, format="bf16", split=2).accumulators[0, 0] == 2.0**24 + 2

    # Inside a block it is the order of memory that counts, not that of the indices.
    one_block = (np.array([0, 3]), np.array([3, 2, 2]), np.array([2.0**24, 1, 1], dtype=ml_dtypes.bfloat16), operand)
    assert gather(*one_block, format="bf16", split=2).accumulators[0, 0] == 2.0**24


def test_sorted_rows_do_not_depend_on_the_split():
    weights = random_weights(rows=9, inner=50, density=0.5, seed=5, format="bf16")
    operand = random_operand(inner=50, columns=6, density=0.9, seed=5, format="bf16")
    whole = product(weights, operand).accumulators.tobytes()
    for split in (1, 7, 32, 50, 1000):
        assert product(weights, operand, split=split).accumulators.tobytes() == whole


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_zero_operands_hide_infinities(special):
    values = np.array([special, 0.0, -0.0, 2.0], dtype=ml_dtypes.bfloat16)
    operand = np.array([[0.0, -0.0], [special, special], [special, special], [1.0, 3.0]], dtype=ml_dtypes.bfloat16)
    result = gather(np.array([0, 4]), np.arange(4), values, operand, format="bf16")
    assert result.accumulators.tolist() == [[2.0, 6.0]]
    assert result.effectual_macs == 2


def test_an_empty_sum_is_plus_zero():
    values = np.array([-0.0], dtype=ml_dtypes.bfloat16)
    operand = np.array([[1.0]], dtype=ml_dtypes.bfloat16)
    result = gather(np.array([0, 1, 1]), np.array([0]), values, operand, format="bf16")
    assert result.accumulators.view(np.uint32).tolist() == [[0], [0]]


def test_duplicates_count_one_by_one():
    values = np.array([3, 4, 5], dtype=np.int8)
    operand = np.array([[10], [1]], dtype=np.int8)
    result = gather(np.array([0, 3]), np.array([0, 1, 0]), values, operand, format="int8")
    assert result.accumulators.tolist() == [[84]]
    assert result.effectual_macs == 3


def test_wrapping_raises_the_flag_of_its_element_only():
    count = 2**17 + 1  # 2^17 x 2^14 = 2^31
    values = np.full(count, -128, dtype=np.int8)
    operand = np.zeros((1, 2), dtype=np.int8)
    operand[0] = (-128, 1)
    result = gather(np.array([0, count]), np.zeros(count, dtype=np.int32), values, operand, format="int8")
    assert result.flags.tolist() == [[Flag.OVERFLOW, 0]]
    assert result.accumulators.tolist() == [[-(2**31) + 2**14, -128 * count]]


def add(total, x, y, arithmetic):
    """One term, unless an operand is zero."""
    if x == 0 or y == 0:
        return total, 0
    return arithmetic.accumulate(np.array([total]), np.array([x]), np.array([y]))[0][0], 1


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (13, 11, 6), (0, 4, 4), (4, 0, 4), (4, 4, 0)])
def test_scatter_equals_the_plain_loop(format, shape):
    rows, inner, columns = shape
    arithmetic = golden_format(format)
    weights = random_weights(rows=rows, inner=inner, density=0.4, seed=3, format=format)
    operand = random_operand(inner=rows, columns=columns, density=0.6, seed=3, format=format)
    expected = np.zeros((inner, columns), dtype=arithmetic.accumulator_dtype)
    effectual = 0
    for row in range(rows):
        for place in range(weights.pointers[row], weights.pointers[row + 1]):
            target = weights.indices[place]
            for column in range(columns):
                expected[target, column], counted = add(
                    expected[target, column], weights.values[place], operand[row, column], arithmetic
                )
                effectual += counted
    result = scatter(weights.pointers, weights.indices, weights.values, operand, inner=inner, format=format)
    assert result.accumulators.tobytes() == arithmetic.result(expected).tobytes()
    assert result.effectual_macs == effectual


@pytest.mark.parametrize("format", FORMATS)
def test_sampled_equals_the_plain_loop(format):
    arithmetic = golden_format(format)
    weights = random_weights(rows=6, inner=5, density=0.5, seed=3, format=format)
    gradient = random_operand(inner=6, columns=9, density=0.6, seed=4, format=format)
    activation = random_operand(inner=5, columns=9, density=0.6, seed=5, format=format)
    chains = [np.array([8, 2, 0]), np.array([], dtype=np.int64), np.array([1, 3, 4, 5, 6, 7])]
    rows = np.repeat(np.arange(6), np.diff(weights.pointers))
    expected, effectual = [], 0
    for row, index in zip(rows, weights.indices, strict=True):
        total = arithmetic.accumulator_dtype.type(0)
        for chain in chains:
            partial = arithmetic.accumulator_dtype.type(0)
            for column in chain:
                partial, counted = add(partial, gradient[row, column], activation[index, column], arithmetic)
                effectual += counted
            total = arithmetic.add(np.array([total]), np.array([partial]))[0][0]
        expected.append(total)
    result = sampled(weights.pointers, weights.indices, gradient, activation, chains=chains, format=format)
    sums = np.array(expected, dtype=arithmetic.accumulator_dtype)
    assert result.accumulators.tobytes() == arithmetic.result(sums).tobytes()
    assert result.effectual_macs == effectual
