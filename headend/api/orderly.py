"""Orderly use of electricity (有序用电): plans, what they would bring, approval, where they stand, what they have brought."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api.auth import Approver, Operator, Reader
from headend.api.documents import PAGE, Limit, page, single
from headend.api.house import Here
from headend.api.writes import OnceKey, once
from headend.control.orderly import REASONS
from headend.store import orderly, orderly_effect, orderly_orders
from headend.store.db import Connection

router = APIRouter(prefix="/orderly", tags=["orderly use"])

Text = Annotated[str, Field(max_length=400)]


class PlanIn(BaseModel):
    """A plan, as `headend orderly draft` takes it from a file."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    reason: Text
    organisation: str = Field(
        default="", max_length=60, description="its customers and those of all below it alone"
    )
    line: str = Field(default="", max_length=60, description="customers of that line alone")
    first_day: dt.date
    last_day: dt.date
    periods: list[str] = Field(
        description="such as 10:00-12:00, local time of each day, at full and half hours", max_length=8
    )
    shortage_kw: float = Field(description="what is to be found")
    calls: list[dict[str, Any]] = Field(
        description="in their order: one of customers, group, industry, key_users, everybody; setpoint: '60%', '800 kW' or 'minimum'",
        max_length=50,
    )
    setpoints: dict[str, str] = Field(
        default={}, description="customer number -> his own setpoint", max_length=1000
    )


class WhyIn(BaseModel):
    """Why; kept for ever."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field(min_length=3, max_length=400)


@router.get("/plans")
def listing(request: Request, house: Here, _: Reader, *, limit: Limit = PAGE) -> Response:
    """Plans, newest first: state, how many are called, what is expected, how many terminals hold it and how many have let go, each read back."""
    with house.connection() as conn:
        return page(request, "plans", orderly.listing(conn, limit=limit), None)


@router.post("/plans", status_code=201)
def draft(request: Request, body: PlanIn, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Write a plan down; the answer tells what it would bring, who is left out, and every reason why. Nobody is told anything yet."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        number = orderly.draft(conn, orderly.read(body.model_dump()), who=key.person, now=house.now)
        return 201, {"location": f"/api/v1/orderly/plans/{number}", **_told(orderly.get(conn, number))}

    return once(request, house, key, once_key, body=body.model_dump(mode="json"), act=act)


@router.get("/plans/{number}")
def one(request: Request, number: int, house: Here, _: Reader) -> Response:
    """A plan with its participants in the order in which they are called, who is left out, and its events."""
    with house.connection() as conn:
        return single(request, _told(orderly.get(conn, number)))


@router.post("/plans/{number}/look")
def look(request: Request, number: int, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Work out anew whom a draft would call."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        orderly.look(conn, number, who=key.person, now=house.now)
        return 200, _told(orderly.get(conn, number))

    return once(request, house, key, once_key, body={}, act=act)


@router.post("/plans/{number}/approve")
def approve(request: Request, number: int, house: Here, key: Approver, once_key: OnceKey) -> Response:
    """Another person approves exactly what the plan tells; 409 if that has changed meanwhile."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        try:
            orderly.approve(conn, number, who=key.person, now=house.now)
        except orderly.CannotAct:
            conn.rollback()
            if orderly.get(conn, number)["approved_by"] != key.person:
                raise
            # this person's approval is there already: its answer was lost, not its effect
        return 200, _told(orderly.get(conn, number))

    return once(request, house, key, once_key, body={}, act=act)


@router.post("/plans/{number}/withdraw", status_code=202)
def withdraw(
    request: Request, number: int, body: WhyIn, house: Here, key: Operator, once_key: OnceKey
) -> Response:
    """Take a plan back: what was not sent is cancelled, what was switched on is switched off. One person suffices."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        try:
            orderly.withdraw(conn, number, who=key.person, why=body.why, now=house.now)
        except orderly.CannotAct:
            conn.rollback()
            if orderly.get(conn, number)["state"] != "withdrawn":
                raise
        orderly_orders.settle(conn, number, who=key.person, now=house.now)
        return 202, _told(orderly.get(conn, number))

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.get("/plans/{number}/effect")
def effect(request: Request, number: int, house: Here, _: Reader) -> Response:
    """What each day has brought within its periods, of each participant and of all who are known: baseline, taken, reduced with its limits 19 times
    in 20, share of what was asked, who did not follow, and what is missing."""
    with house.connection() as conn:
        days = orderly_effect.effects(conn, number)
    return single(request, {"plan": number, "unit": "kWh", "items": [_listed(day) for day in days]})


def _told(plan: dict[str, Any]) -> dict[str, Any]:
    left = [
        {**out, "reasons": [{"code": code, "en": REASONS[code][0], "zh": REASONS[code][1], "behind": behind} for code, behind in out["reasons"]]}
        for out in plan["left_out"]
    ]  # fmt: skip
    return _listed({**plan, "left_out": left})


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    """Participants under their own name, how many they are beside them."""
    rest = {name: value for name, value in row.items() if name != "participants_list"}
    return {**rest, "called": row["participants"], "participants": row["participants_list"]}
