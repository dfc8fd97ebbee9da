"""The completeness ledger: what is here, what is missing and why. Written in the transaction that writes the reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.plans import CURVE, DAY, REASONS, Plan, due, expected, locate, points
from headend.store.db import Connection, StoreError
from headend.store.pgcopy import PG_EPOCH_DAY, Field, timestamps
from headend.store.reads import copy_rows, distinct, ensure_partitions
from lineloss.statistics import success
from protocols.localtime import Times, as_datetime, local_day, midnight

Bits = NDArray[np.bool_]
#: installations that never end; PostgreSQL's infinity does not fit a Python datetime
FOREVER = np.datetime64("9999-01-01T00:00:00", "us")
#: bits that hold a day's number (days since 1970) beside a meter's in one sortable integer: good until the year 4840
_DAY_BITS = 20
_DAY_MASK = (1 << _DAY_BITS) - 1
EPOCH = dt.date(1970, 1, 1)
NO_TIMES: Times = np.empty(0, dtype="datetime64[us]")


class UnknownMeter(StoreError):
    def __init__(self, asset: str) -> None:
        super().__init__(f"no meter {asset!r} in the archive; `headend archive list` shows what is there")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to read one meter's points of one plan: what was asked, and what the meter proved not to have.

    `reason` says why asked points did not come ('' if all came or were proved absent). `got` is filled in by intake, from the readings
    that came with it."""

    meter: int
    plan: Plan
    asked: Times
    absent: Times
    at: np.datetime64
    reason: str = ""
    detail: str = ""
    got: Times = field(default_factory=lambda: NO_TIMES)


@dataclass(frozen=True, slots=True)
class Points:
    """Points of a plan that readings make present, in order of meter and time. Arrays [n].

    day: days since 1970-01-01; index: the point's place in its day; at: when it came."""

    meter: NDArray[np.int64]
    time: Times
    day: NDArray[np.int64]
    index: NDArray[np.int64]
    at: Times

    @property
    def key(self) -> NDArray[np.int64]:
        return np.asarray(self.meter << _DAY_BITS | self.day, dtype=np.int64)

    def take(self, rows: NDArray[np.bool_]) -> Points:
        return Points(self.meter[rows], self.time[rows], self.day[rows], self.index[rows], self.at[rows])


@dataclass(frozen=True, slots=True)
class Locked:
    """The ledger's rows of some meter-days, which nobody else can change until the transaction ends.

    key: meter and day in one, ascending; present, estimated: bool[row, point]."""

    key: NDArray[np.int64]
    present: Bits
    estimated: Bits

    def bits(self, which: Bits, key: NDArray[np.int64], index: NDArray[np.int64]) -> Bits:
        """bool[n]: the bit of each point; False where the ledger has no row, or the point is none of the plan's."""
        found = np.zeros(len(key), dtype=np.bool_)
        if len(self.key):
            at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
            there = (self.key[at] == key) & (index >= 0)
            found[there] = which[at[there], index[there]]
        return found


@dataclass(frozen=True, slots=True)
class _Tries:
    """What attempts say of the plan's points, columns [n]: key, index and number of the attempt; `at` [attempt]."""

    key: NDArray[np.int64]
    index: NDArray[np.int64]
    attempt: NDArray[np.int64]

    @classmethod
    def of(cls, plan: Plan, attempts: Sequence[Attempt], which: str, zone: ZoneInfo) -> _Tries:
        times = [getattr(attempt, which) for attempt in attempts]
        counts = [len(part) for part in times]
        day, index = locate(plan, np.concatenate(times) if times else NO_TIMES, zone)
        meters = np.repeat(np.array([a.meter for a in attempts], dtype=np.int64), counts)
        number = np.repeat(np.arange(len(attempts)), counts)
        there = index >= 0
        if there.all():
            return cls(meters << _DAY_BITS | day, index, number)
        return cls((meters << _DAY_BITS | day)[there], index[there], number[there])


