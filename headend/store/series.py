"""One meter's readings for people and the CRM: page by page, every value with its quality, every hole with
its reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.plans import CURVE, DAY, Plan, points
from headend.store import coverage
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZE, SPOT
from protocols.localtime import as_datetime, instant, local_day
from protocols.quantity import quantities
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES

#: what a single-phase meter has not got, so that its absence is no hole
THREE_PHASE_ONLY: Final = frozenset({"voltage_b", "voltage_c", "current_b", "current_c"})
#: registers are stored as integers of this many kWh
REGISTER_UNIT: Final = Decimal("0.0001")
#: revision.method -> quality; any other method is an estimate
_QUALITY: Final = {"read": "revised", "edit": "edited"}
#: at most one page of 15-minute slots: a month
MAX_POINTS: Final = 31 * 100
#: at most one page of day freezes: a year, each day a look into the ledger
MAX_DAYS: Final = 366


@dataclass(frozen=True, slots=True)
class Meter:
    """What a caller must know to interpret a meter's numbers."""

    meter_id: int
    asset: str
    phases: int
    multipliers: list[dict[str, Any]]
    terminals: list[int]

    def codes(self, source: str) -> tuple[str, ...]:
        """The quantities this meter can have in a source."""
        if source != "curve":
            return REGISTER_QUANTITIES
        return tuple(c for c in SLOT_QUANTITIES if self.phases == 3 or c not in THREE_PHASE_ONLY)


@dataclass(frozen=True, slots=True)
class Reading:
    """One cell: a value with its quality, or None with the reason it is missing."""

    ts: np.datetime64
    quantity: str
    value: Decimal | float | None
    quality: str
    reason: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Readings in order of time; `after` is the last instant looked at when there is more, else None."""

    readings: list[Reading]
    after: np.datetime64 | None


def meter(conn: Connection, asset: str, *, first: np.datetime64, last: np.datetime64) -> Meter:
    """The meter and its installations within (first, last]. UnknownMeter if the archive has no such asset."""
    row = conn.execute("SELECT meter_id, asset, phases FROM meter WHERE asset = %s", (asset,)).fetchone()
    if row is None:
        raise UnknownMeter(asset)
    spans = conn.execute(
        "SELECT valid_from, nullif(valid_to, 'infinity') AS valid_to, ct, pt, terminal_id FROM installation "
        "WHERE meter_id = %s AND valid_from < %s AND valid_to > %s ORDER BY valid_from",
        (row["meter_id"], as_datetime(last), as_datetime(first)),
    ).fetchall()
    return Meter(
        row["meter_id"],
        row["asset"],
        row["phases"],
        [
            {key: span[key] for key in ("valid_from", "valid_to", "ct", "pt")}
            | {"multiplier": span["ct"] * span["pt"]}
            for span in spans
        ],
        sorted({span["terminal_id"] for span in spans}),
    )  # fmt: skip


def page(
    conn: Connection,
    meter: Meter,
    source: str,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
    limit: int,
    now: np.datetime64,
    zone: ZoneInfo,
) -> Page:
    """Up to `limit` points of `source` ('curve', 'day' or 'spot') in (first, last], holes included, nothing
    beyond `now`.
    """
    limit = max(1, min(limit, MAX_DAYS if source == "day" else MAX_POINTS))
    last = min(last, now)
    if meter.multipliers:  # a hole is owed by somebody: before the first installation nobody owed anything
        first = max(first, instant(meter.multipliers[0]["valid_from"]))
    if first >= last or not meter.multipliers:
        return Page([], None)
    if source == "spot":
        return _spots(conn, meter, codes, first=first, last=last, limit=limit)
    plan = CURVE if source == "curve" else DAY
    times, reasons = _points(conn, meter, plan, first=first, last=last, limit=limit + 1, now=now, zone=zone)
    more = len(times) > limit
    times, reasons = times[:limit], reasons[:limit]
    if not times:
        return Page([], None)
    rows = _rows(conn, meter, source, codes, first=times[0], last=times[-1])
    revised = _revisions(conn, meter, "slot" if plan is CURVE else "day", times[0], times[-1])
    readings = [
        _reading(when, code, rows.get(when), revised.get((when, code)), reason)
        for when, reason in zip(times, reasons, strict=True)
        for code in codes
    ]
    return Page(readings, times[-1] if more else None)


def _points(
    conn: Connection, meter: Meter, plan: Plan, *, first: np.datetime64, last: np.datetime64, limit: int,
    now: np.datetime64, zone: ZoneInfo,
) -> tuple[list[np.datetime64], list[str]]:  # fmt: skip
    """The plan's points in (first, last], at most `limit`, each with its cause should it be missing."""
    times: list[np.datetime64] = []
    reasons: list[str] = []
    for day in _days(first, last, zone):
        ends = points(plan, day, zone)
        chosen = np.flatnonzero((ends > first) & (ends <= last))
        if not len(chosen):
            continue
        matrix = coverage.day_matrix(conn, plan, day, now=now, zone=zone, terminals=meter.terminals)
        cause, names = coverage.causes(matrix)
        k = int(np.searchsorted(matrix.meters, meter.meter_id))
        installed = k < len(matrix.meters) and matrix.meters[k] == meter.meter_id
        for j in chosen:
            times.append(ends[j])
            if not installed or not matrix.expected[k, j]:
                reasons.append("not-commissioned")
            elif cause[k, j] >= 0:
                reasons.append(names[cause[k, j]])
            else:
                reasons.append("missing-in-answer" if matrix.due[k, j] else "not-due")
            if len(times) >= limit:
                return times, reasons
    return times, reasons


