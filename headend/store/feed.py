"""The change feed: what changed, in an order that a reader can follow without skipping or repeating a row.

Writers publish in the transaction that makes the change. Readers see only rows whose transaction is older than every transaction
still running, so a slow writer holds the feed back for a moment instead of being overtaken for ever. The oldest rows are thrown away
in time (`cut`); a cursor from before them is stale.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.db import Connection, StoreError
from headend.store.reads import Bits, Marks, distinct

#: what a change can be about; `key` is the meter asset, area code, finding id, customer number, order id or bank
TOPICS: Final = (
    "curve", "phase", "day", "month", "spot", "event", "loss", "finding", "balance", "order", "payment", "reversal", "bill", "bank", "notice",
)  # fmt: skip
#: of readings: new; a NULL was filled; another value than before; estimated; the meter's own value where an estimate stood
CHANGES: Final = ("new", "completed", "corrected", "estimated", "actual")
MAX_LIMIT: Final = 10_000
#: transactions by which a reader to whom nothing of his topics happened may lag before his cursor is moved on, so that he is not taken for
#: somebody who slept through the retention; fewer than any busy store makes in an hour
IDLE: Final = 1000


class BadCursor(StoreError):
    """The text is not a cursor of this feed."""


class StaleCursor(StoreError):
    """The cursor belongs to an earlier life of the database, or to a part of the feed that is gone: what it has seen may not be what is
    here now."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change and the cursor that stands behind it."""

    topic: str
    key: str
    day: dt.date | None
    change: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some changes and where to go on. `more` is True when the limit cut the page."""

    changes: list[Change]
    cursor: str
    more: bool


def publish(conn: Connection, topic: str, rows: Iterable[tuple[str, dt.date | None]]) -> int:
    """Announce changes of one topic within the caller's transaction; repeats within the call are folded.
    Returns the rows written.
    """
    if topic not in TOPICS:
        raise ValueError(f"unknown feed topic {topic!r}: choose from {', '.join(TOPICS)}")
    distinct: Sequence[tuple[str, dt.date | None]] = list(dict.fromkeys(rows))
    if not distinct:
        return 0
    conn.execute(
        "INSERT INTO feed (topic, key, day) SELECT %s, k, d FROM unnest(%s::text[], %s::date[]) AS u (k, d)",
        (topic, [key for key, _ in distinct], [day for _, day in distinct]),
    )
    return len(distinct)


@dataclass(slots=True)
class Readings:
    """Changed readings of one transaction, folded: one row of the feed for all meters that changed in the same way on one day."""

    _meters: dict[tuple[str, str, int], list[NDArray[np.int64]]] = field(default_factory=dict)

    def add(
        self,
        topic: str,
        meter: NDArray[np.int64],
        day: NDArray[np.int64],
        marks: Marks,
        actual: Bits | None = None,
    ) -> None:
        """Note what became of rows [n]: their meters, days since 1970-01-01, marks, and which stand where an estimate stood."""
        for change, rows in (
            ("new", marks.new), ("completed", marks.completed), ("corrected", marks.corrected), ("actual", actual),
        ):  # fmt: skip
            if rows is not None and rows.any():
                self.note(topic, change, meter[rows], day[rows])

    def note(self, topic: str, change: str, meter: NDArray[np.int64], day: NDArray[np.int64]) -> None:
        for number in distinct(day).tolist():
            self._meters.setdefault((topic, change, number), []).append(distinct(meter[day == number]))

    def publish(self, conn: Connection) -> None:
        """Announce them within the caller's transaction."""
        if not self._meters:
            return
        for (topic, change, day), meters in sorted(self._meters.items()):
            conn.execute(
                "INSERT INTO feed (topic, change, day, meters) VALUES (%s, %s, date '1970-01-01' + %s, %s)",
                (topic, change, day, np.unique(np.concatenate(meters)).tolist()),
            )


@dataclass(frozen=True, slots=True)
class _State:
    """Where the feed begins and ends. `floor`: the highest row that was thrown away, and how many changes it told of."""

    epoch: int
    xmin: int
    floor: tuple[int, int, int]

    @classmethod
    def of(cls, conn: Connection) -> _State:
        row = conn.execute(
            "SELECT epoch, pg_snapshot_xmin(pg_current_snapshot())::text AS xmin, feed_xid::text AS xid, feed_seq, feed_told FROM cluster"
        ).fetchone()
        assert row is not None
        return cls(int(row["epoch"]), int(row["xmin"]), (int(row["xid"]), row["feed_seq"], row["feed_told"]))

    def position(self, cursor: str | None) -> tuple[int, int, int]:
        """(transaction, sequence, changes told of that row). BadCursor, StaleCursor."""
        if not cursor:
            return self.floor
        at = _position(cursor, self.epoch)
        if at[0] >= self.xmin:
            raise StaleCursor(
                f"cursor {cursor!r} is ahead of this database: it comes from another one; read again from the beginning"
            )
        self.refuse_gone(cursor, at)
        return at

    def refuse_gone(self, cursor: str, at: tuple[int, int, int]) -> None:
        if at < self.floor:
            raise StaleCursor(
                f"cursor {cursor!r} is older than what the feed still has: changes after it have been thrown away; "
                "read again from the beginning"
            )

    def latest(self) -> tuple[int, int, int]:
        return max(0, self.xmin - 1), 2**63 - 1, 0


