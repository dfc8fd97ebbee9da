"""Voltage qualification by class, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.statistics.groups import join
from lineloss.statistics.voltage import index, minutes


def single(*slots: float) -> np.ndarray:
    """One phase."""
    none = np.full(len(slots), np.nan)
    return np.stack([np.array(slots), none, none])


def test_minutes_by_limits_of_what_is_measured() -> None:
    volts = np.stack(
        [
            single(220, 236, 197, 100),  # 235.4 and 198.0 are the limits; 100 V is no quality
            np.array([[57.7, 62.0, 57.7, 53.0]] * 3),  # 53.66 … 61.74: ±7 %
            np.array([[57.7, 62.0, 57.7, 54.5]] * 3),  # the same at 110 kV: 54.815 … 60.585
            single(np.nan, np.nan, np.nan, np.nan),
            single(
                220, 220, 220, 220
            ),  # of a meter of which nobody knows what it is made for nothing is said
        ]
    )
    nominal = np.array([220.0, 57.7, 57.7, 220.0, np.nan])
    groups = join(5, [("region", np.arange(5), list("RSTUV"))])
    told = minutes(volts, nominal, np.array([False, False, True, False, False]), groups)
    # meters, monitored, above, below, out, lost
    assert told[1].tolist() == [1, 45, 15, 15, 30, 15]
    assert told[2].tolist() == [1, 60, 15, 15, 30, 0]
    assert told[3].tolist() == [1, 60, 15, 15, 30, 0]
    assert told[4].tolist() == told[5].tolist() == [0, 0, 0, 0, 0, 0]
    assert told[0].tolist() == [3, 165, 45, 45, 90, 15]


def test_the_index() -> None:
    monitored = np.array([[100, 100, 200, 1000], [100, 0, 0, 1000], [0, 100, 100, 100], [100, 0, 0, 0]])
    out = np.array([[1, 2, 2, 100], [0, 0, 0, 20], [0, 0, 0, 0], [0, 0, 0, 0]])
    told = index(monitored, out)
    assert told.rate[0].tolist() == pytest.approx([0.99, 0.98, 0.99, 0.9])
    assert told.index[0] == pytest.approx(0.5 * 0.99 + 0.5 * (0.98 + 0.99 + 0.9) / 3)
    # of the classes that are there
    assert told.index[1] == pytest.approx(0.5 * 1 + 0.5 * 0.98)
    # no bus, no index; nor without any customer
    assert np.isnan(told.index[2:]).all()
    assert np.isnan(told.rate[2, 0])
