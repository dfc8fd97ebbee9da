"""Losses of lines, buses, transformers, regions and voltage levels by day and month, and of areas by month; areas by day are in results.py."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store import feed
from headend.store.db import Connection, StoreError
from headend.store.network import TABLES
from lineloss.hierarchy import KINDS
from protocols.localtime import as_datetime
from protocols.reading import MISSING

I64 = NDArray[np.int64]

PERIODS: Final = ("day", "month")
#: missing points kept with a loss: enough to send somebody; how many there are is said beside
MOST_MISSING: Final = 100


class UnknownObject(StoreError):
    def __init__(self, kind: str, code: str) -> None:
        super().__init__(f"the archive has no {kind} {code!r}; `headend archive list` shows what there is")


@dataclass(frozen=True, slots=True)
class ObjectLoss:
    """One object's loss of one period; energies in 1e-4 kWh on the primary side, None where not known."""

    object_id: int
    level_v: int
    status: str
    supplied: int | None
    sold: int | None
    loss: int | None
    loss_low: int | None
    loss_high: int | None
    unmetered: int
    rate: float | None
    iron: int | None
    copper: int | None
    load: float | None
    method: str
    points_due: int
    points_have: int
    missing: Sequence[int]
    why: str


_COLUMNS: Final = tuple(field.name for field in fields(ObjectLoss))
_TYPES: Final = {
    "object_id": "int", "level_v": "int", "status": "text", "method": "text", "rate": "float8", "load": "float8", "why": "text",
    "points_due": "int", "points_have": "int", "missing": "text",
}  # fmt: skip
_SAVE: Final = f"""
    INSERT INTO object_loss AS l (kind, period, first_day, computed_at, {", ".join(_COLUMNS)})
    SELECT %(kind)s, %(period)s, %(first)s, %(now)s, {", ".join(c + ("::int[]" if c == "missing" else "") for c in _COLUMNS)}
    FROM unnest({", ".join(f"%({c})s::{_TYPES.get(c, 'bigint')}[]" for c in _COLUMNS)}) AS u ({", ".join(_COLUMNS)})
    ON CONFLICT (kind, period, first_day, object_id, level_v) DO UPDATE
    SET computed_at = excluded.computed_at, {", ".join(f"{c} = excluded.{c}" for c in _COLUMNS[2:])}
    WHERE ({", ".join(f"l.{c}" for c in _COLUMNS[2:])}) IS DISTINCT FROM ({", ".join(f"excluded.{c}" for c in _COLUMNS[2:])})
    RETURNING object_id, level_v
"""


def save(
    conn: Connection, kind: str, period: str, first: dt.date, losses: Sequence[ObjectLoss], *, now: Any
) -> int:
    """Replace a period's losses of a kind in the caller's transaction; how many changed. Days that changed go to the feed, as KIND:CODE."""
    said: dict[str, Any] = {name: [getattr(loss, name) for loss in losses] for name in _COLUMNS}
    said["missing"] = ["{" + ",".join(map(str, some)) + "}" for some in said["missing"]]
    key = {"kind": kind, "period": period, "first": first, "now": as_datetime(now)}
    gone = conn.execute(
        "DELETE FROM object_loss WHERE kind = %(kind)s AND period = %(period)s AND first_day = %(first)s AND (object_id, level_v) "
        "NOT IN (SELECT * FROM unnest(%(object_id)s::int[], %(level_v)s::int[])) RETURNING object_id, level_v",
        key | said,
    ).fetchall()
    changed = conn.execute(_SAVE, key | said).fetchall() + gone
    if period == "day" and changed:
        table = TABLES[kind]
        codes = conn.execute(
            f"SELECT DISTINCT code FROM {table} WHERE {table}_id = ANY(%s) ORDER BY 1",
            ([row["object_id"] for row in changed],),
        ).fetchall()
        feed.publish(conn, "loss", [(f"{kind}:{row['code']}", first) for row in codes])
    return len(changed)


def losses(conn: Connection, kind: str, period: str, first: dt.date) -> list[dict[str, Any]]:
    """A period's losses of a kind with codes and names, highest rate first, those without one last; `first`: the day, or the first of the month.

    `missing_points` are codes; of an area's day the assets of the meters that are missing."""
    if kind not in KINDS or period not in PERIODS:
        raise ValueError(f"{kind!r} by {period!r}: choose from {KINDS} by {PERIODS}")
    if kind == "area" and period == "day":
        return _area_days(conn, first)
    table = TABLES[kind]
    kv = {"line": "t.voltage_kv", "bus": "t.voltage_kv", "voltage": "(l.level_v / 1000.0)"}.get(kind, "NULL")
    return conn.execute(
        f"""
        SELECT t.code, t.name, {kv}::float8 AS kv, l.*,
               (SELECT coalesce(array_agg(p.code ORDER BY p.code), '{{}}') FROM point p WHERE p.point_id = ANY(l.missing)) AS missing_points
        FROM object_loss l JOIN {table} t ON t.{table}_id = l.object_id
        WHERE l.kind = %s AND l.period = %s AND l.first_day = %s ORDER BY l.rate DESC NULLS LAST, t.code, l.level_v
        """,
        (kind, period, first),
    ).fetchall()


