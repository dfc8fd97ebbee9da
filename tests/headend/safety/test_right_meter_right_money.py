"""Between asking for a trip and sending it the world goes on: meters are exchanged, customers pay, others trip too."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headend.control.order_state import Event
from headend.store import leases, orders
from headend.store.db import Connection
from headend.store.orders import Fence
from tests.support.arrears import book
from tests.support.house import Place, at, moment, place
from tests.support.wire import LEASE, NOON, OWNER, ask, broke

NOW = at(NOON)


@pytest.fixture
def debtor(store: Connection) -> Place:
    where = place(store, "100", terminal="T1", address="000000000100", customer="9001")
    broke(store, where, NOW)
    return where


def fence(conn: Connection, where: Place) -> Fence:
    epoch = leases.take(conn, OWNER, [where.terminal], seconds=LEASE)[where.terminal]
    conn.commit()
    return Fence(OWNER, where.terminal, epoch)


def state(conn: Connection, order: int) -> str:
    found: str = orders.get(conn, order)["state"]
    conn.commit()
    return found


def exchange(
    conn: Connection, where: Place, *, since: str, terminal: int | None = None, address: str = ""
) -> None:
    """The meter hangs differently from `since` on."""
    conn.execute(
        "UPDATE installation SET valid_to = %s WHERE meter_id = %s AND valid_to = 'infinity'",
        (moment(since), where.meter),
    )
    conn.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) VALUES (%s, %s, %s, %s, 1, 1, %s)",
        (where.meter, where.point, terminal or where.terminal, address or "000000000100", moment(since)),
    )
    conn.commit()


@pytest.mark.parametrize("since", ["2026-03-11 11:01", "2026-03-01 00:00"])
def test_a_meter_that_has_another_address_now_is_not_tripped_at_the_old_one(
    store: Connection, debtor: Place, since: str
) -> None:
    """Whoever has the address now would be cut off; also where the archive hears of it late and is told an earlier date."""
    order = ask(store, debtor, NOW)
    held = fence(store, debtor)
    exchange(store, debtor, since=since, address="000000000200")
    later = at("2026-03-11 11:02")
    refusals = orders.begin(store, order, fence=held, now=later, address="000000000100")
    assert [r.gate for r in refusals] == ["route"]
    assert state(store, order) == "refused"


def test_a_meter_that_was_installed_anew_needs_a_new_order(store: Connection, debtor: Place) -> None:
    order = ask(store, debtor, NOW)
    held = fence(store, debtor)
    exchange(store, debtor, since="2026-03-11 11:01")
    (refusal,) = orders.begin(store, order, fence=held, now=at("2026-03-11 11:02"), address="000000000100")
    assert refusal.gate == "route"


def test_what_was_sent_is_found_out_about_where_the_meter_hangs_now(store: Connection, debtor: Place) -> None:
    """Otherwise the order stays open for ever, and no order to give supply back can be made."""
    other = place(store, "300", terminal="T2", address="000000000300")
    order = ask(store, debtor, NOW)
    held = fence(store, debtor)
    assert orders.begin(store, order, fence=held, now=NOW, address="000000000100") == []
    exchange(store, debtor, since="2026-03-11 11:01", terminal=other.terminal)
    later = at("2026-03-11 11:02")
    assert orders.reroute(store, now=NOW, who=OWNER) == []
    assert orders.reroute(store, now=later, who=OWNER) == [order]
    assert orders.reroute(store, now=later, who=OWNER) == []
    assert [o["order_id"] for o in orders.work(store, [other.terminal])] == [order]
    assert orders.get(store, order)["events"][-1]["event"] == "reroute"
    with pytest.raises(orders.StaleOwner):
        orders.step(store, order, Event.ANSWER, fence=held, now=later)


def test_an_order_not_yet_sent_does_not_follow_the_meter(store: Connection, debtor: Place) -> None:
    other = place(store, "300", terminal="T2", address="000000000300")
    ask(store, debtor, NOW)
    exchange(store, debtor, since="2026-03-11 11:01", terminal=other.terminal)
    assert orders.reroute(store, now=at("2026-03-11 11:02"), who=OWNER) == []


def test_a_payment_that_is_being_booked_stops_the_trip(
    store: Connection, second: Connection, debtor: Place
) -> None:
    """The customer's receipt may be printed before the command leaves: the trip waits for the booking, and sees it."""
    order = ask(store, debtor, NOW)
    held = fence(store, debtor)
    found: list[Any] = []
    with second.transaction():
        book(second, "9001", 1_000, NOW)
        sender = threading.Thread(
            target=lambda: found.extend(
                orders.begin(store, order, fence=held, now=NOW, address="000000000100")
            )
        )
        sender.start()
        sender.join(0.5)
        assert sender.is_alive()
    second.commit()
    sender.join(10)
    assert "balance" in [r.gate for r in found]
    assert state(store, order) == "refused"