def read(conn: Connection, cursor: str | None, limit: int, topics: Sequence[str] = ()) -> Page:
    """Up to `limit` changes after `cursor` (None or '' = from the beginning, 'latest' = only what comes from now on).

    BadCursor for a text that is none; StaleCursor after a restore, and when retention has removed what comes after it. An empty page
    returns the cursor it was given, or a later one that means the same.
    """
    unknown = [topic for topic in topics if topic not in TOPICS]
    if unknown:
        raise BadCursor(f"unknown topic {', '.join(unknown)}: choose from {', '.join(TOPICS)}")
    limit = max(1, min(limit, MAX_LIMIT))
    state = _State.of(conn)
    if cursor == "latest":
        return Page([], _text(state.epoch, *state.latest()), False)
    xid, seq, done = state.position(cursor)
    # xmin again, in the statement that reads the rows: it must belong to the very snapshot that decides which
    # rows are seen
    # (xid_text must not be named xid: ORDER BY would take the text, and 999 comes after 1000 there)
    rows: list[dict[str, Any]] = conn.execute(
        """
        SELECT xid::text AS xid_text, seq, topic, key, day, change, meters FROM feed
        WHERE (xid, seq) >= (%(xid)s::text::xid8, %(seq)s::bigint)
          AND xid < pg_snapshot_xmin(pg_current_snapshot())
          AND (%(topics)s::text[] = '{}' OR topic = ANY(%(topics)s::text[]))
        ORDER BY xid, seq LIMIT %(limit)s
        """,
        {"xid": str(xid), "seq": seq, "topics": list(topics), "limit": limit + 2},
    ).fetchall()
    if cursor:  # something may have been thrown away between the two looks
        _State.of(conn).refuse_gone(cursor, (xid, seq, done))
    found: list[tuple[str, int | str, dt.date | None, str, str]] = []
    for row in rows:
        whose: list[int | str] = row["meters"] or [row["key"]]
        here = (int(row["xid_text"]), row["seq"])
        for k in range(done if here == (xid, seq) else 0, len(whose)):
            found.append((row["topic"], whose[k], row["day"], row["change"], _text(state.epoch, *here, k + 1)))  # fmt: skip
            if len(found) > limit:
                break
        if len(found) > limit:
            break
    assets = _assets(conn, [key for _, key, *_ in found[:limit] if isinstance(key, int)])
    changes = [
        Change(topic, key if isinstance(key, str) else assets[key], day, change, text)
        for topic, key, day, change, text in found[:limit]
    ]
    if changes:
        return Page(changes, changes[-1].cursor, len(found) > limit)
    idle = (
        state.latest()[0] - xid > IDLE
    )  # what is before it was committed before `state` was read, so it has been looked at
    return Page([], _text(state.epoch, *(state.latest() if idle else (xid, seq, done))), False)


@dataclass(frozen=True, slots=True)
class Touched:
    """Meter-days whose readings changed, arrays [n], repeats included; `day` in days since 1970-01-01. `cursor` stands behind them."""

    meter: NDArray[np.int64]
    day: NDArray[np.int64]
    topic: NDArray[np.str_]
    cursor: str
    more: bool


#: topics of readings that belong to local days
READINGS: Final = ("curve", "phase", "day")


def touched(conn: Connection, cursor: str, rows: int, changes: Sequence[str] = CHANGES) -> Touched:
    """What readings the next `rows` rows of the feed tell of, as numbers: for a job that follows it. `changes`: of which kinds; who makes
    some himself need not be told of them. Errors as `read`."""
    state = _State.of(conn)
    xid, seq, done = state.position(cursor)
    found = conn.execute(
        """
        SELECT xid::text AS xid_text, seq, topic, day - date '1970-01-01' AS day,
               coalesce(meters, ARRAY(SELECT meter_id FROM meter WHERE asset = key)) AS meters
        FROM feed
        WHERE (xid, seq) > (%(xid)s::text::xid8, %(seq)s::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
          AND topic = ANY(%(topics)s) AND change = ANY(%(changes)s) AND day IS NOT NULL
        ORDER BY xid, seq LIMIT %(rows)s
        """,
        {"xid": str(xid), "seq": seq, "topics": list(READINGS), "changes": list(changes), "rows": rows},
    ).fetchall()
    _State.of(conn).refuse_gone(cursor, (xid, seq, done))
    more = len(found) == rows
    last = found[-1] if found else None
    here = (xid, seq, 0) if last is None else (int(last["xid_text"]), last["seq"], len(last["meters"]))
    counts = [len(row["meters"]) for row in found]
    return Touched(
        np.concatenate([np.empty(0, np.int64), *(np.array(row["meters"], dtype=np.int64) for row in found)]),
        np.repeat(np.array([row["day"] for row in found], dtype=np.int64), counts),
        np.repeat(np.array([row["topic"] for row in found], dtype=np.str_), counts),
        # at the end: behind everything that was committed when we began to look
        _text(state.epoch, *(here if more else max(here, state.latest()))),
        more,
    )


