"""Who has paid has supply again at once; who has not, or took it back, has not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.control.order_state import Event
from headend.store import ledger, order_facts, orders, reclose
from headend.store.db import Connection
from headend.store.ledger import Name
from protocols.localtime import as_datetime
from tests.support.arrears import NOW, broke, fence
from tests.support.house import Place, one, table

DAY = dt.date(2026, 3, 11)


@pytest.fixture
def cut_off(store: Connection) -> Place:
    """1.10 yuan below zero at best, and proven open."""
    here = broke(store)
    order = orders.request(
        store, kind="relay", action="trip", asset="1", reason="arrears", who="job:prepaid", now=NOW, expires=NOW + np.timedelta64(4, "h"),
    )  # fmt: skip
    orders.approve(store, order, who="李敏", now=NOW)
    owner = fence(store, here)
    assert orders.begin(store, order, fence=owner, now=NOW) == []
    for event in (Event.ANSWER, Event.PROVE):
        orders.step(store, order, event, fence=owner, now=NOW)
    return here


def pay(conn: Connection, fen: int, serial: str = "1") -> None:
    ledger.pay(
        conn,
        customer="C1",
        channel="till",
        accounting_date=DAY,
        serial=serial,
        amount_fen=fen,
        paid_at=NOW,
        now=NOW,
    )


def after(conn: Connection, here: Place) -> tuple[list[int], list[str]]:
    return reclose.after_payment(conn, [here.account or 0], now=NOW)


def high(conn: Connection) -> int | None:
    found, _ = order_facts.facts(conn, "1", NOW)
    conn.commit()
    return found.balance_high_fen


def test_enough_is_enough(store: Connection, cut_off: Place) -> None:
    assert after(store, cut_off) == ([], [])
    pay(store, 109)
    assert after(store, cut_off) == ([], [])
    pay(store, 1, "2")
    (order,), failed = after(store, cut_off)
    assert failed == []
    assert table(store, "SELECT action, state, reason FROM orders WHERE order_id = %s", order) == [
        ("permit", "approved", "paid: balance 0.00 yuan")
    ]
    assert after(store, cut_off) == ([], [])  # it is under way


def test_behind_a_coil_somebody_must_close(store: Connection, cut_off: Place) -> None:
    """Nothing tells a coil to wait for a key, and nothing closes on whoever works at the line."""
    store.execute("UPDATE installation SET switch = '{coil 9:0}'")
    store.commit()
    assert reclose.waiting(store, now=NOW) == []
    pay(store, 500)
    assert after(store, cut_off) == (
        [],
        ["1: a coil knows no key: a person orders `headend relay close 1 --reason paid`"],
    )
    assert one(store, "SELECT count(*) FROM orders WHERE action = 'permit'") == 0
    assert reclose.waiting(store, now=NOW) == ["1"]
    orders.request(
        store, kind="relay", action="close", asset="1", reason="paid", who="陈晓", now=NOW, expires=NOW + np.timedelta64(1, "h")
    )  # fmt: skip
    assert reclose.waiting(store, now=NOW) == []  # it is under way


def test_a_permit_that_failed_is_tried_again_and_told_of(store: Connection, cut_off: Place) -> None:
    pay(store, 500)
    assert reclose.waiting(store, now=NOW) == []  # the next quarter-hour asks
    (order,), _ = after(store, cut_off)
    owner = fence(store, cut_off)
    assert orders.begin(store, order, fence=owner, now=NOW) == []
    orders.step(store, order, Event.REJECT, fence=owner, now=NOW, detail="the meter refused")
    assert reclose.waiting(store, now=NOW) == ["1"]
    assert len(after(store, cut_off)[0]) == 1


def test_money_that_was_taken_back_buys_nothing(store: Connection, cut_off: Place) -> None:
    pay(store, 500)
    assert high(store) == 390
    with store.transaction():
        ledger.reverse(
            store, Name("till", DAY, "1"), reversal_serial="R", amount_fen=500, reversed_at=NOW, now=NOW
        )
    store.commit()
    assert high(store) == -110
    assert after(store, cut_off) == ([], [])
    assert one(store, "SELECT count(*) FROM orders WHERE action = 'permit'") == 0


def test_a_debt_that_is_put_off_is_no_payment(store: Connection, cut_off: Place) -> None:
    store.execute(
        "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
        "SELECT %s, k, '1', 1, f, '', '{}', now() FROM (VALUES ('debt', -50000), ('deferral', 50000)) v (k, f)",
        (cut_off.account,),
    )
    store.commit()
    assert high(store) == -110
    assert after(store, cut_off) == ([], [])


def test_other_peoples_payments_are_not_looked_at(store: Connection, cut_off: Place) -> None:
    pay(store, 500)
    assert reclose.after_payment(store, [(cut_off.account or 0) + 1], now=NOW) == ([], [])
    assert reclose.after_payment(store, [], now=NOW) == ([], [])
    assert len(after(store, cut_off)[0]) == 1


def test_what_outlives_a_meter_keeps_nobody_without_supply(store: Connection, cut_off: Place) -> None:
    """The round, or coil, is out as before when another meter hangs there."""
    store.execute("UPDATE installation SET switch = '{round 2}'")
    exchanged(store, cut_off, "2", switch=["round 1", "round 2"])
    pay(store, 500)
    (order,), failed = after(store, cut_off)
    assert failed == []
    assert table(store, "SELECT action, asset FROM orders JOIN meter USING (meter_id) WHERE order_id = %s", order) == [
        ("permit", "2")
    ]  # fmt: skip
    assert after(store, cut_off) == ([], [])
    store.execute("UPDATE orders SET state = 'failed', is_open = false WHERE order_id = %s", (order,))
    assert reclose.waiting(store, now=NOW) == ["2"]


@pytest.mark.parametrize("switch", [[], ["round 3"]])
def test_a_relay_goes_with_its_meter(store: Connection, cut_off: Place, switch: list[str]) -> None:
    exchanged(store, cut_off, "2", switch=switch)
    pay(store, 500)
    assert after(store, cut_off) == ([], [])


def exchanged(conn: Connection, here: Place, asset: str, *, switch: list[str]) -> None:
    """Another meter on the same point."""
    conn.execute("UPDATE orders SET requested_at = requested_at - interval '1 hour'")
    conn.execute("UPDATE installation SET valid_to = %s", (as_datetime(NOW),))
    conn.execute("INSERT INTO meter (asset, phases, accuracy) VALUES (%s, 1, 0.01)", (asset,))
    conn.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, switch, valid_from) "
        "SELECT m.meter_id, %s, %s, m.asset, 1, 1, %s, %s FROM meter m WHERE m.asset = %s",
        (here.point, here.terminal, switch, as_datetime(NOW), asset),
    )
    conn.commit()
