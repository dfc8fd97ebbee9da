"""What the jobs computed: losses and the jobs' own runs. Findings have a life of their own: store/findings.py."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headend.store import feed
from headend.store.db import Connection
from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Loss:
    """One area's loss for one day; energies in 1e-4 kWh on the primary side, None where unknown."""

    area_id: int
    status: str
    supplied: int | None
    sold: int | None
    loss: int | None
    loss_low: int | None
    loss_high: int | None
    likely_low: int | None
    likely_high: int | None
    technical: int | None
    technical_error: int | None
    rate: float | None
    meters_due: int
    meters_complete: int
    missing: Sequence[int]
    why: str


def save_losses(conn: Connection, day: dt.date, losses: Sequence[Loss], *, now: Any) -> int:
    """Replace a day's losses in the caller's transaction; areas whose figures changed go to the feed. Returns how many changed."""
    changed: list[int] = []
    for loss in losses:
        row = conn.execute(
            """
            INSERT INTO loss_result AS l (area_id, day, status, supplied, sold, loss, loss_low, loss_high, likely_low, likely_high,
                                          technical, technical_error, rate, meters_due, meters_complete, missing, why, computed_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (area_id, day) DO UPDATE SET status = excluded.status, supplied = excluded.supplied, sold = excluded.sold,
                loss = excluded.loss, loss_low = excluded.loss_low, loss_high = excluded.loss_high,
                likely_low = excluded.likely_low, likely_high = excluded.likely_high, technical = excluded.technical,
                technical_error = excluded.technical_error, rate = excluded.rate,
                meters_due = excluded.meters_due, meters_complete = excluded.meters_complete, missing = excluded.missing,
                why = excluded.why, computed_at = excluded.computed_at
            WHERE (l.status, l.supplied, l.sold, l.loss, l.loss_low, l.loss_high, l.likely_low, l.likely_high, l.technical,
                   l.technical_error, l.meters_due, l.meters_complete, l.missing, l.why)
                IS DISTINCT FROM (excluded.status, excluded.supplied, excluded.sold, excluded.loss, excluded.loss_low,
                    excluded.loss_high, excluded.likely_low, excluded.likely_high, excluded.technical, excluded.technical_error,
                    excluded.meters_due, excluded.meters_complete, excluded.missing, excluded.why)
            RETURNING area_id
            """,
            (
                loss.area_id, day, loss.status, loss.supplied, loss.sold, loss.loss, loss.loss_low, loss.loss_high,
                loss.likely_low, loss.likely_high, loss.technical, loss.technical_error, loss.rate,
                loss.meters_due, loss.meters_complete, list(loss.missing), loss.why, as_datetime(now),
            ),
        ).fetchone()  # fmt: skip
        if row is not None:
            changed.append(row["area_id"])
    codes = conn.execute("SELECT code FROM area WHERE area_id = ANY(%s) ORDER BY code", (changed,)).fetchall()
    feed.publish(conn, "loss", [(row["code"], day) for row in codes])
    return len(changed)


def losses(conn: Connection, day: dt.date) -> list[dict[str, Any]]:
    """A day's losses with area code, name and the asset numbers of missing meters; highest rate first, unknown last."""
    return conn.execute(
        """
        SELECT a.code AS area, a.name, l.*, (SELECT coalesce(array_agg(m.asset ORDER BY m.asset), '{}') FROM meter m
                                             WHERE m.meter_id = ANY(l.missing)) AS missing_assets
        FROM loss_result l JOIN area a USING (area_id) WHERE l.day = %s ORDER BY l.rate DESC NULLS LAST, a.code
        """,
        (day,),
    ).fetchall()


def unexplained(conn: Connection, day: dt.date, most: int, *, usual: float) -> NDArray[np.int64]:
    """int64[area], at most `most`: areas that lost more than the network is expected to, or gained, beyond what is likely of meters of their
    classes; most kWh first.

    usual  share of the supply that a network may lose where its loss is not known
    """
    rows = conn.execute(
        """
        SELECT area_id, greatest(likely_low - coalesce(technical + 2 * technical_error, %(usual)s * supplied), -likely_high) AS rest
        FROM loss_result WHERE day = %(day)s AND status = 'known' AND likely_low IS NOT NULL ORDER BY rest DESC, area_id LIMIT %(most)s
        """,
        {"day": day, "usual": usual, "most": most},
    )
    return np.array([row["area_id"] for row in rows if row["rest"] > 0], dtype=np.int64)


def ran(
    conn: Connection, job: str, day: dt.date, *, started: Any, seconds: float, ok: bool, summary: str
) -> None:
    """Note a job's run."""
    conn.execute(
        "INSERT INTO job_run (job, day, started, seconds, ok, summary) VALUES (%s, %s, %s, %s, %s, %s)",
        (job, day, as_datetime(started), seconds, ok, summary[:500]),
    )


def runs(conn: Connection, limit: int = 50) -> list[dict[str, Any]]:
    """The newest runs of every job."""
    return conn.execute("SELECT * FROM job_run ORDER BY run_id DESC LIMIT %s", (limit,)).fetchall()
