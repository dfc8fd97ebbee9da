"""Clocks that nobody may set from here: findings for whoever sends somebody there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np

from headend import timesync
from headend.control.clock_policy import ACTS, Do, Facts, Subject, decide
from headend.jobs import network
from headend.jobs.frame import Run
from headend.store import blocks, clocks, findings
from lineloss.rules import clock_off
from lineloss.rules.clock_off import Offsets
from lineloss.storm import fold
from protocols.localtime import as_datetime

Judged = tuple[Subject, int, dict[str, Any], str]


def job(run: Run, day: dt.date) -> str:
    """By the same policy as the orders. While our own clock is not right nothing is said, and what was said before stays."""
    now = as_datetime(run.now, run.zone)
    master, rules = timesync.master(run.clock), clocks.rules(run.conn)
    if master.synchronised is not True or master.error > rules.master_error:
        return f"not judged: {master.why}"
    judged: list[Judged] = []
    for kind, number, row in _all(run, now):
        facts = Facts(now, kind, master, row["ahead"], row["uncertainty"] or 0.0, row["read_at"], ACTS)
        verdict = decide(facts, rules)
        if verdict.do is Do.REPORT:
            judged.append((kind, number, row, verdict.why))
    # what the policy reports is told of, however little it may be
    found = clock_off.find(_offsets(judged), most=0.0)
    if found:  # an area whose terminal told its meters a wrong time is one finding
        found = fold(found, network.places(blocks.rows(run.conn, day, run.zone)))
    changed, gone = findings.save(
        run.conn, day, [clock_off.RULE], findings.named(run.conn, found), now=run.now, ends=(clock_off.RULE,)
    )
    return f"{len(found)} clocks off, {changed} new, {gone} over"


def _all(run: Run, now: dt.datetime) -> list[tuple[Subject, int, dict[str, Any]]]:
    meters: list[tuple[Subject, int, dict[str, Any]]] = [
        ("meter", row["meter_id"], row) for row in clocks.far(run.conn, now, clocks.rules(run.conn).most)
    ]
    return meters + [("terminal", row["terminal_id"], row) for row in clocks.terminals(run.conn)]


def _offsets(judged: Sequence[Judged]) -> Offsets:
    return Offsets(
        of=np.array([kind for kind, _, _, _ in judged], dtype="U8"),
        subject=np.array([number for _, number, _, _ in judged], dtype=np.int64),
        ahead=np.array([row["ahead"] for _, _, row, _ in judged], dtype=np.float64),
        uncertainty=np.array([row["uncertainty"] or 0.0 for _, _, row, _ in judged], dtype=np.float64),
        read=np.array(
            [row["read_at"].astimezone(dt.UTC).replace(tzinfo=None) for _, _, row, _ in judged],
            dtype="datetime64[us]",
        ),
        why=np.array([why for _, _, _, why in judged], dtype="U200"),
    )
