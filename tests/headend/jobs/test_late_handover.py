"""A handover that the archive learns of late: nothing stands twice, nothing is lost, and recompute agrees.

The golden case. Point 1, 1 kWh an hour by day and by night: a day is 14 kWh at 0.568 yuan and 10 kWh at 0.288 yuan, 10.832 yuan, so
1,083.2 fen. The old customer is settled for 1 to 8 March: eight days, 8 × 1,083.2 = 8,665.6, 8,666 fen. On the 9th the archive learns that he
had gone on the 4th at noon: his are the days 1 to 4 (the day of the handover is the leaver's), 4 × 1,083.2 = 4,332.8, 4,333 fen; the new
customer's are 5 to 8, 4,332.8, 4,333 fen. One fen more than before, for two bills are rounded instead of one.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from headend.clock import parse
from headend.jobs import billing, recompute, settle
from headend.jobs.schedule import Schedule
from headend.store import owed
from headend.store.db import Connection
from tests.support.house import SHANGHAI, Place, moment, one, place, table
from tests.support.household import Home, home, run

FIRST = dt.date(2026, 3, 1)
DAY_FEN = 108_320_000 * 10  # [1e-8 yuan]
FOUR, EIGHT = 4_333, 8_666


def household(conn: Connection, **options: bool) -> tuple[Place, Home]:
    here = place(conn, "1", customer="old", since="2026-03-01 00:00", **options)
    house = home(here.meter, FIRST, 12, steady=2_500)
    house.freeze(conn, *(f"2026-03-{d:02}" for d in range(1, 10)))
    return here, house


def settled(conn: Connection, day: str) -> str:
    date = dt.date.fromisoformat(day)
    with conn.transaction():
        told = settle.job(run(conn, f"{date + dt.timedelta(days=1)} 00:40"), date)
    conn.commit()
    return told


def handed_over(conn: Connection, here: Place, when: str = "2026-03-04 12:00", prepaid: bool = True) -> int:
    conn.execute("UPDATE account SET valid_to = %s WHERE account_id = %s", (moment(when), here.account))
    new = one(
        conn, "INSERT INTO customer (number, name, phone) VALUES ('new', '新户', '') RETURNING customer_id"
    )
    return int(
        one(
            conn,
            "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) SELECT %s, point_id, tariff, %s, %s FROM account "
            "WHERE account_id = %s RETURNING account_id",
            new, prepaid, moment(when), here.account,
        )
    )  # fmt: skip


def charged(conn: Connection) -> list[tuple[str, int]]:
    return table(
        conn,
        "SELECT c.number, -sum(amount_fen)::int FROM ledger_entry JOIN account USING (account_id) JOIN customer c USING (customer_id) "
        "WHERE kind = 'charge' GROUP BY 1 ORDER BY 1 DESC",
    )


def differences(
    conn: Connection,
    last: dt.date = dt.date(2026, 3, 8),
    *,
    write: bool = False,
    now: str = "2026-03-09 00:40",
) -> list[tuple[str, str]]:
    with conn.transaction():
        found = list(recompute.differences(run(conn, now), last, write=write))
    conn.commit()
    return [(d.customer, d.period) for d in found]


def test_what_the_leaver_was_charged_is_the_next_ones(store: Connection) -> None:
    here, house = household(store)
    assert house.cost("2026-03-01 00:00", "2026-03-02 00:00") == DAY_FEN
    for day in range(1, 9):
        settled(store, f"2026-03-0{day}")
    assert charged(store) == [("old", EIGHT)]
    handed_over(store, here)
    assert {c for c, _ in differences(store)} == {"old", "new"}
    assert settled(store, "2026-03-08").endswith("4 days given back that are another's")
    assert charged(store) == [("old", FOUR), ("new", FOUR)]
    assert table(
        store,
        "SELECT period, revision, detail ->> 'closed' FROM ledger_entry WHERE detail ? 'taken_back' ORDER BY period",
    ) == [(f"2026-03-0{d}", 2, "2026-03-05") for d in (5, 6, 7, 8)]
    assert differences(store) == []
    entries = one(store, "SELECT count(*) FROM ledger_entry")
    settled(store, "2026-03-08")
    assert one(store, "SELECT count(*) FROM ledger_entry") == entries  # nothing twice


def test_a_handover_that_was_none_after_all(store: Connection) -> None:
    here, _ = household(store)
    settled(store, "2026-03-08")
    new = handed_over(store, here)
    settled(store, "2026-03-08")
    store.execute(
        "UPDATE account SET valid_from = '2026-03-20', valid_to = '2026-03-20 00:00:01' WHERE account_id = %s",
        (new,),
    )
    store.execute("UPDATE account SET valid_to = '2026-03-20' WHERE account_id = %s", (here.account,))
    settled(store, "2026-03-08")
    assert charged(store) == [("old", EIGHT), ("new", 0)]
    assert differences(store) == []


@pytest.mark.parametrize("first", ["2026-03-02", "2026-03-04", "2026-03-06", "2026-03-08"])
def test_whenever_it_is_learnt_the_money_is_the_same(store: Connection, first: str) -> None:
    here, _ = household(store)
    settled(store, first)
    handed_over(store, here)
    settled(store, "2026-03-08")
    assert charged(store) == [("old", FOUR), ("new", FOUR)]


def test_what_is_older_than_meters_remember_recompute_gives_back(store: Connection) -> None:
    """Half a year later no night looks back so far; asked for it, both sides are put right at once."""
    here, _ = household(store)
    for day in range(1, 9):
        settled(store, f"2026-03-0{day}")
    handed_over(store, here)
    settled(store, "2026-09-08")
    assert charged(store) == [("old", EIGHT)]
    late = {"last": dt.date(2026, 9, 8), "now": "2026-09-09 00:40"}
    assert sorted(set(differences(store, write=True, **late))) == sorted(  # type: ignore[arg-type]
        [("old", f"2026-03-0{d}") for d in (5, 6, 7, 8)] + [("new", f"2026-03-0{d}") for d in (5, 6, 7, 8)]
    )
    assert charged(store) == [("old", FOUR), ("new", FOUR)]
    assert differences(store, **late) == []  # type: ignore[arg-type]


def test_a_bill_that_was_cut_short(store: Connection, tmp_path: Path) -> None:
    here, _ = household(store, prepaid=False)
    store.commit()
    billing.run_span(run(store, "2026-03-09 00:40"), FIRST, dt.date(2026, 3, 8), tmp_path)
    account = here.account or 0
    day = dt.date(2026, 3, 20)
    assert owed.of_account(store, account, day, SHANGHAI).total_fen == EIGHT
    new = handed_over(store, here, prepaid=False)
    store.commit()
    assert billing.correct_cut_short(run(store, "2026-03-10 00:40"), dt.date(2026, 3, 9), tmp_path) == 1
    assert owed.of_account(store, account, day, SHANGHAI).total_fen == FOUR
    assert owed.of_account(store, new, day, SHANGHAI).total_fen == FOUR
    assert table(
        store,
        "SELECT account_id, first_day::text, last_day::text, revision, amount_fen, taken_back FROM bill ORDER BY 1, 3, 4",
    ) == [
        (account, "2026-03-01", "2026-03-04", 1, FOUR, False),
        (account, "2026-03-01", "2026-03-08", 1, EIGHT, False),
        (account, "2026-03-01", "2026-03-08", 2, 0, True),
        (new, "2026-03-05", "2026-03-08", 1, FOUR, False),
    ]
    store.commit()
    assert billing.correct_cut_short(run(store, "2026-03-10 01:40"), dt.date(2026, 3, 9), tmp_path) == 0
    manifest = json.loads(
        (tmp_path / "billing-2026-03-01--2026-03-08.manifest.json").read_text(encoding="utf-8")
    )
    (name,) = [told["name"] for told in manifest["files"] if "corrections" in told["name"]]
    body = (tmp_path / name).read_text(encoding="utf-8")
    assert "old,P1,2026-03-01,2026-03-08,2,86.66,0.00,-86.66," in body


def test_the_nights_job_does_it_by_itself(store: Connection, store_dsn: str, tmp_path: Path) -> None:
    here, _ = household(store, prepaid=False)
    for day in range(1, 9):
        store.commit()
        date = dt.date(2026, 3, day)
        billing.run_span(run(store, "2026-03-09 00:40"), date, date, tmp_path)
    new = handed_over(store, here, prepaid=False)
    Schedule(store_dsn, SHANGHAI, parse("system", SHANGHAI), tmp_path)._bill(store, dt.date(2026, 3, 8))
    day = dt.date(2026, 3, 20)
    assert [owed.of_account(store, a, day, SHANGHAI).total_fen for a in (here.account or 0, new)] == [
        4 * 1_083, 4 * 1_083
    ]  # fmt: skip
