"""Scatter and sampled programs give the bits of the products, on the golden device."""

import dataclasses
import itertools

import numpy as np
import pytest

from acf.config import preset
from acf.golden.formats import golden_format
from acf.golden.products import gather, sampled, scatter
from acf.isa import IndexSize, Opcode
from acf.runtime import drains, scatter_blocks
from acf.runtime.compiler import add_clear
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import OperandForm, WeightForm, Weights
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.runtime.products import backward_memory_bytes, run_sampled, run_scatter
from acf.runtime.program import Program
from acf.runtime.sampled import sampled_chains
from acf.runtime.sampled_drain import MOST_RANGES
from acf.runtime.sampled_tiling import tile_sampled
from acf.runtime.scatter import scatter_steps
from acf.runtime.scatter_blocks import BlockCounts, block_counts, cut_blocks, first_pieces
from acf.runtime.schedule import MOST_PIECES, add_steps
from acf.runtime.session import Session

FORMATS = ("bf16", "int8")
SHAPES = [
    (0, 0, 0),
    (0, 5, 5),
    (5, 0, 5),
    (5, 5, 0),
    (1, 1, 1),
    (1, 33, 1),
    (33, 1, 17),
    (31, 32, 16),
    (33, 33, 17),
    (7, 11, 13),
    (37, 97, 41),
    (70, 64, 32),
    (100, 9, 70),
]


def tiny(format="bf16", **lane):
    config = preset("tiny").with_format(format)
    return dataclasses.replace(config, lane=dataclasses.replace(config.lane, **lane))


def device_for(config, weights, columns):
    rows, inner = weights.shape
    size = backward_memory_bytes(config, rows=rows, inner=inner, columns=columns, entries=weights.entries)
    return GoldenDevice(config, memory_bytes=size)


def operands(shape, *, format="bf16", density=0.6, seed=5):
    rows, inner, columns = shape
    weights = random_weights(rows=rows, inner=inner, density=0.3, seed=seed, format=format)
    gradient = random_operand(inner=rows, columns=columns, density=density, seed=seed + 1, format=format)
    activation = random_operand(inner=inner, columns=columns, density=density, seed=seed + 2, format=format)
    return weights, gradient, activation


def check_scatter(config, weights, gradient, **options):
    result = run_scatter(device_for(config, weights, gradient.shape[1]), weights, gradient, **options)
    expected = scatter(
        weights.pointers, weights.indices, weights.values, gradient, inner=weights.shape[1], format=weights.format
    )
    assert result.accumulators.dtype == golden_format(weights.format).result_dtype
    assert result.accumulators.tobytes() == expected.accumulators.tobytes()
    assert result.run.effectual_macs == expected.effectual_macs
    return result


def check_sampled(config, weights, gradient, activation, **options):
    columns = gradient.shape[1]
    result = run_sampled(device_for(config, weights, columns), weights, gradient, activation, **options)
    expected = sampled(
        weights.pointers,
        weights.indices,
        gradient,
        activation,
        chains=sampled_chains(config, columns),
        format=weights.format,
    )
    assert result.accumulators.tobytes() == expected.accumulators.tobytes()
    assert result.run.effectual_macs == expected.effectual_macs
    return result


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scatter_of_any_shape(format, shape):
    weights, gradient, _ = operands(shape, format=format)
    config = tiny(format)
    check_scatter(config, weights, gradient)
    check_scatter(config, weights, gradient, skip=False, index_size=IndexSize.UINT16)
    check_scatter(config, weights, gradient, weight_form=WeightForm.DENSE)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_sampled_of_any_shape(format, shape):
    weights, gradient, activation = operands(shape, format=format)
    config = tiny(format)
    check_sampled(config, weights, gradient, activation)
    check_sampled(config, weights, gradient, activation, skip=False, index_size=IndexSize.UINT16)


