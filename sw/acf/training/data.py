"""Images and labels, and how they are split."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["HOLDOUTS", "Dataset", "Part", "load_dataset"]

HOLDOUTS = ("test", "validation")
"""What accuracy is measured on. For ``validation`` a part of the training images is kept from training, and the test
images are not looked at."""

_SPLIT_SEED = 20240  # the same split for every run: seeds are for everything else
_KEPT = 5  # one of so many is kept


@dataclass(frozen=True)
class Part:
    """Images, a row each, from -1 to 1, and their labels."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """What is trained on, and what accuracy is measured on.

    Parameters
    ----------
    name : str
    training, holdout : Part
    classes : int
    """

    name: str
    training: Part
    holdout: Part
    classes: int

    @property
    def features(self) -> int:
        """Numbers of an image."""
        return self.training.images.shape[1]


def load_dataset(path: Path | None = None, *, holdout: str = "test") -> Dataset:
    """The digits that come with scikit-learn, or a file.

    Parameters
    ----------
    path : Path or None
        An ``.npz`` file with the arrays ``images``, of any shape behind the first dimension, and ``labels``.
    holdout : str
        One of ``HOLDOUTS``; each is a fifth of what it is taken from.

    Raises
    ------
    ValueError
        If the file does not hold such arrays, or there is no such holdout.
    OSError
        If the file cannot be read.
    """
    if holdout not in HOLDOUTS:
        raise ValueError(f"accuracy is measured on one of {', '.join(HOLDOUTS)}, not {holdout!r}")
    if path is None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        name = "digits"
    else:
        images, labels = _read(path)
        name = path.stem
    images = images.reshape(len(images), -1).astype(np.float64)
    largest = np.abs(images).max(initial=0)
    images = (images / (largest or 1)).astype(np.float32)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    test, rest = np.split(order, [len(order) // _KEPT])
    if holdout == "validation":
        test, rest = np.split(rest, [len(rest) // _KEPT])
    return Dataset(
        name, Part(images[rest], labels[rest]), Part(images[test], labels[test]), classes=int(labels.max()) + 1
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "labels") if name in file.files}
    except (zipfile.BadZipFile, ValueError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is no .npz file of plain arrays") from error
    for name in ("images", "labels"):
        if name not in arrays:
            raise ValueError(f"{str(path)!r} has no array {name!r}")
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim < 2 or labels.shape != images.shape[:1] or len(labels) < _KEPT:
        raise ValueError(
            f"{str(path)!r} must have a label for each of at least {_KEPT} images, not images of shape {images.shape} "
            f"and labels of shape {labels.shape}"
        )
    if not np.issubdtype(images.dtype, np.number) or not np.isfinite(images).all():
        raise ValueError(f"images of {str(path)!r} must be finite numbers")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError(f"labels of {str(path)!r} must be integers from 0 on")
    return images, labels.astype(np.int64)
