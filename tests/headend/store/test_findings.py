"""The life of a finding in the store: over days, withdrawn and back, by people, closed and recurred; and a log that only grows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
import pytest

from headend.store import feed, findings
from headend.store.db import Connection
from headend.store.findings import CannotAct, Found, UnknownFinding
from tests.support.app import settle
from tests.support.house import at, one, place, table

D1, D2, D3, D4 = (dt.date(2026, 3, 9) + dt.timedelta(days=k) for k in range(4))


def found(meter: int, severity: str = "warning", rule: str = "voltage", **evidence: Any) -> Found:
    return Found(rule, 1, "meter", meter, severity, f"{severity} of {meter}", "电压越限", evidence)


def save(
    conn: Connection, day: dt.date, *some: Found, rules: tuple[str, ...] = ("voltage",)
) -> tuple[int, int]:
    with conn.transaction():
        told = findings.save(conn, day, rules, some, now=at(f"{day + dt.timedelta(days=1)} 00:40"))
    conn.commit()
    return told


def states(conn: Connection) -> list[tuple[Any, ...]]:
    return table(
        conn,
        "SELECT finding_id - (SELECT min(finding_id) FROM finding), state, first_day, day, days FROM finding ORDER BY 1",
    )


def log(conn: Connection, number: int) -> list[tuple[str, str, str]]:
    told = [(e["who"], e["act"], e["state"]) for e in findings.one(conn, number)["events"]]
    conn.commit()
    return told


@pytest.fixture
def meter(store: Connection) -> int:
    return place(store, "1").meter


def test_one_finding_for_as_many_days_as_it_is_seen(store: Connection, meter: int) -> None:
    assert save(store, D1, found(meter, high=240)) == (1, 0)
    assert save(store, D2, found(meter, "alarm", high=250)) == (0, 0)
    assert save(store, D2, found(meter, "alarm", high=251)) == (0, 0)  # the same day again
    assert states(store) == [(0, "new", D1, D2, 2)]
    (row,) = findings.listing(store)
    assert (row["severity"], row["evidence"], row["subject"]) == ("alarm", {"high": 251}, "1")
    (then,) = findings.listing(store, day=D1)
    assert (then["severity"], then["evidence"], then["day"]) == ("warning", {"high": 240}, D1)
    assert findings.listing(store, day=D3) == []
    settle(store)
    # told when it began and when it grew worse, not with every day
    assert [c.key for c in feed.read(store, None, 100).changes if c.topic == "finding"] == [
        str(row["finding_id"])
    ] * 2


def test_an_earlier_day_that_is_looked_at_later_joins_it(store: Connection, meter: int) -> None:
    save(store, D2, found(meter, high=2))
    save(store, D1, found(meter, high=1))
    assert states(store) == [(0, "new", D1, D2, 2)]
    assert findings.listing(store)[0]["evidence"] == {"high": 2}


def test_a_day_without_it_is_no_end_and_a_withdrawn_day_is_taken_back(store: Connection, meter: int) -> None:
    save(store, D1, found(meter))
    assert save(store, D2) == (0, 0)
    save(store, D3, found(meter))
    assert states(store) == [(0, "new", D1, D3, 2)]
    assert save(store, D3) == (0, 0)  # better data: not there, but the first day stands
    assert states(store) == [(0, "new", D1, D1, 1)]
    assert save(store, D1) == (0, 1)
    assert states(store) == [(0, "withdrawn", D1, D1, 0)]
    assert findings.listing(store) == []
    assert save(store, D1, found(meter)) == (1, 0)
    assert states(store) == [(0, "new", D1, D1, 1)]
    number = findings.listing(store)[0]["finding_id"]
    assert log(store, number) == [
        ("headend", "find", "new"), ("headend", "withdraw", "withdrawn"), ("headend", "return", "new"),
    ]  # fmt: skip


def test_other_rules_are_left_alone(store: Connection, meter: int) -> None:
    save(store, D1, found(meter), found(meter, rule="flat"), rules=("voltage", "flat"))
    assert save(store, D1, rules=("flat",)) == (0, 1)
    assert [f["rule"] for f in findings.listing(store)] == ["voltage"]


def test_from_seen_to_closed_and_recurred(store: Connection, meter: int) -> None:
    save(store, D1, found(meter))
    number = findings.listing(store)[0]["finding_id"]
    assert findings.acknowledge(store, number, "李敏", at("2026-03-10 09:00"), "looked at") == "acknowledged"
    assert findings.order(store, number, " WO-17 ", "陈晓", at("2026-03-10 10:00")) == "work-order"
    assert save(store, D1) == (0, 0)  # what somebody is sent for is not taken away from him
    assert save(store, D2, found(meter)) == (0, 0)
    with pytest.raises(CannotAct, match="is not closed without saying why"):
        findings.close(store, number, "陈晓", at("2026-03-11 15:00"), "  ")
    assert findings.close(store, number, "陈晓", at("2026-03-11 15:00"), "tap changed") == "closed"
    store.commit()
    assert save(store, D3, found(meter)) == (0, 0)  # of the day on which it was closed: no news
    assert findings.listing(store) == []
    assert save(store, D4, found(meter, high=9)) == (1, 0)
    (again,) = findings.listing(store)
    assert (again["state"], again["again_of"], again["first_day"]) == ("recurred", number, D4)
    assert log(store, number)[1:] == [
        ("李敏", "acknowledge", "acknowledged"), ("陈晓", "order", "work-order"), ("陈晓", "close", "closed"),
    ]  # fmt: skip
    told = findings.one(store, number)
    assert (told["work_order"], told["who"], told["events"][-1]["why"]) == ("WO-17", "陈晓", "tap changed")
    assert [row["day"] for row in told["seen"]] == [D1, D2, D3]
    with pytest.raises(
        CannotAct, match=f"finding {number} has been seen again: finding {again['finding_id']} is open"
    ):
        findings.reopen(store, number, "陈晓", at("2026-03-13 09:00"), "too early")


def test_closed_by_mistake(store: Connection, meter: int) -> None:
    save(store, D1, found(meter))
    number = findings.listing(store)[0]["finding_id"]
    findings.close(store, number, "李敏", at("2026-03-10 09:00"), "wrong line")
    assert (
        findings.reopen(store, number, "李敏", at("2026-03-10 09:01"), "that was another one")
        == "acknowledged"
    )
    store.commit()
    assert save(store, D2, found(meter)) == (0, 0)
    assert states(store) == [(0, "acknowledged", D1, D2, 2)]


def test_what_cannot_be_done_is_said_in_a_line(store: Connection, meter: int) -> None:
    with pytest.raises(UnknownFinding, match="no finding 999; `headend anomalies show` lists them"):
        findings.acknowledge(store, 999, "李敏", at("2026-03-10 09:00"))
    with pytest.raises(UnknownFinding):
        findings.one(store, 999)
    save(store, D1, found(meter))
    number = findings.listing(store)[0]["finding_id"]
    with pytest.raises(CannotAct, match="needs its number"):
        findings.order(store, number, " ", "李敏", at("2026-03-10 09:00"))
    with pytest.raises(CannotAct, match=f"finding {number}: a finding that is new cannot be reopened"):
        findings.reopen(store, number, "李敏", at("2026-03-10 09:00"), "why not")


def test_what_nobody_sees_any_more_fades_and_a_work_order_does_not(store: Connection) -> None:
    here = [place(store, str(k)).meter for k in range(3)]
    save(store, D1, *(found(meter) for meter in here))
    first, second, _ = sorted(row["finding_id"] for row in findings.listing(store))
    findings.acknowledge(store, first, "李敏", at("2026-03-10 09:00"))
    findings.order(store, second, "WO-1", "李敏", at("2026-03-10 09:00"))
    assert findings.fade(store, D1 + dt.timedelta(days=6), now=at("2026-03-16 00:40")) == 0
    assert findings.fade(store, D1 + dt.timedelta(days=7), now=at("2026-03-17 00:40")) == 2
    store.commit()
    assert [(row["finding_id"], row["state"]) for row in findings.listing(store)] == [(second, "work-order")]
    assert log(store, first)[-1] == ("headend", "fade", "closed")
    # seen the day after its last one: that is a recurrence, and no secret
    save(store, D2, found(here[0]))
    assert [row["again_of"] for row in findings.listing(store) if row["state"] == "recurred"] == [first]


def test_after_a_quarter_of_a_year_it_is_another_matter(store: Connection, meter: int) -> None:
    save(store, D1, found(meter))
    findings.fade(store, D1 + dt.timedelta(days=7), now=at("2026-03-17 00:40"))
    store.commit()
    save(store, D1 + dt.timedelta(days=91), found(meter))
    assert [(row["state"], row["again_of"]) for row in findings.listing(store)] == [("new", None)]


@pytest.mark.parametrize("what", ["UPDATE finding_event SET who = 'nobody'", "DELETE FROM finding_event"])
def test_the_log_only_grows(store: Connection, meter: int, what: Any) -> None:
    save(store, D1, found(meter))
    with pytest.raises(psycopg.errors.RaiseException, match="finding_event is append-only"):
        store.execute(what)
    store.rollback()
    assert one(store, "SELECT count(*) FROM finding_event") == 1


def test_states_are_asked_for_by_name(store: Connection) -> None:
    a, b = (place(store, str(k)).meter for k in range(2))
    save(store, D1, found(a), found(b))
    number = min(row["finding_id"] for row in findings.listing(store))
    findings.close(store, number, "李敏", at("2026-03-10 09:00"), "done")
    store.commit()
    assert [row["state"] for row in findings.listing(store, states=["closed"])] == ["closed"]
    assert {row["state"] for row in findings.listing(store, day=D1)} == {"closed", "new"}
    newest = findings.listing(store, states=["closed", "new"], limit=1)
    assert [row["state"] for row in newest] == ["new"]
    assert (
        findings.listing(store, states=["closed", "new"], before=newest[0]["finding_id"])[0]["state"]
        == "closed"
    )