@dataclass(frozen=True, slots=True)
class Entry:
    """What came and what was asked, ready for the ledger.

    `there`: the plan's points of which anything came; `held` [n]: whether it makes the point present. `keys`: the meter-days touched,
    ascending. Days of which only a voltage came are among them: whoever writes a meter's day holds its row of the ledger."""

    plan: Plan
    zone: ZoneInfo
    there: Points
    held: Bits
    attempts: Sequence[Attempt]
    asked: _Tries
    absent: _Tries
    keys: NDArray[np.int64]

    @classmethod
    def of(
        cls, plan: Plan, there: Points, attempts: Sequence[Attempt], zone: ZoneInfo, held: Bits | None = None
    ) -> Entry:
        """`there` may hold points off the plan's grid (index -1); they leave no mark. `held` None: all of them."""
        held = np.ones(len(there.index), dtype=np.bool_) if held is None else held
        if (there.index < 0).any():
            there, held = there.take(there.index >= 0), held[there.index >= 0]
        asked, absent = (_Tries.of(plan, attempts, which, zone) for which in ("asked", "absent"))
        runs = [_runs(key) for key in (there.key, asked.key, absent.key) if len(key)]
        keys = runs[0] if len(runs) == 1 else np.concatenate([there.key[:0], *runs])
        if (keys[1:] <= keys[:-1]).any():
            keys = np.unique(keys)
        return cls(plan, zone, there, held, attempts, asked, absent, keys)


