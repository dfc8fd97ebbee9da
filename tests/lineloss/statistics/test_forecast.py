"""The forecast of the next day: by hand, and against the week before on loads with weather."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.statistics.forecast import error, forecast


def days(*levels: float) -> np.ndarray:
    """float64[1, day, 4]: the same shape, at these levels."""
    return np.array(levels)[None, :, None] * np.array([1.0, 2.0, 4.0, 1.0])


def test_the_median_of_like_days_at_the_level_of_the_last_ones() -> None:
    # all days are alike; the newest five are 2 2 3 2 2: median 2, whatever the third was
    history = days(9, 9, 2, 2, 3, 2, 2)
    kind = np.zeros(7, dtype=np.int64)
    told = forecast(history, kind == 0, kind)
    # the last three days took 3 + 2 + 2; the medians of the five days before each would have said 5.5, 3, 2 (in units of 8 kWh)
    assert told.level[0] == pytest.approx(max(7 / (5.5 + 3 + 2), 0.7))
    assert told.energy[0].tolist() == pytest.approx((np.array([2.0, 4, 8, 2]) * told.level[0]).tolist())
    assert told.days.tolist() == [5]
    # the same weekday of the week before is the first of the seven
    assert told.naive[0].tolist() == [9, 18, 36, 9]
    assert forecast(history, kind == 0, kind, ahead=2).naive[0].tolist() == [9, 18, 36, 9]
    assert forecast(days(1, 2, 3, 4, 5, 6, 7), kind == 0, kind, ahead=2).naive[0].tolist() == [2, 4, 8, 2]


def test_days_of_rest_are_not_asked_about_working_days() -> None:
    kind = np.array([0, 0, 0, 1, 1, 0, 0])
    told = forecast(days(2, 2, 2, 5, 5, 2, 2), kind == 1, kind)
    assert told.energy[0].tolist() == [5, 10, 20, 5]
    assert told.days.tolist() == [2]
    assert told.level.tolist() == [1]


def test_a_day_with_a_hole_is_no_day() -> None:
    history = days(2, 2, 2, 2, 2, 2, 9)
    history[0, 6, 3] = np.nan
    kind = np.zeros(7, dtype=np.int64)
    told = forecast(history, kind == 0, kind)
    assert told.energy[0].tolist() == [2, 4, 8, 2]
    history[0, 0, 1] = np.nan
    assert np.isnan(forecast(history, kind == 0, kind).naive).all()
    # of who is not known at all nothing is said
    none = forecast(np.full((1, 7, 4), np.nan), kind == 0, kind)
    assert np.isnan(none.energy).all()
    assert none.days.tolist() == [0]


def test_errors() -> None:
    told = np.array([[1.0, 2, 3], [1, 1, 1], [1, 1, 1]])
    taken = np.array([[2.0, 2, 2], [0, 0, 0], [1, np.nan, 1]])
    assert error(told, taken)[0] == pytest.approx(2 / 6)
    assert np.isnan(error(told, taken)[1:]).all()


def test_it_is_better_than_the_week_before_where_weather_wanders() -> None:
    """Two hundred areas, ten weeks: a daily shape, quieter weekends, a level that wanders from day to day, noise."""
    random = np.random.default_rng(20260310)
    areas, span = 200, 70
    hour = np.arange(96) / 4
    shape = 1 + 0.6 * np.exp(-((hour - 20) ** 2) / 8) + 0.3 * np.exp(-((hour - 8) ** 2) / 6)
    rest = np.arange(span) % 7 >= 5
    level = np.exp(np.cumsum(random.normal(0, 0.03, (areas, span)), axis=1)) * np.where(rest, 0.8, 1.0)
    load = (
        level[:, :, None]
        * shape
        * random.uniform(5, 50, (areas, 1, 1))
        * random.gamma(100, 0.01, (areas, span, 96))
    )
    ours, naive = [], []
    for day in range(35, span - 2):
        kind = rest[day - 27 : day + 1].astype(np.int64)
        told = forecast(load[:, day - 27 : day + 1], kind == int(rest[day + 2]), kind, ahead=2)
        ours.append(error(told.energy, load[:, day + 2]))
        naive.append(error(told.naive, load[:, day + 2]))
    assert np.mean(ours) < 0.9 * np.mean(naive)
    assert np.mean(ours) < 0.12
