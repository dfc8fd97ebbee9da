"""A payment and what carries it: whoever takes it back and whoever carries it take turns."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from headend.collector.drivers import drivers, wallets_for
from headend.store import bank as link
from headend.store import banks, db, ledger, orders, purchases
from headend.store.bank import Wish
from headend.store.banks import BankRefused
from headend.store.db import Connection
from headend.store.ledger import Name
from headend.store.orders import OrderError
from headend.store.purchases import CannotPurchase
from tariffs.bank import Code
from tests.support.house import SHANGHAI, at, moment, place

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


def test_a_bank_is_told_that_the_money_is_in_the_meter(store: Connection, bought: purchases.Waiting) -> None:
    """冲正 of what may be in a wallet is refused as consumed, within its minutes of grace, too; a refund waits for the day's comparison."""
    banks.add(
        store, "ICBC", "工商银行", cutoff=dt.time(22), free_reversal=dt.timedelta(minutes=10), mac_key=None
    )
    bank, ten = banks.get(store, "ICBC"), moment("2026-03-11 10:00")
    with store.transaction():
        banks.sign_on(store, bank, DAY, "7", now=NOW, zone=SHANGHAI)
    link.pay(store, bank, Wish(DAY, "a", "9001", 700, ten), now=NOW, zone=SHANGHAI)
    store.execute(
        "UPDATE purchase SET settled_at = now(), settled_by = 'x' WHERE purchase_id = 1"
    )  # the other one is out of the way
    store.commit()
    (order,), _ = purchases.ask_waiting(store, now=NOW, who="job")

    def back() -> link.Answer:
        return link.reverse(
            store, bank, DAY, "a", reversal_serial="R", amount_fen=700, time=ten, now=NOW, zone=SHANGHAI
        )

    store.execute("UPDATE orders SET state = 'unknown', sent_at = %s WHERE order_id = %s", (ten, order))
    store.commit()
    with pytest.raises(BankRefused) as refused:
        back()
    assert refused.value.code is Code.CONSUMED
    store.rollback()
    store.execute("UPDATE orders SET state = 'verified', is_open = false WHERE order_id = %s", (order,))
    store.commit()
    refund = purchases.refund(store, 2, reason="moved out", who="李敏", now=NOW)
    store.execute("UPDATE orders SET state = 'verified', is_open = false WHERE order_id = %s", (refund,))
    store.commit()
    assert purchases.refunded(store) == []
    store.execute(
        "INSERT INTO bank_day SELECT bank_id, %s, '', 1, 700, 0, 0, 1, 700, 0, 0, now(), 'x' FROM bank",
        (DAY,),
    )
    assert [row["serial"] for row in purchases.refunded(store)] == ["a"]


def test_who_knows_of_wallets() -> None:
    known = drivers("terminals.simulator.standin:StandInMachine")
    assert {name for name, driver in known.items() if wallets_for(driver) is not None} == {
        "dlt645",
        "gdw376",
        "dlt698",
    }
