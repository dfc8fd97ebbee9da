"""The rate of a clock from its offsets, and how much nonsense it bears."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend import drift


@given(st.floats(-60, 60), st.floats(-300, 300), st.integers(6, 60), st.integers(0, 2**32 - 1))
def test_whole_seconds_and_a_quarter_of_nonsense_leave_the_rate(
    rate: float, begin: float, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    days = np.sort(np.arange(n) + rng.uniform(-0.1, 0.1, n))
    ahead = np.floor(begin + rate * days)
    spoilt = rng.choice(n, n // 6, replace=False)
    ahead[spoilt] += rng.uniform(-5000, 5000, len(spoilt))
    found = drift.per_day(days, ahead)
    assert found is not None
    assert found == pytest.approx(rate, abs=1.5 + 0.05 * abs(rate)) or n < 12


def test_little_is_nothing() -> None:
    three = np.array([0.0, 1.0, 2.0])
    assert drift.per_day(three, three) is None
    close = np.linspace(0, 1.9, 10)
    assert drift.per_day(close, close) is None
    assert drift.per_day(np.linspace(0, 2.0, 10), np.full(10, 7.0)) == 0.0
