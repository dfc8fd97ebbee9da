"""A payment and what carries it: whoever takes it back and whoever carries it take turns."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from headend.store import db, ledger, orders, purchases
from headend.store.db import Connection
from headend.store.ledger import Name
from headend.store.orders import OrderError
from headend.store.purchases import CannotPurchase
from tests.support.house import at, place

DAY = dt.date(2026, 3, 11)
NOW = at("2026-03-11 10:00")
WAITS = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def bought(store: Connection) -> purchases.Waiting:
    """One that may be asked for."""
    place(store, "410000010003", customer="9001")
    store.execute("UPDATE account SET fee_control = 'meter'")
    store.commit()
    ledger.pay(
        store,
        customer="9001",
        channel="counter",
        accounting_date=DAY,
        serial="1",
        amount_fen=500,
        paid_at=NOW,
        now=NOW,
    )
    (one,) = purchases.waiting(store, now=NOW)
    store.commit()
    return one


def reverse(conn: Connection) -> None:
    """In the caller's transaction."""
    ledger.reverse(
        conn, Name("counter", DAY, "1"), reversal_serial="R", amount_fen=500, reversed_at=NOW, now=NOW
    )


def test_what_is_being_taken_back_is_not_carried(
    store: Connection, store_dsn: str, bought: purchases.Waiting
) -> None:
    """The look at what is waiting was before the reversal, the asking waits for it, and sees it."""
    came: list[str] = []

    def ask() -> None:
        with db.connect(store_dsn) as other:
            try:
                purchases.ask(other, bought, who="job", now=NOW)
                came.append("asked")
            except CannotPurchase as why:
                came.append(str(why))

    with db.connect(store_dsn) as watcher, store.transaction():
        reverse(store)
        thread = threading.Thread(target=ask)
        thread.start()
        while watcher.execute(WAITS).fetchone() != {"n": 1}:
            watcher.rollback()  # each look is a new one
            assert thread.is_alive(), came
    store.commit()
    thread.join(10)
    assert came == ["purchase 1 need not be carried any more"]
    assert orders.listing(store, limit=9, kind="purchase") == []


def test_what_was_asked_for_is_withdrawn(store: Connection, bought: purchases.Waiting) -> None:
    order = purchases.ask(store, bought, who="job", now=NOW)
    with store.transaction():
        reverse(store)
    assert orders.get(store, order)["state"] == "cancelled"
    assert purchases.waiting(store, now=NOW) == []


def test_one_order_of_a_wallet_at_a_time(store: Connection, bought: purchases.Waiting) -> None:
    purchases.ask(store, bought, who="job", now=NOW)
    with pytest.raises(orders.AlreadyOpen, match="purchase order 1 of this meter"):
        purchases.ask(store, bought, who="job", now=NOW)
    store.rollback()
    assert purchases.waiting(store, now=NOW) == []


def test_nothing_is_put_in_without_a_payment(store: Connection, bought: purchases.Waiting) -> None:
    for action in ("open", "recharge", "refund"):
        with pytest.raises(OrderError, match="but a payment"):
            orders.request(
                store,
                kind="purchase",
                action=action,
                asset=bought.asset,
                reason="x",
                who="陈晓",
                now=NOW,
                expires=NOW + 10**9,
            )


def test_a_customer_number_that_no_meter_could_hold(store: Connection, bought: purchases.Waiting) -> None:
    store.execute("UPDATE customer SET number = 'A9001'")
    store.commit()
    asked, (why,) = purchases.ask_waiting(store, now=NOW, who="job")
    assert asked == []
    assert "no number of up to 12 digits" in why
