"""Outages of transformer areas: the signs that they are inferred from, and what was found."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.store.db import Connection
from protocols.localtime import Times, as_datetime

I64 = NDArray[np.int64]

VERSION: Final = 1
#: how far back a power cut may have begun that has no end yet
OLD: Final = dt.timedelta(days=7)
#: events looked at of one day: a million meters that were dark twice; beyond it the first ones tell enough
EVENTS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class PowerCuts:
    """[cut] of meters or of terminals: whose, since and until when, NaT: no end is known. By subject and time."""

    subject: I64
    since: Times
    until: Times


def power_cuts(conn: Connection, kind: str, first: np.datetime64, last: np.datetime64) -> PowerCuts:
    """Power cuts that touch (first, last), as meters or terminals noted them; one without an end ends with the subject's next power-up."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            """
            SELECT d.subject_id, d.occurred, coalesce(d.ended, (SELECT min(u.occurred) FROM event u WHERE u.subject_kind = d.subject_kind
                AND u.subject_id = d.subject_id AND u.occurred >= d.occurred AND u.occurred < %(last)s AND u.detail->>'kind' = 'power-up'))
            FROM event d WHERE d.subject_kind = %(kind)s AND d.detail->>'kind' = 'power-down' AND d.occurred >= %(old)s
                AND d.occurred < %(last)s AND (d.ended IS NULL OR d.ended > %(first)s)
            ORDER BY 1, 2 LIMIT %(most)s
            """,
            {
                "kind": kind,
                "first": as_datetime(first),
                "last": as_datetime(last),
                "old": as_datetime(first) - OLD,
                "most": EVENTS,
            },
        ).fetchall()
    subject = np.array([row[0] for row in rows], dtype=np.int64)
    since, until = (
        np.array(
            [None if row[k] is None else row[k].astimezone(dt.UTC).replace(tzinfo=None) for row in rows],
            dtype="datetime64[us]",
        )
        for k in (1, 2)
    )
    return PowerCuts(subject, since, until)


def lines(conn: Connection, areas: I64, at: np.datetime64) -> I64:
    """int64[area]: the line that each hangs on, by itself or by its transformer; -1: none is said."""
    found = {
        row["area_id"]: row["line_id"]
        for row in conn.execute(
            "SELECT s.area_id, coalesce(s.line_id, t.line_id) AS line_id FROM area_span s LEFT JOIN transformer_span t "
            "ON t.transformer_id = s.transformer_id AND t.valid_from <= %(at)s AND t.valid_to > %(at)s "
            "WHERE s.area_id = ANY(%(areas)s) AND s.valid_from <= %(at)s AND s.valid_to > %(at)s",
            {"areas": areas.tolist(), "at": as_datetime(at)},
        )
    }
    return np.array([found.get(area) or -1 for area in areas.tolist()], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Outage:
    """One of an area's day."""

    area_id: int
    began: np.datetime64
    ended: np.datetime64 | None
    exact: tuple[bool, bool]
    sure: str
    dark: int
    customers: int
    heard: int
    supply: bool
    together: int


def save(conn: Connection, day: dt.date, found: list[Outage], *, now: np.datetime64) -> int:
    """The outages of a day become these, in the caller's transaction; how many there are."""
    conn.execute(
        "DELETE FROM outage WHERE day = %s AND (area_id, began) NOT IN (SELECT * FROM unnest(%s::int[], %s::timestamptz[]))",
        (day, [o.area_id for o in found], [as_datetime(o.began) for o in found]),
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO outage (day, area_id, began, ended, exact, sure, dark, customers, heard, supply, together, version, seen_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (area_id, began) DO UPDATE SET day = excluded.day, "
            "ended = excluded.ended, exact = excluded.exact, sure = excluded.sure, dark = excluded.dark, customers = excluded.customers, "
            "heard = excluded.heard, supply = excluded.supply, together = excluded.together, version = excluded.version, "
            "seen_at = excluded.seen_at",
            [
                (
                    day, o.area_id, as_datetime(o.began), None if o.ended is None else as_datetime(o.ended), list(o.exact), o.sure, o.dark,
                    o.customers, o.heard, o.supply, o.together, VERSION, as_datetime(now),
                )
                for o in found
            ],
        )  # fmt: skip
    return len(found)


def listing(conn: Connection, first: dt.date, last: dt.date, area: str | None = None) -> list[dict[str, Any]]:
    """Outages of a period, the newest first; one that lasted over midnight is one."""
    rows = conn.execute(
        "SELECT a.code AS area, a.name, o.outage_id, o.began, o.ended, o.exact, o.sure, o.dark, o.customers, o.heard, o.supply, o.together, "
        "o.seen_at FROM outage o JOIN area a USING (area_id) WHERE o.day BETWEEN %s AND %s AND (%s::text IS NULL OR a.code = %s) "
        "ORDER BY a.code, o.began",
        (first, last, area, area),
    ).fetchall()
    told: list[dict[str, Any]] = []
    for _, of_area in groupby(rows, key=lambda row: row["area"]):
        joined: list[dict[str, Any]] = []
        for row in of_area:
            if joined and joined[-1]["ended"] == row["began"]:
                joined[-1] = _joined(joined[-1], row)
            else:
                joined.append(row)
        told += joined
    return sorted(told, key=lambda row: (row["began"], row["area"]), reverse=True)


_ORDER: Final = ("possible", "likely", "certain")


def _joined(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    counts = {
        name: max(before[name], after[name]) for name in ("dark", "customers", "heard", "together", "seen_at")
    }
    return {
        **before, **counts, "ended": after["ended"], "exact": [before["exact"][0], after["exact"][1]],
        "supply": before["supply"] or after["supply"], "sure": max(before["sure"], after["sure"], key=_ORDER.index),
    }  # fmt: skip
