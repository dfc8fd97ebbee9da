"""What happens in the middle of a month must not lose energy, nor charge it twice, nor at another day's price."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from headend.jobs import prepaid, settle
from headend.store import accounts
from headend.store.db import Connection
from tariffs import plan
from tariffs.plan import Tariff
from tests.support.house import SHANGHAI, at, moment, one, place
from tests.support.household import fen, home, run


@pytest.mark.parametrize(
    ("change", "start"),
    [
        ({"address": "000000000002"}, dt.date(2026, 2, 1)),
        ({"secrets": '{"password": "123456"}'}, dt.date(2026, 2, 1)),
        ({"ct": 40}, dt.date(2026, 3, 6)),
    ],
)
def test_a_new_route_does_not_begin_the_register_anew(
    store: Connection, change: dict[str, object], start: dt.date
) -> None:
    """The day of a new password or address was charged to nobody, and its month could not be billed."""
    where = place(store, "1", customer="C1", since="2026-02-01 00:00")
    for since in ("2026-03-02 10:00", "2026-03-05 10:00"):
        before = store.execute("SELECT address, ct FROM installation WHERE valid_to = 'infinity'").fetchone()
        assert before is not None
        store.execute("UPDATE installation SET valid_to = %s WHERE valid_to = 'infinity'", (moment(since),))
        row = {"address": before["address"], "secrets": "{}", "ct": before["ct"]}
        row |= change if since.startswith("2026-03-05") else {"address": "000000000009"}
        store.execute(
            "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, secrets, valid_from) "
            "VALUES (%s, %s, %s, %s, %s, 1, %s, %s)",
            (
                where.meter,
                where.point,
                where.terminal,
                row["address"],
                row["ct"],
                row["secrets"],
                moment(since),
            ),
        )
    (found,) = accounts.load(store, now=at("2026-03-11 11:00"), zone=SHANGHAI).start
    assert found == start


def test_a_meter_that_was_away_begins_anew(store: Connection) -> None:
    where = place(store, "1", customer="C1", since="2026-02-01 00:00", until="2026-03-01 00:00")
    store.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) VALUES (%s, %s, %s, '1', 1, 1, %s)",
        (where.meter, where.point, where.terminal, moment("2026-03-04 00:00")),
    )
    (found,) = accounts.load(store, now=at("2026-03-11 11:00"), zone=SHANGHAI).start
    assert found == dt.date(2026, 3, 4)


def dearer(since: dt.date) -> Tariff:
    """The shipped tariff, with twice the prices from a day on."""
    shipped = SHIPPED
    (now,) = shipped.versions
    then = replace(now, valid_from=since, prices=tuple(p and 2 * p for p in now.prices))
    return replace(shipped, versions=(now, then))


NAME = "zhejiang-residential-peak-valley"
SHIPPED = plan.shipped()[NAME]


def owed(conn: Connection) -> int:
    return -int(one(conn, "SELECT coalesce(sum(amount_fen), 0) FROM ledger_entry WHERE kind = 'charge'"))


def settled(conn: Connection, day: str) -> None:
    date = dt.date.fromisoformat(day)
    with conn.transaction():
        settle.job(run(conn, f"{date + dt.timedelta(days=1)} 00:40"), date)
    conn.commit()


def test_a_new_price_holds_from_its_day_on(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The month to date was priced anew at the price of its last day."""
    monkeypatch.setattr(plan, "shipped", lambda: {NAME: dearer(dt.date(2026, 3, 4))})
    where = place(store, "1", customer="C1", since="2026-03-01 00:00")
    house = home(where.meter, dt.date(2026, 3, 1), 8)
    house.freeze(store, *(f"2026-03-0{d}" for d in range(1, 7)))
    for day in range(1, 6):
        settled(store, f"2026-03-0{day}")
    before = house.cost("2026-03-01 00:00", "2026-03-04 00:00")
    after = house.cost("2026-03-04 00:00", "2026-03-06 00:00")
    assert owed(store) == fen(before + 2 * after)
    settled(store, "2026-03-05")
    assert one(store, "SELECT count(*) FROM ledger_entry") == 5


def test_a_balance_over_a_price_change_favours_the_customer(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days before the change were charged at the new price, and somebody was below zero by that alone."""
    monkeypatch.setattr(plan, "shipped", lambda: {NAME: dearer(dt.date(2026, 3, 3))})
    where = place(store, "1", customer="C1", since="2026-03-02 00:00")
    house = home(where.meter, dt.date(2026, 3, 2), 3)
    house.bring(store, "2026-03-02 00:00", "2026-03-03 06:00")
    running = prepaid.balances(run(store, "2026-03-03 06:07"))
    assert running is not None
    before = house.cost("2026-03-02 00:00", "2026-03-03 00:00")
    after = house.cost("2026-03-03 00:00", "2026-03-03 06:00")
    assert running.assessment.low[0] <= -(before + 2 * after) <= running.assessment.high[0]
    assert running.assessment.high[0] == -(before + after)


def test_what_was_used_before_the_head_end_began_is_not_charged(store: Connection) -> None:
    """Meters in service for years remember two months of days, which somebody else has billed: charging them would put their customers
    below zero in the first night."""
    where = place(store, "1", customer="C1", since="2024-01-01 00:00")
    house = home(where.meter, dt.date(2026, 2, 1), 42)
    house.freeze(store, *(str(dt.date(2026, 2, 1) + dt.timedelta(days=k)) for k in range(41)))
    for _ in range(2):
        settled(store, "2026-03-11")
    assert one(store, "SELECT min(period) FROM ledger_entry") == "2026-03-01"


def test_a_month_without_a_word_from_the_meter_is_charged_when_it_speaks(store: Connection) -> None:
    where = place(store, "1", customer="C1", since="2025-10-01 00:00")
    house = home(where.meter, dt.date(2026, 1, 1), 65)
    house.freeze(store, "2026-01-01", "2026-01-02")
    settled(store, "2026-01-01")
    house.freeze(store, *(str(dt.date(2026, 2, 1) + dt.timedelta(days=k)) for k in range(32)))
    settled(store, "2026-03-03")
    january, february, march = (
        fen(house.cost(f"2026-0{m}-01 00:00", end))
        for m, end in ((1, "2026-02-01 00:00"), (2, "2026-03-01 00:00"), (3, "2026-03-04 00:00"))
    )
    assert owed(store) == january + february + march