def _days(first: np.datetime64, last: np.datetime64, zone: ZoneInfo) -> Iterator[dt.date]:
    day = local_day(first + np.timedelta64(1, "us"), zone)
    while day <= local_day(last, zone):
        yield day
        day += dt.timedelta(days=1)


def _rows(
    conn: Connection,
    meter: Meter,
    source: str,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
) -> dict[np.datetime64, dict[str, Any]]:
    # the codes come from the quantity table, never from the caller's text, so they may stand in the statement
    columns = ", ".join(code for code in codes if code in quantities())
    span = (meter.meter_id, as_datetime(first), as_datetime(last))
    if source == "curve":
        rows = conn.execute(
            f"SELECT ts, {columns} FROM slot_read WHERE meter_id = %s AND ts BETWEEN %s AND %s", span
        ).fetchall()
    else:
        rows = conn.execute(
            f"SELECT ts, {columns} FROM register_read "
            "WHERE meter_id = %s AND ts BETWEEN %s AND %s AND kind = %s",
            (*span, DAY_FREEZE if source == "day" else SPOT),
        ).fetchall()
    return {instant(row["ts"]): row for row in rows}


def _revisions(
    conn: Connection, meter: Meter, source: str, first: np.datetime64, last: np.datetime64
) -> dict[tuple[np.datetime64, str], dict[str, Any]]:
    rows = conn.execute(
        "SELECT DISTINCT ON (ts, quantity) ts, quantity, value, method, reason FROM revision "
        "WHERE meter_id = %s AND source = %s AND ts BETWEEN %s AND %s ORDER BY ts, quantity, version DESC",
        (meter.meter_id, source, as_datetime(first), as_datetime(last)),
    ).fetchall()
    return {(instant(row["ts"]), row["quantity"]): row for row in rows}


def _reading(
    when: np.datetime64, code: str, row: dict[str, Any] | None, revision: dict[str, Any] | None, reason: str
) -> Reading:
    if revision is not None:
        quality = _QUALITY.get(revision["method"], "estimated")
        return Reading(
            when, code, _value(code, revision["value"]), quality, revision["reason"], revision["method"]
        )
    if row is None or row[code] is None:
        return Reading(when, code, None, "missing", "missing-in-answer" if row is not None else reason)
    return Reading(when, code, _value(code, row[code]), "measured")


