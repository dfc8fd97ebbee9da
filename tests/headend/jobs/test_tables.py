"""Meters are asked for their tables in their turn, and who counts by other hours than are billed is a finding with both."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest

from headend.jobs import tables as job
from headend.jobs.frame import Run
from headend.store import findings
from headend.store.db import Connection
from tariffs.plan import shipped
from tariffs.timetable import difference, switched, wanted
from tests.support.house import SHANGHAI, Place, at, moment, one, place, table
from tests.support.tables import held, written

DAY = dt.date(2026, 3, 11)
NOW = at("2026-03-11 03:10")
PLAN = "zhejiang-residential-peak-valley"
BEGUN = dt.date(2026, 2, 1)


@pytest.fixture
def server_kind() -> str:
    return "embedded"


def right(before: dict[str, Any]) -> dict[str, Any]:
    """The same meter after the plan has come into force in it."""
    plan = shipped()[PLAN]
    items = difference(wanted(PLAN, plan.on(DAY), before, BEGUN, dt.date(2026, 1, 1)), before)
    return switched(written(before, items), BEGUN)


def meter(conn: Connection, asset: str, **more: Any) -> Place:
    return place(conn, asset, customer=f"90{asset}", **more)


def read(conn: Connection, where: Place, document: dict[str, Any], when: str = "2026-03-10 09:00") -> None:
    conn.execute(
        "INSERT INTO orders (kind, action, meter_id, terminal_id, state, is_open, reason, requested_by, requested_at, expires_at, ended_at, result) "
        "VALUES ('prices', 'read', %s, %s, 'verified', false, 'r', 'w', %s, %s, %s, %s::jsonb)",
        (
            where.meter,
            where.terminal,
            moment(when),
            moment(when),
            moment(when),
            json.dumps({"held": document}),
        ),
    )
    conn.commit()


def run(conn: Connection, now: Any = NOW, day: dt.date = DAY) -> str:
    return job.job(Run(conn, SHANGHAI, now), day)


def asked(conn: Connection) -> list[str]:
    rows = table(
        conn,
        "SELECT asset FROM orders JOIN meter USING (meter_id) WHERE requested_by = 'job:tables' ORDER BY order_id",
    )
    return [row[0] for row in rows]


def test_a_meter_that_counts_otherwise_is_found_with_both_tables_and_since_when(store: Connection) -> None:
    good, bad = meter(store, "1"), meter(store, "2")
    read(store, good, right(held()))
    read(store, bad, held())  # flat all day: nothing is in the valley's register
    assert run(store).startswith(
        "2 meters compared, 1 otherwise than billed, 1 new, 0 over; 0 asked of 0 due"
    )
    (row,) = findings.listing(store, limit=9)
    store.commit()
    found = findings.one(store, row["finding_id"])
    assert (found["rule"], found["severity"], found["subject_id"]) == ("tables", "alarm", bad.meter)
    said = found["evidence"]
    assert (said["meter"], said["tariff"], said["read_at"]) == ("2", PLAN, "2026-03-10T09:00:00+08:00")
    # since the later of version and installation
    begin = max(shipped()[PLAN].on(DAY).valid_from, dt.date(2026, 1, 1))
    assert said["since"] == f"{begin}T00:00+08:00"
    first = said["differences"][0]
    assert (first["first"], first["days"], first["meter_tariff"]) == ("2026-03-11", 31, 3)
    assert first["plan_period"] == "valley"
    assert said["meter_tables"]["day 1"] == [[0, 0, 3]]
    assert set(said["plan_hours"]) == {"peak", "valley"}
    # it is put right, and read again: over
    read(store, bad, right(held()), "2026-03-11 02:00")
    assert "0 otherwise than billed, 0 new, 1 over" in run(store)


@pytest.mark.parametrize(
    "wrong", [{"day 1": [[0, 0, 200]]}, {"zones": None}, {"holidays": [[2026, 2, 30, 1]]}]
)
def test_one_meters_nonsense_keeps_nobody_from_being_looked_at(
    store: Connection, wrong: dict[str, Any]
) -> None:
    bad, worse = meter(store, "1"), meter(store, "2")
    read(store, bad, held(**wrong))
    read(store, worse, held())
    assert run(store).startswith("2 meters compared, 2 otherwise than billed")
    whys = [
        findings.one(store, row["finding_id"])["evidence"].get("why")
        for row in findings.listing(store, limit=9)
    ]
    assert [why is None for why in whys].count(True) == 1


def test_who_was_never_read_comes_before_who_was_long_ago(store: Connection) -> None:
    for number in range(1, 5):
        meter(store, str(number))
    place(store, "5")  # nobody pays for it
    place(store, "6", terminal="T2", protocol="dlms", customer="9006")  # nobody knows how it keeps tables
    wheres = {
        row[0]: row
        for row in table(
            store, "SELECT asset, meter_id, terminal_id FROM meter JOIN installation USING (meter_id)"
        )
    }
    for number, when in (("1", "2026-01-20 09:00"), ("2", "2026-03-10 09:00")):
        read(store, Place(number, wheres[number][1], 0, wheres[number][2], 0, None), right(held()), when)
    assert run(store).endswith("1 asked of 3 due")  # a twentieth of the meters, and one
    # whoever was asked once a day is not asked again that day
    run(store)
    assert len(asked(store)) == 1


def test_a_meter_that_never_answers_takes_nobodys_turn(store: Connection) -> None:
    """One is asked a night here. Who was asked in vain is asked again once all others have been."""
    meter(store, "1", since="2025-01-01 00:00")
    meter(store, "2", since="2025-06-01 00:00")
    third = meter(store, "3")
    read(store, third, held(**{"switch zones": "2026-03-11T00:00"}), "2026-02-20 09:00")
    for night in range(6):
        run(store, NOW + np.timedelta64(night, "D"), DAY + dt.timedelta(days=night))
        store.execute(
            "UPDATE orders SET state = 'expired', is_open = false, ended_at = requested_at WHERE is_open"
        )
        store.commit()
    # what a switch has made unknown comes first, then who was never read, the oldest first
    assert asked(store) == ["3", "1", "2", "3", "1", "2"]


def test_after_a_switch_what_stands_there_is_not_known_until_it_is_read(store: Connection) -> None:
    where = meter(store, "1")
    read(store, where, held(**{"switch zones": "2026-03-11T00:00"}))
    assert run(store) == "0 meters compared, 0 otherwise than billed, 0 new, 0 over; 1 asked of 1 due"
    assert asked(store) == ["1"]
    # one that is still to come ends what the present set can be judged by
    read(store, where, held(**{"switch zones": "2026-03-14T00:00"}), "2026-03-11 02:00")
    run(store)
    (row,) = findings.listing(store, limit=9)
    store.commit()
    assert findings.one(store, row["finding_id"])["evidence"]["differences"][0]["days"] == 3
    store.commit()


def test_a_meter_that_counts_money_by_other_prices(store: Connection) -> None:
    where = meter(store, "1")
    money = {
        "prices": [1] * 4,
        "steps": {"limits": [], "prices": [0], "dates": None},
        "spare prices": [1] * 4,
        "spare steps": None,
    }
    counts = {"zones": 14, "days": 8, "slots": 14, "tariffs": 4, "holidays": 0, "steps": 7}
    read(store, where, {**right(held()), **money, "counts": counts})
    run(store)
    (row,) = findings.listing(store, limit=9)
    said = findings.one(store, row["finding_id"])
    store.commit()
    version = shipped()[PLAN].on(DAY)
    assert said["severity"] == "warning"
    assert said["evidence"]["prices"]["plan"][1] == version.prices[1]
    assert said["evidence"]["differences"] == []


def test_a_meter_with_no_table_is_told_and_stops_nobody(store: Connection) -> None:
    read(store, meter(store, "1"), held(zones=None))
    read(store, meter(store, "2"), held())
    assert run(store).startswith("2 meters compared, 2 otherwise than billed")


def test_nobody_is_asked_whose_plan_has_one_price(store: Connection) -> None:
    meter(store, "1", tariff="beijing-residential-steps")
    assert run(store).endswith("0 asked of 0 due")
    assert one(store, "SELECT count(*) FROM orders") == 0


def test_what_is_programmed_to_come_is_looked_at_before_it_comes(store: Connection) -> None:
    """The present hours are right; somebody has programmed others, which no plan knows of."""
    where = meter(store, "1")
    good = right(held())
    read(
        store,
        where,
        {**good, "spare zones": [[1, 1, 8]], "day 8": [[0, 0, 3]], "switch zones": "2026-04-20T00:00"},
    )
    assert "1 otherwise than billed" in run(store)
    (row,) = findings.listing(store, limit=9)
    said = findings.one(store, row["finding_id"])
    store.commit()
    assert (said["severity"], said["evidence"]["differences"]) == ("warning", [])
    coming = said["evidence"]["coming"]
    assert (coming["at"], coming["differences"][0]["first"]) == ("2026-04-20", "2026-04-20")
    # half of a switch alone brings nothing: the zones of now find their tables in the other set as well
    plan = shipped()[PLAN]
    items = difference(wanted(PLAN, plan.on(DAY), held(), BEGUN, dt.date(2026, 1, 1)), held())
    half = written(good, [item for item in items if item[0].startswith("spare day")]) | {
        "switch days": "2026-04-20T00:00"
    }
    read(store, where, half, "2026-03-11 02:00")
    assert "0 otherwise than billed" in run(store)
