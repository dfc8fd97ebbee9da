"""What meters and terminals report of themselves: power cuts, covers opened, programming, alarms. Told twice, kept once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from headend.store import feed
from headend.store.db import Connection
from headend.store.reads import ensure_partitions

Subject = Literal["meter", "terminal"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `code` names protocol and item, as the standard does; `seq` tells apart what the same subject reports of
    the same second; `ended` None: it goes on, or it has no end; `detail`: what the record says besides; `evidence` 0: of no exchange."""

    subject_kind: Subject
    subject_id: int
    occurred: dt.datetime
    code: str
    received: dt.datetime
    seq: int = 0
    ended: dt.datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    evidence: int = 0


def write(conn: Connection, events: Sequence[Event], zone: ZoneInfo) -> int:
    """Keep events, in the caller's transaction; how many were new or have ended since they were told first.

    What was said first stays: a report told again adds an end that was missing, and nothing else."""
    if not events:
        return 0
    distinct = {(e.subject_kind, e.subject_id, e.occurred, e.code, e.seq): e for e in reversed(events)}
    ordered = [distinct[key] for key in sorted(distinct)]
    times = np.array(
        [e.occurred.astimezone(dt.UTC).replace(tzinfo=None) for e in ordered], dtype="datetime64[us]"
    )
    ensure_partitions(conn, "event", times)
    changed = conn.execute(
        """
        INSERT INTO event AS e (subject_kind, subject_id, occurred, code, seq, ended, detail, received, evidence)
        SELECT * FROM unnest(%s::text[], %s::int[], %s::timestamptz[], %s::text[], %s::int[], %s::timestamptz[], %s::jsonb[], %s::timestamptz[],
                             %s::bigint[])
        ON CONFLICT (subject_kind, subject_id, occurred, code, seq) DO UPDATE SET ended = excluded.ended
            WHERE e.ended IS NULL AND excluded.ended IS NOT NULL
        RETURNING subject_kind, subject_id, occurred
        """,
        (
            [e.subject_kind for e in ordered], [e.subject_id for e in ordered], [e.occurred for e in ordered], [e.code for e in ordered],
            [e.seq for e in ordered], [e.ended for e in ordered], [json.dumps(dict(e.detail), ensure_ascii=False) for e in ordered],
            [e.received for e in ordered], [e.evidence or None for e in ordered],
        ),
    ).fetchall()  # fmt: skip
    feed.publish(
        conn, "event", [(f"{row['subject_kind']}/{row['subject_id']}", row["occurred"].astimezone(zone).date()) for row in changed]
    )  # fmt: skip
    return len(changed)


def subject(conn: Connection, name: str) -> tuple[Subject, int] | None:
    """The meter with this asset number, else the terminal with this code."""
    row = conn.execute(
        "SELECT 'meter' AS kind, meter_id AS number FROM meter WHERE asset = %(name)s "
        "UNION ALL SELECT 'terminal', terminal_id FROM terminal WHERE code = %(name)s LIMIT 1",
        {"name": name},
    ).fetchone()
    return None if row is None else (row["kind"], row["number"])


def of(
    conn: Connection,
    kind: Subject,
    subject: int,
    first: dt.datetime,
    last: dt.datetime,
    *,
    codes: Sequence[str] = (),
    limit: int = 1000,
) -> list[Event]:
    """The events of one meter or terminal that occurred in [first, last), oldest first, at most `limit`."""
    rows = conn.execute(
        "SELECT subject_kind, subject_id, occurred, code, received, seq, ended, detail, coalesce(evidence, 0) AS evidence FROM event "
        "WHERE subject_kind = %s AND subject_id = %s AND occurred >= %s AND occurred < %s AND (%s::text[] = '{}' OR code = ANY(%s)) "
        "ORDER BY occurred, code, seq LIMIT %s",
        (kind, subject, first, last, list(codes), list(codes), limit),
    )
    return [Event(**row) for row in rows]
