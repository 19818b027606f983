"""Streams that remember where in each row their inner range lies: which ones, and that no sum notices."""

import dataclasses

import pytest

from acf.config import preset
from acf.isa import FeederCounter, IndexSize, Mode, Ranges
from acf.runtime.compiler import gather_steps
from acf.runtime.golden_device import GoldenDevice
from acf.runtime.layout import Operand, Weights
from acf.runtime.matrices import random_weights
from acf.runtime.measure import PRODUCTS, measure_product, random_operands
from acf.runtime.ranges import beats_saved, remember_ranges

BASE = preset("base")
OPERAND = Operand(address=0, stride=1 << 12)


def weights(rows, inner, *, density=0.5, **fields):
    entries = round(rows * inner * density)
    return Weights(
        rows=rows, inner=inner, entries=entries, pointers=0, indices=0, index_size=IndexSize.UINT16, **fields
    )


def streams(layer, columns, *, config=BASE):
    steps = gather_steps(config, layer, columns=columns, operand=OPERAND, result=OPERAND)
    return [step.stream for step in steps if step.stream is not None]


def test_each_range_is_recorded_once_and_used_by_the_other_passes():
    found = streams(weights(256, 1024), columns=512)
    by_range = {}
    for stream in found:
        by_range.setdefault((stream["inner_begin"], stream["inner_count"]), []).append(stream)
    whole = {key: these for key, these in by_range.items() if len(these) > 1}
    assert len(whole) == 4, "tiles of all passes, but for the pieces of the first one"
    places = set()
    for first, *others in whole.values():
        assert first["ranges"] == Ranges.RECORD
        assert all(other["ranges"] == Ranges.USE for other in others)
        # Parts of the last drain have the places of their own rows.
        assert all(
            other["range_first"] - first["range_first"] == (other["row_begin"] - first["row_begin"]) // BASE.rows
            for other in others
        )
        mine = set(range(first["range_first"], first["range_first"] + 64))
        assert not mine & places
        places |= mine
    assert max(places) < BASE.feeder.ranges


@pytest.mark.parametrize(
    ("layer", "columns"),
    [
        (weights(64, 1024), 128),  # nothing comes again
        (weights(64, 256), 512),  # nothing is passed over
        (weights(64, 1024, density=0.002), 512),  # a row is a small part of a beat
        (weights(64, 70000), 256),  # places of a row could be mistaken
    ],
)
def test_nothing_is_remembered_where_it_would_not_pay(layer, columns):
    assert all("ranges" not in stream for stream in streams(layer, columns))


def test_a_full_table_takes_what_fits():
    config = dataclasses.replace(BASE, feeder=dataclasses.replace(BASE.feeder, ranges=128))
    found = streams(weights(256, 1024), columns=512, config=config)
    recorded = [stream for stream in found if stream.get("ranges") == Ranges.RECORD]
    assert [stream["range_first"] for stream in recorded] == [0, 64]
    assert all(stream["range_first"] + 64 <= 128 for stream in recorded)


def test_saved_beats():
    layer = weights(100, 1600, density=0.1)  # ten beats of indices a row
    assert beats_saved(BASE, layer, mode=Mode.GATHER, part=0.5) == pytest.approx(1 - 6 / 11)
    assert beats_saved(BASE, layer, mode=Mode.SCATTER, part=0.5) == pytest.approx(1 - 6 / 10)
    assert beats_saved(BASE, weights(0, 0), mode=Mode.GATHER, part=0.5) == 0
    assert beats_saved(BASE, weights(100, 16), mode=Mode.SCATTER, part=0.5) < 0


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("rows", [1, 50])
def test_bits_are_the_same_and_less_is_passed_over(monkeypatch, product, rows):
    config = dataclasses.replace(preset("tiny"), feeder=dataclasses.replace(preset("tiny").feeder, ranges=1024))
    layer = random_weights(rows=rows, inner=200, density=0.5, seed=rows, format="bf16")
    operands = random_operands(product, layer, columns=40, density=0.5, seed=rows)
    passed_over = []
    for remember in (remember_ranges, lambda *_: None):
        for module in ("compiler", "scatter", "sampled"):
            monkeypatch.setattr(f"acf.runtime.{module}.remember_ranges", remember)
        device = GoldenDevice(config, memory_bytes=1 << 22)
        measured = measure_product(product, device, layer, operands, without_skipping=False)
        assert measured.bit_exact
        passed_over.append(int(measured.sparse.run.row_feeders[FeederCounter.FILTERED].sum()))
    assert passed_over[0] < 0.4 * passed_over[1], f"{passed_over} entries"
