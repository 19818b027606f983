"""``acf train`` as people use it: figures, the page, Ctrl-C, and what is refused."""

import json
import os
import re
import signal

import numpy as np
import pytest

from acf.cli.main import run
from acf.training.data import load_dataset
from acf.training.trainer import Trainer

QUICK = ["train", "digits", "--device", "golden", "--preset", "tiny", "--hidden", "8,6", "--batch", "8", "--lr", "0.1",
         "--period", "2", "--sparsity", "0.5"]  # fmt: skip


@pytest.fixture
def patterns(tmp_path):
    """A data set of 60 small images."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 60)
    images = 15 * rng.integers(0, 2, (3, 3, 3))[labels] + rng.integers(0, 2, (60, 3, 3))
    path = tmp_path / "patterns.npz"
    np.savez(path, images=images, labels=labels)
    return path


def failure(capfd, *arguments, status=2):
    assert run(arguments) == status
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, "one sentence"
    return lines[0]


def test_json_and_page(capfd, patterns, tmp_path):
    out = tmp_path / "out"
    assert run([*QUICK, "--data", str(patterns), "--epochs", "3", "--json", "--out", str(out)]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report == json.loads((out / "report.json").read_text())
    assert (report["data"], report["device"], report["method"]) == ("patterns", "golden", "rigl")
    assert len(report["losses"]) == 3
    assert re.fullmatch("[0-9a-f]{64}", report["weights_sha256"])
    page = (out / "index.html").read_text()
    assert page.count("<svg") == 5
    assert "http" not in re.sub(r"http://www\.w3\.org|http://purl\.org|http://creativecommons\.org", "", re.sub(
        r"https://matplotlib\.org/?", "", page))  # fmt: skip
    assert f"{100 * report['final_accuracy']:.1f} %" in page


def test_a_table_without_json(capfd, patterns):
    assert run([*QUICK, "--data", str(patterns), "--epochs", "1", "--method", "dense"]) == 0
    shown = capfd.readouterr().out
    assert "sparsity of layer1" in shown
    assert "0.00 %" in shown


@pytest.mark.parametrize("method", ["set", "gradual"])
def test_interrupt_and_resume(capfd, monkeypatch, patterns, tmp_path, method):
    """Ctrl-C in the middle of a step stops behind it; the rest comes to the same bits, without options again."""
    options = [*QUICK, "--data", str(patterns), "--epochs", "3", "--method", method, "--json"]
    assert run([*options, "--out", str(tmp_path / "whole")]) == 0
    whole = json.loads(capfd.readouterr().out)
    step = Trainer.step
    # A job in the background of a shell starts with interrupts ignored.
    before = signal.getsignal(signal.SIGINT)

    def interrupted(self, images, labels):
        if self.step_number == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, images, labels)

    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        assert run([*options, "--out", str(out)]) == 130
    caught = capfd.readouterr()
    assert caught.out == ""
    assert (
        f"stopped after step 8 of 18; go on with: acf train digits --resume --device golden --out {out}" in caught.err
    )
    assert not (out / "report.json").exists()
    assert signal.getsignal(signal.SIGINT) is before

    assert run(["train", "digits", "--resume", "--device", "golden", "--json", "--out", str(out)]) == 0
    parts = json.loads(capfd.readouterr().out)
    different = {name for name in whole if whole[name] != parts[name]}
    assert different <= {"host_bytes_read", "host_bytes_written"}

    sentence = failure(capfd, "train", "digits", "--resume", "--device", "golden", "--seed", "5", "--out", str(out))
    assert "seed 1, not 5" in sentence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "gradual", "--period", "99999"], "99999"),
        (["--method", "best"], "'best'"),
        (["--device", "fpga"], "'fpga'"),
        (["--structure", "blocks"], "'blocks'"),
        (["--preset", "ulx3s", "--method", "gradual"], "ulx3s changes layers of constant fan-in only"),
        (
            ["--preset", "ulx3s", "--structure", "unstructured"],
            "not by the method rigl with the structure unstructured",
        ),
        (["--hidden", "12;3"], "'12;3'"),
        (["--hidden", "0"], "(0,)"),
        (["--sparsity", "1.5"], "1.5"),
        (["--batch", "5000"], "5000"),
        (["--holdout", "all"], "'all'"),
        (["--preset", "huge"], "'huge'"),
        (["--resume"], "--out"),
        (["--data", "/nowhere.npz"], "/nowhere.npz"),
    ],
)
def test_bad_input_is_one_sentence(capfd, options, words):
    assert words in failure(capfd, *QUICK, *options)


def test_resuming_needs_a_checkpoint(capfd, tmp_path):
    assert "checkpoint.npz" in failure(capfd, *QUICK, "--resume", "--out", str(tmp_path))
    (tmp_path / "file").write_text("")
    assert "no folder" in failure(capfd, *QUICK, "--out", str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((9, 4))}, "'labels'"),
        ({"images": np.zeros((9, 4)), "labels": np.zeros(8, dtype=int)}, "(8,)"),
        ({"images": np.full((9, 4), np.nan), "labels": np.zeros(9, dtype=int)}, "finite"),
        ({"images": np.zeros((9, 4)), "labels": np.zeros(9)}, "integers"),
    ],
)
def test_data_that_is_refused(capfd, tmp_path, arrays, words):
    np.savez(tmp_path / "data.npz", **arrays)
    assert words in failure(capfd, *QUICK, "--data", str(tmp_path / "data.npz"))


def test_a_file_that_is_no_data(capfd, tmp_path):
    (tmp_path / "data.npz").write_text("hello")
    assert ".npz" in failure(capfd, *QUICK, "--data", str(tmp_path / "data.npz"))


def test_digits_are_split_once():
    test, validation = load_dataset(), load_dataset(holdout="validation")
    assert len(test.training.labels) + len(test.holdout.labels) == 1797
    assert len(test.holdout.labels) == 359
    assert (test.features, test.classes) == (64, 10)
    assert test.training.images.max() == 1
    images = {image.tobytes() for image in test.training.images}
    assert all(image.tobytes() in images for image in validation.training.images)
    assert all(image.tobytes() in images for image in validation.holdout.images), "test images are not looked at"
    assert len(validation.training.labels) + len(validation.holdout.labels) == len(test.training.labels)
