"""Products and faulty programs on the Verilated fabric, beside the interpreter and the mathematics."""

import dataclasses

import numpy as np
import pytest

from acf.config import preset
from acf.golden.formats import golden_format
from acf.golden.products import sampled, scatter
from acf.isa import COMMAND_BYTES, ErrorCode, FeederCounter, Flag, IndexSize, Opcode
from acf.runtime import drains
from acf.runtime.device import FabricError, RunResult, whole_memory
from acf.runtime.devices import open_device
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import OperandForm, WeightForm
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.runtime.measure_formats import measure_formats
from acf.runtime.products import run_sampled, run_scatter
from acf.runtime.program import Program
from acf.runtime.sampled import sampled_chains
from acf.sim.memory_timing import MemoryTiming
from acf.tb.weight_cases import random_blocks, random_pattern

MEMORY_BYTES = 1 << 20
TIMINGS = {
    "plain": MemoryTiming(),
    "rough": MemoryTiming(latency=60, jitter=30, stall=0.3, bandwidth=4.0, reorder=True, interleave=True),
}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """The fabric is so small that no drain would be cut into parts."""
    monkeypatch.setattr(drains, "_PART_CYCLES", 5)
    monkeypatch.setattr(drains, "_SHORT_PART_CYCLES", 5)


def regress(*values):
    """Cases that repeat in a longer form what those beside them show."""
    return [pytest.param(value, marks=pytest.mark.regress) for value in values]


@pytest.fixture(scope="module", params=["bf16", *regress("bf16x", "int8"), "small int8"])
def devices(request):
    config = preset("tiny").with_format(request.param.rpartition(" ")[2])
    if "small" in request.param:  # builds in half the time, and as many lanes add to a sum
        structure = dataclasses.replace(config.structure, unstructured=False)
        config = dataclasses.replace(config, name="small", rows=1, structure=structure)
    opened = {
        name: open_device("rtl", config, memory_bytes=MEMORY_BYTES, timing=timing, quiet=True)
        for name, timing in TIMINGS.items()
    }
    opened["golden"] = GoldenDevice(config, memory_bytes=MEMORY_BYTES)
    return opened


def operands(devices, rows, inner, columns, *, weight_density=0.3, operand_density=0.5, seed=1):
    format = devices["golden"].config.lane.format
    return (
        random_weights(rows=rows, inner=inner, density=weight_density, seed=seed, format=format),
        random_operand(inner=inner, columns=columns, density=operand_density, seed=seed, format=format),
    )


def check_counters(run: RunResult, truth: RunResult) -> np.ndarray:
    """What the fabric counts is what the interpreter counts; returns the products issued, by lane."""
    assert (run.effectual == truth.effectual).all()
    assert (run.flags == truth.flags).all()
    assert run.commands == truth.commands
    for counter, counts in run.row_feeders.items():
        assert (counts == truth.row_feeders[counter]).all(), counter
    rows_sent = run.column_feeders[FeederCounter.OPERAND_ROWS]
    assert (rows_sent == truth.column_feeders[FeederCounter.OPERAND_ROWS]).all()
    assert run.causes is not None
    assert (run.causes.sum(axis=-1) == run.cycles).all(), "every cycle of every lane has one cause"
    return run.causes[..., 0]


def check(devices, weights, operand, **options):
    golden = run_gather(devices["golden"], weights, operand, **options)
    expected = golden.golden(weights, operand)
    for timing in TIMINGS:
        result = run_gather(devices[timing], weights, operand, **options)
        assert result.accumulators.tobytes() == expected.accumulators.tobytes()
        assert result.run.bytes_written == result.accumulators.nbytes
        multiplied = check_counters(result.run, golden.run)
        if options.get("skip", True):
            assert (multiplied == result.run.effectual).all()
        elif options.get("weight_form") is WeightForm.DENSE:
            assert multiplied.sum() == weights.shape[0] * weights.shape[1] * operand.shape[1]


