"""One program on a device: inputs, results and commands in its memory, each in a window of its own."""

from itertools import groupby

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format
from acf.golden.packed import PackedRows, pack_rows
from acf.isa import Decoder, IndexSize
from acf.runtime.block_weights import block_arrays
from acf.runtime.device import Device, RunResult, Window
from acf.runtime.layout import (
    Operand,
    OperandForm,
    PackedOperand,
    PlacedOperand,
    WeightForm,
    Weights,
    column_passes,
    smallest_index,
)
from acf.runtime.matrices import CsrMatrix
from acf.runtime.memory import Allocator, round_up
from acf.runtime.pattern_weights import pattern_arrays
from acf.runtime.program import Program
from acf.runtime.weight_formats import bitmap_of, check_blocks, checked_pattern

__all__ = ["Session"]

_ALIGNMENT = 64


class Session:
    """Fills the memory of a device from address 0: first all inputs, then all results, then the program.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device):
        self._device = device
        self._beat = device.config.memory.beat_bytes
        self._allocator = Allocator(device.memory, alignment=max(_ALIGNMENT, self._beat))
        self._inputs_end: int | None = None

    def place_weights(
        self,
        weights: CsrMatrix,
        *,
        form: WeightForm = WeightForm.CSR,
        index_size: IndexSize | None = None,
        pattern: tuple[int, int] | None = None,
    ) -> Weights:
        """The arrays of ``weights`` in a form.

        Column indices have 16 bits where ``index_size`` is not given and all columns have such an index; N:M is of the
        pattern of fewest bytes where none is given.

        Raises
        ------
        ValueError
            If the weights do not fit the device or the index size, or cannot have the form.
        """
        format = self._device.config.lane.format
        if weights.format != format:
            raise ValueError(f"the device computes in {format}, but the weights are in {weights.format}")
        if index_size is None:
            index_size = smallest_index(weights.shape[1])
        if index_size is IndexSize.UINT16 and weights.shape[1] > 1 << 16:
            raise ValueError(f"indices of 16 bits allow 65536 columns of weights, not {weights.shape[1]}")
        rows, inner = weights.shape
        place = self._allocator.place
        if form is WeightForm.DENSE:
            values = place(weights.to_dense(), what="the weights")
            return Weights(
                rows=rows,
                inner=inner,
                entries=rows * inner,
                pointers=0,
                indices=0,
                values=values,
                decoder=Decoder.DENSE,
                index_size=index_size,
            )
        if form is WeightForm.NM:
            pattern = checked_pattern(self._device.config, weights, pattern)
            values, places = pattern_arrays(weights, *pattern)
            return Weights(
                rows=rows,
                inner=inner,
                entries=values.size,
                pointers=0,
                indices=place(places, what="the places of the weights"),
                values=place(values, what="the weights"),
                decoder=Decoder.N_OF_M,
                index_size=index_size,
                pattern=pattern,
            )
        if form is WeightForm.BLOCK:
            check_blocks(self._device.config, weights)
            pointers, indices, values = block_arrays(weights)
            return Weights(
                rows=rows,
                inner=inner,
                entries=values.size,
                pointers=place(pointers, what="the pointers of blocks"),
                indices=place(indices, what="the indices of blocks"),
                values=place(values, what="the weights"),
                decoder=Decoder.BLOCKS,
                index_size=IndexSize.UINT16,
            )
        if form is WeightForm.BITMAP:
            structure, what, decoder = bitmap_of(weights, beat_bytes=self._beat), "the bitmap", Decoder.BITMAP
        else:
            index_type = np.uint16 if index_size is IndexSize.UINT16 else np.int32
            structure, what, decoder = weights.indices.astype(index_type), "the column indices", Decoder.CSR
        return Weights(
            rows=rows,
            inner=inner,
            entries=weights.entries,
            pointers=place(weights.pointers, what="the row pointers"),
            indices=place(structure, what=what),
            values=place(weights.values, what="the weights"),
            decoder=decoder,
            index_size=index_size,
        )

    def place_operand(
        self, operand: np.ndarray, *, what: str = "the operand", form: OperandForm = OperandForm.DENSE
    ) -> PlacedOperand:
        """A dense array, its rows padded to whole beats, or packed chunks.

        Raises
        ------
        ValueError
            If packed chunks are asked for where lanes do not skip zeros.
        """
        config = self._device.config
        if not config.lane.skipping:
            if form is OperandForm.PACKED:
                raise ValueError(
                    f"{what} cannot be packed where lanes do not skip zeros, as in configuration {config.digest}"
                )
            form = OperandForm.DENSE
        columns = operand.shape[1]
        stride = round_up(columns * operand.itemsize, self._beat)
        if form is not OperandForm.DENSE and operand.size:
            packed = _pack(operand, config=config)
            if form is OperandForm.PACKED or packed.beats(config) * self._beat < operand.shape[0] * stride:
                return self._place_packed(packed, what=what)
        return Operand(address=self._allocator.place_rows(operand, stride=stride, what=what), stride=stride)

    def _place_packed(self, packed: PackedRows, *, what: str) -> PackedOperand:
        length_stride = round_up(packed.lengths.shape[1] * packed.lengths.itemsize, self._beat)
        return PackedOperand(
            address=self._allocator.place(packed.chunks, what=what),
            chunk_stride=packed.chunks[0].nbytes,
            lengths=self._allocator.place_rows(packed.lengths, stride=length_stride, what=f"lengths of {what}"),
            length_stride=length_stride,
        )

    def reserve_rows(self, *, rows: int, columns: int, dtype: np.dtype) -> Operand:
        """Room for a result of rows; no more inputs can be placed."""
        stride = round_up(columns * dtype.itemsize, self._beat)
        return Operand(address=self._reserve(rows * stride), stride=stride)

    def reserve_sums(self, count: int) -> int:
        """Room for a result that is one array of accumulators; no more inputs can be placed."""
        return self._reserve(count * self._device.config.lane.number_format.result_bytes)

    def _reserve(self, size: int) -> int:
        if self._inputs_end is None:
            self._inputs_end = self._allocator.next_address
        return self._allocator.reserve(size, what="the result")

    def run(self, program: Program) -> RunResult:
        """Run a program; results that it leaves unwritten are ones in all bits.

        Raises
        ------
        FabricError
            If the device refused.
        """
        memory = self._device.memory
        results_end = self._allocator.next_address
        inputs_end = results_end if self._inputs_end is None else self._inputs_end
        address = self._allocator.place(program.to_array(), what="the program")
        windows = [Window(base=address, limit=self._allocator.next_address - 1, writable=False)]
        if inputs_end:
            windows.append(Window(base=0, limit=inputs_end - 1, writable=False))
        if results_end > inputs_end:
            windows.append(Window(base=inputs_end, limit=results_end - 1, readable=False))
            memory[inputs_end:results_end] = 0xFF
        return self._device.run(address, len(program), windows)

    def read_rows(self, place: Operand, *, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
        """A copy of a result of rows."""
        data = self._device.memory[place.address : place.address + rows * place.stride]
        return data.reshape(rows, place.stride)[:, : columns * dtype.itemsize].copy().view(dtype).reshape(rows, columns)

    def read_sums(self, address: int, count: int) -> np.ndarray:
        """A copy of a result of ``reserve_sums``."""
        dtype = golden_format(self._device.config.lane.format).result_dtype
        return self._device.memory[address : address + count * dtype.itemsize].copy().view(dtype)


def _pack(operand: np.ndarray, *, config: FabricConfig) -> PackedRows:
    """All column passes of an operand."""
    parts = []
    passes = column_passes(config, operand.shape[1])
    for tile_columns, alike in groupby(passes, lambda column_pass: column_pass.fields["tile_columns"]):
        own = list(alike)
        columns = slice(own[0].first, own[-1].first + own[-1].fields["columns"])
        parts.append(pack_rows(operand[:, columns], config=config, tile_columns=tile_columns))
    return PackedRows(
        chunks=np.concatenate([part.chunks for part in parts], axis=1),
        lengths=np.concatenate([part.lengths for part in parts]),
    )
