"""What stands before trips as a whole: the kill switch, batches, no-trip days, and the audit of it all."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api.auth import Approver, Operator, Reader
from headend.api.documents import PAGE, Cursor, Limit, pack, page, single, unpack
from headend.api.house import Here
from headend.api.writes import OnceKey, once
from headend.store import audit, batches, no_trip, trip_batch, trip_stop
from headend.store.db import Connection
from headend.store.trip_batch import Answer

router = APIRouter(prefix="/trips", tags=["trips"])


class ReasonIn(BaseModel):
    """Why; kept for ever."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=400)


class BatchIn(BaseModel):
    """Meters to be tripped together."""

    model_config = ConfigDict(extra="forbid")

    meters: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field(
        min_length=1, max_length=10_000, description="asset numbers"
    )
    reason: str = Field(min_length=3, max_length=400, description="goes to the audit trail")
    valid_s: int = Field(
        default=14400, ge=60, le=86400, strict=True, description="seconds until what was not sent is void"
    )
    every_s: int = Field(
        default=60, ge=0, le=3600, strict=True, description="seconds between two of its trips"
    )
    dry_run: bool = Field(default=True, description="tell what the gates say; order nothing")


class AcceptIn(BaseModel):
    """What the approver takes upon himself."""

    model_config = ConfigDict(extra="forbid")

    accept: list[Literal["fall"]] = Field(default=[], max_length=5)


class NoTripIn(BaseModel):
    """Days on which customers are spared."""

    model_config = ConfigDict(extra="forbid")

    first_day: dt.date
    last_day: dt.date
    kind: Literal["exam", "heat", "cold", "other"]
    organisation: str = Field(
        default="", max_length=60, description="its code: it and all below it; empty: everybody"
    )
    reason: str = Field(min_length=3, max_length=400, description="told whoever is refused")


@router.get("/stop")
def switch(request: Request, house: Here, _: Reader) -> Response:
    """The kill switch: whether trips are stopped, by whom and why, and who has said that they may go on."""
    with house.connection() as conn:
        return single(request, _switch(trip_stop.state(conn)))


@router.post("/stop")
def stop(request: Request, body: ReasonIn, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Stop every trip at once. Giving supply back goes on."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        return 200, _switch(trip_stop.stop(conn, who=key.person, reason=body.reason, now=house.now))

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.post("/resume")
def resume(request: Request, body: ReasonIn, house: Here, key: Approver, once_key: OnceKey) -> Response:
    """Let trips go on. It takes two persons: after the first one they are still stopped."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        return 200, _switch(trip_stop.resume(conn, who=key.person, reason=body.reason, now=house.now))

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.get("/batches")
def listing(request: Request, house: Here, _: Reader, *, limit: Limit = PAGE) -> Response:
    """Batches of trips, newest first: lists, and what each requester asks for in a day by single commands."""
    with house.connection() as conn:
        return page(request, "batches", batches.listing(conn, limit=limit), None)


@router.post("/batches")
def ask(request: Request, body: BatchIn, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """What every gate says of each meter; with `dry_run` false also a command for each that the gates let wait for approval, staggered."""
    now = house.now
    plan = trip_batch.Plan(
        tuple(dict.fromkeys(body.meters)), body.reason, key.person, now, now + np.timedelta64(body.valid_s, "s"), float(body.every_s),
        f"api:{key.person}:{once_key}",
    )  # fmt: skip

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        if body.dry_run:
            return 200, _told(None, trip_batch.dry_run(conn, plan))
        return 202, _told(*trip_batch.ask(conn, plan))

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.post("/batches/{batch}/release")
def release(
    request: Request, batch: int, body: ReasonIn, house: Here, key: Approver, once_key: OnceKey
) -> Response:
    """Another person than who asked for it lets a batch of unusual size go on, up to the size that it has now."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        size = batches.release(conn, batch, who=key.person, why=body.reason, now=house.now)
        return 200, {"batch": batch, "released_size": size, "released_by": key.person}

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.post("/batches/{batch}/approve", status_code=202)
def approve(
    request: Request, batch: int, house: Here, key: Approver, once_key: OnceKey, body: AcceptIn | None = None
) -> Response:
    """Approve every command of the batch that waits; every gate is asked again of each, and the answer says which were refused."""
    accept = body.accept if body else []

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        return 202, _told(
            batch, trip_batch.approve(conn, batch, who=key.person, now=house.now, accept=accept)
        )

    return once(request, house, key, once_key, body={"accept": accept}, act=act)


@router.get("/no-trip-days")
def spared(
    request: Request, house: Here, _: Reader, *, since: Annotated[dt.date | None, Query()] = None
) -> Response:
    """Declared exam days, heat and cold that reach beyond `since` (today), withdrawn ones too."""
    with house.connection() as conn:
        return page(request, "no_trip_days", no_trip.listing(conn, since=since or house.today), None)


@router.post("/no-trip-days", status_code=201)
def spare(request: Request, body: NoTripIn, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Nobody of the organisation is tripped on these days, nor on their eve."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        number = no_trip.declare(
            conn, first=body.first_day, last=body.last_day, kind=body.kind, organisation=body.organisation, reason=body.reason,
            who=key.person, now=house.now,
        )  # fmt: skip
        return 201, {"id": number, **body.model_dump(mode="json"), "who": key.person}

    return once(request, house, key, once_key, body=body.model_dump(mode="json"), act=act)


@router.post("/no-trip-days/{number}/withdraw")
def withdraw(request: Request, number: int, house: Here, key: Approver, once_key: OnceKey) -> Response:
    """Take a declaration back; it stays on record."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        no_trip.withdraw(conn, number, who=key.person, now=house.now)
        return 200, {"id": number, "withdrawn_by": key.person}

    return once(request, house, key, once_key, body={}, act=act)


@router.get("/audit")
def records(
    request: Request,
    house: Here,
    _: Reader,
    *,
    kind: Annotated[str | None, Query(max_length=20)] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """The audit, newest first: each record carries the hash of the one before it. `headend audit verify` follows the chain."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        rows = audit.records(conn, limit=limit + 1, before=position[0] if position else None, kind=kind)
    following = pack(rows[limit - 1]["seq"]) if len(rows) > limit else None
    return page(request, "records", rows[:limit], following)


def _switch(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"stopped": None, "why": "the kill switch is missing: every trip is refused"}
    return {
        "stopped": row["stopped"], "reason": row["reason"], "who": row["who"], "at": row["at"], "resume_by": row["resume_by"],
        "resume_reason": row["resume_reason"],
    }  # fmt: skip


def _told(number: int | None, told: list[Answer]) -> dict[str, Any]:
    return {
        "batch": number,
        "refused": sum(answer.refused for answer in told),
        "meters": [
            {
                "meter": answer.meter, "command": None if answer.order is None else f"/api/v1/commands/{answer.order}",
                "not_before": answer.not_before, "refused": answer.refused,
                "gates": [{"gate": gate, "why": why} for gate, why in answer.reasons],
            }
            for answer in told
        ],
    }  # fmt: skip