@pytest.mark.parametrize(
    "shape",
    [(0, 3, 3), (1, 1, 1), (17, 32, 16), (7, 97, 41), *regress((3, 0, 3), (3, 3, 0), (2, 31, 5), (33, 33, 17))],
)
def test_shapes(devices, shape):
    check(devices, *operands(devices, *shape))


@pytest.mark.parametrize("form", [WeightForm.CSR, WeightForm.DENSE, WeightForm.BITMAP])
@pytest.mark.parametrize("skip", [False, True])
def test_decoders_and_skipping(devices, form, skip):
    weights, operand = operands(devices, 19, 45, 21)
    check(devices, weights, operand, weight_form=form, skip=skip)
    check(devices, weights, operand, weight_form=form, skip=skip, index_size=IndexSize.UINT16)


@pytest.mark.parametrize("pattern", [(2, 4), (2, 16), *regress((1, 4), (4, 8), (1, 2))])
@pytest.mark.parametrize("shape", [(19, 45, 21), *regress((1, 1, 1), (5, 97, 9))])
def test_n_of_m(devices, pattern, shape):
    rows, inner, columns = shape
    n, m = pattern
    format = devices["golden"].config.lane.format
    weights = random_pattern(rows=rows, inner=inner, n=n, m=m, seed=1, format=format)
    operand = operands(devices, *shape)[1]
    check(devices, weights, operand, weight_form=WeightForm.NM, pattern=pattern)
    check(devices, weights, operand, weight_form=WeightForm.NM, pattern=pattern, skip=False, deal=True)
    gradient = operands(devices, inner, rows, columns, seed=2)[1]
    expected = run_scatter(devices["golden"], weights, gradient)
    for device in devices.values():
        result = run_scatter(device, weights, gradient, weight_form=WeightForm.NM, pattern=pattern)
        assert result.accumulators.tobytes() == expected.accumulators.tobytes()
        assert result.run.effectual_macs == expected.run.effectual_macs


@pytest.mark.parametrize("shape", [(19, 45, 21), *regress((1, 1, 1), (6, 97, 40), (40, 33, 9))])
def test_blocks(devices, shape):
    rows, inner, columns = shape
    format = devices["golden"].config.lane.format
    weights = random_blocks(rows=rows, inner=inner, size=4, seed=1, format=format)
    operand = operands(devices, *shape)[1]
    check(devices, weights, operand, weight_form=WeightForm.BLOCK)
    check(devices, weights, operand, weight_form=WeightForm.BLOCK, skip=False, deal=True)
    gradient = operands(devices, inner, rows, columns, seed=2)[1]
    expected = run_scatter(devices["golden"], weights, gradient)
    for device in devices.values():
        result = run_scatter(device, weights, gradient, weight_form=WeightForm.BLOCK, deal=True)
        assert result.accumulators.tobytes() == expected.accumulators.tobytes()
        assert result.run.effectual_macs == expected.run.effectual_macs


@pytest.mark.parametrize("density", [0.05, *regress(0.5, 1)])
@pytest.mark.parametrize("shape", [(17, 45, 16), *regress((1, 1, 1), (33, 31, 41))])
def test_packed_operands(devices, shape, density):
    """The three products, with the bits of dense operands."""
    rows, inner, columns = shape
    weights, operand = operands(devices, rows, inner, columns, operand_density=density)
    gradient = operands(devices, inner, rows, columns, operand_density=density, seed=2)[1]
    check(devices, weights, operand, form=OperandForm.PACKED)
    for run, parts in ((run_scatter, (gradient,)), (run_sampled, (gradient, operand))):
        # In how many groups sums are taken, and so in which mesh row, may depend on the form.
        plain = run(devices["golden"], weights, *parts)
        golden = run(devices["golden"], weights, *parts, form=OperandForm.PACKED)
        assert golden.accumulators.tobytes() == plain.accumulators.tobytes()
        assert golden.run.effectual_macs == plain.run.effectual_macs
        for timing in TIMINGS:
            result = run(devices[timing], weights, *parts, form=OperandForm.PACKED)
            assert set(result.forms) == {OperandForm.PACKED}
            assert result.accumulators.tobytes() == golden.accumulators.tobytes()
            check_counters(result.run, golden.run)


