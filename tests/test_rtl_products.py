"""Products and faulty programs on the Verilated fabric, beside the interpreter and the mathematics."""

import numpy as np
import pytest

from acf.config import preset
from acf.golden.products import gather
from acf.isa import ErrorCode, FeederCounter, IndexSize
from acf.runtime.device import FabricError
from acf.runtime.devices import open_device
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.sim.memory_timing import MemoryTiming

MEMORY_BYTES = 1 << 20
TIMINGS = {
    "plain": MemoryTiming(),
    "rough": MemoryTiming(latency=60, jitter=30, stall=0.3, bandwidth=4.0, reorder=True, interleave=True),
}


@pytest.fixture(scope="module", params=["bf16", "int8"])
def devices(request):
    config = preset("tiny").with_format(request.param)
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


def check(devices, weights, operand, **options):
    golden = run_gather(devices["golden"], weights, operand, **options)
    expected = gather(weights.pointers, weights.indices, weights.values, operand, format=weights.format,
                      split=golden.tiling.inner_tile)  # fmt: skip
    for timing in TIMINGS:
        result = run_gather(devices[timing], weights, operand, **options)
        assert result.accumulators.tobytes() == expected.accumulators.tobytes()
        run, truth = result.run, golden.run
        assert (run.effectual == truth.effectual).all()
        assert (run.overflow == truth.overflow).all()
        assert run.commands == truth.commands
        for counter, counts in run.row_feeders.items():
            assert (counts == truth.row_feeders[counter]).all(), counter
        rows_sent = run.column_feeders[FeederCounter.OPERAND_ROWS]
        assert (rows_sent == truth.column_feeders[FeederCounter.OPERAND_ROWS]).all()
        assert run.causes is not None
        assert (run.causes.sum(axis=-1) == run.cycles).all(), "every cycle of every lane has one cause"
        assert run.bytes_written == result.accumulators.nbytes
        multiplied = run.causes[..., 0]
        if options.get("skip", True):
            assert (multiplied == run.effectual).all()
        elif options.get("dense"):
            assert multiplied.sum() == weights.shape[0] * weights.shape[1] * operand.shape[1]


@pytest.mark.parametrize(
    "shape", [(0, 3, 3), (3, 0, 3), (3, 3, 0), (1, 1, 1), (2, 31, 5), (17, 32, 16), (33, 33, 17), (7, 97, 41)]
)
def test_shapes(devices, shape):
    check(devices, *operands(devices, *shape))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_decoders_and_skipping(devices, dense, skip):
    weights, operand = operands(devices, 19, 45, 21)
    check(devices, weights, operand, dense=dense, skip=skip)
    check(devices, weights, operand, dense=dense, skip=skip, index_size=IndexSize.UINT16)


@pytest.mark.parametrize("densities", [(0, 0.5), (0.5, 0), (1, 1), (0.02, 1), (1, 0.02)])
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
@pytest.mark.parametrize("timing", list(TIMINGS))
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
