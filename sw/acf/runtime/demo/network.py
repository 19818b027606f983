"""Trains a small network in NumPy and prunes it while it trains.

Pruning is gradual: after a dense start the sparsity rises along the cubic of Zhu and Gupta ("To prune, or not to
prune", 2017), each time by magnitude, and training goes on under the mask, so that the network adapts to what it lost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

__all__ = ["Digits", "Network", "TrainedNetworks", "load_images", "train_networks"]

_BATCH = 64
_RATE = 2e-3
_DENSE_EPOCHS, _PRUNING_EPOCHS, _SETTLING_EPOCHS = 25, 30, 25


@dataclass(frozen=True)
class Digits:
    """Images of handwritten digits, 8 x 8 pixels from 0 to 1, and what they show."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_images(*, seed: int) -> Digits:
    """The 1797 digits that come with scikit-learn, a fifth of them kept for the test."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 0]).permutation(len(labels))
    images, labels = (images[order] / 16).astype(np.float32), labels[order]
    test = len(labels) // 5
    return Digits(images[test:], labels[test:], images[:test], labels[:test])


@dataclass
class Network:
    """A perceptron with ReLU between its layers.

    Parameters
    ----------
    weights : list of numpy.ndarray
        ``outputs x inputs`` each.
    biases : list of numpy.ndarray
    masks : list of numpy.ndarray of bool
        Which weights exist.
    """

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    masks: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.masks:
            self.masks = [np.ones(weights.shape, dtype=np.bool_) for weights in self.weights]

    def hidden(self, images: np.ndarray, layers: int) -> np.ndarray:
        """Activations behind the first ``layers`` layers, one column per image."""
        activations = images.T
        for weights, biases in zip(self.weights[:layers], self.biases[:layers], strict=True):
            activations = np.maximum(weights @ activations + biases[:, None], 0)
        return activations

    def scores(self, images: np.ndarray) -> np.ndarray:
        """One column of scores per image."""
        return self.weights[-1] @ self.hidden(images, len(self.weights) - 1) + self.biases[-1][:, None]

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Part of the images whose highest score is that of their label."""
        return float(np.mean(self.scores(images).argmax(axis=0) == labels))

    def copy(self) -> "Network":
        """A network of its own with the same numbers."""
        return Network(*([array.copy() for array in arrays] for arrays in (self.weights, self.biases, self.masks)))

    def prune(self, layer: int, sparsity: float) -> None:
        """Remove the smallest weights of a layer until ``sparsity`` of them are gone."""
        magnitudes = np.abs(self.weights[layer])
        kept = magnitudes.size - round(sparsity * magnitudes.size)
        mask = np.zeros(magnitudes.size, dtype=np.bool_)
        mask[np.argsort(magnitudes, axis=None)[magnitudes.size - kept :]] = True
        self.masks[layer] = mask.reshape(magnitudes.shape)
        self.weights[layer] *= self.masks[layer]


@dataclass(frozen=True)
class TrainedNetworks:
    """The network before pruning and after it."""

    dense: Network
    pruned: Network


def train_networks(
    digits: Digits,
    *,
    hidden: tuple[int, ...],
    sparsity: float,
    seed: int,
    progress: Callable[[float, str], None] = lambda part, text: None,
) -> TrainedNetworks:
    """Train a dense network, then prune all its layers but the last to ``sparsity``.

    Parameters
    ----------
    digits : Digits
    hidden : tuple of int
        Neurons of each hidden layer.
    sparsity : float
        Part of the weights removed.
    seed : int
    progress : callable
        Is told which part of the epochs is done, and what goes on.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be from 0 to below 1, not {sparsity!r}")
    generator = np.random.default_rng([seed, 1])
    sizes = (digits.train_images.shape[1], *hidden, 10)
    network = Network(
        [
            (generator.normal(size=(after, before)) * np.sqrt(2 / before)).astype(np.float32)
            for before, after in pairwise(sizes)
        ],
        [np.zeros(size, dtype=np.float32) for size in sizes[1:]],
    )
    trainer = _Adam(network)
    dense = network
    epochs = _DENSE_EPOCHS + _PRUNING_EPOCHS + _SETTLING_EPOCHS
    for epoch in range(epochs):
        if epoch == _DENSE_EPOCHS:
            dense = network.copy()
        trained = (epoch - _DENSE_EPOCHS + 1) / _PRUNING_EPOCHS
        reached = sparsity * (1 - (1 - min(max(trained, 0), 1)) ** 3)
        if 0 < trained <= 1:
            for layer in range(len(hidden)):
                network.prune(layer, reached)
        # Towards the end smaller steps, so that the last epoch is not worse than the one before by chance.
        rate = _RATE * (1 if epoch < epochs - _SETTLING_EPOCHS else 0.9 ** (epoch - epochs + _SETTLING_EPOCHS))
        order = generator.permutation(len(digits.train_labels))
        with threadpool_limits(1):  # matrices as small as these cost more to share than to multiply
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                trainer.step(digits.train_images[batch], digits.train_labels[batch], rate=rate)
        progress((epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}, sparsity {100 * reached:.0f} %")
    return TrainedNetworks(dense=dense, pruned=network)


class _Adam:
    """Gradient descent with Adam's step sizes; weights that do not exist keep neither value nor momentum."""

    def __init__(self, network: Network):
        self._network = network
        self._moments = [[np.zeros_like(a), np.zeros_like(a)] for a in (*network.weights, *network.biases)]
        self._steps = 0

    def step(self, images: np.ndarray, labels: np.ndarray, *, rate: float) -> None:
        network = self._network
        layers = len(network.weights)
        activations = [network.hidden(images, layer) for layer in range(layers)]
        scores = network.weights[-1] @ activations[-1] + network.biases[-1][:, None]
        gradient = np.exp(scores - scores.max(axis=0))
        gradient /= gradient.sum(axis=0)
        gradient[labels, np.arange(len(labels))] -= 1
        gradient /= len(labels)

        self._steps += 1
        weight_gradients, bias_gradients = [], []
        for layer in reversed(range(layers)):
            weight_gradients.insert(0, (gradient @ activations[layer].T) * network.masks[layer])
            bias_gradients.insert(0, gradient.sum(axis=1))
            gradient = (network.weights[layer].T @ gradient) * (activations[layer] > 0)
        parameters = (*network.weights, *network.biases)
        for parameter, moments, slope in zip(
            parameters, self._moments, (*weight_gradients, *bias_gradients), strict=True
        ):
            moments[0] += 0.1 * (slope - moments[0])
            moments[1] += 0.001 * (slope * slope - moments[1])
            mean, square = moments[0] / (1 - 0.9**self._steps), moments[1] / (1 - 0.999**self._steps)
            parameter -= rate * mean / (np.sqrt(square) + 1e-8)
        for weights, mask, moments in zip(network.weights, network.masks, self._moments, strict=False):
            for array in (weights, *moments):
                array *= mask
