"""Runs the second hidden layer of a pruned network on a device and everything else on the host."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.golden.products import gather
from acf.runtime.demo.network import Network, load_images, train_networks
from acf.runtime.devices import open_device
from acf.runtime.gather import gather_memory_bytes
from acf.runtime.matrices import CsrMatrix
from acf.runtime.measure import Measurement, measure_product

__all__ = ["HIDDEN", "SPARSITY", "DemoResult", "run_demo"]

HIDDEN = (256, 128)
"""Neurons of the two hidden layers."""

SPARSITY = 0.9
"""Part of the weights of each hidden layer that is removed."""

_LAYER = 1  # its operands are the sparse activations behind a ReLU


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration has found.

    Parameters
    ----------
    config : FabricConfig
    device : str
    seed : int
    images, labels : numpy.ndarray
        The test images that were run, a row each, and what they show.
    training_images : int
    dense_accuracy, pruned_accuracy, fabric_accuracy : float
        On these images: before pruning, after it in float32, and with the layer on the device.
    predictions, golden_predictions : numpy.ndarray
        With the layer on the device, and with the golden product in its place.
    measurement : Measurement
    """

    config: FabricConfig
    device: str
    seed: int
    images: np.ndarray
    labels: np.ndarray
    training_images: int
    dense_accuracy: float
    pruned_accuracy: float
    fabric_accuracy: float
    predictions: np.ndarray
    golden_predictions: np.ndarray
    measurement: Measurement

    @property
    def succeeded(self) -> bool:
        """Whether device and golden model agree, in every bit and every prediction."""
        return self.measurement.bit_exact and bool((self.predictions == self.golden_predictions).all())


def run_demo(
    config: FabricConfig,
    *,
    device: str = "rtl",
    port: str | None = None,
    images: int = 256,
    seed: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Train, prune, run, compare.

    Parameters
    ----------
    config : FabricConfig
        Of a floating-point format, since the network is not quantised to integers.
    device : str
        A name of ``acf.runtime.devices``.
    port : str or None
        Serial port of a board, for the device ``serial``.
    images : int
        Test images to run.
    seed : int
        Of the split, the training and the order of the images.
    progress : callable
        Is told what begins and what has been found.
    """
    if config.lane.format != "bf16":
        raise ValueError(f"the demo's network is in bf16, not in {config.lane.format}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed!r}")
    digits = load_images(seed=seed)
    available = len(digits.test_labels)
    if not 1 <= images <= available:
        raise ValueError(f"the demo runs 1 to {available} test images, not {images!r}")
    shown, labels = digits.test_images[:images], digits.test_labels[:images]

    progress(f"opening the {device} device, {config.name}: {config.rows} x {config.cols} tiles x {config.lanes} lanes")
    inner, rows = HIDDEN
    size = gather_memory_bytes(config, rows=rows, inner=inner, columns=images, entries=rows * inner)
    fabric = open_device(device, config, memory_bytes=size, port=port)

    progress(f"training on {len(digits.train_labels)} images, pruning to {100 * SPARSITY:.0f} %")
    networks = train_networks(digits, hidden=HIDDEN, sparsity=SPARSITY, seed=seed)
    dense_accuracy = networks.dense.accuracy(shown, labels)
    network = networks.pruned
    pruned_accuracy = network.accuracy(shown, labels)
    progress(
        f"accuracy on {images} test images: dense {100 * dense_accuracy:.1f} %, pruned {100 * pruned_accuracy:.1f} %"
    )

    weights = CsrMatrix.from_dense(network.weights[_LAYER].astype(np.float64), format=config.lane.format)
    operand = golden_format(config.lane.format).quantize(network.hidden(shown, _LAYER))
    progress(f"running the layer of {rows} x {inner} weights for {images} images")
    measurement = measure_product("gather", fabric, weights, (operand,), progress=lambda text: progress(f"  {text}"))

    golden = gather(weights.pointers, weights.indices, weights.values, operand, format=weights.format)
    predictions = _finish(network, measurement.sparse.accumulators)
    return DemoResult(
        config=config,
        device=device,
        seed=seed,
        images=shown,
        labels=labels,
        training_images=len(digits.train_labels),
        dense_accuracy=dense_accuracy,
        pruned_accuracy=pruned_accuracy,
        fabric_accuracy=float(np.mean(predictions == labels)),
        predictions=predictions,
        golden_predictions=_finish(network, golden.accumulators),
        measurement=measurement,
    )


def _finish(network: Network, accumulators: np.ndarray) -> np.ndarray:
    """Predictions from the sums of the layer: bias, ReLU and the last layer."""
    activations = np.maximum(accumulators + network.biases[_LAYER][:, None], 0)
    return (network.weights[-1] @ activations + network.biases[-1][:, None]).argmax(axis=0)
