"""Runs a job: times it, notes success or the error, so that no job contains bookkeeping."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import structlog

from headend.clock import Clock
from headend.store import results
from headend.store.db import Connection

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Run:
    """What a job is given. `now` is domain time, the same for the whole run; `clock`: what tells it, None where it was given."""

    conn: Connection
    zone: ZoneInfo
    now: np.datetime64
    clock: Clock | None = None


Job = Callable[[Run, dt.date], str]


def run(
    name: str,
    job: Job,
    conn: Connection,
    zone: ZoneInfo,
    clock: Clock,
    day: dt.date,
    *,
    stepwise: bool = False,
) -> str:
    """Run one job for one local day in one transaction and note the run. Returns its summary; its error is noted and raised.

    `stepwise`: the job commits by itself, because what it does is too much, or locks too much, for one transaction."""
    now = clock.now()
    begun = time.perf_counter()
    try:
        if stepwise:
            conn.commit()
            summary = job(Run(conn, zone, now, clock), day)
        else:
            with conn.transaction():
                summary = job(Run(conn, zone, now, clock), day)
        conn.commit()
    except Exception as error:
        conn.rollback()
        _note(conn, name, day, now, begun, False, f"{type(error).__name__}: {error}")
        raise
    _note(conn, name, day, now, begun, True, summary)
    return summary


def _note(
    conn: Connection, name: str, day: dt.date, now: np.datetime64, begun: float, ok: bool, summary: str
) -> None:
    seconds = time.perf_counter() - begun
    results.ran(conn, name, day, started=now, seconds=seconds, ok=ok, summary=summary)
    conn.commit()
    log.info("job", job=name, day=day.isoformat(), seconds=round(seconds, 3), ok=ok, summary=summary)
