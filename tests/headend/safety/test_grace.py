"""Days of grace: nobody is asked for before they are over, and whoever approved before grace was granted cuts nobody off."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.control.order_state import State
from headend.jobs import prepaid
from headend.store import audit, fee_terms, grace, ledger, order_facts, orders
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime
from tests.support.arrears import NOW, broke, fence
from tests.support.house import SHANGHAI, Place, at, one, place, table
from tests.support.household import home, run
from tests.support.notices import deliver_all

DAY = dt.date(2026, 3, 11)
HOUR = np.timedelta64(1, "h")


def approved(conn: Connection) -> tuple[Place, int]:
    here = broke(conn)
    order = orders.request(
        conn, kind="relay", action="trip", asset="1", reason="arrears", who="job:prepaid", now=NOW, expires=NOW + HOUR
    )  # fmt: skip
    orders.approve(conn, order, who="李敏", now=NOW)
    return here, order


def grant(conn: Connection, here: Place, day: dt.date = DAY) -> tuple[int, list[int]]:
    assert here.account is not None
    return grace.grant(conn, here.account, day, reason="住院", who="陈晓", now=NOW, zone=SHANGHAI)


def test_grace_takes_back_what_was_approved(store: Connection) -> None:
    here, order = approved(store)
    _, void = grant(store, here)
    assert void == [order]
    assert orders.get(store, order)["state"] == State.CANCELLED
    assert "grace until 2026-03-11: 住院" in one(
        store, "SELECT detail FROM order_event ORDER BY seq DESC LIMIT 1"
    )


def test_a_gate_at_sending_refuses_whatever_was_approved(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order was missed when the grace was granted."""
    here, order = approved(store)
    monkeypatch.setattr(orders, "void_paid", lambda *_, **__: [])
    number, _ = grant(store, here)
    refused = orders.begin(store, order, fence=fence(store, here), now=NOW)
    assert [r.gate for r in refused] == ["grace"]
    assert one(store, "SELECT count(*) FROM orders WHERE sent_at IS NOT NULL") == 0
    grace.revoke(store, number, who="陈晓", now=NOW)
    again = orders.request(
        store, kind="relay", action="trip", asset="1", reason="arrears", who="job:prepaid", now=NOW, expires=NOW + HOUR
    )  # fmt: skip
    orders.approve(store, again, who="李敏", now=NOW)
    assert orders.begin(store, again, fence=fence(store, here), now=NOW) == []
    assert audit.verify(store).broken is None
    assert table(store, "SELECT kind FROM audit WHERE kind IN ('grace', 'terms') ORDER BY seq") == [
        ("terms",),
        ("grace",),
        ("grace",),
    ]


def test_grace_is_bounded_and_revoked_once(store: Connection) -> None:
    here = broke(store)
    for day in (dt.date(2026, 3, 10), DAY + dt.timedelta(days=grace.LONGEST)):
        with pytest.raises(StoreError, match="grace until"):
            grant(store, here, day)
    number, _ = grant(store, here, DAY + dt.timedelta(days=grace.LONGEST - 1))
    grace.revoke(store, number, who="王芳", now=NOW)
    with pytest.raises(grace.UnknownGrace):
        grace.revoke(store, number, who="王芳", now=NOW)


# --- days of grace from the stop notice on -------------------------------------------------------------------------


def short(conn: Connection) -> Place:
    """Below zero since the morning of the 11th, with readings of 20 days."""
    conn.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, 'workday' FROM generate_series(date '2026-03-01', date '2026-04-05', interval '1 day') d"
    )
    here = place(conn, "1", customer="C1", since="2026-03-11 00:00")
    home(here.meter, DAY, 24, steady=1000).bring(conn, "2026-03-11 00:00", "2026-04-03 00:00")
    conn.commit()
    return here


def round_(conn: Connection, when: str) -> int:
    """A quarter-hour's run, with every day before it settled and validated: trips asked for, or the person who approves cancels them."""
    given = run(conn, when)
    with conn.transaction():
        prepaid.job(given, DAY)
    deliver_all(conn, given.now)
    return prepaid.act(given)[0]


def pay(conn: Connection, fen: int, when: str, serial: str) -> None:
    ledger.pay(
        conn, customer="C1", channel="counter", accounting_date=dt.date.fromisoformat(when[:10]), serial=serial, amount_fen=fen,
        paid_at=at(when), now=at(when),
    )  # fmt: skip


def asked(conn: Connection) -> int:
    return int(one(conn, "SELECT count(*) FROM orders WHERE action = 'trip'"))


def stop_told(conn: Connection) -> list[str]:
    rows = table(
        conn,
        "SELECT to_char(at AT TIME ZONE 'Asia/Shanghai', 'MM-DD HH24:MI') FROM notice WHERE level = 'stop' ORDER BY at",
    )
    return [row[0] for row in rows]


def test_a_week_from_the_stop_notice(store: Connection) -> None:
    short(store)
    store.execute('UPDATE cluster SET limits = \'{"reading_age": 40000000, "balance_age": 40000000}\'')
    round_(store, "2026-03-11 10:05")
    assert "宽限至2026-03-18 10:05" in one(store, "SELECT text_zh FROM notice WHERE level = 'stop'")
    for when in ("2026-03-11 10:40", "2026-03-17 16:00", "2026-03-18 10:04"):
        assert prepaid.act(run(store, when))[0] == 0
    assert asked(store) == 0
    prepaid.act(run(store, "2026-03-18 10:05"))
    assert asked(store) == 1  # the other gates have their say about it; grace has none any more