def _runs(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first of each run of equals."""
    return np.asarray(key[np.concatenate([[True], key[1:] != key[:-1]])], dtype=np.int64)


def lock(conn: Connection, entry: Entry) -> Locked:
    """The rows of the entry's meter-days, locked in their order: whoever writes the same days waits here, so nobody deadlocks later."""
    days = [_date(day) for day in distinct(entry.keys & _DAY_MASK).tolist()]
    rows = conn.execute(
        "SELECT meter_id, day, present::text, estimated::text FROM coverage WHERE plan = %s AND day = ANY(%s::date[]) AND meter_id = ANY(%s::int[]) "
        "ORDER BY day, meter_id FOR UPDATE",
        (entry.plan.id, days, distinct(entry.keys >> _DAY_BITS).tolist()),
    ).fetchall()
    width = max((len(points(entry.plan, day, entry.zone)) for day in days), default=0)
    found = np.array(
        [row["meter_id"] << _DAY_BITS | (row["day"] - EPOCH).days for row in rows], dtype=np.int64
    )
    order = np.argsort(found)
    present = _bits([row["present"].ljust(width, "0") for row in rows], width)
    estimated = _bits([(row["estimated"] or "").ljust(width, "0") for row in rows], width)
    return Locked(found[order], present[order], estimated[order])


def record(conn: Connection, entry: Entry, locked: Locked | None = None) -> None:
    """Fold an entry into the ledger, in the caller's transaction.

    UniqueViolation if another transaction made a row of the same meter and day since `locked`: then begin again."""
    plan, keys = entry.plan, entry.keys
    if not len(keys):
        return
    there = entry.there if entry.held.all() else entry.there.take(entry.held)
    locked = lock(conn, entry) if locked is None else locked
    widths = {
        number: len(points(plan, _date(number), entry.zone)) for number in distinct(keys & _DAY_MASK).tolist()
    }
    width = max(widths.values())

    def grid(key: NDArray[np.int64], index: NDArray[np.int64]) -> Bits:
        made = np.zeros((len(keys), width), dtype=np.bool_)
        made[np.searchsorted(keys, key), index] = True
        return made

    late = there.at - there.time > np.timedelta64(plan.grace)
    present = grid(there.key, there.index)
    rows = _Rows(
        keys,
        present,
        grid(there.key[late], there.index[late]),
        grid(entry.absent.key, entry.absent.index) & ~present,
        *_moments(entry),
    )
    known = np.isin(keys, locked.key, assume_unique=True)
    if known.any():
        _update(conn, plan, rows.take(known), widths)
    if not known.all():
        _insert(conn, plan, rows.take(~known), widths)
    _record_reasons(conn, plan, [a for a in entry.attempts if a.reason], entry.zone)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of the ledger to be folded in, by key: bits [row, point], the first and last moment and the number of attempts [row]."""

    key: NDArray[np.int64]
    present: Bits
    late: Bits
    absent: Bits
    first: Times
    last: Times
    attempts: NDArray[np.int64]

    def take(self, which: Bits) -> _Rows:
        if which.all():
            return self
        return _Rows(*(getattr(self, name)[which] for name in _Rows.__slots__))


def _moments(entry: Entry) -> tuple[Times, Times, NDArray[np.int64]]:
    """(first moment, last moment, number of attempts) of each meter-day."""
    keys, there, attempts = entry.keys, entry.there, entry.attempts
    first = np.full(len(keys), np.iinfo(np.int64).max)
    last = np.full(len(keys), np.iinfo(np.int64).min)
    number = np.zeros(len(keys), dtype=np.int64)
    if len(there.key):  # in order of meter and time, so each meter-day is one run
        starts = np.flatnonzero(np.concatenate([[True], there.key[1:] != there.key[:-1]]))
        at, rows = there.at.astype(np.int64), np.searchsorted(keys, there.key[starts])
        np.minimum.at(first, rows, np.minimum.reduceat(at, starts))
        np.maximum.at(last, rows, np.maximum.reduceat(at, starts))
    if attempts:
        key = np.concatenate([entry.asked.key, entry.absent.key])
        attempt = np.concatenate([entry.asked.attempt, entry.absent.attempt])
        change = np.concatenate([[True], (key[1:] != key[:-1]) | (attempt[1:] != attempt[:-1])])[: len(key)]
        # an attempt counts once a meter-day
        pairs = np.unique(np.stack([np.searchsorted(keys, key[change]), attempt[change]]), axis=1)
        at = np.array([a.at for a in attempts], dtype="datetime64[us]").astype(np.int64)[pairs[1]]
        np.minimum.at(first, pairs[0], at)
        np.maximum.at(last, pairs[0], at)
        number += np.bincount(pairs[0], minlength=len(keys))
    return first.astype("datetime64[us]"), last.astype("datetime64[us]"), number


def _insert(conn: Connection, plan: Plan, rows: _Rows, widths: dict[int, int]) -> None:
    """Meter-days that the ledger has not yet, by COPY; days of one length at a time."""
    day = rows.key & _DAY_MASK
    for width in sorted(set(widths.values())):
        chosen = np.isin(day, [number for number, wide in widths.items() if wide == width])
        if not chosen.any():
            continue
        mine = rows.take(chosen)
        bits = [
            Field(np.packbits(grid[:, :width], axis=1), "varbit", bits=width)
            for grid in (mine.present, mine.late, mine.absent)
        ]
        copy_rows(
            conn, "coverage", ("plan", "day", "meter_id", "present", "late", "absent", "attempts", "first_at", "last_at"),
            [
                Field(np.full(len(mine.key), plan.id), "int2"), Field((mine.key & _DAY_MASK) - PG_EPOCH_DAY, "date"),
                Field(mine.key >> _DAY_BITS, "int4"), *bits, Field(mine.attempts, "int4"),
                Field(timestamps(mine.first), "timestamptz"), Field(timestamps(mine.last), "timestamptz"),
            ],
        )  # fmt: skip


def _update(conn: Connection, plan: Plan, rows: _Rows, widths: dict[int, int]) -> None:
    days = [_date(day) for day in (rows.key & _DAY_MASK).tolist()]
    wide = [widths[day] for day in (rows.key & _DAY_MASK).tolist()]
    conn.execute(
        """
        UPDATE coverage c SET
            present = c.present | p::varbit,
            late = c.late | (l::varbit & ~c.present),
            absent = (c.absent | a::varbit) & ~(c.present | p::varbit),
            attempts = c.attempts + n,
            first_at = least(c.first_at, f),
            last_at = greatest(c.last_at, t)
        FROM unnest(%(m)s::int[], %(d)s::date[], %(p)s::text[], %(l)s::text[], %(a)s::text[], %(n)s::int[],
                    %(f)s::timestamptz[], %(t)s::timestamptz[]) AS u(m, d, p, l, a, n, f, t)
        WHERE c.plan = %(plan)s AND c.day = d AND c.meter_id = m AND c.day = ANY(%(days)s)
        """,
        {
            "plan": plan.id,
            "days": sorted(set(days)),
            "m": (rows.key >> _DAY_BITS).tolist(),
            "d": days,
            "p": _texts(rows.present, wide),
            "l": _texts(rows.late, wide),
            "a": _texts(rows.absent, wide),
            "n": rows.attempts.tolist(),
            "f": [as_datetime(at) for at in rows.first],
            "t": [as_datetime(at) for at in rows.last],
        },
    )


@dataclass(frozen=True, slots=True)
class _Vain:
    """What was asked in vain for one reason: which points, how often, since and until when."""

    slots: Bits
    attempts: int
    since: dt.datetime
    last: dt.datetime
    detail: str


def _record_reasons(conn: Connection, plan: Plan, attempts: list[Attempt], zone: ZoneInfo) -> None:
    rows: dict[tuple[dt.date, int, str], _Vain] = {}
    for attempt in sorted(attempts, key=lambda a: a.at):
        if attempt.reason not in REASONS:
            raise ValueError(f"unknown reason {attempt.reason!r}")
        holes = np.setdiff1d(np.setdiff1d(attempt.asked, attempt.got), attempt.absent)
        day, index = locate(plan, holes, zone)
        for number in np.unique(day):
            owner = _date(int(number))
            bits = np.zeros(len(points(plan, owner, zone)), dtype=np.bool_)
            bits[index[(day == number) & (index >= 0)]] = True
            at, key = as_datetime(attempt.at), (owner, attempt.meter, attempt.reason)
            before = rows.get(key)
            if before is None:
                rows[key] = _Vain(bits, 1, at, at, attempt.detail)
            else:  # two attempts of one batch: fold
                rows[key] = _Vain(before.slots | bits, before.attempts + 1, before.since, at, attempt.detail)
    keys = sorted(rows)
    if not keys:
        return
    conn.execute(
        """
        INSERT INTO gap_reason AS g (meter_id, day, plan, reason, slots, attempts, since, last_at, detail)
        SELECT m, d, %(plan)s, r, b::varbit, n, f, t, x
        FROM unnest(%(m)s::int[], %(d)s::date[], %(r)s::text[], %(b)s::text[], %(n)s::int[], %(f)s::timestamptz[],
                    %(t)s::timestamptz[], %(x)s::text[]) AS u(m, d, r, b, n, f, t, x)
        ORDER BY d, m, r
        ON CONFLICT (plan, day, meter_id, reason) DO UPDATE SET
            slots = g.slots | excluded.slots,
            attempts = g.attempts + excluded.attempts,
            since = least(g.since, excluded.since),
            last_at = greatest(g.last_at, excluded.last_at),
            detail = excluded.detail
        """,
        {
            "plan": plan.id,
            "m": [meter for _, meter, _ in keys],
            "d": [day for day, _, _ in keys],
            "r": [reason for _, _, reason in keys],
            "b": [_text(rows[key].slots) for key in keys],
            "n": [rows[key].attempts for key in keys],
            "f": [rows[key].since for key in keys],
            "t": [rows[key].last for key in keys],
            "x": [rows[key].detail for key in keys],
        },
    )


def reserve(conn: Connection, plan: Plan, there: Points, zone: ZoneInfo) -> Locked:
    """The ledger's rows of these points, made where there are none, and locked: until the transaction ends nobody else writes these
    meters' days. The points are the plan's, in order of meter and time."""
    entry = Entry.of(plan, there, (), zone)
    widths = [len(points(plan, _date(day), zone)) for day in (entry.keys & _DAY_MASK).tolist()]
    if widths:
        _make_rows(conn, plan, entry.keys, widths, there)
    return lock(conn, entry)


def mark_estimates(conn: Connection, plan: Plan, there: Points, zone: ZoneInfo, *, standing: bool) -> None:
    """Note that estimates stand at these points, or stand there no more. The points are the plan's, in order of meter and time."""
    there = there.take(there.index >= 0)
    if not len(there.key):
        return
    entry = Entry.of(plan, there, (), zone)
    widths = [len(points(plan, _date(day), zone)) for day in (entry.keys & _DAY_MASK).tolist()]
    grid = np.zeros((len(entry.keys), max(widths)), dtype=np.bool_)
    grid[np.searchsorted(entry.keys, there.key), there.index] = True
    if standing:  # a day of which nothing was ever read has no row yet
        _make_rows(conn, plan, entry.keys, widths, there)
    conn.execute(
        f"""
        UPDATE coverage c SET estimated = nullif(
            coalesce(c.estimated, c.present & ~c.present) {"| e::varbit" if standing else "& ~e::varbit"}, c.present & ~c.present)
        FROM unnest(%(m)s::int[], %(d)s::date[], %(e)s::text[]) AS u(m, d, e)
        WHERE c.plan = %(plan)s AND c.day = d AND c.meter_id = m AND c.day = ANY(%(d)s::date[])
        """,
        {
            "plan": plan.id,
            "m": (entry.keys >> _DAY_BITS).tolist(),
            "d": [_date(day) for day in (entry.keys & _DAY_MASK).tolist()],
            "e": _texts(grid, widths),
        },
    )


def _make_rows(
    conn: Connection, plan: Plan, keys: NDArray[np.int64], widths: list[int], there: Points
) -> None:
    """Rows without any mark, where there are none."""
    ensure_partitions(conn, "coverage", (keys & _DAY_MASK).astype("datetime64[D]"))
    conn.execute(
        "INSERT INTO coverage (plan, day, meter_id, present, late, absent, attempts, first_at, last_at) "
        "SELECT %(plan)s, d, m, z::varbit, z::varbit, z::varbit, 0, %(at)s, %(at)s "
        "FROM unnest(%(m)s::int[], %(d)s::date[], %(z)s::text[]) AS u(m, d, z) "
        "ORDER BY d, m ON CONFLICT DO NOTHING",
        {
            "plan": plan.id,
            "m": (keys >> _DAY_BITS).tolist(),
            "d": [_date(day) for day in (keys & _DAY_MASK).tolist()],
            "z": ["0" * width for width in widths],
            "at": as_datetime(there.at.max()),
        },
    )


def _texts(grid: Bits, widths: list[int]) -> list[str]:
    """One bit string per row, as wide as its day."""
    digits = np.where(grid, np.uint8(ord("1")), np.uint8(ord("0")))
    return [row[:width].tobytes().decode() for row, width in zip(digits, widths, strict=True)]


def _text(bits: Bits) -> str:
    return bytes(np.where(bits, ord("1"), ord("0")).astype(np.uint8)).decode()


def _bits(texts: Sequence[str], width: int) -> Bits:
    """Bit strings of one width -> bool[row, point]."""
    if not texts:
        return np.zeros((0, width), dtype=np.bool_)
    raw = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    return np.asarray(raw.reshape(len(texts), width) == ord("1"), dtype=np.bool_)


def _date(number: int) -> dt.date:
    return EPOCH + dt.timedelta(days=number)


@dataclass(frozen=True, slots=True)
class DayMatrix:
    """The ledger of one plan and day for many meters; every mask is bool[meter, point].

    `failed` is why -> points asked in vain; `times` [point] names the points."""

    plan: Plan
    day: dt.date
    times: Times
    meters: NDArray[np.int64]
    terminals: NDArray[np.int64]
    expected: Bits
    due: Bits
    present: Bits
    late: Bits
    absent: Bits
    attempts: NDArray[np.int64]
    failed: dict[str, Bits] = field(default_factory=dict)

    @property
    def missing(self) -> Bits:
        """Due and not here, whatever the cause."""
        return np.asarray(self.expected & self.due & ~self.present)

    @property
    def open(self) -> Bits:
        """What is still worth asking for: missing, not proved absent and not overwritten."""
        lost = self.failed.get("expired")
        gone = self.absent if lost is None else self.absent | lost
        return np.asarray(self.missing & ~gone)

    def by_terminal(self, terminals: Sequence[int]) -> Iterator[tuple[int, DayMatrix]]:
        """The part of each of these terminals, one without meters too. Views where a terminal's meters are neighbours, as they are after an
        import by terminal: cutting a matrix for ten thousand of them must not cost more than reading it did."""
        order = np.argsort(self.terminals, kind="stable")
        begins = np.searchsorted(self.terminals[order], terminals)
        ends = np.searchsorted(self.terminals[order], terminals, side="right")
        for terminal, begin, end in zip(terminals, begins.tolist(), ends.tolist(), strict=True):
            rows: Any = order[begin:end]
            if end > begin and rows[-1] - rows[0] == end - begin - 1:
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
            yield terminal, self._rows(rows)

    def _rows(self, rows: Any) -> DayMatrix:
        return DayMatrix(
            self.plan, self.day, self.times, self.meters[rows], self.terminals[rows], self.expected[rows], self.due[rows],
            self.present[rows], self.late[rows], self.absent[rows], self.attempts[rows],
            {reason: bits[rows] for reason, bits in self.failed.items()},
        )  # fmt: skip


def day_matrix(
    conn: Connection,
    plan: Plan,
    day: dt.date,
    *,
    now: np.datetime64,
    zone: ZoneInfo,
    terminals: Sequence[int] | None = None,
    reasons: Sequence[str] | None = None,
) -> DayMatrix:
    """The ledger of a local day, for the meters installed then (of `terminals`, or all), ordered by meter; one that does not owe the plan
    where it hangs has no point expected of it. `reasons`: which of them are wanted; None: all."""
    times = points(plan, day, zone)
    width = len(times)
    meters, behind, owed = _owed(conn, plan, day, zone, terminals)
    present, late, absent = (np.zeros_like(owed) for _ in range(3))
    attempts = np.zeros(len(meters), dtype=np.int64)
    may_have = np.broadcast_to(due(plan, day, zone, now), owed.shape)
    failed: dict[str, Bits] = {}
    if not len(meters):
        return DayMatrix(plan, day, times, meters, behind, owed, may_have, present, late, absent, attempts)
    known = _columns(
        conn,
        "SELECT meter_id, present::text, late::text, absent::text, attempts FROM coverage "
        "WHERE day = %s AND plan = %s AND meter_id = ANY(%s) ORDER BY meter_id",
        (day, plan.id, meters.tolist()),
    )
    if known:
        rows = np.searchsorted(meters, np.array(known[0]))
        present[rows], late[rows], absent[rows] = (_bits(column, width) for column in known[1:4])
        attempts[rows] = known[4]
    if reasons is None or len(reasons):
        told = _columns(
            conn,
            "SELECT meter_id, reason, slots::text FROM gap_reason WHERE day = %s AND plan = %s AND meter_id = ANY(%s) "
            "AND (%s::text[] IS NULL OR reason = ANY(%s)) ORDER BY last_at",
            (day, plan.id, meters.tolist(), *2 * (None if reasons is None else list(reasons),)),
        )
        if told:
            rows = np.searchsorted(meters, np.array(told[0]))
            names, slots = np.array(told[1]), _bits(told[2], width)
            for name in dict.fromkeys(told[1]):  # in the order of their last attempts
                grid = failed[name] = np.zeros_like(owed)
                grid[rows[names == name]] = slots[
                    names == name
                ]  # a meter has one row of a day, plan and reason
    return DayMatrix(
        plan, day, times, meters, behind, owed, may_have, present, late, absent, attempts, failed
    )


def last_looked(conn: Connection, before: dt.date, terminals: Sequence[int]) -> dict[int, dt.date]:
    """Terminal -> the last day before `before` of which the ledger says anything for a meter that hangs behind it, of any plan."""
    sql = """
        SELECT i.terminal_id, max(l.day) AS day FROM installation i CROSS JOIN LATERAL (
            SELECT c.day FROM coverage c WHERE c.meter_id = i.meter_id AND c.day < %s ORDER BY c.day DESC LIMIT 1
        ) l WHERE i.terminal_id = ANY(%s) GROUP BY i.terminal_id
    """
    return {row["terminal_id"]: row["day"] for row in conn.execute(sql, (before, list(terminals)))}


def _owed(
    conn: Connection, plan: Plan, day: dt.date, zone: ZoneInfo, terminals: Sequence[int] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], Bits]:
    """The meters that hang somewhere on the day, ascending; the terminal each hangs behind last; bool[meter, point]: what is owed."""
    found = _columns(
        conn,
        """
        SELECT meter_id, terminal_id, (extract(epoch FROM greatest(valid_from, %(begin)s)) * 1000000)::bigint,
               (extract(epoch FROM least(valid_to, %(end)s)) * 1000000)::bigint, %(plan)s = ANY(plans)
        FROM installation
        WHERE valid_from < %(end)s AND valid_to > %(begin)s AND (%(terminals)s::int[] IS NULL OR terminal_id = ANY(%(terminals)s))
        ORDER BY meter_id, valid_from
        """,
        {
            "plan": plan.id,
            "begin": as_datetime(midnight(day, zone)),
            "end": as_datetime(midnight(day + dt.timedelta(days=1), zone)),
            "terminals": None if terminals is None else list(terminals),
        },
    )
    if not found:
        none = np.empty(0, dtype=np.int64)
        return none, none, np.zeros((0, len(points(plan, day, zone))), dtype=np.bool_)
    meter, terminal, begin, end = (np.array(column, dtype=np.int64) for column in found[:4])
    spans = expected(plan, day, zone, begin.astype("datetime64[us]"), end.astype("datetime64[us]"))
    spans &= np.array(found[4], dtype=np.bool_)[:, None]
    first = np.flatnonzero(np.diff(meter, prepend=-1))
    last = np.append(first[1:], len(meter)) - 1
    return meter[first], terminal[last], np.asarray(np.logical_or.reduceat(spans, first, axis=0))


