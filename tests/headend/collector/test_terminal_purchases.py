"""Fee control that a terminal executes: payments become purchases in its purchase control, once, on real sockets, for both protocols."""

from __future__ import annotations

import re

import numpy as np
import pytest

from headend.control.load_control import ControlOrder, Purchase, document
from headend.control.order_state import State
from headend.jobs import wallets
from headend.jobs.frame import Run
from headend.store import ledger, orders, purchases, wallet_rules
from headend.store.purchases import PaymentCarried
from protocols.localtime import local_day
from tests.headend.collector.test_load_control import BOTH, approve, done, found, lost, opened, told
from tests.headend.collector.test_load_control import ask as order_of_control
from tests.support.collecting import House, Open
from tests.support.house import SHANGHAI


def customer(house: House) -> str:
    """One behind the terminal, whose fee control it executes from now on."""
    row = house.conn.execute(
        "SELECT c.number, a.account_id FROM account a JOIN customer c USING (customer_id) ORDER BY 1 DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    house.conn.execute(
        "UPDATE account SET fee_control = 'terminal', prepaid = true WHERE account_id = %s",
        (row["account_id"],),
    )
    house.conn.commit()
    return str(row["number"])


def pay(house: House, number: str, fen: int, serial: str) -> None:
    now = house.clock.now()
    ledger.pay(
        house.conn, customer=number, channel="counter", accounting_date=local_day(now, SHANGHAI), serial=serial, amount_fen=fen,
        paid_at=now, now=now,
    )  # fmt: skip


def ask(house: House) -> list[int]:
    asked, failed = purchases.ask_waiting(house.conn, now=house.clock.now(), who="job:wallets")
    assert failed == []
    return asked


def standing(house: House) -> list[str]:
    rows = [row["standing"] for row in reversed(purchases.listing(house.conn, limit=9))]
    house.conn.commit()
    return rows


def left(house: House, protocol: str) -> int:
    """Fen that the simulated terminal still has."""
    return int.from_bytes(told(house).get("left.1"), "big") // (10 if protocol == "gdw376" else 100)


