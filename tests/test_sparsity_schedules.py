"""Schedules: which steps, how much, and the ends of both."""

import dataclasses
import math

import pytest

from acf.sparsity.schedules import CubicSparsity, DropSchedule, UpdateSchedule


def test_updates_are_periodic_and_end():
    schedule = UpdateSchedule(period=10, end=40)
    assert [step for step in range(100) if schedule.due(step)] == [10, 20, 30]
    assert [step for step in range(100) if UpdateSchedule(period=10, start=5, end=36).due(step)] == [15, 25, 35]


def test_drop_fraction():
    cosine = DropSchedule(initial=0.3, end=1000)
    assert cosine.at(0) == pytest.approx(0.3)
    assert cosine.at(500) == pytest.approx(0.15)
    assert cosine.at(250) == pytest.approx(0.15 * (1 + math.sqrt(0.5)))
    assert cosine.at(1000) == cosine.at(5000) == 0
    fractions = [cosine.at(step) for step in range(1001)]
    assert fractions == sorted(fractions, reverse=True)
    linear = DropSchedule(initial=0.4, end=100, decay="linear")
    assert [linear.at(step) for step in (0, 25, 100, 200)] == pytest.approx([0.4, 0.3, 0, 0])
    assert DropSchedule(initial=0.4, end=100, decay="constant").at(12345) == 0.4


def test_cubic_sparsity():
    cubic = CubicSparsity(initial=0.1, final=0.9, start=100, end=500, period=100)
    assert [step for step in range(1000) if cubic.due(step)] == [100, 200, 300, 400, 500]
    for count in range(5):
        published = 0.9 + (0.1 - 0.9) * (1 - (100 * count) / (4 * 100)) ** 3
        assert cubic.at(100 + 100 * count) == pytest.approx(published)
    assert cubic.at(0) == cubic.at(100) == cubic.at(199) == pytest.approx(0.1)
    assert cubic.at(299) == cubic.at(200)
    assert cubic.at(500) == cubic.at(10**6) == 0.9
    sparsities = [cubic.at(step) for step in range(600)]
    assert sparsities == sorted(sparsities)
    assert not CubicSparsity(final=0.9, end=10, period=5).due(0), "steps count from 1"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UpdateSchedule(period=0, end=10), "period must be a positive number of steps, not 0"),
        (lambda: UpdateSchedule(period=1, end=10, start=-1), "first step must not be negative, not -1"),
        (lambda: UpdateSchedule(period=1, end=3, start=3), "end step must be after step 3, not 3"),
        (lambda: DropSchedule(initial=0, end=10), "above 0 and at most 1, not 0"),
        (lambda: DropSchedule(initial=1.1, end=10), r"above 0 and at most 1, not 1\.1"),
        (lambda: DropSchedule(end=0), "must end at a positive step, not 0"),
        (lambda: DropSchedule(end=1, decay="cubic"), "cosine, linear, constant, not 'cubic'"),
        (lambda: CubicSparsity(final=1.0, end=10, period=1), r"below 1, not 1\.0"),
        (lambda: CubicSparsity(final=0.5, initial=0.5, end=10, period=1), r"above the initial 0\.5"),
        (lambda: CubicSparsity(final=0.5, initial=-0.5, end=10, period=1), r"initial sparsity must be .* not -0\.5"),
        (lambda: CubicSparsity(final=0.5, end=10, period=4), "whole number of periods of 4 steps, not 10 steps"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        UpdateSchedule(period=1, end=2).period = 3  # pyright: ignore[reportAttributeAccessIssue]
