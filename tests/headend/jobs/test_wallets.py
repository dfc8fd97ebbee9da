"""The daily look at wallets: what is asked for, and what is found where they are not as the ledger has them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

import pytest

from headend.jobs import wallets as job
from headend.jobs.frame import Run
from headend.store import ledger, orders, purchases, wallet_rules, wallets
from headend.store.db import Connection, StoreError
from headend.store.wallets import Reading
from protocols.localtime import as_datetime
from tests.support.house import SHANGHAI, Place, at, place

DAY = dt.date(2026, 3, 11)
NOW = "2026-03-11 12:00"
THEN = "2026-03-10 12:00"
REGISTERS = (1_000_000, 0, 600_000, 0, 400_000)
#: 14 kWh later, worth 6.83 yuan
LATER = (1_140_000, 0, 700_000, 0, 440_000)


@pytest.fixture
def home(store: Connection) -> Place:
    here = place(store, "410000010003", customer="9001")
    store.execute("UPDATE account SET fee_control = 'meter'")
    store.commit()
    return here


def pay(store: Connection, fen: int, serial: str, when: str = THEN) -> None:
    ledger.pay(
        store,
        customer="9001",
        channel="counter",
        accounting_date=DAY,
        serial=serial,
        amount_fen=fen,
        paid_at=at(when),
        now=at(when),
    )


def carried(store: Connection, when: str) -> int:
    """What waits was put into the wallet, as its collector would have said."""
    (order,), _ = purchases.ask_waiting(store, now=at(when), who="test")
    store.execute(
        "UPDATE orders SET state = 'verified', is_open = false, sent_at = %(at)s, ended_at = %(at)s WHERE order_id = %(id)s",
        {"at": as_datetime(at(when)), "id": order},
    )
    store.commit()
    return order


def read(
    store: Connection,
    home: Place,
    when: str,
    fen: int,
    count: int,
    registers: Sequence[int],
    is_open: bool = False,
    **settings: int,
) -> None:
    reading = Reading(max(fen, 0), max(-fen, 0), count, registers, is_open, settings)
    wallets.save(store, home.meter, reading, at=at(when))


def found(store: Connection, when: str = NOW) -> dict[str, dict[str, object]]:
    """What the job says now: rule -> its evidence."""
    job.job(Run(store, SHANGHAI, at(when)), DAY)
    rows = store.execute(
        "SELECT rule, evidence FROM finding WHERE state IN ('new', 'recurred') ORDER BY rule"
    ).fetchall()
    store.commit()
    return {row["rule"]: row["evidence"] for row in rows}


def test_a_wallet_is_asked_for_once_a_day(store: Connection, home: Place) -> None:
    assert found(store) == {}
    (order,) = orders.listing(store, limit=9, kind="purchase")
    assert (order["action"], order["asset"], order["state"]) == ("read", home.asset, "approved")
    found(store)
    assert len(orders.listing(store, limit=9, kind="purchase")) == 1
    orders.cancel(store, order["order_id"], who="test", now=at(NOW))
    read(store, home, "2026-03-10 14:00", 0, 0, REGISTERS)
    found(store)
    assert len(orders.listing(store, limit=9, kind="purchase")) == 1
    found(store, "2026-03-11 13:01")
    assert len(orders.listing(store, limit=9, kind="purchase")) == 1  # just tried
    found(store, "2026-03-11 16:01")
    assert len(orders.listing(store, limit=9, kind="purchase")) == 2


def test_nothing_differs(store: Connection, home: Place) -> None:
    pay(store, 5_000, "1")
    carried(store, THEN)
    read(store, home, "2026-03-10 12:01", 5_000, 1, REGISTERS)
    pay(store, 700, "2")
    carried(store, "2026-03-10 20:00")
    read(store, home, "2026-03-11 11:00", 5_000 + 700 - 683, 2, LATER)
    assert found(store) == {}


def test_what_is_left_differs_and_then_no_more(store: Connection, home: Place) -> None:
    pay(store, 5_000, "1")
    carried(store, THEN)
    read(store, home, "2026-03-10 12:01", 5_000, 1, REGISTERS)
    read(store, home, "2026-03-11 10:00", 4_000, 1, LATER)
    said = found(store)
    assert said["wallet-remaining"] | {"customer": ""} == {
        "customer": "", "wallet": "40.00", "before": "50.00", "bought": "0.00", "spent_least": "6.82", "spent_most": "6.85",
        "least": "42.15", "most": "44.18",
    }  # fmt: skip
    read(store, home, "2026-03-11 11:00", 4_000, 1, LATER)
    assert found(store) == {}


def test_a_card_has_put_something_in(store: Connection, home: Place) -> None:
    pay(store, 5_000, "1")
    carried(store, THEN)
    read(store, home, "2026-03-11 11:00", 6_000, 2, LATER)
    assert found(store)["wallet-count"] == {"customer": "9001", "wallet": 2, "ledger": 1}
    purchases.settle(
        store, home.asset, count=2, carried=[], why="card", who="李敏", now=at("2026-03-11 10:30")
    )
    assert found(store) == {}
    assert purchases.proved(store, home.meter) == 2
    assert store.execute(
        "SELECT body::jsonb ->> 'who' AS who FROM audit WHERE kind = 'wallet'"
    ).fetchall() == [{"who": "李敏"}]


def test_nothing_is_said_while_a_purchase_is_under_way(store: Connection, home: Place) -> None:
    pay(store, 5_000, "1", "2026-03-11 09:00")
    (order,), _ = purchases.ask_waiting(store, now=at("2026-03-11 10:00"), who="test")
    store.execute(
        "UPDATE orders SET state = 'unknown', sent_at = %s WHERE order_id = %s",
        (as_datetime(at("2026-03-11 10:00")), order),
    )
    store.commit()
    read(store, home, "2026-03-11 11:00", 5_000, 1, LATER)
    assert found(store) == {}
    store.execute(
        "UPDATE orders SET state = 'verified', is_open = false, ended_at = %s WHERE order_id = %s",
        (as_datetime(at("2026-03-11 11:30")), order),
    )
    store.commit()
    assert found(store) == {}  # the reading fell between sending and proof
    read(store, home, "2026-03-11 11:45", 5_000, 2, LATER)
    assert set(found(store)) == {"wallet-count"}


def test_overdrawn_limits_and_silence(store: Connection, home: Place) -> None:
    wallet_rules.set_rules(store, {"alarm1": 2_000})
    read(store, home, "2026-03-11 11:00", -300, 0, LATER, alarm1=1_000, overdraft=200)
    said = found(store)
    assert said["wallet-overdrawn"] == {"customer": "9001", "wallet": "-3.00", "overdraft": "2.00"}
    assert said["wallet-settings"] == {"customer": "9001", "alarm1": "10.00", "alarm1_wanted": "20.00"}
    assert set(found(store, "2026-03-13 11:01")) == {"wallet-unread"}


def test_what_the_meter_refused_is_a_finding_until_it_is_in(store: Connection, home: Place) -> None:
    pay(store, 5_000, "1", "2026-03-11 09:00")
    (order,), _ = purchases.ask_waiting(store, now=at("2026-03-11 09:00"), who="test")
    store.execute(
        "UPDATE orders SET state = 'failed', is_open = false, outcome = 'the meter refused: hoarding', result = %s WHERE order_id = %s",
        (json.dumps({"serr": "0040"}), order),
    )
    store.commit()
    said = found(store)
    assert said["wallet-refused"] == {
        "customer": "9001", "purchase": 1, "yuan": "50.00", "order": order, "why": "the meter refused: hoarding"
    }  # fmt: skip
    purchases.again(store, 1, who="李敏", now=at(NOW))
    assert found(store) == {}


def test_what_was_paid_a_day_ago_and_is_not_in_the_meter_is_a_finding(store: Connection, home: Place) -> None:
    """Whatever the reason: here no meter could hold the customer's number, so it is not even asked for."""
    store.execute("UPDATE customer SET number = 'A9001'")
    store.commit()
    ledger.pay(
        store, customer="A9001", channel="counter", accounting_date=DAY, serial="1", amount_fen=700, paid_at=at(THEN), now=at(THEN)
    )  # fmt: skip
    assert job.act(Run(store, SHANGHAI, at(THEN)))[0] == 0
    assert found(store, "2026-03-11 11:59") == {}
    said = found(store)
    assert said["wallet-late"] == {
        "customer": "A9001", "purchase": 1, "yuan": "7.00", "paid": "2026-03-10T12:00+08:00", "order": None,
        "why": "not asked for; `headend purchase reconcile` says why not",
    }  # fmt: skip