def test_a_little_money_does_not_begin_the_week_anew_and_a_good_balance_does(store: Connection) -> None:
    short(store)
    round_(store, "2026-03-11 10:05")
    pay(store, 1, "2026-03-12 10:00", "1")  # still below zero
    round_(store, "2026-03-12 10:05")
    assert stop_told(store) == ["03-11 10:05", "03-12 10:05"]
    told = [text for (text,) in table(store, "SELECT text_zh FROM notice WHERE level = 'stop'")]
    assert ["宽限至2026-03-18 10:05" in text for text in told] == [True, True]  # both promise what is kept
    told = table(store, "SELECT stop_since FROM balance")
    assert told == [(at("2026-03-11 10:05").item().replace(tzinfo=dt.UTC),)]
    pay(store, 2_000, "2026-03-13 10:00", "2")
    round_(store, "2026-03-13 10:05")
    assert one(store, "SELECT stop_since FROM balance") is None
    round_(store, "2026-03-17 10:05")  # used up
    assert one(store, "SELECT stop_since FROM balance") == at("2026-03-17 10:05").item().replace(
        tzinfo=dt.UTC
    )
    assert stop_told(store)[-1] == "03-17 10:05"


def test_not_knowing_is_no_good_balance(store: Connection) -> None:
    """A meter that is silent for a day does not begin the week anew."""
    short(store)
    round_(store, "2026-03-11 10:05")
    store.execute("DELETE FROM slot_read WHERE ts > '2026-03-12 00:00+08'")
    round_(store, "2026-03-12 23:05")
    assert one(store, "SELECT level FROM balance") != "stop"
    assert one(store, "SELECT stop_since FROM balance") == at("2026-03-11 10:05").item().replace(
        tzinfo=dt.UTC
    )


def test_what_a_notice_has_promised_is_kept_whatever_the_terms_become(store: Connection) -> None:
    short(store)
    store.execute('UPDATE cluster SET limits = \'{"reading_age": 40000000, "balance_age": 40000000}\'')
    round_(store, "2026-03-11 10:05")
    change(store, grace_days=0)
    round_(store, "2026-03-12 10:05")
    assert asked(store) == 0
    facts, _ = order_facts.facts(store, "1", at("2026-03-12 10:05"))
    assert facts.grace_until == as_datetime(at("2026-03-18 10:05"))


def test_who_was_told_that_nobody_is_stopped_is_told_anew_when_that_changes(store: Connection) -> None:
    change(store, trips=False, grace_days=0)
    short(store)
    round_(store, "2026-03-11 10:05")
    assert stop_told(store) == []
    assert one(store, "SELECT level FROM notice") == "warn2"
    change(store, trips=True, grace_days=0)
    prepaid.act(run(store, "2026-03-11 11:00"))
    assert asked(store) == 0
    round_(store, "2026-03-11 11:05")
    assert stop_told(store) == ["03-11 11:05"]
    assert "将按规定停电" in one(store, "SELECT text_zh FROM notice WHERE level = 'stop'")


# --- terms -----------------------------------------------------------------------------------------------------------


def organisation(conn: Connection, code: str, parent: str | None = None) -> int:
    number = int(
        one(
            conn,
            "INSERT INTO organisation (code, name, kind) VALUES (%s, '', 'station') RETURNING organisation_id",
            code,
        )
    )
    above = (
        None
        if parent is None
        else one(conn, "SELECT organisation_id FROM organisation WHERE code = %s", parent)
    )
    conn.execute(
        "INSERT INTO organisation_span (organisation_id, parent_id, valid_from) VALUES (%s, %s, '2026-01-01')",
        (number, above),
    )
    return number


def change(
    conn: Connection, organisation: str = "", account: int | None = None, **changes: int | bool
) -> None:
    fee_terms.change(
        conn, changes, reason="board", who="陈晓", now=NOW, organisation=organisation, account=account
    )


def test_terms_come_from_the_nearest_and_an_unknown_one_has_the_best(store: Connection) -> None:
    places = [place(store, str(k), customer=f"C{k}") for k in range(3)]
    city, station = organisation(store, "city"), organisation(store, "station", "city")
    for where, number in zip(places, (station, city), strict=False):
        store.execute(
            "INSERT INTO point_span (point_id, organisation_id, valid_from) VALUES (%s, %s, '2026-01-01')",
            (where.point, number),
        )
    change(store, warn1_fen=5_000)
    change(store, "city", stop_fen=-1_000, grace_days=10)
    change(store, "station", grace_days=3, trips=False)
    ids = [where.account or 0 for where in places]
    found = fee_terms.of(store, ids, now=NOW)
    assert [(t.warn1_fen, t.warn2_fen, t.stop_fen, t.grace_days, t.trips) for t in map(found.__getitem__, ids)] == [
        (5_000, 500, -1_000, 3, False), (5_000, 500, -1_000, 10, True), (5_000, 500, -1_000, 10, False)
    ]  # fmt: skip
    assert list(fee_terms.stop_below(store, found).values()) == [None, -1_000, None]
    change(store, account=ids[0], grace_days=30)
    change(store, account=ids[1], grace_days=1)  # never less than everybody's
    again = fee_terms.of(store, ids, now=NOW)
    assert [again[k].grace_days for k in ids] == [30, 10, 10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"stop_fen": 1}, "above zero"), ({"warn2_fen": 3_000}, "go down"), ({"grace_days": 93}, "0 to 92"), ({"warn3_fen": 1}, "unknown term"),
     ({"warn1_fen": -1, "warn2_fen": -2}, "go down"), ({"debt_alone_fen": -1}, "below zero")],
)  # fmt: skip
def test_terms_that_cannot_be(store: Connection, changes: dict[str, int], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        change(store, **changes)
    assert one(store, "SELECT count(*) FROM fee_terms") == 0
