"""What must be collected: the points of a local day, and whose they are."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.plans import CURVE, DAY, MONTH, PLANS, due, expected, locate, points
from tests.support.house import MADRID, SHANGHAI, at

QUARTER = np.timedelta64(15, "m")


@pytest.mark.parametrize(
    ("zone", "day", "many"),
    [
        (SHANGHAI, "2026-03-11", 96),
        (MADRID, "2026-03-29", 92),
        (MADRID, "2026-10-25", 100),
        (MADRID, "2026-03-30", 96),
    ],
)
def test_a_day_owns_what_ends_in_it(zone: ZoneInfo, day: str, many: int) -> None:
    date = dt.date.fromisoformat(day)
    slots = points(CURVE, date, zone)
    begin, end = at(f"{day} 00:00", zone), at(f"{date + dt.timedelta(days=1)} 00:00", zone)
    assert len(slots) == many
    assert (slots[0], slots[-1]) == (begin + QUARTER, end)
    assert (np.diff(slots) == QUARTER).all()
    assert points(DAY, date, zone).tolist() == [end.item()]


def test_points_are_shared_and_may_not_be_written() -> None:
    for plan in PLANS.values():
        with pytest.raises(ValueError, match="read-only"):
            points(plan, dt.date(2026, 3, 11), SHANGHAI)[0] = np.datetime64(0, "us")


@given(st.integers(0, 365), st.lists(st.integers(0, 99), min_size=1, max_size=30))
def test_locate_is_the_inverse_of_points(offset: int, chosen: list[int]) -> None:
    """Also in any order, with repeats, and on days with 92 and 100 slots."""
    day = dt.date(2026, 1, 1) + dt.timedelta(days=offset)
    for plan in PLANS.values():
        slots = points(plan, day, MADRID)
        if not len(slots):
            assert plan is MONTH
            assert (day + dt.timedelta(days=1)).day != 1
            continue
        index = np.array([k % len(slots) for k in chosen])
        found_day, found = locate(plan, slots[index], MADRID)
        assert found.tolist() == index.tolist()
        assert set(found_day.tolist()) == {(day - dt.date(1970, 1, 1)).days}


def test_locate_of_what_is_no_point() -> None:
    times = np.array([at("2026-03-11 12:00"), at("2026-03-11 12:07"), at("2026-03-12 00:00")])
    day, index = locate(CURVE, times, SHANGHAI)
    assert index.tolist() == [47, -1, 95]
    assert len(set(day.tolist())) == 1
    assert locate(DAY, times, SHANGHAI)[1].tolist() == [-1, -1, 0]
    assert locate(CURVE, times[:0], SHANGHAI)[0].tolist() == []


def test_due_when_the_meter_has_had_its_time() -> None:
    day = dt.date(2026, 3, 11)
    assert due(CURVE, day, SHANGHAI, at("2026-03-11 00:16")).sum() == 1
    assert due(CURVE, day, SHANGHAI, at("2026-03-11 00:16") - 1).sum() == 0
    assert due(CURVE, day, SHANGHAI, at("2026-03-12 00:01")).all()
    assert [bool(due(DAY, day, SHANGHAI, at(f"2026-03-12 00:0{k}"))[0]) for k in (4, 5)] == [False, True]


def test_expected_of_who_was_there_when_the_point_ended() -> None:
    day = dt.date(2026, 3, 11)
    begin = np.array([at("2026-03-11 06:00"), at("2026-03-11 06:00") + 1])
    end = np.array([at("2026-03-11 07:00"), at("2026-03-11 07:00") - 1])
    found = expected(CURVE, day, SHANGHAI, begin, end)
    assert [np.flatnonzero(row).tolist() for row in found] == [[24, 25, 26, 27], [24, 25, 26]]
