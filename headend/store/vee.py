"""What validation and estimation ask the store beside readings, and their estimates going in. Arrays by meter, for some thousand at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, LiteralString
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.plans import CURVE, locate
from headend.store import coverage, revisions
from headend.store.clocks import CLOCK_SET
from headend.store.coverage import Points
from headend.store.db import Connection
from headend.store.reads import Note
from headend.store.tables import SLOTS
from lineloss.vee.methods import PREFIX, WORDS
from protocols.localtime import Times, as_datetime, instant

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]

#: a clock's reading says something of a day if it was taken within so many days of it: clocks are read daily, and drift slowly
NEAR: Final = dt.timedelta(days=7)


def _columns(conn: Connection, query: LiteralString, arguments: Any, width: int) -> list[NDArray[Any]]:
    """The answer by columns, each an array of objects' own kind; `width` empty ones if it has no row."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(query, arguments).fetchall()
    return [np.array(column) for column in zip(*found, strict=True)] if found else [np.empty(0)] * width


def kinds(conn: Connection, first: dt.date, last: dt.date) -> I64:
    """int64[day]: 0 working day, 1 day of rest; by the calendar, and by the weekday where that says nothing."""
    known = {
        row["day"]: row["kind"]
        for row in conn.execute(
            "SELECT day, kind FROM calendar_day WHERE day BETWEEN %s AND %s", (first, last)
        )
    }
    days = [first + dt.timedelta(days=k) for k in range((last - first).days + 1)]
    rest = {"workday": 0, "weekend": 1, "holiday": 1}
    return np.array([rest.get(known.get(day, ""), int(day.weekday() >= 5)) for day in days], dtype=np.int64)


def owing(conn: Connection, meters: I64, first: np.datetime64, last: np.datetime64) -> Bits:
    """bool[meter]: whose installation between these instants owes the curve; `meters` ascending."""
    (found,) = _columns(
        conn,
        "SELECT DISTINCT meter_id FROM installation WHERE meter_id = ANY(%s) AND valid_from < %s AND valid_to > %s AND %s = ANY(plans)",
        (meters.tolist(), as_datetime(last), as_datetime(first), CURVE.id),
        1,
    )
    return np.isin(meters, found)


def closed(conn: Connection, meters: I64, first: np.datetime64, last: np.datetime64) -> Bits:
    """bool[meter]: on whose point somebody had an account once, and nobody between these instants."""
    (found,) = _columns(
        conn,
        """
        SELECT DISTINCT i.meter_id FROM installation i
        WHERE i.meter_id = ANY(%(meters)s) AND i.valid_from < %(last)s AND i.valid_to > %(first)s
          AND EXISTS (SELECT FROM account a WHERE a.point_id = i.point_id AND a.valid_to <= %(first)s)
          AND NOT EXISTS (SELECT FROM account a WHERE a.point_id = i.point_id AND a.valid_from < %(last)s AND a.valid_to > %(first)s)
        """,
        {"meters": meters.tolist(), "first": as_datetime(first), "last": as_datetime(last)},
        1,
    )
    return np.isin(meters, found)


def strange(conn: Connection, meters: I64, first: np.datetime64, last: np.datetime64) -> I64:
    """int64[meter]: rows of the curve in (first, last] at instants that end no slot."""
    found, counts = _columns(
        conn,
        "SELECT meter_id, count(*) FROM slot_read WHERE meter_id = ANY(%s) AND ts > %s AND ts < %s "
        "AND date_bin(%s, ts, timestamptz '2001-01-01 00:00:00+00') <> ts GROUP BY meter_id",
        (meters.tolist(), as_datetime(first), as_datetime(last), dt.timedelta(minutes=CURVE.minutes)),
        2,
    )
    many = np.zeros(len(meters), dtype=np.int64)
    many[np.searchsorted(meters, found)] = counts
    return many


def clocks(conn: Connection, meters: I64, when: np.datetime64) -> tuple[F64, F64]:
    """([s] ahead, [s] uncertainty), float64[meter]; NaN where the clock was not read near then, or was set since."""
    at = as_datetime(when)
    found, ahead, unsure = _columns(
        conn,
        "SELECT subject_id, ahead, uncertainty FROM clock WHERE subject_kind = 'meter' AND subject_id = ANY(%s) "
        "AND read_at BETWEEN %s AND %s AND (set_at IS NULL OR set_at < read_at)",
        (meters.tolist(), at - NEAR, at + NEAR),
        3,
    )
    told = [np.full(len(meters), np.nan) for _ in range(2)]
    for column, values in zip(told, (ahead, unsure), strict=True):
        column[np.searchsorted(meters, found)] = values
    return told[0], told[1]


