"""Who explains a loss, of a real store: a week where it is there, a day where there is no more, nobody where nothing is missing."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.jobs import lineloss, network, suspects
from headend.store import findings, results
from headend.store.db import Connection
from protocols.localtime import as_datetime, midnight
from tests.support.house import SHANGHAI, at
from tests.support.household import run
from tests.support.streets import settle
from tests.support.truth.homes import Weather, happen
from tests.support.truth.meters import Faults, Readings, read
from tests.support.truth.street import habits, street

FIRST = dt.date(2026, 3, 9)


def readings(faults: Faults, days: int, seed: int = 1) -> Readings:
    profiles, sun = habits(12, seed)
    random = np.random.default_rng(seed)
    return read(happen(street(12), profiles, sun, Weather(10, days, 1.5), random), random, faults)


def look(conn: Connection, day: dt.date) -> str:
    night = f"{day + dt.timedelta(days=1)} 00:40"
    with conn.transaction():
        lineloss.job(run(conn, night), day)
        told = suspects.job(run(conn, night), day)
    conn.commit()
    return told


@pytest.mark.parametrize("days", [1, 2])
def test_a_bypass_is_named_and_withdrawn_when_it_is_explained(store: Connection, days: int) -> None:
    who = settle(store, readings(Faults(bypass=(5, 0.6)), days), FIRST)
    last = FIRST + dt.timedelta(days=days - 1)
    assert look(store, last) == "1 areas, 1 findings, 1 new, 0 withdrawn"
    (found,) = findings.listing(store, day=last)
    assert (found["rule"], found["subject"], found["severity"]) == ("theft", "006", "alarm")
    assert found["evidence"]["slots"] == 96 * days
    assert found["evidence"]["unmetered_share"] == pytest.approx(0.6, abs=0.1)
    store.commit()
    # the neighbour's meter comes late: it was only half of what it seemed
    store.execute("UPDATE loss_result SET likely_low = 0, technical = 0, technical_error = 0")
    store.commit()
    with store.transaction():
        told = suspects.job(run(store, f"{last + dt.timedelta(days=1)} 01:40"), last)
    assert told == "0 areas, 0 findings, 0 new, 1 withdrawn"
    assert who[6].meter == found["subject_id"]


def test_an_area_is_looked_at_from_its_newest_meter_on(store: Connection) -> None:
    """All of them were fitted at the first midnight: the week has one day."""
    settle(store, readings(Faults(bypass=(5, 0.6)), 2), FIRST)
    last = FIRST + dt.timedelta(days=1)
    store.execute(
        "UPDATE installation SET valid_from = %s WHERE meter_id = 5", (as_datetime(midnight(last, SHANGHAI)),)
    )
    store.commit()
    some = np.array([row["area_id"] for row in store.execute("SELECT area_id FROM area")])
    week = FIRST - dt.timedelta(days=5)
    given = run(store, f"{last + dt.timedelta(days=1)} 00:40")
    assert {day: areas.tolist() for day, areas in network.settled(given, week, last, some).items()} == {
        last: some.tolist()
    }
    store.execute(
        "UPDATE installation SET valid_from = %s WHERE meter_id = 5",
        (as_datetime(midnight(last, SHANGHAI)) + dt.timedelta(hours=1),),
    )
    assert network.settled(given, week, last, some) == {}  # nothing whole of it yet
    store.execute(
        "UPDATE installation SET valid_from = %s WHERE meter_id = 5", (as_datetime(midnight(last, SHANGHAI)),)
    )
    store.commit()
    assert look(store, last) == "1 areas, 1 findings, 1 new, 0 withdrawn"
    (found,) = findings.listing(store, day=last)
    assert (found["subject"], found["evidence"]["slots"]) == ("006", 96)


def test_a_wrong_multiplier_is_that_and_no_theft(store: Connection) -> None:
    seen = readings(Faults(ratio=(5, -2)), 2)
    settle(store, seen, FIRST)
    look(store, FIRST + dt.timedelta(days=1))
    (found,) = findings.listing(store)
    assert (found["rule"], found["subject"]) == ("wrong-ratio", "006")
    assert found["evidence"]["likely"] == seen.ratio[6]
    assert found["evidence"]["archived"] == seen.topology.multiplier[6]


def test_an_honest_area_has_nothing_to_explain(store: Connection) -> None:
    settle(store, readings(Faults(), 1), FIRST)
    assert look(store, FIRST) == "0 areas, 0 findings, 0 new, 0 withdrawn"


def test_half_a_day_is_not_looked_at(store: Connection) -> None:
    settle(store, readings(Faults(bypass=(5, 0.6)), 1), FIRST)
    with store.transaction():
        assert suspects.job(run(store, f"{FIRST} 20:00"), FIRST) == "day not over"


def test_those_with_most_to_explain_come_first(store: Connection) -> None:
    who = settle(store, readings(Faults(), 1), FIRST)
    area = who[0].area
    store.execute(
        "INSERT INTO area (code, name, capacity_kva) VALUES ('B1', 'B1', 400), ('B2', 'B2', 400), ('B3', 'B3', 400)"
    )
    ids = [r["area_id"] for r in store.execute("SELECT area_id FROM area ORDER BY area_id").fetchall()]
    known = {
        "status": "known", "supplied": 1000, "sold": 0, "loss": 0, "loss_low": 0, "loss_high": 0, "rate": 0.1, "meters_due": 1,
        "meters_complete": 1, "missing": (), "why": "",
    }  # fmt: skip
    made = [
        results.Loss(
            area_id=ids[0], likely_low=90, likely_high=110, technical=50, technical_error=30, **known
        ),
        results.Loss(
            area_id=ids[1], likely_low=90, likely_high=110, technical=50, technical_error=5, **known
        ),
        results.Loss(
            area_id=ids[2], likely_low=90, likely_high=110, technical=None, technical_error=None, **known
        ),
        results.Loss(
            area_id=ids[3], likely_low=-90, likely_high=-70, technical=20, technical_error=5, **known
        ),
    ]
    with store.transaction():
        results.save_losses(store, FIRST, made, now=at(f"{FIRST} 23:50", SHANGHAI))
    asked = [results.unexplained(store, FIRST, most, usual=0.07).tolist() for most in (9, 2)]
    assert asked == [[ids[3], ids[1], ids[2]], [ids[3], ids[1]]]
    assert area == ids[0]
