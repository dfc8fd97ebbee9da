"""A register at an instant at which nobody read it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lineloss.between import between
from protocols.reading import MISSING

TIMES = np.datetime64("2026-03-10T22:00", "us") + np.arange(5) * np.timedelta64(1, "h")
MIDNIGHT = TIMES[2]


def test_it_lies_between_its_neighbours_in_proportion_to_time() -> None:
    # 100 at 22:00, 160 at 01:00: 2 of 3 hours are over at midnight
    told = between(np.array([[100, MISSING, MISSING, 160, 500]]), TIMES, MIDNIGHT)
    assert (told.value[0], told.low[0], told.high[0]) == (140, 100, 160)


def test_a_reading_of_that_very_instant_stands() -> None:
    told = between(np.array([[100, MISSING, 111, 160, MISSING]]), TIMES, MIDNIGHT)
    assert (told.value[0], told.low[0], told.high[0]) == (111, 111, 111)


def test_it_is_unknown_without_both_neighbours_and_when_the_register_fell() -> None:
    rows = [
        [100, 120, MISSING, MISSING, MISSING],
        [MISSING, MISSING, MISSING, 160, 170],
        [MISSING] * 5,
        [500, MISSING, MISSING, 3, 4],
    ]
    told = between(np.array(rows), TIMES, MIDNIGHT)
    assert (told.value == MISSING).all()
    assert (told.low == MISSING).all()


@given(
    st.lists(st.integers(0, 1000), min_size=5, max_size=5), st.lists(st.booleans(), min_size=5, max_size=5)
)
def test_limits_hold_whatever_the_meter_did(steps: list[int], read: list[bool]) -> None:
    truth = np.cumsum(steps)
    told = between(np.where(read, truth, MISSING)[None, :], TIMES, MIDNIGHT)
    if told.value[0] != MISSING:
        assert told.low[0] <= truth[2] <= told.high[0]
        assert told.low[0] <= told.value[0] <= told.high[0]
