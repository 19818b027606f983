"""Formats of weights: their bytes, which matrix can have them, and ``acf formats``."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse

from acf.cli.main import run
from acf.config import preset
from acf.runtime.block_weights import block_arrays
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import WeightForm
from acf.runtime.matrices import CsrMatrix, random_operand, random_values, random_weights
from acf.runtime.measure_formats import formats_memory_bytes, measure_formats
from acf.runtime.pattern_weights import pattern_arrays, pattern_bytes, smallest_pattern
from acf.runtime.products import run_sampled, run_scatter
from acf.runtime.session import Session
from acf.runtime.weight_formats import bitmap_of, smallest_form, stored_formats
from acf.tb.weight_cases import random_blocks, random_pattern

TINY = preset("tiny")
MEASURED = {"csr-uint16", "csr-int32", "csc", "coo", "dense", "bitmap", "blocks-4x4"}


def by_name(weights, config=TINY):
    return {stored.name: stored for stored in stored_formats(config, weights)}


def matrix(rows, format="bf16"):
    return CsrMatrix.from_dense(np.array(rows, dtype=np.float64), format=format)


def test_bytes_of_a_matrix_by_hand():
    """Two rows of six columns, five entries, in four blocks of which one has none."""
    formats = by_name(matrix([[1, 0, 2, 0, 0, 0], [3, 4, 0, 0, 0, 5]]))
    assert {name: stored.arrays for name, stored in formats.items()} == {
        "csr-uint16": {"values": 10, "indices": 10, "pointers": 12},
        "csr-int32": {"values": 10, "indices": 20, "pointers": 12},
        "csc": {"values": 10, "indices": 10, "pointers": 28},
        "coo": {"values": 10, "row indices": 20, "column indices": 20},
        "dense": {"values": 24},
        "bitmap": {"values": 10, "bitmap": 16, "pointers": 12},  # a beat of 8 bytes for each row
        "2:4": {"values": 16, "indices": 2},  # four of two bits in each row, of two groups
        "1:4": {},
        "4:8": {"values": 16, "indices": 4},  # one group in each row, places of four bits
        "blocks-4x4": {"values": 64, "indices": 4, "pointers": 8},
    }
    assert formats["coo"].bytes == 50
    assert formats["1:4"].bytes is None


def test_bytes_of_int8():
    formats = by_name(matrix([[1, 0, 2], [0, 0, 3]], "int8"), TINY.with_format("int8"))
    assert formats["csr-uint16"].arrays == {"values": 3, "indices": 6, "pointers": 12}
    assert formats["dense"].arrays == {"values": 6}


def test_groups_that_are_too_full_are_named():
    rows = np.zeros((4, 10))
    rows[2, 8:] = 1
    formats = by_name(matrix(rows))
    assert formats["2:4"].arrays
    assert formats["1:4"].note == "row 2 has 2 entries in group 2 (columns 8 to 9)"
    rows[3, [0, 1, 3]] = 1
    assert by_name(matrix(rows))["2:4"].note == "row 3 has 3 entries in group 0 (columns 0 to 3)"


def test_elements_with_two_entries_are_named():
    double = CsrMatrix((2, 3), np.array([0, 1, 4]), np.array([0, 1, 2, 1]), np.ones(4, dtype=np.int8), "int8")
    formats = by_name(double, TINY.with_format("int8"))
    assert formats["bitmap"].note == "columns of a bitmap ascend, but row 1 has column 1 behind column 2"
    for name in ("dense", "2:4", "1:4", "blocks-4x4"):
        assert formats[name].note == "element (1, 1) has more than one entry"
        assert not formats[name].arrays
    assert formats["csc"].arrays["values"] == 4


def test_bits_of_a_matrix_by_hand():
    weights = matrix([[1, 0, 2, 0, 0, 0, 0, 0, 0, 3], [0] * 10, [0, 4, 0, 0, 0, 0, 0, 5, 6, 0]])
    bits = bitmap_of(weights, beat_bytes=8).reshape(3, 8)
    assert bits[:, :2].tolist() == [[0b101, 0b10], [0, 0], [0b10000010, 0b1]]
    assert not bits[:, 2:].any()
    assert bitmap_of(weights, beat_bytes=32).size == 96


def test_a_bitmap_must_ascend_and_has_an_end():
    with pytest.raises(ValueError, match="columns of a bitmap ascend, but row 0 has column 1 behind column 2"):
        bitmap_of(
            CsrMatrix((1, 3), np.array([0, 2]), np.array([2, 1]), np.ones(2, dtype=np.int8), "int8"), beat_bytes=8
        )
    wide = CsrMatrix.from_scipy(scipy.sparse.csr_array((1, (1 << 16) + 1)), format="bf16")
    with pytest.raises(ValueError, match="a bitmap has at most 65536 columns, not 65537"):
        bitmap_of(wide, beat_bytes=8)


def test_arrays_of_a_pattern_by_hand():
    weights = matrix([[0, 1, 0, 2, 0, 0, 3], [0] * 7, [4, 0, 0, 0, 0, 0, 0]], "int8")
    values, places = pattern_arrays(weights, 2, 4)
    assert values.reshape(3, 4).tolist() == [[1, 2, 3, 0], [0, 0, 0, 0], [4, 0, 0, 0]]
    assert places.tolist() == [1 | 3 << 2 | 2 << 4, 0, 0]
    values, places = pattern_arrays(weights, 4, 16)
    assert values.reshape(3, 4).tolist() == [[1, 2, 3, 0], [0, 0, 0, 0], [4, 0, 0, 0]]
    assert places.tolist() == [1 | 3 << 4, 6, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"weights cannot be 1:4: row 0 has 2 entries in group 0 \(columns 0 to 3\)"):
        pattern_arrays(weights, 1, 4)


@pytest.mark.parametrize("pattern", [(1, 2), (1, 4), (2, 4), (1, 8), (4, 8), (2, 16), (8, 16)])
def test_the_smallest_pattern(pattern):
    """Of full groups there is no shorter pattern, but for those with M and N both larger, whose places are longer."""
    n, m = pattern
    weights = random_pattern(rows=5, inner=48, n=n, m=m, seed=1, format="bf16", density=1)
    assert smallest_pattern(weights, operand_bytes=2) == pattern
    sizes = pattern_bytes(5, 48, n, m, operand_bytes=2)
    assert sizes == {"values": 2 * weights.entries, "indices": -(-weights.entries * {2: 1, 4: 2}.get(m, 4) // 8)}
    dense = random_pattern(rows=5, inner=48, n=m, m=m, seed=1, format="bf16", density=1)
    assert smallest_pattern(dense, operand_bytes=2) is None


def test_arrays_of_blocks_by_hand():
    weights = np.zeros((6, 9))
    weights[0, 8], weights[3, 1], weights[5, 7] = 1, 2, 3
    pointers, indices, values = block_arrays(matrix(weights, "int8"))
    assert pointers.tolist() == [0, 2, 3]
    assert indices.tolist() == [0, 2, 1]
    assert values.shape == (4, 3, 4)
    assert (values[0, 1, 0], values[3, 0, 1], values[1, 2, 3]) == (1, 2, 3)
    assert np.count_nonzero(values) == 3
    assert (indices.dtype, pointers.dtype) == (np.uint16, np.int32)


def test_full_blocks_are_smaller_than_csr():
    weights = random_blocks(rows=40, inner=256, size=4, seed=1, format="bf16", density=0.05)
    assert smallest_form(TINY, weights) is WeightForm.BLOCK


def test_what_cannot_be_in_blocks():
    unsorted = CsrMatrix((1, 3), np.array([0, 2]), np.array([2, 1]), np.ones(2, dtype=np.int8), "int8")
    session = Session(GoldenDevice(TINY.with_format("int8")))
    with pytest.raises(ValueError, match="columns of blocks ascend, but those of row 0 do not"):
        session.place_weights(unsorted, form=WeightForm.BLOCK)
    plain = dataclasses.replace(TINY, feeder=dataclasses.replace(TINY.feeder, formats=("nm",)))
    with pytest.raises(ValueError, match=f"configuration {plain.digest} has no decoder for weights in blocks"):
        Session(GoldenDevice(plain)).place_weights(matrix([[1]]), form=WeightForm.BLOCK)
    assert by_name(matrix([[1]]), plain)["blocks-4x4"].note == "there is no decoder for it: bytes only"
    wide = CsrMatrix.from_scipy(scipy.sparse.csr_array((1, (1 << 18) + 1)), format="bf16")
    assert by_name(wide)["blocks-4x4"].note == "indices of 16 bits allow 262144 columns, not 262145"
    with pytest.raises(ValueError, match="weights in blocks have at most 262144 columns, not 262145"):
        Session(GoldenDevice(TINY)).place_weights(wide, form=WeightForm.BLOCK)


def test_what_cannot_be_n_of_m():
    session = Session(GoldenDevice(TINY))
    with pytest.raises(ValueError, match=r"weights cannot be N:M, not even 8:16: row 1 has 9 entries in group 0"):
        session.place_weights(matrix([[0] * 9, [1] * 9]), form=WeightForm.NM)
    unsorted = CsrMatrix((1, 3), np.array([0, 2]), np.array([2, 1]), np.ones(2, dtype=np.int8), "int8")
    int8 = TINY.with_format("int8")
    with pytest.raises(ValueError, match="columns of N:M ascend, but those of row 0 do not"):
        Session(GoldenDevice(int8)).place_weights(unsorted, form=WeightForm.NM)
    plain = dataclasses.replace(TINY, feeder=dataclasses.replace(TINY.feeder, formats=()))
    with pytest.raises(ValueError, match=f"configuration {plain.digest} has no decoder for weights in nm"):
        Session(GoldenDevice(plain)).place_weights(matrix([[1]]), form=WeightForm.NM)
    assert by_name(matrix([[1]]), plain)["2:4"].note == "there is no decoder for it: bytes only"
    assert smallest_form(plain, matrix([[1, 0]])) is not WeightForm.NM


@pytest.mark.parametrize(("density", "form"), [(0.01, WeightForm.CSR), (0.3, WeightForm.BITMAP), (1, WeightForm.DENSE)])
def test_the_smallest_form(density, form):
    """At 256 columns a bit for each is as long as 16-bit indices of a sixteenth of them."""
    weights = random_weights(rows=40, inner=256, density=density, seed=1, format="bf16")
    assert smallest_form(TINY, weights) is form
    operand = random_operand(inner=256, columns=9, density=0.5, seed=1, format="bf16")
    result = run_gather(GoldenDevice(TINY), weights, operand, weight_form=WeightForm.AUTO)
    assert result.weight_form is form
    assert result.accumulators.tobytes() == result.golden(weights, operand).accumulators.tobytes()
    stored = {stored.name: stored.bytes for stored in stored_formats(TINY, weights)}
    assert min(("csr-uint16", "dense", "bitmap"), key=lambda name: stored[name] or 0).startswith(form)


def test_the_smallest_form_keeps_the_order_of_sums():
    values = np.ones(6, dtype=np.int8)
    for indices, form in (([0, 1, 2, 3, 4, 5], WeightForm.DENSE), ([0, 1, 2, 3, 5, 4], WeightForm.CSR)):
        weights = CsrMatrix((1, 6), np.array([0, 6]), np.array(indices), values, "int8")
        assert smallest_form(TINY.with_format("int8"), weights) is form


@pytest.mark.parametrize("run_product", [run_scatter, run_sampled])
def test_a_bitmap_is_for_a_gather_only(run_product):
    weights = matrix([[1]])
    operands = [np.ones((1, 1), dtype=weights.values.dtype)] * (1 + (run_product is run_sampled))
    with pytest.raises(ValueError, match=r"reads weights in csr or dense.*, not in bitmap"):
        run_product(GoldenDevice(TINY), weights, *operands, weight_form=WeightForm.BITMAP)


def test_short_indices_have_an_end():
    wide = CsrMatrix.from_scipy(scipy.sparse.csr_array((1, (1 << 16) + 1)), format="bf16")
    formats = by_name(wide)
    assert formats["csr-uint16"].note == "indices of 16 bits allow 65536 columns, not 65537"
    assert "csr-int32" in formats["coo"].note
    assert formats["csc"].arrays["indices"] == 0
    tall = by_name(wide.transposed())
    assert tall["csr-uint16"].arrays


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (5, 8)])
def test_transposed(shape):
    weights = random_weights(rows=shape[0], inner=shape[1], density=0.5, seed=1, format="bf16")
    assert (weights.transposed().to_dense() == weights.to_dense().T).all()
    twice = weights.transposed().transposed()
    assert (twice.indices == weights.indices).all()
    assert (twice.pointers == weights.pointers).all()


@pytest.mark.parametrize("product", ["gather", "scatter"])
@pytest.mark.parametrize("format", ["bf16", "int8"])
@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1), (37, 45, 20)])
def test_every_format_gives_the_golden_bits(product, format, shape):
    config = TINY.with_format(format)
    rows, inner, columns = shape
    weights = random_weights(rows=rows, inner=inner, density=0.3, seed=1, format=format)
    size = {"gather": inner, "scatter": rows}[product]
    operand = random_operand(inner=size, columns=columns, density=0.5, seed=1, format=format)
    memory = formats_memory_bytes(product, config, weights, columns=columns)
    costs = measure_formats(product, GoldenDevice(config, memory_bytes=memory), weights, operand)
    run = {cost.stored.name for cost in costs if cost.bit_exact is not None}
    patterns = {name for name in ("2:4", "1:4", "4:8") if by_name(weights, config)[name].arrays}
    assert run == MEASURED - ({"bitmap"} if product == "scatter" else set()) | patterns
    assert all(cost.bit_exact for cost in costs[: len(run)])
    sizes = [cost.stored.bytes or 0 for cost in costs[: len(run)]]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("product", ["gather", "scatter"])
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_weights_in_a_pattern_give_the_golden_bits(product, format):
    config = TINY.with_format(format)
    weights = random_pattern(rows=37, inner=45, n=1, m=4, seed=1, format=format)
    operand = random_operand(
        inner={"gather": 45, "scatter": 37}[product], columns=20, density=0.5, seed=1, format=format
    )
    memory = formats_memory_bytes(product, config, weights, columns=20)
    costs = measure_formats(product, GoldenDevice(config, memory_bytes=memory), weights, operand)
    exact = {cost.stored.name: cost.bit_exact for cost in costs}
    assert [exact[name] for name in ("1:4", "2:4", "4:8")] == [True] * 3


@pytest.mark.parametrize("product", ["gather", "scatter"])
def test_unsorted_rows_keep_to_the_order_of_each_format(product):
    generator = np.random.default_rng(3)
    counts = generator.integers(0, 20, size=24)
    indices = np.concatenate([generator.choice(40, size=count, replace=False) for count in counts])
    values = random_values(indices.size, seed=1, format="bf16")
    weights = CsrMatrix((24, 40), np.concatenate([[0], np.cumsum(counts)]), indices, values, "bf16")
    operand = random_operand(inner=40 if product == "gather" else 24, columns=9, density=0.7, seed=1, format="bf16")
    costs = measure_formats(product, GoldenDevice(TINY), weights, operand)
    run = {cost.stored.name: cost.bit_exact for cost in costs if cost.bit_exact is not None}
    assert run == dict.fromkeys(MEASURED - {"bitmap"}, True)


def test_products_are_checked():
    weights = matrix([[1]])
    with pytest.raises(ValueError, match="product must be one of gather, scatter, not 'sampled'"):
        measure_formats("sampled", GoldenDevice(TINY), weights, np.zeros((1, 1)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.npz"
    scipy.sparse.save_npz(path, scipy.sparse.random_array((13, 29), density=0.2, rng=np.random.default_rng(1)).tocsr())
    return str(path)


ARGUMENTS = ["--preset", "tiny", "--device", "golden", "--cols", "11"]


def test_report(capsys, file):
    assert run(["formats", file, *ARGUMENTS, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["inner"], report["columns"]) == (13, 29, 11)
    assert {cost["name"] for cost in report["formats"] if cost["bit_exact"]} == MEASURED | {"4:8"}
    best = report["formats"][0]
    assert report["best"] == best["name"] == "bitmap"
    assert best["bytes"] == sum(best["arrays"].values())
    assert best["cycles"] is None
    assert set(report["units"]) <= set(best)


def test_table(capsys, file):
    assert run(["formats", file, *ARGUMENTS, "--product", "scatter"]) == 0
    shown = capsys.readouterr().out
    assert "* csr-uint16" in shown
    assert "2:4: row 0 has 3 entries in group" in shown
    assert TINY.digest in shown


class WrongDevice(GoldenDevice):
    """Adds one to the last bit of one result."""

    def run(self, program_address, commands, windows):
        result = super().run(program_address, commands, windows)
        self.memory[windows[-1].base] ^= 1
        return result


def test_a_wrong_bit_is_exit_status_1(capsys, monkeypatch, file):
    monkeypatch.setattr("acf.runtime.devices.GoldenDevice", WrongDevice)
    assert run(["formats", file, *ARGUMENTS, "--json"]) == 1
    captured = capsys.readouterr()
    assert not any(cost["bit_exact"] for cost in json.loads(captured.out)["formats"])
    assert "differs from the golden product (seed 1)" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mtx"], "missing.mtx: there is no such file"),
        (["pyproject.toml"], "must end in .mtx"),
        (["FILE", "--product", "sampled"], "product must be one of gather, scatter, not 'sampled'"),
        (["FILE", "--seed", "-1"], "seed must not be negative, not -1"),
        (["FILE", "--cols", "-2"], "columns, not -2"),
        (["FILE", "--operand-density", "2"], "operand density must be from 0 to 1, not 2.0"),
        (["FILE", "--memory-latency", "10"], "the golden device has no time"),
    ],
)
def test_bad_input(capsys, file, arguments, message):
    arguments = [file if argument == "FILE" else argument for argument in arguments]
    assert run(["formats", *arguments, "--preset", "tiny", "--device", "golden"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
