"""Findings: what the rules saw, with the evidence, and who has taken note."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Operator, Reader
from headend.api.documents import PAGE, Cursor, Limit, pack, page, unpack
from headend.api.house import Here
from headend.api.writes import OnceKey, once
from headend.store import results
from headend.store.db import Connection

router = APIRouter(prefix="/findings", tags=["findings"])


@router.get("")
def findings(
    request: Request,
    house: Here,
    _: Reader,
    *,
    day: Annotated[dt.date | None, Query(description="local day the finding is about")] = None,
    state: Annotated[
        Literal["new", "acknowledged", "withdrawn"] | None, Query(description="default: all but withdrawn")
    ] = None,
    rule: Annotated[str | None, Query(max_length=60)] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """Findings, newest first."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        rows = results.findings(
            conn, day=day, state=state, rule=rule, before=position[0] if position else None, limit=limit + 1
        )
    following = pack(rows[limit - 1]["finding_id"]) if len(rows) > limit else None
    return page(request, "findings", [document(row) for row in rows[:limit]], following)


@router.post("/{finding}/acknowledge")
def acknowledge(request: Request, finding: int, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Take note of a finding, by name."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        results.acknowledge(conn, finding, key.person, house.now)
        return 200, {"id": finding, "state": "acknowledged", "who": key.person}

    return once(request, house, key, once_key, body={}, act=act)


def document(row: dict[str, Any]) -> dict[str, Any]:
    """A finding with its evidence."""
    return {
        "id": row["finding_id"],
        "rule": row["rule"],
        "rule_version": row["rule_version"],
        "severity": row["severity"],
        "subject_kind": row["subject_kind"],
        "subject": row["subject"],
        "day": row["day"],
        "title_en": row["title_en"],
        "title_zh": row["title_zh"],
        "evidence": row["evidence"],
        "state": row["state"],
        "who": row["who"] or None,
        "first_seen": row["first_seen"],
        "last_seen": row["last_seen"],
    }
