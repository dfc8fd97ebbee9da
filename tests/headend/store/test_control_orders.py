"""Orders of load control on PostgreSQL: the door, who waits for a second person, and the facts that the gates look at."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.control.load_control import ControlOrder, KeepPower, Purchase, Suspension, document
from headend.control.order_state import Event
from headend.store import audit, cluster, orders, trip_stop
from headend.store.db import Connection
from headend.store.orders import AlreadyOpen, OrderError, Refused, Writing
from protocols.localtime import as_datetime
from tests.support.arrears import HOUR, NOW, fence
from tests.support.house import Place, one, place

PLAN = ControlOrder((Suspension(dt.date(2026, 3, 1), dt.date(2026, 3, 31), 20_000),), on=("suspension",))
HALF = np.timedelta64(30, "m")
OFF = ControlOrder(off=("suspension",))


def station(conn: Connection, asset: str = "1", **options: Any) -> Place:
    return place(conn, asset, protocol="gdw376", **{"customer": f"C{asset}", **options})


def ask(conn: Connection, order: ControlOrder | KeepPower = PLAN, **options: Any) -> int:
    given = {
        "action": order.action, "terminal": "T1", "reason": "orderly use", "who": "job:orderly", "now": NOW, "expires": NOW + HOUR,
        "writing": Writing(document(order)),
    }  # fmt: skip
    return orders.request(conn, kind="control", **{**given, **options})


def refused(conn: Connection, **options: Any) -> str:
    with pytest.raises(Refused) as told:
        ask(conn, **options)
    return str(told.value)


def test_a_write_waits_and_what_favours_the_customer_does_not(store: Connection) -> None:
    station(store)
    write = ask(store)
    assert orders.get(store, write)["state"] == "wanted"
    with pytest.raises(AlreadyOpen, match=f"order {write} of this terminal is still open"):
        ask(store)
    assert orders.approve(store, write, who="李敏", now=NOW) == "approved"
    for order in (OFF, KeepPower(), ControlOrder((Purchase(7, 300, 50, 0),))):
        assert orders.get(store, ask(store, order))["state"] == "approved"
    for action in ("read", "end-keep-power"):
        found = orders.get(store, ask(store, action=action, writing=Writing({})))
        assert found["state"] == "approved"


def test_the_door(store: Connection) -> None:
    station(store)
    for action, request, why in (
        ("release", document(PLAN), "terminal T1: this is no release but a write"),
        ("purchase", document(OFF), "terminal T1: this is no purchase but a release"),
        ("write", {"on": ["perod"]}, "terminal T1: on: no control 'perod'"),
        ("trip", {}, "no control action 'trip' of a terminal; there are read, write, release"),
    ):
        with pytest.raises(OrderError, match=why):
            ask(store, action=action, writing=Writing(request))
    fine = ControlOrder((Suspension(dt.date(2026, 3, 1), dt.date(2026, 3, 31), 412_345),), on=("suspension",))
    with pytest.raises(OrderError, match="412345 W has more than three digits"):
        ask(store, fine)
    with pytest.raises(OrderError, match="no control action 'write'; there are"):
        ask(store, terminal="", asset="1")
    assert one(store, "SELECT count(*) FROM orders") == 0


def test_who_hangs_behind_it_decides(store: Connection) -> None:
    station(store)
    station(store, "2", customer=None)
    assert "no account is known for meter 2" in refused(store)
    store.execute("UPDATE point SET kind = 'area' WHERE code = 'P2'")  # 台区考核: nobody is cut off by it
    ask(store)
    orders.cancel(store, 2, who="x", now=NOW)
    station(store, "3", protected="透析")
    assert "a protected customer hangs behind it: meter 3, 透析" in refused(store, who="job:other")
    store.execute(
        "UPDATE installation SET valid_to = %s WHERE meter_id = (SELECT meter_id FROM meter WHERE asset = '3')",
        (as_datetime(NOW - HOUR),),
    )
    ask(store, who="job:third")


def test_a_meter_in_keep_power_forbids_it(store: Connection) -> None:
    here = station(store)
    keep = orders.request(
        store,
        kind="relay",
        action="keep-power",
        asset="1",
        reason="x",
        who="陈晓",
        now=NOW,
        expires=NOW + HOUR,
    )
    held = fence(store, here)
    orders.begin(store, keep, fence=held, now=NOW, address="000000000001")
    assert "meter 1 behind it is in keep-power" in refused(store)  # told so, and not read back
    orders.step(store, keep, Event.ANSWER, fence=held, now=NOW, result={"relay": {"keep_power": False}})
    ask(store, who="job:other")


def test_the_kill_switch_stops_what_would_cut_off_and_nothing_else(store: Connection) -> None:
    station(store)
    write = ask(store)
    trip_stop.stop(store, who="李敏", reason="高温", now=NOW)
    with pytest.raises(Refused, match="stopped: trips are stopped: by 李敏"):
        orders.approve(store, write, who="李敏", now=NOW)
    ask(store, KeepPower())
    ask(store, OFF)


def test_what_the_gates_allowed_is_asked_again_at_the_sending(store: Connection) -> None:
    here = station(store)
    write = ask(store)
    orders.approve(store, write, who="李敏", now=NOW)
    store.execute("UPDATE account SET protected = '透析'")
    (refusal,) = orders.begin(store, write, fence=fence(store, here), now=NOW, address="")
    assert (refusal.gate, orders.get(store, write)["state"]) == ("behind", "refused")


def test_caps_of_the_terminal_and_of_the_system(store: Connection) -> None:
    here = station(store)
    other = station(store, "9", terminal="T9")
    cluster.set_limits(store, {"controls_per_terminal_day": 2, "controls_per_hour": 3})

    def sent(terminal: str, place: Place, now: Any = NOW) -> None:
        order = ask(store, terminal=terminal, now=now, expires=now + HOUR)
        orders.approve(store, order, who="李敏", now=now)
        held = fence(store, place)
        assert orders.begin(store, order, fence=held, now=now, address="") == []
        orders.step(store, order, Event.REJECT, fence=held, now=now)

    sent("T1", here)
    # neither counts: off, keep-power
    for relief in (OFF, KeepPower()):
        order = ask(store, relief)
        held = fence(store, here)
        orders.begin(store, order, fence=held, now=NOW, address="")
        orders.step(store, order, Event.REJECT, fence=held, now=NOW)
    sent("T1", here)
    assert "2 load controls were written to this terminal in the last 24 hours; the cap is 2" in refused(
        store
    )
    sent("T9", other)
    assert "3 load controls were written in the last hour; the cap is 3" in refused(store, terminal="T9")
    sent("T9", other, NOW + HOUR)
    assert one(store, "SELECT count(*) FROM orders WHERE state = 'refused'") == 2


def test_whoever_says_off_is_heard_last(store: Connection) -> None:
    station(store)
    for asked, approved in ((PLAN, False), (PLAN, True)):
        write = ask(store, asked)
        if approved:
            orders.approve(store, write, who="李敏", now=NOW)
        off = ask(store, OFF, who="陈晓")
        found = orders.get(store, write)
        assert (found["state"], found["outcome"]) == ("cancelled", f"void: order {off} switches it off")
    later = ask(store, not_before=NOW + HALF)
    ask(store, OFF, who="陈晓")
    assert orders.get(store, later)["state"] == "cancelled"
    # another control, another group, and another plan's order that is for later, are left
    for order, options, key in (
        (PLAN, {"not_before": NOW + HALF}, f"{orders.ORDERLY}1:T1:off:1"),
        (ControlOrder(on=("factory-rest",)), {}, None),
        (ControlOrder(PLAN.controls, on=PLAN.on, group=2), {}, None),
    ):
        write = ask(store, order, **options)
        ask(store, OFF, request_key=key)
        assert orders.get(store, write)["state"] == "wanted"
        orders.cancel(store, write, who="x", now=NOW)


def test_not_before_its_time(store: Connection) -> None:
    here = station(store)
    write = ask(store, not_before=NOW + HALF)
    orders.approve(store, write, who="李敏", now=NOW)
    held = fence(store, here)
    (refusal,) = orders.begin(store, write, fence=held, now=NOW, address="")
    assert (refusal.gate, orders.get(store, write)["state"]) == ("not_before", "approved")
    assert orders.begin(store, write, fence=held, now=NOW + HALF, address="") == []


def test_the_audit_has_every_step(store: Connection) -> None:
    station(store)
    write = ask(store)
    orders.approve(store, write, who="李敏", now=NOW)
    store.commit()
    assert one(store, "SELECT count(*) FROM audit WHERE kind = 'order' AND ref LIKE %s", f"{write}%") == 2
    assert audit.verify(store).broken is None
