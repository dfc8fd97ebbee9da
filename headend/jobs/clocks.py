"""Clocks that nobody may set from here: findings for whoever sends somebody there."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from headend import timesync
from headend.control.clock_policy import ACTS, Do, Facts, Subject, decide
from headend.jobs.frame import Run
from headend.store import clocks, results
from headend.store.results import Found
from protocols.localtime import as_datetime

RULE: Final = "clock-off"
VERSION: Final = 1


def job(run: Run, day: dt.date) -> str:
    """By the same policy as the orders. While our own clock is not right nothing is said, and what was said before stays."""
    now = as_datetime(run.now, run.zone)
    master, rules = timesync.master(run.clock), clocks.rules(run.conn)
    if master.synchronised is not True or master.error > rules.master_error:
        return f"not judged: {master.why}"
    found = []
    for kind, number, row in _all(run, now):
        facts = Facts(now, kind, master, row["ahead"], row["uncertainty"] or 0.0, row["read_at"], ACTS)
        verdict = decide(facts, rules)
        if verdict.do is Do.REPORT:
            found.append(_finding(kind, number, row, verdict.why))
    changed, gone = results.save_findings(run.conn, day, [RULE], found, now=run.now)
    return f"{len(found)} clocks off, {changed} new, {gone} withdrawn"


def _all(run: Run, now: dt.datetime) -> list[tuple[Subject, int, dict[str, Any]]]:
    meters: list[tuple[Subject, int, dict[str, Any]]] = [
        ("meter", row["meter_id"], row) for row in clocks.far(run.conn, now, clocks.rules(run.conn).most)
    ]
    return meters + [("terminal", row["terminal_id"], row) for row in clocks.terminals(run.conn)]


def _finding(kind: Subject, number: int, row: dict[str, Any], why: str) -> Found:
    evidence = {"ahead_seconds": round(row["ahead"], 1), "read_at": row["read_at"].isoformat(), "why": why}
    return Found(
        RULE,
        VERSION,
        kind,
        number,
        "warning",
        f"clock off by {row['ahead']:+.0f} s",
        f"时钟偏差 {row['ahead']:+.0f} 秒",
        evidence,
    )
