"""Findings: what the rules saw, with the evidence, and what people made of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api.auth import Operator, Reader
from headend.api.documents import PAGE, Cursor, Limit, pack, page, single, unpack
from headend.api.house import Here, House
from headend.api.writes import OnceKey, once
from headend.store import findings as store
from headend.store.db import Connection
from headend.store.keys import Key

router = APIRouter(prefix="/findings", tags=["findings"])

Why = Annotated[str, Field(min_length=3, max_length=400, description="goes to the finding's log")]
Note = Annotated[str, Field(max_length=400, description="goes to the finding's log")]


class OrderIn(BaseModel):
    """Who is sent, by the number of his work order, and what for."""

    model_config = ConfigDict(extra="forbid")

    number: str = Field(min_length=1, max_length=60, description="number of the work order")
    why: Note = ""


class WhyIn(BaseModel):
    """What was found or mended; or why it is not over."""

    model_config = ConfigDict(extra="forbid")

    why: Why


@router.get("")
def findings(
    request: Request,
    house: Here,
    _: Reader,
    *,
    day: Annotated[
        dt.date | None, Query(description="local day: what was seen of it, whatever became of it since")
    ] = None,
    state: Annotated[
        Literal["new", "recurred", "acknowledged", "work-order", "closed", "withdrawn"] | None,
        Query(description="default: those that are open"),
    ] = None,
    rule: Annotated[str | None, Query(max_length=60)] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """Findings, newest first. One of a rule and subject stays the same finding for as many days as it is seen."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        rows = store.listing(
            conn,
            day=day,
            states=None if state is None else [state],
            rule=rule,
            before=position[0] if position else None,
            limit=limit + 1,
        )
    following = pack(rows[limit - 1]["finding_id"]) if len(rows) > limit else None
    return page(request, "findings", [document(row) for row in rows[:limit]], following)


@router.get("/{finding}")
def one(request: Request, finding: int, house: Here, _: Reader) -> Response:
    """One finding with the days it was seen on, and its log: who did what, when and why."""
    with house.connection() as conn:
        row = store.one(conn, finding)
    return single(request, {**document(row), "seen": row["seen"], "events": row["events"]})


@router.post("/{finding}/acknowledge")
def acknowledge(request: Request, finding: int, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Take note of a finding, by name."""
    return _act(
        request,
        finding,
        house,
        key,
        once_key,
        {},
        lambda conn: store.acknowledge(conn, finding, key.person, house.now),
    )


@router.post("/{finding}/work-order")
def order(
    request: Request, finding: int, body: OrderIn, house: Here, key: Operator, once_key: OnceKey
) -> Response:
    """Somebody is sent: from now on only a person closes the finding."""
    return _act(
        request, finding, house, key, once_key, body.model_dump(),
        lambda conn: store.order(conn, finding, body.number, key.person, house.now, body.why),
    )  # fmt: skip


@router.post("/{finding}/close")
def close(
    request: Request, finding: int, body: WhyIn, house: Here, key: Operator, once_key: OnceKey
) -> Response:
    """It is done. What is seen of a later day is a new finding, recurred, that names this one."""
    return _act(
        request, finding, house, key, once_key, body.model_dump(),
        lambda conn: store.close(conn, finding, key.person, house.now, body.why),
    )  # fmt: skip


@router.post("/{finding}/reopen")
def reopen(
    request: Request, finding: int, body: WhyIn, house: Here, key: Operator, once_key: OnceKey
) -> Response:
    """It was closed by mistake."""
    return _act(
        request, finding, house, key, once_key, body.model_dump(),
        lambda conn: store.reopen(conn, finding, key.person, house.now, body.why),
    )  # fmt: skip


def _act(
    request: Request,
    finding: int,
    house: House,
    key: Key,
    once_key: str,
    body: dict[str, Any],
    step: Callable[[Connection], str],
) -> Response:
    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        state = step(conn)
        return 200, {"id": finding, "state": state, "who": key.person}

    return once(request, house, key, once_key, body=body, act=act)


def document(row: dict[str, Any]) -> dict[str, Any]:
    """A finding with its evidence. `day`: the newest it was seen on, whose evidence it is."""
    return {
        "id": row["finding_id"],
        "rule": row["rule"],
        "rule_version": row["rule_version"],
        "severity": row["severity"],
        "subject_kind": row["subject_kind"],
        "subject": row["subject"],
        "day": row["day"],
        "first_day": row["first_day"],
        "days": row["days"],
        "title_en": row["title_en"],
        "title_zh": row["title_zh"],
        "evidence": row["evidence"],
        "state": row["state"],
        "who": row["who"] or None,
        "work_order": row["work_order"] or None,
        "again_of": row["again_of"],
        "first_seen": row["first_seen"],
        "last_seen": row["last_seen"],
    }