@pytest.mark.parametrize("densities", [(0, 0.5), (1, 1), (1, 0.02), *regress((0.5, 0), (0.02, 1))])
def test_densities(devices, densities):
    check(devices, *operands(devices, 23, 37, 19, weight_density=densities[0], operand_density=densities[1]))


def test_unsorted_duplicate_and_zero_entries(devices):
    generator = np.random.default_rng(4)
    rows, inner, count = 9, 70, 300
    pointers = np.concatenate([[0], np.sort(generator.integers(0, count, rows - 1)), [count]])
    sample, operand = operands(devices, 30, inner, 7, weight_density=1)
    values = np.where(generator.random(count) < 0.2, np.zeros_like(sample.values[:count]), sample.values[:count])
    weights = CsrMatrix((rows, inner), pointers, generator.integers(0, inner, count), values, sample.format)
    check(devices, weights, operand)


class Corrupted:
    """A device whose program finds something else in memory than was put there."""

    name = "corrupted"

    def __init__(self, device, address, values, dtype):
        self.device, self.config, self.memory = device, device.config, device.memory
        self._address, self._data = address, np.array(values, dtype=dtype).view(np.uint8)

    def run(self, program_address, commands, windows):
        self.memory[self._address : self._address + self._data.size] = self._data
        return self.device.run(program_address, commands, windows)


@pytest.mark.parametrize(
    ("code", "address", "values"),
    [
        (ErrorCode.POINTER_ORDER, 4 * 3, [0]),
        (ErrorCode.POINTER_RANGE, 4 * 4, [1000]),
        (ErrorCode.POINTER_RANGE, 4 * 4, [-1]),
        (ErrorCode.INDEX_RANGE, 64 + 4 * 17, [20]),
        (ErrorCode.INDEX_RANGE, 64 + 4 * 17, [-5]),
    ],
)
@pytest.mark.parametrize("timing", ["rough", *regress("plain")])
def test_faults_are_those_of_the_interpreter(devices, timing, code, address, values):
    weights, operand = operands(devices, 4, 20, 9, weight_density=0.5)
    faults = []
    for name in ("golden", timing):
        with pytest.raises(FabricError) as caught:
            run_gather(Corrupted(devices[name], address, values, "<i4"), weights, operand)
        faults.append((caught.value.code, caught.value.row, caught.value.index, caught.value.source))
    # Two feeders may see the same bad pointer, as the end of one row and the begin of the next: either may be first.
    assert faults[1][0] == faults[0][0] == code
    if code is ErrorCode.INDEX_RANGE:
        assert faults[1] == faults[0]
    else:
        assert abs(faults[1][1] - faults[0][1]) <= 1
    check(devices, weights, operand)


def backward_operands(devices, shape, *, density=0.5):
    rows, inner, columns = shape
    weights, activation = operands(devices, rows, inner, columns, operand_density=density)
    gradient = random_operand(inner=rows, columns=columns, density=density, seed=2, format=weights.format)
    return weights, gradient, activation


