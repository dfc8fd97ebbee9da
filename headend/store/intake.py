"""The one door for readings: collector, spool, file import and re-decode all come in here.

A delivery's readings, what the attempt asked for, and the exchange it was all said in go to the tables, the completeness ledger and the
change feed in one transaction: they agree, or none of it happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from numpy.typing import NDArray

from headend.plans import DAY, locate
from headend.store import coverage, exchanges, feed, reads, revisions
from headend.store.coverage import Attempt, Entry, Points
from headend.store.db import Connection, StoreError
from headend.store.exchanges import Exchange
from headend.store.reads import Bits, Marks, Note, Written
from headend.store.tables import SOURCES, Source, Table, rare
from protocols.localtime import Times, local_day
from protocols.reading import Reads, concatenate, no_reads

#: a reading from later than this after it came is a clock that is wrong, not a reading
AHEAD: Final = np.timedelta64(36, "h")
#: nor was there a smart meter before
EARLIEST: Final = np.datetime64("1990-01-01", "us")
_TICK: Final = np.timedelta64(1, "us")
_DAY_LONG: Final = np.timedelta64(1, "D")
#: how often a batch begins again because another writer made the same meter-day first; each time there is less to collide with
TRIES: Final = 5


class BadReading(StoreError):
    """Readings that cannot be true; nothing of the batch was written."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one task, file or re-decoded exchange brings: readings of one source that came at `at`."""

    source: Source
    at: np.datetime64
    reads: Reads = field(default_factory=no_reads)
    attempts: tuple[Attempt, ...] = ()
    exchange: Exchange | None = None


def save(
    conn: Connection,
    deliveries: Sequence[Delivery],
    zone: ZoneInfo,
    *,
    who: str,
    reason: str = "read again, different",
) -> Written:
    """Write a batch in one transaction. BadReading if one cannot be true.

    `who` and `reason` go to the revision that a different value for a known cell makes.
    """
    if not deliveries:
        return Written()
    note = Note(max(d.at for d in deliveries), reason, who)
    for turn in range(TRIES):
        try:
            with conn.transaction():
                return _save(conn, deliveries, zone, note)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected):
            # the ledger's row was made by another since we looked; or the server broke a knot of writers (chunks made by several at once)
            if turn == TRIES - 1:
                raise
    raise AssertionError


def _save(conn: Connection, deliveries: Sequence[Delivery], zone: ZoneInfo, note: Note) -> Written:
    written = Written()
    news = feed.Readings()
    kept = [d.exchange for d in deliveries if d.exchange is not None]
    batches = []
    for source in SOURCES.values():  # always in this order, so that two writers never wait for each other
        mine = sorted(
            (d for d in deliveries if d.source is source),
            key=lambda d: int(d.reads.meter[0]) if len(d.reads) else 0,
        )
        if mine:
            batch = _Batch.of(mine)
            _check(batch)
            batches.append((source, batch, [attempt for delivery in mine for attempt in _attempts(delivery)]))
    _make_partitions(conn, batches, kept, zone)
    for source, batch, attempts in batches:
        for table in source.tables:
            written += _save_table(conn, table, batch, attempts, zone, note, news)
        codes = rare(source, tuple(batch.reads.columns))
        if codes:
            new, corrected, revised = reads.write_rare(
                conn, source.kind, batch.reads, codes, note, evidence=batch.evidence
            )
            written += Written(0, 0, revised)
            marks = Marks(new | corrected, new, np.zeros_like(new), corrected)
            news.add(source.name, batch.reads.meter, _days(source, batch.reads.time, zone), marks)
    exchanges.write(conn, kept)
    news.publish(conn)
    return written


def _attempts(delivery: Delivery) -> Iterator[Attempt]:
    """The delivery's attempts; those that failed with what came of them all the same."""
    rows = delivery.reads
    for attempt in delivery.attempts:
        if attempt.reason and len(rows):
            codes = next((t.codes for t in delivery.source.tables if t.plan is attempt.plan), ())
            here = (rows.meter == attempt.meter) & attempt.plan.met_by(rows, codes)
            yield replace(attempt, got=rows.time[here])
        else:
            yield attempt


@dataclass(frozen=True, slots=True)
class _Batch:
    """All readings of one source: rows in order of meter and time, when each came, and the exchange it came in (0: none)."""

    reads: Reads
    at: Times
    evidence: NDArray[np.int64] | None

    @classmethod
    def of(cls, deliveries: Sequence[Delivery]) -> _Batch:
        counts = [len(d.reads) for d in deliveries]
        rows = deliveries[0].reads if len(deliveries) == 1 else concatenate([d.reads for d in deliveries])
        at = np.repeat(np.array([d.at for d in deliveries], dtype="datetime64[us]"), counts)
        evidence = None
        if any(d.exchange is not None for d in deliveries):
            hashes = [0 if d.exchange is None else d.exchange.evidence for d in deliveries]
            evidence = np.repeat(np.array(hashes, dtype=np.int64), counts)
        meter, time = rows.meter, rows.time
        if not bool(((meter[1:] > meter[:-1]) | ((meter[1:] == meter[:-1]) & (time[1:] >= time[:-1]))).all()):
            order = np.lexsort((np.arange(len(rows)), time, meter))
            rows, at = rows.take(order), at[order]
            evidence = None if evidence is None else evidence[order]
        return cls(rows, at, evidence)