def _area_days(conn: Connection, day: dt.date) -> list[dict[str, Any]]:
    return conn.execute(
        """
        SELECT a.code, a.name, NULL::float8 AS kv, 'area' AS kind, l.area_id AS object_id, 0 AS level_v, 'day' AS period, l.day AS first_day,
               l.status, l.supplied, l.sold, l.loss, l.loss_low, l.loss_high, 0::bigint AS unmetered, l.rate, NULL::bigint AS iron,
               NULL::bigint AS copper, NULL::float8 AS load, 'registers' AS method, l.meters_due AS points_due,
               l.meters_complete AS points_have, l.missing, l.why, l.computed_at,
               (SELECT coalesce(array_agg(m.asset ORDER BY m.asset), '{}') FROM meter m WHERE m.meter_id = ANY(l.missing)) AS missing_points
        FROM loss_result l JOIN area a USING (area_id) WHERE l.day = %s ORDER BY l.rate DESC NULLS LAST, a.code
        """,
        (day,),
    ).fetchall()


def object_of(conn: Connection, kind: str, code: str) -> tuple[int, int]:
    """(object_id, level [V], 0 if it has none) of `code`; of a voltage level CODE@KV. UnknownObject."""
    name, _, level = code.partition("@") if kind == "voltage" else (code, "", "")
    table = TABLES[kind]
    row = conn.execute(f"SELECT {table}_id AS id FROM {table} WHERE code = %s", (name,)).fetchone()
    try:
        volts = round(float(level) * 1000) if kind == "voltage" else 0
    except ValueError:
        raise UnknownObject(kind, f"{code} (REGION@KV, such as GX@10)") from None
    if row is None:
        raise UnknownObject(kind, code)
    return int(row["id"]), volts


def history(
    conn: Connection, kind: str, period: str, object_id: int, level_v: int, last: dt.date, count: int
) -> list[dict[str, Any]]:
    """The last `count` days or months of one object up to `last`, oldest first; those without a result are not there."""
    if kind == "area" and period == "day":
        source, where = "(SELECT *, day AS first_day FROM loss_result) l", "area_id = %(object)s"
    else:
        source = "object_loss l"
        where = "kind = %(kind)s AND period = %(period)s AND object_id = %(object)s AND level_v = %(level)s"
    found = conn.execute(
        f"SELECT first_day, status, supplied, sold, loss, loss_low, loss_high, rate FROM {source} "
        f"WHERE {where} AND first_day <= %(last)s ORDER BY first_day DESC LIMIT %(count)s",
        {"kind": kind, "period": period, "object": object_id, "level": level_v, "last": last, "count": count},
    ).fetchall()
    return found[::-1]


def days_of_month(
    conn: Connection, kind: str, month: dt.date, days: int
) -> dict[tuple[int, int], dict[str, Any]]:
    """(object_id, level_v) -> sums over a month's days of the objects that are known on all `days` of them."""
    bounds = {"first": month, "last": month + dt.timedelta(days=days - 1), "kind": kind, "days": days}
    known = "BETWEEN %(first)s AND %(last)s AND status = 'known'"
    if kind == "area":
        source = "SELECT area_id AS object_id, 0 AS level_v, NULL::bigint AS iron, NULL::bigint AS copper, NULL::float8 AS load, * "
        source += f"FROM loss_result WHERE day {known}"
    else:
        source = f"SELECT * FROM object_loss WHERE kind = %(kind)s AND period = 'day' AND first_day {known}"
    found = conn.execute(
        "SELECT object_id, level_v, sum(supplied)::bigint AS supplied, sum(sold)::bigint AS sold, sum(loss)::bigint AS loss, "
        "sum(loss_low)::bigint AS loss_low, sum(loss_high)::bigint AS loss_high, "
        "CASE WHEN count(iron) = count(*) THEN sum(iron)::bigint END AS iron, "
        "CASE WHEN count(iron) = count(*) THEN sum(copper)::bigint END AS copper, "
        f"sqrt(avg(load * load)) AS load FROM ({source}) l GROUP BY 1, 2 HAVING count(*) = %(days)s",
        bounds,
    ).fetchall()
    return {(row["object_id"], row["level_v"]): row for row in found}


def put_off(conn: Connection, days: Sequence[dt.date] | None) -> None:
    """Losses of these days are to be made again, of those of which there are any; None: of all of them."""
    conn.execute(
        "INSERT INTO split_stale SELECT DISTINCT day FROM loss_result WHERE %(days)s::date[] IS NULL OR day = ANY(%(days)s::date[]) "
        "ON CONFLICT DO NOTHING",
        {"days": None if days is None else list(days)},
    )


