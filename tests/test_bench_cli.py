"""``acf bench`` on the golden device: its report, its table, and what it says to bad input."""

import json

import numpy as np
import pytest
import scipy.sparse

from acf.cli.main import run
from acf.config import preset
from acf.runtime.device import RunResult
from acf.runtime.gather import gather_memory_bytes
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.matrices import random_operand, random_weights
from acf.runtime.measure import measure_product

SMALL = ["bench", "gather", "--preset", "tiny", "--device", "golden", "--rows", "9", "--inner", "20", "--cols", "11"]

KEYS = {
    "cycles", "lanes", "effectual_macs", "dense_macs", "utilization", "dense_cycles", "speedup", "ideal_speedup",
    "lane_cycles", "bytes_read", "bytes_written", "bit_exact", "config", "seed",
}  # fmt: skip
TIMING = {"cycles", "utilization", "dense_cycles", "speedup", "lane_cycles", "bytes_read", "bytes_written"}


def report_of(capsys, *arguments):
    assert run([*SMALL, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_report(capsys):
    report = report_of(capsys, "--seed", "7", "--weight-density", "0.25", "--operand-density", "0.5")
    assert set(report) >= KEYS
    assert report["bit_exact"] is True
    assert report["seed"] == 7
    assert report["lanes"] == 8
    assert report["dense_macs"] == 9 * 20 * 11
    assert report["ideal_speedup"] == report["dense_macs"] / report["effectual_macs"]
    assert report["weight_nonzeros"] == 45
    assert report["operand_density"] == 0.5
    assert report["config"]["digest"] == report["config_digest"] == preset("tiny").digest
    assert report["config"]["name"] == "tiny"
    assert all(report[key] is None for key in TIMING)
    assert set(report["units"]) >= TIMING
    weights = random_weights(rows=9, inner=20, density=0.25, seed=7, format="bf16").to_dense()
    operand = random_operand(inner=20, columns=11, density=0.5, seed=7, format="bf16")
    assert report["effectual_macs"] == ((weights != 0).astype(int) @ (operand != 0).astype(int)).sum()


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 3, 5), (37, 41, 43)])
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_sizes(capsys, sizes, format):
    sizes = [str(size) for size in sizes]
    report = report_of(capsys, "--rows", sizes[0], "--inner", sizes[1], "--cols", sizes[2], "--format", format)
    assert report["bit_exact"] is True


@pytest.mark.parametrize("product", ["gather", "scatter", "sampled"])
def test_uneven_columns(capsys, product):
    assert run(["bench", product, *SMALL[2:], "--column-concentration", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["column_concentration"], report["bit_exact"]) == (1.0, True)


def test_weights_format(capsys):
    for name, density, form in (
        ("bitmap", "0.5", "bitmap"),
        ("nm", "0.05", "nm"),
        ("block", "0.2", "block"),
        ("auto", "1", "dense"),
        ("auto", "0.02", "csr"),
    ):
        report = report_of(capsys, "--weights-format", name, "--weight-density", density)
        assert (report["weight_form"], report["bit_exact"]) == (form, True)
    for name, dealt in (("nm", False), ("block", False), ("dense", True)):
        assert (
            run(["bench", "scatter", *SMALL[2:], "--weights-format", name, "--weight-density", "0.05", "--json"]) == 0
        )
        report = json.loads(capsys.readouterr().out)
        assert (report["weight_form"], report["results_dealt"], report["bit_exact"]) == (name, dealt, True)
    assert run(["bench", "sampled", *SMALL[2:], "--weights-format", "nm"]) == 2
    assert "weights of a sampled product lie in csr, not in nm" in capsys.readouterr().err
    assert run(["bench", "scatter", *SMALL[2:], "--weights-format", "bitmap"]) == 2
    assert "weights of a scatter product lie in csr or dense or nm or block, not in bitmap" in capsys.readouterr().err


def test_dense_run_can_be_left_out(capsys):
    report = report_of(capsys, "--no-dense")
    assert report["bit_exact"] is True
    assert report["dense_cycles"] is None
    assert report["speedup"] is None


def test_nothing_to_compute_has_no_ideal(capsys):
    report = report_of(capsys, "--weight-density", "0")
    assert report["ideal_speedup"] is None
    assert report["effectual_macs"] == 0


def test_matrix_file(capsys, tmp_path):
    path = tmp_path / "w.npz"
    scipy.sparse.save_npz(path, scipy.sparse.random_array((13, 29), density=0.2, rng=np.random.default_rng(1)).tocsr())
    report = report_of(capsys, "--matrix", str(path))
    assert (report["rows"], report["inner"], report["columns"]) == (13, 29, 11)
    assert report["matrix"] == str(path)
    assert report["bit_exact"] is True


def test_duplicates_in_a_file(capsys, tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, indptr=[0, 3, 4], indices=[1, 0, 1, 2], data=[1.0, 2.0, 3.0, 4.0], shape=(2, 3))
    report = report_of(capsys, "--matrix", str(path))
    assert report["weight_entries"] == 4
    assert report["bit_exact"] is True


@pytest.mark.parametrize("format", ["bf16", "int8"])
@pytest.mark.parametrize("product", ["scatter", "sampled"])
def test_backward_products(capsys, product, format):
    arguments = ["bench", product, *SMALL[2:], "--seed", "7", "--format", format]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) >= KEYS
    assert (report["product"], report["bit_exact"]) == (product, True)
    assert report["dense_macs"] == 9 * 20 * 11
    assert report["operand_nonzeros"] == round(0.5 * 9 * 11) + (110 if product == "sampled" else 0)
    weights = random_weights(rows=9, inner=20, density=0.2, seed=7, format=format).to_dense() != 0
    if product == "scatter":
        operand = random_operand(inner=9, columns=11, density=0.5, seed=7, format=format)
        expected = (weights.T.astype(int) @ (operand != 0).astype(int)).sum()
    else:
        rows = random_operand(inner=9, columns=11, density=0.5, seed=8, format=format) != 0
        columns = random_operand(inner=20, columns=11, density=0.5, seed=7, format=format) != 0
        expected = (rows.astype(int) @ columns.T.astype(int))[weights].sum()
    assert report["effectual_macs"] == expected
    assert run(arguments) == 0
    assert "bit exact" in capsys.readouterr().out


