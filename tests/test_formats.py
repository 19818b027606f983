# amaranth: UnusedElaboratable=no
"""Number formats: the golden arithmetic against rational numbers and TestFloat, the operators against the golden."""

from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from amaranth.sim import Simulator

from acf.config import NUMBER_FORMATS, preset
from acf.golden.formats import Bf16, Int8, golden_format
from acf.hw.formats import Bf16Mac, Int8Mac, mac
from acf.tb.float32_cases import exact_fma, rounded
from acf.tb.format_cases import (
    bf16_cases,
    int8_cases,
    vector_cases,
    vector_columns,
    vector_folder,
)
from acf.tb.runner import has_icarus, run_bench

_NO_VECTORS = "no TestFloat vectors: ACF_SHARED_DATA names no folder that holds testfloat/"


def fused(acc: int, x: int, y: int) -> int:
    """``acc + x * y`` by IEEE 754, in exact arithmetic."""
    return exact_fma(acc, x, y, x_fraction=7)


def bits_of(result: np.ndarray) -> np.ndarray:
    return result.view(np.uint32)


def bf16_golden(acc, x, y) -> np.ndarray:
    result, overflow = Bf16().accumulate(acc.view(np.float32), x.view(ml_dtypes.bfloat16), y.view(ml_dtypes.bfloat16))
    assert not overflow.any()
    return bits_of(result)


def test_bf16_golden_is_the_exact_sum_rounded_once():
    acc, x, y = bf16_cases(np.random.default_rng(1), 180_000)
    corners = 46 * 44 * 44
    chosen = np.r_[0:corners:7, corners : len(acc) : 3]
    acc, x, y = acc[chosen], x[chosen], y[chosen]
    got = bf16_golden(acc, x, y)
    for number, (a, u, v) in enumerate(zip(acc.tolist(), x.tolist(), y.tolist(), strict=True)):
        assert got[number] == fused(a, u, v), f"a={a:08X} x={u:04X} y={v:04X}"


@pytest.mark.parametrize(
    ("acc", "x", "y", "expected"),
    [
        # The smallest product, 2^-266: lost, but for the sign of a zero accumulator and the tie it breaks.
        (0x00000000, 0x8001, 0x0001, 0x80000000),
        (0x80000000, 0x0001, 0x0001, 0x00000000),
        (0x00000001, 0x8001, 0x0001, 0x00000001),
        # 1 + 2^-24 is a tie and goes to even, as 1 + 3 * 2^-24 is and does.
        (0x3F800000, 0x3380, 0x3F80, 0x3F800000),
        (0x3F800001, 0x3380, 0x3F80, 0x3F800002),
        # A subnormal operand times 2^-12, exact; half the smallest float32 goes to 0, three halves to twice it.
        (0x00000000, 0x0020, 0x3980, 0x00000200),
        (0x00000000, 0x1F80, 0x1480, 0x00000000),
        (0x00000001, 0x1F80, 0x1480, 0x00000002),
        # The product is not rounded first: 255/128 squared needs 16 bits.
        (0xC07E0000, 0x3FFF, 0x3FFF, 0x38800000),
        (0x80000000, 0x8000, 0x3F80, 0x80000000),
        (0x00000000, 0x8000, 0x3F80, 0x00000000),
        (0xBF800000, 0x3F80, 0x3F80, 0x00000000),
        (0x7F7FFFFF, 0x7F00, 0x3F80, 0x7F800000),
        (0xFF800000, 0x7F7F, 0x7F7F, 0xFF800000),
        (0xFF800000, 0x7F80, 0x3F80, 0x7FC00000),
        (0x00000000, 0x7F80, 0x0000, 0x7FC00000),
        (0x00000000, 0xFF81, 0x0000, 0x7FC00000),
        (0xFFFFFFFF, 0x0000, 0x0000, 0x7FC00000),
    ],
)
def test_bf16_golden_corners_by_hand(acc, x, y, expected):
    assert fused(acc, x, y) == expected
    assert bf16_golden(np.array([acc], np.uint32), np.array([x], np.uint16), np.array([y], np.uint16))[0] == expected