def check_backward(devices, weights, gradient, activation, **options):
    format = weights.format
    results = {name: run_scatter(device, weights, gradient, **options) for name, device in devices.items()}
    expected = scatter(
        weights.pointers, weights.indices, weights.values, gradient, inner=weights.shape[1], format=format
    )
    assert {result.accumulators.tobytes() for result in results.values()} == {expected.accumulators.tobytes()}
    for name in TIMINGS:
        multiplied = check_counters(results[name].run, results["golden"].run)
        assert multiplied.sum() == expected.effectual_macs or not options.get("skip", True)

    results = {name: run_sampled(device, weights, gradient, activation, **options) for name, device in devices.items()}
    chains = sampled_chains(devices["golden"].config, gradient.shape[1])
    expected = sampled(weights.pointers, weights.indices, gradient, activation, chains=chains, format=format)
    assert {result.accumulators.tobytes() for result in results.values()} == {expected.accumulators.tobytes()}
    for name in TIMINGS:
        multiplied = check_counters(results[name].run, results["golden"].run)
        assert multiplied.sum() == expected.effectual_macs or not options.get("skip", True)


@pytest.mark.parametrize(
    "shape",
    [(0, 3, 3), (1, 1, 1), (33, 33, 17), (7, 70, 41), *regress((3, 0, 3), (3, 3, 0), (31, 2, 5), (70, 20, 9))],
)
def test_backward_shapes(devices, shape):
    check_backward(devices, *backward_operands(devices, shape))


@pytest.mark.parametrize("skip", [False, True])
def test_backward_skipping_and_short_indices(devices, skip):
    check_backward(devices, *backward_operands(devices, (19, 25, 21)), skip=skip, index_size=IndexSize.UINT16)


def test_backward_of_unsorted_duplicate_and_zero_entries(devices):
    generator = np.random.default_rng(4)
    rows, inner, count = 9, 40, 200
    pointers = np.concatenate([[0], np.sort(generator.integers(0, count, rows - 1)), [count]])
    sample, gradient, activation = backward_operands(devices, (rows, inner, 18), density=0.9)
    values, _ = operands(devices, 40, 40, 1, weight_density=1)
    values = np.where(generator.random(count) < 0.2, np.zeros_like(values.values[:count]), values.values[:count])
    weights = CsrMatrix((rows, inner), pointers, generator.integers(0, inner, count), values, sample.format)
    check_backward(devices, weights, gradient, activation)


def test_the_whole_gradient(devices):
    weights, gradient, activation = backward_operands(devices, (11, 13, 10))
    results = [
        run_sampled(device, weights, gradient, activation, weight_form=WeightForm.DENSE) for device in devices.values()
    ]
    assert results[0].accumulators.size == 11 * 13
    assert len({result.accumulators.tobytes() for result in results}) == 1


def test_gate_relu_and_narrow(devices):
    weights, gradient, activation = backward_operands(devices, (50, 45, 21))
    for narrow in [False, True][: 1 + golden_format(weights.format).number_format.narrows]:
        gated = [run_scatter(device, weights, gradient, gate=activation, narrow=narrow) for device in devices.values()]
        assert len({result.accumulators.tobytes() for result in gated}) == 1
        relu = [run_gather(device, weights, activation, relu=True, narrow=narrow) for device in devices.values()]
        assert len({result.accumulators.tobytes() for result in relu}) == 1
        for result in (*gated, *relu):
            assert result.run.bytes_written in (None, result.accumulators.nbytes)


@pytest.mark.parametrize("devices", ["bf16", *regress("bf16x", "int8")], indirect=True, scope="module")
@pytest.mark.parametrize("product", ["gather", "scatter"])
def test_formats_of_weights(devices, product):
    """The bits of the golden product from each format; formats of one path cost the same."""
    weights, activation = operands(devices, 21, 40, 19)
    weights = random_pattern(rows=21, inner=40, n=1, m=4, seed=1, format=weights.format)
    operand = activation if product == "gather" else operands(devices, 40, 21, 19)[1]
    costs = {cost.stored.name: cost for cost in measure_formats(product, devices["rough"], weights, operand)}
    assert {cost.bit_exact for cost in costs.values()} - {None} == {True}
    assert (costs["bitmap"].bit_exact is True) == (product == "gather")
    assert costs["2:4"].bit_exact
    assert costs["blocks-4x4"].bit_exact
    assert costs["1:4"].bit_exact
    assert (costs["1:4"].bytes_read or 0) < (costs["2:4"].bytes_read or 0)
    assert costs["coo"].cycles == costs["csr-uint16"].cycles
    assert (costs["csr-uint16"].bytes_read or 0) < (costs["csr-int32"].bytes_read or 0)
    cycles = [cost.cycles or 0 for cost in costs.values() if cost.bit_exact]
    assert cycles == sorted(cycles)


