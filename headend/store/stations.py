"""Terminals as things that are commissioned: what they were told, and what has come of it."""

from __future__ import annotations

from typing import Any

from headend.control.commissioning import Told, stage
from headend.store.db import Connection
from headend.store.orders import STATIONS, UnknownTerminal
from protocols.localtime import as_datetime


def listing(conn: Connection, now: Any, code: str | None = None) -> list[dict[str, Any]]:
    """Terminals by code, each with its 'stage' and the facts behind it. UnknownTerminal for a `code` that none has.

    A meter brings data through its terminal where a point of it came in time, and not after the terminal had none or denied it: such
    points were asked of the meter past it, and so is what is older than the terminal remembers."""
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
                SELECT max(v.last_at) AS last FROM coverage v
                LEFT JOIN gap_reason g ON (g.meter_id, g.day, g.plan, g.reason) = (v.meter_id, v.day, v.plan, 'not-in-terminal')
                LEFT JOIN gap_reason d ON (d.meter_id, d.day, d.plan, d.reason) = (v.meter_id, v.day, v.plan, 'refused')
                WHERE v.meter_id = n.meter_id AND v.last_at >= n.valid_from
                  AND bit_count(v.present & ~v.late & ~coalesce(g.slots, v.late) & ~coalesce(d.slots, v.late)) > 0
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
