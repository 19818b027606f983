"""How a global sparsity is shared among the layers of a network.

Every function takes the shapes of the weights by the name of the layer, in the order of the network, and gives the
density of each: entries / elements. The entries of all layers together are ``(1 - sparsity)`` of all elements, layers
with a density of their own included.
"""

import math
from collections.abc import Mapping, Sequence

__all__ = ["check_shapes", "elements", "erk", "explicit", "global_density", "matrix_shape", "uniform"]

Shapes = Mapping[str, Sequence[int]]
"""Shapes of weights by layer: ``(out, in)``, or ``(out, in, height, width)`` for a convolution."""


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the weights as a matrix: ``(out, in)``, or ``(out, in * height * width)``.

    Raises
    ------
    ValueError
        If ``shape`` has not 2 or 4 sizes, or one that is not positive.
    """
    if len(shape) not in (2, 4):
        raise ValueError(f"weights must be of 2 dimensions or, for a convolution, of 4, not of shape {tuple(shape)}")
    if any(size < 1 for size in shape):
        raise ValueError(f"sizes of weights must be positive, not {tuple(shape)}")
    return int(shape[0]), math.prod(int(size) for size in shape[1:])


def elements(shape: Sequence[int]) -> int:
    """Weights of a dense layer of ``shape``."""
    return math.prod(matrix_shape(shape))


def check_shapes(shapes: Shapes) -> None:
    """Raise ``ValueError`` if there are no layers, or if one has a shape that no weights have."""
    if not shapes:
        raise ValueError("a network must have at least one layer, not 0")
    for name, shape in shapes.items():
        try:
            matrix_shape(shape)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None


def global_density(shapes: Shapes, densities: Mapping[str, float]) -> float:
    """Entries of all layers / elements of all layers.

    Raises
    ------
    ValueError
        If ``explicit`` would raise.
    """
    densities = explicit(shapes, densities)
    entries = math.fsum(densities[name] * elements(shape) for name, shape in shapes.items())
    return entries / sum(elements(shape) for shape in shapes.values())


def explicit(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, float]:
    """The densities given, one for each layer, checked and in the order of the layers.

    Raises
    ------
    ValueError
        If a layer has no density or a density no layer, or if a density is not above 0 and at most 1.
    """
    check_shapes(shapes)
    for name in shapes:
        if name not in densities:
            raise ValueError(f"every layer must have a density, but {name!r} has none")
    _check_fixed(shapes, densities)
    return {name: float(densities[name]) for name in shapes}


def uniform(shapes: Shapes, sparsity: float, *, fixed: Mapping[str, float] | None = None) -> dict[str, float]:
    """The same density for every layer, but for those in ``fixed``.

    Evci et al. 2020 keep the first layer dense (``fixed={"conv1": 1.0}``) and the others at ``sparsity``, so that the
    whole network has more entries than its sparsity says. Here the others make up for it.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        ``(out, in)`` or ``(out, in, height, width)``.
    sparsity : float
        Of the whole network, from 0 to below 1.
    fixed : mapping of str to float, optional
        Densities of layers that are denser or sparser than the others, such as the first and the last.

    Raises
    ------
    ValueError
        If there are no layers, if ``sparsity`` or a fixed density is out of range, or if the layers in ``fixed`` leave
        too few or too many entries for the others.

    Sources
    -------
    Evci et al., *Rigging the Lottery: Making All Tickets Winners*, 2020, section 3 (1).
    """
    return _share(shapes, sparsity, dict.fromkeys(shapes, 1.0), fixed or {})


def erk(
    shapes: Shapes, sparsity: float, *, fixed: Mapping[str, float] | None = None, kernel: bool = True
) -> dict[str, float]:
    """Erdős-Rényi-Kernel: the fewer inputs and outputs a layer has, the denser it is.

    The density of a layer is ``epsilon * (in + out + height + width) / (in * out * height * width)``, or
    ``epsilon * (in + out) / (in * out)`` where it is no convolution, with one ``epsilon`` for all layers. Layers for
    which that is above 1 are dense, and ``epsilon`` is solved for again with the others until there are none.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        ``(out, in)`` or ``(out, in, height, width)``.
    sparsity : float
        Of the whole network, from 0 to below 1.
    fixed : mapping of str to float, optional
        Densities of layers that take no part.
    kernel : bool
        Whether the height and width of a kernel count; without them this is the Erdős-Rényi distribution of SET.

    Raises
    ------
    ValueError
        If there are no layers, if ``sparsity`` or a fixed density is out of range, or if the layers in ``fixed`` leave
        too few or too many entries for the others.

    Sources
    -------
    Mocanu et al., *Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
    network science*, 2018 (without kernels); Evci et al., *Rigging the Lottery*, 2020, section 3 (1).
    """
    check_shapes(shapes)
    counted = {name: shape if kernel else shape[:2] for name, shape in shapes.items()}
    raw = {name: sum(shape) / math.prod(shape) for name, shape in counted.items()}
    return _share(shapes, sparsity, raw, fixed or {})


def _share(shapes: Shapes, sparsity: float, raw: Mapping[str, float], fixed: Mapping[str, float]) -> dict[str, float]:
    """Densities in proportion to ``raw``, at most 1 each."""
    check_shapes(shapes)
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be from 0 to below 1, not {sparsity!r}")
    _check_fixed(shapes, fixed)
    sizes = {name: elements(shape) for name, shape in shapes.items()}
    total = (1 - sparsity) * sum(sizes.values())
    budget = total - math.fsum(fixed[name] * sizes[name] for name in fixed)
    free = [name for name in shapes if name not in fixed]
    room = sum(sizes[name] for name in free)
    # A millionth of an entry is a rounding error, not a wish.
    if budget < -1e-6 or (free and budget <= 1e-6):
        raise ValueError(
            f"a sparsity of {sparsity!r} leaves {total:.6g} entries, but layers of fixed density take "
            f"{total - budget:.6g} of them"
        )
    if budget > room + 1e-6:
        raise ValueError(
            f"a sparsity of {sparsity!r} leaves {budget:.6g} entries to layers without a fixed density, which have "
            f"{room} elements"
        )
    densities = dict(fixed)
    while free:
        epsilon = budget / math.fsum(raw[name] * sizes[name] for name in free)
        # A dense layer gives back what it cannot hold, so epsilon only grows: what is full once stays full.
        full = [name for name in free if epsilon * raw[name] > 1 - 1e-12]
        for name in full or free:
            densities[name] = 1.0 if full else epsilon * raw[name]
            budget -= sizes[name] * densities[name]
        free = [name for name in free if name not in densities]
    return {name: float(densities[name]) for name in shapes}


def _check_fixed(shapes: Shapes, densities: Mapping[str, float]) -> None:
    for name, density in densities.items():
        if name not in shapes:
            raise ValueError(f"a density is given for {name!r}, but the layers are {', '.join(map(repr, shapes))}")
        if not 0 < density <= 1:
            raise ValueError(f"the density of layer {name!r} must be above 0 and at most 1, not {density!r}")
