"""Packed operands: masks and non-zero values.

Operand rows are cut into *chunks* of ``chunk_rows`` rows of the columns of one tile. A chunk is a sequence of flits:

- *masks*: bit ``r * tile_columns + k``, lowest bits first, says whether the operand of row ``r`` and tile column ``k``
  is there. The other ones are zero.
- *values*: operand ``n * lanes + l`` is the ``n``-th one that is there of lane ``l``, counted row by row and in a row
  slot by slot (column ``k`` is lane ``k % lanes``, slot ``k // lanes``). Lanes with fewer operands than others have
  zeros at the end. The *length* of a chunk is the number of these flits.

So every lane has its own sequence of values, and all take one at a time.
"""

from dataclasses import dataclass

import numpy as np

from acf.config import FabricConfig
from acf.golden.formats import golden_format

__all__ = ["PackedRows", "pack_rows", "unpack_chunk"]


@dataclass(frozen=True, kw_only=True)
class PackedRows:
    """Operand rows in packed form.

    Parameters
    ----------
    chunks : numpy.ndarray of uint8
        ``[chunk, tile, FabricConfig.chunk_bytes]``; tiles are all those of one column pass after the other.
    lengths : numpy.ndarray of uint16
        ``[tile, chunk]``, flits of values.
    """

    chunks: np.ndarray
    lengths: np.ndarray

    def beats(self, config: FabricConfig) -> int:
        """Beats of memory of all masks, values and lengths."""
        flits_per_beat = config.memory.data_width // config.noc.flit_width
        beats = -(-(self.lengths.astype(np.int64) + config.chunk_mask_flits) // flits_per_beat)
        lengths = -(-self.lengths.shape[1] * self.lengths.itemsize // config.memory.beat_bytes)
        return int(beats.sum()) + self.lengths.shape[0] * lengths


def pack_rows(operand: np.ndarray, *, config: FabricConfig, tile_columns: int) -> PackedRows:
    """Pack a dense operand.

    Parameters
    ----------
    operand : numpy.ndarray
        ``[row, column]``, in the storage type of the format.
    config : FabricConfig
    tile_columns : int
        Columns of one tile in a pass, at most those of the configuration.
    """
    arithmetic = golden_format(config.lane.format)
    rows, columns = operand.shape
    lanes, slots, chunk_rows = config.lanes, config.lane.slots, config.feeder.chunk_rows
    chunks = -(-rows // chunk_rows)
    tiles = -(-columns // (tile_columns * config.cols)) * config.cols
    padded = np.zeros((chunks * chunk_rows, tiles * tile_columns), dtype=arithmetic.dtype)
    padded[:rows, :columns] = operand
    shares = np.zeros((chunks, chunk_rows, tiles, config.tile_columns), dtype=arithmetic.dtype)
    shares[..., :tile_columns] = padded.reshape(chunks, chunk_rows, tiles, tile_columns)
    present = ~arithmetic.is_zero(shares)

    # [chunk, tile, place in the order of a lane, lane]
    sequences = (chunks, tiles, chunk_rows * slots, lanes)
    values = shares.transpose(0, 2, 1, 3).reshape(sequences)
    there = present.transpose(0, 2, 1, 3).reshape(sequences)
    places = np.cumsum(there, axis=2) - 1
    packed = np.zeros(sequences, dtype=arithmetic.dtype)
    chunk, tile, _, lane = np.nonzero(there)
    packed[chunk, tile, places[there], lane] = values[there]
    operands = there.sum(axis=2)  # [chunk, tile, lane]
    per_flit = config.noc.flit_width // config.lane.number_format.operand_width
    last = np.where(operands > 0, (operands - 1) * lanes + np.arange(lanes) + 1, 0).max(axis=2, initial=0)
    lengths = -(-last // per_flit)

    masks = np.packbits(there.reshape(chunks, tiles, chunk_rows * config.tile_columns), axis=2, bitorder="little")
    flit_bytes = config.noc.flit_width // 8
    result = np.zeros((chunks, tiles, config.chunk_bytes), dtype=np.uint8)
    result[:, :, : masks.shape[2]] = masks
    begin = config.chunk_mask_flits * flit_bytes
    data = packed.reshape(chunks, tiles, chunk_rows * config.tile_columns).view(np.uint8)
    result[:, :, begin : begin + data.shape[2]] = data
    return PackedRows(chunks=result, lengths=lengths.T.astype(np.uint16))


def unpack_chunk(flits: np.ndarray, *, config: FabricConfig) -> np.ndarray:
    """The operands of a chunk, ``[row, tile column]``.

    What a mask asks for behind the end of the values is zero, and values that no mask asks for are passed over.

    Parameters
    ----------
    flits : numpy.ndarray of uint8
        Bytes of masks and values.
    config : FabricConfig
    """
    arithmetic = golden_format(config.lane.format)
    lanes, slots, chunk_rows = config.lanes, config.lane.slots, config.feeder.chunk_rows
    begin = config.chunk_mask_flits * config.noc.flit_width // 8
    operands = chunk_rows * config.tile_columns
    there = np.unpackbits(flits[:begin], bitorder="little")[:operands].reshape(chunk_rows * slots, lanes)
    places = np.cumsum(there, axis=0, dtype=np.int64) - 1
    values = flits[begin:].view(arithmetic.dtype)
    index = places * lanes + np.arange(lanes)
    found = (there != 0) & (index < values.size)
    result = np.zeros((chunk_rows * slots, lanes), dtype=arithmetic.dtype)
    result[found] = values[index[found]]
    return result.reshape(chunk_rows, config.tile_columns)
