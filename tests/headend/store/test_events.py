"""Events: told twice, kept once; an end that comes later is added."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from headend.store import events
from headend.store.db import Connection
from headend.store.events import Event
from tests.support.house import SHANGHAI, moment, table

DARK = Event(
    "meter", 7, moment("2026-03-11 03:20"), "dlt645.03110001", moment("2026-03-11 08:00"), detail={"times": 3}, evidence=-5
)  # fmt: skip
FIRST, LAST = moment("2026-03-01 00:00"), moment("2026-04-01 00:00")


def test_told_twice_is_kept_once(store: Connection) -> None:
    opened = replace(DARK, code="dlt645.03300D01", occurred=moment("2026-03-20 12:00"))
    assert events.write(store, [DARK, opened, DARK], SHANGHAI) == 2
    assert (
        events.write(
            store, [replace(DARK, received=moment("2026-03-12 08:00"), detail={"times": 4})], SHANGHAI
        )
        == 0
    )
    store.commit()
    assert events.of(store, "meter", 7, FIRST, LAST) == [DARK, opened]
    assert events.of(store, "meter", 7, FIRST, LAST, codes=["dlt645.03300D01"]) == [opened]
    assert events.of(store, "meter", 7, FIRST, LAST, limit=1) == [DARK]
    assert events.of(store, "meter", 7, opened.occurred, LAST) == [opened]
    assert events.of(store, "terminal", 7, FIRST, LAST) == []


def test_an_end_is_added_and_never_changed(store: Connection) -> None:
    events.write(store, [DARK], SHANGHAI)
    end = moment("2026-03-11 04:00")
    assert events.write(store, [replace(DARK, ended=end)], SHANGHAI) == 1
    assert events.write(store, [replace(DARK, ended=end + dt.timedelta(hours=1))], SHANGHAI) == 0
    assert events.write(store, [DARK], SHANGHAI) == 0
    assert events.of(store, "meter", 7, FIRST, LAST) == [replace(DARK, ended=end)]


def test_two_of_the_same_second_and_across_partitions(store: Connection) -> None:
    twice = [replace(DARK, seq=k) for k in range(2)]
    old = replace(DARK, occurred=moment("2024-02-29 23:59"), subject_kind="terminal")
    assert events.write(store, [*twice, old], SHANGHAI) == 3
    store.commit()
    assert events.of(store, "meter", 7, FIRST, LAST) == twice
    assert events.of(store, "terminal", 7, moment("2024-01-01 00:00"), LAST) == [old]
    told = table(store, "SELECT topic, key, day FROM feed ORDER BY key, day")
    assert told == [("event", "meter/7", dt.date(2026, 3, 11)), ("event", "terminal/7", dt.date(2024, 2, 29))]


def test_nothing_is_nothing(store: Connection) -> None:
    assert events.write(store, [], SHANGHAI) == 0
