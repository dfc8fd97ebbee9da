"""Clocks in the store: bounded, drift from what was read, sets that mark intervals, rules that a utility may change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from headend.control.clock_policy import Rules
from headend.store import clocks, visits
from headend.store.clocks import Reading
from headend.store.db import Connection, StoreError
from tests.support.house import SHANGHAI, moment, one

NOON = moment("2026-03-11 12:00")
DAY = dt.timedelta(days=1)


def read(conn: Connection, at: dt.datetime, ahead: float, meter: int = 7) -> clocks.Known:
    clocks.note(conn, [Reading("meter", meter, at, ahead, 0.6)])
    conn.commit()
    return clocks.known(conn, "meter", [meter])[meter]


def test_the_newest_counts_and_an_older_one_changes_nothing(store: Connection) -> None:
    assert clocks.known(store, "meter", [7]) == {}
    assert read(store, NOON, 3.0) == clocks.Known(NOON, 3.0, 0.6)
    assert read(store, NOON - DAY, 9.0).ahead == 3.0
    assert read(store, NOON, 9.0).ahead == 3.0  # told twice
    assert read(store, NOON + DAY, 4.0).ahead == 4.0
    assert clocks.known(store, "terminal", [7]) == {}


def test_drift_is_what_most_readings_say_and_one_row_never_grows(store: Connection) -> None:
    for k in range(100):
        spoilt = 11.0 if k % 9 == 0 else 0.0
        known = read(store, NOON + k * DAY / 2, 0.5 * k + spoilt)
    assert known.drift == pytest.approx(1.0, abs=0.1)
    assert one(store, "SELECT cardinality(ats) FROM clock") == 60
    assert one(store, "SELECT count(*) FROM clock") == 1


def test_a_jump_begins_anew(store: Connection) -> None:
    for k in range(10):
        known = read(store, NOON + k * DAY, 20.0 * k)
    assert known.drift == pytest.approx(20.0)
    assert read(store, NOON + 10 * DAY, 200.0).drift == pytest.approx(20.0)  # where it was led to
    assert read(store, NOON + 11 * DAY, 0.5).drift is None  # somebody has set it


def test_a_set_marks_the_interval_and_forgets_the_drift(store: Connection) -> None:
    for k in range(5):
        read(store, NOON - k * DAY, 90.0)
        read(store, NOON + k * DAY, 90.0)
    at = NOON + 5 * DAY
    clocks.was_set(store, "meter", {7: 90.0, 8: -30.0}, at, SHANGHAI, order=12, how="broadcast")
    clocks.was_set(store, "meter", {7: 90.0}, at, SHANGHAI, order=12, how="broadcast")  # told twice
    store.commit()
    known = clocks.known(store, "meter", [7, 8])
    assert (known[7].set_at, known[7].drift) == (at, None)
    assert (known[8].set_at, known[8].ahead) == (at, None)
    day = (at - at.astimezone(SHANGHAI).utcoffset()).replace(hour=0)  # type: ignore[operator]
    assert clocks.disturbed(store, 7, day - DAY, day + 2 * DAY) == [
        (at, at + dt.timedelta(seconds=90), clocks.CODE)
    ]
    assert clocks.disturbed(store, 8, day - DAY, day + 2 * DAY) == [
        (at - dt.timedelta(seconds=30), at, clocks.CODE)
    ]
    assert clocks.disturbed(store, 7, at + dt.timedelta(minutes=2), at + DAY) == []
    assert clocks.disturbed(store, 9, day - DAY, day + 2 * DAY) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quick": 1}, "unknown clock rule 'quick'"),
        ({"enabled": "perhaps"}, "on or off"),
        ({"meter_from": "soon"}, "number"),
        ({"most": -1}, "number"),
        ({"most": float("nan")}, "number"),
        ({"slot_minutes": 7}, "15, 30, 60"),
        ({"meter_from": 3}, "may be wrong by"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_by_name(
    store: Connection, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(StoreError, match=words):
        clocks.set_rules(store, changes)
    store.rollback()
    assert clocks.rules(store) == Rules()


def test_rules_are_what_the_utility_changed(store: Connection) -> None:
    assert clocks.rules(store).enabled is False
    clocks.set_rules(store, {"enabled": "on", "quiet": "600"})
    clocks.set_rules(store, {"most": 600})
    store.commit()
    assert clocks.rules(store) == Rules(enabled=True, quiet=600.0, most=600.0)
    clocks.set_rules(store, {"enabled": "off", "quiet": 300, "most": 900})
    assert one(store, "SELECT clock_rules::text FROM cluster") == "{}"


def test_a_visit_that_came_to_nothing_keeps_when_the_last_good_one_was(store: Connection) -> None:
    visits.book(store, ("meter", 7, "events"), NOON)
    visits.book(store, ("meter", 7, "events"), NOON + DAY, "no answer")
    visits.book(store, ("terminal", 3, "clock"), NOON)
    visits.book(store, ("meter", 8, "clock"), NOON)
    assert visits.made(store, 3, [7]) == {
        ("meter", 7, "events"): visits.Visit(NOON + DAY, NOON),
        ("terminal", 3, "clock"): visits.Visit(NOON, NOON),
    }
