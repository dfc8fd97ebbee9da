"""Batches of trips: a list somebody asks for, or whatever one requester asks for on one day. Their size is looked at by a gate; their orders are
orders like any other, and every gate is asked of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from headend.control.facts import Limits, is_person
from headend.store import cluster
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: batches before this one whose size tells the usual one: a month of daily ones
NEWEST: Final = 30


class UnknownBatch(StoreError):
    def __init__(self, number: int) -> None:
        super().__init__(f"no batch {number}; `headend relay batches` shows the newest")


@dataclass(frozen=True, slots=True)
class Standing:
    """Its size, the usual one (None: not known), up to which size and by whom it was released."""

    size: int | None
    usual: int | None = None
    released: int | None = None
    released_by: str | None = None


def of_day(conn: Connection, who: str, now: dt.datetime) -> int:
    """The batch of whatever this requester asks for by single orders today, in the caller's transaction; its row is held."""
    day = now.astimezone(cluster.zone(conn)).date()
    return _make(conn, f"{who}/{day}", who, "single orders of a day", now)


def of_list(conn: Connection, key: str, *, who: str, reason: str, now: Any) -> int:
    """A list's batch; commits. The same `key` again is the same batch."""
    with conn.transaction():
        number = _make(conn, f"list:{key}", who, reason, as_datetime(now))
        owner = conn.execute("SELECT who FROM trip_batch WHERE batch_id = %s", (number,)).fetchone()
        if owner is None or owner["who"] != who:
            raise StoreError(f"batch key {key!r} belongs to somebody else; use another")
    conn.commit()
    return number


def _make(conn: Connection, key: str, who: str, reason: str, now: dt.datetime) -> int:
    conn.execute(
        "INSERT INTO trip_batch (key, who, day, reason, at) VALUES (%s, %s, %s, %s, %s) ON CONFLICT (key) DO NOTHING",
        (key, who, now.astimezone(cluster.zone(conn)).date(), reason, now),
    )
    row = conn.execute("SELECT batch_id FROM trip_batch WHERE key = %s FOR UPDATE", (key,)).fetchone()
    assert row is not None
    return int(row["batch_id"])


def grow(conn: Connection, batch_id: int) -> None:
    """One more of it waits for approval."""
    conn.execute("UPDATE trip_batch SET asked = asked + 1 WHERE batch_id = %s", (batch_id,))


def standing(conn: Connection, batch_id: int | None, limits: Limits, *, more: int = 0) -> Standing:
    """How unusual the batch is, with so many `more` that are about to be asked for. Without a batch it is one trip alone.

    Its size is all that its requester asks for that day: many small lists are one large one. The usual size is the median of his days before it."""
    if batch_id is None:
        return Standing(1)
    row = conn.execute(
        """
        SELECT (SELECT sum(p.asked) FROM trip_batch p WHERE p.who = b.who AND p.day = b.day)::int AS asked,
               b.released_size, b.released_by, u.n, u.usual FROM trip_batch b
        CROSS JOIN LATERAL (SELECT count(*) AS n, percentile_disc(0.5) WITHIN GROUP (ORDER BY asked) AS usual FROM (
            SELECT sum(p.asked)::int AS asked FROM trip_batch p WHERE p.who = b.who AND p.day < b.day AND p.asked > 0
            GROUP BY p.day ORDER BY p.day DESC LIMIT %(newest)s) before) u
        WHERE b.batch_id = %(id)s
        """,
        {"id": batch_id, "newest": NEWEST},
    ).fetchone()
    if row is None:
        return Standing(None)
    usual = row["usual"] if row["n"] >= limits.batch_history else None
    return Standing(row["asked"] + more, usual, row["released_size"], row["released_by"])


def release(conn: Connection, batch_id: int, *, who: str, why: str, now: Any) -> int:
    """A person has looked at an unusual size and lets it go on, up to the size that it has now; commits. That size."""
    if not is_person(who):
        raise StoreError(f"{who!r} is not a person: only a person releases a batch")
    if not why.strip():
        raise StoreError("say why so many are right: it is kept for ever")
    with conn.transaction():
        row = conn.execute(
            "SELECT who, (SELECT sum(p.asked) FROM trip_batch p WHERE p.who = b.who AND p.day = b.day)::int AS asked "
            "FROM trip_batch b WHERE batch_id = %s FOR UPDATE",
            (batch_id,),
        ).fetchone()
        if row is None:
            raise UnknownBatch(batch_id)
        if row["who"] == who:
            raise StoreError(f"{who} asked for this batch and cannot release it; another person must")
        conn.execute(
            "UPDATE trip_batch SET released_by = %s, released_size = %s, released_why = %s WHERE batch_id = %s",
            (who, row["asked"], why.strip(), batch_id),
        )
    conn.commit()
    return int(row["asked"])


def listing(conn: Connection, *, limit: int) -> list[dict[str, Any]]:
    """Batches that ask for something, newest first, with how many of their orders wait, may be sent, were sent and came to nothing."""
    return conn.execute(
        """
        SELECT b.batch_id, b.who, b.day, b.reason, b.at, b.asked, b.released_by, b.released_size, b.released_why,
               count(o.*) FILTER (WHERE o.state = 'wanted') AS wanted, count(o.*) FILTER (WHERE o.state = 'approved') AS approved,
               count(o.*) FILTER (WHERE o.sent_at IS NOT NULL) AS sent,
               count(o.*) FILTER (WHERE o.state IN ('refused', 'cancelled', 'expired')) AS void
        FROM (SELECT * FROM trip_batch ORDER BY batch_id DESC LIMIT %s) b LEFT JOIN orders o USING (batch_id)
        GROUP BY b.batch_id, b.who, b.day, b.reason, b.at, b.asked, b.released_by, b.released_size, b.released_why ORDER BY b.batch_id DESC
        """,
        (limit,),
    ).fetchall()


def waiting(conn: Connection, batch_id: int) -> Sequence[int]:
    """Its orders that wait for approval, oldest first. UnknownBatch."""
    if conn.execute("SELECT FROM trip_batch WHERE batch_id = %s", (batch_id,)).fetchone() is None:
        raise UnknownBatch(batch_id)
    rows = conn.execute(
        "SELECT order_id FROM orders WHERE batch_id = %s AND state = 'wanted' ORDER BY order_id", (batch_id,)
    )
    return [row["order_id"] for row in rows]
