"""The completeness ledger: what is here, what is missing and why. Written in the transaction that writes the reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, DAY, PLANS, REASONS, Plan, due, expected, locate, points
from headend.store.db import Connection, StoreError
from protocols.localtime import Times, as_datetime, instant, local_day, midnight

Bits = NDArray[np.bool_]
#: installations that never end; PostgreSQL's infinity does not fit a Python datetime
FOREVER = np.datetime64("9999-01-01T00:00:00", "us")
#: bits that hold a day's number (days since 1970) beside a meter's in one sortable integer: good until the year 4840
_DAY_BITS = 20


class UnknownMeter(StoreError):
    def __init__(self, asset: str) -> None:
        super().__init__(f"no meter {asset!r} in the archive; `headend archive list` shows what is there")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to read one meter's points of one plan: what was asked, what came, what the meter proved not to have.

    `reason` says why asked points did not come ('' if all came or were proved absent)."""

    meter: int
    plan: Plan
    asked: Times
    got: Times
    absent: Times
    at: np.datetime64
    reason: str = ""
    detail: str = ""


def record(conn: Connection, attempts: Sequence[Attempt], zone: ZoneInfo) -> None:
    """Fold attempts into the ledger, in the caller's transaction, in meter order (so that concurrent writers never deadlock)."""
    for plan in PLANS.values():
        mine = sorted((a for a in attempts if a.plan is plan), key=lambda a: a.meter)
        if mine:
            _record_present(conn, plan, mine, zone)
            _record_reasons(conn, plan, [a for a in mine if a.reason], zone)


