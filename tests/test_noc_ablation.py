"""Networks that adapt to sparse layers: the packets of a layer, the controller, and what is measured of it."""

import dataclasses
import itertools
import json
import types
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from acf.cli import main
from acf.hw.blocks import check_groups
from acf.isa import TrafficClass
from acf.runtime.multicast_groups import logical_groups, logical_shapes, number_groups
from acf.runtime.network_control import FEW_STALLS, NetworkChoice, NetworkController
from acf.runtime.networks import open_network
from acf.sim import noc_ablation
from acf.sim.layer_traffic import PRODUCTS, layer_packets, least_cycles
from acf.sim.noc_ablation import EXPERIMENTS, Ablation, ablate, ablation_network, by_layer, summary
from acf.sparsity.masks import skewed
from acf.sparsity.structure import Structure

TILES = (2, 2)
NETWORK = ablation_network(TILES)
MASK = skewed((12, 20), 60, 1.0, np.random.default_rng(1))
SMALL = Ablation(tiles=TILES, columns=12, tile_columns=4, steps=4)


def traffic(mask, product, shape, *, tiles=TILES, columns=12, tile_columns=4):
    network = ablation_network(tiles)
    kinds = logical_groups(tiles[0], tiles[1], shape)
    entries, operands = number_groups(kinds, network=network, channel_map="apart")
    packets = layer_packets(
        mask.pointers, mask.indices, mask.shape[1], product=product, columns=columns, tile_columns=tile_columns,
        network=network, entries=entries, operands=operands,
    )  # fmt: skip
    return network, entries, operands, packets


