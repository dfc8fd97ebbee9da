"""What kind each customer is: the facts that segments are made of, and what was found."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.store.db import Connection
from lineloss.statistics.segments import THEFT, Segment
from protocols.localtime import as_datetime

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]


def accounts(conn: Connection, at: np.datetime64) -> tuple[I64, I64]:
    """(customer, point) of the accounts that are open at an instant, by point."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            "SELECT customer_id, point_id FROM account WHERE valid_from <= %(at)s AND valid_to > %(at)s ORDER BY point_id",
            {"at": as_datetime(at)},
        ).fetchall()
    found = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
    return found[:, 0], found[:, 1]


def money(conn: Connection, customers: I64, first: np.datetime64, last: np.datetime64) -> dict[str, Floats]:
    """prepaid, warned, stopped, late_days, months, float64[customer] each, of [first, last); `customers` ascending.

    late_days: from the end of a billed period to the first payment after it, mean of the bills of that time that were followed by one."""
    rows = conn.execute(
        """
        SELECT a.customer_id, bool_or(a.prepaid)::int AS prepaid, coalesce(sum(n.warned), 0)::int AS warned,
               coalesce(sum(n.stopped), 0)::int AS stopped, avg(b.late) AS late_days,
               max(extract(epoch FROM %(last)s - greatest(a.valid_from, %(first)s)) / 2629800) AS months
        FROM account a
        LEFT JOIN (SELECT account_id, count(*) FILTER (WHERE level IN ('warn1', 'warn2')) AS warned, count(*) FILTER (WHERE level = 'stop') AS stopped
                   FROM notice WHERE at >= %(first)s AND at < %(last)s GROUP BY 1) n USING (account_id)
        LEFT JOIN (SELECT d.account_id, avg(extract(epoch FROM p.paid_at - d.ended) / 86400)::float8 AS late
                   FROM (SELECT DISTINCT account_id, last_day, (last_day + 1)::timestamptz AS ended FROM bill
                         WHERE last_day >= %(first)s::date AND last_day < %(last)s::date AND amount_fen > 0) d
                   CROSS JOIN LATERAL (SELECT min(paid_at) AS paid_at FROM payment y WHERE y.account_id = d.account_id AND y.paid_at >= d.ended) p
                   GROUP BY 1) b USING (account_id)
        WHERE a.valid_from < %(last)s AND a.valid_to >= %(last)s AND a.customer_id = ANY(%(customers)s) GROUP BY 1
        """,
        {"first": as_datetime(first), "last": as_datetime(last), "customers": customers.tolist()},
    ).fetchall()
    told = {
        name: np.full(len(customers), np.nan)
        for name in ("prepaid", "warned", "stopped", "late_days", "months")
    }
    at = np.searchsorted(customers, np.array([row["customer_id"] for row in rows], dtype=np.int64))
    for name, column in told.items():
        column[at] = np.array([row[name] for row in rows], dtype=np.float64)
    return told


def suspicions(conn: Connection, customers: I64, since: dt.date, at: np.datetime64) -> tuple[Floats, I64]:
    """(sum of THEFT's weights over findings of each customer's meters that were seen since a day, how many); `customers` ascending."""
    rows = conn.execute(
        """
        SELECT a.customer_id, sum(w.weight * CASE WHEN f.state = 'closed' THEN 0.5 ELSE 1 END) AS weight, count(*)::int AS n
        FROM finding f JOIN unnest(%(rules)s::text[], %(weights)s::float8[]) w(rule, weight) USING (rule)
        JOIN installation i ON f.subject_kind = 'meter' AND i.meter_id = f.subject_id AND i.valid_from <= %(at)s AND i.valid_to > %(at)s
        JOIN account a ON a.point_id = i.point_id AND a.valid_from <= %(at)s AND a.valid_to > %(at)s
        WHERE f.day >= %(since)s AND f.state <> 'withdrawn' AND a.customer_id = ANY(%(customers)s) GROUP BY 1
        """,
        {
            "rules": list(THEFT),
            "weights": list(THEFT.values()),
            "since": since,
            "at": as_datetime(at),
            "customers": customers.tolist(),
        },
    ).fetchall()
    weight, count = np.zeros(len(customers)), np.zeros(len(customers), dtype=np.int64)
    where = np.searchsorted(customers, np.array([row["customer_id"] for row in rows], dtype=np.int64))
    weight[where] = [row["weight"] for row in rows]
    count[where] = [row["n"] for row in rows]
    return weight, count


