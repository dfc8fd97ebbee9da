"""Who is counted to what on a local day: every metering point of the archive, as it was last in that day, with its groups."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.store.db import Connection
from lineloss.statistics.groups import Groups, join
from lineloss.statistics.voltage import HIGH_KV
from protocols.localtime import as_datetime, midnight

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

#: what figures can be asked for by, beside everybody
DIMENSIONS: Final = ("region", "industry", "line", "area", "maker", "group")


@dataclass(frozen=True, slots=True)
class Members:
    """point     int64[member], ascending: has a meter in the day, or an account or a role at its end
    terminal  int64[member]: behind which its meter hangs at the end of the day; -1: none does
    customer  bool[member]: takes energy for good: has an account, or receives from a part of the network and supplies none
    level     int64[member]: index into voltage.CLASSES, -1: none; high: supplied at HIGH_KV or more
    meter, at int64[meter]: the meters that hung anywhere in the day, ascending, and the member where each hung last
    groups    of the members
    """

    point: I64
    terminal: I64
    customer: Bits
    level: I64
    high: Bits
    meter: I64
    at: I64
    groups: Groups


def load(conn: Connection, day: dt.date, zone: ZoneInfo) -> Members:
    """The members of a local day."""
    begin, end = (midnight(d, zone) for d in (day, day + dt.timedelta(days=1)))
    when = {
        "begin": as_datetime(begin),
        "end": as_datetime(end),
        "at": as_datetime(end - np.timedelta64(1, "us")),
    }
    point, terminal, customer = _columns(conn, _POINTS, when, 3)
    meter, where = _columns(conn, _METERS, when, 2)
    level, high = np.full(len(point), -1, dtype=np.int64), np.zeros(len(point), dtype=np.bool_)
    of, levels, highs = _columns(conn, _LEVELS, {**when, "high": HIGH_KV}, 3)
    there = np.isin(of, point)
    k = np.searchsorted(point, of[there])
    level[k], high[k] = levels[there], highs[there]
    said = []
    for dimension in DIMENSIONS:
        of, keys = _columns(conn, _PAIRS[dimension], when, 2)
        of = of.astype(np.int64)
        there = np.isin(of, point)
        said.append(
            (dimension, np.searchsorted(point, of[there]), np.array(keys, dtype=np.str_)[there].tolist())
        )
    return Members(
        point.astype(np.int64), terminal.astype(np.int64), customer.astype(np.bool_), level, high,
        meter.astype(np.int64), np.searchsorted(point, where.astype(np.int64)), join(len(point), said),
    )  # fmt: skip


def points_of(conn: Connection, dimension: str, key: str, at: dt.datetime) -> I64:
    """point_ids that are counted to one region, industry, line, area, maker or group at an instant, ascending; none if there is no such."""
    query = f"SELECT DISTINCT point_id FROM ({_PAIRS[dimension]}) u (point_id, key) WHERE key = %(key)s ORDER BY 1"
    (found,) = _columns(conn, query, {"at": at, "key": key}, 1)
    return found.astype(np.int64)


def _columns(conn: Connection, query: Any, arguments: Any, width: int) -> list[NDArray[Any]]:
    """The answer by columns; `width` empty ones if it has no row."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(query, arguments).fetchall()
    return [np.array(column) for column in zip(*found, strict=True)] if found else [np.empty(0)] * width


def _holds(alias: str) -> str:
    return f"{alias}.valid_from <= %(at)s AND {alias}.valid_to > %(at)s"


