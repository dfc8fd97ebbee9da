"""Days become entries; whatever comes late or is read differently becomes a visible correction, and the sum is always the bill."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from headend.jobs import settle
from headend.store import ledger, tariffs
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES
from tests.headend.store.test_tariffs import VERSION
from tests.support.house import at, moment, one, place, rows, table, write
from tests.support.household import Home, fen, home, run

FIRST = dt.date(2026, 3, 5)


def customer(
    conn: Connection, asset: str = "1", *, since: str = "2026-03-05 00:00", days: int = 8, **options: Any
) -> tuple[int, Home]:
    here = place(conn, asset, customer=f"C{asset}", since=since, **options)
    return here.account or 0, home(here.meter, dt.date.fromisoformat(since[:10]), days)


def settled(conn: Connection, day: str) -> str:
    """Settle a day in the night after it."""
    date = dt.date.fromisoformat(day)
    with conn.transaction():
        return settle.job(run(conn, f"{date + dt.timedelta(days=1)} 00:40"), date)


def posted(conn: Connection, account: int) -> list[tuple[str, int, int]]:
    return table(
        conn,
        "SELECT period, revision, amount_fen FROM ledger_entry WHERE kind = 'charge' AND account_id = %s ORDER BY entry_id",
        account,
    )


def test_day_by_day(store: Connection) -> None:
    account, house = customer(store)
    house.freeze(store, "2026-03-05", "2026-03-06", "2026-03-07", "2026-03-08")
    assert settled(store, "2026-03-05") == "1 entries, 0 corrections, 0 accounts wait for a freeze"
    assert settled(store, "2026-03-07") == "2 entries, 0 corrections, 0 accounts wait for a freeze"
    to_date = [fen(house.cost("2026-03-05 00:00", f"2026-03-{d:02} 00:00")) for d in (5, 6, 7, 8)]
    assert posted(store, account) == [(f"2026-03-0{5 + k}", 1, to_date[k] - to_date[k + 1]) for k in range(3)]
    assert settled(store, "2026-03-07") == "0 entries, 0 corrections, 0 accounts wait for a freeze"
    assert len(posted(store, account)) == 3
    detail = ledger.entries(store, account, 1)[0]["detail"]
    assert detail["month_to_date_fen"] == to_date[3]
    assert detail["registers_to"][0] == house.total[3 * 96]


def test_a_plan_with_steps_is_settled_by_what_the_year_has_brought(store: Connection) -> None:
    here = place(store, "1", customer="C1", since="2025-06-01 00:00", tariff="zhejiang-residential-steps")
    house = home(here.meter, dt.date(2026, 3, 1), 4)
    house.freeze(store, "2026-03-01", "2026-03-02", "2026-03-03")
    # nobody knows what was used from New Year's Day on
    assert settled(store, "2026-03-01") == "0 entries, 0 corrections, 1 accounts wait for a freeze"
    first, second = (house.total[96 * k] - house.total[96 * (k - 1)] for k in (1, 2))
    beyond = 10_000  # 1 kWh of the first day lies in the second step, and all of the second day
    store.execute(
        "INSERT INTO account_opening VALUES (%s, '2026-03-01', %s)",
        (here.account, 2760 * 10_000 - first + beyond),
    )
    store.commit()
    for day in ("2026-03-01", "2026-03-02"):
        settled(store, day)
    costs = [house.cost("2026-03-01 00:00", f"2026-03-0{k} 00:00") for k in (2, 3)]
    to_date = [fen(costs[0] + 500 * beyond), fen(costs[1] + 500 * (beyond + second))]
    assert posted(store, here.account or 0) == [
        ("2026-03-01", 1, -to_date[0]), ("2026-03-02", 1, to_date[0] - to_date[1]),
    ]  # fmt: skip


def late_plan(conn: Connection) -> str:
    """A plan of the utility's own that holds from 6 March on."""
    text = VERSION.format(day="2026-03-06", price="0.5")
    head = 'name = "late"\ntitle_en = "Late"\ntitle_zh = "新电价"\nregion = "330000"\nsource = "notice 8"\n'
    tariffs.put(
        conn, [tariffs.Offered.of(head + text, "late.toml")], who="wang", reason="notice 8", now=at("2026-03-01 10:00"), today=dt.date(2026, 3, 1)
    )  # fmt: skip
    conn.commit()
    return "late"


