"""The fabric without hardware for skipping: the same bits, in the cycles of the fabric with skipping switched off."""

import dataclasses

import numpy as np
import pytest

from acf.config import preset
from acf.golden.products import gather, sampled, scatter
from acf.isa import ErrorCode
from acf.runtime.device import FabricError
from acf.runtime.devices import open_device
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import OperandForm
from acf.runtime.matrices import random_operand, random_weights
from acf.runtime.measure import measure_product
from acf.runtime.products import run_sampled, run_scatter
from acf.runtime.sampled import sampled_chains
from acf.sim.memory_timing import MemoryTiming

MEMORY_BYTES = 1 << 20
CONFIG = preset("tiny").without_skipping()
ROUGH = MemoryTiming(latency=60, jitter=30, stall=0.3, bandwidth=4.0, reorder=True, interleave=True)


def operands(shape, *, operand_density=0.5, format="bf16"):
    rows, inner, columns = shape
    return (
        random_weights(rows=rows, inner=inner, density=0.3, seed=1, format=format),
        random_operand(inner=rows, columns=columns, density=operand_density, seed=2, format=format),
        random_operand(inner=inner, columns=columns, density=operand_density, seed=1, format=format),
    )


class WithSkipping:
    """A device without skipping, as a host sees it that takes it for one with skipping."""

    name = "mistaken"

    def __init__(self, device):
        self._device, self.memory = device, device.memory
        self.config = dataclasses.replace(device.config, lane=dataclasses.replace(device.config.lane, skipping=True))

    def run(self, program_address, commands, windows):
        return self._device.run(program_address, commands, windows)


def check_packed_is_refused(device):
    weights, _, operand = operands((5, 20, 9))
    with pytest.raises(
        ValueError, match=r"^the operand cannot be packed where lanes do not skip zeros, as in configuration "
    ):
        run_gather(device, weights, operand, form=OperandForm.PACKED)
    assert run_gather(device, weights, operand, form=OperandForm.AUTO).forms == (OperandForm.DENSE,)
    with pytest.raises(FabricError) as caught:
        run_gather(WithSkipping(device), weights, operand, form=OperandForm.PACKED)
    assert caught.value.code == ErrorCode.COMMAND_RANGE
    run_gather(device, weights, operand)
    return caught.value


def test_packed_operands_are_refused():
    check_packed_is_refused(GoldenDevice(CONFIG, memory_bytes=MEMORY_BYTES))


@pytest.mark.regress
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_the_three_products(format):
    config = CONFIG.with_format(format)
    devices = {
        timing: open_device("rtl", config, memory_bytes=MEMORY_BYTES, timing=timing, quiet=True)
        for timing in (MemoryTiming(), ROUGH)
    }
    for shape in [(0, 3, 3), (3, 0, 3), (3, 3, 0), (1, 1, 1), (17, 32, 16), (33, 70, 41)]:
        weights, gradient, activation = operands(shape, format=format)
        csr = weights.pointers, weights.indices, weights.values
        chains = sampled_chains(config, shape[2])
        expected = [
            gather(*csr, activation, format=format),
            scatter(*csr, gradient, inner=shape[1], format=format),
            sampled(*csr[:2], gradient, activation, chains=chains, format=format),
        ]
        for device in devices.values():
            for skip in (False, True):
                found = [
                    run_gather(device, weights, activation, skip=skip),
                    run_scatter(device, weights, gradient, skip=skip),
                    run_sampled(device, weights, gradient, activation, skip=skip),
                ]
                for one, truth in zip(found, expected, strict=True):
                    assert one.accumulators.tobytes() == truth.accumulators.tobytes()
                    assert one.run.effectual_macs == truth.effectual_macs
            narrow = format == "bf16"
            gated = run_scatter(device, weights, gradient, gate=activation, narrow=narrow)
            golden = run_scatter(GoldenDevice(config, memory_bytes=MEMORY_BYTES), weights, gradient, gate=activation,
                                 narrow=narrow)  # fmt: skip
            assert gated.accumulators.tobytes() == golden.accumulators.tobytes()
    refused = check_packed_is_refused(devices[ROUGH])
    assert refused.source == (0, 0)


@pytest.mark.regress
@pytest.mark.parametrize("product", ["gather", "scatter", "sampled"])
def test_cycles_are_those_of_skipping_switched_off(product):
    """So ``dense_cycles`` of a fabric with skipping is what one without takes."""
    weights, gradient, activation = operands((48, 64, 64))
    parts = {"gather": (activation,), "scatter": (gradient,), "sampled": (gradient, activation)}[product]
    cycles = []
    for config in (preset("tiny"), CONFIG):
        device = open_device("rtl", config, memory_bytes=MEMORY_BYTES, quiet=True)
        measured = measure_product(product, device, weights, parts)
        assert measured.bit_exact
        assert measured.dense is not None
        cycles.append(measured.dense.run.cycles)
        with_zeros = measured.sparse.run
    assert np.allclose(cycles[1], cycles[0], rtol=0.02), cycles
    assert with_zeros.causes is not None
