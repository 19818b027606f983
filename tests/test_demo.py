"""The demo: training and pruning, the layer on the golden device, the page."""

import dataclasses
import re

import numpy as np
import pytest

from acf.cli.main import run
from acf.config import preset
from acf.isa import LaneCause
from acf.runtime.demo import experiment
from acf.runtime.demo.experiment import HIDDEN, SPARSITY, run_demo
from acf.runtime.demo.network import Network, load_images, train_networks
from acf.runtime.demo.page import make_page
from acf.runtime.golden_device import GoldenDevice


@pytest.fixture(scope="module")
def digits():
    return load_images(seed=1)


@pytest.fixture(scope="module")
def networks(digits):
    return train_networks(digits, hidden=HIDDEN, sparsity=SPARSITY, seed=1)


@pytest.fixture(scope="module")
def trained(networks):
    """Trains once for all tests of the demo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "train_networks", lambda *arguments, **options: networks)
        yield


class TimedDevice(GoldenDevice):
    """The golden device with a time that is made up: 1000 cycles, 4000 without skipping."""

    def run(self, program_address, commands, windows):
        result = super().run(program_address, commands, windows)
        cycles = 4000 if getattr(self, "ran", False) else 1000
        self.ran = True
        causes = np.zeros((*result.effectual.shape, len(LaneCause)), dtype=np.int64)
        causes[...] = np.arange(len(LaneCause)) * 10
        causes[..., LaneCause.MAC] = cycles - causes.sum(axis=-1)
        return dataclasses.replace(result, cycles=cycles, causes=causes, bytes_read=10, bytes_written=20)


def test_images_are_split_once(digits):
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    assert digits.train_images.min() == 0
    assert digits.train_images.max() == 1
    seen = {image.tobytes() for image in digits.train_images}
    assert sum(image.tobytes() in seen for image in digits.test_images) <= 2, "test images are not trained on"


def test_pruned_network_keeps_its_accuracy(digits, networks):
    assert networks.dense.accuracy(digits.test_images, digits.test_labels) >= 0.95
    assert networks.pruned.accuracy(digits.test_images, digits.test_labels) >= 0.94
    for layer in range(2):
        weights = networks.pruned.weights[layer]
        assert np.count_nonzero(weights) <= round((1 - SPARSITY) * weights.size)
        assert np.count_nonzero(weights) >= 0.99 * (1 - SPARSITY) * weights.size
        assert np.count_nonzero(networks.dense.weights[layer]) > 0.99 * weights.size


def test_pruning_takes_the_smallest():
    network = Network([np.array([[0.1, -3.0], [0.2, 1.0]])], [np.zeros(2)])
    network.prune(0, 0.5)
    assert network.weights[0].tolist() == [[0, -3], [0, 1]]
    assert network.masks[0].tolist() == [[False, True], [False, True]]


def test_sparsity_is_checked(digits):
    with pytest.raises(ValueError, match=r"sparsity must be from 0 to below 1, not 1\.5"):
        train_networks(digits, hidden=(4,), sparsity=1.5, seed=1)


@pytest.mark.usefixtures("trained")
def test_layer_on_the_golden_device():
    told = []
    result = run_demo(preset("tiny"), device="golden", images=40, progress=told.append)
    assert result.succeeded
    assert result.predictions.shape == (40,)
    assert result.fabric_accuracy >= 0.9
    assert abs(result.fabric_accuracy - result.pruned_accuracy) <= 1 / 40
    assert result.measurement.weights.shape == HIDDEN[::-1]
    assert 0.2 < result.measurement.report()["operand_density"] < 0.95
    assert any("accuracy on 40 test images" in text for text in told)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("timed", [False, True])
def test_page(monkeypatch, timed):
    if timed:
        monkeypatch.setattr(
            experiment, "open_device", lambda name, config, *, port, **options: TimedDevice(config, **options)
        )
    result = run_demo(preset("tiny"), device="golden", images=30)
    page = make_page(result)
    assert preset("tiny").digest in page
    assert page.count("<svg") == (5 if timed else 2)
    assert "bit-exact" in page
    assert "30 / 30" in page
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert references
    assert all(reference.startswith(("#", "data:image/png")) for reference in references), "the page needs nothing else"
    if timed:
        assert "4.0 x" in page
        assert all(cause in page for cause in ("wait for operands", "drain results", "accumulator in flight"))
    else:
        assert "has no time" in page


@pytest.mark.usefixtures("trained")
def test_wrong_results_are_told(monkeypatch, tmp_path, capsys):
    class WrongDevice(GoldenDevice):
        def run(self, program_address, commands, windows):
            result = super().run(program_address, commands, windows)
            self.memory[windows[-1].base + 3] ^= 0x80  # the sign of the first result
            return result

    monkeypatch.setattr(
        experiment, "open_device", lambda name, config, *, port, **options: WrongDevice(config, **options)
    )
    path = tmp_path / "page.html"
    assert run(["demo", "--preset", "tiny", "--device", "golden", "--images", "8", "-o", str(path)]) == 1
    assert "the golden device and the golden model differ" in capsys.readouterr().err
    assert "wrong bits" in path.read_text()


@pytest.mark.usefixtures("trained")
def test_command(tmp_path, capsys):
    path = tmp_path / "new" / "index.html"
    assert run(["demo", "--preset", "tiny", "--device", "golden", "--images", "8", "-o", str(path)]) == 0
    assert "8 of 8 predictions as the golden model's" in capsys.readouterr().out
    assert path.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "the demo runs 1 to 359 test images, not 0"),
        (["--images", "360"], "not 360"),
        (["--seed", "-1"], "seed must not be negative, not -1"),
        (["--device", "board"], "device must be one of golden, rtl, serial, not 'board'"),
        (["--preset", "nope"], "preset must be one of tiny, base, ulx3s, not 'nope'"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert run(["demo", "--device", "golden", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_integers_are_refused():
    with pytest.raises(ValueError, match="the demo's network is in bf16, not in int8"):
        run_demo(preset("tiny").with_format("int8"), device="golden")
