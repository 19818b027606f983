"""Sums in fixed point: the golden arithmetic against rational numbers, the rounder against the golden."""

import ml_dtypes
import numpy as np
import pytest
from amaranth.sim import Simulator

from acf.golden.fixed_point import add, add_product, round_to_float32
from acf.golden.formats import Bf16x
from acf.hw.formats.fixed_to_float import FixedToFloat32
from acf.isa import DEFAULT_UNIT, UNIT_BITS, Flag, unit_exponent, unit_field
from acf.tb.fixed_point_cases import bf16x_cases, exact_sum, exact_words, word_cases, word_to_float32

EXPONENTS = (DEFAULT_UNIT, -176, -100, 0, 76)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_products_are_added_exactly(exponent):
    word, x, y = bf16x_cases(np.random.default_rng(1), 60_000, exponent=exponent)
    chosen = np.r_[0:30_000:5, 30_000 : len(word) : 2]
    word, x, y = word[chosen], x[chosen], y[chosen]
    got, flags = add_product(
        word.view(np.int64), x.view(ml_dtypes.bfloat16), y.view(ml_dtypes.bfloat16), exponent=exponent
    )
    seen = set()
    for number, case in enumerate(zip(word.tolist(), x.tolist(), y.tolist(), strict=True)):
        expected, raised = exact_sum(*case, exponent=exponent)
        assert (int(got.view(np.uint64)[number]), int(flags[number])) == (expected, raised), [
            hex(part) for part in case
        ]
        seen.add(raised)
    assert {Flag(0), Flag.OVERFLOW, Flag.UNDERFLOW, Flag.INVALID} <= seen


def test_words_are_added_exactly():
    rng = np.random.default_rng(2)
    a, b = word_cases(rng, 20_000), rng.permutation(word_cases(rng, 20_000))
    got, flags = add(a.view(np.int64), b.view(np.int64))
    for number, (left, right) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        assert (int(got.view(np.uint64)[number]), int(flags[number])) == exact_words(left, right)
    assert 0 < np.count_nonzero(flags) < len(flags)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_words_are_rounded_once(exponent):
    words = word_cases(np.random.default_rng(3), 20_000)
    got = round_to_float32(words.view(np.int64), exponent=exponent).view(np.uint32).tolist()
    for word, bits in zip(words.tolist(), got, strict=True):
        assert bits == word_to_float32(word, exponent=exponent), f"{word:016X} gave {bits:08X}"


def test_order_and_split_do_not_matter():
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 1 << 16, (2, 400), dtype=np.uint16).view(ml_dtypes.bfloat16)
    # Products about the borders of the range, so that sums wrap on the way; no infinities and NaN, then some.
    for keep in (lambda bits: bits & np.uint16(0xBFFF), lambda bits: bits):
        left, right = (keep(part.view(np.uint16)).view(ml_dtypes.bfloat16) for part in (x, y))
        arithmetic = Bf16x()

        def total(order, left=left, right=right, arithmetic=arithmetic):
            word = np.zeros(1, dtype=np.int64)
            for place in order:
                word = arithmetic.accumulate(word, left[place : place + 1], right[place : place + 1])[0]
            return word

        in_order = total(range(400))
        assert total(rng.permutation(400)) == in_order
        assert arithmetic.add(total(range(100)), total(range(100, 400)))[0] == in_order


@pytest.mark.parametrize(
    ("x", "y", "expected", "flags"),
    [
        (0x3F80, 0x3F80, 0x3F800000, Flag(0)),
        (0xBF80, 0x3F80, 0xBF800000, Flag(0)),
        (0x8000, 0x3F80, 0x00000000, Flag(0)),  # there is no -0
        (0x7F80, 0x3F80, 0x7FC00000, Flag.INVALID),
        (0x7F80, 0x0000, 0x7FC00000, Flag.INVALID),
        (0xFFC1, 0xFF80, 0x7FC00000, Flag.INVALID),
        (0x0001, 0x3F80, 0x00000000, Flag.UNDERFLOW),
        (0x2780, 0x3F80, 0x27800000, Flag(0)),  # 2^-48 is the last bit
        (0x2700, 0x3F80, 0x00000000, Flag.UNDERFLOW),  # half of it: to even
        (0x2740, 0x3F80, 0x27800000, Flag.UNDERFLOW),  # three quarters
        (0xA7C0, 0x3F80, 0xA8000000, Flag.UNDERFLOW),  # one and a half: to even
        (0x4600, 0x3F80, 0x46000000, Flag(0)),  # 2^13
        (0x4680, 0x3F80, 0xC6800000, Flag.OVERFLOW),  # 2^14 is outside
        (0x4700, 0x3F80, 0x00000000, Flag.OVERFLOW),  # 2^15 is all of the range, and vanishes
    ],
)
def test_corners_by_hand(x, y, expected, flags):
    arithmetic = Bf16x()
    operands = (np.array([bits], np.uint16).view(ml_dtypes.bfloat16) for bits in (x, y))
    word, raised = arithmetic.accumulate(np.zeros(1, np.int64), *operands)
    assert (arithmetic.result(word).view(np.uint32)[0], raised[0]) == (expected, flags)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_rounder_equals_golden(exponent):
    """In Amaranth's own simulator: one word a cycle, with gaps in which the result stays."""
    words = word_cases(np.random.default_rng(5), 1_500)
    expected = round_to_float32(words.view(np.int64), exponent=exponent).view(np.uint32).tolist()
    rounder, rng, got = FixedToFloat32(), np.random.default_rng(6), []

    async def drive(ctx):
        ctx.set(rounder.unit, unit_field(exponent))
        pending: list[int | None] = [None] * (rounder.latency - 1)
        queue = list(zip(words.tolist(), range(len(words)), strict=True))
        while queue or any(number is not None for number in pending):
            word, number = queue.pop(0) if queue and rng.random() < 0.8 else (int(rng.integers(1 << 62)), None)
            ctx.set(rounder.i, word)
            ctx.set(rounder.enable, number is not None)
            pending.append(number)
            await ctx.tick()
            if pending.pop(0) is not None:
                got.append(ctx.get(rounder.o))
            elif got:
                assert ctx.get(rounder.o) == got[-1]

    simulator = Simulator(rounder)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.run()
    assert got == expected


def test_units_have_a_field():
    assert unit_exponent(0) == DEFAULT_UNIT
    exponents = [unit_exponent(field) for field in range(1 << UNIT_BITS)]
    assert [unit_field(exponent) for exponent in exponents] == list(range(1 << UNIT_BITS))
    assert (min(exponents), max(exponents)) == (-176, 76)
    for exponent in (-180, 80, -47):
        with pytest.raises(ValueError, match=f"must be a multiple of 4 from -176 to 76, not {exponent}"):
            unit_field(exponent)
