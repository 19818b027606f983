# amaranth: UnusedElaboratable=no
"""float32 operators: the golden sum against rational numbers and TestFloat, the operators against the golden."""

import ml_dtypes
import numpy as np
import pytest
from amaranth.sim import Simulator

from acf.golden.float32 import add, add_product, fused_multiply_add, widen
from acf.hw.formats.float32_add import Float32Add
from acf.hw.formats.fused import FusedMultiplyAdd
from acf.tb.float32_cases import add_cases, exact_fma, fma_cases
from acf.tb.format_cases import vector_columns, vector_folder
from acf.tb.runner import has_icarus, run_bench


def golden(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return add(a.view(np.float32), b.view(np.float32)).view(np.uint32)


def test_golden_is_the_exact_sum_rounded_once():
    a, b = add_cases(np.random.default_rng(1), 40_000)
    got = golden(a, b)
    for number, (left, right) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        assert got[number] == exact_fma(left, right, 0x3F80), f"a={left:08X} b={right:08X}"


def test_golden_broadcasts_without_warnings(recwarn):
    result = add(np.full((2, 1), np.float32(np.inf)), np.array([-np.inf, 1.0], np.float32))
    assert result.view(np.uint32).tolist() == [[0x7FC00000, 0x7F800000]] * 2
    assert add(np.float32(1.0), np.float32(2.0)).shape == ()
    assert not recwarn.list


def test_golden_matches_testfloat():
    folder = vector_folder()
    if folder is None:
        pytest.skip("no TestFloat vectors: ACF_SHARED_DATA names no folder that holds testfloat/")
    a, b, expected, _ = vector_columns(folder, "f32_add")
    assert len(a) > 40_000
    assert (golden(a, b) == expected).all()


def test_stages_out_of_range_are_refused():
    with pytest.raises(ValueError, match="stages of the float32 adder must be from 1 to 4, not 0"):
        Float32Add(stages=0)
    with pytest.raises(ValueError, match="fraction of the first factor must have 7 or 23 bits, not 10"):
        FusedMultiplyAdd(x_fraction=10)
    for operator in (Float32Add, FusedMultiplyAdd):
        assert [operator(stages=stages).latency for stages in (1, 2, 3, 4)] == [1, 2, 3, 4]


def simulate(operator, ports, cases, expected, rng):
    """In Amaranth's own simulator, which needs no build; with gaps, in which the result stays."""

    async def drive(ctx):
        results = [None] * operator.latency
        waiting = list(zip(*(array.tolist() for array in cases), expected.view(np.uint32).tolist(), strict=True))
        while waiting or len(set(results)) > 1:
            granted = bool(waiting) and rng.random() < 0.8
            *operands, result = waiting.pop() if granted else (*range(len(ports)), results[-1])
            ctx.set(operator.enable, granted)
            for port, value in zip(ports, operands, strict=True):
                ctx.set(port, value)
            await ctx.tick()
            results = [*results[1:], result]
            if results[0] is not None:
                assert ctx.get(operator.o) == results[0]

    simulator = Simulator(operator)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.run()


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_every_adder_equals_golden(stages):
    operator, rng = Float32Add(stages=stages), np.random.default_rng(stages)
    a, b = add_cases(rng, 1_000)
    simulate(operator, [operator.a, operator.b], (a, b), golden(a, b), rng)


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5])
def test_every_multiply_add_equals_golden(stages):
    operator, rng = FusedMultiplyAdd(stages=stages), np.random.default_rng(stages)
    a, x, y = fma_cases(rng, 1_000)
    expected = fused_multiply_add(a.view(np.float32), x.view(np.float32), y.view(ml_dtypes.bfloat16))
    simulate(operator, [operator.a, operator.x, operator.y], (a, x, y), expected, rng)


@pytest.mark.parametrize("cases", [10_000, pytest.param(50_000, marks=pytest.mark.regress)])
@pytest.mark.parametrize("block", ["float32_add", "fused_multiply_add"])
def test_operator_equals_golden(block, cases):
    run_bench(block, module="acf.tb.bench_float32", env={"ACF_FLOAT_CASES": str(cases)})


@pytest.mark.regress
@pytest.mark.skipif(not has_icarus(), reason="no Icarus Verilog on this machine")
@pytest.mark.parametrize("block", ["float32_add", "fused_multiply_add"])
def test_operator_equals_golden_under_icarus(block):
    run_bench(
        block,
        module="acf.tb.bench_float32",
        simulator="icarus",
        testcase=["full_rate", "with_gaps"],
        env={"ACF_FLOAT_CASES": "5000"},
    )


@pytest.mark.parametrize("exponent", [-140, -126, -60, 0, 60, 122])
def test_adding_products_of_bfloat16_is_the_fused_operation(exponent):
    """The short cut, where products are exact, near where they are not, and among all bit patterns."""
    generator = np.random.default_rng(exponent + 200)
    scale = 2.0 ** np.array([exponent // 2, exponent - exponent // 2])
    x, y = ((generator.normal(size=20_000) * s).astype(ml_dtypes.bfloat16) for s in scale)
    acc = (generator.normal(size=20_000) * 2.0**exponent).astype(np.float32)
    x[:50], y[25:75] = 0, 0
    assert add_product(acc, x, y).tobytes() == fused_multiply_add(acc, widen(x), y).tobytes()
    x, y = generator.integers(0, 1 << 16, (2, 20_000)).astype(np.uint16).view(ml_dtypes.bfloat16)
    acc = generator.integers(0, 1 << 32, 20_000).astype(np.uint32).view(np.float32)
    assert add_product(acc, x, y).tobytes() == fused_multiply_add(acc, widen(x), y).tobytes()
    assert add_product(acc[:6].reshape(2, 3), x[0], y[:3]).shape == (2, 3)