@pytest.mark.parametrize("product", ["scatter", "sampled"])
@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (2, 3, 5)])
def test_backward_sizes(capsys, product, sizes):
    rows, inner, columns = map(str, sizes)
    arguments = ["--rows", rows, "--inner", inner, "--cols", columns, "--preset", "tiny", "--device", "golden"]
    assert run(["bench", product, *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bit_exact"] is True


@pytest.mark.parametrize("entries", [0, 1, 50])
@pytest.mark.parametrize("rounding", [[], ["--stochastic"]])
def test_update(capsys, entries, rounding):
    arguments = ["bench", "update", "--preset", "tiny", "--device", "golden", "--entries", str(entries), *rounding]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["bit_exact"], report["entries"], report["cycles"]) == (True, entries, None)
    assert run(arguments) == 0
    assert "SGD with momentum" in capsys.readouterr().out


def test_update_says_what_is_wrong(capsys):
    for arguments, message in (["--entries", "-1"], "not -1"), (["--seed", "-2"], "not -2"):
        assert run(["bench", "update", "--preset", "tiny", "--device", "golden", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_table(capsys):
    assert run(SMALL) == 0
    shown = capsys.readouterr().out
    assert "bit exact" in shown
    assert preset("tiny").digest in shown
    assert "the golden device has no time" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "-1"], "rows, not -1"),
        (["--column-concentration", "-2"], "positive number, not -2.0"),
        (["--column-concentration", "nan"], "positive number, not nan"),
        (["--column-concentration", "2", "--operand-density", "1.5"], "operand density must be from 0 to 1, not 1.5"),
        (["--rows", "x"], "'--rows'"),
        (["--inner", "-5"], "not -5"),
        (["--cols", "-2"], "columns, not -2"),
        (["--weight-density", "-0.1"], "weight density must be from 0 to 1, not -0.1"),
        (["--weight-density", "1.01"], "not 1.01"),
        (["--operand-density", "nan"], "operand density must be from 0 to 1, not nan"),
        (["--seed", "-1"], "seed must not be negative, not -1"),
        (["--preset", "huge"], "preset must be one of tiny, base, ulx3s, not 'huge'"),
        (["--format", "fp8"], "number format must be one of bf16, bf16x, int8, not 'fp8'"),
        (["--device", "board"], "device must be one of golden, rtl, serial, not 'board'"),
        (["--memory-latency", "10"], "the golden device has no time, so a memory latency means nothing to it"),
        (["--device", "rtl", "--memory-latency", "0"], "memory latency must be an integer of at least 1, not 0"),
        (["--matrix", "missing.mtx"], "missing.mtx: there is no such file"),
        (["--matrix", "pyproject.toml"], "must end in .mtx"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert run([*SMALL, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


class WrongDevice(GoldenDevice):
    """Adds one to the last bit of one result."""

    def run(self, program_address, commands, windows):
        result = super().run(program_address, commands, windows)
        self.memory[windows[-1].base] ^= 1
        return result


class MiscountingDevice(GoldenDevice):
    """Right bits, one product too many."""

    def run(self, program_address, commands, windows):
        result = super().run(program_address, commands, windows)
        result.effectual[0, 0, 0] += 1
        return result


class TimedDevice(GoldenDevice):
    """Pretends that the dense run took 100 cycles and the other 40."""

    def run(self, program_address, commands, windows):
        result = super().run(program_address, commands, windows)
        cycles = 40 if not hasattr(self, "ran") else 100
        self.ran = True
        causes = np.zeros((*result.effectual.shape, 6), dtype=np.int64)
        causes[..., 0] = 10
        causes[..., 5] = cycles - 10
        return RunResult(
            config=result.config, effectual=result.effectual, flags=result.flags, row_feeders=result.row_feeders,
            column_feeders=result.column_feeders, commands=result.commands, cycles=cycles, causes=causes, bytes_read=1,
            bytes_written=2,
        )  # fmt: skip


def operands():
    return (
        random_weights(rows=4, inner=4, density=0.5, seed=1, format="bf16"),
        random_operand(inner=4, columns=4, density=0.5, seed=1, format="bf16"),
    )


def test_a_wrong_bit_is_seen():
    weights, operand = operands()
    assert measure_product("gather", GoldenDevice(preset("tiny")), weights, (operand,)).bit_exact
    assert not measure_product("gather", WrongDevice(preset("tiny")), weights, (operand,)).bit_exact
    assert not measure_product("gather", MiscountingDevice(preset("tiny")), weights, (operand,)).bit_exact


def test_a_wrong_bit_is_exit_status_1(capsys, monkeypatch):
    monkeypatch.setattr("acf.runtime.devices.GoldenDevice", WrongDevice)
    assert run([*SMALL, "--seed", "3", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["bit_exact"] is False
    assert "differs from the golden product (seed 3)" in captured.err


def test_ratios():
    weights, operand = operands()
    report = measure_product("gather", TimedDevice(preset("tiny")), weights, (operand,)).report()
    assert (report["cycles"], report["dense_cycles"], report["speedup"]) == (40, 100, 2.5)
    assert report["utilization"] == report["effectual_macs"] / (8 * 40)
    assert report["dense_utilization"] == 64 / (8 * 100)
    assert sum(report["lane_cycles"].values()) == 8 * 40
    assert report["lane_cycles"]["mac"] == 80
    assert np.isclose(np.mean(report["tile_utilization"]), report["utilization"])


def test_memory_that_is_promised_is_enough():
    for rows, inner, columns in ((1, 1, 1), (100, 3, 200), (3, 200, 1), (40, 40, 40), (0, 0, 0)):
        for density in (0, 1):
            weights = random_weights(rows=rows, inner=inner, density=density, seed=1, format="int8")
            operand = random_operand(inner=inner, columns=columns, density=1, seed=1, format="int8")
            config = preset("tiny").with_format("int8")
            size = gather_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=weights.entries)
            assert measure_product("gather", GoldenDevice(config, memory_bytes=size), weights, (operand,)).bit_exact


@pytest.mark.parametrize("growth", [[], ["--random"]])
def test_rewire(capsys, growth):
    arguments = ["bench", "rewire", "--preset", "tiny", "--device", "golden", "--rows", "9", "--inner", "70", "--json"]
    assert run([*arguments, "--density", "0.2", "--changes", "4", *growth]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bit_exact"]
    assert [change["drop"] for change in report["changes"]] == [4, 3, 2]
    assert report["asked"] == 9 * 9
    assert 0.8 * report["asked"] <= report["rewired"] <= report["asked"]
    assert report["cycles_per_exchange"] is report["rewire_cycles"] is None


def test_rewire_says_what_is_wrong(capsys):
    for arguments, message in (
        (["--density", "1"], "rows must have some of 1152 columns, not a part of 1.0"),
        (["--inner", "5000"], "columns of a layer must be from 2 to 4096, not 5000"),
        (["--changes", "0"], "there must be at least one change, not 0"),
    ):
        assert run(["bench", "rewire", "--preset", "tiny", "--device", "golden", *arguments]) == 2
        assert message in capsys.readouterr().err
