"""The first operands of a product in pieces: how they are cut, and that no sum notices."""

import dataclasses

import numpy as np
import pytest

from acf.config import preset
from acf.golden.formats import golden_format
from acf.golden.products import gather
from acf.isa import IndexSize, Opcode
from acf.runtime import first_load
from acf.runtime.first_load import inner_tiles
from acf.runtime.gather import gather_memory_bytes, run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import Operand, Weights
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.runtime.measure import measure_product
from acf.runtime.products import backward_memory_bytes

BASE = preset("base")
OPERAND = Operand(address=0, stride=1 << 12)


def tiles(rows, inner, density, *, columns=128, config=BASE):
    entries = round(rows * inner * density)
    weights = Weights(rows=rows, inner=inner, entries=entries, pointers=0, indices=0, index_size=IndexSize.UINT16)
    return inner_tiles(config, weights, columns=columns, operand=OPERAND)


def test_pieces_cover_the_inner_indices():
    for inner in (1, 15, 16, 17, 100, 255, 256, 257, 1000):
        found = tiles(256, inner, 0.3)
        ends = [begin + count for begin, count in found]
        assert [begin for begin, _ in found] == [0, *ends[:-1]]
        assert ends[-1] == inner
        assert all(0 < count <= BASE.lane.operand_rows for _, count in found)
        assert all(begin % BASE.feeder.chunk_rows == 0 for begin, _ in found), "packed rows come in whole chunks"


def test_pieces_are_worth_it():
    assert len(tiles(256, 256, 0.1)) > 1
    assert tiles(256, 256, 0.1)[0][1] <= 128, "what nothing stands beside is short"
    assert tiles(256, 1000, 0.1)[-3:] == [(256, 256), (512, 256), (768, 232)]
    # Nothing to load, or nothing to do meanwhile.
    assert tiles(256, 256, 0) == [(0, 256)]
    assert tiles(1, 256, 0.1) == [(0, 256)]
    assert tiles(256, 256, 0.1, columns=0) == [(0, 256)]
    assert tiles(256, 0, 0.1) == []


def test_each_piece_has_a_bank():
    for banks, most in ((1, 1), (2, 2), (4, 3)):
        config = dataclasses.replace(BASE, lane=dataclasses.replace(BASE.lane, operand_banks=banks))
        assert len(tiles(256, 256, 0.2, config=config)) <= most


@pytest.fixture
def always_in_pieces(monkeypatch):
    monkeypatch.setattr(first_load, "STREAM_CYCLES", 0)
    monkeypatch.setattr(first_load, "_WORTH", -1)
    monkeypatch.setattr(first_load, "_ENDS", ((1 / 4,), (1 / 4, 1 / 2)))


@pytest.mark.parametrize("banks", [2, 4])
@pytest.mark.parametrize("shape", [(7, 40, 9), (40, 70, 20), (33, 32, 41), (70, 31, 40)])
def test_bits_are_those_of_the_product(always_in_pieces, banks, shape):
    rows, inner, columns = shape
    tiny = preset("tiny")
    config = dataclasses.replace(tiny, lane=dataclasses.replace(tiny.lane, operand_banks=banks))
    weights = random_weights(rows=rows, inner=inner, density=0.3, seed=3, format="bf16")
    operand = random_operand(inner=inner, columns=columns, density=0.6, seed=4, format="bf16")
    size = gather_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=weights.entries)
    found = measure_product("gather", GoldenDevice(config, memory_bytes=size), weights, [operand])
    assert found.bit_exact
    loads = {fields["rows"] for opcode, fields in found.sparse.program.commands if opcode is Opcode.LOAD}
    assert len(loads) > 1, "no piece was cut off"


@pytest.mark.parametrize("shape", [(7, 30, 9), (40, 31, 16), (33, 17, 13)])
def test_a_sampled_product_begins_with_a_piece(always_in_pieces, shape):
    """Two at most, and none where there is no third bank; the first of them is loaded beside the whole row operand."""
    rows, inner, columns = shape
    for banks, pieces in ((2, 1), (4, 2)):
        tiny = preset("tiny")
        config = dataclasses.replace(tiny, lane=dataclasses.replace(tiny.lane, operand_banks=banks))
        weights = random_weights(rows=rows, inner=inner, density=0.3, seed=3, format="bf16")
        operands = [
            random_operand(inner=size, columns=columns, density=0.6, seed=4 + size, format="bf16")
            for size in (rows, inner)
        ]
        size = backward_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=weights.entries)
        found = measure_product("sampled", GoldenDevice(config, memory_bytes=size), weights, operands)
        assert found.bit_exact
        streams = [fields for opcode, fields in found.sparse.program.commands if opcode is Opcode.STREAM]
        assert (streams[0]["inner_count"] < inner) == (pieces == 2)
        assert {fields["inner_begin"] for fields in streams} == ({0} if pieces == 1 else {0, streams[0]["inner_count"]})


def test_the_order_of_unsorted_rows_is_that_of_the_pieces(always_in_pieces):
    config = preset("tiny")
    generator = np.random.default_rng(4)
    rows, inner, count, columns = 9, 32, 200, 2 * config.columns
    pointers = np.concatenate([[0], np.sort(generator.integers(0, count, rows - 1)), [count]])
    values = golden_format("bf16").quantize(generator.normal(size=count))
    weights = CsrMatrix((rows, inner), pointers, generator.integers(0, inner, count), values, "bf16")
    operand = random_operand(inner=inner, columns=columns, density=0.9, seed=4, format="bf16")
    size = gather_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=count)
    found = run_gather(GoldenDevice(config, memory_bytes=size), weights, operand)
    assert found.accumulators.tobytes() == found.golden(weights, operand).accumulators.tobytes()
    whole = gather(weights.pointers, weights.indices, weights.values, operand, format="bf16").accumulators
    first = slice(0, config.columns)
    assert found.accumulators[:, first].tobytes() != whole[:, first].tobytes(), "this test needs an order that matters"
    assert found.accumulators[:, config.columns :].tobytes() == whole[:, config.columns :].tobytes()
