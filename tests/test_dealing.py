"""Columns dealt to lanes, and ``W`` to row feeders: all of it, evenly, and without a change of results."""

import numpy as np
import pytest

from acf.config import preset
from acf.golden.formats import golden_format
from acf.golden.products import sampled, scatter
from acf.runtime.column_dealing import MOST_SEGMENTS, column_costs, deal_columns, segments_of
from acf.runtime.compiler import tile_gather
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import column_passes
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights
from acf.runtime.products import run_sampled, run_scatter
from acf.runtime.result_dealing import deal_inner, deal_rows
from acf.runtime.sampled import sampled_chains


def loads(config, costs, order):
    """What each lane has in each column pass."""
    totals = {}
    for number, column_pass in enumerate(column_passes(config, len(costs))):
        for place in range(column_pass.fields["columns"]):
            tile, column = divmod(place, column_pass.fields["tile_columns"])
            lane = number, tile, column % config.lanes
            totals[lane] = totals.get(lane, 0) + costs[order[column_pass.first + place]]
    return np.array(list(totals.values()))


def uneven_weights(*, rows, inner, seed):
    """Rows and columns of very different lengths, some of them empty."""
    rng = np.random.default_rng(seed)
    densities = rng.beta(0.5, 2, (rows, 1)) * rng.beta(0.5, 2, (1, inner))
    densities[rng.integers(rows)] = densities[:, rng.integers(inner)] = 0
    return CsrMatrix.from_dense((rng.random((rows, inner)) < densities).astype(np.float32), format="bf16")


@pytest.mark.parametrize("columns", [0, 1, 5, 33, 128, 500, 1024])
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_every_column_has_a_place(name, columns):
    costs = np.random.default_rng(columns).random((columns, 3))
    order = deal_columns(preset(name), costs)
    assert sorted(order.tolist()) == list(range(columns))


@pytest.mark.parametrize("seed", range(3))
def test_lanes_get_about_as_much(seed):
    """Densities of a beta distribution around a half, as wide as they can be: 0 or 1 almost."""
    config = preset("base")
    for a in (0.3, 2.0, 20.0):
        costs = np.random.default_rng(seed).beta(a, a, (512, 1))
        dealt = loads(config, costs, deal_columns(config, costs))
        in_order = loads(config, costs, np.arange(512))
        assert dealt.max() <= 1.05 * dealt.mean()
        assert dealt.max() < in_order.max()


def test_equal_columns_are_dealt_evenly():
    config = preset("base")
    totals = loads(config, np.ones((300, 1)), deal_columns(config, np.ones((300, 1))))
    assert totals.max() <= config.lane.slots


@pytest.mark.parametrize(("columns", "most"), [(300, 1), (1024, 0.1), (1500, 0.4)])
def test_lanes_are_even_in_every_segment(columns, most):
    """What a lane has too much in one segment it cannot make good in another."""
    config = preset("base")
    costs = np.random.default_rng(columns).binomial(200, 0.5, (columns, 4)).astype(float)
    dealt = loads(config, costs, deal_columns(config, costs))
    in_order = loads(config, costs, np.arange(columns))
    assert (dealt.std(axis=0) < most * in_order.std(axis=0)).all()


def test_costs_are_products():
    config = preset("tiny")
    weights = uneven_weights(rows=12, inner=20, seed=1)
    first, second = (random_operand(inner=n, columns=9, density=0.4, seed=n, format="bf16") for n in (12, 20))
    kept = first.astype(np.float32) != 0, second.astype(np.float32) != 0
    segments = np.random.default_rng(1).integers(3, size=weights.entries)
    one, two = np.zeros((9, 3)), np.zeros((9, 3))
    for segment, row, column in zip(segments, weights.row_of_entry, weights.indices, strict=True):
        one[:, segment] += kept[1][column]
        two[:, segment] += kept[0][row] & kept[1][column]
    assert column_costs(config, segments, (weights.indices, second)).tolist() == one.tolist()
    both = column_costs(config, segments, (weights.row_of_entry, first), (weights.indices, second))
    assert both.tolist() == two.tolist()
    nothing = np.zeros(0, dtype=np.int64)
    assert column_costs(config, nothing, (nothing, second)).tolist() == [[0]] * 9


def test_segments_are_of_one_length():
    assert segments_of(0).tolist() == []
    assert segments_of(3).tolist() == [0, 1, 2]
    assert set(np.bincount(segments_of(1000))) == {31, 32}
    assert segments_of(1000).max() == MOST_SEGMENTS - 1


