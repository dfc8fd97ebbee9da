"""Kinds of day, and what happens where the calendar has no word of one."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.localtime import day_slots
from tariffs.days import HOLIDAY, NO_DAYS, UNKNOWN, WEEKEND, WORKDAY, CalendarError, Days
from tariffs.periods import PERIODS
from tariffs.plan import Tariff, shipped
from tariffs.tou import slot_periods

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOLIDAYS = shipped()["example-holiday-deep-valley"]
NEW_YEAR = Days.of(
    {dt.date(2026, 12, 31): "workday", dt.date(2027, 1, 1): "holiday", dt.date(2027, 1, 3): "weekend"}
)


def test_kinds_of_days() -> None:
    days = np.arange("2026-12-31", "2027-01-02", dtype="datetime64[D]")
    assert NEW_YEAR.on(days, "p").tolist() == [WORKDAY, HOLIDAY]
    assert NEW_YEAR.kind.tolist() == [WORKDAY, HOLIDAY, UNKNOWN, WEEKEND]
    with pytest.raises(
        ValueError, match="2027-01-01: 'feast' is no kind of day; known: workday, weekend, holiday"
    ):
        Days.of({dt.date(2027, 1, 1): "feast"})
    assert Days.of({}) is NO_DAYS


@pytest.mark.parametrize(
    ("days", "day"),
    [(NO_DAYS, "2026-12-31"), (NEW_YEAR, "2026-12-30"), (NEW_YEAR, "2027-01-02"), (NEW_YEAR, "2027-01-04")],
)
def test_a_plan_by_kind_refuses_a_day_without_one(days: Days, day: str) -> None:
    slots = day_slots(dt.date.fromisoformat(day), SHANGHAI)
    with pytest.raises(CalendarError) as caught:
        slot_periods(HOLIDAYS, slots, SHANGHAI, days=days)
    assert str(caught.value) == (
        f"no calendar for {day[:4]}: example-holiday-deep-valley tells workday, weekend, holiday apart and {day} has "
        f"no kind; load the calendar of {day[:4]}"
    )


def test_a_plan_that_treats_all_days_alike_needs_no_calendar(four: Tariff) -> None:
    assert len(slot_periods(four, day_slots(dt.date(2027, 1, 2), SHANGHAI), SHANGHAI)) == 96
    assert not four.versions[0].by_kind
    assert four.needs == frozenset()
    assert HOLIDAYS.needs == {"days"}


def test_new_year_has_its_own_hours() -> None:
    slots = np.concatenate([day_slots(dt.date(2026, 12, 31) + dt.timedelta(n), SHANGHAI) for n in (0, 1)])
    periods = slot_periods(HOLIDAYS, slots, SHANGHAI, days=NEW_YEAR)
    # 10:00-10:15 of each day, and the slot that ends at midnight belongs to the day before
    assert [PERIODS[periods[k]] for k in (40, 96 + 40, 95, 96)] == ["peak", "deep", "valley", "valley"]
    assert (periods == PERIODS.index("deep")).sum() == 16