def latest(conn: Connection) -> str:
    """A cursor behind all that was committed by now; what is being written at this moment comes after it."""
    state = _State.of(conn)
    return _text(state.epoch, *state.latest())


def cut(conn: Connection, keep: dt.timedelta, *, rows: int, dry: bool = False) -> int:
    """Throw away what is older than `keep` by the server's clock, at most `rows` rows, in the caller's transaction; how many.

    What goes is a beginning of the feed without holes, and where it ended is remembered in the same transaction: a cursor from before it
    is stale from then on. Nothing goes that a running transaction could still put a row before.
    """
    row = conn.execute(
        """
        WITH oldest AS (
            SELECT xid, seq, at, coalesce(cardinality(meters), 1) AS told FROM feed
            WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, seq LIMIT %(rows)s),
        gone AS (
            SELECT xid, seq, told FROM (
                SELECT *, bool_and(at < statement_timestamp() - %(keep)s) OVER (ORDER BY xid, seq) AS old FROM oldest) o
            WHERE old)
        SELECT count(*) AS n, (array_agg(xid::text ORDER BY xid DESC, seq DESC))[1] AS last_xid,
               (array_agg(seq ORDER BY xid DESC, seq DESC))[1] AS last_seq, (array_agg(told ORDER BY xid DESC, seq DESC))[1] AS told FROM gone
        """,
        {"keep": keep, "rows": rows},
    ).fetchone()
    assert row is not None
    if not row["n"] or dry:
        return int(row["n"])
    mark = {"xid": row["last_xid"], "seq": row["last_seq"], "told": row["told"]}
    conn.execute(
        "UPDATE cluster SET feed_xid = %(xid)s::text::xid8, feed_seq = %(seq)s, feed_told = %(told)s", mark
    )
    conn.execute("DELETE FROM feed WHERE (xid, seq) <= (%(xid)s::text::xid8, %(seq)s::bigint)", mark)
    return int(row["n"])


def begin_again(conn: Connection) -> None:
    """After a restore: a new epoch, so that every cursor from before is stale, and numbers that this server's transactions come after."""
    # the rows keep their order of making; 2 is older than any transaction that a server ever runs
    conn.execute("UPDATE feed SET xid = '2'")
    conn.execute("UPDATE cluster SET epoch = epoch + 1, feed_xid = '0', feed_seq = 0, feed_told = 0")


def newest(conn: Connection) -> str:
    """The cursor behind the newest change that a reader can see now: who follows from here misses nothing that happens later."""
    row = conn.execute(
        """
        SELECT epoch, xid_text, seq, told FROM cluster LEFT JOIN LATERAL (
            SELECT xid::text AS xid_text, seq, coalesce(cardinality(meters), 1) AS told FROM feed
            WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC, seq DESC LIMIT 1
        ) f ON true
        """
    ).fetchone()
    assert row is not None
    return _text(int(row["epoch"]), int(row["xid_text"] or 0), int(row["seq"] or 0), int(row["told"] or 0))


def _assets(conn: Connection, meters: list[int]) -> dict[int, str]:
    rows = conn.execute("SELECT meter_id, asset FROM meter WHERE meter_id = ANY(%s)", (sorted(set(meters)),))
    return {row["meter_id"]: row["asset"] for row in rows}


def _text(epoch: int, xid: int, seq: int, done: int) -> str:
    """EPOCH.TRANSACTION.SEQUENCE.DONE: how many of the row's meters have been told."""
    return f"{epoch}.{xid}.{seq}.{done}"


def _position(cursor: str | None, epoch: int) -> tuple[int, int, int]:
    if not cursor:
        return 0, 0, 0
    form = "a feed cursor (EPOCH.TRANSACTION.SEQUENCE.DONE)"
    parts = cursor.split(".")
    if len(parts) == 3:  # as it was before rows told of several meters: each had one
        parts.append("1")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 19 for part in parts):
        raise BadCursor(f"{cursor[:60]!r} is not {form}")
    theirs, xid, seq, done = map(int, parts)
    if theirs != epoch:
        raise StaleCursor(
            f"cursor {cursor!r} is from epoch {theirs}, the database is in epoch {epoch} since a restore: "
            "read again from the beginning"
        )
    if seq >= 2**63:
        raise BadCursor(f"{cursor[:60]!r} is not {form}")
    return xid, seq, done
