"""Grace (宽限): the days between the stop notice and the first trip that may be asked for, and what a person grants one account beyond them."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.store import orders
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: who is granted more is granted it again, by somebody who looks again; a default without a source
LONGEST: Final = 92


class UnknownGrace(StoreError):
    def __init__(self, number: int) -> None:
        super().__init__(f"no grace {number} that still holds; `headend prepaid grace list` shows them")


def grant(
    conn: Connection, account: int, last_day: dt.date, *, reason: str, who: str, now: Any, zone: ZoneInfo
) -> tuple[int, list[int]]:
    """Nobody cuts this account off up to the end of a local day; its trips that have not been sent are void: (number, those orders). Commits."""
    today = as_datetime(now, zone).date()
    if not today <= last_day < today + dt.timedelta(days=LONGEST):
        raise StoreError(f"grace until {last_day}: today or one of the {LONGEST - 1} days after it")
    if not reason.strip():
        raise StoreError("say why grace is granted: it stays in the audit")
    with conn.transaction():
        # a trip that is being sent waits for this, and then sees it; one that was sent before was sent before
        conn.execute("SELECT FROM account WHERE account_id = %s FOR NO KEY UPDATE", (account,))
        row = conn.execute(
            "INSERT INTO grace (account_id, last_day, reason, who, at) VALUES (%s, %s, %s, %s, %s) RETURNING grace_id",
            (account, last_day, reason.strip(), who, as_datetime(now)),
        ).fetchone()
        assert row is not None
        void = orders.void_paid(
            conn, account, now=now, who=who, why=f"grace until {last_day}: {reason.strip()}"
        )
    conn.commit()
    return int(row["grace_id"]), void


def revoke(conn: Connection, number: int, *, who: str, now: Any) -> None:
    """It holds no more; commits. UnknownGrace."""
    with conn.transaction():
        done = conn.execute(
            "UPDATE grace SET revoked_by = %s, revoked_at = %s WHERE grace_id = %s AND revoked_at IS NULL",
            (who, as_datetime(now), number),
        ).rowcount
        if not done:
            raise UnknownGrace(number)
    conn.commit()


def listing(conn: Connection, *, since: dt.date, account: int | None = None) -> list[dict[str, Any]]:
    """What was granted and reaches beyond `since`, revoked or not, by its last day."""
    return conn.execute(
        "SELECT g.grace_id AS id, c.number AS customer, g.account_id AS account, g.last_day, g.reason, g.who, g.at, g.revoked_by, g.revoked_at "
        "FROM grace g JOIN account USING (account_id) JOIN customer c USING (customer_id) "
        "WHERE g.last_day >= %s AND (%s::int IS NULL OR g.account_id = %s) ORDER BY g.last_day, g.grace_id",
        (since, account, account),
    ).fetchall()
