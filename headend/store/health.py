"""What a store says of its own state: which server it is on and what follows, how large it is and how fast it grows, how far its followers
and its upkeep lag. For `headend doctor`; the judgement is there."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from headend.store import partitions, retention
from headend.store.db import Connection
from headend.store.migrate import Server, detect
from headend.store.partitions import pieces

#: days whose partitions tell how fast the store grows: a week has every kind of day
WEEK: Final = dt.timedelta(days=7)


def server(conn: Connection) -> str:
    """Which of the three servers it is, and what follows from it."""
    found = detect(conn)
    return f"PostgreSQL {found.postgres}, {consequences(found, hypertables=partitions.hypertables(conn))}"


def consequences(found: Server, *, hypertables: bool) -> str:
    """The same of a detected server; `hypertables`: the tables were laid out for TimescaleDB."""
    own = "retention and roll-ups by our own jobs"
    if not hypertables:
        beside = (
            f" (TimescaleDB {found.timescaledb} was installed after the tables were made)"
            if found.timescaledb
            else ""
        )
        return f"without TimescaleDB{beside}: native partitions; {own}; no compression"
    if found.licence == "timescale":
        return f"TimescaleDB {found.timescaledb}, licence timescale: hypertables, compression, continuous aggregates; {own}"
    edition = "Apache edition" if found.licence == "apache" else f"licence {found.licence}"
    return f"TimescaleDB {found.timescaledb}, {edition}: hypertables; {own}; no compression"


@dataclass(frozen=True, slots=True)
class Size:
    """Of the database: bytes in all, pieces by table, and bytes it gains a day by the pieces of the last week (None: there are none)."""

    total: int
    pieces: dict[str, int]
    daily: float | None


def size(conn: Connection, now: dt.datetime) -> Size:
    found = pieces(conn)
    count: dict[str, int] = {}
    for piece in found:
        count[piece.parent] = count.get(piece.parent, 0) + 1
    # a piece's bytes spread evenly over what it has lived of its span
    gained, any_ = 0.0, False
    for piece in found:
        lived = min(piece.hi, now) - piece.lo
        share = min(piece.hi, now) - max(piece.lo, now - WEEK)
        if lived > dt.timedelta() and share > dt.timedelta():
            gained += piece.size * (share / lived)
            any_ = True
    row = conn.execute("SELECT pg_database_size(current_database()) AS total").fetchone()
    assert row is not None
    return Size(row["total"], count, gained / WEEK.days if any_ else None)


@dataclass(frozen=True, slots=True)
class Lag:
    """A follower of the feed: rows of the feed after its cursor, since when the oldest of them waits (None: nothing does)."""

    job: str
    rows: int
    since: dt.datetime | None


def lags(conn: Connection) -> list[Lag]:
    """Of every job that follows the feed. Where one never ran, everything waits."""
    rows: list[dict[str, Any]] = conn.execute(
        """
        SELECT c.job, count(f.seq) AS rows, min(f.at) AS since FROM job_cursor c CROSS JOIN cluster
        LEFT JOIN feed f ON f.topic IN ('curve', 'phase', 'day') AND CASE WHEN split_part(c.cursor, '.', 1) = cluster.epoch::text
            THEN (f.xid, f.seq) > (split_part(c.cursor, '.', 2)::xid8, split_part(c.cursor, '.', 3)::bigint) ELSE true END
        GROUP BY c.job ORDER BY c.job
        """
    ).fetchall()
    return [Lag(row["job"], row["rows"], row["since"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A kind of data that should have been thrown away: how many pieces, how many bytes, and by how much the oldest is overdue."""

    kind: str
    pieces: int
    size: int
    by: dt.timedelta


def overdue(conn: Connection, now: dt.datetime) -> list[Overdue]:
    """Kinds with pieces that the retention should have dropped."""
    found = []
    for policy in retention.policies(conn):
        late = retention.overdue(conn, policy, now)
        if late:
            found.append(
                Overdue(
                    policy.kind.name,
                    len(late),
                    sum(p.size for p in late),
                    policy.cut(now) - min(p.hi for p in late),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Saved:
    """The newest run of a kind that went well, and the newest that did not if it is newer. `age` by the server's clock."""

    folder: str
    age: dt.timedelta
    failed: str = ""


def saved(conn: Connection, kind: str) -> Saved | None:
    """'backup' or 'rehearsal'; None: there never was one."""
    rows = conn.execute(
        "SELECT DISTINCT ON (ok) ok, folder, detail, run_id, clock_timestamp() - at AS age FROM backup_run WHERE kind = %s ORDER BY ok, run_id DESC",
        (kind,),
    ).fetchall()
    good = next((row for row in rows if row["ok"]), None)
    bad = next((row for row in rows if not row["ok"]), None)
    if good is None:
        return None if bad is None else Saved("", dt.timedelta.max, bad["detail"])
    return Saved(good["folder"], good["age"], bad["detail"] if bad and bad["run_id"] > good["run_id"] else "")
