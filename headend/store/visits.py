"""When each meter and terminal was last asked for its clock and for its events: what a restart goes on from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from headend.store.db import Connection
from headend.store.events import Subject

What = Literal["clock", "events"]
Key = tuple[Subject, int, What]


@dataclass(frozen=True, slots=True)
class Visit:
    """`answered`: when it last came to something; None never."""

    asked: dt.datetime
    answered: dt.datetime | None


def book(conn: Connection, key: Key, at: dt.datetime, why: str = "") -> None:
    """One was made, in the caller's transaction. `why`: why it came to nothing."""
    kind, subject, what = key
    conn.execute(
        "INSERT INTO visit AS v (subject_kind, subject_id, what, asked_at, answered_at, why) VALUES (%s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (subject_kind, subject_id, what) DO UPDATE SET asked_at = excluded.asked_at, why = excluded.why, "
        "answered_at = coalesce(excluded.answered_at, v.answered_at)",
        (kind, subject, what, at, None if why else at, why[:500]),
    )


def made(conn: Connection, terminal: int, meters: Iterable[int]) -> dict[Key, Visit]:
    """Those of a terminal and of these meters."""
    rows = conn.execute(
        "SELECT subject_kind, subject_id, what, asked_at, answered_at FROM visit "
        "WHERE (subject_kind = 'meter' AND subject_id = ANY(%s)) OR (subject_kind = 'terminal' AND subject_id = %s)",
        (sorted(meters), terminal),
    )
    return {
        (row["subject_kind"], row["subject_id"], row["what"]): Visit(row["asked_at"], row["answered_at"])
        for row in rows
    }
