"""``acf bench grid``: which points there are, what a record holds, going on after an end, and the charts."""

import json

import numpy as np
import pytest
import scipy.sparse

from acf.cli.main import run
from acf.config import preset
from acf.grid import run as grid_run
from acf.grid.pictures import draw_roofline, draw_stalls, intensity
from acf.grid.points import parse_pattern, plan_points, random_layers
from acf.grid.run import Conditions, measure_points, read_records
from acf.isa import LaneCause
from acf.runtime.devices import open_device
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.measure import PRODUCTS, measure_product, random_operands

SMALL = [
    "bench", "grid", "--preset", "tiny", "--device", "golden", "--shape", "8x12x5", "--weight-densities", "1,0.5,0.25",
    "--operand-densities", "0.5",
]  # fmt: skip
KEYS = {
    "cycles", "lanes", "effectual_macs", "dense_macs", "utilization", "dense_cycles", "speedup", "ideal_speedup",
    "lane_cycles", "bytes_read", "bytes_written", "bit_exact", "config", "seed", "roofline_cycles", "pattern", "matrix",
}  # fmt: skip


def report_of(capsys, *arguments):
    assert run([*SMALL, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["unstructured", "constant-fan-in", "2:4", "1:3", "block4x4", "block2x6"])
def test_weights_keep_to_their_pattern(name):
    density = {"2:4": 0.5, "1:3": 1 / 3}.get(name, 0.25)
    (layer,), skipped = random_layers([name], [density], rows=8, inner=12)
    assert not skipped
    weights = layer.weights(seed=3, format="bf16")
    again = layer.weights(seed=3, format="bf16")
    other = layer.weights(seed=4, format="bf16")
    pattern = parse_pattern(name)
    pattern.check(pattern.make((8, 12), density, np.random.default_rng(0)))
    dense = weights.to_dense()
    assert weights.entries == weights.nonzeros == layer.entries == pattern.entries((8, 12), density)
    assert dense.tobytes() == again.to_dense().tobytes() != other.to_dense().tobytes()
    mask = dense != 0
    if name == "2:4":
        assert (mask.reshape(8, 3, 4).sum(axis=2) == 2).all()
    if name == "constant-fan-in":
        assert (mask.sum(axis=1) == 3).all()
    if name == "block4x4":
        assert set(mask.reshape(2, 4, 3, 4).sum(axis=(1, 3)).ravel()) == {0, 16}


def test_what_cannot_be_is_named():
    layers, skipped = random_layers(["2:4", "block4x4", "unstructured"], [1.0, 0.5, 0.3], rows=8, inner=12)
    assert [layer.label for layer in layers] == [
        "2:4, 100 %", "2:4, 50 %", "blocks of 4 x 4, 50 %", "unstructured, 50 %", "blocks of 4 x 4, 30 %",
        "unstructured, 30 %",
    ]  # fmt: skip
    assert skipped == [
        "block4x4 at 100 %: the same as 2:4 at 100 %",
        "unstructured at 100 %: the same as 2:4 at 100 %",
        "2:4 at 30 %: the density of a layer must be 0.5 for 2:4, or 1, not 0.3",
    ]
    _, skipped = random_layers(["block4x4"], [0.5], rows=9, inner=12)
    assert skipped == ["block4x4 at 50 %: a matrix of blocks of 4 x 4 must be a whole number of them, not 9 x 12"]


def test_report(capsys):
    report = report_of(capsys, "--seed", "7")
    records = report["records"]
    # unstructured: 3 densities, constant fan-in: 2, 2:4: 1, blocks: 2
    assert len(records) == 3 * (3 + 2 + 1 + 2)
    assert [record["product"] for record in records[:4]] == ["gather", "scatter", "sampled", "gather"]
    assert len(report["skipped"]) == 3 + 1
    assert all(set(record) >= KEYS for record in records)
    assert all(record["bit_exact"] and record["cycles"] is None and record["seed"] == 7 for record in records)
    assert {record["pattern"] for record in records} == {"unstructured", "constant fan-in", "2:4", "blocks of 4 x 4"}
    assert "roofline_fraction" in report["units"]
    record = next(record for record in records if record["pattern"] == "2:4" and record["product"] == "gather")
    (layer,), _ = random_layers(["2:4"], [0.5], rows=8, inner=12)
    weights = layer.weights(seed=7, format="bf16")
    (operand,) = random_operands("gather", weights, columns=5, density=0.5, seed=7)
    assert record["effectual_macs"] == ((weights.to_dense() != 0).astype(int) @ (operand != 0).astype(int)).sum()
    assert (record["weight_density"], record["rows"], record["inner"], record["columns"]) == (0.5, 8, 12, 5)


def test_table(capsys):
    assert run([*SMALL, "--phases", "sampled"]) == 0
    shown = capsys.readouterr()
    assert "the golden device has no time" in shown.out
    assert "left out: 2:4 at 25 %" in shown.out
    assert "8 of 8: sampled, blocks of 4 x 4, 25 %, operands 50 %" in shown.err


def test_layers_of_files(capsys, tmp_path):
    path, pattern = tmp_path / "w.npz", tmp_path / "w.smtx"
    scipy.sparse.save_npz(path, scipy.sparse.random_array((13, 29), density=0.2, rng=np.random.default_rng(1)).tocsr())
    pattern.write_text("2, 3, 2\n0 1 2\n2 0\n")
    files = ["--matrix", str(path), "--matrix", str(pattern), "--cols", "6"]
    arguments = ["bench", "grid", "--preset", "tiny", "--device", "golden", "--operand-densities", "1,0.5", *files]
    assert run([*arguments, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert [(record["matrix"], record["rows"], record["columns"]) for record in records] == (
        6 * [(str(path), 13, 6)] + 6 * [(str(pattern), 2, 6)]
    )
    assert all(record["bit_exact"] and record["pattern"] is None for record in records)
    both = report_of(capsys, *files, "--patterns", "unstructured")["records"]
    assert [record["matrix"] for record in both] == 9 * [None] + 3 * [str(path)] + 3 * [str(pattern)]


def test_going_on(capsys, tmp_path, monkeypatch):
    measured = []
    original = grid_run.measure_product

    def counted(product, *arguments, **options):
        measured.append(product)
        return original(product, *arguments, **options)

    monkeypatch.setattr(grid_run, "measure_product", counted)
    out = ["--out", str(tmp_path / "grid")]
    whole = report_of(capsys, *out)["records"]
    path = tmp_path / "grid" / "records.jsonl"
    assert read_records(path) == whole
    assert len(measured) == len(whole) == 24

    assert run([*SMALL, *out]) == 2
    assert f"{path} is there already: --resume goes on with it" in capsys.readouterr().err

    # Its writer was ended in the middle of the eleventh line.
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10]) + lines[10][:40])
    measured.clear()
    assert report_of(capsys, *out, "--resume")["records"] == whole
    assert len(measured) == 14
    assert read_records(path) == whole

    measured.clear()
    assert report_of(capsys, *out, "--resume", "--phases", "gather")["records"] == whole[::3]
    assert measured == []
    for other in ["--seed", "2"], ["--format", "int8"], ["--operand-densities", "0.75"]:
        measured.clear()
        report_of(capsys, *out, "--resume", "--phases", "gather", *other)
        assert len(measured) == 8, other
    assert len(read_records(path)) == 24 + 3 * 8