@dataclass(frozen=True, slots=True)
class Sets:
    """Stretches of time that a set of a clock skipped or counted twice, [n]: whose meter, from when to when."""

    meter: I64
    low: Times
    high: Times

    def cut(self, meters: I64, times: Times) -> Bits:
        """bool[meter, slot] of the slots between `times` [slot + 1]: such a stretch lies in it. `meters` ascending."""
        mask = np.zeros((len(meters), len(times) - 1), dtype=np.bool_)
        for k in np.flatnonzero(np.isin(self.meter, meters)).tolist():  # a set a day at most, and of few
            row = int(np.searchsorted(meters, self.meter[k]))
            mask[row] |= (times[:-1] <= self.high[k]) & (times[1:] > self.low[k])
        return mask


def clock_sets(conn: Connection, first: np.datetime64, last: np.datetime64) -> Sets:
    """Those of meters' clocks, and of the clocks of the terminals that collect them, between two instants."""
    begin, end = as_datetime(first), as_datetime(last)
    day = dt.timedelta(days=1)
    rows = conn.execute(
        """
        WITH told AS (
            SELECT subject_kind, subject_id, occurred, detail FROM event
            WHERE occurred >= %(from)s AND occurred < %(to)s AND detail->>'kind' = %(kind)s)
        SELECT subject_id AS meter, occurred, detail FROM told WHERE subject_kind = 'meter'
        UNION ALL
        SELECT i.meter_id, t.occurred, t.detail FROM told t JOIN installation i ON i.terminal_id = t.subject_id
        WHERE t.subject_kind = 'terminal' AND i.valid_from < %(last)s AND i.valid_to > %(first)s
        """,
        {"first": begin, "last": end, "from": begin - day, "to": end + day, "kind": CLOCK_SET},
    ).fetchall()
    spans = []
    for row in rows:
        told = [_moment(row["detail"].get(name)) for name in ("before", "after")]
        stretch = sorted(at for at in told if at is not None) or [row["occurred"]]
        spans.append((row["meter"], instant(stretch[0]), instant(stretch[-1])))
    return Sets(
        np.array([meter for meter, _, _ in spans], dtype=np.int64),
        *(np.array([span[k] for span in spans], dtype="datetime64[us]") for k in (1, 2)),
    )


def _moment(text: Any) -> dt.datetime | None:
    try:
        when = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when if when.tzinfo is not None else None


@dataclass(frozen=True, slots=True)
class Standing:
    """Estimates of ours that stand, [n], in order of meter and time; `value` int64 [1e-4 kWh]."""

    meter: I64
    time: Times
    value: I64
    method: NDArray[np.str_]


