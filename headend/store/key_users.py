"""Key users: what is known of each customer in a period, and who of them is one."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from psycopg.rows import tuple_row

from headend.store.db import Connection
from headend.store.statistics import BadQuestion
from lineloss.statistics import keyusers
from lineloss.statistics.keyusers import WORDS, Because

#: longest period: of a million customers two months of days are sixty million rows
MOST_DAYS = 62


def listing(
    conn: Connection,
    first: dt.date,
    last: dt.date,
    zone: ZoneInfo,
    *,
    least: float = keyusers.CAPACITY,
    share: float = keyusers.SHARE,
) -> list[dict[str, Any]]:
    """The key users of a period, the greatest energy first, each with why. Energies [kWh] of the days that are known (`days_known`), by the
    roll-ups; the day of a meter exchange counts for neither meter."""
    if not 0 <= (last - first).days < MOST_DAYS:
        raise BadQuestion(
            f"{first} to {last} is no period of 1 to {MOST_DAYS} days; name its first and its last day"
        )
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            """
            WITH used AS (
                SELECT a.customer_id, sum(d.import_energy::float8 * i.ct * i.pt) / 10000 AS kwh, count(d.import_energy)::int AS known,
                       sum(d.points)::int AS points, sum(d.present)::int AS present,
                       max(d.active_power_max::float8 * i.ct * i.pt) AS high
                FROM account a JOIN installation i USING (point_id) JOIN day_rollup d ON d.meter_id = i.meter_id
                CROSS JOIN LATERAL (SELECT d.day::timestamp AT TIME ZONE %(zone)s AS begin) b
                WHERE d.day BETWEEN %(first)s AND %(last)s AND a.valid_from <= b.begin AND a.valid_to > b.begin
                  AND i.valid_from <= b.begin AND i.valid_to > b.begin
                GROUP BY 1)
            SELECT c.number, c.name, coalesce(s.industry, ''), s.capacity_kva::float8, u.kwh, coalesce(u.known, 0), u.points, u.present, u.high,
                   EXISTS (SELECT FROM account a JOIN point_group_member m USING (point_id) JOIN point_group g USING (point_group_id)
                           WHERE a.customer_id = c.customer_id AND g.key_users AND a.valid_from <= e.at AND a.valid_to > e.at)
            FROM customer c CROSS JOIN (SELECT (%(last)s::date + 1)::timestamp AT TIME ZONE %(zone)s - interval '1 microsecond' AS at) e
            LEFT JOIN used u USING (customer_id)
            LEFT JOIN customer_span s ON s.customer_id = c.customer_id AND s.valid_from <= e.at AND s.valid_to > e.at
            WHERE u.customer_id IS NOT NULL OR EXISTS (SELECT FROM account a WHERE a.customer_id = c.customer_id AND a.valid_from <= e.at
                                                       AND a.valid_to > e.at)
            ORDER BY c.number
            """,
            {"first": first, "last": last, "zone": zone.key},
        ).fetchall()

    def column(k: int) -> Any:
        return np.array([row[k] for row in rows], dtype=np.float64)  # None is NaN

    chosen = keyusers.choose(
        column(4), column(3), np.array([row[9] for row in rows], dtype=np.bool_), least=least, share=share
    )
    told = []
    for rank, (k, because) in enumerate(zip(chosen.row.tolist(), chosen.because.tolist(), strict=True)):
        number, name, industry, capacity, kwh, known, points, present, high, _ = rows[k]
        told.append(
            {
                "customer": number, "name": name, "industry": industry, "capacity_kva": capacity, "kwh": kwh, "days_known": known,
                "share": None if np.isnan(chosen.share[rank]) else float(chosen.share[rank]), "high_kw": high,
                "integrity": present / points if points else None,
                "because": [WORDS[flag] for flag in Because if because & flag],
            }
        )  # fmt: skip
    return told
