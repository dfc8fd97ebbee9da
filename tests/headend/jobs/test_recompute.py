"""What the ledger should hold beside what stands: nothing where all is well, one line for each thing that is not, and nothing written unasked."""

from __future__ import annotations

import datetime as dt

import pytest

from headend.jobs import recompute, settle
from headend.store import ledger
from headend.store.db import Connection, StoreError
from headend.store.ledger import Difference, Name
from tests.support.house import at, moment, one, place
from tests.support.household import Home, fen, home, run

LAST = dt.date(2026, 3, 9)
NIGHT = "2026-03-10 00:40"


def settled(conn: Connection, *days: str) -> None:
    for day in days:
        date = dt.date.fromisoformat(day)
        with conn.transaction():
            settle.job(run(conn, f"{date + dt.timedelta(days=1)} 00:40"), date)
    conn.commit()


def differences(conn: Connection, *, write: bool = False, now: str = NIGHT) -> list[Difference]:
    with conn.transaction():
        found = list(recompute.differences(run(conn, now), LAST, write=write))
    conn.commit()
    return found


def household(conn: Connection, asset: str = "1", since: str = "2026-02-26") -> tuple[int, Home]:
    here = place(conn, asset, customer=f"C{asset}", since=f"{since} 00:00")
    house = home(here.meter, dt.date.fromisoformat(since), 16)
    house.freeze(conn, *(str(dt.date.fromisoformat(since) + dt.timedelta(days=k)) for k in range(13)))
    return here.account or 0, house


def everything(conn: Connection) -> None:
    settled(conn, *(str(dt.date(2026, 2, 26) + dt.timedelta(days=k)) for k in range(12)))


def test_night_by_night_is_what_it_should_be(store: Connection) -> None:
    account, house = household(store)
    household(store, "2")
    everything(store)
    assert one(store, "SELECT count(*) FROM ledger_entry") == 24
    assert differences(store) == []
    assert ledger.sums(store)[account][0] == -(
        fen(house.cost("2026-02-26 00:00", "2026-03-01 00:00"))
        + fen(house.cost("2026-03-01 00:00", "2026-03-10 00:00"))
    )


def test_a_wrong_amount_is_one_line_and_is_corrected_when_asked(store: Connection) -> None:
    account, house = household(store)
    everything(store)
    # one more entry of a day, of which no reading knows
    ledger.post(store, [ledger.Charge(account, "2026-03-05", 2, -1, b"x" * 32, {})], now=at(NIGHT))
    store.commit()
    cost = fen(house.cost("2026-03-01 00:00", "2026-03-06 00:00")) - fen(
        house.cost("2026-03-01 00:00", "2026-03-05 00:00")
    )
    wrong = [Difference("C1", account, "charge", "2026-03-05", -cost, -cost - 1)]
    entries = one(store, "SELECT count(*) FROM ledger_entry")
    assert differences(store) == wrong
    assert differences(store) == wrong
    assert one(store, "SELECT count(*) FROM ledger_entry") == entries  # nothing was written
    assert differences(store, write=True) == wrong
    assert one(store, "SELECT count(*) FROM ledger_entry") == entries + 1
    assert differences(store) == []


def test_a_day_that_was_never_charged(store: Connection) -> None:
    account, house = household(store)
    settled(store, "2026-03-05")
    cost = fen(house.cost("2026-03-01 00:00", "2026-03-09 00:00")) - fen(
        house.cost("2026-03-01 00:00", "2026-03-06 00:00")
    )
    found = differences(store)
    # the month goes on, and its sum is the bill's
    assert [(d.period, d.stands_fen) for d in found] == [(f"2026-03-0{k}", 0) for k in (6, 7, 8, 9)]
    assert sum(d.should_fen or 0 for d in found[:3]) == -cost
    assert all(d.account_id == account for d in found)


def test_of_a_customer_without_any_charge_the_whole_beginning_is_missing(store: Connection) -> None:
    household(store)
    found = differences(store)
    assert {d.period for d in found} >= {"2026-02-26", "2026-03-09"}
    everything(store)
    assert differences(store) == []


def test_a_late_reading_is_a_difference_until_it_is_settled(store: Connection) -> None:
    _, house = household(store)
    everything(store)
    house.freeze(store, "2026-03-04", add=10_000)
    assert [d.period for d in differences(store)] == ["2026-03-03", "2026-03-04"]
    settled(store, "2026-03-09")
    assert differences(store) == []


