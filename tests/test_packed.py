"""Packed operands: the form itself, where it lies in memory, and products that read it."""

import numpy as np
import pytest

from acf.config import PRESETS, FabricConfig, FeederConfig, LaneConfig, MemoryConfig, preset
from acf.golden.formats import golden_format
from acf.golden.packed import pack_rows, unpack_chunk
from acf.isa import ErrorCode, Opcode
from acf.runtime.device import FabricError
from acf.runtime.gather import gather_memory_bytes, run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import OperandForm, PackedOperand, column_passes, packed_bytes, piece_length
from acf.runtime.matrices import random_operand, random_weights
from acf.runtime.measure import measure_product
from acf.runtime.products import backward_memory_bytes, run_sampled, run_scatter
from acf.runtime.session import Session

FORMATS = ["bf16", "int8"]
WIDE = FabricConfig(
    name="wide",
    rows=1,
    cols=2,
    lanes=16,
    lane=LaneConfig(slots=8, operand_rows=16),
    feeder=FeederConfig(chunk_rows=2),
    memory=MemoryConfig(data_width=64),
)


def some(rows, columns, *, density, format, seed=1):
    return random_operand(inner=rows, columns=columns, density=density, seed=seed, format=format)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("config", [*PRESETS.values(), WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("shape", [(0, 5, 0.5), (1, 1, 1), (20, 37, 0.5), (33, 130, 0.1), (32, 256, 1), (17, 64, 0)])
def test_packing_and_unpacking_gives_the_operand(config, format, shape):
    config = config.with_format(format)
    rows, columns, density = shape
    operand = some(rows, columns, density=density, format=format)
    packed = pack_rows(operand, config=config, tile_columns=config.tile_columns)
    chunks, tiles = packed.chunks.shape[:2]
    found = np.zeros((chunks * config.feeder.chunk_rows, tiles * config.tile_columns), dtype=operand.dtype)
    blocks = found.reshape(chunks, config.feeder.chunk_rows, tiles, config.tile_columns)
    for chunk, tile in np.ndindex(chunks, tiles):
        length = int(packed.lengths[tile, chunk])
        assert length <= config.chunk_value_flits
        content = packed.chunks[chunk, tile, : 8 * (config.chunk_mask_flits + length)]
        blocks[chunk, :, tile] = unpack_chunk(content, config=config)
        # Nothing longer than the lane with the most operands needs.
        present = ~golden_format(format).is_zero(blocks[chunk, :, tile])
        most = present.reshape(-1, config.lanes).sum(axis=0).max()
        assert length <= -(-most * config.lanes * 8 * operand.itemsize // 64)
        assert length == 0 or most
    assert (found[:rows, :columns] == operand).all()
    assert not found[rows:].astype(np.float32).any()
    assert not found[:, columns:].astype(np.float32).any()


def test_zeros_of_both_signs_are_left_out():
    config = preset("tiny")
    operand = np.array([[0.0, -0.0, 1.0, -0.0]]).astype(golden_format("bf16").dtype)
    packed = pack_rows(operand, config=config, tile_columns=config.tile_columns)
    assert packed.chunks[0, 0, 0] == 0b100
    assert packed.lengths[0, 0] == 1


def test_what_is_damaged_has_a_meaning():
    """Masks without values give zeros, values without masks nothing."""
    config = preset("tiny")
    flits = np.zeros(8 * (config.chunk_mask_flits + 1), dtype=np.uint8)
    flits[0] = 0xFF
    flits[8:16] = np.arange(1, 9)
    found = unpack_chunk(flits, config=config).view(np.uint16)
    assert found[0].tolist() == [0x0201, 0x0403, 0x0605, 0x0807, 0, 0, 0, 0]
    assert not found[1:].any()
    assert not unpack_chunk(np.where(np.arange(flits.size) < 8, 0, flits).astype(np.uint8), config=config).any()


def test_pieces_are_whole_chunks():
    assert piece_length(257, 256, granule=16) == 144
    assert piece_length(256, 256, granule=16) == 256
    assert piece_length(0, 256, granule=16) == 16
    for size in range(1, 1200, 7):
        length = piece_length(size, 64, granule=16)
        assert length % 16 == 0
        assert length <= 64
        assert -(-size // length) <= -(-size // 64)


def test_tiles_begin_at_a_chunk():
    config = preset("tiny")
    operand = PackedOperand(address=0x1000, chunk_stride=0x200, lengths=0x8000, length_stride=0x40)
    second = list(column_passes(config, 40))[1]
    tile = operand.tile(config, first=8, rows=7, columns=second)
    assert (tile.address, tile.stride) == (0x1000 + config.cols * config.chunk_bytes + 2 * 0x200, 0x200)
    assert (tile.lengths, tile.length_stride) == (0x8000 + config.cols * 0x40 + 4, 0x40)
    with pytest.raises(ValueError, match="packed rows are taken from a multiple of 4 on, not 6"):
        operand.tile(config, first=6, rows=2, columns=second)


@pytest.mark.parametrize("form", [OperandForm.DENSE, OperandForm.PACKED])
@pytest.mark.parametrize(("columns", "last"), [(129, 1), (150, 2), (192, 4), (193, 3), (300, 3), (700, 4)])
def test_the_last_pass_is_spread_by_itself(form, columns, last):
    """Over as many mesh columns as whole beats of operands allow, 16 columns in bf16."""
    config = preset("base")
    passes = list(column_passes(config, columns))
    tiles = [-(-each.fields["columns"] // each.fields["tile_columns"]) for each in passes]
    assert [each.first for each in passes] == list(range(0, columns, 128))
    assert sum(each.fields["columns"] for each in passes) == columns
    assert tiles[:-1] == [config.cols] * (len(passes) - 1)
    assert tiles[-1] == last
    weights = random_weights(rows=9, inner=40, density=0.3, seed=1, format="bf16")
    activation = some(40, columns, density=0.5, format="bf16", seed=1)
    gradient = some(9, columns, density=0.5, format="bf16", seed=2)
    sizes = {"rows": 9, "inner": 40, "columns": columns, "entries": weights.entries}
    size = max(gather_memory_bytes(config, **sizes), backward_memory_bytes(config, **sizes))
    for product, operands in (("gather", [activation]), ("scatter", [gradient]), ("sampled", [gradient, activation])):
        device = GoldenDevice(config, memory_bytes=size)
        assert measure_product(product, device, weights, operands, form=form).bit_exact


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_the_shorter_form_is_chosen(name):
    config = preset(name)
    forms = {}
    for density in (0.1, 0.5, 1):
        operand = some(64, 256, density=density, format="bf16")
        session = Session(GoldenDevice(config, memory_bytes=1 << 20))
        forms[density] = session.place_operand(operand, form=OperandForm.AUTO).form
    assert forms == {0.1: OperandForm.PACKED, 0.5: OperandForm.PACKED, 1: OperandForm.DENSE}
    session = Session(GoldenDevice(config, memory_bytes=1 << 20))
    assert session.place_operand(operand[:0], form=OperandForm.PACKED).form is OperandForm.DENSE


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seed", range(6))
def test_products_have_the_same_bits_in_either_form(format, seed):
    rng = np.random.default_rng(seed)
    rows, inner, columns = (int(n) for n in rng.integers(1, 90, 3))
    density = float(rng.choice([0.1, 0.5, 1]))
    config = preset("tiny").with_format(format)
    weights = random_weights(rows=rows, inner=inner, density=0.3, seed=seed, format=format)
    sizes = {"rows": rows, "inner": inner, "columns": columns, "entries": weights.entries}
    size = max(gather_memory_bytes(config, **sizes), backward_memory_bytes(config, **sizes))
    activation = some(inner, columns, density=density, format=format, seed=seed)
    gradient = some(rows, columns, density=density, format=format, seed=seed + 1)
    for run, operands in (
        (run_gather, (activation,)),
        (run_scatter, (gradient,)),
        (run_sampled, (gradient, activation)),
    ):
        results = {
            form: run(GoldenDevice(config, memory_bytes=size), weights, *operands, form=form)
            for form in (OperandForm.DENSE, OperandForm.PACKED)
        }
        dense, packed = results.values()
        assert set(packed.forms) == {OperandForm.PACKED}
        assert packed.accumulators.tobytes() == dense.accumulators.tobytes()
        assert (packed.run.effectual == dense.run.effectual).all()
        loads = [values for opcode, values in packed.program.commands if opcode is Opcode.LOAD]
        assert all(values["packed"] for values in loads)
        assert loads or not weights.entries


def test_room_is_what_is_needed():
    config = preset("base")
    for rows, columns in ((1, 1), (40, 130), (256, 512)):
        session = Session(GoldenDevice(config, memory_bytes=1 << 22))
        session.place_operand(some(rows, columns, density=0.5, format="bf16"), form=OperandForm.PACKED)
        used = session.reserve_sums(0)
        assert 0 <= used - packed_bytes(config, rows=rows, columns=columns) < 128


def test_a_length_beyond_the_chunk_is_refused(monkeypatch):
    config = preset("tiny")

    def too_long(operand, **options):
        packed = pack_rows(operand, **options)
        packed.lengths[0, 1] = config.chunk_value_flits + 1
        return packed

    monkeypatch.setattr("acf.runtime.session.pack_rows", too_long)
    weights = random_weights(rows=4, inner=8, density=0.5, seed=1, format="bf16")
    operand = some(8, 5, density=0.5, format="bf16")
    with pytest.raises(FabricError) as caught:
        run_gather(GoldenDevice(config, memory_bytes=1 << 16), weights, operand, form=OperandForm.PACKED)
    assert caught.value.code is ErrorCode.COMMAND_RANGE
