"""Columns dealt to lanes: all of them, evenly, and without a change of results."""

import numpy as np
import pytest

from acf.config import preset
from acf.golden.products import sampled, scatter
from acf.runtime.backward import sampled_chains
from acf.runtime.dealing import column_weights, deal_columns
from acf.runtime.gather import run_gather
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import column_passes
from acf.runtime.matrices import random_operand, random_weights
from acf.runtime.products import run_sampled, run_scatter


def loads(config, weights, order):
    """What each lane has in each column pass."""
    totals = {}
    for number, column_pass in enumerate(column_passes(config, weights.size)):
        for place in range(column_pass.fields["columns"]):
            tile, column = divmod(place, column_pass.fields["tile_columns"])
            lane = number, tile, column % config.lanes
            totals[lane] = totals.get(lane, 0) + weights[order[column_pass.first + place]]
    return np.array(list(totals.values()))


@pytest.mark.parametrize("columns", [0, 1, 5, 33, 128, 500, 1024])
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_every_column_has_a_place(name, columns):
    weights = np.random.default_rng(columns).random(columns)
    order = deal_columns(preset(name), weights)
    assert sorted(order.tolist()) == list(range(columns))


@pytest.mark.parametrize("seed", range(3))
def test_lanes_get_about_as_much(seed):
    """Densities of a beta distribution around a half, as wide as they can be: 0 or 1 almost."""
    config = preset("base")
    for a in (0.3, 2.0, 20.0):
        weights = np.random.default_rng(seed).beta(a, a, 512)
        dealt = loads(config, weights, deal_columns(config, weights))
        in_order = loads(config, weights, np.arange(512))
        assert dealt.max() <= 1.05 * dealt.mean()
        assert dealt.max() < in_order.max()


def test_equal_columns_are_dealt_evenly():
    config = preset("base")
    totals = loads(config, np.ones(300), deal_columns(config, np.ones(300)))
    assert totals.max() <= config.lane.slots


def test_weights_are_densities():
    config = preset("tiny")
    first, second = (random_operand(inner=20, columns=9, density=0.4, seed=n, format="bf16") for n in (1, 2))
    densities = [np.count_nonzero(part.astype(np.float32), axis=0) / 20 for part in (first, second)]
    assert column_weights(config, first).tolist() == densities[0].tolist()
    assert np.allclose(column_weights(config, first, second), densities[0] * densities[1])
    assert column_weights(config, first[:0]).tolist() == [0] * 9


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
