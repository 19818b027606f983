"""The golden optimizer step against exact rational arithmetic."""

import ml_dtypes
import numpy as np
import pytest

from acf.golden.formats import Bf16
from acf.golden.optimizer import fused_multiply_add, round_weights, sgd_step, xorshift32, xorshift32_states
from acf.tb.float32_cases import exact, exact_fma, fma_cases, rounded


def fused(acc: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return fused_multiply_add(acc.view(np.float32), x.view(np.float32), y.view(ml_dtypes.bfloat16)).view(np.uint32)


def test_fused_multiply_add_is_the_exact_sum_rounded_once():
    acc, x, y = fma_cases(np.random.default_rng(1), 60_000)
    got = fused(acc, x, y)
    for number, (a, u, v) in enumerate(zip(acc.tolist(), x.tolist(), y.tolist(), strict=True)):
        assert got[number] == exact_fma(a, u, v), f"a={a:08X} x={u:08X} y={v:04X}"


@pytest.mark.parametrize(
    ("acc", "x", "y", "expected"),
    [
        # The smallest product, 2^-282, breaks a tie at the smallest float32, and gives a zero its sign.
        (0x00000001, 0x00000001, 0x0001, 0x00000001),
        (0x80000000, 0x80000001, 0x0001, 0x80000000),
        (0x00000000, 0x80000001, 0x0001, 0x80000000),
        # 32 significant bits: (1 + 2^-23)(1 + 2^-7) - (1 + 2^-7) = 2^-23 + 2^-30, exactly.
        (0xBF810000, 0x3F800001, 0x3F81, 0x34010000),
        # Cancelled altogether: +0.
        (0xBF800001, 0x3F800001, 0x3F80, 0x00000000),
        # Just above and just below a tie of the sum, by what float64 cannot hold beside it.
        (0x3F800000, 0x33800000, 0x3F80, 0x3F800000),
        (0x3F800000, 0x33800001, 0x3F80, 0x3F800001),
        (0x4B800001, 0x00000001, 0x3F80, 0x4B800001),
        (0x7F7FFFFF, 0x7F7FFFFF, 0x3F80, 0x7F800000),
        (0x7F800000, 0x7F7FFFFF, 0xFF7F, 0x7F800000),
        (0x7F800000, 0x7F800000, 0xBF80, 0x7FC00000),
        (0x00000000, 0x00000000, 0x7F80, 0x7FC00000),
        (0xFFFFFFFF, 0x00000000, 0x0000, 0x7FC00000),
    ],
)
def test_fused_multiply_add_corners_by_hand(acc, x, y, expected):
    assert exact_fma(acc, x, y) == expected
    assert fused(np.array([acc], np.uint32), np.array([x], np.uint32), np.array([y], np.uint16)) == expected


def test_step_rounds_in_the_order_that_is_promised():
    rng = np.random.default_rng(2)
    for factor, rate in ((0x3F66, 0x3C24), (0x0000, 0x3F80), (0x3F80, 0x0001), (0x7F80, 0xBF80), (0x7FC0, 0x3F80)):
        gradient, momentum, _ = fma_cases(rng, 400)
        master = rng.permutation(gradient)
        step = sgd_step(
            *(array.view(np.float32) for array in (master, momentum, gradient)),
            learning_rate=np.array(rate, np.uint16).view(ml_dtypes.bfloat16),
            momentum_factor=np.array(factor, np.uint16).view(ml_dtypes.bfloat16),
        )
        for number in range(400):
            expected = exact_fma(int(gradient[number]), int(momentum[number]), factor)
            assert step.momentum.view(np.uint32)[number] == expected
            expected = exact_fma(int(master[number]), expected, rate ^ 0x8000)
            assert step.master.view(np.uint32)[number] == expected
            sign, value = exact(expected, fraction=23)
            if isinstance(value, str):
                weight = sign << 15 | 0x7F80 if value == "infinite" else 0x7FC0
            else:
                weight = rounded(value, fraction=7) if value else sign << 15
            assert step.weights.view(np.uint16)[number] == weight


def test_nearest_weights_are_those_of_the_format():
    rng = np.random.default_rng(3)
    values = rng.integers(0, 1 << 32, 50_000, dtype=np.uint32).view(np.float32)
    assert (round_weights(values).view(np.uint16) == Bf16().narrow(values).view(np.uint16)).all()


def test_stochastic_weights_are_a_neighbour_and_right_on_average():
    value = np.array([0x3F804000], np.uint32).view(np.float32)
    weights = round_weights(np.repeat(value, 40_000), rounding="stochastic", seed=7).view(np.uint16)
    assert set(weights.tolist()) == {0x3F80, 0x3F81}
    assert abs((weights == 0x3F81).mean() - 0.25) < 0.01
    # What is a bfloat16 number already, stays; infinities and NaN too.
    fixed = np.array([0x3F80, 0x8000, 0x0001, 0x7F80, 0xFF80, 0x7FC0], np.uint16)
    values = np.repeat((fixed.astype(np.uint32) << np.uint32(16)).view(np.float32), 100)
    assert (round_weights(values, rounding="stochastic", seed=1).view(np.uint16) == np.repeat(fixed, 100)).all()
    assert (
        round_weights(np.array([0xFFFFFFFF], np.uint32).view(np.float32), rounding="stochastic").view(np.uint16)
        == 0x7FC0
    )
    # Each entry has a draw of its own, the same again from the same seed.
    values = np.array([0x3F808000, 0xC0007FFF, 0x00000001, 0x7F7FFFFF], np.uint32)
    draws = [xorshift32(5)]
    while len(draws) < 4:
        draws.append(xorshift32(draws[-1]))
    expected = [(value + (draw & 0xFFFF)) >> 16 for value, draw in zip(values.tolist(), draws, strict=True)]
    got = round_weights(values.view(np.float32), rounding="stochastic", seed=5).view(np.uint16).tolist()
    assert got == expected


def test_generator_is_marsaglias():
    # His xor32 with 13, 17, 5 from the seed of his paper.
    assert xorshift32(2463534242) == 723471715
    assert xorshift32_states(2463534242, 3).tolist() == [723471715, 2497366906, 2064144800]
    assert len(set(xorshift32_states(1, 10_000).tolist())) == 10_000


def test_what_has_no_meaning_is_refused():
    zeros = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="rounding must be one of nearest, stochastic, not 'up'"):
        round_weights(zeros, rounding="up")
    with pytest.raises(ValueError, match="seed of xorshift32 must be from 1 to 4294967295, not 0"):
        sgd_step(zeros, zeros, zeros, learning_rate=1, momentum_factor=1, rounding="stochastic", seed=0)
    with pytest.raises(ValueError, match=r"must have one shape, not \(2,\), \(1,\) and \(2,\)"):
        sgd_step(zeros, zeros[:1], zeros, learning_rate=1, momentum_factor=1)