def test_the_days_of_the_meter_before(store: Connection) -> None:
    """A settlement knows only of the meter that hangs there now; what the one before was charged must be derived again all the same."""
    account, house = household(store)
    settled(store, *(str(dt.date(2026, 2, 26) + dt.timedelta(days=k)) for k in range(7)))  # to 4 March
    store.execute("UPDATE installation SET valid_to = %s", (moment("2026-03-05 10:00"),))
    there = place(store, "9", point="P1", since="2026-03-05 10:00")
    after = home(there.meter, dt.date(2026, 3, 5), 8)
    after.freeze(store, *(f"2026-03-{d:02}" for d in range(6, 11)))
    settled(store, "2026-03-05", "2026-03-06", "2026-03-09")
    assert differences(store) == []
    # a new address is no new meter
    store.execute(
        "UPDATE installation SET valid_to = %s WHERE valid_to = 'infinity'", (moment("2026-03-08 09:00"),)
    )
    store.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) VALUES (%s, %s, %s, '77', 1, 1, %s)",
        (there.meter, there.point, there.terminal, moment("2026-03-08 09:00")),
    )
    assert differences(store) == []
    house.freeze(store, "2026-03-03", add=10_000)
    assert [(d.account_id, d.period) for d in differences(store)] == [
        (account, "2026-03-02"),
        (account, "2026-03-03"),
    ]


def test_what_rests_on_nothing(store: Connection) -> None:
    account, _ = household(store)
    everything(store)
    store.execute("DELETE FROM register_read WHERE ts = %s", (moment("2026-03-01 00:00"),))
    store.execute("DELETE FROM revision")
    found = differences(store)
    # March is counted from the register that is gone, and February ended with it
    assert {d.period for d in found} == {"2026-02-28", *(f"2026-03-0{k}" for k in range(1, 10))}
    assert all(d.should_fen is None and (d.stands_fen or 0) < 0 for d in found)
    entries = one(store, "SELECT count(*) FROM ledger_entry WHERE account_id = %s", account)
    differences(store, write=True)
    assert one(store, "SELECT count(*) FROM ledger_entry WHERE account_id = %s", account) == entries


def tampered(conn: Connection, sql: str) -> None:
    conn.execute("ALTER TABLE ledger_entry DISABLE TRIGGER append_only")
    conn.execute(sql.encode())
    conn.execute("ALTER TABLE ledger_entry ENABLE TRIGGER append_only")
    conn.commit()


def test_payments_and_their_entries(store: Connection) -> None:
    account, _ = household(store)
    day = dt.date(2026, 3, 5)
    for serial in ("1", "2", "3"):
        ledger.pay(
            store, customer="C1", channel="bank", accounting_date=day, serial=serial, amount_fen=500, paid_at=at(NIGHT), now=at(NIGHT),
        )  # fmt: skip
    with store.transaction():
        ledger.reverse(
            store,
            Name("bank", day, "2"),
            reversal_serial="R",
            amount_fen=500,
            reversed_at=at(NIGHT),
            now=at(NIGHT),
        )
    everything(store)
    assert differences(store) == []
    tampered(store, "UPDATE ledger_entry SET amount_fen = 501 WHERE kind = 'payment' AND period LIKE '%/1'")
    tampered(store, "UPDATE ledger_entry SET amount_fen = -1 WHERE kind = 'reversal'")
    assert differences(store) == [
        Difference("C1", account, "payment", "bank/2026-03-05/1", 500, 501),
        Difference("C1", account, "reversal", "bank/2026-03-05/2", -500, -1),
        Difference("C1", account, "sum", "all", *sums(store)),
    ]
    assert sums(store)[0] - sums(store)[1] == 500


def sums(conn: Connection) -> tuple[int, int]:
    """As the entries add up, and as it was kept."""
    return one(conn, "SELECT sum(amount_fen) FROM ledger_entry"), one(
        conn, "SELECT sum(amount_fen) FROM ledger_sum"
    )


def test_an_entry_changed_by_hand_is_found_and_not_papered_over(store: Connection) -> None:
    account, _ = household(store)
    everything(store)
    tampered(store, "UPDATE ledger_entry SET amount_fen = amount_fen + 1 WHERE period = '2026-03-05'")
    summed, found = differences(store)
    assert (summed.account_id, summed.kind, (summed.should_fen or 0) - (summed.stands_fen or 0)) == (
        account,
        "sum",
        1,
    )
    assert (found.account_id, found.period) == (account, "2026-03-05")
    assert (found.stands_fen or 0) - (found.should_fen or 0) == 1
    with pytest.raises(StoreError, match="the ledger was changed by hand"):
        differences(store, write=True)
