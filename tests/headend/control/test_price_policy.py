"""When a meter's spare set may be written: edges, and not known never allows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from headend.control.facts import Limits
from headend.control.price_policy import near_midnight, pending, why_not

NOW = dt.datetime(2026, 3, 11, 10, 0)
AT = dt.datetime(2026, 4, 1)
KEYS = ["spare zones", "switch zones"]


def noes(**more: Any) -> list[str]:
    given: dict[str, Any] = {"now": NOW, "at": AT, "keys": KEYS, "switches": {}, "clock_ahead": 0.0}
    return why_not(Limits(), **(given | more))


def test_an_ordinary_morning() -> None:
    assert noes() == []
    assert noes(at=NOW + dt.timedelta(hours=24)) == []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"at": NOW + dt.timedelta(hours=23, minutes=59)}, "at least 24 hours must be left"),
        ({"at": NOW - dt.timedelta(days=1)}, "at least 24 hours must be left"),
        ({"clock_ahead": None}, "the meter's clock is not known"),
        ({"clock_ahead": -300.5}, "the meter's clock is off by -300 s"),
        ({"now": dt.datetime(2026, 3, 11, 23, 30, 1)}, "within 30 minutes of midnight"),
        ({"now": dt.datetime(2026, 3, 11, 0, 29, 59)}, "within 30 minutes of midnight"),
        (
            {"switches": {"switch steps": "2026-03-20T00:00"}},
            "switch steps is programmed for 2026-03-20 00:00 already",
        ),
        (
            {"switches": {"switch days": "2027-01-01T00:00"}},
            "switch days is programmed for 2027-01-01 00:00 already",
        ),
        ({"switches": {"switch days": "2026-04-01T00:00"}}, "a spare table would change"),
    ],
)
def test_each_no(more: dict[str, Any], why: str) -> None:
    (no,) = noes(**more)
    assert why in no


def test_the_utilitys_own_numbers() -> None:
    limits = Limits(prices_ahead_hours=1, prices_midnight_minutes=0, prices_clock_seconds=0)
    given: dict[str, Any] = {"keys": KEYS, "switches": {}}
    assert (
        why_not(
            limits, now=dt.datetime(2026, 3, 11), at=dt.datetime(2026, 3, 11, 1), clock_ahead=0.0, **given
        )
        == []
    )
    assert why_not(limits, now=NOW, at=AT, clock_ahead=0.5, **given)


def test_a_switch_that_has_come_or_was_put_off_stands_in_nobodys_way() -> None:
    assert noes(switches={"switch zones": "2026-03-01T00:00", "switch days": None}) == []


def test_what_a_broken_write_has_left_may_be_completed() -> None:
    """All tables stand, one time of two is there: the other one may follow."""
    assert pending(NOW, AT, ["switch zones"], {"switch days": "2026-04-01T00:00"}) == []
    assert pending(NOW, AT, [], {"switch days": "2026-05-01T00:00"}) == []


def test_midnight_is_near_on_both_sides() -> None:
    assert near_midnight(Limits(), dt.datetime(2026, 3, 11, 23, 31))
    assert near_midnight(Limits(), dt.datetime(2026, 3, 11, 0, 0))
    assert not near_midnight(Limits(), dt.datetime(2026, 3, 11, 0, 30))
    assert not near_midnight(Limits(), dt.datetime(2026, 3, 11, 23, 30))