def test_a_plan_without_a_price_stops_nobody_else(store: Connection) -> None:
    account, house = customer(store)
    other, _ = customer(store, "2", tariff=late_plan(store))
    house.freeze(store, "2026-03-05", "2026-03-06")
    assert settled(store, "2026-03-05") == "1 entries, 0 corrections, 1 accounts wait for a freeze"
    assert len(posted(store, account)) == 1
    assert posted(store, other) == []


def test_an_entry_changed_by_hand_stops_nobody_else(store: Connection) -> None:
    account, house = customer(store)
    other, second = customer(store, "2")
    for each in (house, second):
        each.freeze(store, "2026-03-05", "2026-03-06")
    settled(store, "2026-03-05")
    store.execute("ALTER TABLE ledger_entry DISABLE TRIGGER append_only")
    store.execute("UPDATE ledger_entry SET amount_fen = amount_fen - 1 WHERE account_id = %s", (account,))
    second.freeze(store, "2026-03-06", add=10_000)
    told = settled(store, "2026-03-05")
    assert told.startswith("0 entries, 1 corrections")
    assert told.endswith("1 entries contradict their inputs: `headend ledger recompute` names them")
    assert len(posted(store, other)) == 2


def test_a_young_account_is_charged_from_its_first_day_however_late_its_register_comes(
    store: Connection,
) -> None:
    account, house = customer(store, since="2026-02-26 00:00", days=10)
    house.freeze(store, "2026-03-01", "2026-03-02")
    settled(store, "2026-03-01")
    assert [period for period, _, _ in posted(store, account)] == ["2026-03-01"]
    house.freeze(store, "2026-02-26", "2026-02-27", "2026-02-28")
    settled(store, "2026-03-01")
    assert {period for period, _, _ in posted(store, account)} == {
        "2026-02-26",
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
    }
    assert -sum(amount for _, _, amount in posted(store, account)) == fen(
        house.cost("2026-02-26 00:00", "2026-03-01 00:00")
    ) + fen(house.cost("2026-03-01 00:00", "2026-03-02 00:00"))


def test_a_day_that_cannot_be_derived_any_more_is_not_charged_a_second_time(store: Connection) -> None:
    account, house = customer(store)
    house.freeze(store, "2026-03-05", "2026-03-06", "2026-03-07")
    settled(store, "2026-03-05")
    store.execute("DELETE FROM register_read WHERE ts = %s", (moment("2026-03-06 00:00"),))
    settled(store, "2026-03-06")
    assert -sum(amount for _, _, amount in posted(store, account)) == fen(
        house.cost("2026-03-05 00:00", "2026-03-07 00:00")
    )


def test_a_meter_is_exchanged_within_the_month(store: Connection) -> None:
    old = place(store, "1", customer="C1", point="P1", since="2026-03-01 00:00", until="2026-03-02 10:00")
    new = place(store, "2", point="P1", since="2026-03-02 10:00", ct=20)
    before, after = home(old.meter, dt.date(2026, 3, 1), 4), home(new.meter, dt.date(2026, 3, 1), 4, seed=2)
    before.freeze(store, "2026-03-01", "2026-03-02")
    after.freeze(store, "2026-03-03", "2026-03-04")
    settled(store, "2026-03-01")
    # the day of the exchange, and the month after it, wait for the two registers of that moment: nothing is lost and nothing guessed
    assert settled(store, "2026-03-03") == "0 entries, 0 corrections, 1 accounts wait for a freeze"
    for house in (before, after):
        house.spot(store, "2026-03-02 10:00")
    assert settled(store, "2026-03-03") == "2 entries, 0 corrections, 0 accounts wait for a freeze"
    cost = before.cost("2026-03-01 00:00", "2026-03-02 10:00") + after.cost(
        "2026-03-02 10:00", "2026-03-04 00:00", 20
    )
    assert -sum(amount for _, _, amount in posted(store, old.account or 0)) == fen(cost)
    detail = ledger.entries(store, old.account or 0, 1)[0]["detail"]
    assert (detail["meter"], detail["multiplier"]) == ("1 2", 20)