@BOTH
async def test_a_payment_is_carried_into_the_terminal_once(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    number = customer(house)
    pay(house, number, 5_000, "1")
    (first,) = ask(house)
    assert (found(house, first)["action"], found(house, first)["state"]) == ("write", "wanted")
    assert ask(house) == []
    house.collect()
    approve(house, first)
    await done(house, first)
    assert standing(house) == ["carried"]
    pay(house, number, 700, "2")
    pay(house, number, 300, "3")
    house.wire.lose_answer_to = re.compile(
        rb"\x68\x4a.{5}\x04" if protocol == "gdw376" else rb"\x07\x01.\x81\x07", re.DOTALL
    )
    (second,) = ask(house)
    assert found(house, second)["action"] == "purchase"
    await lost(house, second)
    (third,) = ask(house)
    await done(house, third)
    assert (standing(house), left(house, protocol)) == (["carried"] * 3, 6_000)
    assert ask(house) == []
    with pytest.raises(PaymentCarried):
        purchases.void(house.conn, _entry(house, "3"), who="bank", now=house.clock.now())
    house.conn.rollback()
    with pytest.raises(purchases.CannotPurchase, match="only what we have put into a wallet"):
        purchases.refund(house.conn, 3, reason="moved out", who="李敏", now=house.clock.now())


def _entry(house: House, serial: str) -> int:
    row = house.conn.execute("SELECT entry_id FROM payment WHERE serial = %s", (serial,)).fetchone()
    assert row is not None
    return int(row["entry_id"])


LOST = {
    "gdw376": re.compile(rb"\x68\x4a.{5}\x04", re.DOTALL),
    "dlt698": re.compile(rb"\x07\x01.\x81\x07", re.DOTALL),
}


async def carried_once(house: House) -> str:
    """A customer whose first payment is in the terminal."""
    number = customer(house)
    pay(house, number, 5_000, "1")
    (first,) = ask(house)
    house.collect()
    approve(house, first)
    await done(house, first)
    return number


@BOTH
async def test_a_purchase_that_another_one_covers_is_not_offered_again(
    open_house: Open, protocol: str
) -> None:
    """Its answer was lost, and before anybody read the terminal a person put something in past us: its number is not to be seen any more."""
    house = await opened(open_house, protocol)
    number = await carried_once(house)
    pay(house, number, 700, "2")
    house.wire.lose_answer_to = LOST[protocol]
    (second,) = ask(house)
    await house.until(lambda: house.state(second) is State.UNKNOWN)
    cash = ControlOrder((Purchase(900_000, 10_000, 0, 0, by="amount"),))
    by_hand = order_of_control(house, "write", document(cash))
    approve(house, by_hand)
    await done(house, by_hand)
    assert left(house, protocol) == 5_000 + 700 + 1_000
    house.clock.time += np.timedelta64(5, "m")
    row = await done(house, second, State.FAILED)
    assert (row["result"]["foreign"], standing(house)) == (True, ["carried", "not told apart"])
    house.clock.time += np.timedelta64(61, "m")
    assert ask(house) == []
    with pytest.raises(PaymentCarried):
        purchases.void(house.conn, _entry(house, "2"), who="bank", now=house.clock.now())
    house.conn.rollback()


async def test_a_purchase_that_is_in_while_its_control_is_not_on_stays_paid(open_house: Open) -> None:
    house = await opened(open_house, "gdw376")
    held = told(house)
    held.act = lambda unit, now: False
    number = customer(house)
    pay(house, number, 5_000, "1")
    (first,) = ask(house)
    house.collect()
    approve(house, first)
    await done(house, first, State.FAILED)
    assert (left(house, "gdw376"), standing(house)) == (5_000, ["not told apart"])
    with pytest.raises(PaymentCarried):
        purchases.void(house.conn, _entry(house, "1"), who="bank", now=house.clock.now())
    house.conn.rollback()


@BOTH
async def test_what_was_lost_on_the_way_is_offered_again(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    number = await carried_once(house)
    pay(house, number, 700, "2")
    held = told(house)
    put = held.put
    held.put = lambda key, raw: None
    house.wire.lose_answer_to = LOST[protocol]
    (second,) = ask(house)
    await house.until(lambda: house.state(second) is State.UNKNOWN)
    held.put = put
    house.clock.time += np.timedelta64(5, "m")
    await done(house, second, State.FAILED)
    assert standing(house) == ["carried", "waiting"]
    house.clock.time += np.timedelta64(61, "m")
    (third,) = ask(house)
    await done(house, third)
    assert (left(house, protocol), standing(house)) == (5_700, ["carried", "carried"])


@BOTH
async def test_another_warning_level_keeps_no_payment_out(open_house: Open, protocol: str) -> None:
    """What only adds may not raise the terminal's limits, whatever is wanted by now, or somebody has set there: that is a write."""
    house = await opened(open_house, protocol)
    number = await carried_once(house)
    wallet_rules.set_rules(house.conn, {"alarm1": 2_000})
    house.conn.commit()
    pay(house, number, 700, "2")
    (second,) = ask(house)
    await done(house, second)
    lower = ControlOrder((Purchase(900_000, 1_000, -50, -100, by="amount"),))
    by_hand = order_of_control(house, "write", document(lower))
    approve(house, by_hand)
    await done(house, by_hand)
    pay(house, number, 300, "3")
    (third,) = ask(house)
    await done(house, third)
    assert (left(house, protocol), standing(house)) == (5_000 + 700 + 100 + 300, ["carried"] * 3)


async def test_two_customers_of_one_terminal_are_nobodys(open_house: Open) -> None:
    house = await opened(open_house, "gdw376")
    number = customer(house)
    house.conn.execute("UPDATE account SET fee_control = 'terminal'")
    house.conn.commit()
    pay(house, number, 5_000, "1")
    asked, (why,) = purchases.ask_waiting(house.conn, now=house.clock.now(), who="job:wallets")
    assert asked == []
    assert "a terminal counts for one customer" in why


async def test_what_a_terminal_did_not_take_is_offered_again_later(open_house: Open) -> None:
    house = await opened(open_house, "gdw376")
    number = customer(house)
    pay(house, number, 5_000, "1")
    (first,) = ask(house)
    house.conn.execute(
        "UPDATE orders SET state = 'failed', is_open = false, sent_at = requested_at, ended_at = requested_at WHERE order_id = %s",
        (first,),
    )
    house.conn.commit()
    assert ask(house) == []
    house.clock.time += np.timedelta64(61, "m")
    (second,) = ask(house)
    orders.cancel(house.conn, second, who="陈晓", now=house.clock.now())
    assert len(ask(house)) == 1
    assert found(house, second + 1)["state"] == State.WANTED


async def test_what_a_terminal_refuses_is_a_finding(open_house: Open) -> None:
    house = await opened(open_house, "gdw376")
    number = customer(house)
    pay(house, number, 5_000, "1")
    (first,) = ask(house)
    house.conn.execute(
        "UPDATE orders SET state = 'refused', is_open = false, outcome = 'control: no', ended_at = requested_at WHERE order_id = %s",
        (first,),
    )
    house.conn.commit()
    now = house.clock.now()
    wallets.job(Run(house.conn, SHANGHAI, now), local_day(now, SHANGHAI))
    row = house.conn.execute(
        "SELECT rule, subject_kind, evidence ->> 'why' AS why FROM finding WHERE rule LIKE 'wallet%'"
    ).fetchone()
    assert row == {"rule": "wallet-refused", "subject_kind": "terminal", "why": "control: no"}