def _record_present(conn: Connection, plan: Plan, attempts: list[Attempt], zone: ZoneInfo) -> None:
    marks = [_Marks.of(plan, attempts, which, zone) for which in ("asked", "got", "absent")]
    _, got, absent = marks
    # one ledger row per (meter, day): both in one integer, which sorts as the pair does
    keys, rows = np.unique(np.concatenate([m.key for m in marks]), return_inverse=True)
    if not len(keys):
        return
    ats = np.concatenate([m.at for m in marks]).astype(np.int64)
    first, last = np.full(len(keys), ats.max()), np.full(len(keys), ats.min())
    np.minimum.at(first, rows, ats)
    np.maximum.at(last, rows, ats)
    tried = np.unique(rows * len(attempts) + np.concatenate([m.attempt for m in marks])) // len(attempts)
    meters, days = keys >> _DAY_BITS, [_date(day) for day in (keys & (1 << _DAY_BITS) - 1).tolist()]
    widths = [len(points(plan, day, zone)) for day in days]
    ends = np.cumsum([len(m.key) for m in marks])
    got_rows, absent_rows = rows[ends[0] : ends[1]], rows[ends[1] :]
    late = got.at - got.time > np.timedelta64(plan.grace)
    conn.execute(
        """
        INSERT INTO coverage AS c (meter_id, day, plan, present, late, absent, attempts, first_at, last_at)
        SELECT m, d, %(plan)s, p::varbit, l::varbit, a::varbit & ~p::varbit, n, f, t
        FROM unnest(%(m)s::int[], %(d)s::date[], %(p)s::text[], %(l)s::text[], %(a)s::text[], %(n)s::int[],
                    %(f)s::timestamptz[], %(t)s::timestamptz[]) AS u(m, d, p, l, a, n, f, t)
        ORDER BY m, d
        ON CONFLICT (meter_id, day, plan) DO UPDATE SET
            present = c.present | excluded.present,
            late = c.late | (excluded.late & ~c.present),
            absent = (c.absent | excluded.absent) & ~(c.present | excluded.present),
            attempts = c.attempts + excluded.attempts,
            first_at = least(c.first_at, excluded.first_at),
            last_at = greatest(c.last_at, excluded.last_at)
        """,
        {
            "plan": plan.id,
            "m": meters.tolist(),
            "d": days,
            "p": _bit_texts(got_rows, got.index, widths),
            "l": _bit_texts(got_rows[late], got.index[late], widths),
            "a": _bit_texts(absent_rows, absent.index, widths),
            "n": np.bincount(tried, minlength=len(keys)).tolist(),
            "f": [as_datetime(at) for at in first.astype("datetime64[us]")],
            "t": [as_datetime(at) for at in last.astype("datetime64[us]")],
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
    rows: dict[tuple[int, dt.date, str], _Vain] = {}
    for attempt in sorted(attempts, key=lambda a: a.at):
        if attempt.reason not in REASONS:
            raise ValueError(f"unknown reason {attempt.reason!r}")
        holes = np.setdiff1d(np.setdiff1d(attempt.asked, attempt.got), attempt.absent)
        day, index = locate(plan, holes, zone)
        for number in np.unique(day):
            owner = _date(int(number))
            bits = np.zeros(len(points(plan, owner, zone)), dtype=np.bool_)
            there = index[(day == number) & (index >= 0)]
            bits[there] = True
            at, key = as_datetime(attempt.at), (attempt.meter, owner, attempt.reason)
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
        ORDER BY m, d, r
        ON CONFLICT (meter_id, day, plan, reason) DO UPDATE SET
            slots = g.slots | excluded.slots,
            attempts = g.attempts + excluded.attempts,
            since = least(g.since, excluded.since),
            last_at = greatest(g.last_at, excluded.last_at),
            detail = excluded.detail
        """,
        {
            "plan": plan.id,
            "m": [meter for meter, _, _ in keys],
            "d": [day for _, day, _ in keys],
            "r": [reason for _, _, reason in keys],
            "b": [_text(rows[key].slots) for key in keys],
            "n": [rows[key].attempts for key in keys],
            "f": [rows[key].since for key in keys],
            "t": [rows[key].last for key in keys],
            "x": [rows[key].detail for key in keys],
        },
    )


@dataclass(frozen=True, slots=True)
class _Marks:
    """Columns: one row per marked point of an attempt, points that are not the plan's left out. `key` is meter and day in one."""

    key: NDArray[np.int64]
    index: NDArray[np.int64]
    time: Times
    at: Times
    attempt: NDArray[np.int64]

    @classmethod
    def of(cls, plan: Plan, attempts: list[Attempt], which: str, zone: ZoneInfo) -> _Marks:
        parts = [getattr(attempt, which) for attempt in attempts]
        counts = [len(part) for part in parts]
        time = np.concatenate(parts) if parts else np.empty(0, dtype="datetime64[us]")
        day, index = locate(plan, time, zone)
        there = index >= 0
        return cls(
            np.repeat(np.array([a.meter for a in attempts], dtype=np.int64), counts)[there] << _DAY_BITS
            | day[there],
            index[there],
            time[there],
            np.repeat(np.array([a.at for a in attempts], dtype="datetime64[us]"), counts)[there],
            np.repeat(np.arange(len(attempts)), counts)[there],
        )


def _bit_texts(rows: NDArray[np.int64], index: NDArray[np.int64], widths: list[int]) -> list[str]:
    """One bit string per ledger row, with bit index[k] of row rows[k] set."""
    grid = np.full((len(widths), max(widths)), ord("0"), dtype=np.uint8)
    grid[rows, index] = ord("1")
    return [bits[:width].tobytes().decode() for bits, width in zip(grid, widths, strict=True)]


def _text(bits: Bits) -> str:
    return bytes(np.where(bits, ord("1"), ord("0")).astype(np.uint8)).decode()


def _bits(texts: Sequence[str], width: int) -> Bits:
    """Bit strings of one width -> bool[row, point]."""
    raw = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    return np.asarray(raw.reshape(len(texts), width) == ord("1"), dtype=np.bool_)


def _date(number: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=number)


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


def day_matrix(
    conn: Connection,
    plan: Plan,
    day: dt.date,
    *,
    now: np.datetime64,
    zone: ZoneInfo,
    terminals: Sequence[int] | None = None,
    reasons: bool = True,
) -> DayMatrix:
    """The ledger of a local day, for the meters installed then (of `terminals`, or all), ordered by meter."""
    times = points(plan, day, zone)
    width = len(times)
    installed = conn.execute(
        """
        SELECT meter_id, terminal_id, valid_from, nullif(valid_to, 'infinity') AS valid_to FROM installation
        WHERE valid_from < %(end)s AND valid_to > %(begin)s AND (%(terminals)s::int[] IS NULL OR terminal_id = ANY(%(terminals)s))
        ORDER BY meter_id, valid_from
        """,
        {
            "begin": as_datetime(midnight(day, zone)),
            "end": as_datetime(midnight(day + dt.timedelta(days=1), zone)),
            "terminals": None if terminals is None else list(terminals),
        },
    ).fetchall()
    meters = np.array(sorted({row["meter_id"] for row in installed}), dtype=np.int64)
    place = {int(meter): k for k, meter in enumerate(meters)}
    behind = np.zeros(len(meters), dtype=np.int64)
    owed = np.zeros((len(meters), width), dtype=np.bool_)
    if installed:
        spans = expected(
            plan,
            day,
            zone,
            np.array([instant(row["valid_from"]) for row in installed], dtype="datetime64[us]"),
            np.array(
                [FOREVER if row["valid_to"] is None else instant(row["valid_to"]) for row in installed],
                dtype="datetime64[us]",
            ),
        )
        for row, span in zip(installed, spans, strict=True):
            owed[place[row["meter_id"]]] |= span
            behind[place[row["meter_id"]]] = row["terminal_id"]
    present, late, absent = (np.zeros_like(owed) for _ in range(3))
    attempts = np.zeros(len(meters), dtype=np.int64)
    may_have = np.broadcast_to(due(plan, day, zone, now), owed.shape)
    if not len(meters):
        return DayMatrix(plan, day, times, meters, behind, owed, may_have, present, late, absent, attempts)
    known = conn.execute(
        "SELECT meter_id, present::text, late::text, absent::text, attempts FROM coverage "
        "WHERE day = %s AND plan = %s AND meter_id = ANY(%s) ORDER BY meter_id",
        (day, plan.id, meters.tolist()),
    ).fetchall()
    if known:
        rows = np.array([place[row["meter_id"]] for row in known])
        present[rows] = _bits([row["present"] for row in known], width)
        late[rows] = _bits([row["late"] for row in known], width)
        absent[rows] = _bits([row["absent"] for row in known], width)
        attempts[rows] = [row["attempts"] for row in known]
    failed: dict[str, Bits] = {}
    if reasons:
        for row in conn.execute(
            "SELECT meter_id, reason, slots::text FROM gap_reason WHERE day = %s AND plan = %s AND meter_id = ANY(%s) ORDER BY last_at",
            (day, plan.id, meters.tolist()),
        ):
            grid = failed.setdefault(row["reason"], np.zeros_like(owed))
            grid[place[row["meter_id"]]] |= _bits([row["slots"]], width)[0]
    may_have = np.broadcast_to(due(plan, day, zone, now), owed.shape)
    return DayMatrix(
        plan, day, times, meters, behind, owed, may_have, present, late, absent, attempts, failed
    )


def causes(matrix: DayMatrix) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """int8[meter, point]: for each missing point the index of its cause in the returned names, -1 where nothing is missing.

    The strongest proof wins: what the meter said (not recorded, refused) over what the line did."""
    order = (
        "not-asked", "offline", "link-lost", "no-answer", "garbled", "missing-in-answer", "refused", "expired", "not-recorded",
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
               (SELECT string_agg(a.code, ', ' ORDER BY a.code) FROM point_role r JOIN area a USING (area_id)
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

    once: day-freeze points got by the first attempt that asked for them / meters due (一次采集成功率)
    cycle: day-freeze points got within the day after / meters due (周期采集成功率)
    integrity: curve points present / points due (数据完整率)
    """
    freeze = day_matrix(conn, DAY, day, now=now, zone=zone)
    curve = day_matrix(conn, CURVE, day, now=now, zone=zone)
    owed = freeze.expected & freeze.due
    vain = np.zeros_like(owed)
    for bits in freeze.failed.values():
        vain |= bits
    got_once = int((owed & freeze.present & ~vain & ~freeze.late).sum())
    in_cycle = int((owed & freeze.present & ~freeze.late).sum())
    meters_due = int(owed.sum())
    due_points = curve.expected & curve.due
    n_due = int(due_points.sum())
    n_present = int((due_points & curve.present).sum())
    return {
        "day": day.isoformat(),
        "freeze_due": meters_due,
        "freeze_first_attempt": got_once,
        "freeze_in_cycle": in_cycle,
        "once_rate": got_once / meters_due if meters_due else None,
        "cycle_rate": in_cycle / meters_due if meters_due else None,
        "curve_due": n_due,
        "curve_present": n_present,
        "curve_late": int((due_points & curve.present & curve.late).sum()),
        "curve_not_recorded": int((due_points & curve.absent).sum()),
        "integrity": n_present / n_due if n_due else None,
    }


def today(now: np.datetime64, zone: ZoneInfo) -> dt.date:
    """The local day that `now` falls in (at midnight sharp: the new day)."""
    return local_day(now + np.timedelta64(1, "us"), zone)
