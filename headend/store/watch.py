"""What the rules look at beside the curves: contracts, who may feed in, what each meter counted at most, what meters told, how terminals were
reached. As columns, one question each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.control.finding_state import OPEN
from headend.plans import Plan
from headend.store.db import Connection
from lineloss.contacts import Contacts
from lineloss.rules import offline
from lineloss.told import Told
from protocols.localtime import Times, as_datetime, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

#: days whose energies tell what is usual of a meter
HISTORY: Final = 30
#: days that tell what a meter that is silent has used: two weeks, so that every day of the week is there
LIKE: Final = 14
#: [1e-4 kWh] -> kWh
_KWH: Final = 1e-4
#: events looked at of one day: more than a million meters tell on a day of storms; beyond it the day is told of by terminals anyway
EVENTS: Final = 200_000
#: how far back an event may lie that is told today: meters keep ten records of each kind, some for years
OLD: Final = dt.timedelta(days=400)


def contracts(conn: Connection, at: np.datetime64) -> dict[int, float]:
    """point_id -> [kVA] what its customer may draw, as of an instant; points of customers without a capacity are left out.

    A customer with several points may draw as much through each of them: none is accused for the sum."""
    rows = conn.execute(
        "SELECT a.point_id, s.capacity_kva::float8 AS kva FROM account a JOIN customer_span s USING (customer_id) "
        "WHERE s.capacity_kva IS NOT NULL AND a.valid_from <= %(at)s AND a.valid_to > %(at)s AND s.valid_from <= %(at)s AND s.valid_to > %(at)s",
        {"at": as_datetime(at)},
    )
    return {row["point_id"]: row["kva"] for row in rows}


def feeders(conn: Connection) -> I64:
    """Points that may feed in: by contract, or because they are there for it. Ascending."""
    rows = conn.execute(
        "SELECT point_id FROM point WHERE feeds_in OR kind IN ('generation', 'gateway') ORDER BY point_id"
    )
    return np.array([row["point_id"] for row in rows], dtype=np.int64)


def checks(conn: Connection) -> tuple[I64, I64]:
    """(main points, points whose meters check them), row by row."""
    rows = conn.execute(
        "SELECT m.point_id AS main, c.point_id AS checking FROM point c JOIN point m ON m.code = c.checks WHERE c.checks <> '' ORDER BY 1, 2"
    ).fetchall()
    return (
        np.array([row["main"] for row in rows], dtype=np.int64),
        np.array([row["checking"] for row in rows], dtype=np.int64),
    )


def usual(conn: Connection, day: dt.date, meters: I64) -> tuple[Floats, I64]:
    """(highest day [kWh] secondary side, NaN where none is known; days known), each [meter], of the HISTORY days before `day`.

    By the roll-ups: one row a meter travels, not thirty."""
    highest, days = np.full(len(meters), np.nan), np.zeros(len(meters), dtype=np.int64)
    rows = _columns(
        conn,
        "SELECT meter_id, max(import_energy), count(import_energy) FROM day_rollup WHERE day >= %s AND day < %s AND meter_id = ANY(%s) "
        "AND import_energy IS NOT NULL GROUP BY meter_id",
        (day - dt.timedelta(days=HISTORY), day, np.unique(meters).tolist()),
    )
    if rows:
        order = np.argsort(meters, kind="stable")
        known = np.array(rows[0], dtype=np.int64)
        low = np.searchsorted(meters[order], known)
        high = np.searchsorted(meters[order], known, side="right")
        count = high - low
        at = order[
            np.repeat(low, count) + np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        ]
        highest[at] = np.repeat(np.array(rows[1], dtype=np.float64) * _KWH, count)
        days[at] = np.repeat(np.array(rows[2], dtype=np.int64), count)
    return highest, days


def energies(conn: Connection, day: dt.date, meters: I64) -> I64:
    """int64[meter, LIKE] [1e-4 kWh] secondary side: what each was read to use on the days before `day`, the newest last; MISSING where not known."""
    known, place = np.unique(meters, return_inverse=True)
    found = np.full((len(known), LIKE), MISSING, dtype=np.int64)
    rows = _columns(
        conn,
        "SELECT meter_id, %(day)s - day, import_energy FROM day_rollup WHERE day >= %(day)s - %(days)s::int AND day < %(day)s "
        "AND meter_id = ANY(%(meters)s) AND import_energy IS NOT NULL",
        {"day": day, "days": LIKE, "meters": known.tolist()},
    )
    if rows:
        meter, ago, energy = (np.array(column, dtype=np.int64) for column in rows)
        found[np.searchsorted(known, meter), LIKE - ago] = energy
    return found[place]


def told(conn: Connection, day: dt.date, zone: ZoneInfo, kinds: Sequence[str]) -> Told:
    """Events of these kinds that were heard of in a local day, whenever they happened: what is told late is not lost.

    Meters are told of with the installation that they had when it happened."""
    begin, end = (as_datetime(midnight(d, zone)) for d in (day, day + dt.timedelta(days=1)))
    rows = _columns(
        conn,
        """
        SELECT e.subject_kind, e.subject_id, e.detail->>'kind', e.occurred, i.valid_from, nullif(i.valid_to, 'infinity')
        FROM event e LEFT JOIN installation i ON e.subject_kind = 'meter' AND i.meter_id = e.subject_id
            AND i.valid_from <= e.occurred AND i.valid_to > e.occurred
        WHERE e.received >= %(begin)s AND e.received < %(end)s AND e.occurred >= %(old)s AND e.detail->>'kind' = ANY(%(kinds)s)
        ORDER BY e.occurred LIMIT %(limit)s
        """,
        {"begin": begin, "end": end, "old": begin - OLD, "kinds": list(kinds), "limit": EVENTS},
    ) or [(), (), (), (), (), ()]
    return Told(
        of=np.array(rows[0], dtype="U8"),
        subject=np.array(rows[1], dtype=np.int64),
        kind=np.array(rows[2], dtype="U32"),
        occurred=_times(rows[3]),
        installed=_times(rows[4]),
        removed=_times(rows[5]),
    )


def contacts(conn: Connection, day: dt.date, zone: ZoneInfo, now: np.datetime64) -> Contacts:
    """Every terminal that was ever heard of, as it is, and how often it came in the local day.

    Who is said to be offline already is so since he was last seen: a collector that starts anew does not end that."""
    begin, end = (as_datetime(midnight(d, zone)) for d in (day, day + dt.timedelta(days=1)))
    rows = _columns(
        conn,
        """
        SELECT t.terminal_id, t.online, t.last_seen, coalesce(i.meters, 0),
               CASE WHEN f.subject_id IS NULL THEN (SELECT min(since) FROM collector WHERE until > clock_timestamp()) ELSE t.last_seen END,
               (SELECT count(*) FROM unnest(l.ats) AS u(at) WHERE u.at >= %(begin)s AND u.at < %(end)s)
        FROM terminal t LEFT JOIN terminal_login l USING (terminal_id)
        LEFT JOIN (SELECT terminal_id, count(*) AS meters FROM installation WHERE valid_from <= %(now)s AND valid_to > %(now)s
                   GROUP BY 1) i USING (terminal_id)
        LEFT JOIN (SELECT DISTINCT subject_id FROM finding WHERE rule = %(offline)s AND state = ANY(%(open)s)) f
            ON f.subject_id = t.terminal_id
        WHERE t.last_seen IS NOT NULL ORDER BY t.terminal_id
        """,
        {
            "begin": begin,
            "end": end,
            "now": as_datetime(now),
            "offline": offline.RULE,
            "open": list(OPEN),
        },
    ) or [(), (), (), (), (), ()]
    return Contacts(
        terminal=np.array(rows[0], dtype=np.int64),
        online=np.array(rows[1], dtype=np.bool_),
        last_seen=_times(rows[2]),
        meters=np.array(rows[3], dtype=np.int64),
        listened=_times(rows[4]),
        logins=np.array(rows[5], dtype=np.int64),
    )


def terminals(conn: Connection, day: dt.date, zone: ZoneInfo) -> tuple[I64, I64]:
    """(terminals that have meters in the local day, how many each)."""
    begin, end = (as_datetime(midnight(d, zone)) for d in (day, day + dt.timedelta(days=1)))
    rows = _columns(
        conn,
        "SELECT terminal_id, count(*) FROM installation WHERE valid_from < %s AND valid_to > %s GROUP BY 1 ORDER BY 1",
        (end, begin),
    ) or [(), ()]
    return np.array(rows[0], dtype=np.int64), np.array(rows[1], dtype=np.int64)


def vain(conn: Connection, plan: Plan, day: dt.date, meters: I64, reasons: Sequence[str]) -> I64:
    """int64[meter]: attempts of a local day that came to nothing for one of these reasons; `meters` ascending, each once."""
    found = np.zeros(len(meters), dtype=np.int64)
    rows = _columns(
        conn,
        "SELECT meter_id, sum(attempts)::int8 FROM gap_reason WHERE plan = %s AND day = %s AND meter_id = ANY(%s) AND reason = ANY(%s) "
        "GROUP BY 1",
        (plan.id, day, meters.tolist(), list(reasons)),
    )
    if rows:
        found[np.searchsorted(meters, np.array(rows[0]))] = np.array(rows[1], dtype=np.int64)
    return found


def _times(column: Sequence[dt.datetime | None]) -> Times:
    """UTC, NaT for None."""
    plain = [None if when is None else when.astimezone(dt.UTC).replace(tzinfo=None) for when in column]
    return np.array(plain, dtype="datetime64[us]")


def _columns(conn: Connection, query: Any, arguments: Any) -> list[tuple[Any, ...]]:
    """The answer by columns; [] if it has no row."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return list(zip(*cursor.execute(query, arguments).fetchall(), strict=True))