_POINTS: Final = f"""
    SELECT p.point_id, coalesce(i.terminal_id, -1),
           EXISTS (SELECT FROM account a WHERE a.point_id = p.point_id AND {_holds("a")})
           OR (coalesce(r.receives, false) AND NOT r.supplies)
    FROM point p
    LEFT JOIN (SELECT point_id, max(terminal_id) AS terminal_id FROM installation i WHERE {_holds("i")} GROUP BY 1) i USING (point_id)
    LEFT JOIN (SELECT point_id, bool_or(role = 'receive') AS receives, bool_or(role = 'supply') AS supplies FROM loss_role r
               WHERE {_holds("r")} GROUP BY 1) r USING (point_id)
    WHERE i.terminal_id IS NOT NULL OR r.point_id IS NOT NULL
       OR EXISTS (SELECT FROM account a WHERE a.point_id = p.point_id AND {_holds("a")})
       OR EXISTS (SELECT FROM installation o WHERE o.point_id = p.point_id AND o.valid_from < %(end)s AND o.valid_to > %(begin)s)
    ORDER BY p.point_id
"""
_METERS: Final = """
    SELECT DISTINCT ON (meter_id) meter_id, point_id FROM installation WHERE valid_from < %(end)s AND valid_to > %(begin)s
    ORDER BY meter_id, valid_from DESC
"""
#: A: on a bus, or at the head of a line; B, C: on a line, by its voltage; D: in an area
_LEVELS: Final = f"""
    SELECT point_id, min(level) AS level, bool_or(kv >= %(high)s) AS high FROM (
        SELECT r.point_id, coalesce(b.voltage_kv, l.voltage_kv, 0) AS kv,
               CASE WHEN r.bus_id IS NOT NULL OR (r.line_id IS NOT NULL AND r.role = 'supply') THEN 0
                    WHEN r.line_id IS NOT NULL AND r.role = 'receive' THEN CASE WHEN l.voltage_kv >= %(high)s THEN 1 ELSE 2 END
                    WHEN r.area_id IS NOT NULL AND r.role = 'receive' THEN 3 END AS level
        FROM loss_role r LEFT JOIN bus b ON b.bus_id = r.bus_id LEFT JOIN line l ON l.line_id = r.line_id WHERE {_holds("r")}
    ) u WHERE level IS NOT NULL GROUP BY 1
"""
_LINES: Final = f"""
    SELECT r.point_id, coalesce(r.line_id, s.line_id, t.line_id) AS line_id
    FROM loss_role r LEFT JOIN area_span s ON s.area_id = r.area_id AND {_holds("s")}
    LEFT JOIN transformer_span t ON t.transformer_id = coalesce(r.transformer_id, s.transformer_id) AND {_holds("t")}
    WHERE {_holds("r")} AND coalesce(r.line_id, s.line_id, t.line_id) IS NOT NULL
"""
#: whose own region is not said belongs where its area, its line or bus, or at last its terminal does; and to all that is above
_REGIONS: Final = f"""
    WITH RECURSIVE up AS (
        SELECT organisation_id AS low, organisation_id AS high FROM organisation
        UNION SELECT u.low, s.parent_id FROM up u JOIN organisation_span s ON s.organisation_id = u.high
        WHERE s.parent_id IS NOT NULL AND {_holds("s")}
    ), own AS (
        SELECT p.point_id, coalesce(s.organisation_id, a.organisation_id, l.organisation_id, t.organisation_id) AS region
        FROM point p
        LEFT JOIN point_span s ON s.point_id = p.point_id AND {_holds("s")}
        LEFT JOIN (SELECT r.point_id, min(s.organisation_id) AS organisation_id FROM loss_role r JOIN area_span s USING (area_id)
                   WHERE {_holds("r")} AND {_holds("s")} GROUP BY 1) a ON a.point_id = p.point_id
        LEFT JOIN (SELECT r.point_id, min(coalesce(r.organisation_id, s.organisation_id, u.organisation_id)) AS organisation_id
                   FROM loss_role r LEFT JOIN line_span s ON s.line_id = r.line_id AND {_holds("s")}
                   LEFT JOIN bus b ON b.bus_id = r.bus_id
                   LEFT JOIN substation_span u ON u.substation_id = coalesce(r.substation_id, b.substation_id) AND {_holds("u")}
                   WHERE {_holds("r")} GROUP BY 1) l ON l.point_id = p.point_id
        LEFT JOIN (SELECT i.point_id, min(s.organisation_id) AS organisation_id FROM installation i JOIN terminal_span s USING (terminal_id)
                   WHERE {_holds("i")} AND {_holds("s")} GROUP BY 1) t ON t.point_id = p.point_id
    )
    SELECT own.point_id, o.code FROM own JOIN up ON up.low = own.region JOIN organisation o ON o.organisation_id = up.high
"""
_PAIRS: Final = {
    "region": _REGIONS,
    "industry": (
        f"SELECT a.point_id, s.industry FROM account a JOIN customer_span s USING (customer_id) WHERE {_holds('a')} AND {_holds('s')}"
    ),
    "line": f"SELECT u.point_id, l.code FROM ({_LINES}) u JOIN line l USING (line_id)",
    "area": f"SELECT r.point_id, a.code FROM area_role r JOIN area a USING (area_id) WHERE {_holds('r')}",
    "maker": f"SELECT i.point_id, t.maker FROM installation i JOIN terminal t USING (terminal_id) WHERE {_holds('i')}",
    "group": "SELECT m.point_id, g.code FROM point_group_member m JOIN point_group g USING (point_group_id)",
}