def standing(conn: Connection, code: str, meters: I64, first: np.datetime64, last: np.datetime64) -> Standing:
    """Those of one register of the curve in [first, last]."""
    found = _columns(
        conn,
        "SELECT meter_id, (extract(epoch FROM ts) * 1000000)::bigint, value::bigint, method FROM ("
        "SELECT DISTINCT ON (meter_id, ts) meter_id, ts, value, method FROM revision WHERE meter_id = ANY(%s) AND ts BETWEEN %s AND %s "
        "AND source = %s AND quantity = %s ORDER BY meter_id, ts, version DESC) n WHERE starts_with(method, %s) ORDER BY 1, 2",
        (meters.tolist(), as_datetime(first), as_datetime(last), SLOTS.source, code, PREFIX),
        4,
    )
    return Standing(
        found[0].astype(np.int64), found[1].astype(np.int64).astype("datetime64[us]"), found[2].astype(np.int64), found[3].astype(np.str_)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Laying:
    """What is to stand of one register of the curve, [n], in order of meter and time: register [1e-4 kWh] and method; `unread`: the meter
    itself had said nothing of that instant when this was worked out."""

    meter: I64
    time: Times
    value: I64
    method: NDArray[np.str_]
    unread: Bits

    def __len__(self) -> int:
        return len(self.meter)

    def take(self, which: Any) -> Laying:
        return Laying(*(getattr(self, f.name)[which] for f in fields(self)))


def lay(
    conn: Connection,
    code: str,
    new: Laying,
    stale: tuple[I64, Times],
    *,
    now: np.datetime64,
    who: str,
    zone: ZoneInfo,
) -> tuple[int, int]:
    """(estimates that differ from what stood, estimates withdrawn), in the caller's transaction.

    `stale`: (meter, time) of estimates of ours that are to stand no more, in order. The ledger's rows are held first: what the meter has
    said itself by now is not covered by an estimate."""
    meter, time = np.concatenate([new.meter, stale[0]]), np.concatenate([new.time, stale[1]])
    if not len(meter):
        return 0, 0
    order = np.lexsort((time, meter))
    locked = coverage.reserve(conn, CURVE, _points(meter[order], time[order], now, zone), zone)
    mine = _points(new.meter, new.time, now, zone)
    came = locked.bits(locked.present, mine.key, mine.index) & new.unread
    new = new.take(~came)
    made = 0
    for method in np.unique(new.method).tolist():
        some = new.take(new.method == method)
        note = Note(now, WORDS[method][0], who)
        made += revisions.revise(
            conn, SLOTS, code, some.meter, some.time, some.value, note, method=method, zone=zone
        )
    gone = 0
    if len(stale[0]):
        note = Note(now, "the readings beside it say something else now", who)
        gone = revisions.withdraw(conn, SLOTS, code, *stale, note, zone=zone)
    return made, gone


def _points(meter: I64, time: Times, now: np.datetime64, zone: ZoneInfo) -> Points:
    day, index = locate(CURVE, time, zone)
    return Points(meter, time, day, index, np.full(len(meter), now))


@dataclass(frozen=True, slots=True)
class Version:
    """What stands over the meter's first word at one instant."""

    time: dt.datetime
    quantity: str
    value: float
    method: str
    reason: str
    who: str
    at: dt.datetime


def versions(conn: Connection, meter: int, first: np.datetime64, last: np.datetime64) -> list[Version]:
    """The newest versions of one meter's curve in (first, last], those that stand."""
    rows = conn.execute(
        "SELECT * FROM (SELECT DISTINCT ON (ts, quantity) ts, quantity, value, method, reason, who, at FROM revision "
        "WHERE meter_id = %s AND ts > %s AND ts <= %s AND source = %s ORDER BY ts, quantity, version DESC) n "
        "WHERE method <> %s ORDER BY ts, quantity",
        (meter, as_datetime(first), as_datetime(last), SLOTS.source, revisions.WITHDRAWN),
    )
    return [
        Version(r["ts"], r["quantity"], float(r["value"]), r["method"], r["reason"], r["who"], r["at"])
        for r in rows
    ]


def auxiliaries(conn: Connection, areas: Sequence[int], when: np.datetime64) -> tuple[I64, I64]:
    """(meter, area) of the meters that watch in these areas at an instant and are not summed: among them check meters. By area and meter."""
    return _members(conn, areas, when, "auxiliary")


def customers(conn: Connection, areas: Sequence[int], when: np.datetime64) -> tuple[I64, I64]:
    """(meter, area) of the meters that receive in these areas at an instant, by area and meter."""
    return _members(conn, areas, when, "receive")


def _members(conn: Connection, areas: Sequence[int], when: np.datetime64, role: str) -> tuple[I64, I64]:
    meter, area = _columns(
        conn,
        "SELECT i.meter_id, r.area_id FROM area_role r JOIN installation i USING (point_id) WHERE r.area_id = ANY(%(areas)s) AND r.role = %(role)s "
        "AND r.valid_from <= %(at)s AND r.valid_to > %(at)s AND i.valid_from <= %(at)s AND i.valid_to > %(at)s ORDER BY 2, 1",
        {"areas": list(areas), "role": role, "at": as_datetime(when)},
        2,
    )
    return meter.astype(np.int64), area.astype(np.int64)


def cursor(conn: Connection, job: str) -> str:
    """How far a follower of the feed has come; '' if it never ran."""
    row = conn.execute("SELECT cursor FROM job_cursor WHERE job = %s", (job,)).fetchone()
    return "" if row is None else str(row["cursor"])


def move(conn: Connection, job: str, where: str, now: np.datetime64) -> None:
    """It has come so far, in the caller's transaction."""
    conn.execute(
        "INSERT INTO job_cursor VALUES (%s, %s, %s) ON CONFLICT (job) DO UPDATE SET cursor = excluded.cursor, at = excluded.at",
        (job, where, as_datetime(now)),
    )
