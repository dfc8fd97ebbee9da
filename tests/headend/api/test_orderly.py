"""Orderly use of electricity by REST: drafted, approved by another person, withdrawn, and what it has brought."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from headend.jobs import orderly as job
from headend.store.orderly_orders import carry_out
from tests.support.app import Desk, problem
from tests.support.factories import DAY, FIRST, curve, factory, flat
from tests.support.house import at
from tests.support.household import run

TOMORROW = DAY + dt.timedelta(days=1)
PLAN: dict[str, Any] = {
    "name": "早峰", "reason": "short of 300 kW", "first_day": TOMORROW.isoformat(), "last_day": TOMORROW.isoformat(),
    "periods": ["10:00-11:00"], "shortage_kw": 300, "calls": [{"customers": ["C1", "C2"], "setpoint": "60%"}],
}  # fmt: skip


def test_from_draft_to_effect(desk: Desk) -> None:
    here = factory(desk.conn, 1)
    reached = curve(desk.conn, here, flat(1000), FIRST, DAY - dt.timedelta(days=1))
    factory(desk.conn, 2, protected="医院")
    problem(desk.post("/orderly/plans", PLAN, who="reader", once="a"), 403, "scope-missing")
    made = desk.post("/orderly/plans", PLAN, who="operator", once="b")
    assert (made.status_code, made.headers["Location"]) == (201, "/api/v1/orderly/plans/1")
    assert desk.post("/orderly/plans", PLAN, who="operator", once="b").json() == made.json()
    told = made.json()
    assert (told["state"], told["called"], told["reduce_kw"]) == ("draft", 1, 400)
    assert [(p["customer"], p["setpoint_w"]) for p in told["participants"]] == [("C1", 600_000)]
    assert told["left_out"] == [{
        "customer": "C2", "terminal": "T2", "call": 1,
        "reasons": [{"code": "protected", "en": "protected", "zh": "保电用户", "behind": "医院"},
                    {"code": "no-curve", "en": "no load curve of enough like days", "zh": "无同类日负荷曲线", "behind": ""}],
    }]  # fmt: skip
    problem(desk.post("/orderly/plans/1/approve", who="operator-approver", once="c"), 409, "cannot-approve")
    problem(desk.post("/orderly/plans/1/approve", who="operator", once="c"), 403, "scope-missing")
    assert desk.post("/orderly/plans/1/look", who="operator", once="d").json()["called"] == 1
    assert desk.post("/orderly/plans/1/approve", who="approver", once="e").json()["approved_by"] == "李敏"
    # an answer that was lost is asked for again, under another key even
    assert desk.post("/orderly/plans/1/approve", who="approver", once="e2").json()["state"] == "approved"
    problem(desk.post("/orderly/plans/1/look", who="operator", once="f"), 409, "plan-not-in-that-state")
    carry_out(desk.conn, now=at(f"{TOMORROW} 09:30"))
    (p,) = desk.get("/orderly/plans/1").json()["participants"]
    command = desk.get(f"/commands/{p['on_order']}").json()
    assert (command["kind"], command["action"], command["state"]) == ("control", "write", "approved")
    done = desk.post("/orderly/plans/1/withdraw", {"why": "it rains"}, who="operator", once="g")
    assert (done.status_code, done.json()["state"], done.json()["participants"][0]["on_state"]) == (
        202,
        "withdrawn",
        "cancelled",
    )
    again = desk.post("/orderly/plans/1/withdraw", {"why": "it rains"}, who="operator", once="g2")
    assert (again.status_code, again.json()["state"]) == (202, "withdrawn")
    assert [event["act"] for event in again.json()["events"]][-1:] == ["withdraw"]
    problem(
        desk.post("/orderly/plans/1/approve", who="operator-approver", once="g3"),
        409,
        "plan-not-in-that-state",
    )
    assert desk.get("/orderly/plans").json()["plans"][0]["plan_id"] == 1
    assert desk.get("/orderly/plans/1/effect").json()["items"] == []
    # another one runs
    number = desk.post("/orderly/plans", PLAN | {"name": "再来"}, who="operator", once="h").json()["plan_id"]
    desk.post(f"/orderly/plans/{number}/approve", who="approver", once="i")
    carry_out(desk.conn, now=at(f"{TOMORROW} 09:30"))
    carry_out(desk.conn, now=at(f"{TOMORROW} 11:00"))
    curve(
        desk.conn,
        here,
        lambda day, slot: 700 if day == TOMORROW and 40 <= slot < 44 else 1000,
        DAY,
        TOMORROW,
        start=reached,
    )
    job.job(run(desk.conn, f"{TOMORROW + dt.timedelta(days=1)} 04:30"), TOMORROW)
    desk.conn.commit()
    effect = desk.get(f"/orderly/plans/{number}/effect").json()
    (day,) = effect["items"]
    assert (effect["unit"], day["day"], day["called"], day["known"], day["followed"]) == (
        "kWh",
        TOMORROW.isoformat(),
        1,
        1,
        0,
    )
    (p,) = day["participants"]
    assert (p["reduced_kwh"], p["share"], p["followed"]) == (pytest.approx(300), pytest.approx(0.75), False)


def test_what_cannot_be_asked(desk: Desk) -> None:
    problem(desk.get("/orderly/plans/9"), 404, "unknown-plan")
    problem(desk.get("/orderly/plans/9/effect"), 404, "unknown-plan")
    problem(
        desk.post("/orderly/plans/9/withdraw", {"why": "x y z"}, who="operator", once="a"),
        404,
        "unknown-plan",
    )
    told = problem(
        desk.post("/orderly/plans", PLAN | {"periods": ["10:10-11:00"]}, who="operator", once="b"),
        422,
        "invalid-request",
    )
    assert "half hours" in told["detail"]
    told = problem(desk.post("/orderly/plans", PLAN, who="operator", once="c"), 422, "invalid-request")
    assert told["detail"] == "the archive has no customer C1"
    problem(
        desk.post("/orderly/plans", PLAN | {"surprise": 1}, who="operator", once="d"), 422, "invalid-request"
    )
    assert desk.get("/orderly/plans").json()["plans"] == []
