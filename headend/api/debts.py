"""What a customer owes besides his supply, how it is paid off, and until when he is not cut off (欠费分期、宽限、费控策略)."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api.auth import Approver, Operator, Reader
from headend.api.documents import money, single
from headend.api.house import Here
from headend.api.problems import Problem
from headend.api.writes import OnceKey, once
from headend.store import accounts, debts, fee_terms, grace
from headend.store.db import Connection

router = APIRouter(prefix="/customers", tags=["debts"])

Point = Annotated[
    str, Query(max_length=60, description="which of the customer's points, if there are several")
]


class ReasonIn(BaseModel):
    """Why; kept for ever."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=400)


class GraceIn(ReasonIn):
    """Until when."""

    until: dt.date = Field(description="the last local day on which nobody cuts this account off")


class RepayIn(ReasonIn):
    """How much earlier than agreed."""

    amount_fen: int = Field(gt=0, le=10**11, strict=True)


class DebtIn(ReasonIn):
    """A debt and its schedule."""

    kind: Literal["opening", "theft", "correction", "arrears"]
    amount_fen: int = Field(gt=0, le=10**11, strict=True, description="whole fen")
    way: Literal["months", "monthly", "daily", "share"]
    part: int = Field(
        gt=0, le=10**11, strict=True, description="months: how many equal ones; monthly, daily: fen each; share: per cent of each payment"
    )  # fmt: skip
    due_day: int = Field(default=1, ge=1, le=28, strict=True, description="day of the month")
    first_day: dt.date | None = Field(
        default=None, description="from which instalments fall due; default: today"
    )


@router.get("/{number}/fee-control")
def terms(request: Request, number: str, house: Here, _: Reader, point: Point = "") -> Response:
    """The terms that hold for this account (费控策略), and what grace was granted."""
    with house.connection() as conn:
        account = accounts.of_customer(conn, number, now=house.now, point=point)
        found = asdict(fee_terms.one(conn, account, now=house.now))
        granted = grace.listing(conn, since=house.today, account=account)
    return single(
        request,
        {
            "customer": number,
            "account": account,
            "terms": {name.removesuffix("_fen"): money(v) if name.endswith("_fen") else v for name, v in found.items()},
            "grace": granted,
        },
    )  # fmt: skip


@router.post("/{number}/grace", status_code=201)
def grant(
    request: Request, number: str, body: GraceIn, house: Here, key: Operator, once_key: OnceKey, point: Point = ""
) -> Response:  # fmt: skip
    """Nobody cuts this account off up to the end of a day, whoever approved a trip before; trips that were not sent are void."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        account = accounts.of_customer(conn, number, now=house.now, point=point)
        made, void = grace.grant(
            conn, account, body.until, reason=body.reason, who=key.person, now=house.now, zone=house.zone
        )  # fmt: skip
        return 201, {
            "grace": made,
            "until": body.until,
            "void_commands": [f"/api/v1/commands/{order}" for order in void],
        }

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.delete("/{number}/grace/{grace_id}")
def revoke(
    request: Request,
    number: str,
    grace_id: int,
    house: Here,
    key: Operator,
    once_key: OnceKey,
    point: Point = "",
) -> Response:
    """Take grace back."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        account = accounts.of_customer(conn, number, now=house.now, point=point)
        if grace_id not in {row["id"] for row in grace.listing(conn, since=dt.date.min, account=account)}:
            raise grace.UnknownGrace(grace_id)
        grace.revoke(conn, grace_id, who=key.person, now=house.now)
        return 200, {"grace": grace_id, "revoked_by": key.person}

    return once(request, house, key, once_key, body=None, act=act)


@router.get("/{number}/debts")
def listing(request: Request, number: str, house: Here, _: Reader, point: Point = "") -> Response:
    """Debts with their schedules, what is left of each and what is behind; newest first."""
    with house.connection() as conn:
        account = accounts.of_customer(conn, number, now=house.now, point=point)
        rows = debts.listing(conn, account=account, today=house.today)
    return single(request, {"customer": number, "account": account, "debts": [_shown(row) for row in rows]})


@router.post("/{number}/debts", status_code=201)
def add(
    request: Request, number: str, body: DebtIn, house: Here, key: Operator, once_key: OnceKey, point: Point = ""
) -> Response:  # fmt: skip
    """Record a debt and how it is paid off. Above the sum of the account's terms it waits for another person's `agree`."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        account = accounts.of_customer(conn, number, now=house.now, point=point)
        wish = debts.Wish(
            body.kind, body.amount_fen, body.way, body.part, body.due_day, body.first_day or house.today, body.reason
        )  # fmt: skip
        return 201, _done(debts.ask(conn, account, wish, who=key.person, now=house.now, zone=house.zone))

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.post("/{number}/debts/{debt}/agree")
def agree(
    request: Request, number: str, debt: int, body: ReasonIn, house: Here, key: Approver, once_key: OnceKey
) -> Response:  # fmt: skip
    """Be the second person."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        _his(conn, number, debt)
        return 200, _done(
            debts.agree(conn, debt, who=key.person, reason=body.reason, now=house.now, zone=house.zone)
        )

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.post("/{number}/debts/{debt}/repay")
def repay(
    request: Request, number: str, debt: int, body: RepayIn, house: Here, key: Operator, once_key: OnceKey
) -> Response:  # fmt: skip
    """Take more out of the balance than is due, with today's instalments."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        _his(conn, number, debt)
        debts.repay(
            conn, debt, body.amount_fen, who=key.person, reason=body.reason, now=house.now, zone=house.zone
        )  # fmt: skip
        return 200, {"debt": debt, "amount": money(body.amount_fen)}

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.post("/{number}/debts/{debt}/end")
def end(
    request: Request, number: str, debt: int, body: ReasonIn, house: Here, key: Operator, once_key: OnceKey
) -> Response:  # fmt: skip
    """Give up what is left; arrears go back to the balance. A large rest needs another person who says the same."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        _his(conn, number, debt)
        return 200, _done(
            debts.end(conn, debt, who=key.person, reason=body.reason, now=house.now, zone=house.zone)
        )

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


def _his(conn: Connection, number: str, debt: int) -> None:
    if not debts.is_of(conn, debt, number):
        raise Problem(404, "not-found", f"customer {number} has no debt {debt}")


def _done(done: debts.Done) -> dict[str, Any]:
    return {
        "debt": done.number,
        "waits_for_second_person": done.waits,
        "void_commands": [f"/api/v1/commands/{order}" for order in done.void],
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    en, zh = debts.WORDS[row["kind"]]
    shown = {
        name.removesuffix("_fen"): money(value) if name.endswith("_fen") else value
        for name, value in row.items()
    }
    acts = [{**act, "fen": None if act["fen"] is None else money(act["fen"])} for act in row["acts"]]
    return {**shown, "kind_en": en, "kind_zh": zh, "acts": acts}
