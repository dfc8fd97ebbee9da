"""Likely limits: the quantile is exact where it can be worked out by hand, and the truth lies within as often as promised."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

from lineloss.balance import ESTIMATED, day_balance
from lineloss.bounds import CONFIDENCE, half_width
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

KWH = 10_000


def width(largest: float, deviation: float, confidence: float = CONFIDENCE) -> float:
    return float(half_width(np.array([largest]), np.array([deviation]), confidence)[0])


def test_the_two_ends_are_the_even_and_the_normal_distribution() -> None:
    assert width(1.0, 0.0, 0.95) == pytest.approx(0.95, abs=1e-6)
    assert width(0.0, 1.0, 0.95) == pytest.approx(1.959964, abs=1e-4)
    assert width(0.0, 0.0) == pytest.approx(0.0, abs=1e-9)


def test_it_is_a_quantile_of_any_shape() -> None:
    """By the probability itself, worked out in another way: the mean of the normal distribution over the even one."""
    even = (np.arange(200_000) + 0.5) / 100_000 - 1
    for largest, deviation in ((1.0, 0.05), (1.0, 0.3), (1.0, 1.0), (1.0, 20.0)):
        for confidence in (0.5, 0.95, 0.99):
            x = width(largest, deviation, confidence)
            inside = [
                np.vectorize(erf)((x + s * largest * even[::100]) / deviation / 2**0.5) for s in (1, -1)
            ]
            assert float(np.mean((inside[0] + inside[1]) / 2)) == pytest.approx(confidence, abs=1e-6)


@pytest.mark.parametrize(("largest", "deviation"), [(1.0, 0.1), (1.0, 0.5), (0.2, 1.0)])
def test_between_them_it_is_what_chance_says(largest: float, deviation: float) -> None:
    random = np.random.default_rng(1)
    drawn = np.abs(random.uniform(-largest, largest, 100_000) + random.normal(0, deviation, 100_000))
    assert (drawn <= width(largest, deviation)).mean() == pytest.approx(CONFIDENCE, abs=0.004)


def area(customers: int, main: float) -> Topology:
    n = customers + 1
    return Topology(
        meter=np.arange(n),
        point=np.arange(n),
        area=np.zeros(n, dtype=np.int64),
        role=np.array([Role.SUPPLY, *[Role.RECEIVE] * customers], dtype=np.int8),
        multiplier=np.array([20, *[1] * customers]),
        accuracy=np.array([main, *[0.01] * customers]),
        phases=np.ones(n, dtype=np.int8),
        exports=np.zeros(n, dtype=np.bool_),
        area_id=np.array([9]),
    )


@pytest.mark.parametrize("main", [0.005, 0.01])
def test_fifty_meters_within_their_classes_keep_the_truth_inside_and_the_limits_narrow(main: float) -> None:
    random = np.random.default_rng(2)
    topology = area(50, main)
    inside, widths, hard = [], [], []
    for _ in range(200):
        used = random.gamma(2, 4, 50)
        true = np.r_[used.sum() * 1.03 / 20, used]
        shown = true * (1 + random.uniform(-1, 1, 51) * topology.accuracy)
        start = random.uniform(0, 1000, 51)
        registers = (np.floor(np.stack([start, start + shown], axis=1) * 100) * 100).astype(np.int64)
        told = day_balance(topology, registers)
        loss = used.sum() * 0.03 * KWH
        assert told.loss_low[0] <= loss <= told.loss_high[0]
        inside.append(told.likely_low[0] <= loss <= told.likely_high[0])
        widths.append((told.likely_high[0] - told.likely_low[0]) / told.supplied[0])
        hard.append((told.loss_high[0] - told.loss_low[0]) / told.supplied[0])
    assert np.mean(inside) > 0.93
    assert np.median(widths) < 2 * main * 1.15
    assert np.median(hard) > 2 * main + 0.015


def week(random: np.random.Generator) -> np.ndarray:
    """Registers of an area of 20 for a day, int64[21, 97]."""
    used = random.gamma(2, 0.05, (20, 96))
    energy = np.concatenate([used.sum(axis=0, keepdims=True) * 1.03 / 20, used])
    registers = np.concatenate([np.zeros((21, 1)), energy.cumsum(axis=1)], axis=1) + 100
    return (np.floor(registers * 100) * 100).astype(np.int64)


def test_a_register_missed_at_midnight_is_estimated_from_its_own_day() -> None:
    registers = week(np.random.default_rng(3))
    whole = day_balance(area(20, 0.005), registers)
    holes = registers.copy()
    holes[3, -1] = holes[7, 0] = holes[7, 1] = MISSING
    told = day_balance(area(20, 0.005), holes)
    assert told.known[0]
    assert told.missing_in(0).tolist() == [3, 7]
    assert (told.meters_complete[0], told.meters_due[0]) == (19, 21)
    assert told.likely_low[0] <= whole.loss[0] <= told.likely_high[0]
    assert told.loss_low[0] < whole.loss_low[0]
    assert abs(told.loss[0] - whole.loss[0]) < 0.5 * KWH
    assert told.likely_high[0] - told.likely_low[0] > whole.likely_high[0] - whole.likely_low[0]


def test_too_much_that_is_estimated_is_unknown_and_never_zero() -> None:
    registers = week(np.random.default_rng(4))
    registers[:, -8:] = MISSING  # two hours of everybody, which is more than ESTIMATED of the day
    assert ESTIMATED < 2 / 24
    told = day_balance(area(20, 0.005), registers)
    assert not told.known[0]
    assert told.likely_low[0] == told.likely_high[0] == told.loss[0] == MISSING


def test_a_silent_meter_is_taken_from_its_other_days_or_unknown() -> None:
    registers = week(np.random.default_rng(5))
    registers[4] = MISSING
    assert not day_balance(area(20, 0.005), registers).known[0]
    usual = np.full((21, 4), MISSING)
    usual[4] = np.array([9.0, 9.6, 9.9, 9.3]) * KWH
    told = day_balance(area(20, 0.005), registers, usual=usual)
    assert told.known[0]
    assert told.missing_in(0).tolist() == [4]
    usual[4] = np.array([2.0, 30.0, 11.0, 1.0]) * KWH  # nobody can say what he used
    assert not day_balance(area(20, 0.005), registers, usual=usual).known[0]


def test_a_clock_that_is_off_widens_the_limits() -> None:
    registers = week(np.random.default_rng(6))
    clock = np.zeros(21)
    right = day_balance(area(20, 0.005), registers, clock=clock)
    clock[0] = 480
    wrong = day_balance(area(20, 0.005), registers, clock=clock)
    assert wrong.likely_high[0] > right.likely_high[0]
    assert wrong.loss[0] == right.loss[0]