@pytest.mark.parametrize("line", ["{}", "nonsense", "3"])
def test_a_file_of_something_else(tmp_path, line):
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"records.jsonl: line 1 is no record of a grid$"):
        read_records(path)


class WrongDevice(GoldenDevice):
    """Adds one to the last bit of one result, in sampled products of constant fan-in."""

    def run(self, program_address, commands, windows):
        result = super().run(program_address, commands, windows)
        self.runs = getattr(self, "runs", 0) + 1
        if self.runs == 3:
            self.memory[windows[-1].base] ^= 1
        return result


def test_a_wrong_bit_is_exit_status_1(capsys, monkeypatch):
    monkeypatch.setattr("acf.runtime.devices.GoldenDevice", WrongDevice)
    assert run([*SMALL, "--json"]) == 1
    captured = capsys.readouterr()
    assert [record["bit_exact"] for record in json.loads(captured.out)["records"]].count(False) == 1
    message = "1 of 24 results of the golden device differ from the golden product, first sampled, unstructured, 100 %"
    assert message in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "8x12"], "shape must be rows x inner x columns, as 256x256x128, not '8x12'"),
        (["--shape", "0x1x1"], "not '0x1x1'"),
        (["--phases", "gather,update"], "phase must be one of gather, scatter, sampled, not 'update'"),
        (["--phases", ","], "nothing is left to measure: "),
        (["--patterns", "block3x3"], "nothing is left to measure: block3x3 at 100 %: a matrix of blocks of 3 x 3"),
        (["--patterns", "stripes"], "a pattern must be unstructured, constant-fan-in, N:M or blockHxW, not 'stripes'"),
        (["--patterns", "4:4"], "N:M must keep at least 1 and fewer than M, not 4:4"),
        (["--weight-densities", "0.5,0"], "weight density must be above 0 and at most 1, not 0.0"),
        (["--weight-densities", "half"], "weight density must be numbers with commas between them, not 'half'"),
        (["--operand-densities", "2"], "operand density must be from 0 to 1, not 2.0"),
        (["--seed", "-1"], "seed must not be negative, not -1"),
        (["--matrix", "missing.smtx"], "missing.smtx: there is no such file"),
        (["--matrix", "missing.smtx", "--cols", "0"], "missing.smtx: there is no such file"),
        (["--device", "board"], "device must be one of golden, rtl, serial, not 'board'"),
        (["--dense-cycles"], "the golden device has no time, so --dense-cycles means nothing to it"),
        (["--memory-latency", "3"], "the golden device has no time, so a memory latency means nothing to it"),
        (["--resume"], "--resume needs --out, the folder of the records"),
        (["--out", "pyproject.toml"], "pyproject.toml"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert run([*SMALL, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]


@pytest.fixture(scope="module")
def fabric():
    return open_device("rtl", preset("tiny"), memory_bytes=1 << 20)


@pytest.fixture(scope="module")
def points():
    layers, _ = random_layers(["unstructured", "2:4", "block4x4"], [1.0, 0.5], rows=12, inner=36)
    return plan_points([(layer, 18) for layer in layers], list(PRODUCTS), [0.25, 0.0])


@pytest.fixture(scope="module")
def records(fabric, points):
    conditions = Conditions(
        device="rtl", verilog=fabric.verilog_digest, config_digest=fabric.config.digest, format="bf16", seed=2,
        memory_latency=40, bytes_per_cycle=None,
    )  # fmt: skip
    found = list(measure_points(points, fabric, conditions, dense_cycles=True))
    assert all(is_new for _, is_new in found)
    kept = json.loads(json.dumps([record for record, _ in found]))
    again = list(measure_points(points, fabric, conditions, kept=kept, dense_cycles=True))
    assert again == [(record, False) for record in kept]
    return kept


def test_cycles_are_those_of_a_single_bench(fabric, points, records):
    """Neither what ran before nor the numbers change a run; without skipping only the shape does."""
    for point, record in list(zip(points, records, strict=True))[::-4]:
        weights = point.layer.weights(seed=2, format="bf16")
        operands = random_operands(point.product, weights, columns=18, density=point.operand_density, seed=2)
        report = json.loads(json.dumps(measure_product(point.product, fabric, weights, operands).report()))
        del report["units"]
        assert {name: record[name] for name in report} == report


def test_no_point_is_above_the_roof(records):
    for record in records:
        assert record["roofline_fraction"] <= 1
        achieved, roof = record["effectual_macs"] / record["cycles"], min(8, 8 * intensity(record))
        assert achieved <= roof
        assert record["effectual_macs"] == 0 or achieved / roof == pytest.approx(record["roofline_fraction"])


def test_roofline_chart(records, tmp_path):
    figure = draw_roofline(records)
    (axes,) = figure.axes
    roof, *dots = axes.lines
    assert len(dots) == sum(record["effectual_macs"] > 0 for record in records)
    assert np.allclose(roof.get_ydata(), np.minimum(8, 8 * np.asarray(roof.get_xdata())))
    for dot in dots:
        x, y = np.asarray(dot.get_xydata())[0]
        assert axes.get_xlim()[0] < x < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < y < axes.get_ylim()[1]
    figure.savefig(tmp_path / "roofline.png")


def test_stall_chart(records, tmp_path):
    figure = draw_stalls(records)
    assert [axes.get_title(loc="left").partition(":")[0] for axes in figure.axes] == list(PRODUCTS)
    for axes in figure.axes:
        bars = np.array([[bar.get_width() for bar in group] for group in axes.containers])
        assert bars.shape == (len(LaneCause), 8)
        assert np.allclose(bars.sum(axis=0), 100)
    figure.savefig(tmp_path / "stalls.png")


def test_charts_of_little(records):
    nothing = [record for record in records if not record["effectual_macs"]]
    assert nothing
    for some in records[:1], nothing:
        for draw in draw_roofline, draw_stalls:
            draw(some).canvas.draw()
