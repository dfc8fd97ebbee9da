"""The fleet at a glance: the numbers and the completeness matrix for the console, the API and the CLI."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE
from headend.store import coverage
from headend.store.db import Connection
from protocols.localtime import Times, as_datetime


def overview(conn: Connection, *, now: np.datetime64) -> dict[str, Any]:
    """Counts of what exists and what is open. Nothing in it is a guess."""
    counts = conn.execute(
        """
        SELECT
          (SELECT count(*) FROM terminal) AS terminals,
          (SELECT count(*) FROM terminal WHERE online) AS terminals_online,
          (SELECT count(*) FROM terminal WHERE last_seen IS NULL) AS terminals_never_seen,
          (SELECT count(DISTINCT meter_id) FROM installation
           WHERE valid_from <= %(now)s AND valid_to > %(now)s) AS meters,
          (SELECT count(*) FROM area) AS areas,
          (SELECT count(*) FROM customer) AS customers
        """,
        {"now": as_datetime(now)},
    ).fetchone()
    assert counts is not None
    commands = conn.execute(
        "SELECT state, count(*) AS n FROM orders WHERE is_open GROUP BY state ORDER BY state"
    ).fetchall()
    findings = conn.execute(
        "SELECT severity, count(*) AS n FROM finding WHERE state IN ('new', 'recurred') GROUP BY severity"
    ).fetchall()
    balances = conn.execute("SELECT level, count(*) AS n FROM balance GROUP BY level").fetchall()
    return {
        **counts,
        "commands_open": sum(row["n"] for row in commands),
        "commands_by_state": {row["state"]: row["n"] for row in commands},
        "findings_new": dict.fromkeys(("alarm", "warning", "info"), 0)
        | {row["severity"]: row["n"] for row in findings},
        "balances_by_level": {row["level"]: row["n"] for row in balances},
    }


@dataclass(frozen=True, slots=True)
class Completeness:
    """The curve plan of one local day, by terminal and slot.

    due, missing   int64[terminal, slot]   points that could be here, and those of them that are not
    cause          int8[terminal, slot]    index into `causes` of the commonest cause of those missing, or -1
    """

    day: dt.date
    times: Times
    terminals: list[dict[str, Any]]
    due: NDArray[np.int64]
    missing: NDArray[np.int64]
    cause: NDArray[np.int8]
    causes: tuple[str, ...]

    def worst(self, limit: int) -> NDArray[np.int64]:
        """Row numbers of at most `limit` terminals, those missing most, in the order of the list."""
        lacking = self.missing.sum(axis=1)
        return np.sort(np.argsort(-lacking, kind="stable")[:limit])


def completeness(conn: Connection, *, day: dt.date, now: np.datetime64, zone: ZoneInfo) -> Completeness:
    """The ledger of a local day folded by terminal; every terminal of the archive is a row, commissioned or
    not.
    """
    matrix = coverage.day_matrix(conn, CURVE, day, now=now, zone=zone)
    cause, names = coverage.causes(matrix)
    terminals = conn.execute(
        "SELECT terminal_id, code, name, protocol, link, online, last_seen FROM terminal ORDER BY code"
    ).fetchall()
    ids = np.array([row["terminal_id"] for row in terminals], dtype=np.int64)
    by_id = np.argsort(ids)
    # a terminal's meters are neighbours after this sort, so that reduceat adds them up without a row loop
    order = np.argsort(matrix.terminals, kind="stable")
    present, starts = np.unique(matrix.terminals[order], return_index=True)
    due = np.zeros((len(ids), len(matrix.times)), dtype=np.int64)
    missing = np.zeros_like(due)
    commonest = np.full(due.shape, -1, dtype=np.int8)
    meters = np.zeros(len(ids), dtype=np.int64)
    if len(present):
        rows = by_id[np.searchsorted(ids[by_id], present)]
        due[rows] = np.add.reduceat((matrix.expected & matrix.due)[order].astype(np.int64), starts, axis=0)
        missing[rows] = np.add.reduceat(matrix.missing[order].astype(np.int64), starts, axis=0)
        counts = np.stack(
            [np.add.reduceat((cause[order] == k).astype(np.int64), starts, axis=0) for k in range(len(names))]
        )
        commonest[rows] = np.where(counts.max(axis=0) > 0, counts.argmax(axis=0), -1).astype(np.int8)
        meters[rows] = np.diff(np.append(starts, len(order)))
    return Completeness(
        day,
        matrix.times,
        [{**row, "meters": int(n)} for row, n in zip(terminals, meters, strict=True)],
        due,
        missing,
        commonest,
        names,
    )


def newest_loss_day(conn: Connection) -> dt.date | None:
    """The last day for which line loss was computed."""
    row = conn.execute("SELECT max(day) AS day FROM loss_result").fetchone()
    return row["day"] if row else None


def steps(conn: Connection, order_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """The steps of some orders, oldest first, by order."""
    found: dict[int, list[dict[str, Any]]] = {order_id: [] for order_id in order_ids}
    for row in conn.execute(
        "SELECT order_id, state, event, at, who, detail FROM order_event "
        "WHERE order_id = ANY(%s) ORDER BY order_id, seq",
        (order_ids,),
    ):
        found[row.pop("order_id")].append(row)
    return found


def reachable(conn: Connection) -> bool:
    """Whether the database answers and holds our schema."""
    row = conn.execute(
        "SELECT to_regclass('cluster') IS NOT NULL AND to_regclass('feed') IS NOT NULL AS ok"
    ).fetchone()
    return bool(row and row["ok"])


def owners(conn: Connection) -> list[dict[str, Any]]:
    """Collectors that hold terminals now, and how many."""
    return conn.execute(
        "SELECT owner, count(*) AS terminals FROM lease WHERE until > clock_timestamp() GROUP BY owner ORDER BY owner"
    ).fetchall()
