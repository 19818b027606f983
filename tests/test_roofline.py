"""The roofline beside cases counted by hand, and beside cycles of the RTL, which it must not exceed."""

import json
from typing import Any

import pytest

from acf.cli.main import run
from acf.config import preset
from acf.isa import IndexSize
from acf.runtime.devices import open_device
from acf.runtime.matrices import random_weights
from acf.runtime.measure import PRODUCTS, measure_product, random_operands
from acf.runtime.roofline import product_roofline, update_roofline
from acf.sim.memory_timing import MemoryTiming

# W is 9 x 20 with 45 entries, the operands have 11 columns. tiny: 8 lanes, 8 bytes a beat.
LAYER: dict[str, Any] = {"rows": 9, "inner": 20, "columns": 11, "entries": 45}

# product, format: pointers + indices + values + operands, result; the fuller direction / 8 bytes
BY_HAND = {
    ("gather", "bf16"): (10 * 4 + 45 * 2 + 45 * 2 + 20 * 11 * 2, 9 * 11 * 4, 660 / 8),
    ("scatter", "bf16"): (10 * 4 + 45 * 2 + 45 * 2 + 9 * 11 * 2, 20 * 11 * 4, 880 / 8),
    ("sampled", "bf16"): (10 * 4 + 45 * 2 + (9 + 20) * 11 * 2, 45 * 4, 768 / 8),
    ("gather", "int8"): (10 * 4 + 45 * 2 + 45 * 1 + 20 * 11, 9 * 11 * 4, 396 / 8),
}


@pytest.mark.parametrize(("product", "format"), BY_HAND)
def test_bytes_by_hand(product, format):
    read, written, cycles = BY_HAND[product, format]
    bound = product_roofline(product, preset("tiny").with_format(format), **LAYER, effectual_macs=8 * 100)
    assert (bound.bytes_read, bound.bytes_written, bound.memory_cycles) == (read, written, cycles)
    assert bound.compute_cycles == 100
    assert bound.cycles == max(100, cycles)
    assert bound.bound == ("compute" if cycles < 100 else "memory")
    report = bound.report(cycles=500)
    assert report["roofline_fraction"] == max(100, cycles) / 500
    assert bound.report(cycles=None)["roofline_fraction"] is None


def test_a_slow_memory_is_shared_by_both_directions():
    def cycles(bytes_per_cycle):
        bound = product_roofline("gather", preset("tiny"), **LAYER, effectual_macs=1, bytes_per_cycle=bytes_per_cycle)
        return bound.memory_cycles

    assert cycles(4) == (660 + 396) / 4
    assert cycles(12) == (660 + 396) / 12
    assert cycles(16) == 660 / 8, "the port gives no more"


def test_indices_are_as_wide_as_they_must_be():
    def bytes_read(inner, **options):
        layer = {**LAYER, "inner": inner}
        return product_roofline("scatter", preset("tiny"), **layer, effectual_macs=1, **options).bytes_read

    assert bytes_read(20, index_size=IndexSize.INT32) - bytes_read(20) == 45 * 2
    assert bytes_read(20, index_size=IndexSize.UINT16) == bytes_read(1 << 16) == bytes_read(20)
    assert bytes_read((1 << 16) + 1) - bytes_read(1 << 16) == 45 * 2


@pytest.mark.parametrize(
    "empty", [{"rows": 0, "entries": 0}, {"inner": 0, "entries": 0}, {"columns": 0}, {"entries": 0}]
)
def test_where_there_is_nothing_to_multiply_only_the_result_counts(empty):
    layer = {**LAYER, **empty}
    bound = product_roofline("gather", preset("tiny"), **layer, effectual_macs=0)
    assert bound.bytes_read == 0
    assert bound.bytes_written == 4 * layer["rows"] * layer["columns"]


def test_an_update_moves_22_bytes_a_weight():
    bound = update_roofline(preset("base"), entries=1000)
    assert (bound.bytes_read, bound.bytes_written, bound.cycles) == (12_000, 10_000, 12_000 / 32)


def test_unknown_product_is_named():
    with pytest.raises(ValueError, match=r"^product must be one of gather, scatter, sampled, not 'update'$"):
        product_roofline("update", preset("tiny"), **LAYER, effectual_macs=0)


def test_operands_count_as_what_they_need_at_least():
    """A bit for each element and the non-zero ones, or all elements."""

    def read(*nonzeros: int) -> int:
        return product_roofline(
            "sampled",
            preset("base"),
            rows=8,
            inner=16,
            columns=32,
            entries=10,
            effectual_macs=0,
            operand_nonzeros=nonzeros or None,
        ).bytes_read

    whole = read()
    assert read(8 * 32, 16 * 32) == whole
    assert read(8 * 32, 100) == whole - 2 * 16 * 32 + (16 * 32 // 8 + 2 * 100)
    assert read(0, 16 * 32) == whole - 2 * 8 * 32 + 8 * 32 // 8


@pytest.mark.parametrize("product", [*PRODUCTS, "update"])
def test_every_bench_states_it(capsys, product):
    sizes = ["--entries", "100"] if product == "update" else ["--rows", "9", "--inner", "20", "--cols", "11"]
    arguments = ["bench", product, "--preset", "tiny", "--device", "golden", *sizes]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    if product == "update":
        assert report["roofline_cycles"] == 12 * 100 / 8
    else:
        layer = {**LAYER, "entries": report["weight_entries"], "operand_nonzeros": report["nonzeros_by_operand"]}
        bound = product_roofline(product, preset("tiny"), **layer, effectual_macs=report["effectual_macs"])
        assert {name: report[name] for name in bound.report(None)} == bound.report(None)
    assert {name for name in report if "roofline" in name or "compulsory" in name} <= report["units"].keys()
    assert run(arguments) == 0
    assert "roofline" in capsys.readouterr().out


@pytest.mark.parametrize("bytes_per_cycle", [pytest.param(None, marks=pytest.mark.regress), 3.0])
def test_no_run_of_the_rtl_is_faster(bytes_per_cycle):
    """Empty, dense and lopsided layers too: where the bound were no bound, its fraction would pass 1."""
    timing = MemoryTiming(latency=1, write_latency=1, bandwidth=bytes_per_cycle)
    device = open_device("rtl", preset("tiny"), memory_bytes=1 << 20, timing=timing)
    layers = [(0, 3, 4, 1), (3, 0, 4, 1), (3, 4, 0, 1), (1, 1, 1, 1), (5, 7, 16, 0), (16, 32, 32, 1), (40, 3, 70, 0.3)]
    for rows, inner, columns, density in layers:
        weights = random_weights(rows=rows, inner=inner, density=density, seed=1, format="bf16")
        for product in PRODUCTS:
            operands = random_operands(product, weights, columns=columns, density=1, seed=1)
            measured = measure_product(product, device, weights, operands, without_skipping=False)
            report = measured.report(bytes_per_cycle=bytes_per_cycle)
            assert report["bit_exact"]
            assert report["roofline_fraction"] <= 1, (product, rows, inner, columns, report)
            assert report["dense_cycles"] is None
            assert report["speedup"] is None