@pytest.mark.parametrize("banks", [2, 4])
@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(banks, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(rng.integers(1, most)) for most in rng.choice([8, 40, 130], 3))
    weights, gradient, activation = operands(shape, density=rng.choice([0.2, 0.5, 1.0]), seed=seed)
    config = tiny(operand_banks=banks)
    check_scatter(config, weights, gradient)
    check_sampled(config, weights, gradient, activation)


@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 33, 17), (7, 11, 13), (37, 97, 41)])
def test_drains_in_parts(monkeypatch, shape):
    """As many parts as there may be: all results are drained once, and their bits are the same."""
    monkeypatch.setattr(drains, "_PART_CYCLES", 1)
    monkeypatch.setattr(drains, "_SHORT_PART_CYCLES", 1)
    weights, gradient, activation = operands(shape)
    config = tiny()
    programs = [
        check_sampled(config, weights, gradient, activation).program,
        check_scatter(config, weights, gradient).program,
        run_gather(device_for(config, weights, shape[2]), weights, activation).program,
    ]
    if shape == (37, 97, 41):
        tiling = tile_sampled(config, rows=37, inner=97, entries=weights.entries, columns=41, form=OperandForm.DENSE)
        counts = [sum(opcode is Opcode.DRAIN for opcode, _ in program.commands) for program in programs]
        packets = tiling.entry_count // config.tile_columns
        # Of the last group a part for each packet of sums in the last range, of each row feeder, and one of each other
        # range; of the other groups one drain.
        parts = counts[0] - (tiling.groups - 1)
        assert packets * config.rows // MOST_RANGES < parts <= packets * config.rows
        assert counts[2] > 6
    gated = run_scatter(device_for(config, weights, shape[2]), weights, gradient, gate=activation).accumulators
    plain = run_scatter(device_for(config, weights, shape[2]), weights, gradient).accumulators
    assert gated.tobytes() == np.where(activation.astype(np.float32) == 0, np.float32(0), plain).tobytes()


@pytest.mark.parametrize("rows", [0, 1, 7, 64, 100])
@pytest.mark.parametrize("granule", [1, 4, 8])
def test_parts_cover_everything_once(rows, granule):
    for cycles, halving in itertools.product((0, 199, 200, 800, 1800, 10**6), (False, True)):
        parts = drains.drain_parts(cycles=cycles, rows=rows, granule=granule, halving=halving)
        assert [place for first, count in parts for place in range(first, first + count)] == list(range(rows))
        assert all(first % granule == 0 for first, _ in parts)
        wanted = {0: 1, 199: 1, 200: 1, 800: 2, 1800: 3, 10**6: drains.MOST_PARTS}[cycles]
        if rows == 64 and granule == 1:
            sizes = [count for _, count in parts]
            assert len(parts) == min(wanted, 7 if halving else 64)
            if halving:
                assert sizes == [64 >> n + 1 for n in range(len(parts) - 1)] + [64 >> len(parts) - 1]
            else:
                assert max(sizes) - min(sizes) <= 1
        assert rows == 0 or all(count for _, count in parts)


def test_accumulators_lie_in_a_ring():
    """Sums that follow each other have different accumulators, as far as there are enough."""
    config = tiny()  # 16 rows
    sums = [drains.Accumulators(rows=rows) for rows in (6, 6, 3, 5, 16, 1)]
    assert drains.place_accumulators(config, [of for of in sums for _ in range(2)]) == 16
    assert [of.first for of in sums] == [0, 6, 12, 0, 0, 0]


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("wanted", [0, 1, 7, 64, 100])
def test_blocks_cover_every_row_once(rows, wanted):
    config = dataclasses.replace(tiny(), rows=rows)
    for count in range(1, 6):
        blocks = cut_blocks(config, wanted=wanted, count=count)
        assert len(blocks) <= count
        ends = [first + block * rows for first, block in blocks]
        assert [first for first, _ in blocks] == [0, *ends][: len(blocks)]
        assert not blocks or wanted <= ends[-1] < wanted + rows
        assert [block for _, block in blocks] == sorted((block for _, block in blocks), reverse=True)


