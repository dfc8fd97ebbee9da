"""Terminals as things that are commissioned: what they were told, and what has come of it."""

from __future__ import annotations

from typing import Any

from headend.control.commissioning import Told, stage
from headend.store.db import Connection
from headend.store.orders import STATIONS, UnknownTerminal
from protocols.localtime import as_datetime


def listing(conn: Connection, now: Any, code: str | None = None) -> list[dict[str, Any]]:
    """Terminals by code, each with its 'told' and its 'stage'. UnknownTerminal for a `code` that none has."""
    rows = conn.execute(
        """
        SELECT t.terminal_id, t.code, t.name, t.protocol, t.link, t.login, t.online, t.last_seen, o.parameters, o.archive, o.tasks, o.seen, o.emptied,
               i.meters, i.bringing, i.newest
        FROM terminal t
        CROSS JOIN LATERAL (
            SELECT max(ended_at) FILTER (WHERE kind = 'parameters' AND action = 'write') AS parameters,
                   max(ended_at) FILTER (WHERE kind = 'archive' AND action = 'write') AS archive,
                   max(ended_at) FILTER (WHERE kind = 'tasks' AND action = 'write') AS tasks,
                   max(ended_at) FILTER (WHERE kind = 'archive' AND action = 'read') AS seen,
                   max(ended_at) FILTER (WHERE kind = 'archive' AND action = 'read' AND result->'held' = '{}') AS emptied
            FROM orders WHERE terminal_id = t.terminal_id AND meter_id IS NULL AND state = 'verified'
        ) o
        CROSS JOIN LATERAL (
            SELECT count(*)::int AS meters, count(c.last)::int AS bringing, max(c.last) AS newest FROM installation n
            LEFT JOIN LATERAL (
                SELECT max(last_at) AS last FROM coverage
                WHERE meter_id = n.meter_id AND bit_count(present) > 0 AND last_at >= n.valid_from
            ) c ON true
            WHERE n.terminal_id = t.terminal_id AND n.valid_from <= %(now)s AND n.valid_to > %(now)s
        ) i
        WHERE %(code)s::text IS NULL OR t.code = %(code)s
        ORDER BY t.code
        """,
        {"now": as_datetime(now), "code": code},
    ).fetchall()
    if code is not None and not rows:
        raise UnknownTerminal(code)
    for row in rows:
        row["emptied"] = row["emptied"] if row["emptied"] == row["seen"] else None  # of the newest look alone
        names = ("parameters", "archive", "tasks", "emptied", "meters", "bringing")
        told = Told(row["protocol"] in STATIONS, **{name: row[name] for name in names})
        row["stage"] = stage(told)
    return rows
