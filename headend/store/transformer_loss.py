"""What customers' own transformers (专变) lost, for who is metered on their low side: computed with line loss, charged with the bill."""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection
from protocols.reading import MISSING

I64 = NDArray[np.int64]


def of_points(conn: Connection, points: I64, first: dt.date, last: dt.date) -> tuple[I64, I64]:
    """(iron, copper) int64[point] [1e-4 kWh] of local days first..last; MISSING where the point hangs behind no transformer of a customer, or
    a day's loss is not computed. `points` in any order, each once."""
    iron, copper = (np.full(len(points), MISSING) for _ in range(2))
    rows = conn.execute(
        """
        SELECT r.point_id, sum(l.iron)::bigint AS iron, sum(l.copper)::bigint AS copper
        FROM generate_series(%(first)s::date, %(last)s, interval '1 day') AS d(day)
        JOIN (SELECT DISTINCT point_id, area_id, valid_from, valid_to FROM area_role WHERE point_id = ANY(%(points)s)) r
            ON r.valid_from < d.day + 1 AND r.valid_to > d.day
        JOIN area_span s ON s.area_id = r.area_id AND s.valid_from < d.day + 1 AND s.valid_to > d.day
        JOIN transformer t ON t.transformer_id = s.transformer_id AND t.owner = 'customer'
        JOIN object_loss l ON l.kind = 'transformer' AND l.period = 'day' AND l.object_id = t.transformer_id AND l.first_day = d.day::date
        WHERE l.iron IS NOT NULL
        GROUP BY r.point_id HAVING count(DISTINCT d.day) = %(days)s AND count(*) = %(days)s
        """,
        {"points": points.tolist(), "first": first, "last": last, "days": (last - first).days + 1},
    ).fetchall()
    place = {point: k for k, point in enumerate(points.tolist())}
    for row in rows:
        iron[place[row["point_id"]]], copper[place[row["point_id"]]] = row["iron"], row["copper"]
    return iron, copper