@pytest.mark.parametrize("columns", [1, 7, 41])
def test_results_stand_where_they_belong(columns):
    config = preset("tiny")
    weights = random_weights(rows=19, inner=30, density=0.3, seed=1, format="bf16")
    activation = random_operand(inner=30, columns=columns, density=0.5, seed=1, format="bf16")
    gradient = random_operand(inner=19, columns=columns, density=0.3, seed=2, format="bf16")
    csr = weights.pointers, weights.indices, weights.values

    def device():
        return GoldenDevice(config, memory_bytes=1 << 18)

    found = run_gather(device(), weights, activation, deal=True)
    expected = found.golden(weights, activation)
    assert found.accumulators.tobytes() == expected.accumulators.tobytes()
    found = run_scatter(device(), weights, gradient, gate=activation, deal=True)
    expected = scatter(*csr, gradient, inner=30, format="bf16").accumulators
    expected = np.where(activation.astype(np.float32) == 0, np.float32(0), expected)
    assert found.accumulators.tobytes() == expected.tobytes()
    found = run_sampled(device(), weights, gradient, activation, deal=True)
    chains = sampled_chains(config, columns, order=found.order)
    assert sorted(np.concatenate(chains).tolist()) == list(range(columns))
    expected = sampled(weights.pointers, weights.indices, gradient, activation, chains=chains, format="bf16")
    assert found.accumulators.tobytes() == expected.accumulators.tobytes()
    assert columns == 1 or found.order.tolist() != list(range(columns))


@pytest.mark.parametrize(("rows", "inner"), [(0, 5), (1, 0), (5, 1), (67, 40), (300, 130), (2100, 20)])
def test_every_row_and_inner_index_has_a_place(rows, inner):
    config = preset("base")
    weights = random_weights(rows=rows, inner=inner, density=0.2, seed=1, format="bf16")
    activation = random_operand(inner=inner, columns=3, density=0.5, seed=1, format="bf16")
    gradient = random_operand(inner=rows, columns=3, density=0.5, seed=2, format="bf16")
    assert sorted(deal_rows(config, weights, activation).tolist()) == list(range(rows))
    assert sorted(deal_inner(config, weights, gradient).tolist()) == list(range(inner))


@pytest.mark.parametrize("seed", range(3))
def test_row_feeders_get_about_as_much(seed):
    """In all inner tiles together, and in each of them, where rows in turn are far apart."""
    config, rows, inner = preset("base"), 256, 1152
    weights = uneven_weights(rows=rows, inner=inner, seed=seed)
    activation = np.ones((inner, 2), dtype=weights.values.dtype)
    inner_tile = tile_gather(config, rows=rows, inner=inner, columns=2).inner_tile

    def excess(order):
        dealt = weights.take_rows(order).to_dense().astype(np.float32) != 0
        shares = np.array([dealt[feeder :: config.rows].sum(axis=0) for feeder in range(config.rows)])
        tiles = np.add.reduceat(shares, np.arange(0, inner, inner_tile), axis=1)
        return shares.sum(axis=1).max() / shares.sum(axis=1).mean(), (tiles.max(axis=0) / tiles.mean(axis=0)).max()

    in_turn, dealt = excess(np.arange(rows)), excess(deal_rows(config, weights, activation))
    assert dealt[0] < 1.002 < in_turn[0]
    assert dealt[1] < 1.05 < in_turn[1]


@pytest.mark.parametrize("seed", range(3))
def test_ranges_of_inner_indices_cost_about_as_much(seed):
    config, rows, inner = preset("base"), 256, 1152
    weights = uneven_weights(rows=rows, inner=inner, seed=seed)
    gradient = random_operand(inner=rows, columns=64, density=0.5, seed=seed, format="bf16")
    costs = np.count_nonzero(gradient.astype(np.float32), axis=1) @ (weights.to_dense().astype(np.float32) != 0)
    order = deal_inner(config, weights, gradient)
    for ranges in (4, 8, 12, 16):
        shares = costs[order].reshape(ranges, -1).sum(axis=1)
        assert np.abs(shares - shares.mean()).max() <= costs.max()
        assert shares.max() / shares.mean() < costs.reshape(ranges, -1).sum(axis=1).max() / shares.mean()


def test_rows_and_columns_of_weights_are_taken():
    """Duplicates keep their order, which is that of their sum."""
    values = golden_format("bf16").dtype.type
    weights = CsrMatrix(
        (3, 4),
        np.array([0, 5, 5, 8]),
        np.array([2, 0, 2, 3, 0, 1, 1, 0]),
        np.arange(1, 9).astype(values),
        "bf16",
    )
    rows = weights.take_rows(np.array([2, 0, 1]))
    assert rows.pointers.tolist() == [0, 3, 8, 8]
    assert rows.indices.tolist() == [1, 1, 0, 2, 0, 2, 3, 0]
    assert rows.values.tolist() == weights.values[[5, 6, 7, 0, 1, 2, 3, 4]].tolist()
    columns = weights.take_columns(np.array([3, 1, 0, 2]))
    assert columns.pointers.tolist() == weights.pointers.tolist()
    assert columns.indices.tolist() == [0, 2, 2, 3, 3, 1, 1, 2]
    assert columns.values.tolist() == weights.values[[3, 1, 4, 0, 2, 5, 6, 7]].tolist()
