"""Tokens for trips: of the system, the meter's organisation, its lines and its transformer areas. A trip takes one of each when it is sent.

A token comes back a whole span after it was taken, so no minute, hour or day sees more than its cap, wherever it begins.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from headend.store.db import Connection

SPANS: Final = {
    "minute": dt.timedelta(minutes=1),
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
}
#: who belongs nowhere that the archive knows shares one bucket with all such
NOBODY: Final = 0


@dataclass(frozen=True, slots=True)
class Buckets:
    """Of one meter: subjects by scope, and how many tokens are taken of the fullest by (scope, span)."""

    subjects: dict[str, list[int]]
    taken: dict[tuple[str, str], int]


def of_meter(conn: Connection, meter_id: int, now: dt.datetime, *, hold: bool = False) -> Buckets:
    """Looked up; with `hold` nobody else takes a token of these before this transaction ends."""
    subjects = _subjects(conn, meter_id, now)
    pairs = sorted((scope, subject) for scope, ids in subjects.items() for subject in ids)
    scopes, ids = [scope for scope, _ in pairs], [subject for _, subject in pairs]
    if hold:
        # in one order everywhere, so that two trips never wait for each other
        conn.execute(
            'INSERT INTO trip_bucket (scope, subject_id) SELECT * FROM unnest(%s::text[], %s::integer[]) u(s, i) ORDER BY s COLLATE "C", i '
            "ON CONFLICT DO NOTHING",
            (scopes, ids),
        )
    rows = conn.execute(
        "SELECT scope, taken FROM trip_bucket WHERE (scope, subject_id) IN (SELECT * FROM unnest(%s::text[], %s::integer[])) "
        f'ORDER BY scope COLLATE "C", subject_id {"FOR UPDATE" if hold else ""}',
        (scopes, ids),
    ).fetchall()
    taken = {(scope, span): 0 for scope in subjects for span in SPANS}
    for row in rows:
        for span, lasts in SPANS.items():
            count = sum(when > now - lasts for when in row["taken"])
            taken[row["scope"], span] = max(taken[row["scope"], span], count)
    return Buckets(subjects, taken)


def take(conn: Connection, buckets: Buckets, now: dt.datetime) -> None:
    """A token of each, in the transaction that holds them; what has come back is forgotten."""
    pairs = [(scope, subject) for scope, ids in buckets.subjects.items() for subject in ids]
    conn.execute(
        "UPDATE trip_bucket SET taken = (SELECT coalesce(array_agg(t ORDER BY t), '{}') FROM unnest(taken) t WHERE t > %(now)s - interval '1 day') "
        "|| %(now)s::timestamptz WHERE (scope, subject_id) IN (SELECT * FROM unnest(%(scopes)s::text[], %(ids)s::integer[]))",
        {"now": now, "scopes": [scope for scope, _ in pairs], "ids": [subject for _, subject in pairs]},
    )


def _subjects(conn: Connection, meter_id: int, now: dt.datetime) -> dict[str, list[int]]:
    row = conn.execute(
        """
        WITH here AS (SELECT point_id, terminal_id FROM installation WHERE meter_id = %(meter)s AND valid_from <= %(now)s AND valid_to > %(now)s),
        areas AS (SELECT DISTINCT r.area_id FROM here JOIN area_role r USING (point_id) WHERE r.valid_from <= %(now)s AND r.valid_to > %(now)s),
        spans AS (SELECT s.* FROM areas JOIN area_span s USING (area_id) WHERE s.valid_from <= %(now)s AND s.valid_to > %(now)s),
        lines AS (SELECT line_id FROM spans WHERE line_id IS NOT NULL UNION
                  SELECT r.line_id FROM here JOIN loss_role r USING (point_id)
                  WHERE r.line_id IS NOT NULL AND r.valid_from <= %(now)s AND r.valid_to > %(now)s)
        SELECT (SELECT array_agg(area_id) FROM areas) AS area, (SELECT array_agg(line_id) FROM lines) AS line,
               (SELECT coalesce(array_agg(DISTINCT o), '{}') FROM here
                JOIN LATERAL (SELECT organisation_of(here.point_id, here.terminal_id, %(now)s) AS o) u ON o IS NOT NULL) AS organisation
        """,
        {"meter": meter_id, "now": now},
    ).fetchone()
    assert row is not None
    return {
        "system": [NOBODY],
        **{scope: row[scope] or [NOBODY] for scope in ("organisation", "line", "area")},
    }