def test_a_revised_freeze_is_a_visible_correction(store: Connection) -> None:
    account, house = customer(store)
    house.freeze(store, *(f"2026-03-0{d}" for d in range(5, 9)))
    settled(store, "2026-03-07")
    before = posted(store, account)
    house.freeze(store, "2026-03-07", add=10_000)  # read again: one peak kWh more
    assert settled(store, "2026-03-07") == "0 entries, 2 corrections, 0 accounts wait for a freeze"
    after = posted(store, account)
    assert after[:3] == before
    # the day that ends there costs more, the next begins there and costs as much less
    assert [(period, revision) for period, revision, _ in after[3:]] == [("2026-03-06", 2), ("2026-03-07", 2)]
    assert [amount for *_, amount in after[3:]] in ([-57, 57], [-56, 56])  # by where the rounding falls
    assert -sum(amount for *_, amount in after) == fen(house.cost("2026-03-05 00:00", "2026-03-08 00:00"))
    assert settled(store, "2026-03-07").startswith("0 entries, 0 corrections")


def test_a_missing_freeze_posts_nothing_and_the_next_day_posts_both(store: Connection) -> None:
    account, house = customer(store)
    house.freeze(store, "2026-03-05", "2026-03-06")
    settled(store, "2026-03-05")
    assert settled(store, "2026-03-06") == "0 entries, 0 corrections, 1 accounts wait for a freeze"
    house.freeze(store, "2026-03-08")
    assert settled(store, "2026-03-07") == "1 entries, 0 corrections, 0 accounts wait for a freeze"
    one_day, three = (fen(house.cost("2026-03-05 00:00", f"2026-03-0{d} 00:00")) for d in (6, 8))
    assert posted(store, account)[1:] == [("2026-03-07", 1, one_day - three)]
    # it comes at last: the day gets its own entry, the next one gives back as much, and nothing is paid twice
    house.freeze(store, "2026-03-07")
    assert settled(store, "2026-03-07") == "1 entries, 1 corrections, 0 accounts wait for a freeze"
    two = fen(house.cost("2026-03-05 00:00", "2026-03-07 00:00"))
    assert posted(store, account)[2:] == [("2026-03-06", 1, one_day - two), ("2026-03-07", 2, two - one_day)]


def test_a_freeze_that_comes_after_the_month_is_over(store: Connection) -> None:
    account, house = customer(store, since="2026-02-27 00:00", days=6)
    house.freeze(store, "2026-02-27", "2026-02-28", "2026-03-02")
    for day in ("2026-02-27", "2026-02-28", "2026-03-01"):
        settled(store, day)
    assert [p[0] for p in posted(store, account)] == ["2026-02-27"]
    house.freeze(store, "2026-03-01")  # the one that closes February
    assert settled(store, "2026-03-01") == "2 entries, 0 corrections, 0 accounts wait for a freeze"
    assert [p[0] for p in posted(store, account)] == ["2026-02-27", "2026-02-28", "2026-03-01"]
    february, march = (
        house.cost("2026-02-27 00:00", "2026-03-01 00:00"),
        house.cost("2026-03-01 00:00", "2026-03-02 00:00"),
    )
    assert ledger.sums(store)[account][0] == -fen(february) - fen(march)


