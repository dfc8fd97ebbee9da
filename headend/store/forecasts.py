"""Forecasts of transformer areas' loads, and how wrong they were."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection, StoreError
from lineloss.statistics.forecast import METHOD, VERSION
from protocols.localtime import as_datetime

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]


class NoForecast(StoreError):
    """There is none of that area and day."""


def save(
    conn: Connection,
    day: dt.date,
    area: I64,
    energy: Floats,
    naive: Floats,
    days: I64,
    level: Floats,
    *,
    now: np.datetime64,
) -> None:
    """What is said of a day, [area, slot] [kWh]; said again, the newer holds. In the caller's transaction."""
    rows = [
        (
            day, number, as_datetime(now), METHOD, VERSION, int(days[k]), float(level[k]), energy[k].tolist(),
            None if np.isnan(naive[k]).any() else naive[k].tolist(),
        )
        for k, number in enumerate(area.tolist())
    ]  # fmt: skip
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO area_forecast AS f (day, area_id, made_at, method, version, like_days, level, energy, naive) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (day, area_id) DO UPDATE SET made_at = excluded.made_at, "
            "method = excluded.method, version = excluded.version, like_days = excluded.like_days, level = excluded.level, "
            "energy = excluded.energy, naive = excluded.naive",
            rows,
        )


def of_day(conn: Connection, day: dt.date, area: I64, slots: int) -> tuple[I64, Floats, Floats]:
    """(areas of those given of whose day something was said, [area, slot] [kWh] as it was said, as the week before was); ascending."""
    rows = conn.execute(
        "SELECT area_id, energy, naive FROM area_forecast WHERE day = %s AND area_id = ANY(%s) AND cardinality(energy) = %s ORDER BY 1",
        (day, area.tolist(), slots),
    ).fetchall()
    none = [np.nan] * slots
    return (
        np.array([row["area_id"] for row in rows], dtype=np.int64),
        np.array([row["energy"] for row in rows], dtype=np.float64).reshape(len(rows), slots),
        np.array([row["naive"] or none for row in rows], dtype=np.float64).reshape(len(rows), slots),
    )


def measured(conn: Connection, day: dt.date, area: I64, error: Floats, naive: Floats) -> None:
    """How wrong what was said of a day was, and how wrong the week before would have been; NaN: not known."""
    told = [[None if np.isnan(value) else value for value in column.tolist()] for column in (error, naive)]
    conn.execute(
        "UPDATE area_forecast f SET error = u.error, naive_error = u.naive FROM unnest(%s::int[], %s::float8[], %s::float8[]) "
        "AS u (area, error, naive) WHERE f.day = %s AND f.area_id = u.area",
        (area.tolist(), *told, day),
    )


def one(conn: Connection, code: str, day: dt.date) -> dict[str, Any]:
    """What is said of an area's day. NoForecast."""
    row = conn.execute(
        "SELECT a.code AS area, a.name, f.* FROM area_forecast f JOIN area a USING (area_id) WHERE f.day = %s AND a.code = %s",
        (day, code),
    ).fetchone()
    if row is None:
        raise NoForecast(
            f"no forecast of area {code!r} for {day}; `headend statistics run DAY` makes those of the day after the next"
        )
    return row


def errors(conn: Connection, first: dt.date, last: dt.date) -> list[dict[str, Any]]:
    """How wrong the forecasts of a period were by area, the worst first: means of the days of which both errors are known."""
    return conn.execute(
        "SELECT a.code AS area, a.name, count(*)::int AS days, avg(error) AS error, avg(naive_error) AS naive_error, "
        "count(*) FILTER (WHERE error < naive_error)::int AS better FROM area_forecast f JOIN area a USING (area_id) "
        "WHERE f.day BETWEEN %s AND %s AND error IS NOT NULL AND naive_error IS NOT NULL GROUP BY 1, 2 ORDER BY 4 DESC, 1",
        (first, last),
    ).fetchall()