def test_an_order_that_comes_to_nothing_each_day_is_late_and_one_that_a_person_must_see_is_only_that(
    store: Connection, home: Place
) -> None:
    pay(store, 700, "1")
    pay(store, 800, "2")
    (order,), _ = purchases.ask_waiting(store, now=at(THEN), who="test")
    orders.expire(store, now=at(NOW), who="test")
    said = found(store)
    assert (set(said), said["wallet-late"]["purchase"]) == ({"wallet-late"}, 1)
    assert "not sent by" in str(said["wallet-late"]["why"])
    store.execute(
        "UPDATE orders SET state = 'failed', sent_at = requested_at, result = %s WHERE order_id = %s",
        (json.dumps({"serr": "0040"}), order),
    )
    store.commit()
    assert set(found(store)) == {"wallet-refused"}


def test_a_refund_that_is_proved_takes_the_payment_back_once(store: Connection, home: Place) -> None:
    pay(store, 5_000, "1")
    carried(store, THEN)
    order = purchases.refund(store, 1, reason="moved out", who="李敏", now=at(NOW))
    orders.approve(store, order, who="陈晓", now=at(NOW))
    run = Run(store, SHANGHAI, at(NOW))
    assert job.act(run) == (0, 0, [])
    store.execute("UPDATE orders SET state = 'verified', is_open = false WHERE order_id = %s", (order,))
    store.commit()
    assert [job.act(run) for _ in range(2)] == [(0, 1, []), (0, 0, [])]
    assert ledger.sums(store)[home.account or 0][0] == 0
    assert ledger.payment_differences(store) == []
    assert purchases.one(store, 1)["standing"] == "refunded"


def test_rules_are_checked(store: Connection) -> None:
    assert wallet_rules.set_rules(store, {"tolerance": 250, "permit": 0}).tolerance == 250
    for wrong, why in (
        ({"tolerence": 1}, "unknown"),
        ({"alarm1": -1}, "at least 0"),
        ({"tolerance": None}, "needs a number"),
        ({"age_hours": 10**12}, "at most"),  # a time that long ago is none
        ({"alarm1": 10**8}, "at most"),  # more than a wallet shows
    ):
        with pytest.raises(StoreError, match=why):
            wallet_rules.set_rules(store, wrong)
    assert (wallet_rules.rules(store).tolerance, wallet_rules.rules(store).permit) == (250, 0)