def _value(code: str, raw: Any) -> Decimal | float:
    if quantities()[code].kind == "register":
        return int(raw) * REGISTER_UNIT
    return float(raw)


def _spots(
    conn: Connection,
    meter: Meter,
    codes: Sequence[str],
    *,
    first: np.datetime64,
    last: np.datetime64,
    limit: int,
) -> Page:
    columns = ", ".join(code for code in codes if code in quantities())
    rows = conn.execute(
        f"SELECT ts, {columns} FROM register_read "
        "WHERE meter_id = %s AND kind = %s AND ts > %s AND ts <= %s ORDER BY ts LIMIT %s",
        (meter.meter_id, SPOT, as_datetime(first), as_datetime(last), limit + 1),
    ).fetchall()
    if not rows:
        return Page([], None)
    times = [instant(row["ts"]) for row in rows[:limit]]
    revised = _revisions(conn, meter, "spot", times[0], times[-1])
    readings = [
        _reading(when, code, row, revised.get((when, code)), "missing-in-answer")
        for when, row in zip(times, rows, strict=False)
        for code in codes
    ]
    return Page(readings, times[-1] if len(rows) > limit else None)


@dataclass(frozen=True, slots=True)
class DayEnergy:
    """The energy of one metering point and local day, 1e-4 kWh on the primary side; None with a reason where
    it is not known.

    `energy` and `closing` are by quantity code; `closing` is the register at the midnight that ends the day,
    secondary side.
    """

    day: dt.date
    energy: dict[str, int | None]
    reasons: dict[str, str]
    closing: dict[str, int | None]
    meters: list[str]
    qualities: dict[str, str]


def daily_energy(
    conn: Connection, point_id: int, first: dt.date, last: dt.date, *, now: np.datetime64, zone: ZoneInfo
) -> list[DayEnergy]:
    """Energy by local day and tariff register of a metering point: differences of day freezes, by meter
    installed.

    A meter that comes or goes within the day counts from its first or to its last register, which must have
    been read at that
    instant; otherwise the day is unknown. A register that falls is unknown too: nobody may guess whether it
    rolled over.
    """
    begin, end = points(DAY, first - dt.timedelta(days=1), zone)[0], points(DAY, last, zone)[0]
    spans = conn.execute(
        "SELECT i.meter_id, m.asset, i.ct * i.pt AS multiplier, i.terminal_id, i.valid_from, "
        "nullif(i.valid_to, 'infinity') AS valid_to "
        "FROM installation i JOIN meter m USING (meter_id) "
        "WHERE i.point_id = %s AND i.valid_from < %s AND i.valid_to > %s ORDER BY i.valid_from",
        (point_id, as_datetime(end), as_datetime(begin)),
    ).fetchall()
    registers = _registers(conn, sorted({span["meter_id"] for span in spans}), begin, end)
    days = []
    day = first
    while day <= last:
        days.append(_one_day(conn, day, spans, registers, now=now, zone=zone))
        day += dt.timedelta(days=1)
    return days


_Registers = dict[tuple[int, np.datetime64], dict[str, tuple[int | None, str]]]