def update_program(address: dict[str, int], *, entries: int, **options: int) -> Program:
    program = Program()
    rates = {"learning_rate": 0x3DCD, "momentum_factor": 0x3F66}  # 0.1 and 0.9 in bfloat16
    program.add(Opcode.UPDATE, semaphore=6, entries=entries, **rates, **address, **options)
    program.add(Opcode.WAIT, semaphore=6, count=1)
    program.add(Opcode.END)
    return program


@pytest.mark.parametrize("devices", regress("bf16x"), indirect=True, scope="module")
@pytest.mark.parametrize("unit", [-176, -12, 0, 76])
def test_units_of_fixed_point_sums(devices, unit):
    """Sums that underflow, and sums that wrap: the same bits and flags from all devices, and from the mathematics."""
    weights, gradient, activation = backward_operands(devices, (21, 40, 19))
    bits, raised = set(), set()
    for device in devices.values():
        found = (
            run_gather(device, weights, activation, unit=unit),
            run_scatter(device, weights, gradient, unit=unit),
            run_sampled(device, weights, gradient, activation, unit=unit),
        )
        bits.add(b"".join(result.accumulators.tobytes() for result in found))
        raised.add(tuple(result.run.flags.tobytes() for result in found))
        assert found[0].accumulators.tobytes() == found[0].golden(weights, activation).accumulators.tobytes()
    assert (len(bits), len(raised)) == (1, 1)
    assert found[0].run.raised == (Flag.OVERFLOW if unit < -100 else Flag.UNDERFLOW)


@pytest.mark.parametrize("devices", ["bf16"], indirect=True, scope="module")
@pytest.mark.parametrize("entries", [0, 7, 500, *regress(1)])
@pytest.mark.parametrize("options", [{}, {"stochastic": 1, "seed": 12345}])
def test_update(devices, entries, options):
    program = update_program(
        {"gradient": 0x1000, "master": 0x2000, "momentum": 0x3000, "values": 0x4000}, entries=entries, **options
    )
    numbers = np.random.default_rng(entries).normal(size=(3, 500)).astype(np.float32)
    found = set()
    for device in devices.values():
        device.memory[:0x5000] = 0xA5
        device.memory[: len(program) * COMMAND_BYTES] = program.to_array()
        for place, array in zip((0x1000, 0x2000, 0x3000), numbers, strict=True):
            device.memory[place : place + array.nbytes] = array.view(np.uint8)
        device.run(0, len(program), whole_memory(device))
        found.add(device.memory[0x1000:0x5000].tobytes())
    assert len(found) == 1


def test_update_is_refused_without_a_seed_or_without_bf16(devices):
    address = {"gradient": 0x1000, "master": 0x2000, "momentum": 0x3000, "values": 0x4000}
    bf16 = devices["golden"].config.lane.number_format.narrows
    wrong = [(ErrorCode.COMMAND_RANGE, {"stochastic": 1})]
    if bf16:
        wrong.append((ErrorCode.MISALIGNED, {"master": 0x2004}))
    for code, changes in wrong:
        program = update_program({**address, **changes}, entries=9)
        for device in devices.values():
            device.memory[: len(program) * COMMAND_BYTES] = program.to_array()
            with pytest.raises(FabricError) as caught:
                device.run(0, len(program), whole_memory(device))
            assert caught.value.code is code
    check(devices, *operands(devices, 5, 6, 7))
