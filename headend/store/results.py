"""What the jobs computed: losses, findings and the jobs' own runs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headend.store import feed
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime


class UnknownFinding(StoreError):
    def __init__(self, finding_id: int) -> None:
        super().__init__(f"no finding {finding_id}; `headend anomalies show` lists them")


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


@dataclass(frozen=True, slots=True)
class Found:
    """A finding as a rule returned it."""

    rule: str
    rule_version: int
    subject_kind: str
    subject_id: int
    severity: str
    title_en: str
    title_zh: str
    evidence: Mapping[str, Any]


def save_findings(
    conn: Connection,
    day: dt.date,
    rules: Sequence[str],
    found: Sequence[Found],
    *,
    now: Any,
    meters: Sequence[int] | None = None,
) -> tuple[int, int]:
    """Replace what `rules` say about a day, in the caller's transaction: new ones are added, seen ones renewed, vanished ones
    withdrawn (not deleted: somebody may have acted on them). `meters`: only of these was anything looked at; None: of everybody.
    Returns (added or changed, withdrawn)."""
    at = as_datetime(now)
    changed: list[int] = []
    for f in found:
        row = conn.execute(
            """
            INSERT INTO finding AS f (rule, rule_version, subject_kind, subject_id, day, severity, title_en, title_zh, evidence,
                                      first_seen, last_seen)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (rule, subject_kind, subject_id, day) DO UPDATE SET rule_version = excluded.rule_version,
                severity = excluded.severity, title_en = excluded.title_en, title_zh = excluded.title_zh,
                evidence = excluded.evidence, last_seen = excluded.last_seen,
                state = CASE WHEN f.state = 'withdrawn' THEN 'new' ELSE f.state END
            RETURNING finding_id, (f.xmax = 0) AS fresh
            """,
            (
                f.rule, f.rule_version, f.subject_kind, f.subject_id, day, f.severity, f.title_en, f.title_zh,
                json.dumps(dict(f.evidence)), at, at,
            ),
        ).fetchone()  # fmt: skip
        assert row is not None
        if row["fresh"]:
            changed.append(row["finding_id"])
    kept = {(f.rule, f.subject_kind, f.subject_id) for f in found}
    gone = [
        row["finding_id"]
        for row in conn.execute(
            "SELECT finding_id, rule, subject_kind, subject_id FROM finding WHERE day = %s AND rule = ANY(%s) AND state <> 'withdrawn' "
            "AND (%s::int[] IS NULL OR subject_kind = 'meter' AND subject_id = ANY(%s::int[]))",
            (day, list(rules), *2 * (None if meters is None else list(meters),)),
        )
        if (row["rule"], row["subject_kind"], row["subject_id"]) not in kept
    ]
    conn.execute(
        "UPDATE finding SET state = 'withdrawn', last_seen = %s WHERE finding_id = ANY(%s)", (at, gone)
    )
    feed.publish(conn, "finding", [(str(k), day) for k in changed + gone])
    return len(changed), len(gone)


def findings(
    conn: Connection,
    *,
    day: dt.date | None = None,
    state: str | None = None,
    rule: str | None = None,
    before: int | None = None,
    limit: int = 200,
) -> list[dict[str, Any]]:
    """Findings with the subject's code, newest first; withdrawn ones only when asked for by `state`."""
    return conn.execute(
        """
        SELECT f.*, CASE f.subject_kind WHEN 'meter' THEN m.asset WHEN 'area' THEN a.code ELSE t.code END AS subject
        FROM finding f
        LEFT JOIN meter m ON f.subject_kind = 'meter' AND m.meter_id = f.subject_id
        LEFT JOIN area a ON f.subject_kind = 'area' AND a.area_id = f.subject_id
        LEFT JOIN terminal t ON f.subject_kind = 'terminal' AND t.terminal_id = f.subject_id
        WHERE (%(day)s::date IS NULL OR f.day = %(day)s) AND (%(rule)s::text IS NULL OR f.rule = %(rule)s)
          AND (f.state = %(state)s OR (%(state)s::text IS NULL AND f.state <> 'withdrawn'))
          AND (%(before)s::bigint IS NULL OR f.finding_id < %(before)s)
        ORDER BY f.finding_id DESC LIMIT %(limit)s
        """,
        {"day": day, "state": state, "rule": rule, "before": before, "limit": limit},
    ).fetchall()


def acknowledge(conn: Connection, finding_id: int, who: str, now: Any) -> None:
    """A person has seen it. UnknownFinding."""
    row = conn.execute(
        "UPDATE finding SET state = 'acknowledged', who = %s, last_seen = %s WHERE finding_id = %s AND state <> 'withdrawn' "
        "RETURNING day",
        (who, as_datetime(now), finding_id),
    ).fetchone()
    if row is None:
        raise UnknownFinding(finding_id)
    feed.publish(conn, "finding", [(str(finding_id), row["day"])])


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