def test_bf16_golden_broadcasts_without_warnings(recwarn):
    result, overflow = Bf16().accumulate(
        np.full((2, 3), np.float32(np.inf)), Bf16().quantize([[-np.inf], [1.0]]), Bf16().quantize([1.0, 2.0, 0.0])
    )
    assert result.shape == overflow.shape == (2, 3)
    assert result.dtype == np.float32
    assert bits_of(result).tolist() == [[0x7FC00000] * 3, [0x7F800000] * 3]
    scalar, _ = Bf16().accumulate(np.float32(1.0), Bf16().quantize(2.0), Bf16().quantize(3.0))
    assert scalar.shape == ()
    assert scalar == 7.0
    assert not recwarn.list


def test_bf16_quantize_rounds_once():
    rng = np.random.default_rng(2)
    values = rng.standard_normal(20_000) * 2.0 ** rng.integers(-150, 130, 20_000)
    # Just beside a tie of bfloat16, by less than float32 can see.
    ties = (np.arange(1, 2_001) * 2.0 + 1) * 2.0 ** rng.integers(-134, -10, 2_000)
    values = np.concatenate([values, ties, ties * (1 + 2.0**-40), ties * (1 - 2.0**-40), -ties * (1 + 2.0**-40)])
    got = Bf16().quantize(values).view(np.uint16)
    for value, bits in zip(values.tolist(), got.tolist(), strict=True):
        assert bits == rounded(Fraction(value), fraction=7), value.hex()
    special = Bf16().quantize([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e300, -1e-300]).view(np.uint16)
    assert special.tolist() == [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0x7FC0, 0x7F80, 0x8000]


def test_zeros_are_those_and_no_more():
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    assert np.flatnonzero(Bf16().is_zero(bits.view(ml_dtypes.bfloat16))).tolist() == [0x0000, 0x8000]
    assert np.flatnonzero(Int8().is_zero(np.arange(256, dtype=np.uint8).view(np.int8))).tolist() == [0]


def test_int8_golden_wraps_and_says_so():
    acc, x, y = int8_cases(np.random.default_rng(3), 20_000)
    acc, x, y = acc.view(np.int32), x.view(np.int8), y.view(np.int8)
    result, overflow = Int8().accumulate(acc, x, y)
    for a, u, v, o, wrapped in zip(*(array.tolist() for array in (acc, x, y, result, overflow)), strict=True):
        total = a + u * v
        assert o == (total + 2**31) % 2**32 - 2**31
        assert wrapped == (not -(2**31) <= total < 2**31)
    assert 0 < overflow.sum() < len(overflow)


def test_int8_quantize_saturates_and_refuses_nan():
    assert Int8().quantize([0.5, 1.5, -0.5, 127.5, 1e9, -128.6, -np.inf]).tolist() == [0, 2, 0, 127, 127, -128, -128]
    with pytest.raises(ValueError, match="int8 cannot hold nan, at flat index 1"):
        Int8().quantize([0.0, np.nan])


def test_formats_are_found_by_name():
    for name, number_format in NUMBER_FORMATS.items():
        golden, operator = golden_format(name), mac(format=name)
        assert golden.number_format is number_format
        assert golden.dtype.itemsize == number_format.operand_bytes
        assert golden.accumulator_dtype.itemsize == number_format.accumulator_bytes
        assert golden.result_dtype.itemsize == number_format.result_bytes
        assert len(operator.x) == len(operator.y) == number_format.operand_width
        assert len(operator.a) == len(operator.o) == number_format.accumulator_width
        assert len(operator.flags) == number_format.flags
    for function in (golden_format, lambda name: mac(format=name)):
        with pytest.raises(ValueError, match="number format must be one of bf16, bf16x, int8, not 'fp8'"):
            function("fp8")


