"""Where the arrays of a perceptron lie in the memory of a device.

Each layer has one copy of its weights, as CSR with the bias as its last column, and beside every entry its float32
master value, momentum and gradient. Its inputs are the outputs of the layer before, with one row more that is always
one, for the bias. ``G`` of a layer is the gradient of the loss by its sums, before the ReLU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, gcd

from acf.config import FabricConfig
from acf.isa import IndexSize, candidate_row_bits
from acf.runtime.layout import Operand, Weights
from acf.runtime.memory import round_up
from acf.runtime.sampled_tiling import tile_sampled

__all__ = ["LayerPlan", "NetworkPlan", "plan_network"]

_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer.

    Parameters
    ----------
    name : str
    weights : Weights
        With the bias: ``outputs x (inputs + 1)``.
    master, momentum, gradient : int
        Addresses of float32 arrays, one number for each entry.
    inputs : Operand
        ``X``: ``input_rows`` rows, of which the last ones are padding, always zero.
    input_rows : int
        Rows of ``X``, a whole number of memory beats when there is a float32 for each.
    candidate_columns : int
        How many columns gradients off the mask are computed of. Those that are no columns of the weights have no inputs
        but zeros, or that of the bias.
    candidate_step : int
        From one of these columns to the next.
    outputs : Operand
        The inputs of the next layer, or the logits in float32.
    sum_gradients : Operand
        ``G``.
    """

    name: str
    weights: Weights
    master: int
    momentum: int
    gradient: int
    inputs: Operand
    input_rows: int
    candidate_columns: int
    candidate_step: int
    outputs: Operand
    sum_gradients: Operand

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the weights, without the bias."""
        return self.weights.rows, self.weights.inner - 1


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """All layers.

    Parameters
    ----------
    config : FabricConfig
    batch : int
    layers : tuple of LayerPlan
    candidates : tuple of int
        Addresses of two buffers for gradients off the mask, or the one of a buffer for bits that say which of them are
        large.
    candidate_rows : dict
        For how many rows of each layer these are computed at a time.
    regions : dict
        First address and the first one behind, of ``weights`` (CSR, master values, momentum), ``arrays`` (all else) and
        perhaps ``second`` (room for the weights of the largest layer while entries move); programs may follow.
    """

    config: FabricConfig
    batch: int
    layers: tuple[LayerPlan, ...]
    candidates: tuple[int, ...]
    candidate_rows: dict[str, int]
    regions: dict[str, tuple[int, int]]

    @property
    def end(self) -> int:
        """The first address that is free."""
        return max(end for _, end in self.regions.values())

    def with_entries(self, entries: Mapping[str, int]) -> "NetworkPlan":
        """The same plan when the layers have fewer entries, biases included: every array stays where it begins."""
        layers = tuple(
            replace(layer, weights=replace(layer.weights, entries=entries[layer.name])) for layer in self.layers
        )
        return replace(self, layers=layers)

    def shift(self, layer: LayerPlan) -> int:
        """Bytes from an array of ``layer`` to where it lies in the second buffer, modulo 2 ** 32."""
        return self.regions["second"][0] - layer.weights.pointers & 0xFFFFFFFF

    @property
    def logits(self) -> Operand:
        """Float32 outputs of the last layer."""
        return self.layers[-1].outputs


class _Room:
    """Hands out addresses."""

    def __init__(self, alignment: int):
        self._alignment = alignment
        self.next_address = 0

    def take(self, size: int) -> int:
        address = self.next_address
        self.next_address = round_up(address + size, self._alignment)
        return address


def plan_network(
    config: FabricConfig,
    sizes: Sequence[int],
    entries: Sequence[int],
    *,
    batch: int,
    candidate_steps: Sequence[int] | None = None,
    second: bool = False,
) -> NetworkPlan:
    """A plan for a perceptron.

    Parameters
    ----------
    config : FabricConfig
    sizes : sequence of int
        Inputs, neurons of the hidden layers, outputs.
    entries : sequence of int
        Of the weights of each layer, biases included.
    batch : int
        Columns of activations and gradients.
    candidate_steps : sequence of int or None
        ``candidate_step`` of each layer, a power of two; 1 when None.
    second : bool
        Whether there is a second buffer, for layers that change as a whole; else they change row by row.
    """
    beat = config.memory.beat_bytes
    number_format = config.lane.number_format
    room = _Room(max(_ALIGNMENT, beat))
    shapes = [(outputs, inputs + 1) for inputs, outputs in pairwise(sizes)]

    arrays = []
    for (rows, inner), count in zip(shapes, entries, strict=True):
        index_bytes = 2 if inner <= 1 << 16 else 4
        sizes_of_arrays = (
            4 * (rows + 1),
            count * index_bytes,
            count * number_format.operand_bytes,
            4 * count,
            4 * count,
        )
        arrays.append([room.take(size) for size in sizes_of_arrays])
    weights_end = room.next_address
    begins = [addresses[0] for addresses in arrays]
    largest = max(end - begin for begin, end in pairwise([*begins, weights_end]))

    def take_rows(rows: int, width: int) -> Operand:
        stride = round_up(batch * width, beat)
        return Operand(address=room.take(rows * stride), stride=stride)

    beat_numbers = max(1, beat // number_format.result_bytes)
    input_rows = [round_up(inner, beat_numbers) for _, inner in shapes]
    steps = [1] * len(shapes) if candidate_steps is None else candidate_steps
    candidate_columns = (
        input_rows
        if second
        else [candidate_row_bits(ceil((inner - 1) / step)) for (_, inner), step in zip(shapes, steps, strict=True)]
    )
    activations = [
        take_rows(max(rows, columns * step), number_format.operand_bytes)
        for rows, columns, step in zip(input_rows, candidate_columns, steps, strict=True)
    ]
    activations.append(take_rows(sizes[-1], number_format.result_bytes))
    layers = []
    for number, ((rows, inner), count, addresses) in enumerate(zip(shapes, entries, arrays, strict=True)):
        pointers, indices, values, master, momentum = addresses
        layers.append(
            LayerPlan(
                name=f"layer{number + 1}",
                weights=Weights(
                    rows=rows,
                    inner=inner,
                    entries=count,
                    pointers=pointers,
                    indices=indices,
                    values=values,
                    index_size=IndexSize.UINT16 if inner <= 1 << 16 else IndexSize.INT32,
                ),
                master=master,
                momentum=momentum,
                gradient=room.take(4 * count),
                inputs=activations[number],
                input_rows=input_rows[number],
                candidate_columns=candidate_columns[number],
                candidate_step=steps[number],
                outputs=activations[number + 1],
                # One row more, for what a scatter may leave where the bias of the next layer stands.
                sum_gradients=take_rows(rows + 1, number_format.operand_bytes),
            )
        )

    candidate_rows = {
        layer.name: _rows_at_a_time(config, rows=layer.weights.rows, inner=layer.candidate_columns, whole=not second)
        for layer in layers
    }
    if second:
        most = max(candidate_rows[layer.name] * layer.candidate_columns for layer in layers)
        candidates = tuple(room.take(most * number_format.result_bytes) for _ in range(2))
    else:
        candidates = (room.take(max(layer.weights.rows * layer.candidate_columns for layer in layers) // 8),)
    regions = {"weights": (0, weights_end), "arrays": (weights_end, room.next_address)}
    if second:
        begin = room.take(largest)
        regions["second"] = (begin, room.next_address)
    return NetworkPlan(
        config=config,
        batch=batch,
        layers=tuple(layers),
        candidates=candidates,
        candidate_rows=candidate_rows,
        regions=regions,
    )


def _rows_at_a_time(config: FabricConfig, *, rows: int, inner: int, whole: bool) -> int:
    """Rows of which all sums fit on the chip together, at least one.

    With ``whole``, bits of so many rows fill whole beats, even where their sums do not fit.
    """
    count = rows
    while count > 1 and tile_sampled(config, rows=count, inner=inner, entries=count * inner, select=whole).groups > 1:
        count = (count + 1) // 2
    if not whole:
        return count
    beat_bits = 8 * config.memory.beat_bytes
    step = beat_bits // gcd(beat_bits, inner)
    return max(step, count // step * step)