def base_weights(rows, inner, density, **changes):
    entries = round(rows * inner * density)
    weights = Weights(rows=rows, inner=inner, entries=entries, pointers=0, indices=0, index_size=IndexSize.UINT16)
    return dataclasses.replace(weights, **changes)


def test_blocks_are_cut_where_drains_stand_alone():
    config = preset("base")

    def counts(*shape, columns, **changes):
        found = block_counts(config, base_weights(*shape), columns=columns, wanted=shape[1], **changes)
        return found.first, found.others, found.last

    # A single pass: half of its drain beside the sums. More blocks would only read W more often.
    assert counts(256, 256, 0.1, columns=128) == (1, 1, 2)
    # Each pass is drained beside the next one, but for the last.
    assert counts(256, 256, 0.1, columns=1024) == (1, 1, 2)
    # Drains take longer than sums, so the first begins early.
    assert counts(128, 512, 0.1, columns=256) == (2, 1, 2)
    # What is gated by a bank of 256 rows, or fits into the accumulators.
    assert min(counts(256, 512, 0.1, columns=512, gated=True)) == 2
    assert counts(256, 12000, 0.1, columns=128) == (3, 3, 3)
    # Twice as many leave accumulators for the next one; behind the first pass none of them reads all of W.
    assert counts(256, 12000, 0.1, columns=512) == (6, 6, 6)
    # There is nothing to drain beside, or not enough to drain.
    assert counts(256, 256, 0, columns=128) == (1, 1, 1)
    assert counts(256, 4, 0.5, columns=512) == (1, 1, 1)
    # Reading W takes longer than all its products.
    assert counts(256, 256, 0.1, columns=16) == (1, 1, 1)


def test_counts_of_passes():
    counts = BlockCounts(first=5, others=6, last=7)
    for passes, expected in ((0, []), (1, [7]), (2, [5, 7]), (4, [5, 6, 6, 7])):
        assert counts.of("abcd"[:passes]) == list(zip("abcd", expected, strict=False))


def test_first_operands_come_in_pieces():
    config = preset("base")

    def pieces(*shape, columns, block=64):
        return first_pieces(
            config, base_weights(*shape), columns=columns, wanted=shape[1], block=block, rows=min(256, shape[0])
        )

    assert pieces(256, 256, 0.5, columns=128) == [(0, 64), (64, 64), (128, 128)]
    assert pieces(101, 256, 0.5, columns=128) == [(0, 48), (48, 53)]
    # Too little to load, or to do meanwhile.
    assert pieces(8, 256, 0.5, columns=128) == [(0, 8)]
    assert pieces(256, 256, 0, columns=128) == [(0, 256)]


@pytest.mark.parametrize("banks", [2, 4])
@pytest.mark.parametrize("shape", [(1, 3, 8), (7, 40, 9), (40, 70, 20), (32, 9, 41)])
def test_scatter_in_pieces_and_blocks(monkeypatch, banks, shape):
    """As many blocks and pieces as there may be: the bits are the same, and every entry comes once in each block."""
    weights, gradient, activation = operands(shape)
    config = tiny(operand_banks=banks)
    whole = check_scatter(config, weights, gradient).run
    monkeypatch.setattr(drains, "_PART_CYCLES", 1)
    monkeypatch.setattr(drains, "_SHORT_PART_CYCLES", 1)
    monkeypatch.setattr(scatter_blocks, "STREAM_CYCLES", 0)
    monkeypatch.setattr(scatter_blocks, "_WORTH", 0)
    cut = check_scatter(config, weights, gradient)
    loads = [fields for opcode, fields in cut.program.commands if opcode is Opcode.LOAD]
    assert shape[0] == 1 or any(fields["operand_first"] for fields in loads)
    assert cut.run.effectual_macs == whole.effectual_macs
    gated = run_scatter(device_for(config, weights, shape[2]), weights, gradient, gate=activation).accumulators
    expected = np.where(activation.astype(np.float32) == 0, np.float32(0), cut.accumulators)
    assert gated.tobytes() == expected.tobytes()