def test_a_month_is_settled_again_as_long_as_its_freezes_can_still_come() -> None:
    ends = settle._month_ends
    assert ends(dt.date(2026, 3, 11)) == [dt.date(2026, 1, 31), dt.date(2026, 2, 28), dt.date(2026, 3, 11)]
    assert ends(dt.date(2026, 3, 31)) == [dt.date(2026, 1, 31), dt.date(2026, 2, 28), dt.date(2026, 3, 31)]
    new_year = [dt.date(2025, 10, 31), dt.date(2025, 11, 30), dt.date(2025, 12, 31), dt.date(2026, 1, 1)]
    assert ends(new_year[-1]) == new_year


def test_what_cannot_be_a_charge_waits(store: Connection) -> None:
    account, house = customer(store)
    write(
        store,
        DAY_FREEZES,
        rows(
            [house.meter] * 2,
            [at("2026-03-05 00:00"), at("2026-03-06 00:00")],
            active_import=[5000, 4000],
            active_import_t4=[10, 10],
        ),
    )
    assert settled(store, "2026-03-05") == "0 entries, 0 corrections, 1 accounts wait for a freeze"
    assert posted(store, account) == []


def test_who_is_not_settled(store: Connection) -> None:
    assert settled(store, "2026-03-05") == "no prepaid accounts"
    place(store, "1", customer="C1", prepaid=False)
    assert settled(store, "2026-03-05") == "no prepaid accounts"
    # commissioned within the day: the first charge is that of the first whole day
    here = place(store, "2", customer="C2", since="2026-03-05 09:00")
    house = home(here.meter, FIRST, 3)
    house.freeze(store, "2026-03-05", "2026-03-06", "2026-03-07")
    assert settled(store, "2026-03-05") == "no prepaid accounts"
    settled(store, "2026-03-06")
    assert posted(store, here.account or 0) == [
        ("2026-03-06", 1, -fen(house.cost("2026-03-06 00:00", "2026-03-07 00:00")))
    ]


def test_whatever_the_order_the_sum_is_the_bill(store: Connection) -> None:
    """Forty accounts, freezes arriving in random order over nights: the entries of each always sum to its month's charge."""
    rng = np.random.default_rng(20260311)
    homes = {}
    for k in range(40):
        account, house = customer(
            store, f"{k}", since="2026-02-26 00:00", days=10, ct=int(rng.integers(1, 80))
        )
        homes[account] = (house, one(store, "SELECT ct FROM installation WHERE meter_id = %s", house.meter))
    midnights = [str(dt.date(2026, 2, 26) + dt.timedelta(days=k)) for k in range(10)]
    for house, _ in homes.values():
        house.freeze(store, midnights[0], midnights[3])  # both months' openings are there
    late = [(account, day) for account in homes for day in midnights[1:3] + midnights[4:]]
    rng.shuffle(late)
    for batch in np.array_split(np.array(late, dtype=object), 3):
        for account, day in batch:
            homes[account][0].freeze(store, day)
            if rng.random() < 0.2:
                homes[account][0].freeze(store, day, add=int(rng.integers(1, 500)))
                homes[account][0].freeze(store, day, add=0)  # and, read a third time, it was right at first
                store.execute("DELETE FROM revision")
        settled(store, midnights[-2])
        for account, (house, ct) in homes.items():
            there = {
                row[0].date().isoformat()
                for row in table(
                    store,
                    "SELECT ts AT TIME ZONE 'Asia/Shanghai' FROM register_read WHERE meter_id = %s",
                    house.meter,
                )
            }
            february = max(d for d in midnights[:4] if d in there)
            march = max(d for d in midnights[3:] if d in there)
            due = fen(house.cost("2026-02-26 00:00", f"{february} 00:00", ct)) + fen(
                house.cost("2026-03-01 00:00", f"{march} 00:00", ct)
            )
            assert ledger.sums(store).get(account, (0, 0))[0] == -due
        store.commit()