def _columns(conn: Connection, query: LiteralString, arguments: Any) -> list[tuple[Any, ...]]:
    """The answer by columns; [] if it has no row. Not by names: a dictionary a row is most of the time where a province answers."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return list(zip(*cursor.execute(query, arguments).fetchall(), strict=True))


def causes(matrix: DayMatrix) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """int8[meter, point]: for each missing point the index of its cause in the returned names, -1 where nothing is missing.

    The strongest proof wins: what the meter said (not recorded, refused) over what the line did."""
    order = (
        "not-asked", "allowance", "offline", "not-published", "link-lost", "not-in-terminal", "no-answer", "garbled", "missing-in-answer",
        "refused", "expired", "not-recorded",
    )  # fmt: skip
    cause = np.where(matrix.missing, np.int8(0), np.int8(-1)).astype(np.int8)
    for k, name in enumerate(order[1:], start=1):
        bits = matrix.absent if name == "not-recorded" else matrix.failed.get(name)
        if bits is not None:
            cause[matrix.missing & bits] = k
    return cause, order


@dataclass(frozen=True, slots=True)
class Hole:
    """A run of missing points with one cause."""

    first: np.datetime64
    last: np.datetime64
    points: int
    reason: str
    attempts: int
    since: dt.datetime | None
    last_at: dt.datetime | None
    detail: str

    def to_dict(self) -> dict[str, Any]:
        en, zh = REASONS[self.reason]
        return {
            "first": as_datetime(self.first).isoformat(),
            "last": as_datetime(self.last).isoformat(),
            "points": self.points,
            "reason": self.reason,
            "reason_en": en,
            "reason_zh": zh,
            "attempts": self.attempts,
            "since": self.since.isoformat() if self.since else None,
            "last_at": self.last_at.isoformat() if self.last_at else None,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class PlanDay:
    """One plan of one meter's day."""

    plan: Plan
    expected: int
    due: int
    present: int
    late: int
    absent: int
    attempts: int
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    holes: tuple[Hole, ...]
    revisions: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": self.plan.name,
            "expected": self.expected,
            "due": self.due,
            "present": self.present,
            "late": self.late,
            "not_recorded": self.absent,
            "attempts": self.attempts,
            "first_at": self.first_at.isoformat() if self.first_at else None,
            "last_at": self.last_at.isoformat() if self.last_at else None,
            "holes": [hole.to_dict() for hole in self.holes],
            "revisions": self.revisions,
        }


