"""Bills as computed: a bill that comes out differently is a further revision, never an overwrite."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headend.store import feed
from headend.store.db import Connection
from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Bill:
    """One account's bill for local days first_day..last_day."""

    account_id: int
    first_day: dt.date
    last_day: dt.date
    amount_fen: int
    lines: Sequence[dict[str, str]]
    inputs_hash: bytes


def save(conn: Connection, bills: Sequence[Bill], *, now: Any) -> int:
    """Keep bills that are new or differ from their newest revision, in the caller's transaction. Returns how many."""
    if not bills:
        return 0
    rows = conn.execute(
        """
        INSERT INTO bill (account_id, first_day, last_day, revision, amount_fen, lines, inputs_hash, at)
        SELECT u.a, u.f, u.l, coalesce(b.revision, 0) + 1, u.fen, u.lines::jsonb, decode(u.h, 'hex'), %(now)s
        FROM unnest(%(a)s::int[], %(f)s::date[], %(l)s::date[], %(fen)s::bigint[], %(lines)s::text[], %(h)s::text[])
             AS u(a, f, l, fen, lines, h)
        LEFT JOIN LATERAL (SELECT revision, inputs_hash FROM bill b WHERE b.account_id = u.a AND b.first_day = u.f AND b.last_day = u.l
                           ORDER BY revision DESC LIMIT 1) b ON true
        WHERE b.inputs_hash IS DISTINCT FROM decode(u.h, 'hex')
        RETURNING account_id
        """,
        {
            "now": as_datetime(now),
            "a": [b.account_id for b in bills],
            "f": [b.first_day for b in bills],
            "l": [b.last_day for b in bills],
            "fen": [b.amount_fen for b in bills],
            "lines": [json.dumps(list(b.lines)) for b in bills],
            "h": [b.inputs_hash.hex() for b in bills],
        },
    ).fetchall()
    numbers = conn.execute(
        "SELECT number FROM account JOIN customer USING (customer_id) WHERE account_id = ANY(%s) ORDER BY number",
        ([row["account_id"] for row in rows],),
    ).fetchall()
    feed.publish(conn, "bill", [(row["number"], bills[0].last_day) for row in numbers])
    return len(rows)


def listing(
    conn: Connection, *, customer: str | None = None, last_day: dt.date | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Newest revisions of bills, newest days first."""
    return conn.execute(
        """
        SELECT DISTINCT ON (b.last_day, b.first_day, c.number) c.number AS customer, c.name, b.first_day, b.last_day, b.revision,
               b.amount_fen, b.lines, b.at
        FROM bill b JOIN account USING (account_id) JOIN customer c USING (customer_id)
        WHERE (%(customer)s::text IS NULL OR c.number = %(customer)s) AND (%(day)s::date IS NULL OR b.last_day = %(day)s)
        ORDER BY b.last_day DESC, b.first_day, c.number, b.revision DESC LIMIT %(limit)s
        """,
        {"customer": customer, "day": last_day, "limit": limit},
    ).fetchall()