def _registers(conn: Connection, meters: list[int], begin: np.datetime64, end: np.datetime64) -> _Registers:
    """(meter, instant) -> code -> (value, quality), revisions laid over."""
    found: _Registers = {}
    for row in conn.execute(
        f"SELECT meter_id, ts, {', '.join(REGISTER_QUANTITIES)} FROM register_read "
        # the day freeze comes last, so that it counts before a spot reading of the same instant
        "WHERE meter_id = ANY(%s) AND ts BETWEEN %s AND %s ORDER BY kind DESC",
        (meters, as_datetime(begin), as_datetime(end)),
    ):
        cell = found.setdefault((row["meter_id"], instant(row["ts"])), {})
        for code in REGISTER_QUANTITIES:
            if row[code] is not None:
                cell[code] = (row[code], "measured")
    for row in conn.execute(
        "SELECT DISTINCT ON (meter_id, ts, quantity) meter_id, ts, quantity, value, method FROM revision "
        "WHERE meter_id = ANY(%s) AND source = 'day' AND ts BETWEEN %s AND %s "
        "ORDER BY meter_id, ts, quantity, version DESC",
        (meters, as_datetime(begin), as_datetime(end)),
    ):
        quality = _QUALITY.get(row["method"], "estimated")
        found.setdefault((row["meter_id"], instant(row["ts"])), {})[row["quantity"]] = (
            int(row["value"]),
            quality,
        )
    return found


def _one_day(
    conn: Connection,
    day: dt.date,
    spans: list[dict[str, Any]],
    registers: _Registers,
    *,
    now: np.datetime64,
    zone: ZoneInfo,
) -> DayEnergy:
    opening = points(DAY, day - dt.timedelta(days=1), zone)[0]
    closing = points(DAY, day, zone)[0]
    there = [
        s
        for s in spans
        if instant(s["valid_from"]) < closing and (s["valid_to"] is None or instant(s["valid_to"]) > opening)
    ]
    energy: dict[str, int | None] = {}
    reasons: dict[str, str] = {}
    qualities: dict[str, str] = {}
    causes: dict[tuple[int, np.datetime64], str] = {}
    for code in REGISTER_QUANTITIES:
        total, why, quality = 0, "" if there else "not-commissioned", "measured"
        for span in there:
            start = max(opening, instant(span["valid_from"]))
            stop = closing if span["valid_to"] is None else min(closing, instant(span["valid_to"]))
            ends = []
            for when in (start, stop):
                value, kind = registers.get((span["meter_id"], when), {}).get(code, (None, ""))
                if value is None:
                    if (span["meter_id"], when) not in causes:
                        causes[span["meter_id"], when] = _cause(
                            conn, span, when, registers, now=now, zone=zone
                        )
                    why = why or causes[span["meter_id"], when]
                elif kind != "measured":
                    quality = kind
                ends.append(value)
            if ends[0] is not None and ends[1] is not None:
                if ends[1] < ends[0]:
                    why = why or "register-fell"
                total += (ends[1] - ends[0]) * span["multiplier"]
        energy[code] = None if why else total
        if why:
            reasons[code] = why
        else:
            qualities[code] = quality
    last = there[-1] if there else None
    at_close = registers.get((last["meter_id"], closing), {}) if last else {}
    return DayEnergy(
        day,
        energy,
        reasons,
        {code: at_close.get(code, (None, ""))[0] for code in REGISTER_QUANTITIES},
        [span["asset"] for span in there],
        qualities,
    )


def _cause(
    conn: Connection,
    span: dict[str, Any],
    when: np.datetime64,
    registers: _Registers,
    *,
    now: np.datetime64,
    zone: ZoneInfo,
) -> str:
    """Why a boundary register is missing."""
    if registers.get((span["meter_id"], when)):
        return "missing-in-answer"
    day = local_day(when, zone)
    if points(DAY, day, zone)[0] != when:
        return (
            "meter-exchanged"  # the boundary is a removal or installation, and nobody read the register then
        )
    matrix = coverage.day_matrix(conn, DAY, day, now=now, zone=zone, terminals=[span["terminal_id"]])
    k = int(np.searchsorted(matrix.meters, span["meter_id"]))
    if k >= len(matrix.meters) or matrix.meters[k] != span["meter_id"] or not matrix.expected[k, 0]:
        return "not-commissioned"
    cause, names = coverage.causes(matrix)
    if cause[k, 0] >= 0:
        return str(names[cause[k, 0]])
    return "missing-in-answer" if matrix.due[k, 0] else "not-due"