@dataclass(frozen=True, slots=True)
class Why:
    """The chain of reasons for one meter and local day: what it is, where it hangs, what came and why the rest did not."""

    asset: str
    day: dt.date
    now: dt.datetime
    commissioned: bool
    point: str
    area: str
    terminal: str
    protocol: str
    address: str
    terminal_online: bool
    terminal_last_seen: dt.datetime | None
    plans: tuple[PlanDay, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "meter": self.asset,
            "day": self.day.isoformat(),
            "now": self.now.isoformat(),
            "commissioned": self.commissioned,
            "point": self.point,
            "area": self.area,
            "terminal": self.terminal,
            "protocol": self.protocol,
            "address": self.address,
            "terminal_online": self.terminal_online,
            "terminal_last_seen": self.terminal_last_seen.isoformat() if self.terminal_last_seen else None,
            "plans": [plan.to_dict() for plan in self.plans],
        }


def why(conn: Connection, *, asset: str, day: dt.date, now: np.datetime64, zone: ZoneInfo) -> Why:
    """Explain one meter's day. UnknownMeter if the archive has no such asset."""
    meter = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if meter is None:
        raise UnknownMeter(asset)
    meter_id: int = meter["meter_id"]
    routes = conn.execute(
        """
        SELECT p.code AS point, t.code AS terminal, t.protocol, i.address, t.online, t.last_seen, t.terminal_id,
               (SELECT string_agg(a.code, ', ' ORDER BY a.code) FROM area_role r JOIN area a USING (area_id)
                WHERE r.point_id = i.point_id AND r.valid_from < %(end)s AND r.valid_to > %(begin)s) AS area
        FROM installation i JOIN point p USING (point_id) JOIN terminal t USING (terminal_id)
        WHERE i.meter_id = %(meter)s AND i.valid_from < %(end)s AND i.valid_to > %(begin)s
        ORDER BY i.valid_from DESC
        """,
        {
            "meter": meter_id,
            "begin": as_datetime(midnight(day, zone)),
            "end": as_datetime(midnight(day + dt.timedelta(days=1), zone)),
        },
    ).fetchall()
    if not routes:
        return Why(asset, day, as_datetime(now, zone), False, "", "", "", "", "", False, None, ())
    route = routes[
        0
    ]  # where it hung last; a meter that moved in the day owes its points behind both terminals
    terminals = sorted({row["terminal_id"] for row in routes})
    plans = tuple(_plan_day(conn, plan, meter_id, terminals, day, now, zone) for plan in (CURVE, DAY))
    return Why(
        asset, day, as_datetime(now, zone), True, route["point"], route["area"] or "", route["terminal"], route["protocol"],
        route["address"], route["online"], route["last_seen"], plans,
    )  # fmt: skip


