"""The pieces that tables split by time consist of, native partitions and TimescaleDB's chunks alike: which there are, how to be rid of
one, and how large the next ones shall be."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import psycopg

from headend.store.db import Connection

#: What a writer may have to wait for a piece being dropped: the drop gives up when it has not got its lock by then (everybody who comes
#: after it waits as long), and unlinking a piece's files takes a moment more. It is tried again at the next run. Less than PostgreSQL's
#: deadlock_timeout (1 s), so that it is always the drop that gives way.
LOCK_WAIT: Final = "800ms"
#: installed meters up to which a week of curves is one piece: 100,000 of them fill 8 GB, whose hot index fits in memory
SMALL_FLEET: Final = 100_000
WEEK, DAY, MONTH = dt.timedelta(days=7), dt.timedelta(days=1), dt.timedelta(days=28)
#: table -> its span for a small fleet and for a large one (1 M meters: a day of curves is 11 GB, four weeks of the ledger 10 GB)
SPANS: Final = {
    "slot_read": (WEEK, DAY),
    "slot_phase_read": (WEEK, DAY),
    "exchange": (WEEK, DAY),
    "register_read": (MONTH, WEEK),
    "other_read": (MONTH, WEEK),
    "coverage": (MONTH, WEEK),
    "gap_reason": (MONTH, WEEK),
    "day_rollup": (MONTH, WEEK),
    "day_phase_rollup": (MONTH, WEEK),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A partition or chunk: rows of `parent` from `lo` until before `hi` (of a date column: UTC midnights). `size` in bytes, indexes included."""

    parent: str
    name: str
    lo: dt.datetime
    hi: dt.datetime
    size: int


def hypertables(conn: Connection) -> bool:
    """Whether TimescaleDB keeps the pieces."""
    row = conn.execute("SELECT layout = 'timescaledb' AS yes FROM schema_layout").fetchone()
    return bool(row and row["yes"])


def pieces(conn: Connection, parents: tuple[str, ...] = ()) -> list[Piece]:
    """Those of some tables, or of all, by table and time."""
    wanted = list(parents)
    if hypertables(conn):
        rows = conn.execute(
            """
            SELECT hypertable_name AS parent, format('%%I.%%I', chunk_schema, chunk_name) AS name, range_start AS lo, range_end AS hi,
                   pg_total_relation_size(format('%%I.%%I', chunk_schema, chunk_name)::regclass) AS size
            FROM timescaledb_information.chunks WHERE hypertable_schema = 'public' AND hypertable_name IN (SELECT parent FROM partition_span)
              AND (%(wanted)s::text[] = '{}' OR hypertable_name = ANY(%(wanted)s)) ORDER BY 1, 3
            """,
            {"wanted": wanted},
        )
    else:
        rows = conn.execute(
            "SELECT parent, name, lo, hi, pg_total_relation_size(format('%%I', name)::regclass) AS size FROM partition "
            "WHERE %(wanted)s::text[] = '{}' OR parent = ANY(%(wanted)s) ORDER BY parent, lo",
            {"wanted": wanted},
        )
    return [Piece(row["parent"], row["name"], row["lo"], row["hi"], row["size"]) for row in rows]


def drop(conn: Connection, piece: Piece) -> bool:
    """Throw a piece away with all its rows, and remember until when its table is empty now; a transaction of its own.

    False, and nothing is changed, where a reader or writer held it longer than LOCK_WAIT."""
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            if hypertables(conn):
                # older than the end of this piece: it is the oldest, or those before it go with it. They are locked first, because
                # drop_chunks takes a chunk's index before the chunk, and everybody else the other way round
                gone = [p.name for p in pieces(conn, (piece.parent,)) if p.hi <= piece.hi]
                if gone:
                    conn.execute(f"LOCK TABLE {', '.join(gone)} IN ACCESS EXCLUSIVE MODE")
                date = conn.execute(
                    "SELECT atttypid = 'date'::regtype AS yes FROM pg_attribute JOIN partition_span ON attrelid = parent::regclass "
                    "AND attname = time_column WHERE parent = %s",
                    (piece.parent,),
                ).fetchone()
                kind = "date" if date and date["yes"] else "timestamptz"
                conn.execute(f"SELECT drop_chunks(%s, older_than => %s::{kind})", (piece.parent, piece.hi))
            else:
                conn.execute("DELETE FROM partition WHERE parent = %s AND lo = %s", (piece.parent, piece.lo))
                conn.execute(f'DROP TABLE IF EXISTS "{piece.name}"')
            conn.execute(
                "INSERT INTO thrown_away AS t (parent, before) VALUES (%s, %s) "
                "ON CONFLICT (parent) DO UPDATE SET before = greatest(t.before, excluded.before)",
                (piece.parent, piece.hi),
            )
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        return False
    return True


def thrown_away(conn: Connection) -> dict[str, dt.datetime]:
    """Table -> the instant before which its rows have been thrown away."""
    return {row["parent"]: row["before"] for row in conn.execute("SELECT parent, before FROM thrown_away")}


def fit_spans(conn: Connection, meters: int) -> list[str]:
    """Let the pieces made from now on be as large as the fleet allows; those that are there stay as they are. The tables that changed.

    A new piece ends where its neighbours begin (ensure_partitions, and TimescaleDB itself, see to that): no gap, no overlap."""
    large = meters > SMALL_FLEET
    now = {row["parent"]: row["span"] for row in conn.execute("SELECT parent, span FROM partition_span")}
    changed = [table for table, spans in SPANS.items() if table in now and now[table] != spans[large]]
    chunks = hypertables(conn)
    for table in changed:
        span = SPANS[table][large]
        if chunks:
            conn.execute("SELECT set_chunk_time_interval(%s, %s::interval)", (table, span))
        conn.execute("UPDATE partition_span SET span = %s WHERE parent = %s", (span, table))
    return changed


def installed(conn: Connection, now: dt.datetime) -> int:
    """Meters installed at an instant."""
    row = conn.execute(
        "SELECT count(DISTINCT meter_id) AS n FROM installation WHERE valid_from <= %(now)s AND valid_to > %(now)s",
        {"now": now},
    ).fetchone()
    assert row is not None
    return int(row["n"])