def _make_partitions(
    conn: Connection,
    batches: Sequence[tuple[Source, _Batch, Sequence[Attempt]]],
    kept: Sequence[Exchange],
    zone: ZoneInfo,
) -> None:
    """All partitions that the batch needs, before anything else is locked.

    Making one shuts out everybody who writes the table until we commit: who already held a row by then could hold it against one of them.
    """
    needed: dict[str, set[np.datetime64]] = {}
    for source, batch, attempts in batches:
        of_rows = _utc_days(batch.reads.time)
        for table in source.tables:
            if any(code in batch.reads.columns for code in table.codes):
                needed.setdefault(table.name, set()).update(of_rows)
        if rare(source, tuple(batch.reads.columns)):
            needed.setdefault("other_read", set()).update(of_rows)
        if source.tables[0].plan is not None:
            asked = [times for attempt in attempts for times in (attempt.asked, attempt.absent)]
            days = of_rows | (_utc_days(np.concatenate(asked)) if asked else set())
            for ledger in ("coverage", "gap_reason") if any(a.reason for a in attempts) else ("coverage",):
                needed.setdefault(ledger, set()).update(_local_days(days, zone))
    if kept:
        needed["exchange"] = _utc_days(np.array([e.taken for e in kept], dtype="datetime64[us]"))
    reads.ensure_all_partitions(conn, {name: np.array(sorted(days)) for name, days in needed.items() if days})


def _utc_days(times: Times) -> set[np.datetime64]:
    return set(reads.distinct(times.astype("datetime64[D]").astype(np.int64)).astype("datetime64[D]"))


def _local_days(days: set[np.datetime64], zone: ZoneInfo) -> set[np.datetime64]:
    """The local days that instants of these UTC days can belong to."""
    ends = [day.astype("datetime64[us]") + rest for day in days for rest in (_TICK, _DAY_LONG)]
    return {np.datetime64(local_day(end, zone), "D") for end in ends}


def _check(batch: _Batch) -> None:
    rows = batch.reads
    if not len(rows):
        return
    wrong = (rows.time > batch.at + AHEAD) | (rows.time < EARLIEST) | np.isnat(rows.time)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise BadReading(
            f"meter {rows.meter[k]}: a reading of {rows.time[k]}Z that came at {batch.at[k]}Z cannot be true; "
            "check the meter's clock, or the file's time column"
        )


def _save_table(
    conn: Connection,
    table: Table,
    batch: _Batch,
    attempts: Sequence[Attempt],
    zone: ZoneInfo,
    note: Note,
    news: feed.Readings,
) -> Written:
    plan = table.plan
    mine = [a for a in attempts if a.plan is plan]
    rows = batch.reads
    if not mine and not any(code in rows.columns for code in table.codes):
        return Written()
    if plan is None:
        marks = reads.write(conn, table, rows, note, evidence=batch.evidence)
        news.add(table.source, rows.meter, _days_by_date(rows.time, zone), marks)
        return marks.written
    day, index = locate(plan, rows.time, zone)
    there = Points(rows.meter, rows.time, day, index, batch.at)
    held = plan.met_by(rows, table.codes)
    some = held if held.all() else _some(rows, table)
    entry = Entry.of(plan, there if some.all() else there.take(some), mine, zone, held[some])
    locked = coverage.lock(conn, entry)
    coverage.record(conn, entry, locked)
    known = locked.bits(locked.present, there.key, index)
    marks = reads.write(conn, table, rows, note, evidence=batch.evidence, known=known)
    actual = np.zeros(len(rows), dtype=np.bool_)
    if locked.estimated.any():
        came = marks.new | marks.completed | marks.corrected
        actual = locked.bits(locked.estimated, there.key, index) & came
        revisions.replace_estimates(conn, table, rows, actual, note, evidence=batch.evidence)
        coverage.mark_estimates(conn, plan, there.take(actual), zone, standing=False)
    news.add(plan.name, rows.meter, day, marks, actual)
    return marks.written


def _some(rows: Reads, table: Table) -> Bits:
    """bool[n]: the rows that have anything for the table."""
    held = [rows.valid(code) for code in table.codes if code in rows.columns]
    return np.asarray(np.logical_or.reduce(held), dtype=np.bool_)


def _days(source: Source, times: Times, zone: ZoneInfo) -> NDArray[np.int64]:
    plan = source.tables[0].plan
    return _days_by_date(times, zone) if plan is None else locate(plan, times, zone)[0]


def _days_by_date(times: Times, zone: ZoneInfo) -> NDArray[np.int64]:
    """The local day that each instant lies in, as days since 1970-01-01."""
    return locate(DAY, times, zone)[0]