def save(
    conn: Connection,
    what: str,
    version: int,
    customers: I64,
    found: Segment,
    span: tuple[dt.date, dt.date],
    *,
    now: np.datetime64,
) -> int:
    """What was found of these customers, in the caller's transaction; how many labels are others than before."""
    facts = [_facts(found.facts, k) for k in range(len(customers))]
    row = conn.execute(
        """
        WITH given AS (SELECT * FROM unnest(%(ids)s::int[], %(labels)s::text[], %(scores)s::float8[], %(facts)s::jsonb[]) g(id, label, score, facts)),
        before AS (SELECT count(*) AS same FROM customer_segment s JOIN given g ON s.customer_id = g.id AND s.what = %(what)s AND s.label = g.label),
        made AS (
            INSERT INTO customer_segment (customer_id, what, version, label, score, facts, first_day, last_day, computed_at)
            SELECT id, %(what)s, %(version)s, label, score, facts, %(first)s, %(last)s, %(now)s FROM given
            ON CONFLICT (customer_id, what) DO UPDATE SET version = excluded.version, label = excluded.label, score = excluded.score,
                facts = excluded.facts, first_day = excluded.first_day, last_day = excluded.last_day, computed_at = excluded.computed_at)
        SELECT (SELECT count(*) FROM given) - (SELECT same FROM before) AS changed
        """,
        {
            "ids": customers.tolist(), "labels": found.label.tolist(), "facts": facts, "what": what, "version": version,
            "scores": [None if np.isnan(score) else score for score in found.score.tolist()], "first": span[0], "last": span[1],
            "now": as_datetime(now),
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row["changed"])


def _facts(facts: Mapping[str, Floats], k: int) -> str:
    return json.dumps(
        {name: None if np.isnan(column[k]) else round(float(column[k]), 4) for name, column in facts.items()}
    )


def page(
    conn: Connection,
    what: str | None = None,
    label: str | None = None,
    *,
    number: str | None = None,
    limit: int = 500,
    after: str = "",
) -> tuple[list[dict[str, Any]], str]:
    """(all answers of up to `limit` customers from beyond `after`, by number; the number to go on after, '' at the end): of one question or
    answer, of one customer, or of everybody."""
    said = {"what": what, "label": label, "after": after, "number": number, "limit": limit + 1}
    who = conn.execute(
        "SELECT DISTINCT c.number, c.customer_id FROM customer c JOIN customer_segment s USING (customer_id) WHERE c.number > %(after)s "
        "AND (%(what)s::text IS NULL OR s.what = %(what)s) AND (%(label)s::text IS NULL OR s.label = %(label)s) "
        "AND (%(number)s::text IS NULL OR c.number = %(number)s) ORDER BY 1 LIMIT %(limit)s",
        said,
    ).fetchall()
    rows = conn.execute(
        "SELECT c.number AS customer, c.name, s.what, s.label, s.score, s.version, s.facts, s.first_day, s.last_day, s.computed_at "
        "FROM customer_segment s JOIN customer c USING (customer_id) WHERE s.customer_id = ANY(%(ids)s) "
        "AND (%(what)s::text IS NULL OR s.what = %(what)s) AND (%(label)s::text IS NULL OR s.label = %(label)s) ORDER BY 1, 3",
        {**said, "ids": [row["customer_id"] for row in who[:limit]]},
    ).fetchall()
    return rows, who[limit - 1]["number"] if len(who) > limit else ""


def counts(conn: Connection) -> list[dict[str, Any]]:
    """How many customers each answer has."""
    return conn.execute(
        "SELECT what, label, version, count(*)::int AS customers, max(last_day) AS last_day FROM customer_segment "
        "GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC, 2"
    ).fetchall()