def _plan_day(
    conn: Connection,
    plan: Plan,
    meter_id: int,
    terminals: list[int],
    day: dt.date,
    now: np.datetime64,
    zone: ZoneInfo,
) -> PlanDay:
    matrix = day_matrix(conn, plan, day, now=now, zone=zone, terminals=terminals)
    k = int(np.searchsorted(matrix.meters, meter_id))
    cause, names = causes(matrix)
    told = {
        row["reason"]: row
        for row in conn.execute(
            "SELECT reason, attempts, since, last_at, detail FROM gap_reason WHERE meter_id = %s AND day = %s AND plan = %s",
            (meter_id, day, plan.id),
        )
    }
    times = matrix.times
    edges = np.flatnonzero(np.diff(cause[k], prepend=-2, append=-2))
    holes = []
    for begin, end in pairwise(edges.tolist()):
        if cause[k, begin] < 0:
            continue
        reason = names[cause[k, begin]]
        row = told.get(reason)
        holes.append(
            Hole(
                times[begin], times[end - 1], int(end - begin), reason,
                row["attempts"] if row else 0, row["since"] if row else None, row["last_at"] if row else None,
                row["detail"] if row else "",
            )
        )  # fmt: skip
    seen = conn.execute(
        "SELECT first_at, last_at FROM coverage WHERE meter_id = %s AND day = %s AND plan = %s",
        (meter_id, day, plan.id),
    ).fetchone()
    revisions = conn.execute(
        "SELECT count(*) AS n FROM revision WHERE meter_id = %s AND source = %s AND ts BETWEEN %s AND %s",
        (meter_id, "slot" if plan is CURVE else "day", as_datetime(times[0]), as_datetime(times[-1])),
    ).fetchone()
    assert revisions is not None
    return PlanDay(
        plan,
        int(matrix.expected[k].sum()),
        int((matrix.expected[k] & matrix.due[k]).sum()),
        int(matrix.present[k].sum()),
        int((matrix.late[k] & matrix.present[k]).sum()),
        int(matrix.absent[k].sum()),
        int(matrix.attempts[k]),
        seen["first_at"] if seen else None,
        seen["last_at"] if seen else None,
        tuple(holes),
        revisions["n"],
    )


