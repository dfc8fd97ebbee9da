"""Who dials in and is not served."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from headend.store.db import Connection

#: how many are kept, the latest: somebody who calls with a new name each time must not fill the store
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """As the table has it."""

    identity: str
    kind: str
    why: str
    peer: str
    first_seen: dt.datetime
    last_seen: dt.datetime
    attempts: int


def note(conn: Connection, collector: str, callers: Sequence[Caller]) -> None:
    """They have called a collector. One that is known keeps the moment it was seen first."""
    if not callers:
        return
    columns = list(zip(*map(astuple, callers), strict=True))
    conn.execute(
        """
        INSERT INTO caller AS c (identity, kind, why, peer, first_seen, last_seen, attempts, collector)
        SELECT *, %s FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::bigint[]) AS u
        ORDER BY 1
        ON CONFLICT (identity) DO UPDATE SET
            kind = excluded.kind, why = excluded.why, peer = excluded.peer, first_seen = least(c.first_seen, excluded.first_seen),
            last_seen = excluded.last_seen, attempts = excluded.attempts, collector = excluded.collector
        """,
        (collector, *map(list, columns)),
    )
    conn.execute(
        "DELETE FROM caller WHERE last_seen < (SELECT last_seen FROM caller ORDER BY last_seen DESC OFFSET %s LIMIT 1)",
        (MOST - 1,),
    )


def listing(conn: Connection, limit: int = MOST) -> list[dict[str, Any]]:
    """The latest first; without those that were served since."""
    return conn.execute(
        """
        SELECT c.* FROM caller c
        WHERE NOT EXISTS (
            SELECT FROM terminal t WHERE t.login = c.identity AND t.link = 'dial-in' AND (t.online OR t.last_seen > c.last_seen)
        )
        ORDER BY c.last_seen DESC, c.identity LIMIT %s
        """,
        (limit,),
    ).fetchall()