def test_a_dense_sampled_product_is_the_whole_gradient():
    weights, gradient, activation = operands((9, 14, 20))
    every = CsrMatrix.from_dense(np.ones(weights.shape), format="bf16")
    config = tiny()
    result = run_sampled(device_for(config, weights, 20), weights, gradient, activation, weight_form=WeightForm.DENSE)
    expected = run_sampled(device_for(config, every, 20), every, gradient, activation)
    assert result.accumulators.tobytes() == expected.accumulators.tobytes()
    exact = gradient.astype(np.float64) @ activation.astype(np.float64).T
    assert np.allclose(result.accumulators.reshape(9, 14), exact, rtol=1e-5, atol=1e-5)


def test_scatter_is_the_gather_of_the_transpose():
    """Rows of a transpose are columns in the order of memory, so that even the roundings are the same."""
    weights, gradient, _ = operands((40, 30, 16))
    transpose = CsrMatrix.from_dense(weights.to_dense().astype(np.float32).T, format="bf16")
    config = tiny()
    there = run_scatter(device_for(config, weights, 16), weights, gradient).accumulators
    back = gather(transpose.pointers, transpose.indices, transpose.values, gradient, format="bf16").accumulators
    assert there.tobytes() == back.tobytes()


@pytest.mark.parametrize("banks", [2, 4])
def test_gate_and_narrow(banks):
    weights, gradient, activation = operands((50, 45, 21))
    config = tiny(operand_banks=banks)
    plain = run_scatter(device_for(config, weights, 21), weights, gradient).accumulators
    gated = run_scatter(device_for(config, weights, 21), weights, gradient, gate=activation).accumulators
    narrow = run_scatter(device_for(config, weights, 21), weights, gradient, gate=activation, narrow=True).accumulators
    expected = np.where(activation.astype(np.float32) == 0, np.float32(0), plain)
    assert gated.tobytes() == expected.tobytes()
    assert narrow.tobytes() == golden_format("bf16").narrow(expected).tobytes()


@pytest.mark.parametrize("format", FORMATS)
def test_relu(format):
    weights, _, activation = operands((19, 23, 9), format=format)
    config = tiny(format)
    plain = run_gather(device_for(config, weights, 9), weights, activation).accumulators
    relu = run_gather(device_for(config, weights, 9), weights, activation, relu=True).accumulators
    assert relu.tobytes() == np.maximum(plain, plain.dtype.type(0)).tobytes()
    assert (relu >= 0).all()
    if format == "bf16":
        narrow = run_gather(device_for(config, weights, 9), weights, activation, relu=True, narrow=True)
        assert narrow.accumulators.tobytes() == golden_format("bf16").narrow(relu).tobytes()


def test_operands_of_a_pass_are_loaded_once():
    config = preset("base")
    tiling = tile_sampled(config, rows=256, inner=256, entries=6554)
    assert (tiling.groups, tiling.row_tile, tiling.inner_tile) == (1, 256, 256)
    assert tiling.groups * tiling.entry_count * config.rows >= 6554
    weights, gradient, activation = operands((32, 30, 40))
    groups = tile_sampled(tiny(), rows=32, inner=30, entries=weights.entries, columns=40, form=OperandForm.DENSE).groups
    result = run_sampled(device_for(tiny(), weights, 40), weights, gradient, activation)
    loads = [fields["rows"] for opcode, fields in result.program.commands if opcode is Opcode.LOAD]
    # The second operand in each of three column passes, and of the first one the rows of the group.
    assert loads.count(30) == 3 * groups
    assert len(loads) < 2 * 3 * groups + MOST_PIECES * tiny().rows


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "groups"),
    [(256, 1152, 1024, 1), (256, 576, 512, 2), (1024, 288, 512, 2), (256, 288, 16, 2)],
)
def test_groups_are_as_many_as_the_port_allows(rows, inner, columns, groups):
    """Drains go on beside streams where two groups have room together, and the port has time for both."""
    config = preset("base")
    tiling = tile_sampled(config, rows=rows, inner=inner, entries=29491, columns=columns)
    assert tiling.groups == groups
    assert tiling.groups * tiling.entry_count * config.rows >= 29491
    fewest = tile_sampled(config, rows=rows, inner=inner, entries=29491)
    assert fewest.groups == 1


