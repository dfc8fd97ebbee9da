"""When each job runs, in domain time, and the process that runs them."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import structlog

from headend.clock import Clock
from headend.jobs import (
    anomalies,
    billing,
    campaigns,
    clocks,
    instalments,
    lineloss,
    orderly,
    outages,
    places,
    prepaid,
    retention,
    rollup,
    segments,
    settle,
    splits,
    statistics,
    suspects,
    tables,
    vee,
    wallets,
)
from headend.jobs.frame import Job, Run, run
from headend.plans import CURVE
from headend.store.coverage import today
from headend.store.db import Connection, Unreachable, connect
from protocols.localtime import midnight

log = structlog.get_logger()

#: domain minutes after midnight at which yesterday is settled, judged and billed; the freezes need some time to come in
NIGHT = np.timedelta64(35 * 60, "s")
#: domain time after midnight at which yesterday is validated and its holes estimated: what comes later is late by the curve's plan, and what is
#: merely on its way is not guessed at
GRACE = np.timedelta64(CURVE.grace)
#: jobs of the running day are repeated this often, in domain time: with each quarter-hour's readings
EVERY = np.timedelta64(15 * 60, "s")
#: how long after a quarter-hour, so that its readings are in
AFTER = np.timedelta64(6 * 60, "s")
#: yesterday is looked at again this often: late readings correct what they touch
LATE = np.timedelta64(60 * 60, "s")
#: when the night's work is done and nobody looks yet, once a day, what is old is thrown away
UPKEEP = np.timedelta64(3 * 60 * 60, "s")
#: plans of orderly use are started, ended and carried out this often
MINUTE = np.timedelta64(60, "s")
#: real seconds between looks at the clock, at most
TICK = 2.0

JOBS: dict[str, Job] = {
    "settle": settle.job,
    instalments.NAME: instalments.job,
    "prepaid": prepaid.job,
    vee.JOB: vee.job,
    vee.LATE: vee.late,
    "lineloss": lineloss.job,
    "splits": splits.job,
    "anomalies": anomalies.job,
    "suspects": suspects.job,
    "places": places.job,
    "clocks": clocks.job,
    wallets.NAME: wallets.job,
    statistics.ONLINE: statistics.online,
    outages.NAME: outages.job,
    statistics.NAME: statistics.job,
    segments.NAME: segments.job,
    orderly.NAME: orderly.job,
    campaigns.NAME: campaigns.job,
    tables.NAME: tables.job,
    "rollup": rollup.job,
    "retention": retention.job,
}
#: these commit by themselves
STEPWISE = frozenset(
    {
        "rollup",
        "retention",
        vee.JOB,
        vee.LATE,
        wallets.NAME,
        statistics.ONLINE,
        statistics.NAME,
        outages.NAME,
        segments.NAME,
        campaigns.NAME,
        tables.NAME,
    }
)


@dataclass(slots=True)
class Schedule:
    """Runs what is due until `stop` is set. A job that fails is noted and tried again at its next time."""

    dsn: str
    zone: ZoneInfo
    clock: Clock
    exports: Path
    stop: threading.Event = field(default_factory=threading.Event)
    _last: dict[str, np.datetime64] = field(default_factory=dict)
    _more: bool = False  # the roll-ups stopped with changes left, so that others had their turn
    _late: bool = False  # so did the validation of what came late

    def forever(self) -> None:
        """Until stopped; a database that is away is waited for."""
        while not self.stop.is_set():
            try:
                with connect(self.dsn) as conn:
                    while not self.stop.is_set():
                        self.once(conn)
                        self.stop.wait(self._pause())
            except (psycopg.OperationalError, Unreachable) as error:
                self._last.clear()  # what was due has perhaps not been done
                log.error(
                    "jobs wait for the database", error=str(error).splitlines()[0] if str(error) else ""
                )
                self.stop.wait(1.0)

    def once(self, conn: Connection) -> None:
        """Run what is due now."""
        now = self.clock.now()
        day = today(now, self.zone)
        before = day - dt.timedelta(days=1)
        opened = midnight(day, self.zone)
        if self._due("orderly", now, MINUTE, np.timedelta64(0, "s")):
            self._carry_out(conn)
        if self._due("quarter", now, EVERY, AFTER):
            for name in ("prepaid", "lineloss", "anomalies"):
                self._run(conn, name, day)
            self._act(conn)
            self._carry(conn)
            self._run(conn, campaigns.NAME, day)
        if now - opened >= NIGHT and self._due("night", now, LATE, AFTER):
            self._night(conn, before, opened, bool(now - opened >= GRACE))
        if self._due("late", now, LATE, AFTER):
            self._follow(conn, before)
            if now - opened >= GRACE:
                self._validate(conn, before)
                self._count(conn, before)
        elif self._late:
            self._follow(conn, before)
        if self._due("clocks", now, LATE, AFTER):
            for name in ("clocks", wallets.NAME, statistics.ONLINE, outages.NAME):
                self._run(conn, name, day)
            self._run(conn, orderly.NAME, before)
        if self._due("hour", now, LATE, AFTER) or self._more:
            self._more = self._run(conn, "rollup", day).endswith(rollup.MORE)
        if now - opened >= UPKEEP and self._last.get("upkeep") != opened:
            self._last["upkeep"] = opened
            self._run(conn, "retention", day)
            self._run(conn, tables.NAME, day)

    def _night(self, conn: Connection, day: dt.date, opened: np.datetime64, settled: bool) -> None:
        """Everything of the day that is over. What looks at a week of days is done when the curves have had their time, and no more: a late reading
        hardly changes it."""
        for name in ("settle", instalments.NAME, "lineloss", "splits", "anomalies"):
            self._run(conn, name, day)
        self._bill(conn, day)
        if self._last.get("week") != opened:
            self._run(conn, "suspects", day)
            if settled:
                self._last["week"] = opened
                self._run(conn, "places", day)

    def _pause(self) -> float:
        now = self.clock.now()
        return float(
            min(TICK, max(0.1, self.clock.seconds_until(_floor(now - AFTER, EVERY) + EVERY + AFTER)))
        )

    def _due(self, name: str, now: np.datetime64, every: np.timedelta64, after: np.timedelta64) -> bool:
        """Once per period, `after` its beginning; at the start at once."""
        period = _floor(now - after, every)
        if self._last.get(name) == period:
            return False
        self._last[name] = period
        return True

    def _validate(self, conn: Connection, day: dt.date) -> None:
        """`day`, the newest that is over, as a whole, until that was done once."""
        whole = midnight(day + dt.timedelta(days=1), self.zone)
        if self._last.get(vee.JOB) != whole and self._run(conn, vee.JOB, day):
            self._last[vee.JOB] = whole

    def _count(self, conn: Connection, day: dt.date) -> None:
        """The figures of `day`, the newest that is over, until that was done once; on the first of a month what kind each customer is."""
        whole = midnight(day + dt.timedelta(days=1), self.zone)
        if self._last.get(statistics.NAME) == whole or not self._run(conn, statistics.NAME, day):
            return
        self._last[statistics.NAME] = whole
        if (day + dt.timedelta(days=1)).day == 1:
            self._run(conn, segments.NAME, day)

    def _follow(self, conn: Connection, day: dt.date) -> None:
        """What came late: for `day` too if it has been looked at as a whole, else that look is still to come."""
        following = day + dt.timedelta(days=1)
        done = self._last.get(vee.JOB) == midnight(following, self.zone)
        self._late = self._run(conn, vee.LATE, following if done else day).endswith(vee.MORE)

    def _run(self, conn: Connection, name: str, day: dt.date) -> str:
        """Its summary; '' if it failed."""
        try:
            return run(name, JOBS[name], conn, self.zone, self.clock, day, stepwise=name in STEPWISE)
        except psycopg.OperationalError:
            raise
        except Exception:  # noted by the frame; the other jobs must go on
            log.exception("job failed", job=name)
            return ""

    def _carry_out(self, conn: Connection) -> None:
        try:
            done = orderly.act(Run(conn, self.zone, self.clock.now()))
        except psycopg.OperationalError:
            raise
        except Exception:  # noted; the next minute looks again
            conn.rollback()
            log.exception("orderly use not carried out")
            return
        if done:
            log.info(
                "orderly use",
                started=done.started,
                ended=done.ended,
                on=done.on,
                off=done.off,
                notes=done.notes,
            )

    def _act(self, conn: Connection) -> None:
        try:
            trips, permits, refusals = prepaid.act(Run(conn, self.zone, self.clock.now()))
        except psycopg.OperationalError:
            raise
        except (
            Exception
        ):  # whoever paid and waits for supply must not wait for somebody to start this process again
            conn.rollback()
            log.exception("orders not asked for")
            return
        if trips or permits or refusals:
            log.info("prepaid orders", trips=trips, permits=permits, refusals=refusals)

    def _carry(self, conn: Connection) -> None:
        """Purchases into wallets."""
        try:
            asked, refunds, failed = wallets.act(Run(conn, self.zone, self.clock.now()))
        except psycopg.OperationalError:
            raise
        except Exception:  # as above
            conn.rollback()
            log.exception("purchases not asked for")
            return
        if asked or refunds or failed:
            log.info("purchases", asked=asked, refunds=refunds, failed=failed)

    def _bill(self, conn: Connection, day: dt.date) -> None:
        def job(given: Run, of: dt.date) -> str:
            batch = billing.run_span(given, of, of, self.exports)
            again = billing.correct_cut_short(given, of, self.exports)
            return (
                f"{batch.manifest['billed']} billed, {batch.changed} new or changed, {batch.manifest['exceptions']} exceptions"
                + (f"; {again} spans again, of which somebody had come or gone" if again else "")
            )

        try:
            run("billing", job, conn, self.zone, self.clock, day, stepwise=True)
        except psycopg.OperationalError:
            raise
        except Exception:
            log.exception("job failed", job="billing")


def _floor(when: np.datetime64, every: np.timedelta64) -> np.datetime64:
    step = int(every / np.timedelta64(1, "us"))
    return np.datetime64(int(when.astype("datetime64[us]").astype(np.int64)) // step * step, "us")