def take_stale(conn: Connection, before: dt.date, most: int) -> list[dt.date]:
    """Up to `most` days before `before` that are to be made again, the newest first; they are taken off the list."""
    rows = conn.execute(
        "DELETE FROM split_stale WHERE day IN (SELECT day FROM split_stale WHERE day < %s ORDER BY day DESC LIMIT %s) RETURNING day",
        (before, most),
    ).fetchall()
    return sorted((row["day"] for row in rows), reverse=True)


def transformer_loss(conn: Connection, points: I64, first: dt.date, last: dt.date) -> tuple[I64, I64]:
    """Transformer loss energy (变损电量), a determinant of a bill: (iron, copper) int64[point] [1e-4 kWh] of local days first..last, by the plates
    of the transformers the points receive from (roles.csv): a customer who is metered on the low side pays for this too.

    `points` in any order, each once. MISSING where a point receives from none, or a day of one is not computed: a bill is made of all or waits."""
    rows = conn.execute(
        """
        WITH due AS (
            SELECT r.point_id, r.transformer_id, d.day::date AS day
            FROM cluster c, generate_series(%(first)s::date, %(last)s::date, interval '1 day') d(day), loss_role r
            WHERE r.point_id = ANY(%(points)s) AND r.transformer_id IS NOT NULL AND r.role = 'receive'
              AND (r.valid_from AT TIME ZONE c.zone)::date <= d.day::date AND (r.valid_to AT TIME ZONE c.zone)::date > d.day::date)
        SELECT due.point_id, sum(l.iron)::bigint AS iron, sum(l.copper)::bigint AS copper
        FROM due LEFT JOIN object_loss l
            ON l.kind = 'transformer' AND l.period = 'day' AND l.object_id = due.transformer_id AND l.first_day = due.day
        GROUP BY 1 HAVING count(l.iron) = count(*) AND count(DISTINCT due.day) = %(days)s
        """,
        {"points": points.tolist(), "first": first, "last": last, "days": (last - first).days + 1},
    ).fetchall()
    told = {row["point_id"]: (row["iron"], row["copper"]) for row in rows}
    both = np.array([told.get(point, (MISSING, MISSING)) for point in points.tolist()], dtype=np.int64)
    iron, copper = both.reshape(-1, 2).T
    return iron, copper


def behind(
    conn: Connection, points: Sequence[int], plans: Sequence[str], first: dt.date, last: dt.date
) -> dict[int, dict[dt.date, tuple[int, ...]]]:
    """transformer -> local day -> points that receive from it and whose account of that day is on one of `plans`, by their codes: of the transformers
    that any of `points` receives from on local days first..last."""
    rows = conn.execute(
        """
        SELECT r.transformer_id, d.day::date AS day, array_agg(DISTINCT (p.code COLLATE "C", r.point_id)) AS who
        FROM loss_role r JOIN point p USING (point_id) JOIN account a USING (point_id) JOIN account_days s USING (account_id), cluster c,
             generate_series(%(first)s::date, %(last)s::date, interval '1 day') d(day)
        WHERE r.role = 'receive' AND a.tariff = ANY(%(plans)s) AND r.transformer_id IN (
                SELECT transformer_id FROM loss_role WHERE point_id = ANY(%(points)s) AND role = 'receive' AND transformer_id IS NOT NULL)
          AND (r.valid_from AT TIME ZONE c.zone)::date <= d.day::date AND (r.valid_to AT TIME ZONE c.zone)::date > d.day::date
          AND s.opened <= d.day::date AND (s.closed IS NULL OR s.closed > d.day::date)
        GROUP BY 1, 2 ORDER BY 1, 2
        """,
        {"points": list(points), "plans": list(plans), "first": first, "last": last},
    )
    found: dict[int, dict[dt.date, tuple[int, ...]]] = {}
    for row in rows:
        found.setdefault(row["transformer_id"], {})[row["day"]] = tuple(int(point) for _, point in row["who"])
    return found


def day_losses(
    conn: Connection, transformers: Sequence[int], first: dt.date, last: dt.date
) -> dict[int, dict[dt.date, tuple[int, int]]]:
    """transformer -> local day -> (iron, copper) [1e-4 kWh], of days that are computed."""
    rows = conn.execute(
        "SELECT object_id, first_day, iron, copper FROM object_loss WHERE kind = 'transformer' AND period = 'day' AND object_id = ANY(%s) "
        "AND first_day BETWEEN %s AND %s AND iron IS NOT NULL AND copper IS NOT NULL",
        (list(transformers), first, last),
    )
    found: dict[int, dict[dt.date, tuple[int, int]]] = {}
    for row in rows:
        found.setdefault(row["object_id"], {})[row["first_day"]] = (row["iron"], row["copper"])
    return found
