"""Orders of a terminal itself: a second person for what it is told, one write at a time, and never a relay."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from headend.control.order_state import Event, State
from headend.store import cluster, orders
from headend.store.db import Connection
from headend.store.orders import AlreadyOpen, OrderError, Refused, UnknownTerminal, Writing
from tests.support.arrears import HOUR, NOW, fence
from tests.support.house import Place, one, place

LATER = NOW + HOUR


def station(conn: Connection, protocol: str = "gdw376") -> Place:
    return place(conn, "1", protocol=protocol)


def ask(conn: Connection, kind: str = "archive", action: str = "write", **options: Any) -> int:
    given = {"terminal": "T1", "reason": "new meters", "who": "陈晓", "now": NOW, "expires": LATER}
    return orders.request(conn, kind=kind, action=action, **{**given, **options})


def test_a_write_waits_for_a_second_person_and_keeps_what_was_approved(store: Connection) -> None:
    here = station(store)
    order = ask(store, writing=Writing({"entries": [7]}, adds=1, replaces=2))
    found = orders.get(store, order)
    assert (found["state"], found["asset"], found["terminal"], found["meter_id"]) == (
        "wanted",
        None,
        "T1",
        None,
    )
    assert (found["request"], found["adds"], found["replaces"]) == ({"entries": [7]}, 1, 2)
    with pytest.raises(Refused, match="陈晓 asked for it"):
        orders.approve(store, order, who="陈晓", now=NOW)
    assert orders.approve(store, order, who="李敏", now=NOW) == State.APPROVED
    assert [o["order_id"] for o in orders.work(store, [here.terminal])] == [order]
    assert [o["order_id"] for o in orders.listing(store, limit=9, terminal="T1")] == [order]
    assert orders.listing(store, limit=9, meter="1") == []


@pytest.mark.parametrize("kind", ["clock", "archive", "parameters", "tasks"])
def test_reading_a_terminal_is_approved_at_once(store: Connection, kind: str) -> None:
    station(store, "dlt698")
    assert orders.get(store, ask(store, kind, "read"))["state"] == "approved"


def test_one_open_write_a_terminal(store: Connection) -> None:
    station(store)
    order = ask(store)
    with pytest.raises(AlreadyOpen, match=f"order {order} of this terminal is still open"):
        ask(store, "parameters")
    ask(store, "archive", "read")
    orders.cancel(store, order, who="x", now=NOW)
    assert ask(store, "parameters") > order


def test_the_same_request_key_is_the_same_order(store: Connection) -> None:
    station(store)
    order = ask(store, "clock", "set", request_key="k")
    assert ask(store, "clock", "set", request_key="k") == order
    with pytest.raises(OrderError, match=f"request key 'k' belongs to order {order}"):
        ask(store, "clock", "set", request_key="k", terminal="", asset="1")


def test_what_cannot_be_asked_of_a_terminal(store: Connection) -> None:
    station(store)
    place(store, "2", terminal="T2")
    for kind, action in (("relay", "trip"), ("read", "")):
        with pytest.raises(OrderError, match=f"no {kind} action '{action}' of a terminal"):
            ask(store, kind, action)
    with pytest.raises(OrderError, match="no archive action 'write'"):
        ask(store, terminal="", asset="1")
    with pytest.raises(OrderError, match="of a meter or of a terminal"):
        ask(store, asset="1")
    with pytest.raises(
        OrderError, match="terminal T2 speaks dlt645: it passes bytes on and has no clock of its own"
    ):
        ask(store, "clock", "set", terminal="T2")
    with pytest.raises(UnknownTerminal, match="no terminal T9"):
        ask(store, terminal="T9")


@pytest.mark.parametrize("kind", ["relay", "read"])
def test_the_schema_knows_no_relay_without_a_meter(store: Connection, kind: str) -> None:
    here = station(store)
    insert = (
        "INSERT INTO orders (kind, action, meter_id, terminal_id, state, is_open, reason, requested_by, requested_at, expires_at) "
        "VALUES (%s, %s, %s, %s, 'approved', true, 'x', 'x', now(), now())"
    )
    with pytest.raises(psycopg.errors.CheckViolation, match="orders_of_check"):
        store.execute(insert, (kind, "trip", None, here.terminal))
    store.rollback()
    with pytest.raises(psycopg.errors.CheckViolation, match="orders_of_check"):
        store.execute(insert, ("archive", "write", here.meter, here.terminal))


def test_the_cap_counts_what_was_sent_to_this_terminal(store: Connection) -> None:
    here = station(store)
    cluster.set_limits(store, {"terminal_replaces_per_day": 3})
    held = fence(store, here)
    first = ask(store, writing=Writing(replaces=2))
    orders.approve(store, first, who="李敏", now=NOW)
    assert orders.begin(store, first, fence=held, now=NOW, address="") == []
    orders.step(store, first, Event.REJECT, fence=held, now=NOW)
    with pytest.raises(
        Refused, match="2 entries would be overwritten or erased, 2 were in the last 24 hours; the cap is 3"
    ):
        ask(store, writing=Writing(replaces=2))
    assert one(store, "SELECT count(*) FROM orders WHERE state = 'refused'") == 1
    ask(store, writing=Writing(replaces=1, adds=100))


def test_a_terminal_with_another_address_by_now_is_not_told(store: Connection) -> None:
    here = station(store)
    order = ask(store, "clock", "set")
    held = fence(store, here)
    store.execute("UPDATE terminal SET login = '33010002'")
    refusals = orders.begin(store, order, fence=held, now=NOW, address="33010001")
    assert [(r.gate, r.why) for r in refusals] == [
        ("route", "the archive gives the terminal another address now")
    ]
    assert orders.get(store, order)["state"] == "refused"
    assert orders.reroute(store, now=NOW, who="x") == []


def test_a_list_leaves_out_what_a_terminal_holds(store: Connection) -> None:
    here = station(store)
    order = ask(store, "archive", "read", writing=Writing({"keys": ["1"]}))
    held = fence(store, here)
    orders.begin(store, order, fence=held, now=NOW)
    orders.step(store, order, Event.ANSWER, fence=held, now=NOW, result={"held": {"1": {}}, "denied": []})
    (listed,) = orders.listing(store, limit=9)
    found = orders.get(store, order)
    assert (listed["result"], found["result"]) == ({"denied": []}, {"held": {"1": {}}, "denied": []})
    assert set(listed) == set(found) - {"events"}
