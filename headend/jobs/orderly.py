"""Orderly use of electricity: plans are carried out minute by minute, and their effect is measured the day after, and again when late readings
come."""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np

from headend.jobs.frame import Run
from headend.plans import CURVE
from headend.store import feed, orderly_effect, orderly_orders
from headend.store.coverage import today
from headend.store.orderly_orders import Done
from headend.store.response import BACK
from protocols.localtime import as_datetime, midnight

NAME: Final = "orderly"
#: rows of the feed looked at in one go
FEED_ROWS: Final = 20_000
GRACE: Final = np.timedelta64(CURVE.grace)


def act(run: Run) -> Done:
    """Start and end plans, and ask for the orders that are due. Each commits by itself."""
    return orderly_orders.carry_out(run.conn, now=run.now)


def job(run: Run, day: dt.date) -> str:
    """Measure the days up to `day`, which is over, that have not been measured, or whose curves, or like days', have changed since."""
    touched = _touched(run)
    measured = 0
    for number, one in _days(run, day):
        known = run.conn.execute(
            "SELECT FROM orderly_day WHERE plan_id = %s AND day = %s", (number, one)
        ).fetchone()
        if known is None or touched is None or _concerns(run, number, one, touched):
            measured += orderly_effect.measure(run.conn, number, one, run.zone, now=run.now)
    return f"{measured} days measured"


def _days(run: Run, last: dt.date) -> list[tuple[int, dt.date]]:
    """Plan-days of which anything was carried out, and whose curves have had their time."""
    ready = today(run.now - GRACE, run.zone) - dt.timedelta(days=1)
    rows = run.conn.execute(
        "SELECT p.plan_id, d::date AS day FROM orderly_plan p CROSS JOIN generate_series(p.first_day, p.last_day, interval '1 day') d "
        "WHERE p.started_at IS NOT NULL AND d::date BETWEEN %s AND %s ORDER BY 2, 1",
        (min(last, ready) - dt.timedelta(days=BACK), min(last, ready)),
    ).fetchall()
    return [
        (row["plan_id"], row["day"])
        for row in rows
        if midnight(row["day"] + dt.timedelta(days=1), run.zone) + GRACE <= run.now
    ]


def _concerns(run: Run, number: int, day: dt.date, touched: set[tuple[int, int]]) -> bool:
    """Whether a reading came of one of the participants' meters, for this day or one that may be like it."""
    meters = [
        row["meter_id"]
        for row in run.conn.execute(
            "SELECT DISTINCT i.meter_id FROM orderly_participant q JOIN installation i ON i.point_id = ANY(q.points) WHERE q.plan_id = %s",
            (number,),
        )
    ]
    last = (day - dt.date(1970, 1, 1)).days
    return any((meter, one) in touched for meter in meters for one in range(last - BACK, last + 1))


def _touched(run: Run) -> set[tuple[int, int]] | None:
    """(meter, day since 1970) of the readings that came since the last run; None: at the first run, and after a restore, it may be any."""
    conn = run.conn
    conn.execute(
        "INSERT INTO job_cursor VALUES (%s, '', %s) ON CONFLICT DO NOTHING", (NAME, as_datetime(run.now))
    )
    row = conn.execute("SELECT cursor FROM job_cursor WHERE job = %s FOR UPDATE", (NAME,)).fetchone()
    assert row is not None
    interesting = _meters(run)
    found: set[tuple[int, int]] = set()
    cursor, more, stale = row["cursor"], True, False
    try:
        if not cursor:
            raise feed.StaleCursor("never ran")
        while more:
            page = feed.touched(conn, cursor, FEED_ROWS)
            ours = np.isin(page.meter, interesting)
            found.update(zip(page.meter[ours].tolist(), page.day[ours].tolist(), strict=True))
            cursor, more = page.cursor, page.more
    except (feed.StaleCursor, feed.BadCursor):
        cursor, stale = feed.latest(conn), True
    conn.execute(
        "UPDATE job_cursor SET cursor = %s, at = %s WHERE job = %s", (cursor, as_datetime(run.now), NAME)
    )
    return None if stale else found


def _meters(run: Run) -> list[int]:
    """Meters of anybody who was ever called, of the plans that are still looked at."""
    since = today(run.now, run.zone) - dt.timedelta(days=2 * BACK)
    rows = run.conn.execute(
        "SELECT DISTINCT i.meter_id FROM orderly_plan p JOIN orderly_participant q USING (plan_id) "
        "JOIN installation i ON i.point_id = ANY(q.points) WHERE p.started_at IS NOT NULL AND p.last_day >= %s",
        (since,),
    )
    return [row["meter_id"] for row in rows]
