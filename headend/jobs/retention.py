"""Throw away what is older than its policy, and let the next partitions be as large as the fleet allows."""

from __future__ import annotations

import datetime as dt

from headend.jobs.frame import Run
from headend.store import partitions, retention
from protocols.localtime import as_datetime


def job(run: Run, day: dt.date) -> str:
    """The day does not matter: what is old is told by the clock. Commits piece by piece."""
    gone = retention.run(run.conn, run.now)
    with run.conn.transaction():
        changed = partitions.fit_spans(run.conn, partitions.installed(run.conn, as_datetime(run.now)))
    run.conn.commit()
    dropped, held, rows = (
        sum(len(g.dropped) for g in gone),
        sum(len(g.held) for g in gone),
        sum(g.rows for g in gone),
    )
    return (
        f"{dropped} partitions and {rows} rows thrown away"
        + (f", {held} in use and left for next time" if held else "")
        + (f", new spans for {', '.join(changed)}" if changed else "")
    )
