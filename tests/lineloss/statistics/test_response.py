"""What a call to save has brought: by hand, and how often the limits hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.statistics.response import effect


def flat(*levels: float) -> np.ndarray:
    return np.array(levels)[:, None] * np.ones(96)


def test_days_that_are_all_the_same() -> None:
    taken = np.ones(96)
    taken[60:64] = 0.25  # an hour at a quarter of the load
    told = effect(taken, flat(1, 1, 1, 1, 1), 60, 63)
    assert told is not None
    assert (told.reduced, told.low, told.high) == (3, 3, 3)
    assert told.certain
    assert told.moved == 1


def test_the_hours_before_move_the_baseline() -> None:
    # ten per cent more than usual in the hours before: the baseline is 1.1, the reduction 0.1 a slot
    taken = np.full(96, 1.1)
    taken[60:64] = 1.0
    told = effect(taken, flat(1, 1, 1, 1), 60, 63)
    assert told is not None
    assert told.moved == pytest.approx(1.1)
    assert told.reduced == pytest.approx(0.4)
    # not by more than 20 %, and not by the hour right before the event
    wild = np.full(96, 3.0)
    wild[44:56] = 1.0
    told = effect(wild, flat(1, 1, 1, 1), 60, 63)
    assert told is not None
    assert told.moved == 1
    assert effect(np.full(96, 3.0), flat(1, 1, 1, 1), 60, 63).moved == pytest.approx(1.2)  # type: ignore[union-attr]


def test_too_little_is_known() -> None:
    holed = flat(1, 1, 1, 1)
    holed[2, 5] = np.nan
    assert effect(np.ones(96), holed, 60, 63) is None
    taken = np.ones(96)
    taken[3] = np.nan
    assert effect(taken, flat(1, 1, 1, 1, 1), 60, 63) is None
    # an event at midnight has no hours before: the baseline is the mean
    told = effect(np.ones(96), flat(1, 2, 3, 2), 0, 3)
    assert told is not None
    assert told.moved == 1
    assert told.reduced == pytest.approx(4)


def test_the_limits_hold_the_truth_and_a_day_without_a_call_proves_nothing() -> None:
    random = np.random.default_rng(7)
    hour = np.arange(96) / 4
    shape = 20 * (1 + 0.5 * np.sin((hour - 8) / 24 * 2 * np.pi))
    held, proven, widths = 0, 0, []
    for _ in range(400):
        days = shape * random.normal(1, 0.08, (11, 1)) * random.gamma(400, 1 / 400, (11, 96))
        truth = 0.15 * days[0, 68:76].sum()
        quiet = effect(days[0], days[1:], 68, 75)
        called = days[0].copy()
        called[68:76] *= 0.85
        told = effect(called, days[1:], 68, 75)
        assert quiet is not None
        assert told is not None
        held += told.low <= truth <= told.high
        proven += quiet.certain
        widths.append((told.high - told.low) / 2 / truth)
    assert held >= 0.93 * 400
    assert proven <= 0.06 * 400
    # limits that say nothing would hold everything
    assert np.median(widths) < 0.6


def test_several_stretches_of_a_day_are_one_event() -> None:
    # ten per cent more than usual before the first of them; what was reduced in it must not move the baseline of the second
    taken = np.full(96, 1.1)
    taken[60:64] = 0.5
    taken[72:76] = 0.5
    told = effect(taken, flat(1, 1, 1, 1), 60, 63, more=[(72, 75)])
    assert told is not None
    assert told.moved == pytest.approx(1.1)
    assert told.reduced == pytest.approx(8 * 0.6)
    apart = effect(taken, flat(1, 1, 1, 1), 72, 75)
    assert apart is not None
    assert apart.moved < 1  # asked for by itself, the first one is in its hours before