def rates(conn: Connection, *, day: dt.date, now: np.datetime64, zone: ZoneInfo) -> dict[str, Any]:
    """Counts over the ledger for one local day, and the rates made of them; a rate is None when nothing was due.

    What they are: lineloss/statistics/success.py.
    """
    freeze = day_matrix(conn, DAY, day, now=now, zone=zone)
    curve = day_matrix(conn, CURVE, day, now=now, zone=zone, reasons=())
    counts = success.of_meters(marks(freeze), marks(curve)).sum(axis=0).tolist()
    count = dict(zip(success.METER_COUNTS, counts, strict=True))
    due, points_due = count["freeze_due"], count["curve_due"]
    return {
        "day": day.isoformat(),
        "freeze_due": due,
        "freeze_first_attempt": count["freeze_once"],
        "freeze_in_cycle": count["freeze_cycle"],
        "once_rate": count["freeze_once"] / due if due else None,
        "cycle_rate": count["freeze_cycle"] / due if due else None,
        "curve_due": points_due,
        "curve_present": count["curve_present"],
        "curve_late": count["curve_late"],
        "curve_not_recorded": count["curve_absent"],
        "integrity": count["curve_present"] / points_due if points_due else None,
    }


def marks(matrix: DayMatrix) -> success.Marks:
    """A day's ledger as rates look at it."""
    vain = np.zeros_like(matrix.expected)
    for bits in matrix.failed.values():
        vain |= bits
    return success.Marks(matrix.expected & matrix.due, matrix.present, matrix.late, matrix.absent, vain)


def today(now: np.datetime64, zone: ZoneInfo) -> dt.date:
    """The local day that `now` falls in (at midnight sharp: the new day)."""
    return local_day(now + np.timedelta64(1, "us"), zone)