@pytest.mark.parametrize("seed", range(4))
def test_rows_without_entries_of_a_group_are_not_loaded(seed):
    weights, gradient, activation = operands((130, 33, 17), format="int8", seed=seed)
    kept = weights.to_dense()
    kept[[0, 1, 2, 3, 4, 50, 51, 125, 126, 127, 128, 129]] = 0
    weights = CsrMatrix.from_dense(kept, format="int8")
    config = tiny("int8")
    tiling = tile_sampled(config, rows=130, inner=33, entries=weights.entries, columns=17, form=OperandForm.DENSE)
    groups = tiling.groups
    assert groups > 4
    result = check_sampled(config, weights, gradient, activation)
    loaded = sum(fields["rows"] for opcode, fields in result.program.commands if opcode is Opcode.LOAD)
    # Rows from 4 to 124 once each, but those at the borders of groups, and of chunks, which have four rows.
    passes = 2
    rows = loaded - passes * groups * 33
    assert passes * 120 <= rows <= passes * (120 + 8 * groups)


def test_errors_name_the_value():
    weights, gradient, activation = operands((6, 7, 8))
    device = device_for(tiny(), weights, 8)
    with pytest.raises(ValueError, match="the operand must have 6 rows, not 5 x 8"):
        run_scatter(device, weights, gradient[:5])
    with pytest.raises(ValueError, match="the gate must have 7 rows of 8 columns, not 7 x 3"):
        run_scatter(device, weights, gradient, gate=activation[:, :3])
    with pytest.raises(ValueError, match="the operand must have 7 rows of 8 columns, not 6 x 8"):
        run_sampled(device, weights, gradient, gradient)
    with pytest.raises(ValueError, match="two-dimensional of bfloat16, not 2-dimensional of float32"):
        run_sampled(device, weights, gradient.astype(np.float32), activation)
    single = device_for(tiny(operand_banks=1), weights, 8)
    with pytest.raises(ValueError, match="needs two operand banks, and there are 1"):
        run_sampled(single, weights, gradient, activation)


@pytest.mark.parametrize("results", [1, 5, 32, 40, 41])
def test_scatter_may_leave_out_the_last_rows(results):
    """What is wanted is there, nothing is left in the accumulators, and whole blocks behind it are passed over."""
    config, columns = tiny(), 8
    weights, gradient, _ = operands((20, 41, columns))
    device = device_for(config, weights, columns)
    session = Session(device)
    placed = session.place_weights(weights)
    source = session.place_operand(gradient)
    dtype = golden_format("bf16").accumulator_dtype
    places = [session.reserve_rows(rows=41, columns=columns, dtype=dtype) for _ in range(2)]
    program = Program()
    add_clear(program, config, rows=config.lane.accumulator_rows)
    add_steps(
        program,
        config,
        scatter_steps(config, placed, columns=columns, operand=source, result=places[0], results=results),
    )
    add_steps(program, config, scatter_steps(config, placed, columns=columns, operand=source, result=places[1]))
    program.add(Opcode.END)
    session.run(program)
    expected = scatter(
        weights.pointers, weights.indices, weights.values, gradient, inner=41, format="bf16"
    ).accumulators
    found, whole = (session.read_rows(place, rows=41, columns=columns, dtype=dtype) for place in places)
    assert found[:results].tobytes() == expected[:results].tobytes()
    assert whole.tobytes() == expected.tobytes()
    counts = block_counts(config, placed, columns=columns, wanted=results)
    first, block = cut_blocks(config, wanted=results, count=counts.last)[-1]
    assert first + block * config.rows - results < config.rows
    assert (found[first + block * config.rows :].view(np.uint32) == 0xFFFFFFFF).all()
