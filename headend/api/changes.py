"""The change feed: what changed since the cursor, nothing skipped and nothing repeated."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from headend.api.auth import Reader
from headend.api.documents import answer, link
from headend.api.house import Here
from headend.store import feed

router = APIRouter(prefix="/changes", tags=["changes"])


@router.get("")
def changes(
    request: Request,
    house: Here,
    _: Reader,
    cursor: Annotated[
        str | None,
        Query(
            max_length=80, description="`next` of the answer before; 'latest' to begin with now; none: all"
        ),
    ] = None,
    topic: Annotated[str, Query(max_length=200, description="topics, comma-separated; none: all")] = "",
    limit: Annotated[int, Query(ge=1, le=feed.MAX_LIMIT)] = 1000,
) -> Response:
    """Changes after the cursor. Keep `next`, ask again later with it; 410 says: a restore happened, or what
    came after the cursor has been thrown away; begin again.

    `change` says of readings: new, completed (a missing quantity came), corrected (another value than before), estimated, actual (the
    meter's own value where an estimate stood). `key` is the meter asset (curve, phase, day, month, spot), area code (loss), finding id,
    customer number
    (balance, payment, reversal, bill), command id (order)
    or bank (bank: an accounting day was compared, or a difference decided). `more` is true when the next page is waiting already.
    """
    wanted = [name.strip() for name in topic.split(",") if name.strip()]
    with house.connection() as conn:
        found = feed.read(conn, cursor, limit, wanted)
    rows = [
        {"topic": c.topic, "key": c.key, "day": c.day, "change": c.change, "cursor": c.cursor}
        for c in found.changes
    ]
    headers = {"Link": link(request, found.cursor)} if found.more else {}
    return answer(request, {"changes": rows, "next": found.cursor, "more": found.more}, headers=headers)
