# amaranth: UnusedElaboratable=no
"""float32 addition: the golden against rational numbers and TestFloat, the operator against the golden."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from acf.golden.float32 import add
from acf.hw.formats.float32_add import Float32Add
from acf.tb.float32_cases import add_cases, exact_fma
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
    assert [Float32Add(stages=stages).latency for stages in (1, 2, 3, 4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_every_pipeline_equals_golden(stages):
    """In Amaranth's own simulator, which needs no build; with gaps, in which the sum stays."""
    operator = Float32Add(stages=stages)
    rng = np.random.default_rng(stages)
    cases = add_cases(rng, 1_000)
    expected = golden(*cases).tolist()

    async def drive(ctx):
        sums = [None] * stages
        waiting = list(zip(*(array.tolist() for array in cases), expected, strict=True))
        while waiting or len(set(sums)) > 1:
            granted = bool(waiting) and rng.random() < 0.8
            a, b, result = waiting.pop() if granted else (1, 2, sums[-1])
            ctx.set(operator.enable, granted)
            ctx.set(operator.a, a)
            ctx.set(operator.b, b)
            await ctx.tick()
            sums = [*sums[1:], result]
            if sums[0] is not None:
                assert ctx.get(operator.o) == sums[0]

    simulator = Simulator(operator)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.run()


def test_operator_equals_golden():
    run_bench("float32_add", module="acf.tb.bench_float32_add")


@pytest.mark.skipif(not has_icarus(), reason="no Icarus Verilog on this machine")
def test_operator_equals_golden_under_icarus():
    run_bench(
        "float32_add",
        module="acf.tb.bench_float32_add",
        simulator="icarus",
        testcase=["full_rate", "with_gaps"],
        env={"ACF_FLOAT_CASES": "5000"},
    )