def test_stages_out_of_range_are_refused():
    with pytest.raises(ValueError, match="stages of a fused multiply-add must be from 1 to 5, not 6"):
        Bf16Mac(stages=6)
    assert [Bf16Mac(stages=stages).latency for stages in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]
    assert Bf16Mac().latency == 4
    assert Int8Mac().latency == 1


@pytest.fixture
def vectors() -> Path:
    folder = vector_folder()
    if folder is None:
        pytest.skip(_NO_VECTORS)
    return folder


def test_bf16_golden_matches_every_applicable_testfloat_vector(vectors):
    cases = vector_cases(vectors)
    for name, (operands, expected) in cases.items():
        wrong = np.flatnonzero(bf16_golden(*operands) != expected)
        assert not len(wrong), f"{name}: {len(wrong)} wrong, first {wrong[0]}"
    assert {name: len(expected) for name, (_, expected) in cases.items()} == {
        "bf16_mul": 47_397, "bf16_add": 2 * 47_397, "f32_add": 4_719 + 4_645,
    }  # fmt: skip


def test_bf16_conversions_match_testfloat(vectors):
    single, half, _ = vector_columns(vectors, "f32_to_bf16")
    assert len(single) == 600
    assert (Bf16().quantize(single.view(np.float32)).view(np.uint16) == half).all()
    half, single, _ = vector_columns(vectors, "bf16_to_f32")
    assert len(half) == 600
    # Widening is what adding the product with 1 to -0 does.
    one, zero = np.full(len(half), 0x3F80, np.uint16), np.full(len(half), 0x80000000, np.uint32)
    assert (bf16_golden(zero, half.astype(np.uint16), one) == single).all()


@pytest.mark.parametrize("cases", [20_000, pytest.param(200_000, marks=pytest.mark.regress)])
@pytest.mark.parametrize("format", list(NUMBER_FORMATS))
def test_operator_equals_golden(format, cases):
    tests = ["full_rate", "with_gaps", "idle_registers_hold", "reset_empties_the_pipeline"]
    run_bench(
        "mac",
        module="acf.tb.bench_formats",
        config=preset("tiny").with_format(format),
        testcase=[*tests, "every_unit"] if NUMBER_FORMATS[format].scaled else tests,
        env={"ACF_MAC_CASES": str(cases)},
    )


@pytest.mark.usefixtures("vectors")
def test_operator_matches_every_applicable_testfloat_vector():
    run_bench("mac", module="acf.tb.bench_formats", testcase="testfloat")


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5])
def test_every_pipeline_equals_golden(stages):
    """In Amaranth's own simulator, which needs no build."""
    operator = Bf16Mac(stages=stages)
    cases = bf16_cases(np.random.default_rng(stages), 1_000)
    expected = bf16_golden(*cases).tolist()
    got = []

    async def drive(ctx):
        for cycle, (acc, x, y) in enumerate(
            [*zip(*(array.tolist() for array in cases), strict=True), *[(0, 0, 0)] * stages]
        ):
            if cycle >= stages:
                got.append(ctx.get(operator.o))
            ctx.set(operator.enable, cycle < len(expected))
            ctx.set(operator.a, acc)
            ctx.set(operator.x, x)
            ctx.set(operator.y, y)
            await ctx.tick()

    simulator = Simulator(operator)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.run()
    assert got == expected


@pytest.mark.skipif(not has_icarus(), reason="no Icarus Verilog on this machine")
@pytest.mark.parametrize(
    "format", ["bf16", *(pytest.param(name, marks=pytest.mark.regress) for name in ("bf16x", "int8"))]
)
def test_operator_equals_golden_under_icarus(format):
    run_bench(
        "mac",
        module="acf.tb.bench_formats",
        config=preset("tiny").with_format(format),
        simulator="icarus",
        testcase=["full_rate", "with_gaps"],
        env={"ACF_MAC_CASES": "5000"},
    )
