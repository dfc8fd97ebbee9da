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
    store.execute(
        "UPDATE orders SET state = 'verified', is_open = false, ended_at = now() WHERE order_id = %s",
        (order,),
    )
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


# --- a person's word on a wallet ---


def settle(conn: Connection, count: int, *carried: int, when: str = "2026-03-11 10:00") -> list[int]:
    return purchases.settle(
        conn, "410000010003", count=count, carried=carried, why="looked at", who="李敏", now=at(when)
    )


def test_what_may_still_be_sent_is_not_said_to_be_in_it(store: Connection, bought: purchases.Waiting) -> None:
    """A terminal's first purchase waits for its second person: approved after somebody had typed it in by hand, it would be there twice."""
    store.execute("UPDATE account SET fee_control = 'terminal'")
    store.execute("UPDATE terminal SET protocol = 'gdw376', login = '33000001'")
    store.commit()
    (order,), _ = purchases.ask_waiting(store, now=NOW, who="job")
    assert orders.get(store, order)["state"] == "wanted"
    with pytest.raises(CannotPurchase, match=f"order {order} .* still open"):
        settle(store, 0, bought.purchase_id)
    orders.cancel(store, order, who="李敏", now=NOW)
    settle(store, 0, bought.purchase_id)
    assert purchases.one(store, bought.purchase_id)["standing"] == "carried"
    assert purchases.ask_waiting(store, now=NOW, who="job") == ([], [])


def ended(
    conn: Connection, order: int, state: str, when: str = "2026-03-11 10:05", result: str = "{}"
) -> None:
    """As its collector would have said."""
    conn.execute(
        "UPDATE orders SET state = %s, is_open = false, sent_at = %s, ended_at = %s, result = %s::jsonb WHERE order_id = %s",
        (state, moment(when), moment(when), result, order),
    )
    conn.commit()


def test_counts_go_on_from_what_was_settled_while_the_job_was_at_work(
    store: Connection, bought: purchases.Waiting
) -> None:
    """The job's time is that of its beginning, and the person spoke after it."""
    settle(store, 4, when="2026-03-11 10:01")
    order = purchases.ask(store, bought, who="job", now=NOW)
    assert orders.get(store, order)["request"]["count"] == 5
    ended(store, order, "verified")
    assert purchases.proved(store, bought.meter_id) == 5


def test_a_refund_that_nobody_can_tell_of_ends_by_a_persons_word(
    store: Connection, bought: purchases.Waiting
) -> None:
    """As much was used as was to come out: no reading tells, and what is paid from then on could not be carried."""
    ended(store, purchases.ask(store, bought, who="job", now=NOW), "verified")
    refund = purchases.refund(store, bought.purchase_id, reason="moved out", who="王芳", now=NOW)
    orders.approve(store, refund, who="陈晓", now=NOW)
    with pytest.raises(CannotPurchase, match="still open"):
        settle(store, 1, when="2026-03-11 11:00")
    store.execute(
        "UPDATE orders SET state = 'unknown', sent_at = %s WHERE order_id = %s",
        (moment("2026-03-11 10:10"), refund),
    )
    store.commit()
    assert settle(store, 1, when="2026-03-11 12:00") == [refund]
    row = orders.get(store, refund)
    assert (row["state"], row["events"][-1]["who"]) == ("failed", "李敏")
    assert "nobody can tell" in row["outcome"]
    assert purchases.refunded(store) == []
    with pytest.raises(purchases.PaymentCarried):
        reverse(store)
    store.rollback()
    ledger.pay(
        store,
        customer="9001",
        channel="counter",
        accounting_date=DAY,
        serial="2",
        amount_fen=700,
        paid_at=NOW,
        now=NOW,
    )
    (order,), _ = purchases.ask_waiting(store, now=at("2026-03-11 12:15"), who="job")
    assert orders.get(store, order)["request"]["count"] == 2