def golden_flits(mask, product, shape, columns, tile_columns):
    """By logical row and column, what comes to its tile: entries, flits of operands; and flits of results it sends."""
    dense = mask.to_bool()
    rows, columns_of_tiles = shape
    sums = {"forward": dense, "input gradient": dense.T, "weight gradient": None}[product]
    passes = -(-columns // (columns_of_tiles * tile_columns))
    weights = np.ones(mask.entries, dtype=int) if sums is None else sums.sum(axis=1)
    of_row = [int(weights[r::rows].sum()) for r in range(rows)]
    loaded = {"forward": dense.shape[1], "input gradient": dense.shape[0], "weight gradient": sum(dense.shape)}[product]
    entries, operands, results = (np.zeros(shape, dtype=int) for _ in range(3))
    for r, c in np.ndindex(shape):
        entries[r, c] = of_row[r] * passes
        for number in range(passes):
            left = columns - (number * columns_of_tiles + c) * tile_columns
            width = min(tile_columns, max(0, left))
            if width:
                operands[r, c] += loaded * (1 + -(-width // 4))
            if width and sums is not None:
                results[r, c] += len(range(r, len(sums), rows)) * (1 + -(-width // 2))
        if sums is None:
            results[r, c] = -(-of_row[r] // 8) * 5
    return {TrafficClass.ENTRIES: entries, TrafficClass.OPERANDS: operands, TrafficClass.RESULTS: results}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(("tiles", "columns"), [((2, 2), 12), ((1, 4), 17), ((4, 4), 64), ((4, 2), 3)])
def test_packets_of_a_layer(product, tiles, columns):
    """Every tile gets what its logical row and column need, and its results end at a feeder or a neighbour."""
    for shape in logical_shapes(*tiles):
        network, entries, operands, packets = traffic(MASK, product, shape, tiles=tiles, columns=columns)
        expected = golden_flits(MASK, product, shape, columns, 4)
        got = {kind: np.zeros(shape, dtype=int) for kind in expected}
        places = {(y + 1, x + 1): divmod(y * tiles[1] + x, shape[1]) for y, x in np.ndindex(tiles)}
        groups = entries | operands
        for source, to, flits, kind in packets.tolist():
            node = divmod(source, network.width)
            if kind == TrafficClass.RESULTS:
                got[kind][places[node]] += flits
                end = divmod(to, network.width)
                assert (end[1] == 0 and end[0] > 0) or (product == "weight gradient" and end in places)
                continue
            group = groups[to - network.nodes]
            assert group.source == node
            assert (node[1] == 0) == (kind == TrafficClass.ENTRIES)
            for member in group.members:
                got[kind][places[member]] += flits
        for kind, numbers in expected.items():
            assert got[kind].tolist() == numbers.tolist(), (shape, kind)


def test_feeders_share_a_logical_row():
    """Drawn as one row, the entries of an uneven layer are even on the feeders, as rows are dealt among them."""
    even = Structure.dense((8, 16))
    _, _, _, packets = traffic(even, "forward", (1, 4))
    sent = np.bincount(packets[packets[:, 3] == TrafficClass.ENTRIES, 0])
    assert sent[sent > 0].tolist() == [64, 64]


def test_least_cycles():
    """A broadcast of one flit to four tiles, and five flits of a tile to a feeder."""
    entries, _ = logical_groups(*TILES, (1, 4))
    groups = dict(enumerate(entries))
    packets = np.array([[3, NETWORK.nodes, 1, 1]] * 3 + [[4, 3, 5, 3]], dtype=np.uint32)
    assert least_cycles(packets[:3], groups, NETWORK) == 3
    assert least_cycles(packets, groups, NETWORK) == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"product": "backward"}, "not 'backward'"),
        ({"columns": 0}, "columns of the operand must be positive, not 0"),
        ({"tile_columns": 0}, "columns of a tile must be positive, not 0"),
        ({"tile_columns": 16, "columns": 64}, "5 flits of operands are more than .* 4"),
    ],
)
def test_wrong_layers_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        traffic(MASK, **{"product": "forward", "shape": TILES, **changed})


START = NetworkChoice(entries="xy", operands="xy", results="xy", channel_map="apart", shape=(2, 2))
EVERY = {"entries": ("xy", "yx"), "results": ("xy", "west-first"), "channel_map": ("apart", "striped")}
MUCH = dict.fromkeys((TrafficClass.ENTRIES, TrafficClass.OPERANDS, TrafficClass.RESULTS), 1.0)


def learn(controller, cycles, *, runs=12, stalls=MUCH, least=lambda choice: 0):
    """What it chose in each run, where a choice takes so many cycles."""
    chosen = []
    for _ in range(runs):
        chosen.append(controller.choose("layer", least))
        controller.observe("layer", chosen[-1], cycles=cycles(chosen[-1]), stalls=stalls)
    return chosen


def test_controller_keeps_what_is_faster():
    def cycles(choice):
        return 100 - 10 * (choice.channel_map == "striped") + 5 * (choice.results == "west-first")

    chosen = learn(NetworkController(START, EVERY), cycles)
    assert chosen[0] == START
    assert cycles(chosen[-1]) == min(cycles(choice) for choice in chosen) == 90
    assert chosen[-2] == chosen[-1]
    assert all(choice.is_allowed for choice in chosen)
    tried = list(dict.fromkeys(chosen))
    assert len([choice for choice in chosen if choice != chosen[-1]]) == len(tried) - 1, "nothing worse twice"


def test_controller_with_nothing_to_gain():
    assert set(learn(NetworkController(START, EVERY), lambda choice: 100, stalls=dict.fromkeys(MUCH, 0.0))) == {START}
    few = dict.fromkeys(MUCH, FEW_STALLS / 2)
    assert set(learn(NetworkController(START, EVERY), lambda choice: 100, stalls=few)) == {START}
    assert set(learn(NetworkController(START, {}), lambda choice: 100)) == {START}
    bound = learn(NetworkController(START, EVERY), lambda choice: 100, least=lambda choice: 100)
    assert set(bound) == {START}, "what cannot be better is not tried"
    assert learn(NetworkController(START, EVERY), lambda choice: 100)[-1] == START, "what is as good is not kept"


def test_controller_begins_with_what_stalls():
    only = {**dict.fromkeys(MUCH, 0.0), TrafficClass.RESULTS: 1.0}
    chosen = learn(NetworkController(START, EVERY), lambda choice: 100, stalls=only)
    assert {choice.results for choice in chosen} == {"xy", "west-first"}
    assert {(choice.entries, choice.channel_map) for choice in chosen} == {("xy", "apart")}


def test_layers_are_apart():
    controller = NetworkController(START, EVERY)
    learn(controller, lambda choice: 100 - 10 * (choice.entries == "yx"))
    assert controller.choose("layer").entries == "yx"
    assert controller.choose("another") == START


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="not 'speed'"):
        NetworkController(START, {"speed": (1,)})
    with pytest.raises(ValueError, match="entries must begin with one of yx"):
        NetworkController(START, {"entries": ("yx",)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tiles": (5, 4)}, "rows of tiles must be from 1 to 4, not 5"),
        ({"columns": 0}, "columns of the operands must be from 1 to 4096, not 0"),
        ({"tile_columns": 13}, "columns of a tile must be from 1 to 12, not 13"),
        ({"steps": 0}, "steps must be from 1 to 1000, not 0"),
        ({"steps": 4, "every": 5}, "steps between choices must be from 1 to all 4, not 5"),
    ],
)
def test_wrong_ablations_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        Ablation(**changed)


class LearnableLayer:
    """A layer in which every choice takes fewer cycles than those before it."""

    def __init__(self, *traffic):
        self.seen = {}

    def least_cycles(self, choice):
        return 0

    def run(self, harness, choice, check):
        cycles = 1000 - self.seen.setdefault(choice, len(self.seen))
        stalls = {"entries": 1.0, "operands": 1.0, "results": 1.0}
        return {"choice": dataclasses.asdict(choice), "cycles": cycles, "stalls": stalls}


@pytest.mark.parametrize("every", [1, 3])
def test_choices_every_so_many_steps(monkeypatch, every):
    monkeypatch.setattr(noc_ablation, "_Layer", LearnableLayer)
    wanted = Ablation(tiles=(2, 2), steps=9, every=every)
    nothing: Any = types.SimpleNamespace(network=NETWORK)
    found = ablate(nothing, {"layer": MASK}, wanted, check=check_groups)
    for report in found:
        cycles = report["cycles_of_steps"]
        changes = [step for step in range(1, 9) if cycles[step] != cycles[step - 1]]
        if report["experiment"] == "adaptive":
            assert changes == [step for step in range(1, 9) if step % every == 0]
        assert all(step % every == 0 for step in changes)


@pytest.fixture(scope="module")
def reports():
    with open_network(NETWORK, ordered=False, quiet=True) as harness:
        return ablate(harness, {"layer": MASK}, SMALL, check=check_groups)


def test_ablation(reports):
    """Every experiment begins with the fixed choice and changes only what it may; no run beats its bound."""
    assert {(one["experiment"], one["product"]) for one in reports} == set(itertools.product(EXPERIMENTS, PRODUCTS))
    start = vars(SMALL.start)
    for report in reports:
        cycles = report["cycles_of_steps"]
        assert len(cycles) == SMALL.steps
        assert cycles[-1] == report["cycles"]
        fixed = next(
            one for one in reports if one["product"] == report["product"] and not EXPERIMENTS[one["experiment"]]
        )
        assert cycles[0] == fixed["cycles"]
        assert fixed["choices_tried"] == 1
        changed = {name for name, value in report["choice"].items() if value != start[name]}
        assert changed <= set(EXPERIMENTS[report["experiment"]])
        assert report["cycles"] == max(report["finished"].values())
        assert 0 < report["latency_mean"] <= report["latency_p99"]
        _, entries, operands, packets = traffic(MASK, report["product"], report["choice"]["shape"])
        assert report["packets"] == len(packets)
        assert report["cycles"] > least_cycles(packets, entries | operands, NETWORK)
    assert max(report["choices_tried"] for report in reports) > 2, "the controllers have tried something"


def test_summary(reports):
    found = summary(reports)
    assert list(found) == list(EXPERIMENTS)
    assert set(found["fixed"].values()) == {1.0}
    own = [report for report in reports if report["experiment"] == "shape"]
    fixed = [report for report in reports if report["experiment"] == "fixed"]
    cycles = [sum(report["cycles"] for report in part) for part in (fixed, own)]
    assert found["shape"]["last_step"] == cycles[0] / cycles[1]
    assert found["shape"]["least"] <= found["shape"]["last_step"] <= found["shape"]["most"]


def test_sums_by_layer(reports):
    found = by_layer(reports)
    for experiment, layers in found.items():
        own = [report for report in reports if report["experiment"] == experiment]
        assert list(layers) == ["layer"]
        sums = layers["layer"]
        assert sums["cycles"] == {report["product"]: report["cycles"] for report in own}
        assert sums["cycles_of_steps"][-1] == sum(sums["cycles"].values())
        assert sum(sums["chosen"].values()) == len(own)


def test_command_line(capsys, tmp_path):
    """The same from a file, as a table and as JSON."""
    rows, columns = np.nonzero(MASK.to_bool())
    path = tmp_path / "layer.npz"
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix((np.ones(rows.size), (rows, columns)), shape=MASK.shape))
    options = ("--tiles", "2x2", "--cols", "12", "--tile-cols", "4", "--steps", "2", "--matrix", str(path))
    assert main.run(("noc", "ablate", *options, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["config"] == NETWORK.digest
    assert report["layers"]["1"]["0: layer.npz"] == {"shape": [12, 20], "entries": 60}
    assert len(report["results"]) == len(EXPERIMENTS) * len(PRODUCTS)
    assert main.run(("noc", "ablate", *options, "--brief", "--json")) == 0
    brief = json.loads(capsys.readouterr().out)
    assert {**report, "results": None, "command": None} == {**brief, "results": None, "command": None}
    assert "results" not in brief
    assert main.run(("noc", "ablate", *options)) == 0
    assert "fixed: 1.000 of the fixed network's speed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--tiles", "4"), "'4'"),
        (("--tiles", "5x1"), "not 5"),
        (("--seeds", "0"), "not 0"),
        (("--shapes", "8x8,8"), "'8'"),
        (("--skew", "-1"), "not -1"),
        (("--matrix", "missing.smtx"), "there is no such file"),
    ],
)
def test_command_line_refuses(capsys, arguments, named):
    assert main.run(("noc", "ablate", *arguments)) == 2
    shown = capsys.readouterr()
    assert named in shown.err
    assert len(shown.err.splitlines()) == 1
