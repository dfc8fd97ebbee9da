"""Notices to customers (通知): what there is to send, and what became of it. The CRM reports, a trip goes by what it reported."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api.auth import Reader, Teller
from headend.api.documents import PAGE, Cursor, Limit, money, pack, page, unpack
from headend.api.house import Here
from headend.api.problems import Problem
from headend.api.writes import OnceKey, once
from headend.store import notices
from headend.store.db import Connection
from protocols.localtime import instant

router = APIRouter(prefix="/notices", tags=["notices"])


class ReportIn(BaseModel):
    """What became of a notice."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["sent", "delivered", "failed"]
    channel: Literal["sms", "app", "voice", "letter", "visit"]
    reference: str = Field(
        min_length=1, max_length=120, description="the gateway's message id, or the number of the receipt"
    )
    at: dt.datetime | None = Field(default=None, description="with offset; default: now")


@router.get("")
def listing(
    request: Request,
    house: Here,
    _: Reader,
    *,
    state: Annotated[
        Literal["waiting", "all"], Query(description="waiting: not sent yet, nor paid since")
    ] = "waiting",
    customer: Annotated[str | None, Query(max_length=60, description="customer number")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """Notices, newest first, with everything that was reported of each."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        rows = notices.listing(
            conn, limit=limit + 1, before=position[0] if position else None, customer=customer,
            waiting_at=house.now if state == "waiting" else None,
        )  # fmt: skip
    following = pack(rows[limit - 1]["notice_id"]) if len(rows) > limit else None
    return page(request, "notices", [_shown(row) for row in rows[:limit]], following)


@router.post("/{notice}/reports", status_code=201)
def report(
    request: Request, notice: int, body: ReportIn, house: Here, *, key: Teller, once_key: OnceKey
) -> Response:
    """Say what became of a notice. The same state, channel and reference again changes nothing."""
    if body.at is not None and body.at.tzinfo is None:
        raise Problem(422, "invalid-request", "body/at: it has no offset from UTC")
    now = house.now
    said = notices.Report(body.state, body.channel, body.reference, instant(body.at) if body.at else now)

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        new = notices.report(conn, notice, said, who=key.person, now=now)
        return (201 if new else 200), {"notice": notice, "duplicate": not new} | body.model_dump()

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["notice_id"],
        "customer": row["customer"],
        "name": row["name"],
        "phone": row["phone"],
        "account": row["account_id"],
        "level": row["level"],
        "at": row["at"],
        "balance": money(row["balance_fen"]),
        "text": {"zh": row["text_zh"], "en": row["text_en"]},
        "reports": row["reports"],
    }
